"""TODO: motion.flow_fit."""

import cv2
import numpy as np

from ..pictures import Size, size_of
from .occlusion import CONSISTENCY_OFFSET, CONSISTENCY_SLOPE

_NEIGHBOURS = 24
"""Support points of a local fit. The fourth nearest sets how fast their weights fall with distance."""

_RIDGE = 30.0
"""Added to the second moments (pixels²) of a fit: few or aligned points give a shift, and no wild affine map."""

_OUTLIER_PIXELS = 3.0
"""The residual at which a support point has half its weight."""

_CELLS = 48
"""Fits along the longer side; between their centres the flow is interpolated linearly."""


def refit_flow(flow: np.ndarray, back: np.ndarray) -> np.ndarray:
    """`flow` where `back`, the flow of the other direction, confirms it, and elsewhere fitted to what is confirmed."""
    height, width = size = size_of(flow)
    confirmed = consistent_pixels(flow, back)
    cell, centres = cell_centres(size)
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
    grid[needed] = fit_local_affine(np.stack([x, y], 1).astype(np.float32), flow[y, x], centres[needed])
    return np.where(confirmed[..., None], flow, upsample_cells(grid, cell, size))


def consistent_pixels(flow: np.ndarray, back: np.ndarray) -> np.ndarray:
    """Where going by `flow` and returning by `back` ends near the start, `H×W` bool.

    The criterion of Sundaram et al. (2010), |w + w'|² ≤ 0.01 (|w|² + |w'|²) + 0.5, in pixels of the flow.
    What leaves the frame is not confirmed.
    """
    x, y, inside = flow_targets(flow)
    returned = cv2.remap(back, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    error = np.square(flow + returned).sum(2)
    length = np.square(flow).sum(2) + np.square(returned).sum(2)
    return np.asarray(inside & (error <= CONSISTENCY_SLOPE * length + CONSISTENCY_OFFSET))


def flow_targets(flow: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where `flow` leads to, x and y in pixels, and whether that is in the frame; `H×W` all three."""
    height, width = flow.shape[:2]
    x = np.arange(width, dtype=np.float32) + flow[..., 0]
    y = np.arange(height, dtype=np.float32)[:, None] + flow[..., 1]
    return x, y, (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)


def cell_centres(size: Size) -> tuple[int, np.ndarray]:
    """Side of the square cells that cover a frame, and their centres, `rows×columns×2` (x, y)."""
    cell = max(4, max(size) // _CELLS)
    y, x = np.mgrid[: -(-size[0] // cell), : -(-size[1] // cell)].astype(np.float32)
    return cell, np.stack([x, y], 2) * cell + (cell - 1) / 2


def upsample_cells(grid: np.ndarray, cell: int, size: Size) -> np.ndarray:
    """Values at the centres of cells, interpolated linearly to every pixel."""
    rows, columns = grid.shape[:2]
    full = cv2.resize(grid, (columns * cell, rows * cell), interpolation=cv2.INTER_LINEAR)
    return np.ascontiguousarray(full[: size[0], : size[1]])


def fit_local_affine(points: np.ndarray, vectors: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """At each of `centres` (`M×2`) the affine map fitted to the `vectors` of the `points` (`N×2` both) around it.

    Least squares over the nearest points, weighted by a Gaussian as wide as the fourth of them is far
    and reweighted by their residuals (Cauchy), so that of two motions the one with more support wins
    and they are not averaged. Returns `M×2` float32.
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
    wanted = vectors[nearest].astype(np.float64)
    ridge = np.diag([_RIDGE, _RIDGE, 1e-6])
    weights = closeness
    for _ in range(3):
        weighted = transposed * weights[:, None]
        solution = np.linalg.solve(weighted @ unknowns + ridge, weighted @ wanted)
        residuals = np.square(wanted - unknowns @ solution).sum(2)
        weights = closeness / (1 + residuals / _OUTLIER_PIXELS**2)
    return np.asarray(solution[:, 2], np.float32)


def squared_distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Between the points `N×2` and `M×2`, as `N×M`."""
    return np.asarray(np.square(a[:, None, 0] - b[None, :, 0]) + np.square(a[:, None, 1] - b[None, :, 1]))
