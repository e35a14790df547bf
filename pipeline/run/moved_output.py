"""An output that is at another place than before: what the job wrote there is copied, and not painted again."""

import os
from pathlib import Path

from .. import storage
from ..errors import OutputError
from ..events import Listener
from ..job.folder import file_problem
from ..job.job import Job
from ..job.records import FrameState
from ..job.relocation import Relocation
from ..media.containers import is_video_name
from ..media.image_file import is_image_name
from ..plan.inputs import Inputs
from ..plan.writable import check_can_be_written
from .notices import notify


def require_same_kind(output: Path, old: Path) -> None:
    """Raises `OutputError` where an output is a file of another format than that of the job, or a folder instead."""
    if _ending(output) != _ending(old):
        kind = f"that ends in {_ending(old)}" if _ending(old) else "without the ending of an image or a video"
        raise OutputError(f"output {output} is of another kind than the job's ({old}): choose an `output` {kind}")


def move_output(job: Job, inputs: Inputs) -> None:
    """Records that the output, which is of the same kind, is or will be where the request has it.

    Raises `OutputError` for one that cannot be written, and where files are that are not the job's.
    """
    old, new = Path(job.recipe["output"]), Path(os.path.abspath(inputs.request.output))
    if new == old:
        return
    move = Relocation(old, new)
    written = {Path(move.output(str(path))): sha256 for path, sha256 in _written_files(job).items()}
    if inputs.to_one_file:
        written.setdefault(new, "")
    for path, sha256 in written.items():
        if path.exists() and file_problem(path, sha256) is not None:
            raise OutputError(f"{path} exists and is not what this job wrote: choose another `output`")
    check_can_be_written(inputs)
    job.move_output(new)


def fetch_output(job: Job, listener: Listener) -> None:
    """Copies what the job wrote at the earlier place of its output, where it was not moved along; it stays there."""
    fetched = []
    for path, sha256 in _written_files(job).items():
        places = job.earlier_places(path)
        if not places or path.exists():
            continue
        storage.remove_partial_files_of([path])
        earlier = next((place for place in places if file_problem(place, sha256) is None), None)
        if earlier is not None:
            storage.copy(earlier, path)
            fetched.append(earlier)
    if fetched:
        more = f" and {len(fetched) - 1} more" if len(fetched) > 1 else ""
        notify(job, listener, f"{fetched[0]}{more}, which this job wrote, is copied to {job.recipe['output']}")
    job.forget_earlier_places()


def _written_files(job: Job) -> dict[Path, str]:
    """The files of the output that are written, each with its hash."""
    frames = (frame for frame in job.frames(FrameState.DONE) if not frame.path.is_relative_to(job.folder))
    found = {frame.path: frame.sha256 for frame in frames if frame.sha256 is not None}
    film = job.output or job.expected_output
    if film is not None and film.sha256 is not None:
        found[Path(job.recipe["output"])] = film.sha256
    return found | job.comparisons


def _ending(output: Path) -> str:
    """The ending that says what is painted; empty for a folder."""
    return output.suffix.lower() if is_video_name(output) or is_image_name(output) else ""
