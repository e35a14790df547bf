"""Rotation, mirroring, pixel aspect and displayed size of video frames."""

from fractions import Fraction
from typing import Any

import av
import numpy as np
from av.video.stream import VideoStream

_ASPECT_LIMIT = 8
"""Pixels more oblong than this are a mistake in the file."""


def sample_aspect(stream: VideoStream) -> Fraction:
    """Width over height of a stored pixel; 1 where the file does not say, or gives an implausible value."""
    aspect = stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio
    if not aspect or not Fraction(1, _ASPECT_LIMIT) <= aspect <= _ASPECT_LIMIT:
        return Fraction(1)
    return Fraction(aspect)


_TURNED = ((1, 0, 0, 1), (0, -1, 1, 0), (-1, 0, 0, -1), (0, 1, -1, 0))
"""Display matrices by quarters counterclockwise."""


def display_matrix(frame: av.VideoFrame) -> tuple[int, int, int, int] | None:
    """The signs (a, b, c, d) of the display matrix, made right-angled: pixel (x, y) is shown at (ax + cy, bx + dy).

    None where the frame has none.
    """
    try:
        data: Any = frame.side_data.get("DISPLAYMATRIX")
    except ValueError:
        # Beside it lies something that PyAV has no name for, as EXIF; it tells the angle all the same.
        return _TURNED[round(frame.rotation / 90) % 4]
    if data is None:
        return None
    values = np.frombuffer(bytes(data), dtype=np.int32).astype(float)
    a, b, c, d = values[0], values[1], values[3], values[4]
    signs = [1 if value >= 0 else -1 for value in (a, b, c, d)]
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return signs[0], 0, 0, signs[3]
    return 0, signs[1], signs[2], 0


def swaps_sides(matrix: tuple[int, int, int, int]) -> bool:
    return matrix[0] == 0


def turn_upright(image: np.ndarray, matrix: tuple[int, int, int, int]) -> np.ndarray:
    """The stored picture with the display matrix applied, as players show it."""
    a, b, c, d = matrix
    if swaps_sides(matrix):
        image = image.swapaxes(0, 1)
    if a + c < 0:
        image = image[:, ::-1]
    if b + d < 0:
        image = image[::-1]
    return np.ascontiguousarray(image)


def displayed_size(height: int, width: int, aspect: Fraction, matrix: tuple[int, int, int, int]) -> tuple[int, int]:
    """(height, width) of a stored picture as displayed: upright, with square pixels."""
    if aspect > 1:
        width = round(width * aspect)
    elif aspect < 1:
        height = round(height / aspect)
    return (width, height) if swaps_sides(matrix) else (height, width)


def fit_inside(size: tuple[int, int], whole: tuple[int, int]) -> tuple[int, int]:
    """The largest (height, width) of the shape of `size` within `whole`: `whole` itself where the shapes are equal, up
    to a pixel."""
    scale = min(Fraction(whole[0], size[0]), Fraction(whole[1], size[1]))
    height, width = (max(1, round(side * scale)) for side in size)
    return whole if abs(height - whole[0]) <= 1 and abs(width - whole[1]) <= 1 else (height, width)


def padded(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The picture in the middle of one of `size`, with bars of zeros around it."""
    height, width = image.shape[:2]
    if (height, width) == size:
        return image
    whole = np.zeros((*size, *image.shape[2:]), image.dtype)
    top, left = (size[0] - height) // 2, (size[1] - width) // 2
    whole[top : top + height, left : left + width] = image
    return whole
