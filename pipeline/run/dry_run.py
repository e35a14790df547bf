"""What a job would do, how long it would take, how much memory and disk space: measured, with nothing written."""

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .. import storage
from ..errors import InputError
from ..events import Listener, StopSignal, ignore
from ..job.folder import is_job
from ..job.records import names_by_text, not_kept_lines
from ..layers import require_size, smallest_side
from ..media.frame_reader import FrameReader
from ..out_of_memory import translated_memory_errors
from ..paint.costs import iteration_seconds
from ..paint.encoder_weights import EncoderWeights, load_weights
from ..paint.painter import Painter
from ..paint.task import Scale
from ..paint.tiles import margin_of, tiling_cost
from ..pictures import Size, fit_within, resize, size_of
from ..plan.batch_widths import batch_widths
from ..plan.disk_space import disk_needed
from ..plan.frame_plan import FramePlan
from ..plan.frame_rules import cold_start_rule, cold_start_scales
from ..plan.inputs import Inputs, read_inputs
from ..plan.memory import memory_free, memory_needed
from ..plan.planner import plan_frames
from ..plan.request import Request
from ..plan.scheduler import makespan
from ..plan.targets import (
    check_comparisons_are_free,
    check_job_folder,
    check_output_is_free,
    check_paintings_are_free,
)
from ..plan.tile_sides import plan_tiles
from ..plan.workers import describe_devices, planned_devices, thread_count
from ..plan.writable import check_can_be_written
from ..torch_settings import thread_limit

WeightsLoader = Callable[[str], EncoderWeights]
"""Loads the encoder's weights, given the setting `encoder.weights`."""

MEASURED_PIXELS = {"cpu": 5 << 15, "cuda": 1 << 20}
"""The largest part of a picture that iterations are timed on, by the type of the device."""

COST_EXPONENT = {"cpu": 0.11, "cuda": 0.0}
"""The time of a pixel grows with this power of the pixels that are evaluated at once, by the type of the device; on a
CPU from 256×192 pixels to two megapixels."""

QUICK_PIXELS = 1 << 16
"""The largest part of which several iterations are timed, and the largest of the styles."""


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

    memory_bytes: int
    """Estimated: what all workers take at the same time, or on a GPU what one picture takes, of the largest there
    are."""

    memory_free_bytes: int
    """What the request names; else of this machine, container or process, whichever has the least; or on the fullest
    GPU."""

    tile: int | None
    """The side of the smallest tiles in which pictures are evaluated; None where all are painted whole."""

    seconds_per_iteration: float
    """Of the first frame: measured on a part of it, with the threads of one worker."""

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
    with translated_memory_errors():
        inputs = read_inputs(request)
        return _dry_run(inputs, _plan(inputs, listener), weights_loader)


def _plan(inputs: Inputs, listener: Listener) -> FramePlan:
    """The frames of the job, after the checks of what it would overwrite."""
    request = inputs.request
    begins_anew = request.force or not is_job(request.job_folder)
    if begins_anew:
        check_job_folder(request)
        check_output_is_free(inputs)
    check_can_be_written(inputs)
    plan = plan_frames(inputs, listener, StopSignal())
    if begins_anew:
        check_paintings_are_free(inputs, plan.frames)
        check_comparisons_are_free(inputs, plan.frames)
    return plan


def _dry_run(inputs: Inputs, plan: FramePlan, weights_loader: WeightsLoader) -> DryRun:
    request = inputs.request
    name, content = _first_paintable(inputs, plan)
    size = size_of(content)
    require_size(size, inputs.settings.layers, name)
    threads = thread_count(inputs, plan)
    devices, widths = planned_devices(inputs, plan, threads), batch_widths(inputs, plan)
    tiles = plan_tiles(inputs, plan, widths, len(devices))
    with thread_limit(threads, inputs.devices[0]):
        painter = _painter(inputs, weights_loader(inputs.settings.encoder.weights))
        sample = part_of(content, MEASURED_PIXELS[painter.device.type])
        count = 3 if _pixels(sample) <= QUICK_PIXELS else 1
        cost = functools.partial(_cost, inputs, tiles, _pixels(sample))
        seconds_per_pixel = iteration_seconds(painter, sample, count) / _pixels(sample)
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
        memory_bytes=memory_needed(inputs, plan, widths, tiles, len(devices)),
        memory_free_bytes=request.memory or memory_free(devices, len(devices)),
        tile=min(tiles.values(), default=None),
        seconds_per_iteration=seconds_per_pixel * _pixels(content) * cost(size),
        seconds=seconds_per_pixel * makespan(plan.chains(cost), len(devices)),
        device=describe_devices(devices, threads, painter.precision),
        workers=len(devices),
        output=request.output,
        job=request.job_folder,
        not_kept=not_kept_lines(names_by_text(plan.not_kept)),
    )


def _painter(inputs: Inputs, weights: EncoderWeights) -> Painter:
    """A painter to take the time with: that of an iteration does not depend on the size of the style."""
    styles = [part_of(style, QUICK_PIXELS) for style in inputs.styles]
    return Painter(inputs.settings, weights, styles, inputs.blend, inputs.devices[0])


def _cost(inputs: Inputs, tiles: Mapping[Size, int], measured: int, size: Size) -> float:
    """The time of a pixel of paintings of a size, in the mean over their scales, by that in a part of so many pixels
    that was measured."""
    settings, costs, works = inputs.settings, list[float](), list[int]()
    # Of a film the first frames of shots alone have scales.
    is_film = inputs.content.is_film
    scales, rule = ((), cold_start_rule(settings)) if is_film else cold_start_scales(settings, size)
    for scale in (*scales, Scale(size, rule)):
        works.append(scale.rule.iterations * math.prod(scale.size))
        tile = tiles.get(scale.size)
        at_once = math.prod(scale.size) if tile is None else (tile + 2 * margin_of(settings.layers)) ** 2
        larger = _within_growth(at_once) / _within_growth(measured)
        costs.append(tiling_cost(scale.size, tile, settings.layers) * larger ** COST_EXPONENT[inputs.devices[0].type])
    return sum(cost * work for cost, work in zip(costs, works, strict=True)) / max(1, sum(works))


def _within_growth(pixels: int) -> int:
    return min(max(pixels, 192 * 256), 1 << 21)


def part_of(array: np.ndarray, pixels: int) -> np.ndarray:
    """The middle of a picture (H×W×3), of at most so many pixels: a square, or longer where the picture is narrow."""
    height, width = size_of(array)
    short = min(height, width, math.isqrt(pixels))
    long = min(max(height, width), pixels // short)
    rows, columns = (short, long) if height <= width else (long, short)
    top, left = (height - rows) // 2, (width - columns) // 2
    return np.ascontiguousarray(array[top : top + rows, left : left + columns])


def _pixels(array: np.ndarray) -> int:
    height, width = size_of(array)
    return height * width


def _first_paintable(inputs: Inputs, plan: FramePlan) -> tuple[str, np.ndarray]:
    """Name and content, at the size of its painting, of the first frame that can be painted; photos that cannot, as
    they are damaged or too small, are skipped."""
    side = smallest_side(inputs.settings.layers)
    with FrameReader(inputs.content, plan.frame_index) as reader:
        for frame, size in zip(plan.frames, plan.sizes, strict=True):
            if min(size) < side:
                continue
            try:
                array = reader.read(frame.index)[0]
                return frame.name, resize(array, fit_within(size_of(array), inputs.settings.size))
            except InputError:
                if inputs.content.is_film or frame is plan.frames[-1]:
                    raise
    raise InputError(f"none of the {len(plan.frames)} photos can be read and is large enough to be painted")
