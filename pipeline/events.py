"""What happens while a job runs, as small records.

The pipeline hands each record to a callback and prints nothing itself. The same records feed the
live view, the `--json` lines and the job's log.
"""

import dataclasses
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias


@dataclasses.dataclass(frozen=True)
class Losses:
    """Weighted losses of one picture.

    `objective` is content, style and total variation: what is asked of a picture alone. `temporal` is what it
    differs from the frames before it, which weighs in while it is painted and is no part of the objective.
    """

    content: float
    style: float
    total_variation: float
    temporal: float = 0.0

    @property
    def objective(self) -> float:
        return self.content + self.style + self.total_variation

    @property
    def total(self) -> float:
        """What is minimised."""
        return self.objective + self.temporal


@dataclasses.dataclass(frozen=True)
class Notice:
    """Something that the user should know and that stops nothing."""

    text: str


@dataclasses.dataclass(frozen=True)
class Scanning:
    """The content is being read once from end to end, to count frames and find cuts."""

    path: Path
    frames_read: int
    frame_count_declared: int | None


@dataclasses.dataclass(frozen=True)
class JobStarted:
    """The plan is made and the first frame is about to be painted."""

    kind: str
    output: Path
    job: Path
    frame_count: int
    done_count: int
    shot_count: int
    iterations_left: int
    """The most that the frames to be painted may take together."""
    device: str
    settings: str
    """What the settings say of themselves."""


@dataclasses.dataclass(frozen=True)
class FrameStarted:
    """One frame goes to a device. `start` is what it is painted from, `iterations` the most it may take."""

    index: int
    name: str
    size: tuple[int, int]
    start: str
    iterations: int
    device: str = ""


@dataclasses.dataclass(frozen=True)
class FrameProgress:
    """The frame under way after `iteration` evaluations of the objective."""

    index: int
    iteration: int
    iterations: int
    losses: Losses


@dataclasses.dataclass(frozen=True)
class FrameDone:
    """A frame is on the disk; `losses` are those of the file as read back."""

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
    """A frame could not be painted; the job goes on with those that do not depend on it."""

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
class JobDone:
    """The job has ended; `failed` names what could not be painted."""

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
    """The way back: asks a running job to stop after the frame under way, which has `grace_seconds` to be finished."""

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
        """Whether the frame under way has had its time, and is to be left as it is."""
        return self._since is not None and self._clock() - self._since >= self.grace_seconds


def ignore(_: Event) -> None:
    """A listener for callers that want only the result."""


def to_record(event: Event) -> dict[str, Any]:
    """The event as plain JSON types, with its kind under `event` and the objective beside its terms."""
    return {"event": _NAMES[type(event)], **{name: _plain(value) for name, value in vars(event).items()}}


def _plain(value: Any) -> Any:
    if isinstance(value, Losses):
        terms = {**dataclasses.asdict(value), "objective": value.objective}
        return {name: _plain(term) for name, term in terms.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return None  # JSON has no word for it
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value
