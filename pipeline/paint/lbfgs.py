"""L-BFGS over the pixels of a batch of pictures (Nocedal and Wright 2006, algorithms 7.4 and 7.5).

It departs from the L-BFGS that style transfer programs commonly run on raw pixels:

- **Bounded variable.** Pixels are x = ½ + ½ sin z and z is optimised, so the picture stays within the gamut and
  nothing is clamped when it is saved. On raw pixels, clamping loses a third of what the optimisation gained. A
  sigmoid bounds as well, but its slope near black and white is 25 times smaller: 1 % behind after 60 iterations.
- **Line search.** A step is accepted if it fulfils Armijo's condition of sufficient decrease (eq. 3.4), else it
  backtracks along its direction. Unit steps without a line search can diverge from a good start and never return.
- **Preconditioner.** The initial inverse Hessian is γ·P instead of γ·I, where P = K·K amplifies low spatial frequencies
  (`preconditioner.py`). It saves a tenth of the iterations. It is applied by a change of variables: z = z₀ + K·u, and
  L-BFGS runs on u with γ·I. Gradients become K·g, steps in z are K times those in u, and nothing else needs K.
- **Batches.** Each picture has its own curvature pairs, step length and stop rule, and none of them depends on what
  else is in the batch.

The pairs and the inverse Hessian are in `curvature_pairs.py`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from ..choices import VariableKind
from .batch_math import are_finite, inner_products, per_picture
from .curvature_pairs import CurvaturePairs
from .minimizer import BatchObjective, Minimizer, Opening, StepListener
from .preconditioner import Whitening
from .stopping import StopReason, StopRule, code_of

COLD_START = Opening(first_step=0.1)

WARM_START = Opening(first_step=0.003)
"""A longer step would only be rejected."""

ENLARGED_START = Opening(first_step=0.01, smoothing=0.1)
"""Of a smaller painting, enlarged: its coarse part is painted, and is not to make up for what is finer."""

SUFFICIENT_DECREASE = 1e-4
"""c₁ of Armijo's condition (eq. 3.4)."""

MAX_BACKTRACKS = 8
"""Rejected steps along one direction before it is given up: for a gradient step, and after that the picture ends."""


@dataclass(frozen=True)
class _Trial:
    """An evaluated step. `value` and `gradient` are divided by the picture's `scale`; `terms` are as they are.

    `gradient` is that in u.
    """

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
        objectives: Sequence[BatchObjective],
        start: torch.Tensor,
        rule: StopRule | None,
        *,
        variable: VariableKind = "bounded",
        history: int = 20,
        smoothing: float = 0.35,
        first_step: float = COLD_START.first_step,
        on_step: StepListener | None = None,
    ) -> None:
        self._whiten = Whitening(start, smoothing)
        self._first_step = first_step
        self._pairs = CurvaturePairs(history, start)
        super().__init__(objectives, start, rule, variable=variable, on_step=on_step)

    def begin(self, slot: int, image: torch.Tensor, rule: StopRule, opening: Opening | None = None) -> None:
        super().begin(slot, image, rule)
        if opening is not None:
            self._state["first_step"][slot] = opening.first_step
        self._whiten.limit(slot, None if opening is None else opening.smoothing)
        self._pairs.clear(slot)

    def _initial_state(self, z: torch.Tensor) -> dict[str, torch.Tensor]:
        zeros = torch.zeros(len(z), dtype=z.dtype, device=z.device)
        zero_picture = z.new_zeros(()).expand_as(z)
        return {
            "z": z,
            # What the value and gradient are divided by; see `_scale_of`.
            "scale": torch.ones_like(zeros),
            "value": zeros,
            # The gradient in u, K·g.
            "gradient": zero_picture,
            # Losses after the first iteration.
            "first_terms": zeros.unsqueeze(1).expand(-1, 4),
            # The direction in u, and in z. The first trial is a step of length 0, which evaluates the start.
            "direction": zero_picture,
            "pixel_direction": zero_picture,
            "slope": zeros,
            "is_gradient_step": torch.zeros(len(z), dtype=torch.bool, device=z.device),
            "first_step": torch.full_like(zeros, self._first_step),
            "length": zeros,
            "backtracks": zeros,
        }

    def _iterate(self, stage: int) -> None:
        state = self._state
        active = self._are_in(stage)
        is_first = active & state["is_fresh"]
        is_start = is_first & (state["iteration"] == 0)
        trial = self._evaluate_trial(stage, is_start)
        accepted, stepped, backtracked_length, pair = self._accept(trial, active, is_first)
        trial_terms, is_finite = trial.terms, trial.is_finite
        del trial  # A large picture needs the memory of each that is not needed any more.
        product = self._pairs.update(*pair, stepped, state["gradient"])
        del pair
        failed, is_exhausted = self._count_backtracks(accepted, active)
        self._choose_directions(product, accepted | failed, active, backtracked_length)

        terms = torch.where((accepted | is_first).unsqueeze(1), trial_terms, state["terms"])
        self._set(is_start, first_terms=terms)
        is_flat = state["slope"] == 0
        # Nothing can be done from a start whose objective is not finite, nor from where it is flat.
        has_stalled = is_exhausted & ~is_flat & (terms == state["first_terms"]).all(1)
        codes = torch.where(is_exhausted | is_flat, code_of(StopReason.CONVERGED), 0)
        codes = torch.where(has_stalled, code_of(StopReason.STALLED), codes)
        codes = torch.where(is_start & ~is_finite, code_of(StopReason.NONFINITE), codes)
        self._count(active, terms, codes)
        # What has stopped is still evaluated, at the same point. So is the first point of the next stage where its
        # step has nothing to go by; one along a direction of pairs is taken: hardly any is rejected.
        is_held = ~state["is_active"] | (state["is_fresh"] & state["is_gradient_step"])
        state["length"].masked_fill_(is_held, 0.0)

    def _evaluate_trial(self, stage: int, is_start: torch.Tensor) -> _Trial:
        """The next point along each picture's direction; sets the scale of pictures in their first step."""
        state = self._state
        z = torch.addcmul(state["z"], per_picture(state["length"]), state["pixel_direction"])
        value, gradient, terms = self._evaluate(stage, z)
        self._set(is_start, scale=_scale_of(gradient))
        value, gradient = value / state["scale"], gradient.div_(per_picture(state["scale"]))
        return _Trial(z, value, self._whiten(gradient), terms, are_finite(value, gradient))

    def _accept(
        self, trial: _Trial, active: torch.Tensor, is_first: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, tuple[torch.Tensor, torch.Tensor]]:
        """Moves the pictures whose trial is accepted.

        Returns which were accepted, and which of them by a step (B booleans each), the length of the next trial for
        those that were not (B), and the pair s and y of the step.
        """
        state = self._state
        value, length, slope = state["value"], state["length"], state["slope"]
        # A non-finite trial is a step too long, like one that raises the objective.
        has_decreased = trial.value <= value + SUFFICIENT_DECREASE * length * slope
        stepped = active & ~is_first & trial.is_finite & has_decreased
        accepted = stepped | (is_first & trial.is_finite)
        backtracked_length = _interpolated_length(length, slope, value, trial.value)
        # The pair of a step that is not accepted is not used.
        s, y = per_picture(length) * state["direction"], trial.gradient - state["gradient"]
        self._set(accepted, z=trial.z, gradient=trial.gradient, value=trial.value)
        return accepted, stepped, backtracked_length, (s, y)

    def _count_backtracks(self, accepted: torch.Tensor, active: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Whether a picture's direction is given up, and whether that was a gradient step (B booleans each).

        A direction that fails loses the pairs it was made from. Where a gradient step fails as well, nothing lower is
        within reach.
        """
        state = self._state
        backtracks = torch.where(accepted, 0.0, state["backtracks"] + active)
        failed = active & (backtracks >= MAX_BACKTRACKS)
        self._set(backtracks=torch.where(failed, 0.0, backtracks))
        self._pairs.forget(failed)
        return failed, failed & state["is_gradient_step"]

    def _choose_directions(
        self, product: torch.Tensor, is_renewed: torch.Tensor, active: torch.Tensor, backtracked_length: torch.Tensor
    ) -> None:
        """New directions −H·g with length 1 where `is_renewed`; shorter steps along the old ones of the other active
        pictures.

        Without pairs, and where rounding has made −H·g point uphill, it is a gradient step: −K·g, scaled to the length
        of a first step, which in z is −P·g.
        """
        state = self._state
        gradient = state["gradient"]
        is_gradient_step = self._pairs.are_absent | ~(inner_products(gradient, product) > 0)
        direction = torch.where(per_picture(is_gradient_step), gradient, product).neg_()
        pixel_direction = self._whiten(direction)
        norm = pixel_direction.flatten(1).square().mean(1).sqrt()
        factor = torch.where(norm > 0, state["first_step"] / norm, 0.0)
        factor = per_picture(torch.where(is_gradient_step, factor, 1.0))
        direction.mul_(factor)
        # Without a preconditioner both are the same tensor.
        pixel_direction = direction if pixel_direction is direction else pixel_direction.mul_(factor)
        self._set(
            is_renewed,
            direction=direction,
            pixel_direction=pixel_direction,
            slope=inner_products(gradient, direction),
            is_gradient_step=is_gradient_step,
        )
        self._set(active, length=torch.where(is_renewed, 1.0, backtracked_length))

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
    largest = torch.linalg.vector_norm(gradient.flatten(1), float("inf"), 1)
    usable = torch.isfinite(largest) & (largest > 0)
    return torch.where(usable, torch.exp2(torch.floor(torch.log2(largest))), 1.0)
