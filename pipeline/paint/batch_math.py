"""Arithmetic on each picture of a batch by itself. B×3×H×W tensors hold the pictures, B values one number for each."""

import torch

LARGE = 3 << 22
"""From so many numbers of a picture on (4 megapixels), what can be computed of parts of it is, to save memory."""


def inner_products(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """B inner products of the pictures of two B×3×H×W tensors."""
    # A batched row · column product reads both tensors once and never writes their product to memory.
    return torch.bmm(a.flatten(1).unsqueeze(1), b.flatten(1).unsqueeze(2)).view(-1)


def per_picture(values: torch.Tensor) -> torch.Tensor:
    """B values as B×1×1×1, which broadcast over the pixels of B×3×H×W."""
    return values.view(-1, 1, 1, 1)


def are_finite(value: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
    """B booleans: whether a picture's objective (B values) and its whole gradient (B×3×H×W) are finite."""
    # One pass: a sum is finite only if all its terms are.
    return torch.isfinite(value) & torch.isfinite(gradient.flatten(1).sum(1))


def products_with(vectors: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """The inner products (B×K) of B×K×N vectors, in single precision or bf16, with one each (B×N, single precision)."""
    if vectors.dtype == other.dtype:
        return torch.bmm(vectors, other.unsqueeze(2)).squeeze(2)
    if vectors.is_cuda:
        return torch.bmm(vectors, _parts(other).transpose(1, 2), torch.float32).sum(2)
    return torch.stack([inner_products(vectors[:, k].to(other.dtype), other) for k in range(vectors.shape[1])], 1)


def sum_of(vectors: torch.Tensor, factors: torch.Tensor) -> torch.Tensor:
    """The sums (B×N) of B×K×N vectors, in single precision or bf16, times B×K factors in single precision."""
    if vectors.dtype == factors.dtype:
        return torch.bmm(factors.unsqueeze(1), vectors).squeeze(1)
    if vectors.is_cuda:
        return torch.bmm(_parts(factors), vectors, torch.float32).sum(1)
    result = torch.zeros_like(vectors[:, 0], dtype=factors.dtype)
    for k in range(vectors.shape[1]):
        result.addcmul_(vectors[:, k].to(factors.dtype), factors[:, k : k + 1])
    return result


def _parts(values: torch.Tensor) -> torch.Tensor:
    """B×N values as B×2×N in bf16, whose sums have 16 bits of mantissa."""
    high = values.to(torch.bfloat16)
    return torch.stack((high, (values - high).to(torch.bfloat16)), 1)
