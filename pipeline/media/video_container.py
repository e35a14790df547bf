"""Video files, opened with PyAV: packets, decoded frames, damage, and the conversion to RGB."""

import contextlib
import zlib
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

import av
import numpy as np
from av.container import InputContainer
from av.stream import Disposition
from av.video.codeccontext import VideoCodecContext
from av.video.reformatter import Interpolation
from av.video.stream import VideoStream

from ..errors import InputError
from . import hdr, picture_colors, transfers, transport_stream
from .broadcast_clock import BroadcastClock
from .color import DOLBY_IPT, VideoColor, color_of, hdr_transfer
from .containers import BARE_STREAMS, MAX_PIXELS, describe_stream, error_reason, open_container, too_large, video_stream
from .frame_facts import facts_of, left_out
from .orientation import (
    display_matrix,
    displayed_size,
    fit_inside,
    padded,
    sample_aspect,
    swaps_sides,
    turn_upright,
)
from .picture_filters import Frames, TimedFrame, cropped, deinterlaced
from .stream_facts import stream_facts
from .theora_headers import header_of, is_for_decoder
from .truncation import is_complete, truncation_reason
from .video_info import DecodedPicture, VideoInfo, frame_count_text

_END_TOLERANCE_SECONDS = Fraction(1, 4)
"""A file that ends this much before its header says is cut off; by a frame or a block of sound, headers are wrong."""

LONGEST_STEP_SECONDS = 3600
"""Frames that come more seldom have no rate: encoders count the ticks between two at a constant rate in 31 bits."""

_INTERPOLATION = (
    Interpolation.BICUBIC
    | Interpolation.FULL_CHR_H_INT
    | Interpolation.FULL_CHR_H_INP
    | Interpolation.ACCURATE_RND
    | Interpolation.BITEXACT
)
"""Exact rounding and full chroma: the same frame gives the same pixels on every processor."""


class _Extent:
    """How far the packets of a file reach in time."""

    def __init__(self) -> None:
        self.end_seconds = Fraction(0)
        self._last_seconds: dict[int, Fraction] = {}
        self._longest_gap_seconds: dict[int, Fraction] = {}

    def add(self, packet: "av.Packet[Any]") -> None:
        if packet.pts is None or not packet.time_base:
            return
        begin, stream = packet.pts * packet.time_base, packet.stream.index
        gap = max(self.longest_gap_seconds(stream), abs(begin - self._last_seconds.get(stream, begin)))
        self._longest_gap_seconds[stream] = gap
        self._last_seconds[stream] = begin
        # A packet that does not say how long it lasts may last as long as any before it.
        lasts = packet.duration * packet.time_base if packet.duration else gap
        self.end_seconds = max(self.end_seconds, begin + lasts)

    def longest_gap_seconds(self, stream: int) -> Fraction:
        """The longest time between two consecutive packets of a stream."""
        return self._longest_gap_seconds.get(stream, Fraction(0))


@dataclass(frozen=True)
class DecodedFrame:
    source: "OpenVideo"
    frame: av.VideoFrame
    duration: int | None

    def rgb(self, max_width: int | None = None) -> np.ndarray:
        return self.source.to_rgb(self.frame, max_width)

    def alpha(self) -> np.ndarray | None:
        return self.source.alpha(self.frame)

    def checksum(self) -> int:
        """CRC-32 of the decoded picture: its samples and the facts that give them their meaning."""
        return self.source.checksum(self.frame)


class OpenVideo:
    """A video that is open for reading, as a context manager."""

    def __init__(
        self, path: Path, alive: Callable[[], None], reported: Callable[[], str | None], stream: int | None = None
    ) -> None:
        self.path = path
        self._stream_index = stream
        self._alive = alive
        self._reported = reported
        self.damage: list[str] = []
        self.interlaced_count = self.jump_count = self.resized_count = self.barred_count = 0
        self.has_unique_times = True
        """Whether each frame so far came as it was decoded, with a time of its own, after that of the one before."""
        self._frame_facts: set[str] = set()
        self.key_times: set[int] = set()
        """When the frames are shown that the container calls key frames, in ticks."""
        self.last_end_ticks: int | None = None
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            self._reported()  # What an earlier file gave cause for.
            self._container = open_container(self.path)
            stack.callback(self._container.close)
            self._stream = video_stream(self._container, self.path, self._stream_index)
            self.time_base = self._time_base()
            self._alpha_decoder = _alpha_decoder(self._stream)
            self._facts = stream_facts(self.path, self._stream.index)
            self._decoded = self._filtered(deinterlaced(self._decode(), self.time_base, self._count_interlaced))
            stack.callback(self._stop_decoding)
            try:
                self._first: TimedFrame | None = next(self._decoded)
            except StopIteration:
                reason = f" ({self.damage[0]})" if self.damage else ""
                raise InputError(
                    f"cannot read video {self.path}: not one of its frames can be decoded{reason}; get it again"
                ) from None
            self._matrix = display_matrix(self._first.frame) or (1, 0, 0, 1)
            self._aspect = sample_aspect(self._stream)
            self._color = self._color_of(self._first.frame)
            self.info = self._describe(self._first.frame)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.close()

    def frames(self) -> Iterator[tuple[int, int, DecodedPicture]]:
        """(index, time in ticks, picture), in presentation order, with strictly ascending times."""
        step = max(1, round(1 / (self.info.rate * self.time_base)))
        index, last = 0, None
        timed, self._first = self._first, None
        while timed is not None:
            ticks = timed.ticks
            self.has_unique_times &= ticks is not None and (last is None or ticks > last)
            self.has_unique_times &= not self.interlaced_count and not self.jump_count
            if ticks is None:
                ticks = 0 if last is None else last + step
            elif last is not None and ticks <= last:
                ticks = last + 1  # Two frames at one time are still two frames, and no container holds them so.
            self._count_shape(timed.frame)
            self._frame_facts.update(facts_of(timed.frame))
            yield index, ticks, DecodedFrame(self, timed.frame, timed.duration)
            index, last = index + 1, ticks
            timed = next(self._decoded, None)

    def from_key(self, ticks: int) -> Iterator[tuple[int | None, DecodedFrame]]:
        """(Time in ticks or None, picture) of what is decoded after a seek to the key frame at `ticks`.

        Decoding may begin earlier or later, and first give pictures that lack their references. Ends with an interlaced
        frame.
        """
        self._stop_decoding()
        try:
            self._container.seek(ticks, stream=self._stream)
        except av.error.FFmpegError:
            return
        self._alpha_decoder = _alpha_decoder(self._stream)
        self._decoded = self._filtered(self._decode())
        for timed in self._decoded:
            if timed.frame.interlaced_frame:
                return
            yield timed.ticks, DecodedFrame(self, timed.frame, timed.duration)

    def _stop_decoding(self) -> None:
        self._decoded.close()

    def checksum(self, frame: av.VideoFrame) -> int:
        """CRC-32 of the decoded picture: its samples and the facts that give them their meaning."""
        form = frame.format
        what = (form.name, frame.width, frame.height, *vars(color_of(frame, self._stream)).values())
        crc = zlib.crc32(repr(what).encode())
        planes = {component.plane: (component.bits + 7) // 8 for component in form.components}
        plain = len(planes) == len(form.components) == len(frame.planes)
        if not plain or any(plane.line_size <= 0 for plane in frame.planes):
            # Samples of several kinds side by side: rather what is made of them.
            alpha = self.alpha(frame)
            return zlib.crc32(b"" if alpha is None else alpha.data, zlib.crc32(self.to_rgb(frame).data, crc))
        for position, plane in enumerate(frame.planes):
            rows = np.frombuffer(cast(Any, plane), np.uint8).reshape(-1, plane.line_size)
            # Beyond the width lies whatever was there before.
            crc = zlib.crc32(np.ascontiguousarray(rows[: plane.height, : plane.width * planes[position]]).data, crc)
        return crc

    def damage_summary(self, frame_count: int) -> str:
        declared = self.info.frame_count_declared
        of = f" of {declared}" if declared and declared > frame_count else ""
        more = f", and {len(self.damage) - 1} more such errors" if len(self.damage) > 1 else ""
        return f"{frame_count_text(frame_count, of)} can be read, and {self.damage[0]}{more}"

    @property
    def stores_durations(self) -> bool:
        """Whether the container says how long each frame stays; of others libavformat gives the usual time."""
        return self._container.format.name.startswith(("mov", "matroska", "gif"))

    def not_kept(self) -> Iterator[str]:
        """A line for everything that reading the pictures could not keep as it is; complete after the last frame."""
        for stream in self._container.streams.video:
            is_cover = stream.disposition & Disposition.attached_pic or stream.codec_context is None
            if stream.index != self._stream.index and not is_cover:
                yield f"video {describe_stream(stream)} is not painted: `video_stream={stream.index}` paints it instead"
        if self._container.format.name in BARE_STREAMS and not self._stream.codec_context.framerate:
            yield f"the file has no times: its frames are shown at {float(self.info.rate):g} a second"
        if self.interlaced_count:
            yield "the video is interlaced: the two fields of a frame are made one picture (bwdif)"
        if self.info.hdr:
            yield f"the video is of high dynamic range ({self.info.hdr}): it is reduced to standard (BT.709, 8 bits)"
        if transfers.is_recoded(self._color.transfer):
            yield f"the video codes light by the function {self._color.transfer}: it is converted to that of a screen"
        if what := picture_colors.misunderstood(self._color):
            yield f"the colours of the video {what}"
        if self._facts.dolby_vision is not None:
            yield self._facts.dolby_vision
        yield from left_out(self._frame_facts)
        if self.jump_count:
            times = "once" if self.jump_count == 1 else f"{self.jump_count} times"
            yield f"the clock of the video jumps {times}: picture and sound go on where they were, without a gap"
        if self.resized_count:
            how = "reduced or enlarged to its size"
            if self.barred_count:
                how += f", {self.barred_count} of them of another shape between black bars"
            which = frame_count_text(self.resized_count)
            yield f"{which} of the video {_are(self.resized_count)} not of the size of the first: {how}"
        if self._facts.crop is not None:
            edges = ", ".join(f"{count} {edge}" for edge, count in vars(self._facts.crop).items() if count)
            yield f"the pixels that the container crops are not painted ({edges})"

    def to_rgb(self, frame: av.VideoFrame, max_width: int | None = None) -> np.ndarray:
        """A decoded frame as an upright `H×W×3` uint8 RGB array of the displayed size, or reduced to `max_width`.

        A frame of another shape than the first keeps it, between black bars.
        """
        size = height, width = self.info.size
        interpolation = _INTERPOLATION
        if max_width is not None and width > max_width:
            size = max(1, round(height * max_width / width)), max_width
            interpolation = Interpolation.AREA | Interpolation.ACCURATE_RND | Interpolation.BITEXACT
        matrix = self._matrix_of(frame)
        height, width = fit_inside(self._displayed_size(frame, matrix), size)
        if swaps_sides(matrix):
            height, width = width, height
        color = self._color_of(frame)
        image = picture_colors.to_rgb(frame, color, (height, width), interpolation, self.info.size[0])
        return padded(turn_upright(image, matrix), size)

    def _color_of(self, frame: av.VideoFrame) -> VideoColor:
        is_ipt = self._facts.is_dolby_ipt and not frame.format.is_rgb
        return DOLBY_IPT if is_ipt else color_of(frame, self._stream)

    def alpha(self, frame: av.VideoFrame) -> np.ndarray | None:
        """The alpha of a decoded frame, `H×W` uint8, at the size of `to_rgb`; None where all is opaque."""
        if not any(component.is_alpha for component in frame.format.components):
            return None
        matrix = self._matrix_of(frame)
        height, width = fit_inside(self._displayed_size(frame, matrix), self.info.size)
        if swaps_sides(matrix):
            height, width = width, height
        converted = frame.reformat(width=width, height=height, format="rgba", interpolation=_INTERPOLATION)
        alpha = padded(turn_upright(converted.to_ndarray()[..., 3], matrix), self.info.size)
        return None if alpha.min() == 255 else alpha

    def _matrix_of(self, frame: av.VideoFrame) -> tuple[int, int, int, int]:
        # Of a container that turns the film, later frames may not say so again.
        return display_matrix(frame) or self._matrix

    def _displayed_size(self, frame: av.VideoFrame, matrix: tuple[int, int, int, int]) -> tuple[int, int]:
        return displayed_size(frame.height, frame.width, self._aspect, matrix)

    def _count_shape(self, frame: av.VideoFrame) -> None:
        size = self._displayed_size(frame, self._matrix_of(frame))
        self.resized_count += size != self.info.size
        self.barred_count += fit_inside(size, self.info.size) != self.info.size

    def _count_interlaced(self) -> None:
        self.interlaced_count += 1

    def _filtered(self, decoded: Frames) -> Frames:
        """The frames without what the container crops."""
        if self._facts.crop is None:
            return decoded
        context = self._stream.codec_context
        return cropped(decoded, self.time_base, self._facts.crop, (context.height, context.width))

    def _decode(self) -> Frames:
        """Every whole frame; `damage` gets a line for what is not."""
        # AVI has no presentation times: its packets come at regular ones, in the order of decoding. The frames, put in
        # the order of presentation, take these one by one; guessing from the codec's reordering skips one.
        without_times = self._container.format.name == "avi"
        self.has_unique_times &= not without_times
        arrivals: deque[int] = deque()
        extent, clock = _Extent(), BroadcastClock(self._container)
        packets = 0
        try:
            for packet in self._container.demux():
                self._alive()
                if (header := header_of(packet)) is not None:
                    self._take_header(packet, header)
                    continue
                if not clock.rebase(packet):
                    continue
                extent.add(packet)
                if packet.stream.index != self._stream.index:
                    continue
                packets += packet.size > 0
                if packet.is_keyframe and packet.pts is not None:
                    self.key_times.add(packet.pts)
                if not packet.size and packet.pts is not None:
                    # In Theora: the picture before stays.
                    self.last_end_ticks = packet.pts + (packet.duration or 0)
                    continue
                if without_times and packet.dts is not None and packet.size:
                    arrivals.append(packet.dts)
                if packet.is_corrupt and not self._is_whole(packet):
                    self._note(f"the file ends or breaks inside the frame at {_seconds(packet)}")
                    continue
                try:
                    frames = packet.decode() if self._alpha_decoder is None else self._alpha_decoder.decode(packet)
                except av.error.FFmpegError as error:
                    if not isinstance(error, av.error.EOFError):
                        self._note(f"the frame at {_seconds(packet)} cannot be decoded ({error_reason(error)})")
                    continue
                for frame in cast(list[av.VideoFrame], frames):
                    ticks = arrivals.popleft() if arrivals else frame.pts
                    if frame.is_corrupt:
                        self._note(f"the frame at {_seconds(frame)} is incomplete")
                        continue
                    yield TimedFrame(ticks, frame.duration or None, frame)
                self.jump_count = clock.jump_count
        except av.error.FFmpegError as error:
            reason = error_reason(error)
            if isinstance(error, av.error.PatchWelcomeError) and self._container.format.name == "ogg":
                reason = "another file is appended there: paint it by itself"
            self._note(f"the file cannot be read on after {float(extent.end_seconds):.3f} s ({reason})")
        self._note_what_is_missing(packets, extent)

    def _take_header(self, packet: "av.Packet[Any]", header: int) -> None:
        """Prepares the decoder for a file that was appended to the one before."""
        if packet.stream.index == self._stream.index and is_for_decoder(header):
            try:
                packet.decode()
            except av.error.FFmpegError as error:
                self._note(f"the header of the file that follows cannot be read ({error_reason(error)})")

    def _is_whole(self, packet: "av.Packet[Any]") -> bool:
        """Whether a frame that the demuxer calls corrupt lies whole at the seam of two files."""
        if self._container.format.name != "mpegts" or packet.pos is None:
            return False
        return transport_stream.is_whole(self.path, self._stream.id, packet.pos)

    def _note_what_is_missing(self, packets: int, extent: "_Extent") -> None:
        """Compares what was read with what the header promises: a file that is cut between two frames decodes
        cleanly."""
        # MP4 lists every packet, so there even one that is missing shows; a list without edits that were cut away.
        listed = len(self._stream.index_entries) if self._container.format.name.startswith("mov") else 0
        if packets < listed and not self.damage:
            self._note(f"{listed - packets} of its {listed} frames are missing at the end of the file")
        if listed and packets >= listed and self._stream.duration:
            # Which sample says how long the last frame stays depends on the order of decoding.
            self.last_end_ticks = (self._stream.start_time or 0) + self._stream.duration
            extent.end_seconds = max(extent.end_seconds, self.last_end_ticks * self.time_base)
        declared, end = _declared_end(self._container), extent.end_seconds
        tolerance = max(_END_TOLERANCE_SECONDS, extent.longest_gap_seconds(self._stream.index))
        if declared is not None and end < declared - tolerance and not self.jump_count:
            if self._may_hold(declared - end):
                self.last_end_ticks = int(declared / self.time_base)
            else:
                self._note(f"the file ends at {float(end):.3f} s where its header says {float(declared):.3f} s")
        if not self.damage and (what := truncation_reason(self.path)):
            self._note(what)
        if (report := self._reported()) and not self.damage:
            self._note(f"its decoder reports: {report}")

    def _may_hold(self, seconds: Fraction) -> bool:
        """Whether the last frame is held for the time that the header promises beyond it: where the file is whole, and
        the container says in no other way how long a frame stays."""
        is_silent = self._container.format.name in ("avi", "flv", "asf", "ogg")
        return is_silent and not self.damage and seconds <= LONGEST_STEP_SECONDS and is_complete(self.path)

    def _note(self, what: str) -> None:
        if len(self.damage) < 1000:
            self.damage.append(what)

    def _time_base(self) -> Fraction:
        if not self._stream.time_base:
            raise InputError(f"cannot read video {self.path}: its clock is missing; write it anew with ffmpeg")
        return self._stream.time_base

    def _describe(self, first: av.VideoFrame) -> VideoInfo:
        stream, container = self._stream, self._container
        height, width = displayed_size(first.height, first.width, self._aspect, (1, 0, 0, 1))
        if width * height > MAX_PIXELS:
            raise too_large(self.path, width, height)
        a, b, c, d = self._matrix
        rotation = 0 if (a, d) == (1, 1) else 180 if (a, d) == (-1, -1) else 90 if (b, c) == (1, -1) else 270
        mirrored = a * d - b * c < 0
        if mirrored:  # Counted as mirrored left to right first, then turned.
            rotation = {(-1, 0): 0, (1, 0): 180, (0, 1): 270, (0, -1): 90}[(a, c)]
        rate = stream.average_rate or stream.guessed_rate or stream.base_rate
        duration = None if container.duration is None else Fraction(container.duration, av.time_base)
        color = self._color
        reduced = hdr_transfer(color)
        return VideoInfo(
            path=self.path,
            size=(width, height) if swaps_sides(self._matrix) else (height, width),
            rate=Fraction(rate) if rate else Fraction(25),
            time_base=self.time_base,
            frame_count_declared=stream.frames or None,
            duration_seconds_declared=duration,
            start_seconds_declared=Fraction(container.start_time or 0, av.time_base),
            rotation=rotation,
            mirrored=mirrored,
            has_audio=len(container.streams.audio) > 0,
            color=picture_colors.painted_color(color),
            hdr=hdr.TRANSFERS[reduced] if reduced else None,
            sample_aspect=self._aspect,
            codec=stream.codec_context.codec.canonical_name,
        )


def _are(count: int) -> str:
    return "is" if count == 1 else "are"


def _seconds(item: Any) -> str:
    return "an unknown time" if item.pts is None else f"{float(item.pts * item.time_base):.3f} s"


def _alpha_decoder(stream: VideoStream) -> VideoCodecContext | None:
    """The decoder of VP9's alpha, which is stored beside the pictures; None where the usual decoder has it."""
    if stream.codec_context.codec.canonical_name != "vp9" or stream.metadata.get("alpha_mode") != "1":
        return None
    return av.CodecContext.create("libvpx-vp9", "r")


def _declared_end(container: InputContainer) -> Fraction | None:
    if not container.duration or container.duration <= 0:
        return None
    start = container.start_time or 0
    if container.format.name.startswith("matroska"):
        start = min(start, 0)  # Programs differ in whether they count from the first picture or from zero.
    return Fraction(container.duration + start, av.time_base)
