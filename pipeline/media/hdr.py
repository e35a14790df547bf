"""High dynamic range to standard: what a PQ or HLG picture looks like on an ordinary screen.

The network was trained on standard pictures, and paintings hold 8 bits: a film of high dynamic range is painted, and
written, as the standard picture that it is reduced to here. Its numbers taken as they are would be a grey veil.
"""

from functools import cache

import numpy as np

from .transfers import to_light

TRANSFERS = {"smpte2084": "PQ", "arib-std-b67": "HLG"}
"""The transfer functions that are reduced, by ffmpeg's names, and what people call them."""

REFERENCE_WHITE = 203.0
"""cd/m² of HDR reference white (ITU-R BT.2408, table 1), which becomes the white of the standard picture."""

PEAK = 1000.0
"""cd/m²; brighter than this is white. HLG is shown as on a screen of this peak (ITU-R BT.2100)."""

KNEE = 0.5
"""Up to this share of white nothing is changed; from there to the peak the tones are pressed together."""

_TO_BT709 = np.array(
    [[1.660491, -0.587641, -0.072850], [-0.124550, 1.132900, -0.008349], [-0.018151, -0.100579, 1.118730]],
    dtype=np.float32,
)
"""Linear BT.2020 to linear BT.709 (ITU-R BT.2087, inverted)."""

_LUMA = np.array([0.2627, 0.6780, 0.0593], dtype=np.float32)
"""ITU-R BT.2020."""

_GAMMA = 2.4
"""Of a standard screen (ITU-R BT.1886)."""


def to_standard(image: np.ndarray, transfer: str) -> np.ndarray:
    """An `H×W×3` uint16 picture in BT.2020 primaries, of full range, as uint8 in BT.709.

    `transfer` is one of `TRANSFERS`. Light is made linear, relative to reference white; the largest of red, green
    and blue goes through a Möbius curve, straight below `KNEE`, and the others with it, so that hues stay; what lies
    outside BT.709 is clipped.
    """
    encoded = to_standard_light(image, transfer) ** np.float32(1 / _GAMMA)
    return np.asarray((255 * encoded + 0.5).astype(np.uint8))


def to_standard_light(image: np.ndarray, transfer: str, to_bt709: np.ndarray = _TO_BT709) -> np.ndarray:
    """The same as linear light in [0, 1]; `to_bt709` is the matrix where the primaries are not those of BT.2020."""
    light = _linear(transfer)[image]
    if transfer == "arib-std-b67":
        # The system gamma of 1.2 at a peak of 1000 cd/m², on the luminance (BT.2100, table 5).
        luminance = np.maximum(light @ _LUMA, 1e-6)[..., None]
        light = light * luminance**0.2 * np.float32(PEAK / REFERENCE_WHITE)
    light = np.maximum(light @ to_bt709.T, 0)
    largest = light.max(axis=2, keepdims=True)
    light *= _pressed(largest) / np.maximum(largest, 1e-6)
    return np.asarray(np.clip(light, 0, 1))


def _pressed(light: np.ndarray) -> np.ndarray:
    """The Möbius curve: y = x up to the knee, then bent with the same slope so that the peak maps to 1."""
    peak = PEAK / REFERENCE_WHITE
    a = -(KNEE**2) * (peak - 1) / (KNEE**2 - 2 * KNEE + peak)
    b = (KNEE**2 - 2 * KNEE * peak + peak) / (peak - 1)
    scale = (b * b + 2 * b * KNEE + KNEE * KNEE) / (b - a)
    return np.where(light <= KNEE, light, scale * (light + a) / (np.maximum(light, KNEE) + b))


@cache
def _linear(transfer: str) -> np.ndarray:
    """Linear light of each of 65 536 code values: PQ relative to reference white, HLG as scene light in [0, 1]."""
    light = to_light(np.arange(65_536) / 65_535, transfer)
    if transfer == "smpte2084":
        light = 10_000 * light / REFERENCE_WHITE
    return light.astype(np.float32)
