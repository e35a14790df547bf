"""How many pictures of one size a device paints side by side."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch

from ..errors import OutOfMemoryError
from ..paint.costs import CostsOf, batch_costs
from ..paint.painter import Painter
from ..pictures import Size
from .frame_plan import FramePlan
from .inputs import Inputs
from .resources import best_width
from .workers import gpu_worker_count

PROBE_WIDTH = 4
"""Time and memory of other widths are extrapolated from those of one picture and of so many."""

GPU_MEMORY_SHARE = 0.85
"""Of a GPU's free memory, what pictures painted side by side may take."""


def batch_widths(
    inputs: Inputs, plan: FramePlan, make_painter: Callable[[], Painter], costs_of: CostsOf = batch_costs
) -> dict[Size, int]:
    """The width of each size for which it is more than one. The last bits of a picture depend on it, so a job keeps it.

    As many as the request allows; where it leaves that open, one on a CPU, and on a GPU as many as pay, which is
    measured with `costs_of`.
    """
    works = _chain_works(plan)
    most = inputs.request.batch
    if most is not None:
        widths = {size: min(most, len(work)) for size, work in works.items()}
    elif inputs.devices[0].type == "cpu" or not works:
        return {}
    else:
        devices = inputs.devices[: gpu_worker_count(inputs.request, inputs.devices)]
        widths = _measured_widths(works, devices, make_painter, costs_of)
    return {size: width for size, width in widths.items() if width > 1}


def size_order(inputs: Inputs, plan: FramePlan, widths: Mapping[Size, int]) -> tuple[int, ...]:
    """Indices of photos sorted by size, so that those of one size share batches; empty where the order of the content
    does as well."""
    sizes = plan.sizes
    if not widths or inputs.content.is_film or len(set(sizes)) == 1:
        return ()
    return tuple(sorted(range(len(sizes)), key=lambda index: (sizes[index], index)))


def _chain_works(plan: FramePlan) -> dict[Size, list[float]]:
    """The work of each chain, in iterations, by size; only sizes with several chains, whose frames can share a
    batch."""
    works: dict[Size, dict[int, float]] = {}
    for frame, size in zip(plan.frames, plan.sizes, strict=True):
        if all(size):
            work, chain = works.setdefault(size, {}), plan.segments.segment_start(frame.index, frame.shot)
            work[chain] = work.get(chain, 0.0) + frame.work
    return {size: list(work.values()) for size, work in works.items() if len(work) > 1}


def _measured_widths(
    works: Mapping[Size, Sequence[float]],
    devices: Sequence[torch.device],
    make_painter: Callable[[], Painter],
    costs_of: CostsOf,
) -> dict[Size, int]:
    """The fastest widths on GPUs, as time and memory of the most common size suggest; empty where memory is short."""
    common = max(works, key=lambda size: len(works[size]))
    painter = make_painter()
    gray = np.full((*common, 3), 128, np.uint8)
    try:
        costs = {width: costs_of(painter, gray, width) for width in (1, PROBE_WIDTH)}
    except OutOfMemoryError:
        costs = {}
    del painter
    # Worker processes share the GPU's memory with this one, which keeps what it has not given back.
    torch.cuda.empty_cache()
    if not costs:
        return {}
    (one, least), (some, more) = costs[1], costs[PROBE_WIDTH]
    slope, bytes_each = max(0.0, some - one) / (PROBE_WIDTH - 1), max(1, (more - least) // (PROBE_WIDTH - 1))
    free = GPU_MEMORY_SHARE * min(torch.cuda.mem_get_info(device)[0] for device in devices)
    widths = {}
    for size, work in works.items():
        share = size[0] * size[1] / (common[0] * common[1])
        fits = int((free - (least - bytes_each)) / (bytes_each * share))
        widths[size] = best_width(
            sum(work),
            max(work),
            max(1, min(fits, len(work))),
            len(devices),
            lambda width, share=share: (one - slope) + slope * share * width,  # type: ignore[misc]
        )
    return widths
