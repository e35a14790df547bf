"""Sparse matches between two frames: SIFT features (Lowe 2004), matched twice and checked against their neighbours."""

from typing import TypeAlias

import cv2
import numpy as np

from ..pictures import Size, fit_within, size_of
from .flow import resample
from .flow_fit import cell_centres, fit_local_affine, squared_distances, upsample_cells

_FEATURE_SIDE = 512
"""The longer side in pixels of the frames that SIFT sees, at most: larger ones give more matches, but for twice the
time hardly better flow."""

_CLAHE_CLIP = 4.0
_CLAHE_TILES = (8, 8)

_RATIO = 0.85
_GUIDED_RATIO = 0.95
_GUIDED_RADIUS = 1 / 32
"""How far from where the first matches point a guided match may lie, as a share of the longer side."""

_MAX_DISTANCE = 150_000.0
"""Squared distance between SIFT descriptors (of length 512) beyond which they do not match."""

MIN_MATCHES = 4
"""Fewer matches give no first flow."""


def equalize(grey: np.ndarray) -> np.ndarray:
    """A grey frame with its local contrast equalised (CLAHE, Zuiderveld 1994), which brings out dark areas."""
    return np.asarray(cv2.createCLAHE(_CLAHE_CLIP, _CLAHE_TILES).apply(grey))


_Features: TypeAlias = tuple[np.ndarray, np.ndarray]
"""SIFT points, `N×2` (x, y), and their descriptors, `N×128`; float32 both."""


class FeatureFinder:
    """Finds the SIFT features of grey frames, and keeps those of the last two: a frame of a film is in two pairs."""

    def __init__(self) -> None:
        self._found: dict[bytes, _Features] = {}

    def features(self, equal: np.ndarray) -> _Features:
        """The features of a frame with its contrast equalised."""
        key = repr(equal.shape).encode() + equal.tobytes()
        found = self._found.pop(key, None) or _features(equal)
        self._found[key] = found
        while len(self._found) > 2:
            del self._found[next(iter(self._found))]
        return found


def match_features(grey_a: np.ndarray, grey_b: np.ndarray, finder: FeatureFinder) -> tuple[np.ndarray, np.ndarray]:
    """Matching points of two grey frames, `N×2` float32 (x, y) in their pixels, for `a` and for `b`.

    A second, guided match looks only near where the first matches point. There a weaker ratio is enough, which finds a
    third more in dark and fast scenes.
    """
    size = size_of(grey_a)
    small = fit_within(size, _FEATURE_SIDE)
    points_a, descriptors_a = finder.features(equalize(resample(grey_a, small)))
    points_b, descriptors_b = finder.features(equalize(resample(grey_b, small)))
    if min(len(points_a), len(points_b)) < 2:
        return points_a[:0], points_b[:0]
    # Descriptors are whole numbers, and these sums stay below 2²⁴: exact in float32, in whatever order.
    distances = descriptors_a @ (-2 * descriptors_b.T)
    distances += np.square(descriptors_a).sum(1)[:, None]
    distances += np.square(descriptors_b).sum(1)
    i, j = _consistent_matches(points_a, points_b, *_mutual_nearest(distances, _RATIO))
    if len(i) >= MIN_MATCHES:
        guide = interpolate_matches(points_a[i], points_b[j] - points_a[i], small)
        expected = points_a + cv2.remap(
            guide, points_a[:, :1], points_a[:, 1:], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        ).reshape(-1, 2)
        distances[squared_distances(expected, points_b) > (_GUIDED_RADIUS * max(small)) ** 2] = np.inf
        i, j = _consistent_matches(points_a, points_b, *_mutual_nearest(distances, _GUIDED_RATIO))
    # The centre of the top left pixel is (0, 0) at both sizes, and its corner is what they share.
    scale = np.array([size[1] / small[1], size[0] / small[0]], np.float32)
    return (points_a[i] + 0.5) * scale - 0.5, (points_b[j] + 0.5) * scale - 0.5


def _features(equal: np.ndarray) -> _Features:
    sift = cv2.SIFT.create(nfeatures=2500, contrastThreshold=0.005)
    keypoints, descriptors = sift.detectAndCompute(equal, None)
    if not keypoints:
        return np.zeros((0, 2), np.float32), np.zeros((0, 128), np.float32)
    return np.array([keypoint.pt for keypoint in keypoints], np.float32), np.asarray(descriptors, np.float32)


def _mutual_nearest(distances: np.ndarray, ratio: float) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of mutual nearest neighbours that pass the ratio test (Lowe 2004).

    `distances`: `N×M` squared, inf where no match is allowed; N and M at least 2.
    """
    rows = np.arange(len(distances))
    nearest = distances.argmin(1)
    first = distances[rows, nearest]
    backwards = distances.argmin(0)
    distances[rows, nearest] = np.inf
    second = distances.min(1)
    distances[rows, nearest] = first
    kept = (first < ratio**2 * second) & (backwards[nearest] == rows) & (first < _MAX_DISTANCE)
    return rows[kept], nearest[kept]


def _consistent_matches(
    points_a: np.ndarray, points_b: np.ndarray, i: np.ndarray, j: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The matches `i`, `j` whose vectors agree with those of at least two of the eight nearest matches.

    To agree is to differ by less than 3 pixels plus a twentieth of their distance. Chance matches, of which noise and
    repeated patterns have plenty, agree with none.
    """
    if len(i) < 3:
        return i[:0], j[:0]
    start, shift = points_a[i], points_b[j] - points_a[i]
    distances = squared_distances(start, start)
    np.fill_diagonal(distances, np.inf)
    count = min(8, len(i) - 1)
    near = np.argpartition(distances, count - 1, axis=1)[:, :count]
    difference = np.sqrt(np.square(shift[near] - shift[:, None]).sum(2))
    agrees = difference < 3 + 0.05 * np.sqrt(np.take_along_axis(distances, near, 1))
    kept = agrees.sum(1) >= 2
    return i[kept], j[kept]


def interpolate_matches(points: np.ndarray, vectors: np.ndarray, size: Size) -> np.ndarray:
    """A flow of `size`, `H×W×2`, through `vectors` at `points` (both `N×2`, N ≥ 1), by local affine fits."""
    cell, centres = cell_centres(size)
    fitted = fit_local_affine(points, vectors, centres.reshape(-1, 2))
    return upsample_cells(fitted.reshape(centres.shape), cell, size)
