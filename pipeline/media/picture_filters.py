"""Filters of libavfilter that decoded frames go through, one frame out for each frame in."""

import contextlib
from collections import deque
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TypeAlias, cast

import av

from .stream_facts import Crop


@dataclass(frozen=True)
class TimedFrame:
    """A decoded frame with the times that the container gives it, in ticks of the stream; None where it does not."""

    ticks: int | None
    duration: int | None
    frame: av.VideoFrame


Frames: TypeAlias = Generator[TimedFrame, None, None]


def deinterlaced(decoded: Frames, time_base: Fraction, on_interlaced: Callable[[], None]) -> Frames:
    """The frames with interlaced ones deinterlaced (bwdif), which looks one frame ahead.

    `on_interlaced` is called for each interlaced frame. The filter begins with the first of them.
    """
    chain: _Chain | None = None
    with contextlib.closing(decoded):
        for timed in decoded:
            frame = timed.frame
            if frame.interlaced_frame:
                on_interlaced()
            if chain is None and not frame.interlaced_frame:
                yield timed
                continue
            if chain is not None and not chain.takes(frame):
                yield from chain.flush()
                chain = None
            if chain is None:
                chain = _Chain(frame, time_base, "bwdif", "mode=send_frame:parity=auto:deint=interlaced")
            yield from chain.push(timed)
    if chain is not None:
        yield from chain.flush()


def cropped(decoded: Frames, time_base: Fraction, crop: Crop, size: tuple[int, int]) -> Frames:
    """The frames without the edges that the container does not show. `size`: (height, width) that `crop` is meant for;
    frames of another size are left as they are."""
    height, width = size[0] - crop.top - crop.bottom, size[1] - crop.left - crop.right
    arguments = f"w={width}:h={height}:x={crop.left}:y={crop.top}:exact=1"
    chain: _Chain | None = None
    with contextlib.closing(decoded):
        for timed in decoded:
            if (timed.frame.height, timed.frame.width) != size:
                yield timed
                continue
            if chain is None or not chain.takes(timed.frame):
                chain = _Chain(timed.frame, time_base, "crop", arguments)
            yield from chain.push(timed)


class _Chain:
    """One filter between a source and a sink, for frames of one size and format."""

    def __init__(self, frame: av.VideoFrame, time_base: Fraction, name: str, arguments: str) -> None:
        self._form = _form(frame)
        self._time_base = time_base
        self._graph = av.filter.Graph()
        source = self._graph.add_buffer(
            width=frame.width, height=frame.height, format=frame.format, time_base=time_base
        )
        filter_, sink = self._graph.add(name, arguments), self._graph.add("buffersink")
        source.link_to(filter_)
        filter_.link_to(sink)
        self._graph.configure()
        self._waiting: deque[TimedFrame] = deque()

    def takes(self, frame: av.VideoFrame) -> bool:
        return _form(frame) == self._form

    def push(self, timed: TimedFrame) -> Iterator[TimedFrame]:
        self._waiting.append(timed)
        # By its own count: a frame without a time stamp is one all the same.
        timed.frame.pts, timed.frame.time_base = len(self._waiting), self._time_base
        self._graph.push(timed.frame)
        return self._ready()

    def flush(self) -> Iterator[TimedFrame]:
        self._graph.push(None)
        return self._ready()

    def _ready(self) -> Iterator[TimedFrame]:
        while self._waiting:
            try:
                frame = self._graph.pull()
            except (av.error.BlockingIOError, av.error.EOFError):
                return
            yield replace(self._waiting.popleft(), frame=cast(av.VideoFrame, frame))


def _form(frame: av.VideoFrame) -> tuple[int, int, str]:
    return frame.height, frame.width, frame.format.name
