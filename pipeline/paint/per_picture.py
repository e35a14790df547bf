"""TODO: paint.per_picture."""

import torch


def is_finite(value: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
    return torch.isfinite(value) & torch.isfinite(gradient).flatten(1).all(1)


def true_indices(mask: torch.Tensor) -> list[int]:
    return [place for place, flag in enumerate(mask.tolist()) if flag]


def batch_dot(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Inner product picture by picture: B×3×H×W twice to B."""
    # As a product of a row and a column: one pass over both, with no picture of products in between.
    return torch.bmm(a.flatten(1).unsqueeze(1), b.flatten(1).unsqueeze(2)).view(-1)


def as_column(values: torch.Tensor) -> torch.Tensor:
    """B values shaped to multiply B×3×H×W."""
    return values.view(-1, 1, 1, 1)
