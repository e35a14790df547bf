"""The frame task: all inputs of one picture, and its result. The same task has the same bits on one kind of device."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch

from ..choices import Precision
from ..events import Losses
from ..pictures import Size, resize, size_of
from .checkpoint import digest
from .devices import device_label
from .stopping import StopReason, StopRule

StartKind = Literal["content", "matched", "noise", "given", "warped", "enlarged"]


@dataclass(frozen=True)
class PaintedReference:
    """A finished frame of the shot and how to warp it onto the frame that is to be painted.

    `image` and `content` are H×W×3 uint8: the painting, and the content frame that it was painted from. `flow`
    (H×W×2, in pixels) is given on the grid of the frame to be painted and points to that other frame. `visibility`
    (H×W in [0, 1]) is 1 where the other frame shows the same surface and 0 where it is occluded there.
    """

    image: np.ndarray
    content: np.ndarray
    flow: np.ndarray
    visibility: np.ndarray


@dataclass(frozen=True)
class Scale:
    """A smaller size at which a picture is painted before its own, and when it is finished there."""

    size: Size
    rule: StopRule


@dataclass(frozen=True)
class FrameTask:
    """One picture to paint: everything that its bits depend on besides the painter, which all frames share."""

    index: int
    """Index of the frame in the content. It seeds the noise of a start from noise."""
    content: np.ndarray
    """H×W×3 uint8, at the size of the painting."""
    start: StartKind
    rule: StopRule
    given: np.ndarray | None = None
    """The picture to start from: where `start` is `given`, a saved frame or a file, of the content's shape; where it is
    `enlarged`, the painting of the scale before."""
    warm: bool = False
    """Whether the start is a painting of nearly the same content."""
    warp_source: PaintedReference | None = None
    """The painting that is warped onto this frame where `start` is `warped`."""
    blend: float = 1.0
    """Weight of the warped painting where it is blended into `given`, before its visibility is taken into account."""
    references: tuple[PaintedReference, ...] = ()
    """What the temporal loss compares the picture with, nearest frame first."""
    temporal_weight: float = 0.0
    crossfade_with: PaintedReference | None = None
    """The painting of the next keyframe. It is blended into `warp_source` where both are visible and replaces it
    where it alone is visible: in the start and, where `warp_source` is among the `references`, there too."""
    crossfade_share: float = 0.0
    """Weight of `crossfade_with` in this frame, where both are visible; in [0, 1]."""
    scales: tuple[Scale, ...] = ()
    """The smaller sizes of a cold start, ascending. The picture is painted at each of them, from the painting of the
    one before, and last at the size of the content, by `rule`."""

    @property
    def max_iterations(self) -> int:
        """The most iterations that it takes, at all sizes together."""
        return sum(scale.rule.iterations for scale in self.all_scales)

    @property
    def all_scales(self) -> tuple[Scale, ...]:
        """The sizes at which it is painted, in this order; the last is that of the content."""
        return *self.scales, Scale(size_of(self.content), self.rule)

    def at_scale(self, number: int, painting: np.ndarray | None) -> "FrameTask":
        """The task of one of `all_scales`, which has none itself, given the painting (H×W×3 uint8) of the one
        before; None for the first."""
        if not self.scales:
            return self
        scale = self.all_scales[number]
        part = replace(self, content=resize(self.content, scale.size), rule=scale.rule, scales=())
        if painting is not None:
            return replace(part, start="enlarged", given=painting, warm=True)
        return part if self.given is None else replace(part, given=resize(self.given, scale.size))

    def scale_after(self, iteration: int) -> Scale:
        """The one of `all_scales` that an iteration, from 1, as `work_after` counts them, is part of."""
        for scale in self.scales:
            iteration -= scale.rule.iterations
            if iteration <= 0:
                return scale
        return self.all_scales[-1]

    def work_after(self, iteration: int) -> float:
        """What its first iterations, at most `max_iterations`, are worth, in iterations at the size of the content.

        Iterations are counted as if each scale took as many as it may.
        """
        work, pixels = 0.0, math.prod(size_of(self.content))
        for scale in self.all_scales:
            count = min(iteration, scale.rule.iterations)
            iteration -= count
            work += count * math.prod(scale.size) / pixels
        return work


COLD_STARTS: Mapping[str, StartKind] = {"content": "content", "matched": "matched", "noise": "noise"}
"""Values of the setting `start.first` that are not file names."""


def cold_task(
    index: int,
    content: np.ndarray,
    start: str,
    rule: StopRule,
    picture: np.ndarray | None,
    scales: tuple[Scale, ...] = (),
) -> FrameTask:
    """A task with a cold start: one of `COLD_STARTS`, or a file, whose `picture` is resized to the content."""
    if start in COLD_STARTS:
        return FrameTask(index, content, COLD_STARTS[start], rule, scales=scales)
    if picture is None:
        raise ValueError(f"start {start!r} is a file: its picture is missing")
    return FrameTask(index, content, "given", rule, resize(picture, size_of(content)), scales=scales)


@dataclass(frozen=True)
class PaintedFrame:
    """Result of a task."""

    image: np.ndarray
    """H×W×3 uint8, as it is saved."""
    losses: Losses
    """Of `image`."""
    stop: StopReason
    trace: tuple[Losses, ...]
    """Losses after each iteration, at all scales."""
    retried: str | None
    """Why there was a second try: `nonfinite` or `stalled`; None where there was none."""
    slow: str | None = None
    """Why its iterations were launched kernel by kernel on a GPU; None where they were not."""

    @property
    def iterations(self) -> int:
        return len(self.trace)


ProgressListener = Callable[[int, Losses], None]
"""Called with the iteration (from 1, as `FrameTask.work_after` counts them) and the losses after it."""

CHECKPOINT_FORMAT = 5
"""Version of the names and meaning of what a snapshot holds: checkpoints of another version are not used."""


def task_digest(task: FrameTask, device: torch.device, precision: Precision, width: int = 1) -> str:
    """Identifies a checkpoint: a hash of everything its bits depend on besides the painter's settings and weights."""
    return digest((CHECKPOINT_FORMAT, task, precision, width, device_label(device), torch.__version__))
