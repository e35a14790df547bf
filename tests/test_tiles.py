"""Tiles: the losses of a picture, and their gradient, are those of the whole, whatever it is cut into."""

import itertools
import math

import numpy as np
import pytest
import torch

from impasto.choices import Padding, Pooling, Statistics
from impasto.layers import LAYERS, reach, stride
from impasto.paint.batch import paint_one
from impasto.paint.encoder import Encoder
from impasto.paint.encoder_weights import EncoderWeights
from impasto.paint.objective import LossWeights, Objective, Targets, content_targets, style_targets
from impasto.paint.painter import Painter
from impasto.paint.stopping import StopRule
from impasto.paint.task import FrameTask
from impasto.paint.tiles import margin_of, tiles_of
from impasto.pictures import normalize
from impasto.presets import load_settings
from tests.test_losses import make_weights, small_weights, uniform

DEEP = frozenset({"relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu4_2", "relu5_1"})


@pytest.mark.parametrize("layers", [DEEP, frozenset({"relu1_1"}), frozenset({"relu3_1", "pool2"})])
@pytest.mark.parametrize(("size", "side"), [((100, 333), 64), ((64, 64), 64), ((17, 16), 16), ((3024, 4032), 512)])
def test_every_pixel_and_feature_belongs_to_one_tile(layers: frozenset[str], size: tuple[int, int], side: int) -> None:
    height, width = size
    tiles, margin = tiles_of(size, side, layers), margin_of(layers)
    counts = torch.zeros(1, 1, height, width, dtype=torch.int32)
    features = {name: torch.zeros(1, 1, height // stride(name), width // stride(name)) for name in layers}
    for tile in tiles:
        top, left, bottom, right = tile.own
        assert bottom - top <= side and right - left <= side
        counts[..., top:bottom, left:right] += 1
        assert tile.padded == (
            max(0, top - margin), max(0, left - margin), min(height, bottom + margin), min(width, right + margin)
        )  # fmt: skip
        assert all(start % max(map(stride, layers)) == 0 for start in tile.padded[:2])
        for name, of_whole in features.items():
            padded_height, padded_width = tile.crop(counts).shape[-2:]
            of_tile = torch.ones(1, 1, padded_height // stride(name), padded_width // stride(name))
            tile.place(of_whole, name).add_(tile.own_features(of_tile, name))
    assert (counts == 1).all() and all((each == 1).all() for each in features.values())
    assert len(tiles) == math.prod(math.ceil(length / side) for length in size)


@pytest.mark.parametrize("layer", ["relu1_1", "conv2_2", "pool2", "relu3_1"])
def test_features_see_no_further_than_their_reach(layer: str) -> None:
    """By the gradient of one feature: it is 0 beyond, and not in the last row and column within."""
    encoder = Encoder(small_weights(5), (layer,), "average").double()
    step, pixels = stride(layer), uniform(1, 3, 64, 64).requires_grad_(True)
    place = 32 // step
    (gradient,) = torch.autograd.grad(encoder(pixels)[layer][0, :, place, place].sum(), pixels)
    seen = gradient[0].abs().sum(0).nonzero()
    assert seen.min().item() == 32 - reach(layer) and seen.max().item() == 32 + step + reach(layer) - 1


def test_the_reach_of_the_deepest_layers() -> None:
    assert reach("relu5_1") == 70 and margin_of(DEEP) == 80
    assert margin_of(["relu1_1"]) == 1
    assert all(reach(before) <= reach(after) for before, after in itertools.pairwise(LAYERS))


def losses_and_gradient(objective: Objective, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    pixels = normalize(images).requires_grad_(True)
    terms = objective(pixels)
    (gradient,) = torch.autograd.grad(terms.total.sum(), pixels)
    with torch.no_grad():
        again = objective(pixels)
    values = torch.stack((terms.content, terms.style, terms.total_variation)).detach()
    assert torch.allclose(torch.stack((again.content, again.style, again.total_variation)), values, rtol=1e-6)
    return values, gradient


def objectives(
    encoder: Encoder, weights: LossWeights, content: torch.Tensor, styles: list[torch.Tensor], tile: int
) -> tuple[Objective, Objective]:
    """That of the whole, and that of tiles of a side, whose targets are computed in tiles as well."""
    each = []
    for side in (None, tile):
        style = style_targets(
            encoder, styles, [1.0, 2.0], tuple(weights.style_layers), weights.gram, weights.statistics, side
        )
        targets = Targets(content_targets(encoder, content, tuple(weights.content_layers), side), style)
        each.append(Objective(encoder, weights, targets, side))
    return each[0], each[1]


@pytest.mark.parametrize("statistics", ["gram", "gram_moments", "wasserstein"])
@pytest.mark.parametrize(
    ("pooling", "padding", "reduction", "size"),
    [
        ("max", "zeros", "mean", (110, 83)),
        ("average", "replicate", "half_sum", (97, 64)),
        ("max", "replicate", "mean", (64, 81)),
    ],
)
def test_losses_and_gradients_of_tiles_are_those_of_the_whole(
    statistics: Statistics, pooling: Pooling, padding: Padding, reduction: str, size: tuple[int, int]
) -> None:
    """In double precision: nothing is left of the tiles, at no border. Sizes are no multiples of the stride."""
    weights = make_weights(
        statistics=statistics,
        content_reduction=reduction,
        content_layers={"relu3_1": 1.0, "pool1": 0.5},
        style_layers={"relu1_1": 1.0, "conv2_2": 0.7, "relu3_1": 2.0},
    )
    encoder = Encoder(small_weights(5), weights.layers, pooling, padding).double()
    styles = [uniform(1, 3, 70, 45, seed=2), uniform(1, 3, 31, 90, seed=3) ** 2]
    whole, tiled = objectives(encoder, weights, uniform(1, 3, *size, seed=1), styles, 32)
    for name, target in whole.targets.content.items():
        assert torch.allclose(tiled.targets.content[name], target, rtol=0, atol=1e-12)
    image = uniform(1, 3, *size, seed=4)
    (values, gradient), (tiled_values, tiled_gradient) = (losses_and_gradient(it, image) for it in (whole, tiled))
    assert torch.allclose(tiled_values, values, rtol=1e-9)
    assert (tiled_gradient - gradient).abs().max() < 1e-9 * gradient.abs().max()


def test_a_margin_smaller_than_the_reach_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """So the test above would see one that is too small."""
    weights = make_weights(content_layers={"relu3_1": 1.0}, style_layers={"relu3_1": 1.0})
    encoder = Encoder(small_weights(5), weights.layers).double()
    styles = [uniform(1, 3, 32, 32, seed=2), uniform(1, 3, 32, 32, seed=3)]
    monkeypatch.setattr("impasto.paint.tiles.margin_of", lambda _: 8)  # The reach is 10.
    tiles_of.cache_clear()
    whole, tiled = objectives(encoder, weights, uniform(1, 3, 64, 64, seed=1), styles, 32)
    image = uniform(1, 3, 64, 64, seed=4)
    (_, gradient), (_, tiled_gradient) = (losses_and_gradient(it, image) for it in (whole, tiled))
    tiles_of.cache_clear()
    assert (tiled_gradient - gradient).abs().max() > 1e-6 * gradient.abs().max()


@pytest.mark.parametrize(
    ("dtype", "statistics", "tolerance"),
    [
        (torch.float32, "gram", 1e-5),
        (torch.float32, "gram_moments", 1e-5),
        (torch.float32, "wasserstein", 1e-5),
        (torch.bfloat16, "gram", 2e-2),
    ],
)
def test_tiles_in_single_precision_and_bf16(
    dtype: torch.dtype, statistics: Statistics, tolerance: float, weights: EncoderWeights
) -> None:
    """With all layers of the network. bf16 rounds what a tile adds to another's pixels by itself."""
    numbers = make_weights(
        statistics=statistics,
        content_layers={"relu4_2": 1.0},
        style_layers={f"relu{block}_1": 1.0 for block in range(1, 6)},
        total_variation=0.0,
    )
    encoder = Encoder(weights, numbers.layers)
    styles = [uniform(1, 3, 64, 48, seed=2, dtype=torch.float32), uniform(1, 3, 50, 64, seed=3, dtype=torch.float32)]
    content, image = (uniform(1, 3, 144, 72, seed=seed, dtype=torch.float32) for seed in (1, 4))
    pair = objectives(encoder, numbers, content, styles, 48)
    if dtype == torch.bfloat16:
        fast = Encoder(weights, numbers.layers, dtype=dtype)
        pair = pair[0].with_encoder(fast), pair[1].with_encoder(fast)
    (values, gradient), (tiled_values, tiled_gradient) = (losses_and_gradient(it, image) for it in pair)
    assert torch.allclose(tiled_values, values, rtol=tolerance)
    assert (tiled_gradient - gradient).norm() < tolerance * gradient.norm()


def test_a_picture_painted_in_tiles_is_that_of_the_whole(weights: EncoderWeights) -> None:
    """After a few iterations, which rounding does not change, and measured in tiles as well."""
    stream = np.random.default_rng(5)
    content, style = (stream.integers(0, 256, (*size, 3), np.uint8) for size in ((72, 90), (64, 48)))
    settings = load_settings("default", ["precision=fp32"])
    task = FrameTask(0, content, "content", StopRule(3))
    painters = [
        Painter(settings, weights, [style], [1.0], torch.device("cpu"), tiles=tiles) for tiles in (None, {(72, 90): 32})
    ]
    whole, tiled = (paint_one(painter, task) for painter in painters)
    assert np.abs(whole.image.astype(int) - tiled.image).max() <= 1
    assert tiled.losses.objective == pytest.approx(whole.losses.objective, rel=1e-3)
    measured = [painter.measure(whole.image, content) for painter in painters]
    assert measured[1].objective == pytest.approx(measured[0].objective, rel=1e-5)
