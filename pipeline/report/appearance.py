"""Luma and sharpness of a picture, in levels of 0 to 255."""

import numpy as np

from ..pictures import to_tensor

_LUMA_WEIGHTS = (0.2126, 0.7152, 0.0722)
"""Rec. 709, applied to the values as stored."""


def luma(picture: np.ndarray) -> np.ndarray:
    """Rec. 709 luma of an `H×W×3` uint8 picture: `H×W` float64, 0 to 255."""
    return np.asarray(picture @ np.array(_LUMA_WEIGHTS))


def sharpness(picture: np.ndarray) -> float:
    """Mean absolute difference of neighbouring pixels of an `H×W×3` uint8 picture, across and down, in levels."""
    image = to_tensor(picture)
    across = (image[..., 1:] - image[..., :-1]).abs().flatten(1)
    down = (image[..., 1:, :] - image[..., :-1, :]).abs().flatten(1)
    # A picture of one row has no vertical differences: their mean is 0, not undefined.
    mean = (across.sum(1) / max(across.shape[1], 1) + down.sum(1) / max(down.shape[1], 1)) / 2
    return 255 * mean.item()
