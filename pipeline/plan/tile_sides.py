"""In tiles of which side pictures of a size are painted, so that they fit into the memory there is.

The last bits of a picture depend on it, so it is decided once, when a job is planned, and kept with the plan.
"""

from collections.abc import Callable, Mapping, Sequence

import torch

from ..errors import InputError
from ..paint.painter import Painter
from ..paint.scales import scale_sizes
from ..pictures import Size, fit_within, size_of
from .disk_space import in_units
from .frame_plan import FramePlan
from .inputs import Inputs
from .memory import memory_free, worker_bytes

SIDES = (256, 368, 512, 720, 1024, 1440, 2048, 2896, 4096)
"""Sides of tiles, each √2 times the one before, in multiples of the stride that most layers have at the most. Smaller
ones would be margins for the most part."""

FREE_SHARE = 0.8
"""Of the memory that is free, what painting may take: other programs have more of it by and by. Of memory that the
request names it may take all."""

SMALLEST_REMEDY = 64
"""Pixels of the longer side; who has memory for less needs more memory."""

BytesOf = Callable[[Size, int | None], int]
"""The memory that a picture of a size takes in tiles of a side; whole with None."""


def tile_for(size: Size, free_bytes: float, bytes_of: BytesOf) -> int | None:
    """The largest side of tiles in which a picture fits into so much memory; the smallest where it does not fit, and
    None where it is painted whole."""
    longer = max(size)
    if longer <= SIDES[0] or bytes_of(size, None) <= free_bytes:
        return None
    smaller = [side for side in SIDES if side < longer]
    return next((side for side in reversed(smaller) if bytes_of(size, side) <= free_bytes), smaller[0])


def plan_tiles(inputs: Inputs, plan: FramePlan, widths: Mapping[Size, int], workers: int) -> dict[Size, int]:
    """The side of the tiles for each size that does not fit whole beside those of the other workers.

    Pictures that are painted side by side, for which memory is planned otherwise, are whole; so are all on the machines
    of a cluster, which are not known yet, unless the request names their memory. Raises `InputError` for a picture that
    does not fit in the smallest tiles either.
    """
    request, devices = inputs.request, inputs.devices
    if request.executor == "ray" and request.memory is None:
        return {}
    free = usable_memory(devices, workers, request.memory)
    kind, styles = devices[0].type, [size_of(style) for style in inputs.styles]

    def bytes_of(size: Size, tile: int | None) -> int:
        film = inputs.content.is_film
        return worker_bytes(inputs.settings, size, styles, is_film=film, tile=tile, kind=kind)

    names = {size: frame.name for frame, size in zip(reversed(plan.frames), reversed(plan.sizes), strict=True)}
    tiles = {}
    for own, name in names.items():
        # At its smaller scales as well, the largest of which are hardly smaller.
        for size in () if widths.get(own, 1) > 1 else (own, *scale_sizes(own, inputs.settings.scales.from_)):
            tile = tile_for(size, free, bytes_of)
            if tile is not None:
                _require_room(name, size, bytes_of(size, tile), free, bytes_of)
                tiles[size] = tile
    return tiles


def choose_tiles(painter: Painter, size: Size) -> None:
    """Chooses tiles for a painter's pictures of a size, and for their smaller scales, where they do not fit whole: of
    pictures that are painted or measured one by one, without a plan. What is chosen stays."""
    settings, device, styles = painter.settings, painter.device, [size_of(style) for style in painter.styles]

    def bytes_of(size: Size, tile: int | None) -> int:
        return worker_bytes(settings, size, styles, is_film=False, tile=tile, kind=device.type)

    for each in (size, *scale_sizes(size, settings.scales.from_)):
        if each not in painter.tiles:
            painter.tiles[each] = tile_for(each, usable_memory([device], 1, None), bytes_of)


def usable_memory(devices: Sequence[torch.device], workers: int, named: int | None) -> float:
    """The memory that each worker may take, in bytes; that of a CPU is shared by all, and a GPU has one worker."""
    sharing = workers if devices[0].type == "cpu" else 1
    return (FREE_SHARE * memory_free(devices, workers) if named is None else named) / sharing


def _require_room(name: str, size: Size, needed: int, free: float, bytes_of: BytesOf) -> None:
    """Raises `InputError` where a picture needs more than is free; it names the largest size that would fit."""
    if needed <= free:
        return
    height, width = size
    low, high = 0, max(size)
    while high - low > 1:
        middle = (low + high) // 2
        reduced = fit_within(size, middle)
        side = None if middle <= SIDES[0] else SIDES[0]
        low, high = (middle, high) if min(bytes_of(reduced, tile) for tile in (None, side)) <= free else (low, middle)
    smaller = f"`size={low}`, or " if low >= SMALLEST_REMEDY else ""
    raise InputError(
        f"{name} of {width}×{height} pixels takes {in_units(needed)} of memory, and {in_units(free)} may be used: "
        f"paint it with {smaller}more `memory`"
    )
