"""How far a job is, how fast it is painted, and whether its owner has crashed or stalled."""

import time
from dataclasses import dataclass
from pathlib import Path

from ..events import Losses, TimeUse
from .job import Job
from .lock import running_owner
from .records import FrameState, not_kept_lines
from .repair import OWNER_KEY
from .store import STORE_NAME

STALLED_FACTOR = 3.0
STALLED_SECONDS = 60.0
"""A job is stalled when it has finished no frame for `STALLED_FACTOR` times the longest time that one of its frames may
take, and for at least `STALLED_SECONDS`."""


@dataclass(frozen=True)
class DevicePace:
    """The frames of a job that a device has painted."""

    device: str
    """Its name; on a cluster with the address of its machine."""
    frame_count: int
    seconds_per_frame: float


@dataclass(frozen=True)
class JobStatus:
    """How far a job is."""

    folder: Path
    output: Path
    kind: str
    frame_count: int
    done_count: int
    failed: tuple[tuple[str, str], ...]
    """(name, message) of each frame that failed."""
    seconds_per_frame: float | None
    precision: str
    """That of the encoder's features: `fp32`, `tf32` or `bf16`."""
    devices: tuple[DevicePace, ...]
    """The devices that painted the frames which are done, the one with the most frames first."""
    seconds_left: float | None
    """Estimated from the frames painted so far; None before the first."""
    iterations: int
    losses: Losses | None
    """Mean over the frames of the last pass that are done."""
    finished: bool
    """`Job.is_finished`."""
    owner: str | None
    """The process that works on it now, or None."""
    lost_owner: str | None
    """The recorded owner whose process has crashed or was killed, or None."""
    stalled_seconds: float | None
    """For how long its owner has finished nothing, where it is stalled."""
    not_kept: tuple[str, ...]
    """A line for everything of the content that the output could not keep."""
    time_use: TimeUse | None
    """Where the time went, as of the last frames that are done; None where it is not known."""


def status_of(job: Job) -> JobStatus:
    """Returns the job's progress."""
    recipe = job.recipe
    ((total, done, seconds, spent, iterations, content, style, variation),) = job.store.read(
        "SELECT COUNT(*), COUNT(sha256), AVG(seconds), TOTAL(seconds), TOTAL(iterations), "
        "AVG(CASE pass WHEN 0 THEN content END), AVG(CASE pass WHEN 0 THEN style END), "
        "AVG(CASE pass WHEN 0 THEN total_variation END) FROM frames"
    )
    devices = job.store.read(
        "SELECT device, COUNT(*), AVG(seconds) FROM frames WHERE device IS NOT NULL AND sha256 IS NOT NULL "
        "GROUP BY device ORDER BY COUNT(*) DESC, device"
    )
    owner, lost_owner = _owners(job)
    return JobStatus(
        folder=job.folder,
        output=Path(recipe["output"]),
        kind=recipe["content"]["kind"],
        frame_count=total,
        done_count=done,
        failed=tuple((frame.name, frame.error or "") for frame in job.frames(FrameState.FAILED)),
        seconds_per_frame=seconds,
        precision=job.plan.get("precision", "fp32"),
        devices=tuple(DevicePace(*row) for row in devices),
        seconds_left=_seconds_left(job, spent),
        iterations=int(iterations),
        losses=None if content is None else Losses(content, style, variation),
        finished=job.is_finished,
        owner=owner,
        lost_owner=lost_owner,
        stalled_seconds=_stalled_seconds(job) if owner is not None else None,
        not_kept=not_kept_lines(job.not_kept),
        time_use=job.time_use,
    )


def _owners(job: Job) -> tuple[str | None, str | None]:
    """(the process at work, the recorded one that is no longer alive), of a job that this process only reads."""
    recorded = None if job.is_owned else job.store.meta(OWNER_KEY)
    if recorded is None:
        return None, None
    owner = running_owner(job.folder, recorded)
    return owner, recorded if owner is None else None


def _seconds_left(job: Job, seconds_spent: float) -> float | None:
    # By planned work: the first frame of a shot takes many times that of the others.
    ((done_work, work_left),) = job.store.read(
        "SELECT TOTAL(CASE WHEN sha256 IS NULL THEN 0 ELSE work END), "
        "TOTAL(CASE WHEN sha256 IS NULL THEN work ELSE 0 END) FROM frames"
    )
    if not done_work:
        return None
    # As if all workers of this run had work to the end.
    return float(seconds_spent / done_work * work_left / int(job.store.meta("workers") or 1))


def _stalled_seconds(job: Job) -> float | None:
    """How long ago the job last finished a frame, where that makes it stalled."""
    # At several scales a frame takes more iterations than its work, which counts those of small ones for less.
    ((seconds, iterations),) = job.store.read("SELECT TOTAL(seconds), TOTAL(MIN(iterations, work)) FROM frames")
    ((most_work,),) = job.store.read("SELECT MAX(work) FROM frames WHERE state = 'pending'")
    if not iterations or most_work is None:
        return None  # Its pace is not known yet, or no frame is left to paint.
    try:
        idle = time.time() - (job.folder / STORE_NAME).stat().st_mtime
    except OSError:
        return None
    longest = most_work * seconds / iterations
    return idle if idle > max(STALLED_FACTOR * longest, STALLED_SECONDS) else None
