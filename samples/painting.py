"""An oil painting made of thousands of curved brush strokes: a bay at dusk, with a low sun and lights that swirl.

Strokes follow a smooth orientation field, from broad to fine, and take their colour from an underpainting. Each has
the streaks of its bristles along it, lays down paint of some thickness, and the finished surface is lit as a height
field. In outline this is Hertzmann's painterly rendering with brush strokes of multiple sizes (1998), with the lit
paint of his Fast Paint Texture (2002); here there is no photograph behind the strokes, but a composition in code.

Convention: the composition lives in units of the picture height, u to the right in [0, aspect], v down in [0, 1].
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np

from samples.scenes import Frame, to_frame
from samples.textures import Floats, Size, bump, fractal, octave, pixel_grid, smooth

ULTRAMARINE = (0.07, 0.09, 0.36)
COBALT = (0.10, 0.28, 0.66)
CERULEAN = (0.25, 0.55, 0.78)
VIRIDIAN = (0.05, 0.36, 0.31)
SAP_GREEN = (0.30, 0.44, 0.14)
CADMIUM_YELLOW = (0.98, 0.79, 0.16)
ORANGE = (0.95, 0.51, 0.12)
VERMILION = (0.86, 0.25, 0.14)
CRIMSON = (0.50, 0.09, 0.20)
VIOLET = (0.30, 0.17, 0.45)
OFF_WHITE = (0.97, 0.94, 0.82)
INK = (0.04, 0.05, 0.16)

PALETTE = np.array(
    [
        ULTRAMARINE,
        COBALT,
        CERULEAN,
        VIRIDIAN,
        SAP_GREEN,
        CADMIUM_YELLOW,
        ORANGE,
        VERMILION,
        CRIMSON,
        VIOLET,
        OFF_WHITE,
        INK,
    ],
    np.float32,
)

HORIZON = 0.60
OVERSCAN = 0.05
"""Painted beyond each edge and cut off, in units of the picture height, so that no stroke ends at the frame."""


@dataclass(frozen=True)
class Swirl:
    """A light in the sky that the strokes wind around."""

    u: float
    v: float
    radius: float
    turn: float
    """Strength of the winding; the sign is the direction."""
    core: tuple[float, float, float]
    halo: tuple[float, float, float]


SWIRLS = (
    Swirl(0.83, 0.40, 0.205, 1.9, OFF_WHITE, ORANGE),
    Swirl(0.27, 0.20, 0.150, -1.7, OFF_WHITE, CADMIUM_YELLOW),
    Swirl(0.60, 0.12, 0.070, 1.3, CADMIUM_YELLOW, CERULEAN),
    Swirl(1.10, 0.13, 0.090, -1.4, OFF_WHITE, CERULEAN),
    Swirl(0.07, 0.43, 0.060, 1.2, CADMIUM_YELLOW, CERULEAN),
    Swirl(0.47, 0.40, 0.070, -1.5, OFF_WHITE, CERULEAN),
)


@dataclass(frozen=True)
class Pass:
    """One layer of strokes, all of about one brush."""

    width: float
    """Of the brush, in units of the picture height."""
    length: float
    """Of a stroke, in widths of the brush."""
    coverage: float
    """Area of all strokes over the area that they may go to."""
    jitter: float
    """Spread of the colours mixed on the palette."""
    detail: float
    """Lowest value of the detail map, in [0, 1], at which a stroke may start."""


PASSES = (
    Pass(0.062, 5.0, 2.2, 0.045, 0.0),
    Pass(0.034, 7.0, 2.2, 0.065, 0.0),
    Pass(0.021, 8.5, 1.7, 0.085, 0.0),
    Pass(0.0125, 9.0, 1.3, 0.10, 0.28),
    Pass(0.0075, 10.0, 1.1, 0.11, 0.40),
)


def paint(size: Size, seed: int, *, passes: Sequence[Pass] = PASSES) -> Frame:
    """The painting, HxWx3 uint8; the number of strokes depends on the passes, not on the size."""
    # Painted at twice the size and averaged down: the finest bristles and their lit ridges are below one pixel.
    margin = round(2 * size[0] * OVERSCAN)
    canvas_size = (size[0] * 2 + 2 * margin, size[1] * 2 + 2 * margin)
    rng = np.random.default_rng(seed)
    composition = Composition(canvas_size, margin, rng)
    canvas = Canvas(canvas_size, 2 * size[0], rng)
    for brush in passes:
        lay_strokes(canvas, composition, brush, rng)
    surface = canvas.lit()[margin:-margin, margin:-margin]
    return to_frame(cv2.resize(surface, (size[1], size[0]), interpolation=cv2.INTER_AREA))


class Composition:
    """The composition that the strokes follow: colour, direction and detail at every pixel of the canvas."""

    def __init__(self, size: Size, margin: int, rng: np.random.Generator) -> None:
        """`size` is that of the canvas, with a `margin` at each side of the picture, both in pixels."""
        self.size = size
        self.height = height = size[0] - 2 * margin
        x, y = pixel_grid(size)
        u, v = ((x - margin) / height).astype(np.float32), ((y - margin) / height).astype(np.float32)
        wobble = fractal(size, (height * 0.25, height * 0.4), rng, octaves=4)

        far = HORIZON - 0.06 - 0.045 * bump(u, 0.32, 0.20) - 0.065 * bump(u, 0.0, 0.16)
        far = far + 0.018 * np.sin(u * 17.0) + 0.008 * wobble + 0.075 * bump(u, 0.86, 0.22)
        near = HORIZON + 0.035 - 0.135 * bump(u, 1.30, 0.20) - 0.03 * bump(u, 1.02, 0.10) + 0.010 * wobble
        near = near + 0.10 * smooth(0.98, 0.82, u)
        bank = 0.93 - 0.20 * smooth(0.62, -0.05, u) - 0.03 * np.sin(u * 9.0 + 0.6) + 0.012 * wobble
        self.is_far = (v > far) & (v < HORIZON)
        self.is_near = (v > near) & (v < HORIZON + 0.035)
        self.is_bank = v > bank
        self.is_water = (v >= HORIZON) & ~self.is_near & ~self.is_bank
        self.is_sky = ~(self.is_far | self.is_near | self.is_bank | self.is_water)

        self.colour = self._colours(u, v, wobble, far, near, bank, rng)
        self.direction = self._directions(u, v, wobble, far, rng)
        self.detail = self._details(u, v)

    def _colours(
        self, u: Floats, v: Floats, wobble: Floats, far: Floats, near: Floats, bank: Floats, rng: np.random.Generator
    ) -> Floats:
        size, height = self.size, self.height
        sun = SWIRLS[0]
        sky = _ramp(
            v / HORIZON + 0.09 * wobble - 0.10 * bump(u, sun.u, 0.45),
            (0.0, 0.28, 0.50, 0.66, 0.80, 0.97),
            (ULTRAMARINE, COBALT, (0.13, 0.38, 0.66), (0.42, 0.60, 0.62), (0.93, 0.66, 0.30), (0.93, 0.45, 0.20)),
        )
        bands = np.sin(34.0 * v + 3.2 * np.sin(4.0 * u) + 1.6 * wobble)
        sky = _mix(sky, INK, 0.30 * smooth(0.3, 1.0, -bands) * smooth(0.5, 0.1, v))
        sky = _mix(sky, CERULEAN, 0.45 * smooth(0.3, 1.0, bands) * smooth(0.55, 0.2, v))
        for swirl in SWIRLS:
            du, dv = u - swirl.u, v - swirl.v
            radius, angle = np.hypot(du, dv), np.arctan2(dv, du)
            # Rings that wind inwards, so that the light itself is a spiral.
            rings = 0.5 + 0.5 * np.sin(radius / swirl.radius * 15.0 + math.copysign(1.0, swirl.turn) * angle * 2.0)
            glow = np.exp(-((radius / swirl.radius) ** 2) * 1.1)
            sky = _mix(sky, swirl.halo, np.clip(glow * (0.35 + 0.75 * rings), 0.0, 1.0))
            sky = _mix(sky, CADMIUM_YELLOW, smooth(0.62, 0.36, radius / swirl.radius) * (0.55 + 0.45 * rings))
            sky = _mix(sky, swirl.core, smooth(0.40, 0.26, radius / swirl.radius))
        sky = _mix(sky, VERMILION, 0.75 * smooth(0.35, 0.9, bands) * bump(v, 0.55, 0.06) * bump(u, 0.8, 0.5))

        stripes = octave(size, (height * 0.012, height * 0.11), rng)
        hills = _ramp((v - far) / 0.13 + 0.12 * stripes, (0.0, 0.5, 1.0), (COBALT, VIOLET, ULTRAMARINE))
        hills = _mix(hills, ORANGE, 0.85 * smooth(0.020, 0.004, v - far) * bump(u, 0.75, 0.45))
        hills = _mix(hills, CRIMSON, 0.55 * bump(u, sun.u, 0.25))

        patches = octave(size, (height * 0.03, height * 0.06), rng)
        wood = _ramp((v - near) / 0.14 + 0.25 * patches, (0.0, 0.35, 1.0), (SAP_GREEN, VIRIDIAN, (0.03, 0.14, 0.20)))
        wood = _mix(wood, CADMIUM_YELLOW, 0.8 * smooth(0.022, 0.006, v - near) * bump(u, 1.0, 0.22))

        depth = (v - HORIZON) / (1.0 - HORIZON)
        ripple = octave(size, (height * 0.016, height * 0.12), rng) + 0.6 * np.sin(
            95.0 * np.abs(depth) ** 0.7 + 5.0 * wobble
        )
        water = _ramp(
            depth + 0.13 * ripple,
            (0.0, 0.22, 0.55, 1.0),
            ((0.85, 0.52, 0.30), (0.20, 0.46, 0.62), COBALT, ULTRAMARINE),
        )
        water = _mix(water, VIRIDIAN, 0.45 * smooth(0.5, 1.4, patches) * smooth(0.1, 0.4, depth))
        for swirl in SWIRLS:
            # A column of broken light below each swirl, wider as it comes nearer.
            spread = swirl.radius * ((0.55 if swirl is sun else 0.30) + 0.55 * depth)
            column = bump(u + 0.012 * ripple, swirl.u, spread) * smooth(-0.9, 0.5, ripple)
            strength = 1.0 if swirl is sun else 0.55 * smooth(1.0, 0.2, depth)
            water = _mix(water, VERMILION if swirl is sun else swirl.halo, 0.9 * strength * column)
            column = bump(u + 0.02 * ripple, swirl.u, spread * 0.6) * smooth(-0.2, 0.8, ripple)
            water = _mix(water, CADMIUM_YELLOW, strength * column)
            water = _mix(water, OFF_WHITE, strength * smooth(0.75, 1.0, column) * smooth(0.9, 0.2, depth))

        tufts = octave(size, (height * 0.05, height * 0.022), rng)
        grass = _ramp(
            (v - bank) / 0.22 + 0.28 * tufts,
            (-0.2, 0.15, 0.5, 1.0),
            ((0.62, 0.66, 0.18), SAP_GREEN, VIRIDIAN, (0.03, 0.12, 0.20)),
        )
        flowers = octave(size, (height * 0.016, height * 0.020), rng)
        grass = _mix(grass, VERMILION, smooth(0.95, 1.25, flowers))
        grass = _mix(grass, ORANGE, smooth(1.25, 1.6, -flowers) * smooth(0.0, 0.6, u))
        grass = _mix(grass, OFF_WHITE, 0.9 * smooth(2.1, 2.4, np.abs(tufts)))

        colour = sky
        for region, paint_of_region in (
            (self.is_far, hills),
            (self.is_water, water),
            (self.is_near, wood),
            (self.is_bank, grass),
        ):
            colour = np.where(region[..., None], paint_of_region, colour)
        return np.ascontiguousarray(colour, np.float32)

    def _directions(self, u: Floats, v: Floats, wobble: Floats, far: Floats, rng: np.random.Generator) -> Floats:
        """Unit vectors along the strokes, HxWx2, (dx, dy)."""
        height = self.height
        wave = 0.55 * np.sin(5.2 * u + 2.2 * np.sin(6.0 * v)) + 0.35 * wobble
        across, along = np.cos(wave), np.sin(wave)
        for swirl in SWIRLS:
            du, dv = u - swirl.u, v - swirl.v
            radius = np.hypot(du, dv) + 1e-4
            # None at the centre itself, where a spiral has no direction and no stroke could start.
            pull = np.exp(-((radius / (1.45 * swirl.radius)) ** 2)) * 3.2 * swirl.turn
            pull = pull * smooth(0.02, 0.16, radius / swirl.radius)
            # A small inward component turns rings into spirals.
            across = across + pull * (-dv - 0.28 * math.copysign(1.0, swirl.turn) * du) / radius
            along = along + pull * (du - 0.28 * math.copysign(1.0, swirl.turn) * dv) / radius
        angle = np.arctan2(along, across)

        slope = np.gradient(far[0]) * height
        hills = np.broadcast_to(np.arctan(1.3 * slope), u.shape) + 0.35 * wobble
        wood = -0.45 + 0.9 * wobble
        water = 0.10 * np.sin(9.0 * u + 26.0 * v) + 0.07 * wobble
        grass = -1.35 + 0.45 * np.sin(7.0 * u + 3.0 * v) + 0.40 * wobble
        for region, angle_of_region in (
            (self.is_far, hills),
            (self.is_water, water),
            (self.is_near, wood),
            (self.is_bank, grass),
        ):
            angle = np.where(region, angle_of_region, angle)
        angle = angle + 0.10 * octave(self.size, (height * 0.06, height * 0.06), rng)
        return np.stack([np.cos(angle), np.sin(angle)], axis=2).astype(np.float32)

    def _details(self, u: Floats, v: Floats) -> Floats:
        grey = cv2.GaussianBlur(self.colour.mean(axis=2), (0, 0), self.height / 250.0)
        edges = np.hypot(cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1)) * self.height
        detail = 0.30 * smooth(4.0, 40.0, cv2.GaussianBlur(edges, (0, 0), self.height / 160.0))
        for swirl in SWIRLS:
            detail = detail + 0.50 * np.exp(-((np.hypot(u - swirl.u, v - swirl.v) / max(swirl.radius, 0.08)) ** 2))
        detail = detail + 0.34 * self.is_bank + 0.28 * self.is_near + 0.30 * self.is_water * bump(u, SWIRLS[0].u, 0.30)
        return np.clip(detail + 0.12, 0.0, 1.0).astype(np.float32)


class Canvas:
    """Paint on a ground: its colour and its thickness at every pixel."""

    def __init__(self, size: Size, height: int, rng: np.random.Generator) -> None:
        """`height` is that of the picture without its margins; the relief is scaled by it."""
        self.size = size
        self.height = height
        # A warm ground, as painters use it: what shines through between strokes unites the picture.
        ground = np.asarray((0.42, 0.22, 0.13), np.float32)
        weave = octave(size, (3.0, 3.0), rng)
        self.colour = np.ascontiguousarray(np.broadcast_to(ground, (*size, 3)) + 0.02 * weave[..., None])
        self.thickness = 0.12 * weave

    def dab(self, path: Floats, width: float, colour: Floats, load: float, rng: np.random.Generator) -> None:
        """One stroke along `path`, Nx2 points (x, y), of the given width in pixels, with `load` of paint on the brush.

        Each pixel near the path takes the coordinates of the nearest point on it: s along, r across. Streaks are
        noise over (s, r) that is stretched along s, as a bristle draws it.
        """
        reach = width * 0.5 + 2.0
        left, top = np.maximum(np.floor(path.min(axis=0) - reach), 0).astype(int)
        right, bottom = np.minimum(np.ceil(path.max(axis=0) + reach) + 1, (self.size[1], self.size[0])).astype(int)
        if right <= left or bottom <= top:
            return
        s, r, length = _stroke_coordinates(path, int(left), int(top), int(right), int(bottom))

        columns = max(4, int(length / (width * 1.6)))
        rows = int(np.clip(width / 1.7, 5, 26))
        bristles = rng.standard_normal((rows, 1), np.float32) + 0.45 * rng.standard_normal((rows, columns), np.float32)
        at_column = np.clip(s / length, 0.0, 1.0) * (columns - 1)
        at_row = np.clip(r / width + 0.5, 0.0, 1.0) * (rows - 1)
        streak = cv2.remap(bristles, at_column, at_row, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)

        # The brush lands rounded, and lifts with each bristle leaving the canvas at another point.
        side = np.abs(r) / (width * 0.5)
        start = s + width * 0.12 * streak - width * 0.30 * side**2
        end = length - s + width * 0.45 * streak - width * 0.35 * side**2
        edge = np.clip(0.5 + (width * 0.5 * (1.0 + 0.05 * streak) - np.abs(r)) / 1.4, 0.0, 1.0)
        alpha = edge * smooth(-1.0, 1.0, start) * smooth(-0.02 * width - 1.0, 0.25 * width + 1.0, end)
        # A brush runs dry towards the end of the stroke, and shows what is below between the bristles.
        dryness = smooth(0.45, 1.0, s / length)
        alpha = alpha * (1.0 - 0.75 * dryness * smooth(0.1, 1.1, -streak)) * 0.97

        window = (slice(int(top), int(bottom)), slice(int(left), int(right)))
        ridge = 0.55 * smooth(0.55, 0.92, side) + 0.7 * smooth(width * 0.5, 0.0, end)
        paint = load * (0.55 + 0.30 * streak + ridge)
        tint = 1.0 + 0.055 * streak + 0.05 * (r / width)
        blended = alpha[..., None]
        self.colour[window] += blended * (colour * tint[..., None] - self.colour[window])
        below = self.thickness[window]
        # Fresh paint levels a part of what is below it and stands on the rest.
        self.thickness[window] = below + alpha * (0.45 * below + paint - below)

    def lit(self) -> Floats:
        """The surface under a lamp at the upper left, HxWx3."""
        scale = self.height / 1024.0
        thickness = cv2.GaussianBlur(self.thickness, (0, 0), 0.9 * scale)
        broad = cv2.GaussianBlur(self.thickness, (0, 0), 3.0 * scale)
        relief = 0.7 * thickness + 0.3 * broad
        slope_x = cv2.Sobel(relief, cv2.CV_32F, 1, 0) / 8.0 / scale
        slope_y = cv2.Sobel(relief, cv2.CV_32F, 0, 1) / 8.0 / scale
        steep = 2.3
        normal = np.stack([-steep * slope_x, -steep * slope_y, np.ones_like(slope_x)], axis=2)
        normal /= np.linalg.norm(normal, axis=2, keepdims=True)
        lamp = np.array([-0.50, -0.58, 0.64], np.float32)
        lamp /= np.linalg.norm(lamp)
        shade = normal @ lamp / lamp[2]
        halfway = lamp + np.array([0.0, 0.0, 1.0], np.float32)
        halfway /= np.linalg.norm(halfway)
        gloss = np.clip(normal @ halfway, 0.0, 1.0) ** 38
        flat_gloss = float(halfway[2]) ** 38
        lit = np.clip(self.colour, 0.0, 1.0) * (0.42 + 0.58 * np.clip(shade, 0.15, 1.7))[..., None]
        return lit + 0.16 * (gloss - flat_gloss)[..., None]


def lay_strokes(canvas: Canvas, composition: Composition, brush: Pass, rng: np.random.Generator) -> None:
    """One pass over the canvas, in random order."""
    width = brush.width * composition.height
    allowed = composition.detail >= brush.detail
    area = float(allowed.sum())
    starts = np.argwhere(allowed)
    count = int(brush.coverage * area / (width * width * brush.length * 0.8))
    for row, column in starts[rng.integers(0, len(starts), count)]:
        sway = rng.uniform(0.75, 1.25)
        own_width = max(width * sway, 3.0)
        path = trace(composition, (float(column), float(row)), own_width, brush.length * rng.uniform(0.55, 1.25), rng)
        if len(path) < 3:
            continue
        middle = path[len(path) // 2].astype(int)
        colour = composition.colour[middle[1], middle[0]]
        # Value and hue vary apart: painters break a colour into lighter, darker, warmer and cooler neighbours.
        # Each stroke leans to one pigment near its colour, or the mixtures between warm and cold would be grey.
        affinity = np.exp(-((PALETTE - colour) ** 2).sum(axis=1) / 0.07) + 1e-9
        pigment = PALETTE[rng.choice(len(PALETTE), p=affinity / affinity.sum())]
        value = 1.0 + brush.jitter * 1.5 * rng.standard_normal()
        warmth = brush.jitter * rng.standard_normal() * np.array([0.55, 0.05, -0.6])
        mixed = (0.5 * colour + 0.5 * pigment) * value + warmth + 0.3 * brush.jitter * rng.standard_normal(3)
        canvas.dab(path, own_width, np.clip(mixed, 0.015, 0.99).astype(np.float32), rng.uniform(0.7, 1.3), rng)


def trace(
    composition: Composition, start: tuple[float, float], width: float, lengths: float, rng: np.random.Generator
) -> Floats:
    """Follow the direction field both ways from `start`, until the length is spent or the colour changes; Nx2."""
    height, breadth = composition.size
    step = max(width * 0.4, 2.0)
    steps = max(2, int(lengths * width / step / 2.0))
    x, y = start
    own = composition.colour[int(y), int(x)]
    bend = rng.normal(0.0, 0.06)
    halves: list[list[tuple[float, float]]] = []
    for sign in (-1.0, 1.0):
        x, y = start
        before = sign * composition.direction[int(y), int(x)]
        points: list[tuple[float, float]] = []
        for index in range(steps):
            ahead = composition.direction[int(y), int(x)]
            # The field has no sign: take the sense that continues the stroke.
            ahead = ahead if float(ahead @ before) >= 0.0 else -ahead
            ahead = 0.6 * ahead + 0.4 * before
            angle = math.atan2(ahead[1], ahead[0]) + sign * bend * 0.3
            before = np.array([math.cos(angle), math.sin(angle)], np.float32)
            x, y = x + step * float(before[0]), y + step * float(before[1])
            if not (0.0 <= x < breadth and 0.0 <= y < height):
                break
            if index > 1 and float(np.abs(composition.colour[int(y), int(x)] - own).sum()) > 0.75:
                break
            points.append((x, y))
        halves.append(points)
    return np.array([*reversed(halves[0]), start, *halves[1]], np.float32)


def _stroke_coordinates(path: Floats, left: int, top: int, right: int, bottom: int) -> tuple[Floats, Floats, float]:
    """Distance along the path, signed distance across it, and its length, for the pixels of a window."""
    x, y = np.meshgrid(np.arange(left, right, dtype=np.float32), np.arange(top, bottom, dtype=np.float32))
    nearest = np.full(x.shape, np.inf, np.float32)
    s, r = np.zeros_like(x), np.zeros_like(x)
    travelled = 0.0
    last = len(path) - 2
    for index, (begin, finish) in enumerate(pairwise(path)):
        span = finish - begin
        length = float(np.hypot(*span)) + 1e-6
        along_x, along_y = float(span[0]) / length, float(span[1]) / length
        rel_x, rel_y = x - begin[0], y - begin[1]
        along = rel_x * along_x + rel_y * along_y
        across = rel_y * along_x - rel_x * along_y
        # The first and last segments go on past their ends, so that the ends can be shaped there.
        clamped = np.clip(along, -np.inf if index == 0 else 0.0, np.inf if index == last else length)
        distance = (along - clamped) ** 2 + across**2
        closer = distance < nearest
        nearest = np.where(closer, distance, nearest)
        s = np.where(closer, travelled + clamped, s)
        r = np.where(closer, np.copysign(np.sqrt(distance), across), r)
        travelled += length
    return s, r, travelled


def _mix(colour: Floats, other: tuple[float, float, float], weight: Floats) -> Floats:
    return colour + weight[..., None] * (np.asarray(other, np.float32) - colour)


def _ramp(value: Floats, stops: tuple[float, ...], colours: tuple[tuple[float, float, float], ...]) -> Floats:
    """Colours between the stops, HxWx3."""
    return np.stack([np.interp(value, stops, channel) for channel in zip(*colours, strict=True)], axis=2).astype(
        np.float32
    )
