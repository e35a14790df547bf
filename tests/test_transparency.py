"""Transparency is carried from the content to the painting unchanged; animated images are films."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from impasto.errors import InputError, OutputError, UsageError
from impasto.events import Event, Notice
from impasto.job.folder import comparison_path
from impasto.media import images, video_reader
from impasto.media.codecs import Encoding
from impasto.media.content import ContentKind
from impasto.media.find_content import resolve_content
from impasto.media.timing import Timing
from impasto.media.video_writer import VideoWriter
from impasto.plan.request import Request
from impasto.presets import load_settings
from impasto.run.job_run import stylize
from tests.conftest import TINY
from tests.support.unpainted import unpainted

SIZE = (48, 64)
DURATIONS = (100, 40, 250)


def drawn(index: int) -> np.ndarray:
    """RGBA: a ramp of colours with a hole that moves, and a veil."""
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    image = np.dstack([4 * x % 256, 5 * y % 256, 0 * x + 100, 0 * x + 255]).astype(np.uint8)
    image[10:30, 8 + 12 * index : 20 + 12 * index, 3] = 0
    image[35:, :, 3] = 128
    return image


def animation(path: Path, count: int = 3, **options: object) -> Path:
    pictures = [Image.fromarray(drawn(index)) for index in range(count)]
    exact = {"lossless": True, "exact": True} if path.suffix == ".webp" else {}
    durations = list(DURATIONS[:count])
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=durations, **exact, **options)
    return path


def painted(content: Path | Sequence[Path], style: Path, output: Path, **more: object) -> list[str]:
    """Paints with a handful of iterations; returns what was told."""
    contents = (content,) if isinstance(content, Path) else tuple(content)
    notices: list[str] = []

    def listen(event: Event) -> None:
        if isinstance(event, Notice):
            notices.append(event.text)

    stylize(Request(contents, (style,), output, load_settings("default", TINY), **more), listen)  # type: ignore[arg-type]
    return notices


@pytest.mark.parametrize("name", ["a.webp", "a.png", "a.apng"])
def test_an_animated_image_is_read_as_a_film(tmp_path: Path, name: str) -> None:
    path = animation(tmp_path / name)
    assert resolve_content([path], tmp_path / "o.mp4", "auto").kind is ContentKind.VIDEO
    found = video_reader.scan(path)
    assert found.has_alpha and found.rate is None and found.info.size == SIZE
    assert [ticks * found.time_base for ticks in found.times] == [0, Fraction(1, 10), Fraction(14, 100)]
    assert found.last_duration is not None and found.last_duration * found.time_base == Fraction(1, 4)
    for frame in video_reader.read_frames(path):
        assert frame.alpha is not None
        visible = frame.alpha > 0
        assert np.array_equal(frame.alpha, drawn(frame.index)[..., 3])
        assert np.array_equal(frame.image[visible], drawn(frame.index)[..., :3][visible])
    assert [frame.index for frame in video_reader.read_frames(path, 1, 2)] == [1]


def test_still_images_are_no_films(tmp_path: Path) -> None:
    for name in ("a.webp", "a.png"):
        Image.fromarray(drawn(0)).save(tmp_path / name)
        assert resolve_content([tmp_path / name], tmp_path / "o.png", "auto").kind is ContentKind.IMAGE
    path = animation(tmp_path / "b.webp")
    assert resolve_content([path], tmp_path / "o", "photos").kind is ContentKind.PHOTOS
    with pytest.raises(OutputError, match="name a video or a folder"):
        resolve_content([path], tmp_path / "o.webp", "auto")


def test_a_picture_for_programs_without_animation_is_no_frame(tmp_path: Path) -> None:
    path = animation(tmp_path / "a.png", default_image=True)
    found = [frame.alpha for frame in video_reader.read_frames(path)]
    assert len(found) == 2
    assert all(np.array_equal(alpha, drawn(index)[..., 3]) for index, alpha in enumerate(found, start=1))


def test_a_cut_animation_gives_its_good_frames(tmp_path: Path) -> None:
    path = animation(tmp_path / "a.png")
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 5 // 6])
    found = video_reader.scan(path)
    assert 0 < found.frame_count < 3
    assert found.damage is not None and "frames can be read" in found.damage and "\n" not in found.damage
    assert len(list(video_reader.read_frames(path, accept_damage=True))) == found.frame_count
    with pytest.raises(InputError, match="damaged"):
        list(video_reader.read_frames(path))


def test_transparency_of_an_animation_reaches_the_painting(tmp_path: Path, style_file: Path) -> None:
    source, output = animation(tmp_path / "a.webp"), tmp_path / "o.webm"
    assert painted(source, style_file, output, encoding=Encoding(crf=0)) == []
    found = video_reader.scan(output)
    assert found.has_alpha and found.frame_count == 3
    assert [round(float(ticks * found.time_base), 3) for ticks in found.times] == [0, 0.1, 0.14]
    for frame in video_reader.read_frames(output):
        assert frame.alpha is not None
        assert np.abs(frame.alpha.astype(int) - drawn(frame.index)[..., 3]).mean() < 3
    told = painted(source, style_file, tmp_path / "o.mp4", compare=True)
    assert any("transparency is left out" in text for text in told)
    beside = list(video_reader.read_frames(comparison_path(tmp_path / "o.mp4")))
    assert len(beside) == 3 and beside[0].image.shape == (48, 128, 3)
    left = beside[0].image[:, :64].astype(int)
    assert np.abs(left - drawn(0)[..., :3])[drawn(0)[..., 3] == 255].mean() < 6


def test_transparency_of_frames_in_a_folder_is_kept(tmp_path: Path, style_file: Path) -> None:
    source = animation(tmp_path / "a.webp")
    painted(source, style_file, tmp_path / "frames")
    folder = tmp_path / "in"
    folder.mkdir()
    for index in range(3):
        Image.fromarray(drawn(index)).save(folder / f"{index}.png")
    painted(folder, style_file, tmp_path / "sequence", mode="sequence")
    for index in range(3):
        for path in (tmp_path / "frames" / f"00000{index}.png", tmp_path / "sequence" / f"{index}.png"):
            alpha = images.read_image_and_alpha(path)[1]
            assert alpha is not None and np.array_equal(alpha, drawn(index)[..., 3])
    painted(folder, style_file, tmp_path / "o.mkv", mode="sequence", encoding=Encoding("ffv1"))
    kept = [frame.alpha for frame in video_reader.read_frames(tmp_path / "o.mkv")]
    assert all(np.array_equal(alpha, drawn(index)[..., 3]) for index, alpha in enumerate(kept) if alpha is not None)
    assert len([alpha for alpha in kept if alpha is not None]) == 3


def test_transparency_of_prores_is_kept(tmp_path: Path, style_file: Path) -> None:
    source, output = tmp_path / "a.mov", tmp_path / "o.mov"
    with VideoWriter(source, SIZE, Timing.constant(25, 3), encoding=Encoding("prores"), has_alpha=True) as writer:
        for index in range(3):
            writer.write(drawn(index))
    assert video_reader.scan(source).has_alpha
    painted(source, style_file, output, encoding=Encoding("prores"))
    for frame in video_reader.read_frames(output):
        assert frame.alpha is not None
        assert np.abs(frame.alpha.astype(int) - drawn(frame.index)[..., 3]).mean() < 3


def test_compare_stands_beside_every_kind_of_output(tmp_path: Path, style_file: Path) -> None:
    photos = tmp_path / "photos"
    (photos / "sub").mkdir(parents=True)
    for name in ("a.png", "sub/b.png"):
        Image.fromarray(drawn(0)[..., :3]).save(photos / name)
    painted(photos, style_file, tmp_path / "o", compare=True)
    for name in ("a.png", "sub/b.png"):
        pair = images.read_image(tmp_path / "o-compare" / name)
        assert np.array_equal(pair[:, :64], drawn(0)[..., :3])
        assert np.array_equal(pair[:, 64:], images.read_image(tmp_path / "o" / name))
    painted(photos / "a.png", style_file, tmp_path / "one.png", compare=True)
    assert images.read_image(tmp_path / "one-compare.png").shape == (48, 128, 3)
    # Asked for later, it is made later, and nothing is painted again.
    (tmp_path / "one-compare.png").unlink()
    before = (tmp_path / "one.png").stat().st_mtime_ns
    painted(photos / "a.png", style_file, tmp_path / "one.png", compare=True)
    assert (tmp_path / "one-compare.png").exists() and (tmp_path / "one.png").stat().st_mtime_ns == before


def test_compare_overwrites_nothing_unasked(tmp_path: Path, style_file: Path) -> None:
    source = tmp_path / "a-compare.png"
    Image.fromarray(drawn(0)[..., :3]).save(source)
    before = source.read_bytes()
    with pytest.raises(OutputError, match="is the content itself"):
        painted(source, style_file, tmp_path / "a.png", compare=True)
    (tmp_path / "b-compare.png").write_text("mine")
    with pytest.raises(OutputError, match="for `compare`, exists"):
        painted(source, style_file, tmp_path / "b.png", compare=True)
    assert source.read_bytes() == before and (tmp_path / "b-compare.png").read_text() == "mine"
    painted(source, style_file, tmp_path / "b.png", compare=True, force=True)
    assert images.read_image(tmp_path / "b-compare.png").shape == (48, 128, 3)


def test_encodings_are_for_videos(tmp_path: Path, style_file: Path) -> None:
    Image.fromarray(drawn(0)).save(tmp_path / "a.png")
    with pytest.raises(UsageError, match="are for video outputs"):
        painted(tmp_path / "a.png", style_file, tmp_path / "o.png", encoding=Encoding(crf=3))
    with pytest.raises(UsageError, match="does not hold ProRes"):
        painted(animation(tmp_path / "b.webp"), style_file, tmp_path / "o.mp4", encoding=Encoding("prores"))


@pytest.mark.parametrize("plays", [0, 1, 2, 5])
@pytest.mark.parametrize("suffix", [".gif", ".webp", ".png"])
def test_an_animation_is_played_as_often_as_before(tmp_path: Path, style_file: Path, suffix: str, plays: int) -> None:
    """A GIF counts repetitions and has no number where it is played once; WebP and APNG count plays."""
    source, output = tmp_path / f"a{suffix}", tmp_path / "o.gif"
    pictures = [Image.fromarray(np.full((*SIZE, 3), level, np.uint8)) for level in (50, 200)]
    loop = {0: {"loop": 0}, 1: {}}.get(plays, {"loop": plays - 1}) if suffix == ".gif" else {"loop": plays}
    pictures[0].save(source, save_all=True, append_images=pictures[1:], duration=100, **loop)
    settings = load_settings("default", (*TINY, "size=none", "flow.method=dis", "shots.detect=false"))
    stylize(Request((source,), (style_file,), output, settings), executor_factory=unpainted)
    with Image.open(output) as image:
        assert image.info.get("loop") == {0: 0, 1: None}.get(plays, plays - 1)
    done = stylize(Request((source,), (style_file,), tmp_path / "o.mp4", settings), executor_factory=unpainted)
    assert any(f"plays {plays} times" in line for line in done.not_kept) == (plays > 1)
