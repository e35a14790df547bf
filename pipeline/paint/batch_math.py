"""Arithmetic on each picture of a batch by itself. B×3×H×W tensors hold the pictures, B values one number for each."""

import torch


def inner_products(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """B inner products of the pictures of two B×3×H×W tensors."""
    # A batched row · column product reads both tensors once and never writes their product to memory.
    return torch.bmm(a.flatten(1).unsqueeze(1), b.flatten(1).unsqueeze(2)).view(-1)


def per_picture(values: torch.Tensor) -> torch.Tensor:
    """B values as B×1×1×1, which broadcast over the pixels of B×3×H×W."""
    return values.view(-1, 1, 1, 1)


def are_finite(value: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
    """B booleans: whether a picture's objective (B values) and its whole gradient (B×3×H×W) are finite."""
    return torch.isfinite(value) & torch.isfinite(gradient).flatten(1).all(1)


def indices_where(mask: torch.Tensor) -> list[int]:
    """Indices at which B booleans are true."""
    return [index for index, flag in enumerate(mask.tolist()) if flag]
