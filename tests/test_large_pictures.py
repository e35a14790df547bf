"""What is computed otherwise for large pictures, to save memory, has the values that it has for small ones."""

import pytest
import torch

from impasto.choices import PixelUnit, TotalVariationForm
from impasto.paint import bands, curvature_pairs, objective, preconditioner
from impasto.paint.encoder import Encoder
from impasto.paint.objective import Objective, Targets, content_targets
from impasto.paint.preconditioner import Whitening
from impasto.pictures import normalize
from tests.test_losses import make_weights, small_weights, uniform


@pytest.mark.parametrize("band_rows", [1, 2, 7, 100])
@pytest.mark.parametrize("form", ["absolute_sum", "absolute_mean", "squared_sum"])
@pytest.mark.parametrize("unit", ["byte", "normalized"])
def test_losses_of_neighbours_in_bands(
    monkeypatch: pytest.MonkeyPatch, band_rows: int, form: TotalVariationForm, unit: PixelUnit
) -> None:
    weights = make_weights(
        content_layers={"relu1_1": 1.0},
        style_layers={},
        total_variation=3.0,
        total_variation_form=form,
        total_variation_pixels=unit,
        dots=2.0,
    )
    encoder, images = Encoder(small_weights(1), ("relu1_1",)).double(), uniform(2, 3, 15, 11)
    whole = Objective(encoder, weights, Targets(content_targets(encoder, images, ("relu1_1",)), {}, width=2))
    pixels = normalize(images).requires_grad_(True)
    expected = whole(pixels).total_variation
    (expected_gradient,) = torch.autograd.grad((expected * torch.tensor([1.0, 3.0])).sum(), pixels)
    monkeypatch.setattr(objective, "LARGE", 1)
    monkeypatch.setattr(bands, "BAND_PIXELS", band_rows * 11)
    value = whole(pixels).total_variation
    (gradient,) = torch.autograd.grad((value * torch.tensor([1.0, 3.0])).sum(), pixels)
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(gradient, expected_gradient)
    with torch.no_grad():
        torch.testing.assert_close(whole(pixels).total_variation, expected)


def test_channels_are_filtered_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = uniform(2, 3, 9, 14)
    together = Whitening(pictures, 0.35)(pictures)
    monkeypatch.setattr(preconditioner, "LARGE", 1)
    torch.testing.assert_close(Whitening(pictures, 0.35)(pictures), together)


def test_fewer_pairs_are_kept_of_very_large_pictures() -> None:
    few_from = curvature_pairs.FEW_FROM
    kept = [curvature_pairs.pairs_kept(size, length) for size in (5, 20) for length in (few_from - 1, few_from)]
    assert kept == [5, 5, 20, 10]
    assert curvature_pairs.history_bytes(20, few_from) == 2 * 11 * few_from * 2
