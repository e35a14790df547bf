"""Where the painting of a picture is, between two iterations or two scales: what it continues from."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch

from ..events import Losses

_PREFIX = "painting."


@dataclass(frozen=True)
class PaintingState:
    """A picture that is to go on at a scale, after a number of scales that are done."""

    scale: int = 0
    """Which of the task's `all_scales` is painted."""
    painting: np.ndarray | None = None
    """The painting of the scale before, H×W×3 uint8; None at the first one."""
    trace: tuple[Losses, ...] = ()
    """Losses after each iteration of the scales that are done."""
    retried: str | None = None
    """Why one of these scales had a second try; None where none had."""
    snapshot: Mapping[str, torch.Tensor] | None = None
    """The optimizer's state, among what else its checkpoint holds; None where the scale begins."""

    def to_tensors(self) -> dict[str, torch.Tensor]:
        """Everything as tensors, for a checkpoint; read by `from_tensors`."""
        tensors = dict(self.snapshot or {})
        tensors[_PREFIX + "scale"] = torch.tensor(self.scale)
        tensors[_PREFIX + "retried"] = torch.tensor(list((self.retried or "").encode()), dtype=torch.uint8)
        rows = [dataclasses.astuple(losses) for losses in self.trace]
        tensors[_PREFIX + "trace"] = torch.tensor(rows, dtype=torch.float64)
        if self.painting is not None:
            tensors[_PREFIX + "painting"] = torch.from_numpy(self.painting)
        return tensors

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, torch.Tensor]) -> Self:
        """The state that `to_tensors` wrote."""
        own = {name[len(_PREFIX) :]: tensors[name] for name in tensors if name.startswith(_PREFIX)}
        return cls(
            scale=int(own["scale"]),
            painting=own["painting"].numpy() if "painting" in own else None,
            trace=tuple(Losses(*row) for row in own["trace"].tolist()),
            retried=bytes(own["retried"].tolist()).decode() or None,
            snapshot=tensors,
        )
