"""TODO: job.records."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from ..events import Losses


class FrameState(StrEnum):
    PENDING = "pending"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True)
class PlannedFrame:
    """A frame of the job before anything is done to it.

    `index`: its place in the content, from 0. `shot`: index of the first frame of its shot (a photo is a
    shot of its own). `name`: what a person calls it. `path`: where its painting goes, absolute, or
    relative to the job's folder. `pts`: presentation time in units of the content's time base, if any.
    `work`: the most iterations that it takes, for estimates of time. `pass_number`: 0 for the painting that is
    kept, -1 for the pass before it, and so on.
    """

    index: int
    shot: int
    name: str
    path: str
    pts: int | None = None
    work: int = 1
    pass_number: int = 0


@dataclass(frozen=True)
class FrameRecord:
    """A frame as the store has it; the fields from `sha256` on are None until it is done.

    `device` is what it was painted on, as a person knows it. `reference` is the objective that its stopping target
    followed from, and `sources` are the frames that it started from and was held to: they stay when a frame is painted
    again because its file is lost, so that it gets the same bits.
    """

    pass_number: int
    index: int
    shot: int
    name: str
    path: Path
    pts: int | None
    state: FrameState
    sha256: str | None
    losses: Losses | None
    iterations: int | None
    stop: str | None
    retried: str | None
    seconds: float | None
    device: str | None
    reference: float | None
    sources: tuple[int, ...] | None
    error: str | None

    @property
    def starts_shot(self) -> bool:
        return self.index == self.shot


@dataclass(frozen=True)
class DevicePace:
    """What a device has painted of a job."""

    device: str
    """As a person knows it; on a cluster with the address of its machine."""
    frame_count: int
    seconds_per_frame: float


@dataclass(frozen=True)
class JobStatus:
    """How far a job is."""

    folder: Path
    output: Path
    kind: str
    frame_count: int
    done_count: int
    failed: tuple[tuple[str, str], ...]
    """(name, message) of each frame that failed."""
    seconds_per_frame: float | None
    devices: tuple[DevicePace, ...]
    """Where the frames that are done were painted, the device with the most of them first."""
    seconds_left: float | None
    iterations: int
    losses: Losses | None
    """Mean over the frames that are done; drafts of several passes do not count."""
    finished: bool
    """Whether the output is complete under its name, and no frame is put back to be painted."""
    owner: str | None
    """Who is working on it now, or None."""
    lost_owner: str | None
    """Who was working on it and has gone without a word: killed, crashed, or the power was cut."""
    stalled_seconds: float | None
    """For how long its owner has finished nothing, where that is much longer than any of its frames should take."""
