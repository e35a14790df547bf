"""TODO: motion.flow_refinement."""

import cv2
import numpy as np

from .flow_fit import flow_targets

_STEPS = (8, 4, 2, 1)
"""From so many working pixels away a pixel may take its flow, one after the other."""

_AROUND = 9
"""Side of the square around what is not confirmed in which pixels may; DIS errs on both sides of a border."""

_WINDOW = 2
"""Radius of the window in which the colours of two frames are compared."""

_SAME_SURFACE = 8.0
"""Difference of colour (Lab, summed over the channels) at which a pixel of the window counts 1/e."""

_UNLIKE = 20.0
"""Difference of colour (Lab, summed) beyond which two pixels are as different as can be."""


def dilate(pixels: np.ndarray) -> np.ndarray:
    return np.asarray(cv2.dilate(pixels.astype(np.uint8), np.ones((_AROUND, _AROUND), np.uint8)) > 0)


def propagate_flow(flow: np.ndarray, a: np.ndarray, b: np.ndarray, where: np.ndarray) -> np.ndarray:
    """`flow` (a → b), of which pixels in `where` (`H×W` bool) have taken what suits them better from those near them.

    `a` and `b` are `H×W×3` float32, in Lab. What is compared is the flow moved as a whole, and not what comes of it, in
    which the window's pixels may have taken that of others.
    """
    # What leaves the frame resembles nothing, and would take any motion that stays in it.
    _, _, inside = flow_targets(flow)
    side = 2 * _WINDOW + 1
    rows, columns = np.nonzero(where & (cv2.erode(inside.astype(np.uint8), np.ones((side, side), np.uint8)) > 0))
    if not len(rows):
        return flow
    difference = _WindowDifference(a, b, rows, columns)
    flow, least = flow.copy(), difference(flow)
    for step in _STEPS:
        for across, down in ((step, 0), (-step, 0), (0, step), (0, -step)):
            other = _moved(flow, across, down)
            found = difference(other)
            better = found < least
            places = rows[better], columns[better]
            flow[places], least[better] = other[places], found[better]
    return flow


class _WindowDifference:
    """How unlike frame a and what a flow a → b leads to are, in the windows around some pixels of a.

    Of each pixel of the window it is the flow of its own that counts: one image of differences serves all windows.
    """

    def __init__(self, a: np.ndarray, b: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> None:
        self._a, self._b = a, b
        wide = a.shape[1] + 2 * _WINDOW
        offsets = range(2 * _WINDOW + 1)
        self._places = [(rows + down) * wide + columns + across for down in offsets for across in offsets]
        """Of each place of the window, where it lies in the widened frame, for all windows."""
        colors, middle = _widened(a).reshape(-1, 3), a[rows, columns]
        self._weights = np.stack([np.exp(np.abs(middle - colors[it]).sum(1) / -_SAME_SURFACE) for it in self._places])
        self._weights /= self._weights.sum(0)

    def __call__(self, flow: np.ndarray) -> np.ndarray:
        """A value for each of the pixels, float32 from 0 to `_UNLIKE`."""
        x, y, inside = flow_targets(flow)
        there = cv2.remap(self._b, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        unlike = np.minimum(cv2.transform(cv2.absdiff(self._a, there), np.ones((1, 3), np.float32)), _UNLIKE)
        unlike[~inside] = _UNLIKE
        unlike = _widened(unlike).ravel()
        result = np.zeros(self._weights.shape[1], np.float32)
        for weights, places in zip(self._weights, self._places, strict=True):
            result += weights * unlike[places]
        return result


def _widened(values: np.ndarray) -> np.ndarray:
    """`values` (`H×W` or `H×W×C`) with the border repeated as far as a window reaches."""
    return np.asarray(cv2.copyMakeBorder(values, _WINDOW, _WINDOW, _WINDOW, _WINDOW, cv2.BORDER_REPLICATE))


def _moved(values: np.ndarray, across: int, down: int) -> np.ndarray:
    """`values` (`H×W×C`) moved to the right and downwards by whole pixels; what enters repeats the border."""
    height, width = values.shape[:2]
    aside, above = abs(across), abs(down)
    wide = np.asarray(cv2.copyMakeBorder(values, above, above, aside, aside, cv2.BORDER_REPLICATE))
    return wide[above - down :, aside - across :][:height, :width]
