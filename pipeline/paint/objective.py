"""TODO: paint.objective."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

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
    gram_matrix,
    style_loss,
    temporal_loss,
    total_variation,
)


@dataclass(frozen=True)
class TemporalReference:
    """Earlier frames that a picture is held to: 1×3×H×W images in [0, 1], each with its 1×1×H×W weight."""

    images: tuple[torch.Tensor, ...]
    weights: tuple[torch.Tensor, ...]


@dataclass(frozen=True)
class LossTerms:
    """The weighted losses, B values each; their sum is what is minimised."""

    content: torch.Tensor
    style: torch.Tensor
    total_variation: torch.Tensor
    temporal: torch.Tensor

    @property
    def total(self) -> torch.Tensor:
        return self.content + self.style + self.total_variation + self.temporal


@dataclass(frozen=True)
class LossWeights:
    """The plain numbers that decide the look; `pipeline.config` documents each."""

    content: float
    content_layers: Mapping[str, float]
    content_reduction: ContentReduction
    style: float
    style_layers: Mapping[str, float]
    gram: GramNormalization
    total_variation: float
    total_variation_form: TotalVariationForm
    total_variation_pixels: PixelUnit

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
) -> dict[str, torch.Tensor]:
    """Gram matrices (1×C×C a layer) that the result is to have: the blend of those of the styles.

    `styles`: 1×3×h×w images in [0, 1], of any sizes; `blend`: their weights, which are brought to sum 1.
    The mean of Gram matrices has the gradient of the weighted sum of the distances to each, at the
    cost of one.
    """
    total = sum(blend)
    targets: dict[str, torch.Tensor] = {}
    for image, weight in zip(styles, blend, strict=True):
        features = encoder(normalize(image))
        for name in layers:
            part = gram_matrix(features[name], gram) * (weight / total)
            targets[name] = targets[name] + part if name in targets else part
    return targets


@torch.no_grad()
def content_targets(encoder: Encoder, content: torch.Tensor, layers: Sequence[str]) -> dict[str, torch.Tensor]:
    """Features of the content (B×3×H×W in [0, 1]) at `layers`."""
    features = encoder(normalize(content))
    return {name: features[name] for name in layers}


class Objective(nn.Module):
    """What is minimised for one batch: `objective(pixels)` gives its `LossTerms`.

    `content` (B×C×h×w a layer) and `style` (1×C×C a layer) are targets from `content_targets` and
    `style_targets`. `pixels` are B×3×H×W, ImageNet-normalised RGB, as the encoder takes them.
    """

    def __init__(
        self,
        encoder: Encoder,
        weights: LossWeights,
        content: Mapping[str, torch.Tensor],
        style: Mapping[str, torch.Tensor],
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.weights = weights
        self.content = dict(content)
        self.style = dict(style)
        self._width = 1
        self._held_to = TemporalReference((), ())
        self._held_weights: torch.Tensor | None = None

    def hold_to(self, reference: TemporalReference, weight: float) -> None:
        """Adds `weight` times the temporal loss to what is minimised, for a batch of one picture."""
        self._held_to = reference
        self._held_weights = reference.images[0].new_tensor([weight]) if reference.images else None

    def widened(self, width: int) -> "Objective":
        """An objective for `width` pictures of the same size, which this one is the pattern of; see `put`."""
        content = {name: target.new_zeros((width, *target.shape[1:])) for name, target in self.content.items()}
        wide = Objective(self.encoder, self.weights, content, self.style)
        wide._width = width
        return wide

    def put(self, place: int, single: "Objective") -> None:
        """Makes the picture in a place of the batch one with the objective of a `single` picture."""
        for name, target in single.content.items():
            self.content[name][place] = target[0]
        width = self._width
        mine, new = self._held_to, single._held_to
        while len(mine.images) < len(new.images):
            image, weight = new.images[0], new.weights[0]
            mine = TemporalReference(
                (*mine.images, image.new_zeros((width, *image.shape[1:]))),
                (*mine.weights, weight.new_zeros((width, *weight.shape[1:]))),
            )
            if self._held_weights is None:
                self._held_weights = image.new_zeros(width)
        self._held_to = mine
        for number, (images, weights) in enumerate(zip(mine.images, mine.weights, strict=True)):
            # A weight of 0 is no reference.
            weights[place] = new.weights[number][0] if number < len(new.weights) else 0
            images[place] = new.images[number][0] if number < len(new.images) else 0
        if self._held_weights is not None:
            self._held_weights[place] = 0 if single._held_weights is None else single._held_weights[0]

    def forward(self, pixels: torch.Tensor) -> LossTerms:
        weights, wanted = self.weights, self.content
        features = self.encoder(pixels)
        zero = pixels.new_zeros(len(pixels))
        content = sum(
            (
                weight * content_loss(features[name], wanted[name], weights.content_reduction)
                for name, weight in weights.content_layers.items()
            ),
            start=zero,
        )
        style = sum(
            (
                weight * style_loss(gram_matrix(features[name], weights.gram), self.style[name])
                for name, weight in weights.style_layers.items()
            ),
            start=zero,
        )
        variation = zero
        if weights.total_variation:
            unit = pixels if weights.total_variation_pixels == "normalized" else denormalize(pixels) * 255
            variation = weights.total_variation * total_variation(unit, weights.total_variation_form)
        held = zero
        if self._held_weights is not None:
            # In levels of 255, as the authors' program has it.
            image = denormalize(pixels) * 255
            for reference, mask in zip(self._held_to.images, self._held_to.weights, strict=True):
                held = held + self._held_weights * temporal_loss(image, reference * 255, mask)
        return LossTerms(weights.content * content, weights.style * style, variation, held)
