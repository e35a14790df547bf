"""Carrying a painting along the motion of its content, and judging how still it holds.

Conventions, used everywhere in `pipeline`:

- Flow a → b is `B×2×H×W`, (dx, dy) in pixels, given on the grid of a: what is at x in a is at x + flow in b.
- To bring picture b onto the grid of a, sample it at x + flow(a → b). The painting of the frame before comes onto
  the current frame by flow(current → previous).
- x runs to the right, y down, integers are pixel centres; the frame is the rectangle of its pixel centres,
  [0, W - 1] × [0, H - 1].
- Masks are `B×1×H×W` in [0, 1]; 1 = trust.

All functions are pure and follow the device of their tensors.
"""

import math
from collections.abc import Sequence
from typing import Literal, TypeAlias

import numpy as np
import torch
from torch.nn import functional

Kernel: TypeAlias = Literal["bilinear", "bicubic", "lanczos"]
Border: TypeAlias = Literal["nearest", "repeat"]

_REACH = {"bilinear": 1, "bicubic": 2, "lanczos": 8}
"""Taps on each side of the sampled place, on each axis."""

_SLACK = 0.01
"""Pixels beyond the last centre that are rounding, and no part of the picture is missing."""

_PERIODS = (1 / 2, 3 / 8, 1 / 4, 3 / 16, 1 / 8)
"""Shares of the frame's side. The longer a period, the less its repetition shows."""

_SAME_MOTION = 0.25
"""Mean difference of motion, relative to its length, up to which a longer period is not given up for a shorter."""

_GRAIN = tuple((-1) ** tap * math.comb(8, tap) / 256 for tap in range(9))
"""A high pass of response sin⁸(πf), f in cycles a pixel."""

CONSISTENCY_SLOPE = 0.01
CONSISTENCY_OFFSET = 0.5
"""Ruder et al. 2016, eq. 6 (after Sundaram et al. 2010): how far forward and backward flow may miss each other,
as a share of their squared lengths and in squared pixels."""

BOUNDARY_SLOPE = 0.01
BOUNDARY_OFFSET = 0.002
"""Ruder et al. 2016, eq. 7: how steep a flow may be that is no motion boundary."""

STILL_NEAR = 0.4
STILL_FAR = 0.35
"""Pixels of mean flow, to the frame before and to one several frames back, up to which content stands still. The
trembling of an estimate does not grow with the distance in time, as even slow motion does."""

LIKENESS_BLUR = 1.5
LIKENESS_LEVELS = 4.0
LIKENESS_NOISE = 6.0
LIKENESS_GRAIN = 0.25
"""What the blur leaves of white noise, relative to what it takes out."""


def warp(
    images: torch.Tensor, flow: torch.Tensor, kernel: Kernel = "lanczos", border: Border = "nearest"
) -> torch.Tensor:
    """`images` (B×C×H×W) sampled at x + flow(x), flow B×2×H×W in pixels; see the conventions above.

    `lanczos` (a = 8) keeps the most of fine detail, which a film needs where each frame resamples the last: strokes
    are sharp to the pixel, and over half a pixel a = 3 loses 4 % of their gradients, a = 8 under 1 %.
    `bicubic` is that of Keys (1981) with a = -½; `bilinear` is the sampling of Lai et al. (2018). Weights add up
    to 1, so flat colour stays, and a flow of whole pixels copies (to rounding). The result may overshoot the range.
    Outside the frame is the colour of the nearest border pixel, or what is up to half a frame further in, again and
    again (see `_repeated`).
    """
    batch, channels, height, width = images.shape
    reach = _REACH[kernel]
    y, x = torch.meshgrid(
        torch.arange(height, device=images.device), torch.arange(width, device=images.device), indexing="ij"
    )
    place_x, place_y = x + flow[:, 0], y + flow[:, 1]
    if border == "repeat":
        place_x, place_y = _repeated(place_x, flow, 3), _repeated(place_y, flow, 2)
    # A flow of 1e9 must not overflow an index.
    place_x, place_y = place_x.clamp(0, width - 1), place_y.clamp(0, height - 1)
    left, top = place_x.floor(), place_y.floor()
    weights_x, weights_y = _tap_weights(place_x - left, kernel), _tap_weights(place_y - top, kernel)
    left, top = left.long(), top.long()
    flat = images.flatten(2)
    result = torch.zeros_like(images)
    for row in range(2 * reach):
        source_y = (top + row - reach + 1).clamp_(0, height - 1) * width
        across = torch.zeros_like(images)
        for column in range(2 * reach):
            index = source_y + (left + column - reach + 1).clamp_(0, width - 1)
            taps = flat.gather(2, index.view(batch, 1, -1).expand(-1, channels, -1)).view_as(images)
            across.addcmul_(taps, weights_x[column].unsqueeze(1))
        result.addcmul_(across, weights_y[row].unsqueeze(1))
    return result


def carry(painting: torch.Tensor, flow: torch.Tensor) -> torch.Tensor:
    """A painting (B×C×H×W) on the grid that `flow` (B×2×H×W) is given on, ready to be painted on.

    It is warped, with what enters the frame repeated from inside. What moved also loses its grain: of what
    alternates both across and down, H(f) = sin⁸(πf_x) · sin⁸(πf_y). The losses hardly see that, each frame adds a
    little, and warping keeps it: without this it grows seventyfold in energy over a pan of 100 frames. Detail that is
    upright or level stays. What stands still is copied, to the bit.
    """
    moved = warp(painting, flow, border="repeat")
    channels, taps = painting.shape[1], torch.tensor(_GRAIN, dtype=painting.dtype, device=painting.device)
    reach = len(_GRAIN) // 2
    padded = functional.pad(moved, [reach] * 4, mode="replicate")
    across = functional.conv2d(padded, taps.view(1, 1, 1, -1).expand(channels, 1, 1, -1), groups=channels)
    grain = functional.conv2d(across, taps.view(1, 1, -1, 1).expand(channels, 1, -1, 1), groups=channels)
    return torch.where((flow == 0).all(1, keepdim=True), painting, moved - grain)


def _repeated(place: torch.Tensor, flow: torch.Tensor, axis: int) -> torch.Tensor:
    """Brings sampled places (B×H×W, along `axis` of B×2×H×W `flow`) from beyond either border a period further in.

    The period is that of `_PERIODS` which leads to where the same motion goes on. Then, while a camera moves, what
    enters in each frame continues what entered in the one before, and its texture is that of a strip inside.
    A place that stands still in the frame, or a frame mirrored at its border, would be the same few pixels
    every time, which become streaks.
    """
    length = flow.shape[axis]
    last = length - 1
    for beyond in (place < -_SLACK, place > last + _SLACK):
        if not bool(beyond.any()):
            continue
        wanted = flow.movedim(1, -1)[beyond]
        scale = wanted.norm(dim=1).mean()
        best: tuple[float, torch.Tensor] | None = None
        for share in _PERIODS:
            period = max(1, int(length * share))
            inner = torch.where(place < 0, place.remainder(period), last - (last - place).remainder(period))
            index = inner.round().long().clamp(0, last).unsqueeze(1).expand_as(flow)
            there = flow.gather(axis, index).movedim(1, -1)[beyond]
            miss = float((there - wanted).norm(dim=1).mean() / scale)
            if best is None or miss < best[0]:
                best = miss, inner
            if miss < _SAME_MOTION:
                break
        if best is not None:
            place = torch.where(beyond, best[1], place)
    return place


def _tap_weights(fraction: torch.Tensor, kernel: Kernel) -> list[torch.Tensor]:
    """Weights of the taps at floor(x) - reach + 1 … floor(x) + reach, for a place `fraction` beyond floor(x)."""
    reach = _REACH[kernel]
    distances = [(fraction - (tap - reach + 1)).abs() for tap in range(2 * reach)]
    if kernel == "bilinear":
        return [1 - distance for distance in distances]
    if kernel == "bicubic":
        near = [((1.5 * d - 2.5) * d) * d + 1 for d in distances]
        far = [((-0.5 * d + 2.5) * d - 4) * d + 2 for d in distances]
        return [torch.where(d <= 1, n, f) for d, n, f in zip(distances, near, far, strict=True)]
    weights = [torch.sinc(d) * torch.sinc(d / reach) for d in distances]
    total = torch.stack(weights).sum(0)
    return [weight / total for weight in weights]


def in_frame(flow: torch.Tensor) -> torch.Tensor:
    """1 where x + flow(x) lies in the frame, else 0: B×1×H×W for B×2×H×W."""
    height, width = flow.shape[-2:]
    y, x = torch.meshgrid(
        torch.arange(height, device=flow.device), torch.arange(width, device=flow.device), indexing="ij"
    )
    to_x, to_y = x + flow[:, 0], y + flow[:, 1]
    inside = (to_x >= -_SLACK) & (to_x <= width - 1 + _SLACK) & (to_y >= -_SLACK) & (to_y <= height - 1 + _SLACK)
    return inside.unsqueeze(1).to(flow.dtype)


def consistency(flow: torch.Tensor, back: torch.Tensor) -> torch.Tensor:
    """1 where going along `flow` (a → b) and returning along `back` (b → a) ends near the start, else 0.

    Where it does not, the pixel of a is hidden in b, or one flow is wrong: |w̃ + ŵ|² > 0.01 (|w̃|² + |ŵ|²) + 0.5
    (Ruder et al. 2016, eq. 6), with ŵ = `flow` and w̃ = `back` brought onto the grid of a.
    """
    returned = warp(back, flow, "bilinear")
    miss = (returned + flow).square().sum(1, keepdim=True)
    lengths = returned.square().sum(1, keepdim=True) + flow.square().sum(1, keepdim=True)
    return (miss <= CONSISTENCY_SLOPE * lengths + CONSISTENCY_OFFSET).to(flow.dtype)


def motion_boundaries(flow: torch.Tensor) -> torch.Tensor:
    """1 where the flow is smooth, 0 at edges of moving things: |∇u|² + |∇v|² > 0.01 |w|² + 0.002
    (Ruder et al. 2016, eq. 7), with central differences."""
    padded = functional.pad(flow, (1, 1, 1, 1), mode="replicate")
    across = (padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]) / 2
    down = (padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]) / 2
    steepness = (across.square() + down.square()).sum(1, keepdim=True)
    return (steepness <= BOUNDARY_SLOPE * flow.square().sum(1, keepdim=True) + BOUNDARY_OFFSET).to(flow.dtype)


def trust(flow: torch.Tensor, back: torch.Tensor | None, *, boundaries: bool = True) -> torch.Tensor:
    """Where what `flow` (a → b) points to is the same thing: in the frame, consistent with `back`, no motion
    boundary. `back` None leaves the consistency out; as in Ruder et al., boundaries are those of `flow`."""
    mask = in_frame(flow)
    if back is not None:
        mask = mask * consistency(flow, back)
    if boundaries:
        mask = mask * motion_boundaries(flow)
    return mask


def to_flow(array: np.ndarray, device: torch.device | str = "cpu") -> torch.Tensor:
    """A flow as an H×W×2 float32 array to 1×2×H×W."""
    return torch.from_numpy(np.ascontiguousarray(array)).to(device).permute(2, 0, 1).unsqueeze(0)


def to_mask(array: np.ndarray, device: torch.device | str = "cpu") -> torch.Tensor:
    """A mask as an H×W float32 array to 1×1×H×W."""
    return torch.from_numpy(array).to(device)[None, None]


def blur(images: torch.Tensor, sigma: float) -> torch.Tensor:
    """B×C×H×W with a Gaussian of `sigma` pixels, borders replicated."""
    radius = max(1, math.ceil(3 * sigma))
    offsets = torch.arange(-radius, radius + 1, device=images.device, dtype=images.dtype)
    weights = torch.exp(-offsets.square() / (2 * sigma * sigma))
    weights = weights / weights.sum()
    channels = images.shape[1]
    padded = functional.pad(images, (radius, radius, radius, radius), mode="replicate")
    across = functional.conv2d(padded, weights.view(1, 1, 1, -1).expand(channels, 1, 1, -1), groups=channels)
    return functional.conv2d(across, weights.view(1, 1, -1, 1).expand(channels, 1, -1, 1), groups=channels)


def settled(flow: torch.Tensor, sigma: float, threshold: float) -> torch.Tensor:
    """1 where the mean `flow` around a pixel is up to `threshold` pixels long, 0 from twice that on: B×1×H×W.

    Estimated flow is never quite 0: sensor noise makes it tremble by some tenths of a pixel, and a painting that
    follows is resampled, and blurred, in every frame of a shot in which nothing moves. The trembling has no
    direction, so it is the mean over a Gaussian of `sigma` pixels that counts.
    """
    return (2 - _mean_around(flow, sigma).square().sum(1, keepdim=True).sqrt() / threshold).clamp(0, 1)


def _mean_around(images: torch.Tensor, sigma: float) -> torch.Tensor:
    """`blur` for a wide Gaussian: on a coarser grid, where it is still 8 pixels wide, at a fraction of the cost."""
    height, width = images.shape[2:]
    factor = int(sigma // 8)
    if factor < 2:
        return blur(images, sigma)
    small = functional.interpolate(images, (-(-height // factor), -(-width // factor)), mode="area")
    return functional.interpolate(blur(small, sigma / factor), (height, width), mode="bilinear", align_corners=False)


def likeness(image: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """1 where two pictures in [0, 1] of the same size look alike, 0 where they show something else: B×1×H×W.

    Compared are colours at the scale of `LIKENESS_BLUR` pixels, which takes out most of the noise. They are alike up
    to `LIKENESS_LEVELS` of 255, or several times what the noise leaves there where it is stronger, and unlike from
    twice that on. The noise is told by the grain, which is finer than that scale: a change of the light, or of most
    of the picture, has none.
    """
    raw = (image - other) * 255
    coarse = blur(raw, LIKENESS_BLUR)
    grain = (raw - coarse).abs().amax(1).flatten(1).median(1).values.view(-1, 1, 1, 1)
    difference, usual = coarse.abs().amax(1, keepdim=True), LIKENESS_GRAIN * grain
    return (2 - difference / (LIKENESS_NOISE * usual).clamp(min=LIKENESS_LEVELS)).clamp(0, 1)


def long_term_weights(masks: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """Masks of several earlier frames, nearest first, so that each pixel answers to the nearest that shows it:
    c_long(i - j) = max(c(i - j) - Σ over nearer k of c(i - k), 0) (Ruder et al. 2016, eq. 10)."""
    weights: list[torch.Tensor] = []
    taken = torch.zeros_like(masks[0])
    for mask in masks:
        weights.append((mask - taken).clamp(min=0))
        taken = taken + mask
    return weights


def warping_error(image: torch.Tensor, other: torch.Tensor, flow: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Mean squared difference of `image` and `other` brought onto it, over trusted pixels: B values.

    Lai et al. 2018, eq. 11: pictures in [0, 1], `flow` (image → other), `mask` B×1×H×W, bilinear sampling, mean over
    the channels and over the trusted pixels (0 where there are none).
    """
    difference = (image - warp(other, flow, "bilinear")).square().mean(1, keepdim=True)
    return (difference * mask).flatten(1).sum(1) / mask.flatten(1).sum(1).clamp(min=1e-12)


def sharpness(images: torch.Tensor) -> torch.Tensor:
    """Mean absolute difference of neighbours, across and down, in the unit of the pixels: B values."""
    across = (images[..., 1:] - images[..., :-1]).abs().flatten(1)
    down = (images[..., 1:, :] - images[..., :-1, :]).abs().flatten(1)
    # A picture of one row has no vertical differences, and its sharpness is not the mean of nothing.
    return (across.sum(1) / max(across.shape[1], 1) + down.sum(1) / max(down.shape[1], 1)) / 2
