"""The losses of neural style transfer, as functions of tensors.

Content and style loss are those of Gatys, Ecker and Bethge 2016, total variation was added by later work, the
temporal loss by Ruder, Dosovitskiy and Brox 2016. `objective.py` weights and sums them. Every function takes features
or images of a batch and returns B values, one for each picture: none of them depends on another picture.
"""

from typing import Any

import torch

from ..choices import ContentReduction, GramNormalization, TotalVariationForm


def gram_matrix(
    features: torch.Tensor, normalization: GramNormalization = "chw", positions: int | None = None
) -> torch.Tensor:
    """Gram matrices of B×C×H×W features, B×C×C: inner products of channels over all positions.

    Gatys et al. 2016, eq. 3, divided by C·H·W (`chw`; Johnson et al. 2016, eq. 3) or by H·W (`hw`), so that pictures
    of different sizes can be compared. Features that are part of a picture of so many `positions` give their part of
    its sum.
    """
    gram: torch.Tensor = _Gram.apply(features.flatten(2), _divisor(features, normalization, positions))
    return gram


def gram_and_means(
    features: torch.Tensor, normalization: GramNormalization = "chw", positions: int | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """`gram_matrix` of B×C×H×W features, and the mean of each channel (B×C)."""
    divisor = _divisor(features, normalization, positions)
    gram, means = _GramAndMeans.apply(features.flatten(2), divisor, positions or features[0, 0].numel())
    return gram, means


def _divisor(features: torch.Tensor, normalization: GramNormalization, positions: int | None) -> int:
    return (positions or features[0, 0].numel()) * (features.shape[1] if normalization == "chw" else 1)


class _Gram(torch.autograd.Function):
    """F·Fᵀ / d for B×C×N features F, with half of autograd's backward pass.

    Autograd would multiply the gradient E by each of the two factors. They are the same tensor, so one product with the
    symmetrised gradient suffices: ∂L/∂F = (E + Eᵀ)·F / d. The matrix is in single precision, whatever the features are.
    """

    @staticmethod
    def forward(ctx: Any, flat: torch.Tensor, divisor: float) -> torch.Tensor:
        ctx.save_for_backward(flat)
        ctx.divisor = divisor
        return _products(flat).div_(divisor)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        (flat,) = ctx.saved_tensors
        (gradient,) = gradients
        symmetric = _symmetrised(gradient, ctx.divisor, flat)
        if flat.stride(1) == 1:
            # Features with their channels last: the gradient is laid out so too, or whatever adds to it is slow.
            return (flat.transpose(1, 2) @ symmetric).transpose(1, 2), None
        return symmetric @ flat, None


class _GramAndMeans(torch.autograd.Function):
    """`_Gram` and Σ f / n, with one product in the backward pass for both: ∂L/∂F = (E + Eᵀ)·F / d + e / n."""

    @staticmethod
    def forward(ctx: Any, flat: torch.Tensor, divisor: float, positions: int) -> tuple[torch.Tensor, torch.Tensor]:
        ctx.save_for_backward(flat)
        ctx.divisor, ctx.positions = divisor, positions
        sums = flat.sum(2, dtype=torch.float32 if flat.dtype == torch.bfloat16 else flat.dtype)
        return _products(flat).div_(divisor), sums.div_(positions)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        (flat,) = ctx.saved_tensors
        of_gram, of_means = gradients
        symmetric = _symmetrised(of_gram, ctx.divisor, flat)
        constant = (of_means / ctx.positions).to(flat.dtype)
        if flat.stride(1) == 1:
            return torch.baddbmm(constant.unsqueeze(1), flat.transpose(1, 2), symmetric).transpose(1, 2), None, None
        return torch.baddbmm(constant.unsqueeze(2), symmetric, flat), None, None


def _symmetrised(gradient: torch.Tensor, divisor: float, flat: torch.Tensor) -> torch.Tensor:
    """(E + Eᵀ) / d in the precision of the features."""
    return ((gradient + gradient.transpose(1, 2)) / divisor).to(flat.dtype)


def _products(flat: torch.Tensor) -> torch.Tensor:
    """F·Fᵀ of B×C×N features, in single precision at least."""
    if flat.dtype == torch.bfloat16:
        if flat.is_cuda:
            return torch.bmm(flat, flat.transpose(1, 2), torch.float32)
        flat = flat.float()
    return flat @ flat.transpose(1, 2)


def content_loss(
    features: torch.Tensor, target: torch.Tensor, reduction: ContentReduction = "mean", positions: int | None = None
) -> torch.Tensor:
    """Squared distance of B×C×H×W features to those of the content, B values.

    `mean` over all entries, or `half_sum`: half the sum (Gatys et al. 2016, eq. 1). Features that are part of a picture
    of so many `positions` give their share of its loss.
    """
    squared = (features.to(target.dtype) - target).square().flatten(1)
    if reduction == "half_sum":
        return squared.sum(1) / 2
    return squared.mean(1) if positions is None else squared.sum(1) / (positions * target.shape[1])


def style_loss(gram: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Mean squared distance of B×C×C Gram matrices to those of the style, B values (Gatys et al. 2016, eq. 4).

    With Gram matrices divided by H·W and a layer weight of ¼ it equals the paper's E_l.
    """
    return (gram - target).square().flatten(1).mean(1)


def total_variation(images: torch.Tensor, form: TotalVariationForm = "absolute_sum") -> torch.Tensor:
    """Total variation, B values: how much neighbouring pixels of B×3×H×W images, in any unit, differ.

    With dx and dy the differences of horizontal and vertical neighbours:
    `absolute_sum`: Σ |dx| + Σ |dy|, the anisotropic total variation (after Rudin, Osher and Fatemi 1992);
    `absolute_mean`: ½ (mean |dx| + mean |dy|), as in textbooks;
    `squared_sum`: ½ (Σ dx² + Σ dy²) (Mahendran and Vedaldi 2015, eq. 3 with β = 2, up to the ½).
    """
    dy = images[:, :, 1:, :] - images[:, :, :-1, :]
    dx = images[:, :, :, 1:] - images[:, :, :, :-1]
    return variation(dx, form, dx[0].numel()) + variation(dy, form, dy[0].numel())


def variation(differences: torch.Tensor, form: TotalVariationForm, count: int) -> torch.Tensor:
    """What differences of neighbours in one direction, some of `count`, add to the total variation (B values)."""
    differences = differences.flatten(1)
    if form == "absolute_sum":
        return differences.abs().sum(1)
    if form == "absolute_mean":
        # A picture of one row has no vertical differences: their mean is 0, not 0/0.
        return differences.abs().sum(1) / max(count, 1) / 2
    return differences.square().sum(1) / 2


def dot_loss(images: torch.Tensor, count: int | None = None) -> torch.Tensor:
    """How far single values stand out, B values: the mean square of how far those of B×3×H×W images, in any unit, are
    above or below all eight neighbours in their channel, which have none at the border.

    Lines, edges and dots of two pixels have a loss of 0. The losses of features hardly change where single pixels stand
    out. Rows of a picture with so many values that have all neighbours, its `count`, give their share of its loss.
    """
    inner = images[:, :, 1:-1, 1:-1]
    if not inner.numel():
        return images.new_zeros(len(images))
    above = (inner - _largest_neighbour(images)).clamp(min=0)
    below = (-inner - _largest_neighbour(-images)).clamp(min=0)
    squares = (above.square() + below.square()).flatten(1)
    return squares.mean(1) if count is None else squares.sum(1) / count


def _largest_neighbour(images: torch.Tensor) -> torch.Tensor:
    """The largest of the eight neighbours of each value that has them, B×3×(H−2)×(W−2)."""
    up, middle, down = images[:, :, :-2], images[:, :, 1:-1], images[:, :, 2:]
    beside = torch.maximum(up, down)
    columns = torch.maximum(beside, middle)
    sides = torch.maximum(columns[..., :-2], columns[..., 2:])
    return torch.maximum(sides, beside[..., 1:-1])


def temporal_loss(images: torch.Tensor, reference: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Mean over pixels and channels of `weight` · squared difference, B values (Ruder et al. 2016, eq. 8).

    `images` and `reference` (an earlier painting, warped onto this frame) are B×3×H×W in one unit. `weight` is
    B×1×H×W in [0, 1]: the visibility mask.
    """
    return ((images - reference).square() * weight).flatten(1).mean(1)
