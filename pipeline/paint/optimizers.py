"""The optimizer that the settings name, ready for a batch."""

from collections.abc import Sequence
from typing import Protocol

import torch

from ..settings import OptimizerSettings
from .adam import Adam
from .lbfgs import COLD_START, Lbfgs
from .minimizer import BatchObjective, Minimizer, StepListener
from .stopping import StopRule


class MakeMinimizer(Protocol):
    """`make_minimizer` with its settings given."""

    def __call__(
        self,
        objectives: Sequence[BatchObjective],
        start: torch.Tensor,
        rule: StopRule | None,
        on_step: StepListener | None = None,
        first_step: float = COLD_START.first_step,
        is_safe: bool = False,
    ) -> Minimizer: ...


def make_minimizer(
    settings: OptimizerSettings,
    objectives: Sequence[BatchObjective],
    start: torch.Tensor,
    rule: StopRule | None,
    on_step: StepListener | None = None,
    first_step: float = COLD_START.first_step,
    is_safe: bool = False,
) -> Minimizer:
    """A minimizer of `objectives` from `start` (B×3×H×W in [0, 1]); see `Minimizer` for them and for `rule`.

    `first_step` is for L-BFGS. `is_safe` makes it cautious after a first try failed: L-BFGS without preconditioner,
    Adam with a tenth of its learning rate.
    """
    if settings.method == "adam":
        return Adam(
            objectives,
            start,
            rule,
            variable=settings.variable,
            learning_rate=settings.learning_rate * (0.1 if is_safe else 1),
            decay=settings.learning_rate_decay,
            decay_interval=settings.decay_interval,
            on_step=on_step,
        )
    return Lbfgs(
        objectives,
        start,
        rule,
        variable=settings.variable,
        history=settings.history,
        smoothing=0 if is_safe else settings.smoothing,
        first_step=first_step,
        on_step=on_step,
    )
