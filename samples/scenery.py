"""A photo-like landscape from fractal terrain: mountains behind a lake, lit by a low sun from the left.

The terrain is a height map whose octaves are damped where the slope is already steep, which leaves sharp ridges and
smooth valleys as erosion does (after the terrain of Quilez, 2008). It is seen by marching rays column by column from
the eye outwards. The lake shows the same terrain from the eye mirrored in the water.

Convention: the world is (x, z) in kilometres, x to the right, z away from the eye, heights in kilometres above the
lake. Colour is linear light until `develop` makes it sRGB. Textures are premultiplied RGBA.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from samples.scenes import Frame, affine, to_frame
from samples.textures import Floats, Size, bump, fractal, octave, pixel_grid, rgb, smooth

SUNLIGHT = rgb(2.30, 1.62, 0.98)
SKYLIGHT = rgb(0.13, 0.20, 0.36)
HAZE = rgb(0.40, 0.47, 0.60)
SUN_ELEVATION = math.radians(19.0)

MAP_EXTENT = 16.0
"""Side of the terrain, in kilometres."""


@dataclass(frozen=True)
class View:
    """A camera above the lake that looks along z."""

    size: Size
    focal: float
    """In pixels."""
    horizon: float
    """Row of the horizon, in pixels."""
    eye: float = 0.035
    """Height above the water, in kilometres."""


@dataclass(frozen=True)
class Rendering:
    """What the rays of a view hit."""

    colour: Floats
    """HxWx3, linear; undefined where nothing was hit."""
    depth: Floats
    """HxW, kilometres; infinite where nothing was hit."""
    water: NDArray[np.bool_]
    """HxW, where the ray hit the lake."""


class Terrain:
    """Heights and lit colours on a square map, x in [-extent / 2, extent / 2], z in [0, extent]."""

    def __init__(self, resolution: int, rng: np.random.Generator) -> None:
        self.resolution = resolution
        self.texel = MAP_EXTENT / resolution
        column, row = pixel_grid((resolution, resolution))
        x = (column * self.texel - MAP_EXTENT / 2.0).astype(np.float32)
        z = (row * self.texel).astype(np.float32)

        rough = self._eroded(2.6, rng)
        hills = self._eroded(0.9, rng)
        wide = octave(x.shape, (1.6 / self.texel,) * 2, rng)
        # The shore comes nearer at both sides, so that the lake is a bay.
        shore = 2.9 + 0.35 * wide - 1.5 * smooth(0.9, 2.6, np.abs(x + 0.15))
        inland = z - shore
        massif = 1.25 * bump(x, 1.5, 1.5) * bump(z, 8.3, 2.2) + 0.75 * bump(x, -3.0, 1.7) * bump(z, 7.0, 2.0)
        massif = massif + 0.70 * bump(x, -0.7, 1.1) * bump(z, 10.5, 2.2) + 0.75 * bump(x, 5.0, 1.6) * bump(z, 8.0, 2.0)
        height = massif * (1.0 + 0.25 * rough) + 0.42 * smooth(1.2, 6.0, inland) * rough
        height = (
            height
            + 0.10 * smooth(0.0, 1.5, inland) * (hills + 0.9)
            + 0.22 * smooth(1.6, 3.4, np.abs(x)) * smooth(0.0, 1.5, inland) * (0.8 + 0.5 * hills)
        )
        height = height + 0.03 * inland.clip(-1.0, 1.0)
        self.height = np.where(inland < 0.0, np.minimum(height, -0.005), height).astype(np.float32)
        self.colour, self.forest = self._lit(rng)

    def _eroded(self, cell: float, rng: np.random.Generator) -> Floats:
        """Fractal noise whose finer octaves fade on slopes; `cell` is its largest grain in kilometres."""
        shape = (self.resolution, self.resolution)
        total = np.zeros(shape, np.float32)
        slope_x, slope_y = np.zeros_like(total), np.zeros_like(total)
        grain, strength = cell / self.texel, 1.0
        while grain > 1.5:
            noise = turned_octave(shape, grain, rng)
            if strength > 0.2:
                # Ridges instead of domes, for the large forms.
                noise = 1.35 * (0.8 - np.abs(noise)) + 0.25 * noise
            # Slopes are taken over a part of the grain: on the crest of a ridge they vanish, and spires would grow.
            wide = cv2.GaussianBlur(noise, (0, 0), 0.12 * grain)
            slope_y += strength * grain * np.gradient(wide, axis=0)
            slope_x += strength * grain * np.gradient(wide, axis=1)
            total += strength * noise / (1.0 + 0.06 * (slope_x**2 + slope_y**2))
            grain, strength = grain / 2.0, strength * 0.56
        return total

    def _lit(self, rng: np.random.Generator) -> tuple[Floats, Floats]:
        shape = self.height.shape
        slope_y, slope_x = (np.asarray(g, np.float32) / self.texel for g in np.gradient(self.height))
        normal = np.stack([-slope_x, np.ones_like(slope_x), -slope_y], axis=2)
        normal /= np.linalg.norm(normal, axis=2, keepdims=True)
        upright = normal[..., 1]
        # A little from behind the eye: faces that look at the eye are not all black.
        sun = np.array([-math.cos(SUN_ELEVATION) * 0.90, math.sin(SUN_ELEVATION), -math.cos(SUN_ELEVATION) * 0.42])
        direct = np.clip(normal @ (sun / np.linalg.norm(sun)).astype(np.float32), 0.0, 1.0)

        # Cast shadows run along the rows: a point is lit if no point to its left stands above the ray to the sun.
        ray = self.height + np.arange(shape[1], dtype=np.float32) * self.texel * math.tan(SUN_ELEVATION)
        hidden = np.maximum.accumulate(ray, axis=1) - ray
        direct = direct * smooth(0.05, 0.0, hidden)
        blurred = cv2.GaussianBlur(self.height, (0, 0), 0.12 / self.texel)
        openness = np.clip(0.80 + 3.5 * (self.height - blurred), 0.25, 1.2)

        mottle = fractal(shape, (0.5 / self.texel,) * 2, rng, octaves=7, gain=0.7, floor=1.0)
        strata = np.sin(self.height * 95.0 + 2.2 * mottle)
        rock = rgb(0.19, 0.165, 0.15) * (1.0 + 0.20 * mottle + 0.12 * strata)[..., None]
        meadow = rgb(0.135, 0.145, 0.045) * (1.0 + 0.22 * mottle)[..., None]
        wood = rgb(0.030, 0.050, 0.024) * (1.0 + 0.35 * mottle)[..., None]
        snow = rgb(0.86, 0.89, 0.95) * (1.0 + 0.02 * mottle)[..., None]
        is_meadow = smooth(0.95, 0.70, self.height + 0.10 * mottle) * smooth(0.60, 0.78, upright)
        is_forest = smooth(0.66, 0.50, self.height + 0.09 * mottle) * smooth(0.55, 0.70, upright + 0.04 * mottle)
        is_snow = smooth(0.72, 1.02, self.height + 0.14 * mottle) * smooth(0.40, 0.60, upright + 0.06 * mottle)
        albedo = rock
        for cover, amount in ((meadow, is_meadow), (wood, is_forest * 0.92), (snow, is_snow)):
            albedo = albedo + amount[..., None] * (cover - albedo)
        light = SUNLIGHT * direct[..., None] * 1.25 + SKYLIGHT * (openness * (0.55 + 0.45 * upright))[..., None]
        return (albedo * light).astype(np.float32), is_forest

    def to_map(self, x: NDArray[np.floating], z: NDArray[np.floating]) -> tuple[Floats, Floats]:
        """Column and row of a position on the map."""
        return (
            ((x + MAP_EXTENT / 2.0) / self.texel).astype(np.float32),
            (z / self.texel).astype(np.float32),
        )

    def sample(self, field: Floats, x: NDArray[np.floating], z: NDArray[np.floating]) -> Floats:
        """A field of the map at positions of the world, bilinear."""
        return cv2.remap(field, *self.to_map(x, z), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)

    def render(self, view: View, near: float, far: float, *, mirrored: bool = False) -> Rendering:
        """March rays from `near` to `far` and shade what they meet; `mirrored` sees it from below the water."""
        rows, columns = view.size
        eye = -view.eye if mirrored else view.eye
        steps = 1100
        z = np.geomspace(near, far, steps).astype(np.float32)
        across = (np.arange(columns, dtype=np.float32) - (columns - 1) / 2.0) / view.focal
        height = self.sample(self.height, z[:, None] * across[None, :], np.repeat(z[:, None], columns, axis=1))
        on_screen = view.horizon - (np.maximum(height, 0.0) - eye) / z[:, None] * view.focal
        if mirrored:
            # From below, the water hides nothing.
            on_screen[height <= 0.0] = rows + 1.0
        skyline = np.minimum.accumulate(on_screen, axis=0)

        # For each pixel, the first step whose skyline has risen to it, and the share of the step before that.
        met = np.empty((rows, columns), np.intp)
        for column in range(columns):
            met[:, column] = np.searchsorted(-skyline[:, column], -np.arange(rows, dtype=np.float32))
        nothing = met >= steps
        step = np.clip(met, 1, steps - 1)
        at = np.arange(columns)[None, :]
        below, above = skyline[step - 1, at], skyline[step, at]
        row = np.arange(rows, dtype=np.float32)[:, None]
        share = np.clip((below - row) / np.maximum(below - above, 1e-3), 0.0, 1.0)
        depth = z[step - 1] + share * (z[step] - z[step - 1])
        colour = self.sample(self.colour, depth * across[None, :], depth)
        water = ~nothing & (self.sample(self.height, depth * across[None, :], depth) <= 0.0)
        return Rendering(colour, np.where(nothing, np.inf, depth).astype(np.float32), water)


def hazy(colour: Floats, depth: Floats) -> Floats:
    """Colours seen through `depth` kilometres of air, which takes blue light last."""
    kept = np.exp(-depth[..., None] * rgb(0.022, 0.027, 0.038))
    return colour * kept + HAZE * (1.0 - kept)


def conifer(height: int, rng: np.random.Generator) -> Floats:
    """A conifer lit from the left, linear, premultiplied; `height` pixels tall and half as wide."""
    fine = height * 2
    width = fine // 2
    colour = np.zeros((fine, width, 3), np.uint8)
    mask = np.zeros((fine, width), np.uint8)
    centre = width / 2.0
    thick = max(1, fine // 280)

    def stroke(x0: float, y0: float, x1: float, y1: float, shade: tuple[float, float, float], weight: int) -> None:
        start, stop = (round(x0), round(y0)), (round(x1), round(y1))
        cv2.line(colour, start, stop, tuple(int(min(c, 1.0) * 255) for c in shade), weight)
        cv2.line(mask, start, stop, 255, weight)

    stroke(centre, fine * 0.03, centre, fine - 1, (0.12, 0.09, 0.07), max(1, fine // 70))
    whorls = int(np.clip(fine / 8, 24, 75))
    lean = rng.uniform(-0.02, 0.02)
    for whorl in range(whorls):
        down = whorl / whorls
        y = fine * (0.02 + 0.90 * down)
        reach = width * 0.46 * (0.05 + 0.95 * down**0.85) * rng.uniform(0.72, 1.1)
        for _ in range(7):
            side = rng.uniform(-1.0, 1.0)
            tip_x = centre + lean * fine * (1 - down) + side * reach
            droop = fine * (0.022 + 0.05 * down) * (0.35 + abs(side))
            # The lit side is to the left, and a branch is lighter towards its tip.
            needles = max(6, int(abs(side) * reach / 3.5))
            for needle in range(needles):
                along = (needle + rng.uniform(0.0, 1.0)) / needles
                x = centre + (tip_x - centre) * along
                top = y + droop * along**1.4
                light = np.clip(0.25 + 0.50 * along * (0.5 - 0.75 * side) + rng.normal(0.0, 0.10), 0.08, 1.0)
                shade = (0.50 * light + 0.01, 0.52 * light + 0.04, 0.22 * light + 0.04)
                length = fine * rng.uniform(0.010, 0.032)
                stroke(x, top, x + rng.uniform(-0.5, 0.5) * length + side * length, top + length, shade, thick)
    half = (width // 2, height)
    alpha = cv2.resize(mask, half, interpolation=cv2.INTER_AREA).astype(np.float32) / 255.0
    light = cv2.resize(colour, half, interpolation=cv2.INTER_AREA).astype(np.float32) / 255.0
    # Drawn as stored, on black: premultiplied already. Squared, it is about linear.
    return np.concatenate([light * light * 0.9, alpha[..., None]], axis=2)


def plant(
    rendering: Rendering, terrain: Terrain, view: View, count: int, far: float, rng: np.random.Generator,
    *, mirrored: bool = False,
) -> Rendering:  # fmt: skip
    """Set conifers on the wooded ground up to `far` kilometres, from the farthest to the nearest."""
    rows, columns = view.size
    z = np.sqrt(rng.uniform(1.2**2, far**2, count))
    x = z * rng.uniform(-0.55, 0.55, count) * columns / view.focal
    ground = terrain.sample(terrain.height, x[:, None], z[:, None])[:, 0]
    wooded = terrain.sample(terrain.forest, x[:, None], z[:, None])[:, 0]
    tall = rng.uniform(0.016, 0.034, count)
    species = [conifer(96, rng) for _ in range(6)]
    kind = rng.integers(0, len(species), count)
    brightness = rng.uniform(0.55, 1.15, count)
    chosen = np.flatnonzero((wooded > rng.uniform(0.2, 0.6, count)) & (ground > 0.0015))
    colour, depth = rendering.colour.copy(), rendering.depth.copy()
    eye = -view.eye if mirrored else view.eye
    lit = terrain.sample(terrain.colour.mean(axis=2), x[:, None], z[:, None])[:, 0]
    for index in chosen[np.argsort(-z[chosen])]:
        scale = view.focal / z[index]
        height = round(tall[index] * scale)
        if height < 3:
            continue
        left = round((columns - 1) / 2.0 + x[index] * scale - height / 4.0)
        bottom = round(view.horizon - (ground[index] - eye) * scale)
        sprite = cv2.resize(species[kind[index]], (max(2, height // 2), height), interpolation=cv2.INTER_AREA)
        top = bottom - height
        y0, y1, x0, x1 = max(top, 0), min(bottom, rows), max(left, 0), min(left + sprite.shape[1], columns)
        if y0 >= y1 or x0 >= x1:
            continue
        sprite = sprite[y0 - top : y1 - top, x0 - left : x1 - left]
        window = (slice(y0, y1), slice(x0, x1))
        alpha = sprite[..., 3] * (depth[window] > z[index] * 0.985)
        # A tree in the shadow of a mountain is as dark as the ground it stands on.
        gain = brightness[index] * float(np.clip(lit[index] / 0.035, 0.25, 1.5))
        straight = sprite[..., :3] / np.maximum(sprite[..., 3:], 1e-3) * gain
        colour[window] += alpha[..., None] * (straight - colour[window])
        depth[window] = np.where(alpha > 0.5, z[index], depth[window])
    return Rendering(colour, depth, rendering.water)


def sky(size: Size, horizon: float, focal: float, rng: np.random.Generator) -> Floats:
    """A clear evening sky with two kinds of cloud, linear; rows below the horizon continue it mirrored."""
    x, y = pixel_grid(size)
    up = (np.abs(horizon - y) / focal).astype(np.float32)
    aside = ((x - (size[1] - 1) / 2.0) / focal).astype(np.float32)
    toward_sun = smooth(0.7, -0.9, aside)
    stops = (0.0, 0.06, 0.18, 0.42, 0.75)
    colours = ((0.78, 0.64, 0.48), (0.58, 0.56, 0.56), (0.29, 0.39, 0.55), (0.10, 0.20, 0.41), (0.045, 0.11, 0.28))
    air = np.stack([np.interp(up, stops, c) for c in zip(*colours, strict=True)], axis=2).astype(np.float32)
    air = air * (1.0 + 0.25 * toward_sun * smooth(0.5, 0.0, up))[..., None]

    # Clouds lie on a plane overhead: rays meet it farther away as they sink to the horizon.
    away = 1.0 / (up + 0.13)
    texels = 170.0
    field = (900, 1400)
    to_field = (
        np.float32(700.0) + aside * away * np.float32(texels),
        np.float32(60.0) + away * np.float32(texels * 0.62),
    )

    def overhead(noise: Floats) -> Floats:
        return cv2.remap(noise, *to_field, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101)

    veil = fractal(field, (60.0, 260.0), rng, octaves=7, gain=0.62)
    heaps = fractal(field, (120.0, 170.0), rng, octaves=8, gain=0.55)
    lit_heaps = heaps - np.roll(cv2.GaussianBlur(heaps, (0, 0), 4.0), 12, axis=1)
    thin = smooth(0.2, 2.4, overhead(veil)) * 0.55 * smooth(0.02, 0.15, up)
    dense = smooth(0.35, 1.35, overhead(heaps)) * smooth(0.01, 0.08, up)
    relief = np.clip(0.55 + 0.55 * overhead(lit_heaps), 0.0, 1.2)
    core = smooth(0.8, 2.2, overhead(heaps))
    bright = rgb(1.15, 1.02, 0.88)
    shaded = rgb(0.40, 0.43, 0.52)
    cloud = shaded + (bright - shaded) * (relief * (1.0 - 0.55 * core))[..., None]
    air = air + thin[..., None] * (rgb(1.0, 0.93, 0.85) - air)
    far_away = smooth(0.22, 0.03, up)[..., None]
    cloud = cloud + 0.45 * far_away * (air - cloud)
    return air + (0.92 * dense)[..., None] * (cloud - air)


def bank(size: Size, edge: NDArray[np.floating], rng: np.random.Generator) -> Floats:
    """Stony grassland below the row `edge` of each column, lit from the left, linear, premultiplied."""
    rows, columns = size
    _, y = pixel_grid(size)
    ragged = rows * 0.008 * fractal((1, columns), (1.0, columns * 0.06), rng, octaves=6, gain=0.75)
    depth = ((y - edge - ragged) / rows).astype(np.float32)
    grass = fractal(size, (rows * 0.02, rows * 0.012), rng, octaves=4, gain=0.8)
    lumps = fractal(size, (rows * 0.05, rows * 0.09), rng, octaves=6, gain=0.62)
    # Stones: the tops of the lumps, lit by their slope.
    lit = np.clip(0.5 + 0.5 * (np.gradient(lumps, axis=1) * rows * 0.055 + 0.3 * grass), 0.05, 1.3)
    stone = smooth(0.55, 0.75, lumps - 0.10 * grass)[..., None]
    turf = rgb(0.10, 0.115, 0.035) * np.clip(0.75 + 0.40 * grass + 0.25 * lumps, 0.12, 2.0)[..., None]
    rock = rgb(0.27, 0.235, 0.19) * lit[..., None] * (1.0 + 0.12 * grass)[..., None]
    colour = (turf + stone * (rock - turf)) * (0.55 + 0.9 * smooth(0.0, 0.10, depth))[..., None]
    alpha = np.clip(0.5 + depth * rows / 1.2, 0.0, 1.0)
    return np.concatenate([colour * alpha[..., None], alpha[..., None]], axis=2).astype(np.float32)


def lay_over(picture: Floats, sprite: Floats, left: int, top: int) -> None:
    """Composite a premultiplied sprite onto an RGB or premultiplied RGBA picture, in place; the rest is cut."""
    y0, y1 = max(top, 0), min(top + sprite.shape[0], picture.shape[0])
    x0, x1 = max(left, 0), min(left + sprite.shape[1], picture.shape[1])
    if y0 >= y1 or x0 >= x1:
        return
    part = sprite[y0 - top : y1 - top, x0 - left : x1 - left]
    window = picture[y0:y1, x0:x1]
    window *= 1.0 - part[..., 3:]
    window += part[..., : picture.shape[2]]


def lake(mirror: Floats, view: View, rng: np.random.Generator) -> Floats:
    """The surface of the water below the horizon, linear HxWx3, from the picture of the mirrored world.

    `mirror` is what an eye below the water sees, upside up: row horizon - d is reflected at row horizon + d.
    """
    rows, columns = view.size
    x, y = pixel_grid(view.size)
    below = np.maximum(y - view.horizon, 0.5).astype(np.float32)
    # Waves of one size shrink to the horizon with 1 / distance, that is with the rows below it.
    away = view.focal * view.eye / below
    scale = np.float32(60.0)
    waves = fractal((700, 700), (30.0, 42.0), rng, octaves=5, gain=0.62, floor=2.0)
    u = ((x - (columns - 1) / 2.0) / view.focal).astype(np.float32) * away * scale * 34.0
    v = away * scale * 17.0
    u, v = (np.abs(np.mod(k, 1398.0) - 699.0).astype(np.float32) for k in (u, v))
    ripple = cv2.remap(waves, u, v, cv2.INTER_LINEAR)
    ripple = cv2.GaussianBlur(ripple, (0, 0), sigmaX=rows / 500.0, sigmaY=rows / 1600.0)
    breeze = smooth(0.2, 1.3, fractal(view.size, (rows * 0.035, columns * 0.45), rng, octaves=3))
    swell = ripple * (0.35 + 0.9 * breeze)
    push = swell * (rows * 0.0045 + 0.075 * below)
    reflected = cv2.remap(
        cv2.GaussianBlur(mirror, (0, 0), sigmaX=rows / 900.0, sigmaY=rows / 330.0),
        (x + 0.25 * push).astype(np.float32),
        np.clip(view.horizon - below - push, 0, rows - 1).astype(np.float32),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    steepness = smooth(0.0, 0.42, below / view.focal + 0.02 * swell)
    deep = rgb(0.012, 0.045, 0.060)
    water = reflected * (0.86 - 0.52 * steepness)[..., None] + deep * (0.3 + 0.7 * steepness)[..., None]
    glint = rgb(0.55, 0.58, 0.62)
    return water + (0.16 * breeze * smooth(0.1, 1.6, ripple))[..., None] * (glint - water)


def develop(light: Floats, exposure: float = 1.0) -> Floats:
    """Linear light to sRGB in [0, 1], with a film-like shoulder and a little more colour."""
    light = np.maximum(light * np.float32(exposure), 0.0)
    grey = light.mean(axis=2, keepdims=True)
    light = np.maximum(grey + 1.14 * (light - grey), 0.0)
    toned = np.clip(light * (2.51 * light + 0.03) / (light * (2.43 * light + 0.59) + 0.14), 0.0, 1.0)
    stored = np.where(toned < 0.0031308, 12.92 * toned, 1.055 * toned ** (1.0 / 2.4) - 0.055).astype(np.float32)
    # An S-curve about middle grey.
    return (stored + 0.30 * (stored * stored * (3.0 - 2.0 * stored) - stored)).astype(np.float32)


def landscape(size: Size, seed: int, *, terrain_resolution: int = 1536) -> Frame:
    """The landscape, HxWx3 uint8; a terrain of fewer texels is a cheaper and softer one."""
    rng = np.random.default_rng(seed)
    rows, columns = size[0] * 2, size[1] * 2
    view = View((rows, columns), focal=columns * 0.98, horizon=rows * 0.60)
    terrain = Terrain(terrain_resolution, rng)

    above = sky(view.size, view.horizon, view.focal, rng)
    planting = int(rng.integers(0, 2**31))
    picture, mirror, water = above, above, np.zeros(view.size, np.bool_)
    for mirrored in (True, False):
        rendering = terrain.render(view, 1.1, 15.5, mirrored=mirrored)
        rendering = plant(rendering, terrain, view, 26000, 6.5, np.random.default_rng(planting), mirrored=mirrored)
        met = np.isfinite(rendering.depth)
        seen = hazy(rendering.colour, np.where(met, rendering.depth, 0.0))
        mirror, picture = picture, np.where(met[..., None], seen, above)
        water = rendering.water
    picture = np.where(water[..., None], lake(mirror, view, rng), picture)

    near_edge = (1.08 - 0.25 * np.exp(-((np.arange(columns) / columns / 0.42) ** 2))) * rows
    shore = bank(view.size, near_edge, rng)
    for tall, u, v in ((0.34, 0.215, 0.955), (0.46, 0.015, 0.965), (0.66, 0.105, 0.99), (0.27, 0.30, 0.985)):
        tree = conifer(round(tall * rows), rng)
        lay_over(shore, tree, round(u * columns) - tree.shape[1] // 2, round(v * rows) - tree.shape[0])
    lay_over(picture, shore, 0, 0)

    picture = cv2.resize(picture, (size[1], size[0]), interpolation=cv2.INTER_AREA)
    picture = picture + 0.06 * cv2.GaussianBlur(np.maximum(picture - 0.7, 0.0), (0, 0), size[0] / 40.0)
    photo = develop(picture, 0.88)
    x, y = pixel_grid(size)
    corner = ((x / size[1] - 0.5) ** 2 + (y / size[0] - 0.5) ** 2).astype(np.float32)
    photo = photo * (1.0 - 0.32 * corner)[..., None]
    grain = rng.standard_normal((*size, 1), np.float32) + 0.5 * rng.standard_normal((*size, 3), np.float32)
    return to_frame(photo + 0.007 * grain)


def turned_octave(size: Size, grain: float, rng: np.random.Generator) -> Floats:
    """As `octave`, with the lattice turned by a random angle, so that octaves do not line up."""
    side = math.ceil(math.hypot(*size) / grain) + 6
    lattice = rng.standard_normal((side, side), np.float32)
    matrix = affine(scale=grain, degrees=float(rng.uniform(0.0, 360.0)))
    middle = (side - 1) / 2.0 + rng.uniform(-0.5, 0.5, 2)
    matrix[:, 2] = np.array([size[1] / 2.0, size[0] / 2.0]) - matrix[:, :2] @ middle
    noise = cv2.warpAffine(lattice, matrix, (size[1], size[0]), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
    return noise / np.float32(0.8)
