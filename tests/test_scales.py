"""Coarse to fine: the sizes and iterations of a picture, and that it has the same bits however it gets through them."""

import dataclasses
import itertools
import math
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from impasto.errors import Interrupted
from impasto.events import Event, FrameDone, FrameProgress, FrameStarted, JobStarted, Losses, StopSignal
from impasto.media.images import write_image
from impasto.paint.batch import paint_one
from impasto.paint.checkpoint import Checkpoint
from impasto.paint.encoder_weights import EncoderWeights
from impasto.paint.painter import Painter
from impasto.paint.scales import divide, scale_sizes
from impasto.paint.stopping import FINISH_SHARE, StopRule
from impasto.paint.task import FrameTask, PaintedFrame, Scale
from impasto.pictures import resize
from impasto.plan.frame_rules import cold_start_scales
from impasto.presets import load_settings, preset_names
from impasto.run.executor import Assignment, PainterSpec
from impasto.run.job_run import resume, stylize
from impasto.run.worker import Worker
from tests.conftest import TINY
from tests.test_painter import same
from tests.test_run import footage, of_kind, request, settings

CPU = torch.device("cpu")
SIZE = (48, 72)
SCALES = (Scale((16, 24), StopRule(5, is_last=False)), Scale((32, 48), StopRule(4, is_last=False)))


@pytest.fixture
def painter(weights: EncoderWeights, style_array: np.ndarray) -> Painter:
    return Painter(load_settings("default", TINY), weights, [style_array], [1.0], CPU)


@pytest.fixture
def task(content_array: np.ndarray) -> FrameTask:
    return FrameTask(0, content_array, "content", StopRule(3), scales=SCALES)


# --- sizes and iterations ---------------------------------------------------------------------------------------------


@hypothesis_settings(deadline=None)
@given(
    size=st.tuples(st.integers(64, 9000), st.integers(64, 9000)),
    first=st.integers(32, 1024),
    iterations=st.integers(1, 2000),
)
def test_sizes_grow_and_their_work_is_that_of_one(size: tuple[int, int], first: int, iterations: int) -> None:
    sizes = scale_sizes(size, first)
    sides = [max(each) for each in (*sizes, size)]
    for smaller, larger in itertools.pairwise(sides):
        assert 2 ** (1 / 4) * 0.98 < larger / smaller < 2 ** (3 / 4) * 1.02
    assert sides[0] <= max(first, 64 * max(size) / min(size)) * 2**0.5 or not sizes
    assert all(min(each) >= 63 for each in sizes), "no picture begins as a line of strokes"
    scales, rule = divide(StopRule(iterations, 0.01, 7), size, sizes)
    assert [scale.size for scale in scales] == list(sizes)
    counts = [scale.rule.iterations for scale in scales] + [rule.iterations]
    assert len(set(counts)) == 1 and counts[0] >= 1
    assert [scale.rule.is_last for scale in scales] + [rule.is_last] == [False] * len(scales) + [True]
    assert {scale.rule.interval for scale in scales} | {rule.interval} == {7}
    task = FrameTask(0, np.broadcast_to(np.uint8(0), (*size, 3)), "content", rule, scales=scales)
    work = task.work_after(task.max_iterations)
    if counts[-1] > 2:
        assert iterations - 4 <= work <= iterations + 1e-6
    steps = [task.work_after(done) for done in range(0, task.max_iterations + 1, 1 + task.max_iterations // 20)]
    assert steps[0] == 0 and steps == sorted(steps)
    assert task.scale_after(1).size == (*sizes, size)[0] and task.scale_after(task.max_iterations).size == size


@pytest.mark.parametrize(("iterations", "count"), [(1, 1), (2, 2), (3, 2), (4, 2), (7, 3)])
def test_few_iterations_are_enough_for_a_step_at_each_scale(iterations: int, count: int) -> None:
    """The first evaluates the start: with one at each, the painting would be the content."""
    size = (3000, 4000)
    scales, rule = divide(StopRule(iterations), size, scale_sizes(size, 256))
    assert {scale.rule.iterations for scale in scales} | {rule.iterations} == {count}


def test_a_small_picture_predicts_a_large_one() -> None:
    large, small = scale_sizes((3000, 4000), 256), scale_sizes((384, 512), 256)
    assert small == large[: len(small)] and small[0] == (192, 256)
    assert scale_sizes((192, 256), 256) == scale_sizes((1200, 1600), None) == scale_sizes((0, 0), 256) == ()
    assert scale_sizes((200, 4000), 256) == scale_sizes((200, 4000), 1280), "a panorama begins larger"


@pytest.mark.parametrize("preset", preset_names())
def test_presets_of_our_own_paint_a_large_picture_from_coarse_to_fine(preset: str) -> None:
    chosen = load_settings(preset)
    scales, rule = cold_start_scales(chosen, (768, 1024))
    if preset in ("default", "high", "draft"):
        assert len(scales) == 4 and rule.iterations < chosen.iterations.first
    else:
        assert not scales and rule.iterations == chosen.iterations.first
    scales, rule = cold_start_scales(chosen, (192, 256))
    assert not scales and rule.iterations == chosen.iterations.first, "a small picture has one scale"


# --- one picture ------------------------------------------------------------------------------------------------------


def by_hand(painter: Painter, task: FrameTask) -> PaintedFrame:
    """Each scale as a task of its own."""
    painted, trace = None, ()
    for size, rule in [(scale.size, scale.rule) for scale in task.scales] + [(task.content.shape[:2], task.rule)]:
        content = resize(task.content, size)
        part = FrameTask(task.index, content, task.start, rule)
        if painted is not None:
            part = FrameTask(task.index, content, "enlarged", rule, painted.image, warm=True)
        painted = paint_one(painter, part)
        trace += painted.trace
    assert painted is not None
    return dataclasses.replace(painted, trace=trace)


@pytest.mark.parametrize("start", ["content", "noise", "given"])
def test_each_scale_starts_from_the_one_before(painter: Painter, task: FrameTask, start: str) -> None:
    if start == "given":
        given = np.ascontiguousarray(task.content[::-1])
        own = paint_one(painter, dataclasses.replace(task, start="given", given=given))
        first = dataclasses.replace(task, start="given", given=resize(given, (16, 24)), scales=())
        first = dataclasses.replace(first, content=resize(task.content, (16, 24)), rule=SCALES[0].rule)
        assert own.trace[:5] == paint_one(painter, first).trace
        return
    task = dataclasses.replace(task, start=start)
    own = paint_one(painter, task)
    assert same(own, by_hand(painter, task))
    assert own.iterations == 12
    assert own.losses == painter.measure(own.image, task.content), "the losses are those at its own size"


def test_only_the_last_scale_has_an_exact_finish(weights: EncoderWeights, style_array: np.ndarray) -> None:
    chosen = load_settings("default", (*TINY, "precision=bf16"))
    painter = Painter(chosen, weights, [style_array], [1.0], CPU, precision="bf16")
    calls = {"fast": [], "exact": []}  # type: dict[str, list[int]]
    assert painter.fast_encoder is not None
    for name, encoder in (("fast", painter.fast_encoder), ("exact", painter.encoder)):
        encoder.register_forward_hook(
            lambda _, inputs, __, name=name: (
                calls[name].append(inputs[0].shape[-1]) if torch.is_grad_enabled() else None
            )
        )
    content = np.random.default_rng(0).integers(0, 256, (48, 72, 3), dtype=np.uint8)
    scales = (Scale((32, 48), StopRule(2 * FINISH_SHARE, is_last=False)),)
    paint_one(painter, FrameTask(0, content, "content", StopRule(2 * FINISH_SHARE), scales=scales))
    assert calls["fast"].count(48) == 2 * FINISH_SHARE and set(calls["exact"]) == {72}


@pytest.mark.sweep(3)
@pytest.mark.parametrize("count", [6, 9, 10, 2, 5, 12])
def test_the_same_bits_wherever_it_was_killed(painter: Painter, task: FrameTask, tmp_path: Path, count: int) -> None:
    """Within a scale, and at the first and last iteration of one."""

    def kill(iteration: int, _: Losses) -> None:
        if iteration == count:
            raise KeyboardInterrupt

    whole, checkpoint, heard = paint_one(painter, task), Checkpoint(tmp_path / "frame", 0), list[int]()
    with pytest.raises(KeyboardInterrupt):
        paint_one(painter, task, kill, checkpoint)
    again = paint_one(painter, task, lambda iteration, _: heard.append(iteration), checkpoint)
    # The last iteration of a scale has no checkpoint after it: the next one begins at once.
    assert heard[0] in (count, count - 1) and heard[-1] == 12
    assert same(again, whole)


def test_a_scale_that_stops_early_counts_with_all_of_its_iterations(painter: Painter, task: FrameTask) -> None:
    early = Scale((16, 24), StopRule(50, 0.03, 4, is_last=False))
    heard: list[int] = []
    painted = paint_one(
        painter, dataclasses.replace(task, scales=(early,)), lambda iteration, _: heard.append(iteration)
    )
    assert heard[-3:] == [51, 52, 53] and len(heard) == painted.iterations < 53


# --- a worker ---------------------------------------------------------------------------------------------------------


def test_pictures_go_from_scale_to_scale_in_batches(
    weights: EncoderWeights, style_array: np.ndarray, task: FrameTask
) -> None:
    """Three pictures in batches of two, with one of another size between them: each as if it were alone."""
    spec = PainterSpec(load_settings("default", TINY), weights, (style_array,), (1.0,), None, 1, "fp32", {SIZE: 2})
    other = FrameTask(1, resize(task.content, (64, 48)), "content", StopRule(2))
    tasks = [task, other, dataclasses.replace(task, content=255 - task.content), dataclasses.replace(task, index=3)]

    def painted(chosen: list[FrameTask]) -> list[np.ndarray]:
        worker, results = Worker(spec, CPU, threading.Event()), dict[int, np.ndarray]()
        for ticket, each in enumerate(chosen):
            worker.add(Assignment(ticket, each))
        while worker.load:
            for report in worker.step(lambda *_: None):
                assert isinstance(report.result, PaintedFrame) and report.seconds > 0
                results[report.ticket] = report.result.image
        return [results[ticket] for ticket in range(len(chosen))]

    together = painted(tasks)
    for each, picture in zip(tasks, together, strict=True):
        assert np.array_equal(painted([each])[0], picture)


# --- jobs -------------------------------------------------------------------------------------------------------------

LARGE = ("size=none", "scales.from=64", "iterations={first: 12, next: 3, tolerance: 0}")


def stopping(size: tuple[int, int], stop: StopSignal) -> Callable[[Event], None]:
    """Asks for a stop at the second iteration at a scale."""
    heard: list[FrameProgress] = []

    def listener(event: Event) -> None:
        if isinstance(event, FrameProgress) and event.size == size:
            heard.append(event)
            if len(heard) == 2:
                stop.request()

    return listener


def test_a_job_resumes_between_and_within_scales(tmp_path: Path, content_array: np.ndarray, style_file: Path) -> None:
    content = tmp_path / "content.png"
    write_image(content, resize(content_array, (128, 192)))
    events: list[Event] = []
    stylize(request(content, style_file, tmp_path / "whole.png", settings=settings(*LARGE)), events.append)
    (job,), (started,), (done,) = (of_kind(events, kind) for kind in (JobStarted, FrameStarted, FrameDone))
    progress = of_kind(events, FrameProgress)
    sizes = list(dict.fromkeys(event.size for event in progress))
    assert sizes == [(64, 96), (91, 136), (128, 192)]
    work = [event.work or 0.0 for event in progress]
    assert work == sorted(work) and work[0] > 0 and work[-1] == started.work
    assert job.iterations_left == 12 and math.isclose(started.work or 0, 12, rel_tol=0.2)
    assert [event.iteration for event in progress] == list(range(1, done.iterations + 1))

    asked = request(content, style_file, tmp_path / "stopped.png", settings=settings(*LARGE))
    for number, size in enumerate(sizes):
        stop = StopSignal(grace_seconds=0)
        with pytest.raises(Interrupted):
            (stylize if not number else lambda _, *more: resume(asked.job_folder, *more))(
                asked, stopping(size, stop), stop
            )
        assert (asked.job_folder / "checkpoints").exists()
    resume(asked.job_folder)
    assert (tmp_path / "stopped.png").read_bytes() == (tmp_path / "whole.png").read_bytes()


def test_in_a_film_the_first_frame_of_a_shot_is_painted_so(tmp_path: Path, style_file: Path) -> None:
    frames = tmp_path / "frames"
    for number, frame in enumerate(footage()):
        write_image(frames / f"{number}.png", resize(frame, (96, 128)))
    events: list[Event] = []
    asked = request(frames, style_file, tmp_path / "painted", settings=settings(*LARGE), mode="sequence")
    stylize(asked, events.append)
    scaled = {event.index for event in of_kind(events, FrameProgress) if event.size is not None}
    assert scaled == {0, 3}
    assert (
        sum(event.work or 0 for event in of_kind(events, FrameStarted))
        <= of_kind(events, JobStarted)[0].iterations_left
    )
