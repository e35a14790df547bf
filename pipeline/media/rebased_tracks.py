"""The sound and subtitles of a file whose clock jumps, in a file of their own with one time line."""

from pathlib import Path

import av

from ..errors import MediaError
from .broadcast_clock import BroadcastClock
from .containers import error_reason, open_container

SUFFIX = ".nut"
"""NUT takes packets of every codec as they are, and any times."""


def write_rebased_tracks(source: Path, target: Path) -> None:
    """Copies the sound and subtitles of `source` to `target`, a NUT file, on the time line of `BroadcastClock`.

    Streams keep their order. Raises `InputError` for the source and `MediaError` where it cannot be written.
    """
    with open_container(source) as container:
        clock = BroadcastClock(container)
        try:
            with av.open(f"file:{target.absolute()}", mode="w", format=SUFFIX[1:]) as output:
                copies = {
                    stream.index: output.add_stream_from_template(stream)
                    for stream in (*container.streams.audio, *container.streams.subtitles)
                    if stream.codec_context is not None
                }
                for packet in container.demux():
                    if not clock.rebase(packet) or packet.stream_index not in copies or packet.dts is None:
                        continue
                    packet.stream = copies[packet.stream_index]
                    output.mux(packet)
        except (av.error.FFmpegError, OSError, ValueError) as error:
            raise MediaError(f"the sound of {source} cannot be put on one time line ({error_reason(error)})") from error
