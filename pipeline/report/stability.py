"""Temporal consistency of finished films: the warping error of Lai et al. (2018).

A frame is compared with earlier ones, warped onto it along the motion of the content, where that can be followed. The
content is compared in the same way, which tells how much of the error is due to the flow alone. Temporal LPIPS is not
measured: no well-maintained package ships its weights with the code.
"""

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

DISTANCES = (1, 10)
"""How many frames back a frame is compared: with the one before for flicker, with the tenth for drift."""


@dataclass(frozen=True)
class Stability:
    """How a frame differs from the one `distance` frames before, warped onto it along the motion of the content."""

    distance: int
    warping_error: float | None
    """Lai et al. 2018: mean squared difference over channels and visible pixels, pixels in [0, 1]; None when no pixel
    is visible."""
    content_warping_error: float | None
    """The same of the content, along the same flow and over the same pixels."""
    visible_share: float
    """Mean of the visibility mask, in [0, 1]."""


@dataclass(frozen=True)
class FilmFrame:
    """A frame of a finished film and of its content, all `H×W×3` uint8."""

    index: int
    """In the content, from 0."""
    picture: np.ndarray
    content: np.ndarray
    """At the size of the picture."""
    source: np.ndarray
    """The content at its own size."""

    @property
    def size(self) -> Size:
        return size_of(self.picture)


@dataclass(frozen=True)
class FlowPair:
    """Flow between a frame and an earlier one, and how reliable it is."""

    flow: np.ndarray
    """Frame → earlier, `H×W×2` float32 in pixels of the picture."""
    back: np.ndarray | None
    """Earlier → frame; None where it is unknown."""
    reliability: np.ndarray | None = None
    """`H×W` in [0, 1], in addition to what the two flows tell."""


FlowSource: TypeAlias = Callable[[FilmFrame, FilmFrame], FlowPair | None]
"""Flow from a frame to an earlier one; None where there is none."""


def warping_error(image: torch.Tensor, other: torch.Tensor, flow: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Mean squared difference of `image` and `other` warped onto it, over visible pixels: B values.

    Lai et al. 2018, eq. 11: pictures in [0, 1], `flow` (image → other), `mask` `B×1×H×W`, bilinear sampling, mean over
    the channels and over the visible pixels (0 where there are none).
    """
    difference = (image - warp(other, flow, "bilinear")).square().mean(1, keepdim=True)
    return (difference * mask).flatten(1).sum(1) / mask.flatten(1).sum(1).clamp(min=1e-12)


def estimated_flow(estimator: FlowEstimator) -> FlowSource:
    """A source that estimates flow on the content."""

    def flow_to_earlier(frame: FilmFrame, earlier: FilmFrame) -> FlowPair:
        return FlowPair(*estimator.pair(frame.source, earlier.source, frame.size))

    return flow_to_earlier


def flow_from_files(files: FloFolder) -> FlowSource:
    """A source that reads flow. A missing file is None, but to the frame before an `InputError`."""

    def flow_to_earlier(frame: FilmFrame, earlier: FilmFrame) -> FlowPair | None:
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

    return flow_to_earlier


class StabilityMeter:
    """Compares the frames of a film, fed in order, with those `DISTANCES` before them.

    `cuts` are the first frames of shots; frames on two sides of a cut are not compared. Only the frames that a later
    comparison can need are kept.
    """

    def __init__(self, flow: FlowSource, cuts: Sequence[int] = (), device: torch.device | str = "cpu") -> None:
        self._flow = flow
        self._cuts = sorted(cuts)
        self._device = torch.device(device)
        self.recent: deque[FilmFrame] = deque(maxlen=max(DISTANCES))

    def feed(self, frame: FilmFrame) -> tuple[Stability, ...]:
        """The stability of the next frame at each of `DISTANCES` at which it can be compared."""
        found = []
        for distance in DISTANCES:
            earlier = next((one for one in self.recent if one.index == frame.index - distance), None)
            if earlier is None or self.crosses_cut(earlier.index, frame.index):
                continue
            pair = self._flow(frame, earlier)
            if pair is not None:
                found.append(self._compare(frame, earlier, pair, distance))
        self.recent.append(frame)
        return tuple(found)

    def crosses_cut(self, earlier: int, later: int) -> bool:
        """Whether a shot begins after frame `earlier` and no later than with frame `later`."""
        return bisect_right(self._cuts, earlier) != bisect_right(self._cuts, later)

    def _compare(self, frame: FilmFrame, earlier: FilmFrame, pair: FlowPair, distance: int) -> Stability:
        flow = to_flow(pair.flow, self._device)
        mask = visibility_mask(flow, None if pair.back is None else to_flow(pair.back, self._device))
        if pair.reliability is not None:
            mask = mask * to_mask(pair.reliability, self._device)
        share = mask.mean().item()
        if share == 0:
            return Stability(distance, None, None, 0.0)
        painted, content = (
            warping_error(to_tensor(image, self._device), to_tensor(other, self._device), flow, mask).item()
            for image, other in ((frame.picture, earlier.picture), (frame.content, earlier.content))
        )
        return Stability(distance, painted, content, share)
