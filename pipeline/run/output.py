"""The output of a job, written when its frames are painted."""

from collections.abc import Sequence

from .. import storage
from ..errors import Interrupted, OutputError
from ..events import Assembling, Listener, StopSignal
from ..job.folder import file_problem
from ..job.job import Job
from ..job.records import FrameRecord, FrameState, OutputRecord
from ..plan.execution_plan import ExecutionPlan
from ..plan.inputs import Inputs
from . import assembly
from .notices import notify, notify_not_kept


def write_output(
    job: Job,
    inputs: Inputs,
    plan: ExecutionPlan,
    failed: Sequence[FrameRecord],
    listener: Listener,
    stop: StopSignal,
) -> None:
    """Writes and records the output, unless that is done already.

    A film has all its frames even where some failed: the nearest painting is shown instead. Raises
    `Interrupted`, `OutputError` for a file at its path that is not the job's, and what the writer raises.
    """
    output = inputs.request.output
    if not inputs.to_video:
        if not failed and job.output is None:
            job.finish_output(OutputRecord(storage.hash_file(output) if output.is_file() else None))
        return
    substituted = tuple(sorted({frame.index for frame in failed if frame.pass_number == 0}))
    painted = [frame for frame in job.frames(FrameState.DONE) if frame.pass_number == 0]
    # A film that was complete before some of its frames were lost still shows them: it is kept.
    is_up_to_date = job.output is not None and set(job.output.substituted) <= set(substituted)
    if painted and not is_up_to_date:
        _write_film(job, inputs, plan, substituted, listener, stop)


def _write_film(
    job: Job,
    inputs: Inputs,
    plan: ExecutionPlan,
    substituted: tuple[int, ...],
    listener: Listener,
    stop: StopSignal,
) -> None:
    output, earlier = inputs.request.output, job.output
    if storage.is_taken(output):
        is_own = earlier is not None and file_problem(output, earlier.sha256) is None
        if not is_own and not plan.may_overwrite(output, job.folder):
            raise OutputError(f"output {output} has appeared since the job began: move it away and resume")
    staged = job.folder / f"output{output.suffix}"

    def on_frame(written: int, frame_count: int) -> None:
        if stop.requested and written < frame_count:
            raise Interrupted(f"stopped while writing {output}; continue with: impasto resume {job.folder}")
        listener(Assembling(output, written, frame_count))

    with assembly.open_film(job, inputs, plan) as film:
        notes = assembly.write_film(film, staged, inputs.request.encoding, on_frame)
    for note in notes:
        notify_not_kept(job, lambda text: notify(job, listener, text), note)
    record = OutputRecord(storage.hash_file(staged), substituted)
    job.expect_output(record)
    storage.move(staged, output)
    job.finish_output(record)
