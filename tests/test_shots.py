"""Shots cover their range; cuts are found where films were joined and nowhere else."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pipeline.shots import CutDetector, Shot, cuts_from_scores, detect_cuts, shots_from_cuts

SINTEL = Path(__file__).resolve().parents[1].parent / "shared" / "data" / "sintel"


def sintel(name: str, first: int = 1, last: int = 99) -> list[np.ndarray]:
    """Frames `first` to `last` of a clip of Sintel, 320 pixels wide."""
    folder = SINTEL / name
    if not folder.is_dir():
        pytest.skip(f"the frames of Sintel are not at {folder}")
    paths = sorted(folder.glob("frame_*.png"))[first - 1 : last]
    return [np.asarray(Image.open(path).convert("RGB").reduce(3)) for path in paths]


def scenery(seed: int, height: int = 90, width: int = 900) -> np.ndarray:
    """A wide picture with structure at many scales and its own colours, to pan over or cut to."""
    generator = np.random.default_rng(seed)
    total = np.zeros((height, width, 3))
    for cells in (4, 12, 40):
        small = generator.uniform(0, 1, (cells, cells * 4, 3)) * 255
        image = Image.fromarray(small.astype(np.uint8)).resize((width, height), Image.Resampling.BICUBIC)
        total += np.asarray(image, dtype=float) / 3
    tint = generator.uniform(0.35, 1, 3)
    return np.clip(total * tint, 0, 255).astype(np.uint8)


def pan(seed: int, frames: int, step: int, width: int = 160) -> list[np.ndarray]:
    """A camera that moves `step` pixels a frame over a scenery."""
    wide = scenery(seed)
    return [np.ascontiguousarray(wide[:, i * step : i * step + width]) for i in range(frames)]


@given(
    st.integers(0, 60),
    st.lists(st.integers(-5, 70), max_size=20),
    st.none() | st.tuples(st.integers(-5, 70), st.integers(-5, 70)),
)
def test_shots_cover_the_range_once_and_are_never_empty(
    frame_count: int, cuts: list[int], bounds: tuple[int, int] | None
) -> None:
    frame_range = None if bounds is None else range(*bounds)
    shots = shots_from_cuts(frame_count, cuts, frame_range)
    wanted = [i for i in range(frame_count) if frame_range is None or i in frame_range]
    assert [i for shot in shots for i in shot.frames] == wanted
    assert all(shot.frame_count >= 1 for shot in shots)
    assert {shot.start for shot in shots[1:]} == {cut for cut in cuts if cut in wanted[1:]}


def test_shots_by_example() -> None:
    assert shots_from_cuts(10, [7, 3]) == [Shot(0, 3), Shot(3, 7), Shot(7, 10)]
    assert shots_from_cuts(10, [3, 7], range(3, 8)) == [Shot(3, 7), Shot(7, 8)]
    assert shots_from_cuts(10, [3, 7], range(4, 6)) == [Shot(4, 6)]
    assert shots_from_cuts(0, [3]) == []
    with pytest.raises(ValueError, match="step 2"):
        shots_from_cuts(10, [], range(0, 10, 2))
    with pytest.raises(ValueError, match="holds none"):
        Shot(4, 4)


def test_scores() -> None:
    assert cuts_from_scores([]) == []
    assert cuts_from_scores([2, 2, 2, 20, 2, 2, 2]) == [4]
    assert cuts_from_scores([2, 2, 2, 14, 2, 2, 2]) == [], "too small a change"
    assert cuts_from_scores([2, 2, 50, 50, 50, 50, 2, 2]) == [], "motion that sets in and ends is no cut"
    assert cuts_from_scores([60, 2, 2, 2, 60]) == [1, 5], "one frame from each end"
    assert cuts_from_scores([2, 2, 30]) == [], "motion that sets in with the last frame"
    assert cuts_from_scores([30, 34, 57, 16, 15]) == [3], "a cut out of fast motion"
    assert cuts_from_scores([2, 2, 60, 2, 2, 60, 2, 2]) == [3, 6], "a shot of three frames"
    assert cuts_from_scores([2, 2, 60, 3, 70, 2, 2]) == [5], "a strobe: the stronger of two"


def test_fast_motion_without_a_cut_is_one_shot() -> None:
    assert detect_cuts(sintel("ambush_4")) == []


def test_no_part_of_fast_motion_has_a_cut() -> None:
    frames = sintel("ambush_4")
    for start in range(len(frames) - 2):
        assert detect_cuts(frames[start : start + 6]) == [], f"from frame {start}"


def test_the_join_of_two_clips_is_the_one_cut() -> None:
    market, cave = sintel("market_5"), sintel("cave_2")
    assert detect_cuts(market + cave) == [len(market)]
    assert detect_cuts(cave + market) == [len(cave)]


@pytest.mark.parametrize("before", [1, 2, 3, 8, 33])
@pytest.mark.parametrize("after", [1, 2, 4])
def test_a_cut_out_of_fast_motion_is_found_at_any_distance_from_the_ends(before: int, after: int) -> None:
    frames = sintel("ambush_4", 34 - before, 33) + sintel("market_5", 1, after)
    assert detect_cuts(frames) == [before]


@pytest.mark.parametrize("step", [0, 3, 12, 25])
def test_a_pan_is_no_cut_at_any_speed(step: int) -> None:
    assert detect_cuts(pan(1, 24, step)) == []


def test_a_pan_that_starts_and_stops_suddenly_is_no_cut() -> None:
    frames = pan(2, 20, 20)
    assert detect_cuts([frames[0]] * 10 + frames + [frames[-1]] * 10) == []


def test_cuts_between_pans() -> None:
    frames = pan(1, 12, 6) + pan(2, 3, 6) + pan(3, 12, 6)
    assert detect_cuts(frames) == [12, 15]


def test_the_first_index_is_kept_and_order_is_enforced() -> None:
    detector = CutDetector()
    assert detector.finish() == []
    for index, image in enumerate(pan(1, 6, 2) + pan(2, 6, 2), start=100):
        detector.feed(index, image)
    assert detector.finish() == [106]
    with pytest.raises(ValueError, match="frame 113 was fed where frame 112 was due"):
        detector.feed(113, pan(1, 1, 0)[0])
    with pytest.raises(ValueError, match="uint8"):
        detector.feed(112, np.zeros((4, 4, 3)))


def test_feeding_leaves_the_frame_as_it_was() -> None:
    image = scenery(4)
    copy = image.copy()
    CutDetector().feed(0, image)
    assert np.array_equal(image, copy)


def test_importing_shots_loads_nothing_heavy() -> None:
    code = "import sys, pipeline.shots; print([m for m in ('torch', 'cv2', 'scenedetect', 'av') if m in sys.modules])"
    root = Path(__file__).resolve().parents[1]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
