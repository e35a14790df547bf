"""Warping: one picture, or the previous painting, brought onto the grid of another frame along optical flow.

Directions, pixel grid and units are those of `motion.flow`: the result at x is the picture at x + flow(x). All
functions are pure and follow the device of their tensors.
"""

import math
from typing import Literal, TypeAlias

import torch
from torch.nn import functional

Kernel: TypeAlias = Literal["bilinear", "lanczos"]
Border: TypeAlias = Literal["nearest", "repeat"]

_REACH = {"bilinear": 1, "lanczos": 8}
"""Taps on each side of the sampled position, on each axis."""

BORDER_TOLERANCE = 0.01
"""Pixels beyond the border's pixel centres that count as rounding: such a position is still in the frame."""

_PERIODS = (1 / 2, 3 / 8, 1 / 4, 3 / 16, 1 / 8)
"""Periods of `_wrap`, as shares of the frame's side, longest first: the longer, the less the repetition shows."""

_SIMILAR_MOTION = 0.25
"""Mean difference of flow, relative to its length, up to which a longer period is good enough."""

_GRAIN = tuple((-1) ** tap * math.comb(8, tap) / 256 for tap in range(9))
"""Taps of a high pass with the response sin⁸(πf), f in cycles per pixel."""


def warp(
    images: torch.Tensor, flow: torch.Tensor, kernel: Kernel = "lanczos", border: Border = "nearest"
) -> torch.Tensor:
    """`images` (`B×C×H×W`) sampled at x + flow(x), `flow` `B×2×H×W` in pixels.

    `lanczos` (a = 8) keeps the most detail, which matters where each frame resamples the last: strokes are sharp to
    the pixel, and over half a pixel a = 3 loses 4 % of their gradients, a = 8 under 1 %. `bilinear` is the sampling of
    Lai et al. (2018). Weights add up to 1, so flat colour stays, and a flow of whole pixels copies (to rounding). The
    result may overshoot the range.

    Beyond the frame `nearest` continues with the colour of the border pixel, `repeat` with a part of the frame up to
    half a frame further in (see `_wrap`).
    """
    batch, channels, height, width = images.shape
    reach = _REACH[kernel]
    y, x = torch.meshgrid(
        torch.arange(height, device=images.device), torch.arange(width, device=images.device), indexing="ij"
    )
    to_x, to_y = x + flow[:, 0], y + flow[:, 1]
    if border == "repeat":
        to_x, to_y = _wrap(to_x, flow, 3), _wrap(to_y, flow, 2)
    # A flow of 1e9 must not overflow an index.
    to_x, to_y = to_x.clamp(0, width - 1), to_y.clamp(0, height - 1)
    left, top = to_x.floor(), to_y.floor()
    weights_x, weights_y = _tap_weights(to_x - left, kernel), _tap_weights(to_y - top, kernel)
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
    """The previous painting (`B×C×H×W`) on the grid of `flow` (`B×2×H×W`): the warm start of a frame.

    What enters the frame repeats a part of its inside. Where the flow is not 0, checkerboard grain is filtered out:
    the part with the response H(f) = sin⁸(πf_x) · sin⁸(πf_y). The losses hardly see it, each frame adds a little and
    warping preserves it; unfiltered, its energy grows seventyfold over a pan of 100 frames. Vertical and horizontal
    detail stays. Where the flow is 0 the painting is copied, to the bit.
    """
    moved = warp(painting, flow, border="repeat")
    channels, taps = painting.shape[1], torch.tensor(_GRAIN, dtype=painting.dtype, device=painting.device)
    reach = len(_GRAIN) // 2
    padded = functional.pad(moved, [reach] * 4, mode="replicate")
    across = functional.conv2d(padded, taps.view(1, 1, 1, -1).expand(channels, 1, 1, -1), groups=channels)
    grain = functional.conv2d(across, taps.view(1, 1, -1, 1).expand(channels, 1, -1, 1), groups=channels)
    return torch.where((flow == 0).all(1, keepdim=True), painting, moved - grain)


def _wrap(positions: torch.Tensor, flow: torch.Tensor, axis: int) -> torch.Tensor:
    """Sampled positions (`B×H×W`, along `axis` of `B×2×H×W` `flow`), those beyond a border moved in by whole periods.

    The period is the longest of `_PERIODS` that leads to where the flow is similar. While a camera moves, what enters
    then continues what entered in the frame before, with the texture of a strip inside. A source that is fixed in the
    frame, or the frame mirrored at its border, would give the same few pixels every time, which become streaks.
    """
    length = flow.shape[axis]
    last = length - 1
    for beyond in (positions < -BORDER_TOLERANCE, positions > last + BORDER_TOLERANCE):
        if not bool(beyond.any()):
            continue
        outer_flow = flow.movedim(1, -1)[beyond]
        scale = outer_flow.norm(dim=1).mean()
        best: tuple[float, torch.Tensor] | None = None
        for share in _PERIODS:
            period = max(1, int(length * share))
            inner = torch.where(positions < 0, positions.remainder(period), last - (last - positions).remainder(period))
            index = inner.round().long().clamp(0, last).unsqueeze(1).expand_as(flow)
            inner_flow = flow.gather(axis, index).movedim(1, -1)[beyond]
            miss = float((inner_flow - outer_flow).norm(dim=1).mean() / scale)
            if best is None or miss < best[0]:
                best = miss, inner
            if miss < _SIMILAR_MOTION:
                break
        if best is not None:
            positions = torch.where(beyond, best[1], positions)
    return positions


def _tap_weights(fraction: torch.Tensor, kernel: Kernel) -> list[torch.Tensor]:
    """Weights of the taps at floor(x) - reach + 1 … floor(x) + reach, for a position `fraction` beyond floor(x)."""
    reach = _REACH[kernel]
    distances = [(fraction - (tap - reach + 1)).abs() for tap in range(2 * reach)]
    if kernel == "bilinear":
        return [1 - distance for distance in distances]
    weights = [torch.sinc(d) * torch.sinc(d / reach) for d in distances]
    total = torch.stack(weights).sum(0)
    return [weight / total for weight in weights]
