"""The memory that painting takes, estimated, and how much of it there is.

The peak of a worker follows a rule, whose numbers were measured (`make bench ONLY=memory`, and on a GPU `ONLY=speed`).
"""

import heapq
import math
import os
import resource
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from ..layers import channels
from ..paint.curvature_pairs import history_bytes
from ..paint.painter import reduced_style_size
from ..paint.tiles import feature_size, margin_of
from ..pictures import Size, size_of
from ..settings import Settings
from .frame_plan import FramePlan
from .inputs import Inputs
from .resources import WORKER_BYTES, physical_memory_bytes

PICTURE_BYTES = 12
"""Of a pixel of a picture in single precision."""

PAINTED_PIXEL_BYTES = 2800
"""Of a pixel of a picture that is painted whole on a CPU: what the encoder keeps for the gradient, and the gradients of
its widest layers. The first block has nearly all of it, so that other layers change little. With 20 pairs 3000 to 3200
were measured, in `fp32` and in `bf16`, which ends in `fp32`."""

GPU_BASE_BYTES = 1 << 30
"""Memory of a GPU without pictures: the encoder, the libraries and their workspaces."""

GPU_PIXEL_BYTES = 3700
"""Of a pixel of a picture that is painted whole on a GPU, with its history: 600, and what the encoder keeps for the
gradient, 2000 in single precision and 1000 in bf16, which a graph of each stage holds."""

TILE_PIXEL_BYTES = {"cpu": 2600, "cuda": 3100}
"""Of a pixel of a tile with its margin: what the encoder keeps for the gradient, by the type of the device."""

STEP_PICTURES = 13
"""A picture that is painted in tiles, and others like it in single precision, between two evaluations: what the
optimizer keeps besides its history, and what it needs to choose the next step."""

EVALUATION_PICTURES = 9
"""The same while tiles are evaluated."""

STYLE_PIXEL_BYTES = 850
"""Of a pixel of the reduced style, for whose Gram matrices no gradient is kept."""

FILM_PIXEL_BYTES = 400
"""Of a pixel of a film's frame, for the frames and the optical flow that are kept beside the picture."""


def worker_bytes(
    settings: Settings,
    size: Size,
    styles: Sequence[Size],
    width: int = 1,
    *,
    is_film: bool,
    tile: int | None = None,
    kind: str = "cpu",
) -> int:
    """The peak memory of a worker that paints `width` pictures of a size in styles of these sizes, whole or in tiles of
    a side; `kind` is the type of its device."""
    pixels = size[0] * size[1]
    base = WORKER_BYTES if kind == "cpu" else GPU_BASE_BYTES
    if tile is not None:
        each = _tiled_bytes(settings, size, tile, kind)
    elif kind == "cpu":
        each = _history_bytes(settings, pixels) + pixels * PAINTED_PIXEL_BYTES
    else:
        each = pixels * GPU_PIXEL_BYTES
    if is_film and kind == "cpu":
        each += pixels * FILM_PIXEL_BYTES
    # One after the other: the style is encoded before the picture is painted.
    reduced = (reduced_style_size(settings.style, size, style) for style in styles)
    style = max((height * wide * STYLE_PIXEL_BYTES for height, wide in reduced), default=0) if tile is None else 0
    return base + max(width * each, style)


def _tiled_bytes(settings: Settings, size: Size, tile: int, kind: str) -> int:
    """What a picture takes in tiles: its history, the content's features, and a tile or the choice of a step."""
    pixels, side = size[0] * size[1], tile + 2 * margin_of(settings.layers)
    padded = min(side, size[0]) * min(side, size[1])
    evaluation = EVALUATION_PICTURES * PICTURE_BYTES * pixels + TILE_PIXEL_BYTES[kind] * padded
    step = STEP_PICTURES * PICTURE_BYTES * pixels
    return _history_bytes(settings, pixels) + _target_bytes(settings, size) + max(evaluation, step)


def _history_bytes(settings: Settings, pixels: int) -> int:
    optimizer = settings.optimizer
    return history_bytes(optimizer.history, 3 * pixels) if optimizer.method == "lbfgs" else 0


def _target_bytes(settings: Settings, size: Size) -> int:
    """The features of the content that the picture is compared with, in single precision."""
    layers = [name for name, weight in settings.content.layers.items() if weight]
    return sum(4 * channels(name) * math.prod(feature_size(size, name)) for name in layers)


def memory_needed(
    inputs: Inputs, plan: FramePlan, widths: Mapping[Size, int], tiles: Mapping[Size, int], workers: int
) -> int:
    """The memory that workers on a CPU take together at the most, each with the largest pictures that there are; on
    GPUs what one of them takes."""
    kind, styles = inputs.devices[0].type, [size_of(style) for style in inputs.styles]
    each = {
        size: worker_bytes(
            inputs.settings,
            size,
            styles,
            widths.get(size, 1),
            is_film=inputs.content.is_film,
            tile=tiles.get(size),
            kind=kind,
        )
        for size in set(plan.sizes)
    }
    return sum(heapq.nlargest(workers if kind == "cpu" else 1, (each[size] for size in plan.sizes)))


def memory_free(devices: Sequence[torch.device], workers: int = 1) -> int:
    """The memory that is free for the workers: of this machine, container or process, or on the fullest GPU."""
    return cpu_memory_free(workers) if devices[0].type == "cpu" else gpu_memory_free(devices)


def gpu_memory_free(devices: Sequence[torch.device]) -> int:
    """The memory that is free on the fullest of these GPUs, what this process has cached included."""
    return min(torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_reserved(device) for device in devices)


def cpu_memory_free(workers: int = 1) -> int:
    """The memory that this process and its workers may take: what is available on this machine or in this container,
    and what the limits of a process allow (`ulimit -v`); with what this process has of it already."""
    own_virtual, own = _own_bytes()
    free = [_meminfo_available() + own, _container_free() + own]
    for kind in (resource.RLIMIT_AS, resource.RLIMIT_DATA):
        soft = resource.getrlimit(kind)[0]
        if soft != resource.RLIM_INFINITY:
            # Address space that is reserved and not used counts as well.
            free.append(workers * max(0, soft - (own_virtual - own if kind == resource.RLIMIT_AS else 0)))
    return min(free)


def _own_bytes() -> tuple[int, int]:
    """(Virtual, resident) memory of this process; 0 where the system does not say."""
    try:
        virtual, resident = map(int, Path("/proc/self/statm").read_text().split()[:2])
    except (OSError, ValueError):
        return 0, 0
    page = os.sysconf("SC_PAGE_SIZE")
    return virtual * page, resident * page


def _meminfo_available() -> int:
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) << 10
    except (OSError, ValueError, IndexError):
        pass
    return physical_memory_bytes()


def _container_free(root: Path = Path("/sys/fs/cgroup"), groups: Path = Path("/proc/self/cgroup")) -> int:
    """The memory that is left in the control groups of this process (version 2 or 1); 1 EiB without a limit."""
    free = 1 << 60
    try:
        lines = groups.read_text().splitlines()
    except OSError:
        return free
    for line in lines:
        _, kinds, path = line.split(":", 2)
        if kinds and "memory" not in kinds.split(","):
            continue
        base, limit, used = (
            (root / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes")
            if kinds
            else (root, "memory.max", "memory.current")
        )
        folder = base / path.lstrip("/")
        # A limit of any group above counts; inside a container the folder of the group itself may be hidden.
        for group in (folder, *folder.parents):
            if not group.is_relative_to(base):
                break
            free = min(free, _group_free(group, limit, used))
    return free


def _group_free(group: Path, limit: str, used: str) -> int:
    try:
        most, taken = int((group / limit).read_text()), int((group / used).read_text())
        statistics = dict(line.split()[:2] for line in (group / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):  # No such file, or "max": no limit.
        return 1 << 60
    # Cached files are given up where memory is short.
    return max(0, most - taken + int(statistics.get("inactive_file", 0)))
