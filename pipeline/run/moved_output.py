"""An output that is at another place than before: what the job wrote there is copied, and not painted again."""

import dataclasses
import os
from collections.abc import Mapping, Sequence
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
from ..plan.execution_plan import ExecutionPlan
from ..plan.inputs import Inputs
from ..plan.targets import comparison_paths, require_kind_of_output
from ..plan.writable import check_can_be_written
from .notices import notify


def require_same_kind(output: Path, old: Path) -> None:
    """Raises `OutputError` where an output is a file of another format than that of the job, or a folder instead."""
    if _ending(output) != _ending(old):
        kind = f"that ends in {_ending(old)}" if _ending(old) else "without the ending of an image or a video"
        raise OutputError(f"output {output} is of another kind than the job's ({old}): choose an `output` {kind}")


def move_output(job: Job, inputs: Inputs) -> None:
    """Records that the output, which is of the same kind, is or will be where the request has it.

    Raises `OutputError` for one that cannot be written, and where files are, or would be in the way of those that are
    still to be painted, that are not the job's.
    """
    old, new = Path(job.recipe["output"]), Path(os.path.abspath(inputs.request.output))
    if new == old:
        return
    require_kind_of_output(inputs)
    move = Relocation(old, new)
    before = dataclasses.replace(inputs, request=dataclasses.replace(inputs.request, output=old))
    files = _planned_files(job, before)
    moved = {Path(move.output(str(path))): hashes for path, hashes in files.items()}
    _require_no_others(moved, ExecutionPlan.from_values(move.plan(job.plan)), job.folder)
    check_can_be_written(inputs)
    # Those of a killed run; nobody would look for them there any more.
    storage.remove_partial_files_of(files)
    job.move_output(new)


def fetch_output(job: Job, inputs: Inputs, listener: Listener) -> None:
    """Copies what the job wrote at the earlier place of its output, where it was not moved along; it stays there.

    Raises `OutputError` where files at the new place are not the job's; then the earlier place is not forgotten.
    """
    if not job.earlier_places(Path(job.recipe["output"])):
        return
    _require_no_others(_planned_files(job, inputs), ExecutionPlan.from_values(job.plan), job.folder)
    fetched = []
    for path, hashes in _written_files(job).items():
        if path.exists():
            continue
        storage.remove_partial_files_of([path])
        earlier = next((place for place in job.earlier_places(path) if _has_one_of(place, hashes)), None)
        if earlier is not None:
            storage.copy(earlier, path)
            fetched.append(earlier)
    if fetched:
        more = f" and {len(fetched) - 1} more" if len(fetched) > 1 else ""
        are = "are" if more else "is"
        notify(job, listener, f"{fetched[0]}{more}, which this job wrote, {are} copied to {job.recipe['output']}")
    job.forget_earlier_places()


def _require_no_others(files: Mapping[Path, Sequence[str]], plan: ExecutionPlan, job_folder: Path) -> None:
    """Raises `OutputError` where something else is in the place of one of a job's files, each given with its hashes.

    A file that was not recorded may be the job's as well where others of it are: the run that wrote it was killed. It
    is compared when it is painted again.
    """
    is_own = {path: _has_one_of(path, hashes) for path, hashes in files.items() if storage.is_taken(path)}
    is_there = any(is_own.values())
    others = [path for path in is_own if not is_own[path] and not (is_there and not files[path] and path.is_file())]
    if others := [path for path in others if not plan.may_overwrite(path, job_folder)]:
        more = f" and {len(others) - 1} more exist and are" if len(others) > 1 else " exists and is"
        it = "them" if len(others) > 1 else "it"
        raise OutputError(f"{others[0]}{more} not what this job wrote: move {it} away, or choose another `output`")


def _has_one_of(path: Path, hashes: Sequence[str]) -> bool:
    return any(file_problem(path, sha256) is None for sha256 in hashes)


def _planned_files(job: Job, inputs: Inputs) -> dict[Path, tuple[str, ...]]:
    """All files that the job writes outside its folder, each with its hashes; without for one that is not written."""
    output = Path(os.path.abspath(inputs.request.output))
    paintings = [frame.path for frame in job.frames() if not frame.path.is_relative_to(job.folder)]
    paths = [*paintings, *([output] if inputs.to_one_file else ()), *comparison_paths(inputs, paintings)]
    return dict.fromkeys(paths, ()) | _written_files(job)


def _written_files(job: Job) -> dict[Path, tuple[str, ...]]:
    """The files of the output that are written, each with its hash; a film may have that of one that was about to
    replace it."""
    frames = (frame for frame in job.frames(FrameState.DONE) if not frame.path.is_relative_to(job.folder))
    found: dict[Path, tuple[str, ...]] = {frame.path: (frame.sha256,) for frame in frames if frame.sha256 is not None}
    films = (film.sha256 for film in (job.output, job.expected_output) if film is not None)
    if hashes := tuple(dict.fromkeys(sha256 for sha256 in films if sha256 is not None)):
        found[Path(job.recipe["output"])] = hashes
    return found | {path: (sha256,) for path, sha256 in job.comparisons.items()}


def _ending(output: Path) -> str:
    """The ending that says what is painted; empty for a folder."""
    return output.suffix.lower() if is_video_name(output) or is_image_name(output) else ""
