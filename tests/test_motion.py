"""The motion reader: direction and masks of links, caches, static regions, chains to keyframes, memory, flow files."""

import contextlib
import dataclasses
import itertools
import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from impasto.errors import FrameError, InputError
from impasto.media.frame_reader import FrameReader
from impasto.motion import flow as flow_module
from impasto.motion import occlusion, warp
from impasto.motion.dis import DisFlow
from impasto.motion.flo_files import FloFolder
from impasto.motion.reader import FlowLink, MotionFrame, MotionReader
from impasto.motion.static import STATIC_NEAR, StaticRegions, reference_indices
from impasto.pictures import Size, to_tensor
from impasto.storage import read_checksummed
from samples import scenes
from tests.support.flow_files import write_flo
from tests.support.seeds import numpy_stream

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

    def read(self, index: int) -> tuple[np.ndarray, None]:
        assert not self._forward_only or not self.reads or index == self.reads[-1] + 1, (self.reads, index)
        if index == self._bad:
            raise InputError(f"frame {index} is damaged")
        self.reads.append(index)
        array = self._frame(index).copy()
        self._alive.append(weakref.ref(array))
        return array, None

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


def visibility_of(content: np.ndarray, other: np.ndarray, flow: np.ndarray, back: np.ndarray | None) -> np.ndarray:
    """What the flow says, and whether the colours agree."""
    way = flow_module.to_flow(flow)
    mask = occlusion.visibility_mask(way, None if back is None else flow_module.to_flow(back))
    mask = mask * occlusion.color_agreement(to_tensor(content), warp.warp(to_tensor(other), way, "bilinear"))
    return np.asarray(mask[0, 0].numpy())


def only_link(motion: MotionReader, index: int, other: int, shot: int | None = None) -> FlowLink:
    (link,) = motion.take(index, (other,), shot).links
    return link


# --- direction --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("index", "other"), [(3, 2), (2, 3), (4, 1), (1, 4)])
def test_a_link_goes_from_the_frame_to_the_other(scene: scenes.Scene, index: int, other: int) -> None:
    with MotionReader(Film(scene.frame), TrueFlow(scene), None, frames_kept=6) as motion:
        frame = motion.take(index, (other,))
    (link,) = frame.links
    assert np.array_equal(frame.content, scene.frame(index))
    assert link.index == other and np.array_equal(link.content, scene.frame(other))
    assert link.flow.dtype == np.float32 and link.visibility.dtype == np.float32
    assert np.array_equal(link.flow, scene.flow(index, other))
    assert not np.allclose(link.flow, -scene.flow(other, index), atol=1), "or the direction would not show"
    flows = scene.flow(index, other), scene.flow(other, index)
    assert np.array_equal(link.visibility, visibility_of(scene.frame(index), scene.frame(other), *flows))
    hidden = scene.occluded(index, other)
    assert link.visibility[hidden].mean() < 0.1 and link.visibility[~hidden].mean() > 0.85


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
    assert frame.links[0].flow.shape == (24, 40, 2) and frame.links[0].visibility.shape == (24, 40)


def test_without_links_no_flow_is_needed(scene: scenes.Scene) -> None:
    with MotionReader(Film(scene.frame), None, None) as motion:
        for index in range(6):
            frame = motion.take(index)
            assert np.array_equal(frame.content, scene.frame(index)) and frame.links == ()


# --- each pair once ---------------------------------------------------------------------------------------------------


def test_each_pair_is_estimated_once(scene: scenes.Scene) -> None:
    """However it is asked for: again, from the other end, among others, ahead of time, in a shot."""
    estimator = TrueFlow(scene)
    with MotionReader(Film(scene.frame), estimator, None, frames_kept=6) as motion:
        motion.prefetch(1, (0,))
        motion.prefetch(1, (0,))
        motion.take(1, (0,))
        motion.prefetch(2, (1, 0))
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
            motion.prefetch(index, (index - 1,))
            link = only_link(motion, index, index - 1)
            assert np.array_equal(link.flow, scene.flow(index, index - 1))
            if index < 5:
                motion.prefetch(index + 1, (index,))
    assert film.reads == list(range(6))


def test_it_is_read_while_something_else_is_done(scene: scenes.Scene) -> None:
    with MotionReader(Film(scene.frame), estimator := TrueFlow(scene), None) as motion:
        motion.prefetch(1, (0,))
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
        assert np.array_equal(link.flow, same.flow) and np.array_equal(link.visibility, same.visibility)
    # Both ways of a pair stand in one file, there and back.
    stored = read_checksummed(tmp_path / "1-2")
    assert stored is not None
    _, back = np.frombuffer(stored, "<f4").reshape(2, *SIZE, 2)
    assert np.array_equal(back, forward[1].flow)


@pytest.mark.parametrize("damage", ["cut", "emptied", "removed", "turned"])
def test_a_damaged_pair_is_estimated_again(scene: scenes.Scene, tmp_path: Path, damage: str) -> None:
    """The pair of a file that is not what was written is estimated once more, and no other."""
    with MotionReader(Film(scene.frame), TrueFlow(scene), None, frames_kept=6, flow_store=tmp_path) as motion:
        whole = [only_link(motion, index, index - 1) for index in range(1, 6)]
    path = tmp_path / "1-2"
    content = path.read_bytes()
    if damage == "removed":
        path.unlink()
    else:
        turned = content[:99] + bytes([content[99] ^ 1]) + content[100:]
        path.write_bytes({"cut": content[: len(content) // 2], "emptied": b"", "turned": turned}[damage])
    estimator = TrueFlow(scene)
    with MotionReader(Film(scene.frame), estimator, None, frames_kept=6, flow_store=tmp_path) as motion:
        again = [only_link(motion, index, index - 1) for index in range(1, 6)]
    assert estimator.counts == {frozenset((1, 2)): 1}
    assert path.read_bytes() == content
    assert all(np.array_equal(link.flow, same.flow) for link, same in zip(whole, again, strict=True))


# --- static regions ---------------------------------------------------------------------------------------------------

GROUND = (96, 160)


class RecordedRegions(StaticRegions):
    """Remembers the last mask."""

    last = np.zeros(())

    def mask(self, *arguments: Any) -> np.ndarray:
        self.last = super().mask(*arguments)
        return self.last


class NoFlow:
    """A `FlowEstimator` that misses all motion; keeps count."""

    calls = 0

    def pair(self, a: np.ndarray, b: np.ndarray, size: Size) -> tuple[np.ndarray, np.ndarray]:
        self.calls += 1
        return np.zeros((*size, 2), np.float32), np.zeros((*size, 2), np.float32)


def small_square(count: int, speed: float, size: Size = GROUND, side: int = 6) -> scenes.Scene:
    """A bright square that moves to the right over a ground that stands still, seen with the noise of a sensor."""
    ground = scenes.still(size, count, 5).layers[0]
    texture = np.ones((side, side, 4), np.float32) * np.array([1.0, 0.95, 0.8, 1.0], np.float32)
    top = size[0] // 2 - side // 2
    square = scenes.Layer("square", texture, lambda t: scenes.affine(shift=(10 + speed * t, top)))
    return scenes.Scene(size, count, [ground, square], noise_sigma=2.0, seed=5)


@pytest.mark.sweep(1)
@pytest.mark.parametrize(("sigma", "seed"), [(1.0, 1), (2.0, 5)])
def test_a_still_scene_has_no_flow_at_all(sigma: float, seed: int) -> None:
    """The noise of the sensor makes the estimate tremble, and what trembles would be resampled in every frame."""
    footage = scenes.still(GROUND, 41, seed, sigma=sigma)
    with MotionReader(Film(footage.frame), DisFlow(), None) as motion:
        trembling = only_link(motion, 1, 0)
        assert np.abs(trembling.flow).max() > 0.1, "only earlier frames can tell"
        for index in range(1, 41):
            link = only_link(motion, index, index - 1, 0)
            assert np.array_equal(link.flow, np.zeros((*GROUND, 2))), index
            assert link.visibility.mean() > 0.999, "and what stands still hides nothing"


@pytest.mark.slow
def test_a_still_scene_has_hardly_any_flow_in_strong_noise() -> None:
    footage = scenes.still(GROUND, 41, 5)
    drawn = np.zeros((*GROUND, 2))
    with MotionReader(Film(footage.frame), DisFlow(), None) as motion:
        for index in range(1, 41):
            link = only_link(motion, index, index - 1, 0)
            assert (link.flow == 0).all(2).mean() > 0.95
            assert link.visibility.mean() > 0.995
            drawn += link.flow
    assert np.linalg.norm(drawn, axis=2).max() < 1, "and nothing is drawn away by it"


@pytest.mark.slow
@pytest.mark.parametrize(("speed", "moves_from", "sigma"), [(0.035, 25, 0.0), (0.035, 25, 2.0), (0.1, 12, 2.0)])
def test_a_slow_pan_is_not_still(speed: float, moves_from: int, sigma: float) -> None:
    """From one frame to the next it moves no more than an estimate trembles, and in many frames it does."""
    last = 40
    footage = dataclasses.replace(scenes.pan(GROUND, last + 1, 6, velocity=(speed, 0.0)), noise_sigma=sigma, seed=3)
    followed = 0.0
    static = RecordedRegions()
    with MotionReader(Film(footage.frame), DisFlow(), None, static_regions=static) as motion:
        for index in range(1, last + 1):
            link = only_link(motion, index, index - 1, 0)
            followed -= link.flow[..., 0].mean()
            assert followed > speed * index - 1, "it never falls back by a pixel"
            if index >= moves_from:
                assert static.last.max() == 0, index
    assert followed < speed * last + 0.5
    assert followed > 0.3 * speed * last


@pytest.mark.parametrize("speed", [0.1, 0.2, 0.5])
def test_a_slow_pan_keeps_its_exact_flow(speed: float) -> None:
    footage = scenes.pan(SIZE, 13, 6, velocity=(speed, 0.0))
    with MotionReader(Film(footage.frame), TrueFlow(footage), None, frames_kept=14) as motion:
        link = only_link(motion, 12, 11, 0)
        exact = footage.flow(12, 11)
        assert np.array_equal(link.flow, exact)
        near = only_link(motion, 12, 11, 11)
    if speed < STATIC_NEAR:
        assert np.abs(near.flow).mean() < 0.1 * np.abs(exact).mean(), "seen from the frame before it would stand still"


def misled(footage: scenes.Scene, index: int, link: FlowLink) -> np.ndarray:
    """Where the flow brings the ground onto the square or the square onto the ground, a pixel off the outline."""
    here, there = footage.owner(index), footage.owner(link.index).astype(np.uint8)
    y, x = np.mgrid[: here.shape[0], : here.shape[1]]
    x = np.clip(np.rint(x + link.flow[..., 0]).astype(int), 0, here.shape[1] - 1)
    y = np.clip(np.rint(y + link.flow[..., 1]).astype(int), 0, here.shape[0] - 1)
    kernel = np.ones((3, 3), np.uint8)
    inside, outside = cv2.erode(there, kernel)[y, x] == 1, cv2.dilate(there, kernel)[y, x] == 0
    return np.asarray(((here == 1) & outside) | ((here == 0) & inside))


@pytest.mark.parametrize(("speed", "missed"), [(0.5, False), (3.0, False), (0.5, True), (3.0, True), (12.0, True)])
def test_a_small_moving_object_is_never_static(speed: float, missed: bool) -> None:
    """Though its flow may be lost in that of its surroundings; where it is lost there is no visibility."""
    count = 26 if speed < 10 else 12
    footage = small_square(count, speed)
    wrong_pixels, held = 0, []
    static, estimator = RecordedRegions(), NoFlow() if missed else DisFlow()
    with MotionReader(Film(footage.frame), estimator, None, static_regions=static) as motion:
        for index in range(1, count):
            link = only_link(motion, index, index - 1, 0)
            here, before = footage.owner(index), footage.owner(index - 1)
            thing = (here == 1) | (before == 1)
            assert static.last[thing].max() == 0, index
            held.append(static.last[~thing].mean())
            for reference in reference_indices(index, 0):
                assert static.last[footage.owner(reference) == 1].max(initial=0) == 0, "nor where it was farther back"
            wrong = misled(footage, index, link)
            wrong_pixels += wrong.sum()
            assert link.visibility[wrong].max(initial=0) < 0.5, index
    assert np.mean(held) > 0.7, "and the ground is"
    if missed and speed > 1:
        assert wrong_pixels > count, "or this shows nothing"


def test_what_passed_before_a_still_ground_is_not_visible() -> None:
    """A square that was here four frames ago, and neither one nor eight ago."""
    footage = small_square(24, 5.0)
    with MotionReader(Film(footage.frame), DisFlow(), None, frames_kept=6) as motion:
        for index in range(12, 24):
            _, far = motion.take(index, (index - 1, index - 4), 0).links
            assert far.visibility[misled(footage, index, far)].max(initial=0) < 0.5


def test_only_static_regions_have_no_flow() -> None:
    """A fast object before a ground that trembles."""
    last = 8
    footage = scenes.occluder(GROUND, last + 1, 7, velocity=(5.0, 0.0), ground_velocity=(0.0, 0.0))
    with MotionReader(Film(footage.frame), TrueFlow(footage, tremble=0.05), None, frames_kept=10) as motion:
        link = only_link(motion, last, last - 1, 0)
    thing, exact = footage.owner(last) == 1, footage.flow(last, last - 1)
    assert (link.flow == 0).all(2)[:, :20].mean() > 0.98, "far from where the object has been"
    assert np.abs(link.flow - exact).max(2)[thing].max() < 0.5
    assert link.visibility[footage.occluded(last, last - 1)].mean() < 0.1


def test_nothing_is_static_without_references() -> None:
    footage = scenes.still(SIZE, 3, 5)
    static, estimator = RecordedRegions(), TrueFlow(footage, tremble=0.1)
    with MotionReader(Film(footage.frame), estimator, None, static_regions=static) as motion:
        link = only_link(motion, 2, 1)
        assert static.last.max() == 0 and link.flow.any()
        assert motion.take(0, (), 0).links == ()
        assert only_link(motion, 2, 1, 2).flow.any(), "the shot has only just begun"
        assert not only_link(motion, 2, 1, 1).flow.any()
    assert estimator.counts == {frozenset((1, 2)): 1}


def test_where_everything_moves_no_reference_is_compared(long_pan: scenes.Scene) -> None:
    def refused(*_: np.ndarray) -> np.ndarray:
        raise AssertionError

    static = StaticRegions(refused)
    with MotionReader(Film(long_pan.frame), TrueFlow(long_pan), None, static_regions=static) as motion:
        for index in range(1, 12):
            assert np.array_equal(only_link(motion, index, index - 1, 0).flow, long_pan.flow(index, index - 1))


# --- reference frames -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shot", [0, 7, 100])
def test_reference_indices_are_earlier_frames_of_the_shot(shot: int) -> None:
    assert reference_indices(shot, shot) == ()
    for age in range(1, 500):
        found = reference_indices(shot + age, shot)
        assert found == tuple(sorted(set(found))) and 1 <= len(found) <= 3
        assert found == tuple(shot + index for index in reference_indices(age, 0)), (
            "they are counted from its beginning"
        )
        assert all(shot <= index < shot + age for index in found)
        ages = [shot + age - index for index in reversed(found)]
        for (least, most), needed in (((8, 11), 8), ((32, 47), 32), ((128, 191), 128)):
            if age >= needed:
                assert any(least <= seen <= most for seen in ages), (age, ages)
        assert age >= 128 or shot in found, "a short shot is seen from its beginning"
    assert reference_indices(shot + 400, shot) == (shot + 256, shot + 368, shot + 392)


def test_few_frames_are_kept_for_long() -> None:
    """Of a long shot in which nothing moves, so that all references are compared; none is read again."""
    static = RecordedRegions(lambda a, _: np.zeros((*a.shape[:2], 2), np.float32))
    film = Film(lambda index: np.full((16, 24, 3), 90 + index % 2, np.uint8), forward_only=True)
    most_alive = 0
    with MotionReader(film, estimator := NoFlow(), None, static_regions=static) as motion:
        for index in range(300):
            shot = 0 if index < 256 else 256
            frame = motion.take(index, (index - 1,) if index > shot else (), shot)
            assert index == shot or (static.last.min() == 1 and frame.links[0].visibility.min() == 1)
            most_alive = max(most_alive, film.frames_alive)
            assert set(reference_indices(index, shot)) <= static.kept
            if index == 260:
                assert min(static.kept) == 256, "nothing is kept of the shot before"
    assert 8 <= most_alive <= 16
    assert film.reads == list(range(300)) and estimator.calls == 298


def same_frame(one: MotionFrame, two: MotionFrame) -> bool:
    return one.content.tobytes() == two.content.tobytes() and all(
        a.index == b.index
        and a.content.tobytes() == b.content.tobytes()
        and a.flow.tobytes() == b.flow.tobytes()
        and a.visibility.tobytes() == b.visibility.tobytes()
        for a, b in zip(one.links, two.links, strict=True)
    )


@pytest.mark.sweep(1)
@pytest.mark.parametrize("shot", [0, 5])
def test_a_resumed_walk_gives_the_same(shot: int) -> None:
    """Wherever it begins, and whether what is looked at was kept or is read again."""
    footage = small_square(218, 0.3, SIZE)

    def walk(first: int, film: Film) -> dict[int, MotionFrame]:
        taken = {}
        with MotionReader(film, TrueFlow(footage, tremble=0.1), None, frames_kept=3) as motion:
            for index in range(first, 218):
                others = tuple(index - back for back in (1, 2) if index - back >= shot)
                if index >= 200 or index % 16 == shot + 1:
                    taken[index] = motion.take(index, others, shot)
                else:  # only what is kept matters
                    motion.take(index, (), shot)
        return taken

    whole = walk(shot, Film(footage.frame, forward_only=True))
    assert 0.3 < np.mean([(whole[index].links[0].flow == 0).all(2).mean() for index in range(200, 218)]) < 1
    for first in (200, 213):
        film = Film(footage.frame, forward_only=True)
        again = walk(first, film)
        assert film.reads == list(range(reference_indices(first, shot)[0], 218))
        assert all(same_frame(whole[index], again[index]) for index in range(first, 218))


# --- flow to keyframes ------------------------------------------------------------------------------------------------

FAR = 12


def far_link(motion: MotionReader, index: int, other: int, shot: int | None = None) -> FlowLink:
    (link,) = motion.take(index, (), shot, (other,)).links
    return link


def miss(flow: np.ndarray, footage: scenes.Scene, index: int, other: int) -> float:
    """The mean error of a flow in pixels, where both frames show the same."""
    error = np.linalg.norm(flow - footage.flow(index, other), axis=2)
    return float(error[~footage.occluded(index, other)].mean())


@pytest.mark.parametrize("kind", ["pan", "zoom", "rotation"])
@pytest.mark.parametrize(("index", "other"), [(FAR, 0), (0, FAR)])
def test_flow_to_a_keyframe_is_chained(tmp_path: Path, kind: str, index: int, other: int) -> None:
    footage = getattr(scenes, kind)(SIZE, FAR + 1, 4)
    with MotionReader(Film(footage.frame), TrueFlow(footage), None, chain_store=tmp_path) as motion:
        frame = motion.take(index, (), None, (other,))
    (link,) = frame.links
    assert np.array_equal(frame.content, footage.frame(index))
    assert link.index == other and np.array_equal(link.content, footage.frame(other))
    assert link.flow.dtype == np.float32 and link.visibility.dtype == np.float32
    # Exact steps, and what linear interpolation between pixels adds to them: nothing, for an affine motion.
    assert miss(link.flow, footage, index, other) < 0.01
    assert miss(-link.flow, footage, index, other) > 5, "the other way is another one"
    hidden = footage.occluded(index, other)
    assert hidden.mean() > 0.05 or (kind == "zoom" and other == 0), "or nothing has left the frame"
    # Between pixels the border of what is left is soft.
    assert link.visibility[hidden].sum() <= 0.03 * hidden.sum() and link.visibility[~hidden].mean() > 0.85


@pytest.mark.parametrize(("index", "other"), [(FAR, 0), (0, FAR)])
def test_what_passes_between_is_occluded_at_either_end(tmp_path: Path, index: int, other: int) -> None:
    footage = scenes.occluder(SIZE, FAR + 1, 1, velocity=(2.5, 0.5), ground_velocity=(-0.6, 0.2))
    with MotionReader(Film(footage.frame), TrueFlow(footage), None, chain_store=tmp_path) as motion:
        link = far_link(motion, index, other)
    hidden = footage.occluded(index, other)
    covered = np.zeros(SIZE, bool)
    for between in range(1, FAR):
        covered |= footage.occluded(index, between)
    assert (covered & ~hidden).any(), "some of it was hidden in between alone"
    assert link.visibility[hidden].mean() < 0.05 and link.visibility[covered].mean() < 0.1
    assert link.visibility[~covered & ~hidden].mean() > 0.6


@pytest.mark.parametrize("kind", ["pan", "zoom", "rotation"])
def test_estimated_flow_is_chained(tmp_path: Path, kind: str) -> None:
    footage = getattr(scenes, kind)(GROUND, FAR + 1, 4)
    with MotionReader(Film(footage.frame), DisFlow(), None, chain_store=tmp_path) as motion:
        back, on = far_link(motion, FAR, 0), far_link(motion, 0, FAR)
    for link, index in ((back, FAR), (on, 0)):
        visible = link.visibility > 0.5
        assert visible.mean() > 0.5
        error = np.linalg.norm(link.flow - footage.flow(index, link.index), axis=2)[visible]
        assert np.median(error) < 0.5 and np.quantile(error, 0.9) < 1


def test_a_chain_is_estimated_once(tmp_path: Path, long_pan: scenes.Scene) -> None:
    """For a keyframe, the frames that lead up to it, and whoever else comes that way, also in another reader."""
    first, second = TrueFlow(long_pan), TrueFlow(long_pan)
    with MotionReader(film := Film(long_pan.frame), first, None, frames_kept=3, chain_store=tmp_path) as motion:
        far_link(motion, FAR, 0, 0)
        assert film.reads == list(range(FAR + 1)), "read once, from its beginning"
    assert first.counts == {frozenset((index, index + 1)): 1 for index in range(FAR)}
    with MotionReader(film := Film(long_pan.frame), second, None, frames_kept=3, chain_store=tmp_path) as motion:
        for index in range(1, FAR):
            links = motion.take(index, (index - 1,), 0, (FAR,)).links
            assert [link.index for link in links] == [index - 1, FAR]
            assert np.array_equal(links[0].flow, long_pan.flow(index, index - 1))
            assert miss(links[1].flow, long_pan, index, FAR) < 0.01
    assert not second.pairs
    assert film.jumps_back <= 1, "to the keyframe and back"
    with MotionReader(Film(long_pan.frame), TrueFlow(long_pan), None, frames_kept=3, chain_store=tmp_path) as motion:
        motion.take(20, (19,), 0)
    assert not (tmp_path / "19-20").exists(), "what leads to no far frame is not kept"


def test_readers_that_need_the_same_chain_estimate_it_once(tmp_path: Path, long_pan: scenes.Scene) -> None:
    """At the same time, as where a frame is read ahead by one worker and painted by another."""
    estimator = TrueFlow(long_pan)
    with contextlib.ExitStack() as stack:
        readers = [
            stack.enter_context(MotionReader(Film(long_pan.frame), estimator, None, chain_store=tmp_path))
            for _ in range(4)
        ]
        for reader in readers:
            reader.prefetch(0, (), 0, (30,))
        links = [far_link(reader, 0, 30, 0) for reader in readers]
    assert estimator.counts == {frozenset((index, index + 1)): 1 for index in range(30)}
    assert all(np.array_equal(link.flow, links[0].flow) for link in links)


def test_a_long_chain_takes_no_more_memory(tmp_path: Path, long_pan: scenes.Scene) -> None:
    film = Film(long_pan.frame)
    most_frames = most_flows = 0

    class Counting(TrueFlow):
        def pair(self, a: np.ndarray, b: np.ndarray, size: Size) -> tuple[np.ndarray, np.ndarray]:
            nonlocal most_frames, most_flows
            most_frames, most_flows = max(most_frames, film.frames_alive), max(most_flows, self.flows_alive)
            return super().pair(a, b, size)

    estimator = Counting(long_pan)
    with MotionReader(film, estimator, None, frames_kept=3, chain_store=tmp_path) as motion:
        far_link(motion, 39, 0)
        far_link(motion, 1, 39)
    assert len(estimator.pairs) == 39 and most_frames <= 3 + 2 and most_flows <= 2 * 3 + 2


def test_a_damaged_chain_is_estimated_again(tmp_path: Path, long_pan: scenes.Scene) -> None:
    with MotionReader(Film(long_pan.frame), TrueFlow(long_pan, tremble=0.1), None, chain_store=tmp_path) as motion:
        whole = far_link(motion, FAR, 0)
    (tmp_path / "3-4").write_bytes(b"no flow")
    (tmp_path / "7-8").unlink()
    estimator = TrueFlow(long_pan, tremble=0.1)
    with MotionReader(Film(long_pan.frame), estimator, None, chain_store=tmp_path) as motion:
        again = far_link(motion, FAR, 0)
    assert estimator.counts == {frozenset((3, 4)): 1, frozenset((7, 8)): 1}
    assert np.array_equal(again.flow, whole.flow) and np.array_equal(again.visibility, whole.visibility)
    assert read_checksummed(tmp_path / "3-4") is not None


@pytest.mark.parametrize(("index", "other"), [(FAR, 0), (0, FAR)])
def test_a_chain_skips_a_frame_that_cannot_be_read(
    tmp_path: Path, long_pan: scenes.Scene, index: int, other: int
) -> None:
    for _ in range(2):
        estimator = TrueFlow(long_pan)
        with MotionReader(Film(long_pan.frame, bad=5), estimator, None, chain_store=tmp_path) as motion:
            assert miss(far_link(motion, index, other).flow, long_pan, index, other) < 0.01
        if estimator.pairs:
            assert (4, 6) in estimator.pairs and len(estimator.pairs) == FAR - 1


def test_a_keyframe_that_cannot_be_read_is_named(tmp_path: Path, long_pan: scenes.Scene) -> None:
    for index, other in ((FAR, 5), (1, 5)):
        with (
            MotionReader(Film(long_pan.frame, bad=5), TrueFlow(long_pan), None, chain_store=tmp_path) as motion,
            pytest.raises(InputError, match="frame 5 is damaged"),
        ):
            far_link(motion, index, other)


@pytest.mark.sweep(1)
@pytest.mark.parametrize(("sigma", "seed"), [(1.0, 1), (2.0, 5)])
def test_a_still_scene_has_no_flow_to_a_far_frame(tmp_path: Path, sigma: float, seed: int) -> None:
    """Though the trembling of each step adds up on the way."""
    footage = scenes.still(GROUND, 25, seed, sigma=sigma)
    still = np.zeros((*GROUND, 2))
    with MotionReader(Film(footage.frame), DisFlow(), None, chain_store=tmp_path) as motion:
        trembling = far_link(motion, 24, 0)
        assert np.abs(trembling.flow).max() > 0.1
        keyframe = far_link(motion, 24, 0, 0)
        assert np.array_equal(keyframe.flow, still) and keyframe.visibility.mean() > 0.999
        for index in (9, 16, 23):
            near, far = motion.take(index, (index - 1,), 0, (24,)).links
            assert np.array_equal(near.flow, still) and np.array_equal(far.flow, still), index
            assert far.visibility.mean() > 0.999


@pytest.mark.slow
def test_a_slow_pan_is_not_still_towards_a_far_frame(tmp_path: Path) -> None:
    footage = dataclasses.replace(scenes.pan(GROUND, 25, 6, velocity=(0.1, 0.0)), noise_sigma=1.0, seed=3)
    with MotionReader(Film(footage.frame), DisFlow(), None, chain_store=tmp_path) as motion:
        assert far_link(motion, 24, 0, 0).flow[..., 0].mean() == pytest.approx(-2.4, abs=0.4)


# --- order and memory -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ahead", [False, True])
def test_a_film_is_read_once_from_its_beginning(long_pan: scenes.Scene, ahead: bool) -> None:
    film = Film(long_pan.frame, forward_only=True)
    count, back = 30, (1, 2, 4)

    def wanted(index: int) -> tuple[int, tuple[int, ...], int | None]:
        others = tuple(index - distance for distance in back if index >= distance)
        return index, others, 0 if others else None

    with MotionReader(film, TrueFlow(long_pan), None, frames_kept=max(back) + 2) as motion:
        for index in range(count):
            frame = motion.take(*wanted(index))
            if ahead and index + 1 < count:
                motion.prefetch(*wanted(index + 1))
            assert [link.index for link in frame.links] == list(wanted(index)[1])
    assert film.reads == list(range(count))


def test_reading_may_begin_anywhere_and_fills_the_gap(long_pan: scenes.Scene) -> None:
    """As when a job is resumed: from the farthest frame that is needed, and none of them is left out."""
    film = Film(long_pan.frame, forward_only=True)
    with MotionReader(film, TrueFlow(long_pan), None, frames_kept=6) as motion:
        motion.take(20, (19, 16), 10)
        motion.take(21, (20, 17), 10)
    assert film.reads == list(range(10, 22))


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
    assert most_flows <= 2 * 3 + 2, "a few pairs, of both directions"
    assert len(estimator.pairs) >= 39


# --- errors and the end -----------------------------------------------------------------------------------------------


def test_a_frame_that_cannot_be_read_says_so_when_it_is_taken(scene: scenes.Scene) -> None:
    with MotionReader(Film(scene.frame, bad=3), TrueFlow(scene), None, frames_kept=6) as motion:
        motion.take(2, (1,))
        motion.prefetch(3, (2,))
        with pytest.raises(InputError, match="frame 3 is damaged"):
            motion.take(3, (2,))
        assert np.array_equal(motion.take(2, (1,)).content, scene.frame(2)), "the others are read as before"
        with pytest.raises(InputError, match="frame 3 is damaged"):
            motion.take(4, (3,))


def test_a_block_read_back_leaves_out_what_cannot_be_read(long_pan: scenes.Scene) -> None:
    """Frame 25 is in the block of those that are asked for, and is another frame's trouble."""
    film = Film(long_pan.frame, bad=25)
    with MotionReader(film, TrueFlow(long_pan), None, frames_kept=3, backward=True) as motion:
        for index in range(38, 25, -1):
            link = only_link(motion, index, index + 1)
            assert np.array_equal(link.content, long_pan.frame(index + 1))
        with pytest.raises(InputError, match="frame 25 is damaged"):
            motion.take(25, (26,))
        assert np.array_equal(motion.take(23).content, long_pan.frame(23))
    assert 25 not in film.reads


def test_a_frame_that_cannot_be_read_leaves_a_walk_back_its_blocks(long_pan: scenes.Scene) -> None:
    film = Film(long_pan.frame, bad=25)
    with MotionReader(film, None, None, frames_kept=3, backward=True) as motion:
        for index in range(38, 25, -1):
            motion.take(index)
    assert film.jumps_back <= 2


@pytest.mark.parametrize(
    "error",
    [
        MemoryError("no memory"),
        RuntimeError("CUDA out of memory"),
    ],
    ids=["memory", "device"],
)
def test_motion_that_cannot_be_estimated_is_the_frames_error(scene: scenes.Scene, error: Exception) -> None:
    class Failing(TrueFlow):
        def pair(self, a: np.ndarray, b: np.ndarray, size: Size) -> tuple[np.ndarray, np.ndarray]:
            if self._index[b.tobytes()] == 3:
                raise error
            return super().pair(a, b, size)

    with MotionReader(Film(scene.frame), Failing(scene), None, frames_kept=6) as motion:
        motion.take(2, (1,))
        motion.prefetch(3, (2,))
        with pytest.raises(FrameError, match=f"frame 3 .*{error}") as caught:
            motion.take(3, (2,))
        assert caught.value.__cause__ is error
        assert np.array_equal(only_link(motion, 2, 1).flow, scene.flow(2, 1)), "the others are as before"


def test_a_bug_is_no_frames_error(scene: scenes.Scene) -> None:
    class Broken(TrueFlow):
        def pair(self, a: np.ndarray, b: np.ndarray, size: Size) -> tuple[np.ndarray, np.ndarray]:
            raise RuntimeError("shapes do not match")

    with (
        MotionReader(Film(scene.frame), Broken(scene), None) as motion,
        pytest.raises(RuntimeError, match="shapes do not match"),
    ):
        motion.take(1, (0,))


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
                motion.prefetch(index, (index - 1,))
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


def link_from_files(scene: scenes.Scene, folder: Path, index: int = 1, other: int = 0) -> FlowLink:
    with MotionReader(Film(scene.frame), FloFolder(folder), None) as motion:
        return only_link(motion, index, other)


def test_flow_from_files_goes_both_ways(scene: scenes.Scene, flow_files: Path) -> None:
    for index, other in ((1, 0), (0, 1)):
        link = link_from_files(scene, flow_files, index, other)
        assert np.array_equal(link.flow, scene.flow(index, other))
        flows = scene.flow(index, other), scene.flow(other, index)
        assert np.array_equal(link.visibility, visibility_of(scene.frame(index), scene.frame(other), *flows))


@pytest.mark.parametrize(
    ("index", "other", "name"), [(1, 0, "backward_2_1.flo"), (0, 1, "forward_1_2.flo"), (4, 3, "backward_5_4.flo")]
)
def test_a_missing_flow_file_is_named(scene: scenes.Scene, flow_files: Path, index: int, other: int, name: str) -> None:
    (flow_files / name).unlink(missing_ok=True)
    with pytest.raises(InputError, match=name) as error:
        link_from_files(scene, flow_files, index, other)
    assert str(flow_files) in str(error.value) and "\n" not in str(error.value)


def test_far_frames_without_flow_files_are_left_out(scene: scenes.Scene, flow_files: Path) -> None:
    """Many programs write the flow of neighbours alone; that of the frame before is needed all the same."""
    write_flo(flow_files / "backward_5_4.flo", scene.flow(4, 3))
    write_flo(flow_files / "backward_5_2.flo", scene.flow(4, 1))
    with MotionReader(Film(scene.frame), FloFolder(flow_files), None, frames_kept=6) as motion:
        for shot in (None, 0):
            links = motion.take(4, (3, 2, 1, 0), shot).links
            assert [link.index for link in links] == [3, 1]
            for link in links:
                assert np.array_equal(link.content, scene.frame(link.index))
                assert np.array_equal(link.flow, scene.flow(4, link.index))
        assert motion.take(4, (2,)).links == ()
        with pytest.raises(InputError, match=r"backward_4_3\.flo"):
            motion.take(3, (2, 1))


def test_without_backward_flow_consistency_is_left_out(scene: scenes.Scene, flow_files: Path) -> None:
    write_flo(flow_files / "forward_1_2.flo", scene.flow(0, 1) + 3)
    both = link_from_files(scene, flow_files)
    (flow_files / "forward_1_2.flo").unlink()
    link = link_from_files(scene, flow_files)
    assert np.array_equal(link.flow, both.flow)
    assert np.array_equal(link.visibility, visibility_of(scene.frame(1), scene.frame(0), scene.flow(1, 0), None))
    assert both.visibility.max() == 0 and link.visibility.mean() > 0.8, "the way back did not fit"


def test_a_certainty_file_multiplies(scene: scenes.Scene, flow_files: Path) -> None:
    plain = link_from_files(scene, flow_files).visibility
    certainty = numpy_stream(1).integers(0, 256, SIZE, dtype=np.uint8)
    header = f"P5 {SIZE[1]} {SIZE[0]} 255\n".encode()
    (flow_files / "reliable_2_1.pgm").write_bytes(header + certainty.tobytes())
    (flow_files / "reliable_1_2.pgm").write_bytes(header + bytes(SIZE[0] * SIZE[1]))
    link = link_from_files(scene, flow_files)
    assert np.allclose(link.visibility, plain * (certainty / 255), atol=1e-6)
    assert link_from_files(scene, flow_files, 0, 1).visibility.max() == 0, "the other direction has a file of its own"


@pytest.mark.parametrize("steps", [1, 2])
def test_of_a_way_each_step_has_its_certainty_once(scene: scenes.Scene, tmp_path: Path, steps: int) -> None:
    for later in range(1, steps + 1):
        write_flo(tmp_path / f"backward_{later + 1}_{later}.flo", scene.flow(later, later - 1))
    with MotionReader(Film(scene.frame), FloFolder(tmp_path), None, frames_kept=4) as motion:
        plain = far_link(motion, steps, 0).visibility
    for later in range(1, steps + 1):
        certainty = np.full(SIZE, 204 if later == 1 else 102, np.uint8)
        header = f"P5 {SIZE[1]} {SIZE[0]} 255\n".encode()
        (tmp_path / f"reliable_{later + 1}_{later}.pgm").write_bytes(header + certainty.tobytes())
    with MotionReader(Film(scene.frame), FloFolder(tmp_path), None, frames_kept=4) as motion:
        link = far_link(motion, steps, 0)
    assert plain.mean() > 0.5
    assert np.allclose(link.visibility, plain * (0.8 if steps == 1 else 0.8 * 0.4), atol=1e-6)


def test_unreliable_flow_is_not_visible_even_in_static_regions(tmp_path: Path) -> None:
    """What the user says comes last."""
    footage = scenes.still(SIZE, 2, 5)
    write_flo(tmp_path / "backward_2_1.flo", footage.flow(1, 0))
    with MotionReader(Film(footage.frame), FloFolder(tmp_path), None) as motion:
        assert only_link(motion, 1, 0, 0).visibility.min() == 1
        certainty = np.full(SIZE, 51, np.uint8)
        certainty[:, 40:] = 0
        header = f"P5 {SIZE[1]} {SIZE[0]} 255\n".encode()
        (tmp_path / "reliable_2_1.pgm").write_bytes(header + certainty.tobytes())
        assert np.allclose(only_link(motion, 1, 0, 0).visibility, certainty / 255)
        (tmp_path / "reliable_2_1.pgm").write_bytes(header + bytes(certainty.size))
        assert only_link(motion, 1, 0, 0).visibility.max() == 0


def test_unknown_flow_in_a_file_is_not_visible(scene: scenes.Scene, flow_files: Path) -> None:
    flow = scene.flow(1, 0)
    flow[10:20, 30:40] = 1e10
    write_flo(flow_files / "backward_2_1.flo", flow)
    link = link_from_files(scene, flow_files)
    assert link.visibility[10:20, 30:40].max() == 0 and link.flow[10:20, 30:40].any() == 0
    assert link.visibility.mean() > 0.5
