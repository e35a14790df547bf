"""TODO: motion.flow_matching."""

import cv2
import numpy as np

from ..pictures import Size, fit_within, size_of
from .flow import resample_flow
from .flow_fit import cell_centres, fit_local_affine, squared_distances, upsample_cells

_FEATURE_SIDE = 512
"""SIFT looks at frames of this longer side at most: larger ones give more matches, and for twice the
time of matching no flow that is much better."""

_CLAHE_CLIP = 4.0
_CLAHE_TILES = (8, 8)

_RATIO = 0.85
_GUIDED_RATIO = 0.95
_GUIDED_RADIUS = 1 / 32
"""How far from where the first matches point a second match may lie, of the longer side."""

_MOST_DISTANCE = 150_000.0
"""Squared distance between SIFT descriptors (of length 512) beyond which they are of different things."""

LEAST_MATCHES = 4


def equalize(grey: np.ndarray) -> np.ndarray:
    """The frame with its local contrast equalised (Zuiderveld 1994, CLAHE), which brings out what is in the dark."""
    return np.asarray(cv2.createCLAHE(_CLAHE_CLIP, _CLAHE_TILES).apply(grey))


def match_features(grey_a: np.ndarray, grey_b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Points of `a` and of `b` that show the same, both `N×2` float32 (x, y) in pixels of the frames given."""
    size = size_of(grey_a)
    small = fit_within(size, _FEATURE_SIDE)
    points_a, descriptors_a = _features(equalize(resample_flow(grey_a, small)))
    points_b, descriptors_b = _features(equalize(resample_flow(grey_b, small)))
    if min(len(points_a), len(points_b)) < 2:
        return points_a[:0], points_b[:0]
    # Descriptors are whole numbers, and these sums stay below 2²⁴: exact in float32, in whatever order.
    distances = (
        np.square(descriptors_a).sum(1)[:, None]
        + np.square(descriptors_b).sum(1)[None]
        - 2 * (descriptors_a @ descriptors_b.T)
    )
    i, j = _agreeing(points_a, points_b, *_mutual(distances, _RATIO))
    if len(i) >= LEAST_MATCHES:
        guide = interpolate_matches(points_a[i], points_b[j] - points_a[i], small)
        expected = points_a + cv2.remap(
            guide, points_a[:, :1], points_a[:, 1:], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        ).reshape(-1, 2)
        distances[squared_distances(expected, points_b) > (_GUIDED_RADIUS * max(small)) ** 2] = np.inf
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
    apart = squared_distances(start, start)
    np.fill_diagonal(apart, np.inf)
    count = min(8, len(i) - 1)
    near = np.argpartition(apart, count - 1, axis=1)[:, :count]
    difference = np.sqrt(np.square(shift[near] - shift[:, None]).sum(2))
    alike = difference < 3 + 0.05 * np.sqrt(np.take_along_axis(apart, near, 1))
    kept = alike.sum(1) >= 2
    return i[kept], j[kept]


def interpolate_matches(points: np.ndarray, vectors: np.ndarray, size: Size) -> np.ndarray:
    """A flow of `size` through `vectors` at `points` (both `N×2`, N ≥ 1): locally affine, robust."""
    cell, centres = cell_centres(size)
    fitted = fit_local_affine(points, vectors, centres.reshape(-1, 2))
    return upsample_cells(fitted.reshape(centres.shape), cell, size)
