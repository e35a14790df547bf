"""Optical flow between two content frames: estimated (`DisFlow`, `RaftFlow`) or read from files (`FloFolder`).

Convention
    Flow a → b is `H×W×2` float32, (dx, dy) in pixels, on the grid of `a`: what is at `x` in `a` is at
    `x + flow` in `b`. dx counts to the right, dy downwards; pixels are those of the grid itself, so
    a flow that is brought to another size has its vectors scaled too, each axis by its own factor
    (`resize_flow`). Frames are `H×W×3` uint8 RGB; sizes are (height, width). OpenCV's channel
    orders and its (x, y) sizes do not leave the function that calls it.
"""

import contextlib
import hashlib
import os
import re
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Literal, Protocol

import cv2
import numpy as np
import torch
from torch import nn
from torch.nn import functional

from pipeline.errors import InputError, WeightsError
from pipeline.frames import Size, fit_within, size_of, to_tensor
from pipeline.storage import write_bytes
from pipeline.temporal import CONSISTENCY_OFFSET, CONSISTENCY_SLOPE
from pipeline.weights import download_path, download_state_dict, read_state_dict

WORKING_FACTOR = 2.5
"""The flow is estimated on frames this many times the painting's size, where they have as much: motion
of thin things and borders is lost at the painting's size, and its average over a pixel is more exact."""

WORKING_LEAST = 512
"""The longer side of small paintings' working frames, in pixels; never more than the source has."""

WORKING_MOST = 1024
"""The longer side of working frames at most, in pixels."""

_FEATURE_SIDE = 512
"""SIFT looks at frames of this longer side at most: larger ones give more matches, and for twice the
time of matching no flow that is much better."""

_LEAST_SIDE = 32
"""Frames with a shorter side are padded to it: DIS works in patches of 8 pixels on a pyramid."""

_FAST, _EXACT = cv2.DISOPTICAL_FLOW_PRESET_FAST, cv2.DISOPTICAL_FLOW_PRESET_MEDIUM

_EASY = 0.99
"""Where plain DIS agrees with itself, forward and backward, about so much of both frames, nothing is gained by a start
from matches."""

_CLAHE_CLIP = 4.0
_CLAHE_TILES = (8, 8)

_RATIO = 0.85
_GUIDED_RATIO = 0.95
_GUIDED_RADIUS = 1 / 32
"""How far from where the first matches point a second match may lie, of the longer side."""

_MOST_DISTANCE = 150_000.0
"""Squared distance between SIFT descriptors (of length 512) beyond which they are of different things."""

_LEAST_MATCHES = 4

_NEIGHBOURS = 24
"""Support points of a local fit. The fourth nearest sets how fast their weights fall with distance."""

_RIDGE = 30.0
"""Added to the second moments (pixels²) of a fit: few or aligned points give a shift, and no wild affine map."""

_OUTLIER_PIXELS = 3.0
"""The residual at which a support point has half its weight."""

_CELLS = 48
"""Fits along the longer side; between their centres the flow is interpolated linearly."""

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

_one_thread_lock = threading.Lock()


class FlowEstimator(Protocol):
    """Whatever makes flow out of two frames."""

    def pair(self, a: np.ndarray, b: np.ndarray, size: Size) -> tuple[np.ndarray, np.ndarray]:
        """Flow a → b and flow b → a, both `H×W×2` float32 in pixels of `size`.

        `a` and `b` are frames of one size, the source's, which `size` (the painting's) need not be.
        The same frames give the same bits.
        """
        ...


def resize_flow(flow: np.ndarray, size: Size) -> np.ndarray:
    """`H×W×2` flow brought to `size`, its vectors scaled per axis; area-averaged where it shrinks, else bilinear."""
    height, width = flow.shape[:2]
    if (height, width) == size:
        return flow.astype(np.float32)
    resized = _resample(flow.astype(np.float32), size)
    return resized * np.array([size[1] / width, size[0] / height], np.float32)


def working_size(source: Size, painting: Size) -> Size:
    """The size at which the flow of a painting is estimated, of the shape of the source and no larger."""
    side = min(max(round(WORKING_FACTOR * max(painting)), WORKING_LEAST), WORKING_MOST)
    return fit_within(source, side)


# Estimated without weights


class DisFlow:
    """Dense inverse search (Kroeger et al. 2016, OpenCV) that is told of large motion by SIFT matches.

    DIS alone goes from coarse to fine and loses whatever moves farther than its own size. Here, as in
    Brox and Malik (2011), matches of features start it, wherever plain DIS contradicts itself when it is
    asked for the way back:

    1. SIFT features (Lowe 2004) of both frames, mutual nearest neighbours that pass the ratio test and
       agree with matches next to them. A second, guided match looks only where the first ones point,
       where a weaker ratio is enough, and finds a third more in dark and fast scenes.
    2. Affine maps fitted locally and robustly to the matches give a first flow, in both directions
       (after the interpolation of EpicFlow, Revaud et al. 2015, with distance in the plane in place of
       its edges).
    3. DIS from it, to half the working size. Where forward and backward flow disagree (Sundaram et al.
       2010), the flow is fitted anew to those around that agree.
    4. DIS again from there, to the full working size.
    5. DIS moves whole patches, and the border of a moving thing with what is behind it. Around whatever
       forward and backward flow disagree about, each pixel takes the flow of one near it where that makes
       its window look more alike in the other frame (propagation, PatchMatch, Barnes et al. 2009). A pixel of
       the window counts as much as its colour is that of the one in the middle, so that a window on a
       border compares one side of it (adaptive support weights, Yoon and Kweon 2006): of what is hidden in
       cave_2 both directions agree about 9.9 % by it, and 10.9 % with equal weights.

    Where plain DIS agrees with itself nearly everywhere, step 5 follows at once.

    What forward and backward flow disagree about in the end is left as it is. To fit it anew there too
    would bring the mean error down, but both directions would then agree on guesses: on market_5 they would
    about 72 % of what is hidden, not 29 %. A painting that follows the fit while the mask does not (0.90 px of
    error on market_5, not 1.28) is no gain either: E × 1000 was 8.99 and not 9.13 there, and 4.48 and not 4.31
    on ambush_4, at 1.02 and 1.01 of the objective. DIS goes where the colours are those of the frame, and
    strokes that come from there are less work.

    SIFT and the first DIS see each frame with its local contrast equalised. The last one sees the plain
    grey values: the equalisation differs from frame to frame, which costs sub-pixel precision (0.08 in
    place of 0.05 px on a slow rotation).

    Measured on Sintel's market_5 (motion of 27 px in the median and 133 at most) and cave_2 (15, 46), with
    a painting of 256×109, on what both frames show: error mean / median in its pixels, share beyond one pixel,
    and time by that of DIS with the preset MEDIUM. DIS alone sees grey frames of the painting's size::

        preset     finest scale  market_5            cave_2               time
        ULTRAFAST  0             4.26 / 1.16 / 52 %  0.40 / 0.14 / 9 %    0.4
        FAST       0             4.43 / 1.09 / 51 %  0.37 / 0.11 / 8 %    0.7
        FAST       1             4.58 / 1.84 / 59 %  0.60 / 0.29 / 15 %   0.2
        MEDIUM     0             5.42 / 1.26 / 52 %  0.33 / 0.11 / 8 %    1
        MEDIUM     1             5.64 / 2.14 / 60 %  0.57 / 0.29 / 14 %   0.3
        DisFlow                  1.28 / 0.17 / 24 %  0.13 / 0.04 / 2 %    40

    The same frames give the same bits whatever ran before: OpenCV's DIS divides its work by the number
    of threads and differs by it, so it has one thread here, and calls from several threads take turns.
    """

    def __call__(self, a: np.ndarray, b: np.ndarray, size: Size) -> np.ndarray:
        """Flow a → b, `H×W×2` float32 in pixels of `size`."""
        return self.pair(a, b, size)[0]

    def pair(self, a: np.ndarray, b: np.ndarray, size: Size) -> tuple[np.ndarray, np.ndarray]:
        """Flow a → b and flow b → a (see `FlowEstimator`); either direction takes the other to be checked by."""
        _require_frames(a, b)
        work = working_size(size_of(a), size)
        with _one_thread():
            forward, backward = _sharp_dis(*(_padded(_resample(frame, work)) for frame in (a, b)))
            forward, backward = (flow[: work[0], : work[1]] for flow in (forward, backward))
            return resize_flow(forward, size), resize_flow(backward, size)


def plain_dis(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Flow a → b by DIS alone at the frames' own size: quick, and right where little moves."""
    _require_frames(a, b)
    with _one_thread():
        greys = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in (a, b)]
        grey_a, grey_b = (_padded(grey) for grey in greys)
        flow = _dis(grey_a, grey_b, None, cv2.DISOPTICAL_FLOW_PRESET_MEDIUM, finest_scale=0)
        return np.ascontiguousarray(flow[: a.shape[0], : a.shape[1]])


def _padded(frame: np.ndarray) -> np.ndarray:
    below, right = (max(0, _LEAST_SIDE - side) for side in frame.shape[:2])
    if not (below or right):
        return frame
    return np.asarray(cv2.copyMakeBorder(frame, 0, below, 0, right, cv2.BORDER_REPLICATE))


def _sharp_dis(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Flow a → b and b → a of two `H×W×3` uint8 frames at their own size, as `DisFlow` describes."""
    grey_a, grey_b = (cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in (a, b))
    forward = _dis(grey_a, grey_b, None, _EXACT, finest_scale=0)
    backward = _dis(grey_b, grey_a, None, _EXACT, finest_scale=0)
    confirmed = _confirmed(forward, backward), _confirmed(backward, forward)
    if any(pixels.mean() < _EASY for pixels in confirmed):
        forward, backward = _seeded_dis(grey_a, grey_b)
        confirmed = _confirmed(forward, backward), _confirmed(backward, forward)
    if all(pixels.all() for pixels in confirmed):
        return forward, backward
    lab_a, lab_b = (cv2.cvtColor(frame.astype(np.float32) / 255, cv2.COLOR_RGB2LAB) for frame in (a, b))
    return (
        _propagated(forward, lab_a, lab_b, _around(~confirmed[0])),
        _propagated(backward, lab_b, lab_a, _around(~confirmed[1])),
    )


def _seeded_dis(grey_a: np.ndarray, grey_b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Flow a → b and b → a by DIS that SIFT matches start: steps 1 to 4 of `DisFlow`."""
    equal_a, equal_b = _equalized(grey_a), _equalized(grey_b)
    points_a, points_b = _matches(grey_a, grey_b)
    first: list[np.ndarray | None] = [None, None]
    if len(points_a) >= _LEAST_MATCHES:
        first = [
            _interpolated(points_a, points_b - points_a, size_of(grey_a)),
            _interpolated(points_b, points_a - points_b, size_of(grey_a)),
        ]
    forward = _dis(equal_a, equal_b, first[0], _FAST, finest_scale=1)
    backward = _dis(equal_b, equal_a, first[1], _FAST, finest_scale=1)
    forward, backward = _refitted(forward, backward), _refitted(backward, forward)
    return (
        _dis(grey_a, grey_b, forward, _EXACT, finest_scale=0),
        _dis(grey_b, grey_a, backward, _EXACT, finest_scale=0),
    )


def _around(pixels: np.ndarray) -> np.ndarray:
    return np.asarray(cv2.dilate(pixels.astype(np.uint8), np.ones((_AROUND, _AROUND), np.uint8)) > 0)


def _propagated(flow: np.ndarray, a: np.ndarray, b: np.ndarray, where: np.ndarray) -> np.ndarray:
    """`flow` (a → b), of which pixels in `where` (`H×W` bool) have taken what suits them better from those near them.

    `a` and `b` are `H×W×3` float32, in Lab. What is compared is the flow moved as a whole, and not what comes of it, in
    which the window's pixels may have taken that of others.
    """
    # What leaves the frame resembles nothing, and would take any motion that stays in it.
    _, _, inside = _ends(flow)
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
        x, y, inside = _ends(flow)
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


def _equalized(grey: np.ndarray) -> np.ndarray:
    """The frame with its local contrast equalised (Zuiderveld 1994, CLAHE), which brings out what is in the dark."""
    return np.asarray(cv2.createCLAHE(_CLAHE_CLIP, _CLAHE_TILES).apply(grey))


def _dis(a: np.ndarray, b: np.ndarray, start: np.ndarray | None, preset: int, finest_scale: int) -> np.ndarray:
    """DIS from a first flow, or from nothing.

    With a first flow it begins at half the size, where OpenCV takes it over: from coarser scales on
    it would lose again the large motion of small things that the first flow knows.
    """
    dis = cv2.DISOpticalFlow.create(preset)
    dis.setFinestScale(finest_scale)
    if start is None:
        return np.asarray(dis.calc(a, b, None))  # type: ignore[call-overload]
    dis.setCoarsestScale(1)
    # A copy, as OpenCV writes its result into the array that it is given to start from.
    return np.asarray(dis.calc(a, b, start.copy()))


def _matches(grey_a: np.ndarray, grey_b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Points of `a` and of `b` that show the same, both `N×2` float32 (x, y) in pixels of the frames given."""
    size = size_of(grey_a)
    small = fit_within(size, _FEATURE_SIDE)
    points_a, descriptors_a = _features(_equalized(_resample(grey_a, small)))
    points_b, descriptors_b = _features(_equalized(_resample(grey_b, small)))
    if min(len(points_a), len(points_b)) < 2:
        return points_a[:0], points_b[:0]
    # Descriptors are whole numbers, and these sums stay below 2²⁴: exact in float32, in whatever order.
    distances = (
        np.square(descriptors_a).sum(1)[:, None]
        + np.square(descriptors_b).sum(1)[None]
        - 2 * (descriptors_a @ descriptors_b.T)
    )
    i, j = _agreeing(points_a, points_b, *_mutual(distances, _RATIO))
    if len(i) >= _LEAST_MATCHES:
        guide = _interpolated(points_a[i], points_b[j] - points_a[i], small)
        expected = points_a + cv2.remap(
            guide, points_a[:, :1], points_a[:, 1:], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        ).reshape(-1, 2)
        distances[_squared_distances(expected, points_b) > (_GUIDED_RADIUS * max(small)) ** 2] = np.inf
        i, j = _agreeing(points_a, points_b, *_mutual(distances, _GUIDED_RATIO))
    # The centre of the top left pixel is (0, 0) at both sizes, and its corner is what they share.
    scale = np.array([size[1] / small[1], size[0] / small[0]], np.float32)
    return (points_a[i] + 0.5) * scale - 0.5, (points_b[j] + 0.5) * scale - 0.5


def _features(equal: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """SIFT points, `N×2` (x, y), and their descriptors, `N×128`; float32 both."""
    sift = cv2.SIFT.create(nfeatures=2500, contrastThreshold=0.005)
    keypoints, descriptors = sift.detectAndCompute(equal, None)
    if not keypoints:
        return np.zeros((0, 2), np.float32), np.zeros((0, 128), np.float32)
    return np.array([keypoint.pt for keypoint in keypoints], np.float32), np.asarray(descriptors, np.float32)


def _mutual(distances: np.ndarray, ratio: float) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns that are nearest to each other, the second nearest column being farther by 1/`ratio`.

    `distances`: `N×M` squared, inf where a match is out of the question; N and M at least 2.
    """
    rows = np.arange(len(distances))
    nearest = distances.argmin(1)
    first = distances[rows, nearest]
    backwards = distances.argmin(0)
    distances[rows, nearest] = np.inf
    second = distances.min(1)
    distances[rows, nearest] = first
    kept = (first < ratio**2 * second) & (backwards[nearest] == rows) & (first < _MOST_DISTANCE)
    return rows[kept], nearest[kept]


def _agreeing(
    points_a: np.ndarray, points_b: np.ndarray, i: np.ndarray, j: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The matches `i`, `j` that move like at least two of the eight next to them.

    Like: within 3 pixels and a twentieth of their distance. Chance matches, of which noise and
    repeated patterns have plenty, stand alone.
    """
    if len(i) < 3:
        return i[:0], j[:0]
    start, shift = points_a[i], points_b[j] - points_a[i]
    apart = _squared_distances(start, start)
    np.fill_diagonal(apart, np.inf)
    count = min(8, len(i) - 1)
    near = np.argpartition(apart, count - 1, axis=1)[:, :count]
    difference = np.sqrt(np.square(shift[near] - shift[:, None]).sum(2))
    alike = difference < 3 + 0.05 * np.sqrt(np.take_along_axis(apart, near, 1))
    kept = alike.sum(1) >= 2
    return i[kept], j[kept]


def _interpolated(points: np.ndarray, vectors: np.ndarray, size: Size) -> np.ndarray:
    """A flow of `size` through `vectors` at `points` (both `N×2`, N ≥ 1): locally affine, robust."""
    cell, centres = _cells(size)
    fitted = _local_affine(points, vectors, centres.reshape(-1, 2))
    return _spread(fitted.reshape(centres.shape), cell, size)


def _refitted(flow: np.ndarray, back: np.ndarray) -> np.ndarray:
    """`flow` where `back`, the flow of the other direction, confirms it, and elsewhere fitted to what is confirmed."""
    height, width = size = size_of(flow)
    confirmed = _confirmed(flow, back)
    cell, centres = _cells(size)
    y, x = (axis.ravel() for axis in np.mgrid[cell // 2 : height : cell, cell // 2 : width : cell])
    support = confirmed[y, x]
    y, x = y[support], x[support]
    if len(y) < _NEIGHBOURS or confirmed.all():
        return flow
    rows, columns = centres.shape[:2]
    doubtful = np.zeros((rows * cell, columns * cell), np.uint8)
    doubtful[:height, :width] = ~confirmed
    # A doubtful pixel is interpolated between the centres of its own cell and of those next to it.
    needed = cv2.dilate(doubtful.reshape(rows, cell, columns, cell).max((1, 3)), np.ones((3, 3), np.uint8)) > 0
    grid = np.zeros_like(centres)
    grid[needed] = _local_affine(np.stack([x, y], 1).astype(np.float32), flow[y, x], centres[needed])
    return np.where(confirmed[..., None], flow, _spread(grid, cell, size))


def _confirmed(flow: np.ndarray, back: np.ndarray) -> np.ndarray:
    """Where going by `flow` and returning by `back` ends near the start, `H×W` bool.

    The criterion of Sundaram et al. (2010), |w + w'|² ≤ 0.01 (|w|² + |w'|²) + 0.5, in pixels of the flow.
    What leaves the frame is not confirmed.
    """
    x, y, inside = _ends(flow)
    returned = cv2.remap(back, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    error = np.square(flow + returned).sum(2)
    length = np.square(flow).sum(2) + np.square(returned).sum(2)
    return np.asarray(inside & (error <= CONSISTENCY_SLOPE * length + CONSISTENCY_OFFSET))


def _ends(flow: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where `flow` leads to, x and y in pixels, and whether that is in the frame; `H×W` all three."""
    height, width = flow.shape[:2]
    x = np.arange(width, dtype=np.float32) + flow[..., 0]
    y = np.arange(height, dtype=np.float32)[:, None] + flow[..., 1]
    return x, y, (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)


def _cells(size: Size) -> tuple[int, np.ndarray]:
    """Side of the square cells that cover a frame, and their centres, `rows×columns×2` (x, y)."""
    cell = max(4, max(size) // _CELLS)
    y, x = np.mgrid[: -(-size[0] // cell), : -(-size[1] // cell)].astype(np.float32)
    return cell, np.stack([x, y], 2) * cell + (cell - 1) / 2


def _spread(grid: np.ndarray, cell: int, size: Size) -> np.ndarray:
    """Values at the centres of cells, interpolated linearly to every pixel."""
    rows, columns = grid.shape[:2]
    full = cv2.resize(grid, (columns * cell, rows * cell), interpolation=cv2.INTER_LINEAR)
    return np.ascontiguousarray(full[: size[0], : size[1]])


def _local_affine(points: np.ndarray, vectors: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """At each of `centres` (`M×2`) the affine map fitted to the `vectors` of the `points` (`N×2` both) around it.

    Least squares over the nearest points, weighted by a Gaussian as wide as the fourth of them is far
    and reweighted by their residuals (Cauchy), so that of two motions the one with more support wins
    and they are not averaged. Returns `M×2` float32.
    """
    count = min(_NEIGHBOURS, len(points))
    distances = _squared_distances(centres, points)
    if count < len(points):
        nearest = np.argpartition(distances, count - 1, axis=1)[:, :count]
    else:
        nearest = np.broadcast_to(np.arange(count), distances.shape)
    distances = np.take_along_axis(distances, nearest, 1).astype(np.float64)
    fourth = min(4, count) - 1
    width = np.partition(distances, fourth, axis=1)[:, fourth, None]
    closeness = np.exp(-distances / (width + 1))
    unknowns = np.ones((*nearest.shape, 3))
    unknowns[..., :2] = points[nearest] - centres[:, None]
    transposed = unknowns.transpose(0, 2, 1)
    wanted = vectors[nearest].astype(np.float64)
    ridge = np.diag([_RIDGE, _RIDGE, 1e-6])
    weights = closeness
    for _ in range(3):
        weighted = transposed * weights[:, None]
        solution = np.linalg.solve(weighted @ unknowns + ridge, weighted @ wanted)
        residuals = np.square(wanted - unknowns @ solution).sum(2)
        weights = closeness / (1 + residuals / _OUTLIER_PIXELS**2)
    return np.asarray(solution[:, 2], np.float32)


def _squared_distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Between the points `N×2` and `M×2`, as `N×M`."""
    return np.asarray(np.square(a[:, None, 0] - b[None, :, 0]) + np.square(a[:, None, 1] - b[None, :, 1]))


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """OpenCV with one thread, and with as many as before afterwards; one caller at a time, as the number is global."""
    with _one_thread_lock:
        before = cv2.getNumThreads()
        cv2.setNumThreads(1)
        try:
            yield
        except cv2.error as error:
            # Mostly memory that is not there, which torch reports like this.
            raise RuntimeError(f"OpenCV: {error}") from error
        finally:
            cv2.setNumThreads(before)


def _resample(values: np.ndarray, size: Size) -> np.ndarray:
    """`H×W` or `H×W×C` at `size`: averaged over areas along an axis that shrinks, bilinear along one that grows."""
    smaller = min(size[0], values.shape[0]), min(size[1], values.shape[1])
    if values.shape[:2] != smaller:
        values = cv2.resize(values, smaller[::-1], interpolation=cv2.INTER_AREA)
    if smaller != size:
        values = cv2.resize(values, size[::-1], interpolation=cv2.INTER_LINEAR)
    return values


def _require_frames(a: np.ndarray, b: np.ndarray) -> None:
    for frame in (a, b):
        if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8:
            raise ValueError(f"a frame is H×W×3 uint8, and this one is {frame.shape} {frame.dtype}")
    if a.shape != b.shape:
        raise ValueError(f"flow is between frames of one size, and these are {a.shape} and {b.shape}")


# Estimated by a network


class RaftFlow:
    """RAFT (Teed and Deng 2020) as torchvision has it, on `device`.

    `weights`: `torchvision`, which downloads its own once, or a `.pth`, `.pt` or `.safetensors` file
    with a state dict of torchvision's network. `model` is the full network or the small one, which
    errs half as much again for a fifth of the parameters. `sha256` identifies the weights' values.

    Raises `WeightsError` for weights that are missing, damaged or of another network.
    """

    def __init__(
        self, weights: str, device: torch.device | str = "cpu", model: Literal["large", "small"] = "large"
    ) -> None:
        from torchvision.models.optical_flow import raft_large, raft_small

        self._device = torch.device(device)
        network: nn.Module = (raft_large if model == "large" else raft_small)(weights=None)
        self.sha256 = _load_state(network, _state_dict(weights, model), weights, model)
        self._network = network.to(self._device).eval().requires_grad_(False)
        self._turn = threading.Lock()

    def __call__(self, a: np.ndarray, b: np.ndarray, size: Size) -> np.ndarray:
        """Flow a → b, `H×W×2` float32 in pixels of `size`. Threads take turns, to spare memory."""
        _require_frames(a, b)
        work = working_size(size_of(a), size)
        with self._turn:
            image_a, image_b = (self._prepared(frame, work) for frame in (a, b))
            return self._flow(image_a, image_b, work, size)

    def pair(self, a: np.ndarray, b: np.ndarray, size: Size) -> tuple[np.ndarray, np.ndarray]:
        """Flow a → b and flow b → a (see `FlowEstimator`), one after the other to spare memory."""
        return self(a, b, size), self(b, a, size)

    def _prepared(self, frame: np.ndarray, work: Size) -> torch.Tensor:
        """1×3×H×W in [-1, 1]: multiples of 8, as the features are at an eighth, and 128 for the four
        levels of their correlation; the edge is repeated at the right and below."""
        image = to_tensor(_resample(frame, work), self._device) * 2 - 1
        below, right = (max(128, -(-side // 8) * 8) - side for side in work)
        return functional.pad(image, (0, right, 0, below), mode="replicate")

    def _flow(self, image_a: torch.Tensor, image_b: torch.Tensor, work: Size, size: Size) -> np.ndarray:
        with torch.no_grad():
            # One flow an iteration, the last being the best.
            estimate: torch.Tensor = self._network(image_a, image_b)[-1]
        flow = estimate[0, :, : work[0], : work[1]].permute(1, 2, 0).float().cpu().numpy()
        return resize_flow(np.ascontiguousarray(flow), size)


def has_raft_weights(weights: str) -> bool:
    """Whether RAFT's weights are there without a download: the file, or torchvision's in its cache."""
    path = _torchvision_raft("large")[1] if weights == "torchvision" else Path(weights)
    return path.is_file()


def _torchvision_raft(model: Literal["large", "small"]) -> tuple[Any, Path]:
    """torchvision's weights, and where they are or will be."""
    from torchvision.models.optical_flow import Raft_Large_Weights, Raft_Small_Weights

    known = (Raft_Large_Weights if model == "large" else Raft_Small_Weights).DEFAULT
    return known, download_path(str(known.url).rpartition("/")[2])


def _state_dict(weights: str, model: Literal["large", "small"]) -> Mapping[str, Any]:
    if weights == "torchvision":
        known, path = _torchvision_raft(model)
        return download_state_dict(known, path, "RAFT", f"use the flow without weights, or give the file {path.name}")
    if not Path(weights).is_file():
        raise WeightsError(f"no flow weights at {weights}: give torchvision, or a .pth, .pt or .safetensors file")
    return read_state_dict(Path(weights), "flow weights")


def _load_state(network: nn.Module, state: Mapping[str, Any], source: str, model: str) -> str:
    """Fills the network, if the state dict is its own to the last value, and returns the SHA-256 of the values."""
    own = network.state_dict()
    digest = hashlib.sha256()
    for name, expected in own.items():
        value = state.get(name)
        if not isinstance(value, torch.Tensor):
            raise WeightsError(f"flow weights {source} lack {name}: they are not torchvision's raft_{model}")
        if value.shape != expected.shape:
            raise WeightsError(
                f"flow weights {source} have {tuple(value.shape)} at {name}, raft_{model} has {tuple(expected.shape)}"
            )
        if not torch.isfinite(value).all():
            raise WeightsError(f"flow weights {source} hold non-finite values at {name}: the file is damaged")
        digest.update(value.to(expected.dtype).contiguous().numpy().tobytes())
    if foreign := sorted(map(str, set(state) - set(own))):
        raise WeightsError(f"flow weights {source} hold {foreign[0]}, which raft_{model} has not")
    network.load_state_dict(dict(state))
    return digest.hexdigest()


# Read from files

_TAIL_BYTES = 4096
"""How much of the end of each file tells whether it is still the same."""

_FLO_MAGIC = b"PIEH"
_FLO_HEADER_BYTES = 12
_MOST_SIDE = 16_384
_FLO_UNKNOWN = 1e9
"""Middlebury's mark: a component beyond it says that the flow is not known there."""


class FloFolder:
    """Flow that another program has left as Middlebury `.flo` files, named as artistic-videos does.

    Ruder et al. (2016), github.com/manuelruder/artistic-videos: `backward_{i}_{j}.flo` starts at frame
    i and points to the earlier frame j, `forward_{i}_{j}.flo` to a later one, and `reliable_{i}_{j}.pgm`,
    white for trust, belongs to the flow that starts at i. Frames count from 1 in these names and from 0
    in the arguments here. Files of another size than the painting are resampled, vectors and all.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def fingerprint(self) -> str:
        """Short hash of the files' names, sizes and last kilobytes: their contents may be terabytes."""
        listed = []
        for pattern in ("forward_*_*.flo", "backward_*_*.flo", "reliable_*_*.pgm"):
            for path in sorted(self.folder.glob(pattern)):
                if path.is_file():
                    with _opened(path) as file:
                        size = file.seek(0, os.SEEK_END)
                        file.seek(max(0, size - _TAIL_BYTES))
                        listed.append((path.name, size, hashlib.sha256(file.read()).hexdigest()))
        return hashlib.sha256(repr(listed).encode()).hexdigest()[:16]

    def require(self, a_index: int, b_index: int, size: Size) -> None:
        """Raises `InputError` where a file for this pair is cut off, of another kind or of another film's shape."""
        path = self.path_of(a_index, b_index)
        certainty = self._certainty_path(a_index, b_index)
        for file_path, open_checked in ((path, _opened_flo), (certainty, _opened_pgm)):
            if file_path.is_file():
                with open_checked(file_path) as (_, shape):
                    _require_shape(file_path, shape, size)

    def _certainty_path(self, a_index: int, b_index: int) -> Path:
        return self.folder / f"reliable_{a_index + 1}_{b_index + 1}.pgm"

    def expected_name(self, a_index: int, b_index: int) -> str:
        """The name of the file with the flow from frame `a_index` to frame `b_index`."""
        direction = "forward" if a_index < b_index else "backward"
        return f"{direction}_{a_index + 1}_{b_index + 1}.flo"

    def path_of(self, a_index: int, b_index: int) -> Path:
        """Where that file is, if it is there."""
        return self.folder / self.expected_name(a_index, b_index)

    def read(self, a_index: int, b_index: int, size: Size) -> np.ndarray | None:
        """Flow from frame `a_index` to `b_index`, `H×W×2` float32 in pixels of `size`; None if there is no file.

        Where the flow is unknown it is 0 (see `reliable`). Raises `InputError` for a damaged file.
        """
        path = self.path_of(a_index, b_index)
        if not path.is_file():
            return None
        flow, known = read_flo(path)
        _require_shape(path, size_of(flow), size)
        if known.all():
            return resize_flow(flow, size)
        # The mean of the known vectors alone: zeros in the average would shorten them.
        share = _resample(known.astype(np.float32), size)[..., None]
        return np.where(share > 0, resize_flow(flow, size) / np.maximum(share, 1e-6), 0).astype(np.float32)

    def reliable(self, a_index: int, b_index: int, size: Size) -> np.ndarray | None:
        """How far the flow from `a_index` to `b_index` is to be trusted, `H×W` float32 in [0, 1].

        The `reliable` file, and 0 where the flow is unknown. None if there is no such file and the
        flow, if there is one, is known everywhere. Raises `InputError` for a damaged file.
        """
        trust: np.ndarray | None = None
        certainty = self._certainty_path(a_index, b_index)
        if certainty.is_file():
            pixels = _read_pgm(certainty)
            _require_shape(certainty, size_of(pixels), size)
            trust = _resample(pixels, size)
        path = self.path_of(a_index, b_index)
        if path.is_file():
            known = read_flo(path)[1]
            if not known.all():
                share = _resample(known.astype(np.float32), size)
                trust = share if trust is None else trust * share
        return None if trust is None else np.clip(trust, 0, 1)


def read_flo(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """The flow in a Middlebury `.flo` file, `H×W×2` float32, and where it is known, `H×W` bool.

    Unknown are vectors with a component beyond 1e9 or not finite; they are 0 in the flow. Raises
    `InputError` for a file that is missing, no flow, of an absurd size, or shorter or longer than
    its header says; nothing is allocated before these agree.
    """
    with _opened_flo(path) as (file, (height, width)):
        data = _read_pixels(file, path, width * height * 8)
    flow = np.frombuffer(data, "<f4").reshape(height, width, 2).astype(np.float32)
    # A comparison with NaN is false, so that NaN is unknown too.
    known = np.asarray((np.abs(flow) <= _FLO_UNKNOWN).all(2))
    flow[~known] = 0
    return flow, known


def _read_pgm(path: Path) -> np.ndarray:
    """The binary greymap in `path`, `H×W` float32 in [0, 1]; raises `InputError` as `read_flo` does."""
    with _opened_pgm(path) as (opened, (height, width)):
        file, white = opened
        kind = _pgm_kind(white)
        data = _read_pixels(file, path, width * height * kind.itemsize)
    return np.clip(np.frombuffer(data, kind).reshape(height, width).astype(np.float32) / white, 0, 1)


def _pgm_kind(white: int) -> np.dtype[Any]:
    return np.dtype("u1" if white < 256 else ">u2")


@contextlib.contextmanager
def _opened_flo(path: Path) -> Iterator[tuple[BinaryIO, Size]]:
    """The file at its first pixel, and its size; raises `InputError` where header and length do not agree."""
    with _opened(path) as file:
        header = file.read(_FLO_HEADER_BYTES)
        if len(header) < _FLO_HEADER_BYTES or header[:4] != _FLO_MAGIC:
            raise InputError(f"{path} is no Middlebury .flo file: it begins with {header[:4]!r}, not {_FLO_MAGIC!r}")
        width, height = (int(side) for side in np.frombuffer(header, "<i4", offset=4))
        _require_length(file, path, width, height, bytes_per_pixel=8)
        yield file, (height, width)


@contextlib.contextmanager
def _opened_pgm(path: Path) -> Iterator[tuple[tuple[BinaryIO, int], Size]]:
    """The file at its first pixel and the value of white, and its size; raises as `_opened_flo` does."""
    with _opened(path) as file:
        # White space, with comments in it, stands between the numbers; one character of it ends the header.
        header = re.match(rb"P5" + rb"(?:\s|#[^\n]*\n)+(\d{1,9})" * 3 + rb"\s", file.read(4096))
        if header is None or not 0 < int(header[3]) < 65536:
            raise InputError(f"{path} is no binary .pgm file (P5): write it with 8 or 16 bits of grey")
        width, height, white = (int(number) for number in header.groups())
        file.seek(header.end())
        _require_length(file, path, width, height, _pgm_kind(white).itemsize)
        yield (file, white), (height, width)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    try:
        with path.open("rb") as file:
            yield file
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error


def _require_length(file: BinaryIO, path: Path, width: int, height: int, bytes_per_pixel: int) -> None:
    """The rest of a file must be as long as its header says; nothing is allocated before."""
    if not (0 < width <= _MOST_SIDE and 0 < height <= _MOST_SIDE):
        raise InputError(f"{path} claims {width}×{height} pixels, and a side has 1 to {_MOST_SIDE}: it is damaged")
    expected_bytes = width * height * bytes_per_pixel
    actual_bytes = os.fstat(file.fileno()).st_size - file.tell()
    if actual_bytes != expected_bytes:
        raise InputError(
            f"{path} has {actual_bytes} bytes of pixels, and {width}×{height} of them take {expected_bytes}: "
            "it is cut off or damaged; compute it again"
        )


def _read_pixels(file: BinaryIO, path: Path, count: int) -> bytes:
    data = file.read(count)
    if len(data) != count:
        raise InputError(f"{path} has become shorter while it was read: compute it again")
    return data


def _require_shape(path: Path, shape: Size, size: Size) -> None:
    """Flow may have another resolution than the painting, but not another shape: then it is of another film."""
    (height, width), (painted_height, painted_width) = shape, size
    # Either was rounded to whole pixels.
    rounding = 1 / height + 1 / width + 1 / painted_height + 1 / painted_width
    if abs((width * painted_height) / (height * painted_width) - 1) > rounding:
        raise InputError(
            f"{path} is {width}×{height}, which is another shape than the {painted_width}×{painted_height} of the "
            "painting: it belongs to another film, or was cropped; compute it again"
        )


def write_flo(path: Path, flow: np.ndarray) -> None:
    """Writes an `H×W×2` flow as a Middlebury `.flo` file: `PIEH`, width, height, then (dx, dy) row by row."""
    if flow.ndim != 3 or flow.shape[2] != 2:
        raise ValueError(f"a flow is H×W×2, and this one is {flow.shape}")
    height, width = flow.shape[:2]
    write_bytes(path, _FLO_MAGIC + np.array([width, height], "<i4").tobytes() + flow.astype("<f4").tobytes())
