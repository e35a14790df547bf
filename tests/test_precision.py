"""Pictures in every precision, on the CPU and on a GPU: the same bits whatever happens to them on the way.

What follows with a device as its argument runs on a GPU too where there is one (`make gpu`).
"""

import dataclasses
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from impasto.choices import Precision
from impasto.errors import DeviceError, Interrupted
from impasto.paint import launcher, precision, stopping
from impasto.paint.batch import Batch, paint_one
from impasto.paint.checkpoint import Checkpoint
from impasto.paint.encoder_weights import EncoderWeights
from impasto.paint.painter import Painter
from impasto.paint.precision import choose_precision, precisions_of
from impasto.paint.stopping import StopReason, StopRule
from impasto.paint.task import FrameTask, PaintedFrame
from impasto.pictures import Size, size_of
from impasto.plan.request import Request
from impasto.presets import load_settings
from impasto.run.executor import Assignment, PainterSpec
from impasto.run.job_run import resume, stylize
from impasto.run.worker import Worker
from tests.conftest import TINY
from tests.support.seeds import numpy_stream

CPU = torch.device("cpu")
GPU = pytest.param(
    torch.device("cuda", 0),
    marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")],
    id="gpu",
)
on_gpu = pytest.mark.parametrize("device", [GPU])
everywhere = pytest.mark.parametrize("device", [pytest.param(CPU, id="cpu"), GPU])

FINISH_SHARE = 10
ITERATIONS = 2 * FINISH_SHARE
FINISH = ITERATIONS // FINISH_SHARE

MakePainter = Callable[..., Painter]


@pytest.fixture(autouse=True)
def _a_finish_after_few_iterations(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stopping, "FINISH_SHARE", FINISH_SHARE)


@pytest.fixture
def make_painter(weights: EncoderWeights, style_array: np.ndarray) -> MakePainter:
    def make(device: torch.device, kind: Precision, *overrides: str) -> Painter:
        settings = load_settings("default", [*TINY, *overrides])
        return Painter(settings, weights, [style_array], [1.0], device, precision=kind)

    return make


def kinds(device: torch.device) -> tuple[Precision, ...]:
    """The precisions to try: a CPU without units for bf16 emulates it."""
    return ("fp32", "bf16") if device.type == "cpu" else precisions_of(device)


def tasks(count: int, size: Size = (48, 64), iterations: int = ITERATIONS) -> list[FrameTask]:
    numbers = numpy_stream(7)
    contents = numbers.integers(0, 256, (count, size[0] // 8, size[1] // 8, 3), dtype=np.uint8)
    contents = contents.repeat(8, 1).repeat(8, 2)
    return [FrameTask(index, content, "content", StopRule(iterations)) for index, content in enumerate(contents)]


def painted_in(batch: Batch, waiting: list[FrameTask], limit: int | None = None) -> dict[int, PaintedFrame]:
    """Pictures by their index; with a `limit`, one is added only when so many iterations have passed since the last."""
    waiting, done, since = list(waiting), dict[int, PaintedFrame](), 0
    while waiting or batch.free_slots < batch.width:
        if waiting and batch.free_slots and since >= (limit or 0):
            task, since = waiting.pop(0), 0
            batch.add(task.index, task)
            continue
        since += 1
        for ticket, painted in (batch.step() if batch.free_slots < batch.width else {}).items():
            assert isinstance(painted, PaintedFrame), painted
            done[ticket] = painted
    return done


def same(a: PaintedFrame, b: PaintedFrame) -> bool:
    return np.array_equal(a.image, b.image) and a.trace == b.trace and a.losses == b.losses


# --- results ----------------------------------------------------------------------------------------------------------


@everywhere
def test_every_precision_comes_to_the_same_objective(device: torch.device, make_painter: MakePainter) -> None:
    (task,) = tasks(1, iterations=60)
    objectives = {}
    for kind in kinds(device):
        painted = paint_one(make_painter(device, kind), task)
        assert painted.iterations == 60 and painted.stop is StopReason.ITERATIONS and painted.retried is None
        # What is recorded is exact, whatever the picture was painted in.
        assert painted.losses == make_painter(device, "fp32").measure(painted.image, task.content)
        assert same(painted, paint_one(make_painter(device, kind), task))
        objectives[kind] = painted.losses.objective
    assert all(value == pytest.approx(objectives["fp32"], rel=0.03) for value in objectives.values()), objectives


@everywhere
def test_the_last_iterations_are_exact(device: torch.device, make_painter: MakePainter) -> None:
    """Their losses are those of the exact objective, and they go on from the curvature that there was."""
    if "bf16" not in kinds(device):
        pytest.skip("this GPU has no units for bf16")
    painter = make_painter(device, "bf16")
    (task,) = tasks(1)
    batch = Batch(painter, size_of(task.content), 1)
    batch.add(0, task)
    evaluated = []
    for encoder, name in ((painter.fast_encoder, "fast"), (painter.encoder, "exact")):
        assert encoder is not None
        encoder.register_forward_hook(lambda *_, name=name: evaluated.append(name))
    done: dict[int, Any] = {}
    while not done:
        done = batch.step()
    if device.type == "cpu":
        assert evaluated[:-1] == ["fast"] * (ITERATIONS - FINISH) + ["exact"] * FINISH, "the last one measures"
    trace = [losses.objective for losses in done[0].trace]
    assert trace[-1] < trace[ITERATIONS - FINISH] <= 1.02 * trace[ITERATIONS - FINISH - 1]
    assert done[0].losses.objective == pytest.approx(trace[-1], rel=0.02), "saved in 8 bits"


@everywhere
def test_a_rule_that_ends_the_fast_stage_is_the_reason(device: torch.device, make_painter: MakePainter) -> None:
    if "bf16" not in kinds(device):
        pytest.skip("this GPU has no units for bf16")
    painter = make_painter(device, "bf16")
    (task,) = tasks(1)
    free = paint_one(painter, task)
    target = free.trace[11].objective
    met = paint_one(painter, dataclasses.replace(task, rule=StopRule(ITERATIONS, target=target)))
    assert met.stop is StopReason.TARGET
    assert met.trace == free.trace[:12]
    # A warm start, which may have little to do, that is slow at the second check of its tolerance.
    warm = dataclasses.replace(task, warm=True)
    slow = paint_one(painter, dataclasses.replace(warm, rule=StopRule(ITERATIONS, 0.99, 7)))
    assert slow.stop is StopReason.TOLERANCE and slow.iterations == 14 + 1
    assert slow.trace[:14] == paint_one(painter, warm).trace[:14]
    # A frame that is good already is only evaluated.
    good = paint_one(painter, dataclasses.replace(task, rule=StopRule(ITERATIONS, target=1e12)))
    assert good.stop is StopReason.TARGET and good.iterations == 1


@everywhere
def test_pictures_do_not_depend_on_their_neighbours(device: torch.device, make_painter: MakePainter) -> None:
    """Neither on who they are, nor on when they began, nor on whether they wait for another stage meanwhile."""
    many = tasks(4)
    for kind in kinds(device)[-1:] if device.type == "cpu" else kinds(device):
        painter = make_painter(device, kind)
        together = painted_in(Batch(painter, (48, 64), 3), many, limit=7)
        for task in many:
            assert same(painted_in(Batch(painter, (48, 64), 3), [task])[task.index], together[task.index]), kind


@everywhere
@pytest.mark.parametrize("at", [5, ITERATIONS - FINISH, ITERATIONS - 1], ids=["fast", "between", "exact"])
def test_a_picture_that_is_interrupted_in_any_stage_continues(
    device: torch.device, at: int, make_painter: MakePainter, tmp_path: Path
) -> None:
    (task,) = tasks(1)
    kind = kinds(device)[-1] if device.type == "cpu" else kinds(device)[0]
    wanted = paint_one(make_painter(device, kind), task)
    seen: list[int] = []
    checkpoint = Checkpoint(tmp_path / "frame", 1e9, lambda: len(seen) >= at)
    with pytest.raises(Interrupted):
        paint_one(make_painter(device, kind), task, lambda iteration, _: seen.append(iteration), checkpoint)
    resumed: list[int] = []
    again = paint_one(
        make_painter(device, kind), task, lambda iteration, _: resumed.append(iteration), Checkpoint(checkpoint.path)
    )
    assert same(again, wanted) and resumed == [*range(seen[-1] + 1, ITERATIONS + 1)]


@everywhere
def test_two_sizes_in_turn(device: torch.device, make_painter: MakePainter) -> None:
    painter = make_painter(device, kinds(device)[0])
    wide, high = tasks(1, (48, 64))[0], tasks(1, (64, 48))[0]
    first = [paint_one(painter, task) for task in (wide, high)]
    assert all(same(paint_one(painter, task), before) for task, before in zip((wide, high), first, strict=True))


# --- on a GPU alone ---------------------------------------------------------------------------------------------------


@on_gpu
def test_a_graph_computes_what_single_kernels_do(
    device: torch.device, make_painter: MakePainter, monkeypatch: pytest.MonkeyPatch
) -> None:
    (task,) = tasks(1)
    for kind in kinds(device):
        captured = paint_one(make_painter(device, kind), task)
        assert captured.slow is None
        with monkeypatch.context() as patch:
            patch.setattr(launcher, "WARM_UPS", 10**9)
            assert same(paint_one(make_painter(device, kind), task), captured), kind
        with monkeypatch.context() as patch:

            def refuse(*_: object, **__: object) -> None:
                raise RuntimeError("operation not permitted when stream is capturing\nmore")

            patch.setattr(torch.cuda, "graph", refuse)
            fallen_back = paint_one(make_painter(device, kind), task)
            assert same(fallen_back, captured) and fallen_back.slow is not None and "\n" not in fallen_back.slow


@on_gpu
def test_a_batch_that_does_not_fit_is_halved(
    device: torch.device, weights: EncoderWeights, style_array: np.ndarray
) -> None:
    """The pictures that it paints are those of the smaller batch."""
    settings, size, many = load_settings("default", TINY), (256, 256), tasks(8, (256, 256), 10)
    spec = PainterSpec(settings, weights, (style_array,), (1.0,), None, 1, "tf32", {size: 8})
    worker = Worker(spec, device, threading.Event())
    torch.cuda.empty_cache()
    free, total = torch.cuda.mem_get_info(device)
    torch.cuda.set_per_process_memory_fraction((total - free + (1 << 29)) / total, device)
    try:
        for task in many:
            worker.add(Assignment(task.index, task))
        reports = []
        while worker.load:
            reports += worker.step(lambda *_: None)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, device)
    assert len(reports) == 8 and all(isinstance(report.result, PaintedFrame) for report in reports)
    assert min(report.width for report in reports) < 8


# --- jobs -------------------------------------------------------------------------------------------------------------


def test_auto_is_what_the_device_has_units_for(monkeypatch: pytest.MonkeyPatch) -> None:
    for capabilities, variables, expected in (
        ({}, {}, "fp32"),
        ({"avx512_bf16": True}, {}, "bf16"),
        ({"amx_bf16": True}, {}, "bf16"),
        ({"avx512_bf16": True}, {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE"}, "fp32"),
        ({"avx512_bf16": True}, {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE_BF16"}, "bf16"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(torch.cpu, "get_capabilities", lambda capabilities=capabilities: capabilities)
            patch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
            for name, value in variables.items():
                patch.setenv(name, value)
            assert choose_precision("auto", CPU) == expected
            assert choose_precision("fp32", CPU) == "fp32"
            for refused in {"tf32", "bf16"} - {expected}:
                with pytest.raises(DeviceError, match=f"no units for {refused}.*`precision='auto'`"):
                    choose_precision(refused, CPU)  # type: ignore[arg-type]
    for capability, expected in (((7, 5), "fp32"), ((8, 0), "bf16"), ((9, 0), "bf16")):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _, it=capability: it)
        assert choose_precision("auto", torch.device("cuda", 0)) == expected


def test_a_job_is_continued_in_its_precision_or_not_at_all(
    tmp_path: Path, content_file: Path, style_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = load_settings("default", [*TINY, "precision=auto", "iterations.first=12"])
    request = Request((content_file,), (style_file,), tmp_path / "painted.png", settings, device="cpu")
    monkeypatch.setattr(precision, "_cpu_has_bf16", lambda: True)
    stylize(request)
    painted = request.output.read_bytes()
    request.output.unlink()
    monkeypatch.setattr(precision, "_cpu_has_bf16", lambda: False)
    with pytest.raises(DeviceError, match=r"cpu has no units for bf16, but for fp32: .* `stylize\(force=True\)`"):
        resume(request.job_folder)
    monkeypatch.setattr(precision, "_cpu_has_bf16", lambda: True)
    resume(request.job_folder)
    assert request.output.read_bytes() == painted
