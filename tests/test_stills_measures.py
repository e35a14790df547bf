"""The measures of painted stills against values worked out by hand."""

import numpy as np
import pytest
import torch

from impasto.paint.painter import Painter
from impasto.presets import load_settings
from tests.benchmarks import stills_measures as measures
from tests.support.seeds import numpy_stream, torch_stream


def flat(level: int, size: tuple[int, int] = (32, 48)) -> np.ndarray:
    return np.full((*size, 3), level, np.uint8)


def textured(seed: int, size: tuple[int, int] = (48, 64)) -> np.ndarray:
    return numpy_stream(seed).integers(0, 256, (*size, 3)).astype(np.uint8)


def wave(cycles: float, size: int = 64) -> np.ndarray:
    """A grey wave of so many cycles per pixel, across."""
    row = np.round(128 + 100 * np.cos(2 * np.pi * cycles * np.arange(size))).astype(np.uint8)
    return np.broadcast_to(row[None, :, None], (size, size, 3)).copy()


class TestDots:
    @pytest.mark.parametrize("step", [30, -30])
    def test_single_pixels_are_counted_per_mille_of_those_with_eight_neighbours(self, step: int) -> None:
        picture = flat(128, (12, 27))
        picture[3, 4] += np.uint8(step % 256)
        picture[8, 20] += np.uint8(step % 256)
        assert measures.dots(picture) == pytest.approx(1000 * 2 / (10 * 25))

    def test_lines_pairs_borders_and_faint_dots_do_not_count(self) -> None:
        picture = flat(100)
        picture[5, :] = 200  # a line
        picture[10, 10] = picture[11, 11] = 200  # a pair
        picture[20, 20] = 100 + 24
        picture[0, 40] = 200
        assert measures.dots(picture) == 0

    def test_the_smallest_pictures_have_none(self) -> None:
        assert measures.dots(flat(1, (1, 1))) == 0
        assert measures.dots(flat(1, (3, 2))) == 0


class TestEnergyNearLimit:
    def test_a_flat_picture_and_a_single_pixel_have_none(self) -> None:
        assert measures.energy_near_limit(flat(90)) == 0
        assert measures.energy_near_limit(flat(90, (1, 1))) == 0

    def test_it_is_all_of_a_fine_wave_and_nothing_of_a_coarse_one(self) -> None:
        assert measures.energy_near_limit(wave(0.5)) > 990
        assert measures.energy_near_limit(wave(0.125)) < 1

    def test_noise_has_its_share_of_the_frequency_plane(self) -> None:
        expected = 1000 * (1 - np.pi * measures.NEAR_LIMIT**2)
        assert measures.energy_near_limit(textured(0, (256, 256))) == pytest.approx(expected, rel=0.05)

    def test_a_slope_does_not_jump_at_the_borders(self) -> None:
        slope = np.broadcast_to(np.arange(0, 256, 4, np.uint8)[None, :, None], (64, 64, 3))
        assert measures.energy_near_limit(slope) < 0.1


class TestReduced:
    def test_squares_become_their_means_and_what_is_left_over_is_cut(self) -> None:
        picture = flat(0, (5, 7))
        picture[::2, ::2] = 200
        assert (measures.reduced(picture, 2) == flat(50, (2, 3))).all()

    def test_a_factor_of_one_changes_nothing(self) -> None:
        assert (measures.reduced(textured(1), 1) == textured(1)).all()


def test_directions_are_fixed_unit_vectors() -> None:
    directions = measures._directions(64, 3)
    assert directions.shape == (measures.DIRECTIONS, 64)
    assert directions.norm(dim=1).numpy() == pytest.approx(1.0)
    assert (directions == measures._directions(64, 3)).all()


def test_a_shifted_distribution_is_as_far_as_its_shift() -> None:
    """Projections of features and of the same plus a constant differ by that constant's projection."""
    features = torch.rand(1, 8, 10, 12, generator=torch_stream(6))
    shift = torch.arange(8.0).view(1, 8, 1, 1)
    directions = measures._directions(8, 0)
    difference = measures._sorted_projections(features + shift, directions) - measures._sorted_projections(
        features, directions
    )
    assert torch.allclose(difference, (directions @ shift.flatten()).unsqueeze(1).expand_as(difference), atol=1e-5)


class TestAgainstStyleAndContent:
    def test_a_picture_is_no_distance_from_itself_at_any_size(self) -> None:
        picture = textured(2, (64, 80))
        found = measures.measure_still(picture, picture, picture)
        assert found.content_distance == 0
        assert found.style_loss == (0, 0, 0)
        assert found.wasserstein == (0, 0, 0)

    def test_they_are_the_painters_losses(self) -> None:
        """Against the painter, which reduces the style by itself."""
        content, style, result = textured(3), textured(4), wave(0.1)[:48]
        painter = Painter(
            load_settings("default"), measures._weights(), [style], [1.0], torch.device("cpu"), precision="fp32"
        )
        losses = painter.measure(result, content)
        assert measures.content_distance(result, content) == pytest.approx(losses.content, rel=1e-5)
        assert measures.style_loss(result, style) == pytest.approx(losses.style, rel=1e-5)

    def test_pictures_of_other_sizes_and_a_mirrored_style_are_near(self) -> None:
        """The distance sees the texture, not where it is."""
        style = textured(5)
        mirrored = measures.wasserstein(style[:, ::-1].copy(), style)
        other = measures.wasserstein(flat(128, (40, 32)), style)
        assert all(near < far / 10 for near, far in zip(mirrored, other, strict=True))
