"""The optimisation loop that L-BFGS and Adam share: minimises an objective over the pixels of a batch of pictures.

An iteration is one evaluation of the objective and its gradient, whether the step is accepted or not, since that
evaluation is what costs. Each picture has its own optimizer state, stop rule and trace, and starts and ends
independently of the others in its batch.

Everything that decides is a tensor on the device: whether a step is accepted, which pictures stop and why. A picture
that has stopped does not change any more. So the host need not wait for an iteration before it sends the next.
"""

import dataclasses
import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import torch

from ..choices import VariableKind
from ..events import Losses
from .launcher import Launcher
from .objective import LossTerms
from .readback import Readback
from .stopping import REASONS, Outcome, RuleState, StopRule
from .variables import make_variable


class BatchObjective(Protocol):
    """Losses of the pictures of a batch, given as B×3×H×W ImageNet-normalised pixels."""

    def __call__(self, pixels: torch.Tensor) -> LossTerms: ...


StepListener = Callable[[int, int, Losses], None]
"""Called with the batch slot of a picture, the iteration (from 1) and the losses after it."""


@dataclasses.dataclass(frozen=True)
class Opening:
    """How the optimisation of a picture begins, by what it starts from."""

    first_step: float
    """Root mean square of the first step, a gradient step, in units of the variable (radians)."""
    smoothing: float | None = None
    """The most that the exponent of the preconditioner is; None for that of the batch."""


class Minimizer(ABC):
    """A batch with one slot for each picture; `step` is one iteration of all of them.

    `start` is B×3×H×W in [0, 1], one picture for each slot. With a `rule` all of them begin at once; without one
    the slots are empty until `begin`. A picture that is done leaves its slot to another. The batch keeps its shape
    whatever part of it is in use: the same sums are made in the same order, so a picture has the same bits
    whichever pictures share its batch.

    `objectives` are one, or a fast one and the exact one of the same pictures. A picture begins with the first, and
    ends with a share of its iterations by the last (`RuleState`). One step evaluates one of them: pictures in the
    other stage do not change meanwhile.

    `_state` holds everything that belongs to a picture, as tensors with the slots along their first dimension, which
    keep their memory. `snapshot` copies one slot of it; `restore` in a new minimizer continues to the same bits.
    """

    def __init__(
        self,
        objectives: Sequence[BatchObjective],
        start: torch.Tensor,
        rule: StopRule | None,
        *,
        variable: VariableKind,
        on_step: StepListener | None,
    ) -> None:
        self._objectives = tuple(objectives)
        self.variable = make_variable(variable)
        self.on_step = on_step
        z = self.variable.from_images(start)
        self._rules = RuleState(len(start), start.device, len(self._objectives))
        state = self._initial_state(z) | self._initial_progress(z)
        memory = torch.contiguous_format  # Of their own, also of what is expanded.
        self._state = {name: tensor.clone(memory_format=memory) for name, tensor in state.items()} | self._rules.state
        self._traces: list[list[Losses] | None] = [None] * len(start)
        """Losses after each iteration of the pictures in use; None where a slot is empty."""
        self._stages = [0] * len(start)
        """The stage of each picture, as far as is known."""
        self._readback = Readback(start.device)
        self._launchers = [Launcher(start.device) for _ in self._objectives]
        self._outcomes: dict[int, Outcome] = {}
        self.is_between_steps = True
        """False where a step failed half-way, as for a lack of memory: its state is mixed and must not be saved."""
        if rule is not None:
            for slot, image in enumerate(start):
                self.begin(slot, image, rule)

    @staticmethod
    def _initial_progress(z: torch.Tensor) -> dict[str, torch.Tensor]:
        slots, device = len(z), z.device
        return {
            "is_active": torch.zeros(slots, dtype=torch.bool, device=device),
            # Whether the next evaluation is the first of a stage, with nothing to compare it with.
            "is_fresh": torch.zeros(slots, dtype=torch.bool, device=device),
            "iteration": torch.zeros(slots, dtype=torch.int64, device=device),
            "stop": torch.zeros(slots, dtype=torch.int64, device=device),
            # Losses after the last iteration, as traces have them.
            "terms": torch.zeros(slots, 4, dtype=z.dtype, device=device),
        }

    def begin(self, slot: int, image: torch.Tensor, rule: StopRule, opening: Opening | None = None) -> None:
        """Puts a picture (3×H×W in [0, 1]) in an empty slot; `opening` is for L-BFGS."""
        if self._traces[slot] is not None:
            raise ValueError(f"batch slot {slot} is in use")
        self._read_all()
        z = self.variable.from_images(image.unsqueeze(0))
        for name, tensor in (self._initial_state(z) | self._initial_progress(z)).items():
            self._state[name][slot] = tensor[0]
        self._state["is_active"][slot] = True
        self._state["is_fresh"][slot] = True
        self._rules.begin(slot, rule)
        self._traces[slot], self._stages[slot] = [], 0

    def release(self, slot: int) -> None:
        """Empties a slot."""
        self._read_all()
        self._state["is_active"][slot] = False
        self._traces[slot] = None
        self._outcomes.pop(slot, None)

    @property
    def active_slots(self) -> tuple[int, ...]:
        """The slots in use."""
        return tuple(slot for slot, trace in enumerate(self._traces) if trace is not None)

    def step(self) -> dict[int, Outcome]:
        """Evaluates every picture of one stage once; returns those that are known to be done, by their slots, which
        are empty afterwards."""
        stage, state = self._next_stage(), self._state
        launcher, iterate = self._launchers[stage], functools.partial(self._iterate, stage)
        launcher.prepare(iterate)
        self.is_between_steps = True  # Whatever was said while it was captured: nothing was computed.
        launcher.run(iterate)
        self.is_between_steps = False
        # One tensor, so that there is one copy; single precision and whole numbers are exact in double.
        counts = torch.stack((state["iteration"], state["stop"], state["stage"]), 1).double()
        for ready in self._readback.push(torch.cat((counts, state["terms"].double()), 1)):
            self._read(ready)
        self.is_between_steps = True
        outcomes, self._outcomes = self._outcomes, {}
        return outcomes

    def _next_stage(self) -> int:
        """The stage that most pictures are in; the later one where it is a tie. None waits for long: those that go on
        to the exact stage become the most."""
        stages = [self._stages[slot] for slot in self.active_slots]
        return max(range(len(self._objectives)), key=lambda stage: (stages.count(stage), stage))

    @property
    def capture_failure(self) -> str | None:
        """Why iterations are not captured as CUDA graphs, where that failed."""
        return next((launcher.failure for launcher in self._launchers if launcher.failure is not None), None)

    def objective_changed(self) -> None:
        """Has to be called when an objective has other tensors than before, and not only other values in them."""
        for launcher in self._launchers:
            launcher.reset()

    @abstractmethod
    def _iterate(self, stage: int) -> None:
        """Evaluates every picture in a stage once and changes its state in place, without waiting for the device."""

    @abstractmethod
    def _initial_state(self, z: torch.Tensor) -> dict[str, torch.Tensor]:
        """State of pictures at z that have not been evaluated yet. Each tensor is copied, so it may be z itself, or be
        expanded: where a large picture begins, the memory for its state is there already."""

    def snapshot(self, slot: int = 0) -> dict[str, torch.Tensor]:
        """Everything that the further optimisation of one picture depends on, on the CPU; after its first step."""
        self._read_all()
        # A picture that has stopped by now stops again where it is restored.
        trace = self._outcomes[slot].trace if slot in self._outcomes else self._traces[slot] or ()
        rows = [dataclasses.astuple(losses) for losses in trace]
        return {
            **{f"state.{name}": tensor[slot : slot + 1].cpu() for name, tensor in self._state.items()},
            "trace": torch.tensor(rows, dtype=torch.float64),
        }

    def restore(self, snapshot: Mapping[str, torch.Tensor], slot: int = 0) -> None:
        """Makes the picture that has just begun in a slot continue from a `snapshot`."""
        for name, tensor in self._state.items():
            tensor[slot] = snapshot[f"state.{name}"][0].to(tensor.device)
        self._traces[slot] = [Losses(*row) for row in snapshot["trace"].tolist()]
        self._stages[slot] = int(snapshot["state.stage"])

    def _evaluate(self, stage: int, z: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Total loss (B), its gradient (B×3×H×W) and the four loss terms (B×4) at z."""
        z = z.detach().requires_grad_(True)
        losses = self._objectives[stage](self.variable.to_pixels(z))
        # The gradient of the sum over the batch gives each picture the gradient of its own loss.
        (gradient,) = torch.autograd.grad(losses.total.sum(), z)
        # No state has changed so far: a failure up to here loses nothing.
        self.is_between_steps = False
        terms = torch.stack((losses.content, losses.style, losses.total_variation, losses.temporal), dim=1).detach()
        return losses.total.detach(), gradient, terms

    def _set(self, where: torch.Tensor | None = None, **values: torch.Tensor) -> None:
        """Changes tensors of the state in place: all of it, or that of the pictures `where` (B booleans) is true."""
        for name, value in values.items():
            target = self._state[name]
            if where is None:
                target.copy_(value)
            else:
                torch.where(where.view(-1, *(1,) * (target.dim() - 1)), value, target, out=target)

    def _are_in(self, stage: int) -> torch.Tensor:
        """B booleans: the active pictures in a stage."""
        return self._state["is_active"] & (self._state["stage"] == stage)

    def _count(self, active: torch.Tensor, terms: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
        """Ends the iteration of the pictures that are `active` in it (B booleans), with these losses (B×4).

        `codes` (B) are the optimizer's own reasons to stop, which come before those of the rules. Returns the codes of
        the pictures that stop now, or would if there were no other stage.
        """
        done = self._state["iteration"] + active
        codes = torch.where(active, torch.where(codes > 0, codes, self._rules.apply(done, terms, active)), 0)
        ended, goes_on = self._rules.end_stage(done, codes)
        self._set(active, terms=terms, iteration=done, stop=ended, is_active=ended == 0, is_fresh=goes_on)
        return codes

    def _read(self, facts: torch.Tensor) -> None:
        """Takes up what the device says of an iteration: losses (non-finite ones too), and which pictures stopped."""
        for slot, (iteration, stop, stage, *terms) in enumerate(facts.tolist()):
            trace = self._traces[slot]
            if trace is None:
                continue
            self._stages[slot] = int(stage)
            if iteration > len(trace):
                trace.append(Losses(*terms))
                if self.on_step is not None:
                    self.on_step(slot, len(trace), trace[-1])
            if stop:
                z = self._state["z"][slot].detach().unsqueeze(0)
                image = self.variable.to_images(z)[0].clamp(0, 1)
                self._outcomes[slot] = Outcome(image, REASONS[int(stop) - 1], tuple(trace))
                self._traces[slot] = None

    def _read_all(self) -> None:
        """Waits for the device and takes up everything that it has done."""
        for ready in self._readback.flush():
            self._read(ready)
