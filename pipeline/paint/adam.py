"""TODO: paint.adam."""

import torch

from .minimizer import BatchObjective, Minimizer, StepListener
from .per_picture import as_column, is_finite, true_indices
from .stopping import Outcome, StopReason, StopRule
from .variables import VariableKind


class Adam(Minimizer):
    """Adam.

    The step is `learning_rate` (in units of the variable), multiplied by `decay` after each
    `decay_interval` iterations. β₁ = 0.9, β₂ = 0.999, ε = 1e-8, as in the paper. The result is the
    picture after the last step, or at a target the one that reached it.
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

    def _empty(self, z: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"z": z, "last_finite": z.clone(), "mean": torch.zeros_like(z), "square": torch.zeros_like(z)}

    def step(self) -> dict[int, Outcome]:
        z, mean, square = self._state["z"], self._state["mean"], self._state["square"]
        taken = self._taken
        value, gradient, terms = self._evaluate(z)
        finite = is_finite(value, gradient)
        self._record(terms)
        # A picture that became non-finite goes back to the last pixels that were not.
        last_finite = torch.where(as_column(finite), z, self._state["last_finite"])
        mean.lerp_(gradient, 1 - 0.9)
        square.mul_(0.999).addcmul_(gradient, gradient, value=1 - 0.999)
        # Pictures that began at different times have come differently far.
        iterations = [max(1, len(trace)) for trace in self._traces]
        rates = [
            self._learning_rate * self._decay ** ((iteration - 1) // self._decay_interval) / (1 - 0.9**iteration)
            for iteration in iterations
        ]
        # The paper's ε, which stands beside the bias-corrected second moment.
        corrections = z.new_tensor([1 - 0.999**iteration for iteration in iterations])
        root = (square / as_column(corrections)).sqrt_().add_(1e-8)
        stepped = z - as_column(z.new_tensor(rates)) * mean / root
        stops = dict.fromkeys(true_indices(taken & ~finite), StopReason.NONFINITE)
        stops |= self._natural_stops(stops)
        # A picture that has reached its target is that picture, and not one step further.
        reached = [place for place, stop in stops.items() if stop is StopReason.TARGET]
        held = ~finite | ~taken
        held[reached] = True
        self._state |= {"z": torch.where(as_column(held), last_finite, stepped), "last_finite": last_finite}
        return self._finish(stops)
