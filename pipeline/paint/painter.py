"""The frame task: paints one picture. A pure function of its inputs on a given kind of device.

`Painter` holds what all frames of a job share, computed once: the encoder on its device, and the
style's statistics. `paint` has no memory: whatever it painted before, whichever process it runs
in, the same task gives the same bits.
"""

import contextlib
import math
import time
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch

from ..errors import OutOfMemoryError, UsageError
from ..events import Losses
from ..layers import LAYERS, require_size
from ..motion.flow import to_flow, to_mask
from ..motion.occlusion import long_term_weights
from ..motion.warp import warp, warp_painting
from ..pictures import Size, blur, fit_within, normalize, resize, size_of, to_tensor
from ..settings import Settings
from . import initial
from .adam import Adam
from .devices import is_out_of_memory
from .encoder import Encoder
from .encoder_weights import EncoderWeights
from .lbfgs import FIRST_STEP, Lbfgs
from .minimizer import Minimizer, StepListener
from .objective import LossWeights, Objective, TemporalReference, content_targets, style_targets
from .stopping import StopRule
from .task import FrameTask

STYLE_CACHE_SIZE = 12
"""Sizes of reduced styles whose statistics are kept (a megabyte each, on the device); a film has one, a
folder of photos some."""

GHOST_BLUR = 2.0
"""Standard deviation, in pixels, of what is taken from the content where a warped painting shows another thing: its
colours at this scale, while the strokes stay."""

SEAM_BLUR = 1.0
"""Standard deviation, in pixels, of the seam between what is taken from an earlier painting and from a later one."""


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

    `styles` are H×W×3 uint8 pictures of any sizes and `blend` their weights (of any sum). `content_colors` are those
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
        content_colors: initial.ColorStatistics | None = None,
    ) -> None:
        self.settings = settings
        self.device = device
        self._weights = loss_weights(settings)
        self._styles = list(styles)
        self._blend = list(blend)
        self._style_cache: OrderedDict[tuple[Size, ...], dict[str, torch.Tensor]] = OrderedDict()
        self._colors: initial.ColorStatistics | None = None
        self._content_colors = None if content_colors is None else content_colors.to(device)
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

    @contextlib.contextmanager
    def enough_memory(self, size: Size) -> Iterator[None]:
        """Raises `OutOfMemoryError` where the device's memory is too small for pictures of a size."""
        try:
            yield
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            height, width = size
            raise OutOfMemoryError(
                f"not enough memory on {self.device} to paint {width}×{height} pixels: use a smaller `size`"
            ) from error

    def objective_of(self, task: FrameTask) -> Objective:
        """What is minimised for the picture of a task."""
        objective = self.objective(task.content)
        if task.references and task.temporal_weight:
            objective.hold_to(self._references(task), task.temporal_weight)
        return objective

    def seconds_per_iteration(self, content: np.ndarray, iterations: int = 3) -> float:
        """Measured time of one iteration on `content`, after one that warms the device up."""
        objective = self.objective(content)
        start = to_tensor(content, self.device)
        self.minimizer(objective, start, StopRule(1)).run()
        began = time.perf_counter()
        self.minimizer(objective, start, StopRule(iterations)).run()
        return (time.perf_counter() - began) / iterations

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
                return initial.matched(content, self._color_statistics(), self._content_colors)
            case "noise":
                return initial.noise(size_of(task.content), self.settings.start.seed, task.index).to(self.device)
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
        earlier = task.warp_source
        if earlier is None or earlier.image.shape != task.content.shape:
            raise ValueError("a task with a warped start needs an earlier painting of the content's shape")
        flow = to_flow(earlier.flow, self.device)
        visibility = to_mask(earlier.visibility, self.device)
        moved = warp_painting(to_tensor(earlier.image, self.device), flow)
        if task.given is not None:
            own = to_tensor(task.given, self.device)
            return torch.lerp(own, moved, task.blend * visibility).clamp(0, 1)
        content = to_tensor(task.content, self.device)
        shown = warp(to_tensor(earlier.content, self.device), flow, "bilinear", border="repeat")
        occluded = blur(1 - visibility, 1.0)
        colors = self._content_colors or initial.color_statistics([content], [1.0])
        matrix = initial.transport(colors, self._color_statistics()).to(moved.dtype)
        change = torch.einsum("ij,bjhw->bihw", matrix, blur(content - shown, GHOST_BLUR))
        start = (moved + occluded * change).clamp(0, 1)
        if task.crossfade_with is None:
            return start
        later, weight = self._led_up_to(task, visibility)
        return torch.lerp(start, later, blur(weight, SEAM_BLUR))

    def _led_up_to(self, task: FrameTask, visibility: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The painting that a task leads up to, on its grid, and its weight for each pixel against the earlier one,
        which is visible so far."""
        later = task.crossfade_with
        assert later is not None
        moved = warp_painting(to_tensor(later.image, self.device), to_flow(later.flow, self.device))
        visibility_later = to_mask(later.visibility, self.device)
        return moved.clamp(0, 1), visibility_later * (1 - visibility * (1 - task.crossfade_share))

    def _references(self, task: FrameTask) -> TemporalReference:
        """The pictures that the temporal loss compares with, on this frame's grid, and the weight of each pixel."""
        moved, masks = [], []
        for earlier in task.references:
            flow = to_flow(earlier.flow, self.device)
            image = warp_painting(to_tensor(earlier.image, self.device), flow).clamp(0, 1)
            visibility = to_mask(earlier.visibility, self.device)
            if task.crossfade_with is not None and earlier is task.warp_source:
                later, weight = self._led_up_to(task, visibility)
                image = torch.lerp(image, later, weight)
                visibility = torch.maximum(visibility, to_mask(task.crossfade_with.visibility, self.device))
            moved.append(image)
            masks.append(visibility)
        return TemporalReference(tuple(moved), tuple(long_term_weights(masks)))

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

    def _color_statistics(self) -> initial.ColorStatistics:
        if self._colors is None:
            self._colors = initial.color_statistics([to_tensor(style) for style in self._styles], self._blend)
        return self._colors.to(self.device)
