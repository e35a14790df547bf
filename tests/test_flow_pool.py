"""Processes that estimate flow ahead: the same bits, what becomes of a process that ends, and what readers begin."""

import itertools
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
import torch

from impasto.child_processes import Child
from impasto.errors import FrameError
from impasto.job.job import Job
from impasto.media.content import Content, ContentFile, ContentKind
from impasto.media.images import write_image
from impasto.motion import flow_pool
from impasto.motion.dis import DisFlow, plain_dis
from impasto.motion.flow_pool import BothWays, FlowPool
from impasto.motion.pair_flow import CachedFlow
from impasto.motion.reader import MotionFrame, MotionReader
from impasto.pictures import Size
from impasto.run import reader_slots
from impasto.run.reader_slots import FlowEstimators, ReaderSlots, flow_processes
from samples import scenes
from tests.test_motion import Film
from tests.test_processes import until
from tests.test_run import settings

SIZE = (48, 80)
SECONDS = 20


@pytest.fixture(scope="module")
def scene() -> scenes.Scene:
    return scenes.occluder(SIZE, 8, 1, velocity=(4.0, 1.0), ground_velocity=(0.0, 0.0))


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def same(a: BothWays, b: BothWays) -> bool:
    return all(np.array_equal(flow, other) for flow, other in zip(a, b, strict=True))


def pairs_of(scene: scenes.Scene) -> list[tuple[np.ndarray, np.ndarray]]:
    return list(itertools.pairwise(scene.frame(index) for index in range(scene.frame_count)))


def test_the_bits_are_those_of_this_process(scene: scenes.Scene) -> None:
    with FlowPool(2) as pool:
        futures = [pool.submit(a, b, SIZE) for a, b in pairs_of(scene)]
        assert len(pool._children) <= 2
        assert all(
            same(future.result(), DisFlow().pair(a, b, SIZE))
            for future, (a, b) in zip(futures, pairs_of(scene), strict=True)
        )
        children = list(pool._children)
    assert not any(child.is_alive() for child in children)


def test_flow_that_is_waited_for_does_not_wait_for_pairs(scene: scenes.Scene) -> None:
    (a, b), *_ = pairs_of(scene)
    with FlowPool(1) as pool:
        pairs = [pool.submit(a, b, SIZE) for _ in range(20)]
        plain = pool.submit_plain(a, b).result()
        assert not pairs[-1].done()
    assert np.array_equal(plain, plain_dis(a, b))


def test_an_error_of_the_estimator_is_raised_here() -> None:
    frame = np.zeros((40, 40, 3), np.uint8)
    with FlowPool(1) as pool:
        with pytest.raises(ValueError, match=r"\(40, 41, 3\)"):
            pool.pair(frame, np.zeros((40, 41, 3), np.uint8), (40, 40))
        assert pool.pair(frame, frame, (40, 40))[0].shape == (40, 40, 2), "and the process goes on"


class Dying(Child):
    """A process that is killed when it is sent its first pair, as the system does where memory is short."""

    left = 0

    def send(self, message: object) -> None:
        if Dying.left:
            Dying.left -= 1
            os.kill(self.pid, signal.SIGKILL)
        super().send(message)


def test_a_process_that_is_killed_is_replaced(scene: scenes.Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flow_pool, "Child", Dying)
    monkeypatch.setattr(Dying, "left", 1)
    (a, b), *_ = pairs_of(scene)
    with FlowPool(1) as pool:
        assert same(pool.pair(a, b, SIZE), DisFlow().pair(a, b, SIZE))
        Dying.left = flow_pool.TRIES
        with pytest.raises(FrameError, match=r"3 processes ended .*SIGKILL"):
            pool.pair(a, b, SIZE)


def test_processes_that_are_killed_while_idle_are_no_pairs_fault(scene: scenes.Scene) -> None:
    (a, b), *_ = pairs_of(scene)
    with FlowPool(1) as pool:
        idle = [Child("motion.flow_process", "serve") for _ in range(flow_pool.TRIES)]
        pool._children.update(idle)
        pool._idle.extend(idle)
        for child in idle:
            os.kill(child.pid, signal.SIGKILL)
        assert until(lambda: not any(child.is_alive() for child in idle))
        assert same(pool.pair(a, b, SIZE), DisFlow().pair(a, b, SIZE))
        assert len(pool._children) == 1


def test_where_no_process_can_be_started_flow_is_estimated_here(
    scene: scenes.Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> Child:
        raise BlockingIOError("no more processes")

    monkeypatch.setattr(flow_pool, "Child", refuse)
    (a, b), *_ = pairs_of(scene)
    with FlowPool(1) as pool:
        assert same(pool.pair(a, b, SIZE), DisFlow().pair(a, b, SIZE))


def test_it_can_be_left_while_it_works(scene: scenes.Scene) -> None:
    (a, b), *_ = pairs_of(scene)
    with FlowPool(1) as pool:
        futures = [pool.submit(a, b, SIZE) for _ in range(50)]
        futures[0].result()
    assert all(future.done() for future in futures)


def test_its_processes_end_with_the_one_that_started_them() -> None:
    """Also while they work, and however that ends."""
    script = """
import os, sys
import numpy as np
from impasto.motion.flow_pool import FlowPool
pool = FlowPool(2)
frames = [np.random.default_rng(seed).integers(0, 255, (600, 1000, 3), np.uint8) for seed in (0, 1)]
pool.pair(frames[0][:64, :64], frames[1][:64, :64], (64, 64))
pairs = [pool.submit(*frames, (600, 1000)) for _ in range(9)]
print(*(child.pid for child in pool._children), flush=True)
sys.stdin.read()
"""
    with subprocess.Popen(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as parent:
        assert parent.stdout is not None
        children = [int(pid) for pid in parent.stdout.readline().split()]
        assert children and all(map(is_running, children))
        parent.kill()
    assert until(lambda: not any(map(is_running, children)))


class RecordedPool(FlowPool):
    """Keeps a record of how many pairs were begun."""

    def __init__(self, processes: int) -> None:
        super().__init__(processes)
        self.begun = 0

    def submit(self, a: np.ndarray, b: np.ndarray, size: Size) -> Future[BothWays]:
        self.begun += 1
        return super().submit(a, b, size)


def identical(a: MotionFrame, b: MotionFrame) -> bool:
    return all(
        np.array_equal(link.flow, other.flow) and np.array_equal(link.visibility, other.visibility)
        for link, other in zip(a.links, b.links, strict=True)
    )


def test_pairs_ahead_are_begun_once_and_few_at_a_time(scene: scenes.Scene) -> None:
    film, indices = Film(scene.frame, forward_only=True), range(1, scene.frame_count)
    with (
        RecordedPool(1) as pool,
        MotionReader(film, pool, None) as motion,
        MotionReader(Film(scene.frame), DisFlow(), None) as plain,
    ):
        for index in indices:
            ahead = ((later, later - 1) for later in range(index + 1, scene.frame_count))
            motion.prefetch(index, (index - 1,), 0, ahead=ahead)
            frame = motion.take(index, (index - 1,), 0)
            assert pool.begun == min(index + flow_pool.AHEAD_PER_PROCESS, scene.frame_count - 1)
            assert identical(frame, plain.take(index, (index - 1,), 0))
    assert film.reads == list(range(scene.frame_count))


def test_what_is_begun_is_kept_when_another_reader_opens(scene: scenes.Scene) -> None:
    with RecordedPool(2) as pool, MotionReader(Film(scene.frame), pool, None) as motion:
        for index in range(1, scene.frame_count):
            ahead = [(later, later - 1) for later in range(index + 1, scene.frame_count)]
            motion.prefetch(index, (index - 1,), ahead=ahead)
            motion.take(index, (index - 1,))
            pool.readers = 4  # From now on each may begin one pair ahead, where it was four.
    assert pool.begun == scene.frame_count - 1


class _Waiting(FlowPool):
    """Its processes are busy with something else."""

    def __init__(self) -> None:
        super().__init__(1)
        self.futures: list[Future[BothWays]] = []

    def submit(self, a: np.ndarray, b: np.ndarray, size: Size) -> Future[BothWays]:
        self.futures.append(Future())
        return self.futures[-1]


@pytest.mark.parametrize("is_shared", [False, True])
def test_what_is_dropped_is_not_estimated(scene: scenes.Scene, tmp_path: Path, is_shared: bool) -> None:
    with _Waiting() as pool:
        flow = CachedFlow(pool, scene.frame, tmp_path if is_shared else None)
        flow.begin([(0, 1), (2, 1), (2, 3)], SIZE)
        flow.begin([(1, 2)], SIZE, later=[(3, 2)])
        assert [future.cancelled() for future in pool.futures] == [not is_shared, False, False]


def test_a_walk_back_reads_each_frame_once_where_flow_is_begun_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flow_pool, "AHEAD_PER_PROCESS", 6)
    pan = scenes.pan((48, 64), 60, 1)
    film = Film(pan.frame)
    with FlowPool(2) as pool, MotionReader(film, pool, None, backward=True) as motion:
        for index in reversed(range(pan.frame_count - 1)):
            ahead = [(later, later + 1) for later in reversed(range(index))]
            motion.prefetch(index, (index + 1,), ahead=ahead)
            motion.take(index, (index + 1,))
    assert sorted(film.reads) == list(range(pan.frame_count))


def test_pairs_are_loaded_at_the_same_time(scene: scenes.Scene, tmp_path: Path) -> None:
    together = threading.Barrier(2)
    (a, b), *_ = pairs_of(scene)
    flows = scene.flow(0, 1), scene.flow(1, 0)

    def load() -> BothWays:
        together.wait(SECONDS)  # It fails, unless two threads are here at once.
        return flows

    with FlowPool(1) as pool, ThreadPoolExecutor(2) as threads:
        found = [threads.submit(pool.submit_once, tmp_path / name, load, a, b, SIZE) for name in "ab"]
        assert all(future.result().result() is flows for future in found)


@pytest.mark.parametrize(
    ("device", "cores", "gibibytes", "size", "expected"),
    [
        ("cuda", 16, 128, (436, 1024), (15, 3)),
        ("cuda", 64, 512, (436, 1024), (16, 3)),
        ("cuda", 16, 16, (436, 1024), (5, 3)),
        ("cuda", 16, 16, (1080, 1920), (3, 2)),
        ("cuda", 16, 128, (2160, 3840), (15, 3)),
        ("cuda", 16, 64, (2160, 3840), (10, 2)),
        ("cuda", 16, 16, (2160, 3840), (1, 1)),
        ("cuda", 1, 8, (436, 1024), (1, 1)),
        ("cpu", 16, 128, (436, 1024), (0, 0)),
    ],
)
def test_processes_leave_cores_and_memory_to_others(
    device: str, cores: int, gibibytes: int, size: Size, expected: tuple[int, int]
) -> None:
    assert flow_processes(torch.device(device), cores, gibibytes << 30, size[0] * size[1]) == expected


def test_flow_that_is_waited_for_is_estimated_by_few_processes_where_paintings_are_large(
    scene: scenes.Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[tuple[int, int]] = []

    class Pool(FlowPool):
        def __init__(self, *processes: int) -> None:
            super().__init__(*processes)
            made.append((self._threads._max_workers, self._urgent_threads._max_workers))

    monkeypatch.setattr(reader_slots, "FlowPool", Pool)
    monkeypatch.setattr(reader_slots, "usable_cores", lambda: 16)
    monkeypatch.setattr(reader_slots, "physical_memory_bytes", lambda: 64 << 30)
    for pixels in (436 * 1024, 2160 * 3840):
        with FlowEstimators(settings(), "dis", torch.device("cuda"), pixels=pixels) as estimators:
            estimators.make()
    assert made == [(15, 3), (10, 2)]


def test_large_paintings_are_estimated_less_far_ahead() -> None:
    with FlowPool(8) as pool:
        assert pool.pairs_ahead((436, 1024)) == 16
        assert pool.pairs_ahead((4320, 7680)) == 1
        pool.readers = 4
        assert pool.pairs_ahead((436, 1024)) == 4


class _Held(DisFlow):
    """Estimates nothing before `may_end` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.begun, self.may_end, self.ended = threading.Event(), threading.Event(), list[bool]()

    def pair(self, a: np.ndarray, b: np.ndarray, size: Size) -> BothWays:
        self.begun.set()
        self.ended.append(self.may_end.wait(SECONDS))
        return super().pair(a, b, size)


def test_a_reader_that_is_left_reads_no_further_along_a_chain(scene: scenes.Scene, tmp_path: Path) -> None:
    flow = _Held()
    with MotionReader(Film(scene.frame), flow, None, chain_store=tmp_path / "flow") as motion:
        motion.prefetch(0, keyframes=(scene.frame_count - 1,))
        assert flow.begun.wait(SECONDS)
        threading.Timer(0.2, flow.may_end.set).start()
    assert flow.ended == [True]


def test_flow_ends_before_the_readers_that_wait_for_it(scene: scenes.Scene, tmp_path: Path) -> None:
    flow = _Held()

    class Estimators(FlowEstimators):
        def make(self) -> DisFlow:
            return flow

        def __exit__(self, *_: object) -> None:
            flow.may_end.set()

    for index in range(2):
        write_image(tmp_path / f"{index}.png", scene.frame(index))
    files = tuple(ContentFile(tmp_path / f"{index}.png", f"{index}", f"{index}") for index in range(2))
    with ReaderSlots(
        cast(Job, SimpleNamespace(folder=tmp_path)),
        Content(ContentKind.SEQUENCE, files),
        None,
        settings(),
        Estimators(settings(), "dis", torch.device("cpu")),
        several_passes=False,
        has_keyframes=False,
        flow_from_files=False,
        photos_ahead=1,
    ) as slots:
        slots.take().motion.prefetch(1, (0,))
        assert flow.begun.wait(SECONDS)
    assert flow.ended == [True]


def test_readers_of_one_chain_share_its_pairs(scene: scenes.Scene, tmp_path: Path) -> None:
    last = scene.frame_count - 1
    with MotionReader(Film(scene.frame), DisFlow(), None, chain_store=tmp_path / "plain") as plain:
        expected = plain.take(last, (), 0, (0,))
    with (
        RecordedPool(2) as pool,
        MotionReader(Film(scene.frame), pool, None, chain_store=tmp_path / "pool") as one,
        MotionReader(Film(scene.frame), pool, None, chain_store=tmp_path / "pool") as other,
    ):
        for reader in (one, other):
            reader.prefetch(last, (), 0, (0,))
        assert identical(one.take(last, (), 0, (0,)), expected)
        assert identical(other.take(last, (), 0, (0,)), expected)
    assert pool.begun == last
