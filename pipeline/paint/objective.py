"""The objective of a batch of pictures: the losses of `losses.py`, weighted and summed.

L = α·content + β·style + γ·total variation + temporal loss. `content_targets` and `style_targets` compute what the
losses compare with, once for a content and once for a style. `LossWeights` holds the plain numbers;
`painter.loss_weights` makes it from the settings.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import nn

from ..pictures import denormalize, normalize
from .encoder import Encoder
from .losses import (
    ContentReduction,
    GramNormalization,
    PixelUnit,
    TotalVariationForm,
    content_loss,
    temporal_loss,
    total_variation,
)
from .statistics import Moments, Statistics, StyleTarget, make_target, moments_of


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
) -> dict[str, StyleTarget]:
    """The target of each layer, by the weighted mean of the moments of the styles.

    `styles` are 1×3×h×w images in [0, 1] of any sizes, `blend` their weights, of any sum. The distance to a mean of
    Gram matrices has the same gradient as the weighted sum of the distances to each, at the cost of one.
    """
    total = sum(blend)
    means: dict[str, Moments] = {}
    for image, weight in zip(styles, blend, strict=True):
        features = encoder(normalize(image))
        for name in layers:
            part = moments_of(features[name], statistics, gram).times(weight / total)
            means[name] = means[name].plus(part) if name in means else part
    return {name: make_target(name, moments, statistics, gram) for name, moments in means.items()}


@torch.no_grad()
def content_targets(encoder: Encoder, content: torch.Tensor, layers: Sequence[str]) -> dict[str, torch.Tensor]:
    """Features of the content (B×3×H×W in [0, 1]) at `layers`, B×C×h×w each."""
    features = encoder(normalize(content))
    return {name: features[name] for name in layers}


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
        return Targets(content, self.style, width=width)

    def set_slot(self, slot: int, single: "Targets") -> bool:
        """Gives the picture in a slot the targets of a `single` picture.

        Returns whether there are more tensors than before: until then, all keep their memory.
        """
        for name, target in single.content.items():
            self.content[name][slot] = target[0]
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

    `pixels` are B×3×H×W, ImageNet-normalised RGB, as the encoder takes them.
    """

    def __init__(self, encoder: Encoder, weights: LossWeights, targets: Targets) -> None:
        super().__init__()
        self.encoder = encoder
        self.weights = weights
        self.targets = targets

    def empty_batch(self, width: int) -> "Objective":
        """An objective for `width` pictures of this one's size and style; see `Targets.set_slot`."""
        return Objective(self.encoder, self.weights, self.targets.empty_batch(width))

    def with_encoder(self, encoder: Encoder) -> "Objective":
        """The objective of the same pictures by another encoder; it shares the targets."""
        return Objective(encoder, self.weights, self.targets)

    def set_temporal_reference(self, reference: TemporalReference, weight: float) -> None:
        """Adds the temporal loss, times `weight`, to the objective of a single picture."""
        self.targets.temporal = reference
        self.targets.temporal_weights = reference.images[0].new_tensor([weight]) if reference.images else None

    def forward(self, pixels: torch.Tensor) -> LossTerms:
        features = self.encoder(pixels)
        return LossTerms(
            self.weights.content * self._content_loss(features, pixels),
            self.weights.style * self._style_loss(features, pixels),
            self._total_variation(pixels),
            self._temporal_loss(pixels),
        )

    def _content_loss(self, features: Mapping[str, torch.Tensor], pixels: torch.Tensor) -> torch.Tensor:
        terms = (
            weight * content_loss(features[name], self.targets.content[name], self.weights.content_reduction)
            for name, weight in self.weights.content_layers.items()
        )
        return sum(terms, start=pixels.new_zeros(len(pixels)))

    def _style_loss(self, features: Mapping[str, torch.Tensor], pixels: torch.Tensor) -> torch.Tensor:
        weights = self.weights
        terms = (
            weight * self.targets.style[name].loss(moments_of(features[name], weights.statistics, weights.gram))
            for name, weight in weights.style_layers.items()
        )
        return sum(terms, start=pixels.new_zeros(len(pixels)))

    def _total_variation(self, pixels: torch.Tensor) -> torch.Tensor:
        weights = self.weights
        if not weights.total_variation:
            return pixels.new_zeros(len(pixels))
        images = pixels if weights.total_variation_pixels == "normalized" else denormalize(pixels) * 255
        return weights.total_variation * total_variation(images, weights.total_variation_form)

    def _temporal_loss(self, pixels: torch.Tensor) -> torch.Tensor:
        result, temporal = pixels.new_zeros(len(pixels)), self.targets.temporal
        if self.targets.temporal_weights is not None:
            # In 0–255, as in the program of Ruder et al.
            image = denormalize(pixels) * 255
            for reference, mask in zip(temporal.images, temporal.weights, strict=True):
                result = result + self.targets.temporal_weights * temporal_loss(image, reference * 255, mask)
        return result
