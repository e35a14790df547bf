"""Motion is read ahead once, in the order a film is decoded in, and goes the way that is asked for."""

import contextlib
import itertools
import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline import temporal
from pipeline.content import FrameReader
from pipeline.errors import InputError
from pipeline.flow import FloFolder, write_flo
from pipeline.frames import Size
from pipeline.motion import STILL_DISTANCE, Link, MotionReader
from samples import scenes

SIZE = (48, 80)


class Film(FrameReader):
    """Frames of a scene in place of a file's; keeps a record of what was read, and of which frames still live."""

    def __init__(
        self, frame: Callable[[int], np.ndarray], *, bad: int | None = None, forward_only: bool = False
    ) -> None:
        self._frame = frame
        self._bad = bad
        self._forward_only = forward_only
        self.reads: list[int] = []
        self._alive: list[weakref.ReferenceType[np.ndarray]] = []

    def read(self, index: int) -> np.ndarray:
        assert not self._forward_only or not self.reads or index == self.reads[-1] + 1, (self.reads, index)
        if index == self._bad:
            raise InputError(f"frame {index} is damaged")
        self.reads.append(index)
        array = self._frame(index).copy()
        self._alive.append(weakref.ref(array))
        return array

    @property
    def frames_alive(self) -> int:
        return sum(reference() is not None for reference in self._alive)

    @property
    def jumps_back(self) -> int:
        return sum(after <= before for before, after in itertools.pairwise(self.reads))


class TrueFlow:
    """A `FlowEstimator` that knows the scene, and keeps a record of the pairs of frames that it was asked about."""

    def __init__(self, scene: scenes.Scene, *, tremble: float = 0.0) -> None:
        self._scene = scene
        self._index = {scene.frame(t).tobytes(): t for t in range(scene.frame_count)}
        self._tremble = tremble
        self.pairs: list[tuple[int, int]] = []
        self.sizes: list[tuple[Size, Size]] = []
        self._alive: list[weakref.ReferenceType[np.ndarray]] = []

    def pair(self, a: np.ndarray, b: np.ndarray, size: Size) -> tuple[np.ndarray, np.ndarray]:
        first, second = (self._index[frame.tobytes()] for frame in (a, b))
        self.pairs.append((first, second))
        self.sizes.append(((a.shape[0], a.shape[1]), size))
        generator = np.random.default_rng([first, second])
        flows = []
        for flow in (self._scene.flow(first, second), self._scene.flow(second, first)):
            noise = self._tremble * generator.standard_normal(flow.shape).astype(np.float32)
            flows.append((flow + noise)[: size[0], : size[1]])
            self._alive.append(weakref.ref(flows[-1]))
        return flows[0], flows[1]

    @property
    def flows_alive(self) -> int:
        return sum(reference() is not None for reference in self._alive)

    @property
    def counts(self) -> Counter[frozenset[int]]:
        """How often each pair was estimated, in either order."""
        return Counter(frozenset(pair) for pair in self.pairs)


@pytest.fixture(scope="module")
def scene() -> scenes.Scene:
    return scenes.occluder(SIZE, 6, 1, velocity=(4.0, 1.0), ground_velocity=(-1.5, 0.5))


@pytest.fixture(scope="module")
def long_pan() -> scenes.Scene:
    return scenes.pan(SIZE, 40, 2, velocity=(0.7, -0.4))


def to_flow(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(array.copy()).permute(2, 0, 1).unsqueeze(0)


def trust_of(flow: np.ndarray, back: np.ndarray | None) -> np.ndarray:
    mask = temporal.trust(to_flow(flow), None if back is None else to_flow(back))
    return np.asarray(mask[0, 0].numpy())


def only_link(motion: MotionReader, index: int, other: int, anchor: int | None = None) -> Link:
    (link,) = motion.take(index, (other,), anchor).links
    return link


# --- direction --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("index", "other"), [(3, 2), (2, 3), (4, 1), (1, 4)])
def test_a_link_goes_from_the_frame_to_the_other(scene: scenes.Scene, index: int, other: int) -> None:
    with MotionReader(Film(scene.frame), TrueFlow(scene), None, frames_kept=6) as motion:
        frame = motion.take(index, (other,))
    (link,) = frame.links
    assert np.array_equal(frame.content, scene.frame(index))
    assert link.index == other and np.array_equal(link.content, scene.frame(other))
    assert link.flow.dtype == np.float32 and link.trust.dtype == np.float32
    assert np.array_equal(link.flow, scene.flow(index, other))
    assert not np.allclose(link.flow, -scene.flow(other, index), atol=1), "or the direction would not show"
    assert np.array_equal(link.trust, trust_of(scene.flow(index, other), scene.flow(other, index)))
    hidden = scene.occluded(index, other)
    assert link.trust[hidden].mean() < 0.1 and link.trust[~hidden].mean() > 0.85


def test_links_come_in_the_order_that_was_asked_for(scene: scenes.Scene) -> None:
    with MotionReader(Film(scene.frame), TrueFlow(scene), None, frames_kept=6) as motion:
        for others in ((3, 1, 5), (5, 3, 1), (1,), ()):
            links = motion.take(4, others).links
            assert tuple(link.index for link in links) == others
            for link in links:
                assert np.array_equal(link.flow, scene.flow(4, link.index))
                assert np.array_equal(link.content, scene.frame(link.index))


def test_flow_is_estimated_on_more_than_the_paintings_size(scene: scenes.Scene) -> None:
    estimator = TrueFlow(scene)
    with MotionReader(Film(scene.frame), estimator, 40, frames_kept=6) as motion:
        frame = motion.take(1, (0,))
    assert estimator.sizes == [(SIZE, (24, 40))]
    assert frame.content.shape == frame.links[0].content.shape == (24, 40, 3)
    assert frame.links[0].flow.shape == (24, 40, 2) and frame.links[0].trust.shape == (24, 40)


def test_without_links_no_flow_is_needed(scene: scenes.Scene) -> None:
    with MotionReader(Film(scene.frame), None, None) as motion:
        for index in range(6):
            frame = motion.take(index)
            assert np.array_equal(frame.content, scene.frame(index)) and frame.links == ()


# --- each pair once ---------------------------------------------------------------------------------------------------


def test_each_pair_is_estimated_once(scene: scenes.Scene) -> None:
    """However it is asked for: again, from the other end, among others, ahead of time, with an anchor."""
    estimator = TrueFlow(scene)
    with MotionReader(Film(scene.frame), estimator, None, frames_kept=6) as motion:
        motion.prepare(1, (0,))
        motion.prepare(1, (0,))
        motion.take(1, (0,))
        motion.prepare(2, (1, 0))
        motion.take(1, (0,))
        motion.take(2, (1, 0))
        motion.take(0, (1, 2))
        motion.take(2, (0,))
        motion.take(1, (2, 0))
        motion.take(2, (1,), 0)
    assert estimator.counts == {frozenset(pair): 1 for pair in ((0, 1), (1, 2), (0, 2))}


def test_what_was_prepared_is_what_is_taken(scene: scenes.Scene) -> None:
    with MotionReader(film := Film(scene.frame), TrueFlow(scene), None, frames_kept=3) as motion:
        for index in range(1, 6):
            motion.prepare(index, (index - 1,))
            link = only_link(motion, index, index - 1)
            assert np.array_equal(link.flow, scene.flow(index, index - 1))
            if index < 5:
                motion.prepare(index + 1, (index,))
    assert film.reads == list(range(6))


def test_it_is_read_while_something_else_is_done(scene: scenes.Scene) -> None:
    with MotionReader(Film(scene.frame), estimator := TrueFlow(scene), None) as motion:
        motion.prepare(1, (0,))
        deadline = time.monotonic() + 30
        while not estimator.pairs and time.monotonic() < deadline:
            time.sleep(0.001)
        assert estimator.pairs, "nobody has taken it yet"


def test_later_passes_read_the_flow_from_the_disk(scene: scenes.Scene, tmp_path: Path) -> None:
    first, second = TrueFlow(scene, tremble=0.1), TrueFlow(scene, tremble=0.1)
    with MotionReader(Film(scene.frame), first, None, frames_kept=6, flow_store=tmp_path) as motion:
        forward = [only_link(motion, index, index - 1) for index in range(1, 6)]
        backward = [only_link(motion, index, index + 1) for index in range(5)]
    with MotionReader(Film(scene.frame), second, None, frames_kept=6, flow_store=tmp_path) as motion:
        again = [only_link(motion, index, index + 1) for index in range(5)]
        again_forward = [only_link(motion, index, index - 1) for index in range(1, 6)]
    assert set(first.counts.values()) == {1} and not second.pairs
    for link, same in zip(forward + backward, again_forward + again, strict=True):
        assert np.array_equal(link.flow, same.flow) and np.array_equal(link.trust, same.trust)
    folder = FloFolder(tmp_path)
    stored = folder.read(2, 1, SIZE)
    assert stored is not None and np.array_equal(stored, forward[1].flow)


@pytest.mark.parametrize("damage", ["cut", "emptied", "removed"])
@pytest.mark.parametrize("direction", [(1, 2), (2, 1)])
def test_a_damaged_flow_store_is_mended(
    scene: scenes.Scene, tmp_path: Path, damage: str, direction: tuple[int, int]
) -> None:
    """A crash leaves half a file; that pair alone is estimated once more."""
    with MotionReader(Film(scene.frame), TrueFlow(scene), None, frames_kept=6, flow_store=tmp_path) as motion:
        whole = [only_link(motion, index, index - 1) for index in range(1, 6)]
    path = tmp_path / FloFolder(tmp_path).expected_name(*direction)
    content = path.read_bytes()
    if damage == "removed":
        path.unlink()
    else:
        path.write_bytes(content[: len(content) // 2] if damage == "cut" else b"")
    estimator = TrueFlow(scene)
    with MotionReader(Film(scene.frame), estimator, None, frames_kept=6, flow_store=tmp_path) as motion:
        again = [only_link(motion, index, index - 1) for index in range(1, 6)]
    assert estimator.counts == {frozenset((1, 2)): 1}
    assert path.read_bytes() == content
    assert all(np.array_equal(link.flow, same.flow) for link, same in zip(whole, again, strict=True))


# --- what stands still ------------------------------------------------------------------------------------------------


def test_a_still_scene_has_no_flow_at_all() -> None:
    """The noise of the sensor makes the estimate tremble, and what trembles would be resampled in every frame."""
    footage = scenes.still(SIZE, STILL_DISTANCE + 1, 5)
    with MotionReader(Film(footage.frame), TrueFlow(footage, tremble=0.1), None, frames_kept=10) as motion:
        for index in (1, 4, STILL_DISTANCE):
            link = only_link(motion, index, index - 1, max(0, index - STILL_DISTANCE))
            assert np.array_equal(link.flow, np.zeros((*SIZE, 2)))
            assert link.trust.min() == 1, "and what stands still hides nothing"
        trembling = only_link(motion, STILL_DISTANCE, STILL_DISTANCE - 1)
        assert np.abs(trembling.flow).max() > 0.1, "only an anchor can tell"


@pytest.mark.parametrize("speed", [0.1, 0.2, 0.5])
def test_a_slow_pan_keeps_its_flow(speed: float) -> None:
    """From one frame to the next it moves no more than an estimate trembles, and in eight frames it does."""
    last = STILL_DISTANCE
    footage = scenes.pan(SIZE, last + 1, 6, velocity=(speed, 0.0))
    with MotionReader(Film(footage.frame), TrueFlow(footage), None, frames_kept=10) as motion:
        link = only_link(motion, last, last - 1, 0)
        # Noise aside, the estimate of the far flow is what it is: a share of the pixels may be drawn to 0.
        exact = footage.flow(last, last - 1)
        assert np.mean(np.abs(link.flow - exact).max(2) < 0.02) > 0.95
        near = only_link(motion, last, last - 1, last - 1)
    if speed < temporal.STILL_NEAR:
        assert np.abs(near.flow).max() < np.abs(link.flow).max(), "seen from the frame before it would stand still"


def test_only_what_stands_still_is_held() -> None:
    """A fast object before a ground that trembles."""
    footage = scenes.occluder((96, 160), STILL_DISTANCE + 1, 7, velocity=(5.0, 0.0), ground_velocity=(0.0, 0.0))
    last = STILL_DISTANCE
    with MotionReader(Film(footage.frame), TrueFlow(footage, tremble=0.05), None, frames_kept=10) as motion:
        link = only_link(motion, last, last - 1, 0)
    thing, exact = footage.owner(last) == 1, footage.flow(last, last - 1)
    assert (link.flow == 0).all(2)[:, :20].mean() > 0.98, "far from where the object has been"
    assert np.abs(link.flow - exact).max(2)[thing].max() < 0.5
    assert link.trust[footage.occluded(last, last - 1)].mean() < 0.1


# --- order and memory -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ahead", [False, True])
def test_a_film_is_read_once_from_its_beginning(long_pan: scenes.Scene, ahead: bool) -> None:
    film = Film(long_pan.frame, forward_only=True)
    count, back = 30, (1, 2, 4)

    def wanted(index: int) -> tuple[int, tuple[int, ...], int | None]:
        others = tuple(index - distance for distance in back if index >= distance)
        return index, others, max(0, index - STILL_DISTANCE) if others else None

    with MotionReader(film, TrueFlow(long_pan), None, frames_kept=STILL_DISTANCE + 2) as motion:
        for index in range(count):
            frame = motion.take(*wanted(index))
            if ahead and index + 1 < count:
                motion.prepare(*wanted(index + 1))
            assert [link.index for link in frame.links] == list(wanted(index)[1])
    assert film.reads == list(range(count))


def test_reading_may_begin_anywhere_and_fills_the_gap(long_pan: scenes.Scene) -> None:
    """As when a job is resumed: from the farthest frame that is needed, and none of them is left out."""
    film = Film(long_pan.frame, forward_only=True)
    with MotionReader(film, TrueFlow(long_pan), None, frames_kept=STILL_DISTANCE + 2) as motion:
        motion.take(20, (19, 16), 12)
        motion.take(21, (20, 17), 13)
    assert film.reads == list(range(12, 22))


def test_a_walk_back_is_read_in_blocks(long_pan: scenes.Scene) -> None:
    """A video is decoded from its beginning to go one frame back."""
    film, count = Film(long_pan.frame), 40
    estimator = TrueFlow(long_pan)
    with MotionReader(film, estimator, None, frames_kept=3, backward=True) as motion:
        for index in reversed(range(count)):
            others = (index + 1,) if index + 1 < count else ()
            frame = motion.take(index, others)
            assert np.array_equal(frame.content, long_pan.frame(index))
            for link in frame.links:
                assert np.array_equal(link.flow, long_pan.flow(index, link.index))
    assert film.jumps_back <= 4
    assert len(film.reads) <= count + 2 * 4
    assert set(estimator.counts.values()) == {1}


@pytest.mark.parametrize("backward", [False, True])
def test_memory_is_bounded(long_pan: scenes.Scene, backward: bool) -> None:
    film, estimator, most_frames, most_flows = Film(long_pan.frame), TrueFlow(long_pan), 0, 0
    kept = 4
    with MotionReader(film, estimator, None, frames_kept=kept, backward=backward) as motion:
        for index in reversed(range(39)) if backward else range(1, 40):
            motion.take(index, (index + 1,) if backward else (index - 1, max(0, index - 2)))
            most_frames = max(most_frames, film.frames_alive)
            most_flows = max(most_flows, estimator.flows_alive)
    assert most_frames <= kept + (16 if backward else 0) + 1
    assert most_flows <= 20, "a few pairs, of both directions"
    assert len(estimator.pairs) >= 39


# --- errors and the end -----------------------------------------------------------------------------------------------


def test_a_frame_that_cannot_be_read_says_so_when_it_is_taken(scene: scenes.Scene) -> None:
    with MotionReader(Film(scene.frame, bad=3), TrueFlow(scene), None, frames_kept=6) as motion:
        motion.take(2, (1,))
        motion.prepare(3, (2,))
        with pytest.raises(InputError, match="frame 3 is damaged"):
            motion.take(3, (2,))
        assert np.array_equal(motion.take(2, (1,)).content, scene.frame(2)), "the others are read as before"
        with pytest.raises(InputError, match="frame 3 is damaged"):
            motion.take(4, (3,))


def motion_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("motion")]


@pytest.mark.parametrize("way", ["taken", "prepared", "failed", "unused"])
def test_the_thread_ends_with_the_context(scene: scenes.Scene, way: str) -> None:
    before = set(motion_threads())
    expected = pytest.raises(KeyError) if way == "failed" else contextlib.nullcontext()
    with expected, MotionReader(Film(scene.frame), TrueFlow(scene), None, frames_kept=6) as motion:
        if way != "unused":
            motion.take(1, (0,))
            assert len(set(motion_threads()) - before) == 1
        if way == "prepared":
            for index in range(2, 6):
                motion.prepare(index, (index - 1,))
        if way == "failed":
            raise KeyError
    assert set(motion_threads()) == before


# --- flow from files --------------------------------------------------------------------------------------------------


@pytest.fixture
def flow_files(scene: scenes.Scene, tmp_path: Path) -> Path:
    """The exact flow of frames 1 → 0 and 0 → 1, as another program would have left it."""
    write_flo(tmp_path / "backward_2_1.flo", scene.flow(1, 0))
    write_flo(tmp_path / "forward_1_2.flo", scene.flow(0, 1))
    return tmp_path


def link_from_files(scene: scenes.Scene, folder: Path, index: int = 1, other: int = 0) -> Link:
    with MotionReader(Film(scene.frame), FloFolder(folder), None) as motion:
        return only_link(motion, index, other)


def test_flow_from_files_goes_both_ways(scene: scenes.Scene, flow_files: Path) -> None:
    for index, other in ((1, 0), (0, 1)):
        link = link_from_files(scene, flow_files, index, other)
        assert np.array_equal(link.flow, scene.flow(index, other))
        assert np.array_equal(link.trust, trust_of(scene.flow(index, other), scene.flow(other, index)))


@pytest.mark.parametrize(
    ("index", "other", "name"), [(1, 0, "backward_2_1.flo"), (0, 1, "forward_1_2.flo"), (4, 2, "backward_5_3.flo")]
)
def test_a_missing_flow_file_is_named(scene: scenes.Scene, flow_files: Path, index: int, other: int, name: str) -> None:
    (flow_files / name).unlink(missing_ok=True)
    with pytest.raises(InputError, match=name) as error:
        link_from_files(scene, flow_files, index, other)
    assert str(flow_files) in str(error.value) and "\n" not in str(error.value)


def test_without_the_way_back_consistency_is_left_out(scene: scenes.Scene, flow_files: Path) -> None:
    both = link_from_files(scene, flow_files)
    (flow_files / "forward_1_2.flo").unlink()
    link = link_from_files(scene, flow_files)
    assert np.array_equal(link.flow, both.flow)
    assert np.array_equal(link.trust, trust_of(scene.flow(1, 0), None))
    assert link.trust.sum() > both.trust.sum()


def test_a_certainty_file_multiplies(scene: scenes.Scene, flow_files: Path) -> None:
    plain = link_from_files(scene, flow_files).trust
    certainty = np.random.default_rng(1).integers(0, 256, SIZE, dtype=np.uint8)
    header = f"P5 {SIZE[1]} {SIZE[0]} 255\n".encode()
    (flow_files / "reliable_2_1.pgm").write_bytes(header + certainty.tobytes())
    (flow_files / "reliable_1_2.pgm").write_bytes(header + bytes(SIZE[0] * SIZE[1]))
    link = link_from_files(scene, flow_files)
    assert np.allclose(link.trust, plain * (certainty / 255), atol=1e-6)
    assert link_from_files(scene, flow_files, 0, 1).trust.max() == 0, "the other direction has a file of its own"


def test_unknown_flow_in_a_file_is_not_trusted(scene: scenes.Scene, flow_files: Path) -> None:
    flow = scene.flow(1, 0)
    flow[10:20, 30:40] = 1e10
    write_flo(flow_files / "backward_2_1.flo", flow)
    link = link_from_files(scene, flow_files)
    assert link.trust[10:20, 30:40].max() == 0 and link.flow[10:20, 30:40].any() == 0
    assert link.trust.mean() > 0.5
