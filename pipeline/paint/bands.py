"""Losses of neighbouring pixels of a large picture, in bands of rows: value and gradient at once.

Differentiated as a whole, they keep many pictures as large.
"""

from collections.abc import Callable, Iterator
from typing import Any

import torch

BAND_PIXELS = 1 << 19
"""Pixels of a band; at least a row."""

BandLoss = Callable[[torch.Tensor, int, int], torch.Tensor]
"""The share in a loss (B values) of some rows of B×3×H×W pixels: of those from a start to an end, half-open. The
loss also sees the row above and the one below them, where there are any."""


def in_bands(loss: BandLoss, pixels: torch.Tensor) -> torch.Tensor:
    """The loss of whole pictures (B values), and its gradient by their pixels."""
    value: torch.Tensor = _InBands.apply(pixels, loss, torch.is_grad_enabled() and pixels.requires_grad)
    return value


class _InBands(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, pixels: torch.Tensor, loss: BandLoss, has_gradient: bool) -> torch.Tensor:
        pixels, value = pixels.detach(), pixels.new_zeros(len(pixels))
        gradient = torch.zeros_like(pixels) if has_gradient else None
        height = pixels.shape[2]
        for start, end in _bands(height, pixels.shape[3]):
            first, last = max(0, start - 1), min(height, end + 1)
            with torch.set_grad_enabled(has_gradient):
                strip = pixels[:, :, first:last].clone().requires_grad_(has_gradient)
                share = loss(strip, start - first, end - first)
                if gradient is not None:
                    gradient[:, :, first:last].add_(torch.autograd.grad(share.sum(), strip)[0])
            value += share.detach()
        ctx.save_for_backward(gradient)
        return value

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        (gradient,) = ctx.saved_tensors
        return gradient.mul_(gradients[0].view(-1, 1, 1, 1)), None, None


def _bands(height: int, width: int) -> Iterator[tuple[int, int]]:
    """(Start, end) of each band."""
    rows = max(1, BAND_PIXELS // width)
    for start in range(0, height, rows):
        yield start, min(height, start + rows)
