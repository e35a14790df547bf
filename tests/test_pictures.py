"""Pictures go from bytes to tensors and back without losing a level, and sizes and ranges are what they say."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from impasto.errors import SettingsError
from impasto.paint.variables import BoundedVariable, FreeVariable
from impasto.pictures import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    denormalize,
    enlarge,
    fit_within,
    normalize,
    resize,
    size_of,
    to_array,
    to_tensor,
)
from impasto.plan.request import FrameRange
from tests.support.seeds import numpy_stream, torch_stream

SIDES = st.integers(1, 20_000)


def every_level() -> np.ndarray:
    """16×16×3 uint8: each of the 256 levels in each channel, in another order in each."""
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    return np.stack([levels, levels[::-1], levels.T], axis=2)


def test_bytes_come_back_exactly() -> None:
    array = every_level()
    tensor = to_tensor(array)
    assert tensor.shape == (1, 3, 16, 16) and tensor.dtype == torch.float32 and tensor.is_contiguous()
    assert tensor.min() == 0 and tensor.max() == 1
    assert tensor[0, 1, 15, 3] == pytest.approx(array[15, 3, 1] / 255)
    for back in (to_array(tensor), to_array(tensor[0])):
        assert back.dtype == np.uint8 and back.flags.c_contiguous
        assert np.array_equal(back, array)


def test_a_tensor_does_not_share_the_array() -> None:
    array = every_level()
    tensor = to_tensor(array)
    array[:] = 0
    assert tensor.max() == 1


@pytest.mark.parametrize(
    ("level", "expected"), [(-30.0, 0), (0.49, 0), (0.51, 1), (99.4, 99), (99.6, 100), (254.51, 255), (300.0, 255)]
)
def test_values_are_clamped_and_rounded_to_nearest(level: float, expected: int) -> None:
    assert (to_array(torch.full((1, 3, 2, 2), level / 255)) == expected).all()


@pytest.mark.parametrize("variable", [BoundedVariable(), FreeVariable()], ids=["bounded", "free"])
def test_three_hundred_saves_change_no_pixel(variable: BoundedVariable | FreeVariable) -> None:
    """What a still scene goes through when no iteration changes it: read, made the variable, saved."""
    array = every_level()
    for _ in range(300):
        array = to_array(variable.to_images(variable.from_images(to_tensor(array))))
    assert np.array_equal(array, every_level())


def test_noise_below_a_level_does_not_darken() -> None:
    """Errors of less than half a level, of either sign, average out: nearest has no bias, down has one."""
    generator = torch_stream(0)
    start = np.full((64, 64, 3), 128, np.uint8)
    array = start
    for _ in range(300):
        moved = to_tensor(array) + (torch.rand(1, 3, 64, 64, generator=generator) - 0.5) * 1.6 / 255
        array = to_array(moved)
    assert abs(array.mean() - 128) < 0.5


def test_normalize_is_that_of_imagenet_and_is_undone() -> None:
    images = torch.rand(2, 3, 5, 7, dtype=torch.float64, generator=torch_stream(1))
    normal = normalize(images)
    for channel in range(3):
        expected = (images[:, channel] - IMAGENET_MEAN[channel]) / IMAGENET_STD[channel]
        assert torch.allclose(normal[:, channel], expected, rtol=0, atol=1e-14)
    assert torch.allclose(denormalize(normal), images, rtol=0, atol=1e-14)
    assert torch.allclose(normalize(denormalize(normal)), normal, rtol=0, atol=1e-14)
    # The numbers of torchvision's preset, red first.
    grey = normalize(torch.full((1, 3, 1, 1), 0.5)).flatten()
    assert grey.tolist() == pytest.approx([0.06550218, 0.19642857, 0.41777778], rel=1e-6)


@given(height=SIDES, width=SIDES, longer=SIDES)
def test_fit_within_reduces_in_proportion_and_never_enlarges(height: int, width: int, longer: int) -> None:
    new_height, new_width = fit_within((height, width), longer)
    assert 1 <= new_height <= height and 1 <= new_width <= width
    if max(height, width) <= longer:
        assert (new_height, new_width) == (height, width)
        return
    assert max(new_height, new_width) == longer
    scale = longer / max(height, width)
    for new, old in ((new_height, height), (new_width, width)):
        assert new == 1 or abs(new - old * scale) <= 0.5 + 1e-6


def test_fit_within_none_leaves_the_size() -> None:
    assert fit_within((100_000, 3), None) == (100_000, 3)


def test_resize_is_the_lanczos_of_pillow_and_leaves_the_same_size_alone() -> None:
    array = numpy_stream(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    assert resize(array, (30, 40)) is array
    reduced = resize(array, (12, 16))
    assert reduced.shape == (12, 16, 3) and reduced.dtype == np.uint8
    assert np.array_equal(reduced, np.asarray(Image.fromarray(array).resize((16, 12), Image.Resampling.LANCZOS)))
    assert (resize(np.full((30, 40, 3), 77, np.uint8), (7, 90)) == 77).all()


def test_an_enlarged_picture_has_the_detail_of_the_content(content_array: np.ndarray) -> None:
    height, width = size_of(content_array)
    reduced = resize(content_array, (height // 2, width // 2))
    assert np.array_equal(enlarge(reduced, content_array), content_array)
    flat = np.full((40, 60, 3), 90, np.uint8)
    assert np.array_equal(enlarge(reduced, np.full_like(content_array, 255)), resize(reduced, (height, width)))
    assert np.array_equal(enlarge(flat[:20, :30], flat), flat)


@pytest.mark.parametrize(
    ("text", "start", "stop"),
    [("3:7", 3, 7), (":7", 0, 7), ("3:", 3, None), (":", 0, None), (" 0:1 ", 0, 1), ("007:08", 7, 8)],
)
def test_a_frame_range_is_read(text: str, start: int, stop: int | None) -> None:
    assert FrameRange.parse(text) == FrameRange(start, stop)


@pytest.mark.parametrize(
    "text", ["", "3", "a:b", "3-7", "-3:7", "3:-1", "1.0:2", "1:2:3", "7:3", "5:5", ":0", "1e3:", "0x1:5", "1 : 2"]
)
def test_a_bad_frame_range_is_refused_with_the_value(text: str) -> None:
    with pytest.raises(SettingsError) as error:
        FrameRange.parse(text)
    assert text in str(error.value) and "\n" not in str(error.value)


@given(start=st.integers(0, 30), length=st.one_of(st.none(), st.integers(1, 30)), frame_count=st.integers(0, 40))
def test_a_range_takes_the_frames_that_exist(start: int, length: int | None, frame_count: int) -> None:
    stop = None if length is None else start + length
    taken = FrameRange(start, stop).clip(frame_count)
    assert list(taken) == [i for i in range(frame_count) if start <= i and (stop is None or i < stop)]
