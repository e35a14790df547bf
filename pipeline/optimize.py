"""The pixel loop: minimises an objective over the pixels of a batch of pictures.

L-BFGS (Nocedal and Wright 2006, algorithms 7.4 and 7.5), and Adam (Kingma and Ba 2015). Where the
L-BFGS here departs from the one that the common tools run on raw pixels:

- The variable is bounded. Pixels are ½ + ½ sin z and z is optimised, so the picture never leaves
  the range of colours: nothing is lost when it is saved. Raw pixels lose a third of what they gained.
  A sigmoid does the same, but its slope near black and white is 25 times smaller, and it is 1 %
  behind after 60 iterations.
- Every step must lower the objective (Armijo's condition), else it is shortened along its line.
  Unit steps without that check can blow up from a good start and never return.
- The first guess of the inverse curvature, γ·P instead of γ·I, favours coarse changes over fine
  ones, as the spectra of pictures do: P multiplies frequency f by (f² + f₀²)^-p. It is worth a tenth
  of the iterations.
- Each picture of a batch has its own history, step length and stopping, and begins and ends when it
  does: none of it depends on what else is in the batch.

An iteration is one evaluation of the objective and its gradient, accepted or not: it is what costs.
"""

import dataclasses
import enum
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import torch

from pipeline.events import Losses
from pipeline.frames import denormalize, normalize
from pipeline.losses import LossTerms

Method = Literal["lbfgs", "adam"]
VariableKind = Literal["bounded", "free"]

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

GAMUT_MARGIN = 0.4 / 255
"""How far from black and white a bounded variable starts, where the slope of the sine is not yet 0.
Less than half a level of 8 bits, so a saved picture that is read, bounded and saved again keeps its
blacks and whites however often."""


class StopReason(enum.StrEnum):
    """Why the optimisation of a picture ended."""

    ITERATIONS = "iterations"
    """All the iterations that it was given."""
    TARGET = "target"
    """The objective is as low as it was asked to be."""
    TOLERANCE = "tolerance"
    """The objective fell by less than the tolerance over an interval."""
    CONVERGED = "converged"
    """No step lowers the objective any more, after a run of steps that did."""
    STALLED = "stalled"
    """No step lowered the objective from the start on: the picture is not finished."""
    NONFINITE = "nonfinite"
    """The objective at the start, or Adam's after a step, is infinite or not a number."""


@dataclass(frozen=True)
class StopRule:
    """At most `iterations`; earlier when the relative change over `interval` of them is under `tolerance`, or,
    with a `target`, when the objective (without the temporal term) is no higher, but not before `floor` of them."""

    iterations: int
    tolerance: float = 0.0
    interval: int = 50
    target: float | None = None
    floor: int = 1


@dataclass(frozen=True)
class Outcome:
    """One picture's way through the optimisation.

    `image` is 3×H×W in [0, 1]. `trace[k]` holds the losses after iteration k + 1 (for L-BFGS of the best
    picture so far, for Adam of the one just evaluated).
    """

    image: torch.Tensor
    stop: StopReason
    trace: tuple[Losses, ...]

    @property
    def iterations(self) -> int:
        return len(self.trace)


class BatchObjective(Protocol):
    """Losses of the pictures of a batch, given as B×3×H×W ImageNet-normalised pixels."""

    def __call__(self, pixels: torch.Tensor) -> LossTerms: ...


StepListener = Callable[[int, int, Losses], None]
"""Called with the picture's place in the batch, the iteration (from 1) and its losses."""


class BoundedVariable:
    """Pixels as ½ + ½ sin z: every z is a picture in the range of colours."""

    def to_images(self, z: torch.Tensor) -> torch.Tensor:
        return 0.5 + 0.5 * torch.sin(z)

    def to_pixels(self, z: torch.Tensor) -> torch.Tensor:
        return normalize(self.to_images(z))

    def from_images(self, images: torch.Tensor) -> torch.Tensor:
        return torch.asin(2 * images.clamp(GAMUT_MARGIN, 1 - GAMUT_MARGIN) - 1)


class FreeVariable:
    """ImageNet-normalised pixels without bounds, as textbooks optimise them."""

    def to_images(self, z: torch.Tensor) -> torch.Tensor:
        return denormalize(z)

    def to_pixels(self, z: torch.Tensor) -> torch.Tensor:
        return z

    def from_images(self, images: torch.Tensor) -> torch.Tensor:
        return normalize(images)


Variable = BoundedVariable | FreeVariable


def make_variable(kind: VariableKind) -> Variable:
    return BoundedVariable() if kind == "bounded" else FreeVariable()


class Minimizer(ABC):
    """Places for pictures on their way down: `step` is one iteration of each.

    `start` is B×3×H×W in [0, 1], one picture for each place. With a `rule` all of them begin; without one the places
    are free until `begin`. A picture that is done leaves its place to another, and the batch keeps its shape, whatever
    part of it is in use: so the same sums are made in the same order, and a picture has the same bits whoever is beside
    it. What belongs to a picture lies in `_state`, tensors with the places along their first dimension, so that all
    of it can be put away: `snapshot` between two steps and `restore` in a new minimizer go on to the same bits.
    """

    def __init__(
        self,
        objective: BatchObjective,
        start: torch.Tensor,
        rule: StopRule | None,
        *,
        variable: VariableKind,
        on_step: StepListener | None,
    ) -> None:
        self.objective = objective
        self.variable = make_variable(variable)
        self.on_step = on_step
        self._state = self._empty(self.variable.from_images(start))
        self._rules: list[StopRule | None] = [None] * len(start)
        self._traces: list[list[Losses]] = [[] for _ in range(len(start))]
        self.is_between_steps = True
        """False where a step broke off in the middle, as for a lack of memory, and no snapshot holds."""
        if rule is not None:
            for place, image in enumerate(start):
                self.begin(place, image, rule)

    def begin(self, place: int, image: torch.Tensor, rule: StopRule, first_step: float | None = None) -> None:
        """Puts a picture (3×H×W in [0, 1]) in a place that is free; `first_step` is its own, where there is such a
        thing."""
        if self._rules[place] is not None:
            raise ValueError(f"place {place} is taken")
        empty = self._empty(self.variable.from_images(image.unsqueeze(0)))
        for name, tensor in self._state.items():
            tensor[place] = empty[name][0]
        self._rules[place] = rule
        self._traces[place] = []

    def free(self, place: int) -> None:
        """Gives up the picture in a place."""
        self._rules[place] = None

    @property
    def under_way(self) -> tuple[int, ...]:
        """The places that are taken."""
        return tuple(place for place, rule in enumerate(self._rules) if rule is not None)

    def run(self, after_step: Callable[[], None] | None = None) -> list[Outcome]:
        """Steps until every picture is done; `after_step` is called between two steps."""
        outcomes: dict[int, Outcome] = {}
        while self.under_way:
            outcomes |= self.step()
            if after_step is not None and self.under_way:
                after_step()
        return [outcome for _, outcome in sorted(outcomes.items())]

    @abstractmethod
    def step(self) -> dict[int, Outcome]:
        """One evaluation of the objective and its gradient for every picture under way; those that are done with it,
        by their places, which are free then."""

    @abstractmethod
    def _empty(self, z: torch.Tensor) -> dict[str, torch.Tensor]:
        """The state of pictures that have not been evaluated yet, at z."""

    def snapshot(self, place: int = 0) -> dict[str, torch.Tensor]:
        """All that the way of the picture in a place depends on from here, on the CPU: after its first step."""
        losses = [dataclasses.astuple(losses) for losses in self._traces[place]]
        return {
            **{f"state.{name}": tensor[place : place + 1].cpu() for name, tensor in self._state.items()},
            "trace": torch.tensor(losses, dtype=torch.float64),
        }

    def restore(self, snapshot: Mapping[str, torch.Tensor], place: int = 0) -> None:
        """The picture that has just begun in a place goes on from a `snapshot` instead."""
        for name, tensor in self._state.items():
            tensor[place] = snapshot[f"state.{name}"][0].to(tensor.device)
        self._traces[place] = [Losses(*row) for row in snapshot["trace"].tolist()]

    def _evaluate(self, z: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """What is minimised (B), its gradient (B×3×H×W) and the four terms (B×4) at z."""
        z = z.detach().requires_grad_(True)
        losses = self.objective(self.variable.to_pixels(z))
        # The sum over the batch: each picture's pixels get the gradient of its own objective.
        (gradient,) = torch.autograd.grad(losses.total.sum(), z)
        # Up to here nothing has changed.
        self.is_between_steps = False
        terms = torch.stack((losses.content, losses.style, losses.total_variation, losses.temporal), dim=1).detach()
        return losses.total.detach(), gradient, terms

    def _mask(self, flags: Sequence[bool]) -> torch.Tensor:
        return torch.tensor(flags, device=self._state["z"].device)

    @property
    def _taken(self) -> torch.Tensor:
        return self._mask([rule is not None for rule in self._rules])

    def _record(self, terms: torch.Tensor) -> None:
        """Adds the losses after one more iteration (B×4) to the traces; those of non-finite ones as they are."""
        values = terms.tolist()
        for place in self.under_way:
            self._traces[place].append(Losses(*values[place]))
            if self.on_step is not None:
                self.on_step(place, len(self._traces[place]), self._traces[place][-1])

    def _natural_stops(self, others: Mapping[int, StopReason]) -> dict[int, StopReason]:
        """The places whose rule ends them here, but for those that end for other reasons."""
        stops = {}
        for place, rule in enumerate(self._rules):
            if rule is not None and place not in others:
                reason = _natural_stop(self._traces[place], rule)
                if reason is not None:
                    stops[place] = reason
        return stops

    def _finish(self, stops: Mapping[int, StopReason]) -> dict[int, Outcome]:
        """Takes pictures out of their places: the end of a step."""
        outcomes = {}
        for place, stop in stops.items():
            z = self._state["z"][place].detach().unsqueeze(0)
            image = self.variable.to_images(z)[0].clamp(0, 1)
            outcomes[place] = Outcome(image, stop, tuple(self._traces[place]))
            self.free(place)
        self.is_between_steps = True
        return outcomes


def _natural_stop(trace: Sequence[Losses], rule: StopRule) -> StopReason | None:
    """Whether the rule ends a picture here."""
    done = len(trace)
    if done >= rule.iterations:
        return StopReason.ITERATIONS
    if rule.target is not None and done >= rule.floor and trace[-1].objective <= rule.target:
        return StopReason.TARGET
    if rule.tolerance > 0 and done % rule.interval == 0 and done > rule.interval:
        before, now = trace[-1 - rule.interval].total, trace[-1].total
        if before - now < rule.tolerance * abs(before):
            return StopReason.TOLERANCE
    return None


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

        trial = z + _wide(length) * direction
        trial_value, trial_gradient, trial_terms = self._evaluate(trial)
        units = torch.where(fresh, _units(trial_gradient), state["units"])
        trial_value, trial_gradient = trial_value / units, trial_gradient / _wide(units)
        # A non-finite trial is a step too long, like one that raises the objective.
        finite = _finite(trial_value, trial_gradient)
        stepped = taken & ~fresh & finite & (trial_value <= value + SUFFICIENT_DECREASE * length * slope)
        if bool(stepped.any()):
            self._memory.add(trial - z, trial_gradient - gradient, stepped, self._precondition)
        accepted = stepped | (fresh & finite)
        if bool(accepted.any()):
            chosen = _wide(accepted)
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
            direction = torch.where(_wide(renewed), new_direction, direction)
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
        stops = dict.fromkeys(_where(fresh & ~finite), StopReason.NONFINITE)
        stops |= dict.fromkeys(_where(taken & (slope == 0) & ~(fresh & ~finite)), StopReason.CONVERGED)
        for place in _where(exhausted & (slope != 0)):
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
        finite = _finite(value, gradient)
        self._record(terms)
        # A picture that became non-finite goes back to the last pixels that were not.
        last_finite = torch.where(_wide(finite), z, self._state["last_finite"])
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
        root = (square / _wide(corrections)).sqrt_().add_(1e-8)
        stepped = z - _wide(z.new_tensor(rates)) * mean / root
        stops = dict.fromkeys(_where(taken & ~finite), StopReason.NONFINITE)
        stops |= self._natural_stops(stops)
        # A picture that has reached its target is that picture, and not one step further.
        reached = [place for place, stop in stops.items() if stop is StopReason.TARGET]
        held = ~finite | ~taken
        held[reached] = True
        self._state |= {"z": torch.where(_wide(held), last_finite, stepped), "last_finite": last_finite}
        return self._finish(stops)


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
        precondition: "_Precondition",
    ) -> None:
        """Remembers the accepted steps (B×3×H×W) and how the gradient changed over them."""
        curvature = _dot(steps, changes)
        # s·y must be positive for the inverse to stay positive definite; far under |y|·|y| it is
        # rounding and would make a huge step.
        usable = accepted & (curvature > 1e-10 * _dot(changes, changes)) & torch.isfinite(curvature)
        # Zeroed where unused: a non-finite gradient times 1/(s·y) = 0 would still be NaN.
        mask = _wide(usable)
        steps, changes = torch.where(mask, steps, 0.0), torch.where(mask, changes, 0.0)
        inverse = torch.where(usable, 1 / curvature, 0.0)
        scaled = curvature / _dot(changes, precondition(changes))
        self.gamma = torch.where(usable, scaled, self.gamma)

        places = _where(usable)
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

    def inverse_product(self, gradient: torch.Tensor, precondition: "_Precondition") -> torch.Tensor:
        """H·g by the two-loop recursion (algorithm 7.4), with γ·P for the first guess of H."""
        product = gradient.clone()
        weights = []
        for age in range(len(self._steps)):
            step, change, inverse = self._aged(age)
            weight = inverse * _dot(step, product)
            product.addcmul_(_wide(weight), change, value=-1)
            weights.append(weight)
        product = _wide(self.gamma) * precondition(product)
        for age in reversed(range(len(self._steps))):
            (step, change, inverse), weight = self._aged(age), weights[age]
            product.addcmul_(_wide(weight - inverse * _dot(change, product)), step)
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


_Precondition = Callable[[torch.Tensor], torch.Tensor]


def _preconditioner(like: torch.Tensor, exponent: float) -> _Precondition:
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
    memory: _CurvatureMemory, gradient: torch.Tensor, precondition: _Precondition, first_steps: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Direction of each picture's next step, the objective's slope along it (B, negative or 0), and whether
    it is the plain gradient's (B)."""
    product = memory.inverse_product(gradient, precondition)
    slope = -_dot(gradient, product)
    # Without history (γ = 0), or where rounding has made H·g point uphill: along the gradient, by a
    # step of a known size.
    plain = (memory.gamma == 0) | ~(slope < 0)
    if bool(plain.any()):
        downhill = precondition(gradient)
        norm = downhill.flatten(1).square().mean(1).sqrt()
        scale = torch.where(norm > 0, norm.reciprocal() * first_steps, 0.0)
        product = torch.where(_wide(plain), _wide(scale) * downhill, product)
        slope = torch.where(plain, -_dot(gradient, product), slope)
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


def _finite(value: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
    return torch.isfinite(value) & torch.isfinite(gradient).flatten(1).all(1)


def _where(mask: torch.Tensor) -> list[int]:
    return [place for place, flag in enumerate(mask.tolist()) if flag]


def _dot(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Inner product picture by picture: B×3×H×W twice to B."""
    # As a product of a row and a column: one pass over both, with no picture of products in between.
    return torch.bmm(a.flatten(1).unsqueeze(1), b.flatten(1).unsqueeze(2)).view(-1)


def _wide(values: torch.Tensor) -> torch.Tensor:
    """B values shaped to multiply B×3×H×W."""
    return values.view(-1, 1, 1, 1)
