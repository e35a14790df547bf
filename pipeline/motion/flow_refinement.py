"""Refinement of flow at motion boundaries: pixels take the flow of one near them that fits better.

Propagation as in PatchMatch (Barnes et al. 2009); windows are compared with adaptive support weights (Yoon and Kweon
2006), so that a window on a border compares one side of it.
"""

from collections.abc import Iterator
from typing import TypeAlias

import cv2
import numpy as np

from ..pictures import size_of
from .flow import flow_positions, in_frame, pixel_grid, sample_at

_STEPS = (8, 4, 2, 1)
"""Distances in working pixels from which a pixel may take its flow, tried in order."""

_DILATION = 9
"""Side of the square by which the inconsistent pixels are dilated: DIS errs on both sides of a border."""

_WINDOW = 2
"""Radius of the window in which the colours of two frames are compared."""

_COLOR_SCALE = 8.0
"""Difference of colour (Lab, summed over the channels) at which a pixel of the window has the weight 1/e."""

_MAX_DIFFERENCE = 20.0
"""Difference of colour (Lab, summed) at which matching costs are cut off."""

_TILE = (128, 128)
"""Sides in pixels of the parts that are compared at a time: what is computed of one stays in the processor's cache."""


def dilate(pixels: np.ndarray) -> np.ndarray:
    """`pixels` (`H×W` bool) and those around them that are refined too."""
    return np.asarray(cv2.dilate(pixels.astype(np.uint8), np.ones((_DILATION, _DILATION), np.uint8)) > 0)


def propagate_flow(flow: np.ndarray, a: np.ndarray, b: np.ndarray, where: np.ndarray) -> np.ndarray:
    """`flow` (a → b, `H×W×2`), in which pixels of `where` (`H×W` bool) have taken a nearby flow of lower matching cost.

    `a` and `b` are `H×W×3` float32 in Lab. The cost of a nearby flow is that of the whole field shifted, not of the
    field it results in, where pixels of the window may have taken other flows.
    """
    # A pixel that leaves the frame matches nothing and would take any motion that stays inside.
    _, inside = flow_positions(flow)
    side = 2 * _WINDOW + 1
    refined = cv2.erode(inside, np.ones((side, side), np.uint8)) * where
    colors, pixels, flow = _padded(a), _padded(pixel_grid(size_of(a))), flow.copy()
    padded = _padded(flow)
    tiles = [_Tile(tile, colors, pixels, b, refined, flow, padded) for tile in _tiles(refined)]
    for step in _STEPS:
        for across, down in ((step, 0), (-step, 0), (0, step), (0, -step)):
            other = _padded(_shifted(flow, across, down))
            for tile in tiles:
                tile.take_better(other)
    return flow


_Part: TypeAlias = tuple[slice, slice]
"""Rows and columns of a frame."""


def _tiles(pixels: np.ndarray) -> Iterator[_Part]:
    """Parts of a frame with all of its `pixels` (`H×W`), each no larger than needed and than `_TILE`."""
    height, width = pixels.shape
    for top in range(0, height, _TILE[0]):
        for left in range(0, width, _TILE[1]):
            tile = pixels[top : top + _TILE[0], left : left + _TILE[1]]
            rows, columns = np.flatnonzero(tile.any(1)), np.flatnonzero(tile.any(0))
            if len(rows):
                yield slice(top + rows[0], top + rows[-1] + 1), slice(left + columns[0], left + columns[-1] + 1)


class _Tile:
    """A part of a flow a → b, and the matching cost in the window around each of its pixels.

    `colors` are those of a and `pixels` the grid of positions, both padded. Each pixel of a window is compared along
    its own flow, so that one image of differences serves all windows. All windows of the part are summed, also those of
    pixels that are not `refined`: to gather some costs more.
    """

    def __init__(
        self,
        part: _Part,
        colors: np.ndarray,
        pixels: np.ndarray,
        b: np.ndarray,
        refined: np.ndarray,
        flow: np.ndarray,
        padded_flow: np.ndarray,
    ) -> None:
        self._padded_part = tuple(slice(it.start, it.stop + 2 * _WINDOW) for it in part)
        self._colors, self._pixels = colors[self._padded_part], pixels[self._padded_part]
        self._size = size_of(b)
        self._b, self._refined, self._flow = b, np.ascontiguousarray(refined[part]), flow[part]
        (height, width), offsets = self._refined.shape, range(2 * _WINDOW + 1)
        self._windows = [
            (slice(down, down + height), slice(across, across + width)) for down in offsets for across in offsets
        ]
        """For each position in the window, its pixels of all windows in the padded part."""
        self._centre = self._windows[len(self._windows) // 2]
        center_colors = self._colors[self._centre]
        self._weights = [np.exp(_difference(center_colors, self._colors[it]) / -_COLOR_SCALE) for it in self._windows]
        total = np.sum(self._weights, 0)
        for weights in self._weights:
            np.divide(weights, total, out=weights)
        self._lowest = self._cost(padded_flow)

    def take_better(self, other: np.ndarray) -> None:
        """Takes over the flow `other` (of the padded frame) where it has the lower cost."""
        cost = self._cost(other)
        better = self._refined * (cost < self._lowest)
        cv2.copyTo(other[self._padded_part][self._centre], better, self._flow)
        cv2.copyTo(cost, better, self._lowest)

    def _cost(self, flow: np.ndarray) -> np.ndarray:
        """The cost of `flow` (of the padded frame) at each pixel of the part, from 0 to `_MAX_DIFFERENCE`."""
        positions = self._pixels + flow[self._padded_part]
        difference = np.minimum(_difference(self._colors, sample_at(self._b, positions)), _MAX_DIFFERENCE)
        difference[in_frame(positions, self._size) == 0] = _MAX_DIFFERENCE
        cost = np.zeros_like(self._weights[0])
        for weights, window in zip(self._weights, self._windows, strict=True):
            cv2.accumulateProduct(weights, difference[window], cost)
        return cost


def _difference(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """How much the colours of two frames (`H×W×3`) differ, summed over the channels, `H×W`."""
    return np.asarray(cv2.transform(cv2.absdiff(a, b), np.ones((1, 3), np.float32)))


def _padded(values: np.ndarray) -> np.ndarray:
    """`values` (`H×W` or `H×W×C`) with the border replicated by the radius of a window."""
    return np.asarray(cv2.copyMakeBorder(values, _WINDOW, _WINDOW, _WINDOW, _WINDOW, cv2.BORDER_REPLICATE))


def _shifted(values: np.ndarray, across: int, down: int) -> np.ndarray:
    """`values` (`H×W×C`) shifted to the right and down by whole pixels; what enters replicates the border."""
    height, width = values.shape[:2]
    left, top = abs(across), abs(down)
    wide = np.asarray(cv2.copyMakeBorder(values, top, top, left, left, cv2.BORDER_REPLICATE))
    return wide[top - down :, left - across :][:height, :width]
