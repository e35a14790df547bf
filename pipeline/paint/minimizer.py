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
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, Protocol

import torch

from ..events import Losses
from .objective import LossTerms
from .stopping import Outcome, StopReason, StopRule, natural_stop
from .variables import VariableKind, make_variable

Method = Literal["lbfgs", "adam"]


class BatchObjective(Protocol):
    """Losses of the pictures of a batch, given as B×3×H×W ImageNet-normalised pixels."""

    def __call__(self, pixels: torch.Tensor) -> LossTerms: ...


StepListener = Callable[[int, int, Losses], None]
"""Called with the picture's place in the batch, the iteration (from 1) and its losses."""


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
                reason = natural_stop(self._traces[place], rule)
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
