"""Paintings → files: written, read back, hashed, and recorded in the job."""

import dataclasses
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from .. import storage
from ..errors import OutputError
from ..events import Losses
from ..job.folder import PLOTS_NAME, file_problem
from ..job.job import Job
from ..job.records import FrameRecord
from ..media import decoding
from ..media.content import Content
from ..media.frame_png import write_frame
from ..media.image_metadata import Extras
from ..media.images import read_image, write_image
from ..out_of_memory import translated_memory_errors
from ..pictures import size_of
from ..plan.execution_plan import ExecutionPlan
from ..report.plots import plot_losses
from .in_flight import Painted
from .notices import notify_not_kept
from .saver import Notify

LossPlotter = Callable[[Sequence[Losses], Path, str], None]
"""Draws the trace of an optimisation to a file, under a title."""


class PictureWriter:
    """Saves the paintings of a job, in any number of threads; `strip` leaves out metadata."""

    def __init__(
        self,
        job: Job,
        content: Content,
        plan: ExecutionPlan,
        *,
        strip: bool,
        plot: LossPlotter = plot_losses,
    ) -> None:
        self._job = job
        self._content = content
        self._plan = plan
        self._strip = strip
        self._plot = plot
        self._one_at_a_time = threading.Lock()

    @translated_memory_errors()  # A frame that cannot be saved for it fails, and the others go on.
    def save(self, painted: Painted, notify: Notify) -> Painted:
        """Writes a painting and records its frame as done; returns it with the losses of the file.

        `notify` is called with what the user should know of what the file cannot hold.

        Where a lossy format has changed the picture, nothing is recorded yet: the painting comes back with the picture
        as saved, to be measured and saved once more. Raises `OutputError` where another file is in the way.
        """
        in_flight, result = painted.in_flight, painted.result
        frame = in_flight.frame
        losses = painted.saved_losses
        if losses is None:
            self._write(frame, result.image, in_flight.motion_frame.alpha, notify)
            saved = read_image(frame.path)
            if not np.array_equal(saved, result.image):
                return dataclasses.replace(painted, saved=saved)
            losses = result.losses
        if frame.index == self._plan.first_frame and frame.pass_number == 0:
            # Before the frame counts as done, as a crash in between would leave the job without its plot.
            path = self._job.folder / PLOTS_NAME / f"losses-{frame.index:06d}.png"
            self._plot(result.trace, path, f"{frame.name}: how the weighted losses fell")
        self._job.finish_frame(
            frame.index,
            storage.hash_file(frame.path),
            losses,
            result.iterations,
            str(result.stop),
            painted.retry_reason,
            painted.seconds,
            device=in_flight.device,
            reference=in_flight.reference,
            sources=in_flight.sources,
            pass_number=frame.pass_number,
        )
        if in_flight.assignment.checkpoint is not None:
            in_flight.assignment.checkpoint.remove()
        return dataclasses.replace(painted, saved_losses=losses)

    def _write(self, frame: FrameRecord, image: np.ndarray, alpha: np.ndarray | None, notify: Notify) -> None:
        """Writes the picture. A file that has appeared at its path since the job began is kept."""
        extras = Extras(alpha) if self._content.is_film else self._extras(frame, notify)
        extras = extras.at_size(size_of(image))
        if self._plan.may_overwrite(frame.path, self._job.folder) or not storage.is_taken(frame.path):
            self._write_file(frame.path, image, extras)
            return
        # Either this job wrote it and was killed before it recorded it, or it is the user's.
        copy = self._job.folder / f"compared{frame.path.suffix}"
        with self._one_at_a_time:
            try:
                self._write_file(copy, image, extras)
                if file_problem(frame.path, storage.hash_file(copy)) is not None:
                    raise OutputError(f"{frame.path} has appeared since the job began and is kept: move it and resume")
            finally:
                storage.remove(copy)

    def _write_file(self, path: Path, image: np.ndarray, extras: Extras) -> None:
        if self._content.is_film:
            write_frame(path, image, extras.alpha)
        else:
            write_image(path, image, extras)

    def _extras(self, frame: FrameRecord, notify: Notify) -> Extras:
        """The transparency and metadata that a photo's painting takes over from its file."""
        name = frame.name if len(self._content.files) > 1 else ""
        with self._one_at_a_time:  # It takes milliseconds, and a decoder for each thread seconds to start.
            extras = decoding.read_extras(self._content.files[frame.index].path, strip=self._strip)
            extras, lost = extras.fitted(frame.path.suffix)
            for line in lost:
                notify_not_kept(self._job, notify, line, name)
        return extras
