"""Where the time of a job goes, and that what its device waits for is told apart."""

import functools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from impasto.errors import StorageError
from impasto.events import JobDone, TimeUse, to_record
from impasto.job.job import Job
from impasto.job.status import status_of
from impasto.media.frame_png import write_frame
from impasto.media.images import write_image
from impasto.motion.dis import DisFlow
from impasto.pictures import Size
from impasto.plan.inputs import read_inputs
from impasto.run import frame_loop, picture_writer
from impasto.run.executor_factory import ExecutorFactory
from impasto.run.frame_loop import FrameLoop
from impasto.run.job_run import JobRun
from impasto.run.reader_slots import FlowEstimators
from impasto.run.saver import Saver
from impasto.run.time_keeper import TimeKeeper
from samples import scenes
from tests.support.unpainted import UnpaintedExecutor
from tests.test_batch import request, settings

PAIR_SECONDS = 0.5
SAVE_SECONDS = 0.2


def test_each_wait_is_counted_where_it_belongs() -> None:
    now = [100.0]
    keeper = TimeKeeper(TimeUse(10, 5, 1, 1, 1), lambda: now[0])
    with keeper.painting():
        now[0] += 6
    began = keeper.now()
    now[0] += 4
    keeper.waited(began, 0.5, 0.25)
    with pytest.raises(ZeroDivisionError), keeper.saving():
        now[0] += 3
        _ = 1 / 0
    with keeper.saving(0.25):
        now[0] += 4
    use = keeper.total
    assert (use.flow, use.reading, use.saving) == (1 + 1.5, 1 + 0.5, 1 + 3 + 1)
    assert use.painting == 5 + 6 + 2 + 3, "where a share of the workers waits, the others paint"
    assert use.seconds == 10 + 17


class SlowFlow(DisFlow):
    def pair(self, a: np.ndarray, b: np.ndarray, size: Size) -> tuple[np.ndarray, np.ndarray]:
        time.sleep(PAIR_SECONDS)
        return super().pair(a, b, size)


class SlowEstimators(FlowEstimators):
    def make(self) -> DisFlow:
        return SlowFlow()


def run(
    folder: Path,
    count: int,
    executor: ExecutorFactory = UnpaintedExecutor,
    estimators: Callable[..., FlowEstimators] = SlowEstimators,
) -> JobDone:
    """Runs the job of a film whose frames take no time to paint, but long to estimate the flow of."""
    footage = scenes.pan((48, 64), count, 1)
    for index in range(count):
        write_image(folder / "film" / f"{index}.png", footage.frame(index))
    write_image(folder / "style.png", footage.frame(0))
    asked = request(folder / "film", folder / "style.png", folder / "out", mode="sequence", settings=settings())
    loop = functools.partial(FrameLoop, make_estimators=estimators)
    return JobRun(read_inputs(asked), executor_factory=executor, loop_factory=loop).run()


def test_a_device_that_waits_for_flow_is_told(tmp_path: Path) -> None:
    done = run(tmp_path, 4)
    with Job.read(tmp_path / "out.impasto") as job:
        use, recorded = status_of(job).time_use, job.store.meta("time_use")
    assert use is not None and recorded is not None and done.time_use == use
    # Three pairs, of which a part may pass while a painting is saved.
    assert use.seconds >= use.flow > PAIR_SECONDS
    assert use.flow > use.reading > 0
    assert use.painting + use.flow + use.reading + use.saving <= use.seconds
    assert to_record(done)["time_use"]["flow"] == use.flow


class _Beside(UnpaintedExecutor):
    """As a GPU, beside which paintings are saved."""

    overlaps = True


def test_a_device_that_waits_for_room_to_save_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(*arguments: Any) -> None:
        time.sleep(SAVE_SECONDS)
        write_frame(*arguments)

    monkeypatch.setattr(picture_writer, "write_frame", slow)
    monkeypatch.setattr(frame_loop, "Saver", functools.partial(Saver, queue_bytes=1))
    use = run(tmp_path, 5, _Beside, FlowEstimators).time_use
    # Each waits until the one before is saved; a part may pass while flow is estimated.
    assert use is not None and use.saving > 3 * SAVE_SECONDS


def test_it_adds_up_over_the_runs_of_a_job(tmp_path: Path) -> None:
    first = run(tmp_path, 2).time_use
    (tmp_path / "out" / "1.png").unlink()
    second = run(tmp_path, 2).time_use
    assert first is not None and second is not None
    assert second.seconds > first.seconds and second.flow > first.flow


def test_a_job_does_not_fail_because_its_time_cannot_be_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise StorageError("no space left on the disk")

    monkeypatch.setattr(Job, "record_time_use", full)
    assert run(tmp_path, 2).painted_count == 2


def test_the_time_of_a_run_that_fails_is_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise StorageError("no space left on the disk")

    monkeypatch.setattr(picture_writer, "write_frame", full)
    with pytest.raises(StorageError, match="no space left"):
        run(tmp_path, 2)
    with Job.read(tmp_path / "out.impasto") as job:
        assert job.time_use is not None and job.time_use.seconds > 0
