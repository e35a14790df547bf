"""Flow has the direction, order and units that are promised, on footage whose motion is known; files may be hostile."""

import itertools
import struct
import urllib.error
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.models.optical_flow import Raft_Large_Weights, raft_small

from impasto.errors import InputError, WeightsError
from impasto.media.images import read_image
from impasto.motion import flow_matching
from impasto.motion.consistency import consistent_pixels
from impasto.motion.dis import DisFlow
from impasto.motion.flo_files import FloFolder, read_flo
from impasto.motion.flow import FlowEstimator, resize_flow, working_size
from impasto.motion.flow_fit import refit_flow
from impasto.motion.flow_refinement import dilate, propagate_flow
from impasto.motion.raft import RaftFlow
from impasto.pictures import Size
from samples import scenes
from tests.conftest import DATA
from tests.support.flow_files import write_flo
from tests.support.seeds import numpy_stream

SINTEL = DATA / "sintel"

FOOTAGE: dict[str, Callable[[Size, int, int], scenes.Scene]] = {
    "pan": scenes.pan,
    "zoom": scenes.zoom,
    "rotation": scenes.rotation,
    "occluder": scenes.occluder,
}


def sintel_pair(clip: str) -> tuple[np.ndarray, np.ndarray, Size, np.ndarray, np.ndarray]:
    """Frames 2 and 3 of a clip, a painting's size, the exact flow at that size, and what is hidden, at the clip's."""
    folder = SINTEL / clip
    if not folder.is_dir():
        pytest.skip(f"the frames of Sintel are not at {folder}")
    a, b = (read_image(folder / f"frame_{number:04}.png") for number in (2, 3))
    size = (109, 256)
    exact = resize_flow(read_flo(folder / "flow_0002_to_0003.flo")[0], size)
    return a, b, size, exact, read_image(folder / "occluded_0002_to_0003.png")[..., 0]


def errors_of(flow: np.ndarray, exact: np.ndarray, counted: np.ndarray | None = None) -> np.ndarray:
    """Lengths of the errors in pixels, of the counted pixels."""
    lengths: np.ndarray = np.linalg.norm(flow - exact, axis=2)
    return lengths if counted is None else lengths[counted]


def dis_flow(a: np.ndarray, b: np.ndarray, size: Size) -> np.ndarray:
    """Flow a → b, one way of `DisFlow.pair`."""
    return DisFlow().pair(a, b, size)[0]


def plain_dis(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """What OpenCV alone gives: DIS with its most exact preset, to the finest scale."""
    dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    dis.setFinestScale(0)
    return dis.calc(cv2.cvtColor(a, cv2.COLOR_RGB2GRAY), cv2.cvtColor(b, cv2.COLOR_RGB2GRAY), None)


@pytest.fixture(scope="module")
def raft_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small RAFT with random weights."""
    path = tmp_path_factory.mktemp("raft") / "raft.pth"
    torch.manual_seed(1)
    torch.save(raft_small(weights=None).state_dict(), path)
    return path


class TestConvention:
    """Both estimators are of one kind, and what they give is given in the same way."""

    @pytest.fixture(params=["dis", "raft"])
    def estimator(self, request: pytest.FixtureRequest, raft_file: Path) -> FlowEstimator:
        return DisFlow() if request.param == "dis" else RaftFlow(str(raft_file), model="small")

    @pytest.mark.parametrize("size", [(48, 80), (30, 100)])
    def test_shape_type_and_repetition(self, estimator: FlowEstimator, size: Size) -> None:
        footage = scenes.pan((60, 100), 2, 1)
        a, b = footage.frame(0), footage.frame(1)
        before = a.copy(), b.copy()
        once, again = estimator.pair(a, b, size), estimator.pair(a, b, size)
        for flow, same in zip(once, again, strict=True):
            assert flow.shape == (*size, 2)
            assert flow.dtype == np.float32
            assert np.isfinite(flow).all()
            assert np.array_equal(flow, same)
        assert np.array_equal(a, before[0])
        assert np.array_equal(b, before[1])

    def test_frames_that_do_not_fit_are_refused(self, estimator: FlowEstimator) -> None:
        frame = np.zeros((40, 40, 3), np.uint8)
        with pytest.raises(ValueError, match=r"\(40, 41, 3\)"):
            estimator.pair(frame, np.zeros((40, 41, 3), np.uint8), (40, 40))
        with pytest.raises(ValueError, match="uint8"):
            estimator.pair(frame, frame.astype(np.float32), (40, 40))


class TestDisFlow:
    def test_direction_order_and_units(self) -> None:
        footage = scenes.pan((90, 160), 2, 5, velocity=(6.0, -2.0))
        forward, backward = DisFlow().pair(footage.frame(0), footage.frame(1), (90, 160))
        inside = np.s_[10:-10, 10:-10]
        assert np.median(forward[inside], axis=(0, 1)) == pytest.approx([6.0, -2.0], abs=0.1)
        assert np.median(backward[inside], axis=(0, 1)) == pytest.approx([-6.0, 2.0], abs=0.1)

    def test_each_axis_has_its_own_scale(self) -> None:
        footage = scenes.pan((120, 160), 2, 5, velocity=(6.0, -4.0))
        flow = dis_flow(footage.frame(0), footage.frame(1), (30, 80))
        assert np.median(flow[5:-5, 5:-5], axis=(0, 1)) == pytest.approx([3.0, -1.0], abs=0.05)

    def test_a_painting_may_be_larger_than_its_source(self) -> None:
        footage = scenes.pan((60, 80), 2, 5, velocity=(2.0, -1.0))
        flow = dis_flow(footage.frame(0), footage.frame(1), (120, 160))
        assert np.median(flow[10:-10, 10:-10], axis=(0, 1)) == pytest.approx([4.0, -2.0], abs=0.15)

    @pytest.mark.sweep(1)
    @pytest.mark.parametrize("name", FOOTAGE)
    def test_footage_of_known_motion(self, name: str) -> None:
        size = (144, 256)
        footage = FOOTAGE[name](size, 6, 3)
        a, b = footage.frame(2), footage.frame(3)
        forward, backward = DisFlow().pair(a, b, size)
        for flow, (start, stop) in ((forward, (2, 3)), (backward, (3, 2))):
            errors = errors_of(flow, footage.flow(start, stop), ~footage.occluded(start, stop))
            assert errors.mean() < 0.1
            assert np.median(errors) < 0.09
            assert (errors > 1).mean() < 0.02
        visible = ~footage.occluded(2, 3)
        plain = errors_of(plain_dis(a, b), footage.flow(2, 3), visible)
        # Equal but for chance: where DIS alone is at its best, its start and what is filled in do no harm.
        assert errors_of(forward, footage.flow(2, 3), visible).mean() <= plain.mean() * 1.05

    def test_motion_of_a_quarter_of_the_frame(self) -> None:
        footage = scenes.pan((144, 256), 2, 3, velocity=(64.0, 9.0))
        visible = ~footage.occluded(0, 1)
        errors = errors_of(dis_flow(footage.frame(0), footage.frame(1), (144, 256)), footage.flow(0, 1), visible)
        plain = errors_of(plain_dis(footage.frame(0), footage.frame(1)), footage.flow(0, 1), visible)
        assert errors.mean() < 0.5
        assert plain.mean() > 5, "or this shows nothing"

    def test_no_motion(self) -> None:
        frame = scenes.pan((144, 256), 1, 3).frame(0)
        for flow in DisFlow().pair(frame, frame, (144, 256)):
            assert np.abs(flow).max() < 0.02

    def test_noise_of_the_sensor_is_no_motion(self) -> None:
        footage = scenes.still((144, 256), 2, 3)
        flow = dis_flow(footage.frame(0), footage.frame(1), (144, 256))
        assert np.abs(flow).mean() < 0.05
        assert np.abs(flow).max() < 1

    @pytest.mark.parametrize("levels", [(0, 0), (255, 255), (128, 128), (100, 140), (0, 255)])
    def test_flat_frames_do_not_move(self, levels: tuple[int, int]) -> None:
        a, b = (np.full((90, 160, 3), level, np.uint8) for level in levels)
        for flow in DisFlow().pair(a, b, (45, 80)):
            assert np.abs(flow).max() < 0.02

    @pytest.mark.parametrize("size", [(16, 16), (17, 40), (16, 200), (200, 9), (1, 1)])
    def test_tiny_frames(self, size: Size) -> None:
        generator = numpy_stream(1)
        a, b = generator.integers(0, 256, (2, *size, 3), dtype=np.uint8)
        for flow in DisFlow().pair(a, b, size):
            assert flow.shape == (*size, 2)
            assert np.isfinite(flow).all()
        assert np.abs(dis_flow(a, a, size)).max() < 0.02

    def test_frames_of_different_films(self) -> None:
        a = scenes.pan((90, 160), 1, 1).frame(0)
        b = scenes.zoom((90, 160), 1, 9).frame(0)
        assert all(np.isfinite(flow).all() for flow in DisFlow().pair(a, b, (90, 160)))

    def test_the_same_bits_whatever_the_threads_and_whatever_came_before(self) -> None:
        footage = scenes.occluder((144, 256), 6, 3)
        a, b = footage.frame(2), footage.frame(3)
        estimator = DisFlow()
        threads = cv2.getNumThreads()
        results = []
        try:
            for count in (1, 2, 4):
                cv2.setNumThreads(count)
                estimator.pair(b, footage.frame(5), (90, 160))
                results.append(estimator.pair(a, b, (144, 256)))
                assert cv2.getNumThreads() == count, "the number is given back as it was"
        finally:
            cv2.setNumThreads(threads)
        for first, second in itertools.pairwise(results):
            assert all(np.array_equal(flow, same) for flow, same in zip(first, second, strict=True))

    def test_a_frame_of_two_pairs_is_searched_for_features_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        searched: list[np.ndarray] = []

        def features(equal: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            searched.append(equal)
            return search(equal)

        search = flow_matching._features
        monkeypatch.setattr(flow_matching, "_features", features)
        footage = scenes.zoom((90, 160), 4, 3)
        frames = [footage.frame(index) for index in range(4)]
        estimator = DisFlow()
        for a, b in itertools.pairwise(frames):
            estimator.pair(a, b, (90, 160))
        assert len(searched) == len(frames)

    @pytest.mark.parametrize(("clip", "most"), [("market_5", 0.3), ("cave_2", 0.6)])
    def test_real_footage(self, clip: str, most: float) -> None:
        """On Sintel the mean error is at most this share of that of DIS alone: fast motion is what it is for."""
        a, b, size, exact, hidden = sintel_pair(clip)
        visible = cv2.resize(hidden, size[::-1], interpolation=cv2.INTER_AREA) < 64
        small_a, small_b = (cv2.resize(frame, size[::-1], interpolation=cv2.INTER_AREA) for frame in (a, b))
        errors = errors_of(dis_flow(a, b, size), exact, visible)
        plain = errors_of(plain_dis(small_a, small_b), exact, visible)
        assert errors.mean() < most * plain.mean()
        assert np.median(errors) < most * np.median(plain)

    def test_where_both_directions_agree_they_are_right(self) -> None:
        """Masks are made from the agreement, so that nothing may be guessed in both directions alike."""
        footage = scenes.occluder((144, 256), 6, 3, velocity=(14.0, 3.0), ground_velocity=(-5.0, 1.0))
        forward, backward = DisFlow().pair(footage.frame(2), footage.frame(3), (144, 256))
        x, y = (axis.astype(np.float32) for axis in np.meshgrid(np.arange(256), np.arange(144)))
        returned = cv2.remap(backward, x + forward[..., 0], y + forward[..., 1], cv2.INTER_LINEAR)
        agreed = np.square(forward + returned).sum(2) < 0.5
        hidden = footage.occluded(2, 3)
        assert agreed[~hidden].mean() > 0.95
        assert agreed[hidden].mean() < 0.5
        assert (errors_of(forward, footage.flow(2, 3), agreed & ~hidden) > 1).mean() < 0.03

    @pytest.mark.parametrize("direction", [(2, 3), (3, 2)])
    @pytest.mark.parametrize("velocity", [(14.0, 3.0), (4.0, 1.0)], ids=["fast", "slow"])
    def test_propagation_moves_motion_boundaries_to_the_outlines(
        self, velocity: tuple[float, float], direction: tuple[int, int]
    ) -> None:
        """DIS alone moves whole patches; a pixel that takes the best of the motions near it does not cross a border.

        Plain DIS of a slow object is right nearly everywhere, and yet not at its border.
        """
        start, stop = direction
        footage = scenes.occluder((144, 256), 6, 3, velocity=velocity, ground_velocity=(-1.5, 0.5))
        exact, visible = footage.flow(start, stop), ~footage.occluded(start, stop)
        border = visible & (np.linalg.norm(exact - cv2.blur(exact, (9, 9)), axis=2) > 1)
        assert border.sum() > 300

        def share_beyond_a_pixel(flow: np.ndarray) -> float:
            return float((errors_of(flow, exact, border) > 1).mean())

        a, b = footage.frame(start), footage.frame(stop)
        plain, back = plain_dis(a, b), plain_dis(b, a)
        lab_a, lab_b = (cv2.cvtColor(frame.astype(np.float32) / 255, cv2.COLOR_RGB2LAB) for frame in (a, b))
        refined = propagate_flow(plain, lab_a, lab_b, dilate(~consistent_pixels(plain, back)))
        assert share_beyond_a_pixel(refined) < 0.7 * share_beyond_a_pixel(plain)
        assert share_beyond_a_pixel(dis_flow(a, b, (144, 256))) < 0.7 * share_beyond_a_pixel(plain)

    def test_what_leaves_the_frame_does_not_take_another_motion(self) -> None:
        """Where the content is no more to be seen, whatever stays in the frame would look better than the truth."""
        size = (96, 160)
        footage = scenes.pan(size, 2, 5, velocity=(12.0, -7.0))
        a, b = (cv2.cvtColor(footage.frame(index).astype(np.float32) / 255, cv2.COLOR_RGB2LAB) for index in (0, 1))
        exact = footage.flow(0, 1)
        flow = exact.copy()
        flow[:, 118:147] = 0  # which what leaves, to its right, could take from here
        everywhere = np.ones(size, bool)
        refined = propagate_flow(flow, a, b, everywhere)
        leaving = np.zeros(size, bool)
        leaving[:, 150:] = leaving[:5, :108] = True
        assert np.array_equal(refined[leaving], exact[leaving])
        wrong = errors_of(flow, exact) > 1
        assert wrong.sum() > 2000 and (errors_of(refined, exact)[wrong] > 1).mean() < 0.5, "or this shows nothing"


class TestRefitted:
    """Where both directions contradict each other, flow is fitted to what is confirmed around."""

    SIZE: Size = (60, 100)

    def fields(self) -> tuple[np.ndarray, np.ndarray]:
        """A slow turn and enlargement with a shift, there and back."""
        height, width = self.SIZE
        x, y = np.meshgrid(np.arange(width, dtype=np.float64), np.arange(height, dtype=np.float64))
        there = scenes.affine(shift=(5.0, -3.0), degrees=2.0, scale=1.03, about=(50.0, 30.0))
        fields = []
        for matrix in (there, scenes.invert(there)):
            to_x, to_y = scenes.carry(matrix, x, y)
            fields.append(np.stack([to_x - x, to_y - y], 2).astype(np.float32))
        return fields[0], fields[1]

    def inside(self, flow: np.ndarray) -> np.ndarray:
        height, width = self.SIZE
        x, y = np.arange(width) + flow[..., 0], np.arange(height)[:, None] + flow[..., 1]
        return (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)

    def test_a_hole_goes_where_what_is_around_goes(self) -> None:
        exact, back = self.fields()
        flow = exact.copy()
        flow[20:36, 40:60] = (30.0, 20.0)
        before = flow.copy(), back.copy()
        refitted = refit_flow(flow, back)
        assert errors_of(refitted, exact)[20:36, 40:60].max() < 0.5
        confirmed = self.inside(flow)
        confirmed[20:36, 40:60] = False
        assert confirmed.sum() > 4000 and np.array_equal(refitted[confirmed], flow[confirmed])
        assert np.array_equal(flow, before[0]) and np.array_equal(back, before[1])

    def test_what_leaves_the_frame_goes_on_as_what_stays(self) -> None:
        exact, back = self.fields()
        flow = exact.copy()
        leaving = ~self.inside(exact)
        flow[leaving] *= 1.7
        assert leaving.sum() > 300 and errors_of(flow, exact, leaving).min() > 2
        assert errors_of(refit_flow(flow, back), exact, leaving).max() < 0.5

    def test_where_nothing_is_confirmed_nothing_changes(self) -> None:
        flow = np.full((*self.SIZE, 2), 9.0, np.float32)
        assert np.array_equal(refit_flow(flow, flow), flow)

    def test_on_real_footage_it_is_nearer_to_the_truth(self) -> None:
        a, b, size, exact, _ = sintel_pair("market_5")
        flow, back = DisFlow().pair(a, b, size)
        assert errors_of(refit_flow(flow, back), exact).mean() < 0.95 * errors_of(flow, exact).mean()


def test_the_working_size() -> None:
    assert working_size((436, 1024), (109, 256)) == (272, 640)
    assert working_size((436, 1024), (218, 512)) == (436, 1024)
    assert working_size((1080, 1920), (288, 512)) == (576, 1024)
    assert working_size((90, 160), (90, 160)) == (90, 160), "never more than there is"
    assert working_size((2160, 3840), (16, 16)) == (288, 512)


class TestResizing:
    def test_vectors_are_scaled_with_their_grid(self) -> None:
        flow = np.full((40, 60, 2), (6.0, 4.0), np.float32)
        for size in ((20, 20), (80, 30), (40, 60), (10, 120), (7, 11)):
            assert np.allclose(resize_flow(flow, size), (6.0 * size[1] / 60, 4.0 * size[0] / 40), atol=1e-5)

    def test_exact_on_a_linear_field(self) -> None:
        """A zoom is the same zoom at any size, about the same point of the picture."""

        def zoom(size: Size) -> np.ndarray:
            y, x = np.mgrid[: size[0], : size[1]].astype(np.float32)
            return np.stack([0.1 * (x + 0.5 - size[1] / 2), 0.2 * (y + 0.5 - size[0] / 2)], 2)

        assert np.allclose(resize_flow(zoom((60, 80)), (30, 20)), zoom((30, 20)), atol=1e-4)
        enlarged = resize_flow(zoom((30, 40)), (60, 120))
        assert np.allclose(enlarged[3:-3, 3:-3], zoom((60, 120))[3:-3, 3:-3], atol=0.02)


class TestRaft:
    def test_threads_take_turns(self, raft_file: Path) -> None:
        """Several at a time would take several times the memory."""
        raft = RaftFlow(str(raft_file), model="small")
        inside: list[int] = []
        counts: list[int] = []

        def enter(*_: object) -> None:
            inside.append(1)
            counts.append(len(inside))

        raft._network.register_forward_pre_hook(enter)
        raft._network.register_forward_hook(lambda *_: inside.pop() and None)
        a, b = (scenes.pan((48, 64), 2, 1).frame(index) for index in range(2))
        with ThreadPoolExecutor(3) as threads:
            flows = list(threads.map(lambda _: raft.pair(a, b, (48, 64)), range(3)))
        assert counts == [1] * 6
        assert all(np.array_equal(one, two) for flow in flows for one, two in zip(flow, flows[0], strict=True))

    def test_weights_from_safetensors_are_the_same(self, raft_file: Path, tmp_path: Path) -> None:
        from safetensors.torch import save_file

        save_file(torch.load(raft_file, weights_only=True), tmp_path / "raft.safetensors")
        other = RaftFlow(str(tmp_path / "raft.safetensors"), model="small")
        assert other.sha256 == RaftFlow(str(raft_file), model="small").sha256

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda state: state.pop(next(iter(state))), "lack"),
            (lambda state: state.update({next(iter(state)): torch.zeros(1, 2)}), r"have \(1, 2\) at"),
            (lambda state: state[next(iter(state))].fill_(float("nan")), "non-finite"),
            (lambda state: state.update(more=torch.zeros(1)), "hold more"),
            (lambda state: state.clear(), "lack"),
        ],
    )
    def test_weights_of_another_network(
        self, raft_file: Path, tmp_path: Path, change: Callable[[dict[str, torch.Tensor]], object], message: str
    ) -> None:
        state = dict(torch.load(raft_file, weights_only=True))
        change(state)
        torch.save(state, tmp_path / "other.pth")
        with pytest.raises(WeightsError, match=message):
            RaftFlow(str(tmp_path / "other.pth"), model="small")

    def test_small_weights_are_not_large_ones(self, raft_file: Path) -> None:
        with pytest.raises(WeightsError, match="raft_large"):
            RaftFlow(str(raft_file))

    @pytest.mark.parametrize("name", ["none.pth", "damaged.pth", "damaged.safetensors", "list.pth"])
    def test_files_without_weights(self, name: str, tmp_path: Path) -> None:
        path = tmp_path / name
        if name.startswith("damaged"):
            path.write_bytes(b"\x80\x02}q\x00garbage" * 9)
        elif name == "list.pth":
            torch.save([1, 2], path)
        with pytest.raises(WeightsError) as caught:
            RaftFlow(str(path))
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize(
        ("failure", "message"),
        [
            (urllib.error.URLError("no network"), r"could not be downloaded .*: put the file at .*\.pth, or "),
            (RuntimeError("invalid hash value\nand more"), "corrupted"),
        ],
    )
    def test_a_download_that_fails(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, failure: Exception, message: str
    ) -> None:
        def fail(*args: object, **options: object) -> None:
            raise failure

        monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path))
        monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", fail)
        with pytest.raises(WeightsError, match=message) as caught:
            RaftFlow("torchvision")
        assert "\n" not in str(caught.value)

    def test_a_cached_file_that_is_not_torchvisions(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path))
        cached = tmp_path / "checkpoints" / Raft_Large_Weights.DEFAULT.url.rpartition("/")[2]
        cached.parent.mkdir()
        cached.write_bytes(b"something else")
        with pytest.raises(WeightsError, match="delete the file"):
            RaftFlow("torchvision")


class TestFloFiles:
    @given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 2**32 - 1))
    @settings(max_examples=20, deadline=None)
    def test_round_trip(self, tmp_path_factory: pytest.TempPathFactory, height: int, width: int, seed: int) -> None:
        path = tmp_path_factory.mktemp("flo") / "a.flo"
        flow = numpy_stream(seed).normal(0, 50, (height, width, 2)).astype(np.float32)
        write_flo(path, flow)
        read, known = read_flo(path)
        assert np.array_equal(read, flow)
        assert known.all()
        assert np.array_equal(cv2.readOpticalFlow(str(path)), flow), "OpenCV reads the same"

    def test_names_count_from_one(self, tmp_path: Path) -> None:
        folder = FloFolder(tmp_path)
        assert folder.expected_name(4, 3) == "backward_5_4.flo"
        assert folder.expected_name(0, 1) == "forward_1_2.flo"
        assert folder.expected_name(9, 2) == "backward_10_3.flo"

    def test_files_of_another_size(self, tmp_path: Path) -> None:
        write_flo(tmp_path / "backward_5_4.flo", np.full((40, 60, 2), (6.0, 4.0), np.float32))
        cv2.imwrite(str(tmp_path / "reliable_5_4.pgm"), np.repeat(np.uint8([[255], [0]]), 20, 0).repeat(60, 1))
        folder = FloFolder(tmp_path)
        flow, visibility = folder.read(4, 3, (20, 30)), folder.reliability(4, 3, (20, 30))
        assert flow is not None
        assert visibility is not None
        assert flow.shape == (20, 30, 2)
        assert np.allclose(flow, (3.0, 2.0))
        assert visibility.dtype == np.float32
        assert (visibility[:10] == 1).all()
        assert (visibility[10:] == 0).all()

    def test_files_of_another_shape_belong_to_another_film(self, tmp_path: Path) -> None:
        write_flo(tmp_path / "backward_2_1.flo", np.zeros((10, 300, 2), np.float32))
        cv2.imwrite(str(tmp_path / "reliable_3_2.pgm"), np.zeros((30, 10), np.uint8))
        folder = FloFolder(tmp_path)
        for wrong in (lambda: folder.read(1, 0, (48, 64)), lambda: folder.reliability(2, 1, (48, 64))):
            with pytest.raises(InputError, match="another shape than the 64×48"):
                wrong()
        for pair in ((1, 0), (2, 1)):
            with pytest.raises(InputError, match="another shape"):
                folder.require(*pair, (48, 64))

    @pytest.mark.parametrize("size", [(436, 1024), (109, 256), (27, 64), (11, 25), (4, 10), (1, 2)])
    def test_sizes_may_be_rounded(self, tmp_path: Path, size: tuple[int, int]) -> None:
        write_flo(tmp_path / "backward_2_1.flo", np.zeros((218, 512, 2), np.float32))
        FloFolder(tmp_path).require(1, 0, size)

    def test_damage_is_found_without_reading_it_all(self, tmp_path: Path) -> None:
        path = tmp_path / "backward_2_1.flo"
        write_flo(path, np.zeros((8, 8, 2), np.float32))
        FloFolder(tmp_path).require(1, 0, (8, 8))
        path.write_bytes(path.read_bytes()[:-1])
        with pytest.raises(InputError, match="cut off or damaged"):
            FloFolder(tmp_path).require(1, 0, (8, 8))

    def test_the_fingerprint_tells_of_other_contents_and_of_nothing_else(self, tmp_path: Path) -> None:
        folder = FloFolder(tmp_path)
        write_flo(tmp_path / "backward_2_1.flo", np.zeros((8, 8, 2), np.float32))
        before = folder.fingerprint()
        (tmp_path / "notes_1_2.txt").write_text("mine")
        (tmp_path / "backward_9_8.flo").symlink_to(tmp_path / "nowhere")
        assert folder.fingerprint() == before
        write_flo(tmp_path / "backward_2_1.flo", np.ones((8, 8, 2), np.float32))
        assert folder.fingerprint() != before

    def test_what_is_not_there(self, tmp_path: Path) -> None:
        folder = FloFolder(tmp_path)
        assert folder.read(1, 0, (4, 4)) is None
        assert folder.reliability(1, 0, (4, 4)) is None
        write_flo(tmp_path / "backward_2_1.flo", np.zeros((4, 4, 2)))
        assert folder.reliability(1, 0, (4, 4)) is None

    @pytest.mark.parametrize("mark", [np.nan, np.inf, -np.inf, 1.7e9, -1e10])
    def test_unknown_flow_is_zero_and_not_visible(self, tmp_path: Path, mark: float) -> None:
        flow = np.full((4, 8, 2), 3.0, np.float32)
        flow[:, :3, 1] = mark
        write_flo(tmp_path / "forward_1_2.flo", flow)
        folder = FloFolder(tmp_path)
        read, visibility = folder.read(0, 1, (4, 8)), folder.reliability(0, 1, (4, 8))
        assert read is not None
        assert visibility is not None
        assert (read[:, :3] == 0).all()
        assert (read[:, 3:] == 3).all()
        assert np.array_equal(visibility, np.repeat(np.float32([[0, 0, 0, 1, 1, 1, 1, 1]]), 4, 0))
        smaller, visibility = folder.read(0, 1, (2, 4)), folder.reliability(0, 1, (2, 4))
        assert smaller is not None
        assert visibility is not None
        assert np.allclose(smaller[0], [[0, 0], [1.5, 1.5], [1.5, 1.5], [1.5, 1.5]]), "unknown vectors are not averaged"
        assert np.allclose(visibility[0], [0, 0.5, 1, 1])

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"", "no Middlebury"),
            (b"PIEH", "no Middlebury"),
            (b"PIEG" + struct.pack("<ii", 1, 1) + bytes(8), "no Middlebury"),
            (b"PIEH" + struct.pack("<ii", 2, 2) + bytes(31), "has 31 bytes"),
            (b"PIEH" + struct.pack("<ii", 2, 2) + bytes(33), "has 33 bytes"),
            (b"PIEH" + struct.pack("<ii", 0, 2), "claims 0×2"),
            (b"PIEH" + struct.pack("<ii", -2, -2) + bytes(32), "claims -2×-2"),
            (b"PIEH" + struct.pack("<ii", 2**31 - 1, 2**31 - 1), "claims"),
            (b"PIEH" + struct.pack("<ii", 16000, 16000), "cut off"),
        ],
    )
    def test_hostile_files(self, tmp_path: Path, content: bytes, message: str) -> None:
        (tmp_path / "backward_2_1.flo").write_bytes(content)
        with pytest.raises(InputError, match=message) as caught:
            FloFolder(tmp_path).read(1, 0, (4, 4))
        assert "backward_2_1.flo" in str(caught.value)

    @given(st.binary(max_size=60))
    @settings(max_examples=50, deadline=None)
    def test_any_bytes_are_a_flow_or_an_error(self, tmp_path_factory: pytest.TempPathFactory, tail: bytes) -> None:
        path = tmp_path_factory.mktemp("flo") / "a.flo"
        path.write_bytes(b"PIEH" + tail)
        try:
            flow, _ = read_flo(path)
        except InputError:
            return
        assert np.isfinite(flow).all()

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"P5 100 100 255\nshort", "has 5 bytes"),
            (b"P5 2 1 255\nlong", "has 4 bytes"),
            (b"P5 0 4 255\n", "claims 0×4"),
            (b"P5 99999999 99999999 255\n", "claims"),
            (b"P5 2 1 0\n..", "no binary"),
            (b"P5 " + b"9" * 5000, "no binary"),
            (b"P2 1 1 255\n7", "no binary"),
            (b"", "no binary"),
        ],
    )
    def test_a_hostile_certainty(self, tmp_path: Path, content: bytes, message: str) -> None:
        (tmp_path / "reliable_2_1.pgm").write_bytes(content)
        with pytest.raises(InputError, match=message) as caught:
            FloFolder(tmp_path).reliability(1, 0, (4, 4))
        assert "reliable_2_1.pgm" in str(caught.value)

    @pytest.mark.parametrize(
        "content",
        [b"P5 2 1 255\n\xff\x00", b"P5\n# by hand\n2 1\n# white\n65535\n\xff\xff\x00\x00", b"P5 2 1 1 \x01\x00"],
    )
    def test_kinds_of_certainty(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "reliable_1_2.pgm").write_bytes(content)
        visibility = FloFolder(tmp_path).reliability(0, 1, (1, 2))
        assert visibility is not None
        assert visibility.tolist() == [[1, 0]]

    def test_a_missing_file(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="cannot be read"):
            read_flo(tmp_path / "none.flo")
