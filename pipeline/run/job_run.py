"""A job from end to end: request → plan → paintings → output."""

import functools
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from .. import storage
from ..events import JobDone, JobStarted, Listener, Notice, StopSignal, ignore
from ..job.folder import CHECKPOINTS_NAME, FLOW_NAME, is_job
from ..job.job import Job
from ..job.records import FrameRecord, FrameState
from ..media.content import ContentKind
from ..out_of_memory import translated_memory_errors
from ..paint.encoder_weights import EncoderWeights, load_weights
from ..paint.precision import require_precision
from ..plan.disk_space import check_space, disk_needed
from ..plan.execution_plan import ExecutionPlan
from ..plan.inputs import Inputs, read_inputs
from ..plan.moved_inputs import find_inputs
from ..plan.planner import plan_execution, plan_frames
from ..plan.recipe import make_recipe, require_same_version
from ..plan.request import Request
from ..plan.targets import (
    check_comparisons_are_free,
    check_job_folder,
    check_output_is_free,
    check_paintings_are_free,
    clear_comparisons,
)
from ..plan.workers import count_chains, describe_devices, environment_of, iterations_left, worker_devices
from ..plan.writable import check_can_be_written
from .comparison import write_comparisons
from .dry_run import WeightsLoader
from .executor import PainterSpec
from .executor_factory import ExecutorFactory, make_executor
from .frame_loop import FrameLoop, LoopFactory
from .moved_output import fetch_output, move_output, require_same_kind
from .notices import notify
from .outcome import failure, summarise
from .output import write_output
from .reader_slots import frame_index_of
from .reconcile import reconcile


def stylize(
    request: Request,
    listener: Listener = ignore,
    stop: StopSignal | None = None,
    *,
    executor_factory: ExecutorFactory = make_executor,
    weights_loader: WeightsLoader = load_weights,
) -> JobDone:
    """Paints what the request names, continuing its job where there is one; returns a summary.

    Raises `JobMismatchError` when the existing job was made with other settings or content, `PartialError` when frames
    failed (the rest is painted), `Interrupted` when `stop` was requested, and other errors of the tree in `errors`.
    """
    with translated_memory_errors():
        return JobRun(read_inputs(request), listener, stop or StopSignal(), executor_factory, weights_loader).run()


def resume(
    job: Path,
    listener: Listener = ignore,
    stop: StopSignal | None = None,
    device: str | None = None,
    executor: str | None = None,
    address: str | None = None,
    *,
    content: Sequence[Path] = (),
    styles: Sequence[Path] = (),
    output: Path | None = None,
    executor_factory: ExecutorFactory = make_executor,
    weights_loader: WeightsLoader = load_weights,
) -> JobDone:
    """Continues the job in a folder, on its own devices or on those given; returns a summary.

    `content` and `styles` name its files where they are now, or folders with them; they have to be the same, by their
    hashes. What was moved along with the job folder is found without. `output` names where the output is now, or is to
    go. Raises what `stylize` raises, and `InputError` for a file that is not found.
    """
    # What is read to find the inputs is not read again.
    hashes, weights_loader = storage.FileHashes(), functools.lru_cache(1)(weights_loader)
    with Job.read(job) as existing:
        require_same_version(existing)
        values = find_inputs(existing, hashes, weights_loader, content, styles)
    other = {"device": device or values["device"], "executor": executor or values["executor"]}
    other["address"] = address or (values["address"] if other["executor"] == "ray" else None)
    if output is not None:
        require_same_kind(output, Path(values["output"]))
        other["output"] = str(output)
    with translated_memory_errors():
        return JobRun(
            read_inputs(Request.from_values({**values, **other}, job)),
            listener,
            stop or StopSignal(),
            executor_factory,
            weights_loader,
            hashes=hashes,
            moves_output=output is not None,
        ).run()


@dataclass(frozen=True)
class JobRun:
    """One run of a job. `worker_count` is what shots are divided for, by default the number of GPUs."""

    inputs: Inputs
    listener: Listener = ignore
    stop: StopSignal = field(default_factory=StopSignal)
    executor_factory: ExecutorFactory = make_executor
    weights_loader: WeightsLoader = load_weights
    worker_count: int | None = None
    loop_factory: LoopFactory = FrameLoop
    hashes: storage.FileHashes = field(default_factory=storage.FileHashes)
    moves_output: bool = False
    """Whether the output may be at another path than before, since the user names it."""

    def run(self) -> JobDone:
        """Opens or creates the job, paints what is missing and writes the output; see `stylize`."""
        inputs, began = self.inputs, time.perf_counter()
        weights = self.weights_loader(inputs.settings.encoder.weights)
        with self._open_or_create(weights) as job:
            if job.store_problem is not None:
                self.listener(Notice(job.store_problem))
            pending = reconcile(job, inputs, self.listener)
            plan = ExecutionPlan.from_values(job.plan)
            painted_count = self._paint(job, plan, weights, pending)
            failed = [frame for frame in job.frames() if frame.state is not FrameState.DONE]
            _remove_intermediate_files(job, failed)
            write_output(job, inputs, plan, failed, self.listener, self.stop)
            self._compare(job, plan, failed)
            summary = summarise(job, inputs, failed, painted_count, time.perf_counter() - began)
            self.listener(summary)
            job.log(f"ended: {summary.frame_count - len(failed)} of {summary.frame_count} frames done")
            if (error := failure(job, inputs, failed, summary)) is not None:
                raise error
            return summary

    def _open_or_create(self, weights: EncoderWeights) -> Job:
        request = self.inputs.request
        if request.force or not is_job(request.job_folder):
            return self._create(weights)
        recipe = make_recipe(self.inputs, weights.sha256, self.hashes.of)
        job = Job.open(request.job_folder)
        try:
            require_same_version(job)
            # A photo that could not be read may have been replaced by one that can.
            photos = self.inputs.content.kind is ContentKind.PHOTOS
            if self.moves_output:
                recipe["output"] = job.recipe["output"]
            job.require_same(recipe, [frame.name for frame in job.frames(FrameState.FAILED)] if photos else ())
            if self.moves_output:
                move_output(job, self.inputs)
            job.record_invocation({**job.invocation, **_places(request)})
            fetch_output(job, self.inputs, self.listener)
        except BaseException:
            job.__exit__()
            raise
        return job

    def _create(self, weights: EncoderWeights) -> Job:
        """Plans the job and makes its folder, after all checks of what it would overwrite."""
        inputs, request, folder = self.inputs, self.inputs.request, self.inputs.request.job_folder
        check_job_folder(request)
        check_output_is_free(inputs)
        check_can_be_written(inputs)
        recipe = make_recipe(inputs, weights.sha256, self.hashes.of)
        plan = plan_frames(inputs, self.listener, self.stop, self.worker_count)
        check_paintings_are_free(inputs, plan.frames)
        check_comparisons_are_free(inputs, plan.frames)
        check_space(disk_needed(inputs, plan))
        clear_comparisons(inputs, plan.frames)
        return Job.create(
            folder,
            recipe,
            {**request.to_values(), **_places(request)},
            plan_execution(inputs, plan).to_values(),
            plan.frames,
            frame_index=None if plan.frame_index is None else plan.frame_index.to_text(),
            not_kept=plan.not_kept,
            replace=request.force,
        )

    def _paint(self, job: Job, plan: ExecutionPlan, weights: EncoderWeights, pending: Sequence[FrameRecord]) -> int:
        """Paints frames wherever the job may; returns how many."""
        inputs, request, frames = self.inputs, self.inputs.request, job.frames()
        # Of all frames, since the plan divides the shots of a new job.
        segments = plan.segments(frame.shot for frame in frames)
        iterations, chain_count = iterations_left(inputs, segments, pending), count_chains(segments, pending)
        devices = worker_devices(inputs, plan.threads, iterations * plan.mean_pixels, chain_count)
        for device in devices if pending and request.executor != "ray" else ():
            begun = f"the job was begun in {plan.precision}"
            remedy = f"{begun}: continue it on such a device, or start over with `stylize(force=True)`"
            require_precision(plan.precision, device, remedy)
        self._report_start(job, plan, devices, frames, iterations, len(pending))
        if not pending:
            return 0
        check_can_be_written(inputs)
        loop = self.loop_factory(
            job,
            plan,
            inputs.content,
            inputs.settings,
            inputs.start_picture,
            inputs.devices[0],
            frame_index=frame_index_of(job),
            strip=request.strip,
            listener=self.listener,
            stop=self.stop,
        )
        with self.executor_factory(self._painter_spec(plan, weights), devices, request, chain_count) as executor:
            job.record_workers(len(executor.devices))
            if request.executor == "ray":
                notify(job, self.listener, f"painting on {', '.join(executor.devices)}")
            return loop.run(pending, executor)

    def _report_start(
        self,
        job: Job,
        plan: ExecutionPlan,
        devices: Sequence[torch.device],
        frames: Sequence[FrameRecord],
        iterations: int,
        pending_count: int,
    ) -> None:
        request = self.inputs.request
        described = f"a Ray cluster, {plan.precision}"
        if request.executor != "ray":
            described = describe_devices(devices, plan.threads, plan.precision)
        job.log(f"started: {self.inputs.content.kind}, output {request.output}, device {described}")
        self._report_environment(job, plan)
        self.listener(
            JobStarted(
                kind=str(self.inputs.content.kind),
                output=request.output,
                job=job.folder,
                frame_count=len(frames),
                done_count=len(frames) - pending_count,
                shot_count=len({frame.shot for frame in frames}),
                iterations_left=iterations,
                device=described,
                settings=self.inputs.settings.description,
            )
        )

    def _painter_spec(self, plan: ExecutionPlan, weights: EncoderWeights) -> PainterSpec:
        """What every worker makes the same painter from."""
        inputs = self.inputs
        # Widths were planned for the memory of a GPU, or for none; on the other kind of device the bits differ anyway.
        began_on_cpu = plan.environment["device"] == "cpu"
        widths = plan.widths if began_on_cpu == (inputs.devices[0].type == "cpu") else {}
        colors = None if plan.film is None else plan.film.color_statistics
        return PainterSpec(
            inputs.settings,
            weights,
            inputs.styles,
            inputs.blend,
            colors,
            plan.threads,
            plan.precision,
            widths,
            plan.tiles,
        )

    def _report_environment(self, job: Job, plan: ExecutionPlan) -> None:
        before, now = plan.environment, environment_of(self.inputs.devices[0])
        changed = [f"{key} {before[key]} → {now[key]}" for key in now if key in before and before[key] != now[key]]
        if changed:
            begun = f"the job was begun with {', '.join(changed)}"
            notify(job, self.listener, f"{begun}: frames painted from here on may differ in their last bits")

    def _compare(self, job: Job, plan: ExecutionPlan, failed: Sequence[FrameRecord]) -> None:
        if not self.inputs.request.compare:
            return
        if job.is_cleaned:
            written = job.comparisons
            if not written or not all(path.exists() for path in written):
                text = "the job's frames were cleaned away: for `compare` start over with `stylize(force=True)`"
                notify(job, self.listener, text)
        elif not (failed and self.inputs.to_video):
            write_comparisons(job, self.inputs, plan, self.listener, self.stop)


def _places(request: Request) -> dict[str, Any]:
    """Where the files are that a request reads, how large those are that may be found under another name, and the job's
    folder with them."""
    values = request.to_values()
    sizes = {
        path: Path(path).stat().st_size for path in (*values["content"], *values["styles"]) if Path(path).is_file()
    }
    return {**{key: values[key] for key in ("content", "styles", "settings", "job")}, "sizes": sizes}


def _remove_intermediate_files(job: Job, unfinished: Sequence[FrameRecord]) -> None:
    """Removes flow and checkpoints that no frame needs any more, also those that a killed run left."""
    if all(frame.state is not FrameState.PENDING for frame in unfinished):
        storage.remove_folder(job.folder / FLOW_NAME)
    if not unfinished:
        storage.remove_folder(job.folder / CHECKPOINTS_NAME)
