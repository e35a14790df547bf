"""Reading a film from its middle gives what reading it from its beginning does, to the bit, whatever the file."""

import contextlib
from array import array
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from impasto.errors import InputError
from impasto.job.job import Job
from impasto.media import decoding
from impasto.media.find_content import resolve_content
from impasto.media.frame_index import FrameIndex
from impasto.media.frame_reader import SEEK_MIN_FRAMES, FrameReader
from impasto.media.video_info import VideoFrame
from impasto.media.video_reader import read_frames, scan
from impasto.plan.inputs import read_inputs
from impasto.plan.request import FrameRange
from impasto.run import job_run
from impasto.run.frame_loop import FrameLoop
from tests.support import mutants
from tests.support.clips import H264, ffmpeg, moving_source, sine
from tests.test_run import request, settings

FRAMES = 60
_X264 = ["-c:v", "libx264", "-preset", "medium", "-g", "12", "-bf", "3"]
_X265 = ["-c:v", "libx265", "-preset", "fast", "-x265-params", "log-level=error:open-gop=1:keyint=12:min-keyint=12"]
_VP9 = ["-c:v", "libvpx-vp9", "-cpu-used", "8", "-deadline", "realtime", "-g", "12"]
_ALPHA = ["-vf", "format=rgba,geq=r='r(X,Y)':g='g(X,Y)':b='b(X,Y)':a='if(lt(X,20+N),0,255)'", "-pix_fmt", "yuva420p"]

CLIPS: dict[str, list[str]] = {
    "h264, closed.mp4": [*H264, "-g", "12", "-bf", "2", "-flags", "+cgop"],
    "h264, open.mp4": [*_X264, "-x264-params", "open-gop=1"],
    "h264, open.mkv": [*_X264, "-x264-params", "open-gop=1"],
    "h264, open.ts": [*_X264, "-x264-params", "open-gop=1"],
    "h264, fragments.mp4": [*H264, "-g", "12", "-movflags", "frag_keyframe+empty_moov"],
    "h264, refreshed.mp4": [*_X264, "-x264-params", "intra-refresh=1"],
    "h264, variable.mkv": [*H264, "-g", "6", "-vf", "select=not(mod(n\\,7))+gt(n\\,30)", "-fps_mode", "passthrough"],
    "h264, variable.mp4": [*H264, "-g", "6", "-vf", "select=not(mod(n\\,5))+gt(n\\,20)", "-fps_mode", "passthrough"],
    "h264, late.mp4": [*H264, "-g", "12", "-bf", "2", "-vf", "setpts=PTS+0.5/TB"],
    "h264, two tenths.flv": [*H264, "-g", "12"],
    "hevc, open.mp4": _X265,
    "hevc, open.mkv": [*_X265, "-pix_fmt", "yuv420p10le"],
    "mpeg4.mp4": ["-c:v", "mpeg4", "-g", "12", "-bf", "2"],
    "mpeg2.mpg": ["-c:v", "mpeg2video", "-g", "12", "-bf", "2"],
    "mpeg2.ts": ["-c:v", "mpeg2video", "-g", "12", "-bf", "2"],
    "vp8.webm": ["-c:v", "libvpx", "-deadline", "realtime", "-g", "12"],
    "vp9.mp4": _VP9,
    "vp9, alpha.webm": [*_ALPHA, *_VP9],
    "av1.webm": ["-c:v", "libaom-av1", "-cpu-used", "8", "-usage", "realtime", "-g", "12"],
    "prores.mov": ["-c:v", "prores_ks"],
    "ffv1.mkv": ["-c:v", "ffv1", "-g", "10"],
    "rgb.mkv": ["-c:v", "libx264rgb", "-g", "12", "-preset", "ultrafast"],
    "10 bits.mov": ["-c:v", "v210"],
    "packed.mov": ["-c:v", "png", "-pix_fmt", "rgba"],
    "wmv.wmv": ["-c:v", "wmv2", "-g", "12"],
    "theora.ogv": ["-c:v", "libtheora", "-g", "12"],
}
"""By their names; all of them can be sought."""

UNSOUGHT: dict[str, list[str]] = {
    "mpeg4.avi": ["-c:v", "mpeg4", "-g", "12"],
    "plain.h264": [*H264, "-g", "12"],
    "gif.gif": [],
    "animated.apng": ["-f", "apng"],
    "interlaced.mpg": ["-c:v", "mpeg2video", "-g", "12", "-flags", "+ildct+ilme"],
    "one key frame.mp4": H264,
}


def make(folder: Path, name: str, options: Sequence[str], *more: str) -> Path:
    path = folder / name
    ffmpeg(*moving_source(seconds=FRAMES / 25), *more, *options, path)
    return path


def same(ours: Sequence[VideoFrame], theirs: Sequence[VideoFrame]) -> bool:
    return len(ours) == len(theirs) and all(
        (a.index, a.time) == (b.index, b.time)
        and np.array_equal(a.image, b.image)
        and (a.alpha is None) == (b.alpha is None)
        and (a.alpha is None or b.alpha is None or np.array_equal(a.alpha, b.alpha))
        for a, b in zip(ours, theirs, strict=True)
    )


def sought(path: Path, start: int, stop: int | None, index: FrameIndex) -> tuple[list[VideoFrame], int]:
    """(The frames, how many packets were read for them.)"""
    packets: list[None] = []
    frames = read_frames(path, start, stop, accept_damage=True, index=index, alive=lambda: packets.append(None))
    return list(frames), len(packets)


def check(path: Path) -> FrameIndex:
    """Frames from several places are those that reading from the beginning gives; near the end hardly any others are
    decoded for them."""
    index = scan(path).index
    assert index is not None
    assert FrameIndex.from_text(index.to_text()) == index
    truth = list(read_frames(path))
    assert index.frame_count == len(truth)
    key = index.keys[-1]
    for start in sorted({0, 1, 5, 11, 12, 13, 23, 31, key - 1, key, key + 1, len(truth) - 1} & set(range(len(truth)))):
        frames, _ = sought(path, start, start + 3, index)
        assert same(frames, truth[start : start + 3]), start
    frames, _ = sought(path, 20, None, index)
    assert same(frames, truth[20:])
    return index


@pytest.mark.sweep(6)
@pytest.mark.parametrize("name", CLIPS)
def test_the_same_bits_from_anywhere(tmp_path: Path, name: str) -> None:
    path = make(tmp_path, name, CLIPS[name])
    index = check(path)
    _, all_of_them = sought(path, index.frame_count - 1, index.frame_count, FrameIndex(index.times, index.checksums))
    _, few = sought(path, index.frame_count - 1, index.frame_count, index)
    assert few < 0.75 * all_of_them and all_of_them >= index.frame_count


def test_the_same_bits_with_sound_edits_and_turned(tmp_path: Path) -> None:
    whole = make(tmp_path, "whole.mp4", [*_X264, "-x264-params", "open-gop=1", "-c:a", "aac"], *sine(FRAMES / 25))
    check(whole)
    for name, options in {"begun later.mp4": ["-ss", "0.7"], "late.mov": ["-itsoffset", "1.3"]}.items():
        ffmpeg(*options, "-i", whole, "-map", "0", "-c", "copy", tmp_path / name)
        check(tmp_path / name)
    ffmpeg("-display_rotation", "-90", "-i", whole, "-map", "0", "-c", "copy", tmp_path / "turned.mp4")
    index = check(tmp_path / "turned.mp4")
    (frame,), _ = sought(tmp_path / "turned.mp4", 50, 51, index)
    assert frame.image.shape == (64, 48, 3)


@pytest.mark.parametrize("name", UNSOUGHT)
def test_what_cannot_be_sought_is_read_from_the_beginning(tmp_path: Path, name: str) -> None:
    path = make(tmp_path, name, UNSOUGHT[name])
    assert scan(path).index is None


def test_a_frame_that_is_not_what_it_was_is_decoded_from_the_beginning(tmp_path: Path) -> None:
    """An index that does not go with the file stands for a decoder or container that errs."""
    path = make(tmp_path, "a.mp4", CLIPS["h264, open.mp4"])
    index = scan(path).index
    assert index is not None
    truth = list(read_frames(path))
    _, few = sought(path, 50, 55, index)

    for place in (50, 53):
        for name in ("times", "checksums"):
            wrong = FrameIndex.from_text(index.to_text())
            getattr(wrong, name)[place] ^= 1
            frames, packets = sought(path, 50, 55, wrong)
            assert same(frames, truth[50:55])
            assert packets > FRAMES > few
    # Wherever the container goes.
    for keys in ([1, 2, 3], [47, 49], [55, 59]):
        frames, _ = sought(path, 50, 55, FrameIndex(index.times, index.checksums, array("q", keys)))
        assert same(frames, truth[50:55])


def test_damage_is_raised_and_not_passed_over_by_a_seek(tmp_path: Path) -> None:
    path = make(tmp_path, "a.mp4", CLIPS["h264, closed.mp4"])
    index = scan(path).index
    data = bytearray(path.read_bytes())
    del data[-2000:]
    path.write_bytes(data)
    with pytest.raises(InputError), contextlib.closing(read_frames(path, 30, index=index)) as frames:
        list(frames)


def test_damaged_files_are_the_same_from_anywhere(tmp_path: Path) -> None:
    """What a decoder makes of a damaged frame depends on what it has decoded before."""
    often = {
        name: (suffix, [*options, *([] if suffix == ".gif" or "ProRes" in name else ["-g", "5"])])
        for name, (suffix, options) in mutants.VIDEOS.items()
    }
    outcomes = {True: 0, False: 0}
    for mutant in mutants.mutants(list(mutants.videos(tmp_path, often, 24)), {"video": 5}):
        path = tmp_path / mutant.name
        path.write_bytes(mutant.data)
        with contextlib.suppress(InputError):
            found = decoding.scan(path, lambda *_: None)
            if found.index is None:
                continue
            truth = list(decoding.read_frames(path, accept_damage=True))
            for start in sorted({found.index.keys[-1], found.frame_count // 2, found.frame_count - 1}):
                frames = list(decoding.read_frames(path, start, start + 4, accept_damage=True, index=found.index))
                assert same(frames, truth[start : start + 4]), (mutant.name, start)
            outcomes[found.damage is not None] += 1
    assert outcomes[True] >= 10 and outcomes[False] >= 10, outcomes


# Frames of the content


def test_frames_of_the_content_are_sought(tmp_path: Path) -> None:
    path = tmp_path / "in.mkv"
    ffmpeg(*moving_source(seconds=6), *_X264, "-x264-params", "open-gop=1", path)
    index = scan(path).index
    assert index is not None
    truth = list(read_frames(path))
    begun: list[int] = []

    def noted(path: Path, start: int, **more: Any) -> Generator[VideoFrame, None, None]:
        begun.append(start)
        return decoding.read_frames(path, start, **more)

    film = resolve_content([path], tmp_path / "o.mp4", "auto")
    with FrameReader(film, index, noted) as reader:
        for place in (100, 101, 103, 40, 45, 45 + SEEK_MIN_FRAMES + 1, 149, 0, 3):
            np.testing.assert_array_equal(reader.read(place)[0], truth[place].image)
        assert begun == [100, 40, 45 + SEEK_MIN_FRAMES + 1, 149, 0]
        with pytest.raises(InputError):
            reader.read(150)


def test_where_seeking_fails_the_frame_is_read_all_the_same(tmp_path: Path) -> None:
    path = make(tmp_path, "in.mp4", CLIPS["h264, closed.mp4"])
    index = scan(path).index
    truth = list(read_frames(path))

    def crashing(path: Path, start: int, *, index: FrameIndex | None, **more: Any) -> Generator[VideoFrame, None, None]:
        if index is not None:
            raise InputError("its decoder crashed")
        return decoding.read_frames(path, start, **more)

    with FrameReader(resolve_content([path], tmp_path / "o.mp4", "auto"), index, crashing) as reader:
        np.testing.assert_array_equal(reader.read(40)[0], truth[40].image)


def test_a_job_keeps_it_and_paints_the_same(tmp_path: Path, style_file: Path) -> None:
    path = make(tmp_path, "in.mp4", CLIPS["h264, closed.mp4"])
    few = settings("iterations={first: 1, next: 1}")
    asked = request(path, style_file, tmp_path / "out", settings=few, frames=FrameRange(40, 43))
    job_run.stylize(asked)
    with Job.read(asked.job_folder) as job:
        assert job.frame_index is not None
        assert FrameIndex.from_text(job.frame_index) == scan(path).index
        sought = [frame.sha256 for frame in job.frames()]

    def from_the_beginning(*arguments: Any, frame_index: FrameIndex | None, **more: Any) -> FrameLoop:
        assert frame_index is not None
        return FrameLoop(*arguments, frame_index=None, **more)

    other = request(path, style_file, tmp_path / "other", settings=few, frames=FrameRange(40, 43))
    job_run.JobRun(read_inputs(other), loop_factory=from_the_beginning).run()
    with Job.read(other.job_folder) as job:
        assert [frame.sha256 for frame in job.frames()] == sought
