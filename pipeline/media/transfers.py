"""Transfer functions: from code values to light and back (ITU-T H.273, table 3). Arrays are of floats."""

import numpy as np

_PQ = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128
"""m1, m2, c1, c2, c3 of SMPTE ST 2084."""

_HLG = 0.17883277, 0.28466892, 0.55991073
"""a, b, c of ARIB STD-B67."""

_ALPHA, _BETA = 1.09929682680944, 0.018053968510807
"""ITU-R BT.709 and BT.2020."""

GAMMAS = {"bt470m": 2.2, "bt470bg": 2.8}
"""Screens of which the exponent is all there is to say."""

_DISPLAY_GAMMA = 2.4
"""Of a standard screen (ITU-R BT.1886)."""

_RECODED = ("linear", "log100", "log316")


def is_recoded(transfer: str | None) -> bool:
    """Whether pictures with this transfer function are recoded for a standard screen: those of light itself or its
    logarithm, which look far too dark or too flat as they are."""
    return transfer in _RECODED


def to_light(code: np.ndarray, transfer: str) -> np.ndarray:
    """Code values in [0, 1] as light in [0, 1]: PQ of 10 000 cd/m², HLG of the scene."""
    code = np.clip(code, 0, 1)
    if transfer == "smpte2084":
        m1, m2, c1, c2, c3 = _PQ
        power = code ** (1 / m2)
        light = (np.maximum(power - c1, 0) / (c2 - c3 * power)) ** (1 / m1)
    elif transfer == "arib-std-b67":
        a, b, c = _HLG
        light = np.where(code <= 0.5, code**2 / 3, (np.exp((code - c) / a) + b) / 12)
    elif transfer in ("log100", "log316"):
        decades = 2.0 if transfer == "log100" else 2.5
        light = np.where(code > 0, 10 ** (decades * (code - 1)), 0)
    elif transfer == "linear":
        light = code
    elif transfer == "iec61966-2-1":  # sRGB.
        light = np.where(code <= 0.04045, code / 12.92, ((code + 0.055) / 1.055) ** 2.4)
    elif transfer in GAMMAS:
        light = code ** GAMMAS[transfer]
    else:  # The camera's curve of BT.709.
        light = np.where(code < 4.5 * _BETA, code / 4.5, ((code + _ALPHA - 1) / _ALPHA) ** (1 / 0.45))
    return np.asarray(light)


def to_code(light: np.ndarray, transfer: str) -> np.ndarray:
    """What `to_light` takes: PQ, HLG, sRGB, and the camera's curve of BT.709."""
    light = np.clip(light, 0, 1)
    if transfer == "smpte2084":
        m1, m2, c1, c2, c3 = _PQ
        power = light**m1
        code = ((c1 + c2 * power) / (1 + c3 * power)) ** m2
    elif transfer == "arib-std-b67":
        a, b, c = _HLG
        code = np.where(light <= 1 / 12, np.sqrt(3 * light), a * np.log(np.maximum(12 * light - b, 1e-9)) + c)
    elif transfer == "iec61966-2-1":
        code = np.where(light <= 0.0031308, 12.92 * light, 1.055 * np.maximum(light, 1e-9) ** (1 / 2.4) - 0.055)
    else:
        code = np.where(light < _BETA, 4.5 * light, _ALPHA * light**0.45 - (_ALPHA - 1))
    return np.asarray(code)


def recoded(image: np.ndarray, transfer: str) -> np.ndarray:
    """An `H×W×3` uint16 picture of full range as uint8 for a standard screen; for what `is_recoded`."""
    light = to_light(np.arange(65_536) / 65_535, transfer)
    return np.asarray((255 * light ** (1 / _DISPLAY_GAMMA) + 0.5).astype(np.uint8)[image])
