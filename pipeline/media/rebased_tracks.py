"""The sound and subtitles of a file whose clock jumps, in a file of their own with one time line."""

from pathlib import Path

import av
from av.container import InputContainer

from ..errors import MediaError
from .broadcast_clock import BroadcastClock
from .containers import error_reason, open_container
from .theora_headers import header_of

SUFFIX = ".tracks"
"""Of the file that is written: NUT, which takes any sound as it is and any times, or else Matroska."""


def write_rebased_tracks(source: Path, target: Path, with_subtitles: bool = True) -> None:
    """Copies the sound and, if asked for, subtitles of `source` to `target`, on the time line of `BroadcastClock`.

    Streams keep their order. Raises `InputError` for the source and `MediaError` where it cannot be written.
    """
    with open_container(source) as container:
        # NUT knows no subtitles that are text.
        kind = "matroska" if container.format.name.startswith("matroska") else "nut"
        try:
            _copy(container, target, kind, with_subtitles)
        except (av.error.FFmpegError, OSError, ValueError) as error:
            raise MediaError(f"the sound of {source} cannot be put on one time line ({error_reason(error)})") from error


def _copy(container: InputContainer, target: Path, kind: str, with_subtitles: bool) -> None:
    clock = BroadcastClock(container)
    with av.open(f"file:{target.absolute()}", mode="w", format=kind) as output:
        copies = {
            stream.index: output.add_stream_from_template(stream)
            for stream in (*container.streams.audio, *(container.streams.subtitles if with_subtitles else ()))
            if stream.codec_context is not None
        }
        for packet in container.demux():
            if (
                header_of(packet) is not None
                or not clock.rebase(packet)
                or packet.stream_index not in copies
                or packet.dts is None
            ):
                continue
            packet.stream = copies[packet.stream_index]
            output.mux(packet)
