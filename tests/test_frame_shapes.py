"""Frames that are not of the size of the first, and edges that the container does not show."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from impasto.media import stream_facts
from impasto.media.video_reader import probe, read_frames, scan
from tests.support.clips import H264, ffmpeg, with_clap

RED, BLUE = "color=c=0xff0000", "color=c=0x0000ff"


def solid(path: Path, color: str, size: str, *arguments: str) -> None:
    """Half a second of one colour with a white border of eight pixels."""
    width, height = size.split("x")
    border = f"drawbox=x=0:y=0:w={width}:h={height}:t=8:c=white"
    ffmpeg("-f", "lavfi", "-i", f"{color}:s={size}:r=10:d=0.5,{border}", *arguments, path)


def append(path: Path, first: Path, second: Path) -> None:
    """The packets of two files in one stream, as of a telephone that is turned while it streams."""
    with av.open(str(path), "w") as output, av.open(str(first)) as a, av.open(str(second)) as b:
        stream = output.add_stream_from_template(a.streams.video[0])
        shift = 0
        for container in (a, b):
            found: list[Any] = [packet for packet in container.demux(container.streams.video[0]) if packet.size]
            for packet in found:
                packet.pts, packet.dts, packet.stream = packet.pts + shift, packet.dts + shift, stream
                output.mux(packet)
            shift = round(Fraction(1, 2) / found[0].time_base)


def make(tmp_path: Path, suffix: str, sizes: tuple[str, str]) -> Path:
    path = tmp_path / f"changing{suffix}"
    coded = ["-c:v", "libvpx", "-b:v", "1M"] if suffix == ".webm" else [*H264, "-f", "mpegts"]
    parts = [tmp_path / f"{number}{suffix}" for number in range(2)]
    for part, color, size in zip(parts, (RED, BLUE), sizes, strict=True):
        solid(part, color, size, *coded)
    if suffix == ".ts":
        path.write_bytes(b"".join(part.read_bytes() for part in parts))
    else:
        append(path, *parts)
    return path


def is_color(pixel: np.ndarray, color: tuple[int, int, int]) -> bool:
    return bool(np.abs(pixel.astype(int) - color).max() < 30)


@pytest.mark.parametrize("suffix", [".webm", ".ts"])
def test_a_frame_of_another_shape_keeps_it(tmp_path: Path, suffix: str) -> None:
    path = make(tmp_path, suffix, ("96x64", "64x96"))
    found = scan(path)
    assert (found.frame_count, found.info.size, found.damage) == (10, (64, 96), None)
    assert any("5 frames of the video are not of the size of the first" in text for text in found.not_kept)
    assert any("5 of them of another shape between black bars" in text for text in found.not_kept)
    images = [frame.image for frame in read_frames(path)]
    assert {image.shape for image in images} == {(64, 96, 3)}
    assert is_color(images[0][32, 48], (255, 0, 0)) and is_color(images[0][32, 2], (255, 255, 255))
    turned = images[-1]
    # 64×96 in 96×64: 43 pixels wide, in the middle, with the whole border.
    assert is_color(turned[32, 48], (0, 0, 255))
    assert all(is_color(turned[32, column], (0, 0, 0)) for column in (0, 20, 75, 95))
    assert all(is_color(turned[32, column], (255, 255, 255)) for column in (29, 66))
    assert is_color(turned[2, 48], (255, 255, 255)) and is_color(turned[61, 48], (255, 255, 255))


def test_a_frame_of_another_size_and_the_same_shape_fills_the_picture(tmp_path: Path) -> None:
    path = make(tmp_path, ".webm", ("96x64", "192x128"))
    found = scan(path)
    assert found.info.size == (64, 96)
    (text,) = found.not_kept
    assert "5 frames" in text and "bars" not in text
    large = [frame.image for frame in read_frames(path)][-1]
    assert is_color(large[1, 1], (255, 255, 255)) and is_color(large[32, 48], (0, 0, 255))


@pytest.mark.parametrize("suffix", [".mov", ".mp4", ".mkv"])
def test_what_the_container_crops_is_not_painted(tmp_path: Path, suffix: str) -> None:
    plain, cropped = tmp_path / "plain.mov", tmp_path / "clap.mov"
    solid(plain, RED, "96x64", *H264, "-g", "2")
    # Eight pixels off every side but the left, where it is sixteen: the border and eight more.
    with_clap(plain, cropped, 96 - 8 - 16, 64 - 16, 4, 0)
    path = tmp_path / f"clip{suffix}"
    if suffix == ".mov":
        path = cropped
    else:
        ffmpeg("-i", cropped, "-c", "copy", path)
    assert stream_facts.stream_facts(path, 0).crop == stream_facts.Crop(8, 8, 16, 8)
    assert probe(path).size == (48, 72)
    found = scan(path)
    assert found.not_kept == (
        "the pixels that the container crops are not painted (8 top, 8 bottom, 16 left, 8 right)",
    )
    images = [frame.image for frame in read_frames(path)]
    assert len(images) == 5
    assert all(is_color(image[row, column], (255, 0, 0)) for image in images for row in (0, 47) for column in (0, 71))
    # Sought or read from the beginning, the frames are the same.
    assert found.index is not None
    assert np.array_equal(next(read_frames(path, 4, accept_damage=True, index=found.index)).image, images[4])


def test_a_crop_that_leaves_nothing_is_passed_over(tmp_path: Path) -> None:
    plain, cropped = tmp_path / "plain.mov", tmp_path / "clap.mov"
    solid(plain, RED, "96x64", *H264)
    with_clap(plain, cropped, 0, 0, 0, 0)
    assert probe(cropped).size == (64, 96)
