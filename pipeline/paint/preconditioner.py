"""The preconditioner of L-BFGS: a low-pass filter, since the spectra of pictures are strong at low frequencies."""

import functools
from collections.abc import Callable

import torch

from .batch_math import LARGE

CUTOFF = 0.01
"""f₀, in cycles per pixel: frequencies well below it are amplified alike."""

Whitening = Callable[[torch.Tensor], torch.Tensor]
"""K·v for B×3×H×W v: linear, symmetric and positive definite."""


def make_whitening(like: torch.Tensor, exponent: float) -> Whitening:
    """K for pictures of the size and device of `like` (B×3×H×W), the square root of the preconditioner P = K·K.

    P multiplies frequency f by (f² + f₀²)^-exponent, with gains scaled to a mean of 1. With exponent 0 both are the
    identity.
    """
    if exponent == 0:
        return lambda v: v
    height, width = like.shape[-2:]
    vertical = torch.fft.fftfreq(height, device=like.device).view(-1, 1)
    horizontal = torch.fft.rfftfreq(width, device=like.device).view(1, -1)
    gain = (vertical.square() + horizontal.square() + CUTOFF**2) ** -exponent
    gain = (gain / gain.mean()).sqrt()

    def filtered(v: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = torch.fft.irfft2(torch.fft.rfft2(v) * gain, s=(height, width))
        return result

    if like[0].numel() < LARGE:
        return filtered
    return functools.partial(_channel_by_channel, filtered)


def _channel_by_channel(filtered: Whitening, v: torch.Tensor) -> torch.Tensor:
    result = torch.empty_like(v)
    for channel in range(v.shape[1]):
        result[:, channel] = filtered(v[:, channel])
    return result
