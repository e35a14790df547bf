"""Files with several streams of pictures: the one that players show is painted, or the one that is asked for."""

from pathlib import Path

import av
import numpy as np
import pytest

from impasto.errors import InputError, UsageError
from impasto.media.tracks import read_tracks
from impasto.media.video_reader import probe, read_frames, scan
from impasto.plan.request import Request
from impasto.presets import load_settings
from impasto.run.job_run import resume, stylize
from tests.conftest import TINY
from tests.support.clips import H264, ffmpeg
from tests.support.unpainted import unpainted


def make(path: Path, defaults: tuple[int, int]) -> Path:
    """A red picture of 96×64, and the film, which is blue, of 64×48; each marked as the default or not."""
    marks = [f"{'default' if is_default else 0}" for is_default in defaults]
    ffmpeg(
        *("-f", "lavfi", "-i", "color=c=0xff0000:s=96x64:r=10:d=0.1", "-f", "lavfi"),
        *("-i", "color=c=0x0000ff:s=64x48:r=10:d=1", "-map", "0", "-map", "1", *H264),
        *("-disposition:v:0", marks[0], "-disposition:v:1", marks[1], path),
    )
    return path


@pytest.mark.parametrize("suffix", [".mkv", ".mp4", ".mov", ".ts"])
@pytest.mark.parametrize("defaults", [(0, 1), (1, 0), (0, 0), (1, 1)], ids=str)
def test_the_stream_that_players_show_is_painted(tmp_path: Path, suffix: str, defaults: tuple[int, int]) -> None:
    """The one that is the default; where that says nothing, the one with more frames."""
    if suffix == ".ts" and defaults != (0, 0):
        pytest.skip("a transport stream marks none")
    path = make(tmp_path / f"a{suffix}", defaults)
    # ffmpeg writes MP4 and MOV with one track of pictures that is on: the first, unless only another is asked for.
    first = defaults == (1, 0) or (defaults == (0, 0) and suffix in (".mp4", ".mov"))
    shown, other = (0, 1) if first else (1, 0)
    found = scan(path)
    assert (found.info.size, found.frame_count) == (((64, 96), 1) if first else ((48, 64), 10))
    assert len(found.not_kept) == 1 and f"`video_stream={other}` paints it instead" in found.not_kept[0]
    asked = scan(path, stream=other)
    assert (asked.info.size, asked.frame_count) == (((48, 64), 10) if first else ((64, 96), 1))
    assert probe(path, stream=shown).size == found.info.size
    image = next(read_frames(path, stream=0)).image
    assert np.abs(image[32, 32].astype(int) - (255, 0, 0)).max() < 12


def test_the_sound_is_that_of_the_program(tmp_path: Path) -> None:
    """A transport stream may hold several channels."""
    path = tmp_path / "a.ts"
    tones = [value for tone in (300, 600, 900) for value in ("-f", "lavfi", "-i", f"sine=f={tone}:r=48000:d=0.5")]
    ffmpeg(
        *("-f", "lavfi", "-i", "color=s=64x48:r=10:d=0.5", "-f", "lavfi", "-i", "color=s=96x64:r=10:d=0.5", *tones),
        *(value for number in range(5) for value in ("-map", str(number))),
        *(*H264, "-c:a", "aac", "-program", "st=0:st=2", "-program", "st=1:st=3:st=4", path),
    )
    for stream in probe_streams(path):
        tracks = read_tracks(path, stream)
        is_first = probe(path, stream=stream).size == (48, 64)
        assert [track.number for track in tracks.audio] == ([0] if is_first else [1, 2])
        assert "what belongs to other programs of the transport stream is left out" in tracks.notes(".mp4")


def probe_streams(path: Path) -> list[int]:
    with av.open(str(path)) as container:
        return [stream.index for stream in container.streams.video]


def test_a_stream_that_is_asked_for_belongs_to_the_job(tmp_path: Path, style_file: Path) -> None:
    path = make(tmp_path / "a.mkv", (1, 0))
    settings = load_settings("default", (*TINY, "size=none", "flow.method=dis", "shots.detect=false"))
    request = Request((path,), (style_file,), tmp_path / "o.mp4", settings, video_stream=1)
    done = stylize(request, executor_factory=unpainted)
    assert done.frame_count == 10 and any("stream 0 (96×64, h264)" in line for line in done.not_kept)
    assert resume(request.job_folder).frame_count == 10
    with pytest.raises(InputError, match=r"`video_stream` 5 of .*a.mkv is no stream of pictures: it has stream 0"):
        probe(path, stream=5)
    with pytest.raises(UsageError, match="selects one of several streams"):
        stylize(Request((style_file,), (style_file,), tmp_path / "o.png", settings, video_stream=0))
