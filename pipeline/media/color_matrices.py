"""The ways from luma and chroma to RGB that swscale does not compute (ITU-T H.273, matrix coefficients 8 to 17).

YCgCo; constant luminance, as of BT.2020; coefficients that follow from the primaries; ICtCp (BT.2100) and IPT-C2
(SMPTE ST 2128, Dolby Vision). Arrays are float32: luma in [0, 1], chroma in [-0.5, 0.5], RGB as coded in [0, 1].
"""

from typing import Any, cast

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace

from . import transfers
from .color import VideoColor
from .primaries import CHROMATICITIES, luma_shares

_Planes = tuple[np.ndarray, np.ndarray, np.ndarray]

_LMS_OF_BT2020 = np.array([[1688, 2146, 262], [683, 2951, 462], [99, 309, 3688]]) / 4096
_ICTCP_OF_LMS = {
    "smpte2084": np.array([[2048, 2048, 0], [6610, -13613, 7003], [17933, -17390, -543]]) / 4096,
    "arib-std-b67": np.array([[2048, 2048, 0], [3625, -7465, 3840], [9500, -9212, -288]]) / 4096,
}
"""ITU-R BT.2100, tables 7 and 8."""

_HPE_OF_BT2020 = np.linalg.inv(
    [
        [3.06441879, -2.16597676, 0.10155818],
        [-0.65612108, 1.78554118, -0.12943749],
        [0.01736321, -0.04725154, 1.03004253],
    ]
)
_CROSSTALK = 0.94 * np.eye(3) + 0.02
_IPT_OF_LMS = np.array([[0.4, 0.4, 0.2], [4.4550, -4.8510, 0.3960], [0.8056, 0.3572, -1.1628]])
"""Ebner and Fairchild (1998); Dolby's variant mixes 2 % of each cone into the others, and codes light by PQ."""


def is_converted_here(color: VideoColor) -> bool:
    """Whether `to_coded_rgb` knows the matrix, with the primaries and the transfer function that it needs."""
    if color.matrix in ("ycgco", "ycgco-re", "ycgco-ro", "ipt-c2"):
        return True
    if color.matrix == "ictcp":
        return color.transfer in _ICTCP_OF_LMS
    if color.matrix in ("chroma-derived-nc", "chroma-derived-c"):
        return color.primaries in CHROMATICITIES and (color.matrix.endswith("nc") or _is_plain(color))
    return color.matrix == "bt2020c" and _is_plain(color)


def _is_plain(color: VideoColor) -> bool:
    return color.transfer in (None, "bt709", "smpte170m", "bt2020-10", "bt2020-12")


def to_coded_rgb(frame: av.VideoFrame, color: VideoColor, size: tuple[int, int], interpolation: int) -> np.ndarray:
    """A frame as an `H×W×3` float32 array of `size` (height, width), RGB as coded; for colours that are converted here.

    ICtCp and IPT-C2 give what BT.2020 with the same transfer function has; others keep primaries and transfer function.
    """
    # YCgCo is made of levels of RGB, whose limited range is that of luma (H.273, 8.3).
    steps = 219 if color.matrix == "ycgco" else 224
    luma, blue, red = _planes(frame, size, interpolation, None if color.range == "pc" else steps)
    if color.matrix == "ycgco":
        rgb = np.stack([luma - blue + red, luma + blue, luma - blue - red], axis=-1)
    elif color.matrix in ("ycgco-re", "ycgco-ro"):
        rgb = _reversible(luma, blue, red, frame.format.components[0].bits, 2 if color.matrix == "ycgco-re" else 1)
    elif color.matrix == "ictcp":
        lms = np.stack([luma, blue, red], axis=-1) @ _float(np.linalg.inv(_ICTCP_OF_LMS[str(color.transfer)])).T
        rgb = _recoded(lms, str(color.transfer), np.linalg.inv(_LMS_OF_BT2020))
    elif color.matrix == "ipt-c2":
        lms = np.stack([luma, blue, red], axis=-1) @ _float(np.linalg.inv(_IPT_OF_LMS)).T
        rgb = _recoded(lms, "smpte2084", np.linalg.inv(_CROSSTALK @ _HPE_OF_BT2020))
    else:
        shares = (0.2627, 0.0593) if color.matrix == "bt2020c" else luma_shares(CHROMATICITIES[str(color.primaries)])
        convert = _linear_luma if color.matrix == "chroma-derived-nc" else _constant_luminance
        rgb = convert((luma, blue, red), *shares)
    return np.asarray(np.clip(rgb, 0, 1))


def _planes(frame: av.VideoFrame, size: tuple[int, int], interpolation: int, chroma_steps: int | None) -> _Planes:
    """Luma and both kinds of chroma, which span so many levels of 256; None for full range.

    Between two equal matrices swscale converts nothing but size and depth.
    """
    own = ColorRange.JPEG if chroma_steps is None else ColorRange.MPEG
    converted = frame.reformat(
        width=size[1],
        height=size[0],
        format="yuv444p16le",
        src_colorspace=Colorspace.ITU709,
        dst_colorspace=Colorspace.ITU709,
        src_color_range=own,
        dst_color_range=own,
        interpolation=interpolation,
    )
    luma, blue, red = (_levels(plane, size) for plane in converted.planes)
    if chroma_steps is None:
        return luma / 65_535, (blue - 32_768) / 65_535, (red - 32_768) / 65_535
    step = np.float32(256)
    return (luma / step - 16) / 219, (blue / step - 128) / chroma_steps, (red / step - 128) / chroma_steps


def _levels(plane: Any, size: tuple[int, int]) -> np.ndarray:
    rows = np.frombuffer(cast(Any, plane), np.uint16).reshape(-1, plane.line_size // 2)
    return rows[: size[0], : size[1]].astype(np.float32)


def _float(matrix: np.ndarray) -> np.ndarray:
    return matrix.astype(np.float32)


def _reversible(luma: np.ndarray, green: np.ndarray, orange: np.ndarray, bits: int, more: int) -> np.ndarray:
    """YCgCo-R, whose luma and chroma take `more` bits than RGB, but for its rounding."""
    scale = np.float32((2**bits - 1) / (2 ** (bits - more) - 1))
    rest = luma - green / 2
    blue = rest - orange / 2
    return scale * np.stack([blue + orange, rest + green, blue], axis=-1)


def _recoded(lms: np.ndarray, transfer: str, to_rgb: np.ndarray) -> np.ndarray:
    """Cone responses as coded → RGB coded by the same transfer function."""
    light = transfers.to_light(lms, transfer) @ _float(to_rgb).T
    return transfers.to_code(light, transfer)


def _linear_luma(planes: _Planes, red_share: float, blue_share: float) -> np.ndarray:
    luma, blue, red = planes
    red = luma + 2 * (1 - red_share) * red
    blue = luma + 2 * (1 - blue_share) * blue
    green = (luma - red_share * red - blue_share * blue) / (1 - red_share - blue_share)
    return np.stack([red, green, blue], axis=-1)


def _constant_luminance(planes: _Planes, red_share: float, blue_share: float) -> np.ndarray:
    """Luma of the light itself (H.273, equations 48 to 58)."""
    luma, blue, red = planes

    def part(chroma: np.ndarray, share: float) -> np.ndarray:
        low, high = (float(transfers.to_code(np.array(value), "bt709")) for value in (1 - share, share))
        return np.asarray(luma + 2 * chroma * np.where(chroma <= 0, low, 1 - high).astype(np.float32))

    red, blue = part(red, red_share), part(blue, blue_share)
    light, red_light, blue_light = (transfers.to_light(coded, "bt709") for coded in (luma, red, blue))
    green = light - red_share * red_light - blue_share * blue_light
    green = transfers.to_code(green / (1 - red_share - blue_share), "bt709")
    return np.stack([red, green, blue], axis=-1)
