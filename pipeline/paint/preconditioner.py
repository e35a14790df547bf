"""The preconditioner of L-BFGS: a low-pass filter, since the spectra of pictures are strong at low frequencies."""

import torch

from .batch_math import LARGE

CUTOFF = 0.01
"""f₀, in cycles per pixel: frequencies well below it are amplified alike."""


class Whitening:
    """K for each picture of a batch like `start` (B×3×H×W), the square root of the preconditioner P = K·K.

    P multiplies frequency f by (f² + f₀²)^-exponent, with gains scaled to a mean of 1. With exponent 0 both are the
    identity. K is linear, symmetric and positive definite.
    """

    def __init__(self, start: torch.Tensor, exponent: float) -> None:
        self._exponent = exponent
        self._size = start.shape[-2:]
        # A large picture is filtered channel by channel, to save memory.
        self._is_large = start[0].numel() >= LARGE
        self._gains = None
        if exponent != 0:
            self._gains = self._gain(exponent, start.device).repeat(len(start), 1, 1, 1)

    def limit(self, slot: int, most: float | None) -> None:
        """Sets the exponent of a picture to that of the batch, or to `most` where that is lower."""
        if self._gains is not None:
            exponent = self._exponent if most is None else min(self._exponent, most)
            self._gains[slot] = self._gain(exponent, self._gains.device)

    def __call__(self, v: torch.Tensor) -> torch.Tensor:
        """K·v for B×3×H×W v."""
        if self._gains is None:
            return v
        if not self._is_large:
            return self._filtered(v, self._gains)
        result = torch.empty_like(v)
        for channel in range(v.shape[1]):
            result[:, channel] = self._filtered(v[:, channel], self._gains[:, 0])
        return result

    def _filtered(self, v: torch.Tensor, gains: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = torch.fft.irfft2(torch.fft.rfft2(v) * gains, s=self._size)
        return result

    def _gain(self, exponent: float, device: torch.device) -> torch.Tensor:
        """What K multiplies each frequency of a picture by, H×(W/2 + 1)."""
        height, width = self._size
        vertical = torch.fft.fftfreq(height, device=device).view(-1, 1)
        horizontal = torch.fft.rfftfreq(width, device=device).view(1, -1)
        gain = (vertical.square() + horizontal.square() + CUTOFF**2) ** -exponent
        scaled: torch.Tensor = (gain / gain.mean()).sqrt()
        return scaled
