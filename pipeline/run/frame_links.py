"""Which other frames a frame is started from and compared with, and which flow that needs. Pure."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from ..job.records import FrameRecord
from ..plan.frame_rules import pass_direction, starts_cold
from ..plan.segments import Segments
from ..settings import Settings
from .in_flight import key_of

IsPainted = Callable[[int, int], bool]
"""Whether the frame of a (pass number, index) is painted."""


@dataclass(frozen=True)
class FlowRequest:
    """The motion that a frame needs, as `MotionReader.take` is asked for it.

    `neighbours`: frames to which flow is estimated. `shot`: first frame of the shot in which static regions are
    looked for, None for none. `keyframes`: distant frames to which flow is chained from frame to frame.
    """

    neighbours: tuple[int, ...]
    shot: int | None
    keyframes: tuple[int, ...]


@dataclass(frozen=True)
class FrameLinks:
    """The links between the frames of a job.

    `passes` is 1 for photos. `shot_ends` maps the first frame of each shot to the index after its last.
    """

    settings: Settings
    passes: int
    segments: Segments
    shot_ends: Mapping[int, int]
    is_film: bool

    def wanted(self, frame: FrameRecord) -> tuple[int, ...]:
        """The frames that a frame is linked to where all of them are painted."""
        if self.passes > 1:
            neighbour = frame.index - pass_direction(frame.pass_number, self.passes)
            is_first_pass = frame.pass_number == 1 - self.passes
            within = frame.shot <= neighbour < self.shot_ends[frame.shot]
            return (neighbour,) if within and not is_first_pass else ()
        if starts_cold(self.settings, frame.index, frame.shot) or not self.is_film:
            return ()
        return tuple(dict.fromkeys((frame.index - 1, *self.temporal_references(frame))))

    def sources(
        self, frame: FrameRecord, is_painted: IsPainted, expected: FrameRecord | None = None
    ) -> tuple[int, ...]:
        """The frames that a frame starts from and is compared with by the temporal loss.

        In several passes: the neighbour painted just before. Else the first is the frame that it starts from, a later
        one is the keyframe that it cross-fades to, and the others are its temporal references. `expected` counts as
        painted.

        Sources that are recorded hold for good, so that a frame that is painted again gets the same bits. Painting is
        a pure function of content that is still the same, so a source that fails can be had again when its cause
        (memory, a disk, a crashed worker) is gone; until then the frame fails too. The frames after it were painted
        from its old bits, and no other bits go with them. Else the nearest painted frames are taken; in a divided shot
        those of the frame's own segment and keyframes alone, as how far other segments are depends on the workers.
        """
        if frame.sources is not None:
            return frame.sources

        def painted(index: int) -> bool:
            is_expected = expected is not None and (frame.pass_number, index) == key_of(expected)
            return is_expected or is_painted(frame.pass_number, index)

        wanted = self.wanted(frame)
        if self.passes > 1:
            return tuple(index for index in wanted if painted(index))
        if not wanted:
            return ()
        begin = self.segments.segment_start(frame.index, frame.shot)
        before = (*range(frame.index - 1, begin - 1, -1), *self.segments.earlier_keyframes(frame.index, frame.shot))
        nearest = next((index for index in before if painted(index)), None)
        if nearest is None:
            return ()
        references = [index for index in self.temporal_references(frame) if index < nearest and painted(index)]
        keyframe = self.segments.crossfades_with(frame.index, frame.shot)
        return (nearest, *references, *([] if keyframe is None or not painted(keyframe) else [keyframe]))

    def temporal_references(self, frame: FrameRecord) -> tuple[int, ...]:
        """The earlier frames of its segment that the temporal loss compares a frame with, nearest first."""
        temporal = self.settings.temporal
        distances = temporal.distances if temporal.weight else ()
        begin = self.segments.segment_start(frame.index, frame.shot)
        return tuple(frame.index - distance for distance in distances if frame.index - distance >= begin)

    def is_compared_with_nearest(self, frame: FrameRecord) -> bool:
        """Whether the temporal loss compares a frame with the one that it starts from."""
        temporal = self.settings.temporal
        if self.segments.is_keyframe(frame.index, frame.shot):
            return temporal.weight > 0 and temporal.distances[0] == 1
        return bool(self.temporal_references(frame)) and temporal.distances[0] == 1

    def flow_request(self, frame: FrameRecord, sources: Sequence[int]) -> FlowRequest:
        """The motion that a frame with these sources needs."""
        if self.passes > 1 or not sources:
            return FlowRequest(tuple(sources), None, ())
        needed = set(sources[1:])
        if self.settings.start.next == "warped" or self.is_compared_with_nearest(frame):
            needed.add(sources[0])
        # Keyframes other than that of its own segment are too far for one estimate.
        begin = self.segments.segment_start(frame.index, frame.shot)
        distant = {index for index in needed if index < begin or index > frame.index}
        return FlowRequest(tuple(sorted(needed - distant, reverse=True)), frame.shot, tuple(sorted(distant)))

    def pairs(self, frames: Iterable[FrameRecord]) -> Iterator[tuple[int, int]]:
        """The pairs of near frames whose flow these frames need where all before them are painted, in order."""
        for frame in frames:
            sources = self.wanted(frame) if frame.sources is None else frame.sources
            for other in self.flow_request(frame, sources).neighbours:
                yield frame.index, other
