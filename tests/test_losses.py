"""The losses against values worked out by hand, second computations and finite differences."""

from collections.abc import Mapping

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from impasto.layers import CHANNELS_PER_BLOCK, CONVOLUTIONS
from impasto.paint.encoder import Encoder
from impasto.paint.encoder_weights import EncoderWeights
from impasto.paint.losses import content_loss, dot_loss, gram_matrix, style_loss, temporal_loss, total_variation
from impasto.paint.objective import (
    LossTerms,
    LossWeights,
    Objective,
    Targets,
    TemporalReference,
    content_targets,
    style_targets,
)
from impasto.pictures import normalize
from tests.support.seeds import torch_stream

FORMS = ("absolute_sum", "absolute_mean", "squared_sum")


def uniform(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.rand(*shape, generator=torch_stream(seed), dtype=dtype)


def small_weights(depth: int = 3) -> EncoderWeights:
    """Random weights of the first `depth` convolutions that keep the scale of the features; float64."""
    convolutions: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}
    previous = 3
    for seed, name in enumerate(CONVOLUTIONS[:depth]):
        channels = CHANNELS_PER_BLOCK[int(name[4]) - 1]
        weight = (uniform(channels, previous, 3, 3, seed=seed) - 0.5) * (2 / previous**0.5)
        convolutions[name] = (weight, (uniform(channels, seed=seed + 100) - 0.5) / 5)
        previous = channels
    return EncoderWeights(convolutions, (0.0, 0.0, 0.0), "made", "0")


def make_weights(**changes: object) -> LossWeights:
    values: dict[str, object] = {
        "content": 3.0,
        "content_layers": {"relu2_1": 1.0, "conv1_2": 0.5},
        "content_reduction": "mean",
        "style": 40.0,
        "style_layers": {"relu1_1": 1.0, "relu2_1": 0.7},
        "gram": "chw",
        "total_variation": 0.001,
        "total_variation_form": "squared_sum",
        "total_variation_pixels": "byte",
        "dots": 0.0,
    }
    return LossWeights(**(values | changes))  # type: ignore[arg-type]


def make_objective(weights: LossWeights, contents: torch.Tensor, styles: list[torch.Tensor]) -> Objective:
    encoder = Encoder(small_weights(), weights.layers).to(contents.dtype)
    content = content_targets(encoder, contents, tuple(weights.content_layers))
    style = style_targets(encoder, styles, [1.0] * len(styles), tuple(weights.style_layers), weights.gram)
    return Objective(encoder, weights, Targets(content, style))


# --- total variation --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("unit", [1.0, 255.0])
def test_the_total_variation_of_a_checkerboard(unit: float) -> None:
    height, width = 6, 9
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    board = ((rows + columns) % 2).double().expand(1, 3, height, width) * unit
    pairs = 3 * (height * (width - 1) + (height - 1) * width)  # every pair of neighbours differs by one unit
    assert total_variation(board, "absolute_sum").item() == pytest.approx(pairs * unit)
    assert total_variation(board, "absolute_mean").item() == pytest.approx(unit)
    assert total_variation(board, "squared_sum").item() == pytest.approx(pairs * unit**2 / 2)


def test_the_total_variation_of_a_ramp() -> None:
    height, width, across, down = 5, 7, 0.25, -0.5
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    ramp = (across * columns + down * rows).double().expand(1, 3, height, width)
    horizontal, vertical = 3 * height * (width - 1), 3 * (height - 1) * width
    assert total_variation(ramp, "absolute_sum").item() == pytest.approx(0.25 * horizontal + 0.5 * vertical)
    assert total_variation(ramp, "absolute_mean").item() == pytest.approx((0.25 + 0.5) / 2)
    assert total_variation(ramp, "squared_sum").item() == pytest.approx((0.0625 * horizontal + 0.25 * vertical) / 2)


@pytest.mark.parametrize("form", FORMS)
def test_a_flat_picture_has_no_total_variation(form: str) -> None:
    assert total_variation(torch.full((2, 3, 4, 4), 0.3), form).tolist() == [0, 0]  # type: ignore[arg-type]


@pytest.mark.parametrize("form", FORMS)
def test_a_picture_of_one_row_or_column_has_a_total_variation(form: str) -> None:
    """Without vertical neighbours their mean difference is 0, not 0/0."""
    row = torch.tensor([0.0, 1.0, 0.0]).expand(1, 3, 1, 3)
    expected = {"absolute_sum": 6.0, "absolute_mean": 0.5, "squared_sum": 3.0}[form]
    assert total_variation(row, form).item() == expected  # type: ignore[arg-type]
    assert total_variation(row.transpose(2, 3), form).item() == expected  # type: ignore[arg-type]


def test_the_dots_of_a_picture_are_single_values_above_or_below_all_eight_neighbours() -> None:
    flat = torch.full((1, 3, 7, 9), 0.5)
    bright, dark, line, pair = (flat.clone() for _ in range(4))
    bright[0, 1, 3, 4] += 0.25
    dark[0, 2, 1, 1] -= 0.5
    line[0, :, 3] += 0.25
    pair[0, :, 3, 4] += 0.25
    pair[0, :, 4, 5] += 0.25
    border = flat.clone()
    border[0, :, 0, 4] += 0.25
    values = 3 * 5 * 7
    expected = [0, 0.25**2 / values, 0.5**2 / values, 0, 0, 0]
    assert dot_loss(torch.cat((flat, bright, dark, line, pair, border))).tolist() == pytest.approx(expected)


def test_the_dots_of_noise_are_those_of_a_search_of_every_neighbourhood() -> None:
    image = uniform(1, 3, 8, 9, seed=5)
    values = []
    for channel in image[0]:
        for row in range(1, 7):
            for column in range(1, 8):
                around = channel[row - 1 : row + 2, column - 1 : column + 2].flatten()
                others = torch.cat((around[:4], around[5:]))
                value = around[4]
                values.append(max(value - others.max(), others.min() - value, value * 0) ** 2)
    assert dot_loss(image).item() == pytest.approx(torch.stack(values).mean().item(), rel=1e-12)


def test_a_picture_without_inner_pixels_has_no_dots() -> None:
    assert dot_loss(uniform(2, 3, 2, 9)).tolist() == [0, 0]
    assert dot_loss(uniform(2, 3, 1, 1)).tolist() == [0, 0]


# --- content and style ------------------------------------------------------------------------------------------------


def test_the_content_loss_of_known_features() -> None:
    features = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]], [[[0.0, 0.0], [0.0, 0.0]]]])
    target = torch.tensor([[[[1.0, 0.0], [0.0, 4.0]]], [[[2.0, 0.0], [0.0, 0.0]]]])
    assert content_loss(features, target).tolist() == [13 / 4, 4 / 4]
    assert content_loss(features, target, "half_sum").tolist() == [13 / 2, 4 / 2]


def test_the_gram_matrix_of_known_features() -> None:
    features = torch.tensor([[[[1.0, 2.0]], [[3.0, -1.0]]]])  # two channels at two positions
    products = torch.tensor([[5.0, 1.0], [1.0, 10.0]])
    assert torch.equal(gram_matrix(features, "hw")[0], products / 2)
    assert torch.equal(gram_matrix(features, "chw")[0], products / 4)


@settings(max_examples=30)
@given(
    batch=st.integers(1, 3), channels=st.integers(1, 6), height=st.integers(1, 6), width=st.integers(1, 6),
    seed=st.integers(0, 999),
)  # fmt: skip
def test_gram_matrices_are_symmetric_and_positive_semidefinite(
    batch: int, channels: int, height: int, width: int, seed: int
) -> None:
    features = uniform(batch, channels, height, width, seed=seed) - 0.5
    gram = gram_matrix(features, "hw")
    assert gram.shape == (batch, channels, channels)
    assert torch.allclose(gram, gram.transpose(1, 2), rtol=0, atol=1e-15)
    assert torch.linalg.eigvalsh(gram).min() > -1e-14
    # The trace is the mean energy of a position.
    energy = features.square().sum((1, 2, 3)) / (height * width)
    assert torch.allclose(gram.diagonal(dim1=1, dim2=2).sum(1), energy)
    # The order of positions does not matter.
    order = torch.randperm(height * width, generator=torch_stream(seed))
    shuffled = features.flatten(2)[:, :, order].reshape_as(features)
    assert torch.allclose(gram_matrix(shuffled, "hw"), gram)


def test_gram_matrices_of_pictures_tiled_twice_are_the_same() -> None:
    features = uniform(1, 4, 3, 5)
    for form in ("hw", "chw"):
        assert torch.allclose(gram_matrix(features.repeat(1, 1, 2, 3), form), gram_matrix(features, form))  # type: ignore[arg-type]


def test_a_quarter_of_the_style_loss_is_the_papers_formula() -> None:
    """Gatys et al. 2016, eqs. 3 and 4, in loops: G_ij = Σ_k F_ik F_jk, E = Σ (G − A)² / (4 N² M²)."""
    painted, style = uniform(1, 3, 2, 4, seed=1), uniform(1, 3, 2, 4, seed=2)
    count, positions = 3, 8
    total = 0.0
    for i in range(count):
        for j in range(count):
            ours = sum(float(painted[0, i].flatten()[k] * painted[0, j].flatten()[k]) for k in range(positions))
            theirs = sum(float(style[0, i].flatten()[k] * style[0, j].flatten()[k]) for k in range(positions))
            total += (ours - theirs) ** 2
    expected = total / (4 * count**2 * positions**2)
    loss = 0.25 * style_loss(gram_matrix(painted, "hw"), gram_matrix(style, "hw"))
    assert loss.item() == pytest.approx(expected, rel=1e-12)


def test_a_blend_of_styles_has_the_gradient_of_the_sum_of_the_losses() -> None:
    """Σ w‖G − Aᵢ‖² and ‖G − Σ w Aᵢ‖² differ by what does not depend on G, when the weights sum to 1."""
    weights = make_weights(content=0.0, total_variation=0.0)
    encoder = Encoder(small_weights(), weights.layers).double()
    styles = [uniform(1, 3, 12, 8, seed=1), uniform(1, 3, 9, 16, seed=2) ** 3, uniform(1, 3, 8, 8, seed=3) / 2]
    blend = [3.0, 1.0, 0.5]
    layers = tuple(weights.style_layers)
    image = uniform(1, 3, 10, 12, seed=4)
    content = content_targets(encoder, image, tuple(weights.content_layers))

    def gradient(style: Mapping[str, torch.Tensor]) -> torch.Tensor:
        pixels = image.clone().requires_grad_(True)
        (result,) = torch.autograd.grad(
            Objective(encoder, weights, Targets(content, style))(pixels).total.sum(), pixels
        )
        return result

    blended = gradient(style_targets(encoder, styles, blend, layers, "chw"))
    separate = sum(
        weight / sum(blend) * gradient(style_targets(encoder, [style], [1.0], layers, "chw"))
        for style, weight in zip(styles, blend, strict=True)
    )
    assert torch.allclose(blended, separate, rtol=1e-9, atol=1e-12 * float(blended.abs().max()))
    # Only the ratio of the weights counts.
    doubled = style_targets(encoder, styles, [2 * weight for weight in blend], layers, "chw")
    assert torch.allclose(gradient(doubled), blended, rtol=1e-12, atol=0)


# --- the objective ----------------------------------------------------------------------------------------------------


def test_the_terms_are_the_weighted_parts() -> None:
    weights = make_weights(total_variation_form="absolute_sum")
    contents, image = uniform(1, 3, 12, 10, seed=1), uniform(1, 3, 12, 10, seed=2)
    styles = [uniform(1, 3, 9, 14, seed=3)]
    objective = make_objective(weights, contents, styles)
    terms = objective(normalize(image))
    encoder = objective.encoder
    painted, given, model = (encoder(normalize(picture)) for picture in (image, contents, styles[0]))

    def gram(features: torch.Tensor) -> torch.Tensor:
        return torch.einsum("bihw,bjhw->bij", features, features) / features[0].numel()

    content = ((painted["relu2_1"] - given["relu2_1"]) ** 2).mean()
    content += 0.5 * ((painted["conv1_2"] - given["conv1_2"]) ** 2).mean()
    style = ((gram(painted["relu1_1"]) - gram(model["relu1_1"])) ** 2).mean()
    style += 0.7 * ((gram(painted["relu2_1"]) - gram(model["relu2_1"])) ** 2).mean()
    byte = image[0] * 255
    variation = byte.diff(dim=1).abs().sum() + byte.diff(dim=2).abs().sum()
    assert terms.content.item() == pytest.approx(3 * content.item(), rel=1e-10)
    assert terms.style.item() == pytest.approx(40 * style.item(), rel=1e-10)
    assert terms.total_variation.item() == pytest.approx(0.001 * variation.item(), rel=1e-10)
    assert terms.total.item() == pytest.approx((3 * content + 40 * style + 0.001 * variation).item(), rel=1e-10)


def test_the_loss_of_dots_joins_the_total_variation() -> None:
    image = uniform(1, 3, 12, 10, seed=2)
    without, with_dots = (make_objective(make_weights(dots=dots), image, [image])(normalize(image)) for dots in (0, 7))
    difference = with_dots.total_variation - without.total_variation
    assert difference.item() == pytest.approx(7 * dot_loss(image * 255).item(), rel=1e-9)
    assert with_dots.total.item() == (with_dots.content + with_dots.style + with_dots.total_variation).item()


def test_total_variation_in_normalized_pixels() -> None:
    image = uniform(1, 3, 8, 8, seed=2)
    weights = make_weights(
        total_variation=2.0, total_variation_form="absolute_mean", total_variation_pixels="normalized"
    )
    terms = make_objective(weights, image, [image])(normalize(image))
    normal = normalize(image)
    expected = normal.diff(dim=2).abs().mean() + normal.diff(dim=3).abs().mean()
    assert terms.total_variation.item() == pytest.approx(expected.item(), rel=1e-10)
    assert terms.content.item() == 0 and terms.style.item() == 0


@pytest.mark.parametrize(
    "weights",
    [
        make_weights(),
        make_weights(content_reduction="half_sum", gram="hw", total_variation_form="absolute_sum"),
        make_weights(total_variation=5.0, total_variation_form="absolute_mean", total_variation_pixels="normalized"),
        make_weights(dots=2000.0),
    ],
    ids=["mean", "paper", "textbook", "dots"],
)
def test_the_gradient_is_that_of_finite_differences(weights: LossWeights) -> None:
    objective = make_objective(weights, uniform(1, 3, 8, 8, seed=1), [uniform(1, 3, 8, 8, seed=2)])
    image = uniform(1, 3, 8, 8, seed=3).requires_grad_(True)
    (gradient,) = torch.autograd.grad(objective(image).total.sum(), image)
    generator = torch_stream(4)
    step = 1e-6
    for _ in range(5):
        direction = torch.randn(image.shape, generator=generator, dtype=torch.float64)
        with torch.no_grad():
            above, below = (objective(image + sign * step * direction).total.item() for sign in (1, -1))
        assert (gradient * direction).sum().item() == pytest.approx((above - below) / (2 * step), rel=1e-5)


def test_pictures_of_a_batch_are_independent() -> None:
    weights = make_weights()
    contents, styles = uniform(3, 3, 10, 8, seed=1), [uniform(1, 3, 8, 8, seed=2)]
    objective = make_objective(weights, contents, styles)
    images = uniform(3, 3, 10, 8, seed=3)

    def first(terms: LossTerms) -> list[float]:
        return [term[0].item() for term in (terms.content, terms.style, terms.total_variation)]

    together = objective(images)
    assert all(term.shape == (3,) for term in (together.content, together.style, together.total_variation))
    changed = images.clone()
    changed[1:] = uniform(2, 3, 10, 8, seed=9)
    assert first(objective(changed)) == pytest.approx(first(together), rel=1e-12)
    alone = make_objective(weights, contents[:1], styles)(images[:1])
    assert first(alone) == pytest.approx(first(together), rel=1e-12)
    pixels = images.clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad(objective(pixels).total[0], pixels)
    assert gradient[0].abs().max() > 0 and gradient[1:].abs().max() == 0


def test_slots_of_a_batch_get_the_objectives_of_single_pictures() -> None:
    """With as many temporal references as each has, or none; a later picture keeps nothing of the one before it."""
    contents, styles = uniform(4, 3, 10, 8, seed=1), [uniform(1, 3, 8, 8, seed=2)]
    images = uniform(4, 3, 10, 8, seed=3)
    singles = [make_objective(make_weights(), contents[slot : slot + 1], styles) for slot in range(4)]
    for number, count in enumerate((0, 1, 2, 0)):
        earlier = tuple(uniform(1, 3, 10, 8, seed=20 + number + k) for k in range(count))
        masks = tuple(uniform(1, 1, 10, 8, seed=30 + number + k) for k in range(count))
        if count:
            singles[number].set_temporal_reference(TemporalReference(earlier, masks), 100.0 * number)
    wide = singles[0].empty_batch(3)
    order = [0, 1, 2]
    for slot, number in enumerate(order):
        wide.targets.set_slot(slot, singles[number].targets)
    for slot, number in ((2, 3), (0, 2), (1, 0), (2, 1)):
        together = wide(images[order])
        for row, which in enumerate(order):
            alone = singles[which](images[which : which + 1])
            for name in ("content", "style", "total_variation", "temporal"):
                assert getattr(together, name)[row].item() == pytest.approx(getattr(alone, name).item(), rel=1e-9)
        assert (together.temporal > 0).tolist() == [which in (1, 2) for which in order]
        wide.targets.set_slot(slot, singles[number].targets)
        order[slot] = number


def test_a_batch_of_one_shares_the_features_of_its_content() -> None:
    """Those of a large picture are there once. The picture that takes its place has its own."""
    contents, styles = uniform(2, 3, 10, 8, seed=1), [uniform(1, 3, 8, 8, seed=2)]
    image = uniform(1, 3, 10, 8, seed=3)
    first, second = (make_objective(make_weights(), contents[slot : slot + 1], styles) for slot in range(2))
    expected = [single(image).content for single in (first, second)]
    batch = first.empty_batch(1)
    for single, content in zip((first, second), expected, strict=True):
        batch.targets.set_slot(0, single.targets)
        assert all(single.targets.content[name] is batch.targets.content[name] for name in batch.targets.content)
        assert torch.equal(batch(image).content, content) and torch.equal(single(image).content, content)


# --- temporal loss ----------------------------------------------------------------------------------------------------


def test_the_temporal_loss_of_an_offset() -> None:
    """The mean over pixels and channels: a tenth everywhere is 0.01, in one channel a third of that."""
    image = uniform(3, 3, 4, 6)
    reference = image.clone()
    reference[0] += 0.1
    reference[1, 2] -= 0.1
    everywhere = torch.ones(3, 1, 4, 6, dtype=torch.float64)
    assert temporal_loss(image, reference, everywhere).tolist() == pytest.approx([0.01, 0.01 / 3, 0])
    assert temporal_loss(255 * image, 255 * reference, everywhere)[0].item() == pytest.approx(0.01 * 255**2)
    assert temporal_loss(image, reference, everywhere / 4)[0].item() == pytest.approx(0.01 / 4)


def test_the_temporal_loss_counts_where_the_weight_is_one() -> None:
    """Occluded pixels cost nothing, and the mean is still over all pixels."""
    image, reference = (torch.zeros(1, 3, 4, 6, dtype=torch.float64) for _ in range(2))
    reference[..., :2] = 0.3
    reference[..., 2:] = 1.0
    weight = torch.zeros(1, 1, 4, 6, dtype=torch.float64)
    weight[..., :2] = 1
    assert temporal_loss(image, reference, weight).item() == pytest.approx(0.09 / 3)
    assert temporal_loss(image, reference, 1 - weight).item() == pytest.approx(2 / 3)
    assert temporal_loss(image, reference, 0 * weight).item() == 0


def made_reference(seed: int, height: int = 12, width: int = 10) -> TemporalReference:
    return TemporalReference(
        (uniform(1, 3, height, width, seed=seed), uniform(1, 3, height, width, seed=seed + 1)),
        (uniform(1, 1, height, width, seed=seed + 2), uniform(1, 1, height, width, seed=seed + 3)),
    )


def test_a_temporal_reference_adds_one_term() -> None:
    """Weight times the temporal losses against all references, in 0–255; the other terms stay the same."""
    image = uniform(1, 3, 12, 10, seed=2)
    objective = make_objective(make_weights(), uniform(1, 3, 12, 10, seed=1), [uniform(1, 3, 9, 14, seed=3)])
    free = objective(normalize(image))
    reference = made_reference(4)
    objective.set_temporal_reference(reference, 7.0)
    held = objective(normalize(image))
    wanted = sum(
        (weight * (255 * image - 255 * earlier) ** 2).sum().item() / image.numel()
        for earlier, weight in zip(reference.images, reference.weights, strict=True)
    )
    assert free.temporal.tolist() == [0]
    assert held.temporal.tolist() == pytest.approx([7 * wanted], rel=1e-10)
    for name in ("content", "style", "total_variation"):
        assert torch.equal(getattr(held, name), getattr(free, name)), name
    assert held.total.item() == pytest.approx(free.total.item() + 7 * wanted, rel=1e-12)
    assert free.total.item() == (free.content + free.style + free.total_variation).item()
    objective.set_temporal_reference(TemporalReference((image,), (torch.ones_like(image[:, :1]),)), 7.0)
    assert objective(normalize(image)).temporal.item() < 1e-20, "a picture that is its reference"


def test_a_new_temporal_reference_replaces_the_old_one() -> None:
    image = uniform(1, 3, 12, 10, seed=2)
    once, twice = (make_objective(make_weights(), image, [image]) for _ in range(2))
    twice.set_temporal_reference(made_reference(20), 3.0)
    for objective in (once, twice):
        objective.set_temporal_reference(made_reference(4), 7.0)
    assert torch.equal(once(normalize(image)).temporal, twice(normalize(image)).temporal)


def test_the_gradient_of_the_temporal_loss_is_that_of_finite_differences() -> None:
    """And by hand: 2 · weight · 255² · mask · (image - reference) / entries, which pulls towards the reference."""
    objective = make_objective(make_weights(), uniform(1, 3, 8, 8, seed=1), [uniform(1, 3, 8, 8, seed=2)])
    image = uniform(1, 3, 8, 8, seed=3)
    reference = made_reference(4, 8, 8)

    def gradient() -> torch.Tensor:
        pixels = image.clone().requires_grad_(True)
        (result,) = torch.autograd.grad(objective(normalize(pixels)).total.sum(), pixels)
        return result

    free = gradient()
    objective.set_temporal_reference(reference, 0.3)
    held = gradient()
    by_hand = sum(
        2 * 0.3 * 255**2 * weight * (image - earlier) / image.numel()
        for earlier, weight in zip(reference.images, reference.weights, strict=True)
    )
    assert torch.allclose(held - free, torch.as_tensor(by_hand), rtol=1e-7, atol=1e-9 * float(held.abs().max()))
    generator, step = torch_stream(4), 1e-6
    for _ in range(3):
        direction = torch.randn(image.shape, generator=generator, dtype=torch.float64)
        with torch.no_grad():
            above, below = (objective(normalize(image + sign * step * direction)).total.item() for sign in (1, -1))
        assert (held * direction).sum().item() == pytest.approx((above - below) / (2 * step), rel=1e-5)
