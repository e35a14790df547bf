"""Facts of a container's streams that PyAV does not expose, as the ffmpeg program reports them.

Only files whose header holds one of the names of such a fact are looked at, since most have none.
"""

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from ..errors import MediaError
from .boxes import find_body
from .containers import CONTAINERS, PROTOCOLS, file_url
from .ffmpeg import ffmpeg_path

_TIMEOUT_SECONDS = 20
_MOST_HEADER_BYTES = 1 << 26
_MATROSKA_HEAD_BYTES = 1 << 16

_MOV_NAMES = (b"clap", b"dvcC", b"dvvC", b"dvwC")
_MATROSKA_IDS = (b"\x54\xaa", b"\x54\xbb", b"\x54\xcc", b"\x54\xdd", b"\x41\xe7")
"""PixelCropBottom, Top, Left and Right; BlockAddIDType, which announces Dolby Vision."""


@dataclass(frozen=True)
class Crop:
    """Stored pixels at each edge that the container asks players not to show."""

    top: int = 0
    bottom: int = 0
    left: int = 0
    right: int = 0


@dataclass(frozen=True)
class StreamFacts:
    """What the container says of a stream of pictures."""

    crop: Crop | None = None
    """What MP4 and MOV (`clap`) and Matroska (PixelCrop) crop; None where it is nothing."""

    dolby_vision: str | None = None
    """A line that says what becomes of Dolby Vision; None where there is none."""

    is_dolby_ipt: bool = False
    """Whether its pictures are those of Dolby Vision itself (IPT), with no base that others understand."""


def stream_facts(path: Path, stream_index: int) -> StreamFacts:
    """The facts of a stream; none where the ffmpeg program does not tell."""
    crop, dolby_vision, is_ipt = None, None, False
    for line in _side_data(path).get(stream_index, ()):
        if found := re.fullmatch(r"Frame Cropping: (\d+)/(\d+)/(\d+)/(\d+)", line):
            left, right, top, bottom = map(int, found.groups())
            crop = Crop(top, bottom, left, right) if any((left, right, top, bottom)) else None
        elif found := re.match(r"DOVI configuration record: .*profile: (\d+).*compatibility id: (\d+)", line):
            is_ipt = found[2] == "0"
            dolby_vision = (
                f"the colours of the video are Dolby Vision (profile {found[1]}): they are converted without its "
                "metadata, and a little off"
                if is_ipt
                else f"the Dolby Vision (profile {found[1]}) of the video is left out: its base picture is painted"
            )
    return StreamFacts(crop, dolby_vision, is_ipt)


def streams_of_other_programs(path: Path, stream_index: int) -> frozenset[int]:
    """The streams of a transport stream that belong to programs of which a stream is no part: those of other channels.

    Empty where the ffmpeg program does not tell.
    """
    programs: list[set[int]] = []
    is_listed = False
    for line in _report(path):
        if re.match(r"  (No )?Program\b", line):
            is_listed = not line.startswith("  No")
            programs += [set()] if is_listed else []
        elif is_listed and (found := _STREAM.match(line)):
            programs[-1].add(int(found[1]))
    own = set().union(*(program for program in programs if stream_index in program))
    return frozenset(set().union(*programs) - own) if own else frozenset()


_STREAM = re.compile(r"  Stream #0:(\d+)")


def _side_data(path: Path) -> dict[int, list[str]]:
    """The lines that ffmpeg prints for the side data of each stream, by the stream's index."""
    lines: dict[int, list[str]] = {}
    index: int | None = None
    for line in _report(path) if _may_hold_facts(path) else ():
        if found := _STREAM.match(line):
            index = int(found[1])
        elif index is not None and line.startswith("      "):
            lines.setdefault(index, []).append(line.strip())
    return lines


def _report(path: Path) -> list[str]:
    """The lines in which the ffmpeg program describes a file."""
    arguments = ["-hide_banner", "-nostdin", "-protocol_whitelist", PROTOCOLS, "-format_whitelist", CONTAINERS]
    try:
        command = [str(ffmpeg_path()), *arguments, "-i", file_url(path)]
        # It ends with an error, as it is given nothing to write.
        done = subprocess.run(
            command, check=False, stdin=subprocess.DEVNULL, capture_output=True, timeout=_TIMEOUT_SECONDS
        )
    except (OSError, subprocess.SubprocessError, MediaError):
        return []
    return done.stderr.decode("utf-8", "replace").splitlines()


def _may_hold_facts(path: Path) -> bool:
    try:
        with open(path, "rb") as file:
            head = file.read(_MATROSKA_HEAD_BYTES)
            if head.startswith(b"\x1a\x45\xdf\xa3"):
                return any(name in head for name in _MATROSKA_IDS)
            header = find_body(file, b"moov", most_bytes=_MOST_HEADER_BYTES) or b""
    except OSError:
        return False
    return any(name in header for name in _MOV_NAMES)
