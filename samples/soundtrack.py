"""The sound of the sample clip: wind and plucked strings over the lake, then low strings and surf by the sea.

Convention: float64 samples in [-1, 1] at `SAMPLE_RATE`, Nx2 (left, right).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float64]

SAMPLE_RATE = 48_000


def soundtrack(duration_seconds: float, cut_seconds: float, seed: int) -> Samples:
    """Both soundscapes, with a change at the cut as hard as the picture's; faded in and out at the ends."""
    rng = np.random.default_rng(seed)
    count, start = round(duration_seconds * SAMPLE_RATE), round(cut_seconds * SAMPLE_RATE)
    sound = np.zeros((count, 2))
    sound[:start] = lakeside(start, rng)
    sound[start:] = seaside(count - start, rng)
    # Ten milliseconds on each side of the cut: shorter than the ear resolves, long enough to avoid a click.
    for edge in (0, start, count):
        distance = np.abs(np.arange(count) - edge) / SAMPLE_RATE
        sound *= np.clip(distance / 0.010, 0.0, 1.0)[:, None]
    return 0.82 * sound / np.abs(sound).max()


def lakeside(count: int, rng: np.random.Generator) -> Samples:
    """A chord of D major, four plucked notes that rise, and a light wind."""
    sound = 0.9 * pad((146.83, 220.0, 293.66, 369.99), count, brightness=3.0)
    for index, (pitch, side) in enumerate(((587.33, 0.35), (739.99, 0.65), (880.0, 0.45), (1174.66, 0.6))):
        start = round((0.06 + 0.24 * index) * SAMPLE_RATE)
        if start < count:
            note = pluck(pitch, count - start, rng)
            sound[start:] += 0.55 * note[:, None] * np.array([1.0 - side, side])
    return sound + 0.30 * breeze(count, 350.0, 1800.0, rng)


def seaside(count: int, rng: np.random.Generator) -> Samples:
    """A chord of B minor, lower and darker, a bell, and a wave that breaks."""
    sound = 1.3 * pad((61.74, 123.47, 185.0, 293.66), count, brightness=1.6)
    t = np.arange(count) / SAMPLE_RATE
    bell = sum(
        level * np.exp(-t * fall) * np.sin(2.0 * np.pi * 493.88 * ratio * t)
        for ratio, level, fall in ((1.0, 1.0, 2.5), (2.76, 0.5, 4.5), (5.40, 0.25, 8.0))
    )
    swell = np.exp(-(((t - 0.45) / 0.30) ** 2)) + 0.25
    return sound + 0.16 * np.asarray(bell)[:, None] + 0.85 * swell[:, None] * breeze(count, 120.0, 5200.0, rng)


def pad(pitches: tuple[float, ...], count: int, *, brightness: float) -> Samples:
    """Soft strings: a few harmonics a note, each side tuned a little apart, which makes the chord wide."""
    t = np.arange(count) / SAMPLE_RATE
    sound = np.zeros((count, 2))
    for pitch in pitches:
        for harmonic in range(1, 7):
            level = np.exp(-(harmonic - 1) / brightness) / len(pitches) / 2.0
            for side, detune in enumerate((-0.0012, 0.0012)):
                phase = 2.0 * np.pi * pitch * harmonic * (1.0 + detune) * t + 1.7 * harmonic * (side + 1)
                sound[:, side] += level * np.sin(phase)
    return sound * np.clip(t / 0.12, 0.0, 1.0)[:, None]


def pluck(pitch: float, count: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """A plucked string: harmonics that fade the faster the higher they are."""
    t = np.arange(count) / SAMPLE_RATE
    sound = np.zeros(count)
    for harmonic in range(1, 9):
        if pitch * harmonic < SAMPLE_RATE / 3.0:
            level = rng.uniform(0.7, 1.0) / harmonic**1.3
            sound += level * np.exp(-t * (2.2 + 1.9 * harmonic)) * np.sin(2.0 * np.pi * pitch * harmonic * t)
    return sound * np.clip(t / 0.003, 0.0, 1.0)


def breeze(count: int, low_hertz: float, high_hertz: float, rng: np.random.Generator) -> Samples:
    """Noise between two frequencies, of unit peak, independent left and right."""
    frequency = np.fft.rfftfreq(count, 1.0 / SAMPLE_RATE)
    gain = 1.0 / (1.0 + (low_hertz / np.maximum(frequency, 1.0)) ** 4) / (1.0 + (frequency / high_hertz) ** 2)
    spectrum = rng.standard_normal((frequency.size, 2)) + 1j * rng.standard_normal((frequency.size, 2))
    noise = np.fft.irfft(spectrum * gain[:, None], count, axis=0)
    return noise / np.abs(noise).max()
