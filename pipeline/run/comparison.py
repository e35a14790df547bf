"""Content and result side by side: one film beside the output, or a picture for each painting."""

import os
from collections.abc import Callable
from pathlib import Path

from .. import storage
from ..errors import Interrupted, OutputError
from ..events import Assembling, Listener, StopSignal
from ..job.folder import comparison_path, file_problem
from ..job.job import Job
from ..job.records import FrameRecord, FrameState
from ..media.frame_reader import FrameReader
from ..media.images import read_image, write_image
from ..plan.execution_plan import ExecutionPlan
from ..plan.inputs import Inputs
from ..plan.targets import picture_comparison_path
from . import assembly
from .reader_slots import frame_index_of


def write_comparisons(job: Job, inputs: Inputs, plan: ExecutionPlan, listener: Listener, stop: StopSignal) -> None:
    """Writes and records the comparisons that are not there yet.

    Raises `Interrupted`, and `OutputError` for a file at their path that has changed or is not the job's.
    """
    target = comparison_path(inputs.request.output)

    def check_stop() -> None:
        if stop.requested:
            raise Interrupted(f"stopped while writing {target}; continue with: impasto resume {job.folder}")

    with FrameReader(inputs.content, frame_index_of(job)) as reader:
        if inputs.to_video:
            _write_film(job, inputs, plan, reader, target, listener, check_stop)
        else:
            _write_pictures(job, inputs, reader, target, listener, check_stop)


def _write_film(
    job: Job,
    inputs: Inputs,
    plan: ExecutionPlan,
    reader: FrameReader,
    target: Path,
    listener: Listener,
    check_stop: Callable[[], None],
) -> None:
    def on_frame(written: int, frame_count: int) -> None:
        check_stop()
        listener(Assembling(target, written, frame_count))

    def write(path: Path) -> None:
        with assembly.open_film(job, inputs, plan) as film:
            notes = assembly.write_film(film, path, inputs.request.encoding, on_frame, reader)
        for note in notes:
            # Logged only: the output's own notes, which were shown, say the same but for the double width.
            job.log(f"{target}: {note}")

    _write_and_record(job, job.comparisons, target, write)


def _write_pictures(
    job: Job, inputs: Inputs, reader: FrameReader, target: Path, listener: Listener, check_stop: Callable[[], None]
) -> None:
    recorded = job.comparisons
    frames = [frame for frame in job.frames(FrameState.DONE) if frame.pass_number == 0]
    for written, frame in enumerate(frames, start=1):
        check_stop()

        def write(path: Path, frame: FrameRecord = frame) -> None:
            write_image(path, assembly.side_by_side(reader.read(frame.index)[0], read_image(frame.path)))

        _write_and_record(job, recorded, picture_comparison_path(inputs, frame.path), write)
        listener(Assembling(target, written, len(frames)))


def _write_and_record(job: Job, recorded: dict[Path, str], path: Path, write: Callable[[Path], None]) -> None:
    """Writes and records a comparison, unless it is there as recorded."""
    sha256 = recorded.get(Path(os.path.abspath(path)))
    if sha256 is not None and path.exists():
        if (problem := file_problem(path, sha256)) is not None:
            raise OutputError(f"comparison {path} {problem}: move it away to have it made again")
        return
    staged = job.folder / f"comparison{path.suffix}"
    write(staged)
    sha256 = storage.hash_file(staged)
    if not storage.is_taken(path):
        storage.move(staged, path)
    else:
        # The same file was left by a run that was killed before it recorded it.
        is_same = file_problem(path, sha256) is None
        storage.remove(staged)
        if not is_same:
            raise OutputError(f"{path}, for `compare`, has appeared since the job began: move it away and resume")
    job.finish_comparison(path, sha256)
