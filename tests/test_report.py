"""The plot of the losses is a picture that shows three curves, whatever the trace and the title are."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.errors import StorageError
from pipeline.events import Losses
from pipeline.report import plot_losses

COLORS = ((0x2A, 0x6F, 0x97), (0xBC, 0x47, 0x49), (0x6A, 0x99, 0x4E))
"""Content, style, total variation."""


def falling(count: int = 60) -> list[Losses]:
    """A trace as painting from the content gives it."""
    return [
        Losses(2e6 * (1 - 0.7**step), 2e8 / (1 + step) ** 1.2, 300 + 500 * np.exp(-step / 9)) for step in range(count)
    ]


def pixels_of(path: Path, color: tuple[int, int, int]) -> np.ndarray:
    """(row, column) of the pixels of exactly that colour."""
    image = np.asarray(Image.open(path).convert("RGB"))
    return np.argwhere((image == color).all(2))


def test_the_plot_is_a_png_of_a_sensible_size(tmp_path: Path) -> None:
    path = tmp_path / "plots" / "losses.png"
    plot_losses(falling(), path, "frame 0")
    with Image.open(path) as image:
        assert image.format == "PNG"
        width, height = image.size
    assert 600 <= width <= 1600 and 350 <= height <= 1000 and width > height
    assert [entry.name for entry in path.parent.iterdir()] == ["losses.png"], "nothing temporary is left"


def test_there_is_a_curve_for_each_term(tmp_path: Path) -> None:
    path = tmp_path / "losses.png"
    plot_losses(falling(), path, "frame 0")
    with Image.open(path) as image:
        width = image.width
        height = image.height
    rising = []
    for place, color in enumerate(COLORS):
        curve = pixels_of(path, color)
        curve = curve[curve[:, 0] > 0.15 * height]  # below the panel's title, which has its colour
        assert np.ptp(curve[:, 1]) > 0.2 * width, "from the left of its panel to the right"
        assert np.ptp(curve[:, 0]) > 0.4 * height, "and from the top to the bottom"
        assert place / 3 < curve[:, 1].mean() / width < (place + 1) / 3
        left, right = (curve[curve[:, 1] == end, 0].mean() for end in (curve[:, 1].min(), curve[:, 1].max()))
        rising.append(right < left)  # rows count downwards
    assert rising == [True, False, False]


def test_the_same_trace_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        plot_losses(falling(5), tmp_path / name, "frame 0")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


@pytest.mark.parametrize(
    ("trace", "shown"),
    [
        ([Losses(0.0, 10.0, 1.0), Losses(3.0, 5.0, 0.9), Losses(4.0, 2.0, 0.8)], (True, True, True)),
        ([Losses(0.0, 10.0, 0.0), Losses(0.0, 5.0, 0.0)], (True, True, True)),
        ([Losses(1e-30, 1e30, 1.0), Losses(1e-31, 1e28, 2.0)], (True, True, True)),
        ([Losses(5.0, 5.0, 5.0)] * 4, (True, True, True)),
        (falling(2000), (True, True, True)),
    ],
    ids=["zero-first", "zeros", "extreme", "constant", "long"],
)
def test_traces_that_are_hard_to_draw(tmp_path: Path, trace: list[Losses], shown: tuple[bool, ...]) -> None:
    path = tmp_path / "losses.png"
    plot_losses(trace, path, "frame 0")
    for color, expected in zip(COLORS, shown, strict=True):
        if expected:
            assert len(pixels_of(path, color)) > 200, color


def test_a_trace_of_one_iteration_shows_a_point_for_each_term(tmp_path: Path) -> None:
    """A line through one point is nothing: it takes a marker."""
    path = tmp_path / "losses.png"
    plot_losses([Losses(1.0, 2.0, 3.0)], path, "frame 0")
    with Image.open(path) as image:
        height = image.height
    for color in COLORS:
        assert (pixels_of(path, color)[:, 0] > 0.2 * height).any(), "below the panel's title"


@pytest.mark.parametrize(
    "trace",
    [
        [Losses(0.0, 0.0, 0.0)] * 3,
        [Losses(float("nan"), 1.0, 1.0), Losses(1.0, float("inf"), 0.5)],
        [Losses(float("nan"), float("nan"), float("nan"))],
    ],
    ids=["nothing", "not-finite", "nan"],
)
def test_a_trace_with_nothing_to_draw_is_no_error(tmp_path: Path, trace: list[Losses]) -> None:
    plot_losses(trace, tmp_path / "losses.png", "frame 0")
    with Image.open(tmp_path / "losses.png") as image:
        assert image.width > 600


@pytest.mark.parametrize(
    "title",
    ["a $5 and b $6.png", "price$5_$6.png", "a$^$b", "$\\frac{.png", "x_1^2 & <b>", "{}", "naïve Ärger", "\\alpha$"],
)
def test_a_title_is_text_whatever_is_in_it(tmp_path: Path, title: str) -> None:
    """Titles have the names of files in them, and dollars are no formulas."""
    plot_losses(falling(3), tmp_path / "losses.png", title)
    assert (tmp_path / "losses.png").stat().st_size > 5000


def test_a_title_in_another_script_is_no_warning(tmp_path: Path) -> None:
    """The font may lack the letters; the plot is made all the same, and nothing is written to the terminal."""
    plot_losses(falling(3), tmp_path / "losses.png", "写真 001.png")


def test_a_long_title_keeps_the_axes(tmp_path: Path) -> None:
    for name, title in (("short", "frame 0"), ("long", "a rather long name of a photo " * 8)):
        plot_losses(falling(), tmp_path / f"{name}.png", title)
    short, long = (pixels_of(tmp_path / f"{name}.png", COLORS[2]) for name in ("short", "long"))
    assert np.ptp(long[:, 1]) > 0.9 * np.ptp(short[:, 1]) and np.ptp(long[:, 0]) > 0.9 * np.ptp(short[:, 0])


def test_matplotlib_is_left_as_it_was(tmp_path: Path) -> None:
    import matplotlib

    before = dict(matplotlib.rcParams)
    plot_losses(falling(3), tmp_path / "losses.png", "frame 0")
    assert dict(matplotlib.rcParams) == before


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(StorageError):
        plot_losses(falling(3), tmp_path / "file" / "losses.png", "frame 0")
