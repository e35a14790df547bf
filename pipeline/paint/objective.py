"""The objective of a batch of pictures: the losses of `losses.py`, weighted and summed.

L = α·content + β·style + γ·total variation + dots + temporal. `content_targets` and `style_targets` compute what the
losses compare with, once for a content and once for a style. `LossWeights` holds the plain numbers;
`painter.loss_weights` makes it from the settings.
"""

import functools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from ..choices import ContentReduction, GramNormalization, PixelUnit, Statistics, TotalVariationForm
from ..pictures import Size, denormalize, normalize
from .bands import in_bands
from .batch_math import LARGE
from .encoder import Encoder
from .losses import content_loss, dot_loss, temporal_loss, total_variation, variation
from .statistics import Moments, StyleTarget, make_target, moments_of
from .tiles import Tile, feature_size, tiles_of


@dataclass(frozen=True)
class TemporalReference:
    """What the temporal loss compares a picture with: 1×3×H×W images in [0, 1], each with its 1×1×H×W weight.

    The images are earlier paintings, warped onto the picture's frame; the weights are their visibility.
    """

    images: tuple[torch.Tensor, ...]
    weights: tuple[torch.Tensor, ...]


@dataclass(frozen=True)
class LossTerms:
    """The weighted losses, B values each."""

    content: torch.Tensor
    style: torch.Tensor
    total_variation: torch.Tensor
    """With the loss of dots."""
    temporal: torch.Tensor

    @property
    def total(self) -> torch.Tensor:
        """What is minimised."""
        return self.content + self.style + self.total_variation + self.temporal


@dataclass(frozen=True)
class LossWeights:
    """Weights and forms of the losses, as plain numbers and words; `pipeline.settings` documents each."""

    content: float
    content_layers: Mapping[str, float]
    content_reduction: ContentReduction
    style: float
    style_layers: Mapping[str, float]
    gram: GramNormalization
    total_variation: float
    total_variation_form: TotalVariationForm
    total_variation_pixels: PixelUnit
    dots: float
    statistics: Statistics = "gram"

    @property
    def layers(self) -> frozenset[str]:
        """Every layer whose features are needed."""
        return frozenset(self.content_layers) | frozenset(self.style_layers)


@torch.no_grad()
def style_targets(
    encoder: Encoder,
    styles: Sequence[torch.Tensor],
    blend: Sequence[float],
    layers: Sequence[str],
    gram: GramNormalization,
    statistics: Statistics = "gram",
    tile: int | None = None,
) -> dict[str, StyleTarget]:
    """The target of each layer, by the weighted mean of the moments of the styles.

    `styles` are 1×3×h×w images in [0, 1] of any sizes, `blend` their weights, of any sum. The distance to a mean of
    Gram matrices has the same gradient as the weighted sum of the distances to each, at the cost of one. With `tile`
    they are encoded in tiles of that side.
    """
    total = sum(blend)
    means: dict[str, Moments] = {}
    for image, weight in zip(styles, blend, strict=True):
        for name, whole in _moments(encoder, normalize(image), layers, statistics, gram, tile).items():
            part = whole.times(weight / total)
            means[name] = means[name].plus(part) if name in means else part
    return {name: make_target(name, moments, statistics, gram) for name, moments in means.items()}


def _moments(
    encoder: Encoder,
    pixels: torch.Tensor,
    layers: Iterable[str],
    statistics: Statistics,
    gram: GramNormalization,
    tile: int | None,
) -> dict[str, Moments]:
    """The moments of pictures at some layers."""
    if tile is None:
        features = encoder(pixels)
        return {name: moments_of(features[name], statistics, gram) for name in layers}
    sums: dict[str, Moments] = {}
    for part in _tiles(pixels, tile, encoder):
        features = _own_features(encoder, part, part.crop(pixels))
        for name in layers:
            own = moments_of(features[name], statistics, gram, math.prod(feature_size(_size(pixels), name)))
            sums[name] = sums[name].plus(own) if name in sums else own
    return sums


def _tiles(pixels: torch.Tensor, tile: int, encoder: Encoder) -> tuple[Tile, ...]:
    return tiles_of(_size(pixels), tile, encoder.layers)


def _own_features(encoder: Encoder, part: Tile, crop: torch.Tensor) -> dict[str, torch.Tensor]:
    """The features of a tile's own part, given its padded pixels."""
    return {name: part.own_features(features, name) for name, features in encoder(crop).items()}


def _size(pixels: torch.Tensor) -> Size:
    return pixels.shape[-2], pixels.shape[-1]


@torch.no_grad()
def content_targets(
    encoder: Encoder, content: torch.Tensor, layers: Sequence[str], tile: int | None = None
) -> dict[str, torch.Tensor]:
    """Features of the content (B×3×H×W in [0, 1]) at `layers`, B×C×h×w each; with `tile`, computed in tiles of that
    side."""
    if tile is None:
        features = encoder(normalize(content))
        return {name: features[name] for name in layers}
    targets: dict[str, torch.Tensor] = {}
    for part in _tiles(content, tile, encoder):
        features = _own_features(encoder, part, normalize(part.crop(content)))
        for name in layers:
            own = features[name]
            if name not in targets:
                targets[name] = own.new_empty((*own.shape[:2], *feature_size(_size(content), name)))
            part.place(targets[name], name).copy_(own)
    return targets


@dataclass
class Targets:
    """What the pictures of a batch are compared with: targets from `content_targets` (B×C×h×w for each layer) and
    `style_targets`, and the references of the temporal loss."""

    content: dict[str, torch.Tensor]
    style: dict[str, StyleTarget]
    temporal: TemporalReference = field(default_factory=lambda: TemporalReference((), ()))
    temporal_weights: torch.Tensor | None = None
    """B weights of the temporal loss; None where no picture has one."""
    width: int = 1
    """B, the number of pictures."""

    def empty_batch(self, width: int) -> "Targets":
        """Targets for `width` pictures of this one's size and style; `set_slot` sets each picture's own."""
        content = {name: target.new_zeros((width, *target.shape[1:])) for name, target in self.content.items()}
        if width == 1:
            content = dict(self.content)  # The features of a large picture need not be there twice.
        return Targets(content, self.style, width=width)

    def set_slot(self, slot: int, single: "Targets") -> bool:
        """Gives the picture in a slot the targets of a `single` picture.

        Returns whether there are more tensors than before: until then, all keep their memory.
        """
        for name, target in single.content.items():
            self.content[name][slot] = target[0]
        if self.width == 1:
            single.content = self.content
        own = single.temporal
        has_grown = self._make_room_for_references(own)
        for number, (images, weights) in enumerate(zip(self.temporal.images, self.temporal.weights, strict=True)):
            # A picture with fewer references than the batch has room for gets weight 0 in the others.
            weights[slot] = own.weights[number][0] if number < len(own.weights) else 0
            images[slot] = own.images[number][0] if number < len(own.images) else 0
        if self.temporal_weights is not None:
            self.temporal_weights[slot] = 0 if single.temporal_weights is None else single.temporal_weights[0]
        return has_grown

    def _make_room_for_references(self, reference: TemporalReference) -> bool:
        """Gives the whole batch as many references, of weight 0, as one of its pictures has."""
        before = len(self.temporal.images)
        while len(self.temporal.images) < len(reference.images):
            image, weight = reference.images[0], reference.weights[0]
            self.temporal = TemporalReference(
                (*self.temporal.images, image.new_zeros((self.width, *image.shape[1:]))),
                (*self.temporal.weights, weight.new_zeros((self.width, *weight.shape[1:]))),
            )
            if self.temporal_weights is None:
                self.temporal_weights = image.new_zeros(self.width)
        return len(self.temporal.images) > before


class Objective(nn.Module):
    """The objective of one batch: `objective(pixels)` returns its `LossTerms`.

    `pixels` are B×3×H×W, ImageNet-normalised RGB, as the encoder takes them. With `tile`, the encoder sees no more than
    a tile of that side and its margin at a time: the same losses, but for rounding (`_FeatureLosses`).
    """

    def __init__(self, encoder: Encoder, weights: LossWeights, targets: Targets, tile: int | None = None) -> None:
        super().__init__()
        self.encoder = encoder
        self.weights = weights
        self.targets = targets
        self.tile = tile

    def empty_batch(self, width: int) -> "Objective":
        """An objective for `width` pictures of this one's size and style; see `Targets.set_slot`."""
        return Objective(self.encoder, self.weights, self.targets.empty_batch(width), self.tile)

    def with_encoder(self, encoder: Encoder) -> "Objective":
        """The objective of the same pictures by another encoder; it shares the targets."""
        return Objective(encoder, self.weights, self.targets, self.tile)

    def set_temporal_reference(self, reference: TemporalReference, weight: float) -> None:
        """Adds the temporal loss, times `weight`, to the objective of a single picture."""
        self.targets.temporal = reference
        self.targets.temporal_weights = reference.images[0].new_tensor([weight]) if reference.images else None

    def forward(self, pixels: torch.Tensor) -> LossTerms:
        content, style = self._whole_losses(pixels) if self.tile is None else self._tiled_losses(pixels)
        return LossTerms(content, style, self._neighbour_losses(pixels), self._temporal_loss(pixels))

    def _whole_losses(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Weighted content and style loss."""
        weights, features = self.weights, self.encoder(pixels)
        content = self.content_loss(features, pixels)
        moments = {name: moments_of(features[name], weights.statistics, weights.gram) for name in weights.style_layers}
        return content, self.style_loss(moments, pixels)

    def _tiled_losses(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        has_gradient = torch.is_grad_enabled() and pixels.requires_grad
        both, content, style = _FeatureLosses.apply(pixels, self, has_gradient)
        # The gradient is that of the sum; its value is in the terms already.
        return content + (both - both.detach()), style

    def content_loss(
        self, features: Mapping[str, torch.Tensor], pixels: torch.Tensor, part: Tile | None = None
    ) -> torch.Tensor:
        """The weighted content loss, or the share in it of a part of the pictures, whose own features these are."""
        weights = self.weights
        terms = []
        for name, weight in weights.content_layers.items():
            target, positions = self.targets.content[name], None
            if part is not None:
                positions = target[0, 0].numel()
                target = part.place(target, name)
            terms.append(weight * content_loss(features[name], target, weights.content_reduction, positions))
        return weights.content * sum(terms, start=pixels.new_zeros(len(pixels)))

    def style_loss(self, moments: Mapping[str, Moments], pixels: torch.Tensor) -> torch.Tensor:
        """The weighted style loss by the moments of whole pictures."""
        weights = self.weights
        terms = (weight * self.targets.style[name].loss(moments[name]) for name, weight in weights.style_layers.items())
        return weights.style * sum(terms, start=pixels.new_zeros(len(pixels)))

    def _neighbour_losses(self, pixels: torch.Tensor) -> torch.Tensor:
        """Weighted total variation and loss of dots."""
        if pixels[0].numel() < LARGE:
            return self._total_variation(pixels) + self._dot_loss(pixels)
        return in_bands(functools.partial(self._losses_of_rows, _size(pixels)), pixels)

    def _losses_of_rows(self, size: Size, strip: torch.Tensor, start: int, end: int) -> torch.Tensor:
        """The share of rows of a strip in these losses of a picture of a size; see `BandLoss`."""
        weights, (height, width), losses = self.weights, size, []
        images = denormalize(strip) * 255
        if weights.total_variation:
            pixels = strip if weights.total_variation_pixels == "normalized" else images
            below, beside = pixels[:, :, start : end + 1], pixels[:, :, start:end]
            form, rows, columns = weights.total_variation_form, 3 * (height - 1) * width, 3 * height * (width - 1)
            dx, dy = beside[..., 1:] - beside[..., :-1], below[:, :, 1:] - below[:, :, :-1]
            losses.append(weights.total_variation * (variation(dx, form, columns) + variation(dy, form, rows)))
        if weights.dots and min(size) > 2:
            losses.append(weights.dots * dot_loss(images, 3 * (height - 2) * (width - 2)))
        return sum(losses, start=0 * strip.flatten(1)[:, 0])

    def _total_variation(self, pixels: torch.Tensor) -> torch.Tensor:
        weights = self.weights
        if not weights.total_variation:
            return pixels.new_zeros(len(pixels))
        images = pixels if weights.total_variation_pixels == "normalized" else denormalize(pixels) * 255
        return weights.total_variation * total_variation(images, weights.total_variation_form)

    def _dot_loss(self, pixels: torch.Tensor) -> torch.Tensor:
        if not self.weights.dots:
            return pixels.new_zeros(len(pixels))
        return self.weights.dots * dot_loss(denormalize(pixels) * 255)

    def _temporal_loss(self, pixels: torch.Tensor) -> torch.Tensor:
        result, temporal = pixels.new_zeros(len(pixels)), self.targets.temporal
        if self.targets.temporal_weights is not None:
            # In 0–255, as in the program of Ruder et al.
            image = denormalize(pixels) * 255
            for reference, mask in zip(temporal.images, temporal.weights, strict=True):
                result = result + self.targets.temporal_weights * temporal_loss(image, reference * 255, mask)
        return result


class _FeatureLosses(torch.autograd.Function):
    """The sum of content and style loss (B values), and each of them, in tiles; the gradient is that of the sum.

    The style loss is a function of sums over the picture. A first pass gathers them over all tiles; the gradient E of
    the loss by the sums follows. A second pass evaluates each tile again, and differentiates ⟨E, its part of the sums⟩
    plus its share of the content loss by the pixels of the padded tile: what its own features depend on. These
    gradients add up to that of the whole.
    """

    @staticmethod
    def forward(
        ctx: Any, pixels: torch.Tensor, objective: Objective, has_gradient: bool
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        weights, tile = objective.weights, objective.tile
        assert tile is not None
        pixels = pixels.detach()
        moments = _moments(objective.encoder, pixels, weights.style_layers, weights.statistics, weights.gram, tile)
        with torch.enable_grad():
            sums = {name: each.with_gradient() for name, each in moments.items()}
            style = objective.style_loss(sums, pixels)
            inputs = [tensor for each in sums.values() for tensor in each.tensors]
            slopes = torch.autograd.grad(style.sum(), inputs) if inputs and has_gradient else ()
        gradient, content = torch.zeros_like(pixels) if has_gradient else None, pixels.new_zeros(len(pixels))
        for part in _tiles(pixels, tile, objective.encoder):
            content += _add_tile(objective, pixels, part, slopes, gradient)
        ctx.save_for_backward(gradient)
        style = style.detach()
        ctx.mark_non_differentiable(content, style)
        return content + style, content, style

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        (gradient,) = ctx.saved_tensors
        return gradient.mul_(gradients[0].view(-1, 1, 1, 1)), None, None


def _add_tile(
    objective: Objective,
    pixels: torch.Tensor,
    part: Tile,
    slopes: Sequence[torch.Tensor],
    gradient: torch.Tensor | None,
) -> torch.Tensor:
    """The share of a tile in the content loss (B values); adds the gradient of its part to that of the picture."""
    weights, size = objective.weights, _size(pixels)
    with torch.set_grad_enabled(gradient is not None):
        crop = part.crop(pixels).clone().requires_grad_(gradient is not None)
        features = _own_features(objective.encoder, part, crop)
        content = objective.content_loss(features, crop, part)
        if gradient is None:
            return content
        sums = [
            tensor
            for name in weights.style_layers
            for tensor in moments_of(
                features[name], weights.statistics, weights.gram, math.prod(feature_size(size, name))
            ).tensors
        ]
        surrogate = sum(((slope * each).sum() for slope, each in zip(slopes, sums, strict=True)), start=content.sum())
        (own,) = torch.autograd.grad(surrogate, crop)
    part.crop(gradient).add_(own)
    return content.detach()
