"""The records that follow a frame through the loop: handed out, painted, saved."""

from dataclasses import dataclass, replace

import numpy as np

from ..events import Losses
from ..job.records import FrameRecord
from ..motion.reader import MotionFrame
from ..paint.task import FrameTask, PaintedFrame
from .executor import Assignment
from .reader_slots import ReaderSlot


@dataclass(frozen=True)
class FrameInFlight:
    """A frame that a worker has."""

    frame: FrameRecord
    slot: ReaderSlot | None
    """The reader slot that it occupies; None while only its saved picture is measured."""
    motion_frame: MotionFrame
    assignment: Assignment
    reference: float | None
    """The objective that its stopping target is a multiple of, if it has one."""
    sources: tuple[int, ...]
    """The frames that it was started from and is compared with."""
    device: str = ""
    """Label of the worker's device."""
    tries: int = 1
    retry_reason: str | None = None
    """Why the try before failed."""

    def without_motion(self) -> "FrameInFlight":
        """The same without its flow and the paintings that it was started from, which are ten times as large as its
        own picture."""
        task = self.assignment.task
        if isinstance(task, FrameTask):
            task = replace(task, given=None, warp_source=None, references=(), crossfade_with=None)
        motion_frame = replace(self.motion_frame, links=())
        return replace(self, motion_frame=motion_frame, assignment=replace(self.assignment, task=task))


@dataclass(frozen=True)
class Painted:
    """A painted frame on its way to the disk."""

    in_flight: FrameInFlight
    result: PaintedFrame
    """The picture and its losses, as painted."""
    seconds: float
    saved: np.ndarray | None = None
    """The picture as read back, where a lossy format has changed it."""
    saved_losses: Losses | None = None
    """Losses of the picture as saved; None until it is saved and, where it was changed, measured."""

    @property
    def key(self) -> tuple[int, int]:
        """(pass number, index) of the frame."""
        return key_of(self.in_flight.frame)

    @property
    def picture_bytes(self) -> int:
        """The memory that its pictures take: the painting, as painted and as saved, and its content."""
        saved = 0 if self.saved is None else self.saved.nbytes
        return self.result.image.nbytes + saved + self.in_flight.motion_frame.picture_bytes

    @property
    def retry_reason(self) -> str | None:
        """Why the frame needed a second try, within its worker or as a whole; None where it did not."""
        return self.result.retried or self.in_flight.retry_reason


def key_of(frame: FrameRecord) -> tuple[int, int]:
    """(pass number, index): what identifies a frame within its job."""
    return frame.pass_number, frame.index
