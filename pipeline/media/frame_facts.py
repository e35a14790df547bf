"""What decoded frames carry besides their pixels, and what becomes of it.

Rotation is applied by `orientation`, and high dynamic range is reduced with its limits and metadata by `hdr`. What
concerns the coded frames alone, as motion vectors, the settings of the encoder and the time codes that every MPEG-2
stream counts, has no meaning for painted ones.
"""

import struct
from collections.abc import Collection, Iterator
from typing import Any

import av

_LEFT_OUT = {
    "A53_CC": "the closed captions within the pictures are left out",
    "S12M_TIMECODE": "the time code of the pictures is left out",
    "ICC_PROFILE": "the ICC profile of the pictures is left out, and their colours are read by their tags alone",
    "SPHERICAL": "that the pictures are spherical (360°) is left out: players show them flat",
    "STEREO3D": "that the pictures are stereoscopic is left out: players show them as they are stored",
}
"""By PyAV's names of side data."""


def facts_of(frame: av.VideoFrame) -> Iterator[str]:
    """The names of the facts of a frame that painting does not keep."""
    try:
        side_data: list[Any] = list(frame.side_data)
    except ValueError:  # Something that PyAV has no name for.
        return
    for item in side_data:
        if item.type.name == "STEREO3D" and struct.unpack_from("i", bytes(item))[0] == 0:
            continue  # One view, which is said of plain pictures too.
        if item.type.name in _LEFT_OUT:
            yield item.type.name


def left_out(facts: Collection[str]) -> Iterator[str]:
    """A line for each of the facts of a film."""
    yield from dict.fromkeys(text for name, text in _LEFT_OUT.items() if name in facts)
