"""The preconditioner of L-BFGS: a low-pass filter, since the spectra of pictures are strong at low frequencies."""

from collections.abc import Callable

import torch

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
    return lambda v: torch.fft.irfft2(torch.fft.rfft2(v) * gain, s=(height, width))
