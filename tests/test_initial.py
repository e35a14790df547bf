"""What painting starts from: the style's colours where they were asked for, and noise that is always the same."""

import pytest
import torch

from impasto.paint.colors import SAMPLE_STEP, ColorSums, color_statistics
from impasto.paint.initial import matched, noise, softened, transport
from impasto.pictures import to_array, to_tensor
from tests.support.seeds import torch_stream

LEAST_VARIANCE = (4 / 255) ** 2


def picture(seed: int, low: float = 0.0, high: float = 1.0, size: tuple[int, int] = (24, 20)) -> torch.Tensor:
    """1×3×H×W with correlated channels."""
    generator = torch_stream(seed)
    mixed = torch.einsum(
        "ij,bjhw->bihw", torch.rand(3, 3, generator=generator), torch.rand(1, 3, *size, generator=generator)
    )
    span = mixed.amax((2, 3), keepdim=True) - mixed.amin((2, 3), keepdim=True)
    return low + (high - low) * (mixed - mixed.amin((2, 3), keepdim=True)) / span


def covariance(image: torch.Tensor) -> torch.Tensor:
    return torch.cov(image[0].flatten(1).double(), correction=0)


def test_the_statistics_are_those_of_torch() -> None:
    image = picture(1)
    statistics = color_statistics([image], [7.0])
    assert statistics.mean.dtype == torch.float64
    assert torch.allclose(statistics.mean, image[0].flatten(1).double().mean(1), atol=1e-12)
    assert torch.allclose(statistics.covariance, covariance(image), atol=1e-12)


def test_the_statistics_of_a_mixture_are_those_of_all_its_pixels() -> None:
    """Three parts of one and one of another are the pixels of both, the first three times over."""
    first, second = picture(1, 0.0, 0.4), picture(2, 0.3, 1.0)
    statistics = color_statistics([first, second], [6.0, 2.0])
    together = torch.cat([first, first, first, second], dim=3)
    assert torch.allclose(statistics.mean, together[0].flatten(1).double().mean(1), atol=1e-12)
    assert torch.allclose(statistics.covariance, covariance(together), atol=1e-12)
    # Their sizes do not count, only their weights.
    larger = color_statistics([first.repeat(1, 1, 2, 2), second], [6.0, 2.0])
    assert torch.allclose(larger.covariance, statistics.covariance, atol=1e-12)


def test_the_statistics_of_a_film_are_those_of_all_its_frames() -> None:
    frames = [to_array(picture(seed, 0.1 * seed, size=(40, 33))) for seed in range(3)]
    sums = ColorSums()
    for frame in frames:
        sums.add(frame)
    sampled = [to_tensor(frame[::SAMPLE_STEP, ::SAMPLE_STEP]) for frame in frames]
    expected = color_statistics(sampled, [1.0] * 3)
    statistics = sums.statistics()
    assert torch.allclose(statistics.mean, expected.mean, rtol=0, atol=1e-7)
    assert torch.allclose(statistics.covariance, expected.covariance, rtol=0, atol=1e-7)
    assert torch.equal(ColorSums().statistics().covariance, torch.zeros(3, 3).double()), "no frames, no spread"


def test_a_matched_start_has_the_colours_of_the_style() -> None:
    content, style = picture(1, 0.0, 1.0), picture(2, 0.45, 0.6)
    wanted = color_statistics([style], [1.0])
    result = matched(content, wanted)
    assert result.shape == content.shape and result.dtype == content.dtype
    assert result.min() > 0 and result.max() < 1, "nothing was clamped, so the statistics are exact"
    got = color_statistics([result], [1.0])
    assert torch.allclose(got.mean, wanted.mean, atol=1e-6)
    # Short of the style's by what was added to the content's variances, and by no more.
    assert torch.allclose(
        got.covariance, wanted.covariance, rtol=0, atol=0.03 * float(wanted.covariance.diagonal().max())
    )
    exact = matched(content, color_statistics([content], [1.0]))
    assert (exact - content).abs().max() < 0.02, "a picture in its own colours stays as it is"


def test_the_map_is_the_symmetric_one() -> None:
    """Of all linear maps to the style's covariance, optimal transport's is symmetric and positive definite."""
    content, style = picture(3), picture(4, 0.4, 0.6)
    statistics = color_statistics([style], [1.0])
    moved = matched(content, statistics)
    own = color_statistics([content], [1.0])
    source = (content[0].flatten(1).double() - own.mean.unsqueeze(1)).T
    target = (moved[0].flatten(1).double() - statistics.mean.unsqueeze(1)).T
    transport = torch.linalg.lstsq(source, target).solution
    assert torch.allclose(transport, transport.T, atol=1e-5)
    assert torch.linalg.eigvalsh(transport).min() > 0
    regular = own.covariance + LEAST_VARIANCE * torch.eye(3).double()
    assert torch.allclose(transport @ regular @ transport.T, statistics.covariance, atol=1e-6)


@pytest.mark.parametrize("level", [0.0, 0.5, 1.0])
def test_a_flat_content_becomes_the_mean_colour(level: float) -> None:
    statistics = color_statistics([picture(2)], [1.0])
    result = matched(torch.full((1, 3, 8, 8), level), statistics)
    assert torch.isfinite(result).all()
    assert torch.allclose(result[0].mean((1, 2)), statistics.mean.float(), atol=1e-5)
    assert result.std((2, 3)).max() < 1e-5


def test_the_noise_of_a_nearly_black_frame_is_not_stretched_to_the_styles_contrast() -> None:
    generator = torch_stream(1)
    dark = torch.randint(0, 2, (1, 3, 32, 32), generator=generator) / 255  # half a level of noise
    style = picture(2)
    result = matched(dark, color_statistics([style], [1.0]))
    contrast = result.std((2, 3)).mean() / style.std((2, 3)).mean()
    assert contrast < 0.2


@pytest.mark.parametrize(
    "style", [torch.full((1, 3, 8, 8), 0.25), picture(2).mean(1, keepdim=True).expand(1, 3, 24, 20)]
)
def test_a_flat_or_grey_style_is_no_obstacle(style: torch.Tensor) -> None:
    statistics = color_statistics([style], [1.0])
    result = matched(picture(1), statistics)
    assert torch.isfinite(result).all()
    assert torch.allclose(result[0].mean((1, 2)), statistics.mean.float(), atol=0.05)
    assert (result.amax(1) - result.amin(1)).max() < 0.02, "the colours of a grey style are grey"


def test_matched_colours_stay_in_range() -> None:
    result = matched(picture(1), color_statistics([(picture(2) > 0.5).float()], [1.0]))
    assert result.min() == 0 and result.max() == 1


def test_noise_is_seeded_by_the_frame() -> None:
    size = (6, 7)
    first = noise(size, seed=3, index=5)
    assert first.shape == (1, 3, 6, 7) and first.dtype == torch.float32
    assert first.min() >= 0 and first.max() < 1
    torch.manual_seed(99)
    assert torch.equal(noise(size, 3, 5), first), "whatever was drawn before"
    others = [noise(size, 3, 6), noise(size, 4, 5), noise(size, 0, 0), noise(size, 2**63 - 1, 10**6)]
    assert all(not torch.equal(first, other) for other in others)
    # Uniform: the mean of 3·10⁴ values is within five standard errors of a half.
    assert abs(noise((100, 100), 0, 0).mean().item() - 0.5) < 5 * (1 / 12 / 30_000) ** 0.5


def test_noise_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(1)
    before = torch.rand(1)
    torch.manual_seed(1)
    noise((4, 4), 0, 0)
    assert torch.equal(torch.rand(1), before)


def test_softened_is_a_tenth_nearer_to_grey() -> None:
    image = torch.tensor([0.0, 0.5, 1.0]).view(1, 3, 1, 1)
    assert softened(image).flatten().tolist() == pytest.approx([0.05, 0.5, 0.95])


def test_the_transport_takes_one_covariance_to_the_other() -> None:
    """T C Tᵀ is the style's, for the C of the content with the least variance added; and T is symmetric and positive,
    which of all such maps is the one that changes the colours least."""
    content, style = picture(1), picture(2, 0.2, 0.7)
    matrix = transport(color_statistics([content], [1.0]), color_statistics([style], [1.0]))
    assert matrix.shape == (3, 3) and matrix.dtype == torch.float64
    own = covariance(content) + LEAST_VARIANCE * torch.eye(3)
    assert torch.allclose(matrix @ own @ matrix.T, covariance(style), rtol=0, atol=1e-9)
    assert torch.allclose(matrix, matrix.T, rtol=0, atol=1e-9)
    assert torch.linalg.eigvalsh(matrix).min() > 0


def test_the_transport_maps_differences_as_matching_does() -> None:
    content, wanted = picture(1, 0.0, 1.0), color_statistics([picture(2, 0.45, 0.6)], [1.0])
    result = matched(content, wanted)
    assert result.min() > 0 and result.max() < 1, "nothing was clamped"
    colors, moved = (image[0].flatten(1).double() for image in (content, result))
    differences = colors[:, 1:] - colors[:, :-1]
    matrix = transport(color_statistics([content], [1.0]), wanted)
    assert torch.allclose(matrix @ differences, moved[:, 1:] - moved[:, :-1], rtol=0, atol=1e-6)


def test_the_transport_of_a_picture_in_its_own_colours_changes_little() -> None:
    content = picture(3)
    matrix = transport(color_statistics([content], [1.0]), color_statistics([content], [1.0]))
    values = torch.linalg.eigvalsh(covariance(content))
    # In the directions of its spread, short by the least variance that was added.
    expected = (values / (values + LEAST_VARIANCE)).sqrt()
    assert torch.allclose(torch.linalg.eigvalsh(matrix).sort().values, expected.sort().values, rtol=0, atol=1e-6)


def test_the_transport_of_a_flat_picture_is_bounded() -> None:
    """A fade from black has no colours to stretch."""
    style = picture(2)
    grey = color_statistics([torch.full((1, 3, 8, 8), 0.1)], [1.0])
    matrix = transport(grey, color_statistics([style], [1.0]))
    assert torch.isfinite(matrix).all()
    largest = torch.linalg.eigvalsh(covariance(style)).max().sqrt() / LEAST_VARIANCE**0.5
    assert torch.linalg.eigvalsh(matrix).max() <= largest * (1 + 1e-6)
