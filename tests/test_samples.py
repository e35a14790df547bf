"""The samples are what they claim to be, and the flow and occlusion of the footage are true.

Other tests stand on `samples.scenes`; here it is held against the pictures themselves: a frame that is brought back
along the flow must be the frame it came from, wherever the mask says that it can be seen.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from samples import make_samples, scenes, shots
from samples.painting import PASSES, paint
from samples.scenery import landscape
from samples.scenes import Cut, Dissolve, Floats, Footage, Layer, Scene, affine, opaque, pixel_grid
from samples.soundtrack import SAMPLE_RATE, soundtrack

SAMPLES = Path(make_samples.__file__).parent
SIZE = (48, 64)
SEED = 3
MOVING: tuple[Callable[..., Scene], ...] = (scenes.pan, scenes.zoom, scenes.rotation, scenes.occluder)
READY_MADE: tuple[Callable[..., Footage], ...] = (*MOVING, scenes.still, scenes.cut, scenes.dissolve)


@pytest.fixture(scope="module")
def clip() -> Cut:
    return shots.clip(make_samples.CLIP_SEED)


@pytest.fixture(scope="module")
def clip_frames(clip: Cut) -> NDArray[np.uint8]:
    return np.stack([clip.frame(t) for t in range(clip.frame_count)])


@pytest.fixture(scope="module")
def decoded_frames() -> NDArray[np.uint8]:
    with av.open(str(SAMPLES / "clip.mp4")) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def brought_back(frame: NDArray[np.uint8], flow: Floats) -> Floats:
    """Frame b on the grid of frame a: sampled at x + flow(a, b)."""
    x, y = pixel_grid(frame.shape[:2])
    return cv2.remap(
        frame.astype(np.float32),
        (x + flow[..., 0]).astype(np.float32),
        (y + flow[..., 1]).astype(np.float32),
        cv2.INTER_CUBIC,
        borderMode=cv2.BORDER_REFLECT_101,
    )


def errors(footage: Footage, a: int, b: int, flow: Floats) -> Floats:
    """HxW mean over the channels of |frame b brought back - frame a|, in levels of 255."""
    return np.abs(brought_back(footage.frame(b), flow) - footage.frame(a)).mean(axis=2)


def mixed(scene: Scene, t: int) -> NDArray[np.bool_]:
    """Pixels near the outline of a layer: colours of two layers with two motions meet there, under any truth."""
    outline = cv2.morphologyEx(scene.owner(t).astype(np.uint8), cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 0
    return widened(outline, 2)


def widened(mask: NDArray[np.bool_], pixels: int) -> NDArray[np.bool_]:
    side = 2 * pixels + 1
    return cv2.dilate(mask.astype(np.uint8), np.ones((side, side), np.uint8)) > 0


# --- the truth about motion -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", MOVING)
@pytest.mark.parametrize(("a", "b"), [(2, 6), (6, 2), (4, 5)])
def test_a_frame_brought_back_along_the_flow_is_the_frame_it_came_from(
    make: Callable[..., Scene], a: int, b: int
) -> None:
    scene = make(SIZE, 9, SEED)
    seen = ~scene.occluded(a, b)
    assert seen.mean() > 0.5
    error = errors(scene, a, b, scene.flow(a, b))[seen & ~widened(~seen, 1)]
    # Two bicubic interpolations of texture with edges leave about one level; a tenth of a pixel of flow, twice that.
    assert error.mean() < 1.6
    assert np.percentile(error, 98) < 13.0


@pytest.mark.parametrize("make", MOVING)
def test_the_wrong_sign_and_the_wrong_order_of_the_axes_are_told_from_the_truth(make: Callable[..., Scene]) -> None:
    scene = make(SIZE, 9, SEED)
    flow, seen = scene.flow(2, 6), ~scene.occluded(2, 6)
    true = errors(scene, 2, 6, flow)[seen].mean()
    for wrong in (-flow, flow[..., ::-1], np.zeros_like(flow)):
        assert errors(scene, 2, 6, wrong)[seen].mean() > 4.0 * true


def test_the_flow_of_a_pan_is_its_velocity() -> None:
    scene = scenes.pan(SIZE, 9, SEED, velocity=(1.5, -0.25))
    np.testing.assert_allclose(scene.flow(2, 6), np.broadcast_to([6.0, -1.0], (*SIZE, 2)), atol=1e-5)
    np.testing.assert_allclose(scene.flow(6, 2), np.broadcast_to([-6.0, 1.0], (*SIZE, 2)), atol=1e-5)


def test_a_zoom_flows_away_from_the_centre_and_a_rotation_around_it() -> None:
    x, y = pixel_grid(SIZE)
    from_centre = np.stack([x - (SIZE[1] - 1) / 2.0, y - (SIZE[0] - 1) / 2.0], axis=2)
    np.testing.assert_allclose(scenes.zoom(SIZE, 9, SEED, rate=1.5).flow(0, 1), 0.5 * from_centre, atol=1e-4)
    quarter = np.stack([-from_centre[..., 1], from_centre[..., 0]], axis=2)
    turned = scenes.rotation(SIZE, 9, SEED, degrees=90.0).flow(0, 1)
    # Clockwise on the screen: what is right of the centre goes down.
    np.testing.assert_allclose(turned, quarter - from_centre, atol=1e-4)


def test_the_object_and_the_ground_move_each_by_its_own_velocity() -> None:
    scene = scenes.occluder(SIZE, 9, SEED, velocity=(2.0, 0.5), ground_velocity=(-1.0, 0.25))
    owner, flow = scene.owner(4), scene.flow(4, 6)
    assert owner[SIZE[0] // 2, SIZE[1] // 2] == 1
    np.testing.assert_allclose(flow[owner == 1], np.broadcast_to([4.0, 1.0], (np.sum(owner == 1), 2)), atol=1e-5)
    np.testing.assert_allclose(flow[owner == 0], np.broadcast_to([-2.0, 0.5], (np.sum(owner == 0), 2)), atol=1e-5)


@pytest.mark.parametrize("make", MOVING)
def test_there_and_back_again(make: Callable[..., Scene]) -> None:
    scene = make(SIZE, 9, SEED)
    there, back = scene.flow(1, 7), scene.flow(7, 1)
    x, y = pixel_grid(SIZE)
    at = (x + there[..., 0]).astype(np.float32), (y + there[..., 1]).astype(np.float32)
    # One channel at a time: for two, OpenCV rounds the place to 1/32 pixel.
    back_there = [cv2.remap(part, *at, cv2.INTER_LINEAR) for part in np.ascontiguousarray(back.transpose(2, 0, 1))]
    returned = there + np.stack(back_there, axis=2)
    clear = ~scene.occluded(1, 7) & ~mixed(scene, 1)
    clear &= cv2.remap(mixed(scene, 7).astype(np.float32), *at, cv2.INTER_LINEAR) == 0.0
    assert clear.mean() > 0.3
    np.testing.assert_allclose(returned[clear], 0.0, atol=1e-3)


@pytest.mark.parametrize("make", READY_MADE)
def test_nothing_moves_or_hides_between_a_frame_and_itself(make: Callable[..., Footage]) -> None:
    footage = make(SIZE, 9, SEED)
    np.testing.assert_allclose(footage.flow(1, 1), 0.0, atol=1e-6)
    assert not footage.occluded(1, 1).any()


# --- the truth about occlusion ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("a", "b"), [(3, 5), (5, 3), (0, 8)])
def test_the_mask_covers_the_pixels_that_cannot_be_brought_back(a: int, b: int) -> None:
    scene = scenes.occluder(SIZE, 9, SEED)
    flow, occluded = scene.flow(a, b), scene.occluded(a, b)
    error = errors(scene, a, b, flow)
    failed = error > 25.0
    assert not (failed & ~widened(occluded, 2) & ~mixed(scene, a)).any()

    x, y = pixel_grid(SIZE)
    inside = (x + flow[..., 0] > 0) & (x + flow[..., 0] < SIZE[1] - 1)
    inside &= (y + flow[..., 1] > 0) & (y + flow[..., 1] < SIZE[0] - 1)
    covered = occluded & inside
    # The strip that the object moves onto, not the whole picture.
    assert 0.01 < covered.mean() < 0.25
    assert error[covered].mean() > 10.0 * error[~occluded].mean()
    assert set(np.unique(scene.owner(a)[covered])) == {0}


def test_what_leaves_the_frame_is_occluded() -> None:
    scene = scenes.pan(SIZE, 9, SEED, velocity=(3.0, -2.0))
    expected = np.ones(SIZE, np.bool_)
    expected[2:, :-3] = False
    np.testing.assert_array_equal(scene.occluded(4, 5), expected)


def test_a_still_camera_loses_no_pixel() -> None:
    assert not scenes.still(SIZE, 9, SEED).occluded(0, 8).any()


# --- noise, cut and dissolve ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sigma", [1.0, 2.0, 5.0])
def test_the_noise_of_a_still_shot_has_the_stated_strength(sigma: float) -> None:
    scene = scenes.still(SIZE, 16, SEED, sigma=sigma)
    frames = np.stack([scene.frame(t) for t in range(16)]).astype(np.float64)
    # Rounding to whole levels adds the variance of a uniform error, 1/12.
    assert np.sqrt(frames.var(axis=0, ddof=1).mean()) == pytest.approx(np.sqrt(sigma**2 + 1.0 / 12.0), rel=0.02)
    assert np.abs(frames.mean(axis=0) - scene.layers[0].render(0, SIZE)[..., :3] * 255.0).mean() < 0.3 * sigma + 0.1


def test_noise_is_new_in_every_frame_and_the_same_whenever_a_frame_is_asked_for() -> None:
    scene = scenes.still(SIZE, 4, SEED, sigma=3.0)
    clean = scene.layers[0].render(0, SIZE)[..., :3]
    first, second = (scene.light(t) - clean for t in (1, 2))
    assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 0.05
    np.testing.assert_array_equal(scene.frame(1), scenes.still(SIZE, 4, SEED, sigma=3.0).frame(1))
    assert not np.array_equal(scene.frame(1), scene.frame(2))


@pytest.mark.parametrize("cut_frame", [None, 3])
def test_a_cut_is_where_it_says(cut_frame: int | None) -> None:
    footage = scenes.cut(SIZE, 10, SEED, cut_frame=cut_frame)
    assert footage.frame_count == 10
    assert footage.cut_frame == (cut_frame or 5)
    frames = np.stack([footage.frame(t) for t in range(10)]).astype(np.float64)
    jumps = np.abs(np.diff(frames, axis=0)).mean(axis=(1, 2, 3))
    assert np.argmax(jumps) + 1 == footage.cut_frame
    assert np.sort(jumps)[-1] > 4.0 * np.sort(jumps)[-2]
    np.testing.assert_array_equal(footage.frame(footage.cut_frame), footage.second.frame(0))
    np.testing.assert_array_equal(footage.flow(8, 9), footage.second.flow(8 - footage.cut_frame, 9 - footage.cut_frame))


def test_a_dissolve_blends_linearly() -> None:
    footage = scenes.dissolve(SIZE, 12, SEED, blend=(4, 7))
    assert footage.frame_count == 12
    weights = [0.0] * 4 + [0.25, 0.5, 0.75] + [1.0] * 5
    for t, weight in enumerate(weights):
        first = footage.first.frame(t).astype(np.float64) if weight < 1.0 else 0.0
        second = footage.second.frame(t - 4).astype(np.float64) if weight > 0.0 else 0.0
        assert np.abs(footage.frame(t) - (first * (1.0 - weight) + second * weight)).max() <= 1.0


def test_flow_is_refused_where_it_is_undefined() -> None:
    cut = scenes.cut(SIZE, 10, SEED, cut_frame=5)
    dissolve = scenes.dissolve(SIZE, 12, SEED, blend=(4, 7))
    assert cut.flow(3, 4).shape == dissolve.flow(2, 3).shape == dissolve.flow(7, 8).shape == (*SIZE, 2)
    for footage, a, b in (
        (cut, 4, 5),
        (cut, 9, 0),
        (dissolve, 3, 4),
        (dissolve, 5, 6),
        (dissolve, 5, 5),
        (dissolve, 3, 7),
    ):
        for question in (footage.flow, footage.occluded):
            with pytest.raises(ValueError, match=f"undefined.*got frames {a} and {b}"):
                question(a, b)


@pytest.mark.parametrize("make", READY_MADE)
def test_frames_outside_the_footage_are_refused(make: Callable[..., Footage]) -> None:
    footage = make(SIZE, 9, SEED)
    assert footage.frame_count == 9
    for t in (-1, 9):
        with pytest.raises(ValueError, match="outside"):
            footage.frame(t)
    for a, b in ((8, 9), (0, -1)):
        with pytest.raises(ValueError, match=r"outside|undefined"):
            footage.flow(a, b)


def test_scenes_that_would_leave_pixels_without_an_owner_are_refused() -> None:
    texture = opaque(np.full((8, 8, 3), 0.5, np.float32))
    with pytest.raises(ValueError, match="rearmost"):
        Scene((8, 8), 2, [Layer("bounded", texture, lambda t: affine())])
    pan = scenes.pan(SIZE, 4, SEED)
    with pytest.raises(ValueError, match="blend"):
        Dissolve(pan, pan, 2, 5)


@pytest.mark.parametrize("make", READY_MADE)
def test_the_same_seed_gives_the_same_frames_and_another_gives_others(make: Callable[..., Footage]) -> None:
    one, same, other = make(SIZE, 9, SEED), make(SIZE, 9, SEED), make(SIZE, 9, SEED + 7)
    assert one.frame(4).shape == (*SIZE, 3)
    assert one.frame(4).dtype == np.uint8
    np.testing.assert_array_equal(one.frame(4), same.frame(4))
    assert not np.array_equal(one.frame(4), other.frame(4))


# --- the files --------------------------------------------------------------------------------------------------------


def test_the_style_is_a_small_file_with_strong_colours_and_strokes_of_every_scale() -> None:
    path = SAMPLES / "style.png"
    assert path.stat().st_size < 1_000_000
    picture = np.asarray(Image.open(path))
    assert picture.shape == (*make_samples.STYLE_SIZE, 3)
    saturation = cv2.cvtColor(picture, cv2.COLOR_RGB2HSV)[..., 1]
    assert saturation.mean() > 110
    level = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32)
    for _ in range(5):
        coarser = cv2.GaussianBlur(level, (0, 0), 1.6)
        assert np.abs(level - coarser).mean() > 3.0
        level = np.ascontiguousarray(coarser[::2, ::2])


def test_the_landscape_is_a_small_file_of_the_stated_size() -> None:
    path = SAMPLES / "landscape.jpg"
    assert path.stat().st_size < 400_000
    with Image.open(path) as picture:
        assert picture.size == make_samples.LANDSCAPE_SIZE[::-1]
        assert np.asarray(picture).std() > 40.0


def test_pictures_are_made_alike_twice() -> None:
    np.testing.assert_array_equal(*(paint((64, 80), 1, passes=PASSES[:3]) for _ in range(2)))
    small = [landscape((48, 72), 1, terrain_resolution=192) for _ in range(2)]
    np.testing.assert_array_equal(*small)
    assert small[0].std() > 20.0


def test_the_clip_has_the_stated_size_rate_length_and_tags() -> None:
    path = SAMPLES / "clip.mp4"
    assert path.stat().st_size < 600_000
    with av.open(str(path)) as container:
        video, sound = container.streams.video[0], container.streams.audio[0]
        assert (video.height, video.width) == shots.CLIP_SIZE
        assert video.average_rate == make_samples.RATE == 24
        assert video.frames == shots.FIRST_COUNT + shots.SECOND_COUNT == 48
        codec = video.codec_context
        assert (codec.name, codec.pix_fmt) == ("h264", "yuv420p")
        bt709, limited = 1, 1
        assert (codec.color_primaries, codec.color_trc, codec.colorspace) == (bt709, bt709, bt709)
        assert codec.color_range == limited
        assert (sound.codec_context.name, sound.rate, sound.layout.name) == ("aac", SAMPLE_RATE, "stereo")
        times = [frame.pts * frame.time_base for frame in container.decode(video=0)]
    assert times == [Fraction(t, 24) for t in range(48)]
    content = path.read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")


def test_the_clip_on_disk_shows_the_frames_of_its_scene(
    decoded_frames: NDArray[np.uint8], clip_frames: NDArray[np.uint8]
) -> None:
    difference = np.abs(decoded_frames.astype(np.float32) - clip_frames)
    # What the codec loses, most of it to colour of half the resolution.
    assert difference.mean(axis=(1, 2, 3)).max() < 4.0
    # The fast conversion to RGB rounds down by about a level; the matrix of BT.601 would take four from green.
    assert np.abs((decoded_frames.astype(np.float32) - clip_frames).mean(axis=(0, 1, 2))).max() < 2.0


def test_the_clip_is_made_alike_twice(clip: Cut, clip_frames: NDArray[np.uint8]) -> None:
    again = shots.clip(make_samples.CLIP_SEED)
    for t in (0, 13, clip.cut_frame - 1, clip.cut_frame, clip.frame_count - 1):
        np.testing.assert_array_equal(again.frame(t), clip_frames[t])


def test_the_cut_of_the_clip_stands_out(clip: Cut, decoded_frames: NDArray[np.uint8]) -> None:
    jumps = np.abs(np.diff(decoded_frames.astype(np.float32), axis=0)).mean(axis=(1, 2, 3))
    assert np.argmax(jumps) + 1 == clip.cut_frame == 26
    assert np.sort(jumps)[-1] > 3.0 * np.sort(jumps)[-2]


@pytest.mark.parametrize(("a", "b"), [(11, 12), (12, 8), (36, 37), (40, 36)])
def test_the_flow_of_the_clip_is_true(clip: Cut, a: int, b: int) -> None:
    scene, start = (clip.first, 0) if a < clip.cut_frame else (clip.second, clip.cut_frame)
    assert isinstance(scene, Scene)
    flow = clip.flow(a, b)
    clear = ~clip.occluded(a, b) & ~mixed(scene, a - start)
    near_an_outline = mixed(scene, b - start).astype(np.float32)
    clear &= brought_back(np.dstack([near_an_outline] * 3).astype(np.uint8), flow)[..., 0] == 0.0
    assert clear.mean() > 0.5
    true = errors(clip, a, b, flow)[clear].mean()
    assert true < 2.0
    assert errors(clip, a, b, -flow)[clear].mean() > 3.0 * true


@pytest.mark.parametrize(("name", "clear", "hidden", "a", "b"), [("balloon", 0, 13, 8, 10), ("boat", 26, 41, 36, 38)])
def test_in_each_shot_of_the_clip_an_object_passes_behind_another(
    clip: Cut, name: str, clear: int, hidden: int, a: int, b: int
) -> None:
    scene, start = (clip.first, 0) if clear < clip.cut_frame else (clip.second, clip.cut_frame)
    assert isinstance(scene, Scene)
    index = [layer.name for layer in scene.layers].index(name)
    assert np.sum(scene.owner(clear - start) == index) > 1000
    assert np.sum(scene.owner(hidden - start) == index) < 0.5 * np.sum(scene.owner(clear - start) == index)
    assert np.sum(clip.occluded(a, b) & (scene.owner(a - start) == index)) > 50


def test_the_sound_is_heard_and_changes_at_the_cut() -> None:
    with av.open(str(SAMPLES / "clip.mp4")) as container:
        blocks = [frame.to_ndarray() for frame in container.decode(audio=0)]
    sound = np.concatenate(blocks, axis=1)
    assert sound.shape[1] / SAMPLE_RATE == pytest.approx(2.0, abs=0.05)
    assert np.sqrt((sound**2).mean()) > 0.03
    assert not np.array_equal(sound[0], sound[1])
    cut = round(shots.FIRST_COUNT / 24 * SAMPLE_RATE)
    low_shares = []
    for part in (sound[0, cut - 24_000 : cut - 2_000], sound[0, cut + 2_000 : cut + 24_000]):
        power = np.abs(np.fft.rfft(part)) ** 2
        low = np.fft.rfftfreq(part.size, 1.0 / SAMPLE_RATE) < 135.0
        low_shares.append(power[low].sum() / power.sum())
    # The chord goes from D major above the lake to B minor, an octave lower, by the sea.
    assert low_shares[1] > 5.0 * low_shares[0]


def test_encoding_gives_the_same_bytes_twice(tmp_path: Path) -> None:
    footage = scenes.pan(SIZE, 6, SEED)
    for name in ("one.mp4", "two.mp4"):
        frames = (footage.frame(t) for t in range(6))
        make_samples.encode(tmp_path / name, frames, SIZE, Fraction(24), soundtrack(0.25, 0.125, 1))
    assert (tmp_path / "one.mp4").read_bytes() == (tmp_path / "two.mp4").read_bytes()


def test_encoding_reports_that_nothing_was_written(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    footage = scenes.pan(SIZE, 2, SEED)
    nowhere = tmp_path / "missing" / "clip.mp4"
    with pytest.raises(RuntimeError, match="did not write"):
        make_samples.encode(nowhere, (footage.frame(t) for t in range(2)), SIZE, Fraction(24), soundtrack(0.1, 0.05, 1))
    assert "missing" in capfd.readouterr().err
