"""The time code of a film names the first frame of the painting as it named that frame of the film."""

from fractions import Fraction
from pathlib import Path

import av
import pytest
from hypothesis import given
from hypothesis import strategies as st

from impasto.media.time_code import TimeCode, later
from impasto.media.timing import Timing
from impasto.media.tracks import read_tracks
from impasto.media.video_reader import scan
from impasto.media.video_writer import VideoWriter
from tests.support.clips import H264, ffmpeg, moving_source, numbered

NTSC = Fraction(30000, 1001)


def make(path: Path, code: str, rate: str) -> Path:
    source = moving_source(rate, 0.5)
    if path.suffix == ".mkv":
        ffmpeg(*source, *H264, "-metadata", f"timecode={code}", path)
    elif path.suffix == ".mxf":
        ffmpeg(*source, "-c:v", "mpeg2video", "-timecode", code, path)
    else:
        ffmpeg(*source, *H264, "-timecode", code, path)
    return path


def write(source: Path, path: Path, first: int = 0) -> list[str]:
    """A film of the frames from `first` on, with what goes along; what it does not keep."""
    timing = scan(source).timing
    part = timing.part(first, timing.frame_count) if first else timing
    span = part.span_seconds if first else None
    with VideoWriter(path, (48, 64), part, tracks=read_tracks(source), part=span, preset="ultrafast") as writer:
        for index in range(part.frame_count):
            writer.write(numbered(index))
    return writer.notes


def code_of(path: Path) -> str | None:
    found = read_tracks(path).time_code
    return None if found is None else found.text


@pytest.mark.parametrize(("code", "rate"), [("01:00:00:00", "25"), ("01:00:59;28", "30000/1001")])
@pytest.mark.parametrize("source", [".mov", ".mp4", ".mkv", ".mxf"])
@pytest.mark.parametrize("output", [".mov", ".mp4", ".mkv", ".webm"])
def test_a_time_code_is_kept(tmp_path: Path, source: str, output: str, code: str, rate: str) -> None:
    film, path = make(tmp_path / f"film{source}", code, rate), tmp_path / f"painted{output}"
    assert write(film, path) == []
    assert code_of(path) == code
    if output in (".mov", ".mp4"):
        with av.open(str(path)) as container:
            assert [stream.type for stream in container.streams] == ["video", "data"]


@pytest.mark.parametrize(
    ("code", "rate", "there"), [("23:59:59:20", "25", "00:00:00:00"), ("01:00:59;28", "30000/1001", "01:01:00;05")]
)
def test_a_part_has_that_of_its_first_frame(tmp_path: Path, code: str, rate: str, there: str) -> None:
    film, path = make(tmp_path / "film.mov", code, rate), tmp_path / "painted.mov"
    assert write(film, path, first=5) == []
    assert code_of(path) == there


def test_a_loss_is_told(tmp_path: Path) -> None:
    film = make(tmp_path / "film.mov", "01:02:03:04", "25")
    code, timing = read_tracks(film).time_code, scan(film).timing
    assert code == TimeCode("01:02:03:04", Fraction(0))
    left_out = "the time code (01:02:03:04) is left out: "
    assert write(film, tmp_path / "a.gif") == [left_out + "a GIF holds none"]
    irregular = Timing(timing.time_base, (0, 1, 3))
    assert code.loss(".mp4", irregular) == left_out + "the frames of the video come at no constant rate"
    slow = Timing.constant(4, 3)
    assert code.loss(".mkv", slow) == left_out + "it does not fit 4 frames a second"
    assert read_tracks(film).without_metadata().time_code is None


@pytest.mark.parametrize("text", ["", "01:02", "01:02:03:25", "01:02:03;04", "aa:bb:cc:dd", "-1:02:03:04"])
def test_what_is_no_time_code_of_a_rate(text: str) -> None:
    assert later(text, 0, Fraction(25)) is None


def test_time_codes_that_drop_frames() -> None:
    """As SMPTE ST 12-1 has them: no frames 0 and 1 in each minute but every tenth."""
    assert later("00:00:59;29", 1, NTSC) == "00:01:00;02"
    assert later("00:09:59;29", 1, NTSC) == "00:10:00;00"
    assert later("00:00:59;59", 1, 2 * NTSC) == "00:01:00;04"
    assert later("00:00:59:29", 1, NTSC) == "00:01:00:00"
    # An hour of them takes an hour, but for 3.6 ms.
    assert later("00:00:00;00", round(3600 * NTSC), NTSC) == "01:00:00;00"


@given(st.integers(0, 86_000), st.integers(0, 10_000), st.sampled_from([Fraction(24), Fraction(25), NTSC, 2 * NTSC]))
def test_frames_are_counted_one_by_one(start: int, more: int, rate: Fraction) -> None:
    zero = "00:00:00:00" if rate.denominator == 1 else "00:00:00;00"
    first = later(zero, start, rate)
    assert first is not None
    assert later(first, more, rate) == later(zero, start + more, rate)
