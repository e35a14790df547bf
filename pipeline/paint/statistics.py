"""The statistics of style: sums over the positions of a layer's features, and the distance of two pictures by them.

Whatever is compared follows from the `Moments` of a layer, which are sums: those of the parts of a picture add up to
those of the whole. A `StyleTarget` has what is made of the style's moments, once, and gives the loss of others.

`gram`
    The Gram matrix (Gatys et al. 2016).
`gram_moments`
    The Gram matrix, and the mean and standard deviation of each channel.
`wasserstein`
    The Gaussians with the mean and covariance of the features, by the squared 2-Wasserstein distance.
"""

from dataclasses import dataclass
from typing import Protocol

import torch

from ..choices import GramNormalization, Statistics
from ..layers import block_of
from .gaussians import RIDGE, cross_trace, matrix_roots
from .losses import gram_and_means, gram_matrix, style_loss

MEANS_SHARE, DEVIATIONS_SHARE = 2.0, 3.0
"""How much smaller the relative squared distances of means and of standard deviations of a photo and a painting are
than that of their Gram matrices, which are products of features: 1.5 to 2.3 and 2.4 to 3.5 in all layers."""

DEVIATION_FLOOR = 1e-4
"""What is added to all variances before their roots are taken, which have no gradient at 0, in units of the mean square
of the target."""

WASSERSTEIN_SCALE = 1 / 8
"""Factor of the Wasserstein distances with which content and style keep their balance at the weights for Gram matrices:
a content loss of 3.1 and a style loss of 3.3 million after 70 iterations, where Gram matrices have 2.5 and 1.1."""

WASSERSTEIN_FALL = 4.0
"""How many times less the Wasserstein distances of a block of layers weigh than those of the block before it."""


@dataclass(frozen=True)
class Moments:
    """Of features, or their part in the sums of a larger picture: Σ f·fᵀ (B×C×C), divided as Gram matrices are, and the
    means Σ f / positions (B×C), None where the statistic needs none."""

    products: torch.Tensor
    means: torch.Tensor | None

    def plus(self, other: "Moments") -> "Moments":
        means = None if self.means is None or other.means is None else self.means + other.means
        return Moments(self.products + other.products, means)

    def with_gradient(self) -> "Moments":
        """The same values, by which a loss can be differentiated."""
        means = None if self.means is None else self.means.detach().requires_grad_(True)
        return Moments(self.products.detach().requires_grad_(True), means)

    @property
    def tensors(self) -> tuple[torch.Tensor, ...]:
        return (self.products,) if self.means is None else (self.products, self.means)

    def times(self, factor: float) -> "Moments":
        return Moments(self.products * factor, None if self.means is None else self.means * factor)


def moments_of(
    features: torch.Tensor, statistics: Statistics, gram: GramNormalization, positions: int | None = None
) -> Moments:
    """The moments of B×C×H×W features; where these are part of a picture, of so many `positions`."""
    if statistics == "gram":
        return Moments(gram_matrix(features, gram, positions), None)
    return Moments(*gram_and_means(features, "hw" if statistics == "wasserstein" else gram, positions))


class StyleTarget(Protocol):
    """The statistics of a layer of the style, ready to be compared."""

    def loss(self, moments: Moments) -> torch.Tensor:
        """The distance of moments of B pictures to those of the style, B values."""
        ...


def make_target(layer: str, moments: Moments, statistics: Statistics, gram: GramNormalization) -> StyleTarget:
    """The target of a layer with the moments of the style (B = 1)."""
    if moments.means is None:
        return GramTarget(moments.products)
    channels = moments.means.shape[1]
    if statistics == "wasserstein":
        weight = WASSERSTEIN_SCALE * WASSERSTEIN_FALL ** (5 - block_of(layer)) / channels
        return _wasserstein_target(moments.products, moments.means, weight)
    return _gram_moments_target(moments.products, moments.means, channels if gram == "chw" else 1)


@dataclass(frozen=True)
class GramTarget:
    """A Gram matrix, 1×C×C."""

    gram: torch.Tensor

    def loss(self, moments: Moments) -> torch.Tensor:
        return style_loss(moments.products, self.gram)


@dataclass(frozen=True)
class GramMomentsTarget:
    """A Gram matrix (1×C×C), means and standard deviations (1×C), each with the factor of its mean squared distance.

    The factors follow from the style alone, so they are the same for every picture in it: each term is a squared
    distance in units of the style's own mean square, times that of its Gram matrix.
    """

    gram: torch.Tensor
    means: torch.Tensor
    deviations: torch.Tensor
    means_factor: torch.Tensor
    deviations_factor: torch.Tensor
    scale: int
    """What the diagonal of a Gram matrix is multiplied by to give mean squares."""
    floor: torch.Tensor

    def loss(self, moments: Moments) -> torch.Tensor:
        assert moments.means is not None
        deviations = _deviations(moments.products, moments.means, self.scale, self.floor)
        return (
            style_loss(moments.products, self.gram)
            + self.means_factor * (moments.means - self.means).square().mean(1)
            + self.deviations_factor * (deviations - self.deviations).square().mean(1)
        )


def _gram_moments_target(gram: torch.Tensor, means: torch.Tensor, scale: int) -> GramMomentsTarget:
    floor = DEVIATION_FLOOR * (gram.diagonal(dim1=1, dim2=2) * scale).mean() + torch.finfo(gram.dtype).tiny
    deviations = _deviations(gram, means, scale, floor)
    unit = gram.square().mean()
    return GramMomentsTarget(
        gram,
        means,
        deviations,
        _relative(MEANS_SHARE * unit, means),
        _relative(DEVIATIONS_SHARE * unit, deviations),
        scale,
        floor,
    )


def _relative(unit: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """`unit` over the mean square of values. A style whose features are all 0 has none: 1 there."""
    square = values.square().mean()
    return torch.where(square > 0, unit / square, 1.0)


def _deviations(gram: torch.Tensor, means: torch.Tensor, scale: int, floor: torch.Tensor) -> torch.Tensor:
    """Standard deviations (B×C). Rounding can make a variance negative."""
    variances = gram.diagonal(dim1=1, dim2=2) * scale - means.square()
    return (variances.clamp(min=0) + floor).sqrt()


@dataclass(frozen=True)
class WassersteinTarget:
    """A Gaussian: means (1×C), trace and square root (1×C×C) of the covariance with its `ridge`, and the factor of the
    distance."""

    means: torch.Tensor
    trace: torch.Tensor
    root: torch.Tensor
    ridge: torch.Tensor
    weight: float

    def loss(self, moments: Moments) -> torch.Tensor:
        """tr(Σ + Σ̂ − 2(Σ̂^½ Σ Σ̂^½)^½) + |μ − μ̂|² (Dowson and Landau 1982), with the ridge on both covariances."""
        assert moments.means is not None
        covariance = _covariance(moments.products, moments.means, self.ridge)
        traces = covariance.diagonal(dim1=1, dim2=2).sum(1) + self.trace
        distance = traces - 2 * cross_trace(covariance, self.root)
        return self.weight * (distance + (moments.means - self.means).square().sum(1))


def _wasserstein_target(products: torch.Tensor, means: torch.Tensor, weight: float) -> WassersteinTarget:
    plain = _covariance(products, means, products.new_zeros(()))
    # A style of one colour has no variance to go by: then the features are as good a unit.
    squares = products.diagonal(dim1=1, dim2=2).mean()
    ridge = torch.maximum(RIDGE * plain.diagonal(dim1=1, dim2=2).mean(), 1e-6 * squares)
    ridge = ridge + torch.finfo(products.dtype).eps
    covariance = _covariance(products, means, ridge)
    return WassersteinTarget(
        means, covariance.diagonal(dim1=1, dim2=2).sum(1), matrix_roots(covariance)[0], ridge, weight
    )


def _covariance(products: torch.Tensor, means: torch.Tensor, ridge: torch.Tensor) -> torch.Tensor:
    """Covariances (B×C×C) with `ridge` added to their diagonals."""
    eye = torch.eye(products.shape[-1], dtype=products.dtype, device=products.device)
    return products - means.unsqueeze(2) * means.unsqueeze(1) + ridge * eye
