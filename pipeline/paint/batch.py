"""TODO: paint.batch."""

import functools
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch

from ..errors import FrameError, ImpastoError, Interrupted
from ..events import Losses
from ..layers import require_size
from ..pictures import Size, size_of, to_array, to_tensor
from . import initial
from .checkpoint import Checkpoint
from .lbfgs import FIRST_STEP, WARM_FIRST_STEP
from .minimizer import Minimizer
from .objective import Objective
from .painter import Painter
from .stopping import Outcome, StopReason, StopRule
from .task import FrameTask, PaintedFrame, ProgressListener, task_digest

STALL_LOOK = 4
"""After so many iterations a cold start whose objective is no lower than at the start has stalled."""


@dataclass
class BatchSlot:
    """A picture of a batch under way."""

    ticket: int
    task: FrameTask
    objective: Objective
    digest: str
    on_progress: ProgressListener | None
    checkpoint: Checkpoint | None
    put_away: float
    """When it was last."""

    def tell(self, _: int, iteration: int, losses: Losses) -> None:
        if self.on_progress is not None:
            self.on_progress(iteration, losses)


class Batch:
    """Pictures of one size that are painted side by side, in `width` places: one that is done makes room for another.

    The places are always all evaluated, whether they are in use or not, so that a picture depends on the width, but
    not on what is beside it, nor on when it came.
    """

    def __init__(self, painter: Painter, size: Size, width: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.size = size
        self.width = width
        self._painter = painter
        self._clock = clock
        self._places: dict[int, BatchSlot] = {}
        self._objective: Objective | None = None
        self._minimizer: Minimizer | None = None
        places = self._places

        def on_step(place: int, iteration: int, losses: Losses) -> None:
            places[place].tell(place, iteration, losses)

        # It knows the places alone: were it a method, batch and minimizer would hold each other, and most of a device's
        # memory, until the garbage is collected.
        self._on_step = on_step
        require_size(size, painter.settings.layers, "the content")

    @property
    def free_slots(self) -> int:
        """How many more pictures there is room for."""
        return self.width - len(self._places)

    def add(
        self,
        ticket: int,
        task: FrameTask,
        on_progress: ProgressListener | None = None,
        checkpoint: Checkpoint | None = None,
        snapshot: Mapping[str, torch.Tensor] | None = None,
    ) -> None:
        """Puts a picture in a free place; it goes on from a `snapshot`, or from where its checkpoint was left.

        Raises `OutOfMemoryError`.
        """
        place = next(place for place in range(self.width) if place not in self._places)
        with self._painter.enough_memory(self.size):
            single = self._painter.objective_of(task)
            start, first_step = self._painter.start(task), WARM_FIRST_STEP if task.warm else FIRST_STEP
            if self.width == 1:
                # Nothing has to be copied.
                self._minimizer = self._painter.minimizer(single, start, task.rule, self._on_step, first_step)
            else:
                if self._objective is None or self._minimizer is None:
                    self._objective = single.widened(self.width)
                    empty = torch.full_like(start, 0.5).repeat(self.width, 1, 1, 1)
                    self._minimizer = self._painter.minimizer(self._objective, empty, None, self._on_step)
                self._objective.put(place, single)
                self._minimizer.begin(place, start[0], task.rule, first_step)
            told = task_digest(task, self._painter.device, self.width)
            if snapshot is None and checkpoint is not None:
                snapshot = checkpoint.load(told)
            if snapshot is not None:
                self._minimizer.restore(snapshot, place)
        self._places[place] = BatchSlot(ticket, task, single, told, on_progress, checkpoint, self._clock())

    def step(self) -> dict[int, PaintedFrame | ImpastoError]:
        """One iteration of every picture; what came of those that are done with it, by their tickets.

        Raises `OutOfMemoryError`, whereupon `suspend` takes the pictures out.
        """
        minimizer = self._minimizer
        assert minimizer is not None
        with self._painter.enough_memory(self.size):
            outcomes = minimizer.step()
        if outcomes and self.width == 1:
            # Its memory is for what comes next.
            self._minimizer = minimizer = None
        done: dict[int, PaintedFrame | ImpastoError] = {}
        for place, outcome in outcomes.items():
            it = self._places.pop(place)
            try:
                with self._painter.enough_memory(self.size):
                    done[it.ticket] = self._finished(it, outcome)
            except ImpastoError as error:
                done[it.ticket] = without_traceback(error)
        for place, it in list(self._places.items()):
            if it.checkpoint is None or minimizer is None:
                continue
            try:
                snapshot = functools.partial(minimizer.snapshot, place)
                it.put_away = it.checkpoint.tend(snapshot, it.digest, it.put_away, self._clock())
            except Interrupted as error:
                del self._places[place]
                minimizer.free(place)
                done[it.ticket] = without_traceback(error)
        return done

    def suspend(self) -> dict[int, dict[str, torch.Tensor] | None]:
        """Takes all pictures out, to go on in another batch: how far each was, by its ticket; None where a step broke
        off so late that it has to begin again."""
        kept = self._minimizer if self._minimizer is not None and self._minimizer.is_between_steps else None
        left = {it.ticket: None if kept is None else kept.snapshot(place) for place, it in self._places.items()}
        self._places.clear()
        self._minimizer = self._objective = None
        return left

    def _finished(self, it: BatchSlot, outcome: Outcome) -> PaintedFrame:
        """What is saved of a picture, after a second try where the first got nowhere; see `Painter.paint`."""
        painter, task, retried = self._painter, it.task, None
        if outcome.stop is StopReason.NONFINITE or _has_stalled(outcome, task):
            retried = str(StopReason.NONFINITE if outcome.stop is StopReason.NONFINITE else StopReason.STALLED)
            safe = initial.softened(to_tensor(task.content, painter.device))
            again = painter.minimizer(it.objective, safe, task.rule, it.tell, FIRST_STEP / 10, careful=True)
            (second,) = again.run(None if it.checkpoint is None else it.checkpoint.require_going_on)
            if second.stop is StopReason.NONFINITE and outcome.stop is StopReason.NONFINITE:
                raise FrameError(
                    "the objective is not finite, also from a second, careful start: "
                    "the weights of the losses are too large for the numbers of the device"
                )
            outcome = _better(outcome, second)
        image = to_array(outcome.image)
        stop = StopReason.STALLED if _has_stalled(outcome, task) else outcome.stop
        return PaintedFrame(image, painter.losses(it.objective, image), stop, outcome.trace, retried)


def _has_stalled(outcome: Outcome, task: FrameTask) -> bool:
    """Whether the optimisation got nowhere, whatever reason it gave for ending.

    A picture that starts from a finished one may have nothing left to do; one that starts cold has, and
    stopping by a tolerance that it met before it fell is how blurry frames come to be saved as done.
    """
    if outcome.stop is StopReason.STALLED:
        return True
    if task.warm or outcome.iterations < STALL_LOOK or outcome.stop is StopReason.CONVERGED:
        return False
    first, last = outcome.trace[0].objective, outcome.trace[-1].objective
    if outcome.stop is StopReason.TOLERANCE:
        return first - last < 10 * task.rule.tolerance * abs(first)
    return last >= first


def without_traceback(error: ImpastoError) -> ImpastoError:
    """An error without all that it came from, which may hold most of a device's memory."""
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)


def _better(first: Outcome, second: Outcome) -> Outcome:
    """The outcome with the lower final loss; one that is not finite loses."""

    def final(outcome: Outcome) -> float:
        value = outcome.trace[-1].total
        return value if math.isfinite(value) and outcome.stop is not StopReason.NONFINITE else math.inf

    return second if final(second) < final(first) else first


def paint_one(
    painter: Painter, task: FrameTask, on_progress: ProgressListener | None = None, checkpoint: Checkpoint | None = None
) -> PaintedFrame:
    """Paints one picture; with a `checkpoint`, from where that was left, to the same bits.

    Raises `InputError` for a content too small for the deepest layer, `OutOfMemoryError` when the device's
    memory is too small, and `FrameError` when the objective is not finite even after a second try.

    A first try that stalls or has a non-finite objective is repeated once from a safe state: the
    softened content, no preconditioner, and a first step a tenth as long. The better result is kept.
    """
    batch = Batch(painter, size_of(task.content), 1)
    batch.add(0, task, on_progress, checkpoint)
    while True:
        for painted in batch.step().values():
            if isinstance(painted, ImpastoError):
                raise painted
            return painted


def batch_costs(painter: Painter, content: np.ndarray, width: int, iterations: int = 4) -> tuple[float, int]:
    """(Seconds of an iteration of `width` pictures such as `content`, bytes of the GPU's memory that they take with
    all else on it): measured, the pairs of L-BFGS that will be there later included. Raises `OutOfMemoryError`."""
    batch = Batch(painter, size_of(content), width)
    torch.cuda.reset_peak_memory_stats(painter.device)
    for ticket in range(width):
        batch.add(ticket, FrameTask(ticket, content, "content", StopRule(iterations + 2)))
    batch.step()
    torch.cuda.synchronize(painter.device)
    began, taken = time.perf_counter(), 0
    # Under some settings there is nothing to do to a picture of one colour, and it is done at once.
    while taken < iterations and batch.free_slots < width:
        batch.step()
        taken += 1
    torch.cuda.synchronize(painter.device)
    seconds = (time.perf_counter() - began) / max(1, taken)
    pair, optimizer = 2 * 4 * content.size, painter.settings.optimizer
    later = max(0, optimizer.history - iterations) * pair if optimizer.method == "lbfgs" else 0
    return seconds, torch.cuda.max_memory_allocated(painter.device) + width * later
