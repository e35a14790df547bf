"""The plots are pictures that show their curves, whatever the numbers and the title are."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from impasto.errors import StorageError
from impasto.events import Losses
from impasto.report.plots import plot_losses, plot_measures
from impasto.report.stability import Stability
from impasto.report.summary import Measured
from tests.support.seeds import numpy_stream

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


@pytest.mark.sweep(3)
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


# How a film holds

BLUE, RED, GREY = COLORS[0], COLORS[1], (0xAA, 0xAA, 0xAA)
"""Of distance 1 and 10, and of the lines at which shots begin."""


def film(count: int = 40, *, cut: int | None = 20, pairs: bool = True, cold_every: int | None = 10) -> list[Measured]:
    """What measuring a film of two shots gives, with a little unrest in everything."""
    rng = numpy_stream(0)
    measured = []
    for index in range(count):
        shot = 0 if cut is None or index < cut else cut
        distances = [distance for distance in (1, 10) if pairs and index - distance >= shot]
        cold = cold_every is not None and index % cold_every == 0
        measured.append(
            Measured(
                index,
                f"frame {index}",
                (48, 64),
                Losses(1e5, 2e6 + 1e4 * rng.normal(), 1e4),
                120 + rng.normal(),
                50 + rng.normal(),
                20 - 0.1 * index,
                0.98 - 0.001 * index if cold else None,
                1.02 + 0.001 * index if cold else None,
                shot,
                tuple(Stability(distance, 1e-3 * distance, 2e-4 * distance, 0.9) for distance in distances),
            )
        )
    return measured


def panels(path: Path, color: tuple[int, int, int], least: int = 4) -> list[bool]:
    """Whether so many pixels of that colour are in each of the six panels, row by row, inside and below its title."""
    with Image.open(path) as image:
        width, height = image.size
    pixels = pixels_of(path, color)
    cell_height, cell_width = height / 2, width / 3
    found = []
    for place in range(6):
        top, left = (place // 3) * cell_height, (place % 3) * cell_width
        below, right = pixels[:, 0] - top, pixels[:, 1] - left
        inside = (below > 0.2 * cell_height) & (below < cell_height)
        inside &= (right > 0.1 * cell_width) & (right < 0.95 * cell_width)
        found.append(bool(np.count_nonzero(inside) >= least))
    return found


def test_the_plot_of_a_film_has_a_panel_for_each_measure(tmp_path: Path) -> None:
    path = tmp_path / "plots" / "measures.png"
    plot_measures(film(), path, "painted.mp4")
    with Image.open(path) as image:
        assert image.format == "PNG"
        width, height = image.size
    assert 1000 <= width <= 1600 and 500 <= height <= 1000
    assert [entry.name for entry in path.parent.iterdir()] == ["measures.png"], "nothing temporary is left"
    # Objective, warping error, luminance; contrast, sharpness, beside a cold start.
    assert panels(path, RED) == [True, True, False, False, False, True]
    assert panels(path, BLUE) == [False, True, True, True, True, True]
    assert panels(path, GREY, 100) == [True] * 6


def test_what_was_not_measured_has_no_panel(tmp_path: Path) -> None:
    path = tmp_path / "measures.png"
    plot_measures(film(cut=None, cold_every=None), path, "no cut, nothing cold")
    assert panels(path, BLUE) == [False, True, True, True, True, False]
    assert panels(path, GREY, 100) == [False] * 6
    plot_measures(film(pairs=False, cut=None, cold_every=None), path, "photos")
    assert panels(path, RED) == [True, False, False, False, False, False]
    assert panels(path, BLUE) == [False, True, True, True, False, False]


def test_no_line_is_drawn_over_a_cut(tmp_path: Path) -> None:
    path = tmp_path / "measures.png"
    measured = [dataclasses.replace(one, luminance=100.0 if one.index < 20 else 200.0) for one in film()]
    plot_measures(measured, path, "from dark to bright")
    with Image.open(path) as image:
        width, height = image.size
    luminance = pixels_of(path, BLUE)
    luminance = luminance[(luminance[:, 1] > 0.7 * width) & (luminance[:, 0] < 0.45 * height)]
    top, bottom = luminance[:, 0].min(), luminance[:, 0].max()
    assert bottom - top > 0.2 * height
    assert not np.any(np.abs(luminance[:, 0] - (top + bottom) / 2) < 0.05 * height)


def test_a_value_without_neighbours_is_seen(tmp_path: Path) -> None:
    """In a long film, which has no markers otherwise."""
    path = tmp_path / "measures.png"
    long = [dataclasses.replace(one, stability=()) for one in film(200, cut=None, cold_every=None)]
    long[100] = dataclasses.replace(long[100], stability=(Stability(10, 5e-3, None, 0.5),))
    plot_measures(long, path, "one pair")
    assert panels(path, RED)[1]


@pytest.mark.parametrize(
    "change",
    [
        lambda one: dataclasses.replace(one, losses=Losses(float("inf"), float("nan"), 0)),
        lambda one: dataclasses.replace(one, losses=Losses(0, 0, 0), luminance=0, contrast=0, sharpness=0),
        lambda one: dataclasses.replace(one, stability=(Stability(1, None, None, 0.0),)),
        lambda one: dataclasses.replace(one, stability=(Stability(1, 0.0, 0.0, 1.0), Stability(10, 0.0, 0.0, 1.0))),
        lambda one: dataclasses.replace(one, sharpness_to_cold=None, objective_to_cold=1e12),
        lambda one: dataclasses.replace(one, shot=one.index),
    ],
    ids=["not-finite", "zeros", "nothing-trusted", "still", "extreme", "all-cuts"],
)
def test_films_that_are_hard_to_draw(tmp_path: Path, change: Callable[[Measured], Measured]) -> None:
    path = tmp_path / "measures.png"
    plot_measures([change(one) for one in film(12)], path, "a $5 and b $6.mp4")
    with Image.open(path) as image:
        assert image.width > 1000


@pytest.mark.parametrize("count", [1, 2, 3000])
def test_films_of_any_length_are_drawn(tmp_path: Path, count: int) -> None:
    path = tmp_path / "measures.png"
    plot_measures(film(count), path, "写真.mp4")
    assert panels(path, RED)[0]


def test_the_same_film_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        plot_measures(film(5), tmp_path / name, "film")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
