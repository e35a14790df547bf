"""What the benchmark of stills measures of a painted picture, beside time and memory.

Pictures are H×W×3 uint8. `dots` and `energy_near_limit` see the picture alone; `style_loss` and `wasserstein` compare
it with the style, `content_distance` with the content. The caller reduces the style to the size at which it was laid
down: none of these functions does.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from impasto.paint import losses
from impasto.paint.encoder import Encoder
from impasto.paint.encoder_weights import EncoderWeights, load_weights
from impasto.paint.objective import LossWeights, style_targets
from impasto.paint.painter import loss_weights
from impasto.paint.statistics import moments_of
from impasto.pictures import normalize, size_of, to_tensor
from impasto.presets import load_settings
from impasto.report.appearance import luma

DOT_LEVELS = 25
"""How far a dot stands out from all eight of its neighbours, in levels of 0 to 255."""

NEAR_LIMIT = 0.42
"""Cycles per pixel from which a spatial frequency counts as near the limit, which is 0.5 along a row."""

HELD_OUT = ("relu2_2", "relu3_3", "relu4_3")
"""Layers of no preset's style loss."""

DIRECTIONS = 128
QUANTILES = 1024
"""Random directions, and values along each, of the sliced Wasserstein distance."""


@dataclass(frozen=True)
class StillMeasures:
    """All measures of one picture; the functions of the same names say what each is."""

    dots: float
    energy_near_limit: float
    content_distance: float
    style_loss: tuple[float, ...]
    """At full size, reduced to a half, and to a quarter."""
    wasserstein: tuple[float, ...]
    """At each layer of `HELD_OUT`."""


def measure_still(result: np.ndarray, content: np.ndarray, style: np.ndarray) -> StillMeasures:
    """All measures of `result`, painted from `content`, which has its size, in `style`."""
    return StillMeasures(
        dots(result),
        energy_near_limit(result),
        content_distance(result, content),
        tuple(style_loss(reduced(result, factor), reduced(style, factor)) for factor in (1, 2, 4)),
        wasserstein(result, style),
    )


def dots(picture: np.ndarray, levels: float = DOT_LEVELS) -> float:
    """Pixels whose luma is at least `levels` above or below that of all eight neighbours, per mille.

    Pixels at the border have fewer neighbours and are not counted.
    """
    values = luma(picture)
    height, width = values.shape
    if min(height, width) < 3:
        return 0.0
    inner = values[1:-1, 1:-1]
    offsets = [(down, right) for down in (0, 1, 2) for right in (0, 1, 2) if (down, right) != (1, 1)]
    around = np.stack([values[down : height - 2 + down, right : width - 2 + right] for down, right in offsets])
    is_bright = inner >= around.max(0) + levels
    is_dark = inner <= around.min(0) - levels
    return 1000 * float((is_bright | is_dark).mean())


def energy_near_limit(picture: np.ndarray, limit: float = NEAR_LIMIT) -> float:
    """Share of the variance of luma at spatial frequencies above `limit` cycles per pixel, per mille.

    The frequency is the length of the vector of both. The picture is faded out to its borders by a Hann window, which
    keeps the jump between opposite borders out of it.
    """
    values = luma(picture)
    window = np.outer(*(_hann(length) for length in values.shape))
    values = (values - (values * window).sum() / window.sum()) * window
    energy = np.abs(np.fft.fft2(values)) ** 2
    vertical, horizontal = (np.fft.fftfreq(length) for length in values.shape)
    is_near = np.hypot(vertical[:, None], horizontal[None, :]) > limit
    total = energy.sum()
    return 1000 * float(energy[is_near].sum() / total) if total > 0 else 0.0


def _hann(length: int) -> np.ndarray:
    """A Hann window whose first zeros lie outside: a picture of one pixel keeps it."""
    return np.hanning(length + 2)[1:-1]


def reduced(picture: np.ndarray, factor: int) -> np.ndarray:
    """The picture reduced by a whole factor: means of squares of pixels. What is left over right and below is cut."""
    height, width = (side // factor * factor for side in size_of(picture))
    squares = picture[:height, :width].reshape(height // factor, factor, width // factor, factor, 3)
    return np.round(squares.mean((1, 3))).astype(np.uint8)


def style_loss(result: np.ndarray, style: np.ndarray) -> float:
    """The style loss of `default` (Gram matrices, max pooling) in fp32; pictures of any sizes, neither is resized."""
    weights = _default_weights()
    layers = tuple(weights.style_layers)
    encoder = _encoder(layers)
    targets = style_targets(encoder, [to_tensor(style)], [1.0], layers, weights.gram)
    terms = [
        weight * targets[name].loss(moments_of(features, weights.statistics, weights.gram)).item()
        for (name, features), weight in zip(_features(result, layers), weights.style_layers.values(), strict=True)
    ]
    return weights.style * sum(terms)


def content_distance(result: np.ndarray, content: np.ndarray) -> float:
    """The content loss of `default` (mean square at relu4_2, max pooling) in fp32; pictures of one size."""
    weights = _default_weights()
    layers = tuple(weights.content_layers)
    targets = dict(_features(content, layers))
    terms = [
        weights.content_layers[name] * losses.content_loss(features, targets[name]).item()
        for name, features in _features(result, layers)
    ]
    return weights.content * sum(terms)


def wasserstein(result: np.ndarray, style: np.ndarray, layers: Sequence[str] = HELD_OUT) -> tuple[float, ...]:
    """The sliced Wasserstein distance of features to the style's, squared, at each of `layers`.

    The features of all positions are projected on fixed random directions; along each, the distance is that of the
    sorted values, at quantiles common to both. It is divided by the style's variance along the directions: 0 is the
    same distribution, 1 is as far away as a single colour at the style's mean.
    """
    distances = []
    for (name, own), (_, target) in zip(_features(result, layers), _features(style, layers), strict=True):
        directions = _directions(own.shape[1], layers.index(name))
        ours, theirs = (_sorted_projections(features, directions) for features in (own, target))
        distances.append(((ours - theirs).square().mean() / theirs.var(1, correction=0).mean()).item())
    return tuple(distances)


def _sorted_projections(features: torch.Tensor, directions: torch.Tensor) -> torch.Tensor:
    """1×C×H×W features along D×C directions, sorted and resampled: D×`QUANTILES`."""
    ordered = (directions @ features[0].flatten(1)).sort(1).values
    # Of pictures of any sizes, with the ends: they are where the distributions of features differ most.
    return functional.interpolate(ordered[None], QUANTILES, mode="linear", align_corners=True)[0]


def _directions(channels: int, seed: int) -> torch.Tensor:
    """`DIRECTIONS` random unit vectors, the same ones always."""
    vectors = torch.randn(DIRECTIONS, channels, generator=torch.Generator().manual_seed(seed))
    return functional.normalize(vectors, dim=1)


@torch.no_grad()
def _features(picture: np.ndarray, layers: Sequence[str]) -> list[tuple[str, torch.Tensor]]:
    features = _encoder(tuple(layers))(normalize(to_tensor(picture)))
    return [(name, features[name]) for name in layers]


@functools.cache
def _encoder(layers: tuple[str, ...]) -> Encoder:
    return Encoder(_weights(), layers)


@functools.cache
def _weights() -> EncoderWeights:
    return load_weights("bundled")


@functools.cache
def _default_weights() -> LossWeights:
    return loss_weights(load_settings("default"))
