"""Colours that are described by numbers instead of a profile: primaries, and the light that each code value means.

What such a picture looks like is computed as the PNG specification has it (13.13): the numbers are made linear light,
brought to the primaries of sRGB, and encoded as sRGB. High dynamic range is reduced as that of videos is.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np

from . import hdr
from .color import PRIMARIES, TRANSFERS
from .primaries import CHROMATICITIES, SRGB, Places, are_sound, are_srgb, matrix_to_srgb
from .transfers import GAMMAS, to_code, to_light

_CURVE_TOLERANCE, _GAMMA_TOLERANCE = 0.002, 0.005
_UNSPECIFIED = 2
_LIKE_SRGB = {1, 2, 6, 7, 11, 13, 14, 15}
"""Transfer functions by H.273 that stills have for sRGB: its own, those of cameras, which viewers treat alike, and
none."""

_STEPS = 65_535
"""Of light, when it is encoded: a twentieth of a level of sRGB where they are coarsest."""

_BAND_PIXELS = 1 << 16
"""Pixels that are converted at a time: each takes some 30 bytes of memory meanwhile."""


@dataclass(frozen=True, eq=False)
class Numbers:
    """What the code values of a picture mean."""

    light: np.ndarray
    """Of each of the 256 code values in [0, 1], `256`, or `3×256` where red, green and blue differ."""

    places: Places = SRGB

    transfer: str | None = None
    """The transfer function by ffmpeg's name where it is of high dynamic range; `light` is then the code itself."""


def codes() -> np.ndarray:
    """The 256 code values in [0, 1]."""
    return np.arange(256) / 255


def srgb_light() -> np.ndarray:
    return to_light(codes(), "iec61966-2-1")


def numbers_of_codes(primaries: int, transfer: int, *, full_range: bool = True) -> Numbers | None:
    """What code points of ITU-T H.273 mean (cICP of a PNG, nclx of HEIC and AVIF); None where that is not known."""
    places = SRGB if primaries == _UNSPECIFIED else CHROMATICITIES.get(PRIMARIES.get(primaries, ""))
    if places is None:
        return None
    code = codes() if full_range else np.clip((np.arange(256) - 16) / 219, 0, 1)
    name = "iec61966-2-1" if transfer in _LIKE_SRGB else TRANSFERS.get(transfer, "")
    if name in hdr.TRANSFERS:
        return Numbers(code, places, name)
    if name in ("iec61966-2-1", "linear", "log100", "log316", *GAMMAS):
        return Numbers(to_light(code, name), places)
    return None


def unless_srgb(numbers: Numbers) -> Numbers | None:
    """None where the numbers are those of sRGB, so that a picture keeps its bits; impossible places count as sRGB.

    An exponent of 2.2 is what many programs write for sRGB.
    """
    if not are_sound(numbers.places):
        numbers = Numbers(numbers.light, SRGB, numbers.transfer)
    if numbers.transfer is None and _is_srgb(numbers.light) and are_srgb(numbers.places):
        return None
    return numbers


def _is_srgb(light: np.ndarray) -> bool:
    is_curve = np.abs(light - srgb_light()).max() < _CURVE_TOLERANCE
    return bool(is_curve or np.abs(np.maximum(light, 0) ** (1 / 2.2) - codes()).max() < _GAMMA_TOLERANCE)


def to_srgb_by_numbers(array: np.ndarray, numbers: Numbers) -> np.ndarray:
    """An `H×W×3` uint8 array of such colours in sRGB, uint8."""
    converted = np.empty_like(array)
    light = np.clip(np.atleast_2d(numbers.light), 0, 1)
    matrix = matrix_to_srgb(numbers.places).astype(np.float32)
    if numbers.transfer is not None:
        steps = np.round(_STEPS * light).astype(np.uint16)
        for rows in _bands(array):
            standard = hdr.to_standard_light(_looked_up(steps, array[rows]), numbers.transfer, matrix)
            converted[rows] = _encoded(_STEPS * standard)
    elif are_srgb(numbers.places):
        table = _to_8_bits(light)
        for rows in _bands(array):
            converted[rows] = _looked_up(table, array[rows])
    else:
        light = light.astype(np.float32)
        for rows in _bands(array):
            converted[rows] = _encoded(_looked_up(light, array[rows]) @ (_STEPS * matrix.T))
    return converted


def _bands(array: np.ndarray) -> Iterator[slice]:
    """Rows that are converted together: at once, a large picture would take many times its memory."""
    count = max(1, _BAND_PIXELS // array.shape[1])
    return (slice(top, top + count) for top in range(0, array.shape[0], count))


def _looked_up(table: np.ndarray, array: np.ndarray) -> np.ndarray:
    """What the table, `1×256`, or `3×256` by channel, has for each value."""
    return table.ravel().take(array if len(table) == 1 else array + np.array([0, 256, 512], np.uint16))


def _encoded(light: np.ndarray) -> np.ndarray:
    """Linear light, in steps and of any range, as sRGB; `light` is changed."""
    np.clip(light, 0, _STEPS, out=light)
    light += 0.5
    return _codes_of_steps().take(light.astype(np.uint16))


@cache
def _codes_of_steps() -> np.ndarray:
    return _to_8_bits(np.arange(_STEPS + 1) / _STEPS)


def _to_8_bits(light: np.ndarray) -> np.ndarray:
    return np.asarray((255 * to_code(light, "iec61966-2-1") + 0.5).astype(np.uint8))
