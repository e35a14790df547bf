"""How many pictures of one size a device paints side by side: by rule, so that the same command has the same bits."""

from collections.abc import Mapping, Sequence

import torch

from ..pictures import Size
from .frame_plan import FramePlan
from .inputs import Inputs
from .memory import GPU_BASE_BYTES, GPU_PIXEL_BYTES
from .resources import best_width
from .workers import gpu_worker_count

GPU_MEMORY_SHARE = 0.85
"""Of a GPU's memory, what pictures painted side by side may take."""

MOST_PICTURES = 64
"""More side by side gain nothing."""

LAUNCH_PIXELS = 100_000
"""An iteration takes a GPU as long as so many pixels more than it has (measured: 1.66 ms for one picture of 256×256,
43.5 ms for 64 of them). So it pays to paint small pictures side by side, and large ones one by one."""


def batch_widths(inputs: Inputs, plan: FramePlan) -> dict[Size, int]:
    """The width of each size for which it is more than one. The last bits of a picture depend on it, so a job keeps it.

    As many as the request allows; where it leaves that open, one on a CPU, and on a GPU as many as pay and as its
    memory holds.
    """
    works = _chain_works(plan)
    most = inputs.request.batch
    if most is not None:
        widths = {size: min(most, len(work)) for size, work in works.items()}
    elif inputs.devices[0].type == "cpu" or not works:
        return {}
    else:
        devices = inputs.devices[: gpu_worker_count(inputs.request, inputs.devices)]
        memory = min(torch.cuda.get_device_properties(device).total_memory for device in devices)
        widths = {size: width_for(size, work, memory, len(devices)) for size, work in works.items()}
    return {size: width for size, width in widths.items() if width > 1}


def width_for(size: Size, works: Sequence[float], memory_bytes: int, devices: int) -> int:
    """The width for pictures of a size on GPUs with so much memory; `works` are the iterations of each chain."""
    pixels = size[0] * size[1]
    fits = int((GPU_MEMORY_SHARE * memory_bytes - GPU_BASE_BYTES) / (GPU_PIXEL_BYTES * pixels))
    most = max(1, min(fits, MOST_PICTURES, len(works)))
    return best_width(sum(works), max(works), most, devices, lambda width: LAUNCH_PIXELS + width * pixels)


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
