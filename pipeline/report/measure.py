"""How finished pictures and films came out, whichever tool made them.

Of each picture: its losses, its light, and where asked how it compares with a cold start. Of a film also how still
it holds: frames are compared with earlier ones along the motion of the content, where that can be followed, and the
content itself is measured the same way, which says how much of the error the flow alone leaves. Temporal LPIPS is
left out: no well-kept package ships its weights with the code.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from ..errors import InputError, UsageError
from ..media import decoding
from ..media.containers import is_video_name
from ..motion.dis import DisFlow
from ..motion.flo_files import FloFolder
from ..paint.batch import paint_one
from ..paint.encoder_weights import load_weights
from ..paint.painter import Painter, style_blend
from ..paint.stopping import StopRule
from ..paint.task import COLD_STARTS, cold_task
from ..pictures import resize, size_of, to_tensor
from ..settings import Settings, ShotSettings
from ..shots.detector import CutDetector
from .matching import content_pictures, is_film, matched_pictures
from .stability import FilmFrame, Stability, StabilityMeter, estimated_flow, flow_from_files, sharpness
from .summary import Measured

COLD_EVERY = 10
"""Unless said otherwise a cold start is painted of each tenth frame: it costs more than all else together."""

_LUMA = (0.2126, 0.7152, 0.0722)
"""Rec. 709, on the values as stored."""


# The pictures one after the other


def measure(
    result: Path,
    content: Path,
    styles: Sequence[Path],
    settings: Settings,
    style_weights: Sequence[float] = (),
    device: torch.device | str = "cpu",
    *,
    photos: bool = False,
    flow_folder: Path | None = None,
    cold_iterations: int = 0,
    cold_every: int = COLD_EVERY,
) -> Iterator[Measured]:
    """Measures each picture of `result`, with the weights and layers of `settings`.

    `result` and `content` are both images, or each a folder of images or a video. Folders are paired by
    the paths below them, where need be without their endings; anything with a video by order. The content is resized to
    the result's size, as it was when it was painted.

    What `is_film` holds for a film has a stability, unless it is said to be `photos`; the shots are those of
    `settings`. The flow of the content is estimated with `DisFlow`, whatever the settings say, so that films can be
    compared; or it is read from `flow_folder`, see `FloFolder`. With `cold_iterations` each `cold_every`-th picture
    is compared with the painting that `settings` give after as many iterations from a cold start; a start in the
    style's colours is matched by that picture's own.

    Raises `InputError` when a result has no content to go with it, a video has frames left over, or the flow to the
    frame before is missing; `UsageError` for the flow of what is no film.
    """
    for path in (result, content):
        if not path.exists():
            raise InputError(f"{path} does not exist: check the name")
    if result.is_dir() != content.is_dir() and not (is_video_name(result) or is_video_name(content)):
        raise InputError(f"{result} and {content} do not go together: give two images, or two of folder and video")
    blend = style_blend(style_weights, len(styles))
    film = not photos and is_film(result, content)
    if flow_folder is not None:
        _require_flow_of_use(flow_folder, result, film)
    pictures = [decoding.read_image(path) for path in styles]
    painter = Painter(settings, load_weights(settings.encoder.weights), pictures, blend, torch.device(device))
    first = settings.start.first
    first_picture = decoding.read_image(Path(first)) if cold_iterations and first not in COLD_STARTS else None
    meter = None
    if film:
        source = estimated_flow(DisFlow()) if flow_folder is None else flow_from_files(FloFolder(flow_folder))
        meter = StabilityMeter(source, _cuts(result, content, settings.shots), device)
    shot, before = 0, 0
    for index, pair in enumerate(matched_pictures(result, content)):
        size = size_of(pair.picture)
        original = resize(pair.content, size)
        losses = painter.measure(pair.picture, original)
        own_sharpness = _sharpness(pair.picture)
        sharpness_ratio = objective_ratio = None
        if cold_iterations and index % cold_every == 0:
            cold = paint_one(
                painter, cold_task(pair.content_index, original, first, StopRule(cold_iterations), first_picture)
            )
            sharpness_ratio = _ratio(own_sharpness, _sharpness(cold.image))
            objective_ratio = _ratio(losses.objective, cold.losses.objective)
        stability: tuple[Stability, ...] = ()
        if meter is not None:
            if index and meter.across_cut(before, pair.content_index):
                shot = index
            before = pair.content_index
            stability = meter.feed(FilmFrame(pair.content_index, pair.picture, original, pair.content))
        light = luma(pair.picture)
        yield Measured(
            index,
            pair.name,
            size,
            losses,
            float(light.mean()),
            float(light.std()),
            own_sharpness,
            sharpness_ratio,
            objective_ratio,
            None if meter is None else shot,
            stability,
        )


def luma(picture: np.ndarray) -> np.ndarray:
    """Rec. 709 luma of an `H×W×3` uint8 picture: `H×W` float64, 0 to 255."""
    return np.asarray(picture @ np.array(_LUMA))


def _sharpness(picture: np.ndarray) -> float:
    return 255 * sharpness(to_tensor(picture)).item()


def _ratio(value: float, reference: float) -> float | None:
    return value / reference if reference else None


def _require_flow_of_use(folder: Path, result: Path, film: bool) -> None:
    if not film:
        raise UsageError(
            f"{result} is not measured as a film (a video, or a folder of pictures of one size), which alone has "
            "flow: leave out `flow_folder`"
        )
    if not folder.is_dir():
        raise InputError(f"`flow_folder` {folder} is no folder: give the one that holds the .flo files")


def _cuts(result: Path, content: Path, shots: ShotSettings) -> list[int]:
    """The first frames of new shots, as indices of the content."""
    if shots.cuts or not shots.detect:
        return list(shots.cuts)
    detector = CutDetector()
    # The detector wants its frames counted without gaps, and a result may lack some.
    numbers = []
    for place, (number, image) in enumerate(content_pictures(result, content)):
        detector.feed(place, image)
        numbers.append(number)
    return [numbers[place] for place in detector.finish()]
