"""The layers of VGG-19 by name, and the smallest picture that each can take.

`conv4_2` is before the ReLU, `relu4_2` after it; `pool4` ends the fourth block (Simonyan and Zisserman 2015, table 1,
column E).
"""

import difflib
import math
from collections.abc import Iterable

from .errors import InputError, SettingsError

CONVOLUTIONS_PER_BLOCK = (2, 2, 4, 4, 4)
CHANNELS_PER_BLOCK = (64, 128, 256, 512, 512)


def _sequence() -> tuple[str, ...]:
    names: list[str] = []
    for block, count in enumerate(CONVOLUTIONS_PER_BLOCK, start=1):
        for index in range(1, count + 1):
            names += [f"conv{block}_{index}", f"relu{block}_{index}"]
        names.append(f"pool{block}")
    return tuple(names)


LAYERS = _sequence()
"""Names of all layers, from the input to the output."""

CONVOLUTIONS = tuple(name for name in LAYERS if name.startswith("conv"))


def require_layer(name: str) -> str:
    """Returns `name` if VGG-19 has such a layer; raises `SettingsError`, which names the nearest, if not."""
    if name not in LAYERS:
        close = difflib.get_close_matches(name, LAYERS, 1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise SettingsError(
            f"VGG-19 has no layer {name!r}{hint} "
            "(relu1_1 … relu5_4 after the ReLU, conv1_1 … conv5_4 before it, pool1 … pool5)"
        )
    return name


def deepest(layers: Iterable[str]) -> str:
    """The one of `layers` that is farthest from the input."""
    return max((require_layer(name) for name in layers), key=LAYERS.index)


def block_of(name: str) -> int:
    """The block of layers that a layer is in, from 1."""
    return int(require_layer(name).removeprefix("conv").removeprefix("relu").removeprefix("pool").split("_")[0])


def channels(name: str) -> int:
    """The number of a layer's channels."""
    return CHANNELS_PER_BLOCK[block_of(name) - 1]


def stride(name: str) -> int:
    """Pixels from one feature of a layer to the next."""
    end = LAYERS.index(require_layer(name)) + 1
    return int(2 ** sum(before.startswith("pool") for before in LAYERS[:end]))


def reach(name: str) -> int:
    """How far the features of a layer see beyond the pixels that they stand for, in pixels: feature i of stride s
    depends on those of [s·i − reach, s·(i + 1) + reach). Every convolution sees one feature further on each side."""
    end = LAYERS.index(require_layer(name)) + 1
    return sum(stride(before) for before in LAYERS[:end] if before.startswith("conv"))


def smallest_side(layers: Iterable[str]) -> int:
    """Smallest side, in pixels, of a picture that has at least one feature at the deepest of `layers`."""
    return stride(deepest(layers))


def require_size(
    size: tuple[int, int], layers: Iterable[str], what: str, remedy: str = "use a larger picture or shallower layers"
) -> None:
    """Raises `InputError` if a picture of `size`, called `what`, has no feature at the deepest of `layers`."""
    layers = tuple(layers)
    side = smallest_side(layers)
    if min(size) < side:
        height, width = size
        raise InputError(
            f"{what} is {width}×{height} pixels; layer {deepest(layers)} needs at least {side}×{side}: {remedy}"
        )


def require_size_within(
    size: tuple[int, int], reduced: tuple[int, int], longer_side: int | None, layers: Iterable[str], what: str
) -> None:
    """`require_size` for a picture of `size` that the setting `size`, `longer_side`, makes one of `reduced`."""
    layers = tuple(layers)
    require_size(size, layers, what)
    needed = math.ceil(smallest_side(layers) * max(size) / min(size))
    remedy = f"use `size={needed}` or more, or shallower layers"
    require_size(reduced, layers, f"{what}, with `size={longer_side}`,", remedy)
