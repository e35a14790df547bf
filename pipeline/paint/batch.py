"""Painting: the optimisation of one picture, or of several of one size in a batch.

Both follow the same steps: the objective and start of a `FrameTask` from the `Painter`, iterations of a `Minimizer`,
a second try where the first failed (`second_try.py`), and the losses of the picture as it will be saved.
"""

import functools
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from ..errors import ImpastoError, Interrupted
from ..events import Losses
from ..layers import require_size
from ..pictures import Size, to_array, to_tensor
from . import initial
from .checkpoint import Checkpoint
from .devices import computing
from .lbfgs import COLD_START, ENLARGED_START, WARM_START
from .minimizer import Minimizer, Opening
from .objective import Objective
from .painter import Painter
from .painting_state import PaintingState
from .second_try import better, failure, has_stalled
from .stopping import Outcome, StopReason
from .task import FrameTask, PaintedFrame, ProgressListener, task_digest


def paint_one(
    painter: Painter, task: FrameTask, on_progress: ProgressListener | None = None, checkpoint: Checkpoint | None = None
) -> PaintedFrame:
    """Paints one picture; from its `checkpoint` where that holds one, to the same bits.

    A try that stalls or has a non-finite objective is repeated once from a safe state: the softened content, or the
    softened start where that is the painting of a smaller scale, no preconditioner, and a first step a tenth as long.
    The better result is kept.

    Raises `InputError` for a content too small for the deepest layer, `OutOfMemoryError`, `FrameError` when the
    objective is not finite in the second try either, and `Interrupted` when the checkpoint says so.
    """
    state = state_of(painter, task, checkpoint)
    while True:
        batch = Batch(painter, task.all_scales[state.scale].size, 1)
        batch.add(0, task, on_progress, checkpoint, state)
        results: dict[int, PaintedFrame | PaintingState | ImpastoError] = {}
        while not results:
            results = batch.step()
        result = results[0]
        if isinstance(result, ImpastoError):
            raise result
        if isinstance(result, PaintedFrame):
            return result
        state = result


def state_of(painter: Painter, task: FrameTask, checkpoint: Checkpoint | None, width: int = 1) -> PaintingState:
    """Where a task is that has not begun in this process: at its checkpoint, where that fits, or at its beginning."""
    if checkpoint is not None and checkpoint.path.exists():  # Most have none, and a digest hashes the whole task.
        tensors = checkpoint.load(task_digest(task, painter.device, painter.precision, width))
        if tensors is not None:
            return PaintingState.from_tensors(tensors)
    return PaintingState()


@dataclass
class BatchSlot:
    """A picture that is being painted in a batch."""

    ticket: int
    whole: FrameTask
    """The task with all its scales."""
    task: FrameTask
    """The task of the scale that is painted."""
    state: PaintingState
    """Where the picture was when it came into the batch, without the optimizer's state."""
    objective: Objective
    digest: str
    """What its checkpoint is recognised by; see `task_digest`."""
    on_progress: ProgressListener | None
    checkpoint: Checkpoint | None
    saved_at: float
    """Time of the clock when its checkpoint was last written, or when it began."""

    def report(self, iteration: int, losses: Losses) -> None:
        if self.on_progress is not None:
            before = sum(scale.rule.iterations for scale in self.whole.scales[: self.state.scale])
            self.on_progress(before + iteration, losses)

    @property
    def is_at_last_scale(self) -> bool:
        return self.state.scale == len(self.whole.scales)


class Batch:
    """Pictures of one size (height, width) that are painted together, in `width` slots.

    A picture that is done makes room for another. All slots are always evaluated, in use or not, so the bits of a
    picture depend on the width, but neither on the other pictures nor on when it was added. A `ticket` identifies a
    picture for the caller.
    """

    def __init__(self, painter: Painter, size: Size, width: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.size = size
        self.width = width
        self._painter = painter
        self._clock = clock
        self._slots: dict[int, BatchSlot] = {}
        self._objective: Objective | None = None
        self._minimizer: Minimizer | None = None
        self._heard: list[tuple[int, int, Losses]] = []
        """Slot, iteration and losses that are still to be reported: not from within a step, as whoever hears of them
        may paint or measure in another precision."""
        heard = self._heard

        def on_step(slot: int, iteration: int, losses: Losses) -> None:
            heard.append((slot, iteration, losses))

        # Not a method: batch and minimizer would refer to each other and keep most of a device's memory until the
        # garbage collector runs.
        self._on_step = on_step
        require_size(size, painter.settings.layers, "the content")

    @property
    def free_slots(self) -> int:
        """How many more pictures can be added."""
        return self.width - len(self._slots)

    def add(
        self,
        ticket: int,
        task: FrameTask,
        on_progress: ProgressListener | None = None,
        checkpoint: Checkpoint | None = None,
        state: PaintingState | None = None,
    ) -> None:
        """Puts a picture in a free slot, where it goes on from `state`, by default from `state_of` it.

        Raises `OutOfMemoryError`.
        """
        slot = next(slot for slot in range(self.width) if slot not in self._slots)
        painter = self._painter
        state = state or state_of(painter, task, checkpoint, self.width)
        part = task.at_scale(state.scale, state.painting)
        with computing(painter.device, self.size):
            single, start = painter.task_objective(part), painter.start(part)
        with computing(painter.device, self.size, painter.precision):
            minimizer = self._begin(slot, part, single, start)
            if state.snapshot is not None:
                minimizer.restore(state.snapshot, slot)
        digest = task_digest(task, painter.device, painter.precision, self.width)
        state = replace(state, snapshot=None)
        self._slots[slot] = BatchSlot(ticket, task, part, state, single, digest, on_progress, checkpoint, self._clock())

    def _begin(self, slot: int, task: FrameTask, single: Objective, start: torch.Tensor) -> Minimizer:
        """The minimizer, with the start and objective of a task in a slot of it."""
        painter = self._painter
        if self._objective is None or self._minimizer is None:
            self._objective = single.empty_batch(self.width)
            gray = start.new_full((), 0.5).expand(self.width, *start.shape[1:])
            self._minimizer = painter.make_minimizer(painter.objectives(self._objective), gray, None, self._on_step)
        if self._objective.targets.set_slot(slot, single.targets):
            self._minimizer.objective_changed()
        self._minimizer.begin(slot, start[0], task.rule, _opening(task))
        return self._minimizer

    def step(self) -> dict[int, PaintedFrame | PaintingState | ImpastoError]:
        """One iteration of every picture; returns the results of those that are done, by their tickets: states of
        those that go on at another scale.

        Raises `OutOfMemoryError`; `suspend` then takes the pictures out.
        """
        minimizer = self._minimizer
        assert minimizer is not None
        with computing(self._painter.device, self.size, self._painter.precision):
            outcomes = minimizer.step()
        self._report_heard()
        done: dict[int, PaintedFrame | PaintingState | ImpastoError] = {}
        for slot, outcome in outcomes.items():
            picture = self._slots.pop(slot)
            try:
                done[picture.ticket] = self._finish(picture, outcome)
            except ImpastoError as error:
                done[picture.ticket] = without_traceback(error)
        return done | self._save_checkpoints(minimizer)

    def _report_heard(self) -> None:
        for slot, iteration, losses in self._heard:
            self._slots[slot].report(iteration, losses)
        self._heard.clear()

    def _save_checkpoints(self, minimizer: Minimizer) -> dict[int, ImpastoError]:
        """Saves the checkpoints that are due; returns the pictures that stop because theirs says so, by tickets."""
        stopped: dict[int, ImpastoError] = {}
        for slot, picture in list(self._slots.items()):
            if picture.checkpoint is None:
                continue
            try:
                picture.saved_at = picture.checkpoint.save_if_due(
                    functools.partial(_snapshot, picture, minimizer, slot),
                    picture.digest,
                    picture.saved_at,
                    self._clock(),
                )
            except Interrupted as error:
                del self._slots[slot]
                minimizer.release(slot)
                stopped[picture.ticket] = without_traceback(error)
        return stopped

    def suspend(self) -> dict[int, PaintingState]:
        """Takes all pictures out; returns their states by tickets, to continue in another batch.

        Where a step failed half-way, a picture has to begin its scale again.
        """
        minimizer = self._minimizer if self._minimizer is not None and self._minimizer.is_between_steps else None
        states = {
            picture.ticket: replace(picture.state, snapshot=None if minimizer is None else minimizer.snapshot(slot))
            for slot, picture in self._slots.items()
        }
        self._slots.clear()
        self._minimizer = self._objective = None
        return states

    def _finish(self, picture: BatchSlot, outcome: Outcome) -> PaintedFrame | PaintingState:
        """The finished picture, or where it goes on, after a second try where the first failed; see `paint_one`."""
        painter, task = self._painter, picture.task
        failed = failure(outcome, task)
        slow = None if self._minimizer is None else self._minimizer.capture_failure
        if failed is not None:
            if not self._slots:
                # Its memory is needed for the second try.
                self._minimizer = self._objective = None
            outcome = better(outcome, self._try_again(picture))
        image, trace = to_array(outcome.image), picture.state.trace + outcome.trace
        retried = picture.state.retried or (None if failed is None else str(failed))
        if not picture.is_at_last_scale:
            return PaintingState(picture.state.scale + 1, image, trace, retried)
        stop = StopReason.STALLED if has_stalled(outcome, task) else outcome.stop
        with computing(painter.device, self.size):
            losses = painter.losses(picture.objective, image)
        return PaintedFrame(image, losses, stop, trace, retried, slow)

    def _try_again(self, picture: BatchSlot) -> Outcome:
        """A second try from a safe state, with the exact encoder alone."""
        painter, task, heard = self._painter, picture.task, list[tuple[int, int, Losses]]()
        outcomes: dict[int, Outcome] = {}
        with computing(painter.device, self.size, painter.precision):
            # From the content, the strokes of the smaller scales would be lost.
            start = painter.start(task) if task.start == "enlarged" else to_tensor(task.content, painter.device)
            again = painter.make_minimizer(
                (picture.objective,),
                initial.softened(start),
                task.rule,
                lambda *step: heard.append(step),
                COLD_START.first_step / 10,
                is_safe=True,
            )
        while not outcomes:
            with computing(painter.device, self.size, painter.precision):
                outcomes = again.step()
            for _, iteration, losses in heard:
                picture.report(iteration, losses)
            heard.clear()
            if picture.checkpoint is not None and not outcomes:
                picture.checkpoint.raise_if_stopped()
        return outcomes[0]


def _opening(task: FrameTask) -> Opening:
    if task.start == "enlarged":
        return ENLARGED_START
    return WARM_START if task.warm else COLD_START


def _snapshot(picture: BatchSlot, minimizer: Minimizer, slot: int) -> dict[str, torch.Tensor]:
    return replace(picture.state, snapshot=minimizer.snapshot(slot)).to_tensors()


def without_traceback(error: ImpastoError) -> ImpastoError:
    """The error without its cause and traceback, whose frames may hold most of a device's memory."""
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)
