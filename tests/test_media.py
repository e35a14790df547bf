"""What is read is what is in the file, and what is written is what was asked for, frame by frame and tick by tick.

Clips are made by the ffmpeg program, or by PyAV where a truth is needed that its options do not reach.
"""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from impasto.errors import ImpastoError, InputError, MediaError, OutputError, StorageError
from impasto.media import containers, hdr
from impasto.media.codecs import Encoding
from impasto.media.color import VideoColor
from impasto.media.containers import OUTPUT_SUFFIXES, is_video_name
from impasto.media.ffmpeg import ffmpeg_path, ffmpeg_version
from impasto.media.timing import Timing
from impasto.media.tracks import read_tracks
from impasto.media.video_reader import probe, read_frames, scan
from impasto.media.video_writer import VideoWriter
from impasto.storage import TEMPORARY_MARK
from tests.support.clips import H264, ffmpeg, moving_source, number, numbered, sine
from tests.support.seeds import numpy_stream

NTSC = Fraction(30000, 1001)
TICK = {".mp4": Fraction(0), ".mov": Fraction(0), ".mkv": Fraction(1, 1000), ".webm": Fraction(1, 1000)}
"""How far a container may move a frame: not at all, or to the next of its ticks."""


def counting_source(rate: str, frames: int) -> list[str]:
    """Frames that tell their own number, as `numbered` does."""
    grey = "8+8*N"
    graph = f"color=s=64x48:r={rate},geq=r={grey}:g={grey}:b={grey},trim=end_frame={frames}"
    return ["-f", "lavfi", "-i", graph]


SINE = sine()


def write(path: Path, timing: Timing, size: tuple[int, int] = (48, 64), **options: object) -> VideoWriter:
    with VideoWriter(path, size, timing, preset="veryfast", **options) as writer:  # type: ignore[arg-type]
        for index in range(timing.frame_count):
            writer.write(numbered(index, size))
    return writer


def times_of(path: Path) -> list[Fraction]:
    found = scan(path)
    return [ticks * found.time_base for ticks in found.times]


def packets(path: Path, kind: str = "audio") -> list[tuple[Fraction, bytes]]:
    """(time, bytes) of every packet of the first stream of a kind."""
    with av.open(str(path)) as container:
        stream = getattr(container.streams, kind)[0]
        found: list[Any] = list(container.demux(stream))
        return [(p.pts * p.time_base, bytes(p)) for p in found if p.pts is not None]


def heard(path: Path) -> tuple[Fraction, Fraction]:
    """When the decoded sound of a file begins and ends."""
    with av.open(str(path)) as container:
        frames: list[Any] = list(container.decode(audio=0))
    end = frames[-1].pts * frames[-1].time_base + Fraction(frames[-1].samples, frames[-1].sample_rate)
    return frames[0].pts * frames[0].time_base, end


def living_ffmpeg() -> list[str]:
    """Command lines of the ffmpeg processes that this process started and that are not gone."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                name = (entry / "comm").read_text()
                if parent == os.getpid() and "ffmpeg" in name:
                    found.append((entry / "cmdline").read_text().replace("\0", " "))
    return found


@pytest.fixture(autouse=True)
def nothing_is_left_behind(tmp_path: Path) -> Iterator[None]:
    descriptors = len(list(Path("/proc/self/fd").iterdir()))
    yield
    assert living_ffmpeg() == []
    assert [p for p in tmp_path.rglob("*") if TEMPORARY_MARK in p.name] == []
    assert len(list(Path("/proc/self/fd").iterdir())) <= descriptors, "a file was left open"


def refused(
    kind: type[ImpastoError], match: str, path: Path | None = None
) -> contextlib.AbstractContextManager[object]:
    """`pytest.raises` for a message that is one line and names the file."""

    @contextlib.contextmanager
    def check() -> Iterator[None]:
        with pytest.raises(kind, match=match) as error:
            yield
        assert "\n" not in str(error.value)
        assert path is None or path.name in str(error.value)

    return check()


# --- reading ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".webm", ".avi", ".ts", ".mpg", ".gif"])
@pytest.mark.parametrize("rate", ["25", "30000/1001"])
def test_every_frame_is_read_once_in_order_with_its_time(tmp_path: Path, suffix: str, rate: str) -> None:
    path = tmp_path / f"clip{suffix}"
    reordered = ["-bf", "2"] if suffix in (".mp4", ".mov", ".mkv", ".avi", ".ts", ".mpg") else []
    count = 30 if "/" in rate else 25
    ffmpeg(*counting_source(rate, count), *reordered, path)
    found, info = scan(path), probe(path)
    assert found.frame_count == count and found.damage is None
    assert info.size == (48, 64) and info.rotation == 0 and not info.mirrored and not info.has_audio
    if suffix != ".gif":  # Hundredths of a second hold no 30000/1001.
        assert info.rate == Fraction(rate)
        assert found.rate == Fraction(rate)
    elif rate == "25":
        assert found.rate == 25
    frames = list(read_frames(path))
    assert [frame.index for frame in frames] == list(range(count))
    assert [frame.time for frame in frames] == [ticks * found.time_base for ticks in found.times]
    tick = found.time_base
    assert all(abs(f.time - frames[0].time - f.index / Fraction(rate)) <= tick for f in frames)
    assert all(f.image.shape == (48, 64, 3) and f.image.dtype == np.uint8 for f in frames)
    assert [number(frame.image) for frame in frames] == list(range(count))


@pytest.mark.parametrize("name", ["clip.avi", "clip.h264"])
def test_files_without_presentation_times(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    ffmpeg(*counting_source("25", 25), *H264, "-bf", "2", path)
    found = scan(path)
    assert [t * found.time_base for t in found.times] == [Fraction(k, 25) for k in range(25)]
    assert [number(frame.image) for frame in read_frames(path)] == list(range(25))


def test_a_range_of_frames(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    write(path, Timing.constant(25, 12))
    assert [(f.index, number(f.image), f.time) for f in read_frames(path, 4, 7)] == [
        (i, i, Fraction(i, 25)) for i in (4, 5, 6)
    ]
    assert [f.index for f in read_frames(path, 9)] == [9, 10, 11]
    assert list(read_frames(path, 4, 4)) == []
    with refused(InputError, "12 frames, and frame 12", path):
        list(read_frames(path, 12))
    frames = read_frames(path)
    next(frames)
    frames.close()  # type: ignore[attr-defined]


def test_scan_hands_reduced_frames_to_its_consumer(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    ffmpeg(*moving_source(size="640x360", seconds=0.4), *H264, path)
    seen: list[tuple[int, tuple[int, ...]]] = []
    scan(path, lambda index, image: seen.append((index, image.shape)))
    assert seen == [(i, (180, 320, 3)) for i in range(10)]


def test_variable_times_are_read_exactly(tmp_path: Path) -> None:
    path = tmp_path / "clip.mkv"
    ffmpeg(*moving_source(), "-vf", "select=not(mod(n\\,7))+eq(n\\,8)", "-fps_mode", "passthrough", path)
    found = scan(path)
    assert [t * found.time_base * 25 for t in found.times] == [0, 7, 8, 14, 21]
    assert found.rate is None
    assert found.timing.times == found.times


def test_a_dropped_frame_on_a_coarse_clock_is_no_constant_rate(tmp_path: Path) -> None:
    path = tmp_path / "clip.avi"
    ffmpeg(*moving_source(), "-vf", "select=not(eq(n\\,7))", "-fps_mode", "passthrough", "-c:v", "mpeg4", path)
    found = scan(path)
    assert found.frame_count == 24 and found.rate is None


@pytest.mark.parametrize("angle", [90, 180, 270])
@pytest.mark.parametrize("flip", [False, True])
def test_rotation_is_applied_once(tmp_path: Path, angle: int, flip: bool) -> None:
    plain, turned = tmp_path / "plain.mp4", tmp_path / "turned.mp4"
    write(plain, Timing.constant(25, 2))
    flips = ["-display_hflip"] if flip else []
    ffmpeg("-display_rotation", str(-angle), *flips, "-i", plain, "-c", "copy", turned)
    info = probe(turned)
    assert info.size == ((64, 48) if angle in (90, 270) else (48, 64))
    # The reference is ffmpeg itself, which turns a picture once when it decodes.
    ffmpeg("-i", turned, "-frames:v", "1", "-f", "rawvideo", "-pix_fmt", "gray", tmp_path / "reference.gray")
    reference = np.fromfile(tmp_path / "reference.gray", dtype=np.uint8).reshape(info.size)
    image = next(iter(read_frames(turned))).image
    assert np.abs(image[..., 1].astype(int) - reference).max() < 12
    stored = next(iter(read_frames(plain))).image
    upright = np.rot90(stored[:, ::-1] if info.mirrored else stored, -info.rotation // 90)
    assert np.abs(upright.astype(int) - image).max() < 12
    assert info.mirrored == flip
    write(tmp_path / "again.mp4", scan(turned).timing, info.size)
    assert probe(tmp_path / "again.mp4").rotation == 0


def test_pixels_that_are_not_square_are_stretched(tmp_path: Path) -> None:
    for aspect, size in (("4/3", (48, 85)), ("1/2", (96, 64)), ("1000/1", (48, 64))):
        path = tmp_path / "clip.mp4"
        ffmpeg(*moving_source(seconds=0.1), "-vf", f"setsar={aspect}:max=1000", *H264, path)
        assert probe(path).size == size
        assert next(iter(read_frames(path))).image.shape == (*size, 3)


def test_the_cover_is_not_the_video(tmp_path: Path) -> None:
    clip, cover, path = tmp_path / "clip.mp4", tmp_path / "cover.png", tmp_path / "both.mp4"
    write(clip, Timing.constant(25, 3))
    ffmpeg(*moving_source(size="100x100"), "-frames:v", "1", cover)
    ffmpeg("-i", cover, "-i", clip, "-map", "0", "-map", "1", "-c", "copy", "-disposition:0", "attached_pic", path)
    assert probe(path).size == (48, 64)
    assert scan(path).frame_count == 3
    only = tmp_path / "song.mp4"
    ffmpeg(*SINE, "-i", cover, "-map", "0", "-map", "1", "-c:v", "copy", "-disposition:v", "attached_pic", only)
    with refused(InputError, "no moving pictures but a cover picture and sound", only):
        probe(only)


PATCHES = [(0, 0, 0), (255, 255, 255), (200, 30, 40), (20, 180, 60), (40, 50, 210), (128, 128, 128), (250, 220, 30)]


def luma_chroma(rgb: tuple[int, int, int], matrix: str, full: bool) -> list[int]:
    """8-bit Y, Cb, Cr by the formulas of ITU-R BT.601 and BT.709."""
    kr, kb = {"bt709": (0.2126, 0.0722), "smpte170m": (0.299, 0.114)}[matrix]
    r, g, b = (v / 255 for v in rgb)
    y = kr * r + (1 - kr - kb) * g + kb * b
    cb, cr = (b - y) / (2 * (1 - kb)), (r - y) / (2 * (1 - kr))
    scale = (255, 255, 0) if full else (219, 224, 16)
    return [round(v) for v in (y * scale[0] + scale[2], 128 + cb * scale[1], 128 + cr * scale[1])]


@pytest.mark.parametrize("codec", ["libx264", "libvpx-vp9"])  # Full range is a pixel format to one, a tag to the other.
@pytest.mark.parametrize("matrix", ["bt709", "smpte170m"])
@pytest.mark.parametrize(("full", "tagged"), [(False, True), (True, True), (False, False)])
def test_colours_are_read_by_the_formulas(tmp_path: Path, codec: str, matrix: str, full: bool, tagged: bool) -> None:
    # Untagged video is BT.709 from 720 lines on.
    height, width = (720, 64) if matrix == "bt709" and not tagged else (48, 64)
    raw = b"".join(
        bytes([y]) * (width * height) + bytes([cb]) * (width * height // 4) + bytes([cr]) * (width * height // 4)
        for y, cb, cr in (luma_chroma(patch, matrix, full) for patch in PATCHES)
    )
    (tmp_path / "raw.yuv").write_bytes(raw)
    tags = f"setparams=colorspace={matrix}:range={'pc' if full else 'tv'}" if tagged else "null"
    source = ["-f", "rawvideo", "-s", f"{width}x{height}", "-pix_fmt", "yuv420p", "-i", str(tmp_path / "raw.yuv")]
    lossless = ["-qp", "0"] if codec == "libx264" else ["-lossless", "1", "-cpu-used", "8", "-deadline", "realtime"]
    ffmpeg(*source, "-c:v", codec, *lossless, "-vf", tags, tmp_path / "clip.mkv")
    info = probe(tmp_path / "clip.mkv")
    assert info.color.matrix == (matrix if tagged else None)
    if tagged:
        assert info.color.range == ("pc" if full else "tv")
    for frame, patch in zip(read_frames(tmp_path / "clip.mkv"), PATCHES, strict=True):
        assert np.abs(frame.image.astype(int) - patch).max() <= 3, patch


# --- files that are no good -------------------------------------------------------------------------------------------


def test_files_that_are_no_video(tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").write_bytes(b"")
    (tmp_path / "text.mp4").write_text("this is a text file\n" * 100)
    (tmp_path / "zeros.mp4").write_bytes(bytes(10_000))
    (tmp_path / "folder.mp4").mkdir()
    os.mkfifo(tmp_path / "pipe.mp4")
    ffmpeg(*SINE, tmp_path / "song.mp4")
    reasons = {
        "missing.mp4": "No such file",
        "empty.mp4": "empty",
        "text.mp4": "no video file",
        "zeros.mp4": "nothing but zeros",
        "folder.mp4": "a folder",
        "pipe.mp4": "not a regular file",
        "song.mp4": "no moving pictures but sound",
    }
    for name, reason in reasons.items():
        for function in (probe, scan, lambda path: next(iter(read_frames(path)))):
            with refused(InputError, reason, tmp_path / name):
                function(tmp_path / name)


def test_a_playlist_does_not_lead_to_other_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    ffmpeg(*moving_source(seconds=0.2), *H264, tmp_path / "secret.ts")
    hls = "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:1,\nsecret.ts\n#EXT-X-ENDLIST\n"
    concat = "ffconcat version 1.0\nfile 'secret.ts'\n"
    for name, text in {"hls.m3u8": hls, "hls.mp4": hls, "concat.mp4": concat, "concat.ffconcat": concat}.items():
        (tmp_path / name).write_text(text)
        with refused(InputError, "it is (a playlist|no video file)", tmp_path / name):
            probe(tmp_path / name)
    with av.open("hls.m3u8") as container:
        assert len(container.streams.video) == 1, "the playlist is a good one: it was refused for what it is"
    with av.open("concat.mp4") as container:
        assert len(container.streams.video) == 1


NAMES = [
    "-x",
    "http:x",
    "a b",
    'it\'s "q"',
    "o%d",
    "pipe:0",
    "concat:a|b",
    "grüße 絵",
    "$(touch x)",
    "a;b&c",
    "[v]",
    "a,b=c",
]


@pytest.mark.parametrize("name", NAMES)
def test_any_name_is_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    source = tmp_path / "source.mp4"
    ffmpeg(*moving_source(seconds=0.2), *SINE, "-t", "0.2", *H264, source)
    path = Path(f"{name}.mp4")  # Relative, so that it begins as it does.
    shutil.copy(source, path)
    assert scan(path).frame_count == 5
    output = Path(f"{name}-painted.mp4")
    write(output, scan(path).timing, tracks=read_tracks(path))
    assert scan(output).frame_count == 5 and probe(output).has_audio
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(["source.mp4", path.name, output.name])


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_cut_file_gives_its_good_frames_and_says_that_it_is_cut(tmp_path: Path, suffix: str) -> None:
    whole, cut = tmp_path / f"whole{suffix}", tmp_path / f"cut{suffix}"
    fast = ["-movflags", "+faststart"] if suffix == ".mp4" else []
    ffmpeg(*moving_source(seconds=2), *H264, "-g", "10", *fast, whole)
    data = whole.read_bytes()
    cut.write_bytes(data[: int(len(data) * 0.6)])
    found = scan(cut)
    assert 15 < found.frame_count < 50
    assert found.damage is not None and "\n" not in found.damage
    good = [frame.image for frame in read_frames(whole)]
    seen: list[np.ndarray] = []
    with refused(InputError, f"damaged: {found.frame_count}.* frames can be read", cut):
        # `extend` keeps what came before the error.
        seen.extend(frame.image for frame in read_frames(cut))
    assert len(seen) == found.frame_count
    assert all(np.array_equal(a, b) for a, b in zip(seen, good, strict=False))
    assert len(list(read_frames(cut, accept_damage=True))) == found.frame_count
    assert len(list(read_frames(cut, 0, 10))) == 10, "damage behind the range is no error"


def test_a_few_bytes_too_few_are_told(tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole.mp4", tmp_path / "cut.mp4"
    ffmpeg(*moving_source(), *H264, "-movflags", "+faststart", whole)
    cut.write_bytes(whole.read_bytes()[:-20])
    found = scan(cut)
    assert found.frame_count in (23, 24)
    assert found.damage is not None and re.match(r"2[34] of 25 frames can be read", found.damage)


def test_noise_in_the_middle_is_told(tmp_path: Path) -> None:
    whole, broken = tmp_path / "whole.mkv", tmp_path / "broken.mkv"
    ffmpeg(*moving_source(seconds=2), "-c:v", "mpeg4", "-q:v", "2", "-g", "10", whole)
    data = bytearray(whole.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 3000] = numpy_stream(0).integers(0, 256, 3000, dtype=np.uint8).tobytes()
    broken.write_bytes(data)
    found = scan(broken)
    assert found.frame_count >= 20
    assert found.damage is not None


def test_a_picture_that_changes_its_size_keeps_the_first(tmp_path: Path) -> None:
    for name, size in (("a.ts", "64x48"), ("b.ts", "96x80")):
        ffmpeg(*moving_source(seconds=0.2, size=size), *H264, tmp_path / name)
    path = tmp_path / "both.ts"
    path.write_bytes((tmp_path / "a.ts").read_bytes() + (tmp_path / "b.ts").read_bytes())
    shapes = [frame.image.shape for frame in read_frames(path, accept_damage=True)]
    assert len(shapes) >= 9 and set(shapes) == {(48, 64, 3)}


def test_frames_of_an_absurd_size_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "clip.mp4"
    write(path, Timing.constant(25, 2))
    monkeypatch.setattr(containers, "MAX_PIXELS", 48 * 64 - 1)
    with refused(InputError, "64×48 pixels", path):
        probe(path)


def test_a_consumer_that_fails_leaves_nothing_open(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    write(path, Timing.constant(25, 5))

    def fail(index: int, image: np.ndarray) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        scan(path, fail)


def test_a_cut_mp4_without_its_index_is_refused(tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole.mp4", tmp_path / "cut.mp4"
    ffmpeg(*moving_source(), *H264, whole)
    cut.write_bytes(whole.read_bytes()[:-2000])
    with refused(InputError, r"cut off: its last box \(mdat\) is", cut):
        probe(cut)


@pytest.mark.parametrize("name", ["edited.mp4", "fragmented.mp4", "edited.mkv", "end.ts"])
def test_whole_files_of_uncommon_make_are_no_damage(tmp_path: Path, name: str) -> None:
    whole, path = tmp_path / "whole.mp4", tmp_path / name
    ffmpeg(*moving_source(seconds=2), *SINE, *H264, "-bf", "2", "-g", "20", whole)
    fragments = ["-movflags", "frag_keyframe+empty_moov"] if name.startswith("frag") else []
    start = ["-ss", "0.5"] if name.startswith("edited") else []
    ffmpeg(*start, "-i", whole, "-c", "copy", *fragments, path)
    found = scan(path)
    assert found.damage is None
    assert found.frame_count == len(list(read_frames(path))) >= 37


@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
def test_frames_before_the_beginning_of_an_edit_are_not_shown(tmp_path: Path, suffix: str) -> None:
    whole, path = tmp_path / "whole.mp4", tmp_path / f"edited{suffix}"
    ffmpeg(*counting_source("25", 30), *H264, "-bf", "2", "-g", "20", "-qp", "0", whole)
    ffmpeg("-ss", "0.44", "-i", whole, "-c", "copy", path)
    assert [number(frame.image) for frame in read_frames(path)] == list(range(11, 30))
    assert times_of(path) == [Fraction(k, 25) for k in range(19)]


def test_sound_that_outlasts_the_picture_is_no_damage(tmp_path: Path) -> None:
    for name in ("a.mp4", "a.mkv", "a.ts", "a.avi"):
        ffmpeg(*moving_source(seconds=0.5), *SINE, *H264, tmp_path / name)
        assert scan(tmp_path / name).damage is None


# --- times ------------------------------------------------------------------------------------------------------------


def test_timing() -> None:
    timing = Timing.constant(NTSC, 4, Fraction(1, 5))
    assert [t * timing.time_base for t in timing.times] == [Fraction(1, 5) + k / NTSC for k in range(4)]
    assert timing.span_seconds == (Fraction(1, 5), Fraction(1, 5) + 4 / NTSC)
    part = timing.part(1, 3)
    assert part.span_seconds == (Fraction(1, 5) + 1 / NTSC, Fraction(1, 5) + 3 / NTSC) and part.rate == NTSC
    uneven = Timing(Fraction(1, 10), (0, 3, 4), last_duration=9)
    assert uneven.end_seconds == Fraction(13, 10)
    assert uneven.part(0, 1).end_seconds == Fraction(3, 10)
    assert Timing(Fraction(1, 10), (0, 3, 4)).end_seconds == Fraction(1, 2)
    with pytest.raises(ValueError, match="ascend"):
        Timing(Fraction(1, 10), (0, 3, 3))
    with pytest.raises(ValueError, match="none"):
        timing.part(2, 2)


# --- writing: a contract for every container --------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".webm"])
class TestEveryContainer:
    @pytest.mark.parametrize("rate", [Fraction(24), NTSC, Fraction(25)])
    def test_a_constant_rate_is_exact(self, tmp_path: Path, suffix: str, rate: Fraction) -> None:
        path = tmp_path / f"clip{suffix}"
        writer = write(path, Timing.constant(rate, 25))
        found = scan(path)
        assert found.frame_count == 25 and found.rate == rate and found.info.rate == rate
        assert all(abs(t - k / rate) <= TICK[suffix] for k, t in enumerate(times_of(path)))
        assert [number(f.image) for f in read_frames(path)] == list(range(25))
        assert found.timing == Timing.constant(rate, 25)
        assert writer.notes == []

    @pytest.mark.parametrize("count", [1, 2, 3])
    def test_a_few_frames_are_a_video(self, tmp_path: Path, suffix: str, count: int) -> None:
        path = tmp_path / f"clip{suffix}"
        write(path, Timing.constant(24, count))
        assert scan(path).frame_count == count
        assert [number(f.image) for f in read_frames(path)] == list(range(count))

    def test_variable_times_are_kept(self, tmp_path: Path, suffix: str) -> None:
        ticks = (0, 1001, 3003, 4004, 9000, 9100, 20_000, 60_000, 60_100, 70_000, 90_000)
        timing = Timing(Fraction(1, 30_000), ticks, last_duration=20_000)
        path = tmp_path / f"clip{suffix}"
        write(path, timing)
        assert all(abs(t - k * timing.time_base) <= TICK[suffix] for k, t in zip(ticks, times_of(path), strict=True))
        assert scan(path).rate is None
        assert [number(f.image) for f in read_frames(path)] == list(range(11))
        with av.open(str(path)) as container:
            assert container.duration is not None
            assert abs(Fraction(container.duration, 1_000_000) - timing.end_seconds) <= Fraction(2, 1000)

    @pytest.mark.parametrize("size", [(65, 63), (64, 63), (1, 1), (33, 48)])
    def test_odd_sizes_stay(self, tmp_path: Path, suffix: str, size: tuple[int, int]) -> None:
        path = tmp_path / f"clip{suffix}"
        generator = numpy_stream(0)
        smooth = np.kron(generator.integers(40, 216, (9, 9, 3)), np.ones((8, 8, 1)))[: size[0], : size[1]]
        image = smooth.astype(np.uint8)
        if suffix == ".webm":  # 4:2:0 halves colour whatever the size; only brightness has every row.
            image[:] = image[..., :1]
        with VideoWriter(path, size, Timing.constant(25, 2)) as writer:
            writer.write(image)
            writer.write(image)
        assert probe(path).size == size
        for frame in read_frames(path):
            # The last row and column are there and are their own, not their neighbours'.
            assert np.abs(frame.image.astype(int) - image)[-1].mean() < 12
            assert np.abs(frame.image.astype(int) - image)[:, -1].mean() < 12
        assert bool(writer.notes) == (suffix != ".webm")

    @pytest.mark.parametrize(
        ("color", "wanted"),
        [
            (None, VideoColor("bt709", "tv", "bt709", "bt709")),
            (
                VideoColor("smpte170m", "pc", "smpte170m", "smpte170m"),
                VideoColor("smpte170m", "tv", "smpte170m", "smpte170m"),
            ),
            (VideoColor(), VideoColor("smpte170m", "tv", "smpte170m", "smpte170m")),
            (VideoColor("bt2020nc", "tv", "bt2020", "bt2020-10"), VideoColor("bt2020nc", "tv", "bt2020", "bt2020-10")),
        ],
    )
    def test_colours_survive_and_are_tagged(
        self, tmp_path: Path, suffix: str, color: VideoColor | None, wanted: VideoColor
    ) -> None:
        path = tmp_path / f"clip{suffix}"
        timing = Timing.constant(25, len(PATCHES))
        with VideoWriter(path, (48, 64), timing, color=color, encoding=Encoding(crf=4)) as writer:
            for patch in PATCHES:
                writer.write(np.full((48, 64, 3), patch, dtype=np.uint8))
        assert probe(path).color == wanted
        for frame, patch in zip(read_frames(path), PATCHES, strict=True):
            assert np.abs(frame.image.astype(int) - patch).max() <= 3, patch

    def test_the_same_frames_give_the_same_file(self, tmp_path: Path, suffix: str) -> None:
        data = []
        for name in ("a", "b"):
            write(tmp_path / f"{name}{suffix}", Timing.constant(25, 10))
            data.append((tmp_path / f"{name}{suffix}").read_bytes())
        assert data[0] == data[1]

    def test_the_sound_keeps_its_place(self, tmp_path: Path, suffix: str) -> None:
        # The picture begins 0.2 s after the sound.
        source, path = tmp_path / "source.mp4", tmp_path / f"painted{suffix}"
        ffmpeg("-itsoffset", "0.2", *moving_source(), *SINE, *H264, "-c:a", "aac", source)
        writer = write(path, scan(source).timing, tracks=read_tracks(source))
        picture, sound = times_of(path), packets(path)
        assert abs(picture[0] - Fraction(1, 5)) <= TICK[suffix]
        if suffix == ".webm":
            assert any("aac to opus" in note for note in writer.notes)
            begin, end = heard(path)
            assert abs(begin) <= Fraction(8, 1000)
            assert abs(end - 2) < Fraction(3, 100)
        else:
            assert writer.notes == []
            original = packets(source)
            assert [data for _, data in sound] == [data for _, data in original]
            assert all(abs(a - b) <= TICK[suffix] for (a, _), (b, _) in zip(sound, original, strict=True))

    def test_a_range_takes_its_part_of_the_sound(self, tmp_path: Path, suffix: str) -> None:
        source, path = tmp_path / "source.mp4", tmp_path / f"painted{suffix}"
        ffmpeg("-itsoffset", "0.2", *moving_source(), *SINE, *H264, "-c:a", "aac", source)
        timing = scan(source).timing.part(5, 20)
        write(path, timing, tracks=read_tracks(source), part=timing.span_seconds)
        begin, end = timing.span_seconds
        assert (begin, end) == (Fraction(2, 5), Fraction(1))
        picture = times_of(path)
        assert picture[0] == 0 and len(picture) == 15
        first, last = heard(path)
        # Up to one packet is not whole; Matroska's readers take another for the encoder's run-in.
        assert 0 <= first < Fraction(2 * 1024, 48_000)
        assert abs(last - (end - begin)) < Fraction(1024 + 960, 48_000)
        if suffix != ".webm":
            original, sound = packets(source), packets(path)
            assert [d for t, d in original if begin <= t < end] == [d for _, d in sound]
            assert all(
                abs(t + begin - u) <= TICK[suffix]
                for (t, _), (u, _) in zip(sound, [p for p in original if begin <= p[0] < end], strict=True)
            )

    def test_sound_from_a_stream_that_starts_late(self, tmp_path: Path, suffix: str) -> None:
        # A transport stream's clock starts anywhere; the output's starts at zero and nothing moves.
        source, path = tmp_path / "source.ts", tmp_path / f"painted{suffix}"
        ffmpeg("-itsoffset", "0.2", *moving_source(), *SINE, *H264, "-c:a", "aac", source)
        original, before = packets(source), times_of(source)
        assert min(original[0][0], before[0]) > 1
        write(path, scan(source).timing, tracks=read_tracks(source))
        sound, after = packets(path), times_of(path)
        allowed = 2 * TICK[suffix] if suffix != ".webm" else Fraction(10, 1000)  # Opus begins with its pre-skip.
        assert abs((after[0] - sound[0][0]) - (before[0] - original[0][0])) <= allowed + Fraction(1, 90_000)
        assert 0 <= after[0] < Fraction(1, 4)
        assert [t - after[0] for t in after] == pytest.approx([t - before[0] for t in before], abs=float(TICK[suffix]))

    def test_a_failing_block_leaves_what_was_there(self, tmp_path: Path, suffix: str) -> None:
        path = tmp_path / f"clip{suffix}"
        path.write_bytes(b"what was there")
        timing = Timing.constant(25, 10)
        with pytest.raises(FileNotFoundError, match="mine"), VideoWriter(path, (48, 64), timing) as writer:
            writer.write(numbered(0))
            assert len(living_ffmpeg()) == 1
            raise FileNotFoundError("mine")
        assert path.read_bytes() == b"what was there"
        with refused(MediaError, "ended by an error", path):
            writer.write(numbered(1))

    def test_too_few_frames_are_no_video(self, tmp_path: Path, suffix: str) -> None:
        path = tmp_path / f"clip{suffix}"
        with (
            refused(MediaError, "3 of its 10 frames", path),
            VideoWriter(path, (48, 64), Timing.constant(25, 10)) as writer,
        ):
            for index in range(3):
                writer.write(numbered(index))
        assert not path.exists()

    def test_an_ffmpeg_that_is_killed(self, tmp_path: Path, suffix: str) -> None:
        path = tmp_path / f"clip{suffix}"
        with (
            refused(MediaError, "SIGKILL", path),
            VideoWriter(path, (480, 640), Timing.constant(25, 500)) as writer,
        ):
            for index in range(500):
                if index == 3:
                    os.kill(writer._process.pid, signal.SIGKILL)
                writer.write(numbered(index % 30, (480, 640)))
        assert not path.exists()
        with refused(MediaError, "ended by an error", path):
            writer.write(numbered(1))

    def test_a_failure_that_the_block_swallows_is_still_one(self, tmp_path: Path, suffix: str) -> None:
        path = tmp_path / f"clip{suffix}"
        with refused(MediaError, "SIGKILL", path), VideoWriter(path, (480, 640), Timing.constant(25, 50)) as writer:
            os.kill(writer._process.pid, signal.SIGKILL)
            for index in range(50):
                with contextlib.suppress(MediaError):
                    writer.write(numbered(index % 30, (480, 640)))
        assert not path.exists()

    def test_an_ffmpeg_that_is_killed_after_the_last_frame(self, tmp_path: Path, suffix: str) -> None:
        path = tmp_path / f"clip{suffix}"
        with refused(MediaError, "SIGKILL", path), VideoWriter(path, (48, 64), Timing.constant(25, 2)) as writer:
            writer.write(numbered(0))
            writer.write(numbered(1))
            os.kill(writer._process.pid, signal.SIGKILL)
        assert not path.exists()


# --- writing: the rest ------------------------------------------------------------------------------------------------


def test_a_gif(tmp_path: Path) -> None:
    source, path = tmp_path / "source.mp4", tmp_path / "clip.gif"
    ffmpeg(*moving_source(seconds=0.48), *SINE, *H264, source)
    writer = write(path, Timing.constant(25, 12), (65, 63), tracks=read_tracks(source))
    assert scan(path).frame_count == 12 and probe(path).size == (65, 63)
    assert times_of(path) == [Fraction(k, 25) for k in range(12)]
    assert [number(f.image) for f in read_frames(path)] == list(range(12))
    assert writer.notes == ["the sound is left out: a GIF holds none"]
    assert any("rounds times" in note for note in write(path, Timing.constant(NTSC, 12)).notes)


def test_what_is_written_is_h264_with_its_index_in_front(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    write(path, Timing.constant(25, 5))
    assert probe(path).codec == "h264"
    data = path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")
    with av.open(str(path)) as container:
        assert container.streams.video[0].codec_context.pix_fmt == "yuv420p"


def test_all_tracks_of_sound_are_taken_each_as_it_can_be(tmp_path: Path) -> None:
    source = tmp_path / "source.mkv"
    maps = ["-map", "0", "-map", "1", "-map", "1", "-c:a:0", "pcm_s16le", "-c:a:1", "aac"]
    ffmpeg(*moving_source(), *SINE, *H264, *maps, source)
    expected = {
        ".mp4": ["aac", "aac"],
        ".mov": ["pcm_s16le", "aac"],
        ".mkv": ["pcm_s16le", "aac"],
        ".webm": ["opus", "opus"],
    }
    for suffix, codecs in expected.items():
        writer = write(tmp_path / f"a{suffix}", scan(source).timing, tracks=read_tracks(source))
        with av.open(str(tmp_path / f"a{suffix}")) as container:
            found = [s.codec_context.name.removeprefix("lib") for s in container.streams.audio]
        assert found == codecs, suffix
        assert len(writer.notes) == {".mp4": 1, ".mov": 0, ".mkv": 0, ".webm": 2}[suffix]


GREYS = (0, 40, 102, 150, 190)


def grey_bars(transfer: str, path: Path) -> Path:
    """Bars of the grey levels `GREYS` of a standard video, as one of high dynamic range that looks the same."""
    bars = "+".join(f"{level}*between(X,{32 * place},{32 * place + 31})" for place, level in enumerate(GREYS))
    graph = f"color=c=black:s=160x64:r=25:d=0.12,format=gbrp,geq=r='{bars}':g='{bars}':b='{bars}'"
    # zscale takes BT.709 for the light of a screen of BT.1886, as `to_standard` does.
    to_hdr = f"zscale=tin=bt709:pin=bt709:min=gbr:rin=full:t={transfer}:p=bt2020:m=bt2020nc:r=tv:npl=203"
    ffmpeg(
        *("-f", "lavfi", "-i", graph, "-vf", f"{to_hdr},format=yuv420p10le", "-c:v", "libx265", "-crf", "1"),
        *("-x265-params", "log-level=error", "-color_trc", transfer, "-color_primaries", "bt2020"),
        *("-colorspace", "bt2020nc", path),
    )  # fmt: skip
    return path


@pytest.mark.parametrize(("transfer", "name"), [("smpte2084", "PQ"), ("arib-std-b67", "HLG")])
def test_high_dynamic_range_is_reduced_to_standard(tmp_path: Path, transfer: str, name: str) -> None:
    """What is within the range of a standard picture keeps its look: greys to 2 of 255."""
    path = grey_bars(transfer, tmp_path / "hdr.mp4")
    info = probe(path)
    assert (info.hdr, info.color) == (name, VideoColor("bt709", "tv", "bt709", "bt709"))
    for frame in read_frames(path):
        found = [frame.image[32, 16 + 32 * place].astype(int) for place in range(len(GREYS))]
        for level, pixel in zip(GREYS, found, strict=True):
            assert np.abs(pixel - level).max() <= 2, (level, pixel)


def test_the_tones_of_high_dynamic_range_ascend_to_white() -> None:
    ramp = np.repeat(np.arange(65_536, dtype=np.uint16)[None, :, None], 3, axis=2)
    for transfer in hdr.TRANSFERS:
        shown = hdr.to_standard(ramp, transfer)[0].astype(int)
        assert (np.diff(shown, axis=0) >= 0).all()
        assert (shown[0] == 0).all()
        assert (shown[-1] == 255).all()
        assert np.abs(shown - shown[:, :1]).max() <= 1, "grey stays grey"
    # ST 2084: 0.5081 is 100 cd/m², 0.7518 is 1000, the peak.
    for code, wanted in ((0.5081, 255 * (100 / 203) ** (1 / 2.4)), (0.7519, 255.0)):
        value = hdr.to_standard(np.full((1, 1, 3), round(code * 65_535), np.uint16), "smpte2084")[0, 0, 0]
        assert float(value) == pytest.approx(wanted, abs=1)


def test_standard_video_is_no_high_dynamic_range(tmp_path: Path) -> None:
    ffmpeg(*moving_source(seconds=0.2), *H264, "-color_trc", "bt709", tmp_path / "a.mp4")
    assert probe(tmp_path / "a.mp4").hdr is None


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi", ".ts"])
def test_interlaced_frames_are_made_one(tmp_path: Path, suffix: str) -> None:
    """Frame for frame, with the times that they had, and without the comb."""
    path, whole = tmp_path / f"a{suffix}", tmp_path / "whole.mkv"
    moving = "color=c=gray:s=128x96:r=50:d=1,drawbox=x=0:y=0:w=40:h=96:c=white:t=fill,scroll=h=0.03"
    coded = ["-c:v", "mpeg2video", "-q:v", "2", "-pix_fmt", "yuv420p"]
    ffmpeg("-f", "lavfi", "-i", moving, "-vf", "interlace=lowpass=off", *coded, "-flags", "+ildct+ilme", path)
    ffmpeg("-f", "lavfi", "-i", moving, "-vf", "fps=25", *coded, whole)
    found, plain = scan(path), scan(whole)
    assert (found.frame_count, found.not_kept) == (
        25,
        ("the video is interlaced: the two fields of a frame are made one picture (bwdif)",),
    )
    assert (plain.frame_count, plain.not_kept) == (25, ())
    assert found.rate == 25

    def comb(image: np.ndarray) -> float:
        rows = image.astype(float).mean(2)
        return float(np.abs(2 * rows[1:-1] - rows[:-2] - rows[2:]).mean())

    images = [frame.image for frame in read_frames(path)]
    with av.open(str(path)) as container:
        raw = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(images) == len(raw) == 25
    combs, before = [comb(image) for image in images[2:-2]], [comb(image) for image in raw[2:-2]]
    assert np.mean(combs) < 0.2 * np.mean(before)


def test_a_source_without_sound(tmp_path: Path) -> None:
    source, path = tmp_path / "source.mp4", tmp_path / "painted.mp4"
    ffmpeg(*moving_source(seconds=0.2), *H264, source)
    writer = write(path, scan(source).timing, tracks=read_tracks(source))
    assert not probe(path).has_audio and writer.notes == []
    (tmp_path / "text.mp4").write_text("text")
    with refused(InputError, "no video file"):
        VideoWriter(path, (48, 64), Timing.constant(25, 1), tracks=read_tracks(tmp_path / "text.mp4"))


def test_an_output_that_cannot_be(tmp_path: Path) -> None:
    timing = Timing.constant(25, 1)
    for name in ("a.avi", "a", "a.png"):
        with refused(OutputError, re.escape(" ".join(OUTPUT_SUFFIXES)), Path(name)):
            VideoWriter(tmp_path / name, (48, 64), timing)
    (tmp_path / "file").write_text("")
    with refused(StorageError, "file"), VideoWriter(tmp_path / "file" / "a.mp4", (48, 64), timing):
        pass
    for arguments in (((0, 4), timing), ((4, 4), Timing(Fraction(1, 25), ()))):
        with pytest.raises(ValueError, match=r"no pixels|at least one frame"):
            VideoWriter(tmp_path / "a.mp4", *arguments)


def test_frames_that_do_not_fit(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    writer = VideoWriter(path, (48, 64), Timing.constant(25, 1))
    with refused(MediaError, "not open yet", path):
        writer.write(numbered(0))
    with writer:
        for wrong in (np.zeros((64, 48, 3), dtype=np.uint8), np.zeros((48, 64, 3)), np.zeros((48, 64), dtype=np.uint8)):
            with pytest.raises(ValueError, match="48×64×3 uint8"):
                writer.write(wrong)
        writer.write(numbered(0)[:, ::-1])
        with refused(MediaError, "all of its 1", path):
            writer.write(numbered(1))
    with refused(MediaError, "finished", path):
        writer.write(numbered(1))
    with refused(MediaError, "used up", path), writer:
        pass


def test_an_ffmpeg_that_does_not_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(tmp_path / "nowhere"))
    with (
        refused(MediaError, "could not start ffmpeg"),
        VideoWriter(tmp_path / "a.mp4", (48, 64), Timing.constant(25, 1)),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


def fake_ffmpeg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str) -> None:
    program = tmp_path / "ffmpeg-fake"
    program.write_text(f"#!{sys.executable}\nimport os, signal, sys, time\n{body}\n")
    program.chmod(0o755)
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(program))


def test_messages_without_end_do_not_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Far more on stderr than a pipe holds, while frames are still coming.
    noise = "sys.stderr.write('noise\\n' * 200_000); sys.stderr.flush()"
    body = f"{noise}\nwhile sys.stdin.buffer.read(65536): pass\nsys.exit('the cause')"
    fake_ffmpeg(tmp_path, monkeypatch, body)
    with refused(MediaError, r"status 1 \(the cause\)"):
        write(tmp_path / "a.mp4", Timing.constant(25, 20), (200, 200))


def test_success_without_a_file_is_no_success(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drain = "while sys.stdin.buffer.read(65536): pass\n"
    fake_ffmpeg(tmp_path, monkeypatch, drain)
    with refused(MediaError, "cannot be read"):
        write(tmp_path / "a.mp4", Timing.constant(25, 2))
    other = tmp_path / "other.mp4"
    monkeypatch.undo()
    write(other, Timing.constant(25, 3))
    fake_ffmpeg(tmp_path, monkeypatch, f"{drain}import shutil; shutil.copy({str(other)!r}, sys.argv[-1][5:])")
    with refused(MediaError, "wrote 3 of its 2 frames"):
        write(tmp_path / "a.mp4", Timing.constant(25, 2))
    assert not (tmp_path / "a.mp4").exists()


def test_an_ffmpeg_that_will_not_end_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ready = tmp_path / "ready"
    body = f"signal.signal(signal.SIGTERM, signal.SIG_IGN)\nopen({str(ready)!r}, 'w').close()\ntime.sleep(60)"
    fake_ffmpeg(tmp_path, monkeypatch, body)
    began = time.monotonic()
    impatient = VideoWriter(tmp_path / "a.mp4", (48, 64), Timing.constant(25, 9), kill_after_seconds=0.3)
    with pytest.raises(KeyboardInterrupt), impatient as writer:
        pid = writer._process.pid
        writer.write(numbered(0))
        while not ready.exists() and time.monotonic() - began < 20:
            time.sleep(0.01)
        raise KeyboardInterrupt
    assert time.monotonic() - began < 20
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_writer_that_dies_takes_ffmpeg_along(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys, numpy as np\nfrom pathlib import Path\n"
        "from impasto.media.timing import Timing\nfrom impasto.media.video_writer import VideoWriter\n"
        f"w = VideoWriter(Path({str(tmp_path)!r}) / 'a.mp4', (48, 64), Timing.constant(25, 9)).__enter__()\n"
        "w.write(np.zeros((48, 64, 3), np.uint8)); print(w._process.pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    root = Path(__file__).resolve().parents[1]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False)
    pid = int(done.stdout)
    for _ in range(100):
        state = Path(f"/proc/{pid}/stat")
        if not state.exists() or state.read_text().rpartition(")")[2].split()[0] == "Z":
            break
        time.sleep(0.1)
    else:
        pytest.fail("ffmpeg outlived the process that wrote")
    assert not (tmp_path / "a.mp4").exists()
    for left in tmp_path.iterdir():
        left.unlink()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 256 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = shutil.which("mount")
    if os.geteuid() != 0 or mount is None:
        pytest.skip("a small disk can only be mounted by root")
    done = subprocess.run(
        [mount, "-t", "tmpfs", "-o", "size=256k", "tmpfs", folder], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        pytest.skip(f"a small disk cannot be mounted here: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def noise(index: int) -> np.ndarray:
    return numpy_stream(index).integers(0, 256, (96, 128, 3), dtype=np.uint8)


def best(suffix: str) -> Encoding:
    return Encoding(crf=None if suffix == ".gif" else 2)


@pytest.mark.parametrize("suffix", OUTPUT_SUFFIXES)
def test_a_full_disk_is_told(small_disk: Path, suffix: str) -> None:
    with (
        refused(StorageError, "no space left"),
        VideoWriter(small_disk / f"a{suffix}", (96, 128), Timing.constant(25, 60), encoding=best(suffix)) as writer,
    ):
        for index in range(60):
            writer.write(noise(index))
    assert list(small_disk.iterdir()) == []


@pytest.mark.parametrize("suffix", OUTPUT_SUFFIXES)
def test_a_file_that_may_not_grow_is_told(tmp_path: Path, suffix: str) -> None:
    # Where no small disk can be had: a limit on the size of files fails the writes of ffmpeg alike.
    code = (
        "import resource, signal, sys, numpy as np\nfrom pathlib import Path\n"
        "from impasto.media.codecs import Encoding\nfrom impasto.errors import MediaError, StorageError\n"
        "from impasto.media.timing import Timing\n"
        "from impasto.media.video_writer import VideoWriter\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "try:\n"
        f"    path = Path({str(tmp_path)!r}) / 'a{suffix}'\n"
        f"    with VideoWriter(path, (96, 128), Timing.constant(25, 40), encoding={best(suffix)!r}) as w:\n"
        "        for i in range(40):\n"
        "            w.write(np.random.default_rng(i).integers(0, 256, (96, 128, 3), dtype=np.uint8))\n"
        "except (MediaError, StorageError) as error:\n"
        "    print(type(error).__name__, error)\n"
    )
    root = Path(__file__).resolve().parents[1]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False)
    assert re.match(r"(MediaError|StorageError) .*a\.", done.stdout), done.stdout + done.stderr
    assert done.stderr == ""
    assert list(tmp_path.iterdir()) == []


# --- the program ------------------------------------------------------------------------------------------------------


def test_the_program_is_there_and_tells_its_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert ffmpeg_path().is_file()
    assert re.match(r"N-|n?\d+\.", ffmpeg_version())
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(tmp_path / "nowhere"))
    with refused(MediaError, "does not run"):
        ffmpeg_version()


def test_is_video_name() -> None:
    assert is_video_name(Path("A.MP4")) and is_video_name(Path("a.gif")) and is_video_name(Path("x/a.webm"))
    assert not is_video_name(Path("a.png")) and not is_video_name(Path("mp4"))


def test_importing_media_loads_no_torch() -> None:
    modules = "sys, impasto.media.images, impasto.media.video_reader"
    code = f"import {modules}; print('torch' in sys.modules, 'cv2' in sys.modules)"
    root = Path(__file__).resolve().parents[1]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False False"
