"""Where a film is cut, and the shots between the cuts.

A cut is named by the index of the first frame of the new shot. Shots cover their range of frames
without gap or overlap, and nothing is ever carried from one shot into the next.
"""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from scenedetect import ContentDetector

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

_WINDOW = 2


@dataclass(frozen=True, order=True)
class Shot:
    """The frames `[start, stop)` between two cuts; never empty."""

    start: int
    """Index of its first frame."""

    stop: int
    """One past the index of its last frame."""

    def __post_init__(self) -> None:
        if not 0 <= self.start < self.stop:
            raise ValueError(f"a shot holds at least one frame, and [{self.start}, {self.stop}) holds none")

    @property
    def frames(self) -> range:
        """The indices of its frames."""
        return range(self.start, self.stop)

    @property
    def frame_count(self) -> int:
        return self.stop - self.start


def shots_from_cuts(frame_count: int, cuts: Iterable[int], frame_range: range | None = None) -> list[Shot]:
    """The shots of the frames in `frame_range` (None: all of them), in order.

    `cuts` are first frames of new shots, in any order; those that do not lie inside the range
    separate nothing in it and are passed over. `frame_range` counts in steps of one and is cut to
    the frames that there are. A range without frames has no shots.
    """
    if frame_count < 0:
        raise ValueError(f"frame_count is {frame_count}: it cannot be negative")
    if frame_range is None:
        frame_range = range(frame_count)
    if frame_range.step != 1:
        raise ValueError(f"frame_range has step {frame_range.step}: shots are of consecutive frames")
    start, stop = max(0, frame_range.start), min(frame_count, frame_range.stop)
    if start >= stop:
        return []
    edges = [start, *sorted({cut for cut in cuts if start < cut < stop}), stop]
    return [Shot(first, last) for first, last in itertools.pairwise(edges)]


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


class _LastScore:
    """Stands where PySceneDetect keeps its statistics, and remembers the newest only: memory stays flat."""

    def __init__(self) -> None:
        self.score = 0.0

    def set_metrics(self, timecode: object, metrics: dict[str, float]) -> None:
        del timecode
        self.score = float(metrics.get("content_val", self.score))


class CutDetector:
    """Finds hard cuts in frames that are fed one by one.

    The change between two frames is the score of PySceneDetect's ContentDetector: the mean absolute
    difference in hue, saturation and value. What change is a cut says `cuts_from_scores`, over the
    whole film, so that cuts right after the first and right before the last frame are found too.
    One number is kept a frame, and one reduced frame in all.
    """

    def __init__(self, min_shot_frames: int = MIN_SHOT_FRAMES) -> None:
        self._min_shot_frames = min_shot_frames
        self._scores: list[float] = []
        self._first_index: int | None = None
        self._next_index = 0
        self._size: tuple[int, int] | None = None
        self._detector: ContentDetector | None = None
        self._statistics = _LastScore()

    def feed(self, index: int, image: np.ndarray) -> None:
        """Takes the next frame: `H×W×3` uint8 RGB of any size. Indices are consecutive, from any first one."""
        import cv2
        from scenedetect import ContentDetector, FrameTimecode

        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            raise ValueError(f"a frame is H×W×3 uint8, and this one is {image.shape} {image.dtype}")
        if self._first_index is None or self._detector is None or self._size is None:
            height, width = image.shape[:2]
            scale = min(1.0, ANALYSIS_WIDTH / width)
            self._size = max(1, round(height * scale)), max(1, round(width * scale))
            self._first_index = self._next_index = index
            self._detector = ContentDetector()
            self._detector.stats_manager = self._statistics
        if index != self._next_index:
            raise ValueError(f"frame {index} was fed where frame {self._next_index} was due")
        if image.shape[:2] != self._size:
            image = cv2.resize(image, self._size[::-1], interpolation=cv2.INTER_AREA)
        # The rate that the time code asks for plays no part in the score.
        timecode = FrameTimecode(index - self._first_index, fps=25.0)
        self._detector.process_frame(timecode, cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
        if index > self._first_index:
            self._scores.append(self._statistics.score)
        self._next_index = index + 1

    def finish(self) -> list[int]:
        """The cuts among the frames fed so far: index of the first frame of each new shot, ascending."""
        first = self._first_index or 0
        return [first + cut for cut in cuts_from_scores(self._scores, self._min_shot_frames)]


def detect_cuts(images: Iterable[np.ndarray]) -> list[int]:
    """The cuts in a sequence of `H×W×3` uint8 RGB images, counted from 0."""
    detector = CutDetector()
    for index, image in enumerate(images):
        detector.feed(index, image)
    return detector.finish()
