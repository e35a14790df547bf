"""What a job would do, how long it would take and how much disk space: measured, with nothing written."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .. import storage
from ..errors import InputError
from ..events import Listener, StopSignal, ignore
from ..job.folder import is_job
from ..job.records import not_kept_lines
from ..layers import require_size
from ..media.frame_reader import FrameReader
from ..paint.costs import iteration_seconds
from ..paint.encoder_weights import EncoderWeights, load_weights
from ..paint.painter import Painter
from ..pictures import Size, fit_within, resize, size_of
from ..plan.disk_space import disk_needed
from ..plan.frame_plan import FramePlan
from ..plan.inputs import Inputs, read_inputs
from ..plan.planner import plan_frames
from ..plan.request import Request
from ..plan.scheduler import makespan
from ..plan.targets import check_output_is_free, check_paintings_are_free
from ..plan.workers import count_chains, describe_devices, iterations_left, thread_count, worker_devices
from ..torch_settings import thread_limit

WeightsLoader = Callable[[str], EncoderWeights]
"""Loads the encoder's weights, given the setting `encoder.weights`."""


@dataclass(frozen=True)
class DryRun:
    """What a job would do. A Ray cluster is taken for one of this machine alone."""

    kind: str
    """`image`, `photos`, `sequence` or `video`."""

    frame_count: int
    shot_count: int

    segment_count: int
    """Segments of all divided shots; 0 where none is divided."""

    size: Size
    """(height, width) of the first painting."""

    iterations: int
    """The most that all frames take together."""

    disk_bytes: int
    """An upper bound for paintings and output."""

    disk_free_bytes: int

    seconds_per_iteration: float
    """Measured on the first frame, with the threads of one worker."""

    seconds: float
    """Estimated for all frames, with all iterations used."""

    device: str
    """The devices of the workers, for people."""

    workers: int
    """How many frames are painted at the same time."""

    output: Path
    job: Path

    not_kept: tuple[str, ...]
    """A line for everything of the content that the output cannot keep, as far as that is known before painting."""


def dry_run(request: Request, listener: Listener = ignore, *, weights_loader: WeightsLoader = load_weights) -> DryRun:
    """Reads the content and times a few iterations; writes nothing. Raises what `stylize` raises before it paints."""
    inputs = read_inputs(request)
    begins_anew = request.force or not is_job(request.job_folder)
    if begins_anew and not request.force:
        check_output_is_free(inputs)
    plan = plan_frames(inputs, listener, StopSignal())
    if begins_anew:
        check_paintings_are_free(inputs, plan.frames)
    name, content = _first_readable(inputs, plan)
    size = size_of(content)
    require_size(size, inputs.settings.layers, name)
    threads = thread_count(inputs, plan)
    work = iterations_left(inputs, plan.segments, plan.frames) * plan.mean_pixels
    devices = worker_devices(inputs, threads, work, count_chains(plan.segments, plan.frames))
    with thread_limit(threads, inputs.devices[0]):
        weights = weights_loader(inputs.settings.encoder.weights)
        painter = Painter(inputs.settings, weights, inputs.styles, inputs.blend, inputs.devices[0])
        seconds_per_iteration = iteration_seconds(painter, content)
    # An iteration takes time in proportion to the pixels.
    seconds_per_pixel = seconds_per_iteration / (size[0] * size[1])
    needed = disk_needed(inputs, plan)
    return DryRun(
        kind=str(inputs.content.kind),
        frame_count=sum(frame.pass_number == 0 for frame in plan.frames),
        shot_count=len({frame.shot for frame in plan.frames}),
        segment_count=plan.segments.count,
        size=size,
        iterations=sum(frame.work for frame in plan.frames),
        disk_bytes=sum(needed.values()),
        disk_free_bytes=min(storage.free_bytes(folder) for folder in needed),
        seconds_per_iteration=seconds_per_iteration,
        seconds=seconds_per_pixel * makespan(plan.chains(), len(devices)),
        device=describe_devices(devices, threads),
        workers=len(devices),
        output=request.output,
        job=request.job_folder,
        not_kept=not_kept_lines(_by_text(plan.not_kept)),
    )


def _by_text(not_kept: Sequence[tuple[str, str]]) -> dict[str, list[str]]:
    names: dict[str, list[str]] = {}
    for text, name in not_kept:
        names.setdefault(text, []).extend([name] if name else [])
    return names


def _first_readable(inputs: Inputs, plan: FramePlan) -> tuple[str, np.ndarray]:
    """Name and content, at the size of its painting, of the first frame that can be read; photos that cannot are
    skipped."""
    with FrameReader(inputs.content, plan.frame_index) as reader:
        for frame in plan.frames:
            try:
                array = reader.read(frame.index)[0]
                return frame.name, resize(array, fit_within(size_of(array), inputs.settings.size))
            except InputError:
                if inputs.content.is_film or frame is plan.frames[-1]:
                    raise
    raise InputError("there is no frame to paint")
