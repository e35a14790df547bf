"""Colours that are described by numbers instead of a profile: gamma and chromaticities of a PNG or BMP, code points of
ITU-T H.273 (cICP, nclx), Adobe RGB of a camera.

What such a picture looks like is computed as the PNG specification has it (13.13): the numbers are made linear light,
brought to the primaries of sRGB, and encoded as sRGB.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

_SRGB = (0.3127, 0.3290, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06)
_ADOBE_RGB = (0.3127, 0.3290, 0.64, 0.33, 0.21, 0.71, 0.15, 0.06)
_SRGB_GAMMA, _ADOBE_GAMMA = 1 / 2.2, 1 / 2.19921875
_GAMMA_TOLERANCE = 0.005
_PLACE_TOLERANCE = 0.002
_LEAST_AREA = 0.01
"""Twice that of the triangle of the primaries; that of sRGB is 0.22."""
_COLOR_SPACE_TAG, _INTEROPERABILITY_TAG = 0xA001, 1
_BAND_PIXELS = 1 << 20
"""Pixels that are converted at a time: each takes some 60 bytes of memory meanwhile."""

_PRIMARIES = {
    1: _SRGB,
    4: (0.310, 0.316, 0.67, 0.33, 0.21, 0.71, 0.14, 0.08),
    5: (0.3127, 0.3290, 0.64, 0.33, 0.29, 0.60, 0.15, 0.06),
    6: (0.3127, 0.3290, 0.63, 0.34, 0.31, 0.595, 0.155, 0.07),
    7: (0.3127, 0.3290, 0.63, 0.34, 0.31, 0.595, 0.155, 0.07),
    9: (0.3127, 0.3290, 0.708, 0.292, 0.17, 0.797, 0.131, 0.046),
    11: (0.314, 0.351, 0.68, 0.32, 0.265, 0.69, 0.15, 0.06),
    12: (0.3127, 0.3290, 0.68, 0.32, 0.265, 0.69, 0.15, 0.06),
}
"""White, red, green and blue by the number in H.273; 2 is unspecified."""

_SRGB_LIKE = (1, 2, 6, 13, 14, 15)
"""Transfers that stills have for sRGB: its own, those of BT.709, 601 and 2020, which viewers treat alike, and none."""

_GAMMAS = {4: 1 / 2.2, 5: 1 / 2.8, 8: 1.0}
HDR_TRANSFERS = {16: "PQ", 18: "HLG"}


@dataclass(frozen=True)
class Numbers:
    """Light to the power of `gamma` is stored, or what sRGB stores for None; `places` are x and y of white, red, green
    and blue."""

    gamma: float | None
    places: tuple[float, ...] = _SRGB


SRGB_NUMBERS = Numbers(None)


def described_colors(image: Image.Image) -> Numbers | None:
    """The numbers that describe the colours of an image; None where a profile does, or nothing. Numbers go before a
    profile.

    In a PNG cICP goes before a profile, and that before sRGB, gamma and chromaticities (PNG, 4.3); in AVIF and HEIC a
    profile goes before nclx.
    """
    info = image.info
    numbers = _of_code_points(info.get("cicp"))
    if numbers is not None and (image.format == "PNG" or not info.get("icc_profile")):
        return numbers
    if info.get("icc_profile") or "srgb" in info:
        return None
    if image.format in ("PNG", "BMP", "DIB"):
        return _checked(info.get("gamma"), info.get("chromaticity"))
    return Numbers(_ADOBE_GAMMA, _ADOBE_RGB) if _is_adobe_rgb(image) else None


def _of_code_points(cicp: object) -> Numbers | None:
    """Colours by H.273; None for high dynamic range and for numbers without a meaning here."""
    if not isinstance(cicp, tuple) or cicp == (2, 2):
        return None
    primaries, transfer = cicp
    places = _SRGB if primaries == 2 else _PRIMARIES.get(primaries)
    if places is None or transfer not in (*_SRGB_LIKE, *_GAMMAS):
        return None
    return Numbers(_GAMMAS.get(transfer), _SRGB if _are_srgb(places) else places)


def _checked(gamma: object, places: object) -> Numbers | None:
    if not isinstance(gamma, float) or not 0.05 <= gamma <= 5:
        return None
    found: tuple[float, ...] = _SRGB
    if isinstance(places, Sequence) and len(places) == len(_SRGB):
        found = tuple(map(float, places))
        if any(not 0 < y <= 1 for y in found[1::2]) or not _spans_colors(found):
            found = _SRGB
    is_srgb = abs(gamma - _SRGB_GAMMA) < _GAMMA_TOLERANCE and _are_srgb(found)
    return None if is_srgb else Numbers(gamma, found)


def _spans_colors(places: Sequence[float]) -> bool:
    """Whether red, green and blue are three places, and not on a line."""
    (rx, ry), (gx, gy), (bx, by) = np.asarray(places, float).reshape(4, 2)[1:]
    return bool(abs((gx - rx) * (by - ry) - (bx - rx) * (gy - ry)) > _LEAST_AREA)


def _are_srgb(places: Sequence[float]) -> bool:
    return bool(np.allclose(places, _SRGB, atol=_PLACE_TOLERANCE, rtol=0))


def _is_adobe_rgb(image: Image.Image) -> bool:
    """Whether the EXIF of a camera says so (DCF 2.0: the file of the optional colour space)."""
    if image.mode not in ("RGB", "RGBA"):
        return False
    try:
        exif = image.getexif()
        inner = exif.get_ifd(0x8769)
        return inner.get(_COLOR_SPACE_TAG) == 2 or exif.get_ifd(0xA005).get(_INTEROPERABILITY_TAG) == "R03"
    except Exception:  # EXIF is metadata: a picture is not refused because that part is broken.
        return False


def to_srgb_by_numbers(array: np.ndarray, numbers: Numbers) -> np.ndarray:
    """An `H×W×3` uint8 array of such colours in sRGB, uint8."""
    if numbers == SRGB_NUMBERS:
        return array
    levels = np.arange(256) / 255
    linear = _decoded(levels) if numbers.gamma is None else levels ** (1 / numbers.gamma)
    if numbers.places == _SRGB:
        return np.asarray(_encoded(linear)[array])
    matrix = np.linalg.inv(_to_xyz(_SRGB)) @ _to_xyz(numbers.places)
    converted = np.empty_like(array)
    rows = max(1, _BAND_PIXELS // max(1, array.shape[1]))
    for top in range(0, array.shape[0], rows):
        light = linear.astype(np.float32)[array[top : top + rows]] @ matrix.T.astype(np.float32)
        converted[top : top + rows] = _encoded(np.clip(light, 0, 1))
    return converted


def _decoded(stored: np.ndarray) -> np.ndarray:
    """sRGB as linear light (IEC 61966-2-1)."""
    return np.where(stored <= 0.04045, stored / 12.92, ((stored + 0.055) / 1.055) ** 2.4)


def _encoded(light: np.ndarray) -> np.ndarray:
    """Linear light as sRGB (IEC 61966-2-1)."""
    curve = np.where(light <= 0.0031308, 12.92 * light, 1.055 * np.maximum(light, 1e-9) ** (1 / 2.4) - 0.055)
    return np.asarray((255 * curve + 0.5).astype(np.uint8))


def _to_xyz(places: Sequence[float]) -> np.ndarray:
    """The matrix from linear RGB to XYZ, each relative to its white."""
    xy = np.asarray(places, float).reshape(4, 2)
    xyz = np.stack([xy[:, 0] / xy[:, 1], np.ones(4), (1 - xy.sum(1)) / xy[:, 1]], axis=1)
    white, primaries = xyz[0], xyz[1:].T
    matrix = primaries * np.linalg.solve(primaries, white)
    # The white of the picture is to be the white of sRGB.
    return np.asarray(matrix / matrix.sum(axis=1, keepdims=True) * _WHITE[:, None])


_WHITE = np.array([0.3127 / 0.3290, 1.0, (1 - 0.3127 - 0.3290) / 0.3290])
