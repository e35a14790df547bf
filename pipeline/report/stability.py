"""TODO: report.stability."""

from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch

from ..errors import InputError
from ..motion.flo_files import FloFolder
from ..motion.flow import FlowEstimator, to_flow, to_mask
from ..motion.occlusion import visibility_mask
from ..motion.warp import warp
from ..pictures import Size, size_of, to_tensor


def warping_error(image: torch.Tensor, other: torch.Tensor, flow: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Mean squared difference of `image` and `other` brought onto it, over visible pixels: B values.

    Lai et al. 2018, eq. 11: pictures in [0, 1], `flow` (image → other), `mask` B×1×H×W, bilinear sampling, mean over
    the channels and over the visible pixels (0 where there are none).
    """
    difference = (image - warp(other, flow, "bilinear")).square().mean(1, keepdim=True)
    return (difference * mask).flatten(1).sum(1) / mask.flatten(1).sum(1).clamp(min=1e-12)


def sharpness(images: torch.Tensor) -> torch.Tensor:
    """Mean absolute difference of neighbours, across and down, in the unit of the pixels: B values."""
    across = (images[..., 1:] - images[..., :-1]).abs().flatten(1)
    down = (images[..., 1:, :] - images[..., :-1, :]).abs().flatten(1)
    # A picture of one row has no vertical differences, and its sharpness is not the mean of nothing.
    return (across.sum(1) / max(across.shape[1], 1) + down.sum(1) / max(down.shape[1], 1)) / 2


DISTANCES = (1, 10)
"""How many frames back a frame is compared: to the one before for flicker, to the tenth for drift."""


@dataclass(frozen=True)
class Stability:
    """How a frame differs from the one `distance` frames before, brought onto it along the motion of the content."""

    distance: int
    warping_error: float | None
    """Lai et al. 2018: mean squared difference over channels and visible pixels, pixels in [0, 1]; None when no pixel
    is visible."""
    content_warping_error: float | None
    """The same of the content, along the same flow and over the same pixels."""
    visible_share: float
    """Mean of the mask, in [0, 1]."""


# Stability


@dataclass(frozen=True)
class FilmFrame:
    """A frame of a finished film and of its content, all `H×W×3` uint8."""

    index: int
    """In the content, from 0."""
    picture: np.ndarray
    content: np.ndarray
    """At the size of the picture."""
    source: np.ndarray
    """The content as it was read."""

    @property
    def size(self) -> Size:
        return size_of(self.picture)


@dataclass(frozen=True)
class FlowPair:
    """Flow from a frame to an earlier one, and where it is to be visible."""

    flow: np.ndarray
    """Frame → earlier, `H×W×2` in pixels of the picture."""
    back: np.ndarray | None
    """Earlier → frame."""
    reliable: np.ndarray | None = None
    """`H×W` in [0, 1], in addition to what the two flows say of themselves."""


FlowSource: TypeAlias = Callable[[FilmFrame, FilmFrame], FlowPair | None]
"""Flow from the first frame to the second, which is earlier; None where there is none."""


def estimated_flow(estimator: FlowEstimator) -> FlowSource:
    """Flow that is estimated on the content."""

    def between(frame: FilmFrame, earlier: FilmFrame) -> FlowPair:
        return FlowPair(*estimator.pair(frame.source, earlier.source, frame.size))

    return between


def flow_from_files(files: FloFolder) -> FlowSource:
    """Flow that is read. None where a file is missing, but `InputError` from a frame to the one before."""

    def between(frame: FilmFrame, earlier: FilmFrame) -> FlowPair | None:
        flow = files.read(frame.index, earlier.index, frame.size)
        if flow is None:
            if frame.index - earlier.index > 1:
                return None
            name = files.expected_name(frame.index, earlier.index)
            raise InputError(
                f"{files.folder} has no {name}, the flow of the content to the frame before (frames count from 1 "
                "there): add it, or leave out `flow_folder` to have the flow estimated"
            )
        back = files.read(earlier.index, frame.index, frame.size)
        return FlowPair(flow, back, files.reliability(frame.index, earlier.index, frame.size))

    return between


class StabilityMeter:
    """Compares the frames of a film, fed in order, with those `DISTANCES` before them.

    `cuts` are the first frames of new shots; a pair that lies across one is left out. The last frames that a
    comparison can need are kept, and no more.
    """

    def __init__(self, flow: FlowSource, cuts: Sequence[int] = (), device: torch.device | str = "cpu") -> None:
        self._flow = flow
        self._cuts = sorted(cuts)
        self._device = torch.device(device)
        self.kept: deque[FilmFrame] = deque(maxlen=max(DISTANCES))

    def feed(self, frame: FilmFrame) -> tuple[Stability, ...]:
        """What the next frame is like beside those before it, in the order of `DISTANCES`."""
        found = []
        for distance in DISTANCES:
            earlier = next((one for one in self.kept if one.index == frame.index - distance), None)
            if earlier is None or self.across_cut(earlier.index, frame.index):
                continue
            pair = self._flow(frame, earlier)
            if pair is not None:
                found.append(self._compare(frame, earlier, pair, distance))
        self.kept.append(frame)
        return tuple(found)

    def across_cut(self, earlier: int, later: int) -> bool:
        """Whether a new shot begins after frame `earlier` and no later than with frame `later`."""
        return bisect_right(self._cuts, earlier) != bisect_right(self._cuts, later)

    def _compare(self, frame: FilmFrame, earlier: FilmFrame, pair: FlowPair, distance: int) -> Stability:
        flow = to_flow(pair.flow, self._device)
        mask = visibility_mask(flow, None if pair.back is None else to_flow(pair.back, self._device))
        if pair.reliable is not None:
            mask = mask * to_mask(pair.reliable, self._device)
        share = mask.mean().item()
        if share == 0:
            return Stability(distance, None, None, 0.0)
        painted, given = (
            warping_error(to_tensor(image, self._device), to_tensor(other, self._device), flow, mask).item()
            for image, other in ((frame.picture, earlier.picture), (frame.content, earlier.content))
        )
        return Stability(distance, painted, given, share)
