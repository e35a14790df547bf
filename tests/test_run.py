"""Jobs from end to end: what was asked for is what is on the disk, and each frame is what its inputs make of it."""

import dataclasses
import hashlib
import math
import shutil
import subprocess
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

import av
import numpy as np
import pytest
import torch
from PIL import Image

from impasto.errors import InputError, JobMismatchError, OutputError, PartialError, StorageError, UsageError
from impasto.events import (
    Assembling,
    Event,
    FrameDone,
    FrameFailed,
    FrameProgress,
    FrameStarted,
    JobDone,
    JobStarted,
    Notice,
    Scanning,
    StopSignal,
    ignore,
)
from impasto.job.job import Job
from impasto.job.status import status_of
from impasto.media import ffmpeg, image_metadata, images, video_reader, video_writer
from impasto.media import timing as timing_module
from impasto.media.codecs import Encoding
from impasto.motion import occlusion, warp
from impasto.motion.dis import DisFlow
from impasto.paint.batch import paint_one
from impasto.paint.colors import ColorStatistics
from impasto.paint.encoder_weights import EncoderWeights
from impasto.paint.painter import Painter
from impasto.paint.stopping import StopRule
from impasto.paint.task import FrameTask, PaintedReference
from impasto.pictures import to_tensor
from impasto.plan.disk_space import check_space, disk_needed
from impasto.plan.frame_rules import REFERENCE_RISE
from impasto.plan.inputs import read_inputs
from impasto.plan.planner import plan_frames
from impasto.plan.request import FrameRange, Request
from impasto.plan.resources import usable_cores
from impasto.presets import load_settings
from impasto.run.dry_run import dry_run
from impasto.run.frame_tasks import CHANGED_ITERATIONS, CHANGED_PIXELS
from impasto.run.job_run import resume, stylize
from impasto.settings import Settings
from samples import scenes
from tests.conftest import TINY
from tests.support import clips
from tests.support.trees import tree

E = TypeVar("E")
NTSC = Fraction(30000, 1001)
SIZE = (48, 64)


def settings(*more: str) -> Settings:
    return load_settings("default", (*TINY, *more))


def footage(count: int = 6) -> list[np.ndarray]:
    """Two unlike shots of equal length."""
    scene = scenes.cut(SIZE, count, 3)
    return [scene.frame(t) for t in range(count)]


def write_frames(folder: Path, frames: Sequence[np.ndarray]) -> Path:
    """`f1.png` …: ten come after nine only in natural order."""
    for number, frame in enumerate(frames, start=1):
        images.write_image(folder / f"f{number}.png", frame)
    return folder


def write_clip(path: Path, frames: Sequence[np.ndarray], timing: timing_module.Timing | None = None) -> Path:
    timing = timing or timing_module.Timing.constant(NTSC, len(frames))
    with video_writer.VideoWriter(path, frames[0].shape[:2], timing) as writer:
        for frame in frames:
            writer.write(frame)
    return path


def with_sound(path: Path, clip: Path) -> Path:
    """The clip with a tone under it."""
    command = [str(ffmpeg.ffmpeg_path()), "-nostdin", "-v", "error", "-y", "-i", str(clip)]
    command += ["-f", "lavfi", "-i", "sine=440:r=48000:d=0.3", "-c:v", "copy", "-c:a", "aac", str(path)]
    subprocess.run(command, check=True)
    return path


def sound_packets(path: Path) -> list[tuple[int | None, str]]:
    with av.open(str(path)) as container:
        return [
            (packet.pts, hashlib.sha256(bytes(packet)).hexdigest())
            for packet in container.demux(container.streams.audio[0])
            if packet.size
        ]


def request(content: Path | Sequence[Path], style: Path | Sequence[Path], output: Path, **more: Any) -> Request:
    contents = (content,) if isinstance(content, Path) else tuple(content)
    styles = (style,) if isinstance(style, Path) else tuple(style)
    return Request(contents, styles, output, more.pop("settings", None) or settings(), **more)


def of_kind(events: Sequence[Event], kind: type[E]) -> list[E]:
    return [event for event in events if isinstance(event, kind)]


def notices(events: Sequence[Event]) -> str:
    return "\n".join(event.text for event in of_kind(events, Notice))


def read(path: Path) -> np.ndarray:
    """By another reader than the one under test."""
    return np.asarray(Image.open(path).convert("RGB"))


@pytest.fixture
def events() -> list[Event]:
    return []


# One image


def test_an_image(tmp_path: Path, content_file: Path, style_file: Path, events: list[Event]) -> None:
    output = tmp_path / "new" / "o.png"
    result = stylize(request(content_file, style_file, output), events.append)
    assert isinstance(result, JobDone)
    assert events[-1] == result
    assert (result.frame_count, result.painted_count, result.failed, result.iterations) == (1, 1, (), 4)
    assert read(output).shape == (43, 64, 3)
    (started,) = of_kind(events, JobStarted)
    assert (started.kind, started.frame_count, started.done_count, started.iterations_left) == ("image", 1, 0, 4)
    assert [event.iteration for event in of_kind(events, FrameProgress)] == [1, 2, 3, 4]
    (done,) = of_kind(events, FrameDone)
    assert done.losses == result.losses
    assert done.losses.objective < of_kind(events, FrameProgress)[0].losses.objective
    job = tmp_path / "new" / "o.png.impasto"
    assert result.job == job
    assert {path.name for path in job.iterdir()} <= {"job.db", "job.copy", "lock", "log.txt", "plots"}
    (plot,) = result.plots
    assert read(plot).shape[0] > 100
    log = (job / "log.txt").read_text(encoding="utf-8")
    assert "started: image" in log
    assert "4 iterations" in log
    assert "ended: 1 of 1 frames done" in log
    assert {path.name for path in output.parent.iterdir()} == {"o.png", "o.png.impasto"}


def test_the_losses_told_are_those_of_the_file(
    tmp_path: Path,
    content_file: Path,
    style_file: Path,
    content_array: np.ndarray,
    style_array: np.ndarray,
    weights: EncoderWeights,
) -> None:
    own = settings("size=null")
    painter = Painter(own, weights, [style_array], [1.0], torch.device("cpu"))
    for name in ("o.png", "o.jpg"):
        result = stylize(request(content_file, style_file, tmp_path / name, settings=own))
        assert result.losses == painter.measure(read(tmp_path / name), content_array)


@pytest.mark.parametrize("size", [(63, 65), (65, 63)])
def test_odd_sizes_come_out_as_they_are(tmp_path: Path, style_file: Path, size: tuple[int, int]) -> None:
    images.write_image(tmp_path / "c.png", scenes.pan(size, 1, 1).frame(0))
    stylize(request(tmp_path / "c.png", style_file, tmp_path / "o.webp", settings=settings("size=null")))
    assert read(tmp_path / "o.webp").shape == (*size, 3)


def test_alpha_is_dropped_and_nothing_else(tmp_path: Path, style_file: Path, content_array: np.ndarray) -> None:
    Image.fromarray(content_array).save(tmp_path / "opaque.png")
    alpha = np.zeros((*content_array.shape[:2], 1), np.uint8)
    Image.fromarray(np.concatenate([content_array, alpha], axis=2)).save(tmp_path / "alpha.png")
    for name in ("opaque", "alpha"):
        stylize(request(tmp_path / f"{name}.png", style_file, tmp_path / f"{name}-out.png"))
    np.testing.assert_array_equal(read(tmp_path / "opaque-out.png"), read(tmp_path / "alpha-out.png"))


def test_a_jpeg_comes_out_as_one(tmp_path: Path, content_file: Path, style_file: Path) -> None:
    stylize(request(content_file, style_file, tmp_path / "o.jpg"))
    with Image.open(tmp_path / "o.jpg") as image:
        assert image.format == "JPEG"


def test_an_image_that_is_none_is_wrong_input(tmp_path: Path, style_file: Path) -> None:
    """One image of one is not "done in part": nothing is."""
    (tmp_path / "c.png").write_text("text")
    with pytest.raises(InputError, match=r"c\.png"):
        stylize(request(tmp_path / "c.png", style_file, tmp_path / "o.png"))
    assert {path.name for path in tmp_path.iterdir()} == {"c.png", "style.png"}


# Starts and styles


def paint(
    weights: EncoderWeights,
    styles: Sequence[np.ndarray],
    content: np.ndarray,
    start: Any = "content",
    given: np.ndarray | None = None,
    *,
    blend: Sequence[float] = (1.0,),
    index: int = 0,
    own: Settings | None = None,
    film: Sequence[np.ndarray] = (),
) -> np.ndarray:
    """One frame, painted apart from any job."""
    own = own or settings()
    painter = Painter(own, weights, styles, blend, torch.device("cpu"), colors_of(film) if film else None)
    return paint_one(painter, FrameTask(index, content, start, StopRule(4, 0.0, 50), given)).image


@pytest.mark.parametrize("kind", ["content", "matched", "noise"])
def test_starts(
    tmp_path: Path, content_file: Path, style_file: Path, style_array: np.ndarray, weights: EncoderWeights, kind: str
) -> None:
    own = settings("size=null", f"start.first={kind}", "start.seed=7")
    stylize(request(content_file, style_file, tmp_path / "o.png", settings=own))
    alone = paint(weights, [style_array], read(content_file), kind, own=own)
    np.testing.assert_array_equal(read(tmp_path / "o.png"), alone)


def test_a_start_from_a_file(
    tmp_path: Path, content_file: Path, style_file: Path, style_array: np.ndarray, weights: EncoderWeights
) -> None:
    start = scenes.pan((48, 72), 1, 5).frame(0)
    images.write_image(tmp_path / "start.png", start)
    own = settings("size=null", f"start.first={tmp_path / 'start.png'}")
    stylize(request(content_file, style_file, tmp_path / "o.png", settings=own))
    alone = paint(weights, [style_array], read(content_file), "given", start)
    np.testing.assert_array_equal(read(tmp_path / "o.png"), alone)
    with pytest.raises(InputError, match=r"none\.png"):
        stylize(request(content_file, style_file, tmp_path / "p.png", settings=settings("start.first=none.png")))


@pytest.mark.slow
def test_several_styles(
    tmp_path: Path,
    content_file: Path,
    style_file: Path,
    style_array: np.ndarray,
    content_array: np.ndarray,
    weights: EncoderWeights,
) -> None:
    second = scenes.pan((40, 50), 1, 9).frame(0)
    images.write_image(tmp_path / "second.png", second)
    both, own = [style_file, tmp_path / "second.png"], settings("size=null")
    for name, blend in (("a", (3.0, 1.0)), ("b", (0.75, 0.25)), ("equal", ()), ("first", (1.0, 0.0))):
        stylize(request(content_file, both, tmp_path / f"{name}.png", settings=own, style_weights=blend))
    stylize(request(content_file, style_file, tmp_path / "one.png", settings=own))
    np.testing.assert_array_equal(
        read(tmp_path / "a.png"), paint(weights, [style_array, second], content_array, blend=(3.0, 1.0))
    )
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert (tmp_path / "a.png").read_bytes() != (tmp_path / "equal.png").read_bytes()
    np.testing.assert_array_equal(read(tmp_path / "first.png"), read(tmp_path / "one.png"))
    for wrong in ((1.0,), (0.0, 0.0), (1.0, -1.0)):
        with pytest.raises(UsageError, match="style weights"):
            stylize(request(content_file, both, tmp_path / "x.png", settings=own, style_weights=wrong))
    assert not (tmp_path / "x.png.impasto").exists()


# Photos


def test_a_tree_of_photos(tmp_path: Path, style_file: Path, events: list[Event]) -> None:
    names = ("a.jpg", "b ü 画 [x] %d.png", "sub dir/a.jpg", "sub dir/deep/c.WEBP")
    for place, name in enumerate(names):
        images.write_image(tmp_path / "in" / name, scenes.pan((40 + place, 50), 1, place).frame(0))
    (tmp_path / "in" / "notes.txt").write_text("x")
    (tmp_path / "in" / "sub dir" / "broken.png").write_bytes(b"no picture")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.png").write_bytes(b"mine")
    asked = request(tmp_path / "in", style_file, tmp_path / "out")
    with pytest.raises(PartialError) as caught:
        stylize(asked, events.append)
    assert caught.value.exit_code == 3
    message = str(caught.value)
    assert "1 of 5 photos" in message
    assert "broken.png" in message
    assert "\n" not in message
    assert set(tree(tmp_path / "out")) == {*names, "mine.png"}
    for place, name in enumerate(names):
        assert read(tmp_path / "out" / name).shape == (40 + place, 50, 3)
    (failed,) = of_kind(events, FrameFailed)
    assert "broken.png" in failed.name
    (done,) = of_kind(events, JobDone)
    assert (done.frame_count, done.painted_count, len(done.failed)) == (5, 4, 1)
    assert "passed over: 1 .txt" in notices(events)
    # What was mended is painted, and only that.
    before = tree(tmp_path / "out")
    events.clear()
    with pytest.raises(PartialError):
        stylize(asked, events.append)
    assert of_kind(events, FrameDone) == []
    assert tree(tmp_path / "out") == before


def test_one_photo_does_not_depend_on_the_others(tmp_path: Path, style_file: Path) -> None:
    for place in range(3):
        images.write_image(tmp_path / "in" / f"{place}.png", scenes.pan(SIZE, 1, place).frame(0))
    stylize(request(tmp_path / "in", style_file, tmp_path / "out"))
    stylize(request(tmp_path / "in" / "2.png", style_file, tmp_path / "alone.png"))
    assert (tmp_path / "alone.png").read_bytes() == (tmp_path / "out" / "2.png").read_bytes()


def test_frames_are_of_a_film_only(tmp_path: Path, content_file: Path, style_file: Path) -> None:
    with pytest.raises(UsageError, match="`frames`"):
        stylize(request(content_file, style_file, tmp_path / "o.png", frames=FrameRange(0, 1)))


# Films


def check_chain(
    film: Sequence[np.ndarray], painted: Sequence[Path], style: np.ndarray, weights: EncoderWeights, first: int = 0
) -> None:
    """Paints every frame again, apart from any job, from what its inputs are.

    These are the file of the frame before, the motion from this frame to that one, what its shot has reached, and
    the colours of the whole film.
    """
    own, frames = settings(), film[first : first + len(painted)]
    painter = Painter(own, weights, [style], [1.0], torch.device("cpu"), colors_of(film))
    reached = reference = math.nan
    stop: str = ""
    for place, (content, path) in enumerate(zip(frames, painted, strict=True)):
        index = first + place
        if place == 0 or index == 3:
            task, reference = FrameTask(index, content, "content", StopRule(4, 0.0, 50)), math.inf
        else:
            if reached <= reference:
                reference = reached
            elif stop == "iterations":
                reference += REFERENCE_RISE * max(0.0, reached - 1.05 * reference)
            earlier = earlier_of(content, frames[place - 1], read(painted[place - 1]))
            changed = (1 - earlier.visibility).sum() >= CHANGED_PIXELS
            rule = StopRule(2, 0.0, 50, target=1.05 * reference, floor=CHANGED_ITERATIONS if changed else 1)
            held = {"warp_source": earlier, "references": (earlier,), "temporal_weight": own.temporal.weight}
            task = FrameTask(index, content, "warped", rule, warm=True, **held)
        again = paint_one(painter, task)
        np.testing.assert_array_equal(again.image, read(path), err_msg=f"frame {index}")
        reached, stop = again.losses.objective, str(again.stop)


def colors_of(film: Sequence[np.ndarray]) -> ColorStatistics:
    colors = np.concatenate([frame[::8, ::8].reshape(-1, 3) for frame in film]) / 255
    return ColorStatistics(torch.from_numpy(colors.mean(0)), torch.from_numpy(np.cov(colors.T, bias=True)))


def earlier_of(content: np.ndarray, before: np.ndarray, painting: np.ndarray) -> PaintedReference:
    """The frame before, as a frame sees it of which nothing stands still."""
    back, flow = DisFlow().pair(before, content, SIZE)
    there, home = (torch.from_numpy(one).permute(2, 0, 1)[None] for one in (flow, back))
    moved = warp.warp(to_tensor(before), there, "bilinear")
    visibility = occlusion.visibility_mask(there, home) * occlusion.color_agreement(to_tensor(content), moved)
    return PaintedReference(painting, before, flow, visibility[0, 0].numpy())


def check_starts(events: Sequence[Event], starts: Sequence[tuple[int, str, int]]) -> None:
    """(index, start, iterations) of each frame that was begun."""
    assert [(event.index, event.start, event.iterations) for event in of_kind(events, FrameStarted)] == list(starts)


def test_a_video_with_a_cut(
    tmp_path: Path, style_file: Path, style_array: np.ndarray, weights: EncoderWeights, events: list[Event]
) -> None:
    clip = with_sound(tmp_path / "in.mp4", write_clip(tmp_path / "silent.mp4", footage()))
    truth = video_reader.scan(clip)
    output = tmp_path / "out.mp4"
    asked = request(clip, style_file, output)
    result = stylize(asked, events.append)
    (started,) = of_kind(events, JobStarted)
    assert (started.kind, started.frame_count, started.shot_count) == ("video", 6, 2)
    assert started.iterations_left == 4 + 2 + 2 + 4 + 2 + 2
    warped = "warped"
    check_starts(
        events,
        [(0, "content", 4), (1, warped, 2), (2, warped, 2), (3, "content", 4), (4, warped, 2), (5, warped, 2)],
    )
    painted = [tmp_path / "out.mp4.impasto" / "frames" / f"{index:06d}.png" for index in range(6)]
    check_chain([frame.image for frame in video_reader.read_frames(clip)], painted, style_array, weights)
    written = video_reader.scan(output)
    assert written.rate == truth.rate == NTSC
    assert written.frame_count == 6
    assert [t * written.time_base for t in written.times] == [t * truth.time_base for t in truth.times]
    assert sound_packets(output) == sound_packets(clip)
    for frame, path in zip(video_reader.read_frames(output), painted, strict=True):
        assert np.abs(frame.image.astype(int) - read(path)).mean() < 8  # As near as a small H.264 picture gets.
    assert [event.frames_written for event in of_kind(events, Assembling)] == [1, 2, 3, 4, 5, 6]
    assert of_kind(events, Scanning)[-1].frames_read == 6
    assert [path.name for path in result.plots] == ["losses-000000.png"]
    # The same command again does nothing.
    before, age = tree(tmp_path), output.stat().st_mtime_ns
    events.clear()
    again = stylize(asked, events.append)
    assert again.painted_count == 0
    assert of_kind(events, FrameStarted) == of_kind(events, Assembling) == []
    assert tree(tmp_path) == before
    assert output.stat().st_mtime_ns == age


def test_a_range_of_a_video(
    tmp_path: Path, style_file: Path, style_array: np.ndarray, weights: EncoderWeights, events: list[Event]
) -> None:
    clip = with_sound(tmp_path / "in.mp4", write_clip(tmp_path / "silent.mp4", footage()))
    stylize(request(clip, style_file, tmp_path / "o.mp4", frames=FrameRange(1, 5)), events.append)
    check_starts(events, [(1, "content", 4), (2, "warped", 2), (3, "content", 4), (4, "warped", 2)])
    painted = [tmp_path / "o.mp4.impasto" / "frames" / f"{index:06d}.png" for index in range(1, 5)]
    check_chain([frame.image for frame in video_reader.read_frames(clip)], painted, style_array, weights, first=1)
    written = video_reader.scan(tmp_path / "o.mp4")
    assert (written.frame_count, written.rate) == (4, NTSC)
    assert 0 < len(sound_packets(tmp_path / "o.mp4")) < len(sound_packets(clip))
    with pytest.raises(InputError, match="none of the 6"):
        stylize(request(clip, style_file, tmp_path / "p.mp4", frames=FrameRange(6, 9)))
    assert not (tmp_path / "p.mp4.impasto").exists()


def test_times_that_vary(tmp_path: Path, style_file: Path) -> None:
    timing = timing_module.Timing(Fraction(1, 1000), (0, 40, 120, 130, 500, 520), None, 80)
    clip = write_clip(tmp_path / "in.mp4", footage(), timing)
    stylize(request(clip, style_file, tmp_path / "o.mp4"))
    written = video_reader.scan(tmp_path / "o.mp4")
    assert written.rate is None
    assert [t * written.time_base * 1000 for t in written.times] == list(timing.times)


def test_a_video_to_a_folder(tmp_path: Path, style_file: Path) -> None:
    clip = write_clip(tmp_path / "in.mkv", footage())
    stylize(request(clip, style_file, tmp_path / "out"))
    stylize(request(clip, style_file, tmp_path / "out.mp4"))
    assert set(tree(tmp_path / "out")) == {f"{index:06d}.png" for index in range(6)}
    assert not (tmp_path / "out.impasto" / "frames").exists()
    assert tree(tmp_path / "out") == tree(tmp_path / "out.mp4.impasto" / "frames")


def test_a_sequence_to_a_folder_and_to_a_video(
    tmp_path: Path, style_file: Path, style_array: np.ndarray, weights: EncoderWeights, events: list[Event]
) -> None:
    frames = footage()
    write_frames(tmp_path / "in", frames)
    stylize(request(tmp_path / "in", style_file, tmp_path / "out", mode="sequence"), events.append)
    (started,) = of_kind(events, JobStarted)
    assert (started.kind, started.shot_count) == ("sequence", 2)
    painted = [tmp_path / "out" / f"f{number}.png" for number in range(1, 7)]
    assert set(tree(tmp_path / "out")) == {path.name for path in painted}
    check_chain(frames, painted, style_array, weights)
    assert "--fps" not in notices(events)
    # To a video: the same frames, at the rate that was said.
    result = stylize(request(tmp_path / "in", style_file, tmp_path / "o.mp4", rate=Fraction(24000, 1001)))
    assert result.frame_count == 6
    kept = tmp_path / "o.mp4.impasto" / "frames"
    assert [hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(kept.iterdir())] == [
        hashlib.sha256(path.read_bytes()).hexdigest() for path in painted
    ]
    written = video_reader.scan(tmp_path / "o.mp4")
    assert (written.rate, written.frame_count) == (Fraction(24000, 1001), 6)


def test_the_order_of_a_sequence_is_natural(tmp_path: Path, style_file: Path, events: list[Event]) -> None:
    write_frames(tmp_path / "in", [scenes.pan(SIZE, 11, 2).frame(t) for t in range(11)])
    own = settings("iterations={first: 1, next: 1}", "shots.detect=false")
    stylize(request(tmp_path / "in", style_file, tmp_path / "o.mp4", settings=own), events.append)
    assert [event.name for event in of_kind(events, FrameDone)] == [f"f{number}.png" for number in range(1, 12)]
    (started,) = of_kind(events, JobStarted)
    assert started.shot_count == 1
    assert "24 frames a second" in notices(events)
    assert video_reader.scan(tmp_path / "o.mp4").rate == 24


def test_a_start_from_the_frame_before_as_it_is(
    tmp_path: Path, style_file: Path, style_array: np.ndarray, weights: EncoderWeights, events: list[Event]
) -> None:
    frames = footage()[:3]
    write_frames(tmp_path / "in", frames)
    own = settings("start.next=previous", "temporal.weight=0", "iterations.target=none")
    asked = request(tmp_path / "in", style_file, tmp_path / "out", mode="sequence", settings=own)
    stylize(asked, events.append)
    check_starts(events, [(0, "content", 4), (1, "previous", 2), (2, "previous", 2)])
    painter = Painter(own, weights, [style_array], [1.0], torch.device("cpu"))
    for index in (1, 2):
        given = read(tmp_path / "out" / f"f{index}.png")
        task = FrameTask(index, frames[index], "given", StopRule(2, 0.0, 50), given, warm=True)
        np.testing.assert_array_equal(paint_one(painter, task).image, read(tmp_path / "out" / f"f{index + 1}.png"))


@pytest.mark.sweep(1)
@pytest.mark.parametrize("kind", ["content", "matched", "noise"])
def test_other_starts_of_later_frames(
    tmp_path: Path, style_file: Path, style_array: np.ndarray, weights: EncoderWeights, kind: str, events: list[Event]
) -> None:
    frames = footage()[:2]
    write_frames(tmp_path / "in", frames)
    own = settings(f"start.next={kind}")
    asked = request(tmp_path / "in", style_file, tmp_path / "out", mode="sequence", settings=own)
    stylize(asked, events.append)
    check_starts(events, [(0, "content", 4), (1, kind, 4)])
    alone = paint(weights, [style_array], frames[1], kind, index=1, own=own, film=frames)
    np.testing.assert_array_equal(read(tmp_path / "out" / "f2.png"), alone)


def test_a_frame_that_breaks_ends_its_shot_only(tmp_path: Path, style_file: Path, events: list[Event]) -> None:
    write_frames(tmp_path / "in", footage())
    whole = (tmp_path / "in" / "f2.png").read_bytes()
    (tmp_path / "in" / "f2.png").write_bytes(whole[: len(whole) * 3 // 4])  # Its header is good.
    own = settings("shots.detect=true")
    asked = request(tmp_path / "in", style_file, tmp_path / "o.mp4", settings=own)
    # Finding cuts reads every frame, so what is broken is told before anything is painted.
    with pytest.raises(InputError, match=r"f2\.png"):
        stylize(asked, events.append)
    assert not (tmp_path / "o.mp4.impasto").exists()


def test_a_damaged_video_gives_its_good_frames(tmp_path: Path, style_file: Path, events: list[Event]) -> None:
    clip = write_clip(tmp_path / "whole.mkv", [scenes.pan(SIZE, 30, 4).frame(t) for t in range(30)])
    data = clip.read_bytes()
    (tmp_path / "cut.mkv").write_bytes(data[: len(data) * 6 // 10])
    readable = video_reader.scan(tmp_path / "cut.mkv").frame_count
    assert 2 < readable < 30
    own = settings("iterations={first: 1, next: 1}")
    stylize(request(tmp_path / "cut.mkv", style_file, tmp_path / "o.mp4", settings=own), events.append)
    assert "is damaged" in notices(events)
    assert video_reader.scan(tmp_path / "o.mp4").frame_count == readable


def test_a_rate_is_for_images(tmp_path: Path, style_file: Path) -> None:
    clip = write_clip(tmp_path / "in.mp4", footage())
    with pytest.raises(UsageError, match="`rate`"):
        stylize(request(clip, style_file, tmp_path / "o.mp4", rate=Fraction(24)))
    with pytest.raises(OutputError, match=r"o\.avi"):
        stylize(request(clip, style_file, tmp_path / "o.avi"))


def test_an_output_of_one_frame(tmp_path: Path, style_file: Path) -> None:
    write_frames(tmp_path / "in", footage()[:1])
    stylize(request(tmp_path / "in", style_file, tmp_path / "o.mp4", rate=Fraction(25)))
    assert video_reader.scan(tmp_path / "o.mp4").frame_count == 1


# What is there already


@pytest.mark.parametrize("content", ["image", "video"])
def test_an_existing_output_is_not_touched(
    tmp_path: Path, content_file: Path, style_file: Path, content: str, events: list[Event]
) -> None:
    source = content_file if content == "image" else write_clip(tmp_path / "in.mp4", footage())
    output = tmp_path / ("o.png" if content == "image" else "o.mp4")
    output.write_bytes(b"mine")
    before = tree(tmp_path)
    with pytest.raises(OutputError, match="`force`"):
        stylize(request(source, style_file, output), events.append)
    assert tree(tmp_path) == before
    assert not Path(f"{output}.impasto").exists()
    assert of_kind(events, Scanning) == []
    stylize(request(source, style_file, output, force=True))
    assert output.read_bytes() != b"mine"


def test_existing_photos_are_not_touched(tmp_path: Path, style_file: Path) -> None:
    for place in range(2):
        images.write_image(tmp_path / "in" / f"{place}.png", scenes.pan(SIZE, 1, place).frame(0))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "1.png").write_bytes(b"mine")
    (tmp_path / "out" / "other.png").write_bytes(b"mine too")
    before = tree(tmp_path)
    with pytest.raises(OutputError, match=r"1\.png exists"):
        stylize(request(tmp_path / "in", style_file, tmp_path / "out"))
    assert tree(tmp_path) == before
    stylize(request(tmp_path / "in", style_file, tmp_path / "out", force=True))
    assert (tmp_path / "out" / "1.png").read_bytes() != b"mine"
    assert (tmp_path / "out" / "other.png").read_bytes() == b"mine too"


def test_force_starts_over(tmp_path: Path, content_file: Path, style_file: Path, events: list[Event]) -> None:
    output = tmp_path / "o.png"
    stylize(request(content_file, style_file, output))
    before = output.read_bytes()
    other = settings("style.weight=1")
    stylize(request(content_file, style_file, output, settings=other, force=True), events.append)
    assert len(of_kind(events, FrameDone)) == 1
    assert output.read_bytes() != before
    assert stylize(request(content_file, style_file, output, settings=other)).painted_count == 0


def test_kinds_of_outputs_that_are_in_the_way(tmp_path: Path, content_file: Path, style_file: Path) -> None:
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "file").write_text("x")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.png").write_bytes(content_file.read_bytes())
    (tmp_path / "job").write_text("x")
    for asked, said in (
        (request(content_file, style_file, tmp_path / "folder.png"), "is a folder"),
        (request(content_file, style_file, tmp_path / "folder.png", force=True), "is a folder"),
        (request(tmp_path / "in", style_file, tmp_path / "file"), "is a file"),
        (request(content_file, style_file, tmp_path / "o.png", job=tmp_path / "job"), "is a file"),
    ):
        with pytest.raises(OutputError, match=said):
            stylize(asked)


@pytest.mark.parametrize("force", [False, True])
def test_dead_links_and_the_job_itself_are_no_places_for_an_output(
    tmp_path: Path, content_file: Path, style_file: Path, force: bool
) -> None:
    for name in ("dead.png", "dead", "out/content.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).symlink_to("nowhere")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "content.png").write_bytes(content_file.read_bytes())
    before = {path: path.is_symlink() for path in tmp_path.rglob("*")}
    for content, output, said in (
        (content_file, "dead.png", "is a link that leads nowhere"),
        (tmp_path / "in", "dead", "is a link that leads nowhere"),
        (tmp_path / "in", "out", "no regular file" if force else r"out/content\.png exists"),
        (content_file, "job/o.png", "lies inside the job's folder"),
    ):
        asked = request(content, style_file, tmp_path / output, job=tmp_path / "job", force=force)
        for run in (stylize, dry_run):
            with pytest.raises(OutputError, match=said):
                run(asked)
    assert {path: path.is_symlink() for path in tmp_path.rglob("*")} == before


def test_all_comparisons_are_free_before_any_is_replaced(tmp_path: Path, style_file: Path) -> None:
    """A dry run says so as well."""
    for name in ("a", "b"):
        images.write_image(tmp_path / "in" / f"{name}.png", scenes.pan(SIZE, 1, 0).frame(0))
    (tmp_path / "out-compare" / "b.png").mkdir(parents=True)
    (tmp_path / "out-compare" / "a.png").write_bytes(b"mine")
    for force, said in ((False, r"a\.png, for `compare`, exists"), (True, r"b\.png, for `compare`, exists")):
        asked = request(tmp_path / "in", style_file, tmp_path / "out", compare=True, force=force)
        for run in (dry_run, stylize):
            with pytest.raises(OutputError, match=said):
                run(asked)
    assert (tmp_path / "out-compare" / "a.png").read_bytes() == b"mine"


def test_the_job_may_not_lie_in_the_content(tmp_path: Path, style_file: Path) -> None:
    """It would be part of the content when the command is run again."""
    write_frames(tmp_path / "in", footage())
    for place in (tmp_path / "in" / "job", tmp_path / "in"):
        with pytest.raises(OutputError):
            stylize(request(tmp_path / "in", style_file, tmp_path / "o.mp4", job=place))
    assert {path.name for path in (tmp_path / "in").iterdir()} == {f"f{number}.png" for number in range(1, 7)}


def test_a_job_in_a_folder_of_mine_takes_nothing(tmp_path: Path, style_file: Path) -> None:
    """A project with its frames in `frames/`, named as the place of the job: the frames are the content."""
    write_frames(tmp_path / "project" / "frames", footage())
    (tmp_path / "project" / "log.txt").write_text("mine")
    before = tree(tmp_path / "project")
    asked = request(tmp_path / "project" / "frames", style_file, tmp_path / "o.mp4", job=tmp_path / "project")
    with pytest.raises(UsageError):
        stylize(asked)
    assert tree(tmp_path / "project") == before
    assert (tmp_path / "project" / "log.txt").read_text() == "mine"


def test_starting_over_does_not_take_the_content_away(tmp_path: Path, style_file: Path) -> None:
    """The frames of an earlier job are painted once more, and its folder is named for the new job too."""
    write_frames(tmp_path / "in", footage())
    stylize(request(tmp_path / "in", style_file, tmp_path / "o.mp4"))
    job = tmp_path / "o.mp4.impasto"
    before = tree(job)
    with pytest.raises(UsageError):
        stylize(request(job / "frames", style_file, tmp_path / "p.mp4", job=job, force=True))
    assert tree(job) == before


def test_a_job_elsewhere(tmp_path: Path, content_file: Path, style_file: Path) -> None:
    asked = request(content_file, style_file, tmp_path / "out" / "o.png", job=tmp_path / "jobs" / "one")
    stylize(asked)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"o.png"}
    with Job.read(tmp_path / "jobs" / "one") as job:
        assert status_of(job).finished


# Dry runs and notices


def content_of(kind: str, folder: Path) -> tuple[Path, Path]:
    if kind == "image":
        images.write_image(folder / "c.png", footage()[0])
        return folder / "c.png", folder / "o.png"
    if kind == "photos":
        write_frames(folder / "in", footage())
        return folder / "in", folder / "out"
    if kind == "sequence":
        write_frames(folder / "in", footage())
        return folder / "in", folder / "o.mp4"
    return write_clip(folder / "in.mp4", footage()), folder / "o.mp4"


@pytest.mark.sweep(1)
@pytest.mark.parametrize(
    ("kind", "frames", "shots", "iterations"),
    [("image", 1, 1, 4), ("photos", 6, 6, 24), ("sequence", 6, 2, 16), ("video", 6, 2, 16)],
)
def test_a_dry_run(tmp_path: Path, style_file: Path, kind: str, frames: int, shots: int, iterations: int) -> None:
    content, output = content_of(kind, tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    asked = request(content, style_file, output)
    plan = dry_run(asked)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
    assert (plan.kind, plan.frame_count, plan.shot_count, plan.iterations) == (kind, frames, shots, iterations)
    assert (plan.size, plan.output, plan.job) == (SIZE, output, Path(f"{output}.impasto"))
    assert plan.seconds == pytest.approx(plan.seconds_per_iteration * iterations)
    assert plan.workers == 1, "for so little no processes are started"
    assert 0 < plan.seconds_per_iteration < 5
    assert 0 < plan.disk_bytes < plan.disk_free_bytes
    started: list[Event] = []
    stylize(asked, started.append)
    assert of_kind(started, JobStarted)[0].iterations_left == iterations
    made = [path for path in tmp_path.rglob("*") if path.is_file() and path not in before]
    assert plan.disk_bytes >= sum(
        path.stat().st_size for path in made if path.suffix == ".png" and path.parent.name != "plots"
    )


@pytest.mark.slow
def test_a_dry_run_counts_with_the_workers_of_the_job(tmp_path: Path, style_file: Path) -> None:
    content, output = content_of("video", tmp_path)
    threads = torch.get_num_threads()
    asked = request(content, style_file, output, executor="processes")
    plan = dry_run(asked)
    assert torch.get_num_threads() == threads
    started: list[Event] = []
    stylize(asked, started.append)
    assert plan.device == of_kind(started, JobStarted)[0].device
    with Job.read(asked.job_folder) as job:
        assert plan.workers == min(2, usable_cores() // job.plan["threads"])
    # Two shots of 4, 2 and 2 iterations.
    assert plan.seconds == pytest.approx(plan.seconds_per_iteration * 16 / plan.workers)


def test_a_dry_run_of_a_part(tmp_path: Path, style_file: Path) -> None:
    content, output = content_of("video", tmp_path)
    plan = dry_run(request(content, style_file, output, frames=FrameRange(1, 3)))
    assert (plan.frame_count, plan.shot_count, plan.iterations) == (2, 1, 6)


def test_a_folder_of_frames_says_what_it_does_not_hold(tmp_path: Path, style_file: Path) -> None:
    film, said = tmp_path / "in.mov", "are left out: a folder of PNG holds none"
    more = ("-metadata", "title=Waves", "-timecode", "01:00:00:00")
    clips.ffmpeg(
        *clips.moving_source("25", 0.2), *clips.sine(0.2), *clips.H264, "-c:a", "aac", "-shortest", *more, film
    )
    plan = dry_run(request(film, style_file, tmp_path / "frames"))
    code = "the time code (01:00:00:00) is left out: a folder of PNG holds none"
    assert plan.not_kept == (f"the sound and the metadata {said}", code)
    assert dry_run(request(film, style_file, tmp_path / "o.mov")).not_kept == ()
    bare = dry_run(request(film, style_file, tmp_path / "frames", strip=True))
    assert bare.not_kept == ("the sound is left out: a folder of PNG holds none",)


def test_a_dry_run_of_photos_begins_with_one_that_can_be_read(tmp_path: Path, style_file: Path) -> None:
    write_frames(tmp_path / "in", footage()[:2])
    (tmp_path / "in" / "a-broken.png").write_bytes(b"x")
    plan = dry_run(request(tmp_path / "in", style_file, tmp_path / "out"))
    assert plan.frame_count == 3


def test_weights_that_the_numbers_were_not_chosen_with(
    tmp_path: Path, content_file: Path, style_file: Path, events: list[Event]
) -> None:
    stylize(request(content_file, style_file, tmp_path / "a.png"), events.append)
    assert notices(events) == ""
    own = settings("tuned_for=torchvision")
    stylize(request(content_file, style_file, tmp_path / "b.png", settings=own), events.append)
    assert "tuned for the encoder weights 'torchvision'" in notices(events)


def test_a_request_is_made_again_from_its_values(
    tmp_path: Path, content_file: Path, style_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    asked = request(
        Path("content.png"),
        (Path("style.png"), Path("style.png")),
        Path("o.mp4"),
        style_weights=(1.0, 2.0),
        mode="sequence",
        frames=FrameRange(1, 4),
        rate=NTSC,
        settings=settings("start.first=start.png"),
    )
    again = Request.from_values(asked.to_values(), tmp_path / "job")
    assert again.content == (content_file,)
    assert again.styles == (style_file, style_file)
    assert again.output == tmp_path / "o.mp4"
    assert (again.style_weights, again.mode, again.frames, again.rate) == (
        (1.0, 2.0),
        "sequence",
        FrameRange(1, 4),
        NTSC,
    )
    assert again.settings.start.first == str(tmp_path / "start.png")
    assert again.job == tmp_path / "job"


def test_a_listener_that_fails_ends_the_job_and_it_goes_on(
    tmp_path: Path, content_file: Path, style_file: Path
) -> None:
    def listener(event: Event) -> None:
        if isinstance(event, FrameProgress) and event.iteration == 2:
            raise ZeroDivisionError

    asked = request(content_file, style_file, tmp_path / "o.png")
    with pytest.raises(ZeroDivisionError):
        stylize(asked, listener)
    assert not (tmp_path / "o.png").exists()
    assert stylize(asked).painted_count == 1


@pytest.mark.sweep(1)
@pytest.mark.parametrize("name", ["o.png", "o.mp4", "o"])
def test_names_of_any_make(tmp_path: Path, style_file: Path, name: str) -> None:
    """Spaces, quotes, percent signs and line breaks are parts of names."""
    folder = tmp_path / "a b'c\"d %05d\n [e] -x"
    frames = write_frames(folder / "in", footage()[:2])
    make: Callable[[], object] = lambda: stylize(  # noqa: E731
        request(frames / "f1.png" if name == "o.png" else frames, style_file, folder / name)
    )
    make()
    assert (folder / name).exists()
    make()


# --- what photos hold besides their colours ---------------------------------------------------------------------------


def test_photos_keep_their_transparency_and_metadata(tmp_path: Path, style_file: Path) -> None:
    alpha = np.zeros(SIZE, np.uint8)
    alpha[:, : SIZE[1] // 2] = 200
    exif = Image.Exif()
    exif[271] = "Camera"
    (tmp_path / "in").mkdir()
    for name, seed in (("a.png", 1), ("b.webp", 2)):
        rgba = np.dstack([scenes.pan(SIZE, 1, seed).frame(0), alpha])
        Image.fromarray(rgba).save(tmp_path / "in" / name, exif=exif, **({"lossless": True} if "webp" in name else {}))
    asked = request(tmp_path / "in", style_file, tmp_path / "kept")
    stylize(asked)
    for name in ("a.png", "b.webp"):
        extras = image_metadata.read_extras(tmp_path / "kept" / name)
        assert np.array_equal(extras.alpha, alpha)  # type: ignore[arg-type]
        assert extras.exif is not None
        assert b"Camera" in extras.exif
    (tmp_path / "kept" / "b.webp").unlink()
    before = tree(tmp_path / "kept")
    assert resume(asked.job_folder).painted_count == 1
    assert set(tree(tmp_path / "kept")) - set(before) == {"b.webp"}

    events: list[Event] = []
    own = request(tmp_path / "in", style_file, tmp_path / "bare", image_format="jpg", strip=True)
    done = stylize(own, events.append)
    assert set(tree(tmp_path / "bare")) == {"a.jpg", "b.jpg"}
    assert image_metadata.read_extras(tmp_path / "bare" / "a.jpg") == image_metadata.Extras()
    assert notices(events).count("the alpha channel (transparency) is left out") == 1
    # The summary counts every file, also those of an earlier run.
    assert done.not_kept == ("a.png and 1 more: the alpha channel (transparency) is left out: .jpg files hold none",)
    assert resume(own.job_folder).not_kept == done.not_kept
    assert stylize(own).painted_count == 0
    with pytest.raises(JobMismatchError, match="strip"):
        stylize(dataclasses.replace(own, strip=False))


def test_formats_are_for_photos(tmp_path: Path, style_file: Path) -> None:
    write_frames(tmp_path / "in", footage())
    with pytest.raises(UsageError, match="`image_format`"):
        stylize(request(tmp_path / "in", style_file, tmp_path / "o.mp4", mode="sequence", image_format="png"))
    with pytest.raises(UsageError, match="`image_format`"):
        stylize(request(tmp_path / "in" / "f1.png", style_file, tmp_path / "o.png", image_format="png"))


# --- space ------------------------------------------------------------------------------------------------------------


PLAIN = 3 * SIZE[0] * SIZE[1]


@pytest.mark.sweep(1)
@pytest.mark.parametrize(
    ("name", "more", "least"),
    [
        ("out", {"mode": "sequence"}, 6 * PLAIN),
        ("out", {"image_format": "jpg"}, 6 * PLAIN // 2),
        ("out", {"compare": True}, 18 * PLAIN),
        ("o.mkv", {"compare": True, "encoding": Encoding("ffv1")}, 15 * PLAIN),
        ("video.gif", {}, 8 * PLAIN),
    ],
    ids=lambda value: "-".join(map(str, value)) if isinstance(value, dict) else str(value),
)
def test_a_disk_that_is_too_small_is_told_before_the_job_begins(
    tmp_path: Path,
    style_file: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    more: dict[str, Any],
    least: int,
) -> None:
    """With what is needed and what is there; and with room enough it begins."""
    content = tmp_path / "in"
    write_frames(content, footage())
    if name.startswith("video"):
        content = tmp_path / "in.mkv"
        write_clip(content, footage(), timing_module.Timing.constant(25, 6))
    asked = request(content, style_file, tmp_path / name, settings=settings("iterations={first: 1, next: 1}"), **more)

    def free(count: int) -> None:
        monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=count))

    needed = dry_run(asked).disk_bytes
    assert least <= needed < least + 7 * 4096
    free(needed - 1)
    before = set(tmp_path.rglob("*"))
    with pytest.raises(StorageError, match=r"take up to [1-9]\d*\.\d kB in .*, and [1-9]\d*\.\d kB are free"):
        stylize(asked)
    assert set(tmp_path.rglob("*")) == before
    free(needed)
    assert stylize(asked).painted_count == 6
    written = [path for path in set(tmp_path.rglob("*")) - before if path.is_file() and "plots" not in path.parts]
    pictures = [path for path in written if path.suffix not in (".db", ".txt", "")]
    assert needed > sum(path.stat().st_size for path in pictures)
    free(0)
    assert stylize(asked).painted_count == 0, "what has begun is not asked again"


def test_each_disk_is_asked_for_what_it_gets(tmp_path: Path, style_file: Path) -> None:
    """Frames go to the job's disk and the film to the output's."""
    write_frames(tmp_path / "in", footage())
    (tmp_path / "big").mkdir()
    (tmp_path / "small").mkdir()
    asked = request(
        tmp_path / "in", style_file, tmp_path / "small" / "o.mp4", mode="sequence", job=tmp_path / "big" / "j"
    )
    inputs = read_inputs(asked)
    plan = plan_frames(inputs, ignore, StopSignal())

    def disk_of(folder: Path) -> int:
        return hash(folder.name)

    needed = disk_needed(inputs, plan, disk_of)
    film = 6 * PLAIN // 8
    # The film is written beside its frames, and then moved.
    room = {"big": 6 * (PLAIN + 4096) + film, "small": film}
    assert {folder.name: size for folder, size in needed.items()} == room
    for short in room:
        with pytest.raises(StorageError, match=f"in .*{short}"):
            check_space(needed, lambda folder, short=short: room[folder.name] - (folder.name == short), disk_of)
    check_space(needed, lambda folder: room[folder.name], disk_of)
    # Both on one disk: it needs room for all.
    with pytest.raises(StorageError):
        check_space(needed, lambda folder: sum(room.values()) - 1, lambda folder: 0)
