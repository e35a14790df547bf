"""An index of the frames of a video: the time and checksum that identify each, wherever decoding began.

Decoding from the middle of a film gives the same pictures as decoding from its beginning only if decoder and container
do what they should: pictures before a key frame in presentation may follow it in the file (open GOPs), containers find
the wrong frame, times start again, and what a damaged frame looks like depends on those before it. So nothing is
believed: reading a film from end to end notes the time and a checksum of every frame, and what is decoded after a seek
is taken for a frame only if it has both.
"""

import base64
import json
import zlib
from array import array
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import accumulate, islice, pairwise
from typing import Self

_LONGS, _WORDS = "q", "I"
_POINTS = 3
"""So many key frames before a frame are tried: a container may find one that is later, and a picture may need more."""


@dataclass(frozen=True)
class FrameIndex:
    """Times and checksums of all frames of a video."""

    times: "array[int]" = field(default_factory=lambda: array(_LONGS))
    """When each is shown, in ticks of the stream, as the file has it: strictly ascending."""

    checksums: "array[int]" = field(default_factory=lambda: array(_WORDS))
    """CRC-32 of each as it is decoded."""

    keys: "array[int]" = field(default_factory=lambda: array(_LONGS))
    """The frames that the container calls key frames, ascending."""

    @property
    def frame_count(self) -> int:
        return len(self.times)

    def add(self, ticks: int, checksum: int, *, is_key: bool) -> None:
        """Appends the next frame."""
        if is_key:
            self.keys.append(self.frame_count)
        self.times.append(ticks)
        self.checksums.append(checksum)

    def key_before(self, frame: int) -> int:
        """The last key frame at or before a frame; 0 where there is none."""
        following = bisect_right(self.keys, frame)
        return self.keys[following - 1] if following else 0

    def points(self, frame: int) -> Iterator[int]:
        """The key frames, other than frame 0, from which a frame can be decoded, nearest first."""
        following = bisect_right(self.keys, frame)
        return (key for key in islice(reversed(self.keys[:following]), _POINTS) if key > 0)

    def to_text(self) -> str:
        """The index as text for `from_text`, about 6 bytes a frame."""
        return json.dumps([_packed(self.times), _plain(self.checksums), _packed(self.keys)])

    @classmethod
    def from_text(cls, text: str) -> Self:
        times, checksums, keys = json.loads(text)
        words = array(_WORDS)
        words.frombytes(base64.b64decode(checksums))
        return cls(_unpacked(times), words, _unpacked(keys))


def _plain(numbers: "array[int]") -> str:
    return base64.b64encode(numbers.tobytes()).decode()


def _packed(numbers: "array[int]") -> str:
    """Ascending numbers, compressed as the steps between them, most of which are equal."""
    steps = array(_LONGS, (after - before for before, after in pairwise([0, *numbers])))
    return base64.b64encode(zlib.compress(steps.tobytes())).decode()


def _unpacked(text: str) -> "array[int]":
    steps = array(_LONGS)
    steps.frombytes(zlib.decompress(base64.b64decode(text)))
    return array(_LONGS, accumulate(steps))
