"""Whether a job can write all that it is to write: found out before the content is read, not after days of painting."""

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from .. import storage
from ..errors import OutputError, StorageError
from ..job.folder import comparison_path
from ..job.store import STORE_NAME
from ..media.missing_paths import TILDE_REMEDY, is_tilde, is_url
from .request import Request

if TYPE_CHECKING:
    from .inputs import Inputs


def require_known_places(request: Request) -> None:
    """Raises `OutputError` where the output, its comparison or the job's folder is no place on a disk, or where it
    cannot even be seen whether it is there."""
    places = [("output", request.output), ("job", request.job_folder / STORE_NAME)]
    if request.compare:
        places.append(("output", comparison_path(request.output)))
    for field, path in places:
        _try(_look_for, path, field)
    _require_place(request.output, "output")
    if request.job is not None:
        _require_place(request.job, "job")


def _require_place(path: Path, field: str) -> None:
    """Raises `OutputError` for a path by which no file or folder of a disk is meant."""
    is_device = path.is_relative_to("/dev") and not path.is_relative_to("/dev/shm")
    what = None
    if is_device or (path.exists() and not path.is_file() and not path.is_dir()):
        what = "no regular file"
    elif not path.is_absolute() and not Path(*path.parts[:1]).is_dir():
        if is_tilde(path):
            raise OutputError(f"{field} {path} is not in the home folder: {TILDE_REMEDY}")
        what = "standard output" if str(path) == "-" else "a URL" if is_url(path) else None
    if what is not None:
        raise OutputError(f"{field} {path} is {what}, and only files are written: choose another `{field}`")


def _look_for(path: Path) -> None:
    """Raises the `OSError` that says neither that a path is there nor that it is not."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        if error.errno != errno.ELOOP:  # Links in a circle lead to nothing.
            raise


def check_can_be_written(inputs: "Inputs") -> None:
    """Raises `OutputError` where the output, a comparison or the job's folder cannot be written, and `StorageError`
    where the disk is full. Writes nothing that stays."""
    longest: dict[Path, tuple[str, Path]] = {}
    for field, path in _targets(inputs):
        # Of the thousands of photos of a folder one is tried.
        if path.parent not in longest or _name_bytes(path) > _name_bytes(longest[path.parent][1]):
            longest[path.parent] = field, path
        if inputs.request.force and path.is_file():
            _try(storage.require_replaceable, path, field)
    for field, path in longest.values():
        _try(storage.require_writable, path, field)


def _try(check: Callable[[Path], object], path: Path, field: str) -> None:
    """Raises what a check finds out as an `OutputError` that advises another `field`."""
    try:
        check(path)
    except OSError as error:
        raise _unwritable(error, path, field) from error


def _unwritable(error: OSError, path: Path, field: str) -> OutputError | StorageError:
    """The error for what the system refuses at `path`, which `field` of the request places."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return storage.storage_error(error, path)
    refused = Path(os.fsdecode(error.filename)) if error.filename else path
    problem, _ = storage.write_problem(error, refused)
    permissions = ", or change the permissions" if error.errno in (errno.EACCES, errno.EPERM) else ""
    return OutputError(f"{problem}: choose another `{field}`{permissions}")


def _targets(inputs: "Inputs") -> Iterator[tuple[str, Path]]:
    """All files outside of the job's folder, and one in it, each with the field of the request that places it."""
    request = inputs.request
    for root in (request.output, *([comparison_path(request.output)] if request.compare else [])):
        if inputs.to_one_file:
            yield "output", root
        elif any(file.target for file in inputs.content.files):
            yield from (("output", root / file.target) for file in inputs.content.files)
        else:
            yield "output", root / "000000.png"  # The frames of a video.
    yield "job", request.job_folder / STORE_NAME


def _name_bytes(path: Path) -> int:
    return len(os.fsencode(path.name))
