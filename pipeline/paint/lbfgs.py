"""L-BFGS over the pixels of a batch of pictures (Nocedal and Wright 2006, algorithms 7.4 and 7.5).

It departs from the L-BFGS that style transfer programs commonly run on raw pixels:

- **Bounded variable.** Pixels are x = ½ + ½ sin z and z is optimised, so the picture stays within the gamut and
  nothing is clamped when it is saved. On raw pixels, clamping loses a third of what the optimisation gained. A
  sigmoid bounds as well, but its slope near black and white is 25 times smaller: 1 % behind after 60 iterations.
- **Line search.** A step is accepted if it fulfils Armijo's condition of sufficient decrease (eq. 3.4), else it
  backtracks along its direction. Unit steps without a line search can diverge from a good start and never return.
- **Preconditioner.** The initial inverse Hessian of the two-loop recursion is γ·P instead of γ·I, where P amplifies
  low spatial frequencies (`preconditioner.py`). It saves a tenth of the iterations.
- **Batches.** Each picture has its own curvature pairs, step length and stop rule, and none of them depends on what
  else is in the batch.

The pairs s, y and ρ = 1/(s·y) and the two-loop recursion are in `curvature_pairs.py`.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from .batch_math import are_finite, indices_where, inner_products, per_picture
from .curvature_pairs import CurvaturePairs
from .minimizer import BatchObjective, Minimizer, StepListener
from .preconditioner import make_preconditioner
from .stopping import Outcome, StopReason, StopRule
from .variables import VariableKind

FIRST_STEP = 0.1
"""Root mean square of the first step, a gradient step, in units of the variable (radians)."""

WARM_FIRST_STEP = 0.003
"""The same for a warm start, where a longer step would only be rejected."""

SUFFICIENT_DECREASE = 1e-4
"""c₁ of Armijo's condition (eq. 3.4)."""

MAX_BACKTRACKS = 8
"""Rejected steps along one direction before it is given up: for a gradient step, and after that the picture ends."""


@dataclass(frozen=True)
class _Trial:
    """An evaluated step. `value` and `gradient` are divided by the picture's `scale`; `terms` are as they are."""

    z: torch.Tensor
    value: torch.Tensor
    gradient: torch.Tensor
    terms: torch.Tensor
    is_finite: torch.Tensor


class Lbfgs(Minimizer):
    """L-BFGS as described at the top of this module.

    `history`: pairs kept, one for each of the last accepted steps. `smoothing`: exponent of the preconditioner, 0
    for none. `first_step`: root mean square of a gradient step, where `begin` gives none.
    """

    def __init__(
        self,
        objective: BatchObjective,
        start: torch.Tensor,
        rule: StopRule | None,
        *,
        variable: VariableKind = "bounded",
        history: int = 20,
        smoothing: float = 0.35,
        first_step: float = FIRST_STEP,
        on_step: StepListener | None = None,
    ) -> None:
        self._precondition = make_preconditioner(start, smoothing)
        self._first_step = first_step
        self._first_steps = start.new_full((len(start),), first_step)
        self._pairs = CurvaturePairs(history, start)
        super().__init__(objective, start, rule, variable=variable, on_step=on_step)

    def begin(self, slot: int, image: torch.Tensor, rule: StopRule, first_step: float | None = None) -> None:
        super().begin(slot, image, rule)
        self._first_steps[slot] = self._first_step if first_step is None else first_step
        self._pairs.clear(slot)

    def _initial_state(self, z: torch.Tensor) -> dict[str, torch.Tensor]:
        zeros = torch.zeros(len(z), dtype=z.dtype, device=z.device)
        return {
            "z": z,
            # What the value and gradient are divided by; see `_scale_of`.
            "scale": torch.ones_like(zeros),
            "value": zeros.clone(),
            "gradient": torch.zeros_like(z),
            "terms": zeros.unsqueeze(1).repeat(1, 4),
            # The first trial is a step of length 0, which evaluates the start.
            "direction": torch.zeros_like(z),
            "slope": zeros.clone(),
            "is_gradient_step": torch.zeros(len(z), dtype=torch.bool, device=z.device),
            "length": torch.ones_like(zeros),
            "backtracks": zeros.clone(),
        }

    def step(self) -> dict[int, Outcome]:
        active = self._active
        is_first = self._mask(
            [rule is not None and not trace for rule, trace in zip(self._rules, self._traces, strict=True)]
        )
        trial = self._evaluate_trial(is_first)
        accepted, backtracked_length = self._accept(trial, active, is_first)
        self._record(self._state["terms"])
        failed, is_exhausted = self._count_backtracks(accepted, active)
        self._choose_directions(accepted | failed, active, backtracked_length)

        # Nothing can be done from a start whose objective is not finite, nor from where it is flat.
        slope = self._state["slope"]
        is_nonfinite = is_first & ~trial.is_finite
        stops = dict.fromkeys(indices_where(is_nonfinite), StopReason.NONFINITE)
        stops |= dict.fromkeys(indices_where(active & (slope == 0) & ~is_nonfinite), StopReason.CONVERGED)
        for slot in indices_where(is_exhausted & (slope != 0)):
            trace = self._traces[slot]
            stops[slot] = StopReason.STALLED if trace[-1] == trace[0] else StopReason.CONVERGED
        return self._finish_step(stops | self._stops_by_rule(stops))

    def _evaluate_trial(self, is_first: torch.Tensor) -> _Trial:
        """The next point along each picture's direction; sets the scale of pictures in their first step."""
        state = self._state
        z = state["z"] + per_picture(state["length"]) * state["direction"]
        value, gradient, terms = self._evaluate(z)
        scale = state["scale"] = torch.where(is_first, _scale_of(gradient), state["scale"])
        value, gradient = value / scale, gradient / per_picture(scale)
        return _Trial(z, value, gradient, terms, are_finite(value, gradient))

    def _accept(self, trial: _Trial, active: torch.Tensor, is_first: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Moves the pictures whose trial is accepted and adds their pairs.

        Returns which were accepted (B booleans), and the length of the next trial for those that were not (B).
        """
        state = self._state
        value, length, slope = state["value"], state["length"], state["slope"]
        # A non-finite trial is a step too long, like one that raises the objective.
        has_decreased = trial.value <= value + SUFFICIENT_DECREASE * length * slope
        stepped = active & ~is_first & trial.is_finite & has_decreased
        if bool(stepped.any()):
            self._pairs.add(trial.z - state["z"], trial.gradient - state["gradient"], stepped, self._precondition)
        accepted = stepped | (is_first & trial.is_finite)
        if bool(accepted.any()):
            mask = per_picture(accepted)
            state["z"] = torch.where(mask, trial.z, state["z"])
            state["gradient"] = torch.where(mask, trial.gradient, state["gradient"])
        state["terms"] = torch.where((accepted | is_first).unsqueeze(1), trial.terms, state["terms"])
        backtracked_length = _interpolated_length(length, slope, value, trial.value)
        state["value"] = torch.where(accepted, trial.value, value)
        return accepted, backtracked_length

    def _count_backtracks(self, accepted: torch.Tensor, active: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Whether a picture's direction is given up, and whether that was a gradient step (B booleans each).

        A direction that fails loses the pairs it was made from. Where a gradient step fails as well, nothing lower is
        within reach.
        """
        backtracks = torch.where(accepted | ~active, 0.0, self._state["backtracks"] + 1)
        failed = backtracks >= MAX_BACKTRACKS
        self._state["backtracks"] = torch.where(failed, 0.0, backtracks)
        is_exhausted = failed & self._state["is_gradient_step"]
        if bool(failed.any()):
            self._pairs.forget(failed)
        return failed, is_exhausted

    def _choose_directions(
        self, is_renewed: torch.Tensor, active: torch.Tensor, backtracked_length: torch.Tensor
    ) -> None:
        """New directions with length 1 where `is_renewed`; shorter steps along the old ones elsewhere."""
        state = self._state
        if bool(is_renewed.any()):
            direction, slope, is_gradient_step = self._descent(state["gradient"])
            state["direction"] = torch.where(per_picture(is_renewed), direction, state["direction"])
            state["slope"] = torch.where(is_renewed, slope, state["slope"])
            state["is_gradient_step"] = torch.where(is_renewed, is_gradient_step, state["is_gradient_step"])
        state["length"] = torch.where(is_renewed | ~active, 1.0, backtracked_length)

    def _descent(self, gradient: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Descent direction −H·g (B×3×H×W), slope along it (B, negative or 0), and whether it is a gradient step (B).

        A gradient step is −P·g, scaled to the length of a first step. It is taken without pairs (γ = 0), and where
        rounding has made −H·g point uphill.
        """
        product = self._pairs.inverse_product(gradient, self._precondition)
        slope = -inner_products(gradient, product)
        is_gradient_step = (self._pairs.gamma == 0) | ~(slope < 0)
        if bool(is_gradient_step.any()):
            preconditioned = self._precondition(gradient)
            norm = preconditioned.flatten(1).square().mean(1).sqrt()
            scale = torch.where(norm > 0, norm.reciprocal() * self._first_steps, 0.0)
            product = torch.where(per_picture(is_gradient_step), per_picture(scale) * preconditioned, product)
            slope = torch.where(is_gradient_step, -inner_products(gradient, product), slope)
        return -product, slope, is_gradient_step

    def release(self, slot: int) -> None:
        super().release(slot)
        # An empty slot is still evaluated, at the same point.
        self._state["direction"][slot] = 0

    def snapshot(self, slot: int = 0) -> dict[str, torch.Tensor]:
        return {**super().snapshot(slot), **self._pairs.snapshot(slot)}

    def restore(self, snapshot: Mapping[str, torch.Tensor], slot: int = 0) -> None:
        super().restore(snapshot, slot)
        self._pairs.restore(snapshot, slot)


def _interpolated_length(
    length: torch.Tensor, slope: torch.Tensor, value: torch.Tensor, trial_value: torch.Tensor
) -> torch.Tensor:
    """Length (B) after a rejected trial: the minimum of the parabola through both values and the slope (eq. 3.57).

    It is kept between a tenth and half of the rejected length.
    """
    excess = trial_value - value - slope * length
    minimum = -slope * length.square() / (2 * excess)
    minimum = torch.where(torch.isfinite(minimum), minimum, 0.0)
    return torch.minimum(torch.maximum(minimum, 0.1 * length), 0.5 * length)


def _scale_of(gradient: torch.Tensor) -> torch.Tensor:
    """B scales that objective and gradient are divided by, so that their squares stay finite.

    Each is a power of two near the largest entry of the picture's first gradient. Dividing by it rounds nothing, so
    weights that differ by a power of two give the same bits.
    """
    largest = gradient.flatten(1).abs().amax(1)
    usable = torch.isfinite(largest) & (largest > 0)
    return torch.where(usable, torch.exp2(torch.floor(torch.log2(largest))), 1.0)
