"""A picture in tiles whose features are exactly those of the whole: each with a margin that its own part depends on.

Convention: boxes are (top, left, bottom, right) in pixels, half-open. A tile owns `own`; the encoder is given `padded`,
which is larger by the reach of the layers where the picture goes on. Both begin at multiples of the deepest stride, so
that pooling meets the same pixels as in the whole, and its floors are those at the border of the picture.
"""

import functools
import itertools
import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch

from ..layers import reach, stride
from ..pictures import Size

Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class Tile:
    """One tile of a picture."""

    own: Box
    padded: Box

    def crop(self, pixels: torch.Tensor) -> torch.Tensor:
        """What the encoder is given of B×3×H×W pixels: a view."""
        top, left, bottom, right = self.padded
        return pixels[..., top:bottom, left:right]

    def own_features(self, features: torch.Tensor, layer: str) -> torch.Tensor:
        """The features of its own part among those of the padded tile, as a view."""
        step = stride(layer)
        top, left, bottom, right = (side // step for side in self._own_within())
        return features[..., top:bottom, left:right]

    def place(self, features: torch.Tensor, layer: str) -> torch.Tensor:
        """Where its own part is among the features of the whole picture, as a view."""
        step = stride(layer)
        top, left, bottom, right = (side // step for side in self.own)
        return features[..., top:bottom, left:right]

    def _own_within(self) -> Box:
        top, left, bottom, right = self.own
        above, before = self.padded[:2]
        return top - above, left - before, bottom - above, right - before


@functools.lru_cache(maxsize=64)
def tiles_of(size: Size, side: int, layers: frozenset[str]) -> tuple[Tile, ...]:
    """The tiles of a picture (height, width) for layers: as few as have sides of `side` pixels at most, margins not
    counted, and all about as large."""
    height, width = size
    rows, columns = _parts(height, side, layers), _parts(width, side, layers)
    return tuple(
        Tile((top, left, bottom, right), (above, before, below, behind))
        for (top, bottom, above, below), (left, right, before, behind) in itertools.product(rows, columns)
    )


def margin_of(layers: Iterable[str]) -> int:
    """The margin of tiles: the reach of all layers, in whole steps of the deepest."""
    layers = tuple(layers)
    step = max(map(stride, layers))
    return step * math.ceil(max(map(reach, layers)) / step)


def _parts(length: int, side: int, layers: frozenset[str]) -> list[tuple[int, int, int, int]]:
    """(Start, end, start and end with margins) of the parts of one side of a picture."""
    step, margin = max(map(stride, layers)), margin_of(layers)
    steps = math.ceil(length / step)
    count = math.ceil(steps / max(1, side // step))
    ends = [min(length, step * (steps * number // count)) for number in range(count + 1)]
    return [(start, end, max(0, start - margin), min(length, end + margin)) for start, end in itertools.pairwise(ends)]


TWO_PASSES = 1.46
"""The time of a tile, whose features are computed twice, by that of as many pixels of a whole picture: measured on a
CPU, in bf16 and in fp32."""


def tiling_cost(size: Size, side: int | None, layers: frozenset[str]) -> float:
    """The time of an evaluation in tiles of a side, margins included, by that of the whole picture; 1 with None."""
    if side is None:
        return 1.0
    boxes = (tile.padded for tile in tiles_of(size, side, layers))
    padded = sum((bottom - top) * (right - left) for top, left, bottom, right in boxes)
    return TWO_PASSES * padded / math.prod(size)


def feature_size(size: Size, layer: str) -> Size:
    """The size of a layer's features of a picture of a size."""
    height, width = size
    return height // stride(layer), width // stride(layer)
