"""What is painted of a job: what its store has, and what is not saved yet."""

import dataclasses

import numpy as np

from ..errors import FrameError
from ..job.folder import file_problem
from ..job.job import Job
from ..job.records import FrameRecord, FrameState
from ..media.images import read_image
from .in_flight import Painted, key_of


class PaintedFrames:
    """Looks up paintings by pass and index, whether they are saved or still in memory.

    A frame starts from the previous painting as it is in memory, which for PNG is what will be on the disk.
    """

    def __init__(self, job: Job) -> None:
        self._job = job
        self._unsaved: dict[tuple[int, int], Painted] = {}

    def add(self, painted: Painted) -> None:
        """Remembers a painting until it is saved."""
        self._unsaved[painted.key] = painted

    def drop(self, frame: FrameRecord) -> Painted | None:
        """Forgets a painting, as it is saved or could not be; returns it."""
        return self._unsaved.pop(key_of(frame), None)

    def unsaved(self, frame: FrameRecord) -> Painted:
        """The painting of a frame that is not saved yet."""
        return self._unsaved[key_of(frame)]

    def is_painted(self, pass_number: int, index: int) -> bool:
        """Whether a frame is painted, saved or not."""
        record = self._find(index, pass_number)
        return record is not None and record.state is FrameState.DONE

    def record(self, frame: FrameRecord, index: int, pass_number: int | None = None) -> FrameRecord:
        """The record of the painted frame `index`, of the same pass unless another is named, that `frame` starts from.
        Raises `FrameError` where it is not painted."""
        other = self._find(index, frame.pass_number if pass_number is None else pass_number)
        if other is None or other.state is not FrameState.DONE:
            raise FrameError(f"{frame.name} starts from frame {index}, which is not painted")
        return other

    def picture(self, frame: FrameRecord, index: int, pass_number: int | None = None) -> np.ndarray:
        """The painting (H×W×3 uint8) of frame `index` that `frame` starts from. Raises `FrameError` where it is not
        painted, or its file is not what was saved."""
        other = self.record(frame, index, pass_number)
        unsaved = self._unsaved.get(key_of(other))
        if unsaved is not None:
            return unsaved.result.image
        if (problem := file_problem(other.path, other.sha256)) is not None:
            raise FrameError(f"{frame.name} starts from {other.path}, which {problem}")
        return read_image(other.path)

    def _find(self, index: int, pass_number: int) -> FrameRecord | None:
        """The record of a frame; that of an unsaved one reads as it will once it is saved."""
        record = self._job.frame(index, pass_number)
        unsaved = self._unsaved.get((pass_number, index))
        if record is None or unsaved is None:
            return record
        return dataclasses.replace(
            record,
            state=FrameState.DONE,
            losses=unsaved.result.losses,
            stop=str(unsaved.result.stop),
            reference=unsaved.in_flight.reference,
        )
