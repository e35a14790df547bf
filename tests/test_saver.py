"""Saving beside painting: several at once, in bounded memory, with everything handed over."""

import dataclasses
import functools
import threading
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch

from impasto.errors import StorageError
from impasto.job.job import Job
from impasto.job.records import FrameRecord, FrameState
from impasto.media.frame_png import write_frame
from impasto.media.image_metadata import Extras
from impasto.media.images import write_image
from impasto.motion.reader import FlowLink, MotionFrame, MotionReader
from impasto.paint.stopping import StopRule
from impasto.paint.task import FrameTask, PaintedReference
from impasto.plan.inputs import read_inputs
from impasto.plan.resources import picture_threads
from impasto.run import frame_loop, picture_writer, reader_slots
from impasto.run.executor import Assignment, PainterSpec
from impasto.run.frame_loop import FrameLoop
from impasto.run.in_flight import FrameInFlight, Painted
from impasto.run.inline import InlineExecutor
from impasto.run.job_run import JobRun, stylize
from impasto.run.saver import Notify, Saver, SaveResult
from samples import scenes
from tests.support.unpainted import UnpaintedExecutor
from tests.test_run import request, write_clip

PICTURE_BYTES = 3 * 64
SECONDS = 20


def painting(number: int) -> Painted:
    return cast(Painted, SimpleNamespace(number=number, picture_bytes=PICTURE_BYTES))


def numbers(saver: Saver) -> list[int]:
    return [cast(Any, result).painted.number for result in saver.results() if isinstance(result, SaveResult)]


def test_paintings_are_saved_at_the_same_time() -> None:
    together = threading.Barrier(3)

    def save(painted: Painted, _: Notify) -> Painted:
        together.wait(SECONDS)  # It fails, unless three threads are here at once.
        return painted

    with Saver(save, 3) as saver:
        for number in range(3):
            saver.submit(painting(number))
        saver.drain()
        results = list(saver.results())
    assert [result.error for result in results if isinstance(result, SaveResult)] == [None] * 3


def test_few_wait_to_be_saved() -> None:
    is_open, queued = threading.Event(), list[int]()

    def save(painted: Painted, _: Notify) -> Painted:
        is_open.wait(SECONDS)
        return painted

    def submit_all(saver: Saver) -> None:
        for number in range(5):
            saver.submit(painting(number))
            queued.append(number)

    with Saver(save, 1, queue_bytes=2 * PICTURE_BYTES) as saver:
        submitter = threading.Thread(target=submit_all, args=(saver,))
        submitter.start()
        submitter.join(0.3)
        assert submitter.is_alive() and queued == [0, 1]
        is_open.set()
        submitter.join(SECONDS)
        saver.drain()
        assert numbers(saver) == [0, 1, 2, 3, 4]


def test_a_picture_larger_than_all_room_is_saved_alone() -> None:
    with Saver(lambda painted, _: painted, 2, queue_bytes=1) as saver:
        for number in range(3):
            saver.submit(painting(number))
        saver.drain()
        assert numbers(saver) == [0, 1, 2]


def test_an_error_and_the_lines_are_handed_over() -> None:
    def save(painted: Painted, notify: Notify) -> Painted:
        notify("left out")
        raise OSError("full")

    with Saver(save) as saver:
        saver.submit(painting(0))
        saver.drain()
        assert saver.is_busy
        line, result = saver.results()
        assert line == "left out" and isinstance(result, SaveResult) and str(result.error) == "full"
        assert not saver.is_busy


def test_a_share_of_the_cores_writes_pictures() -> None:
    assert [picture_threads(cores) for cores in (1, 2, 4, 16, 128)] == [1, 1, 2, 8, 8]


def test_what_waits_holds_its_own_picture_alone() -> None:
    picture, flow, mask = np.zeros((8, 8, 3), np.uint8), np.zeros((8, 8, 2), np.float32), np.ones((8, 8), np.float32)
    other = PaintedReference(picture + 1, picture + 2, flow, mask)
    rule = StopRule(3)
    task = FrameTask(1, picture, "warped", rule, picture + 3, True, other, references=(other,), crossfade_with=other)
    motion = MotionFrame(picture, (FlowLink(0, picture + 2, flow, mask),), mask, (8, 8), 0.0)
    frame = cast(FrameRecord, SimpleNamespace(index=1))
    held = FrameInFlight(frame, None, motion, Assignment(5, task), 2.0, (0,), "cpu").without_motion()
    assert held.motion_frame == MotionFrame(picture, (), mask, (8, 8), 0.0)
    assert held.assignment == Assignment(5, FrameTask(1, picture, "warped", rule, warm=True))
    assert (held.frame, held.reference, held.sources, held.device) == (frame, 2.0, (0,), "cpu")


def test_all_pictures_of_a_painting_take_room() -> None:
    picture = np.zeros((8, 8, 3), np.uint8)
    motion = MotionFrame(picture, (), np.ones((20, 20), np.uint8), (20, 20), 0.0)
    painted = Painted(cast(Any, SimpleNamespace(motion_frame=motion)), cast(Any, SimpleNamespace(image=picture)), 1.0)
    assert painted.picture_bytes == 2 * PICTURE_BYTES + 400
    assert dataclasses.replace(painted, saved=picture).picture_bytes == 3 * PICTURE_BYTES + 400


class _Overlapping(UnpaintedExecutor):
    """Several pictures at once, while others are saved."""

    slots = 3
    overlaps = True


@pytest.mark.parametrize(("room", "ahead"), [(3 * 400 * 400, 3), (400 * 400, 1)])
def test_photos_are_read_ahead_while_there_is_room_for_their_transparency(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int, ahead: int
) -> None:
    most = 0

    class Reader(MotionReader):
        def prefetch(self, *arguments: Any) -> None:
            nonlocal most
            super().prefetch(*arguments)
            most = max(most, len(self._prefetched))

    monkeypatch.setattr(reader_slots, "MotionReader", Reader)
    monkeypatch.setattr(frame_loop, "_PHOTO_BYTES", room + 64 * 64 * 3 * 3)
    photo, alpha = np.zeros((400, 400, 3), np.uint8), np.full((400, 400), 9, np.uint8)
    for number in range(6):
        write_image(tmp_path / "photos" / f"{number}.png", photo + np.uint8(number), Extras(alpha))
    write_image(tmp_path / "style.png", scenes.pan((48, 60), 1, 8).frame(0))
    asked = request(tmp_path / "photos", tmp_path / "style.png", tmp_path / "out")
    JobRun(read_inputs(asked), executor_factory=_Overlapping).run()
    assert most == ahead


def test_a_job_saved_in_threads_has_the_same_files(tmp_path: Path) -> None:
    for number in range(9):
        suffix = (".png", ".webp", ".jpg")[number % 3]
        write_image(tmp_path / "photos" / f"{number}{suffix}", scenes.pan((48, 64), 1, number).frame(0))
    write_image(tmp_path / "style.png", scenes.pan((48, 60), 1, 8).frame(0))
    found = []
    for threads in (1, 4):
        asked = request(tmp_path / "photos", tmp_path / "style.png", tmp_path / f"out-{threads}")
        loop = functools.partial(FrameLoop, saver_threads=threads)
        JobRun(read_inputs(asked), executor_factory=_Overlapping, loop_factory=loop).run()
        with Job.read(asked.job_folder) as job:
            found.append([(frame.name, frame.state, frame.sha256) for frame in job.frames()])
    assert found[0] == found[1] and len(found[0]) == 9 and all(hashed for _, _, hashed in found[0])


class _Beside(InlineExecutor):
    """Paints in this process, and its frames are saved beside it, as on a GPU."""

    def __init__(self, spec: PainterSpec, devices: Sequence[torch.device], *_: object) -> None:
        super().__init__(spec, devices[0])
        self.overlaps = True


def test_a_job_that_ends_after_a_later_frame_was_saved_first_is_continued(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_clip(tmp_path / "in.mp4", [scenes.pan((48, 64), 4, 3).frame(t) for t in range(4)])
    write_image(tmp_path / "style.png", scenes.pan((48, 60), 1, 8).frame(0))
    whole, ended = (request(tmp_path / "in.mp4", tmp_path / "style.png", tmp_path / f"{n}.mp4") for n in "ab")
    stylize(whole)
    is_saved = threading.Event()

    def out_of_order(path: Path, *more: Any) -> None:
        if path.stem == "000001":
            is_saved.wait(SECONDS)
            raise StorageError("no space left on the disk")
        write_frame(path, *more)
        if path.stem == "000002":
            is_saved.set()

    with monkeypatch.context() as patched, pytest.raises(StorageError, match="no space left"):
        patched.setattr(picture_writer, "write_frame", out_of_order)
        loop = functools.partial(FrameLoop, saver_threads=3)
        JobRun(read_inputs(ended), executor_factory=_Beside, loop_factory=loop).run()
    with Job.read(ended.job_folder) as job:
        states = [frame.state for frame in job.frames()]
    assert states[:3] == [FrameState.DONE, FrameState.PENDING, FrameState.DONE]
    stylize(ended)
    with Job.read(whole.job_folder) as one, Job.read(ended.job_folder) as other:
        assert [(frame.sha256, frame.sources, frame.reference) for frame in one.frames()] == [
            (frame.sha256, frame.sources, frame.reference) for frame in other.frames()
        ]
    assert whole.output.read_bytes() == ended.output.read_bytes()
