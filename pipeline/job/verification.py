"""Checks a job's files and its store against what was recorded when they were written."""

from pathlib import Path

from .. import storage
from .folder import FLOW_NAME, file_problem
from .integrity import damage
from .job import Job
from .lock import running_owner
from .records import FrameState
from .repair import has_changed_since_close, read_copy
from .store import COPY_NAME, STORE_NAME, translated_errors


def find_problems(job: Job) -> list[str]:
    """Hashes every recorded file and checks the store; returns one line for each difference.

    Covers the store and its copy, every painted frame of every pass, the flow kept between passes, the output, and the
    comparisons.
    """
    return [*_store_problems(job), *_frame_problems(job), *_output_problems(job), *_flow_problems(job)]


def _frame_problems(job: Job) -> list[str]:
    found = []
    is_cleaned = job.is_cleaned
    for frame in job.frames(FrameState.DONE):
        if is_cleaned and frame.path.is_relative_to(job.folder):
            continue
        if (problem := file_problem(frame.path, frame.sha256)) is not None:
            found.append(f"frame {frame.index} ({frame.name}): {frame.path} {problem}")
    return found


def _output_problems(job: Job) -> list[str]:
    found = []
    output = job.output
    if output is not None and output.sha256 is not None:
        path = Path(job.recipe["output"])
        if (problem := file_problem(path, output.sha256)) is not None:
            found.append(f"output: {path} {problem}")
    for path, sha256 in job.comparisons.items():
        if (problem := file_problem(path, sha256)) is not None:
            found.append(f"comparison: {path} {problem}")
    return found


def _flow_problems(job: Job) -> list[str]:
    return [
        f"flow: {path} has changed since it was written"
        for path in sorted((job.folder / FLOW_NAME).glob("*"))
        if not storage.is_partial(path) and storage.read_checksummed(path) is None
    ]


def _store_problems(job: Job) -> list[str]:
    if job.store_problem is not None:
        return [f"store: {job.store_problem}"]
    path, copy_path = job.folder / STORE_NAME, job.folder / COPY_NAME
    with translated_errors(job.folder):
        problem = damage(job.store.connection, thorough=True)
        if problem is not None:
            return [f"store: {path} {problem}"]
        if not copy_path.is_file():
            return []  # A crash came while the job was made.
        copy = read_copy(job.folder)
        if job.is_owned or running_owner(job.folder, None) is not None:
            return []  # Its owner may be writing the copy, or have changed the store since.
        if copy is None:
            return [f"store: {copy_path} is damaged"]
        if has_changed_since_close(job.folder, copy):
            return [f"store: {path} has changed since it was written"]
    return []
