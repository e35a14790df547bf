"""How finished pictures and films came out, whichever tool made them.

Of each picture: its losses, its light, and where asked how it compares with a cold start. Of a film also how still
it holds: frames are compared with earlier ones along the motion of the content, where that can be followed, and the
content itself is measured the same way, which says how much of the error the flow alone leaves. Temporal LPIPS is
left out: no well-kept package ships its weights with the code.
"""

from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch

from pipeline import decoding, images, media
from pipeline.config import Settings, ShotSettings
from pipeline.encoder import load_weights
from pipeline.errors import InputError, UsageError
from pipeline.events import Losses
from pipeline.flow import DisFlow, FloFolder, FlowEstimator
from pipeline.frames import Size, resize, size_of, to_tensor
from pipeline.optimize import StopRule
from pipeline.shots import CutDetector
from pipeline.stylize import COLD_STARTS, Painter, cold_task, style_blend
from pipeline.temporal import sharpness, to_flow, to_mask, trust, warping_error

DISTANCES = (1, 10)
"""How many frames back a frame is compared: to the one before for flicker, to the tenth for drift."""

COLD_EVERY = 10
"""Unless said otherwise a cold start is painted of each tenth frame: it costs more than all else together."""

_LUMA = (0.2126, 0.7152, 0.0722)
"""Rec. 709, on the values as stored."""


@dataclass(frozen=True)
class Stability:
    """How a frame differs from the one `distance` frames before, brought onto it along the motion of the content."""

    distance: int
    warping_error: float | None
    """Lai et al. 2018: mean squared difference over channels and trusted pixels, pixels in [0, 1]; None when no pixel
    is trusted."""
    content_warping_error: float | None
    """The same of the content, along the same flow and over the same pixels."""
    trusted_share: float
    """Mean of the mask, in [0, 1]."""


@dataclass(frozen=True)
class Measured:
    """One finished picture. `luminance`, `contrast` and `sharpness` are in levels of 0 to 255."""

    index: int
    name: str
    size: Size
    losses: Losses
    luminance: float
    """Mean of the Rec. 709 luma."""
    contrast: float
    """Standard deviation of the luma."""
    sharpness: float
    """Mean absolute difference of neighbours, see `temporal.sharpness`."""
    sharpness_to_cold: float | None = None
    """Sharpness over that of a cold start; None where none was painted, or where it is flat."""
    objective_to_cold: float | None = None
    """Objective over that of a cold start; None where none was painted."""
    shot: int | None = None
    """`index` of the first frame of the shot; None for pictures that are no film."""
    stability: tuple[Stability, ...] = ()
    """One for each of `DISTANCES` at which there is a frame in the same shot, and flow to it."""


@dataclass(frozen=True)
class Course:
    """How a number goes over the pictures."""

    mean: float
    first: float
    last: float
    trend: float | None
    """Slope per 100 pictures, of least squares; None where no shot has two. Shots share the slope, and each has a
    level of its own: a cut to a brighter scene is no drift."""


@dataclass(frozen=True)
class MeanStability:
    """Means over the pairs of frames at one distance; errors over the pairs in which a pixel is trusted."""

    distance: int
    pair_count: int
    warping_error: float | None
    content_warping_error: float | None
    trusted_share: float


@dataclass(frozen=True)
class Summary:
    """What many pictures come to. `size` is None where they differ, `shot_count` 0 for what is no film."""

    picture_count: int
    size: Size | None
    shot_count: int
    objective: Course
    luminance: Course
    contrast: Course
    sharpness: Course
    sharpness_to_cold: float | None
    """Mean over the pictures that have one."""
    objective_to_cold: float | None
    cold_count: int
    """Pictures of which a cold start was painted."""
    stability: tuple[MeanStability, ...]
    """One for each distance at which there is a pair."""


def summarise(measured: Sequence[Measured]) -> Summary:
    """Means, first and last values and trends of at least one picture."""
    if not measured:
        raise ValueError("there is nothing to summarise")
    sizes = {one.size for one in measured}
    shots = [one.shot for one in measured]
    pairs = [pair for one in measured for pair in one.stability]
    return Summary(
        len(measured),
        sizes.pop() if len(sizes) == 1 else None,
        len(set(shots) - {None}),
        course([one.losses.objective for one in measured], shots),
        course([one.luminance for one in measured], shots),
        course([one.contrast for one in measured], shots),
        course([one.sharpness for one in measured], shots),
        _mean([one.sharpness_to_cold for one in measured]),
        _mean([one.objective_to_cold for one in measured]),
        sum(one.objective_to_cold is not None for one in measured),
        tuple(
            _mean_stability([pair for pair in pairs if pair.distance == distance])
            for distance in sorted({pair.distance for pair in pairs})
        ),
    )


def course(values: Sequence[float], shots: Sequence[int | None]) -> Course:
    """Mean, ends and trend of at least one value, taken at even steps; `shots` says which belong together."""
    rise = spread = 0.0
    for _, group in groupby(zip(shots, values, strict=True), key=itemgetter(0)):
        levels = [value for _, value in group]
        middle, mean = (len(levels) - 1) / 2, sum(levels) / len(levels)
        rise += sum((place - middle) * (value - mean) for place, value in enumerate(levels))
        spread += sum((place - middle) ** 2 for place in range(len(levels)))
    return Course(sum(values) / len(values), values[0], values[-1], 100 * rise / spread if spread else None)


def _mean_stability(pairs: Sequence[Stability]) -> MeanStability:
    return MeanStability(
        pairs[0].distance,
        len(pairs),
        _mean([pair.warping_error for pair in pairs]),
        _mean([pair.content_warping_error for pair in pairs]),
        sum(pair.trusted_share for pair in pairs) / len(pairs),
    )


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


# Stability


@dataclass(frozen=True)
class FilmFrame:
    """A frame of a finished film and of its content, all `H×W×3` uint8."""

    index: int
    """In the content, from 0."""
    picture: np.ndarray
    content: np.ndarray
    """At the size of the picture."""
    source: np.ndarray
    """The content as it was read."""

    @property
    def size(self) -> Size:
        return size_of(self.picture)


@dataclass(frozen=True)
class FlowPair:
    """Flow from a frame to an earlier one, and where it is to be trusted."""

    flow: np.ndarray
    """Frame → earlier, `H×W×2` in pixels of the picture."""
    back: np.ndarray | None
    """Earlier → frame."""
    reliable: np.ndarray | None = None
    """`H×W` in [0, 1], in addition to what the two flows say of themselves."""


FlowSource: TypeAlias = Callable[[FilmFrame, FilmFrame], FlowPair | None]
"""Flow from the first frame to the second, which is earlier; None where there is none."""


def estimated_flow(estimator: FlowEstimator) -> FlowSource:
    """Flow that is estimated on the content."""

    def between(frame: FilmFrame, earlier: FilmFrame) -> FlowPair:
        return FlowPair(*estimator.pair(frame.source, earlier.source, frame.size))

    return between


def flow_from_files(files: FloFolder) -> FlowSource:
    """Flow that is read. None where a file is missing, but `InputError` from a frame to the one before."""

    def between(frame: FilmFrame, earlier: FilmFrame) -> FlowPair | None:
        flow = files.read(frame.index, earlier.index, frame.size)
        if flow is None:
            if frame.index - earlier.index > 1:
                return None
            name = files.expected_name(frame.index, earlier.index)
            raise InputError(
                f"{files.folder} has no {name}, the flow of the content to the frame before (frames count from 1 "
                "there): add it, or leave out --flow to have the flow estimated"
            )
        back = files.read(earlier.index, frame.index, frame.size)
        return FlowPair(flow, back, files.reliable(frame.index, earlier.index, frame.size))

    return between


class StabilityMeter:
    """Compares the frames of a film, fed in order, with those `DISTANCES` before them.

    `cuts` are the first frames of new shots; a pair that lies across one is left out. The last frames that a
    comparison can need are kept, and no more.
    """

    def __init__(self, flow: FlowSource, cuts: Sequence[int] = (), device: torch.device | str = "cpu") -> None:
        self._flow = flow
        self._cuts = sorted(cuts)
        self._device = torch.device(device)
        self.kept: deque[FilmFrame] = deque(maxlen=max(DISTANCES))

    def feed(self, frame: FilmFrame) -> tuple[Stability, ...]:
        """What the next frame is like beside those before it, in the order of `DISTANCES`."""
        found = []
        for distance in DISTANCES:
            earlier = next((one for one in self.kept if one.index == frame.index - distance), None)
            if earlier is None or self.across_cut(earlier.index, frame.index):
                continue
            pair = self._flow(frame, earlier)
            if pair is not None:
                found.append(self._compare(frame, earlier, pair, distance))
        self.kept.append(frame)
        return tuple(found)

    def across_cut(self, earlier: int, later: int) -> bool:
        """Whether a new shot begins after frame `earlier` and no later than with frame `later`."""
        return bisect_right(self._cuts, earlier) != bisect_right(self._cuts, later)

    def _compare(self, frame: FilmFrame, earlier: FilmFrame, pair: FlowPair, distance: int) -> Stability:
        flow = to_flow(pair.flow, self._device)
        mask = trust(flow, None if pair.back is None else to_flow(pair.back, self._device))
        if pair.reliable is not None:
            mask = mask * to_mask(pair.reliable, self._device)
        share = mask.mean().item()
        if share == 0:
            return Stability(distance, None, None, 0.0)
        painted, given = (
            warping_error(to_tensor(image, self._device), to_tensor(other, self._device), flow, mask).item()
            for image, other in ((frame.picture, earlier.picture), (frame.content, earlier.content))
        )
        return Stability(distance, painted, given, share)


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
    if result.is_dir() != content.is_dir() and not (media.is_video_name(result) or media.is_video_name(content)):
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
    for index, pair in enumerate(_pairs(result, content)):
        size = size_of(pair.picture)
        original = resize(pair.content, size)
        losses = painter.measure(pair.picture, original)
        own_sharpness = _sharpness(pair.picture)
        sharpness_ratio = objective_ratio = None
        if cold_iterations and index % cold_every == 0:
            cold = painter.paint(
                cold_task(pair.content_index, original, first, StopRule(cold_iterations), first_picture)
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


def is_film(result: Path, content: Path) -> bool:
    """Whether both are films: a video, or at least two images of one size that lie in one folder, in natural order.

    Raises `InputError` for a folder without an image, and for a result that has no content.
    """
    if result.is_dir() and content.is_dir():
        matches = _matches(result, content)
        return _are_frames([match.result for match in matches]) and _are_frames([match.content for match in matches])
    return all(_are_frames(_images(path)) if path.is_dir() else media.is_video_name(path) for path in (result, content))


def _are_frames(paths: Sequence[Path]) -> bool:
    return (
        len(paths) > 1
        and len({path.parent for path in paths}) == 1
        and len({decoding.image_size(path) for path in paths}) == 1
    )


def _require_flow_of_use(folder: Path, result: Path, film: bool) -> None:
    if not film:
        raise UsageError(
            f"{result} is not measured as a film (a video, or a folder of pictures of one size), which alone has "
            "flow: leave out --flow"
        )
    if not folder.is_dir():
        raise InputError(f"--flow {folder} is no folder: give the one that holds the .flo files")


def _cuts(result: Path, content: Path, shots: ShotSettings) -> list[int]:
    """The first frames of new shots, as indices of the content."""
    if shots.cuts or not shots.detect:
        return list(shots.cuts)
    detector = CutDetector()
    # The detector wants its frames counted without gaps, and a result may lack some.
    numbers = []
    for place, (number, image) in enumerate(_contents(result, content)):
        detector.feed(place, image)
        numbers.append(number)
    return [numbers[place] for place in detector.finish()]


# Pairs


@dataclass(frozen=True)
class _Pair:
    name: str
    picture: np.ndarray
    content: np.ndarray
    content_index: int


@dataclass(frozen=True)
class _Match:
    """Two image files that go together; `content_index` is the place of the second among all of its folder."""

    result: Path
    content: Path
    content_index: int


def _matches(result: Path, content: Path) -> list[_Match]:
    named = {path.relative_to(content): (index, path) for index, path in enumerate(_images(content))}
    stems = {path.with_suffix(""): original for path, original in named.items()}
    matches = []
    for path in _images(result):
        relative = path.relative_to(result)
        original = named.get(relative) or stems.get(relative.with_suffix(""))
        if original is None:
            raise InputError(f"{path} has no picture of that name in {content}")
        matches.append(_Match(path, original[1], original[0]))
    return matches


def _pairs(result: Path, content: Path) -> Iterator[_Pair]:
    if result.is_dir() and content.is_dir():
        for match in _matches(result, content):
            name = match.result.relative_to(result).as_posix()
            picture, original = decoding.read_image(match.result), decoding.read_image(match.content)
            yield _Pair(name, picture, original, match.content_index)
        return
    # To decode both once more takes far less than to measure frames that are not each other's.
    for one, other in ((result, content), (content, result)):
        if (more := _count(one)) > (fewer := _count(other)):
            raise InputError(f"{one} has {more} pictures and {other} has {fewer}: they are paired by order")
    for index, ((name, picture), (_, original)) in enumerate(zip(_pictures(result), _pictures(content), strict=True)):
        yield _Pair(name, picture, original, index)


def _count(path: Path) -> int:
    return len(_images(path)) if path.is_dir() else sum(1 for _ in _pictures(path))


def _contents(result: Path, content: Path) -> Iterator[tuple[int, np.ndarray]]:
    """The contents of `_pairs` alone, with their indices."""
    if result.is_dir() and content.is_dir():
        for match in _matches(result, content):
            yield match.content_index, decoding.read_image(match.content)
    else:
        for index, (_, image) in enumerate(_pictures(content)):
            yield index, image


def _pictures(path: Path) -> Iterator[tuple[str, np.ndarray]]:
    if path.is_dir():
        for image in _images(path):
            yield image.relative_to(path).as_posix(), decoding.read_image(image)
    elif media.is_video_name(path):
        for frame in decoding.read_frames(path):
            yield f"frame {frame.index}", frame.image
    else:
        yield path.name, decoding.read_image(path)


def _images(folder: Path) -> list[Path]:
    paths = images.list_images(folder).paths
    if not paths:
        raise InputError(f"folder {folder} holds no image")
    return paths
