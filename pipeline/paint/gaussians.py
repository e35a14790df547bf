"""The distance of Gaussians that the Wasserstein statistic of style compares: by products of matrices alone.

Square roots are had by Newton–Schulz iterations, a fixed number of them, so nothing waits for a device and nothing is
decomposed. Each adds a correction, which keeps the roots of covariances with a condition of some thousands within 1e-5.
"""

from typing import Any

import torch

RIDGE = 0.1
"""What is added to all variances, in units of the mean variance of the target. A picture with fewer positions than
channels has a singular covariance, at which the distance has no gradient. Directions of less variance than this have 1
to 2 % of that of a style's features."""

ROOT_ITERATIONS = 16
"""Each makes what is small 2.25 times as large, until it is near 1: enough for a condition of 40 000, ten times that of
a style with its ridge."""

POLAR_ITERATIONS = 24
"""Each makes what is small 1.5 times as large: enough for 1/4000."""


def matrix_roots(matrices: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The square roots of positive definite B×C×C matrices, and the inverses of these (Higham 2008, eq. 6.35)."""
    norm = _norm(matrices)
    eye = torch.eye(matrices.shape[-1], dtype=matrices.dtype, device=matrices.device)
    root, inverse = matrices / norm, eye.expand_as(matrices)
    for _ in range(ROOT_ITERATIONS):
        step = (eye - inverse @ root) / 2
        root, inverse = root + root @ step, inverse + step @ inverse
    return root * norm.sqrt(), inverse / norm.sqrt()


def orthogonal_factor(matrices: torch.Tensor) -> torch.Tensor:
    """U of the polar decomposition U·H of B×C×C matrices (ibid., eq. 8.20)."""
    result = matrices / _norm(matrices)
    eye = torch.eye(matrices.shape[-1], dtype=matrices.dtype, device=matrices.device)
    for _ in range(POLAR_ITERATIONS):
        result = result + result @ ((eye - result.mT @ result) / 2)
    return result


def _norm(matrices: torch.Tensor) -> torch.Tensor:
    """Frobenius norms, B×1×1, which no singular value exceeds; never 0."""
    norm = matrices.flatten(1).square().sum(1).sqrt()
    return norm.clamp(min=torch.finfo(matrices.dtype).tiny).view(-1, 1, 1)


def cross_trace(covariance: torch.Tensor, target_root: torch.Tensor) -> torch.Tensor:
    """tr (Σ̂^½ Σ Σ̂^½)^½, B values, of B×C×C positive definite Σ and the 1×C×C root Σ̂^½ of the target."""
    result: torch.Tensor = _CrossTrace.apply(covariance, target_root)
    return result


class _CrossTrace(torch.autograd.Function):
    """The trace is the sum of the singular values of B = Σ^½ Σ̂^½ = U·H, that is tr UᵀB.

    Its gradient is half of the map that carries one Gaussian to the other, T = Σ^-½ U Σ̂^½. Both need roots of Σ alone:
    Σ̂^½ Σ Σ̂^½ itself has the square of its condition, too much for single precision.
    """

    @staticmethod
    def forward(ctx: Any, covariance: torch.Tensor, target_root: torch.Tensor) -> torch.Tensor:
        root, inverse = matrix_roots(covariance)
        product = root @ target_root
        factor = orthogonal_factor(product)
        transport = inverse @ factor @ target_root
        ctx.save_for_backward(transport)
        return (factor * product).flatten(1).sum(1)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        (transport,) = ctx.saved_tensors
        (gradient,) = gradients
        # Symmetric but for rounding.
        return (transport + transport.mT) * (gradient / 4).view(-1, 1, 1), None
