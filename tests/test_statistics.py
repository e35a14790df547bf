"""The statistics of style against values worked out by hand, and a second computation in double precision."""

from collections.abc import Sequence

import pytest
import torch

from impasto.paint.encoder import Encoder
from impasto.paint.gaussians import cross_trace, matrix_roots, orthogonal_factor
from impasto.paint.objective import Objective, Targets, content_targets, style_targets
from impasto.paint.statistics import (
    GramMomentsTarget,
    Moments,
    Statistics,
    WassersteinTarget,
    make_target,
    moments_of,
)
from tests.support.seeds import torch_stream
from tests.test_losses import make_weights, small_weights, uniform

ALL: Sequence[Statistics] = ("gram", "gram_moments", "wasserstein")


def features(channels: int, positions: int, seed: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """1×C×1×N features like those of a layer: not negative, correlated, and of variances that fall by a thousand."""
    stream = torch_stream(seed)
    scales = torch.arange(1, channels + 1, dtype=torch.float64) ** -0.5 * 30
    mixed = torch.randn(channels, channels, generator=stream, dtype=torch.float64) / channels**0.5
    plain = torch.randn(channels, positions, generator=stream, dtype=torch.float64)
    return ((mixed @ (scales.unsqueeze(1) * plain)).relu() + 1).view(1, channels, 1, positions).to(dtype)


def eigen_root(matrix: torch.Tensor) -> torch.Tensor:
    values, vectors = torch.linalg.eigh(matrix.double())
    return (vectors * values.clamp(min=0).sqrt()) @ vectors.T


def test_the_roots_are_those_of_the_spectrum() -> None:
    matrix = (features(40, 60, 1)[0, :, 0] @ features(40, 60, 1)[0, :, 0].T + torch.eye(40)).unsqueeze(0)
    root, inverse = matrix_roots(matrix)
    assert torch.allclose(root[0].double(), eigen_root(matrix[0]), rtol=0, atol=1e-5 * float(root.max()))
    assert torch.allclose((inverse @ root)[0], torch.eye(40), rtol=0, atol=1e-4)
    turned = orthogonal_factor(root @ matrix_roots(matrix.flip(1, 2))[0])
    assert torch.allclose((turned @ turned.mT)[0], torch.eye(40), rtol=0, atol=1e-5)


def test_the_trace_of_the_cross_term_has_the_gradient_of_its_differences() -> None:
    covariance = torch.cov(features(5, 9, 1, torch.float64)[0, :, 0]) + torch.eye(5)
    other = torch.cov(features(5, 9, 2, torch.float64)[0, :, 0]) + torch.eye(5)
    root = matrix_roots(covariance.unsqueeze(0))[0]
    both = torch.stack((other, other.flip(0, 1))).requires_grad_(True)
    assert torch.autograd.gradcheck(lambda it: cross_trace((it + it.mT) / 2, root), both)
    values = torch.linalg.eigvalsh(root[0] @ other @ root[0]).sqrt().sum()
    assert cross_trace(both, root)[0].item() == pytest.approx(values.item(), rel=1e-9)


def test_the_distance_of_gaussians_of_one_shape() -> None:
    """Of N(μ, s²I) and N(0, I): |μ|² + C·(s − 1)², but for the ridge of a tenth of the target's variance."""
    means, ridge, scale = torch.tensor([[3.0, 4.0]]), 0.1, 2.0
    target = make_target("relu5_1", Moments(torch.eye(2).unsqueeze(0), torch.zeros(1, 2)), "wasserstein", "chw")
    assert isinstance(target, WassersteinTarget)
    products = scale**2 * torch.eye(2).unsqueeze(0) + means.unsqueeze(2) * means.unsqueeze(1)
    expected = 25 + 2 * ((scale**2 + ridge) ** 0.5 - (1 + ridge) ** 0.5) ** 2
    assert target.loss(Moments(products, means)).item() == pytest.approx(target.weight * expected, rel=1e-5)


@pytest.mark.parametrize("positions", [20, 200], ids=["singular", "regular"])
def test_the_wasserstein_distance_and_its_gradient_in_double_precision(positions: int) -> None:
    """By the spectrum, with autograd, where our single precision has neither."""
    painted, style = features(64, positions, 1), features(64, positions + 7, 2)
    target = make_target("relu1_1", moments_of(style, "wasserstein", "chw"), "wasserstein", "chw")
    assert isinstance(target, WassersteinTarget)
    ours = painted.clone().requires_grad_(True)
    loss = target.loss(moments_of(ours, "wasserstein", "chw"))
    (gradient,) = torch.autograd.grad(loss.sum(), ours)

    exact = painted.double().requires_grad_(True)
    flat, other = exact[0, :, 0], style.double()[0, :, 0]
    ridge = float(target.ridge) * torch.eye(64, dtype=torch.float64)
    assert float(target.ridge) == pytest.approx(0.1 * torch.cov(other, correction=0).diagonal().mean().item(), rel=1e-4)
    covariance = torch.cov(flat, correction=0) + ridge
    root = eigen_root(torch.cov(other, correction=0) + ridge)
    distance = covariance.trace() + (root @ root).trace()
    distance = distance - 2 * torch.linalg.eigvalsh(root @ covariance @ root).sqrt().sum()
    expected = target.weight * (distance + (flat.mean(1) - other.mean(1)).square().sum())
    (expected_gradient,) = torch.autograd.grad(expected, exact)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-4)
    assert (gradient - expected_gradient).norm() < 1e-4 * expected_gradient.norm()


def test_means_and_deviations_are_compared_in_units_of_the_styles() -> None:
    style = features(6, 50, 1, torch.float64)
    target = make_target("relu1_1", moments_of(style, "gram_moments", "chw"), "gram_moments", "chw")
    assert isinstance(target, GramMomentsTarget)
    deviations = style[0, :, 0].std(1, correction=0)
    assert torch.allclose(target.deviations[0], deviations, rtol=1e-3)
    # Twice the features: Gram matrices are 4 times as large, means and deviations twice.
    loss = target.loss(moments_of(2 * style, "gram_moments", "chw"))
    unit = target.gram.square().mean().item()
    assert loss.item() == pytest.approx(unit * (9 + 2 * 1 + 3 * 1), rel=1e-3)


@pytest.mark.parametrize("statistics", ALL)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_style_is_no_distance_from_itself_and_flat_features_have_a_gradient(
    statistics: Statistics, dtype: torch.dtype
) -> None:
    style = features(16, 90, 1, dtype)
    target = make_target("relu3_1", moments_of(style, statistics, "chw"), statistics, "chw")
    own, far = (target.loss(moments_of(it, statistics, "chw")).item() for it in (style, style.flip(1)))
    assert abs(own) < 1e-5 * far
    for flat in (torch.zeros_like(style), torch.ones_like(style)):
        for of in (target, make_target("relu3_1", moments_of(flat, statistics, "chw"), statistics, "chw")):
            pixels = flat.clone().requires_grad_(True)
            loss = of.loss(moments_of(pixels, statistics, "chw"))
            (gradient,) = torch.autograd.grad(loss.sum(), pixels)
            assert torch.isfinite(loss).all() and torch.isfinite(gradient).all()


@pytest.mark.parametrize("statistics", ALL)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_moments_of_parts_add_up_to_those_of_the_whole(statistics: Statistics, layout: torch.memory_format) -> None:
    whole = uniform(2, 5, 6, 8).contiguous(memory_format=layout).requires_grad_(True)
    expected = moments_of(whole, statistics, "chw")
    parts = [moments_of(part, statistics, "chw", 48) for part in whole.split((3, 5), 3)]
    total = parts[0].plus(parts[1])
    assert torch.allclose(total.products, expected.products)
    if statistics == "gram":
        assert total.means is None and expected.means is None
        return
    assert total.means is not None and torch.allclose(total.means, whole.mean((2, 3)))
    weights = uniform(2, 5, seed=1), uniform(2, 5, 5, seed=2)
    (ours,) = torch.autograd.grad((total.means * weights[0]).sum() + (total.products * weights[1]).sum(), whole)
    products = torch.einsum("bihw,bjhw->bij", whole, whole) / (48 if statistics == "wasserstein" else 240)
    (theirs,) = torch.autograd.grad((whole.mean((2, 3)) * weights[0]).sum() + (products * weights[1]).sum(), whole)
    assert torch.allclose(ours, theirs)


@pytest.mark.parametrize("statistics", ["gram_moments", "wasserstein"])
def test_the_style_loss_of_a_picture_does_not_depend_on_its_batch(statistics: Statistics) -> None:
    """Nor does a blend depend on the sum of its weights."""
    weights = make_weights(statistics=statistics)
    encoder = Encoder(small_weights(), weights.layers).double()
    contents, images = uniform(3, 3, 10, 8, seed=1), uniform(3, 3, 10, 8, seed=3)
    styles, layers = [uniform(1, 3, 9, 8, seed=2), uniform(1, 3, 8, 8, seed=4) ** 3], tuple(weights.style_layers)

    def losses(images: torch.Tensor, blend: list[float]) -> torch.Tensor:
        content = content_targets(encoder, contents[: len(images)], tuple(weights.content_layers))
        style = style_targets(encoder, styles, blend, layers, weights.gram, statistics)
        return Objective(encoder, weights, Targets(content, style))(images).style

    together = losses(images, [1.0, 3.0])
    assert torch.allclose(losses(images[:1], [1.0, 3.0]), together[:1], rtol=1e-9)
    assert torch.allclose(losses(images, [2.0, 6.0]), together, rtol=1e-9)
    assert not torch.allclose(losses(images, [3.0, 1.0]), together, rtol=1e-2)
