"""The frame task: paints one picture. A pure function of its inputs on a given kind of device.

`Painter` holds what all frames of a job share, computed once: the encoder on its device, and the
style's statistics. `paint` has no memory: whatever it painted before, whichever process it runs
in, the same task gives the same bits.
"""

import contextlib
import functools
import math
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from pipeline import starts, temporal
from pipeline.checkpoint import Checkpoint, digest
from pipeline.config import Settings
from pipeline.encoder import Encoder, EncoderWeights
from pipeline.errors import DeviceError, FrameError, ImpastoError, Interrupted, OutOfMemoryError, UsageError
from pipeline.events import Losses
from pipeline.frames import Size, fit_within, normalize, resize, size_of, to_array, to_tensor
from pipeline.layers import LAYERS, require_size
from pipeline.losses import LossWeights, Objective, TemporalReference, content_targets, style_targets
from pipeline.optimize import (
    FIRST_STEP,
    WARM_FIRST_STEP,
    Adam,
    Lbfgs,
    Minimizer,
    Outcome,
    StepListener,
    StopReason,
    StopRule,
)

STYLE_CACHE_SIZE = 12
"""Sizes of reduced styles whose statistics are kept (a megabyte each, on the device); a film has one, a
folder of photos some."""

STALL_LOOK = 4
"""After so many iterations a cold start whose objective is no lower than at the start has stalled."""

GHOST_BLUR = 2.0
"""Standard deviation, in pixels, of what is taken from the content where a warped painting shows another thing: its
colours at this scale, while the strokes stay."""

SEAM_BLUR = 1.0
"""Standard deviation, in pixels, of the seam between what is taken from an earlier painting and from a later one."""

StartKind = Literal["content", "matched", "noise", "given", "warped"]


@dataclass(frozen=True)
class Earlier:
    """A finished painting of another frame of the shot, and the way to it.

    `image` and `content` are H×W×3 uint8: its painting and what that was painted from. `flow` (H×W×2) goes from
    the frame to be painted to that one, `trust` (H×W in [0, 1]) says where both show the same thing; see
    `pipeline.temporal`.
    """

    image: np.ndarray
    content: np.ndarray
    flow: np.ndarray
    trust: np.ndarray


@dataclass(frozen=True)
class FrameTask:
    """One picture to paint.

    `content` is H×W×3 uint8 at the size of the painting. `given` is the picture to start from, of the same
    shape, when `start` is `given` (the saved frame before, or a file). When it is `warped`, `earlier` is brought
    onto this frame and, where there is a `given`, blended into it with `blend` of its weight. `warm` says that
    the start is a painting of nearly the same content. `references`, nearest first, are what the temporal loss
    holds the picture to, with `temporal` for its weight. `index` seeds the noise.

    `meets` is the painting of a later frame that frames are to lead up to, and `share` how much of the way there this
    one goes: where both show the same thing, the earlier painting is blended with it, in the start and, if it is among
    the references, there. What the later one alone shows is taken from it whole.
    """

    index: int
    content: np.ndarray
    start: StartKind
    rule: StopRule
    given: np.ndarray | None = None
    warm: bool = False
    earlier: Earlier | None = None
    blend: float = 1.0
    references: tuple[Earlier, ...] = ()
    temporal: float = 0.0
    meets: Earlier | None = None
    share: float = 0.0


COLD_STARTS: Mapping[str, StartKind] = {"content": "content", "matched": "matched", "noise": "noise"}
"""Values of `start.first` that are no file."""


def cold_task(index: int, content: np.ndarray, start: str, rule: StopRule, picture: np.ndarray | None) -> FrameTask:
    """A task that starts from no painting: as `start` says, or where that is a file, from its `picture`, resized."""
    if start in COLD_STARTS:
        return FrameTask(index, content, COLD_STARTS[start], rule)
    if picture is None:
        raise ValueError(f"start {start!r} is a file, and comes with its picture")
    return FrameTask(index, content, "given", rule, resize(picture, size_of(content)))


@dataclass(frozen=True)
class PaintedFrame:
    """What came out of a task: H×W×3 uint8, its losses, how it went, and why it took a second try (or None)."""

    image: np.ndarray
    losses: Losses
    stop: StopReason
    trace: tuple[Losses, ...]
    retried: str | None

    @property
    def iterations(self) -> int:
        return len(self.trace)


ProgressListener = Callable[[int, Losses], None]
"""Called with the iteration (from 1) and the losses after it."""


def pick_devices(name: str) -> tuple[torch.device, ...]:
    """The devices called `auto` (every GPU, else the CPU), `cpu`, `cuda` (every GPU), or `cuda:0,cuda:2`."""
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    gpus = tuple(torch.device("cuda", index) for index in range(count))
    if name == "auto":
        return gpus or (torch.device("cpu"),)
    if name == "cuda" and gpus:
        return gpus
    picked = [_device(part.strip(), name, count) for part in name.split(",")]
    if len(set(picked)) < len(picked):
        raise DeviceError(f"device {name} names one twice: name each once")
    if len(picked) > 1 and any(device.type == "cpu" for device in picked):
        raise DeviceError(f"device {name}: the CPU does not go with others; use it alone, or leave it out")
    return tuple(picked)


def pick_device(name: str) -> torch.device:
    """The first of `pick_devices`."""
    return pick_devices(name)[0]


def _device(name: str, whole: str, count: int) -> torch.device:
    what = "not one of auto, cpu, cuda, cuda:N, or some of these as in cuda:0,cuda:1"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise DeviceError(f"device {whole!r} is {what}") from error
    if device.type == "cuda" and (device.index or 0) >= count:
        raise DeviceError(
            f"device {whole} is not there: this machine has {count} usable CUDA devices; use --device auto"
        )
    if device.type not in ("cpu", "cuda"):
        raise DeviceError(f"device {whole!r} is {what}")
    return torch.device("cuda", device.index or 0) if device.type == "cuda" else torch.device("cpu")


def device_label(device: torch.device) -> str:
    """The device as a person knows it: `cpu (2 threads)`, `cuda:0 (NVIDIA …)`."""
    if device.type == "cpu":
        threads = torch.get_num_threads()
        return "cpu (1 thread)" if threads == 1 else f"cpu ({threads} threads)"
    return f"{device} ({torch.cuda.get_device_name(device)})"


def loss_weights(settings: Settings) -> LossWeights:
    """The settings' numbers as the losses take them; layers of weight 0 are left out."""
    return LossWeights(
        content=settings.content.weight,
        content_layers=_in_use(settings.content.layers),
        content_reduction=settings.content.reduction,
        style=settings.style.weight,
        style_layers=_in_use(settings.style.layers),
        gram=settings.style.gram,
        total_variation=settings.total_variation.weight,
        total_variation_form=settings.total_variation.form,
        total_variation_pixels=settings.total_variation.pixels,
    )


def _in_use(layers: Mapping[str, float]) -> dict[str, float]:
    # In the network's order: sums of floats depend on theirs, and settings are the same in any.
    return {name: layers[name] for name in sorted(layers, key=LAYERS.index) if layers[name]}


def style_blend(weights: Sequence[float], styles: int) -> tuple[float, ...]:
    """The weights of `styles` styles: those given, or equal ones.

    Raises `UsageError` for too few, too many, negative ones, and none over 0.
    """
    if not weights:
        return (1.0,) * styles
    if len(weights) != styles:
        raise UsageError(f"{len(weights)} style weights for {styles} styles: give one each")
    if any(not math.isfinite(weight) or weight < 0 for weight in weights) or not any(weights):
        raise UsageError(
            f"style weights {', '.join(map(str, weights))}: each must be at least 0, and one of them over 0"
        )
    return tuple(weights)


class Painter:
    """Paints and measures pictures in one style with one set of settings on one device.

    `styles` are H×W×3 uint8 pictures of any sizes and `blend` their weights (of any sum). `film_colors` are those
    of the whole film that the frames belong to, so that colours are matched alike in all of them; None, for
    photos, matches each by its own.
    """

    def __init__(
        self,
        settings: Settings,
        weights: EncoderWeights,
        styles: Sequence[np.ndarray],
        blend: Sequence[float],
        device: torch.device,
        film_colors: starts.ColorStatistics | None = None,
    ) -> None:
        self.settings = settings
        self.device = device
        self._weights = loss_weights(settings)
        self._styles = list(styles)
        self._blend = list(blend)
        self._style_cache: OrderedDict[tuple[Size, ...], dict[str, torch.Tensor]] = OrderedDict()
        self._colors: starts.ColorStatistics | None = None
        self._film_colors = None if film_colors is None else film_colors.to(device)
        if device.type == "cuda":
            # The same bits in every run and worker; TF32 would round features to 10 bits.
            torch.backends.cudnn.deterministic = True
            torch.backends.cudnn.benchmark = False
            torch.backends.cudnn.allow_tf32 = False
            torch.backends.cuda.matmul.allow_tf32 = False
        self.encoder = Encoder(weights, self._weights.layers, settings.encoder.pooling, settings.encoder.padding).to(
            device
        )

    def objective(self, content: np.ndarray) -> Objective:
        """What is minimised for a picture of `content` (H×W×3 uint8)."""
        targets = content_targets(self.encoder, to_tensor(content, self.device), tuple(self._weights.content_layers))
        return Objective(self.encoder, self._weights, targets, self._style_targets(size_of(content)))

    def measure(self, image: np.ndarray, content: np.ndarray) -> Losses:
        """Losses of a finished picture; both are H×W×3 uint8 of one size. Raises `OutOfMemoryError`."""
        require_size(size_of(content), self._weights.layers, "the content")
        with self.enough_memory(size_of(content)):
            return self.losses(self.objective(content), image)

    def paint(
        self, task: FrameTask, on_progress: ProgressListener | None = None, checkpoint: Checkpoint | None = None
    ) -> PaintedFrame:
        """Paints one picture; with a `checkpoint`, from where that was left, to the same bits.

        Raises `InputError` for a content too small for the deepest layer, `OutOfMemoryError` when the device's
        memory is too small, and `FrameError` when the objective is not finite even after a second try.

        A first try that stalls or has a non-finite objective is repeated once from a safe state: the
        softened content, no preconditioner, and a first step a tenth as long. The better result is kept.
        """
        batch = Batch(self, size_of(task.content), 1)
        batch.add(0, task, on_progress, checkpoint)
        while True:
            for painted in batch.step().values():
                if isinstance(painted, ImpastoError):
                    raise painted
                return painted

    @contextlib.contextmanager
    def enough_memory(self, size: Size) -> Iterator[None]:
        """Raises `OutOfMemoryError` where the device's memory is too small for pictures of a size."""
        try:
            yield
        except (MemoryError, RuntimeError) as error:
            if not _is_out_of_memory(error):
                raise
            height, width = size
            raise OutOfMemoryError(
                f"not enough memory on {self.device} to paint {width}×{height} pixels: use a smaller --size"
            ) from error

    def objective_of(self, task: FrameTask) -> Objective:
        """What is minimised for the picture of a task."""
        objective = self.objective(task.content)
        if task.references and task.temporal:
            objective.hold_to(self._references(task), task.temporal)
        return objective

    def seconds_per_iteration(self, content: np.ndarray, iterations: int = 3) -> float:
        """Measured time of one iteration on `content`, after one that warms the device up."""
        objective = self.objective(content)
        start = to_tensor(content, self.device)
        self.minimizer(objective, start, StopRule(1)).run()
        began = time.perf_counter()
        self.minimizer(objective, start, StopRule(iterations)).run()
        return (time.perf_counter() - began) / iterations

    def batch_costs(self, content: np.ndarray, width: int, iterations: int = 4) -> tuple[float, int]:
        """(Seconds of an iteration of `width` pictures such as `content`, bytes of the GPU's memory that they take with
        all else on it): measured, the pairs of L-BFGS that will be there later included. Raises `OutOfMemoryError`."""
        batch = Batch(self, size_of(content), width)
        torch.cuda.reset_peak_memory_stats(self.device)
        for ticket in range(width):
            batch.add(ticket, FrameTask(ticket, content, "content", StopRule(iterations + 2)))
        batch.step()
        torch.cuda.synchronize(self.device)
        began, taken = time.perf_counter(), 0
        # Under some settings there is nothing to do to a picture of one colour, and it is done at once.
        while taken < iterations and batch.free < width:
            batch.step()
            taken += 1
        torch.cuda.synchronize(self.device)
        seconds = (time.perf_counter() - began) / max(1, taken)
        pair, optimizer = 2 * 4 * content.size, self.settings.optimizer
        later = max(0, optimizer.history - iterations) * pair if optimizer.method == "lbfgs" else 0
        return seconds, torch.cuda.max_memory_allocated(self.device) + width * later

    @torch.no_grad()
    def losses(self, objective: Objective, image: np.ndarray) -> Losses:
        """Those of a picture, H×W×3 uint8."""
        terms = objective(normalize(to_tensor(image, self.device)))
        return Losses(terms.content.item(), terms.style.item(), terms.total_variation.item(), terms.temporal.item())

    def start(self, task: FrameTask) -> torch.Tensor:
        """What the picture of a task looks like before its first iteration."""
        content = to_tensor(task.content, self.device)
        match task.start:
            case "content":
                return content
            case "matched":
                return starts.matched(content, self._color_statistics(), self._film_colors)
            case "noise":
                return starts.noise(size_of(task.content), self.settings.start.seed, task.index).to(self.device)
            case "given":
                if task.given is None or task.given.shape != task.content.shape:
                    raise ValueError("a task with a given start needs a picture of the content's shape")
                return to_tensor(task.given, self.device)
            case "warped":
                return self._warped_start(task)

    def _warped_start(self, task: FrameTask) -> torch.Tensor:
        """The earlier painting brought onto this frame, all of it, with the colours of what it hides mended.

        Where the earlier frame shows something else (uncovered, out of the frame, or the flow is wrong) its
        strokes still make a better start than the content does, which has none: measured over both, the objective
        after 25 iterations is a tenth lower. But the wrong thing must not be left there as a ghost, so the
        difference of the contents, coarsely, is added in the painting's colours.
        """
        earlier = task.earlier
        if earlier is None or earlier.image.shape != task.content.shape:
            raise ValueError("a task with a warped start needs an earlier painting of the content's shape")
        flow = temporal.to_flow(earlier.flow, self.device)
        trust = temporal.to_mask(earlier.trust, self.device)
        moved = temporal.carry(to_tensor(earlier.image, self.device), flow)
        if task.given is not None:
            own = to_tensor(task.given, self.device)
            return torch.lerp(own, moved, task.blend * trust).clamp(0, 1)
        content = to_tensor(task.content, self.device)
        shown = temporal.warp(to_tensor(earlier.content, self.device), flow, "bilinear", border="repeat")
        untrusted = temporal.blur(1 - trust, 1.0)
        colors = self._film_colors or starts.color_statistics([content], [1.0])
        matrix = starts.transport(colors, self._color_statistics()).to(moved.dtype)
        change = torch.einsum("ij,bjhw->bihw", matrix, temporal.blur(content - shown, GHOST_BLUR))
        start = (moved + untrusted * change).clamp(0, 1)
        if task.meets is None:
            return start
        later, weight = self._led_up_to(task, trust)
        return torch.lerp(start, later, temporal.blur(weight, SEAM_BLUR))

    def _led_up_to(self, task: FrameTask, trust: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The painting that a task leads up to, on its grid, and its weight for each pixel against the earlier one,
        which is trusted so far."""
        later = task.meets
        assert later is not None
        moved = temporal.carry(to_tensor(later.image, self.device), temporal.to_flow(later.flow, self.device))
        trust_later = temporal.to_mask(later.trust, self.device)
        return moved.clamp(0, 1), trust_later * (1 - trust * (1 - task.share))

    def _references(self, task: FrameTask) -> TemporalReference:
        """The pictures that the temporal loss compares with, on this frame's grid, and the weight of each pixel."""
        moved, masks = [], []
        for earlier in task.references:
            flow = temporal.to_flow(earlier.flow, self.device)
            image = temporal.carry(to_tensor(earlier.image, self.device), flow).clamp(0, 1)
            trust = temporal.to_mask(earlier.trust, self.device)
            if task.meets is not None and earlier is task.earlier:
                later, weight = self._led_up_to(task, trust)
                image = torch.lerp(image, later, weight)
                trust = torch.maximum(trust, temporal.to_mask(task.meets.trust, self.device))
            moved.append(image)
            masks.append(trust)
        return TemporalReference(tuple(moved), tuple(temporal.long_term_weights(masks)))

    def minimizer(
        self,
        objective: Objective,
        start: torch.Tensor,
        rule: StopRule | None,
        on_step: StepListener | None = None,
        first_step: float = FIRST_STEP,
        careful: bool = False,
    ) -> Minimizer:
        """The optimizer that the settings name."""
        optimizer = self.settings.optimizer
        if optimizer.method == "adam":
            return Adam(
                objective,
                start,
                rule,
                variable=optimizer.variable,
                learning_rate=optimizer.learning_rate * (0.1 if careful else 1),
                decay=optimizer.learning_rate_decay,
                decay_interval=optimizer.decay_interval,
                on_step=on_step,
            )
        return Lbfgs(
            objective,
            start,
            rule,
            variable=optimizer.variable,
            history=optimizer.history,
            smoothing=0 if careful else optimizer.smoothing,
            first_step=first_step,
            on_step=on_step,
        )

    def _style_targets(self, content: Size) -> dict[str, torch.Tensor]:
        """The style's Gram matrices for a content of this size, computed once for each size of the reduced style."""
        longest = max(1, round(max(content) * self.settings.style.scale))
        sizes = tuple(fit_within(size_of(style), longest) for style in self._styles)
        if sizes not in self._style_cache:
            for size in sizes:
                require_size(size, self._weights.style_layers, "the style, reduced to fit this content,")
            reduced = [resize(style, size) for style, size in zip(self._styles, sizes, strict=True)]
            self._style_cache[sizes] = style_targets(
                self.encoder,
                [to_tensor(style, self.device) for style in reduced],
                self._blend,
                tuple(self._weights.style_layers),
                self._weights.gram,
            )
            while len(self._style_cache) > STYLE_CACHE_SIZE:
                self._style_cache.popitem(last=False)
        self._style_cache.move_to_end(sizes)
        return self._style_cache[sizes]

    def _color_statistics(self) -> starts.ColorStatistics:
        if self._colors is None:
            self._colors = starts.color_statistics([to_tensor(style) for style in self._styles], self._blend)
        return self._colors.to(self.device)


def task_digest(task: FrameTask, device: torch.device, width: int = 1) -> str:
    """What the bits of a task's picture depend on besides the settings, styles and weights of a painter."""
    return digest((task, width, device_label(device), torch.__version__))


@dataclass
class _Place:
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
        self._places: dict[int, _Place] = {}
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
    def free(self) -> int:
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
        self._places[place] = _Place(ticket, task, single, told, on_progress, checkpoint, self._clock())

    def step(self) -> dict[int, PaintedFrame | ImpastoError]:
        """One iteration of every picture; what came of those that are done with it, by their tickets.

        Raises `OutOfMemoryError`, whereupon `leave` takes the pictures out.
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
                done[it.ticket] = plain(error)
        for place, it in list(self._places.items()):
            if it.checkpoint is None or minimizer is None:
                continue
            try:
                snapshot = functools.partial(minimizer.snapshot, place)
                it.put_away = it.checkpoint.tend(snapshot, it.digest, it.put_away, self._clock())
            except Interrupted as error:
                del self._places[place]
                minimizer.free(place)
                done[it.ticket] = plain(error)
        return done

    def leave(self) -> dict[int, dict[str, torch.Tensor] | None]:
        """Takes all pictures out, to go on in another batch: how far each was, by its ticket; None where a step broke
        off so late that it has to begin again."""
        kept = self._minimizer if self._minimizer is not None and self._minimizer.is_between_steps else None
        left = {it.ticket: None if kept is None else kept.snapshot(place) for place, it in self._places.items()}
        self._places.clear()
        self._minimizer = self._objective = None
        return left

    def _finished(self, it: _Place, outcome: Outcome) -> PaintedFrame:
        """What is saved of a picture, after a second try where the first got nowhere; see `Painter.paint`."""
        painter, task, retried = self._painter, it.task, None
        if outcome.stop is StopReason.NONFINITE or _has_stalled(outcome, task):
            retried = str(StopReason.NONFINITE if outcome.stop is StopReason.NONFINITE else StopReason.STALLED)
            safe = starts.softened(to_tensor(task.content, painter.device))
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


_OUT_OF_MEMORY = ("can't allocate memory", "out of memory", "ALLOC_FAILED")
"""In the words of torch on a CPU, of the CUDA runtime, and of the libraries beside it, all in plain RuntimeErrors."""


def _is_out_of_memory(error: Exception) -> bool:
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return any(words in str(error) for words in _OUT_OF_MEMORY)


def plain(error: ImpastoError) -> ImpastoError:
    """An error without all that it came from, which may hold most of a device's memory."""
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)


def _better(first: Outcome, second: Outcome) -> Outcome:
    """The outcome with the lower final loss; one that is not finite loses."""

    def final(outcome: Outcome) -> float:
        value = outcome.trace[-1].total
        return value if math.isfinite(value) and outcome.stop is not StopReason.NONFINITE else math.inf

    return second if final(second) < final(first) else first
