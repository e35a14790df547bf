"""One long shot in segments that are painted at the same time: where it is divided, and what waits for what. Pure.

Keyframe frames are painted first, each from the one before, and then the segments between them: a segment follows from
the keyframe that it begins with, and over its last frames it is brought to meet the next one, so that no seam shows.
"""

import bisect
import math
from collections.abc import Iterable, Sequence

from .scheduler import Chain

LEAST_FRAMES = 8
"""No segment is shorter, its keyframe included: a shorter one would not repay what its keyframe costs."""

MEETING_FRAMES = 24
"""Over so many frames, at most, a segment is brought to meet the next keyframe."""

KEYFRAME_WORK = 3.0
"""What a keyframe takes, in frames that follow from the one before: more has changed since the last keyframe."""

LEAST_GAIN = 0.1
"""A shot is divided unasked where the time for it becomes shorter by so much, at least."""


def plan_keyframes(
    shots: Sequence[range], segments: int | None, workers: int, cold: float, warm: float
) -> tuple[int, ...]:
    """The keyframes of all shots that are painted in segments, each with its first frame; ascending.

    With a number of `segments`, every shot that is long enough is divided into so many equal ones, or as many as it has
    room for. None divides, for so many `workers`, only shots that take one of them longer than its share of the whole,
    into as few as make the time for it least. `cold` is what a first frame takes and `warm` any other, in any unit.
    """
    works = [cold + (len(shot) - 1) * warm for shot in shots]
    share = sum(works) / max(1, workers)
    found: list[int] = []
    for shot, work in zip(shots, works, strict=True):
        room = len(shot) // LEAST_FRAMES
        if segments is not None:
            parts = min(segments, room)
        else:
            most = max(1, min(math.ceil(work / share), room))
            times = {parts: max(share, _time(len(shot), parts, cold, warm)) for parts in range(1, most + 1)}
            parts = min(times, key=lambda parts: (times[parts], parts))
            if times[parts] > (1 - LEAST_GAIN) * work:
                parts = 1
        if parts > 1:
            found += [shot.start + part * len(shot) // parts for part in range(parts)]
    return tuple(found)


def _time(frames: int, parts: int, cold: float, warm: float) -> float:
    """What the longest chain of frames takes that wait for each other."""
    return cold + (parts - 1) * KEYFRAME_WORK * warm + (math.ceil(frames / parts) - 1) * warm


class Segments:
    """How the shots of a film are divided.

    `keyframes` are those of all divided shots, each with its first frame, and `shots` the first frames of all shots. A
    shot that is not divided is one segment, without a keyframe.
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
        """Those of all divided shots, ascending."""
        return tuple(sorted(keyframe for keyframes in self._keyframes.values() for keyframe in keyframes))

    @property
    def count(self) -> int:
        """How many segments the divided shots have together."""
        return sum(map(len, self._keyframes.values()))

    @property
    def divided_shots(self) -> int:
        """How many shots are divided."""
        return len(self._keyframes)

    def is_keyframe(self, index: int, shot: int) -> bool:
        """Whether a frame is a keyframe; the first frame of a divided shot is one too."""
        return index in self._keyframes.get(shot, ())

    def start(self, index: int, shot: int) -> int:
        """The first frame of the segment that a frame is in: its keyframe, where the shot is divided."""
        keyframes = self._keyframes.get(shot, [shot])
        return keyframes[bisect.bisect(keyframes, index) - 1]

    def earlier(self, index: int, shot: int) -> list[int]:
        """The keyframes before a frame, the nearest first; not that of its own segment."""
        own = self.start(index, shot)
        return [keyframe for keyframe in reversed(self._keyframes.get(shot, ())) if keyframe < own]

    def next(self, index: int, shot: int) -> int | None:
        """The keyframe that the next segment of the shot begins with; None in the last one."""
        keyframes = self._keyframes.get(shot, [])
        place = bisect.bisect(keyframes, index)
        return keyframes[place] if place < len(keyframes) else None

    def crossfades_with(self, index: int, shot: int) -> int | None:
        """The keyframe that a frame is brought to meet; None for keyframes, and where none is near."""
        keyframe = self.next(index, shot)
        if keyframe is None or self.is_keyframe(index, shot) or keyframe - index > MEETING_FRAMES:
            return None
        return keyframe

    def chains(self, frames: Iterable[tuple[int, int, float]]) -> tuple[list[Chain], dict[int, int]]:
        """Chains of the frames (index, shot, work), and the key of each frame's by its index; an index may come several
        times.

        Keys count in an order in which one worker can go: each keyframe before the segment that meets it.
        """
        parts: dict[tuple[int, int, bool], list[tuple[int, float]]] = {}
        for index, shot, work in frames:
            keyframes = self._keyframes.get(shot, [])
            behind = bisect.bisect(keyframes, index)
            is_segment = bool(keyframes) and index != keyframes[behind - 1]
            # As numbers: keyframe 0, keyframe 1, segment 0, keyframe 2, segment 1, …
            place = behind if is_segment else max(0, behind - 1)
            parts.setdefault((shot, place, is_segment), []).append((index, work))
        keys = {part: key for key, part in enumerate(sorted(parts))}
        chains = []
        for part, key in keys.items():
            shot, place, is_segment = part
            # Where a keyframe is painted already, what comes after it may still follow from those before it.
            before = (keys.get((shot, earlier, False)) for earlier in range(place - 1, -1, -1))
            after = [next((key for key in before if key is not None), None)]
            if is_segment:
                after.append(keys.get((shot, place, False)))
            waits_for = tuple(other for other in after if other is not None)
            work = float(sum(work for _, work in parts[part]))
            chains.append(Chain(key, len(parts[part]), work, waits_for))
        return chains, {index: keys[part] for part, own in parts.items() for index, _ in own}
