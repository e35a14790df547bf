"""Shots cover their range; cuts, fades and dissolves are found where films were joined and nowhere else."""

import itertools
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scenedetect import FrameTimecode
from scenedetect.output import write_scene_list

from impasto.errors import SettingsError
from impasto.shots.boundaries import Boundary, Cuts, Shot, parse_cuts, read_cuts, shots_from_cuts
from impasto.shots.detector import CutDetector, cuts_from_scores
from samples import scenes
from tests.support.seeds import numpy_stream

SINTEL = Path(__file__).resolve().parents[1].parent / "shared" / "data" / "sintel"


def detect_boundaries(images: Iterable[np.ndarray]) -> list[Boundary]:
    """The boundaries in a sequence of `H×W×3` uint8 RGB images, counted from 0."""
    detector = CutDetector()
    for index, image in enumerate(images):
        detector.feed(index, image)
    return detector.finish_boundaries()


def detect_cuts(images: Iterable[np.ndarray]) -> list[int]:
    """The first frames of new shots."""
    return [boundary.index for boundary in detect_boundaries(images)]


def sintel(name: str, first: int = 1, last: int = 99) -> list[np.ndarray]:
    """Frames `first` to `last` of a clip of Sintel, 320 pixels wide."""
    folder = SINTEL / name
    if not folder.is_dir():
        pytest.skip(f"the frames of Sintel are not at {folder}")
    paths = sorted(folder.glob("frame_*.png"))[first - 1 : last]
    return [np.asarray(Image.open(path).convert("RGB").reduce(3)) for path in paths]


def scenery(seed: int, height: int = 90, width: int = 900) -> np.ndarray:
    """A wide picture with structure at many scales and its own colours, to pan over or cut to."""
    generator = numpy_stream(seed)
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


# Fades and dissolves


SIZE = (64, 96)


def pictures(footage: scenes.Footage) -> list[np.ndarray]:
    return [footage.frame(t) for t in range(footage.frame_count)]


def lit(frames: list[np.ndarray], light: Callable[[int], float], tone: float = 0.0) -> list[np.ndarray]:
    """Frame `t` with the weight `light(t)`, the rest of it black or white, and a little grain."""
    generator = numpy_stream(len(frames))
    mixed = [frame * light(t) + tone * (1 - light(t)) for t, frame in enumerate(frames)]
    grain = [generator.normal(0, 1, frame.shape) for frame in frames]
    return [np.rint(np.clip(f + g, 0, 255)).astype(np.uint8) for f, g in zip(mixed, grain, strict=True)]


def fading(lengths: tuple[int, int, int], tone: float = 0.0, seed: int = 0) -> list[np.ndarray]:
    """20 frames of a pan, a fade out, a flat part, a fade in and 20 frames of a zoom, of the `lengths` given."""
    out, flat, into = lengths
    before = lit(pictures(scenes.pan(SIZE, 20 + out, seed)), lambda t: min(1.0, 1 - (t - 19) / (out + 1)), tone)
    after = lit(pictures(scenes.zoom(SIZE, into + 20, seed + 50)), lambda t: min(1.0, (t + 1) / (into + 1)), tone)
    return before + [np.full((*SIZE, 3), int(tone), np.uint8)] * flat + after


@pytest.mark.parametrize("tone", [0, 255])
@pytest.mark.parametrize("lengths", [(8, 6, 8), (12, 1, 12), (24, 12, 5), (4, 9, 20), (3, 4, 3)])
def test_a_fade_is_one_boundary_in_the_middle_of_the_black_or_white(lengths: tuple[int, int, int], tone: int) -> None:
    out, flat, into = lengths
    (found,) = detect_boundaries(fading(lengths, tone, seed=sum(lengths)))
    assert found.kind == "fade"
    assert abs(found.index - (20 + out + flat / 2)) <= 2
    assert abs(found.first - 20) <= 3
    assert abs(found.last - (19 + out + flat + into)) <= 3


@pytest.mark.parametrize("black", [0, 1, 9])
def test_a_film_that_fades_in_and_out_has_no_boundary_there(black: int) -> None:
    frames = pictures(scenes.pan(SIZE, 44, 3))
    dark = [np.zeros((*SIZE, 3), np.uint8)] * black
    assert detect_boundaries(dark + lit(frames, lambda t: min(1.0, t / 10, (43 - t) / 10)) + dark) == []
    assert detect_boundaries([np.zeros((*SIZE, 3), np.uint8)] * 12) == []


def test_black_between_hard_cuts_keeps_both_cuts() -> None:
    first, second = pictures(scenes.pan(SIZE, 15, 1)), pictures(scenes.zoom(SIZE, 15, 2))
    frames = first + [np.zeros((*SIZE, 3), np.uint8)] * 10 + second
    assert detect_boundaries(frames) == [Boundary(15, "cut", 15, 15), Boundary(25, "cut", 25, 25)]


def test_a_fade_out_before_a_hard_cut_is_one_boundary_at_the_cut() -> None:
    frames = fading((12, 5, 0), seed=4)
    assert detect_boundaries(frames) == [Boundary(37, "cut", 37, 37)]


def test_light_that_is_dimmed_and_comes_back_is_no_fade() -> None:
    frames = pictures(scenes.pan(SIZE, 44, 3))
    assert detect_boundaries(lit(frames, lambda t: 0.1 + 0.9 * min(1.0, abs(t - 22) / 14))) == []


def test_a_flash_is_no_fade() -> None:
    frames = pictures(scenes.pan(SIZE, 40, 3))
    flash = lit(frames, lambda t: 1.0 if t < 15 else 1 - 0.85 ** max(0, t - 17), 255)
    assert [found.kind for found in detect_boundaries(flash) if found.kind != "cut"] == []


@pytest.mark.sweep(5)
@pytest.mark.parametrize("length", [4, 6, 9, 12, 16, 24])
@pytest.mark.parametrize("seed", [21, 22])
def test_a_dissolve_is_one_boundary_in_its_middle(length: int, seed: int) -> None:
    start = 8 + seed % 5 + length // 2
    footage = scenes.dissolve(SIZE, start + length + 14, seed, blend=(start, start + length))
    (found,) = detect_boundaries(pictures(footage))
    assert found.kind == "dissolve"
    assert abs(found.index - (start + length / 2)) <= 2
    assert found.first <= found.index <= found.last
    assert start - 3 <= found.first
    assert found.last <= start + length + 2


@pytest.mark.parametrize("seed", [31, 32, 33])
def test_a_dissolve_between_scenes_that_zoom_and_stand_still(seed: int) -> None:
    first, second = scenes.zoom(SIZE, 28, seed, rate=1.006), scenes.still(SIZE, 30, seed + 7)
    (found,) = detect_boundaries(pictures(scenes.Dissolve(first, second, 18, 28)))
    assert found.kind == "dissolve"
    assert abs(found.index - 23) <= 2


def test_cut_fade_and_dissolve_in_one_film() -> None:
    dissolve = pictures(scenes.dissolve(SIZE, 50, 41, blend=(20, 30)))
    frames = dissolve + fading((8, 5, 8), seed=43)
    found = detect_boundaries(frames)
    assert [boundary.kind for boundary in found] == ["dissolve", "cut", "fade"]
    assert [boundary.index for boundary in found] == detect_cuts(frames)
    assert found[1].index == 50
    assert len(shots_from_cuts(len(frames), detect_cuts(frames))) == 4


def test_a_dissolve_does_not_move_a_hard_cut_near_it() -> None:
    dissolve = pictures(scenes.dissolve(SIZE, 38, 41, blend=(18, 26)))
    frames = dissolve + pictures(scenes.pan(SIZE, 20, 77))
    dissolved, cut = detect_boundaries(frames)
    assert dissolved.kind == "dissolve"
    assert abs(dissolved.index - 22) <= 2
    assert cut == Boundary(38, "cut", 38, 38)


def giant(seed: int) -> scenes.Scene:
    """An object larger than the picture that passes in front of it."""
    ground = scenes.pan(SIZE, 50, seed, velocity=(0.4, 0.0)).layers[0]
    texture = scenes.blob((110, 120), numpy_stream(seed))
    layer = scenes.Layer("object", texture, lambda t: scenes.affine(shift=(-150 + 5 * t, -20)))
    return scenes.Scene(SIZE, 50, [ground, layer])


ONE_SHOT: dict[str, Callable[[int], scenes.Footage]] = {
    "pan": lambda seed: scenes.pan(SIZE, 50, seed),
    "fast pan": lambda seed: scenes.pan(SIZE, 40, seed, velocity=(8.0, 3.0)),
    "zoom in": lambda seed: scenes.zoom(SIZE, 40, seed, rate=1.04),
    "zoom out": lambda seed: scenes.zoom(SIZE, 40, seed, rate=0.97),
    "rotation": lambda seed: scenes.rotation(SIZE, 50, seed, degrees=3.0),
    "grain": lambda seed: scenes.still(SIZE, 50, seed, sigma=6.0),
    "object": lambda seed: scenes.occluder(SIZE, 50, seed),
    "object near the camera": giant,
}


@pytest.mark.parametrize("kind", ONE_SHOT)
def test_nothing_in_one_shot_is_a_boundary(kind: str) -> None:
    for seed in (51, 52):
        assert detect_boundaries(pictures(ONE_SHOT[kind](seed))) == []


@pytest.mark.parametrize("change", ["brighter", "a lamp", "a shadow passes", "out of focus and back", "pulsating"])
def test_nothing_in_a_change_of_light_or_focus_is_a_boundary(change: str) -> None:
    across = np.arange(SIZE[1])[None, :, None]
    for seed, footage in (
        (61, scenes.pan(SIZE, 50, 61)),
        (62, scenes.still(SIZE, 50, 62)),
        (4, scenes.pan(SIZE, 50, 4)),
    ):
        frames = []
        for t, frame in enumerate(pictures(footage)):
            rise = min(1.0, max(0.0, (t - 18) / 14))
            light = {
                "brighter": np.array([0.3 + 0.7 * rise, 0.5 + 0.5 * rise, 1 - 0.4 * rise]),
                "a lamp": 0.25 + 0.75 * rise * across / SIZE[1],
                "a shadow passes": 1 - 0.8 * np.exp(-(((across + 40 - 4 * t) / 18.0) ** 2)),
                "pulsating": np.array(0.6 + 0.4 * np.cos(t / 4)),
            }.get(change, np.array(1.0))
            blur = 6 * max(0.0, 1 - abs(t - 25) / 9) if change == "out of focus and back" else 0.0
            frames.append(np.rint(cv2.GaussianBlur(frame, (0, 0), 0.1 + blur) * light).astype(np.uint8))
        assert detect_boundaries(frames) == [], f"seed {seed}"


def test_the_sample_clip_has_its_hard_cut_only() -> None:
    with av.open(str(Path(__file__).resolve().parents[1] / "samples" / "clip.mp4")) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert detect_boundaries(frames) == [Boundary(26, "cut", 26, 26)]


def test_fast_motion_forth_and_back_has_no_boundary() -> None:
    frames = sintel("ambush_4")
    assert detect_boundaries(frames + frames[::-1]) == []
    assert detect_boundaries([frame for frame in frames for _ in range(2)]) == []


def test_the_memory_of_the_detector_is_bounded() -> None:
    detector = CutDetector()
    frames = pictures(scenes.pan((18, 32), 20, 5))
    for index in range(80):
        detector.feed(index, frames[index % 20])
        assert len(detector.dissolves) <= detector.dissolves.memory
    assert len(detector.dissolves) == detector.dissolves.memory < 70


def test_boundaries_do_not_depend_on_the_first_index_nor_on_when_they_are_asked_for() -> None:
    frames = pictures(scenes.dissolve(SIZE, 44, 21, blend=(18, 28)))
    detector = CutDetector()
    for index, frame in enumerate(frames, start=100):
        detector.feed(index, frame)
        detector.finish()
    shifted = [Boundary(b.index + 100, b.kind, b.first + 100, b.last + 100) for b in detect_boundaries(frames)]
    assert detector.finish_boundaries() == shifted
    assert detector.finish() == [boundary.index for boundary in shifted] != []


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (9, 400), (300, 5)])
def test_frames_of_any_size_are_taken(size: tuple[int, int]) -> None:
    generator = numpy_stream(0)
    detect_boundaries(generator.integers(0, 255, (14, *size, 3), dtype=np.uint8))


# Cuts that are given


@pytest.mark.parametrize(
    ("text", "cuts"),
    [
        ("auto", "auto"),
        (" None ", "none"),
        ("120,240,512", (120, 240, 512)),
        ("240, 120,240,", (120, 240)),
        ("0", (0,)),
    ],
)
def test_cuts_are_parsed(text: str, cuts: Cuts) -> None:
    assert parse_cuts(text) == cuts


@pytest.mark.parametrize("text", ["", ",", "-3", "12,-4", "12,x", "1.5", "nowhere.csv", "0x10", "²", "x" * 5000])
def test_what_is_no_cuts_is_said_in_one_line(text: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parse_cuts(text)
    message = str(caught.value)
    assert "\n" not in message
    assert "120,240" in message
    assert any(part in message for part in (repr(text), text.rpartition(",")[2] or repr(text)))


def test_cuts_are_read_from_a_file_of_one_a_line(tmp_path: Path) -> None:
    path = tmp_path / "cuts.txt"
    path.write_text("# first frames\n120\n\n  7 # the sea\n120\n", encoding="utf-8")
    assert read_cuts(path) == parse_cuts(str(path)) == (7, 120)
    path.write_text("12\n-3\n", encoding="utf-8")
    with pytest.raises(SettingsError, match=r"cuts\.txt: '-3' is no frame"):
        read_cuts(path)


@pytest.mark.parametrize("include_cut_list", [True, False])
def test_cuts_are_read_from_the_list_of_scenes_that_scenedetect_writes(tmp_path: Path, include_cut_list: bool) -> None:
    edges = [FrameTimecode(frame, fps=24.0) for frame in (0, 120, 240, 300)]
    path = tmp_path / "film-Scenes.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        write_scene_list(file, list(itertools.pairwise(edges)), include_cut_list=include_cut_list)
    assert read_cuts(path) == (120, 240)


def test_a_file_that_cannot_be_read_is_said_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "cuts.txt"
    for content in (None, b"\xff\xfe\x00"):
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(SettingsError, match=r"cannot be read|is not readable as text") as caught:
            read_cuts(path)
        assert "\n" not in str(caught.value)
