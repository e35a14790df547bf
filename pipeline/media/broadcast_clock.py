"""One time line for containers of broadcasting, whose clock may jump.

MPEG transport and program streams are cut and appended byte by byte, and a transmitter may set its clock anew: the
time stamps of all streams then go back, or far ahead, from one packet to the next. Players go on where they were. So
does this: from a jump on, every stream is shifted by the same time, so that the pictures follow each other without a
gap and sound stays with them. People append Matroska files in the same way, whose players show what follows too.
"""

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
from av.container import InputContainer

_MAY_JUMP = 0x0200
"""libavformat's flag AVFMT_TS_DISCONT: the format allows jumps of the clock."""

_AHEAD_SECONDS = Fraction(10)
"""A clock that goes ahead by more has jumped; by less, something is missing there. ffmpeg's limit too."""

_STRAY_SECONDS = Fraction(2)
"""Streams reach a jump within this time of each other: the multiplexer sends one ahead of the other."""

_TOGETHER_SECONDS = Fraction(1, 2)
"""So far apart two streams may end before a jump; farther apart, one of them begins later after it."""

_MOST_DELAY_SECONDS = Fraction(2)
"""From decoding a picture to showing it."""

_DEFAULT_STEP = Fraction(1, 50)
"""Between two packets of a stream that does not say how long they last."""


@dataclass
class _StreamClock:
    """Where a stream is, in seconds on the time line."""

    offset: Fraction
    last: Fraction
    """Decoding time of its last packet."""

    step: Fraction
    """How long that packet lasts."""

    longest_gap: Fraction = Fraction(0)

    delay: int = 0
    """Ticks from decoding its last packet to showing it."""

    @property
    def expected(self) -> Fraction:
        return self.last + self.step


class BroadcastClock:
    """Moves the packets of a file onto one time line. Takes all of them, in the order of the file."""

    def __init__(self, container: InputContainer) -> None:
        self.jump_count = 0
        self._is_broadcast = bool(container.format.flags & _MAY_JUMP)
        self._may_jump = self._is_broadcast or container.format.name.startswith("matroska")
        self._pictures = {stream.index for stream in container.streams.video}
        self._sound = {stream.index for stream in container.streams.audio}
        self._streams: dict[int, _StreamClock] = {}
        self._offset = Fraction(0)
        """What is added to the clock since the last jump."""
        self._end: Fraction | None = None
        """Up to where the packets so far reach."""
        self._is_provisional = False
        """Whether the last jump was seen in sound, and no picture has followed."""

    def rebase(self, packet: "av.Packet[Any]") -> bool:
        """Changes the time stamps of a packet where the clock has jumped; returns whether the packet is to be used.

        Sound that overlaps what was there before the jump, by more than half a packet, is not.
        """
        # Matroska has no decoding times, and those that libavformat makes up are wrong behind a jump.
        stamp = packet.dts if self._is_broadcast and packet.dts is not None else packet.pts
        if not self._may_jump or stamp is None or not packet.time_base:
            return True
        index, base = packet.stream_index, packet.time_base
        time = stamp * base
        stream = self._streams.get(index)
        step = packet.duration * base if packet.duration else (stream.step if stream else _DEFAULT_STEP)
        if stream is None:
            stream = self._streams[index] = _StreamClock(self._offset, time + self._offset - step, step)
        else:
            self._follow(stream, time, index, may_jump=self._is_broadcast or packet.is_keyframe)
        shown = time + stream.offset
        if self.jump_count and index in self._sound and shown < stream.expected - stream.step / 2:
            return False
        gap = shown - stream.last
        stream.longest_gap = max(stream.longest_gap, gap)
        if index in self._pictures and gap > 0:
            step = gap  # How long a picture lasts is guessed by some demuxers, as half of it.
        stream.last, stream.step = shown if self._is_broadcast else max(stream.last, shown), step
        self._end = shown + step if self._end is None else max(self._end, shown + step)
        if self._is_broadcast:
            self._mend_presentation(packet, stream)
        if stream.offset:
            ticks = round(stream.offset / base)
            packet.dts = None if packet.dts is None else packet.dts + ticks
            packet.pts = None if packet.pts is None else packet.pts + ticks
        return True

    def _mend_presentation(self, packet: "av.Packet[Any]", stream: _StreamClock) -> None:
        """At a jump, the last picture before it may get the presentation time of the first one after it."""
        if packet.pts is None or packet.dts is None or not packet.time_base:
            return
        delay = packet.pts - packet.dts
        if 0 <= delay * packet.time_base <= _MOST_DELAY_SECONDS:
            stream.delay = delay
        else:
            packet.pts = packet.dts + stream.delay

    def _follow(self, stream: _StreamClock, time: Fraction, index: int, *, may_jump: bool) -> None:
        """Decides by which offset a packet at `time` of the file's clock continues its stream."""
        assert self._end is not None
        end, is_picture = self._end, index in self._pictures
        if index in self._sound and abs(time + stream.offset - stream.expected) <= stream.step / 2:
            return  # Its own clock goes on. In Ogg, that of the pictures alone begins anew.
        is_late = stream.offset != self._offset
        is_nearer = is_late and abs(time + self._offset - end) < abs(time + stream.offset - end)
        if is_nearer and self._fits(stream, time + self._offset, _STRAY_SECONDS):
            # The other streams have jumped already.
            stream.offset = self._offset
            self._align(stream, time, is_picture=is_picture)
            return
        # Subtitles and data come in any order, and so do pictures by the times at which they are shown.
        may_jump = may_jump and (is_picture or index in self._sound)
        if not may_jump or self._fits(stream, time + stream.offset, stream.step / 2):
            return
        self.jump_count += 1
        self._offset = stream.offset = stream.expected - time
        self._is_provisional = not is_picture

    def _fits(self, stream: _StreamClock, shown: Fraction, most_back: Fraction) -> bool:
        """Whether a packet at this time follows the one before; `most_back` is by how much it may precede that."""
        if self._end is None or shown < stream.last - most_back:
            return False
        # Other containers have slow pictures, and no clocks that go ahead.
        return not self._is_broadcast or shown <= self._end + max(_AHEAD_SECONDS, 3 * stream.longest_gap)

    def _align(self, stream: _StreamClock, time: Fraction, *, is_picture: bool) -> None:
        """Moves a jump that was seen in sound first, so that the pictures follow each other without a gap."""
        if not (is_picture and self._is_provisional):
            return
        self._is_provisional = False
        offset, before = stream.expected - time, self._offset
        if abs(offset - before) < _TOGETHER_SECONDS:
            self._offset = offset
            for other in self._streams.values():
                if other.offset == before:
                    other.offset = offset
