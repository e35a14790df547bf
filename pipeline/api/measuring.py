"""Measuring finished files: `measure`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import UsageError
from ..events import Losses
from .arguments import StrPath, as_path, as_paths, as_weights, load_changed_settings

if TYPE_CHECKING:
    from ..report.summary import Measured, Summary


@dataclass(frozen=True)
class Measurement:
    """What `measure` returns: the numbers of each picture, in order, and what they come to together."""

    pictures: "tuple[Measured, ...]"
    summary: "Summary"

    @property
    def losses(self) -> Losses:
        """Weighted losses, mean over the pictures."""
        return Losses.mean([picture.losses for picture in self.pictures])


def measure(
    result: StrPath,
    *,
    content: StrPath,
    style: StrPath | Sequence[StrPath],
    config: StrPath = "default",
    settings: Mapping[str, Any] | None = None,
    style_weights: Sequence[float] = (),
    weights: StrPath | None = None,
    device: str = "auto",
    photos: bool = False,
    flow_folder: StrPath | None = None,
    cold_iterations: int = 0,
    cold_every: int | None = None,
) -> Measurement:
    """Measures finished pictures, painted by any tool: losses, light, sharpness, and a video's temporal consistency.

    result, content: two images, or two of folder and video.
    config, settings, style_weights, weights: the objective, as for `stylize_image`.
    photos: images of a folder are independent; without it a sequence or video gets temporal consistency.
    flow_folder: folder of `backward_2_1.flo` and so on, instead of flow estimated on the content.
    cold_iterations: compares every `cold_every`-th picture (None: every tenth) with the painting that so many
        iterations give from a cold start; 0 compares none.

    Raises `InputError` for results without content, unreadable files and missing flow, and `UsageError` and
    `SettingsError` for arguments that do not go together.
    """
    from ..paint.devices import pick_device
    from ..report.measure import COLD_EVERY
    from ..report.measure import measure as measured_pictures
    from ..report.summary import summarise

    for name, value, least in (("cold_iterations", cold_iterations, 0), ("cold_every", cold_every, 1)):
        if value is not None and (not isinstance(value, int) or value < least):
            raise UsageError(f"{name} {value!r}: give a whole number from {least}")
    pictures = tuple(
        measured_pictures(
            as_path(result, "result"),
            as_path(content, "content"),
            as_paths(style, "style"),
            load_changed_settings(config, settings, None, weights),
            as_weights(style_weights),
            pick_device(device),
            photos=photos,
            flow_folder=None if flow_folder is None else as_path(flow_folder, "flow_folder"),
            cold_iterations=cold_iterations,
            cold_every=COLD_EVERY if cold_every is None else cold_every,
        )
    )
    return Measurement(pictures, summarise(pictures))
