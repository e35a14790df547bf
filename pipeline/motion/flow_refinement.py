"""Refinement of flow at motion boundaries: pixels take the flow of one near them that fits better.

Propagation as in PatchMatch (Barnes et al. 2009); windows are compared with adaptive support weights (Yoon and Kweon
2006), so that a window on a border compares one side of it.
"""

import cv2
import numpy as np

from ..pictures import size_of
from .flow import flow_positions

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
    if not refined.any():
        return flow
    cost = _WindowCost(a, b)
    flow, lowest = flow.copy(), cost(flow)
    for step in _STEPS:
        for across, down in ((step, 0), (-step, 0), (0, step), (0, -step)):
            other = _shifted(flow, across, down)
            other_cost = cost(other)
            better = refined * (other_cost < lowest)
            cv2.copyTo(other, better, flow)
            cv2.copyTo(other_cost, better, lowest)
    return flow


class _WindowCost:
    """The matching cost of a flow a → b in the window around each pixel of a.

    Each pixel of a window is compared along its own flow, so that one image of differences serves all windows. All
    windows are summed, also those that nobody asks for: whole images at a time that costs less than to gather a part.
    """

    def __init__(self, a: np.ndarray, b: np.ndarray) -> None:
        self._a, self._b = a, b
        height, width = size_of(a)
        offsets = range(2 * _WINDOW + 1)
        self._windows = [
            (slice(down, down + height), slice(across, across + width)) for down in offsets for across in offsets
        ]
        """For each position in the window, its pixels of all windows in the padded frame."""
        colors = _padded(a)
        self._weights = [np.exp(_difference(a, colors[it]) / -_COLOR_SCALE) for it in self._windows]
        total = sum(self._weights)
        for weights in self._weights:
            weights /= total

    def __call__(self, flow: np.ndarray) -> np.ndarray:
        """The cost at each pixel, `H×W` float32 from 0 to `_MAX_DIFFERENCE`."""
        positions, inside = flow_positions(flow)
        target = cv2.remap(self._b, positions, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        difference = np.minimum(_difference(self._a, target), _MAX_DIFFERENCE)
        difference[inside == 0] = _MAX_DIFFERENCE
        difference = _padded(difference)
        result = np.zeros_like(self._weights[0])
        for weights, window in zip(self._weights, self._windows, strict=True):
            cv2.accumulateProduct(weights, difference[window], result)
        return result


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
