"""Where frame tasks run: in this process, or in one process for each device.

An executor is handed assignments and hands back reports, in the order in which they come. It knows nothing of jobs,
files and order, and whichever runs an assignment, the picture has the same bits: `PainterSpec` is all that a worker
gets, and the number of threads is part of it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, Self

import numpy as np
import torch

from ..errors import ImpastoError
from ..events import Losses
from ..paint.checkpoint import Checkpoint
from ..paint.colors import ColorStatistics
from ..paint.encoder_weights import EncoderWeights
from ..paint.painter import Painter
from ..paint.task import FrameTask, PaintedFrame
from ..pictures import Size
from ..settings import Settings


@dataclass(frozen=True)
class PainterSpec:
    """All that frames depend on besides their tasks, from which every worker makes the same `Painter`.

    `threads` is the number that sums are split over on a CPU, and `widths` how many pictures of a size are painted side
    by side where it is more than one: the last bits of a picture depend on both.
    """

    settings: Settings
    weights: EncoderWeights
    styles: tuple[np.ndarray, ...]
    blend: tuple[float, ...]
    content_colors: ColorStatistics | None
    threads: int
    widths: Mapping[Size, int] = field(default_factory=dict)

    @property
    def places(self) -> int:
        """How many pictures a worker has at most at a time."""
        return max(self.widths.values(), default=1)

    def painter(self, device: torch.device) -> Painter:
        """Loads the encoder onto a device."""
        return Painter(self.settings, self.weights, self.styles, self.blend, device, self.content_colors)


@dataclass(frozen=True)
class MeasureTask:
    """The losses of a finished picture, H×W×3 uint8, painted from `content`."""

    image: np.ndarray
    content: np.ndarray


@dataclass(frozen=True)
class Assignment:
    """What a worker is to do; `ticket` tells its report from others. A long frame is put away at `checkpoint`."""

    ticket: int
    task: FrameTask | MeasureTask
    checkpoint: Checkpoint | None = None


@dataclass(frozen=True)
class Report:
    """What came of an assignment: a picture, losses, or why there is none.

    `seconds`: what the worker spent on it. `width`: how many were painted side by side, of which this was one.
    """

    ticket: int
    result: PaintedFrame | Losses | ImpastoError
    seconds: float
    device: str
    width: int = 1


OnProgress = Callable[[int, int, Losses], None]
"""Called with the ticket, the iteration (from 1) and the losses after it."""


class Executor(Protocol):
    """Runs assignments. A context manager: leaving it ends whatever it started."""

    @property
    def slots(self) -> int:
        """How many assignments are to run at the same time."""
        ...

    @property
    def devices(self) -> tuple[str, ...]:
        """Where they run, as a person knows it."""
        ...

    @property
    def widths(self) -> Mapping[Size, int]:
        """How many pictures of a size are painted side by side, where it is more than one."""
        ...

    @property
    def overlaps(self) -> bool:
        """Whether this process has a core to spare while they run."""
        ...

    @property
    def free(self) -> int:
        """How many assignments could be handed out now."""
        ...

    def __enter__(self) -> Self: ...
    def __exit__(self, *_: object) -> None: ...

    def submit(self, assignment: Assignment) -> str:
        """Hands out an assignment while any worker is `free`, and says to which device."""
        ...

    def wait(self, on_progress: OnProgress, timeout: float | None = None) -> Report | None:
        """The next report; None when none came in `timeout` seconds. `on_progress` is called from this thread."""
        ...

    def put_away(self) -> None:
        """Frames under way that have a checkpoint are put away after the iteration; they report `Interrupted`."""
        ...
