"""Measures of finished pictures and films, whichever tool made them.

Of each picture its losses, light and sharpness, and on request how it compares with a cold start; of a film also its
temporal consistency (`stability`).
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from ..errors import InputError, UsageError
from ..media import decoding
from ..media.containers import is_video_name
from ..motion.dis import DisFlow
from ..motion.flo_files import FloFolder
from ..out_of_memory import translated_memory_errors
from ..paint.batch import paint_one
from ..paint.encoder_weights import EncoderWeights, load_weights
from ..paint.painter import Painter, style_blend
from ..paint.stopping import StopRule
from ..paint.task import COLD_STARTS, cold_task
from ..pictures import resize, size_of
from ..plan.tile_sides import choose_tiles
from ..settings import Settings, ShotSettings
from ..shots.detector import CutDetector
from .appearance import luma, sharpness
from .matching import MatchedPicture, is_film, matched_contents, matched_pictures
from .stability import FilmFrame, Stability, StabilityMeter, estimated_flow, flow_from_files
from .summary import Measured

COLD_EVERY = 10
"""By default a cold start is painted of each tenth frame: it takes longer than everything else together."""


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
    weights_loader: Callable[[str], EncoderWeights] = load_weights,
) -> Iterator[Measured]:
    """Measures each picture of `result`, with the weights and layers of `settings`.

    `result` and `content` are both images, or each a folder of images or a video; `matched_pictures` says which belong
    together. The content is resized to the result's size, as it was for painting.

    Films (`is_film`) have a stability unless they are taken as `photos`; their shots are those of `settings`. The flow
    of the content is estimated with `DisFlow`, whatever the settings say, so that films can be compared, or read from
    `flow_folder` (`FloFolder`). With `cold_iterations` each `cold_every`-th picture is compared with a cold start: what
    `settings` paint in that many iterations, the colours of a `matched` start being matched to that picture alone.

    Raises `InputError` for a result without content, for counts that differ, and where the flow to the frame before is
    missing; `UsageError` for the flow of a result that is no film.
    """
    with translated_memory_errors():
        yield from _measure_pictures(
            result,
            content,
            styles,
            settings,
            style_weights,
            torch.device(device),
            photos=photos,
            flow_folder=flow_folder,
            cold_iterations=cold_iterations,
            cold_every=cold_every,
            weights=weights_loader(settings.encoder.weights),
        )


def _measure_pictures(
    result: Path,
    content: Path,
    styles: Sequence[Path],
    settings: Settings,
    style_weights: Sequence[float],
    device: torch.device,
    *,
    photos: bool,
    flow_folder: Path | None,
    cold_iterations: int,
    cold_every: int,
    weights: EncoderWeights,
) -> Iterator[Measured]:
    _require_counterparts(result, content)
    blend = style_blend(style_weights, len(styles))
    film = not photos and is_film(result, content)
    if flow_folder is not None:
        _require_flow_folder(flow_folder, result, film)
    pictures = [decoding.read_image(path) for path in styles]
    painter = Painter(settings, weights, pictures, blend, device, precision="fp32")
    cold_starts = _ColdStarts(painter, cold_iterations, cold_every) if cold_iterations else None
    meter = None
    if film:
        source = estimated_flow(DisFlow()) if flow_folder is None else flow_from_files(FloFolder(flow_folder))
        meter = _FilmMeter(StabilityMeter(source, _cuts(result, content, settings.shots), device))
    for index, pair in enumerate(matched_pictures(result, content)):
        yield _measured(index, pair, painter, cold_starts, meter)


def _measured(
    index: int, pair: MatchedPicture, painter: Painter, cold_starts: "_ColdStarts | None", meter: "_FilmMeter | None"
) -> Measured:
    size = size_of(pair.picture)
    content = resize(pair.content, size)
    choose_tiles(painter, size)
    losses = painter.measure(pair.picture, content)
    light, own_sharpness = luma(pair.picture), sharpness(pair.picture)
    sharpness_ratio = objective_ratio = None
    if cold_starts is not None and cold_starts.includes(index):
        cold_sharpness, cold_objective = cold_starts.paint(pair.content_index, content)
        sharpness_ratio, objective_ratio = (
            _ratio(own_sharpness, cold_sharpness),
            _ratio(losses.objective, cold_objective),
        )
    shot, stability = (None, ()) if meter is None else meter.feed(index, pair, content)
    return Measured(
        index,
        pair.name,
        size,
        losses,
        float(light.mean()),
        float(light.std()),
        own_sharpness,
        sharpness_ratio,
        objective_ratio,
        shot,
        stability,
    )


class _ColdStarts:
    """Paints every so-many-th content from a cold start, to compare results with."""

    def __init__(self, painter: Painter, iterations: int, every: int) -> None:
        self._painter = painter
        self._rule = StopRule(iterations)
        self._every = every
        self._start = painter.settings.start.first
        self._picture = None if self._start in COLD_STARTS else decoding.read_image(Path(self._start))

    def includes(self, index: int) -> bool:
        return index % self._every == 0

    def paint(self, content_index: int, content: np.ndarray) -> tuple[float, float]:
        """Sharpness and objective of the cold start of a content, `H×W×3` uint8."""
        painted = paint_one(self._painter, cold_task(content_index, content, self._start, self._rule, self._picture))
        return sharpness(painted.image), painted.losses.objective


class _FilmMeter:
    """Measures the stability of a film's frames, fed in order, and tells the shot that each belongs to."""

    def __init__(self, meter: StabilityMeter) -> None:
        self._meter = meter
        self._shot = 0
        self._previous: int | None = None

    def feed(self, index: int, pair: MatchedPicture, content: np.ndarray) -> tuple[int, tuple[Stability, ...]]:
        """The index of the first frame of the shot, and the stability of the next frame."""
        if self._previous is not None and self._meter.crosses_cut(self._previous, pair.content_index):
            self._shot = index
        self._previous = pair.content_index
        return self._shot, self._meter.feed(FilmFrame(pair.content_index, pair.picture, content, pair.content))


def _ratio(value: float, reference: float) -> float | None:
    return value / reference if reference else None


def _require_counterparts(result: Path, content: Path) -> None:
    for path in (result, content):
        if not path.exists():
            raise InputError(f"{path} does not exist: check the name")
    if result.is_dir() != content.is_dir() and not (is_video_name(result) or is_video_name(content)):
        raise InputError(f"{result} and {content} do not go together: give two images, or two of folder and video")


def _require_flow_folder(folder: Path, result: Path, film: bool) -> None:
    if not film:
        raise UsageError(
            f"{result} is not measured as a film (a video, or a folder of pictures of one size), which alone has "
            "flow: leave out `flow_folder`"
        )
    if not folder.is_dir():
        raise InputError(f"`flow_folder` {folder} is no folder: give the one that holds the .flo files")


def _cuts(result: Path, content: Path, shots: ShotSettings) -> list[int]:
    """The first frames of shots, as indices of the content."""
    if shots.cuts or not shots.detect:
        return list(shots.cuts)
    detector = CutDetector()
    # The detector counts its frames without gaps; a result may lack some of the content's.
    indices = []
    for number, (content_index, image) in enumerate(matched_contents(result, content)):
        detector.feed(number, image)
        indices.append(content_index)
    return [indices[number] for number in detector.finish()]
