"""TODO: job.folder."""

import os
from pathlib import Path

from .. import storage
from ..errors import JobError, OutputError
from .store import COPY_NAME, STORE_NAME

FOLDER_SUFFIX = ".impasto"
FRAMES_NAME = "frames"
FLOW_NAME = f"{FRAMES_NAME}/flow"
"""Where a job that paints in several passes, or in segments, keeps the flow between its frames until it is done, in
files with a checksum header."""
PLOTS_NAME = "plots"
CHECKPOINTS_NAME = "checkpoints"
LOG_NAME = "log.txt"


def default_folder(output: Path) -> Path:
    """`OUTPUT.impasto` beside the output."""
    place = Path(os.path.abspath(output))
    if not place.name:
        raise OutputError(f"output {output} is the top of a disk: name a folder on it")
    # As it was typed where that is enough, so that messages stay short.
    named = output if output.name not in ("", "..") else place
    return named.with_name(named.name + FOLDER_SUFFIX)


def file_problem(path: Path, sha256: str | None) -> str | None:
    """What is wrong with a file that should have this hash, in words that follow its name; None when nothing is."""
    if not path.is_file():
        return "is missing"
    try:
        return None if storage.hash_file(path) == sha256 else "has changed since it was written"
    except OSError as error:
        return f"cannot be read ({error.strerror})"


def is_job(folder: Path) -> bool:
    """Whether there is a job in the folder."""
    return (folder / STORE_NAME).is_file()


def require_job(folder: Path) -> None:
    if not is_job(folder):
        raise JobError(f"no job at {folder}: give the folder OUTPUT{FOLDER_SUFFIX} that stylize made beside its output")


def require_unused_names(folder: Path) -> None:
    """`--job` may name any folder; what lies in it under the names of a job's parts, without a store, is somebody's."""
    for name in (FRAMES_NAME, PLOTS_NAME, CHECKPOINTS_NAME, LOG_NAME):
        if (folder / name).exists():
            raise OutputError(f"the job's folder {folder} holds {name} and no job: name another with `job`")


def remove_contents(folder: Path) -> None:
    """Removes what a job leaves in its folder, and nothing else that may lie there."""
    for name in (FRAMES_NAME, PLOTS_NAME, CHECKPOINTS_NAME):
        storage.remove_folder(folder / name)
    # The store last: until then what is left is a job that misses frames, which resuming copes with.
    storage.remove(*folder.glob("output.*"), folder / LOG_NAME, folder / COPY_NAME)
    storage.remove(*(folder / f"{STORE_NAME}{ending}" for ending in ("", "-journal", "-wal", "-shm")))
    storage.remove_partial_files(folder)
