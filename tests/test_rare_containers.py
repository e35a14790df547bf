"""Containers that few people bring are read under their own names, and what is missing of others is named."""

import struct
from pathlib import Path

import pytest

from impasto.errors import InputError
from impasto.media.boxes import boxes
from impasto.media.content import ContentKind
from impasto.media.find_content import resolve_content
from impasto.media.images import read_image
from impasto.media.video_reader import probe, scan
from tests.support.clips import H264, ffmpeg, moving_source, sine

RARE = {
    "a.mxf": ["-c:v", "mpeg2video"],
    "a.nut": H264,
    "a.f4v": H264,
    "a.3g2": H264,
    "a.ivf": ["-c:v", "libvpx"],
    "a.y4m": ["-pix_fmt", "yuv420p"],
    "a.rm": ["-c:v", "rv20"],
    "a.asf": ["-c:v", "wmv2"],
    "a.m2v": ["-c:v", "mpeg2video", "-bf", "2"],
    "a.h264": [*H264, "-bf", "2"],
    "a.hevc": ["-c:v", "libx265", "-x265-params", "log-level=none"],
}


@pytest.mark.parametrize("name", RARE)
def test_a_rare_container_is_read_by_its_name(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    ffmpeg(*moving_source("30", 0.5), *RARE[name], path)
    assert resolve_content((path,), tmp_path / "o.mp4", "auto").kind is ContentKind.VIDEO
    found = scan(path)
    assert (found.frame_count, found.rate, found.damage, found.not_kept) == (15, 30, None, ())


def test_a_stream_that_says_no_rate_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.hevc"
    ffmpeg(*moving_source("30", 0.2), "-c:v", "libx265", "-x265-params", "log-level=none:vui-timing-info=0", path)
    assert scan(path).not_kept == ("the file has no times: its frames are shown at 25 a second",)


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("film") / "a.mp4"
    ffmpeg(*moving_source(seconds=0.4), *H264, path)
    return path.read_bytes()


def refusal(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        probe(path)
    return str(caught.value).partition(f"{path}: ")[2]


def test_what_an_mp4_lacks_is_named(tmp_path: Path, film: bytes) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(film)
    with open(path, "rb") as file:
        movie = next(box for box in boxes(file) if box.name == b"moov")
    path.write_bytes(film[: movie.start])
    assert refusal(path).startswith("its header (moov) is missing, as that of a recording that was not finished")
    path.write_bytes(film[: movie.start - 9])
    assert refusal(path) == "it is cut off: its last box (mdat) is 9 bytes longer than the file; get it again"
    path.write_bytes(film[: movie.start + 300])
    assert refusal(path).startswith("it is cut off: its last box (moov) is ")


def test_boxes_that_make_no_sense_are_damage_and_no_end(tmp_path: Path, film: bytes) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(film)
    with open(path, "rb") as file:
        brand, *_, movie = boxes(file)
    at = f"it is damaged: what begins at byte {movie.start} "
    for header, said in (
        (b"\x7f\xff\xff\xff\r\nD)", at + "is a box of 2147483647 bytes; get it again"),
        (b"\x7f\xff\xff\xffmp41", at + "is a box (mp41) of 2147483647 bytes; get it again"),
        (struct.pack(">I4sQ", 1, b"mdat", 1 << 62), at + f"is a box (mdat) of {1 << 62} bytes; get it again"),
        (struct.pack(">I4s", 4, b"moov"), at + "is no box; get it again"),
    ):
        path.write_bytes(film[: movie.start] + header + film[movie.start :])
        assert refusal(path) == said
    path.write_bytes(struct.pack(">I4sQ", 1, b"ftyp", 1 << 63) + film[8:])
    assert refusal(path) == f"it is damaged: what begins at byte 0 is a box (ftyp) of {1 << 63} bytes; get it again"
    # A recorder that has not come to fill in the size of its frames.
    path.write_bytes(film[: brand.end] + struct.pack(">I4s", 8, b"mdat") + film[movie.start - 200 : movie.start])
    assert refusal(path).startswith("its header (moov) is missing, as that of a recording that was not finished")
    # Frames that are all there are painted, and their end is not called missing.
    path.write_bytes(film + struct.pack(">I4sQ", 1, b"mdat", 1 << 62))
    assert scan(path).damage is None


def test_a_header_that_holds_nothing_is_called_so(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(struct.pack(">I4s", 0, b"moov") + b"x" * 50)
    assert refusal(path) == "it holds neither pictures nor sound: its header is empty or damaged; get it again"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"version https://git-lfs.github.com/spec/v1\n", "file was not fetched; fetch it with: git lfs pull"),
        (b"<!DOCTYPE html><html>404", "it is a web page; get the {} itself"),
        (b"PK\x03\x04" + bytes(60), "it is a ZIP archive; unpack it, and name the {}"),
    ],
)
def test_what_is_no_media_at_all_has_a_remedy(tmp_path: Path, data: bytes, said: str) -> None:
    for name, kind in (("a.mp4", "video"), ("a.png", "picture")):
        path = tmp_path / name
        path.write_bytes(data)
        with pytest.raises(InputError) as caught:
            probe(path) if kind == "video" else read_image(path)
        assert str(caught.value).endswith(said.format(kind))


def test_a_piece_of_a_stream_is_called_so(tmp_path: Path) -> None:
    whole, path = tmp_path / "whole.mp4", tmp_path / "a.mp4"
    ffmpeg(*moving_source(seconds=0.4), *H264, "-movflags", "frag_keyframe+empty_moov", whole)
    data = whole.read_bytes()
    path.write_bytes(data[data.index(b"moof") - 4 :])
    assert refusal(path).startswith("it is one piece of a video, without the beginning that describes it: join them")


@pytest.mark.parametrize("kind", ["mp3", "flac", "wav", "adts", "aiff"])
def test_sound_is_called_so(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.mp4"
    ffmpeg(*sine(0.2), "-f", kind, path)
    assert refusal(path).startswith("it is sound (") and refusal(path).endswith("; name a video")


def test_a_film_without_moving_pictures_says_what_it_has(tmp_path: Path) -> None:
    path, cover = tmp_path / "a.mp4", tmp_path / "cover.png"
    ffmpeg(*moving_source(seconds=0.04), "-frames:v", "1", cover)
    ffmpeg(*sine(0.2), "-i", cover, "-map", "0", "-map", "1", "-c:v", "copy", "-disposition:v", "attached_pic", path)
    assert refusal(path) == "it holds no moving pictures but a cover picture and sound; name a video"


@pytest.mark.parametrize(
    ("name", "told"), [("a.m3u8", "is a playlist"), ("a.mpd", "is a playlist"), ("a.m4s", "piece")]
)
def test_playlists_and_pieces_are_refused_by_name(tmp_path: Path, name: str, told: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"#EXTM3U\n")
    with pytest.raises(InputError, match=told):
        resolve_content((path,), tmp_path / "o.mp4", "auto")
    path.rename(tmp_path / "a.mp4")
    assert refusal(tmp_path / "a.mp4") == "it is a playlist (HLS); name a video"
