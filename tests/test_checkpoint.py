"""A frame that continues from its checkpoint has the same bits; a damaged or foreign checkpoint is not used."""

import dataclasses
import resource
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from impasto.errors import Interrupted, StorageError
from impasto.events import Losses
from impasto.paint import curvature_pairs, objective, preconditioner
from impasto.paint.batch import Batch, paint_one
from impasto.paint.checkpoint import Checkpoint, digest
from impasto.paint.encoder_weights import EncoderWeights
from impasto.paint.painter import Painter
from impasto.paint.stopping import StopRule
from impasto.paint.task import FrameTask, task_digest
from impasto.presets import load_settings
from tests.conftest import TINY
from tests.support.seeds import numpy_stream

ITERATIONS = 30
OPTIMIZERS = {
    "lbfgs": (),
    "lbfgs, short history": ("optimizer.history=3",),
    "adam": ("optimizer.method=adam", "optimizer.learning_rate_decay=0.5", "optimizer.decay_interval=10"),
}


class KilledError(Exception):
    pass


@pytest.fixture(params=OPTIMIZERS.values(), ids=OPTIMIZERS)
def painter(request: pytest.FixtureRequest, weights: EncoderWeights, style_array: np.ndarray) -> Painter:
    settings = load_settings("default", [*TINY, *request.param])
    return Painter(settings, weights, [style_array], [1.0], torch.device("cpu"))


@pytest.fixture
def task(content_array: np.ndarray) -> FrameTask:
    return FrameTask(0, content_array, "content", StopRule(ITERATIONS))


def killed_after(count: int) -> Callable[[int, Losses], None]:
    def on_progress(iteration: int, _: Losses) -> None:
        if iteration == count:
            raise KilledError

    return on_progress


def heard(painter: Painter, task: FrameTask, checkpoint: Checkpoint) -> tuple[np.ndarray, tuple[Losses, ...], int]:
    """The picture, its trace, and the first iteration that was reported."""
    first: list[int] = []
    painted = paint_one(painter, task, lambda iteration, _: first.append(iteration), checkpoint)
    return painted.image, painted.trace, first[0]


@pytest.mark.sweep(1)
@pytest.mark.parametrize("count", [3, 4, 17, ITERATIONS])
def test_the_same_bits_wherever_it_was_killed(painter: Painter, task: FrameTask, tmp_path: Path, count: int) -> None:
    whole = paint_one(painter, task)
    checkpoint = Checkpoint(tmp_path / "frame", 0)
    with pytest.raises(KilledError):
        paint_one(painter, task, killed_after(count), checkpoint)
    image, trace, first = heard(painter, task, checkpoint)
    assert first == count, "it continues from the checkpoint of the iteration before"
    assert trace == whole.trace and np.array_equal(image, whole.image)
    assert not np.array_equal(image, task.content)


@pytest.mark.sweep(1)
def test_killed_again_and_again(painter: Painter, task: FrameTask, tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path / "frame", 0)
    for count in (5, 6, 12, 25):
        with pytest.raises(KilledError):
            paint_one(painter, task, killed_after(count), checkpoint)
    image, trace, _ = heard(painter, task, checkpoint)
    whole = paint_one(painter, task)
    assert trace == whole.trace and np.array_equal(image, whole.image)


def test_the_same_bits_of_a_large_picture_in_tiles(
    weights: EncoderWeights, style_array: np.ndarray, task: FrameTask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With all that is computed otherwise to save memory."""
    for name in ("HALF_FROM", "FEW_FROM"):
        monkeypatch.setattr(curvature_pairs, name, 1)
    for module in (objective, preconditioner):
        monkeypatch.setattr(module, "LARGE", 1)
    settings, tiles = load_settings("default", list(TINY)), {task.all_scales[0].size: 32}
    painter = Painter(settings, weights, [style_array], [1.0], torch.device("cpu"), tiles=tiles)
    whole = paint_one(painter, task)
    checkpoint = Checkpoint(tmp_path / "frame", 0)
    for count in (3, 17):
        with pytest.raises(KilledError):
            paint_one(painter, task, killed_after(count), checkpoint)
    image, trace, first = heard(painter, task, checkpoint)
    assert first == 17 and trace == whole.trace and np.array_equal(image, whole.image)


@pytest.mark.slow
def test_what_is_damaged_is_not_used(painter: Painter, task: FrameTask, tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path / "frame", 0)
    with pytest.raises(KilledError):
        paint_one(painter, task, killed_after(9), checkpoint)
    data = checkpoint.path.read_bytes()
    generator = numpy_stream(0)
    # The header holds names and offsets, and the rest is numbers: both get their share.
    offsets = [*generator.integers(0, 1000, 30), *generator.integers(0, len(data), 30)]
    wanted = paint_one(painter, task).image
    fell_back = 0
    for offset in offsets:
        checkpoint.path.write_bytes(data[:offset] + bytes([data[offset] ^ 4]) + data[offset + 1 :])
        snapshot = checkpoint.load(task_digest(task, painter.device, painter.precision))
        fell_back += snapshot is None
        if snapshot is not None:
            # A space of the header's padding: nothing that is read has changed.
            assert np.array_equal(heard(painter, task, checkpoint)[0], wanted)
    assert fell_back >= 50
    for length in (0, 7, len(data) // 2, len(data) - 1):
        checkpoint.path.write_bytes(data[:length])
        assert checkpoint.load(task_digest(task, painter.device, painter.precision)) is None
    assert heard(painter, task, checkpoint)[2] == 1


def test_what_another_task_left_is_not_used(
    painter: Painter, task: FrameTask, content_array: np.ndarray, tmp_path: Path
) -> None:
    checkpoint = Checkpoint(tmp_path / "frame", 0)
    with pytest.raises(KilledError):
        paint_one(painter, task, killed_after(9), checkpoint)
    changed = content_array.copy()
    changed[3, 4, 0] ^= 1
    others = (
        FrameTask(0, changed, "content", task.rule),
        FrameTask(0, content_array, "noise", task.rule),
        FrameTask(0, content_array, "content", StopRule(ITERATIONS - 1)),
        FrameTask(0, content_array, "given", task.rule, changed),
    )
    for other in others:
        assert checkpoint.load(task_digest(other, painter.device, painter.precision)) is None
    assert checkpoint.load(task_digest(task, painter.device, painter.precision)) is not None


@pytest.mark.sweep(1)
def test_it_is_written_no_more_often_than_asked(painter: Painter, task: FrameTask, tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path / "frame", 10)
    batch = Batch(painter, (48, 72), 1, iter(range(1000)).__next__)
    batch.add(0, task, None, checkpoint)
    written = []
    while batch.free_slots == 0:
        before = checkpoint.path.stat().st_mtime_ns if checkpoint.path.exists() else None
        batch.step()
        if checkpoint.path.exists() and checkpoint.path.stat().st_mtime_ns != before:
            written.append(len(written))
    assert len(written) == (ITERATIONS - 1) // 10


@pytest.mark.sweep(1)
def test_a_path_that_cannot_be_written_costs_nothing(painter: Painter, task: FrameTask, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way of a folder")
    image, trace, _ = heard(painter, task, Checkpoint(tmp_path / "file" / "frame", 0))
    whole = paint_one(painter, task)
    assert trace == whole.trace and np.array_equal(image, whole.image)


@pytest.mark.slow
def test_a_disk_that_is_full_costs_nothing(painter: Painter, task: FrameTask, tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path / "frame", 0)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
    try:
        with pytest.raises(StorageError, match="could not write"):
            checkpoint.save({"x": torch.ones(100_000)}, "task")
        image, _, _ = heard(painter, task, checkpoint)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert np.array_equal(image, paint_one(painter, task).image)
    assert list(tmp_path.iterdir()) == []


def test_a_second_try_can_be_stopped(painter: Painter, task: FrameTask, tmp_path: Path) -> None:
    # A cold start that meets its tolerance at the first check, after 8 iterations, has stalled.
    task = dataclasses.replace(task, rule=StopRule(ITERATIONS, 0.9, 4))
    heard_of: list[int] = []
    checkpoint = Checkpoint(tmp_path / "frame", should_stop=lambda: len(heard_of) > 8 + 3)
    with pytest.raises(Interrupted):
        paint_one(painter, task, lambda iteration, _: heard_of.append(iteration), checkpoint)
    assert 8 + 3 < len(heard_of) <= 8 + 6


def test_it_is_removed_once(tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path / "frame")
    checkpoint.save({"x": torch.ones(2)}, "task")
    assert checkpoint.load("task") is not None
    checkpoint.remove()
    checkpoint.remove()
    assert not checkpoint.path.exists()


def test_there_is_no_copy_of_all_that_it_holds(tmp_path: Path) -> None:
    """Neither when it is written nor when it is read, but of a tensor at a time."""
    checkpoint = Checkpoint(tmp_path / "frame")
    tensors = {str(number): torch.full((1 << 18,), float(number)) for number in range(16)}
    tracemalloc.start()
    try:
        checkpoint.save(tensors, "task")
        loaded = checkpoint.load("task")
        assert loaded is not None and set(loaded) == set(tensors)
        assert all(torch.equal(loaded[name], tensor) for name, tensor in tensors.items())
        assert 1 << 20 <= tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


def test_a_digest_sees_every_part() -> None:
    array = np.arange(6, dtype=np.float32)
    values = (
        array,
        array.reshape(2, 3),
        array.astype(np.float64),
        (array, array),
        ((array,), array),
        {"a": array},
        {"b": array},
        None,
        "None",
        1,
        1.0,
        StopRule(1),
        StopRule(2),
    )
    assert len({digest(value) for value in values}) == len(values)
