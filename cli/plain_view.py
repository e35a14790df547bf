"""The view for files and pipes: lines that read well in a log."""

import time

from rich.console import Console
from rich.text import Text

from ..events import (
    Assembling,
    Event,
    FrameDone,
    FrameFailed,
    FrameProgress,
    FrameStarted,
    JobDone,
    JobStarted,
    Notice,
    Scanning,
)
from .event_lines import loss_terms, opening_lines, progress_line, summary_lines
from .formatting import format_count, format_duration, format_loss, printable, short_path
from .pace import Clock, Pace
from .view import View


class PlainView(View):
    """One line for each frame and for everything else that belongs in a log."""

    PROGRESS_SECONDS = 30.0
    """How often a frame that takes long gets a line."""

    def __init__(self, console: Console, clock: Clock = time.monotonic) -> None:
        super().__init__(console)
        self._clock = clock
        self._pace = Pace(clock)
        self._frame_count = self._done_count = 0
        self._names: dict[int, str] = {}
        """Of the frames in flight, by their index."""
        self._last_line_at = clock()

    def show(self, event: Event) -> None:
        self._pace(event)
        if isinstance(event, FrameDone | FrameFailed) and self._names.get(event.index) == event.name:
            # Not the name of the frame's next pass, which may have started.
            del self._names[event.index]
        match event:
            case Notice():
                self.say(f"note: {event.text}")
            case JobStarted():
                self._frame_count, self._done_count = event.frame_count, event.done_count
                for line in opening_lines(event):
                    self.say(line)
            case FrameStarted():
                self._names[event.index] = event.name
            case FrameProgress() | Scanning():
                if self._clock() - self._last_line_at >= self.PROGRESS_SECONDS:
                    name = self._names.get(event.index, "") if isinstance(event, FrameProgress) else ""
                    self.say(progress_line(event, name))
            case FrameDone():
                self._done_count += 1
                self.say(self._frame_line(event))
            case FrameFailed():
                self.say(f"{event.name}: failed: {event.message}")
            case Assembling() if event.frames_written == event.frame_count:
                self.say(f"writing {short_path(event.output)}")
            case JobDone():
                for line in summary_lines(event):
                    self.say(line)
            case _:
                pass

    def say(self, text: str) -> None:
        self._last_line_at = self._clock()
        self.console.print(Text(printable(text)), soft_wrap=True)

    def _frame_line(self, event: FrameDone) -> str:
        left = self._pace.seconds_left
        return (
            f"[{self._done_count}/{self._frame_count}] {event.name}: objective {format_loss(event.losses.objective)} "
            f"({loss_terms(event.losses)}) in {format_count(event.iterations, 'iteration')}, "
            f"{format_duration(event.seconds)}" + ("" if left is None else f"; {format_duration(left)} left")
        )
