"""The view that shows errors only, and the base of the others."""

from pathlib import Path
from typing import Self

from rich.console import Console
from rich.text import Text

from ..errors import ImpastoError
from ..events import Event, JobStarted
from .flags import event_with_flags, with_flags
from .formatting import printable


class View:
    """Shows a job's events to a person or a program: a context manager that is called with each event.

    This one shows errors only; it is what `--quiet` asks for.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self.job: Path | None = None
        """The folder of the job, once it has started."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def __call__(self, event: Event) -> None:
        if isinstance(event, JobStarted):
            self.job = event.job
        self.show(event_with_flags(event))

    def show(self, event: Event) -> None:
        """Shows an event, whose messages name flags."""

    def say(self, text: str) -> None:
        """Shows a line that is not an event."""

    def error(self, error: ImpastoError) -> None:
        """Shows the error that ends the command, in one line."""
        message = printable(with_flags(str(error)))
        self.console.print(Text("impasto: ", style="bold red"), Text(message), sep="", soft_wrap=True)
