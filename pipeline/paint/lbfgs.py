"""TODO: paint.lbfgs."""

from collections.abc import Callable, Mapping

import torch

from .minimizer import BatchObjective, Minimizer, StepListener
from .per_picture import as_column, batch_dot, is_finite, true_indices
from .stopping import Outcome, StopReason, StopRule
from .variables import VariableKind

FIRST_STEP = 0.1
"""Root mean square of the first step, along the plain gradient, in units of the variable (radians)."""

WARM_FIRST_STEP = 0.003
"""The same from a picture that is nearly finished, where a longer one would only be rejected."""

SUFFICIENT_DECREASE = 1e-4
"""c₁ of Armijo's condition (Nocedal and Wright 2006, eq. 3.4)."""

SMOOTHING_CUTOFF = 0.01
"""f₀ of the preconditioner, in cycles a pixel."""

MOST_SHORTENINGS = 8
"""Rejected steps along one direction before it is given up: then the plain gradient is tried, then nothing."""


class Lbfgs(Minimizer):
    """L-BFGS; see the top of this module.

    `history`: curvature pairs kept, one a step, those of the last so many iterations. `smoothing`:
    exponent p of the preconditioner, 0 for none.
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
        self._precondition = _preconditioner(start, smoothing)
        self._first_step = first_step
        self._first_steps = start.new_full((len(start),), first_step)
        self._memory = _CurvatureMemory(history, start)
        super().__init__(objective, start, rule, variable=variable, on_step=on_step)

    def begin(self, place: int, image: torch.Tensor, rule: StopRule, first_step: float | None = None) -> None:
        super().begin(place, image, rule)
        self._first_steps[place] = self._first_step if first_step is None else first_step
        self._memory.clear(place)

    def _empty(self, z: torch.Tensor) -> dict[str, torch.Tensor]:
        # A first step of no length evaluates the start.
        zeros = torch.zeros(len(z), dtype=z.dtype, device=z.device)
        return {
            "z": z,
            "units": torch.ones_like(zeros),
            "value": zeros.clone(),
            "gradient": torch.zeros_like(z),
            "terms": zeros.unsqueeze(1).repeat(1, 4),
            "direction": torch.zeros_like(z),
            "slope": zeros.clone(),
            "plain": torch.zeros(len(z), dtype=torch.bool, device=z.device),
            "length": torch.ones_like(zeros),
            "shortenings": zeros.clone(),
        }

    def step(self) -> dict[int, Outcome]:
        state = self._state
        z, value, gradient, terms = state["z"], state["value"], state["gradient"], state["terms"]
        direction, slope, plain, length = state["direction"], state["slope"], state["plain"], state["length"]
        taken = self._taken
        fresh = self._mask(
            [rule is not None and not trace for rule, trace in zip(self._rules, self._traces, strict=True)]
        )

        trial = z + as_column(length) * direction
        trial_value, trial_gradient, trial_terms = self._evaluate(trial)
        units = torch.where(fresh, _units(trial_gradient), state["units"])
        trial_value, trial_gradient = trial_value / units, trial_gradient / as_column(units)
        # A non-finite trial is a step too long, like one that raises the objective.
        finite = is_finite(trial_value, trial_gradient)
        stepped = taken & ~fresh & finite & (trial_value <= value + SUFFICIENT_DECREASE * length * slope)
        if bool(stepped.any()):
            self._memory.add(trial - z, trial_gradient - gradient, stepped, self._precondition)
        accepted = stepped | (fresh & finite)
        if bool(accepted.any()):
            chosen = as_column(accepted)
            z = torch.where(chosen, trial, z)
            gradient = torch.where(chosen, trial_gradient, gradient)
        terms = torch.where((accepted | fresh).unsqueeze(1), trial_terms, terms)
        shorter = _shortened(length, slope, value, trial_value)
        value = torch.where(accepted, trial_value, value)
        self._record(terms)

        # When a direction fails to the end its history is forgotten; when the plain gradient fails
        # too, there is nothing lower within reach.
        shortenings = torch.where(accepted | ~taken, 0.0, state["shortenings"] + 1)
        failed = shortenings >= MOST_SHORTENINGS
        exhausted = failed & plain
        shortenings = torch.where(failed, 0.0, shortenings)
        if bool(failed.any()):
            self._memory.forget(failed)
        renewed = accepted | failed
        if bool(renewed.any()):
            new_direction, new_slope, new_plain = _descent(
                self._memory, gradient, self._precondition, self._first_steps
            )
            direction = torch.where(as_column(renewed), new_direction, direction)
            slope = torch.where(renewed, new_slope, slope)
            plain = torch.where(renewed, new_plain, plain)
        length = torch.where(renewed | ~taken, 1.0, shorter)
        self._state = {
            "z": z,
            "units": units,
            "value": value,
            "gradient": gradient,
            "terms": terms,
            "direction": direction,
            "slope": slope,
            "plain": plain,
            "length": length,
            "shortenings": shortenings,
        }

        # Nothing can be done from a start whose objective is not finite, nor from where it is flat.
        stops = dict.fromkeys(true_indices(fresh & ~finite), StopReason.NONFINITE)
        stops |= dict.fromkeys(true_indices(taken & (slope == 0) & ~(fresh & ~finite)), StopReason.CONVERGED)
        for place in true_indices(exhausted & (slope != 0)):
            trace = self._traces[place]
            stops[place] = StopReason.STALLED if trace[-1] == trace[0] else StopReason.CONVERGED
        return self._finish(stops | self._natural_stops(stops))

    def free(self, place: int) -> None:
        super().free(place)
        # The place is evaluated on, where it stands.
        self._state["direction"][place] = 0

    def snapshot(self, place: int = 0) -> dict[str, torch.Tensor]:
        return {**super().snapshot(place), **self._memory.snapshot(place)}

    def restore(self, snapshot: Mapping[str, torch.Tensor], place: int = 0) -> None:
        super().restore(snapshot, place)
        self._memory.restore(snapshot, place)


class _CurvatureMemory:
    """The last steps s and gradient changes y of each picture, and γ of its newest pair.

    Each picture has a ring of `size` slots and fills its own next slot with each step that is accepted and
    has positive curvature, so that its history does not depend on the others'. An empty slot has
    1/(s·y) = 0, which takes it out of both loops.
    """

    def __init__(self, size: int, z: torch.Tensor) -> None:
        self._size = size
        self._used = [0] * len(z)
        self._steps: list[torch.Tensor] = []
        self._changes: list[torch.Tensor] = []
        self._inverses: list[torch.Tensor] = []
        self.gamma = z.new_zeros(len(z))

    def add(
        self,
        steps: torch.Tensor,
        changes: torch.Tensor,
        accepted: torch.Tensor,
        precondition: "Precondition",
    ) -> None:
        """Remembers the accepted steps (B×3×H×W) and how the gradient changed over them."""
        curvature = batch_dot(steps, changes)
        # s·y must be positive for the inverse to stay positive definite; far under |y|·|y| it is
        # rounding and would make a huge step.
        usable = accepted & (curvature > 1e-10 * batch_dot(changes, changes)) & torch.isfinite(curvature)
        # Zeroed where unused: a non-finite gradient times 1/(s·y) = 0 would still be NaN.
        mask = as_column(usable)
        steps, changes = torch.where(mask, steps, 0.0), torch.where(mask, changes, 0.0)
        inverse = torch.where(usable, 1 / curvature, 0.0)
        scaled = curvature / batch_dot(changes, precondition(changes))
        self.gamma = torch.where(usable, scaled, self.gamma)

        places = true_indices(usable)
        if not places:
            return
        slots = [self._used[place] % self._size for place in places]
        while len(self._steps) <= max(slots):
            self._steps.append(torch.zeros_like(steps))
            self._changes.append(torch.zeros_like(changes))
            self._inverses.append(torch.zeros_like(inverse))
        for slot in set(slots):
            own = [place for place, its in zip(places, slots, strict=True) if its == slot]
            if len(own) == len(steps):
                self._steps[slot], self._changes[slot], self._inverses[slot] = steps, changes, inverse
            else:
                self._steps[slot][own] = steps[own]
                self._changes[slot][own] = changes[own]
                self._inverses[slot][own] = inverse[own]
        for place in places:
            self._used[place] += 1

    def inverse_product(self, gradient: torch.Tensor, precondition: "Precondition") -> torch.Tensor:
        """H·g by the two-loop recursion (algorithm 7.4), with γ·P for the first guess of H."""
        product = gradient.clone()
        weights = []
        for age in range(len(self._steps)):
            step, change, inverse = self._aged(age)
            weight = inverse * batch_dot(step, product)
            product.addcmul_(as_column(weight), change, value=-1)
            weights.append(weight)
        product = as_column(self.gamma) * precondition(product)
        for age in reversed(range(len(self._steps))):
            (step, change, inverse), weight = self._aged(age), weights[age]
            product.addcmul_(as_column(weight - inverse * batch_dot(change, product)), step)
        return product

    def forget(self, which: torch.Tensor) -> None:
        """Drops all pairs of the pictures where `which` (B booleans) is true."""
        self._inverses = [inverse.masked_fill(which, 0.0) for inverse in self._inverses]
        self.gamma = self.gamma.masked_fill(which, 0.0)

    def clear(self, place: int) -> None:
        """Another picture is in the place."""
        for inverse in self._inverses:
            inverse[place] = 0
        self.gamma[place] = 0
        self._used[place] = 0

    def snapshot(self, place: int) -> dict[str, torch.Tensor]:
        """All pairs of the picture in a place, on the CPU."""
        count = min(self._used[place], self._size)
        lists = {"step": self._steps, "change": self._changes, "inverse": self._inverses}
        pairs = {
            f"memory.{kind}": torch.stack([tensor[place : place + 1].cpu() for tensor in tensors[:count]])
            for kind, tensors in lists.items()
            if count
        }
        gamma = self.gamma[place : place + 1].cpu()
        return {**pairs, "memory.gamma": gamma, "memory.used": torch.tensor([self._used[place]])}

    def restore(self, snapshot: Mapping[str, torch.Tensor], place: int) -> None:
        """Takes the place of what is remembered of the picture in a place."""
        self.clear(place)
        for kind, tensors in (("step", self._steps), ("change", self._changes), ("inverse", self._inverses)):
            pairs = snapshot.get(f"memory.{kind}", ())
            for slot, pair in enumerate(pairs):
                if slot == len(tensors):
                    tensors.append(pair.new_zeros((len(self._used), *pair.shape[1:]), device=self.gamma.device))
                tensors[slot][place] = pair[0].to(self.gamma.device)
        self.gamma[place] = snapshot["memory.gamma"][0].to(self.gamma.device)
        self._used[place] = int(snapshot["memory.used"][0])

    def _aged(self, age: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The pair that each picture added `age` pairs before its newest."""
        slots = [(used - 1 - age) % len(self._steps) for used in self._used]
        if len(set(slots)) == 1:
            return self._steps[slots[0]], self._changes[slots[0]], self._inverses[slots[0]]
        return (
            torch.stack([self._steps[slot][place] for place, slot in enumerate(slots)]),
            torch.stack([self._changes[slot][place] for place, slot in enumerate(slots)]),
            torch.stack([self._inverses[slot][place] for place, slot in enumerate(slots)]),
        )


Precondition = Callable[[torch.Tensor], torch.Tensor]


def _preconditioner(like: torch.Tensor, exponent: float) -> Precondition:
    """P·v for B×3×H×W v: multiplies each spatial frequency by (f² + f₀²)^-p, scaled to about 1 on average."""
    if exponent == 0:
        return lambda v: v
    height, width = like.shape[-2:]
    vertical = torch.fft.fftfreq(height, device=like.device).view(-1, 1)
    horizontal = torch.fft.rfftfreq(width, device=like.device).view(1, -1)
    gain = (vertical.square() + horizontal.square() + SMOOTHING_CUTOFF**2) ** -exponent
    gain = gain / gain.mean()
    return lambda v: torch.fft.irfft2(torch.fft.rfft2(v) * gain, s=(height, width))


def _descent(
    memory: _CurvatureMemory, gradient: torch.Tensor, precondition: Precondition, first_steps: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Direction of each picture's next step, the objective's slope along it (B, negative or 0), and whether
    it is the plain gradient's (B)."""
    product = memory.inverse_product(gradient, precondition)
    slope = -batch_dot(gradient, product)
    # Without history (γ = 0), or where rounding has made H·g point uphill: along the gradient, by a
    # step of a known size.
    plain = (memory.gamma == 0) | ~(slope < 0)
    if bool(plain.any()):
        downhill = precondition(gradient)
        norm = downhill.flatten(1).square().mean(1).sqrt()
        scale = torch.where(norm > 0, norm.reciprocal() * first_steps, 0.0)
        product = torch.where(as_column(plain), as_column(scale) * downhill, product)
        slope = torch.where(plain, -batch_dot(gradient, product), slope)
    return -product, slope, plain


def _shortened(
    length: torch.Tensor, slope: torch.Tensor, value: torch.Tensor, trial_value: torch.Tensor
) -> torch.Tensor:
    """The next trial length after a rejected one: the minimum of the parabola through what is known,
    kept between a tenth and a half (Nocedal and Wright 2006, eq. 3.57)."""
    excess = trial_value - value - slope * length
    minimum = -slope * length.square() / (2 * excess)
    minimum = torch.where(torch.isfinite(minimum), minimum, 0.0)
    return torch.minimum(torch.maximum(minimum, 0.1 * length), 0.5 * length)


def _units(gradient: torch.Tensor) -> torch.Tensor:
    """The units (B) in which objective and gradient of each picture are kept, so that their squares stay finite.

    A power of two near the largest entry of its first gradient. Dividing by it rounds nothing, so pictures under
    weights that differ by a power of two are the same to the bit.
    """
    largest = gradient.flatten(1).abs().amax(1)
    usable = torch.isfinite(largest) & (largest > 0)
    return torch.where(usable, torch.exp2(torch.floor(torch.log2(largest))), 1.0)
