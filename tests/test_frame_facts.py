"""What frames carry besides their pixels is reported where it is not kept."""

from pathlib import Path

import pytest

from impasto.media.video_reader import scan
from tests.support.clips import H264, ffmpeg, moving_source

CAPTION = b"\x00\x00\x01\xb2GA94\x03\xc1\xff\xfc\x94\x2c\xff"
"""User data of MPEG-2 with one pair of bytes of closed captions (ATSC A/53, part 4)."""


def test_closed_captions_are_told(tmp_path: Path) -> None:
    plain, path = tmp_path / "plain.m2v", tmp_path / "a.mpg"
    ffmpeg(*moving_source(seconds=0.2), "-c:v", "mpeg2video", plain)
    parts = plain.read_bytes().split(b"\x00\x00\x01\xb5")
    # Behind the extension of the header of each picture, whose number is 8.
    captioned = (part[:5] + CAPTION + part[5:] if part[0] >> 4 == 8 else part for part in parts[1:])
    (tmp_path / "captioned.m2v").write_bytes(b"\x00\x00\x01\xb5".join([parts[0], *captioned]))
    ffmpeg("-i", tmp_path / "captioned.m2v", "-c", "copy", path)
    assert "the closed captions within the pictures are left out" in scan(path).not_kept


@pytest.mark.parametrize("mode", ["left_right", "top_bottom", "mono"])
def test_stereoscopic_pictures_are_told(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "a.mkv"
    ffmpeg(*moving_source(seconds=0.2), *H264, "-metadata:s:v", f"stereo_mode={mode}", path)
    assert any("stereoscopic" in line for line in scan(path).not_kept) == (mode != "mono")


def test_packed_views_of_the_codec_are_told(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    ffmpeg(*moving_source(seconds=0.2), *H264, "-x264-params", "frame-packing=3", path)
    assert any("stereoscopic" in line for line in scan(path).not_kept)


def test_plain_pictures_have_nothing_to_tell(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    ffmpeg(*moving_source(seconds=0.2), *H264, path)
    assert scan(path).not_kept == ()
