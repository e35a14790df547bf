"""Removes the files that a finished job no longer needs."""

from pathlib import Path

from .. import storage
from ..errors import JobError
from .folder import FRAMES_NAME, file_problem
from .job import Job


def disposable_files(job: Job) -> list[Path]:
    """The files that a finished job no longer needs: the frames that its film was made of, the frames of earlier
    passes, the flow between frames, and partial files.

    Raises `JobError` when the job is not finished, or its film is missing or has changed.
    """
    if not job.is_finished:
        raise JobError(f"the job in {job.folder} is not finished and needs its frames: resume it, or delete it whole")
    output = job.output
    path = Path(job.recipe["output"])
    if output is not None and output.sha256 and (problem := file_problem(path, output.sha256)) is not None:
        raise JobError(f"output {path} {problem} and is made again from the frames in {job.folder}: resume the job")
    found = [path for path in (job.folder / FRAMES_NAME).rglob("*") if path.is_file() or path.is_symlink()]
    found += [path for path in job.folder.iterdir() if storage.is_partial(path)]
    return sorted(found)


def clean_job(job: Job, disposable: list[Path] | None = None) -> list[Path]:
    """Removes the job's `disposable_files` and returns them; the output and the frames' recorded figures stay.

    A caller who has found them already hands them in: finding them hashes the output.
    """
    if disposable is None:
        disposable = disposable_files(job)
    # Recorded first: after a crash in between, files that are gone are not missed.
    job.record_cleaned()
    storage.remove(*disposable)
    storage.remove_folder(job.folder / FRAMES_NAME)
    return disposable
