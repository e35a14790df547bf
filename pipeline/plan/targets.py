"""The files that a job writes outside its folder, and which of those that exist it may overwrite."""

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from .. import storage
from ..errors import OutputError
from ..job.folder import comparison_path, is_job, require_no_other_files
from ..job.records import PlannedFrame
from ..media.content import ContentKind
from .inputs import Inputs
from .request import Request


def picture_comparison_path(inputs: Inputs, painting: Path) -> Path:
    """Where one painting is shown beside its content; `painting` is an absolute path in the output."""
    target = comparison_path(inputs.request.output)
    if inputs.content.kind is ContentKind.IMAGE:
        return target
    return target / os.path.relpath(painting, inputs.request.output)


def require_kind_of_output(inputs: Inputs) -> None:
    """Raises `OutputError` where a file is in the place of a folder, a folder in that of a file, or a dead link."""
    for path, what in _outputs(inputs):
        if storage.is_taken(path) and not path.exists():
            raise OutputError(f"{what} is a link that leads nowhere: choose another `output`, or remove the link")
        if not inputs.to_one_file and path.exists() and not path.is_dir():
            raise OutputError(f"{what} is a file, and the output of this content is a folder: name another")
        if inputs.to_one_file and path.is_dir():
            raise OutputError(f"{what} is a folder: name a file")


def check_output_is_free(inputs: Inputs) -> None:
    """Raises `OutputError` where the output or its comparison exists and may not be overwritten, or is of the wrong
    kind."""
    require_kind_of_output(inputs)
    for path, what in _outputs(inputs) if inputs.to_one_file else ():
        if path.exists() and not inputs.request.force:
            raise OutputError(f"{what} exists: choose another `output`, or overwrite it with `force`")
        if path.exists() and not path.is_file():
            raise OutputError(f"{what} is no regular file: name another")


def _outputs(inputs: Inputs) -> list[tuple[Path, str]]:
    """The output, and where its comparisons go, with what messages call them."""
    output, comparison = inputs.request.output, comparison_path(inputs.request.output)
    compared = [(comparison, f"{comparison}, for `compare`,")] if inputs.request.compare else []
    return [(output, f"output {output}"), *compared]


def check_job_folder(request: Request) -> None:
    """Raises `OutputError` where the folder of a new job is a file, or holds what is not a job's."""
    folder = request.job_folder
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"the job's folder {folder} is a file: remove it, or name another `job`")
    if not is_job(folder):
        require_no_other_files(folder)


def check_paintings_are_free(inputs: Inputs, frames: Sequence[PlannedFrame]) -> None:
    """Raises `OutputError` where paintings in an output folder would overwrite files, or with `force` other things."""
    if inputs.request.force:
        for path in _outside(frames):
            if storage.is_taken(path) and not path.is_file():
                raise OutputError(f"{path} is in the way and no regular file: choose another `output`")
        return
    existing = [path for path in _outside(frames) if storage.is_taken(path)]
    if existing:
        more = f" and {len(existing) - 1} more" if len(existing) > 1 else ""
        raise OutputError(f"{existing[0]}{more} exists: choose another `output`, or overwrite with `force`")


def comparison_paths(inputs: Inputs, paintings: Iterable[Path]) -> list[Path]:
    """The files that a job writes for `compare`, if asked to; `paintings` are those outside its folder."""
    if not inputs.request.compare:
        return []
    if inputs.to_video:
        return [comparison_path(Path(os.path.abspath(inputs.request.output)))]
    return [picture_comparison_path(inputs, path) for path in paintings]


def check_comparisons_are_free(inputs: Inputs, frames: Sequence[PlannedFrame]) -> None:
    """Raises `OutputError` where comparisons would overwrite files, or with `force` other things."""
    for path in comparison_paths(inputs, _outside(frames)):
        if storage.is_taken(path) and not (inputs.request.force and path.is_file()):
            raise OutputError(f"{path}, for `compare`, exists: choose another `output`, or overwrite it with `force`")


def clear_comparisons(inputs: Inputs, frames: Sequence[PlannedFrame]) -> None:
    """With `force` removes the files that comparisons replace."""
    if inputs.request.force:
        storage.remove(*comparison_paths(inputs, _outside(frames)))


def hash_replaced_files(inputs: Inputs, frames: Sequence[PlannedFrame]) -> dict[str, str]:
    """The files that `force` lets this job overwrite: SHA-256 by absolute path."""
    if not inputs.request.force:
        return {}
    paths = list(_outside(frames))
    if inputs.to_video:
        paths.append(Path(os.path.abspath(inputs.request.output)))
    return {str(path): storage.hash_file(path) for path in paths if path.is_file()}


def _outside(frames: Sequence[PlannedFrame]) -> Iterator[Path]:
    """The paintings that are written outside the job's folder."""
    return (path for frame in frames if (path := Path(frame.path)).is_absolute())
