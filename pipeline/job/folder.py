"""The names of a job folder's parts, and what may be done with a folder before it is opened as a job."""

import os
from pathlib import Path

from .. import storage
from ..errors import JobError, OutputError
from .store import COPY_NAME, STORE_NAME

FOLDER_SUFFIX = ".impasto"
FRAMES_NAME = "frames"
FLOW_NAME = f"{FRAMES_NAME}/flow"
"""Flow between frames, in files with a checksum header; kept until a job with several passes or segments is done."""
PLOTS_NAME = "plots"
CHECKPOINTS_NAME = "checkpoints"
LOG_NAME = "log.txt"


def default_folder(output: Path) -> Path:
    """`OUTPUT.impasto` beside the output."""
    named = _with_name(output)
    if len(os.fsencode(named.name + FOLDER_SUFFIX)) > storage.NAME_BYTES:
        raise OutputError(
            f"the job's folder beside {named.name[:40]}… would have a name of over {storage.NAME_BYTES} bytes, which "
            "no disk takes: name another `job`, or a shorter `output`"
        )
    return named.with_name(named.name + FOLDER_SUFFIX)


def comparison_path(output: Path) -> Path:
    """Where content and result are shown side by side: `clip-compare.mp4` beside `clip.mp4`, `photos-compare` beside
    `photos`."""
    named = _with_name(output)
    return named.with_name(f"{named.stem}-compare{named.suffix}")


def _with_name(output: Path) -> Path:
    """The output as it was typed, so that messages stay short, or absolute where that has no name, as `.` and `..`."""
    absolute = Path(os.path.abspath(output))
    if not absolute.name:
        raise OutputError(f"output {output} is the top of a disk: name a folder on it")
    return output if output.name not in ("", "..") else absolute


def file_problem(path: Path, sha256: str | None) -> str | None:
    """Returns what is wrong with a file that should have this hash, in words that follow its name; None when it has."""
    if not path.is_file():
        return "is missing"
    try:
        return None if storage.hash_file(path) == sha256 else "has changed since it was written"
    except OSError as error:
        return f"cannot be read ({error.strerror})"


def is_job(folder: Path) -> bool:
    """Whether the folder holds a job."""
    return (folder / STORE_NAME).is_file()


def require_job(folder: Path) -> None:
    """Raises `JobError` unless the folder holds a job."""
    if not is_job(folder):
        raise JobError(f"no job at {folder}: give the folder OUTPUT{FOLDER_SUFFIX} that stylize made beside its output")


def require_no_other_files(folder: Path) -> None:
    """Raises `OutputError` when a folder without a job holds a file or folder that a new job would replace.

    `job` may name any folder: without a store beside them, `frames` or `log.txt` are the user's own.
    """
    for name in (FRAMES_NAME, PLOTS_NAME, CHECKPOINTS_NAME, LOG_NAME):
        if (folder / name).exists():
            raise OutputError(f"the job's folder {folder} holds {name} and no job: name another with `job`")


def remove_contents(folder: Path) -> None:
    """Removes the files of a job from its folder, and no others."""
    for name in (FRAMES_NAME, PLOTS_NAME, CHECKPOINTS_NAME):
        storage.remove_folder(folder / name)
    # The store last: after a crash in between the folder holds a job that misses frames, which can be resumed.
    storage.remove(*folder.glob("output.*"), *folder.glob("comparison.*"), folder / LOG_NAME, folder / COPY_NAME)
    storage.remove(*(folder / f"{STORE_NAME}{suffix}" for suffix in ("", "-journal", "-wal", "-shm")))
    storage.remove_partial_files(folder)
