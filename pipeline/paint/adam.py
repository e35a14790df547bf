"""Adam (Kingma and Ba 2015) over the pixels of a batch of pictures."""

import torch

from .batch_math import are_finite, indices_where, per_picture
from .minimizer import BatchObjective, Minimizer, StepListener
from .stopping import Outcome, StopReason, StopRule
from .variables import VariableKind


class Adam(Minimizer):
    """Adam with β₁ = 0.9, β₂ = 0.999 and ε = 1e-8, as in the paper.

    The learning rate (in units of the variable) is multiplied by `decay` after every `decay_interval` iterations.
    The result is the picture after the last step or, at a target, the one that reached it.
    """

    def __init__(
        self,
        objective: BatchObjective,
        start: torch.Tensor,
        rule: StopRule | None,
        *,
        variable: VariableKind = "bounded",
        learning_rate: float = 0.05,
        decay: float = 1.0,
        decay_interval: int = 50,
        on_step: StepListener | None = None,
    ) -> None:
        super().__init__(objective, start, rule, variable=variable, on_step=on_step)
        self._learning_rate = learning_rate
        self._decay = decay
        self._decay_interval = decay_interval

    def _initial_state(self, z: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"z": z, "last_finite": z.clone(), "mean": torch.zeros_like(z), "square": torch.zeros_like(z)}

    def step(self) -> dict[int, Outcome]:
        active = self._active
        value, gradient, terms = self._evaluate(self._state["z"])
        finite = are_finite(value, gradient)
        self._record(terms)
        # A picture that became non-finite returns to the last finite pixels.
        last_finite = torch.where(per_picture(finite), self._state["z"], self._state["last_finite"])
        stepped = self._moved(gradient)
        stops = dict.fromkeys(indices_where(active & ~finite), StopReason.NONFINITE)
        stops |= self._stops_by_rule(stops)
        # The picture that reached its target is the result, not the one after it.
        held = ~finite | ~active
        held[[slot for slot, stop in stops.items() if stop is StopReason.TARGET]] = True
        self._state |= {"z": torch.where(per_picture(held), last_finite, stepped), "last_finite": last_finite}
        return self._finish_step(stops)

    def _moved(self, gradient: torch.Tensor) -> torch.Tensor:
        """z after a step (algorithm 1 of the paper); updates both moments."""
        z, mean, square = self._state["z"], self._state["mean"], self._state["square"]
        mean.lerp_(gradient, 1 - 0.9)
        square.mul_(0.999).addcmul_(gradient, gradient, value=1 - 0.999)
        # Pictures that began at different times are at different iterations.
        iterations = [max(1, len(trace)) for trace in self._traces]
        rates = [
            self._learning_rate * self._decay ** ((iteration - 1) // self._decay_interval) / (1 - 0.9**iteration)
            for iteration in iterations
        ]
        # ε is added to the root of the bias-corrected second moment, as in the paper.
        corrections = z.new_tensor([1 - 0.999**iteration for iteration in iterations])
        root = (square / per_picture(corrections)).sqrt_().add_(1e-8)
        return z - per_picture(z.new_tensor(rates)) * mean / root
