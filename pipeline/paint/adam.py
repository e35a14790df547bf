"""Adam (Kingma and Ba 2015) over the pixels of a batch of pictures."""

from collections.abc import Sequence

import torch

from ..choices import VariableKind
from .batch_math import are_finite, per_picture
from .minimizer import BatchObjective, Minimizer, StepListener
from .stopping import StopReason, StopRule, code_of


class Adam(Minimizer):
    """Adam with β₁ = 0.9, β₂ = 0.999 and ε = 1e-8, as in the paper.

    The learning rate (in units of the variable) is multiplied by `decay` after every `decay_interval` iterations.
    The result is the picture after the last step or, at a target, the one that reached it.
    """

    def __init__(
        self,
        objectives: Sequence[BatchObjective],
        start: torch.Tensor,
        rule: StopRule | None,
        *,
        variable: VariableKind = "bounded",
        learning_rate: float = 0.05,
        decay: float = 1.0,
        decay_interval: int = 50,
        on_step: StepListener | None = None,
    ) -> None:
        super().__init__(objectives, start, rule, variable=variable, on_step=on_step)
        self._learning_rate = learning_rate
        self._decay = decay
        self._decay_interval = decay_interval

    def _initial_state(self, z: torch.Tensor) -> dict[str, torch.Tensor]:
        zeros = z.new_zeros(()).expand_as(z)
        return {"z": z, "last_finite": z, "mean": zeros, "square": zeros}

    def _iterate(self, stage: int) -> None:
        state = self._state
        active = self._are_in(stage)
        value, gradient, terms = self._evaluate(stage, state["z"])
        finite = are_finite(value, gradient)
        codes = self._count(active, terms, torch.where(finite, 0, code_of(StopReason.NONFINITE)))
        # A picture that became non-finite returns to the last finite pixels.
        last_finite = torch.where(per_picture(finite), state["z"], state["last_finite"])
        stepped = self._moved(active, gradient)
        # The picture that reached its target is the result, not the one after it.
        is_held = per_picture(~finite | (codes == code_of(StopReason.TARGET)))
        self._set(active, z=torch.where(is_held, last_finite, stepped), last_finite=last_finite)

    def _moved(self, active: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
        """z after a step (algorithm 1 of the paper); updates both moments of the active pictures."""
        z, mean, square = self._state["z"], self._state["mean"], self._state["square"]
        self._set(
            active,
            mean=mean.lerp(gradient, 1 - 0.9),
            square=(square * 0.999).addcmul_(gradient, gradient, value=1 - 0.999),
        )
        # Pictures that began at different times are at different iterations.
        iteration = self._state["iteration"].clamp(min=1).double()
        decay = self._decay ** torch.floor((iteration - 1) / self._decay_interval)
        rate = self._learning_rate * decay / (1 - 0.9**iteration)
        # ε is added to the root of the bias-corrected second moment, as in the paper.
        correction = (1 - 0.999**iteration).to(z.dtype)
        root = (square / per_picture(correction)).sqrt_().add_(1e-8)
        return z - per_picture(rate.to(z.dtype)) * mean / root
