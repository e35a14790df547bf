"""Results of any tool are paired with what they were painted from, and measured as the painter does."""

from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.config import Settings
from pipeline.encoder import EncoderWeights
from pipeline.errors import InputError, UsageError
from pipeline.events import Losses
from pipeline.frames import resize
from pipeline.images import read_image, write_image
from pipeline.measure import Measured, measure
from pipeline.media import Timing, VideoWriter, read_frames
from pipeline.stylize import Painter


def picture(seed: int, size: tuple[int, int] = (48, 64)) -> np.ndarray:
    """A soft pattern that no other seed has."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return resize(coarse, size)


def folder(path: Path, names: dict[str, int], size: tuple[int, int] = (48, 64)) -> Path:
    for name, seed in names.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        write_image(path / name, picture(seed, size))
    return path


def video(path: Path, seeds: list[int], size: tuple[int, int] = (48, 64)) -> Path:
    with VideoWriter(path, size, Timing.constant(25, len(seeds)), preset="ultrafast", crf=4) as writer:
        for seed in seeds:
            writer.write(picture(seed, size))
    return path


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


@pytest.mark.parametrize(
    ("painted", "given", "word"), [(3, 2, "ends after 2"), (2, 3, "ends after 2"), (1, 3, "after 1")]
)
def test_counts_that_differ_are_refused(
    tmp_path: Path, style_file: Path, tiny_settings: Settings, painted: int, given: int, word: str
) -> None:
    film = video(tmp_path / "film.mp4", list(range(given)))
    frames = folder(tmp_path / "frames", {f"{index}.png": index for index in range(painted)})
    with pytest.raises(InputError, match=word):
        list(measure(frames, film, [style_file], tiny_settings))


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
    with pytest.raises(InputError, match="more pictures"):
        list(measure(content_file, film, [style_file], tiny_settings))


@pytest.mark.parametrize("weights", [(1.0,), (1.0, 1.0, 1.0), (0.0, 0.0)], ids=str)
def test_style_weights_that_cannot_be_are_refused(
    content_file: Path, style_file: Path, tiny_settings: Settings, weights: tuple[float, ...]
) -> None:
    with pytest.raises(UsageError, match="weight"):
        list(measure(content_file, content_file, [style_file, style_file], tiny_settings, weights))
