"""The headers of Theora (Theora specification, 6.1), which lie among the frames where Ogg files were appended.

Each of the files begins with them. libavformat takes those of the first, and gives the others as if they were frames.
"""

from typing import Any

import av
from av.stream import Stream

_IS_HEADER = 0x80
_COMMENT = 0x81


def is_theora(stream: Stream) -> bool:
    context = stream.codec_context
    return context is not None and context.codec.canonical_name == "theora"


def header_of(packet: "av.Packet[Any]") -> int | None:
    """The kind of header that a packet is; None for a frame."""
    if not packet.size or not is_theora(packet.stream):
        return None
    kind = bytes(packet)[0]
    return kind if kind & _IS_HEADER else None


def is_for_decoder(header: int) -> bool:
    """Whether a decoder takes this kind of header: those of sizes and tables, and no comments."""
    return header != _COMMENT
