"""Occlusion masks: where two frames linked by optical flow show the same surface.

Convention
    A visibility mask is `B×1×H×W` in [0, 1], 1 = visible and 0 = occluded (Ruder et al. 2016 call it the weight c). The
    mask of the flow a → b lies on the grid of a, as the flow does: it is 0 at the pixels of a that frame b does not
    show, because something covers them there or because they lie outside its frame.

`visibility_mask` judges by the flow alone (Ruder et al. 2016, section 3.2), `color_agreement` by the pictures, and
`link_visibility` by both. All functions are pure and follow the device of their tensors.
"""

from collections.abc import Sequence

import torch
from torch.nn import functional

from ..pictures import blur
from .consistency import is_consistent
from .warp import BORDER_TOLERANCE, warp

BOUNDARY_SLOPE = 0.01
BOUNDARY_OFFSET = 0.002
"""Ruder et al. 2016, eq. 7: the squared gradient up to which flow is smooth, relative to its squared length and
absolute."""

COLOR_BLUR = 1.5
"""Standard deviation in pixels of the Gaussian at whose scale colours are compared; it removes most of the noise."""

COLOR_TOLERANCE = 4.0
"""Levels of 255 up to which two colours agree."""

COLOR_NOISE_FACTOR = 6.0
"""Where noise is strong, colours agree up to this multiple of what the blur leaves of it."""

BLURRED_NOISE = 0.25
"""What the blur leaves of white noise, relative to what it removes."""


def in_frame_mask(flow: torch.Tensor) -> torch.Tensor:
    """1 where x + flow(x) lies in the frame, else 0: `B×1×H×W` for `B×2×H×W`."""
    height, width = flow.shape[-2:]
    y, x = torch.meshgrid(
        torch.arange(height, device=flow.device), torch.arange(width, device=flow.device), indexing="ij"
    )
    to_x, to_y = x + flow[:, 0], y + flow[:, 1]
    low, slack = -BORDER_TOLERANCE, BORDER_TOLERANCE
    inside = (to_x >= low) & (to_x <= width - 1 + slack) & (to_y >= low) & (to_y <= height - 1 + slack)
    return inside.unsqueeze(1).to(flow.dtype)


def consistency_mask(flow: torch.Tensor, back: torch.Tensor) -> torch.Tensor:
    """1 where `flow` (a → b) and `back` (b → a) are consistent (see `is_consistent`), else 0: `B×1×H×W`."""
    return is_consistent(flow, warp(back, flow, "bilinear"), 1).unsqueeze(1).to(flow.dtype)


def motion_boundary_mask(flow: torch.Tensor) -> torch.Tensor:
    """1 where the flow is smooth, 0 at motion boundaries, |∇u|² + |∇v|² > 0.01 |w|² + 0.002: `B×1×H×W`.

    Ruder et al. 2016, eq. 7, with central differences.
    """
    padded = functional.pad(flow, (1, 1, 1, 1), mode="replicate")
    across = (padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]) / 2
    down = (padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]) / 2
    steepness = (across.square() + down.square()).sum(1, keepdim=True)
    return (steepness <= BOUNDARY_SLOPE * flow.square().sum(1, keepdim=True) + BOUNDARY_OFFSET).to(flow.dtype)


def visibility_mask(flow: torch.Tensor, back: torch.Tensor | None) -> torch.Tensor:
    """1 where the pixel that `flow` (a → b) points to shows the same surface, else 0: `B×1×H×W` on the grid of a.

    The product of `in_frame_mask`, `consistency_mask` with `back` (b → a; left out where `back` is None) and
    `motion_boundary_mask` of `flow` (Ruder et al. 2016, section 3.2).
    """
    mask = in_frame_mask(flow)
    if back is not None:
        mask = mask * consistency_mask(flow, back)
    return mask * motion_boundary_mask(flow)


def color_agreement(image: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """1 where two pictures in [0, 1] of one size have the same colours, 0 where they differ: `B×1×H×W`.

    Colours are compared at the scale of `COLOR_BLUR`, channel by channel; the largest difference counts. They agree up
    to the tolerance (`COLOR_TOLERANCE`, more where the noise is stronger), differ from twice that on, with a ramp
    between. The noise is estimated from the grain finer than that scale, which a change of light does not have.
    """
    raw = (image - other) * 255
    coarse = blur(raw, COLOR_BLUR)
    grain = (raw - coarse).abs().amax(1).flatten(1).median(1).values.view(-1, 1, 1, 1)
    difference, noise = coarse.abs().amax(1, keepdim=True), BLURRED_NOISE * grain
    return (2 - difference / (COLOR_NOISE_FACTOR * noise).clamp(min=COLOR_TOLERANCE)).clamp(0, 1)


def link_visibility(
    image: torch.Tensor,
    other: torch.Tensor,
    flow: torch.Tensor,
    flow_visibility: torch.Tensor,
    static: torch.Tensor | None,
    reliability: torch.Tensor | float,
) -> torch.Tensor:
    """The visibility mask of a link image → other, `B×1×H×W`: visible where both the flow and the colours say so.

    `flow_visibility` is what the flow says (`visibility_mask`). In `static` regions (a mask, None where there are none)
    nothing is occluded, whatever noise makes of the flow, where the unwarped pictures agree; `reliability` of the flow,
    as a file gives it, limits the mask there too.
    """
    mask = flow_visibility * color_agreement(image, warp(other, flow, "bilinear"))
    if static is None:
        return mask
    # Something that has passed since then is no noise: its colours differ.
    return torch.maximum(mask, static * color_agreement(image, other) * reliability)


def long_term_weights(masks: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """The weights of several earlier frames, nearest first: each pixel is compared with the nearest that shows it.

    c_long(i - j) = max(c(i - j) - Σ over nearer k of c(i - k), 0) (Ruder et al. 2016, eq. 10).
    """
    weights: list[torch.Tensor] = []
    taken = torch.zeros_like(masks[0])
    for mask in masks:
        weights.append((mask - taken).clamp(min=0))
        taken = taken + mask
    return weights
