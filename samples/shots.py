"""The two shots of the sample clip, as scenes of layers: the clip has exact flow and occlusion like any other scene.

The first shot travels past a lake, where a balloon drifts behind a pine. The second closes in on a lighthouse at
sunset, with a slow roll, while a sailing boat passes behind its rock. Palette, motion and sound change at the cut.

Every layer is painted at its size on the screen, on a stage wider than the frame. Edges are about one pixel wide.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from samples.scenery import Terrain, View, bank, conifer, develop, hazy, lake, lay_over, plant, sky
from samples.scenes import Affine, Cut, Layer, Motion, Scene, affine, compose
from samples.textures import Floats, Size, Vector, bump, fractal, masked, opaque, pixel_grid, rgb, smooth

CLIP_SIZE = (270, 480)
FIRST_COUNT = 26
SECOND_COUNT = 22
MARGIN = (20, 90)
"""Margin of the stage around the frame, (vertical, horizontal), in pixels."""


def clip(seed: int) -> Cut:
    """The sample clip: 26 frames of the lake, then 22 of the lighthouse."""
    return Cut(lake_shot(FIRST_COUNT, seed), lighthouse_shot(SECOND_COUNT, seed + 1))


# The lake


def lake_shot(frame_count: int, seed: int) -> Scene:
    """A camera that travels to the right and closes in a little; nearer layers pass faster."""
    rng = np.random.default_rng(seed)
    stage = _stage()
    fine = (stage[0] * 2, stage[1] * 2)
    view = View(fine, focal=CLIP_SIZE[1] * 1.9, horizon=fine[0] * 0.57)
    terrain = Terrain(1024, rng)
    air = sky(fine, view.horizon, view.focal, rng)

    mountains = terrain.render(view, 5.6, 15.5)
    planting = int(rng.integers(0, 2**31))
    hills = plant(terrain.render(view, 1.1, 5.6), terrain, view, 22000, 5.6, np.random.default_rng(planting))
    below = plant(
        terrain.render(view, 1.1, 15.5, mirrored=True),
        terrain,
        view,
        22000,
        5.6,
        np.random.default_rng(planting),
        mirrored=True,
    )
    seen_below = np.isfinite(below.depth)
    mirror = np.where(seen_below[..., None], hazy(below.colour, np.where(seen_below, below.depth, 0.0)), air)
    water = lake(mirror, view, rng)
    _, y = pixel_grid(fine)

    def terrain_texture(colour: Floats, depth: Floats, shown: NDArray[np.bool_]) -> Floats:
        developed = develop(hazy(colour, np.where(np.isfinite(depth), depth, 0.0)), 0.85)
        return _halved(masked(developed, shown.astype(np.float32)))

    mountain_texture = terrain_texture(mountains.colour, mountains.depth, np.isfinite(mountains.depth))
    hill_texture = terrain_texture(hills.colour, hills.depth, np.isfinite(hills.depth) & ~hills.water)
    water_texture = _halved(masked(develop(water, 0.85), (y > view.horizon + 1.0).astype(np.float32)))
    horizon = view.horizon / 2.0 - MARGIN[0]

    middle = (frame_count - 1) / 2.0

    def camera(speed: float, closing: float, lean: float = 0.0) -> Motion:
        def motion(t: float) -> Affine:
            # Shear and zoom about the horizon: the far edge of the water stays with the far shore.
            return compose(
                affine(scale=1.0 + closing * t, about=(CLIP_SIZE[1] / 2.0, horizon)),
                affine(shift=(-speed * (t - middle), 0.0), shear=-lean * (t - middle), about=(0.0, horizon)),
            )

        return motion

    def drifting(t: float) -> Affine:
        return affine(shift=(112.0 + 2.7 * t, 62.0 - 0.55 * t), degrees=1.5 * math.sin(0.16 * t), about=(34.0, 0.0))

    near = camera(3.4, 0.0030)
    return Scene(
        CLIP_SIZE,
        frame_count,
        [
            _staged("sky", opaque(_halved(develop(air, 0.85))), camera(0.30, 0.0008), endless=True),
            _staged("mountains", mountain_texture, camera(0.55, 0.0010)),
            _staged("water", water_texture, camera(0.85, 0.0014, lean=0.0125)),
            _staged("hills", hill_texture, camera(0.85, 0.0014)),
            Layer("balloon", balloon((92, 68), rng), drifting),
            _staged("shore", lake_shore(stage, rng), near),
        ],
    )


def lake_shore(stage: Size, rng: np.random.Generator) -> Floats:
    """The near shore with its pines, premultiplied, sRGB."""
    rows, columns = stage
    fine = (rows * 2, columns * 2)
    at = np.linspace(0.0, 1.0, fine[1])
    edge = fine[0] * (0.905 - 0.07 * bump(at, 0.42, 0.22) - 0.05 * bump(at, 0.95, 0.12) + 0.05 * bump(at, 0.72, 0.1))
    shore = bank(fine, edge, rng)
    for tall, u, v in (
        (0.34, 0.53, 0.92),
        (0.50, 0.335, 0.93),
        (0.80, 0.43, 0.97),
        (0.30, 0.27, 0.95),
        (0.56, 0.93, 0.95),
        (0.38, 0.985, 0.96),
        (0.44, 0.03, 0.98),
    ):
        tree = conifer(round(tall * fine[0]), rng)
        lay_over(shore, tree, round(u * fine[1]) - tree.shape[1] // 2, round(v * fine[0]) - tree.shape[0])
    alpha = shore[..., 3]
    straight = shore[..., :3] / np.maximum(alpha[..., None], 1e-3)
    return _hardened(_halved(masked(develop(straight * 1.15, 0.85), alpha)))


def balloon(size: Size, rng: np.random.Generator) -> Floats:
    """A hot-air balloon of patterned cloth, lit from the left, premultiplied, sRGB."""
    fine = (size[0] * 4, size[1] * 4)
    x, y = pixel_grid(fine)
    u = ((x - (fine[1] - 1) / 2.0) / (fine[1] / 2.0 - 6.0)).astype(np.float32)
    v = (y / fine[0]).astype(np.float32)
    # A sphere above, drawn together to the mouth below.
    radius = np.where(v < 0.40, np.sqrt(np.clip(1.0 - ((v - 0.40) / 0.385) ** 2, 0.0, 1.0)), 0.0)
    taper = np.clip((v - 0.40) / 0.40, 0.0, 1.0)
    radius = np.where((v >= 0.40) & (v < 0.80), 1.0 - 0.80 * taper**1.9, radius)
    inside = np.abs(u) < radius
    longitude = np.arcsin(np.clip(u / np.maximum(radius, 1e-3), -1.0, 1.0))
    gore = longitude / math.pi * 12.0 + 0.25
    colours = np.array([[0.83, 0.13, 0.10], [0.97, 0.76, 0.14], [0.90, 0.36, 0.08], [0.95, 0.91, 0.80]], np.float32)
    cloth = colours[np.mod(np.floor(gore).astype(int), 4)]
    zigzag = np.abs(np.mod(gore, 1.0) - 0.5) * 0.16
    cloth = np.where((np.abs(v - 0.36 - zigzag) < 0.035)[..., None], rgb(0.10, 0.16, 0.46), cloth)
    cloth = np.where((np.abs(v - 0.13) < 0.02)[..., None], rgb(0.10, 0.16, 0.46), cloth)
    folds = 0.88 + 0.12 * np.cos((np.mod(gore, 1.0) - 0.5) * math.pi) + 0.05 * fractal(fine, (20.0, 12.0), rng)
    facing = np.cos(longitude + 0.75) * np.clip(1.15 - 0.55 * np.abs(v - 0.28) / 0.4, 0.3, 1.2)
    colour = cloth * (folds * np.clip(0.30 + 0.85 * facing, 0.22, 1.15))[..., None]
    basket = (np.abs(u) < 0.17) & (v > 0.90) & (v < 0.985)
    weave = 0.75 + 0.25 * np.sign(np.sin(x * 0.9) * np.sin(y * 0.9))
    colour = np.where(basket[..., None], rgb(0.42, 0.26, 0.13) * weave[..., None], colour)
    ropes = (np.abs(np.abs(u) - 0.15 - 0.04 * (0.90 - v) / 0.1) < 0.035) & (v >= 0.78) & (v <= 0.91)
    colour = np.where((ropes & ~inside)[..., None], rgb(0.20, 0.15, 0.12), colour)
    shown = (inside | basket | ropes).astype(np.float32)
    return _reduced(masked(colour.astype(np.float32), shown), 4)


# The lighthouse


def lighthouse_shot(frame_count: int, seed: int) -> Scene:
    """A camera that closes in and rolls; a boat passes behind the rock of a lighthouse."""
    rng = np.random.default_rng(seed)
    stage = _stage()
    horizon = CLIP_SIZE[0] * 0.60
    sun = (CLIP_SIZE[1] * 0.30, horizon - 16.0)
    about = (CLIP_SIZE[1] * 0.56, horizon - 10.0)

    def camera(closing: float) -> Motion:
        def motion(t: float) -> Affine:
            return affine(scale=1.0 + closing * t, degrees=-1.3 + 0.15 * t, about=about)

        return motion

    far, near = camera(0.0035), camera(0.0065)

    def sailing(t: float) -> Affine:
        return compose(camera(0.0050)(t), affine(shift=(172.0 + 6.6 * t, horizon - 56.0)))

    return Scene(
        CLIP_SIZE,
        frame_count,
        [
            _staged("sky", opaque(sunset(stage, horizon + MARGIN[0], _on_stage(sun), rng)), far, endless=True),
            _staged("sea", sea(stage, horizon + MARGIN[0], _on_stage(sun), rng), camera(0.0045)),
            Layer("boat", sailing_boat((76, 64), rng), sailing),
            _staged("lighthouse", lighthouse(stage, horizon + MARGIN[0], rng), near),
            _staged("rocks", sea_rocks(stage, rng), camera(0.0110)),
        ],
    )


def _evening(up: NDArray[np.floating]) -> Floats:
    """Colour of the evening sky by the height between horizon (0) and zenith (1)."""
    stops = (0.0, 0.08, 0.22, 0.42, 0.70, 1.0)
    colours = (
        (1.00, 0.72, 0.30),
        (0.99, 0.52, 0.20),
        (0.88, 0.32, 0.24),
        (0.60, 0.22, 0.34),
        (0.32, 0.16, 0.36),
        (0.15, 0.11, 0.28),
    )
    return np.stack([np.interp(up, stops, c) for c in zip(*colours, strict=True)], axis=2).astype(np.float32)


def sunset(stage: Size, horizon: float, sun: Vector, rng: np.random.Generator) -> Floats:
    """An evening sky with clouds lit from below, HxWx3, sRGB."""
    columns = stage[1]
    x, y = pixel_grid(stage)
    up = (np.abs(horizon - y) / horizon).astype(np.float32)
    air = _evening(up)
    away = 1.0 / (up + 0.16)
    field = (700, 1200)
    noise = fractal(field, (60.0, 210.0), rng, octaves=7, gain=0.62)
    lit = cv2.GaussianBlur(noise, (0, 0), 5.0) - np.roll(noise, -5, axis=0)
    u = (600.0 + (x - sun[0]) / columns * away * 260.0).astype(np.float32)
    v = (40.0 + away * 90.0).astype(np.float32)
    density, relief = (cv2.remap(n, u, v, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101) for n in (noise, lit))
    cloud = smooth(-0.3, 1.1, density) * smooth(0.01, 0.10, up)
    glow = np.clip(0.45 + 0.75 * relief, 0.0, 1.0)[..., None]
    bright = rgb(1.0, 0.58, 0.28) * (1.05 - 0.45 * up[..., None])
    shaded = rgb(0.30, 0.12, 0.26)
    colour = air + (0.85 * cloud)[..., None] * (shaded + glow * (bright - shaded) - air)
    distance = np.hypot(x - sun[0], (y - sun[1]) * 1.1).astype(np.float32)
    halo = 0.75 * np.exp(-((distance / 55.0) ** 1.2))[..., None]
    colour = colour + halo * (rgb(1.0, 0.80, 0.42) - colour)
    disc = np.clip(15.0 - distance + 0.5, 0.0, 1.0)[..., None]
    colour = colour + disc * (rgb(1.0, 0.97, 0.82) - colour)
    return (colour + 0.008 * fractal(stage, (3.0, 3.0), rng, octaves=2)[..., None]).astype(np.float32)


def sea(stage: Size, horizon: float, sun: Vector, rng: np.random.Generator) -> Floats:
    """Waves that mirror the evening sky, with a path of light below the sun, premultiplied, sRGB."""
    rows, columns = stage
    fine = (rows * 2, columns * 2)
    x, y = pixel_grid(fine)
    below = np.maximum(y / 2.0 - horizon, 0.6).astype(np.float32)
    away = 1.0 / (below / (rows - horizon) + 0.035)
    waves = fractal((1000, 1200), (26.0, 60.0), rng, octaves=6, gain=0.66, floor=1.5)
    u = (600.0 + (x / 2.0 - sun[0]) / columns * away * 620.0).astype(np.float32)
    v = (away * 190.0 + 30.0).astype(np.float32)
    u, v = np.abs(np.mod(u, 2398.0) - 1199.0).astype(np.float32), np.abs(np.mod(v, 1998.0) - 999.0).astype(np.float32)
    wave = cv2.remap(waves, u, v, cv2.INTER_LINEAR)
    near = below / (rows - horizon)
    mirrored = np.clip(0.06 + 0.66 * near + (0.12 + 0.16 * near) * wave, 0.07, 1.0)
    colour = _evening(mirrored) * (0.82 - 0.34 * near)[..., None]
    colour = colour + ((0.30 + 0.40 * near) * smooth(-0.4, 1.3, -wave))[..., None] * (rgb(0.12, 0.06, 0.22) - colour)
    breadth = 12.0 + 0.55 * below
    path = np.exp(-(((x / 2.0 - sun[0]) / breadth) ** 2)).astype(np.float32)
    glitter = smooth(0.7, 2.3, wave + 1.6 * path) * smooth(0.05, 0.5, path)
    colour = colour + (0.95 * glitter)[..., None] * (rgb(1.0, 0.84, 0.48) - colour)
    return _halved(masked(colour, np.clip(y - 2.0 * horizon + 0.5, 0.0, 1.0).astype(np.float32)))


def sailing_boat(size: Size, rng: np.random.Generator) -> Floats:
    """A boat with two sails, lit from behind on the left, premultiplied, sRGB."""
    fine = (size[0] * 4, size[1] * 4)
    x, y = pixel_grid(fine)
    u, v = (x / fine[1]).astype(np.float32), (y / fine[0]).astype(np.float32)
    cloth = fractal(fine, (40.0, 10.0), rng, octaves=5, gain=0.6)

    def polygon(*corners: Vector) -> NDArray[np.bool_]:
        mask = np.zeros(fine, np.uint8)
        cv2.fillPoly(mask, [np.rint(np.array(corners) * [fine[1], fine[0]]).astype(np.int32)], 1)
        return mask > 0

    arc = np.linspace(0.0, 1.0, 12)
    main = polygon((0.47, 0.04), *((0.47 - 0.36 * a**0.8, 0.04 + 0.70 * a) for a in arc), (0.47, 0.76))
    jib = polygon((0.52, 0.10), *((0.52 + 0.38 * a**1.25, 0.10 + 0.66 * a) for a in arc), (0.55, 0.72))
    hull = polygon((0.06, 0.80), (0.95, 0.78), (0.84, 0.94), (0.16, 0.94))
    mast = polygon((0.485, 0.02), (0.50, 0.02), (0.505, 0.82), (0.485, 0.82))
    colour = np.zeros((*fine, 3), np.float32)
    seams = 1.0 - 0.18 * (np.mod(v * 9.0 + 0.3 * u, 1.0) < 0.10)
    glow = (0.80 + 0.35 * (0.5 - u) + 0.05 * cloth) * seams
    for shape, paint in (
        (main, rgb(1.0, 0.93, 0.78) * glow[..., None]),
        (jib, rgb(0.86, 0.22, 0.16) * (glow * 1.1)[..., None]),
        (hull, rgb(0.13, 0.20, 0.34) * (1.0 + 0.15 * cloth + 0.7 * (v < 0.83))[..., None]),
        (mast, np.broadcast_to(rgb(0.20, 0.12, 0.08), colour.shape)),
    ):
        colour = np.where(shape[..., None], paint, colour)
    return _reduced(masked(colour.astype(np.float32), (main | jib | hull | mast).astype(np.float32)), 4)


def lighthouse(stage: Size, horizon: float, rng: np.random.Generator) -> Floats:
    """A tower on a rock that rises from the sea, lit by the low sun on the left, premultiplied, sRGB."""
    rows, columns = stage
    scale = 2
    fine = (rows * scale, columns * scale)
    x, y = pixel_grid(fine)
    column = np.arange(fine[1]) / scale - MARGIN[1]
    ledge = (
        horizon - 70.0 * bump(column, 318.0, 62.0) - 36.0 * bump(column, 392.0, 40.0) - 20.0 * bump(column, 258.0, 22.0)
    )
    ledge = ledge + 46.0 + 5.0 * fractal((1, fine[1]), (1.0, 60.0 * scale), rng, octaves=6, gain=0.65)[0]
    rock = bank(fine, ledge * scale, rng)
    lumps = fractal(fine, (40.0 * scale, 20.0 * scale), rng, octaves=7, gain=0.54)
    slope = np.gradient(lumps, axis=1) * 10.0 * scale
    lit = np.clip(0.32 + 0.42 * slope, 0.04, 1.25)[..., None]
    stone = rgb(0.16, 0.10, 0.13) + lit * rgb(0.62, 0.34, 0.20) * (0.8 + 0.16 * lumps)[..., None]
    waterline = horizon + 27.0 + 1.6 * fractal((1, fine[1]), (1.0, 16.0 * scale), rng, octaves=4)[0]
    alpha = rock[..., 3] * np.clip(waterline * scale - y + 0.5, 0.0, 1.0)
    height = (waterline - y / scale).astype(np.float32)
    foam = smooth(5.0, 0.5, height + 2.2 * fractal(fine, (5.0 * scale, 9.0 * scale), rng, octaves=3))[..., None]
    stone = stone * (0.45 + 0.55 * smooth(0.0, 14.0, height))[..., None]
    stone = stone + 0.85 * foam * (rgb(0.98, 0.80, 0.66) - stone)

    # The tower: (row above its foot) / height selects the band, the horizontal position the light.
    foot, top, centre = horizon - 16.0, horizon - 108.0, 318.0 + MARGIN[1]
    rise = (foot - y / scale) / (foot - top)
    across = (x / scale - centre) / (12.5 - 5.0 * np.clip(rise, 0.0, 1.0))
    round_light = np.clip(0.95 - 0.75 * (across + 0.15), 0.20, 1.12) * (0.94 + 0.05 * lumps)
    band = (np.mod(np.floor(rise * 6.0), 2.0) < 0.5)[..., None]
    wall = np.where(band, rgb(0.98, 0.90, 0.80), rgb(0.80, 0.12, 0.10)) * round_light[..., None]
    window = (np.abs(across + 0.05) < 0.16) & (np.abs(np.mod(rise * 3.0, 1.0) - 0.5) < 0.10) & (rise < 0.95)
    wall = np.where(window[..., None], rgb(0.16, 0.10, 0.14), wall)
    tower = (np.abs(across) < 1.0) & (rise > -0.08) & (rise < 1.0)
    offset = np.abs(x / scale - centre)
    gallery = (offset < 11.5) & (rise >= 1.0) & (rise < 1.035)
    lantern = (offset < 6.5) & (rise >= 1.035) & (rise < 1.13)
    roof = (offset < 8.5 * (1.235 - rise) / 0.105) & (rise >= 1.13) & (rise < 1.235)
    panes = np.where(np.mod(offset + 1.0, 3.4) < 0.7, 0.35, 1.0)
    colour = np.where(tower[..., None], wall, stone)
    colour = np.where(gallery[..., None], rgb(0.20, 0.12, 0.14), colour)
    colour = np.where(lantern[..., None], rgb(1.0, 0.90, 0.50) * panes[..., None], colour)
    colour = np.where(roof[..., None], rgb(0.52, 0.10, 0.09) * round_light[..., None], colour)
    shown = np.maximum(alpha, (tower | gallery | lantern | roof).astype(np.float32))
    return _reduced(masked(colour.astype(np.float32), shown), scale)


def sea_rocks(stage: Size, rng: np.random.Generator) -> Floats:
    """Wet rocks close to the camera, premultiplied, sRGB."""
    rows, columns = stage
    fine = (rows * 2, columns * 2)
    _, y = pixel_grid(fine)
    column = np.arange(fine[1]) / 2.0 - MARGIN[1]
    edge = rows - MARGIN[0] + 26.0 - 62.0 * bump(column, 10.0, 85.0) - 44.0 * bump(column, 500.0, 60.0)
    edge = edge + 7.0 * fractal((1, fine[1]), (1.0, 120.0), rng, octaves=7, gain=0.62)[0]
    alpha = np.clip(0.5 + (y - edge * 2.0) / 1.5, 0.0, 1.0).astype(np.float32)
    lumps = fractal(fine, (60.0, 80.0), rng, octaves=8, gain=0.64)
    lit = np.clip(0.30 + 0.40 * (np.gradient(lumps, axis=1) * 22.0 - np.gradient(lumps, axis=0) * 14.0), 0.02, 1.3)
    rim = smooth(7.0, 0.0, (y - edge * 2.0) / 2.0 + 2.0 * lumps)
    colour = rgb(0.09, 0.06, 0.11) + (lit * (0.55 + 0.6 * rim))[..., None] * rgb(0.55, 0.32, 0.24)
    return _halved(masked(colour.astype(np.float32), alpha))


# Stage


def _stage() -> Size:
    return CLIP_SIZE[0] + 2 * MARGIN[0], CLIP_SIZE[1] + 2 * MARGIN[1]


def _on_stage(point: Vector) -> Vector:
    return point[0] + MARGIN[1], point[1] + MARGIN[0]


def _staged(name: str, texture: Floats, motion: Motion, *, endless: bool = False) -> Layer:
    """A layer whose texture is a stage: `motion` acts on the coordinates of the frame."""
    to_frame_coordinates = affine(shift=(-MARGIN[1], -MARGIN[0]))
    return Layer(name, texture, lambda t: compose(motion(t), to_frame_coordinates), endless)


def _halved(texture: Floats) -> Floats:
    return _reduced(texture, 2)


def _reduced(texture: Floats, factor: int) -> Floats:
    size = (texture.shape[1] // factor, texture.shape[0] // factor)
    return cv2.resize(texture, size, interpolation=cv2.INTER_AREA)


def _hardened(texture: Floats) -> Floats:
    """Steeper alpha at the same outline: needles become solid, and every pixel has an owner that shows."""
    alpha = texture[..., 3:]
    hard = np.clip((alpha - 0.5) * 2.5 + 0.5, 0.0, 1.0)
    return np.concatenate([texture[..., :3] / np.maximum(alpha, 1e-3) * hard, hard], axis=2)
