"""What came of a run: a summary, and an error where frames failed."""

from collections.abc import Sequence

from ..errors import FrameError, ImpastoError, PartialError
from ..events import JobDone, Losses
from ..job.folder import PLOTS_NAME
from ..job.job import Job
from ..job.records import FrameRecord, FrameState, not_kept_lines
from ..plan.inputs import Inputs


def summarise(job: Job, inputs: Inputs, failed: Sequence[FrameRecord], painted_count: int, seconds: float) -> JobDone:
    """The summary of a run of so many seconds that painted so many frames."""
    # Frames that failed themselves come before those that only depend on them.
    failed = sorted(failed, key=lambda frame: frame.error is None)
    # Each pass over a frame counts.
    done = job.frames(FrameState.DONE)
    losses = [frame.losses for frame in done if frame.pass_number == 0 and frame.losses is not None]
    return JobDone(
        output=inputs.request.output,
        job=job.folder,
        frame_count=len(done) + len(failed),
        painted_count=painted_count,
        failed=tuple(f"{frame.name}: {frame.error or 'not painted'}" for frame in failed),
        plots=tuple(sorted((job.folder / PLOTS_NAME).glob("*.png"))),
        losses=Losses.mean(losses) if losses else None,
        iterations=sum(frame.iterations or 0 for frame in done),
        seconds=seconds,
        not_kept=not_kept_lines(job.not_kept),
        time_use=job.time_use,
    )


def _unlisted(inputs: Inputs) -> PartialError | None:
    """The error for folders that could not be listed."""
    folders = inputs.content.unreadable
    if not folders:
        return None
    which = f"{folders[0]}" + (f" and {len(folders) - 1} more" if len(folders) > 1 else "")
    return PartialError(
        f"the rest is painted, but {which} may not be listed: change the permissions, and paint it by another command"
    )


def failure(job: Job, inputs: Inputs, failed: Sequence[FrameRecord], summary: JobDone) -> ImpastoError | None:
    """The error that a run ends with: `PartialError` where frames failed, `FrameError` where nothing was painted."""
    if not failed:
        return _unlisted(inputs)
    resume = f"impasto resume {job.folder}"
    if not any(frame.pass_number == 0 for frame in job.frames(FrameState.DONE)):
        return FrameError(f"nothing could be painted (first: {summary.failed[0]}); try again with: {resume}")
    rest = "the rest is done"
    if inputs.to_video:
        output = job.output
        shows_them = output is not None and set(output.substituted).isdisjoint(frame.index for frame in failed)
        rest = (
            f"{inputs.request.output} was made before and shows them"
            if shows_them
            else "the film holds the nearest ones in their place"
        )
    what = "frame" if inputs.content.is_film else "photo"
    return PartialError(
        f"{len(failed)} of {summary.frame_count} {what}s could not be painted (first: {summary.failed[0]}); "
        f"{rest}; fix what can be fixed and run: {resume}"
    )
