"""The preconditioner of L-BFGS: a low-pass filter, since the spectra of pictures are strong at low frequencies."""

from collections.abc import Callable

import torch

CUTOFF = 0.01
"""f₀, in cycles per pixel: frequencies well below it are amplified alike."""

Preconditioner = Callable[[torch.Tensor], torch.Tensor]
"""P·v for B×3×H×W v: linear, symmetric and positive definite."""


def make_preconditioner(like: torch.Tensor, exponent: float) -> Preconditioner:
    """P for pictures of the size and device of `like` (B×3×H×W): multiplies frequency f by (f² + f₀²)^-exponent.

    The gains are scaled to a mean of 1. With exponent 0 P is the identity.
    """
    if exponent == 0:
        return lambda v: v
    height, width = like.shape[-2:]
    vertical = torch.fft.fftfreq(height, device=like.device).view(-1, 1)
    horizontal = torch.fft.rfftfreq(width, device=like.device).view(1, -1)
    gain = (vertical.square() + horizontal.square() + CUTOFF**2) ** -exponent
    gain = gain / gain.mean()
    return lambda v: torch.fft.irfft2(torch.fft.rfft2(v) * gain, s=(height, width))
