"""The view for a terminal: a few lines that redraw themselves."""

import time
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn
from rich.table import Table
from rich.text import Text

from ..errors import ImpastoError
from ..events import (
    Assembling,
    Event,
    FrameDone,
    FrameFailed,
    FrameProgress,
    FrameStarted,
    JobDone,
    JobStarted,
    Losses,
    Notice,
    Scanning,
)
from .event_lines import opening_lines, summary_lines
from .formatting import format_duration, format_loss, printable
from .pace import Clock, Pace
from .view import View

OTHER_LINES = 7
"""Lines of the view besides one for each frame in flight."""


class LiveView(View):
    """Bars for the job and for each frame in flight, losses and remaining time; notices and failures scroll above."""

    def __init__(self, console: Console, clock: Clock = time.monotonic) -> None:
        super().__init__(console)
        self._pace = Pace(clock)
        self._progress = Progress(
            TextColumn("{task.description}", justify="right"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("[dim]{task.fields[note]}"),
            console=console,
            expand=True,
        )
        self._job_bar = self._progress.add_task("frames", total=None, visible=False, note="")
        self._file_bar = self._progress.add_task("", total=None, visible=False, note="")
        """Of the content that is read, or the video that is written."""
        self._frame_bars: dict[int, TaskID] = {}
        self._notes: dict[int, str] = {}
        """What is shown beside the bar of a frame, before its scale is known."""
        self._losses: Losses | None = None
        self._device = ""
        self._live = Live(console=console, refresh_per_second=4, get_renderable=self.rendered, transient=True)

    def __enter__(self) -> Self:
        self._live.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.__exit__(None, None, None)

    def show(self, event: Event) -> None:
        self._pace(event)
        match event:
            case Notice():
                self._print_above(Text.assemble(("note: ", "yellow"), printable(event.text)))
            case Scanning():
                self._update_bar(
                    self._file_bar, "reading", event.frames_read, event.frame_count_declared, event.path.name
                )
            case JobStarted():
                for line in opening_lines(event):
                    self._print_above(Text(printable(line)))
                self._device = event.device
                self._progress.update(self._file_bar, visible=False)
                self._update_bar(self._job_bar, "frames", event.done_count, event.frame_count, "")
            case FrameStarted():
                self._start_frame(event)
            case FrameProgress():
                self._losses = event.losses
                if event.index in self._frame_bars:
                    self._advance_frame(event)
            case FrameDone():
                self._progress.advance(self._job_bar)
                self._remove_frame(event.index)
            case FrameFailed():
                self._remove_frame(event.index)
                self._print_above(
                    Text.assemble((printable(f"{event.name}: failed: "), "red"), printable(event.message))
                )
            case Assembling():
                self._losses = None
                self._update_bar(self._file_bar, "writing", event.frames_written, event.frame_count, event.output.name)
            case JobDone():
                self._live.stop()
                for line in summary_lines(event):
                    self.console.print(Text(printable(line)), soft_wrap=True)

    def say(self, text: str) -> None:
        self._print_above(Text(text))

    def error(self, error: ImpastoError) -> None:
        self._live.stop()
        super().error(error)

    def rendered(self) -> Group:
        """The lines as they are now, no more than the terminal has."""
        room = max(1, self.console.height - OTHER_LINES)
        for line, bar in enumerate(self._frame_bars.values()):
            self._progress.update(bar, visible=line < room)
        hidden = len(self._frame_bars) - room
        more = [Text(f"and {hidden} more in progress", style="dim")] if hidden > 0 else []
        losses = Table.grid(padding=(0, 3))
        if self._losses is not None:
            losses.add_row(
                f"objective [bold]{format_loss(self._losses.objective)}[/]",
                f"content {format_loss(self._losses.content)}",
                f"style {format_loss(self._losses.style)}",
                f"tv {format_loss(self._losses.total_variation)}",
            )
        pace = Table.grid(padding=(0, 3))
        if self._device:
            left, per_frame = self._pace.seconds_left, self._pace.frame_seconds
            pace.add_row(
                "estimating the time left" if left is None else f"[bold]{format_duration(left)}[/] left",
                *([] if per_frame is None else [f"{format_duration(per_frame)} per frame"]),
                f"[dim]{escape(self._device)}[/]",
            )
        return Group(self._progress, *more, losses, pace)

    def _start_frame(self, event: FrameStarted) -> None:
        height, width = event.size
        # A single device is named in the last line; of several, each frame names its own, without the model.
        several = event.device not in ("", self._device)
        device = f" on {event.device.partition(' (')[0]}" if several else ""
        self._remove_frame(event.index)
        self._frame_bars[event.index] = self._progress.add_task("", total=None, note="")
        note = f"{width}×{height}, start: {event.start}{device}"
        self._notes[event.index] = printable(note)
        self._update_bar(self._frame_bars[event.index], event.name, 0, event.work, note)

    def _advance_frame(self, event: FrameProgress) -> None:
        bar = self._frame_bars[event.index]
        self._progress.update(bar, completed=event.work)
        if event.size is not None:
            height, width = event.size
            self._progress.update(bar, note=escape(f"at {width}×{height} of {self._notes[event.index]}"))

    def _remove_frame(self, index: int) -> None:
        if index in self._frame_bars:
            self._progress.remove_task(self._frame_bars.pop(index))
            del self._notes[index]

    def _update_bar(self, bar: TaskID, label: str, done: int, total: float | None, note: str) -> None:
        self._progress.update(
            bar,
            description=escape(printable(label)),
            completed=done,
            total=total,
            note=escape(printable(note)),
            visible=True,
        )

    def _print_above(self, text: Text) -> None:
        self._live.console.print(text, soft_wrap=True)
