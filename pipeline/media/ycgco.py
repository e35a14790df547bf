"""YCgCo to RGB, which swscale does not convert (ITU-T H.273, matrix coefficients 8)."""

from typing import Any, cast

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace


def ycgco_to_rgb(frame: av.VideoFrame, size: tuple[int, int], interpolation: int, *, is_full: bool) -> np.ndarray:
    """A frame in YCgCo as an `H×W×3` uint8 RGB array of `size` (height, width); `is_full`: of full range."""
    # Between two equal matrices nothing but size and depth is converted.
    own = ColorRange.JPEG if is_full else ColorRange.MPEG
    planes = frame.reformat(
        width=size[1],
        height=size[0],
        format="yuv444p16le",
        src_colorspace=Colorspace.ITU709,
        dst_colorspace=Colorspace.ITU709,
        src_color_range=own,
        dst_color_range=own,
        interpolation=interpolation,
    ).planes
    luma, green, orange = (_levels(plane, size) for plane in planes)
    if is_full:
        luma, green, orange = luma / 65_535, (green - 32_768) / 65_535, (orange - 32_768) / 65_535
    else:
        step = np.float32(256)
        luma = (luma / step - 16) / 219
        green, orange = (green / step - 128) / 224, (orange / step - 128) / 224
    rgb = np.stack([luma - green + orange, luma + green, luma - green - orange], axis=-1)
    return np.asarray((255 * np.clip(rgb, 0, 1) + 0.5).astype(np.uint8))


def _levels(plane: Any, size: tuple[int, int]) -> np.ndarray:
    rows = np.frombuffer(cast(Any, plane), np.uint16).reshape(-1, plane.line_size // 2)
    return rows[: size[0], : size[1]].astype(np.float32)
