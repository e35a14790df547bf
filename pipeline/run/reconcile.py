"""The store of a job compared with the files on the disk, before anything is painted.

A record in the store is not believed: each file that it names is hashed. What is missing or damaged is painted again,
and gets the same bits.
"""

from collections.abc import Sequence
from pathlib import Path

from .. import storage
from ..errors import OutputError
from ..events import Listener
from ..job.folder import comparison_path, file_problem
from ..job.job import Job
from ..job.records import FrameRecord, FrameState
from ..plan.inputs import Inputs
from ..plan.targets import picture_comparison_path
from .notices import notify


def reconcile(job: Job, inputs: Inputs, listener: Listener) -> list[FrameRecord]:
    """Brings the store in line with the files, removes partial files, and returns the frames to paint, in order.

    Raises `OutputError` where a file in the output was changed after the job wrote it: it may be the user's work.
    """
    _restore_cleaned_frames(job, inputs, listener)
    frames = job.frames()
    storage.remove_partial_files_of(_unfinished_paths(inputs, frames))
    if to_reset := _frames_to_paint_again(job, frames, listener):
        job.reset_frames(to_reset)
    _reconcile_output(job, inputs.request.output)
    return job.frames(FrameState.PENDING)


def _restore_cleaned_frames(job: Job, inputs: Inputs, listener: Listener) -> None:
    """Makes the frames that `clean` removed pending again where the output that was made of them is missing."""
    if not job.is_cleaned:
        return
    if inputs.to_video:
        outputs = [inputs.request.output]
    else:
        outputs = [frame.path for frame in job.frames() if not frame.path.is_relative_to(job.folder)]
    missing = [path for path in outputs if not path.exists()]
    if missing:
        notify(job, listener, f"{missing[0]} is missing, and its frames were cleaned away: they are painted again")
        job.reset_cleaned_frames()


def _unfinished_paths(inputs: Inputs, frames: Sequence[FrameRecord]) -> list[Path]:
    """Files next to which a killed run may have left partial copies."""
    output = inputs.request.output
    paths = [frame.path for frame in frames if frame.state is not FrameState.DONE]
    if inputs.to_video:
        paths.append(output)
    if inputs.request.compare and inputs.to_video:
        paths.append(comparison_path(output))
    elif inputs.request.compare:
        paths += [picture_comparison_path(inputs, frame.path) for frame in frames if frame.pass_number == 0]
    return paths


def _frames_to_paint_again(job: Job, frames: Sequence[FrameRecord], listener: Listener) -> list[FrameRecord]:
    """Frames that failed, and those whose files are missing or damaged."""
    found = []
    for frame in frames:
        is_inside = frame.path.is_relative_to(job.folder)
        if frame.state is FrameState.FAILED:
            found.append(frame)
        elif frame.state is FrameState.DONE and not (job.is_cleaned and is_inside):
            problem = file_problem(frame.path, frame.sha256)
            if problem is None:
                continue
            if frame.path.exists() and not is_inside:
                raise OutputError(
                    f"{frame.path} has changed since this job wrote it, and is kept: "
                    "move it away to have it painted again, or start over with `stylize(force=True)`"
                )
            found.append(frame)
            notify(job, listener, f"{frame.path} {problem}: it is painted again")
    return found


def _reconcile_output(job: Job, output: Path) -> None:
    expected, written = job.expected_output, job.output
    if expected is not None and expected != written and file_problem(output, expected.sha256) is None:
        # The run was killed after the output got its name, before that was recorded.
        job.finish_output(expected)
        written = expected
    if written is not None and written.sha256 is not None and file_problem(output, written.sha256):
        if output.exists():
            raise OutputError(
                f"output {output} has changed since this job wrote it: move it away, or start over with "
                "`stylize(force=True)`"
            )
        job.reopen_output()
    # Frames that are painted again get the same bits, so a complete output stays valid.
