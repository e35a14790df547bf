"""Footage made of moving layers, whose motion and occlusion are known exactly.

A scene is a stack of textures, from back to front. Each moves by an affine map that is an analytic function of time,
so flow and occlusion between any two frames are known in closed form. Tests of optical flow, occlusion masks, warping
and cut detection compare with them.

Convention
    Coordinates are (x, y) in pixels, x to the right, y down, and integers are pixel centres: the top left pixel covers
    [-0.5, 0.5] x [-0.5, 0.5]. Sizes are (height, width). Frame indices start at 0; ranges are half-open.
    An affine is a 2x3 float64 matrix that acts on the column (x, y, 1). The motion of a layer maps its texture onto
    the screen: a texel at u appears in frame t at motion(t) applied to u.
    Textures are HxWx4 float32, sRGB as stored, in [0, 1], colour premultiplied by alpha. Frames are HxWx3 uint8, RGB.
    Flow a -> b is HxWx2 float32, (dx, dy) in pixels, on the grid of frame a: what is at x in a is at x + flow in b.
    A pixel belongs to the top-most layer whose alpha there is above one half; flow and occlusion are those of its
    owner. A pixel of a is occluded in b if something nearer covers it there, or if it lies outside the rectangle of
    the pixel centres of b, [0, W - 1] x [0, H - 1].
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from samples.textures import Floats, Size, Vector, fractal, masked, octave, opaque, pixel_grid

Affine = NDArray[np.float64]
Frame = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Motion = Callable[[float], Affine]


# Affines


def affine(
    *, shift: Vector = (0.0, 0.0), scale: float = 1.0, degrees: float = 0.0, shear: float = 0.0, about: Vector = (0, 0)
) -> Affine:
    """Shear along x, scale and turn about the point `about`, then shift.

    Positive degrees turn clockwise on the screen, because y points down. `shear` moves x by `shear` pixels for each
    pixel of y below `about`: the parallax of a plane like the surface of water under a camera that travels sideways.
    """
    angle = math.radians(degrees)
    cosine, sine = scale * math.cos(angle), scale * math.sin(angle)
    linear = np.array([[cosine, -sine], [sine, cosine]]) @ np.array([[1.0, shear], [0.0, 1.0]])
    origin = np.asarray(about, np.float64)
    return np.column_stack([linear, origin + np.asarray(shift, np.float64) - linear @ origin])


def compose(outer: Affine, inner: Affine) -> Affine:
    """The affine that applies `inner` first, then `outer`."""
    return np.column_stack([outer[:, :2] @ inner[:, :2], outer[:, :2] @ inner[:, 2] + outer[:, 2]])


def invert(matrix: Affine) -> Affine:
    """The inverse affine."""
    linear = np.linalg.inv(matrix[:, :2])
    return np.column_stack([linear, -linear @ matrix[:, 2]])


def carry(matrix: Affine, x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
    """Apply an affine to the points (x, y)."""
    return (
        matrix[0, 0] * x + matrix[0, 1] * y + matrix[0, 2],
        matrix[1, 0] * x + matrix[1, 1] * y + matrix[1, 2],
    )


# Layers and scenes


@dataclass(frozen=True)
class Layer:
    """A texture and the motion that carries it onto the screen."""

    name: str
    texture: Floats
    """HxWx4, in [0, 1], colour premultiplied by alpha."""
    motion: Motion
    """Time in frames -> affine from the texture to the screen."""
    endless: bool = False
    """Continue the texture beyond its border by reflection; otherwise it is transparent there."""

    def render(self, t: float, size: Size) -> Floats:
        """The layer alone in frame t, HxWx4, premultiplied, bicubic.

        OpenCV rounds the position of a bicubic sample to 1/32 pixel; flow and occlusion are not affected.
        """
        sampled = cv2.warpAffine(
            self.texture,
            self.motion(t),
            (size[1], size[0]),
            flags=cv2.INTER_CUBIC,
            borderMode=cv2.BORDER_REFLECT_101 if self.endless else cv2.BORDER_CONSTANT,
        )
        # Bicubic weights overshoot at edges; colour above alpha would glow in the composite.
        alpha = np.clip(sampled[..., 3:], 0.0, 1.0)
        return np.concatenate([np.clip(sampled[..., :3], 0.0, alpha), alpha], axis=2)

    def alpha(self, t: float, x: NDArray[np.float64], y: NDArray[np.float64]) -> Floats:
        """Alpha at points of the screen in frame t, bilinear."""
        u, v = carry(invert(self.motion(t)), x, y)
        sampled = cv2.remap(
            np.ascontiguousarray(self.texture[..., 3]),
            u.astype(np.float32),
            v.astype(np.float32),
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REFLECT_101 if self.endless else cv2.BORDER_CONSTANT,
        )
        return np.asarray(sampled, np.float32)


class Footage(Protocol):
    """A clip with ground truth: its frames, and the exact flow and occlusion of every pair of them."""

    @property
    def size(self) -> Size: ...

    @property
    def frame_count(self) -> int: ...

    def light(self, t: int) -> Floats:
        """Frame t before rounding, HxWx3 float32; sensor noise may leave [0, 1]."""
        ...

    def frame(self, t: int) -> Frame:
        """Frame t, HxWx3 uint8, RGB."""
        ...

    def flow(self, a: int, b: int) -> Floats:
        """Exact flow a -> b, HxWx2, (dx, dy)."""
        ...

    def occluded(self, a: int, b: int) -> Mask:
        """True where a pixel of frame a is not visible in frame b, HxW."""
        ...


@dataclass(frozen=True)
class Scene:
    """A stack of layers, from back to front, seen for `frame_count` frames."""

    size: Size
    frame_count: int
    layers: Sequence[Layer]
    noise_sigma: float = 0.0
    """Standard deviation of the sensor noise, in levels of 255; independent per frame, pixel and channel."""
    seed: int = 0
    """Seed of the noise: frame t draws from (seed, t), so frames may be rendered in any order."""

    def __post_init__(self) -> None:
        back = self.layers[0]
        if not back.endless or back.texture[..., 3].min() < 1.0:
            raise ValueError(f"the rearmost layer must be endless and opaque, or pixels have no owner: {back.name!r}")

    def light(self, t: int) -> Floats:
        _check_frames(self, t)
        light = np.zeros((*self.size, 3), np.float32)
        for layer in self.layers:
            sampled = layer.render(t, self.size)
            light = sampled[..., :3] + light * (1.0 - sampled[..., 3:])
        if self.noise_sigma > 0.0:
            noise = np.random.default_rng([self.seed, t]).standard_normal(light.shape, np.float32)
            light = light + noise * np.float32(self.noise_sigma / 255.0)
        return light

    def frame(self, t: int) -> Frame:
        return to_frame(self.light(t))

    def owner(self, t: int) -> NDArray[np.intp]:
        """Index into `layers` of the layer that each pixel of frame t belongs to, HxW."""
        _check_frames(self, t)
        x, y = pixel_grid(self.size)
        owner = np.zeros(self.size, np.intp)
        for index, layer in enumerate(self.layers[1:], start=1):
            owner[layer.alpha(t, x, y) > 0.5] = index
        return owner

    def flow(self, a: int, b: int) -> Floats:
        x, y = pixel_grid(self.size)
        to_x, to_y = self._destination(a, b, self.owner(a))
        return np.stack([to_x - x, to_y - y], axis=2).astype(np.float32)

    def occluded(self, a: int, b: int) -> Mask:
        owner = self.owner(a)
        x, y = self._destination(a, b, owner)
        # A rounding error must not move a static pixel on the border out of the frame.
        slack = 1e-6
        height, width = self.size
        occluded = (x < -slack) | (x > width - 1 + slack) | (y < -slack) | (y > height - 1 + slack)
        for index, layer in enumerate(self.layers[1:], start=1):
            occluded |= (owner < index) & (layer.alpha(b, x, y) > 0.5)
        return occluded

    def _destination(self, a: int, b: int, owner: NDArray[np.intp]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        _check_frames(self, a, b)
        x, y = pixel_grid(self.size)
        to_x, to_y = x.copy(), y.copy()
        for index in np.unique(owner):
            motion = self.layers[index].motion
            moved_x, moved_y = carry(compose(motion(b), invert(motion(a))), x, y)
            mine = owner == index
            to_x[mine], to_y[mine] = moved_x[mine], moved_y[mine]
        return to_x, to_y


class _TwoScenes:
    """Base of clips made of two scenes: flow and occlusion are those of the scene to which both frames belong."""

    def light(self, t: int) -> Floats:
        raise NotImplementedError

    def _shared(self, a: int, b: int) -> tuple[Footage, int]:
        """The scene that frames `a` and `b` both belong to, and the frame at which it begins."""
        raise NotImplementedError

    def frame(self, t: int) -> Frame:
        return to_frame(self.light(t))

    def flow(self, a: int, b: int) -> Floats:
        footage, start = self._shared(a, b)
        return footage.flow(a - start, b - start)

    def occluded(self, a: int, b: int) -> Mask:
        footage, start = self._shared(a, b)
        return footage.occluded(a - start, b - start)


@dataclass(frozen=True)
class Cut(_TwoScenes):
    """One scene, then another, with a hard cut."""

    first: Footage
    second: Footage

    @property
    def size(self) -> Size:
        return self.first.size

    @property
    def frame_count(self) -> int:
        return self.first.frame_count + self.second.frame_count

    @property
    def cut_frame(self) -> int:
        """Index of the first frame of the second scene."""
        return self.first.frame_count

    def light(self, t: int) -> Floats:
        footage, start = self._part(t)
        return footage.light(t - start)

    def _part(self, t: int) -> tuple[Footage, int]:
        _check_frames(self, t)
        return (self.first, 0) if t < self.cut_frame else (self.second, self.cut_frame)

    def _shared(self, a: int, b: int) -> tuple[Footage, int]:
        if (a < self.cut_frame) != (b < self.cut_frame):
            raise ValueError(f"flow is undefined across the cut at frame {self.cut_frame}: got frames {a} and {b}")
        _check_frames(self, b)
        return self._part(a)


@dataclass(frozen=True)
class Dissolve(_TwoScenes):
    """One scene, then another, blended linearly over the frames [blend_start, blend_stop).

    The weight of the second scene in frame t is (t - blend_start + 1) / (blend_stop - blend_start + 1): no blended
    frame is equal to either scene. The clock of the second scene starts at `blend_start`.
    """

    first: Footage
    second: Footage
    blend_start: int
    blend_stop: int

    def __post_init__(self) -> None:
        if not 0 < self.blend_start < self.blend_stop <= self.first.frame_count:
            raise ValueError(
                f"the blend must lie inside the first scene, of {self.first.frame_count} frames: "
                f"got [{self.blend_start}, {self.blend_stop})"
            )

    @property
    def size(self) -> Size:
        return self.first.size

    @property
    def frame_count(self) -> int:
        return self.blend_start + self.second.frame_count

    def weight(self, t: int) -> float:
        """Share of the second scene in frame t, in [0, 1]."""
        return min(max((t - self.blend_start + 1) / (self.blend_stop - self.blend_start + 1), 0.0), 1.0)

    def light(self, t: int) -> Floats:
        _check_frames(self, t)
        weight = self.weight(t)
        if weight == 0.0:
            return self.first.light(t)
        second = self.second.light(t - self.blend_start)
        if weight == 1.0:
            return second
        # Each scene is clipped as by a camera, so that noise beyond white does not enter the blend.
        first = self.first.light(t)
        return np.clip(first, 0.0, 1.0) * np.float32(1.0 - weight) + np.clip(second, 0.0, 1.0) * np.float32(weight)

    def _shared(self, a: int, b: int) -> tuple[Footage, int]:
        _check_frames(self, a, b)
        weights = self.weight(a), self.weight(b)
        if weights == (0.0, 0.0):
            return self.first, 0
        if weights == (1.0, 1.0):
            return self.second, self.blend_start
        raise ValueError(
            f"flow is undefined in and across the dissolve [{self.blend_start}, {self.blend_stop}): "
            f"got frames {a} and {b}"
        )


def to_frame(light: Floats) -> Frame:
    """Clip to [0, 1] and round to uint8."""
    return np.rint(np.clip(light, 0.0, 1.0) * 255.0).astype(np.uint8)


def _check_frames(footage: Footage, *indices: int) -> None:
    for t in indices:
        if not 0 <= t < footage.frame_count:
            raise ValueError(f"frame {t} is outside [0, {footage.frame_count})")


# Textures


def motley(size: Size, rng: np.random.Generator) -> Floats:
    """HxWx3 colours in [0.1, 0.9]: noise of several scales with sharp shapes on it, so that motion shows everywhere."""
    shape_scale = min(min(size) / 5.0, 24.0)
    tone = fractal(size, (12.0, 12.0), rng, octaves=3, gain=0.7, floor=3.0)
    colour = 0.5 + 0.13 * tone[..., None] + np.zeros(3, np.float32)
    for channel in range(3):
        colour[..., channel] += 0.09 * octave(size, (18.0, 18.0), rng)
    # Polygons are filled at four times the size: averaged down, their edges are ramps about one pixel wide.
    fine = cv2.resize(colour, (size[1] * 4, size[0] * 4), interpolation=cv2.INTER_LINEAR)
    for _ in range(max(8, size[0] * size[1] // 250)):
        centre = rng.uniform((0, 0), (size[1], size[0]))
        angles = np.sort(rng.uniform(0.0, 2.0 * math.pi, rng.integers(3, 9)))
        radii = shape_scale * rng.uniform(0.3, 1.0) * rng.uniform(0.6, 1.0, angles.size)
        corners = centre + np.stack([np.cos(angles), np.sin(angles)], axis=1) * radii[:, None]
        corners = np.rint(corners * 4.0).astype(np.int32)
        left, top = np.maximum(corners.min(axis=0), 0)
        right, bottom = np.maximum(corners.max(axis=0) + 1, 0)
        window = fine[top:bottom, left:right]
        shape = np.zeros(window.shape[:2], np.uint8)
        if shape.size > 0:
            cv2.fillPoly(shape, [corners - np.array([left, top], np.int32)], 1)
            window[shape > 0] = 0.8 * rng.uniform(0.05, 0.95, 3).astype(np.float32) + 0.2 * window[shape > 0]
    reduced = cv2.resize(fine, (size[1], size[0]), interpolation=cv2.INTER_AREA)
    return np.clip(np.asarray(cv2.GaussianBlur(reduced, (0, 0), 0.7), np.float32), 0.1, 0.9)


def blob(size: Size, rng: np.random.Generator) -> Floats:
    """A textured object with a wavy outline and an edge about one pixel wide, premultiplied."""
    x, y = pixel_grid(size)
    x, y = (x - (size[1] - 1) / 2.0) / (size[1] / 2.0 - 2.0), (y - (size[0] - 1) / 2.0) / (size[0] / 2.0 - 2.0)
    angle, radius = np.arctan2(y, x), np.hypot(x, y)
    outline = 0.9 + 0.07 * np.sin(3.0 * angle + rng.uniform(0.0, 6.0)) + 0.03 * np.sin(5.0 * angle)
    alpha = 0.5 + (outline - radius) * min(size) / 2.0
    # Warmer and brighter than the ground, so that colour as well as motion separates the object from it.
    colour = motley(size, rng) * np.array([0.7, 0.45, 0.3], np.float32) + np.array([0.3, 0.15, 0.0], np.float32)
    return masked(colour, alpha.astype(np.float32))


# Ready-made footage


def _ground(size: Size, seed: int, motion: Motion) -> Layer:
    margin = max(size) // 4
    texture = opaque(motley((size[0] + 2 * margin, size[1] + 2 * margin), np.random.default_rng(seed)))
    to_screen = affine(shift=(-margin, -margin))
    return Layer("ground", texture, lambda t: compose(motion(t), to_screen), endless=True)


def _centre(size: Size) -> Vector:
    return (size[1] - 1) / 2.0, (size[0] - 1) / 2.0


def pan(size: Size, frame_count: int, seed: int, *, velocity: Vector = (1.6, -0.7)) -> Scene:
    """A plane that moves by `velocity` pixels a frame."""
    ground = _ground(size, seed, lambda t: affine(shift=(velocity[0] * t, velocity[1] * t)))
    return Scene(size, frame_count, [ground])


def zoom(size: Size, frame_count: int, seed: int, *, rate: float = 1.02) -> Scene:
    """A plane that grows by the factor `rate` a frame, about the centre."""
    ground = _ground(size, seed, lambda t: affine(scale=rate**t, about=_centre(size)))
    return Scene(size, frame_count, [ground])


def rotation(size: Size, frame_count: int, seed: int, *, degrees: float = 1.5) -> Scene:
    """A plane that turns clockwise by `degrees` a frame, about the centre."""
    ground = _ground(size, seed, lambda t: affine(degrees=degrees * t, about=_centre(size)))
    return Scene(size, frame_count, [ground])


def occluder(
    size: Size,
    frame_count: int,
    seed: int,
    *,
    velocity: Vector = (2.25, 0.5),
    ground_velocity: Vector = (-0.75, 0.25),
) -> Scene:
    """An object that passes over a moving plane, and is at the centre in the middle of the footage."""
    ground = _ground(size, seed, lambda t: affine(shift=(ground_velocity[0] * t, ground_velocity[1] * t)))
    texture = blob((round(size[0] * 0.5), round(size[1] * 0.35)), np.random.default_rng([seed, 1]))
    centre, own_centre = _centre(size), _centre(texture.shape[:2])
    middle = (frame_count - 1) / 2.0

    def motion(t: float) -> Affine:
        return affine(
            shift=(
                centre[0] - own_centre[0] + velocity[0] * (t - middle),
                centre[1] - own_centre[1] + velocity[1] * (t - middle),
            )
        )

    return Scene(size, frame_count, [ground, Layer("object", texture, motion)])


def still(size: Size, frame_count: int, seed: int, *, sigma: float = 2.0) -> Scene:
    """A shot in which nothing moves but the sensor noise, of standard deviation `sigma` in levels of 255."""
    return Scene(size, frame_count, [_ground(size, seed, lambda t: affine())], noise_sigma=sigma, seed=seed)


def cut(size: Size, frame_count: int, seed: int, *, cut_frame: int | None = None) -> Cut:
    """A pan, then an unlike pan from `cut_frame` on; by default at the middle."""
    start = frame_count // 2 if cut_frame is None else cut_frame
    return Cut(*_unlike_pans(size, start, frame_count - start, seed))


def dissolve(size: Size, frame_count: int, seed: int, *, blend: tuple[int, int] | None = None) -> Dissolve:
    """A pan that dissolves into an unlike pan over the frames `blend`, half-open; by default the middle third."""
    start, stop = (frame_count // 3, frame_count - frame_count // 3) if blend is None else blend
    return Dissolve(*_unlike_pans(size, stop, frame_count - start, seed), start, stop)


def _unlike_pans(size: Size, first_count: int, second_count: int, seed: int) -> tuple[Scene, Scene]:
    """Two pans that every detector tells apart, by palette and direction: cool and dark, warm and bright."""
    first = pan(size, first_count, seed)
    second = pan(size, second_count, seed + 1, velocity=(-1.1, 0.9))
    return (
        _tinted(first, (0.25, 0.5, 0.8), (0.0, 0.02, 0.1)),
        _tinted(second, (0.6, 0.5, 0.35), (0.38, 0.28, 0.05)),
    )


def _tinted(scene: Scene, gain: tuple[float, float, float], offset: tuple[float, float, float]) -> Scene:
    ground = scene.layers[0]
    colour = ground.texture[..., :3] * np.asarray(gain, np.float32) + np.asarray(offset, np.float32)
    return Scene(scene.size, scene.frame_count, [Layer(ground.name, opaque(colour), ground.motion, endless=True)])
