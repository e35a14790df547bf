"""What all frames of a job share: one style, one set of settings and one encoder on one device.

A `Painter` turns a `FrameTask` into the objective and the picture that its optimisation starts from, and measures
finished pictures. It keeps nothing of the frames: whatever it painted before, in whichever process, the same task
has the same bits. `batch.py` runs the optimisation.
"""

import functools
import math
from collections import OrderedDict
from collections.abc import Mapping, Sequence

import numpy as np
import torch

from ..choices import Precision
from ..errors import OutOfMemoryError, UsageError
from ..events import Losses
from ..layers import LAYERS, require_size, smallest_side
from ..out_of_memory import is_out_of_memory
from ..pictures import Size, enlarge, fit_within, normalize, resize, size_of, to_tensor
from ..settings import Settings, StyleSettings
from . import initial, optimizers
from .colors import ColorStatistics, color_statistics
from .devices import computing
from .encoder import Encoder
from .encoder_weights import EncoderWeights
from .objective import LossWeights, Objective, Targets, content_targets, style_targets
from .precision import choose_precision
from .statistics import StyleTarget
from .task import FrameTask
from .warped_paintings import temporal_reference, warped_start

STYLE_CACHE_SIZE = 12
"""Sizes of the reduced style whose statistics are kept, two megabytes each on the device. A film needs one, a folder
of photos several."""


def loss_weights(settings: Settings) -> LossWeights:
    """The settings' numbers as the losses take them; layers of weight 0 are left out."""
    return LossWeights(
        content=settings.content.weight,
        content_layers=_layers_in_use(settings.content.layers),
        content_reduction=settings.content.reduction,
        style=settings.style.weight,
        style_layers=_layers_in_use(settings.style.layers),
        gram=settings.style.gram,
        total_variation=settings.total_variation.weight,
        total_variation_form=settings.total_variation.form,
        total_variation_pixels=settings.total_variation.pixels,
        dots=settings.total_variation.dots,
        statistics=settings.style.statistics,
    )


def _layers_in_use(layers: Mapping[str, float]) -> dict[str, float]:
    # In the network's order, not the settings': sums of floats depend on the order of their terms.
    return {name: layers[name] for name in sorted(layers, key=LAYERS.index) if layers[name]}


def style_blend(weights: Sequence[float], styles: int) -> tuple[float, ...]:
    """The weights of `styles` style images: `weights` as given, or equal ones where there are none.

    Raises `UsageError` for a wrong number of weights, negative ones, and none above 0.
    """
    if not weights:
        return (1.0,) * styles
    if len(weights) != styles:
        raise UsageError(f"{len(weights)} style weights for {styles} styles: give one for each style")
    if any(not math.isfinite(weight) or weight < 0 for weight in weights) or not any(weights):
        raise UsageError(
            f"style weights {', '.join(map(str, weights))}: each must be at least 0, and at least one above 0"
        )
    return tuple(weights)


def reduced_style_size(style: StyleSettings, content: Size, size: Size) -> Size:
    """The size to which a style image of `size` is reduced for a content of a size.

    Its longer side is the content's times the style's scale, or more where its shorter side would have no feature at
    the deepest layer: a style of extreme shape keeps what the layers need. It is never enlarged.
    """
    layers = _layers_in_use(style.layers)
    shortest = smallest_side(layers) if layers else 1
    reduced = fit_within(size, max(1, round(max(content) * style.scale)))
    if min(reduced) >= shortest or min(size) <= shortest:
        return reduced if min(reduced) >= shortest else size
    height, width = size
    scale = shortest / min(size)
    return round(height * scale), round(width * scale)


class Painter:
    """Objectives, starts and losses of pictures in one style with one set of settings on one device.

    `styles` are H×W×3 uint8 pictures of any sizes and `blend` their weights, of any sum. `content_colors` are the
    statistics of the film that the frames belong to, so that colours are matched alike in all of them; None, for
    photos, matches each by its own. `tiles` are the sides of the tiles in which pictures of some sizes are evaluated,
    to save memory; others are evaluated whole. `make_minimizer` replaces the optimizer that the settings name.
    `precision` is by default what the settings mean on the device. Raises `DeviceError` for a precision that the device
    lacks.
    """

    def __init__(
        self,
        settings: Settings,
        weights: EncoderWeights,
        styles: Sequence[np.ndarray],
        blend: Sequence[float],
        device: torch.device,
        content_colors: ColorStatistics | None = None,
        make_minimizer: optimizers.MakeMinimizer | None = None,
        precision: Precision | None = None,
        tiles: Mapping[Size, int] | None = None,
    ) -> None:
        self.settings = settings
        self.device = device
        self.precision = precision or choose_precision(settings.precision, device)
        self.tiles: dict[Size, int | None] = dict(tiles or {})
        """See above; None is for sizes that are evaluated whole, like those that are not in it."""
        self.make_minimizer: optimizers.MakeMinimizer = make_minimizer or functools.partial(
            optimizers.make_minimizer, settings.optimizer
        )
        self._weights = loss_weights(settings)
        self.styles = tuple(styles)
        self._blend = list(blend)
        self._style_cache: OrderedDict[tuple[object, ...], dict[str, StyleTarget]] = OrderedDict()
        self._content_colors = None if content_colors is None else content_colors.to(device)
        encoder = functools.partial(
            Encoder, weights, self._weights.layers, settings.encoder.pooling, settings.encoder.padding
        )
        self.encoder = encoder().to(device)
        self.fast_encoder = encoder(torch.bfloat16).to(device) if self.precision == "bf16" else None
        """The encoder of all iterations but the last of a picture; None where `encoder` is the fastest."""

    def objective(self, content: np.ndarray) -> Objective:
        """The objective of a picture of `content` (H×W×3 uint8), without temporal loss."""
        layers, tile = tuple(self._weights.content_layers), self.tiles.get(size_of(content))
        targets = content_targets(self.encoder, to_tensor(content, self.device), layers, tile)
        return Objective(
            self.encoder, self._weights, Targets(targets, self._style_targets(size_of(content), tile)), tile
        )

    def objectives(self, exact: Objective) -> tuple[Objective, ...]:
        """The objective of each stage of the optimisation: that of the fast encoder, if there is one, and the exact."""
        return (exact,) if self.fast_encoder is None else (exact.with_encoder(self.fast_encoder), exact)

    def task_objective(self, task: FrameTask) -> Objective:
        """The objective of a task's picture, with its temporal loss."""
        objective = self.objective(task.content)
        if task.references and task.temporal_weight:
            objective.set_temporal_reference(temporal_reference(task, self.device), task.temporal_weight)
        return objective

    def start(self, task: FrameTask) -> torch.Tensor:
        """The picture that the optimisation of a task starts from, 1×3×H×W in [0, 1]."""
        match task.start:
            case "content":
                return to_tensor(task.content, self.device)
            case "matched":
                return initial.matched(
                    to_tensor(task.content, self.device), self._style_colors.to(self.device), self._content_colors
                )
            case "noise":
                return initial.noise(size_of(task.content), self.settings.start.seed, task.index).to(self.device)
            case "given":
                if task.given is None or task.given.shape != task.content.shape:
                    raise ValueError("a task with a given start needs a picture of the content's shape")
                return to_tensor(task.given, self.device)
            case "enlarged":
                assert task.given is not None
                return to_tensor(enlarge(task.given, task.content), self.device)
            case "warped":
                return warped_start(task, self.device, self._style_colors.to(self.device), self._content_colors)

    def measure(self, image: np.ndarray, content: np.ndarray) -> Losses:
        """Losses of a finished picture; both are H×W×3 uint8 of one size.

        Raises `InputError` for pictures too small for the deepest layer, and `OutOfMemoryError`.
        """
        require_size(size_of(content), self._weights.layers, "the content")
        with computing(self.device, size_of(content), "fp32"):
            return self.losses(self.objective(content), image)

    @torch.no_grad()
    def losses(self, objective: Objective, image: np.ndarray) -> Losses:
        """Losses of a picture, H×W×3 uint8, by its objective."""
        terms = objective(normalize(to_tensor(image, self.device)))
        return Losses(terms.content.item(), terms.style.item(), terms.total_variation.item(), terms.temporal.item())

    def _style_targets(self, content: Size, tile: int | None) -> dict[str, StyleTarget]:
        """The style's statistics for a content of this size, computed once for each size of the reduced style."""
        layers = self._weights.style_layers
        sizes = tuple(reduced_style_size(self.settings.style, content, size_of(style)) for style in self.styles)
        key = (tile, *sizes)
        if key not in self._style_cache:
            for size in sizes if layers else ():
                require_size(size, layers, "the style")
            self._style_cache[key] = self._encode_styles(sizes, tile)
            while len(self._style_cache) > STYLE_CACHE_SIZE:
                self._style_cache.popitem(last=False)
        self._style_cache.move_to_end(key)
        return self._style_cache[key]

    def _encode_styles(self, sizes: Sequence[Size], tile: int | None) -> dict[str, StyleTarget]:
        """The statistics of the styles, reduced to these sizes. Raises `OutOfMemoryError`."""
        try:
            reduced = [resize(style, size) for style, size in zip(self.styles, sizes, strict=True)]
            return style_targets(
                self.encoder,
                [to_tensor(style, self.device) for style in reduced],
                self._blend,
                tuple(self._weights.style_layers),
                self._weights.gram,
                self._weights.statistics,
                tile,
            )
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            height, width = max(sizes, key=math.prod)
            raise OutOfMemoryError(
                f"not enough memory on {self.device} for the style at {width}×{height} pixels: use a smaller `size`, "
                "style.scale or style image"
            ) from error

    @functools.cached_property
    def _style_colors(self) -> ColorStatistics:
        return color_statistics([to_tensor(style) for style in self.styles], self._blend)
