"""TODO: motion.static."""

import numpy as np
import torch
from torch.nn import functional

from ..pictures import blur, to_tensor
from .flow import to_flow
from .occlusion import LIKENESS_BLUR, color_agreement

STILL_NEAR = 0.4
STILL_FAR = 0.35
"""Pixels of mean flow, to the frame before and to one several frames back, up to which content stands still. The
trembling of an estimate does not grow with the distance in time, as even slow motion does."""


def static_mask(flow: torch.Tensor, sigma: float, threshold: float) -> torch.Tensor:
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


STILL_BLUR = 0.06
"""Standard deviation, as a share of the longer side, of the neighbourhood whose mean flow says what stands still."""

STILL_LEAST_BLUR = 14.0
"""The same in pixels, at least."""


def static_pixels(content: np.ndarray, there: np.ndarray, flow: np.ndarray, threshold: float) -> torch.Tensor:
    """Where content neither moves from another frame, along `flow`, nor looks otherwise: 1×1×H×W."""
    sigma = max(STILL_LEAST_BLUR, STILL_BLUR * max(flow.shape[:2]))
    settled = static_mask(to_flow(flow), sigma, threshold)
    return settled * color_agreement(to_tensor(content), to_tensor(there))


def eroded_mask(still: torch.Tensor) -> np.ndarray:
    """Less what lies beside a change, which may be part of it."""
    radius = round(2 * LIKENESS_BLUR)
    # Hardly moving is trembling too: half is enough.
    eroded = -functional.max_pool2d(-(2 * still).clamp(max=1), 2 * radius + 1, stride=1, padding=radius)
    return np.asarray(eroded[0, 0].numpy())
