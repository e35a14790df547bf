"""The parts of textures: noise of several scales, and functions that shape it.

Convention: sizes are (height, width); fields are HxW float32, colours HxWx3 float32, textures HxWx4 float32 with the
colour premultiplied by alpha. Every random choice comes from the generator that is handed in.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Size = tuple[int, int]
Vector = tuple[float, float]


def pixel_grid(size: Size) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """x and y of every pixel centre of a frame, HxW each."""
    y, x = np.mgrid[0 : size[0], 0 : size[1]].astype(np.float64)
    return x, y


def octave(size: Size, cell: Vector, rng: np.random.Generator) -> Floats:
    """Smooth noise of zero mean and unit variance whose grains measure about cell = (height, width) pixels."""
    # One lattice point more at each side hides the clamped border of the interpolation.
    rows, columns = (math.ceil(n / c) + 4 for n, c in zip(size, cell, strict=True))
    lattice = rng.standard_normal((rows, columns), np.float32)
    row_phase, column_phase = rng.uniform(1.0, 2.0, 2)
    to_texture = np.array([[cell[1], 0.0, -column_phase * cell[1]], [0.0, cell[0], -row_phase * cell[0]]])
    noise = cv2.warpAffine(
        lattice, to_texture, (size[1], size[0]), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101
    )
    # Between lattice points, the interpolated noise has a lower variance than on them.
    return noise / np.float32(0.8)


def fractal(
    size: Size, cell: Vector, rng: np.random.Generator, *, octaves: int = 6, gain: float = 0.5, floor: float = 1.0
) -> Floats:
    """Sum of octaves of noise, each half as large and `gain` times as strong; unit variance, no grain below `floor`."""
    total = np.zeros(size, np.float32)
    power, strength = 0.0, 1.0
    height, width = cell
    for _ in range(octaves):
        total += np.float32(strength) * octave(size, (max(height, floor), max(width, floor)), rng)
        power += strength**2
        if min(height, width) <= floor:
            break
        height, width, strength = height / 2.0, width / 2.0, strength * gain
    return total / np.float32(math.sqrt(power))


def opaque(colour: Floats) -> Floats:
    """A texture without holes from HxWx3 colours."""
    return np.concatenate([np.clip(colour, 0.0, 1.0), np.ones((*colour.shape[:2], 1), np.float32)], axis=2)


def masked(colour: Floats, alpha: Floats) -> Floats:
    """A premultiplied texture from HxWx3 colours and HxW alpha."""
    alpha = np.clip(alpha, 0.0, 1.0)[..., None]
    return np.concatenate([np.clip(colour, 0.0, 1.0) * alpha, alpha], axis=2).astype(np.float32)


def smooth(low: float, high: float, value: NDArray[np.floating]) -> Floats:
    """0 at `low`, 1 at `high`, smooth between; `low` may be above `high`."""
    t = np.clip((value - low) / (high - low), 0.0, 1.0)
    return (t * t * (3.0 - 2.0 * t)).astype(np.float32)


def bump(value: NDArray[np.floating], centre: float, spread: float | Floats) -> Floats:
    """A Gaussian hill of height 1."""
    return np.exp(-(((value - centre) / spread) ** 2)).astype(np.float32)


def rgb(red: float, green: float, blue: float) -> Floats:
    """One colour."""
    return np.array([red, green, blue], np.float32)
