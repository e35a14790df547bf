"""Progress of a running job, as small records that are passed to a callback.

The pipeline prints nothing. The live view, the `--json` lines and the Python API's `on_event` get the same records.
"""

import dataclasses
import math
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self, TypeAlias


@dataclasses.dataclass(frozen=True)
class Losses:
    """Weighted losses of one picture.

    `temporal` is the temporal loss against earlier frames: minimised with the others, but no part of the objective.
    """

    content: float
    style: float
    total_variation: float
    temporal: float = 0.0

    @property
    def objective(self) -> float:
        """Content, style and total variation loss: the quality of the picture by itself."""
        return self.content + self.style + self.total_variation

    @property
    def total(self) -> float:
        """The sum that the optimizer minimises."""
        return self.objective + self.temporal

    @classmethod
    def mean(cls, losses: Sequence[Self]) -> Self:
        """The means of the terms of the objective over several pictures, at least one."""
        return cls(
            content=statistics.fmean(item.content for item in losses),
            style=statistics.fmean(item.style for item in losses),
            total_variation=statistics.fmean(item.total_variation for item in losses),
        )


@dataclasses.dataclass(frozen=True)
class Notice:
    """A message for the user; the job continues."""

    text: str


@dataclasses.dataclass(frozen=True)
class Scanning:
    """Progress of the first reading of the content, which counts frames and finds cuts."""

    path: Path
    frames_read: int
    frame_count_declared: int | None


@dataclasses.dataclass(frozen=True)
class JobStarted:
    """The plan is made; painting begins."""

    kind: str
    output: Path
    job: Path
    frame_count: int
    done_count: int
    shot_count: int
    iterations_left: int
    """Upper bound for all frames that are still to be painted, in iterations at their own size."""
    device: str
    settings: str
    """The description of the settings."""


@dataclasses.dataclass(frozen=True)
class FrameStarted:
    """A frame is handed to a device. `start`: the kind of its initial picture."""

    index: int
    name: str
    size: tuple[int, int]
    """(height, width) of its painting."""
    start: str
    iterations: int
    """The most that it may take, at all its scales together."""
    work: float
    """What they are worth in iterations at its size."""
    device: str = ""


@dataclasses.dataclass(frozen=True)
class FrameProgress:
    """A frame in flight after `iteration` of at most `iterations` evaluations of the objective.

    A scale that is done before it took all of its iterations counts with all of them from then on.
    """

    index: int
    iteration: int
    iterations: int
    losses: Losses
    """At the scale that is painted."""
    work: float
    """What the iterations so far are worth at the size of the frame."""
    size: tuple[int, int] | None = None
    """(height, width) of the scale that is painted; None where there is one only."""


@dataclasses.dataclass(frozen=True)
class FrameDone:
    """A frame is saved; `losses` are those of the file as read back."""

    index: int
    name: str
    path: Path
    losses: Losses
    iterations: int
    stop: str
    seconds: float
    retried: str | None


@dataclasses.dataclass(frozen=True)
class FrameFailed:
    """A frame could not be painted; the job continues with the frames that do not depend on it."""

    index: int
    name: str
    message: str


@dataclasses.dataclass(frozen=True)
class Assembling:
    """All frames are painted and the video is being written."""

    output: Path
    frames_written: int
    frame_count: int


@dataclasses.dataclass(frozen=True)
class TimeUse:
    """Where the time of a job's runs went while frames were painted, in seconds.

    Where only some workers wait, the time counts by their share. What is missing in the sum is the time in which frames
    are handed out, or no frame can begin before others are done.
    """

    seconds: float = 0.0
    """All of it."""
    painting: float = 0.0
    """While workers painted."""
    flow: float = 0.0
    """While a free worker waited for the optical flow and the masks of its frame."""
    reading: float = 0.0
    """While a free worker waited for its frame to be read."""
    saving: float = 0.0
    """While nothing was painted until a painting was saved."""


@dataclasses.dataclass(frozen=True)
class JobDone:
    """The job has ended; `failed` has a line for each frame that could not be painted."""

    output: Path
    job: Path
    frame_count: int
    painted_count: int
    failed: tuple[str, ...]
    plots: tuple[Path, ...]
    losses: Losses | None
    """Mean over the painted frames."""
    iterations: int
    seconds: float
    not_kept: tuple[str, ...] = ()
    """A line for everything of the content that the output could not keep."""
    time_use: TimeUse | None = None
    """Over all runs of the job; None where nothing was painted."""


Event: TypeAlias = (
    Notice | Scanning | JobStarted | FrameStarted | FrameProgress | FrameDone | FrameFailed | Assembling | JobDone
)
Listener: TypeAlias = Callable[[Event], None]

_NAMES = {
    Notice: "notice",
    Scanning: "scanning",
    JobStarted: "job_started",
    FrameStarted: "frame_started",
    FrameProgress: "frame_progress",
    FrameDone: "frame_done",
    FrameFailed: "frame_failed",
    Assembling: "assembling",
    JobDone: "job_done",
}


class StopSignal:
    """Asks a running job to stop after the frames in flight, which have `grace_seconds` to be finished."""

    def __init__(self, grace_seconds: float = 30.0, clock: Callable[[], float] = time.monotonic) -> None:
        self.requested = False
        self.grace_seconds = grace_seconds
        self._clock = clock
        self._since: float | None = None

    def request(self) -> None:
        """May be called at any time, also from a signal handler."""
        self._since = self._clock()
        self.requested = True

    @property
    def is_overdue(self) -> bool:
        """Whether the grace time is over, and frames in flight are to be left as they are."""
        return self._since is not None and self._clock() - self._since >= self.grace_seconds


def ignore(_: Event) -> None:
    """A listener that does nothing."""


def to_record(event: Event) -> dict[str, Any]:
    """Returns the event as plain JSON types, with its kind under `event` and the objective beside its terms."""
    return {"event": _NAMES[type(event)], **{name: _plain(value) for name, value in vars(event).items()}}


def _plain(value: Any) -> Any:
    if isinstance(value, Losses):
        terms = {**dataclasses.asdict(value), "objective": value.objective}
        return {name: _plain(term) for name, term in terms.items()}
    if isinstance(value, TimeUse):
        return dataclasses.asdict(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None  # JSON has no infinity and no NaN.
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value
