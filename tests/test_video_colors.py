"""Colours that few files have: converted, or said to be wrong."""

from pathlib import Path

import numpy as np
import pytest

from impasto.media.color import VideoColor
from impasto.media.images import read_image
from impasto.media.picture_colors import misunderstood
from impasto.media.video_reader import read_frames, scan
from impasto.media.video_writer import VideoWriter
from tests.support.clips import ffmpeg, with_box

RGB = np.array([200, 60, 30])


def make(path: Path, matrix: str, levels: tuple[int, int, int], *, is_full: bool, pixels: str = "yuv444p") -> Path:
    """A clip of one colour, given as it is stored."""
    raw = path.with_suffix(".yuv")
    sizes = [(48, 64)] + [(48, 64) if pixels == "yuv444p" else (24, 32)] * 2
    frame = b"".join(np.full(size, level, np.uint8).tobytes() for size, level in zip(sizes, levels, strict=True))
    raw.write_bytes(frame * 2)
    tags = f"setparams=colorspace={matrix}:range={'pc' if is_full else 'tv'}"
    source = ["-f", "rawvideo", "-pix_fmt", pixels, "-s", "64x48", "-r", "10", "-i", raw]
    ffmpeg(*source, "-vf", tags, "-c:v", "libx264", "-qp", "0", path)
    return path


@pytest.mark.parametrize("is_full", [False, True])
@pytest.mark.parametrize("pixels", ["yuv444p", "yuv420p"])
def test_ycgco_is_converted(tmp_path: Path, is_full: bool, pixels: str) -> None:
    red, green, blue = RGB / 255
    luma, cg, co = (red + 2 * green + blue) / 4, (2 * green - red - blue) / 4, (red - blue) / 2
    if is_full:
        levels = round(255 * luma), round(128 + 255 * cg), round(128 + 255 * co)
    else:
        levels = round(16 + 219 * luma), round(128 + 219 * cg), round(128 + 219 * co)
    found = scan(make(tmp_path / "a.mp4", "ycgco", levels, is_full=is_full, pixels=pixels))
    assert (found.info.color.matrix, found.not_kept) == ("ycgco", ())
    image = next(read_frames(tmp_path / "a.mp4")).image
    assert np.abs(image.astype(int) - RGB).max() <= 2


@pytest.mark.parametrize("matrix", ["ictcp", "smpte2085", "chroma-derived-nc"])
def test_a_matrix_that_is_not_converted_is_reported(tmp_path: Path, matrix: str) -> None:
    found = scan(make(tmp_path / "a.mp4", matrix, (100, 120, 140), is_full=False))
    assert found.not_kept == (f"the colours of the video are coded by the matrix {matrix}, which is not converted",)


@pytest.mark.parametrize(
    ("color", "message"),
    [
        (VideoColor("bt709", "tv", "smpte428", "smpte428"), "follow the transfer function smpte428"),
        (VideoColor("bt2020c", "tv", "bt2020", "smpte2084"), "are of constant luminance"),
        (VideoColor("ictcp", "tv", "bt2020", "bt709"), "are coded by the matrix ictcp"),
    ],
)
def test_what_of_colours_is_not_understood(color: VideoColor, message: str) -> None:
    assert message in (misunderstood(color) or "")


@pytest.mark.parametrize("primaries", ["bt709", "bt2020", None])
def test_plain_colours_are_understood(primaries: str | None) -> None:
    assert misunderstood(VideoColor("bt709", "tv", primaries, "bt709")) is None
    assert misunderstood(VideoColor()) is None
    assert VideoColor("chroma-derived-nc", "tv", "bt2020").matrix_for(480) == "bt2020nc"


@pytest.mark.parametrize(
    ("profile", "base", "message"), [(5, 0, "converted without its metadata"), (8, 1, "is left out")]
)
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_dolby_vision_is_reported(tmp_path: Path, suffix: str, profile: int, base: int, message: str) -> None:
    plain, marked, path = tmp_path / "plain.mp4", tmp_path / "dovi.mp4", tmp_path / f"a{suffix}"
    coded = ["-c:v", "libx265", "-x265-params", "log-level=none", "-tag:v", "hvc1"]
    ffmpeg("-f", "lavfi", "-i", "color=c=red:s=64x48:r=10:d=0.3", *coded, plain)
    # Version 1.0, the profile, level 1, pictures and metadata present, the kind of base (Dolby, 2.2).
    bits = profile << 9 | 1 << 3 | 0b101
    record = bytes([1, 0]) + bits.to_bytes(2) + bytes([base << 4]) + bytes(19)
    name = b"dvcC" if profile < 8 else b"dvvC"
    with_box(plain, marked, b"hvc1", (8 + len(record)).to_bytes(4) + name + record)
    if suffix == ".mkv":
        ffmpeg("-i", marked, "-c", "copy", "-strict", "unofficial", path)
    else:
        marked.rename(path)
    text = scan(path).not_kept[-1]
    assert f"Dolby Vision (profile {profile})" in text and message in text


STORED_AS_RGB = {
    "a.gif": [],
    "a.apng": [],
    "palette.avi": ["-pix_fmt", "pal8", "-c:v", "msrle"],
    "raw.avi": ["-c:v", "rawvideo", "-pix_fmt", "bgr24"],
    "a.mkv": ["-c:v", "ffv1", "-pix_fmt", "gbrp"],
    "png.mov": ["-c:v", "png"],
    "a.mov": ["-c:v", "qtrle"],
    "a.mp4": ["-c:v", "libx264rgb", "-qp", "0"],
}


@pytest.mark.parametrize("name", STORED_AS_RGB)
@pytest.mark.parametrize("suffix", [".mp4", ".webm", ".mkv"])
def test_rgb_becomes_bt709_at_any_size(tmp_path: Path, name: str, suffix: str) -> None:
    source, path, plain = tmp_path / name, tmp_path / f"painted{suffix}", tmp_path / "plain.png"
    color = f"color=c=0x{bytes(RGB.tolist()).hex()}:s=64x48:r=10:d=0.2,format=rgb24"
    # Only a palette made for the picture holds its very colour.
    color += ",split[a][b];[a]palettegen[p];[b][p]paletteuse" if "palette" in name or name == "a.gif" else ""
    ffmpeg("-f", "lavfi", "-i", color, *STORED_AS_RGB[name], source)
    found = scan(source)
    with VideoWriter(path, (48, 64), found.timing, color=found.info.color, preset="ultrafast") as writer:
        for frame in read_frames(source):
            assert np.abs(frame.image.astype(int) - RGB).max() <= 1
            writer.write(frame.image)
    assert scan(path).info.color == VideoColor("bt709", "tv", "bt709", "bt709")
    ffmpeg("-i", path, "-frames:v", "1", "-vf", "scale=flags=accurate_rnd+full_chroma_int,format=rgb24", plain)
    assert np.abs(read_image(plain).mean((0, 1)) - RGB).mean() <= 1.1


def test_rgb_has_the_matrix_of_its_primaries() -> None:
    assert VideoColor("gbr", "pc", "bt2020").matrix_for(48) == "bt2020nc"
    assert VideoColor("gbr", "pc", "smpte432").matrix_for(48) == "bt709"
