"""What a person or a program sees of a running job.

A view is fed the pipeline's events: `LiveView` redraws a few lines of a terminal, `PlainView` writes
lines that read well in a log, `JsonView` prints an object a line on stdout, `QuietView` is silent.
All but JSON goes to stderr.
"""

import json
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol, Self

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
    to_record,
)
from .flags import event_with_flags, with_flags
from .words import counted, duration, loss, printable, short_path

Clock = Callable[[], float]


class View(Protocol):
    """A context manager that is called with each event."""

    def __enter__(self) -> Self: ...
    def __exit__(self, *_: object) -> None: ...
    def __call__(self, event: Event) -> None: ...
    def error(self, error: ImpastoError) -> None: ...
    def say(self, text: str) -> None: ...


class Pace:
    """How fast a job goes and how long it will take, from the events so far.

    Time is counted an iteration, not a frame: the first frame of a shot takes many times the iterations
    of the others, and frames that stop early give theirs back.
    """

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._planned = 0
        self._under_way: dict[int, tuple[int, int]] = {}
        """Of each frame under way, by its index: the iterations that are planned for it, and those that are done."""
        self._spent_seconds = 0.0
        self._spent_iterations = 0
        self._last: float | None = None
        self.frame_seconds: float | None = None
        """Mean over the frames painted by this run."""
        self._frames = 0

    def __call__(self, event: Event) -> None:
        now = self._clock()
        match event:
            case JobStarted():
                self._planned = event.iterations_left
                self._last = now
            case FrameStarted():
                self._under_way[event.index] = event.iterations, 0
            case FrameProgress():
                planned, done = self._under_way.get(event.index, (event.iterations, 0))
                # A frame that is tried twice begins its count again.
                self._spent_iterations += max(event.iteration - done, 0)
                self._under_way[event.index] = planned, event.iteration
                self._tick(now)
            case FrameDone():
                self._planned -= self._under_way.pop(event.index, (0, 0))[0]
                self._frames += 1
                before = self.frame_seconds or 0.0
                self.frame_seconds = before + (event.seconds - before) / self._frames
                self._tick(now)
            case FrameFailed():
                self._planned -= self._under_way.pop(event.index, (0, 0))[0]
            case _:
                pass

    @property
    def seconds_left(self) -> float | None:
        """Estimate for the frames that are left, with all their iterations; None before the first iterations."""
        if self._spent_iterations < 2:
            return None
        done = sum(done for _, done in self._under_way.values())
        return max(self._planned - done, 0) * self._spent_seconds / self._spent_iterations

    def _tick(self, now: float) -> None:
        if self._last is not None:
            self._spent_seconds += now - self._last
        self._last = now


class QuietView:
    """Errors only."""

    def __init__(self, console: Console) -> None:
        self.console = console

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def __call__(self, event: Event) -> None:
        pass

    def error(self, error: ImpastoError) -> None:
        self.console.print(
            Text("impasto: ", style="bold red"), Text(printable(with_flags(str(error)))), sep="", soft_wrap=True
        )

    def say(self, text: str) -> None:
        pass


class PlainView(QuietView):
    """One line for each thing that a person would want in a log."""

    PROGRESS_SECONDS = 30.0
    """A frame that takes long is heard of this often."""

    def __init__(self, console: Console, clock: Clock = time.monotonic) -> None:
        super().__init__(console)
        self._clock = clock
        self._pace = Pace(clock)
        self._count = self._done = 0
        self._names: dict[int, str] = {}
        """Of the frames under way, by their index."""
        self._spoken = clock()

    def __call__(self, event: Event) -> None:
        event = event_with_flags(event)
        self._pace(event)
        if isinstance(event, FrameDone | FrameFailed) and self._names.get(event.index) == event.name:
            del self._names[event.index]  # and not that of its next pass, which may have begun
        match event:
            case Notice():
                self._line(f"note: {event.text}")
            case JobStarted():
                self._count, self._done = event.frame_count, event.done_count
                for line in _opening(event):
                    self._line(line)
            case FrameStarted():
                self._names[event.index] = event.name
            case FrameProgress() | Scanning():
                if self._clock() - self._spoken >= self.PROGRESS_SECONDS:
                    name = self._names.get(event.index, "") if isinstance(event, FrameProgress) else ""
                    self._line(_progress_words(event, name))
            case FrameDone():
                self._done += 1
                self._line(
                    f"[{self._done}/{self._count}] {event.name}: objective {loss(event.losses.objective)} "
                    f"({_terms(event.losses)}) in {counted(event.iterations, 'iteration')}, {duration(event.seconds)}; "
                    f"left {duration(self._pace.seconds_left)}"
                )
            case FrameFailed():
                self._line(f"{event.name}: failed: {event.message}")
            case Assembling() if event.frames_written == event.frame_count:
                self._line(f"writing {short_path(event.output)}")
            case JobDone():
                for line in summary_lines(event):
                    self._line(line)
            case _:
                pass

    def say(self, text: str) -> None:
        self._line(text)

    def _line(self, text: str) -> None:
        self._spoken = self._clock()
        self.console.print(Text(printable(text)), soft_wrap=True)


OTHER_LINES = 7
"""Of the live view, besides one for each picture under way."""


class LiveView(QuietView):
    """A few lines that redraw themselves, with notices and failures scrolling above them."""

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
        self._overall = self._progress.add_task("frames", total=None, visible=False, note="")
        self._current = self._progress.add_task("", total=None, visible=False, note="")
        self._frames: dict[int, TaskID] = {}
        self._losses: Losses | None = None
        self._device = ""
        self._live = Live(console=console, refresh_per_second=4, get_renderable=self._render, transient=True)

    def __enter__(self) -> Self:
        self._live.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.__exit__(None, None, None)

    def __call__(self, event: Event) -> None:
        event = event_with_flags(event)
        self._pace(event)
        match event:
            case Notice():
                self._above(Text.assemble(("note: ", "yellow"), printable(event.text)))
            case Scanning():
                self._show(self._current, "reading", event.frames_read, event.frame_count_declared, event.path.name)
            case JobStarted():
                for line in _opening(event):
                    self._above(Text(printable(line)))
                self._device = event.device
                self._show(self._current, "", 0, None, "", visible=False)
                self._show(self._overall, "frames", event.done_count, event.frame_count, "")
            case FrameStarted():
                height, width = event.size
                # Of a single device the last line tells; of several, the opening one which models they are.
                several = event.device not in ("", self._device)
                where = f" on {event.device.partition(' (')[0]}" if several else ""
                self._remove(event.index)
                self._frames[event.index] = self._progress.add_task("", total=None, note="")
                note = f"{width}×{height} from {event.start}{where}"
                self._show(self._frames[event.index], event.name, 0, event.iterations, note)
            case FrameProgress():
                self._losses = event.losses
                if event.index in self._frames:
                    self._progress.update(self._frames[event.index], completed=event.iteration)
            case FrameDone():
                self._progress.advance(self._overall)
                self._remove(event.index)
            case FrameFailed():
                self._remove(event.index)
                self._above(Text.assemble((printable(f"{event.name}: failed: "), "red"), printable(event.message)))
            case Assembling():
                self._losses = None
                self._show(self._current, "writing", event.frames_written, event.frame_count, event.output.name)
            case JobDone():
                self._live.stop()
                for line in summary_lines(event):
                    self.console.print(Text(printable(line)), soft_wrap=True)

    def error(self, error: ImpastoError) -> None:
        self._live.stop()
        super().error(error)

    def say(self, text: str) -> None:
        self._above(Text(text))

    def _above(self, text: Text) -> None:
        self._live.console.print(text, soft_wrap=True)

    def _remove(self, index: int) -> None:
        """The line of a frame that is no longer under way."""
        if index in self._frames:
            self._progress.remove_task(self._frames.pop(index))

    def _show(
        self, task: TaskID, description: str, done: int, total: int | None, note: str, visible: bool = True
    ) -> None:
        self._progress.update(
            task,
            description=escape(printable(description)),
            completed=done,
            total=total,
            note=escape(printable(note)),
            visible=visible,
        )

    def _render(self) -> Group:
        # Of more pictures under way than there are lines, some are counted only.
        room = max(1, self.console.height - OTHER_LINES)
        for place, task in enumerate(self._frames.values()):
            self._progress.update(task, visible=place < room)
        hidden = len(self._frames) - room
        more = [Text(f"and {hidden} more under way", style="dim")] if hidden > 0 else []
        facts = Table.grid(padding=(0, 3))
        if self._losses is not None:
            facts.add_row(
                f"objective [bold]{loss(self._losses.objective)}[/]",
                f"content {loss(self._losses.content)}",
                f"style {loss(self._losses.style)}",
                f"tv {loss(self._losses.total_variation)}",
            )
        pace = Table.grid(padding=(0, 3))
        if self._device:
            pace.add_row(
                f"left [bold]{duration(self._pace.seconds_left)}[/]",
                f"{duration(self._pace.frame_seconds)} a frame",
                f"[dim]{escape(self._device)}[/]",
            )
        return Group(self._progress, *more, facts, pace)


class JsonView(QuietView):
    """Each event as one JSON object on a line of stdout; progress at most once a second."""

    PROGRESS_SECONDS = 1.0

    def __init__(self, console: Console, clock: Clock = time.monotonic) -> None:
        super().__init__(console)
        self._clock = clock
        self._spoken = float("-inf")

    def __call__(self, event: Event) -> None:
        if isinstance(event, FrameProgress | Scanning | Assembling):
            now = self._clock()
            if now - self._spoken < self.PROGRESS_SECONDS:
                return
            self._spoken = now
        print_json(to_record(event_with_flags(event)))

    def error(self, error: ImpastoError) -> None:
        print_json({"event": "error", "message": with_flags(str(error)), "exit_code": error.exit_code})
        super().error(error)


def make_view(console: Console, *, quiet: bool, as_json: bool) -> View:
    """The view for what was asked and for what stderr is."""
    if as_json:
        return JsonView(console)
    if quiet:
        return QuietView(console)
    return LiveView(console) if console.is_terminal and not console.is_dumb_terminal else PlainView(console)


def print_json(record: Mapping[str, object]) -> None:
    """One JSON object on a line of stdout, at once."""
    sys.stdout.write(json.dumps(dict(record), allow_nan=False) + "\n")
    sys.stdout.flush()


def summary_lines(event: JobDone) -> list[str]:
    """What came out, where it is, and what did not come out."""
    done = event.frame_count - len(event.failed)
    lines = [
        f"painted {counted(event.painted_count, 'frame')} in {duration(event.seconds)}"
        if event.painted_count
        else "nothing was left to paint"
    ]
    if event.losses is not None:
        what = "objective" if event.frame_count == 1 else "mean objective"
        lines.append(f"{what} {loss(event.losses.objective)} ({_terms(event.losses)})")
    if event.failed:
        lines.append(f"{done} of {event.frame_count} done; not painted:")
        lines += [f"  {line}" for line in event.failed]
    places: list[tuple[str, Path]] = [
        ("output", event.output),
        *(("plot", plot) for plot in event.plots),
        ("job", event.job),
    ]
    return lines + [f"{label:>7}  {short_path(path)}" for label, path in places if path.exists()]


def _opening(event: JobStarted) -> list[str]:
    done = f", {event.done_count} done before" if event.done_count else ""
    shots = f" in {counted(event.shot_count, 'shot')}" if event.kind in ("video", "sequence") else ""
    lines = [f"{event.kind}: {counted(event.frame_count, 'frame')}{shots}{done} → {short_path(event.output)}"]
    if event.frame_count > event.done_count:
        lines.append(f"painting on {event.device}")
    return lines


def _progress_words(event: FrameProgress | Scanning, name: str) -> str:
    if isinstance(event, Scanning):
        return f"reading {event.path.name}: {counted(event.frames_read, 'frame')}"
    words = f"iteration {event.iteration}/{event.iterations}, objective {loss(event.losses.objective)}"
    return f"{name or f'frame {event.index}'}: {words}"


def _terms(losses: Losses) -> str:
    return f"content {loss(losses.content)}, style {loss(losses.style)}, tv {loss(losses.total_variation)}"
