"""TODO: paint.task."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from ..events import Losses
from ..pictures import resize, size_of
from .checkpoint import digest
from .devices import device_label
from .stopping import StopReason, StopRule

StartKind = Literal["content", "matched", "noise", "given", "warped"]


@dataclass(frozen=True)
class PaintedReference:
    """A finished painting of another frame of the shot, and the way to it.

    `image` and `content` are H×W×3 uint8: its painting and what that was painted from. `flow` (H×W×2) goes from
    the frame to be painted to that one, `visibility` (H×W in [0, 1]) says where both show the same thing; see
    `pipeline.temporal`.
    """

    image: np.ndarray
    content: np.ndarray
    flow: np.ndarray
    visibility: np.ndarray


@dataclass(frozen=True)
class FrameTask:
    """One picture to paint.

    `content` is H×W×3 uint8 at the size of the painting. `given` is the picture to start from, of the same
    shape, when `start` is `given` (the saved frame before, or a file). When it is `warped`, `earlier` is brought
    onto this frame and, where there is a `given`, blended into it with `blend` of its weight. `warm` says that
    the start is a painting of nearly the same content. `references`, nearest first, are what the temporal loss
    holds the picture to, with `temporal` for its weight. `index` seeds the noise.

    `crossfade_with` is the painting of the next keyframe, and `share` how far the cross-fade to it has come in this
    frame: where both show the same thing, the earlier painting is blended with it, in the start and, if it is among
    the references, there. What the later one alone shows is taken from it whole.
    """

    index: int
    content: np.ndarray
    start: StartKind
    rule: StopRule
    given: np.ndarray | None = None
    warm: bool = False
    earlier: PaintedReference | None = None
    blend: float = 1.0
    references: tuple[PaintedReference, ...] = ()
    temporal: float = 0.0
    crossfade_with: PaintedReference | None = None
    share: float = 0.0


COLD_STARTS: Mapping[str, StartKind] = {"content": "content", "matched": "matched", "noise": "noise"}
"""Values of `start.first` that are no file."""


def cold_task(index: int, content: np.ndarray, start: str, rule: StopRule, picture: np.ndarray | None) -> FrameTask:
    """A task that starts from no painting: as `start` says, or where that is a file, from its `picture`, resized."""
    if start in COLD_STARTS:
        return FrameTask(index, content, COLD_STARTS[start], rule)
    if picture is None:
        raise ValueError(f"start {start!r} is a file, and comes with its picture")
    return FrameTask(index, content, "given", rule, resize(picture, size_of(content)))


@dataclass(frozen=True)
class PaintedFrame:
    """What came out of a task: H×W×3 uint8, its losses, how it went, and why it took a second try (or None)."""

    image: np.ndarray
    losses: Losses
    stop: StopReason
    trace: tuple[Losses, ...]
    retried: str | None

    @property
    def iterations(self) -> int:
        return len(self.trace)


ProgressListener = Callable[[int, Losses], None]
"""Called with the iteration (from 1) and the losses after it."""


def task_digest(task: FrameTask, device: torch.device, width: int = 1) -> str:
    """What the bits of a task's picture depend on besides the settings, styles and weights of a painter."""
    return digest((task, width, device_label(device), torch.__version__))
