"""TODO: motion.occlusion."""

from collections.abc import Sequence

import torch
from torch.nn import functional

from ..pictures import blur
from .warp import SLACK, warp

CONSISTENCY_SLOPE = 0.01
CONSISTENCY_OFFSET = 0.5
"""Ruder et al. 2016, eq. 6 (after Sundaram et al. 2010): how far forward and backward flow may miss each other,
as a share of their squared lengths and in squared pixels."""

BOUNDARY_SLOPE = 0.01
BOUNDARY_OFFSET = 0.002
"""Ruder et al. 2016, eq. 7: how steep a flow may be that is no motion boundary."""

LIKENESS_BLUR = 1.5
LIKENESS_LEVELS = 4.0
LIKENESS_NOISE = 6.0
LIKENESS_GRAIN = 0.25
"""What the blur leaves of white noise, relative to what it takes out."""


def in_frame_mask(flow: torch.Tensor) -> torch.Tensor:
    """1 where x + flow(x) lies in the frame, else 0: B×1×H×W for B×2×H×W."""
    height, width = flow.shape[-2:]
    y, x = torch.meshgrid(
        torch.arange(height, device=flow.device), torch.arange(width, device=flow.device), indexing="ij"
    )
    to_x, to_y = x + flow[:, 0], y + flow[:, 1]
    inside = (to_x >= -SLACK) & (to_x <= width - 1 + SLACK) & (to_y >= -SLACK) & (to_y <= height - 1 + SLACK)
    return inside.unsqueeze(1).to(flow.dtype)


def consistency_mask(flow: torch.Tensor, back: torch.Tensor) -> torch.Tensor:
    """1 where going along `flow` (a → b) and returning along `back` (b → a) ends near the start, else 0.

    Where it does not, the pixel of a is hidden in b, or one flow is wrong: |w̃ + ŵ|² > 0.01 (|w̃|² + |ŵ|²) + 0.5
    (Ruder et al. 2016, eq. 6), with ŵ = `flow` and w̃ = `back` brought onto the grid of a.
    """
    returned = warp(back, flow, "bilinear")
    miss = (returned + flow).square().sum(1, keepdim=True)
    lengths = returned.square().sum(1, keepdim=True) + flow.square().sum(1, keepdim=True)
    return (miss <= CONSISTENCY_SLOPE * lengths + CONSISTENCY_OFFSET).to(flow.dtype)


def motion_boundary_mask(flow: torch.Tensor) -> torch.Tensor:
    """1 where the flow is smooth, 0 at edges of moving things: |∇u|² + |∇v|² > 0.01 |w|² + 0.002
    (Ruder et al. 2016, eq. 7), with central differences."""
    padded = functional.pad(flow, (1, 1, 1, 1), mode="replicate")
    across = (padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]) / 2
    down = (padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]) / 2
    steepness = (across.square() + down.square()).sum(1, keepdim=True)
    return (steepness <= BOUNDARY_SLOPE * flow.square().sum(1, keepdim=True) + BOUNDARY_OFFSET).to(flow.dtype)


def visibility_mask(flow: torch.Tensor, back: torch.Tensor | None, *, boundaries: bool = True) -> torch.Tensor:
    """Where what `flow` (a → b) points to is the same thing: in the frame, consistent with `back`, no motion
    boundary. `back` None leaves the consistency_mask out; as in Ruder et al., boundaries are those of `flow`."""
    mask = in_frame_mask(flow)
    if back is not None:
        mask = mask * consistency_mask(flow, back)
    if boundaries:
        mask = mask * motion_boundary_mask(flow)
    return mask


def color_agreement(image: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
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
