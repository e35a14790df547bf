"""Pictures in a batch: their bits depend on its width, and not on the other pictures in it."""

import dataclasses
import functools
import gc
import itertools
import threading
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from impasto.errors import Interrupted, JobMismatchError, OutOfMemoryError, PartialError, WorkerLostError
from impasto.events import Event, FrameDone, FrameStarted, Losses, Notice, StopSignal
from impasto.job.job import Job
from impasto.job.records import PlannedFrame
from impasto.media import decoding
from impasto.media.images import write_image
from impasto.motion.dis import DisFlow
from impasto.paint.batch import Batch, paint_one
from impasto.paint.devices import computing
from impasto.paint.encoder_weights import EncoderWeights
from impasto.paint.minimizer import Minimizer
from impasto.paint.optimizers import make_minimizer
from impasto.paint.painter import Painter
from impasto.paint.stopping import StopRule
from impasto.paint.task import FrameTask, PaintedFrame, PaintedReference
from impasto.pictures import resize
from impasto.plan.batch_widths import batch_widths, size_order, width_for
from impasto.plan.frame_plan import FramePlan
from impasto.plan.inputs import read_inputs
from impasto.plan.request import Request
from impasto.plan.resources import best_width
from impasto.presets import load_settings
from impasto.run.executor import Assignment, MeasureTask, PainterSpec, Report
from impasto.run.frame_loop import FrameLoop
from impasto.run.inline import InlineExecutor
from impasto.run.job_run import JobRun, resume, stylize
from impasto.run.reader_slots import FlowEstimators
from impasto.run.worker import Worker
from impasto.settings import Settings
from tests.conftest import TINY
from tests.test_run import footage, notices, of_kind, request, settings, write_clip

SIZE = (48, 72)
CPU = torch.device("cpu")


@pytest.fixture(params=["lbfgs", "adam"])
def painter(request: pytest.FixtureRequest, weights: EncoderWeights, style_array: np.ndarray) -> Painter:
    chosen = load_settings("default", [*TINY, f"optimizer.method={request.param}"])
    return Painter(chosen, weights, [style_array], [1.0], CPU)


@pytest.fixture
def tasks(content_array: np.ndarray) -> list[FrameTask]:
    """Of all kinds: from the content, from noise, and warm starts with temporal references; of different lengths."""
    pictures = [np.roll(content_array, 7 * number, axis=1) for number in range(5)]
    flow, visibility = np.full((*SIZE, 2), 0.4, np.float32), np.ones(SIZE, np.float32)
    visibility[:9] = 0
    earlier = PaintedReference(255 - pictures[2], pictures[2], flow, visibility)
    other = dataclasses.replace(earlier, image=pictures[1], visibility=1 - visibility)
    return [
        FrameTask(0, pictures[0], "content", StopRule(6)),
        FrameTask(1, pictures[1], "noise", StopRule(11)),
        FrameTask(
            2,
            pictures[2],
            "warped",
            StopRule(4),
            warm=True,
            warp_source=earlier,
            references=(earlier, other),
            temporal_weight=3e3,
        ),
        FrameTask(3, pictures[3], "matched", StopRule(9, 0.05, 2)),
        FrameTask(
            4,
            pictures[4],
            "warped",
            StopRule(5),
            warm=True,
            warp_source=earlier,
            references=(earlier,),
            temporal_weight=1e4,
        ),
    ]


def alone(painter: Painter, task: FrameTask, width: int) -> PaintedFrame:
    batch = Batch(painter, SIZE, width)
    batch.add(7, task)
    while True:
        for ticket, painted in batch.step().items():
            assert ticket == 7 and isinstance(painted, PaintedFrame)
            return painted


def same(a: PaintedFrame, b: PaintedFrame) -> bool:
    return np.array_equal(a.image, b.image) and a.trace == b.trace and (a.losses, a.stop) == (b.losses, b.stop)


@pytest.mark.sweep(1)
def test_a_picture_has_the_same_bits_beside_any_others(painter: Painter, tasks: list[FrameTask]) -> None:
    expected = [alone(painter, task, 2) for task in tasks]
    for order in ((0, 1, 2, 3, 4), (4, 2, 3, 1, 0)):
        batch = Batch(painter, SIZE, 2)
        waiting, painted = list(order), {}
        while waiting or batch.free_slots < 2:
            if waiting and batch.free_slots:  # one at a time: never at the same iteration
                ticket = waiting.pop(0)
                batch.add(ticket, tasks[ticket])
            painted |= batch.step()
        assert all(same(painted[ticket], expected[ticket]) for ticket in order)


@pytest.mark.sweep(1)
def test_a_batch_of_one_is_what_paint_one_paints(painter: Painter, tasks: list[FrameTask]) -> None:
    for task in tasks[:3]:
        single, wide = paint_one(painter, task), alone(painter, task, 3)
        assert same(single, alone(painter, task, 1))
        # Sums in another order: the same picture to the eye.
        assert wide.losses.objective == pytest.approx(single.losses.objective, rel=0.02)


@pytest.mark.sweep(1)
def test_suspended_pictures_continue_in_another_batch(painter: Painter, tasks: list[FrameTask]) -> None:
    expected = [alone(painter, task, 2) for task in tasks[:2]]
    batch = Batch(painter, SIZE, 2)
    batch.add(0, tasks[0])
    batch.step()
    batch.add(1, tasks[1])
    batch.step()
    left = batch.suspend()
    assert batch.free_slots == 2 and sorted(left) == [0, 1]
    painted: dict[int, Any] = {}
    other = Batch(painter, SIZE, 2)
    for ticket in (1, 0):
        other.add(ticket, tasks[ticket], state=left[ticket])
    while other.free_slots < 2:
        painted |= other.step()
    assert all(same(painted[ticket], expected[ticket]) for ticket in (0, 1))


@pytest.mark.slow
@pytest.mark.parametrize("after", [0, 3], ids=["its first step", "a later one"])
def test_a_step_that_fails_half_way_leaves_nothing_behind(
    painter: Painter, tasks: list[FrameTask], monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    """Wherever memory runs out after the evaluation, the mixed state of two steps is not taken along."""
    where = torch.where
    for failing in itertools.count(1):
        batch = Batch(painter, SIZE, 2)
        batch.add(0, tasks[0])
        for _ in range(after):
            batch.step()
        calls = itertools.count(1)

        def greedy(*arguments: Any, calls: Any = calls, failing: int = failing, **more: Any) -> torch.Tensor:
            if next(calls) == failing:
                torch.empty(2**50)
            return where(*arguments, **more)

        with monkeypatch.context() as short:
            short.setattr(torch, "where", greedy)
            try:
                batch.step()
            except OutOfMemoryError:
                assert batch.suspend()[0].snapshot is None
            else:
                break
    assert failing > 2, "a step has several places to fail at"
    painted: dict[int, Any] = {}
    while batch.free_slots < 2:
        painted |= batch.step()
    assert same(painted[0], alone(painter, tasks[0], 2))


def test_memory_is_freed_at_once(painter: Painter, tasks: list[FrameTask]) -> None:
    """It may be most of a device's memory: no reference cycle may keep it until the garbage collector runs."""
    gc.collect()
    gc.disable()
    try:
        batch = Batch(painter, SIZE, 2)
        batch.add(0, tasks[0])
        batch.step()
        gone = weakref.ref(batch), weakref.ref(batch._minimizer)  # type: ignore[arg-type]
        del batch
        assert [reference() for reference in gone] == [None, None]
    finally:
        gc.enable()


# --- a worker ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def make_worker(
    weights: EncoderWeights, style_array: np.ndarray, tiny_settings: Settings
) -> Callable[..., tuple[Worker, threading.Event]]:
    def make(**widths: int) -> tuple[Worker, threading.Event]:
        sizes = {(48, 72): widths.get("wide", 1), (64, 48): widths.get("tall", 1)}
        stop = threading.Event()
        spec = PainterSpec(tiny_settings, weights, (style_array,), (1.0,), None, 1, "fp32", sizes)
        assert spec.max_width == max(sizes.values())
        return Worker(spec, CPU, stop), stop

    return make


def run(worker: Worker) -> list[Report]:
    reports: list[Report] = []
    while worker.load:
        reports += worker.step(lambda *_: None)
    return reports


@pytest.mark.parametrize("tiles", [{}, {SIZE: 32}])
def test_a_picture_that_needs_tiles_is_measured_without_the_memory_of_its_painting(
    weights: EncoderWeights,
    style_array: np.ndarray,
    tiny_settings: Settings,
    tasks: list[FrameTask],
    tiles: dict[tuple[int, int], int],
) -> None:
    spec = PainterSpec(tiny_settings, weights, (style_array,), (1.0,), None, 1, "fp32", tiles=tiles)
    worker = Worker(spec, CPU, threading.Event())
    worker.add(Assignment(0, tasks[0]))
    (report,) = run(worker)
    assert isinstance(report.result, PaintedFrame) and worker._batch is not None
    minimizer = weakref.ref(worker._batch._minimizer)  # type: ignore[arg-type]
    worker.add(Assignment(1, MeasureTask(report.result.image, tasks[0].content)))
    (measured,) = run(worker)
    assert measured.result == report.result.losses
    assert (minimizer() is None) == bool(tiles)


@pytest.mark.slow
def test_sizes_are_painted_one_after_the_other(
    make_worker: Callable[..., tuple[Worker, threading.Event]], tasks: list[FrameTask], content_array: np.ndarray
) -> None:
    """In the order in which they came, so that no size waits for ever; and a file is measured in between."""
    tall = FrameTask(9, resize(content_array, (64, 48)), "content", StopRule(3))
    worker, _ = make_worker(wide=2, tall=3)
    for ticket, task in enumerate([tasks[0], tall, tasks[4], tall]):
        worker.add(Assignment(ticket, task))
    worker.add(Assignment(4, MeasureTask(content_array, content_array)))
    reports = run(worker)
    assert [report.ticket for report in reports if report.ticket < 4] == [0, 1, 2, 3]
    reports.sort(key=lambda report: report.ticket)
    assert [report.width for report in reports[:4]] == [2, 3, 2, 3]
    assert all(isinstance(report.result, PaintedFrame) for report in reports[:4])
    assert isinstance(reports[4].result, Losses)
    assert all(report.seconds > 0 for report in reports)
    alone_worker, _ = make_worker(wide=2, tall=3)
    alone_worker.add(Assignment(0, tasks[4]))
    (report,) = run(alone_worker)
    assert isinstance(report.result, PaintedFrame) and isinstance(reports[2].result, PaintedFrame)
    assert np.array_equal(report.result.image, reports[2].result.image)


def short_of_memory(painter: Painter, most: int) -> None:
    """The encoder of a painter asks for a petabyte, which torch refuses, where it sees more than `most` pictures."""

    def greedy(_: object, inputs: tuple[torch.Tensor]) -> None:
        if len(inputs[0]) > most:
            torch.empty(2**50)

    painter.encoder.register_forward_pre_hook(greedy)


@pytest.mark.sweep(1)
@pytest.mark.parametrize("most", [1, 2])
def test_a_batch_without_memory_is_split(
    make_worker: Callable[..., tuple[Worker, threading.Event]],
    tasks: list[FrameTask],
    most: int,
) -> None:
    worker, _ = make_worker(wide=4)
    short_of_memory(worker._painter, most)
    for ticket, task in enumerate(tasks):
        worker.add(Assignment(ticket, task))
    reports = run(worker)
    assert sorted(report.ticket for report in reports) == [0, 1, 2, 3, 4]
    for report in reports:
        assert isinstance(report.result, PaintedFrame), report.result
        assert report.width == most
        expected = alone(worker._painter, tasks[report.ticket], most)
        assert np.array_equal(report.result.image, expected.image), "nothing of the larger batch is left in it"


def test_one_picture_without_memory_fails(
    make_worker: Callable[..., tuple[Worker, threading.Event]], tasks: list[FrameTask]
) -> None:
    worker, _ = make_worker(wide=3)
    short_of_memory(worker._painter, 0)
    for ticket in range(3):
        worker.add(Assignment(ticket, tasks[ticket]))
    reports = run(worker)
    assert sorted(report.ticket for report in reports) == [0, 1, 2]
    for report in reports:
        assert isinstance(report.result, OutOfMemoryError)
        assert report.result.__context__ is None, "what it came from holds the memory that was too small"


@pytest.mark.slow
def test_a_measurement_without_memory_suspends_the_batch(
    make_worker: Callable[..., tuple[Worker, threading.Event]],
    tasks: list[FrameTask],
    content_array: np.ndarray,
) -> None:
    worker, _ = make_worker(wide=2)
    painter = worker._painter
    refused = []

    def greedy(*_: object) -> None:
        # What comes next in that step is the measurement, beside the batch.
        if measuring and not refused:
            refused.append(worker._batch is not None)
            torch.empty(2**50)

    painter.encoder.register_forward_pre_hook(greedy)
    measuring = False
    for ticket in range(2):
        worker.add(Assignment(ticket, tasks[ticket]))
    worker.step(lambda *_: None)
    worker.add(Assignment(9, MeasureTask(content_array, content_array)))
    measuring = True
    (measured,) = worker.step(lambda *_: None)
    measuring = False
    assert refused == [True] and measured.ticket == 9 and isinstance(measured.result, Losses)
    for report in run(worker):
        expected = alone(painter, tasks[report.ticket], 2)
        assert isinstance(report.result, PaintedFrame) and report.width == 2
        assert same(report.result, expected), "the others went on from where they were"


@pytest.mark.slow
def test_a_second_try_without_memory_splits_the_batch(
    weights: EncoderWeights, style_array: np.ndarray, tiny_settings: Settings, tasks: list[FrameTask]
) -> None:
    def greedy(*arguments: Any, is_safe: bool = False) -> Minimizer:
        if is_safe and worker._batch is not None and worker._batch.width > 1:
            torch.empty(2**50)
        return make_minimizer(tiny_settings.optimizer, *arguments, is_safe=is_safe)

    class Spec(PainterSpec):
        def painter(self, device: torch.device) -> Painter:
            return Painter(self.settings, self.weights, self.styles, self.blend, device, make_minimizer=greedy)

    worker = Worker(
        Spec(tiny_settings, weights, (style_array,), (1.0,), None, 1, "fp32", {SIZE: 2}), CPU, threading.Event()
    )
    # A cold start that meets its tolerance at the first check, whatever it has reached, has stalled.
    worker.add(Assignment(0, dataclasses.replace(tasks[0], rule=StopRule(20, 0.9, 4))))
    worker.add(Assignment(1, tasks[1]))
    reports = {report.ticket: report for report in run(worker)}
    assert sorted(reports) == [0, 1] and [reports[ticket].width for ticket in range(2)] == [1, 1]
    for ticket, report in reports.items():
        assert isinstance(report.result, PaintedFrame), report.result
        assert bool(report.result.retried) == (ticket == 0)


@pytest.mark.parametrize(
    "words",
    [
        "[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes",
        "CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported at some other API call",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
    ],
)
def test_out_of_memory_is_distinguished_from_other_errors(words: str) -> None:
    with pytest.raises(OutOfMemoryError, match="smaller `size`"), computing(CPU, SIZE):
        raise RuntimeError(words)
    with pytest.raises(RuntimeError, match="device-side assert"), computing(CPU, SIZE):
        raise RuntimeError("CUDA error: device-side assert triggered")


# --- jobs -------------------------------------------------------------------------------------------------------------

SLOW = ("iterations={first: 12, next: 5}",)


@pytest.fixture
def material(tmp_path: Path, style_array: np.ndarray) -> Path:
    """Photos of two sizes in turns, one of a third, and a clip of three shots."""
    write_image(tmp_path / "style.png", style_array)
    for number, frame in enumerate(footage(7)):
        size = (64, 64) if number == 6 else (48, 64) if number % 2 else (64, 48)
        write_image(tmp_path / "photos" / f"{number}.png", resize(frame, size))
    return tmp_path


def asked(material: Path, name: str, content: str = "photos", **more: Any) -> Request:
    output = material / name / ("out.mp4" if content.endswith("mp4") else "out")
    return request(
        material / content, material / "style.png", output, settings=settings(*SLOW), **{"batch": 2, **more}
    )  # fmt: skip


def hashes(job: Request) -> list[str | None]:
    with Job.read(job.job_folder) as read:
        return [frame.sha256 for frame in read.frames()]


def widths(job: Request) -> list[list[int]]:
    with Job.read(job.job_folder) as read:
        return sorted(read.plan["widths"])


@pytest.mark.slow
def test_photos_of_several_sizes(material: Path) -> None:
    inline, each = asked(material, "inline", executor="inline"), asked(material, "each", executor="processes")
    events: list[Event] = []
    stylize(inline, events.append)
    stylize(each)
    assert len(of_kind(events, FrameDone)) == 7
    begun = [event.index for event in of_kind(events, FrameStarted)]
    assert begun == [1, 3, 5, 0, 2, 4, 6], "size by size"
    assert widths(inline) == [[48, 64, 2], [64, 48, 2]], "of the third size there is but one"
    assert hashes(inline) == hashes(each) and None not in hashes(inline)
    one_by_one = asked(material, "one", executor="inline", batch=1)
    stylize(one_by_one)
    assert widths(one_by_one) == [] and hashes(one_by_one)[6] == hashes(inline)[6]


@pytest.mark.slow
def test_the_width_is_part_of_the_job(material: Path) -> None:
    job = asked(material, "job", executor="inline")
    stylize(job)
    with pytest.raises(JobMismatchError, match="batch"):
        stylize(dataclasses.replace(job, batch=3))
    before = hashes(job)
    with Job.read(job.job_folder) as read:
        lost = read.frames()[2].path
    lost.unlink()
    resume(job.job_folder, executor="processes")
    assert hashes(job) == before


@pytest.mark.slow
def test_a_film_goes_on_after_a_stop(material: Path) -> None:
    write_clip(material / "cut.mp4", footage(9))
    cuts = ("shots.cuts=[3, 6]",)
    whole = dataclasses.replace(asked(material, "whole", "cut.mp4", executor="inline"), settings=settings(*SLOW, *cuts))
    stylize(whole)
    assert widths(whole) == [[48, 64, 2]]
    parts = dataclasses.replace(asked(material, "parts", "cut.mp4", executor="inline"), settings=settings(*SLOW, *cuts))
    stop = StopSignal()

    def listener(event: Event) -> None:
        if isinstance(event, FrameDone):
            stop.request()

    with pytest.raises(Interrupted):
        stylize(parts, listener, stop)
    resume(parts.job_folder)
    assert hashes(parts) == hashes(whole)
    assert parts.output.read_bytes() == whole.output.read_bytes()


def test_the_network_for_the_flow_is_there_once(material: Path) -> None:
    """However many shots are painted side by side: they all read ahead, on the device that paints."""
    made: list[str] = []

    def make_raft(weights: str, _: torch.device) -> DisFlow:
        made.append(weights)
        return DisFlow()

    estimators = functools.partial(FlowEstimators, make_raft=make_raft)
    write_clip(material / "cut.mp4", footage(6))
    more = ("shots.cuts=[2, 4]", "flow.method=raft", f"flow.weights={material / 'style.png'}")
    job = dataclasses.replace(asked(material, "flow", "cut.mp4", executor="inline", batch=3), settings=settings(*more))
    JobRun(read_inputs(job), loop_factory=functools.partial(FrameLoop, make_estimators=estimators)).run()
    assert widths(job) == [[48, 64, 3]] and made == [str(material / "style.png")]


def test_photos_of_a_batch_are_read_once_by_one_reader(material: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In one thread, and so in one decoder at a time, while others are painted."""
    reads: list[tuple[str, int]] = []

    def read(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
        reads.append((path.name, threading.get_ident()))
        return read_image_and_alpha(path)

    read_image_and_alpha = decoding.read_image_and_alpha
    monkeypatch.setattr(decoding, "read_image_and_alpha", read)
    stylize(dataclasses.replace(asked(material, "read", executor="inline", batch=3), settings=settings()))
    painting = [(name, thread) for name, thread in reads if thread != threading.get_ident()]
    assert sorted(name for name, _ in painting) == [f"{number}.png" for number in range(7)]
    assert len({thread for _, thread in painting}) == 1


@pytest.mark.sweep(1)
@pytest.mark.parametrize("more", [(), ("passes={count: 3, iterations: 2, temporal_from: 2}",)], ids=["once", "passes"])
def test_flow_of_processes_paints_the_same_film(material: Path, more: tuple[str, ...]) -> None:
    write_clip(material / "cut.mp4", footage(7))
    painted = []
    for processes in (0, 2):
        job = dataclasses.replace(
            asked(material, f"flow-{processes}", "cut.mp4", executor="inline"),
            settings=settings("shots.cuts=[4]", *more),
        )
        estimators = functools.partial(FlowEstimators, processes=processes)
        JobRun(read_inputs(job), loop_factory=functools.partial(FrameLoop, make_estimators=estimators)).run()
        painted.append(hashes(job))
    assert painted[0] == painted[1]


class Deadly(InlineExecutor):
    """Paints in this process, but as a worker that ends, with all that it has, when it is given photo 2."""

    def __init__(self, spec: PainterSpec, device: torch.device, ends: list[int]) -> None:
        super().__init__(spec, device)
        self._ends = ends

    def wait(self, on_progress: Any, timeout: float | None = None) -> Report | None:
        if self._reports:
            return self._reports.pop(0)
        if not any(isinstance(it.task, FrameTask) and it.task.index == 2 for it in self._waiting):
            return super().wait(on_progress, timeout)
        self._ends.append(2)
        tickets = [*self._worker._in_flight, *(assignment.ticket for assignment in self._waiting)]
        self._waiting.clear()
        self._worker.clear()
        self._reports += [Report(ticket, WorkerLostError("it ended"), 0.0, "cpu") for ticket in tickets]
        return self._reports.pop(0)


@pytest.mark.slow
def test_what_ends_a_worker_is_told_from_what_was_beside_it(material: Path) -> None:
    ends: list[int] = []
    for number, frame in enumerate(footage(12)):
        write_image(material / "many" / f"{number:02}.png", frame)
    job = asked(material, "out", "many", batch=9, executor="inline")
    job = dataclasses.replace(job, settings=settings("iterations.first=2"))
    with pytest.raises(PartialError, match=r"1 of 12 photos could not be painted \(first: 02.png: it ended"):
        stylize(job, executor_factory=lambda spec, devices, *_: Deadly(spec, devices[0], ends))
    assert len(ends) == 3
    assert [number for number, digest in enumerate(hashes(job)) if digest is None] == [2]


@pytest.mark.slow
def test_memory_that_runs_out_is_said_and_kept(material: Path) -> None:
    def short(spec: PainterSpec, devices: Sequence[torch.device], *_: object) -> InlineExecutor:
        executor = InlineExecutor(spec, devices[0])
        short_of_memory(executor._worker._painter, 1)
        return executor

    job = asked(material, "job", executor="inline")
    events: list[Event] = []
    stylize(job, events.append, executor_factory=short)
    assert "memory is too small for 2 pictures of 64×48 in a batch: one picture at a time" in notices(events)
    assert len([event for event in of_kind(events, Notice) if "memory is too small" in event.text]) == 2, (
        "for each size"
    )
    assert widths(job) == [[48, 64, 1], [64, 48, 1]]
    # From then on the job is one of one picture at a time, also where there is memory again.
    one_by_one = asked(material, "one", executor="inline", batch=1)
    stylize(one_by_one)
    assert hashes(job) == hashes(one_by_one)


# --- how many ---------------------------------------------------------------------------------------------------------


def test_as_many_as_pay() -> None:
    def latency(width: int) -> float:
        return 1.0

    def work(width: int) -> float:
        return float(width)

    # Where an iteration takes as long for many as for one, all that fit; where it takes as long for each, one.
    assert best_width(64, 1, 64, 1, latency) == 63
    assert best_width(64, 1, 20, 1, latency) == 20
    assert best_width(64, 1, 64, 1, work) == 1
    # No more than a device gets.
    assert best_width(64, 1, 64, 8, lambda width: 1 + width / 100) == 8
    # What waits for the longest chain is wasted: 40 frames in all, 30 of them in one shot.
    assert best_width(40, 30, 5, 1, lambda width: 1 + width / 4) == 2
    assert best_width(40, 40, 5, 1, lambda width: 1 + width / 4) == 1


def test_small_pictures_are_painted_side_by_side_and_large_ones_alone() -> None:
    """By rule: as many as are there, as pay and as the memory holds."""
    many, card = [300.0] * 200, 80 << 30
    widths = [width_for((side, side), many, card, 1) for side in (64, 256, 512, 1024, 4096)]
    assert widths == sorted(widths, reverse=True) and widths[0] > 3 * widths[2] and widths[-1] == 1
    assert width_for((256, 256), many, 4 << 30, 1) < width_for((256, 256), many, card, 1)
    assert width_for((256, 256), many, 1 << 30, 1) == 1
    assert width_for((256, 256), many[:16], card, 4) == 4


@pytest.mark.parametrize(("executor", "width"), [("inline", 8), ("processes", 4)])
def test_photos_are_shared_out_to_the_gpus_that_paint(
    material: Path, monkeypatch: pytest.MonkeyPatch, executor: str, width: int
) -> None:
    """`inline` paints on the first one alone, however many there are."""

    asked_of: list[int] = []

    def properties(device: torch.device) -> SimpleNamespace:
        asked_of.append(device.index)
        return SimpleNamespace(total_memory=2 << 30)

    monkeypatch.setattr(torch.cuda, "get_device_properties", properties)
    job = asked(material, "gpus", executor=executor, batch=None)
    gpus = [torch.device("cuda", number) for number in (0, 1)]
    frames = tuple(PlannedFrame(index, index, f"{index}.png", f"{index}.png", work=100) for index in range(8))
    inputs, plan = dataclasses.replace(read_inputs(job), devices=tuple(gpus)), FramePlan(frames, (SIZE,) * 8)
    widths = batch_widths(inputs, plan)
    assert widths == {SIZE: width} and size_order(inputs, plan, widths) == ()
    assert asked_of == [0] if executor == "inline" else [0, 1]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu(material: Path) -> None:
    """Measured widths, the same bits from any neighbours, and again when frames are painted anew."""
    for number, frame in enumerate(footage(7)):
        write_image(material / "many" / f"{number}.png", frame)
    job = asked(material, "gpu", "many", device="cuda:0", executor="inline", batch=None)
    stylize(job)
    assert widths(job)
    before = hashes(job)
    with Job.read(job.job_folder) as read:
        lost = [read.frames()[number].path for number in (1, 4)]
    for path in lost:
        path.unlink()
    resume(job.job_folder)
    assert hashes(job) == before
