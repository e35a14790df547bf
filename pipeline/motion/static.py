"""Static regions: where the content does not move, so that flow is exactly 0 and nothing is resampled.

Estimated flow is never quite 0: sensor noise shifts it by some tenths of a pixel. A painting that follows it is
resampled, and blurred, in every frame of a shot in which nothing moves.
"""

import functools
from collections.abc import Callable, Sequence
from concurrent.futures import Future

import numpy as np
import torch
from torch.nn import functional

from ..pictures import blur, to_tensor
from .consistency import squared_lengths
from .dis import plain_dis
from .flow import to_flow
from .occlusion import COLOR_BLUR, color_agreement

STATIC_NEAR = 0.4
STATIC_FAR = 0.35
"""Pixels of mean flow up to which content is static, to the frame before and to one several frames back. Unlike slow
motion, the noise of an estimate does not grow with the distance in time."""

STATIC_BLUR = 0.06
"""Standard deviation, as a share of the longer side, of the neighbourhood over which flow is averaged."""

STATIC_MIN_BLUR = 14.0
"""The same in pixels, at least."""

REFERENCE_STEPS = ((8, 4), (32, 16), (128, 64))
"""(frames back, step): static content looks as it did in frames about so far back. The farthest of them tells slow
motion from noise. Only every step-th frame of the shot serves, so that few are kept."""


def static_mask(flow: torch.Tensor, sigma: float, threshold: float) -> torch.Tensor:
    """1 where the mean `flow` around a pixel is up to `threshold` pixels long, 0 from twice that on: `B×1×H×W`.

    The mean is over a Gaussian of `sigma` pixels: noise has no direction and averages out.
    """
    return (2 - _blur_coarsely(flow, sigma).square().sum(1, keepdim=True).sqrt() / threshold).clamp(0, 1)


def _blur_coarsely(images: torch.Tensor, sigma: float) -> torch.Tensor:
    """`blur`; a wide Gaussian on a coarser grid, where it is still 8 pixels wide, at a fraction of the cost."""
    height, width = images.shape[2:]
    factor = int(sigma // 8)
    if factor < 2:
        return blur(images, sigma)
    small = functional.interpolate(images, (-(-height // factor), -(-width // factor)), mode="area")
    return functional.interpolate(blur(small, sigma / factor), (height, width), mode="bilinear", align_corners=False)


def unchanged_mask(content: np.ndarray, other: np.ndarray, flow: np.ndarray, threshold: float) -> torch.Tensor:
    """1 where content neither moves to another frame, along `flow`, nor differs from it in colour: `1×1×H×W`."""
    sigma = max(STATIC_MIN_BLUR, STATIC_BLUR * max(flow.shape[:2]))
    mask = static_mask(to_flow(flow), sigma, threshold)
    # Where everything moves, the colours need not be compared.
    return mask * color_agreement(to_tensor(content), to_tensor(other)) if mask.any() else mask


def erode(mask: torch.Tensor) -> np.ndarray:
    """A `1×1×H×W` mask without the pixels next to a change, which may belong to it: `H×W` float32."""
    radius = round(2 * COLOR_BLUR)
    # Values from a half on count as static: hardly any motion is noise too.
    eroded = -functional.max_pool2d(-(2 * mask).clamp(max=1), 2 * radius + 1, stride=1, padding=radius)
    return np.asarray(eroded[0, 0].numpy())


def reference_indices(index: int, shot: int) -> tuple[int, ...]:
    """The earlier frames that frame `index` of the shot that begins with frame `shot` is compared with, ascending."""
    found = {max(shot, shot + (index - back - shot) // step * step) for back, step in REFERENCE_STEPS}
    return tuple(sorted(found - {index}))


def _is_needed_after(index: int, now: int, shot: int) -> bool:
    """Whether frame `index` is among the references of a frame after `now`."""
    return any((index - shot) % step == 0 and now - index < back + step for back, step in REFERENCE_STEPS)


class StaticRegions:
    """Finds the static regions of a film's frames; keeps the reference frames of the current shot.

    `flow` estimates the flow between two frames at the painting's size (`H×W×3` uint8 → `H×W×2`). Instead `submit` may
    begin to, so that several are estimated at the same time.
    """

    def __init__(
        self,
        flow: Callable[[np.ndarray, np.ndarray], np.ndarray] = plain_dis,
        submit: Callable[[np.ndarray, np.ndarray], Future[np.ndarray]] | None = None,
    ) -> None:
        self._flow = flow
        self._submit = submit
        self._references: dict[int, np.ndarray] = {}

    @property
    def kept(self) -> frozenset[int]:
        """The indices of the frames that are kept."""
        return frozenset(self._references)

    def keep(self, index: int, content: np.ndarray, shot: int, now: int) -> None:
        """Keeps a frame, if it is a reference of a frame after `now`."""
        if _is_needed_after(index, now, shot):
            self._references[index] = content

    def discard_unneeded(self, shot: int, now: int) -> None:
        """Drops what no frame after `now` needs, and all of the shots before."""
        self._references = {
            index: content
            for index, content in self._references.items()
            if index >= shot and _is_needed_after(index, now, shot)
        }

    def mask(
        self,
        content: np.ndarray,
        other: np.ndarray,
        flow: np.ndarray,
        references: Sequence[int],
        threshold: float = STATIC_NEAR,
    ) -> np.ndarray:
        """1 where the content is static: `H×W` float32; all 0 without references.

        There it neither moves to the `other` frame, along `flow`, nor to those of `references`, and has the same
        colours as all of them: the flow of a small object that passes may be missed, its colours are not.
        """
        nothing = np.zeros(flow.shape[:2], np.float32)
        # Most frames move all over, and then no further flow has to be estimated.
        if not references or np.sqrt(squared_lengths(flow, 2).min()) >= 2 * threshold:
            return nothing
        mask = unchanged_mask(content, other, flow, threshold)
        if not mask.any() or not self.kept.issuperset(references):
            return nothing
        kept = [self._references[index] for index in references]
        flows = [self._begin(content, earlier) for earlier in kept]
        for earlier, flow_to in zip(kept, flows, strict=True):
            mask = mask * unchanged_mask(content, earlier, flow_to(), STATIC_FAR)
            if not mask.any():
                return nothing
        return erode(mask)

    def mask_to_keyframe(
        self, content: np.ndarray, keyframe: np.ndarray, near: np.ndarray | None, references: Sequence[int]
    ) -> np.ndarray:
        """`mask` for a distant keyframe; `near` is the mask for the frame before, None if there is none.

        The noise of the steps adds up along a chain of flow: the flow between the two frames alone decides.
        """
        if near is not None and not near.any():
            return near
        flow = self._begin(content, keyframe)()
        if near is None:
            return self.mask(content, keyframe, flow, references, STATIC_FAR)
        return np.asarray(near * erode(unchanged_mask(content, keyframe, flow, STATIC_FAR)))

    def _begin(self, content: np.ndarray, other: np.ndarray) -> Callable[[], np.ndarray]:
        """Begins to estimate the flow content → other, where `submit` is given; returns what waits for it."""
        if self._submit is None:
            return functools.partial(self._flow, content, other)
        return self._submit(content, other).result
