"""One long shot in segments that are painted at the same time: where it is divided, and what waits for what. Pure.

Anchor frames are painted first, each from the one before, and then the segments between them: a segment follows from
the anchor that it begins with, and over its last frames it is brought to meet the next one, so that no seam shows.
"""

import bisect
import math
from collections.abc import Iterable, Sequence

from pipeline.scheduler import Chain

LEAST_FRAMES = 8
"""No segment is shorter, its anchor included: the share of frames that wait for nothing but anchors would be too small
for what anchors cost."""

MEETING_FRAMES = 24
"""Over so many frames, at most, a segment is brought to meet the next anchor."""

ANCHOR_WORK = 3.0
"""What an anchor takes, in frames that follow from the one before: more has changed since the last anchor."""

LEAST_GAIN = 0.1
"""A shot is divided unasked where the time for it becomes shorter by so much, at least."""


def plan_anchors(
    shots: Sequence[range], segments: int | None, workers: int, cold: float, warm: float
) -> tuple[int, ...]:
    """The anchors of all shots that are painted in segments, each with its first frame; ascending.

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
    return cold + (parts - 1) * ANCHOR_WORK * warm + (math.ceil(frames / parts) - 1) * warm


class Segments:
    """How the shots of a film are divided.

    `anchors` are those of all divided shots, each with its first frame, and `shots` the first frames of all shots. A
    shot that is not divided is one segment, without an anchor.
    """

    def __init__(self, anchors: Iterable[int], shots: Iterable[int]) -> None:
        starts = sorted(set(shots))
        self._anchors: dict[int, list[int]] = {}
        for anchor in sorted(anchors):
            self._anchors.setdefault(starts[bisect.bisect(starts, anchor) - 1], []).append(anchor)

    def __bool__(self) -> bool:
        """Whether any shot is divided."""
        return bool(self._anchors)

    @property
    def anchors(self) -> tuple[int, ...]:
        """Those of all divided shots, ascending."""
        return tuple(sorted(anchor for anchors in self._anchors.values() for anchor in anchors))

    @property
    def count(self) -> int:
        """How many segments the divided shots have together."""
        return sum(map(len, self._anchors.values()))

    @property
    def divided_shots(self) -> int:
        """How many shots are divided."""
        return len(self._anchors)

    def is_anchor(self, index: int, shot: int) -> bool:
        """Whether a frame is an anchor; the first frame of a divided shot is one too."""
        return index in self._anchors.get(shot, ())

    def start(self, index: int, shot: int) -> int:
        """The first frame of the segment that a frame is in: its anchor, where the shot is divided."""
        anchors = self._anchors.get(shot, [shot])
        return anchors[bisect.bisect(anchors, index) - 1]

    def earlier(self, index: int, shot: int) -> list[int]:
        """The anchors before a frame, the nearest first; not that of its own segment."""
        own = self.start(index, shot)
        return [anchor for anchor in reversed(self._anchors.get(shot, ())) if anchor < own]

    def next(self, index: int, shot: int) -> int | None:
        """The anchor that the next segment of the shot begins with; None in the last one."""
        anchors = self._anchors.get(shot, [])
        place = bisect.bisect(anchors, index)
        return anchors[place] if place < len(anchors) else None

    def meets(self, index: int, shot: int) -> int | None:
        """The anchor that a frame is brought to meet; None for anchors, and where none is near."""
        anchor = self.next(index, shot)
        if anchor is None or self.is_anchor(index, shot) or anchor - index > MEETING_FRAMES:
            return None
        return anchor

    def chains(self, frames: Iterable[tuple[int, int, float]]) -> tuple[list[Chain], dict[int, int]]:
        """Chains of the frames (index, shot, work), and the key of each frame's by its index; an index may come several
        times.

        Keys count in an order in which one worker can go: each anchor before the segment that meets it.
        """
        parts: dict[tuple[int, int, bool], list[tuple[int, float]]] = {}
        for index, shot, work in frames:
            anchors = self._anchors.get(shot, [])
            behind = bisect.bisect(anchors, index)
            is_segment = bool(anchors) and index != anchors[behind - 1]
            # As numbers: anchor 0, anchor 1, segment 0, anchor 2, segment 1, …
            place = behind if is_segment else max(0, behind - 1)
            parts.setdefault((shot, place, is_segment), []).append((index, work))
        keys = {part: key for key, part in enumerate(sorted(parts))}
        chains = []
        for part, key in keys.items():
            shot, place, is_segment = part
            # Where an anchor is painted already, what comes after it may still follow from those before it.
            before = (keys.get((shot, earlier, False)) for earlier in range(place - 1, -1, -1))
            after = [next((key for key in before if key is not None), None)]
            if is_segment:
                after.append(keys.get((shot, place, False)))
            waits_for = tuple(other for other in after if other is not None)
            work = float(sum(work for _, work in parts[part]))
            chains.append(Chain(key, len(parts[part]), work, waits_for))
        return chains, {index: keys[part] for part, own in parts.items() for index, _ in own}
