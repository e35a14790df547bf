"""The optimisation loop that L-BFGS and Adam share: minimises an objective over the pixels of a batch of pictures.

An iteration is one evaluation of the objective and its gradient, whether the step is accepted or not, since that
evaluation is what costs. Each picture has its own optimizer state, stop rule and trace, and starts and ends
independently of the others in its batch.
"""

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import torch

from ..events import Losses
from .objective import LossTerms
from .stopping import Outcome, StopReason, StopRule, stop_reason
from .variables import VariableKind, make_variable


class BatchObjective(Protocol):
    """Losses of the pictures of a batch, given as B×3×H×W ImageNet-normalised pixels."""

    def __call__(self, pixels: torch.Tensor) -> LossTerms: ...


StepListener = Callable[[int, int, Losses], None]
"""Called with the batch slot of a picture, the iteration (from 1) and the losses after it."""


class Minimizer(ABC):
    """A batch with one slot for each picture; `step` is one iteration of all of them.

    `start` is B×3×H×W in [0, 1], one picture for each slot. With a `rule` all of them begin at once; without one
    the slots are empty until `begin`. A picture that is done leaves its slot to another. The batch keeps its shape
    whatever part of it is in use: the same sums are made in the same order, so a picture has the same bits
    whichever pictures share its batch.

    `_state` holds everything that belongs to a picture, as tensors with the slots along their first dimension.
    `snapshot` copies one slot of it between two steps; `restore` in a new minimizer continues to the same bits.
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
        self._state = self._initial_state(self.variable.from_images(start))
        self._rules: list[StopRule | None] = [None] * len(start)
        self._traces: list[list[Losses]] = [[] for _ in range(len(start))]
        self.is_between_steps = True
        """False where a step failed half-way, as for a lack of memory: its state is mixed and must not be saved."""
        if rule is not None:
            for slot, image in enumerate(start):
                self.begin(slot, image, rule)

    def begin(self, slot: int, image: torch.Tensor, rule: StopRule, first_step: float | None = None) -> None:
        """Puts a picture (3×H×W in [0, 1]) in an empty slot; `first_step` is for optimizers that choose one."""
        if self._rules[slot] is not None:
            raise ValueError(f"batch slot {slot} is in use")
        initial = self._initial_state(self.variable.from_images(image.unsqueeze(0)))
        for name, tensor in self._state.items():
            tensor[slot] = initial[name][0]
        self._rules[slot] = rule
        self._traces[slot] = []

    def release(self, slot: int) -> None:
        """Empties a slot."""
        self._rules[slot] = None

    @property
    def active_slots(self) -> tuple[int, ...]:
        """The slots in use."""
        return tuple(slot for slot, rule in enumerate(self._rules) if rule is not None)

    def run(self, after_step: Callable[[], None] | None = None) -> list[Outcome]:
        """Steps until every picture is done; `after_step` is called between two steps."""
        outcomes: dict[int, Outcome] = {}
        while self.active_slots:
            outcomes |= self.step()
            if after_step is not None and self.active_slots:
                after_step()
        return [outcome for _, outcome in sorted(outcomes.items())]

    @abstractmethod
    def step(self) -> dict[int, Outcome]:
        """Evaluates every picture once; returns those that are done, by their slots, which are empty afterwards."""

    @abstractmethod
    def _initial_state(self, z: torch.Tensor) -> dict[str, torch.Tensor]:
        """State of pictures at z that have not been evaluated yet."""

    def snapshot(self, slot: int = 0) -> dict[str, torch.Tensor]:
        """Everything that the further optimisation of one picture depends on, on the CPU; after its first step."""
        losses = [dataclasses.astuple(losses) for losses in self._traces[slot]]
        return {
            **{f"state.{name}": tensor[slot : slot + 1].cpu() for name, tensor in self._state.items()},
            "trace": torch.tensor(losses, dtype=torch.float64),
        }

    def restore(self, snapshot: Mapping[str, torch.Tensor], slot: int = 0) -> None:
        """Makes the picture that has just begun in a slot continue from a `snapshot`."""
        for name, tensor in self._state.items():
            tensor[slot] = snapshot[f"state.{name}"][0].to(tensor.device)
        self._traces[slot] = [Losses(*row) for row in snapshot["trace"].tolist()]

    def _evaluate(self, z: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Total loss (B), its gradient (B×3×H×W) and the four loss terms (B×4) at z."""
        z = z.detach().requires_grad_(True)
        losses = self.objective(self.variable.to_pixels(z))
        # The gradient of the sum over the batch gives each picture the gradient of its own loss.
        (gradient,) = torch.autograd.grad(losses.total.sum(), z)
        # No state has changed so far: a failure up to here loses nothing.
        self.is_between_steps = False
        terms = torch.stack((losses.content, losses.style, losses.total_variation, losses.temporal), dim=1).detach()
        return losses.total.detach(), gradient, terms

    def _mask(self, flags: Sequence[bool]) -> torch.Tensor:
        return torch.tensor(flags, device=self._state["z"].device)

    @property
    def _active(self) -> torch.Tensor:
        """B booleans: the slots in use."""
        return self._mask([rule is not None for rule in self._rules])

    def _record(self, terms: torch.Tensor) -> None:
        """Appends the losses after an iteration (B×4) to the traces; non-finite ones too."""
        values = terms.tolist()
        for slot in self.active_slots:
            self._traces[slot].append(Losses(*values[slot]))
            if self.on_step is not None:
                self.on_step(slot, len(self._traces[slot]), self._traces[slot][-1])

    def _stops_by_rule(self, others: Mapping[int, StopReason]) -> dict[int, StopReason]:
        """The slots that their stop rules end now, without those that end for `others`' reasons."""
        stops = {}
        for slot, rule in enumerate(self._rules):
            if rule is not None and slot not in others:
                reason = stop_reason(self._traces[slot], rule)
                if reason is not None:
                    stops[slot] = reason
        return stops

    def _finish_step(self, stops: Mapping[int, StopReason]) -> dict[int, Outcome]:
        """Ends a step: takes the pictures that stop out of their slots."""
        outcomes = {}
        for slot, stop in stops.items():
            z = self._state["z"][slot].detach().unsqueeze(0)
            image = self.variable.to_images(z)[0].clamp(0, 1)
            outcomes[slot] = Outcome(image, stop, tuple(self._traces[slot]))
            self.release(slot)
        self.is_between_steps = True
        return outcomes
