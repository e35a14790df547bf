"""Times beyond even and ascending: clocks that jump, last frames that stay, sound with a clock of its own."""

import itertools
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from impasto.media import rebased_tracks, transport_stream, truncation
from impasto.media.codecs import Encoding
from impasto.media.timing import Timing
from impasto.media.tracks import read_tracks
from impasto.media.video_reader import read_frames, scan
from impasto.media.video_writer import VideoWriter
from impasto.plan.request import Request
from impasto.presets import load_settings
from impasto.run.job_run import resume, stylize
from tests.conftest import TINY
from tests.support.clips import H264, end_by_ffmpeg, ffmpeg, moving_source, number, numbered, sine
from tests.support.unpainted import unpainted

TENTH = Fraction(1, 10)
REORDERED = ["-c:v", "libx264", "-preset", "veryfast", "-pix_fmt", "yuv420p", "-g", "5", "-bf", "2"]
CODECS = {
    ".ts": [*REORDERED, "-c:a", "aac"],
    ".m2ts": [*REORDERED, "-c:a", "ac3"],
    ".mpg": ["-c:v", "mpeg2video", "-c:a", "mp2"],
    ".mkv": [*REORDERED, "-c:a", "libopus"],
    ".ogv": ["-c:v", "libtheora", "-q:v", "9", "-c:a", "libvorbis", "-fflags", "+bitexact"],
}
RATES = {".ts": "10", ".m2ts": "10", ".mpg": "25", ".mkv": "10", ".ogv": "10"}


def piece(path: Path, seconds: float = 1, offset: float = 0, *arguments: str) -> bytes:
    """The bytes of a clip of broadcasting with sound, whose clock begins `offset` seconds later than usual."""
    source = [*moving_source(RATES[path.suffix], seconds), *sine(seconds)]
    ffmpeg(*source, *CODECS[path.suffix], *arguments, "-output_ts_offset", str(offset), path)
    return path.read_bytes()


def sound_times(path: Path) -> list[tuple[Fraction, Fraction]]:
    """Start and end of each packet of sound, in order."""
    with av.open(str(path)) as container:
        found: list[Any] = list(container.demux(container.streams.audio[0]))
        packets = [packet for packet in found if packet.size]
        return sorted((p.pts * p.time_base, (p.pts + (p.duration or 0)) * p.time_base) for p in packets)


def sound_start(path: Path) -> Fraction:
    """When the first decoded sample is heard."""
    with av.open(str(path)) as container:
        frame = next(container.decode(audio=0))
        assert frame.pts is not None and frame.time_base is not None
        return frame.pts * frame.time_base


def sound_seconds(path: Path) -> float:
    """The length of the decoded sound."""
    with av.open(str(path)) as container:
        rate = container.streams.audio[0].codec_context.sample_rate
        return sum(frame.samples for frame in container.decode(audio=0)) / rate


@pytest.mark.parametrize(
    ("suffix", "offset"),
    [(".ts", 0), (".ts", 4000), (".ts", 0.55), (".m2ts", 0), (".mpg", 0), (".mpg", 4000), (".mkv", 0), (".ogv", 0)],
)
def test_a_clock_that_jumps_goes_on_where_it_was(tmp_path: Path, suffix: str, offset: float) -> None:
    """Files of broadcasting that were appended: all frames, evenly, and sound that stays with them."""
    joined = tmp_path / f"joined{suffix}"
    parts = [piece(tmp_path / f"a{suffix}"), piece(tmp_path / f"b{suffix}", 1, offset)]
    joined.write_bytes(b"".join(parts))
    count = 2 * int(RATES[suffix])
    found = scan(joined)
    assert (found.frame_count, found.rate, found.damage) == (count, int(RATES[suffix]), None)
    assert found.has_jumps and found.index is None
    assert len(found.not_kept) == 1 and "jumps once" in found.not_kept[0]
    assert [frame.time for frame in read_frames(joined)] == [ticks * found.time_base for ticks in found.times]

    rebased = tmp_path / "tracks.nut"
    rebased_tracks.write_rebased_tracks(joined, rebased)
    before = sound_times(joined)[0][0] - found.timing.start_seconds
    packets = sound_times(rebased)
    assert abs(packets[0][0] - found.timing.start_seconds - before) < Fraction(1, 100)
    assert abs(packets[-1][1] - found.timing.end_seconds) < Fraction(1, 20)
    # No gap and no overlap of more than a packet.
    assert all(abs(after[0] - packet[1]) < Fraction(1, 40) for packet, after in itertools.pairwise(packets))


def test_a_film_with_jumps_is_painted_whole(tmp_path: Path, style_file: Path) -> None:
    joined, output = tmp_path / "joined.ts", tmp_path / "o.webm"
    joined.write_bytes(b"".join(piece(tmp_path / f"{n}.ts", 0.5, offset) for n, offset in enumerate((0, 20, 2, 7000))))
    settings = load_settings("default", (*TINY, "size=none", "flow.method=dis", "shots.detect=false"))
    request = Request((joined,), (style_file,), output, settings)
    done = stylize(request, executor_factory=unpainted)
    assert any("jumps 3 times" in line for line in done.not_kept)
    found = scan(output)
    assert (found.frame_count, found.timing.end_seconds - found.timing.start_seconds) == (20, 2)
    assert abs(sound_seconds(output) - 2) < 0.1
    assert abs(sound_times(output)[-1][1] - found.timing.end_seconds) < 0.1
    # What the sound was put on one time line in is gone, and what was said is still known.
    assert not list(request.job_folder.glob("*.tracks"))
    assert resume(request.job_folder).not_kept == done.not_kept


def test_a_counter_that_jumps_between_files_is_no_damage(tmp_path: Path) -> None:
    """Segments of one recording: their clock goes on, and only the counters of their packets begin anew."""
    whole = tmp_path / "whole.ts"
    piece(whole, 2)
    ffmpeg("-copyts", "-i", whole, "-c", "copy", "-f", "segment", "-segment_time", "1", tmp_path / "s%d.ts")
    segments = [path.read_bytes() for path in sorted(tmp_path.glob("s?.ts"))]
    assert len(segments) == 2
    joined = tmp_path / "joined.ts"
    joined.write_bytes(b"".join(segments))
    found = scan(joined)
    assert (found.frame_count, found.damage, found.has_jumps) == (20, None, False)


def test_packets_that_are_missing_within_a_picture_are_damage(tmp_path: Path) -> None:
    data, size = piece(tmp_path / "a.ts"), 188
    with av.open(str(tmp_path / "a.ts")) as container:
        stream = container.streams.video[0]
        key = [packet for packet in container.demux(stream) if packet.is_keyframe][-1]
        pid, position = stream.id, key.pos
    assert position is not None and transport_stream.is_whole(tmp_path / "a.ts", pid, position)
    own = [
        offset
        for offset in range(position + size, len(data), size)
        if (data[offset + 1] & 0x1F) << 8 | data[offset + 2] == pid
    ]
    broken = tmp_path / "broken.ts"
    broken.write_bytes(data[: own[2]] + data[own[2] + size :])
    assert not transport_stream.is_whole(broken, pid, position)
    assert scan(broken).damage is not None


SOUND = {
    "adpcm.avi": ["-c:v", "mjpeg", "-c:a", "adpcm_ima_wav"],
    "mp3.avi": ["-c:v", "mjpeg", "-c:a", "libmp3lame"],
    "wma.avi": ["-c:v", "mjpeg", "-c:a", "wmav2"],
    "mp3.flv": ["-c:v", "flv", "-c:a", "libmp3lame"],
    "wma.wmv": ["-c:v", "wmv2", "-c:a", "wmav2"],
    "vorbis.ogv": ["-c:v", "libtheora", "-c:a", "libvorbis"],
    "mulaw.mov": ["-c:v", "mjpeg", "-c:a", "pcm_mulaw"],
}


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".webm"])
@pytest.mark.parametrize("name", SOUND)
def test_sound_has_its_own_clock(tmp_path: Path, name: str, suffix: str) -> None:
    """Encoded anew or copied, it is whole, even, and where it was, however coarse the clock of the pictures is."""
    source, output = tmp_path / name, tmp_path / f"o{suffix}"
    tone = ["-f", "lavfi", "-i", "sine=f=330:r=44100:d=2"]
    ffmpeg(*moving_source("10", 2), *tone, *SOUND[name], source)
    found = scan(source)
    with VideoWriter(output, (48, 64), found.timing, tracks=read_tracks(source)) as writer:
        for index in range(found.frame_count):
            writer.write(numbered(index))
    assert abs(sound_seconds(output) - sound_seconds(source)) < 0.06
    packets = sound_times(output)
    # Packets follow each other, up to the millisecond of Matroska.
    assert all(abs(after[0] - packet[1]) <= Fraction(2, 1000) for packet, after in itertools.pairwise(packets))
    late = sound_start(output) - scan(output).timing.start_seconds
    assert abs(late - (sound_start(source) - found.timing.start_seconds)) < Fraction(1, 20)


HOLDS = {
    ".mp4": [*H264, "-bf", "2"],
    ".mov": ["-c:v", "mjpeg"],
    ".mkv": ["-c:v", "ffv1"],
    ".webm": ["-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8"],
    ".avi": ["-c:v", "mpeg4"],
    ".flv": ["-c:v", "flv"],
    ".wmv": ["-c:v", "wmv2"],
    ".ogv": ["-c:v", "libtheora"],
    ".gif": [],
}
"""Containers that say how long the last frame stays: by its duration, or by where the file ends."""


def held(path: Path) -> None:
    """A clip of four frames a tenth of a second apart, the last of which stays for two seconds."""
    ffmpeg("-f", "lavfi", "-i", "testsrc2=s=64x48:r=10:d=0.4", "-c:v", "ffv1", path.with_name("short.mkv"))
    timing = "setts=pts=PTS:dts=DTS:duration=if(eq(N\\,3)\\,2/TB\\,DURATION)"
    ffmpeg("-i", path.with_name("short.mkv"), "-c", "copy", "-bsf:v", timing, path.with_name("held.mkv"))
    # Some encoders pass the duration of a frame on, others leave it to the container.
    encoding = HOLDS[path.suffix]
    ffmpeg("-i", path.with_name("held.mkv"), *encoding, "-fps_mode", "passthrough", "-bsf:v", timing, path)


@pytest.mark.parametrize("suffix", HOLDS)
def test_a_last_frame_that_stays_is_read(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    held(path)
    found = scan(path)
    assert (found.frame_count, found.damage) == (4, None)
    assert abs(found.timing.end_seconds - found.timing.start_seconds - Fraction(23, 10)) <= Fraction(1, 100)


@pytest.mark.parametrize("suffix", [".webp", ".png"])
def test_a_last_picture_that_stays_is_read(tmp_path: Path, suffix: str) -> None:
    pictures = [Image.fromarray(numbered(index)) for index in range(4)]
    path = tmp_path / f"a{suffix}"
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=[100, 100, 100, 2000])
    assert scan(path).timing.end_seconds == Fraction(23, 10)


@pytest.mark.parametrize("suffix", [".avi", ".flv", ".ogv"])
def test_a_file_that_was_cut_off_holds_nothing(tmp_path: Path, suffix: str) -> None:
    """Its header promises as much as that of one whose last frame stays."""
    path = tmp_path / f"a{suffix}"
    ffmpeg(*moving_source("10", 3), *HOLDS[suffix], path)
    data = path.read_bytes()
    assert truncation.is_complete(path)
    path.write_bytes(data[: len(data) // 2])
    assert not truncation.is_complete(path)
    found = scan(path)
    assert found.damage is not None
    assert found.timing.end_seconds < 2


WRITTEN = {
    "h264.mp4": "h264",
    "hevc.mp4": "hevc",
    "av1.mp4": "av1",
    "vp9.mp4": "vp9",
    "prores.mov": "prores",
    "h264.mkv": "h264",
    "ffv1.mkv": "ffv1",
    "vp9.webm": "vp9",
    "gif.gif": "gif",
}


@pytest.mark.parametrize("rate", [Fraction(10), None], ids=["even", "uneven"])
@pytest.mark.parametrize("name", WRITTEN)
def test_a_last_frame_that_stays_is_written(tmp_path: Path, name: str, rate: Fraction | None) -> None:
    path = tmp_path / name
    times = (0, 10, 20, 30) if rate else (0, 10, 30, 40)
    timing = Timing(Fraction(1, 100), times, rate, 200)
    with VideoWriter(path, (48, 64), timing, encoding=Encoding(WRITTEN[name])) as writer:
        for index in range(4):
            writer.write(numbered(index))
    assert abs(end_by_ffmpeg(path) - timing.end_seconds) <= Fraction(1, 100)
    assert scan(path).timing.end_seconds == timing.end_seconds


@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_a_last_frame_of_a_millisecond_is_shown(tmp_path: Path, codec: str) -> None:
    path = tmp_path / "a.mp4"
    with VideoWriter(path, (48, 64), Timing.constant(1000, 8), encoding=Encoding(codec)) as writer:
        for index in range(8):
            writer.write(numbered(index))
    with av.open(str(path)) as container:
        assert len(list(container.decode(video=0))) == 8


@pytest.mark.parametrize("size", ["64x48", "96x64"])
def test_appended_ogg_files_without_sound_are_painted_whole(tmp_path: Path, size: str) -> None:
    """The headers of each, which lie among the frames, are no frames and no damage."""
    path, parts = tmp_path / "joined.ogv", [tmp_path / "first.ogv", tmp_path / "second.ogv"]
    for part, own in zip(parts, ("64x48", size), strict=True):
        ffmpeg(*moving_source("10", 1, own), "-c:v", "libtheora", "-q:v", "9", part)
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    found = scan(path)
    assert (found.frame_count, found.rate, found.damage) == (20, 10, None)
    alone = [frame.image for frame in read_frames(parts[1])]
    if size == "64x48":
        assert all((frame.image == own).all() for frame, own in zip(list(read_frames(path))[10:], alone, strict=True))
    else:
        assert any("10 frames of the video are not of the size of the first" in line for line in found.not_kept)


def test_appended_ogg_files_that_are_not_read_are_told(tmp_path: Path) -> None:
    """Of files with sound, the demuxer reads the first."""
    path = tmp_path / "joined.ogv"
    for serial in (10, 20):
        data = piece(tmp_path / "part.ogv", 1, 0, "-serial_offset", str(serial))
        path.write_bytes(path.read_bytes() + data if path.exists() else data)
    assert scan(path).damage == (
        "10 frames can be read, and the file cannot be read on after 1.000 s "
        "(another file is appended there: paint it by itself)"
    )


TIME_LINES = st.tuples(
    st.sampled_from([Fraction(1, 1000), Fraction(1, 90_000), Fraction(1001, 30_000), Fraction(1, 25)]),
    st.lists(st.integers(1, 40), min_size=1, max_size=7),
    st.integers(1, 400),
    st.integers(0, 50),
)
"""(Seconds a tick, ticks between frames, ticks that the last stays, ticks before the first.)"""


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".webm", ".gif"])
@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(line=TIME_LINES)
def test_any_time_line_is_kept(tmp_path: Path, suffix: str, line: tuple[Fraction, Sequence[int], int, int]) -> None:
    """Every frame's start and the end of the film are what ffmpeg makes of them, and sound stays with the pictures."""
    base, steps, last, first = line
    unit = max(1, round(Fraction(1, 50) / base))  # In steps of a fiftieth of a second, which a GIF holds too.
    times = tuple(unit * ticks for ticks in itertools.accumulate((first, *steps)))
    timing = Timing(base, times, None, unit * last)
    path, tone = tmp_path / f"a{suffix}", tmp_path / "tone.mkv"
    if not tone.exists():
        ffmpeg("-f", "lavfi", "-i", "sine=f=330:r=48000:d=3", "-c:a", "libopus", tone)
    with VideoWriter(path, (48, 64), timing, tracks=read_tracks(tone)) as writer:
        for index in range(timing.frame_count):
            writer.write(numbered(index))
    tick = {".mp4": Fraction(0), ".mov": Fraction(0), ".gif": Fraction(1, 100)}.get(suffix, Fraction(1, 1000))
    found = scan(path)
    shown = [number(frame.image) for frame in read_frames(path)]
    assert shown == list(range(timing.frame_count))
    starts = [ticks * found.time_base for ticks in found.times]
    assert all(
        abs((start - starts[0]) - (ticks - times[0]) * base) <= tick for start, ticks in zip(starts, times, strict=True)
    )
    end = timing.end_seconds - timing.start_seconds
    assert abs(end_by_ffmpeg(path) - starts[0] - end) <= 2 * tick + Fraction(1, 100)
    assert abs(found.timing.end_seconds - starts[0] - end) <= 2 * tick + Fraction(1, 1000)
    if suffix != ".gif":
        late, source_late = starts[0] - sound_start(path), timing.start_seconds - sound_start(tone)
        assert abs(late - source_late) <= Fraction(1, 100)


@pytest.mark.parametrize("suffix", [".mkv", ".webm", ".mp4"])
def test_slow_pictures_are_no_jump(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    coded = ["-c:v", "libvpx", "-g", "1"] if suffix == ".webm" else [*H264, "-g", "1"]
    times = "setpts='(eq(N\\,1)*12+eq(N\\,2)*31+eq(N\\,3)*90)/TB'"
    source = ["-f", "lavfi", "-i", "testsrc2=s=64x48:r=1:d=4", "-vf", f"settb=1/1000,{times}"]
    ffmpeg(*source, "-fps_mode", "passthrough", "-enc_time_base", "1:1000", *coded, path)
    found = scan(path)
    assert [float(ticks * found.time_base) for ticks in found.times] == [0, 12, 31, 90]
    assert not found.has_jumps


def test_subtitles_of_a_video_whose_clock_jumps(tmp_path: Path, style_file: Path) -> None:
    """They go on with sound and pictures."""
    (tmp_path / "s.srt").write_text("1\n00:00:00,200 --> 00:00:00,400\nfirst\n")
    part = tmp_path / "part.mkv"
    ffmpeg(*moving_source("10", 1), *sine(1), "-i", tmp_path / "s.srt", *H264, "-c:a", "libopus", "-c:s", "srt", part)
    joined, output = tmp_path / "joined.mkv", tmp_path / "o.mkv"
    joined.write_bytes(part.read_bytes() * 2)
    settings = load_settings("default", (*TINY, "size=none", "flow.method=dis", "shots.detect=false"))
    stylize(Request((joined,), (style_file,), output, settings), executor_factory=unpainted)
    with av.open(str(output)) as container:
        found: list[Any] = [packet for packet in container.demux(container.streams.subtitles[0]) if packet.size]
        assert [round(float(packet.pts * packet.time_base), 1) for packet in found] == [0.2, 1.2]
    assert abs(sound_seconds(output) - 2) < 0.1
