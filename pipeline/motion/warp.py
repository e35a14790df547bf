"""Carrying a painting along the motion of its content, and judging how still it holds.

Conventions, used everywhere in `pipeline`:

- Flow a → b is `B×2×H×W`, (dx, dy) in pixels, given on the grid of a: what is at x in a is at x + flow in b.
- To bring picture b onto the grid of a, sample it at x + flow(a → b). The painting of the frame before comes onto
  the current frame by flow(current → previous).
- x runs to the right, y down, integers are pixel centres; the frame is the rectangle of its pixel centres,
  [0, W - 1] × [0, H - 1].
- Masks are `B×1×H×W` in [0, 1]; 1 = visibility.

All functions are pure and follow the device of their tensors.
"""

import math
from typing import Literal, TypeAlias

import torch
from torch.nn import functional

Kernel: TypeAlias = Literal["bilinear", "bicubic", "lanczos"]
Border: TypeAlias = Literal["nearest", "repeat"]

_REACH = {"bilinear": 1, "bicubic": 2, "lanczos": 8}
"""Taps on each side of the sampled place, on each axis."""

SLACK = 0.01
"""Pixels beyond the last centre that are rounding, and no part of the picture is missing."""

_PERIODS = (1 / 2, 3 / 8, 1 / 4, 3 / 16, 1 / 8)
"""Shares of the frame's side. The longer a period, the less its repetition shows."""

_SAME_MOTION = 0.25
"""Mean difference of motion, relative to its length, up to which a longer period is not given up for a shorter."""

_GRAIN = tuple((-1) ** tap * math.comb(8, tap) / 256 for tap in range(9))
"""A high pass of response sin⁸(πf), f in cycles a pixel."""


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


def warp_painting(painting: torch.Tensor, flow: torch.Tensor) -> torch.Tensor:
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
    for beyond in (place < -SLACK, place > last + SLACK):
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
