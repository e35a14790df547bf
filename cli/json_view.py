"""The view for programs: one JSON object per line on stdout."""

import time

from rich.console import Console

from ..errors import ImpastoError
from ..events import Assembling, Event, FrameProgress, Scanning, to_record
from .flags import with_flags
from .output import print_json
from .pace import Clock
from .streams import StdoutError, silence_stdout
from .view import View


class JsonView(View):
    """Prints each event; progress at most once a second. Errors go to stderr as well."""

    PROGRESS_SECONDS = 1.0

    def __init__(self, console: Console, clock: Clock = time.monotonic) -> None:
        super().__init__(console)
        self._clock = clock
        self._last_progress_at = float("-inf")

    def show(self, event: Event) -> None:
        if isinstance(event, FrameProgress | Scanning | Assembling):
            now = self._clock()
            if now - self._last_progress_at < self.PROGRESS_SECONDS:
                return
            self._last_progress_at = now
        print_json(to_record(event))

    def error(self, error: ImpastoError) -> None:
        try:
            print_json({"event": "error", "message": with_flags(str(error)), "exit_code": error.exit_code})
        except (StdoutError, BrokenPipeError):
            silence_stdout()
        super().error(error)
