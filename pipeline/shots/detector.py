"""Where one shot of a film gives way to the next, by a hard cut, a fade or a dissolve, and the shots between.

A boundary is named by the index of the first frame of the new shot. Shots cover their range of frames
without gap or overlap, and nothing is ever carried from one shot into the next.
"""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .boundaries import Boundary
from .dissolves import DissolveFinder, thumbnail

if TYPE_CHECKING:
    from scenedetect import ContentDetector, ThresholdDetector


Floats: TypeAlias = NDArray[np.float32]

ANALYSIS_WIDTH = 320
"""Frames are reduced to at most this many pixels across before they are compared."""

MIN_SHOT_FRAMES = 3
"""Of two cuts closer than this many frames only the stronger is kept, so that a strobe is not cut to pieces."""

ADAPTIVE_RATIO = 3.0
"""A change this many times the mean change around it is a cut (the default of PySceneDetect's AdaptiveDetector)."""

ADAPTIVE_MIN_SCORE = 15.0
"""The least change that `ADAPTIVE_RATIO` makes a cut, in levels of hue, saturation and value, 0 to 255."""

HARD_MIN_SCORE = 40.0
"""A change of this size is a cut when it also stands out by `HARD_RATIO`."""

HARD_RATIO = 1.5
"""By how much a hard cut exceeds the largest change around it."""

BLACK_LEVEL = 12.0
"""A frame with a mean below this is black (the default of PySceneDetect's ThresholdDetector), of 0 to 255."""

WHITE_LEVEL = 243.0
"""A frame with a mean of at least this is white: as far from the end of the scale as `BLACK_LEVEL`."""

FLAT_DEVIATION = 2.0
"""At its end a fade deviates from its mean by less than this; a night scene, or one in a dimmed light, by more."""

FADE_MIN_FRAMES = 5
"""A fade and the black in it last at least this long together: what is shorter is a strobe or a blink."""

WHITE_RAMP_FRAMES = 2
"""The least frames between a scene and white, on either side. Flashes and explosions set in faster."""

FADE_MAX_FRAMES = 60
"""A fade out or in is followed this many frames from the black at most, to say which frames it covers."""

FADE_MIN_STEP = 1.0
"""From frame to frame of a fade the mean changes by at least this much, of 0 to 255."""

_WINDOW = 2


def cuts_from_scores(scores: Sequence[float], min_shot_frames: int = MIN_SHOT_FRAMES) -> list[int]:
    """The cuts in a sequence of changes, where `scores[i]` is the change from frame `i` to frame `i + 1`.

    Two rules, either of which makes a cut. The first is that of PySceneDetect's AdaptiveDetector:
    the change is several times the mean of the two before and the two after it, which steady fast
    motion never is. It needs both sides, so it is silent near the ends of the film, and after fast
    motion the mean is too high for it. The second holds there too: the change is large in itself and
    stands out from the largest of its neighbours. Motion that sets in suddenly does not pass it, as
    the changes that follow are of its own size.

    Returns indices of frames, ascending, in `[1, len(scores)]`, at least `min_shot_frames` apart.
    """
    candidates: list[tuple[float, int]] = []
    for position, score in enumerate(scores):
        before = list(scores[max(0, position - _WINDOW) : position])
        after = list(scores[position + 1 : position + 1 + _WINDOW])
        around = before + after
        two_sided = len(before) == len(after) == _WINDOW
        adaptive = two_sided and score >= ADAPTIVE_MIN_SCORE and score >= ADAPTIVE_RATIO * sum(around) / len(around)
        hard = score >= HARD_MIN_SCORE and score >= HARD_RATIO * max(around, default=0.0)
        if adaptive or hard:
            candidates.append((score, position + 1))
    kept: list[int] = []
    for _, cut in sorted(candidates, key=lambda candidate: (-candidate[0], candidate[1])):
        if all(abs(cut - other) >= min_shot_frames for other in kept):
            kept.append(cut)
    return sorted(kept)


class _Latest:
    """Stands where PySceneDetect keeps its statistics, and remembers the newest only: memory stays flat."""

    def __init__(self) -> None:
        self.metrics: dict[str, float] = {}

    def set_metrics(self, timecode: object, metrics: dict[str, float]) -> None:
        del timecode
        self.metrics.update(metrics)

    def metrics_exist(self, timecode: object, keys: Iterable[str]) -> bool:
        """False: every frame is new, and what is remembered is of the one before."""
        del timecode, keys
        return False


class CutDetector:
    """Finds hard cuts, fades and dissolves in frames that are fed one by one.

    Hard cuts: the change between two frames is the score of PySceneDetect's ContentDetector, the mean absolute
    difference in hue, saturation and value. What change is a cut says `cuts_from_scores`, over the
    whole film, so that cuts right after the first and right before the last frame are found too.
    Fades to black and white: PySceneDetect's ThresholdDetector, of which a fade must have three things more: the
    black is without structure, no hard cut leads into or out of it (which then stands for both), and it is not as
    short as a strobe. Dissolves: `DissolveFinder`; PySceneDetect has nothing for them. A hard cut within a dissolve
    stands for both.
    Four numbers are kept a frame, one reduced frame, and the newest thumbnails.
    """

    def __init__(self, min_shot_frames: int = MIN_SHOT_FRAMES) -> None:
        self._min_shot_frames = min_shot_frames
        self._scores: list[float] = []
        self._luma_scores: list[float] = []
        self._levels: list[float] = []
        self._deviations: list[float] = []
        self._fades: list[int] = []
        self.dissolves = DissolveFinder()
        self._first_index: int | None = None
        self._next_index = 0
        self._size: tuple[int, int] | None = None
        self._detector: ContentDetector | None = None
        self._threshold_detectors: tuple[ThresholdDetector, ...] = ()
        self._statistics = _Latest()

    def feed(self, index: int, image: np.ndarray) -> None:
        """Takes the next frame: `H×W×3` uint8 RGB of any size. Indices are consecutive, from any first one."""
        import cv2
        from scenedetect import ContentDetector, FrameTimecode, ThresholdDetector

        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            raise ValueError(f"a frame is H×W×3 uint8, and this one is {image.shape} {image.dtype}")
        if self._first_index is None or self._detector is None or self._size is None:
            height, width = image.shape[:2]
            scale = min(1.0, ANALYSIS_WIDTH / width)
            self._size = max(1, round(height * scale)), max(1, round(width * scale))
            self._first_index = self._next_index = index
            self._detector = ContentDetector()
            methods = ThresholdDetector.Method
            self._threshold_detectors = tuple(
                ThresholdDetector(threshold, min_scene_len=0, method=method)
                for threshold, method in ((BLACK_LEVEL, methods.FLOOR), (WHITE_LEVEL, methods.CEILING))
            )
            for detector in (self._detector, *self._threshold_detectors):
                detector.stats_manager = self._statistics
        if index != self._next_index:
            raise ValueError(f"frame {index} was fed where frame {self._next_index} was due")
        if image.shape[:2] != self._size:
            image = cv2.resize(image, self._size[::-1], interpolation=cv2.INTER_AREA)
        # The rate that the time code asks for plays no part in the score.
        timecode = FrameTimecode(index - self._first_index, fps=25.0)
        turned = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
        self._detector.process_frame(timecode, turned)
        for threshold_detector in self._threshold_detectors:
            self._fades += [fade.frame_num for fade in threshold_detector.process_frame(timecode, turned)]
        metrics = self._statistics.metrics
        if index > self._first_index:
            self._scores.append(float(metrics["content_val"]))
            self._luma_scores.append(float(metrics["delta_lum"]))
        self._levels.append(float(metrics["average_rgb"]))
        small = thumbnail(image)
        # Blurred, because the grain of a small film would count as structure.
        self._deviations.append(float(cv2.GaussianBlur(small, (0, 0), 1.0).std()))
        self.dissolves.feed(small)
        self._next_index = index + 1

    def finish(self) -> list[int]:
        """The boundaries among the frames fed so far: index of the first frame of each new shot, ascending."""
        return [boundary.index for boundary in self.finish_boundaries()]

    def finish_boundaries(self) -> list[Boundary]:
        """The boundaries among the frames fed so far, ascending and at least `min_shot_frames` apart.

        Of those that are closer, or where the range of one holds the other, a cut is kept before a fade, and a fade
        before a dissolve.
        """
        kept = [
            Boundary(cut, "cut", cut, cut) for cut in cuts_from_scores(self._reliable_scores(), self._min_shot_frames)
        ]
        transitions = [
            Boundary(middle, "fade", fade.start, fade.stop - 1) for middle, fade in self._fades_between_scenes()
        ]
        transitions += [Boundary(middle, "dissolve", first, last) for middle, first, last in self.dissolves.finish()]
        for new in transitions:
            if not 0 < new.index < len(self._levels):
                continue
            if all(
                abs(new.index - other.index) >= self._min_shot_frames
                and (new.last < other.first - 1 or new.first > other.last + 1)
                for other in kept
            ):
                kept.append(new)
        start = self._first_index or 0
        return [
            Boundary(start + found.index, found.kind, start + found.first, start + found.last) for found in sorted(kept)
        ]

    def _reliable_scores(self) -> list[float]:
        """The scores, but of luma alone in fades: near black and white, hue and saturation mean nothing, and jump."""
        scores = list(self._scores)
        for out in self._flat_runs():
            fade = self._fade_range(out)
            for place in range(max(0, fade.start - 1), min(len(scores), fade.stop)):
                scores[place] = self._luma_scores[place]
        return scores

    def _flat_runs(self) -> list[range]:
        """The runs of black and of white frames that are without structure at least once."""
        levels = self._levels
        runs = []
        for tone, group in itertools.groupby(range(len(levels)), key=lambda place: _tone(levels[place])):
            places = list(group)
            if tone != "picture" and min(self._deviations[place] for place in places) < FLAT_DEVIATION:
                runs.append(range(places[0], places[-1] + 1))
        return runs

    def _fades_between_scenes(self) -> Iterator[tuple[int, range]]:
        """The middle and the range of each fade that has a scene on either side."""
        runs = self._flat_runs()
        for middle in self._fades:
            # Of a film that begins in the black PySceneDetect says that it fades in; it has no shot before.
            out = next((run for run in runs if middle in run and run.start > 0), None)
            if out is None:
                continue
            fade = self._fade_range(out)
            slowest = min(out.start - fade.start, fade.stop - out.stop)
            flash = _tone(self._levels[middle]) == "white" and slowest < WHITE_RAMP_FRAMES
            if len(fade) >= FADE_MIN_FRAMES and not flash:
                yield middle, fade

    def _fade_range(self, out: range) -> range:
        """A run of black or white, and the frames before and after it in which the light falls and rises."""
        # Where the ramp ends, the light is that of the scene.
        first, last = self._ramp_end(out.start, -1) + 1, self._ramp_end(out.stop - 1, 1) - 1
        return range(min(first, out.start), max(last + 1, out.stop))

    def _ramp_end(self, place: int, direction: int) -> int:
        """The last frame from `place` on by which the light has gone on to rise from black or to fall from white."""
        levels = self._levels
        sign = -1.0 if _tone(levels[place]) == "white" else 1.0
        for _ in range(FADE_MAX_FRAMES):
            following = place + direction
            if not 0 <= following < len(levels) or sign * (levels[following] - levels[place]) < FADE_MIN_STEP:
                break
            place = following
        return place


def _tone(level: float) -> Literal["black", "picture", "white"]:
    if level < BLACK_LEVEL:
        return "black"
    return "white" if level >= WHITE_LEVEL else "picture"
