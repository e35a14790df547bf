"""Frames that fail are set aside and the rest goes on; frames under way are put away; whoever paints, the same bits."""

import contextlib
import functools
import hashlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from impasto.errors import DeviceError, FrameError, Interrupted, JobError, OutOfMemoryError, PartialError
from impasto.events import Event, FrameDone, FrameFailed, FrameProgress, FrameStarted, JobStarted, Losses, StopSignal
from impasto.job.cleaning import clean_job
from impasto.job.job import Job
from impasto.job.records import FrameRecord, FrameState
from impasto.job.status import status_of
from impasto.job.verification import find_problems
from impasto.media import images
from impasto.media.video_reader import read_frames
from impasto.paint import stopping as stopping_module
from impasto.paint import task as task_module
from impasto.paint.batch import paint_one
from impasto.paint.devices import pick_devices
from impasto.paint.task import FrameTask
from impasto.plan import resources
from impasto.plan.inputs import read_inputs
from impasto.plan.request import Request
from impasto.run import executor as executor_module
from impasto.run.executor import Assignment, PainterSpec, Report
from impasto.run.frame_loop import FrameLoop, LoopLimits
from impasto.run.inline import InlineExecutor
from impasto.run.job_run import JobRun, resume, stylize
from impasto.run.processes import ProcessExecutor
from impasto.storage import temporary_beside
from samples import scenes
from tests.test_resume import flipped
from tests.test_run import footage, notices, of_kind, read, request, settings, write_clip, write_frames

COUNT = 6
FRAMES = [scenes.pan((48, 64), COUNT, 3).frame(t) for t in range(COUNT)]


class Faulty(InlineExecutor):
    """Paints in this process, but the frames in `counts` fail so many times with what the device says; notes in `tried`
    which frames it was given."""

    def __init__(self, spec: PainterSpec, device: torch.device, counts: dict[int, int], tried: list[int]) -> None:
        super().__init__(spec, device)
        self._counts = counts
        self._tried = tried

    def wait(self, on_progress: Any, timeout: float | None = None) -> Report | None:
        assignment = self._waiting[0] if self._waiting else None
        if assignment is not None and isinstance(assignment.task, FrameTask):
            index = assignment.task.index
            self._tried.append(index)
            if self._counts.get(index, 0) > 0:
                self._counts[index] -= 1
                self._waiting.pop(0)
                return out_of_memory(assignment)
        return super().wait(on_progress, timeout)


def out_of_memory(assignment: Assignment) -> Report:
    return Report(assignment.ticket, OutOfMemoryError("not enough memory on cpu"), 0.1, "cpu")


class Faults:
    """Makes `Faulty` executors: `Faults({2: 1})` lets frame 2 fail once."""

    def __init__(self, counts: dict[int, int]) -> None:
        self._counts = dict(counts)
        self.tried: list[int] = []

    def __call__(self, spec: PainterSpec, devices: Sequence[torch.device], *_: object) -> Faulty:
        return Faulty(spec, devices[0], self._counts, self.tried)


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A film of one shot and one of two, with what is made of them where nothing fails."""
    folder = tmp_path_factory.mktemp("material")
    images.write_image(folder / "style.png", scenes.pan((48, 60), 1, 8).frame(0))
    write_clip(folder / "pan.mp4", FRAMES)
    write_clip(folder / "cut.mp4", footage())
    write_frames(folder / "photos", footage())
    stylize(film(folder, folder / "whole"))
    return folder


def film(material: Path, folder: Path, *own: str, name: str = "pan", **more: Any) -> Request:
    return request(
        material / f"{name}.mp4", material / "style.png", folder / "out.mp4", settings=settings(*own), **more
    )


def records(asked: Request) -> list[FrameRecord]:
    with Job.read(asked.job_folder) as job:
        return job.frames()


def hashes(asked: Request) -> list[str | None]:
    return [record.sha256 for record in records(asked)]


def shown(asked: Request) -> list[np.ndarray]:
    return [frame.image.astype(float) for frame in read_frames(asked.output)]


def difference(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a - b).mean())


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


# --- frames that fail -------------------------------------------------------------------------------------------------


def test_a_frame_that_fails_once_is_tried_again(material: Path, tmp_path: Path) -> None:
    faults, events = Faults({2: 1}), list[Event]()
    asked = film(material, tmp_path)
    stylize(asked, events.append, executor_factory=faults)
    assert faults.tried == [0, 1, 2, 2, 3, 4, 5]
    assert hashes(asked) == hashes(film(material, material / "whole"))
    assert "frame 2: not enough memory on cpu: it is tried again" in notices(events)
    assert [record.retried for record in records(asked)] == [None, None, "not enough memory on cpu", None, None, None]


@pytest.mark.slow
def test_a_frame_that_fails_twice_is_set_aside_and_held(material: Path, tmp_path: Path) -> None:
    faults, events = Faults({2: 2}), list[Event]()
    asked = film(material, tmp_path)
    with pytest.raises(PartialError, match=r"1 of 6 frames .*frame 2: not enough memory .*holds the nearest") as error:
        stylize(asked, events.append, executor_factory=faults)
    assert error.value.exit_code == 3 and str(asked.job_folder) in str(error.value)
    assert faults.tried == [0, 1, 2, 2, 3, 4, 5]
    assert [event.index for event in of_kind(events, FrameFailed)] == [2]
    before = records(asked)
    assert [record.state for record in before] == [*["done"] * 2, "failed", *["done"] * 3]
    assert [record.sources for record in before] == [(), (0,), None, (1,), (3,), (4,)]
    # The film has its length, and shows the frame before in the place of the one that is missing.
    pictures = shown(asked)
    assert len(pictures) == COUNT
    held = [difference(pictures[2], read(before[index].path)) for index in (0, 1, 3)]
    assert held[1] < 6 and held[1] < held[0] / 2 and held[1] < held[2] / 2
    with Job.read(asked.job_folder) as job:
        state = status_of(job)
        assert job.output is not None
        assert (state.done_count, state.finished, job.output.substituted, find_problems(job)) == (5, False, (2,), [])
    partial = sha256(asked.output)

    # Again, and it fails again: nothing else is painted, and nothing written.
    faults = Faults({2: 2})
    with pytest.raises(PartialError):
        resume(asked.job_folder, executor_factory=faults)
    assert faults.tried == [2, 2] and sha256(asked.output) == partial

    faults = Faults({})
    done = resume(asked.job_folder, executor_factory=faults)
    assert faults.tried == [2] and done.painted_count == 1 and done.failed == ()
    after = records(asked)
    assert [a.sha256 for a in after if a.index != 2] == [b.sha256 for b in before if b.index != 2]
    # It starts from the same painting as it would have, and gets the same bits.
    assert after[2].sha256 == hashes(film(material, material / "whole"))[2]
    assert difference(shown(asked)[2], read(after[2].path)) < 6
    with Job.read(asked.job_folder) as job:
        assert job.output is not None
        assert status_of(job).finished and job.output.substituted == () and find_problems(job) == []


@pytest.mark.slow
def test_a_frame_after_one_that_failed_is_repaired_to_its_bits(material: Path, tmp_path: Path) -> None:
    """Also when what failed has been painted since: it still starts from the frame that it started from."""
    faults = Faults({2: 2})
    asked = film(material, tmp_path)
    with pytest.raises(PartialError):
        stylize(asked, executor_factory=faults)
    faults = Faults({})
    resume(asked.job_folder, executor_factory=faults)
    before = hashes(asked)
    assert before[3] != hashes(film(material, material / "whole"))[3], "it matters what it starts from"
    flipped(records(asked)[3].path)
    faults = Faults({})
    resume(asked.job_folder, executor_factory=faults)
    assert faults.tried == [3] and hashes(asked) == before


@pytest.mark.slow
def test_a_frame_that_cannot_be_repaired_at_once_is_repaired_to_its_bits(material: Path, tmp_path: Path) -> None:
    """As the frames after it were painted from what it was."""
    faults = Faults({2: 2})
    asked = film(material, tmp_path)
    with pytest.raises(PartialError):
        stylize(asked, executor_factory=faults)
    faults = Faults({})
    resume(asked.job_folder, executor_factory=faults)
    before = hashes(asked)
    flipped(records(asked)[3].path)
    faults = Faults({3: 2})
    with pytest.raises(PartialError):
        resume(asked.job_folder, executor_factory=faults)
    faults = Faults({})
    resume(asked.job_folder, executor_factory=faults)
    assert faults.tried == [3] and hashes(asked) == before


@pytest.mark.slow
def test_frames_wait_for_a_source_that_fails_again_and_again(material: Path, tmp_path: Path) -> None:
    """They get the bits of the uninterrupted job, or none: the frames after them were painted from those."""
    asked = film(material, tmp_path)
    stylize(asked)
    whole, output = hashes(asked), sha256(asked.output)
    for index in (2, 3):
        flipped(records(asked)[index].path)
    for _ in range(3):
        faults = Faults({2: 2})
        with pytest.raises(PartialError, match="2 of 6") as caught:
            resume(asked.job_folder, executor_factory=faults)
        assert faults.tried == [2, 2] and "out.mp4 was made before and shows them" in str(caught.value)
        waiting = records(asked)[3]
        assert waiting.error == "frame 3 starts from frame 2, which is not painted" and waiting.sources == (2,)
    faults = Faults({})
    resume(asked.job_folder, executor_factory=faults)
    assert faults.tried == [2, 3] and hashes(asked) == whole and sha256(asked.output) == output


def test_a_shot_that_lost_its_first_frames_starts_cold(material: Path, tmp_path: Path) -> None:
    faults = Faults({0: 2, 1: 2})
    events: list[Event] = []
    asked = film(material, tmp_path)
    with pytest.raises(PartialError, match="2 of 6"):
        stylize(asked, events.append, executor_factory=faults)
    # Frames 0 and 1 twice each, and frame 2.
    assert [event.start for event in of_kind(events, FrameStarted)] == ["content"] * 5 + ["warped"] * 3
    # Nearest ones of the shot are held, in both directions.
    pictures = shown(asked)
    assert difference(pictures[0], pictures[2]) < 1 and difference(pictures[1], pictures[2]) < 1


def test_a_shot_that_is_lost_shows_the_nearest_of_another(material: Path, tmp_path: Path) -> None:
    faults = Faults({0: 2, 1: 2, 2: 2})
    asked = film(material, tmp_path, name="cut")
    with pytest.raises(PartialError, match="3 of 6"):
        stylize(asked, executor_factory=faults)
    pictures = shown(asked)
    assert len(pictures) == COUNT
    assert all(difference(pictures[index], pictures[3]) < 1 for index in (0, 1, 2))


def test_nothing_is_made_of_a_film_that_failed_all_over(material: Path, tmp_path: Path) -> None:
    faults = Faults(dict.fromkeys(range(COUNT), 2))
    asked = film(material, tmp_path)
    with pytest.raises(FrameError, match="nothing could be painted") as error:
        stylize(asked, executor_factory=faults)
    assert error.value.exit_code == 1 and not asked.output.exists()


def test_a_device_that_paints_nothing_is_not_tried_for_ever(material: Path, tmp_path: Path) -> None:
    impatient = functools.partial(FrameLoop, limits=LoopLimits(failures_in_a_row=3))
    faults = Faults(dict.fromkeys(range(1, COUNT), 2))
    asked = film(material, tmp_path)
    with pytest.raises(FrameError, match=r"3 frames in a row .*impasto resume"):
        JobRun(read_inputs(asked), executor_factory=faults, loop_factory=impatient).run()
    assert faults.tried == [0, 1, 1, 2, 2, 3, 3]
    assert [record.state for record in records(asked)][4:] == [FrameState.PENDING] * 2
    faults = Faults({})
    resume(asked.job_folder, executor_factory=faults)
    assert [record.state for record in records(asked)] == [FrameState.DONE] * COUNT


@pytest.mark.slow
def test_a_film_with_held_frames_that_was_changed_is_kept(material: Path, tmp_path: Path) -> None:
    faults = Faults({2: 2})
    asked = film(material, tmp_path)
    with pytest.raises(PartialError):
        stylize(asked, executor_factory=faults)
    asked.output.write_bytes(b"mine")
    faults = Faults({})
    with pytest.raises(Exception, match="has changed since this job wrote it"):
        resume(asked.job_folder, executor_factory=faults)
    assert asked.output.read_bytes() == b"mine"


@pytest.mark.slow
def test_a_whole_film_is_not_replaced_by_one_with_held_frames(material: Path, tmp_path: Path) -> None:
    """Its frame is lost, and cannot be painted again: the film shows it all the same."""
    asked = film(material, tmp_path)
    stylize(asked)
    whole = sha256(asked.output)
    records(asked)[2].path.unlink()
    faults = Faults({2: 2})
    with pytest.raises(PartialError, match=r"1 of 6 .*out.mp4 was made before and shows them"):
        resume(asked.job_folder, executor_factory=faults)
    assert sha256(asked.output) == whole
    faults = Faults({})
    resume(asked.job_folder, executor_factory=faults)
    assert sha256(asked.output) == whole and hashes(asked) == hashes(film(material, material / "whole"))


def test_drafts_alone_are_no_film(material: Path, tmp_path: Path) -> None:
    class FaultyLastPass(InlineExecutor):
        """Paints the drafts, and no frame after them."""

        painted = 0

        def wait(self, on_progress: Any, timeout: float | None = None) -> Report | None:
            self.painted += 1
            if self.painted <= COUNT:
                return super().wait(on_progress, timeout)
            return out_of_memory(self._waiting.pop(0))

    asked = film(material, tmp_path, "passes.count=2", "passes.iterations=2")
    with pytest.raises(FrameError, match="nothing could be painted") as error:
        stylize(asked, executor_factory=lambda spec, devices, *_: FaultyLastPass(spec, devices[0]))
    assert error.value.exit_code == 1 and not asked.output.exists()


@pytest.mark.slow
def test_a_job_with_held_frames_is_not_cleaned(material: Path, tmp_path: Path) -> None:
    faults = Faults({2: 2})
    asked = film(material, tmp_path)
    with pytest.raises(PartialError):
        stylize(asked, executor_factory=faults)
    with Job.open(asked.job_folder) as job, pytest.raises(JobError, match="not finished"):
        clean_job(job)


class FaultyMeasure(InlineExecutor):
    """Paints in this process, but the first so many measurements of finished pictures fail."""

    faults = 0

    def wait(self, on_progress: Any, timeout: float | None = None) -> Report | None:
        if self._waiting and isinstance(self._waiting[0].task, executor_module.MeasureTask) and self.faults:
            self.faults -= 1
            return out_of_memory(self._waiting.pop(0))
        return super().wait(on_progress, timeout)


@pytest.mark.sweep(1)
@pytest.mark.parametrize(("faults", "failed"), [(1, []), (2, ["f1.png"])])
def test_a_photo_that_cannot_be_measured_is_set_aside(
    material: Path, tmp_path: Path, faults: int, failed: list[str]
) -> None:
    def factory(spec: PainterSpec, devices: Sequence[torch.device], *_: object) -> FaultyMeasure:
        executor = FaultyMeasure(spec, devices[0])
        executor.faults = faults
        return executor

    asked = request(material / "photos", material / "style.png", tmp_path / "out", image_format="jpg")
    with contextlib.nullcontext() if not failed else pytest.raises(PartialError, match="1 of 6"):
        stylize(asked, executor_factory=factory)
    assert [record.name for record in records(asked) if record.state is FrameState.FAILED] == failed
    resume(asked.job_folder)
    assert [record.state for record in records(asked)] == [FrameState.DONE] * COUNT
    with Job.read(asked.job_folder) as job:
        assert find_problems(job) == []


@pytest.mark.slow
def test_a_frame_that_is_lost_in_a_stop_has_not_failed(material: Path, tmp_path: Path) -> None:
    """As where the system tells the workers to end with the job: nothing is wrong with what they had."""
    faults = Faults({2: 1})
    asked, stop = film(material, tmp_path), StopSignal()

    def listener(event: Event) -> None:
        if isinstance(event, FrameStarted) and event.index == 2:
            stop.request()

    with pytest.raises(Interrupted, match="impasto resume"):
        stylize(asked, listener, stop, executor_factory=faults)
    assert [record.state for record in records(asked)] == [*["done"] * 2, *["pending"] * 4]
    resume(asked.job_folder, executor_factory=faults)
    assert hashes(asked) == hashes(film(material, material / "whole"))


# --- frames that are put away -----------------------------------------------------------------------------------------

LONG = ("iterations={first: 16, next: 16, target: none, tolerance: 0, next_tolerance: 0}",)


def stopping(index: int, iteration: int, stop: StopSignal) -> Callable[[Event], None]:
    def listener(event: Event) -> None:
        if isinstance(event, FrameProgress) and (event.index, event.iteration) == (index, iteration):
            stop.request()

    return listener


@pytest.mark.sweep(1)
@pytest.mark.parametrize("index", [0, 2])
def test_a_stop_in_a_long_frame_puts_it_away(material: Path, tmp_path: Path, index: int) -> None:
    whole, asked = (film(material, tmp_path / name, *LONG) for name in ("whole", "stopped"))
    stylize(whole)
    stop = StopSignal(grace_seconds=0)
    with pytest.raises(Interrupted, match="impasto resume"):
        stylize(asked, stopping(index, 12, stop), stop)
    (kept,) = (asked.job_folder / "checkpoints").iterdir()
    assert [record.state for record in records(asked)] == ["done"] * index + ["pending"] * (COUNT - index)
    events: list[Event] = []
    resume(asked.job_folder, events.append)
    first = next(event for event in of_kind(events, FrameProgress))
    assert first.index == index and 12 <= first.iteration <= 15, "it goes on from where it was"
    assert hashes(asked) == hashes(whole) and not kept.exists()


@pytest.mark.slow
def test_what_a_kill_leaves_of_checkpoints_is_removed(material: Path, tmp_path: Path) -> None:
    """They are large: fifty pictures each."""
    asked, stop = film(material, tmp_path), StopSignal()
    with pytest.raises(Interrupted):
        stylize(asked, stopping(1, 1, stop), stop)
    folder = asked.job_folder / "checkpoints"
    cut_short = temporary_beside(folder / "000002-01")
    cut_short.parent.mkdir()
    cut_short.write_bytes(b"half")
    Job.open(asked.job_folder).__exit__()
    assert list(folder.iterdir()) == []
    (folder / "000000-01").write_bytes(b"of a frame that was painted as the process was killed")
    resume(asked.job_folder)
    assert not folder.exists()


def test_a_stop_in_a_frame_that_is_soon_done_lets_it_end(material: Path, tmp_path: Path) -> None:
    asked, stop = film(material, tmp_path), StopSignal()
    with pytest.raises(Interrupted):
        stylize(asked, stopping(1, 1, stop), stop)
    assert [record.state for record in records(asked)] == ["done", "done", *["pending"] * 4]
    assert not (asked.job_folder / "checkpoints").exists()


# --- where frames are painted -----------------------------------------------------------------------------------------


@contextlib.contextmanager
def killing(frames: set[int]) -> Iterator[Callable[[Event], None]]:
    """Kills the workers of this process, but not its decoders, once as each of these frames is under way."""
    left = set(frames)

    def listener(event: Event) -> None:
        if isinstance(event, FrameProgress) and event.index in left:
            left.discard(event.index)
            for process in workers():
                os.kill(process, signal.SIGKILL)

    yield listener
    assert not left


def workers() -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            command = (entry / "cmdline").read_bytes()
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            if b"run.processes" in command and parent == os.getpid():
                found.append(int(entry.name))
    return found


@pytest.mark.slow
def test_processes_paint_the_same_bits_also_when_they_are_killed(material: Path, tmp_path: Path) -> None:
    inline, spread = (
        request(material / "photos", material / "style.png", tmp_path / name / "out", executor=executor)
        for name, executor in (("inline", "inline"), ("spread", "processes"))
    )
    stylize(inline)
    events: list[Event] = []
    with killing({1, 4}) as kill:

        def listener(event: Event) -> None:
            events.append(event)
            kill(event)

        stylize(spread, listener)
    (started,) = of_kind(events, JobStarted)
    assert "2 processes of 1 thread" in started.device
    assert hashes(spread) == hashes(inline)
    assert "ended (SIGKILL): it is tried again" in notices(events)
    assert len({event.index for event in of_kind(events, FrameDone)}) == len(of_kind(events, FrameDone)) == COUNT
    assert workers() == []


def test_a_film_in_processes_is_the_film(material: Path, tmp_path: Path) -> None:
    """Frames of a shot still start from the one before, also while that is only on its way to the disk."""
    inline, spread = (
        film(material, tmp_path / executor, name="cut", executor=executor) for executor in ("inline", "processes")
    )
    stylize(inline)
    stylize(spread)
    assert hashes(spread) == hashes(inline)
    assert sha256(spread.output) == sha256(inline.output)


def spec(style: np.ndarray, weights: Any) -> executor_module.PainterSpec:
    return executor_module.PainterSpec(settings(), weights, (style,), (1.0,), None, 1, "fp32")


def test_a_worker_that_cannot_begin_says_why(style_array: np.ndarray, weights: Any) -> None:
    broken = executor_module.PainterSpec(settings(), None, (style_array,), (1.0,), None, 1, "fp32")  # type: ignore[arg-type]
    with pytest.raises((DeviceError, AttributeError)), ProcessExecutor(broken, pick_devices("cpu")):
        pass
    assert workers() == []


@pytest.mark.slow
def test_a_worker_that_is_killed_as_it_starts_is_replaced(
    style_array: np.ndarray, weights: Any, content_array: np.ndarray
) -> None:
    with ProcessExecutor(spec(style_array, weights), pick_devices("cpu")) as executor:
        executor.submit(Assignment(1, FrameTask(0, content_array, "noise", stopping_module.StopRule(100_000))))
        (first,) = workers()

        def kill_another() -> None:
            while (found := workers()) in ([], [first]):
                time.sleep(0.01)
            os.kill(found[0], signal.SIGKILL)

        killer = threading.Thread(target=kill_another)
        killer.start()
        os.kill(first, signal.SIGKILL)
        report = executor.wait(lambda *_: None)
        killer.join()
        assert report is not None and "(SIGKILL)" in str(report.result)
        executor.submit(Assignment(2, FrameTask(0, content_array, "noise", stopping_module.StopRule(2))))
        report = executor.wait(lambda *_: None)
        assert report is not None and report.ticket == 2 and isinstance(report.result, task_module.PaintedFrame)


def test_workers_that_are_all_killed_as_they_start_are_an_error(
    style_array: np.ndarray, weights: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.executable", "/bin/false")
    with (
        pytest.raises(DeviceError, match=r"ended as it started \(status 1\)"),
        ProcessExecutor(spec(style_array, weights), pick_devices("cpu") * 2),
    ):
        pass


@pytest.mark.slow
def test_workers_leave_it_to_the_job_to_stop(style_array: np.ndarray, weights: Any, content_array: np.ndarray) -> None:
    """As a cluster's scheduler tells every process of a job that its time is up."""
    with ProcessExecutor(spec(style_array, weights), pick_devices("cpu")) as executor:
        executor.submit(Assignment(1, FrameTask(0, content_array, "noise", stopping_module.StopRule(20))))
        for number in (signal.SIGTERM, signal.SIGHUP):
            os.kill(workers()[0], number)
        report = executor.wait(lambda *_: None)
        assert report is not None and isinstance(report.result, task_module.PaintedFrame)


@pytest.mark.slow
def test_workers_end_with_whoever_made_them(style_array: np.ndarray, weights: Any) -> None:
    with ProcessExecutor(spec(style_array, weights), pick_devices("cpu") * 2) as executor:
        assert len(workers()) == executor.slots == 2
        assert executor.devices == ("cpu (1 thread)",) * 2
    assert workers() == []


class TestContract:
    """What holds for every executor."""

    @pytest.fixture(params=["inline", "processes"])
    def executor(
        self, request: pytest.FixtureRequest, style_array: np.ndarray, weights: Any
    ) -> Iterator[executor_module.Executor]:
        given = spec(style_array, weights)
        (device,) = pick_devices("cpu")
        made = InlineExecutor(given, device) if request.param == "inline" else ProcessExecutor(given, [device])
        with made as executor:
            yield executor

    def test_it_reports_what_was_assigned(
        self, executor: executor_module.Executor, content_array: np.ndarray, style_array: np.ndarray, weights: Any
    ) -> None:
        task = FrameTask(3, content_array, "noise", stopping_module.StopRule(5))
        heard: list[tuple[int, int]] = []
        assert executor.wait(lambda *_: None, 0.01) is None, "nothing is under way"
        assert "cpu" in executor.submit(Assignment(7, task))
        report = executor.wait(lambda ticket, iteration, _: heard.append((ticket, iteration)))
        assert report is not None and report.ticket == 7
        assert heard == [(7, iteration) for iteration in range(1, 6)]
        painter = spec(style_array, weights).painter(torch.device("cpu"))
        assert isinstance(report.result, task_module.PaintedFrame)
        assert np.array_equal(report.result.image, paint_one(painter, task).image)
        executor.submit(Assignment(8, executor_module.MeasureTask(report.result.image, content_array)))
        measured = executor.wait(lambda *_: None)
        assert measured is not None and isinstance(measured.result, Losses)
        assert measured.result == report.result.losses

    def test_an_error_is_a_report(self, executor: executor_module.Executor) -> None:
        executor.submit(
            Assignment(1, FrameTask(0, np.zeros((2, 2, 3), np.uint8), "content", stopping_module.StopRule(1)))
        )
        report = executor.wait(lambda *_: None)
        assert report is not None and "needs at least" in str(report.result)

    def test_a_frame_is_saved_to_its_checkpoint_and_stopped(
        self, executor: executor_module.Executor, content_array: np.ndarray, tmp_path: Path
    ) -> None:
        from impasto.paint.checkpoint import Checkpoint

        place = Checkpoint(tmp_path / "frame")
        executor.submit(Assignment(1, FrameTask(0, content_array, "noise", stopping_module.StopRule(10_000)), place))
        report = executor.wait(lambda _, iteration, __: executor.checkpoint_and_stop() if iteration == 3 else None)
        assert report is not None and isinstance(report.result, Interrupted)
        assert place.path.exists()


@pytest.mark.slow
def test_a_wait_ends_in_time_while_a_frame_is_under_way(
    style_array: np.ndarray, weights: Any, content_array: np.ndarray
) -> None:
    with ProcessExecutor(spec(style_array, weights), pick_devices("cpu")) as executor:
        executor.submit(Assignment(1, FrameTask(0, content_array, "noise", stopping_module.StopRule(1_000_000))))
        began = time.monotonic()
        assert executor.wait(lambda *_: None, 0.2) is None
        assert time.monotonic() - began < 60
    assert threading.active_count() < 50


@pytest.mark.parametrize(
    ("chains", "cores", "gigabytes", "threads"),
    [
        ([1.0], 2, 24, 2),  # one picture: all for it
        ([1.0] * 8, 2, 24, 1),
        ([1.0] * 3, 2, 24, 1),
        ([1.0, 0.1], 2, 24, 2),
        ([1.0] * 64, 16, 64, 1),
        ([1.0] * 4, 16, 64, 4),
        ([1.0] * 64, 16, 8, 2),  # no memory for sixteen
        ([1.0] * 64, 16, 0.5, 16),
        ([1.0] * 8, 1, 24, 1),
    ],
)
def test_cores_go_to_chains_as_far_as_there_are_chains_and_memory(
    chains: list[float], cores: int, gigabytes: float, threads: int
) -> None:
    found = resources.best_threads(sum(chains), max(chains), 10_000, cores, gigabytes * 2**30)
    assert found == threads and cores % found == 0
