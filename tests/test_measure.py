"""Results of any tool are paired with what they were painted from, and measured as the painter does.

How still a film holds is measured on scenes whose motion is known: there the right number is known too.
"""

import dataclasses
import functools
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from impasto.cli.main import app
from impasto.errors import InputError, UsageError
from impasto.events import Losses
from impasto.media.codecs import Encoding
from impasto.media.images import read_image, write_image
from impasto.media.timing import Timing
from impasto.media.video_reader import read_frames
from impasto.media.video_writer import VideoWriter
from impasto.motion.flo_files import FloFolder
from impasto.paint.batch import paint_one
from impasto.paint.encoder_weights import EncoderWeights, load_weights
from impasto.paint.painter import Painter
from impasto.paint.stopping import StopRule
from impasto.paint.task import FrameTask
from impasto.pictures import Size, resize
from impasto.presets import load_settings
from impasto.report.appearance import luma, sharpness
from impasto.report.matching import is_film
from impasto.report.measure import measure as measure_pictures
from impasto.report.stability import DISTANCES, FilmFrame, FlowPair, Stability, StabilityMeter, flow_from_files
from impasto.report.summary import Measured, series_statistics, summarise
from impasto.settings import Settings
from samples import scenes
from samples.textures import Floats
from tests.conftest import TINY
from tests.support.flow_files import write_flo
from tests.support.seeds import numpy_stream


def picture(seed: int, size: tuple[int, int] = (48, 64)) -> np.ndarray:
    """A soft pattern that no other seed has."""
    coarse = numpy_stream(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return resize(coarse, size)


def folder(path: Path, names: dict[str, int], size: tuple[int, int] = (48, 64)) -> Path:
    for name, seed in names.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        write_image(path / name, picture(seed, size))
    return path


def video(path: Path, seeds: list[int], size: tuple[int, int] = (48, 64)) -> Path:
    timing, encoding = Timing.constant(25, len(seeds)), Encoding(crf=4)
    with VideoWriter(path, size, timing, preset="ultrafast", encoding=encoding) as writer:
        for seed in seeds:
            writer.write(picture(seed, size))
    return path


measure = functools.partial(measure_pictures, weights_loader=functools.cache(load_weights))
"""Loading weights takes longer than measuring small pictures: it is done once."""


@pytest.fixture
def painter(tiny_settings: Settings, weights: EncoderWeights, style_array: np.ndarray) -> Painter:
    return Painter(tiny_settings, weights, [style_array], [1.0], torch.device("cpu"))


def losses(measured: list[Measured]) -> list[Losses]:
    return [one.losses for one in measured]


def test_an_image_is_measured_as_the_painter_does(
    tmp_path: Path,
    content_file: Path,
    content_array: np.ndarray,
    style_file: Path,
    tiny_settings: Settings,
    painter: Painter,
) -> None:
    result = tmp_path / "result.png"
    write_image(result, 255 - content_array)
    (one,) = measure(result, content_file, [style_file], tiny_settings)
    assert (one.index, one.name, one.size) == (0, "result.png", (48, 72))
    assert one.losses == painter.measure(255 - content_array, content_array)
    assert one.losses.objective == one.losses.content + one.losses.style + one.losses.total_variation


def test_the_content_is_brought_to_the_results_size(
    tmp_path: Path,
    content_file: Path,
    content_array: np.ndarray,
    style_file: Path,
    tiny_settings: Settings,
    painter: Painter,
) -> None:
    result = tmp_path / "result.png"
    write_image(result, picture(1, (32, 48)))
    (one,) = measure(result, content_file, [style_file], tiny_settings)
    assert one.size == (32, 48)
    assert one.losses == painter.measure(picture(1, (32, 48)), resize(content_array, (32, 48)))


def test_a_picture_against_itself_has_no_content_loss(
    content_file: Path, style_file: Path, tiny_settings: Settings
) -> None:
    (one,) = measure(content_file, content_file, [style_file], tiny_settings)
    assert one.losses.content == 0 and one.losses.style > 0 and one.losses.total_variation > 0


def test_style_weights_count(tmp_path: Path, content_file: Path, style_file: Path, tiny_settings: Settings) -> None:
    second = tmp_path / "second.png"
    write_image(second, picture(5))

    def style(paths: list[Path], weights: tuple[float, ...] = ()) -> float:
        (one,) = measure(content_file, content_file, paths, tiny_settings, weights)
        return one.losses.style

    both = style([style_file, second])
    assert style([style_file, second], (3, 3)) == pytest.approx(both, rel=1e-5)
    assert style([style_file, second], (1, 0)) == pytest.approx(style([style_file]), rel=1e-5)
    assert abs(style([style_file, second], (1, 5)) - both) > 1e-3 * both


def test_folders_are_paired_by_the_paths_below_them(
    tmp_path: Path, style_file: Path, tiny_settings: Settings, painter: Painter
) -> None:
    """Whatever the endings and the order on the disk; a content without a result is no concern."""
    content = folder(tmp_path / "in", {"b.png": 1, "sub/a.bmp": 2, "sub/b.tif": 3, "frame10.png": 4, "frame9.png": 5})
    result = folder(tmp_path / "out", {"sub/b.png": 13, "b.png": 11, "frame10.png": 14, "frame9.png": 15})
    measured = list(measure(result, content, [style_file], tiny_settings))
    assert [one.name for one in measured] == ["b.png", "frame9.png", "frame10.png", "sub/b.png"]
    assert [one.index for one in measured] == [0, 1, 2, 3]
    expected = [painter.measure(picture(10 + seed), picture(seed)) for seed in (1, 5, 4, 3)]
    assert losses(measured) == expected


def test_a_result_without_content_is_named(tmp_path: Path, style_file: Path, tiny_settings: Settings) -> None:
    content = folder(tmp_path / "in", {"a.png": 1})
    result = folder(tmp_path / "out", {"a.png": 2, "sub/a.png": 3})
    with pytest.raises(InputError, match=r"sub/a\.png has no picture of that name"):
        list(measure(result, content, [style_file], tiny_settings))


def test_contents_of_one_name_and_two_endings_are_not_mixed_up(
    tmp_path: Path, style_file: Path, tiny_settings: Settings, painter: Painter
) -> None:
    """a.png and a.bmp are two photos; each result belongs to the one with its own ending."""
    content = folder(tmp_path / "in", {"a.png": 1, "a.bmp": 2})
    result = folder(tmp_path / "out", {"a.png": 11, "a.bmp": 12})
    measured = {one.name: one.losses for one in measure(result, content, [style_file], tiny_settings)}
    assert measured == {
        "a.png": painter.measure(picture(11), picture(1)),
        "a.bmp": painter.measure(picture(12), picture(2)),
    }


def test_videos_are_paired_by_order(
    tmp_path: Path, style_file: Path, tiny_settings: Settings, painter: Painter
) -> None:
    content, result = video(tmp_path / "in.mp4", [1, 2, 3]), video(tmp_path / "out.mp4", [11, 12, 13])
    measured = list(measure(result, content, [style_file], tiny_settings))
    assert [one.name for one in measured] == ["frame 0", "frame 1", "frame 2"]
    given, painted = ([frame.image for frame in read_frames(path)] for path in (content, result))
    assert losses(measured) == [painter.measure(a, b) for a, b in zip(painted, given, strict=True)]


@pytest.mark.parametrize("video_is", ["content", "result"])
def test_a_video_goes_with_a_folder_of_its_frames(
    tmp_path: Path, style_file: Path, tiny_settings: Settings, painter: Painter, video_is: str
) -> None:
    frames = folder(tmp_path / "frames", {f"{index}.png": index for index in (8, 9, 10)})
    film = video(tmp_path / "film.mp4", [1, 2, 3])
    shown = [frame.image for frame in read_frames(film)]
    stills = [read_image(frames / f"{index}.png") for index in (8, 9, 10)]
    result, content = (frames, film) if video_is == "content" else (film, frames)
    measured = list(measure(result, content, [style_file], tiny_settings))
    pairs = zip(stills, shown, strict=True) if video_is == "content" else zip(shown, stills, strict=True)
    assert losses(measured) == [painter.measure(a, b) for a, b in pairs]


@pytest.mark.parametrize(("painted", "given", "word"), [(3, 2, "3 pictures"), (2, 3, "has 2"), (1, 3, "has 1")])
def test_counts_that_differ_are_refused_before_the_first_is_measured(
    tmp_path: Path, style_file: Path, tiny_settings: Settings, painted: int, given: int, word: str
) -> None:
    film = video(tmp_path / "film.mp4", list(range(given)))
    frames = folder(tmp_path / "frames", {f"{index}.png": index for index in range(painted)})
    with pytest.raises(InputError, match=word):
        next(measure(frames, film, [style_file], tiny_settings))


def test_what_does_not_go_together_is_refused(
    tmp_path: Path, content_file: Path, style_file: Path, tiny_settings: Settings
) -> None:
    frames = folder(tmp_path / "frames", {"a.png": 1})
    (tmp_path / "empty").mkdir()
    cases = [
        (content_file, frames, "do not go together"),
        (frames, content_file, "do not go together"),
        (tmp_path / "nothing.png", content_file, "does not exist"),
        (content_file, tmp_path / "nothing", "does not exist"),
        (tmp_path / "empty", frames, "no image"),
        (frames, tmp_path / "empty", "no image"),
    ]
    for result, content, word in cases:
        with pytest.raises(InputError, match=word) as error:
            list(measure(result, content, [style_file], tiny_settings))
        assert "\n" not in str(error.value)
    film = video(tmp_path / "film.mp4", [1, 2])
    with pytest.raises(InputError, match="has 2 pictures"):
        list(measure(content_file, film, [style_file], tiny_settings))


@pytest.mark.parametrize("weights", [(1.0,), (1.0, 1.0, 1.0), (0.0, 0.0)], ids=str)
def test_style_weights_that_cannot_be_are_refused(
    content_file: Path, style_file: Path, tiny_settings: Settings, weights: tuple[float, ...]
) -> None:
    with pytest.raises(UsageError, match="weight"):
        list(measure(content_file, content_file, [style_file, style_file], tiny_settings, weights))


# Light


def test_light_is_what_numpy_says(
    tmp_path: Path, content_file: Path, content_array: np.ndarray, style_file: Path, tiny_settings: Settings
) -> None:
    (one,) = measure(content_file, content_file, [style_file], tiny_settings)
    red, green, blue = np.moveaxis(content_array.astype(np.float64), 2, 0)
    y = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    assert one.luminance == pytest.approx(y.sum() / y.size, rel=1e-9)
    assert one.contrast == pytest.approx(np.sqrt(np.square(y - y.mean()).mean()), rel=1e-9)
    pixels = content_array.astype(np.float64)
    steps = [np.abs(np.diff(pixels, axis=axis)).mean() for axis in (0, 1)]
    assert one.sharpness == pytest.approx(sum(steps) / 2, rel=1e-5)
    assert (one.shot, one.stability, one.sharpness_to_cold, one.objective_to_cold) == (None, (), None, None)


@pytest.mark.parametrize(
    ("color", "level"), [((255, 255, 255), 255.0), ((255, 0, 0), 54.213), ((0, 255, 0), 182.376), ((0, 0, 255), 18.411)]
)
def test_luma_is_that_of_rec_709(color: tuple[int, int, int], level: float) -> None:
    assert luma(np.full((2, 3, 3), color, np.uint8)) == pytest.approx(np.full((2, 3), level))


def test_sharpness_of_a_checkerboard_and_a_ramp() -> None:
    y, x = np.mgrid[:6, :9]
    for levels, expected in ((255 * ((x + y) % 2), 255), (10 * x + 20 * y, 15), (np.full((6, 9), 100), 0)):
        assert sharpness(np.repeat(levels[..., None], 3, 2).astype(np.uint8)) == pytest.approx(expected, abs=1e-4)
    assert sharpness(np.zeros((1, 5, 3), np.uint8)) == 0


# Films: what is one


def test_what_is_a_film(tmp_path: Path) -> None:
    three = folder(tmp_path / "three", {"1.png": 1, "2.png": 2, "3.png": 3})
    one = folder(tmp_path / "one", {"1.png": 1})
    tree = folder(tmp_path / "tree", {"1.png": 1, "sub/2.png": 2})
    sizes = folder(tmp_path / "sizes", {"1.png": 1})
    folder(sizes, {"2.png": 2}, (48, 65))
    clip = video(tmp_path / "clip.mp4", [1, 2, 3])
    assert is_film(three, three) and is_film(clip, clip) and is_film(clip, three) and is_film(three, clip)
    assert is_film(folder(tmp_path / "two", {"2.png": 5, "3.png": 6}), three), "part of a film is one"
    for other in (one, tree, sizes):
        assert not is_film(other, other)
    assert is_film(folder(tmp_path / "some", {"1.png": 1, "3.png": 1}), three)
    assert not is_film(one, three) and not is_film(clip, sizes)
    assert not is_film(three / "1.png", three / "1.png")


def test_photos_are_not_compared(tmp_path: Path, style_file: Path, tiny_settings: Settings) -> None:
    film = write_film(tmp_path / "film", frames_of(pan(3)))
    for one in measure(film, film, [style_file], tiny_settings, photos=True):
        assert (one.shot, one.stability) == (None, ())
    assert summarise(list(measure(film, film, [style_file], tiny_settings, photos=True))).shot_count == 0


# Films: truths

SIZE = (48, 64)


def pan(count: int) -> scenes.Scene:
    """A plane that moves by whole pixels, which bilinear sampling copies."""
    return scenes.pan(SIZE, count, 5, velocity=(2.0, -1.0))


def frames_of(footage: scenes.Footage) -> list[np.ndarray]:
    return [footage.frame(t) for t in range(footage.frame_count)]


def write_film(path: Path, frames: Sequence[np.ndarray]) -> Path:
    for number, frame in enumerate(frames, start=1):
        write_image(path / f"{number}.png", frame)
    return path


def write_flows(
    path: Path,
    footage: scenes.Footage,
    *,
    distances: Sequence[int] = DISTANCES,
    change: Callable[[Floats], Floats] = lambda flow: flow,
    both: bool = True,
) -> Path:
    """Exact flow, named as artistic-videos does: frames count from 1."""
    path.mkdir()
    for distance in distances:
        for t in range(distance, footage.frame_count):
            write_flo(path / f"backward_{t + 1}_{t + 1 - distance}.flo", change(footage.flow(t, t - distance)))
            if both:
                write_flo(path / f"forward_{t + 1 - distance}_{t + 1}.flo", change(footage.flow(t - distance, t)))
    return path


def errors(measured: Sequence[Measured], distance: int) -> list[float]:
    pairs = [pair for one in measured for pair in one.stability if pair.distance == distance]
    found = [pair.warping_error for pair in pairs]
    assert all(error is not None for error in found)
    return [error for error in found if error is not None]


def test_a_film_that_moves_as_its_content_does_holds_still(
    tmp_path: Path, style_file: Path, tiny_settings: Settings
) -> None:
    scene = pan(12)
    film = write_film(tmp_path / "film", frames_of(scene))
    flows = write_flows(tmp_path / "flow", scene)
    measured = list(measure(film, film, [style_file], tiny_settings, flow_folder=flows))
    assert [[pair.distance for pair in one.stability] for one in measured] == [[], *[[1]] * 9, [1, 10], [1, 10]]
    assert max(errors(measured, 1) + errors(measured, 10)) < 1e-5
    for pair in measured[-1].stability:
        assert pair.content_warping_error == pair.warping_error
    near, far = measured[-1].stability
    # What left the frame is not visible: 2 columns and a row after one frame, 20 and 10 after ten.
    assert near.visible_share == pytest.approx(62 * 47 / (64 * 48), abs=1e-6)
    assert far.visible_share == pytest.approx(44 * 38 / (64 * 48), abs=1e-6)


@pytest.mark.parametrize("change", [lambda flow: -flow, lambda flow: flow[..., ::-1]], ids=["sign", "swapped"])
def test_flow_in_another_convention_is_found_out(
    tmp_path: Path, style_file: Path, tiny_settings: Settings, change: Callable[[Floats], Floats]
) -> None:
    scene = pan(4)
    film = write_film(tmp_path / "film", frames_of(scene))
    flows = write_flows(tmp_path / "flow", scene, change=change)
    measured = list(measure(film, film, [style_file], tiny_settings, flow_folder=flows))
    assert min(errors(measured, 1)) > 2e-3


def test_estimated_flow_follows_the_content(tmp_path: Path, style_file: Path, tiny_settings: Settings) -> None:
    """And not the result: the film below is inverted, and holds as still as its content does."""
    scene = scenes.pan((64, 96), 3, 5)
    content = write_film(tmp_path / "content", frames_of(scene))
    film = write_film(tmp_path / "film", [255 - frame for frame in frames_of(scene)])
    still = write_film(tmp_path / "still", [scene.frame(0)] * 3)
    good, bad = ([*measure(path, content, [style_file], tiny_settings)] for path in (film, still))
    assert max(errors(good, 1)) < 5e-4
    assert min(errors(bad, 1)) > 2e-3
    for one in good[1:]:
        (pair,) = one.stability
        assert pair.content_warping_error == pytest.approx(pair.warping_error, rel=1e-3)
        assert pair.visible_share > 0.7


def test_frames_painted_each_for_itself(tmp_path: Path, style_file: Path, tiny_settings: Settings) -> None:
    """Independent noise of deviation σ differs from frame to frame by 2σ²."""
    scene = scenes.still(SIZE, 3, 7, sigma=0)
    sigma = 6.0
    rng = numpy_stream(1)
    noisy = [scenes.to_frame((frame + rng.normal(0, sigma, frame.shape)) / 255) for frame in frames_of(scene)]
    film, content = write_film(tmp_path / "film", noisy), write_film(tmp_path / "content", frames_of(scene))
    flows = write_flows(tmp_path / "flow", scene)
    measured = list(measure(film, content, [style_file], tiny_settings, flow_folder=flows))
    assert errors(measured, 1) == pytest.approx([2 * (sigma / 255) ** 2] * 2, rel=0.1)
    assert [pair.content_warping_error for one in measured for pair in one.stability] == [0, 0]
    assert [pair.visible_share for one in measured for pair in one.stability] == [1, 1]


@pytest.mark.parametrize("by_hand", [False, True])
def test_a_pair_across_a_cut_is_left_out(tmp_path: Path, style_file: Path, by_hand: bool) -> None:
    footage = scenes.cut(SIZE, 14, 3, cut_frame=12)
    film = write_film(tmp_path / "film", frames_of(footage))
    settings = load_settings("default", [*TINY, "shots.cuts=[12]"] if by_hand else TINY)
    measured = list(measure(film, film, [style_file], settings))
    assert [one.shot for one in measured] == [0] * 12 + [12] * 2
    distances = [[pair.distance for pair in one.stability] for one in measured]
    assert distances == [[], *[[1]] * 9, [1, 10], [1, 10], [], [1]]
    assert summarise(measured).shot_count == 2


def test_without_detection_a_film_is_one_shot(tmp_path: Path, style_file: Path) -> None:
    film = write_film(tmp_path / "film", frames_of(scenes.cut(SIZE, 6, 3)))
    settings = load_settings("default", [*TINY, "shots.detect=false"])
    measured = list(measure(film, film, [style_file], settings))
    assert [one.shot for one in measured] == [0] * 6
    assert [len(one.stability) for one in measured] == [0, 1, 1, 1, 1, 1]


def test_frames_that_are_missing_are_no_neighbours(tmp_path: Path, style_file: Path, tiny_settings: Settings) -> None:
    """A film of which only some frames were painted; the flow of its content keeps its own numbers."""
    scene = pan(6)
    content = write_film(tmp_path / "content", frames_of(scene))
    film = write_film(tmp_path / "film", frames_of(scene))
    for number in (1, 4):
        (film / f"{number}.png").unlink()
    flows = write_flows(tmp_path / "flow", scene)
    measured = list(measure(film, content, [style_file], tiny_settings, flow_folder=flows))
    assert [one.name for one in measured] == ["2.png", "3.png", "5.png", "6.png"]
    assert [len(one.stability) for one in measured] == [0, 1, 0, 1]
    assert max(errors(measured, 1)) < 1e-5


# Films: flow from files


def frame(index: int, size: Size = SIZE, seed: int = 0) -> FilmFrame:
    return FilmFrame(index, picture(seed, size), picture(seed, size), picture(seed, size))


def test_flow_without_a_way_back(tmp_path: Path, style_file: Path, tiny_settings: Settings) -> None:
    """The frame and its motion boundaries still say what is not to be visible, and a reliable file may say more."""
    scene = pan(3)
    film = write_film(tmp_path / "film", frames_of(scene))
    flows = write_flows(tmp_path / "flow", scene, both=False)
    left = np.zeros(SIZE, np.uint8)
    left[:, :32] = 255
    (flows / "reliable_3_2.pgm").write_bytes(b"P5 64 48 255\n" + left.tobytes())
    measured = list(measure(film, film, [style_file], tiny_settings, flow_folder=flows))
    (all_of_it,), (half,) = measured[1].stability, measured[2].stability
    assert all_of_it.visible_share == pytest.approx(62 * 47 / (64 * 48), abs=1e-6)
    assert half.visible_share == pytest.approx(30 * 47 / (64 * 48), abs=1e-6)


def test_a_missing_file_is_named(tmp_path: Path, style_file: Path, tiny_settings: Settings) -> None:
    scene = pan(3)
    film = write_film(tmp_path / "film", frames_of(scene))
    flows = write_flows(tmp_path / "flow", scene)
    (flows / "backward_3_2.flo").unlink()
    with pytest.raises(InputError, match=r"has no backward_3_2\.flo") as error:
        list(measure(film, film, [style_file], tiny_settings, flow_folder=flows))
    assert "\n" not in str(error.value)


def test_flow_over_ten_frames_may_be_missing(tmp_path: Path) -> None:
    scene = pan(12)
    between = flow_from_files(FloFolder(write_flows(tmp_path / "flow", scene, distances=[1])))
    assert between(frame(11), frame(1)) is None
    meter = StabilityMeter(between)
    found = [meter.feed(frame(index)) for index in range(12)]
    assert [[pair.distance for pair in one] for one in found] == [[], *[[1]] * 11]


def test_flow_of_no_film_is_refused(tmp_path: Path, style_file: Path, tiny_settings: Settings) -> None:
    film = write_film(tmp_path / "film", frames_of(pan(2)))
    for path, more in ((film, {"photos": True}), (film / "1.png", {"photos": False})):
        with pytest.raises(UsageError, match="leave out `flow_folder`"):
            list(measure(path, path, [style_file], tiny_settings, flow_folder=tmp_path, **more))
    with pytest.raises(InputError, match="nowhere is no folder"):
        list(measure(film, film, [style_file], tiny_settings, flow_folder=tmp_path / "nowhere"))


# Films: the meter


def no_motion(of: FilmFrame, _: FilmFrame) -> FlowPair:
    zero = np.zeros((*of.size, 2), np.float32)
    return FlowPair(zero, zero)


def test_the_meter_keeps_the_last_frames_only() -> None:
    meter = StabilityMeter(no_motion)
    for index in range(25):
        meter.feed(frame(index, (16, 16)))
        assert [one.index for one in meter.recent] == list(range(max(0, index - 9), index + 1))
    assert len(meter.recent) == 10 == max(DISTANCES)


def test_the_meter_compares_with_the_right_frames() -> None:
    asked: list[tuple[int, int]] = []

    def between(of: FilmFrame, earlier: FilmFrame) -> FlowPair:
        asked.append((of.index, earlier.index))
        return no_motion(of, earlier)

    meter = StabilityMeter(between, cuts=[9, 3])
    for index in range(14):
        meter.feed(frame(index, (16, 16)))
    assert asked == [(index, index - 1) for index in range(1, 14) if index not in (3, 9)]
    assert [meter.crosses_cut(*pair) for pair in ((1, 2), (2, 3), (3, 4), (2, 4), (3, 8), (3, 9), (2, 9))] == [
        False, True, False, True, False, True, True,
    ]  # fmt: skip


def test_where_nothing_is_trusted_there_is_no_error() -> None:
    def away(of: FilmFrame, _: FilmFrame) -> FlowPair:
        return FlowPair(np.full((*of.size, 2), 1000, np.float32), None)

    meter = StabilityMeter(away)
    meter.feed(frame(0))
    assert meter.feed(frame(1)) == (Stability(1, None, None, 0.0),)


# Totals


def made_up(
    values: Sequence[float], shots: Sequence[int | None] | None = None, *, errors: Sequence[float | None] = ()
) -> list[Measured]:
    return [
        Measured(
            index,
            f"{index}",
            (48, 64),
            Losses(value, 0, 0),
            value + 1,
            value + 2,
            value + 3,
            shot=None if shots is None else shots[index],
            stability=(Stability(1, errors[index], 0.5, 0.25),) if index < len(errors) else (),
        )
        for index, value in enumerate(values)
    ]


def test_the_trend_of_a_ramp() -> None:
    summary = summarise(made_up([5 + 0.25 * index for index in range(30)]))
    for found, offset in (
        (summary.objective, 0),
        (summary.luminance, 1),
        (summary.contrast, 2),
        (summary.sharpness, 3),
    ):
        assert found.trend == pytest.approx(25)
        assert (found.first, found.last) == (5 + offset, 12.25 + offset)
        assert found.mean == pytest.approx(8.625 + offset)
    assert (summary.picture_count, summary.size, summary.shot_count) == (30, (48, 64), 0)


def test_the_trend_is_that_of_least_squares() -> None:
    values = list(numpy_stream(0).normal(10, 3, 50))
    assert series_statistics(values, [0] * 50).trend == pytest.approx(100 * np.polyfit(range(50), values, 1)[0])


def test_a_cut_to_a_brighter_scene_is_no_trend() -> None:
    assert series_statistics([1.0] * 10 + [200.0] * 5, [0] * 10 + [10] * 5).trend == 0
    rising = [0.5 * index for index in range(10)] + [200 + 0.5 * index for index in range(5)]
    assert series_statistics(rising, [0] * 10 + [10] * 5).trend == pytest.approx(50)
    assert series_statistics([1.0, 2.0], [0, 1]).trend is None and series_statistics([1.0], [None]).trend is None


def test_means_of_what_is_there() -> None:
    measured = made_up([1, 2, 3, 4], [0, 0, 0, 3], errors=[0.1, None, 0.3])
    measured[0] = dataclasses.replace(measured[0], sharpness_to_cold=0.5, objective_to_cold=1.5)
    measured[2] = dataclasses.replace(measured[2], objective_to_cold=2.5, size=(1, 1))
    summary = summarise(measured)
    (pair,) = summary.stability
    assert (pair.distance, pair.pair_count, pair.visible_share) == (1, 3, 0.25)
    assert (pair.warping_error, pair.content_warping_error) == pytest.approx((0.2, 0.5))
    assert (summary.sharpness_to_cold, summary.objective_to_cold, summary.cold_count) == (0.5, 2.0, 2)
    assert (summary.size, summary.shot_count) == (None, 2)
    with pytest.raises(ValueError, match="nothing"):
        summarise([])


# Beside a cold start


@pytest.mark.sweep(1)
@pytest.mark.parametrize("start", ["content", "noise", "matched", "file"])
def test_a_cold_start_is_its_own_equal(
    tmp_path: Path, weights: EncoderWeights, style_array: np.ndarray, style_file: Path, start: str
) -> None:
    first = str(style_file) if start == "file" else start
    settings = load_settings("default", [*TINY, f"start.first={first}"])
    painter = Painter(settings, weights, [style_array], [1.0], torch.device("cpu"))
    contents = frames_of(scenes.pan((32, 32), 2, 5))
    given = resize(style_array, (32, 32)) if start == "file" else None
    kind = "given" if start == "file" else start
    tasks = [FrameTask(index, image, kind, StopRule(3), given) for index, image in enumerate(contents)]  # type: ignore[arg-type]
    film = write_film(tmp_path / "film", [paint_one(painter, task).image for task in tasks])
    content = write_film(tmp_path / "content", contents)
    every = list(measure(film, content, [style_file], settings, cold_iterations=3, cold_every=1))
    assert [(one.sharpness_to_cold, one.objective_to_cold) for one in every] == [(1.0, 1.0)] * 2
    assert summarise(every).cold_count == 2
    some = list(measure(film, content, [style_file], settings, cold_iterations=8))
    assert [one.objective_to_cold is None for one in some] == [False, True], "every tenth, unless said"
    assert some[0].objective_to_cold is not None and some[0].objective_to_cold > 1


# The command


def run(*arguments: object) -> tuple[str, list[dict[str, Any]]]:
    options = [f"--set={override}" for override in TINY if not override.startswith("iterations")]
    result = CliRunner().invoke(app, ["measure", *map(str, arguments), *options])
    assert result.exit_code == 0, result.output
    return result.stdout, [json.loads(line) for line in result.stdout.splitlines()] if "--json" in arguments else []


def test_the_command_says_it_all_in_json(tmp_path: Path, style_file: Path) -> None:
    scene = pan(11)
    film = write_film(tmp_path / "film", frames_of(scene))
    flows = write_flows(tmp_path / "flow", scene)
    plots = tmp_path / "plots"
    more = ("--flow", flows, "--cold", 2, "--cold-every", 5, "--plots", plots, "--json")
    _, records = run(film, "--content", film, "-s", style_file, *more)
    assert [record["event"] for record in records] == ["measured"] * 11 + ["measured_all"]
    frame_keys = {
        *("event", "index", "name", "size", "content", "style", "total_variation", "objective"),
        *("luminance", "contrast", "sharpness", "sharpness_to_cold", "objective_to_cold", "shot", "stability"),
    }
    assert set(records[0]) == frame_keys
    assert [record["objective_to_cold"] is not None for record in records[:-1]] == [True, *[False] * 4] * 2 + [True]
    near, far = records[10]["stability"]
    assert set(near) == {"distance", "warping_error_x1000", "content_warping_error_x1000", "trusted_share"}
    assert (near["distance"], far["distance"]) == (1, 10)
    totals = records[-1]
    assert set(totals) == {
        *("event", "pictures", "mean_objective", "shots", "objective", "luminance", "contrast", "sharpness"),
        *("sharpness_to_cold", "objective_to_cold", "cold_starts", "stability", "plot"),
    }
    objectives = [float(record["objective"]) for record in records[:-1]]
    assert totals["mean_objective"] == pytest.approx(np.mean(objectives))
    assert set(totals["objective"]) == {"mean", "first", "last", "trend_per_100"}
    assert [pair["pairs"] for pair in totals["stability"]] == [10, 1]
    assert (totals["pictures"], totals["shots"], totals["cold_starts"]) == (11, 1, 3)
    assert Path(str(totals["plot"])) == plots / "measures.png" and (plots / "measures.png").is_file()


def test_errors_are_quoted_thousandfold(tmp_path: Path, style_file: Path, tiny_settings: Settings) -> None:
    film = write_film(tmp_path / "film", frames_of(scenes.pan(SIZE, 2, 5)))
    _, records = run(film, "--content", film, "-s", style_file, "--json")
    ((plain,),) = [one.stability for one in measure(film, film, [style_file], tiny_settings) if one.stability]
    (quoted,) = records[1]["stability"]
    assert plain.warping_error is not None
    assert quoted["warping_error_x1000"] == pytest.approx(1000 * plain.warping_error)


def test_the_tables_of_a_long_film(tmp_path: Path, style_file: Path) -> None:
    """Rows stay few, and are not cut short where the output is no terminal."""
    scene = scenes.pan((16, 24), 1, 5)
    film = write_film(tmp_path / "film", frames_of(scene) * 50)
    flows = tmp_path / "flow"
    flows.mkdir()
    for t in range(1, 50):
        write_flo(flows / f"backward_{t + 1}_{t}.flo", np.zeros((16, 24, 2), np.float32))
    out, _ = run(film, "--content", film, "-s", style_file, "--flow", flows, "--set", "total_variation.weight=1")
    frames, totals = (part.splitlines() for part in out.split("\n\n", 1))
    assert frames[0].split() == [
        *("picture", "objective", "content", "style", "tv", "luma", "contrast", "sharp", "warp1"),
    ]
    assert [line.split()[0] for line in frames[1:-1]] == [f"{number}.png" for number in range(1, 51, 2)]
    assert frames[-1] == "1 in 2 frames shown; --json prints all of them"
    assert "…" not in out
    assert " ".join(totals[0].split()) == "50 frames, 1 shot, 24×16 mean first last per 100 frames"
    (error,) = [line for line in totals if line.startswith("warping error ×1000 to 1 frame before (49 pairs)")]
    assert error.split()[-1] == "0.000"


def test_the_table_of_photos_has_means_below(tmp_path: Path, style_file: Path) -> None:
    film = write_film(tmp_path / "film", frames_of(pan(3)))
    out, _ = run(film, "--content", film, "-s", style_file, "--photos", "--cold", 1)
    lines = [line.split() for line in out.splitlines()]
    assert lines[0] == [
        *("picture", "size", "objective", "content", "style", "tv", "luma", "contrast", "sharp"),
        *("sharp/cold", "obj/cold"),
    ]
    assert [line[0] for line in lines[1:]] == ["1.png", "2.png", "3.png", "mean"]
    assert lines[1][1] == "64×48" and len(lines[1]) == 11
