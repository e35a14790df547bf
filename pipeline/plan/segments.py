"""A long shot divided into segments that are painted at the same time, and which frames wait for which.

Keyframes are painted first, each from the previous keyframe. Then each segment follows from its own keyframe, frame by
frame, and its last frames are cross-faded to the next keyframe, so that no seam shows.
"""

import bisect
import math
from collections.abc import Iterable, Sequence

from .scheduler import Chain

MIN_SEGMENT_FRAMES = 8
"""The fewest frames of a segment, with its keyframe: a shorter one would not repay what its keyframe costs."""

CROSSFADE_FRAMES = 24
"""The most frames at the end of a segment that are cross-faded to the next keyframe."""

KEYFRAME_WORK = 3.0
"""The work of a keyframe, in frames that follow from their predecessor: more has changed since the last keyframe."""

MIN_GAIN = 0.1
"""Without a number of segments in the request, a shot is divided where that saves at least this share of its time."""


def plan_keyframes(
    shots: Sequence[range], segments: int | None, workers: int, cold: float, warm: float
) -> tuple[int, ...]:
    """The keyframes of all shots that are divided, each shot's first frame among them; ascending.

    A number of `segments` divides every shot into so many equal ones, or into as many as it has room for. None divides
    only shots that keep one of `workers` busy for longer than its share of the whole, into the fewest segments that
    take the least time. `cold` is the work of a shot's first frame and `warm` that of any other, in any unit.
    """
    works = [cold + (len(shot) - 1) * warm for shot in shots]
    share = sum(works) / max(1, workers)
    keyframes: list[int] = []
    for shot, work in zip(shots, works, strict=True):
        room = len(shot) // MIN_SEGMENT_FRAMES
        if segments is not None:
            count = min(segments, room)
        else:
            most = max(1, min(math.ceil(work / share), room))
            times = {count: max(share, _critical_path(len(shot), count, cold, warm)) for count in range(1, most + 1)}
            count = min(times, key=lambda count: (times[count], count))
            if times[count] > (1 - MIN_GAIN) * work:
                count = 1
        if count > 1:
            keyframes += [shot.start + number * len(shot) // count for number in range(count)]
    return tuple(keyframes)


def _critical_path(frames: int, segments: int, cold: float, warm: float) -> float:
    """The work of the longest sequence of frames in a divided shot that wait for each other."""
    return cold + (segments - 1) * KEYFRAME_WORK * warm + (math.ceil(frames / segments) - 1) * warm


class Segments:
    """How the shots of a film are divided.

    `keyframes` are those of all divided shots, each shot's first frame among them, and `shots` the first frames of all
    shots. A shot that is not divided is one segment without a keyframe.
    """

    def __init__(self, keyframes: Iterable[int], shots: Iterable[int]) -> None:
        starts = sorted(set(shots))
        self._keyframes: dict[int, list[int]] = {}
        for keyframe in sorted(keyframes):
            self._keyframes.setdefault(starts[bisect.bisect(starts, keyframe) - 1], []).append(keyframe)

    def __bool__(self) -> bool:
        """Whether any shot is divided."""
        return bool(self._keyframes)

    @property
    def keyframes(self) -> tuple[int, ...]:
        """The keyframes of all divided shots, ascending."""
        return tuple(sorted(keyframe for keyframes in self._keyframes.values() for keyframe in keyframes))

    @property
    def count(self) -> int:
        """The number of segments of all divided shots."""
        return sum(map(len, self._keyframes.values()))

    @property
    def divided_shots(self) -> int:
        """The number of shots that are divided."""
        return len(self._keyframes)

    def is_keyframe(self, index: int, shot: int) -> bool:
        """Whether a frame is a keyframe, as is the first frame of a divided shot."""
        return index in self._keyframes.get(shot, ())

    def segment_start(self, index: int, shot: int) -> int:
        """The first frame of a frame's segment: its keyframe, or the shot's first frame where it is not divided."""
        keyframes = self._keyframes.get(shot, [shot])
        return keyframes[bisect.bisect(keyframes, index) - 1]

    def earlier_keyframes(self, index: int, shot: int) -> list[int]:
        """The keyframes of the segments before a frame's own, the nearest first."""
        own = self.segment_start(index, shot)
        return [keyframe for keyframe in reversed(self._keyframes.get(shot, ())) if keyframe < own]

    def next_keyframe(self, index: int, shot: int) -> int | None:
        """The keyframe of the segment after a frame's own; None in the last segment of a shot."""
        keyframes = self._keyframes.get(shot, [])
        following = bisect.bisect(keyframes, index)
        return keyframes[following] if following < len(keyframes) else None

    def crossfades_with(self, index: int, shot: int) -> int | None:
        """The keyframe that a frame is cross-faded to; None for keyframes, and where the next one is far."""
        keyframe = self.next_keyframe(index, shot)
        if keyframe is None or self.is_keyframe(index, shot) or keyframe - index > CROSSFADE_FRAMES:
            return None
        return keyframe

    def chains(self, frames: Iterable[tuple[int, int, float]]) -> tuple[list[Chain], dict[int, int]]:
        """Chains of the frames (index, shot, work), and the chain's key by frame index.

        An index may come several times, once for each pass. Keys ascend in an order in which one worker can go: each
        keyframe comes before the segment that is cross-faded to it.
        """
        works: dict[tuple[int, int, bool], list[float]] = {}
        """By (shot, rank in the shot, whether it is a segment without its keyframe)."""
        chain_of: dict[int, tuple[int, int, bool]] = {}
        for index, shot, work in frames:
            chain_of[index] = self._chain_of(index, shot)
            works.setdefault(chain_of[index], []).append(work)
        keys = {chain: key for key, chain in enumerate(sorted(works))}
        chains = [
            Chain(key, len(works[chain]), float(sum(works[chain])), self._awaited(chain, keys))
            for chain, key in keys.items()
        ]
        return chains, {index: keys[chain] for index, chain in chain_of.items()}

    def _chain_of(self, index: int, shot: int) -> tuple[int, int, bool]:
        """Sorts as keyframe 0, keyframe 1, segment 0, keyframe 2, segment 1, …: segment n has the rank n + 1."""
        keyframes = self._keyframes.get(shot, [])
        rank = bisect.bisect(keyframes, index)
        if keyframes and index != keyframes[rank - 1]:
            return shot, rank, True
        return shot, max(0, rank - 1), False

    def _awaited(self, chain: tuple[int, int, bool], keys: dict[tuple[int, int, bool], int]) -> tuple[int, ...]:
        """The keys of the chains that a chain waits for."""
        shot, rank, is_segment = chain
        # Where the keyframe before is painted already, the nearest one that is not may still be needed.
        earlier = (keys.get((shot, number, False)) for number in range(rank - 1, -1, -1))
        awaited = [next((key for key in earlier if key is not None), None)]
        if is_segment:
            awaited.append(keys.get((shot, rank, False)))
        return tuple(key for key in awaited if key is not None)
