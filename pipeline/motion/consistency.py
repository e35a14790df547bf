"""Whether forward and backward flow are consistent: for masks of tensors, and for arrays while flow is estimated."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import numpy as np

from .flow import flow_positions, sample_at

if TYPE_CHECKING:  # Processes that estimate flow start without torch.
    import torch

CONSISTENCY_SLOPE = 0.01
CONSISTENCY_OFFSET = 0.5
"""Ruder et al. 2016, eq. 6 (after Sundaram et al. 2010): the squared distance by which forward and backward flow may
miss each other, as a share of their squared lengths plus squared pixels."""

Array = TypeVar("Array", np.ndarray, "torch.Tensor")


def is_consistent(flow: Array, returned: Array, axis: int) -> Array:
    """Whether forward and backward flow cancel: |w̃ + ŵ|² ≤ 0.01 (|w̃|² + |ŵ|²) + 0.5 (Ruder et al. 2016, eq. 6).

    `flow` is ŵ (a → b) and `returned` w̃, the backward flow sampled where ŵ points; (dx, dy) in pixels along `axis`,
    which the result lacks. Where they do not cancel the pixel of a is occluded in b, or one flow is wrong. For arrays
    and tensors, whose samplers differ: OpenCV's rounds positions to 1/32 pixel, `warp` does not.
    """
    lengths = squared_lengths(flow, axis) + squared_lengths(returned, axis)
    consistent: Array = squared_lengths(flow + returned, axis) <= CONSISTENCY_SLOPE * lengths + CONSISTENCY_OFFSET
    return consistent


def squared_lengths(vectors: Array, axis: int) -> Array:
    """dx² + dy², where the components lie along `axis`, which the result lacks."""
    # NumPy sums along a short last axis at a tenth of this speed.
    across, down = (vectors[(slice(None),) * axis + (component,)] for component in (0, 1))
    squared: Array = across * across + down * down
    return squared


def consistent_pixels(flow: np.ndarray, back: np.ndarray) -> np.ndarray:
    """Where `flow` (a → b) stays in the frame and is consistent with `back` (b → a), both `H×W×2`: `H×W` bool."""
    positions, inside = flow_positions(flow)
    return np.asarray((inside > 0) & is_consistent(flow, sample_at(back, positions), 2))
