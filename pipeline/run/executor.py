"""The contract of executors: the assignments they get and the reports they return.

An executor runs assignments on any device or machine, and does not know about jobs, files or order. `PainterSpec` is
all that a worker gets besides its tasks, so a picture has the same bits whichever executor paints it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, Self

import numpy as np
import torch

from ..choices import Precision
from ..errors import ImpastoError
from ..events import Losses
from ..paint.checkpoint import Checkpoint
from ..paint.colors import ColorStatistics
from ..paint.encoder_weights import EncoderWeights
from ..paint.painter import Painter
from ..paint.precision import require_precision
from ..paint.task import FrameTask, PaintedFrame
from ..pictures import Size
from ..settings import Settings


@dataclass(frozen=True)
class PainterSpec:
    """Everything that pictures depend on besides their tasks; every worker makes the same `Painter` from it.

    The last bits of a picture depend on `threads`, over which sums are split on a CPU, and on `widths`, the batch width
    of each size for which it is more than one, and on `tiles`, the side of the tiles of each size that is not evaluated
    whole.
    """

    settings: Settings
    weights: EncoderWeights
    styles: tuple[np.ndarray, ...]
    blend: tuple[float, ...]
    content_colors: ColorStatistics | None
    threads: int
    precision: Precision
    widths: Mapping[Size, int] = field(default_factory=dict)
    tiles: Mapping[Size, int] = field(default_factory=dict)

    @property
    def max_width(self) -> int:
        """The most pictures that a worker paints at the same time."""
        return max(self.widths.values(), default=1)

    def painter(self, device: torch.device) -> Painter:
        """Loads the encoder onto a device. Raises `DeviceError` for one that lacks the precision."""
        require_precision(self.precision, device, "leave it out")
        return Painter(
            self.settings,
            self.weights,
            self.styles,
            self.blend,
            device,
            self.content_colors,
            precision=self.precision,
            tiles=self.tiles,
        )


@dataclass(frozen=True)
class MeasureTask:
    """Asks for the losses of a finished picture, H×W×3 uint8, that was painted from `content`."""

    image: np.ndarray
    content: np.ndarray


@dataclass(frozen=True)
class Assignment:
    """A task for a worker. Its report has the same `ticket`. A frame that takes long is saved at `checkpoint`."""

    ticket: int
    task: FrameTask | MeasureTask
    checkpoint: Checkpoint | None = None


@dataclass(frozen=True)
class Report:
    """The result of an assignment: a picture, losses, or an error.

    `seconds`: the worker's time for it. `width`: the width of the batch that it was part of.
    """

    ticket: int
    result: PaintedFrame | Losses | ImpastoError
    seconds: float
    device: str
    width: int = 1


OnProgress = Callable[[int, int, Losses], None]
"""Called with the ticket, the iteration (from 1) and the losses after it."""


class Executor(Protocol):
    """Runs assignments. A context manager: leaving it ends the workers that it started.

    `wait` raises an exception that is none of ours, such as a bug in a worker; it ends the job.
    """

    @property
    def slots(self) -> int:
        """How many assignments run at the same time."""
        ...

    @property
    def devices(self) -> tuple[str, ...]:
        """Labels of the devices of its workers."""
        ...

    @property
    def widths(self) -> Mapping[Size, int]:
        """The batch width of each size for which it is more than one."""
        ...

    @property
    def overlaps(self) -> bool:
        """Whether this process can do other work while assignments run."""
        ...

    @property
    def idle_share(self) -> float:
        """The share of its workers that have nothing to do now, until this process has submitted or waited."""
        ...

    @property
    def free(self) -> int:
        """How many assignments it can take now."""
        ...

    def __enter__(self) -> Self: ...
    def __exit__(self, *_: object) -> None: ...

    def submit(self, assignment: Assignment) -> str:
        """Takes an assignment, which needs `free` > 0; returns the label of its device."""
        ...

    def wait(self, on_progress: OnProgress, timeout: float | None = None) -> Report | None:
        """The next report; None when none came within `timeout` seconds. Calls `on_progress` from this thread."""
        ...

    def checkpoint_and_stop(self) -> None:
        """Has frames with a checkpoint save it after their iteration and report `Interrupted`."""
        ...
