"""The task of each frame: what it starts from, what it is compared with, and when it is finished.

Here the settings of a job become the `FrameTask` that a worker paints: the warm start from the warped previous frame,
the temporal references with their visibility masks, the cross-fade to the next keyframe, and the stopping rule.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from ..job.records import FrameRecord
from ..motion.reader import FlowLink, MotionFrame
from ..paint.stopping import StopRule
from ..paint.task import FrameTask, PaintedReference, cold_task
from ..pictures import size_of
from ..plan.frame_rules import (
    CROSSFADE_PACE,
    cold_start_scales,
    max_iterations,
    reference_after,
    starts_cold,
)
from .frame_links import FrameLinks
from .painted_frames import PaintedFrames

CHANGED_PIXELS = 4
"""From so many occluded pixels on, a frame shows something that the frame before did not."""

CHANGED_ITERATIONS = 20
"""The fewest iterations of such a frame: the objective is that of the whole picture, which hardly depends on a small
part of it."""


class FrameTasks:
    """Makes the tasks of a job's frames. `start_picture` is the picture that cold starts begin from, if any."""

    def __init__(self, links: FrameLinks, painted: PaintedFrames, start_picture: np.ndarray | None) -> None:
        self._links = links
        self._settings = links.settings
        self._painted = painted
        self._start_picture = start_picture

    def max_iterations(self, frame: FrameRecord) -> int:
        """The most iterations that a frame may take: its share of the job's work."""
        return max_iterations(self._settings, self._links.passes, self._links.segments, frame.index, frame.shot)

    def make(
        self, frame: FrameRecord, motion_frame: MotionFrame, sources: Sequence[int]
    ) -> tuple[FrameTask, float | None]:
        """The frame's task, and the objective that its stopping target is a multiple of (None without a target).

        Raises `FrameError` where a source is not painted, or its file is not what was saved.
        """
        settings = self._settings
        references = {link.index: self._reference(frame, link) for link in motion_frame.links}
        if self._links.passes > 1:
            return self._pass_task(frame, motion_frame, references), None
        if not sources or (settings.start.next == "warped" and sources[0] not in references):
            return self._cold_task(frame, motion_frame), None
        previous = self._painted.record(frame, sources[0])
        reference = reference_after(previous, settings.iterations.target)
        rule = self._stop_rule(frame, reference, references.get(sources[0]))
        compares_nearest = self._links.is_compared_with_nearest(frame)
        keyframe = next((source for source in sources if source > frame.index), None)
        task = FrameTask(
            frame.index,
            motion_frame.content,
            "warped",
            rule,
            warm=True,
            warp_source=references.get(sources[0]),
            references=tuple(
                references[source]
                for number, source in enumerate(sources)
                if source in references and source != keyframe and (number or compares_nearest)
            ),
            temporal_weight=self._temporal_weight(frame, sources[0]),
            crossfade_with=None if keyframe is None else references[keyframe],
            crossfade_share=0.0 if keyframe is None else min(1.0, CROSSFADE_PACE / (keyframe - frame.index)),
        )
        if settings.start.next == "previous":
            given = self._painted.picture(frame, sources[0])
            task = dataclasses.replace(task, start="given", given=given, warp_source=None)
        return task, reference

    def start_name(self, task: FrameTask) -> str:
        """What a task starts from, as the settings name it."""
        if task.start != "given":
            return task.start
        return "previous" if task.warm else self._settings.start.first

    def _cold_task(self, frame: FrameRecord, motion_frame: MotionFrame) -> FrameTask:
        """The task of a frame without sources. One whose sources all failed starts as the first frame of a shot."""
        settings = self._settings
        is_later = not frame.starts_shot and starts_cold(settings, frame.index, frame.shot)
        start = settings.start.next if is_later else settings.start.first
        scales, rule = cold_start_scales(settings, size_of(motion_frame.content))
        return cold_task(frame.index, motion_frame.content, start, rule, self._start_picture, scales)

    def _stop_rule(self, frame: FrameRecord, reference: float, warp_source: PaintedReference | None) -> StopRule:
        """When a frame with a warm start is finished."""
        iterations = self._settings.iterations
        rule = StopRule(self.max_iterations(frame), iterations.next_tolerance, iterations.next_interval)
        if iterations.target is None:
            return rule
        changed = warp_source is not None and (1 - warp_source.visibility).sum() >= CHANGED_PIXELS
        floor = max(iterations.floor, CHANGED_ITERATIONS) if changed else iterations.floor
        return dataclasses.replace(rule, target=iterations.target * reference, floor=floor)

    def _temporal_weight(self, frame: FrameRecord, source: int) -> float:
        """The weight of a frame's temporal loss.

        A keyframe is compared with the keyframe before it, n frames earlier, at 1/n of the weight: as loosely as n
        frames in between would tie it, each compared with the one before, like springs in a row. At the full weight
        its objective stays some percent higher.
        """
        weight = self._settings.temporal.weight
        is_keyframe = self._links.segments.is_keyframe(frame.index, frame.shot)
        return weight / (frame.index - source) if is_keyframe else weight

    def _pass_task(
        self, frame: FrameRecord, motion_frame: MotionFrame, references: Mapping[int, PaintedReference]
    ) -> FrameTask:
        """The task of a frame in one of several passes: its painting of the last pass, blended with the warped
        neighbour that was painted just before (Ruder et al. 2016, eq. 11)."""
        passes = self._settings.passes
        rule = StopRule(passes.iterations)
        number = frame.pass_number + self._links.passes  # from 1
        if number == 1:
            start = self._settings.start.first
            return cold_task(frame.index, motion_frame.content, start, rule, self._start_picture)
        own = self._painted.picture(frame, frame.index, frame.pass_number - 1)
        if not references:
            return FrameTask(frame.index, motion_frame.content, "given", rule, own, warm=True)
        (neighbour,) = references.values()
        is_compared = number >= passes.temporal_from and self._settings.temporal.weight > 0
        return FrameTask(
            frame.index,
            motion_frame.content,
            "warped",
            rule,
            own,
            warm=True,
            warp_source=neighbour,
            blend=passes.blend / (1 + passes.blend),
            references=(neighbour,) if is_compared else (),
            temporal_weight=self._settings.temporal.weight,
        )

    def _reference(self, frame: FrameRecord, link: FlowLink) -> PaintedReference:
        return PaintedReference(self._painted.picture(frame, link.index), link.content, link.flow, link.visibility)
