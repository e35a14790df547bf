"""Refinement of flow at motion boundaries: pixels take the flow of one near them that fits better.

Propagation as in PatchMatch (Barnes et al. 2009); windows are compared with adaptive support weights (Yoon and Kweon
2006), so that a window on a border compares one side of it.
"""

import cv2
import numpy as np

from .flow import flow_targets

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
    _, _, inside = flow_targets(flow)
    side = 2 * _WINDOW + 1
    rows, columns = np.nonzero(where & (cv2.erode(inside.astype(np.uint8), np.ones((side, side), np.uint8)) > 0))
    if not len(rows):
        return flow
    cost = _WindowCost(a, b, rows, columns)
    flow, lowest = flow.copy(), cost(flow)
    for step in _STEPS:
        for across, down in ((step, 0), (-step, 0), (0, step), (0, -step)):
            other = _shifted(flow, across, down)
            other_cost = cost(other)
            better = other_cost < lowest
            pixels = rows[better], columns[better]
            flow[pixels], lowest[better] = other[pixels], other_cost[better]
    return flow


class _WindowCost:
    """The matching cost of a flow a → b in the windows around some pixels of a.

    Each pixel of a window is compared along its own flow, so that one image of differences serves all windows.
    """

    def __init__(self, a: np.ndarray, b: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> None:
        self._a, self._b = a, b
        padded_width = a.shape[1] + 2 * _WINDOW
        offsets = range(2 * _WINDOW + 1)
        self._offsets = [(rows + down) * padded_width + columns + across for down in offsets for across in offsets]
        """For each position in the window, the indices into the padded frame of all windows."""
        colors, centres = _padded(a).reshape(-1, 3), a[rows, columns]
        self._weights = np.stack([np.exp(np.abs(centres - colors[it]).sum(1) / -_COLOR_SCALE) for it in self._offsets])
        self._weights /= self._weights.sum(0)

    def __call__(self, flow: np.ndarray) -> np.ndarray:
        """The cost at each of the pixels, float32 from 0 to `_MAX_DIFFERENCE`."""
        x, y, inside = flow_targets(flow)
        target = cv2.remap(self._b, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        difference = np.minimum(
            cv2.transform(cv2.absdiff(self._a, target), np.ones((1, 3), np.float32)), _MAX_DIFFERENCE
        )
        difference[~inside] = _MAX_DIFFERENCE
        difference = _padded(difference).ravel()
        result = np.zeros(self._weights.shape[1], np.float32)
        for weights, pixels in zip(self._weights, self._offsets, strict=True):
            result += weights * difference[pixels]
        return result


def _padded(values: np.ndarray) -> np.ndarray:
    """`values` (`H×W` or `H×W×C`) with the border replicated by the radius of a window."""
    return np.asarray(cv2.copyMakeBorder(values, _WINDOW, _WINDOW, _WINDOW, _WINDOW, cv2.BORDER_REPLICATE))


def _shifted(values: np.ndarray, across: int, down: int) -> np.ndarray:
    """`values` (`H×W×C`) shifted to the right and down by whole pixels; what enters replicates the border."""
    height, width = values.shape[:2]
    left, top = abs(across), abs(down)
    wide = np.asarray(cv2.copyMakeBorder(values, top, top, left, left, cv2.BORDER_REPLICATE))
    return wide[top - down :, left - across :][:height, :width]
