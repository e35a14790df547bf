"""Local affine fits of flow: from sparse vectors to a dense field, robustly.

After the interpolation of EpicFlow (Revaud et al. 2015), with distance in the plane instead of its edges.
"""

import cv2
import numpy as np

from ..pictures import Size, size_of
from .consistency import consistent_pixels

_NEIGHBOURS = 24
"""Support points of a local fit. The distance of the fourth nearest sets the width of their weights."""

_RIDGE = 30.0
"""Added to the second moments (pixels²) of a fit: few or aligned points give a shift, not a wild affine map."""

_OUTLIER_PIXELS = 3.0
"""The residual in pixels at which a support point has half its weight."""

_CELLS = 48
"""Cells along the longer side, one fit each; between their centres the flow is interpolated linearly."""


def refit_flow(flow: np.ndarray, back: np.ndarray) -> np.ndarray:
    """`flow` (a → b, `H×W×2`) with its inconsistent pixels fitted to the consistent ones around them.

    Consistent with `back` (b → a), see `consistent_pixels`. Returned unchanged where too few pixels are.
    """
    height, width = size = size_of(flow)
    consistent = consistent_pixels(flow, back)
    cell, centres = cell_centres(size)
    y, x = (axis.ravel() for axis in np.mgrid[cell // 2 : height : cell, cell // 2 : width : cell])
    support = consistent[y, x]
    y, x = y[support], x[support]
    if len(y) < _NEIGHBOURS or consistent.all():
        return flow
    rows, columns = centres.shape[:2]
    inconsistent = np.zeros((rows * cell, columns * cell), np.uint8)
    inconsistent[:height, :width] = ~consistent
    # A pixel is interpolated between the centres of its own cell and of the cells next to it.
    needed = cv2.dilate(inconsistent.reshape(rows, cell, columns, cell).max((1, 3)), np.ones((3, 3), np.uint8)) > 0
    grid = np.zeros_like(centres)
    grid[needed] = fit_local_affine(np.stack([x, y], 1).astype(np.float32), flow[y, x], centres[needed])
    return np.where(consistent[..., None], flow, upsample_cells(grid, cell, size))


def cell_centres(size: Size) -> tuple[int, np.ndarray]:
    """Side in pixels of the square cells that cover a frame, and their centres, `rows×columns×2` (x, y)."""
    cell = max(4, max(size) // _CELLS)
    y, x = np.mgrid[: -(-size[0] // cell), : -(-size[1] // cell)].astype(np.float32)
    return cell, np.stack([x, y], 2) * cell + (cell - 1) / 2


def upsample_cells(grid: np.ndarray, cell: int, size: Size) -> np.ndarray:
    """Values at the centres of cells, `rows×columns×C`, interpolated linearly to every pixel, `H×W×C`."""
    rows, columns = grid.shape[:2]
    full = cv2.resize(grid, (columns * cell, rows * cell), interpolation=cv2.INTER_LINEAR)
    return np.ascontiguousarray(full[: size[0], : size[1]])


def fit_local_affine(points: np.ndarray, vectors: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """The flow at each of `centres` (`M×2`), `M×2` float32: an affine map fitted to the `vectors` at nearby `points`.

    `points` and `vectors` are `N×2`. Least squares over the nearest points, weighted by a Gaussian as wide as the
    distance of the fourth and reweighted by their residuals (Cauchy), so that of two motions the one with more support
    wins and they are not averaged.
    """
    count = min(_NEIGHBOURS, len(points))
    distances = squared_distances(centres, points)
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
    targets = vectors[nearest].astype(np.float64)
    ridge = np.diag([_RIDGE, _RIDGE, 1e-6])
    weights = closeness
    for _ in range(3):
        weighted = transposed * weights[:, None]
        solution = np.linalg.solve(weighted @ unknowns + ridge, weighted @ targets)
        residuals = np.square(targets - unknowns @ solution).sum(2)
        weights = closeness / (1 + residuals / _OUTLIER_PIXELS**2)
    return np.asarray(solution[:, 2], np.float32)


def squared_distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Squared distances between the points `N×2` and `M×2`: `N×M`."""
    across, down = (np.asarray(np.subtract.outer(a[:, axis], b[:, axis])) for axis in (0, 1))
    # In place: matrices of thousands of points take longer to allocate than to compute.
    across *= across
    down *= down
    across += down
    return across
