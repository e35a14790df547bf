"""Warps, masks and measures of stability against analytic values and footage whose motion is known.

A flow has a sign, an order of its components, a unit and a direction, and a mask has a polarity and a frame that it
belongs to. With any of them wrong a film still looks plausible, so every way to be wrong is named in `FLIPS`.
"""

import itertools
import math
from collections.abc import Callable
from typing import get_args

import cv2
import numpy as np
import pytest
import torch

from impasto.motion.flow import to_flow
from impasto.motion.occlusion import (
    color_agreement,
    consistency_mask,
    in_frame_mask,
    long_term_weights,
    motion_boundary_mask,
    visibility_mask,
)
from impasto.motion.static import STATIC_FAR, STATIC_NEAR, static_mask
from impasto.motion.warp import Border, Kernel, warp, warp_painting
from impasto.paint import initial
from impasto.paint.batch import paint_one
from impasto.paint.colors import color_statistics
from impasto.paint.encoder_weights import EncoderWeights
from impasto.paint.painter import Painter
from impasto.paint.stopping import StopRule
from impasto.paint.task import FrameTask, PaintedReference
from impasto.pictures import blur, to_array, to_tensor
from impasto.presets import load_settings
from impasto.report.stability import warping_error
from samples import scenes
from tests.support.seeds import numpy_stream, torch_stream

from .conftest import TINY

KERNELS: tuple[Kernel, ...] = get_args(Kernel)
BORDERS: tuple[Border, ...] = get_args(Border)
SIZE = (64, 96)

SCENES: dict[str, scenes.Scene] = {
    "pan": scenes.pan(SIZE, 5, 1),
    "zoom": scenes.zoom(SIZE, 5, 2, rate=1.03),
    "rotation": scenes.rotation(SIZE, 5, 3, degrees=2.5),
    "occluder": scenes.occluder(SIZE, 5, 4, velocity=(4.0, 1.5), ground_velocity=(-2.0, 0.75)),
}

PAIRS = [(1, 3), (3, 1)]
"""Frame to be painted and frame to be brought onto it: a later and an earlier one."""

Truth = tuple[np.ndarray, np.ndarray]
"""Flow a → b (H×W×2) and where frame a is to be seen in b (H×W bool)."""


def truth(scene: scenes.Scene, a: int, b: int) -> Truth:
    return scene.flow(a, b), ~scene.occluded(a, b)


def _flipped(flow: Callable[[np.ndarray], np.ndarray]) -> Callable[[scenes.Scene, int, int], Truth]:
    return lambda scene, a, b: (flow(scene.flow(a, b)), ~scene.occluded(a, b))


FLIPS: dict[str, Callable[[scenes.Scene, int, int], Truth]] = {
    "sign": _flipped(lambda flow: -flow),
    "dx and dy": _flipped(lambda flow: flow[..., ::-1].copy()),
    "direction": lambda scene, a, b: (scene.flow(b, a), ~scene.occluded(a, b)),
    "half the unit": _flipped(lambda flow: flow / 2),
    "twice the unit": _flipped(lambda flow: flow * 2),
    "mask inverted": lambda scene, a, b: (scene.flow(a, b), scene.occluded(a, b)),
    "mask of the other frame": lambda scene, a, b: (scene.flow(a, b), ~scene.occluded(b, a)),
}
"""What can be the wrong way round in what is handed over. Each is seen by the tests below, and these were each tried
once in the code and failed these tests:

- `warp`: the sign of the flow, dx and dy exchanged, half the flow;
- `in_frame_mask`: the axes exchanged, the comparison inverted;
- `consistency_mask`: `flow` and `back` exchanged, `returned - flow` in place of `+`, the comparison inverted;
- `motion_boundary_mask`: the comparison inverted;
- `visibility_mask`: the greater of two masks in place of their product, a mask inverted;
- `long_term_weights`: the farthest frame first;
- `static_mask`: inverted;
- `color_agreement`: inverted, and the mean of the channels in place of the greatest;
- `warping_error`: the mask inverted, the flow reversed, the two pictures exchanged;
- `Painter`: the flow of the other direction for the start and for the references, their masks inverted;
- `temporal_loss`: the weight inverted (see also `test_losses`).
"""

MASK_FLIPS = {"mask inverted": ("occluder", "pan", "rotation"), "mask of the other frame": ("occluder",)}
"""The flips of a mask, and footage of which enough is hidden for them to show."""


def to_mask(array: np.ndarray) -> torch.Tensor:
    """H×W to 1×1×H×W."""
    return torch.from_numpy(array.astype(np.float32))[None, None]


def uniform(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch_stream(seed))


def constant_flow(dx: float, dy: float, height: int, width: int, batch: int = 1) -> torch.Tensor:
    return torch.tensor([float(dx), float(dy)]).view(1, 2, 1, 1).expand(batch, 2, height, width).contiguous()


def away_from_edges(scene: scenes.Scene, a: int, pixels: int = 1) -> np.ndarray:
    """H×W bool: where all pixels around belong to one layer. On an outline the colours of two layers are mixed."""
    owner = scene.owner(a).astype(np.float32)
    around = np.ones((2 * pixels + 1, 2 * pixels + 1))
    return np.asarray(cv2.dilate(owner, around) == cv2.erode(owner, around))


def share_wrong(got: np.ndarray, wanted: np.ndarray, counted: np.ndarray) -> float:
    """Share of the counted pixels that differ by more than 12 levels in the mean of their channels."""
    difference = np.abs(got.astype(np.float32) - wanted.astype(np.float32)).mean(2)
    return float((difference > 12)[counted].mean())


def outside(place: int, length: int, border: Border) -> int:
    """Which of `length` pixels in a row is sampled for one at `place`, by the border's rule."""
    last, period = length - 1, length // 2
    if border == "nearest":
        return min(max(place, 0), last)
    while place < 0:
        place += period
    while place > last:
        place -= period
    return place


# --- warp: direction, order, unit -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("border", BORDERS)
@pytest.mark.parametrize(("dx", "dy"), [(3, 0), (-3, 0), (0, 2), (0, -2), (4, -1), (0, 0)])
def test_whole_pixels_are_copied(kernel: Kernel, border: Border, dx: int, dy: int) -> None:
    """What is at x + flow comes to x, each component along its own axis; beyond the border, its rule."""
    images = uniform(2, 3, 9, 14)
    moved = warp(images, constant_flow(dx, dy, 9, 14, batch=2), kernel, border)
    rows, columns = ([outside(place + d, n, border) for place in range(n)] for d, n in ((dy, 9), (dx, 14)))
    assert (moved - images[:, :, rows][..., columns]).abs().max() < 1e-6
    levels = (images * 255).round()
    copied = warp(levels / 255, constant_flow(dx, dy, 9, 14, batch=2), kernel, border) * 255
    inside = (slice(None), slice(None), slice(max(0, -dy), 9 - max(0, dy)), slice(max(0, -dx), 14 - max(0, dx)))
    source = levels[:, :, max(0, dy) : 9 + min(0, dy), max(0, dx) : 14 + min(0, dx)]
    assert torch.equal(copied.round()[inside], source), "levels stay to the byte"


@pytest.mark.parametrize(("kernel", "most"), [("bilinear", 1e-4), ("lanczos", 0.02)])
def test_a_ramp_is_sampled_where_the_flow_points(kernel: Kernel, most: float) -> None:
    """In pixels: the columns of a picture that is its own coordinates. Lanczos is no kernel for exact lines."""
    height, width = 20, 30
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    coordinates = torch.stack([x, y]).float().unsqueeze(0)
    flow = 6 * uniform(1, 2, height, width, seed=3) - 3
    place = coordinates + flow
    inner = (place[:, 0] >= 4) & (place[:, 0] <= width - 5) & (place[:, 1] >= 4) & (place[:, 1] <= height - 5)
    errors = (warp(coordinates, flow, kernel) - place).abs()
    assert inner.sum() > 200
    assert errors.amax(1)[inner].max() < most


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("border", BORDERS)
def test_flat_colour_stays(kernel: Kernel, border: Border) -> None:
    """Inside, at the border and far out: the weights always add up to 1."""
    colour = torch.tensor([0.2, 1.0, 0.7]).view(1, 3, 1, 1).expand(1, 3, 11, 8)
    flow = 40 * uniform(1, 2, 11, 8, seed=5) - 20
    assert (warp(colour, flow, kernel, border) - colour).abs().max() < 1e-6


@pytest.mark.parametrize("frequency", [0.1, 0.2, 0.3])
@pytest.mark.parametrize("axis", [2, 3])
def test_lanczos_keeps_the_most_detail(frequency: float, axis: int) -> None:
    """A sine of so many cycles a pixel, whose value between pixels is known."""
    count, other = 64, 4
    places = torch.arange(count).float()
    errors = {}
    for kernel in KERNELS:
        worst = 0.0
        for shift in (0.25, 0.5, -0.3):
            shape = [1, 1, other, other]
            shape[axis] = count
            view = [1, 1, 1, 1]
            view[axis] = count
            image = torch.sin(2 * torch.pi * frequency * places).view(view).expand(shape)
            wanted = torch.sin(2 * torch.pi * frequency * (places + shift)).view(view).expand(shape)
            flow = constant_flow(*((shift, 0.0) if axis == 3 else (0.0, shift)), *shape[2:])
            inner = slice(6, count - 6)
            difference = (warp(image, flow, kernel) - wanted).transpose(axis, 3)[..., inner]
            worst = max(worst, float(difference.abs().max()))
        errors[kernel] = worst
    assert 1.7 * errors["lanczos"] < errors["bilinear"]
    assert errors["lanczos"] < 0.03


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("axis", [0, 1])
def test_outside_is_the_border_or_half_a_frame_in(kernel: Kernel, axis: int) -> None:
    """One line of pixels, moved by each whole number of them from far left to far right."""
    line = uniform(1, 1, 1, 7)
    for distance in range(-20, 21):
        for border in BORDERS:
            images, way = line, constant_flow(distance, 0, 1, 7)
            if axis == 0:
                images, way = line.transpose(2, 3), way.flip(1).transpose(2, 3)
            result = warp(images, way, kernel, border).flatten()
            wanted = line.flatten()[[outside(place + distance, 7, border) for place in range(7)]]
            assert (result - wanted).abs().max() < 1e-6, (distance, border)


def test_what_enters_goes_on_without_a_seam() -> None:
    """A camera that moves on for twenty frames: each column that enters is the one half a frame in, as it was there,
    so the strip that has entered is a copy of a strip of the first frame, pixel beside pixel."""
    first = uniform(1, 3, 4, 60)
    picture = first
    for _ in range(20):
        picture = warp(picture, constant_flow(-1, 0, 4, 60), border="repeat")
    assert (picture[..., 20:] - first[..., :40]).abs().max() < 1e-5
    assert (picture[..., :20] - first[..., 10:30]).abs().max() < 1e-5


@pytest.mark.parametrize("axis", [2, 3])
@pytest.mark.parametrize("side", [-1, 1])
def test_what_enters_is_taken_from_where_the_same_motion_goes_on(axis: int, side: int) -> None:
    """Half a frame in stands something that the camera follows: taken from there, each strip would be the same."""
    flow = constant_flow(2 * side, 0, 5, 64)
    flow[:, 0, :, 26:38] = 0
    first = uniform(1, 3, 5, 64)
    entering = warp(
        *((first, flow) if axis == 3 else (first.transpose(2, 3), flow.flip(1).transpose(2, 3))), border="repeat"
    )
    if axis == 2:
        entering = entering.transpose(2, 3)
    period = 64 * 3 // 8
    wanted = first[..., 64 - period : 66 - period] if side > 0 else first[..., period - 2 : period]
    got = entering[..., -2:] if side > 0 else entering[..., :2]
    assert (got - wanted).abs().max() < 1e-5


@pytest.mark.parametrize("kernel", KERNELS)
def test_the_border_does_not_matter_inside(kernel: Kernel) -> None:
    images, flow = uniform(1, 3, 10, 12), 4 * uniform(1, 2, 10, 12, seed=1) - 2
    inside = in_frame_mask(flow).bool().expand_as(images)
    difference = (warp(images, flow, kernel, "nearest") - warp(images, flow, kernel, "repeat")).abs()
    assert difference[inside].max() < 1e-5 < difference.max()
    # What is in the frame but for rounding is not taken from elsewhere.
    for length in (1e-9, 1e-4, 9e-3):
        for sign in (-1, 1):
            flow = constant_flow(sign * length, sign * length, 10, 12)
            assert in_frame_mask(flow).all()
            difference = warp(images, flow, kernel, "nearest") - warp(images, flow, kernel, "repeat")
            assert difference.abs().max() == 0


def test_what_is_carried_loses_its_grain_where_it_moves() -> None:
    """What alternates across and down; upright and level stripes stay, and so does what is coarser."""
    y, x = torch.meshgrid(torch.arange(40), torch.arange(60), indexing="ij")
    inner = (..., slice(10, -10), slice(10, -10))

    def left(picture: torch.Tensor) -> float:
        picture = picture.double().view(1, 1, 40, 60)
        carried = warp_painting(picture, constant_flow(2, 0, 40, 60).double())
        whole = warp(picture, constant_flow(2, 0, 40, 60).double())
        return float(carried[inner].std() / whole[inner].std())

    assert left((x + y) % 2) < 1e-3
    # Frequencies of 0.4: sin(0.4π)⁸ is 0.669, along each axis.
    assert left(torch.sin(0.8 * math.pi * x) * torch.sin(0.8 * math.pi * y)) == pytest.approx(1 - 0.669**2, abs=0.02)
    for stripes in (x % 2, y % 2):
        assert left(stripes) == pytest.approx(1, abs=1e-3)
    assert left(torch.sin(0.4 * math.pi * x) * torch.sin(0.4 * math.pi * y)) > 0.999
    picture = uniform(1, 3, 40, 60)
    flow = constant_flow(0, 0, 40, 60)
    flow[..., :30] = 0.5
    assert torch.equal(warp_painting(picture, flow)[..., 30:], picture[..., 30:])
    assert (warp_painting(picture, flow) - warp(picture, flow, border="repeat"))[..., :30].abs().mean() > 0.01


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("border", BORDERS)
@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (2, 2), (6, 5)])
@pytest.mark.parametrize("length", [1e9, -1e9, 3e38, -3e38, 0.3])
def test_huge_flows_and_thin_pictures(kernel: Kernel, border: Border, size: tuple[int, int], length: float) -> None:
    """A number of pixels beyond all integers leads to the border all the same, and to the one on its side."""
    images = uniform(1, 3, *size)
    for dx, dy in ((length, 0.0), (0.0, length), (length, -length)):
        result = warp(images, constant_flow(dx, dy, *size), kernel, border)
        assert result.shape == images.shape
        assert torch.isfinite(result).all()
        if border == "nearest" and abs(length) > 1:
            wanted = images
            if dx:
                wanted = wanted[..., -1:] if dx > 0 else wanted[..., :1]
            if dy:
                wanted = wanted[..., -1:, :] if dy > 0 else wanted[..., :1, :]
            assert (result - wanted).abs().max() < 1e-6


@pytest.mark.parametrize("kernel", KERNELS)
def test_pictures_of_a_batch_are_warped_alone(kernel: Kernel) -> None:
    images, flow = uniform(3, 2, 8, 9), 10 * uniform(3, 2, 8, 9, seed=2) - 5
    together = warp(images, flow, kernel)
    for row in range(3):
        alone = warp(images[row : row + 1], flow[row : row + 1], kernel)
        assert (together[row : row + 1] - alone).abs().max() < 1e-6
    assert (together[:1] - warp(images[:1], flow[1:2], kernel)).abs().max() > 0.1


# --- warp: footage ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SCENES)
@pytest.mark.parametrize(("a", "b"), PAIRS)
@pytest.mark.parametrize("kernel", KERNELS)
def test_exact_flow_brings_one_frame_onto_the_other(name: str, a: int, b: int, kernel: Kernel) -> None:
    scene = SCENES[name]
    flow, visible = truth(scene, a, b)
    moved = to_array(warp(to_tensor(scene.frame(b)), to_flow(flow), kernel))
    counted = visible & away_from_edges(scene, a)
    assert counted.mean() > 0.7
    # Next to the outline of frame b a kernel still takes in a pixel of the other layer.
    assert share_wrong(moved, scene.frame(a), counted) < (0.01 if name == "occluder" else 0.001)
    difference = np.abs(moved.astype(np.float32) - scene.frame(a))[counted].mean()
    assert difference < (1.5 if kernel == "bilinear" else 1)
    unmoved = np.abs(scene.frame(b).astype(np.float32) - scene.frame(a))[counted].mean()
    assert unmoved > 3 * difference, "or this shows nothing"


@pytest.mark.parametrize(("flip", "name"), [(flip, name) for flip in FLIPS for name in MASK_FLIPS.get(flip, SCENES)])
@pytest.mark.parametrize(("a", "b"), PAIRS)
def test_any_flip_is_far_off(name: str, flip: str, a: int, b: int) -> None:
    scene = SCENES[name]
    flow, visible = FLIPS[flip](scene, a, b)
    counted = visible & away_from_edges(scene, a)
    right_flow, right_visible = truth(scene, a, b)
    moved = to_array(warp(to_tensor(scene.frame(b)), to_flow(flow), "bilinear"))
    right = to_array(warp(to_tensor(scene.frame(b)), to_flow(right_flow), "bilinear"))
    wrong_share = share_wrong(moved, scene.frame(a), counted)
    right_share = share_wrong(right, scene.frame(a), right_visible & away_from_edges(scene, a))
    assert wrong_share > 0.03
    assert wrong_share > 10 * right_share


# --- masks ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("dx", "dy"), [(3.0, 0.0), (-2.5, 0.0), (0.0, 4.0), (0.0, -1.5), (2.25, -3.0), (0.0, 0.0)])
def test_what_a_pan_leaves_in_the_frame(dx: float, dy: float) -> None:
    """Strips of a frame of 9 rows and 14 columns; the last pixel centre belongs to it."""
    y, x = np.mgrid[:9, :14]
    wanted = (x + dx >= 0) & (x + dx <= 13) & (y + dy >= 0) & (y + dy <= 8)
    mask = in_frame_mask(constant_flow(dx, dy, 9, 14))
    assert mask.shape == (1, 1, 9, 14) and mask.dtype == torch.float32
    assert np.array_equal(mask[0, 0].numpy() == 1, wanted)
    assert np.array_equal(mask[0, 0].numpy() == 0, ~wanted)


@pytest.mark.parametrize("name", ["pan", "zoom", "rotation"])
@pytest.mark.parametrize(("a", "b"), PAIRS)
def test_what_a_camera_leaves_in_the_frame(name: str, a: int, b: int) -> None:
    """With one layer nothing is hidden but by the frame itself; a hundredth of a pixel beyond it is no matter."""
    flow, visible = truth(SCENES[name], a, b)
    assert np.mean((in_frame_mask(to_flow(flow))[0, 0].numpy() == 1) != visible) < 0.005


def test_in_frame_forgives_rounding_and_no_more() -> None:
    assert in_frame_mask(constant_flow(0.005, -0.005, 3, 4)).min() == 1
    assert in_frame_mask(constant_flow(0.02, 0.0, 3, 4))[0, 0, 0].tolist() == [1, 1, 1, 0]
    assert in_frame_mask(constant_flow(0.0, -0.02, 3, 4))[0, 0, :, 0].tolist() == [0, 1, 1]


def test_consistency_is_the_papers_inequality() -> None:
    """There by (3, 0), back by (-3 + e, 0): e² ≤ 0.01 (9 + (3 - e)²) + 0.5 holds up to e = 0.799."""
    flow = constant_flow(3.0, 0.0, 5, 9)
    assert consistency_mask(flow, -flow).min() == 1
    assert consistency_mask(flow, constant_flow(-3.0 + 0.79, 0.0, 5, 9)).min() == 1
    assert consistency_mask(flow, constant_flow(-3.0 + 0.81, 0.0, 5, 9)).max() == 0
    assert consistency_mask(flow, flow).max() == 0
    assert consistency_mask(flow, constant_flow(-3.0, 1.0, 5, 9)).max() == 0


def test_consistency_looks_where_the_flow_points() -> None:
    """The way back is asked for at the place that was reached, not at the one where the way began."""
    flow, back = constant_flow(4.0, 0.0, 6, 12), constant_flow(-4.0, 0.0, 6, 12)
    back[..., 7] = 9.0
    mask = consistency_mask(flow, back)
    assert mask[0, 0, 0].tolist() == [1, 1, 1, 0] + [1] * 8


@pytest.mark.parametrize(("a", "b"), PAIRS)
def test_consistency_finds_what_is_hidden(a: int, b: int) -> None:
    """Of the occluder scene, inside the frame and a pixel off the outline, where two motions are interpolated."""
    scene = SCENES["occluder"]
    flow, visible = truth(scene, a, b)
    inside = in_frame_mask(to_flow(flow))[0, 0].numpy() == 1
    found = consistency_mask(to_flow(flow), to_flow(scene.flow(b, a)))[0, 0].numpy() == 0
    hidden = ~visible & inside
    counted = inside & away_from_edges(scene, a)
    assert (hidden & counted).sum() > 50, "or this shows nothing"
    caught = (found & hidden & counted).sum()
    assert caught / (hidden & counted).sum() > 0.9
    assert caught / (found & counted).sum() > 0.9
    # Asked of the other frame it would find what is uncovered, which lies on the other side.
    other = consistency_mask(to_flow(scene.flow(b, a)), to_flow(flow))[0, 0].numpy() == 0
    assert (other & hidden & counted).sum() < 0.5 * caught


@pytest.mark.parametrize(("a", "b"), PAIRS)
def test_visibility_is_what_is_to_be_seen(a: int, b: int) -> None:
    scene = SCENES["occluder"]
    flow, visible = truth(scene, a, b)
    mask = visibility_mask(to_flow(flow), to_flow(scene.flow(b, a)))[0, 0].numpy()
    assert set(np.unique(mask)) == {0, 1}
    unmasked, counted = mask == 1, away_from_edges(scene, a, 2)
    assert visible[unmasked].mean() > 0.99
    assert unmasked[visible & counted].mean() > 0.98
    assert unmasked[~visible].mean() < 0.1


def test_visibility_is_the_product_of_its_parts() -> None:
    scene = SCENES["occluder"]
    flow, back = to_flow(scene.flow(1, 3)), to_flow(scene.flow(3, 1))
    parts = [in_frame_mask(flow), consistency_mask(flow, back), motion_boundary_mask(flow)]
    assert all(0 < part.mean() < 1 for part in parts)
    assert all(not torch.equal(one, two) for one, two in itertools.combinations(parts, 2))
    assert torch.equal(visibility_mask(flow, back), parts[0] * parts[1] * parts[2])
    assert torch.equal(visibility_mask(flow, None), parts[0] * parts[2])


def test_motion_boundaries_are_the_papers_inequality() -> None:
    """u = 0.1 x from the left border: 0.01 > 0.01 · 0.01 x² + 0.002 holds up to x = 8."""
    for axis in (0, 1):
        flow = torch.zeros(1, 2, 20, 20)
        ramp = 0.1 * torch.arange(20.0)
        flow[:, axis] = ramp if axis == 0 else ramp.view(-1, 1)
        smooth = motion_boundary_mask(flow)[0, 0]
        line = smooth[10] if axis == 0 else smooth[:, 10]
        assert line[1:9].max() == 0 and line[9:].min() == 1


@pytest.mark.parametrize(("a", "b"), [(2, 3), (3, 2), (1, 3)])
def test_motion_boundaries_are_outlines(a: int, b: int) -> None:
    """Exactly where the pixels on two opposite sides belong to different layers."""
    scene = SCENES["occluder"]
    owner = np.pad(scene.owner(a), 1, mode="edge")
    outline = (owner[1:-1, 2:] != owner[1:-1, :-2]) | (owner[2:, 1:-1] != owner[:-2, 1:-1])
    smooth = motion_boundary_mask(to_flow(scene.flow(a, b)))[0, 0].numpy()
    assert 50 < outline.sum() < outline.size / 10
    assert np.array_equal(smooth == 0, outline)
    assert np.array_equal(smooth == 1, ~outline)


@pytest.mark.parametrize(
    "footage", [scenes.pan(SIZE, 2, 1), scenes.zoom(SIZE, 2, 1), scenes.rotation(SIZE, 2, 1)], ids=list(SCENES)[:3]
)
def test_a_camera_makes_no_motion_boundaries(footage: scenes.Scene) -> None:
    for a, b in ((0, 1), (1, 0)):
        assert motion_boundary_mask(to_flow(footage.flow(a, b))).min() == 1


# --- blur and standing still ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sigma", [0.7, 1.0, 3.0])
def test_blur_spreads_and_keeps(sigma: float) -> None:
    spot = torch.zeros(1, 2, 41, 45)
    spot[0, 0, 20, 22] = 1
    spread = blur(spot, sigma)
    assert spread[0, 0].sum().item() == pytest.approx(1, abs=1e-5), "nothing is lost"
    assert spread[0, 1].abs().max() == 0, "channels are apart"
    y, x = torch.meshgrid(torch.arange(41.0) - 20, torch.arange(45.0) - 22, indexing="ij")
    for axis in (x, y):
        assert (spread[0, 0] * axis).sum().item() == pytest.approx(0, abs=1e-4)
        # Cut off at three standard deviations.
        assert (spread[0, 0] * axis.square()).sum().item() == pytest.approx(sigma**2, rel=0.05)
    flat = torch.full((1, 3, 4, 30), 0.3)
    assert (blur(flat, sigma) - flat).abs().max() < 1e-6, "also where the radius is more than the picture"


def still(flow: torch.Tensor, sigma: float = 3.0, threshold: float = STATIC_NEAR) -> torch.Tensor:
    mask = static_mask(flow, sigma, threshold)
    assert mask.shape == (flow.shape[0], 1, *flow.shape[2:])
    return mask


def test_trembling_is_standing_still() -> None:
    assert still(constant_flow(0.0, 0.0, 40, 60)).min() == 1
    tremble = 1.5 * STATIC_NEAR * torch.randn(1, 2, 40, 60, generator=torch_stream(1))
    assert tremble.square().sum(1).sqrt().mean() > STATIC_NEAR, "every pixel alone trembles by more"
    assert still(tremble, 6.0).min() == 1


@pytest.mark.parametrize("threshold", [STATIC_NEAR, STATIC_FAR])
@pytest.mark.parametrize(("dx", "dy"), [(1.0, 0.0), (0.0, -1.0), (-0.6, 0.8)])
def test_between_standing_and_moving_is_a_ramp(dx: float, dy: float, threshold: float) -> None:
    """Of the length, whatever the direction; the same for each flow of a batch."""
    wanted = {0.0: 1.0, 0.9: 1.0, 1.2: 0.8, 1.5: 0.5, 1.9: 0.1, 2.1: 0.0, 50.0: 0.0}
    lengths = [length * threshold for length in wanted]
    mask = still(torch.cat([constant_flow(dx * length, dy * length, 9, 9) for length in lengths]), 3.0, threshold)
    assert mask.amin((1, 2, 3)).tolist() == pytest.approx(list(wanted.values()), abs=1e-4)
    assert mask.amax((1, 2, 3)).tolist() == pytest.approx(list(wanted.values()), abs=1e-4)


def test_only_what_moves_moves() -> None:
    flow = torch.zeros(1, 2, 40, 60)
    flow[..., 40:] = 1.0
    mask = still(flow, 2.0)[0, 0]
    assert mask[:, :32].min() == 1 and mask[:, 40:].max() == 0


def test_a_flow_keeps_its_components() -> None:
    array = uniform(5, 7, 2).numpy()
    for given in (array, array[:, ::-1], np.asfortranarray(array)):
        flow = to_flow(given)
        assert flow.shape == (1, 2, 5, 7) and flow.dtype == torch.float32
        assert np.array_equal(flow[0, 0].numpy(), given[..., 0]) and np.array_equal(flow[0, 1].numpy(), given[..., 1])


# --- color_agreement ------------------------------------------------------------------------------------------------


def noisy(image: torch.Tensor, sigma: float, seed: int) -> torch.Tensor:
    """With noise of a standard deviation in levels of 255."""
    return image + sigma / 255 * torch.randn(image.shape, generator=torch_stream(seed))


GROUND = to_tensor(SCENES["pan"].frame(0))
PATCH = (..., slice(20, 40), slice(30, 60))
INNER = (..., slice(22, 38), slice(32, 58))


def test_a_picture_is_like_itself() -> None:
    mask = color_agreement(GROUND, GROUND)
    assert mask.shape == (1, 1, *SIZE) and mask.dtype == torch.float32
    assert torch.equal(mask, torch.ones_like(mask))


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("channels", [slice(0, 3), slice(1, 2)])
@pytest.mark.parametrize("sigma", [0.0, 2.0])
def test_another_colour_in_a_patch_is_unlike(sign: int, channels: slice, sigma: float) -> None:
    """Also of one channel, in both directions of time, and with the noise of a sensor."""
    other = GROUND.clone()
    other[:, channels, 20:40, 30:60] += sign * 20 / 255
    for image, second in ((noisy(GROUND, sigma, 1), noisy(other, sigma, 2)), (other, GROUND)):
        mask = color_agreement(image, second)
        assert mask[INNER].max() == 0
        mask[..., 15:45, 25:65] = 1
        assert mask.min() == 1, "and only there"


@pytest.mark.parametrize("sigma", [0.5, 2.0, 5.0, 20.0])
def test_noise_is_alike(sigma: float) -> None:
    """Up to a few levels by what is asked for, and beyond that by its grain, which is everywhere the same."""
    for seed in range(5):
        assert color_agreement(noisy(GROUND, sigma, seed), noisy(GROUND, sigma, seed + 100)).min() == 1


def test_strong_noise_hides_a_weak_change_and_no_strong_one() -> None:
    for levels, wanted in ((5, 1.0), (80, 0.0)):
        other = GROUND.clone()
        other[PATCH] += levels / 255
        assert color_agreement(noisy(GROUND, 10.0, 1), noisy(other, 10.0, 2))[INNER].mean().item() == wanted


def test_between_alike_and_unlike_is_a_ramp() -> None:
    for levels, wanted in ((3.9, 1.0), (4.8, 0.8), (6.0, 0.5), (7.2, 0.2), (8.1, 0.0)):
        other = GROUND.clone()
        other[PATCH] += levels / 255
        mask = color_agreement(GROUND, other)
        assert mask[..., 28:32, 42:48].mean().item() == pytest.approx(wanted, abs=1e-3)


def test_a_small_thing_is_unlike() -> None:
    """Of three pixels by three; of one pixel it takes much contrast."""
    for side, levels in ((3, 30), (1, 150)):
        other = GROUND.clone()
        other[..., 30 : 30 + side, 40 : 40 + side] += levels / 255
        mask = color_agreement(noisy(GROUND, 2.0, 1), noisy(other, 2.0, 2))
        assert mask[..., 30 : 30 + side, 40 : 40 + side].max() == 0


@pytest.mark.parametrize("size", [(90, 160), (91, 163)])
def test_a_wide_mean_is_the_same_on_a_coarser_grid(size: tuple[int, int]) -> None:
    """Flow that trembles, and something in it that moves."""
    flow = 0.3 * torch.randn((1, 2, *size), generator=torch_stream(0))
    flow[:, 0, 20:60, 40:110] += 2
    for sigma in (16.0, 30.0):
        exact = (2 - blur(flow, sigma).square().sum(1, keepdim=True).sqrt() / 0.4).clamp(0, 1)
        assert (static_mask(flow, sigma, 0.4) - exact).abs().max() < 0.1


@pytest.mark.parametrize("sigma", [0.0, 3.0, 8.0])
def test_a_change_of_the_light_is_no_noise(sigma: float) -> None:
    """Neither of the whole picture nor of most of it: what has become darker is not what it was."""
    dark = GROUND - 40 / 255
    assert color_agreement(noisy(GROUND, sigma, 1), noisy(dark, sigma, 2)).mean() < 0.1
    shadow = GROUND.clone()
    shadow[..., : shadow.shape[3] * 2 // 3] -= 40 / 255
    shadow[..., -9:-2] += 60 / 255
    mask = color_agreement(noisy(GROUND, sigma, 1), noisy(shadow, sigma, 2))
    assert mask[..., : shadow.shape[3] * 2 // 3 - 6].mean() < 0.1
    assert mask[..., -8:-3].mean() < 0.1, "and what appears beside it is seen"


def test_pictures_of_a_batch_are_compared_alone() -> None:
    other = GROUND.clone()
    other[PATCH] += 20 / 255
    images, others = torch.cat([GROUND, GROUND, GROUND]), torch.cat([GROUND, other, GROUND + 0.1])
    together = color_agreement(images, others)
    for row in range(3):
        assert torch.equal(together[row : row + 1], color_agreement(images[row : row + 1], others[row : row + 1]))
    assert together[1].min() == 0


# --- several earlier frames -------------------------------------------------------------------------------------------


def test_the_nearest_frame_that_shows_it_counts() -> None:
    """Ruder et al. 2016, eq. 10, by hand."""
    rows = [1.0, 0, 0, 0.5, 0], [1.0, 1, 0, 0.75, 0], [1.0, 1, 1, 1, 0]
    masks = [torch.tensor(row).view(1, 1, 1, -1) for row in rows]
    before = [mask.clone() for mask in masks]
    weights = [weight.flatten().tolist() for weight in long_term_weights(masks)]
    assert weights == [[1, 0, 0, 0.5, 0], [0, 1, 0, 0.25, 0], [0, 0, 1, 0, 0]]
    assert all(torch.equal(mask, same) for mask, same in zip(masks, before, strict=True))
    assert torch.equal(long_term_weights(masks[:1])[0], masks[0])


def test_long_term_weights_are_at_most_one() -> None:
    masks = [uniform(2, 1, 9, 9, seed=seed).mul(1.5).clamp(max=1) for seed in range(4)]
    weights = long_term_weights(masks)
    assert torch.equal(weights[0], masks[0])
    assert all((weight >= 0).all() and (weight <= mask).all() for weight, mask in zip(weights, masks, strict=True))
    assert torch.stack(weights).sum(0).max() <= 1 + 1e-6


# --- how still it holds -----------------------------------------------------------------------------------------------


def test_the_warping_error_of_an_offset() -> None:
    image = 0.2 + 0.5 * uniform(2, 3, 8, 12)
    nothing, everywhere = constant_flow(0, 0, 8, 12, batch=2), torch.ones(2, 1, 8, 12)
    other = image.clone()
    other[0] += 0.1
    other[1, 1] -= 0.3
    error = warping_error(image, other, nothing, everywhere)
    assert error.tolist() == pytest.approx([0.01, 0.09 / 3], rel=1e-4)
    assert warping_error(image, image, nothing, everywhere).abs().max() < 1e-12


def test_only_trusted_pixels_have_a_warping_error() -> None:
    image = torch.full((1, 3, 6, 10), 0.5)
    other = image.clone()
    other[..., :5] += 0.1
    other[..., 5:] += 0.4
    left = torch.zeros(1, 1, 6, 10)
    left[..., :5] = 1
    nothing = constant_flow(0, 0, 6, 10)
    assert warping_error(image, other, nothing, left).item() == pytest.approx(0.01, rel=1e-4)
    assert warping_error(image, other, nothing, 1 - left).item() == pytest.approx(0.16, rel=1e-4)
    assert warping_error(image, other, nothing, 0 * left).item() == 0
    assert warping_error(image, other, nothing, 1 - left / 2).item() == pytest.approx((0.005 + 0.16) / 1.5, rel=1e-4)


def bilinear(image: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """H×W×C sampled at x + flow (H×W×2), by hand, in float64."""
    height, width = image.shape[:2]
    y, x = np.mgrid[:height, :width].astype(np.float64)
    x, y = np.clip(x + flow[..., 0], 0, width - 1), np.clip(y + flow[..., 1], 0, height - 1)
    left, top = np.floor(x).astype(int), np.floor(y).astype(int)
    right, bottom = np.minimum(left + 1, width - 1), np.minimum(top + 1, height - 1)
    u, v = (x - left)[..., None], (y - top)[..., None]
    above = image[top, left] * (1 - u) + image[top, right] * u
    below = image[bottom, left] * (1 - u) + image[bottom, right] * u
    return np.asarray(above * (1 - v) + below * v)


@pytest.mark.parametrize("name", SCENES)
def test_the_warping_error_is_that_of_a_second_computation(name: str) -> None:
    scene = SCENES[name]
    (flow, visible), generator = truth(scene, 2, 1), numpy_stream(7)
    painted, other = (generator.integers(0, 256, (*SIZE, 3)).astype(np.uint8) for _ in range(2))
    for image, earlier in ((painted, other), (scene.frame(2), scene.frame(1))):
        squared = np.square(image / 255 - bilinear(earlier / 255, flow)).mean(2)
        error = warping_error(to_tensor(image), to_tensor(earlier), to_flow(flow), to_mask(visible)).item()
        assert error == pytest.approx(squared[visible].mean(), rel=1e-4)
        # OpenCV rounds places to 1/32 pixel.
        y, x = np.mgrid[: SIZE[0], : SIZE[1]].astype(np.float32)
        remapped = cv2.remap(
            earlier.astype(np.float32), x + flow[..., 0], y + flow[..., 1], cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )  # fmt: skip
        assert error == pytest.approx(np.square((image - remapped) / 255).mean(2)[visible].mean(), rel=0.03)


@pytest.mark.parametrize("flip", FLIPS)
def test_the_warping_error_of_a_flip_is_large(flip: str) -> None:
    scene = SCENES["occluder"]

    def error(truths: Truth) -> float:
        image, other = to_tensor(scene.frame(2)), to_tensor(scene.frame(1))
        return warping_error(image, other, to_flow(truths[0]), to_mask(truths[1])).item()

    assert error(FLIPS[flip](scene, 2, 1)) > 3 * error(truth(scene, 2, 1))


# --- the painter follows the flow -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def painter(weights: EncoderWeights, style_array: np.ndarray) -> Painter:
    return Painter(load_settings("default", TINY), weights, [style_array], [1.0], torch.device("cpu"))


def start_of(painter: Painter, task: FrameTask) -> np.ndarray:
    """One iteration keeps the picture that it starts from."""
    return paint_one(painter, task).image


def painted_earlier(scene: scenes.Scene, b: int, truths: Truth) -> PaintedReference:
    """A painting that is its own content, so that brought onto frame a it is the content of a."""
    return PaintedReference(scene.frame(b), scene.frame(b), truths[0], truths[1].astype(np.float32))


@pytest.mark.parametrize("name", ["zoom", "occluder"])
@pytest.mark.parametrize(("a", "b"), PAIRS)
def test_a_warped_start_is_the_painting_on_this_frame(painter: Painter, name: str, a: int, b: int) -> None:
    scene = SCENES[name]
    flow, visible = truth(scene, a, b)
    # The seam of the mended part is soft.
    counted = visible & away_from_edges(scene, a) & (cv2.erode(visible.astype(np.uint8), np.ones((9, 9))) == 1)

    def share(truths: Truth) -> float:
        earlier = painted_earlier(scene, b, truths)
        task = FrameTask(a, scene.frame(a), "warped", StopRule(1), warm=True, warp_source=earlier)
        return share_wrong(start_of(painter, task), scene.frame(a), counted)

    assert share((flow, visible)) < 0.002
    for flip in set(FLIPS) - set(MASK_FLIPS):
        assert share(FLIPS[flip](scene, a, b)) > 0.1, flip


def test_what_an_earlier_frame_hides_is_mended(painter: Painter, content_array: np.ndarray) -> None:
    """By the change of the content in the colours of the style where there is no visibility_mask, and nowhere else."""
    content = (40 + content_array * 0.6).astype(np.uint8)
    change = np.zeros((*content.shape[:2], 3))
    change[:, :36] = 12, -9, 6
    image = np.full_like(content, 120)
    visibility_mask = np.ones(content.shape[:2], np.float32)
    visibility_mask[:, :36] = 0
    earlier = PaintedReference(
        image,
        (content - change).round().astype(np.uint8),
        np.zeros((*content.shape[:2], 2), np.float32),
        visibility_mask,
    )
    start = start_of(painter, FrameTask(1, content, "warped", StopRule(1), warm=True, warp_source=earlier))
    moved = in_paint(painter, content, change)
    assert np.abs(moved).max() > 3, "or this shows nothing"
    seam = 20
    assert np.abs(start.astype(float) - 120 - moved)[:, : 36 - seam].max() < 0.6
    assert np.abs(start.astype(float) - 120)[:, 36 + seam :].max() < 0.6


def in_paint(painter: Painter, content: np.ndarray, change: np.ndarray) -> np.ndarray:
    """What a change of the content's colours is in those of the style, by the transport of the statistics."""
    assert painter.styles
    own = color_statistics([to_tensor(content)], [1.0])
    style = color_statistics([to_tensor(picture) for picture in painter.styles], [1.0])
    return np.asarray(change @ initial.transport(own, style).numpy().T)


def plaid(seed: int, height: int, width: int) -> np.ndarray:
    """Noise across plus noise down: sharp to the pixel, without the grain that is taken out of what moves."""
    generator = numpy_stream(seed)
    across, down = generator.integers(1, 127, (1, width, 3)), generator.integers(1, 127, (height, 1, 3))
    return (across + down).astype(np.uint8)


def test_a_picture_of_its_own_is_blended_where_there_is_trust(painter: Painter, content_array: np.ndarray) -> None:
    """From what was painted of this frame before towards the neighbour's, which comes from two pixels to the right."""
    height, width = content_array.shape[:2]
    own, other = plaid(2, height, width), plaid(3, height, width)
    mask = np.zeros((height, width), np.float32)
    mask[:, :30] = 1
    flow = np.zeros((height, width, 2), np.float32)
    flow[..., 0] = 2
    task = FrameTask(
        1, content_array, "warped", StopRule(1), own, warm=True,
        warp_source=PaintedReference(other, content_array, flow, mask), blend=0.25,
    )  # fmt: skip
    start = start_of(painter, task)
    assert np.array_equal(start[:, 30:], own[:, 30:])
    assert np.abs(start[:, :30] - (0.75 * own[:, :30] + 0.25 * other[:, 2:32])).max() < 0.51


def test_a_start_is_led_up_to_a_later_painting(painter: Painter, content_array: np.ndarray) -> None:
    """By its share where both are visible; what the later one alone shows is taken from it, what neither shows is not.

    The earlier one comes from two pixels to the right, the later one from three above.
    """
    height, width = content_array.shape[:2]
    before, after = plaid(2, height, width), plaid(3, height, width)
    right, up = (np.zeros((height, width, 2), np.float32) for _ in range(2))
    right[..., 0], up[..., 1] = 2, -3
    visible, only_later = np.zeros((2, height, width), np.float32)
    visible[:, :36] = 1
    only_later[24:] = 1
    first = PaintedReference(before, content_array, right, visible)
    columns, rows = np.minimum(np.arange(width) + 2, width - 1), np.maximum(np.arange(height) - 3, 0)
    moved, later = before[:, columns].astype(float), after[rows].astype(float)
    for share in (0.0, 0.25, 1.0):
        task = FrameTask(
            1, content_array, "warped", StopRule(1), warm=True, warp_source=first, references=(first,),
            temporal_weight=20.0, crossfade_share=share,
            crossfade_with=PaintedReference(after, content_array, up, only_later),
        )  # fmt: skip
        painted = paint_one(painter, task)
        start = painted.image.astype(float)
        seam = 5
        both = slice(24 + seam, None), slice(0, 36 - seam)
        assert np.abs(start - (1 - share) * moved - share * later)[both].max() < 0.6
        alone = slice(24 + seam, None), slice(36 + seam, -2)
        assert np.abs(start - later)[alone].max() < 0.6
        assert np.abs(start - moved)[5 : 24 - seam, : 36 - seam].max() < 0.6
        # The temporal loss holds it to the same, where anything is visible.
        blend = np.where(visible[..., None] > 0, (1 - share * only_later[..., None]) * moved, 0)
        blend += only_later[..., None] * np.where(visible[..., None] > 0, share, 1) * later
        wanted = np.square(start - blend) * np.maximum(visible, only_later)[..., None]
        assert painted.losses.temporal == pytest.approx(20 * wanted.mean(), rel=0.02)


def test_a_start_between_two_equal_paintings_is_that_painting(painter: Painter, content_array: np.ndarray) -> None:
    """To the bit: of a still scene nothing changes, however far it is to the later one."""
    generator = numpy_stream(4)
    painting = generator.integers(0, 256, content_array.shape, dtype=np.uint8)
    masks = generator.uniform(0.5, 1, (2, *content_array.shape[:2])).astype(np.float32)
    still = np.zeros((*content_array.shape[:2], 2), np.float32)
    first, later = (PaintedReference(painting, content_array, still, mask) for mask in masks)
    task = FrameTask(
        1, content_array, "warped", StopRule(1), warm=True, warp_source=first, references=(first,),
        temporal_weight=20.0, crossfade_with=later, crossfade_share=1 / 3,
    )  # fmt: skip
    painted = paint_one(painter, task)
    assert np.array_equal(painted.image, painting) and painted.losses.temporal == pytest.approx(0, abs=1e-6)


def test_the_temporal_term_of_two_references(painter: Painter, content_array: np.ndarray) -> None:
    """Each brought onto this frame by its own flow; a pixel answers to the nearest that shows it."""
    generator = numpy_stream(3)
    height, width = content_array.shape[:2]
    picture, near, far = (plaid(seed, height, width) for seed in range(3))
    near_mask, far_mask = (generator.uniform(0, 1, (height, width)).astype(np.float32) for _ in range(2))
    right, up = (np.zeros((height, width, 2), np.float32) for _ in range(2))
    right[..., 0], up[..., 1] = 3, -2
    near_mask[:, -3:], far_mask[:2] = 0, 0
    references = (
        PaintedReference(near, content_array, right, near_mask),
        PaintedReference(far, content_array, up, far_mask),
    )
    task = FrameTask(
        1, content_array, "given", StopRule(1), picture, warm=True, references=references, temporal_weight=20.0
    )  # fmt: skip
    painted = paint_one(painter, task)
    assert np.array_equal(painted.image, picture)
    columns, rows = np.minimum(np.arange(width) + 3, width - 1), np.maximum(np.arange(height) - 2, 0)
    wanted = np.square(picture.astype(float) - near[:, columns]) * near_mask[..., None]
    wanted += np.square(picture.astype(float) - far[rows]) * np.maximum(far_mask - near_mask, 0)[..., None]
    assert painted.losses.temporal == pytest.approx(20 * wanted.mean(), rel=1e-4)
    free = painter.measure(picture, content_array)
    assert free.temporal == 0
    assert painted.losses.objective == pytest.approx(free.objective, rel=1e-6)


@pytest.mark.parametrize("flip", FLIPS)
def test_the_temporal_term_of_a_flip_is_large(painter: Painter, flip: str) -> None:
    scene = SCENES["occluder"]

    def term(truths: Truth) -> float:
        references = (painted_earlier(scene, 1, truths),)
        rule, content = StopRule(1), scene.frame(2)
        task = FrameTask(2, content, "content", rule, warm=True, references=references, temporal_weight=1.0)
        share: float = truths[1].mean()
        return paint_one(painter, task).losses.temporal / share

    assert term(FLIPS[flip](scene, 2, 1)) > 3 * term(truth(scene, 2, 1))
