"""Pictures in memory: `stylize_image` and `measure_image`."""

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..errors import UsageError
from ..events import Listener, Losses, Notice, ignore
from ..out_of_memory import translated_memory_errors
from .arguments import StrPath, as_weights, load_changed_settings

if TYPE_CHECKING:
    import numpy as np

    from ..media.picture_arguments import Picture
    from ..paint.painter import Painter
    from ..pictures import Size
    from ..settings import Settings


@translated_memory_errors()
def stylize_image(
    content: "Picture",
    style: "Picture | Sequence[Picture]",
    *,
    size: int | None = None,
    config: StrPath = "default",
    settings: Mapping[str, Any] | None = None,
    style_weights: Sequence[float] = (),
    weights: StrPath | None = None,
    device: str = "auto",
    on_event: Listener | None = None,
) -> "np.ndarray":
    """Returns the painted picture, an `H×W×3` uint8 array in RGB order, sRGB; writes no file.

    On a CPU it has the same bits as the file that `impasto stylize` writes for this picture and these settings with
    as many threads (`torch.get_num_threads()`). Alpha is dropped, and of an animation the first picture is painted.

    content: the picture to paint: the path of an image, a PIL image or an `H×W×3` uint8 array.
    style: the style picture, or a list of several that are blended; `style_weights` holds the weight of each, of any
        sum, and is empty for equal ones.
    size: longest side of the result in pixels; None paints at the content's size.
    config: name of a preset, or path of a YAML file; `settings` are changes on top by dotted keys.
    weights: encoder weights: "bundled", "torchvision" or a file; None takes those of the preset.
    device: "auto" (the first GPU, else the CPU), "cpu", "cuda" or "cuda:N".
    on_event: called with a `Notice`, a `FrameStarted` and a `FrameProgress` after each iteration.

    Raises `InputError` for a picture that is missing, unreadable, of the wrong shape or type, or too small;
    `SettingsError` for an unknown or invalid setting; `UsageError` for style weights that do not fit the styles;
    `WeightsError`, `DeviceError` and `OutOfMemoryError`; and `FrameError` when the objective is not finite.
    """
    from ..layers import require_size_within
    from ..media.picture_arguments import to_array
    from ..paint.batch import paint_one
    from ..paint.devices import device_label
    from ..paint.task import COLD_STARTS, cold_task
    from ..pictures import fit_within, resize, size_of
    from ..plan.frame_rules import cold_start_scales
    from ..run.progress_events import frame_progress, frame_started

    listener = on_event or ignore
    chosen = load_changed_settings(config, settings, size, weights)
    if chosen.is_retuned:
        listener(Notice(chosen.retuned_notice))
    array = to_array(content, "content")
    reduced = fit_within(size_of(array), chosen.size)
    require_size_within(size_of(array), reduced, chosen.size, chosen.layers, "content")
    array = resize(array, reduced)
    first = chosen.start.first
    start_picture = None if first in COLD_STARTS else to_array(first, "start.first")
    painter = _painter(chosen, style, style_weights, device, reduced)
    scales, rule = cold_start_scales(chosen, reduced)
    task = cold_task(0, array, first, rule, start_picture, scales)
    name = os.fspath(content) if isinstance(content, str | os.PathLike) else "picture"
    listener(frame_started(name, task, task.start, device_label(painter.device)))
    painted = paint_one(painter, task, lambda *progress: listener(frame_progress(task, *progress)))
    return painted.image


@translated_memory_errors()
def measure_image(
    result: "Picture",
    content: "Picture",
    style: "Picture | Sequence[Picture]",
    *,
    config: StrPath = "default",
    settings: Mapping[str, Any] | None = None,
    style_weights: Sequence[float] = (),
    weights: StrPath | None = None,
    device: str = "auto",
) -> Losses:
    """Returns the weighted losses of a finished picture, painted by any tool; `objective` is their sum.

    result: the picture to measure; `content` is resized to its size. The other arguments are those of `stylize_image`:
    with the same ones, the objective is the one that it minimises. Raises what `stylize_image` raises.
    """
    from ..media.picture_arguments import to_array
    from ..pictures import resize, size_of

    chosen = load_changed_settings(config, settings, None, weights)
    array = to_array(result, "result")
    original = resize(to_array(content, "content"), size_of(array))
    return _painter(chosen, style, style_weights, device, size_of(array)).measure(array, original)


def _painter(
    settings: "Settings",
    style: "Picture | Sequence[Picture]",
    style_weights: Sequence[float],
    device: str,
    size: "Size",
) -> "Painter":
    """The painter for one picture of a size in one or several styles."""
    from ..layers import require_size
    from ..media.picture_arguments import to_array
    from ..paint.devices import pick_device
    from ..paint.encoder_weights import load_weights
    from ..paint.painter import Painter, style_blend
    from ..pictures import size_of
    from ..plan.tile_sides import choose_tiles

    styles = _several(style)
    blend = style_blend(as_weights(style_weights), len(styles))
    arrays = [to_array(each, "style") for each in styles]
    for each in arrays:
        require_size(size_of(each), settings.style.layers, "style")
    painter = Painter(settings, load_weights(settings.encoder.weights), arrays, blend, pick_device(device))
    choose_tiles(painter, size)
    return painter


def _several(style: "Picture | Sequence[Picture]") -> "list[Picture]":
    styles: list[Picture] = list(style) if isinstance(style, list | tuple) else [style]  # type: ignore[list-item]
    if not styles:
        raise UsageError("style is an empty list: give one picture or more")
    return styles
