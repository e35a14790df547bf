"""Colour primaries: what red, green, blue and white are, and the matrices that follow from it."""

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np

Places: TypeAlias = Sequence[tuple[float, float]]
"""Red, green, blue and white as x and y (CIE 1931)."""

CHROMATICITIES: dict[str, Places] = {
    "bt709": ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06), (0.3127, 0.3290)),
    "bt470m": ((0.67, 0.33), (0.21, 0.71), (0.14, 0.08), (0.310, 0.316)),
    "bt470bg": ((0.64, 0.33), (0.29, 0.60), (0.15, 0.06), (0.3127, 0.3290)),
    "smpte170m": ((0.630, 0.340), (0.310, 0.595), (0.155, 0.070), (0.3127, 0.3290)),
    "smpte240m": ((0.630, 0.340), (0.310, 0.595), (0.155, 0.070), (0.3127, 0.3290)),
    "film": ((0.681, 0.319), (0.243, 0.692), (0.145, 0.049), (0.310, 0.316)),
    "bt2020": ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046), (0.3127, 0.3290)),
    "smpte431": ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), (0.314, 0.351)),
    "smpte432": ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), (0.3127, 0.3290)),
    "jedec-p22": ((0.630, 0.340), (0.295, 0.605), (0.155, 0.077), (0.3127, 0.3290)),
}
"""By ffmpeg's names (ITU-T H.273, table 2)."""

SRGB = CHROMATICITIES["bt709"]
ADOBE_RGB: Places = ((0.64, 0.33), (0.21, 0.71), (0.15, 0.06), (0.3127, 0.3290))

_TOLERANCE = 0.002
_LEAST_DETERMINANT = 1e-4

_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
"""From XYZ to the cones of the eye, by which one white is seen as another."""


def luma_shares(places: Places) -> tuple[float, float]:
    """The shares of red and blue in the luminance of white (H.273, equations 32 to 37)."""
    columns = _columns(places)
    red, _, blue = np.linalg.solve(columns[:, :3], columns[:, 3])
    return float(red), float(blue)


def matrix_to_srgb(places: Places) -> np.ndarray:
    """The matrix from linear RGB in these primaries to linear sRGB, whose white is that of the picture."""
    return np.asarray(np.linalg.inv(_to_xyz(SRGB)) @ _to_xyz(places))


def _to_xyz(places: Places) -> np.ndarray:
    """The matrix from linear RGB to XYZ, with its white brought to that of sRGB."""
    columns, white = _columns(places), _columns(SRGB)[:, 3]
    gains = (_BRADFORD @ white) / (_BRADFORD @ columns[:, 3])
    adapted = np.linalg.inv(_BRADFORD) @ np.diag(gains) @ _BRADFORD
    return np.asarray(adapted @ (columns[:, :3] * np.linalg.solve(columns[:, :3], columns[:, 3])))


def are_sound(places: Places) -> bool:
    """Whether the places make up a triangle with white in it."""
    if len(places) != len(SRGB) or not all(0 < y <= 1 for _, y in places):
        return False
    columns = _columns(places)
    if not abs(np.linalg.det(columns[:, :3])) > _LEAST_DETERMINANT:
        return False
    return bool((np.linalg.solve(columns[:, :3], columns[:, 3]) > 0).all())


def are_srgb(places: Places) -> bool:
    return bool(np.allclose(places, SRGB, atol=_TOLERANCE, rtol=0))


def _columns(places: Places) -> np.ndarray:
    """Red, green, blue and white in XYZ with Y = 1, a column each."""
    return np.array([(x / y, 1, (1 - x - y) / y) for x, y in places]).T
