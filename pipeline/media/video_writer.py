"""Writing videos through the ffmpeg program, frame by frame, with exact times.

See `pipeline.media` for the conventions.
"""

import contextlib
import errno
import math
import os
import re
import signal
import subprocess
import tempfile
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import IO, Literal, Self

import av
import numpy as np
from av.container import OutputContainer

from ..errors import InputError, MediaError, OutputError, StorageError
from ..storage import atomic_file, storage_error
from .codecs import Encoding
from .color import VideoColor
from .containers import CONTAINERS, OUTPUT_SUFFIXES, PROTOCOLS, file_url, open_container, video_stream
from .ffmpeg import ffmpeg_path
from .mov_tracks import mark_tracks
from .timing import Timing
from .tracks import Tracks

_MUXERS = {".mp4": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm", ".gif": "gif"}

_MIN_TICKS_A_SECOND = 10_000
_MAX_TICKS_A_SECOND = (1 << 31) - 1
"""Also the most ticks that one packet lasts."""

_FAST_RATE = 1000
"""Frames a second."""

_MOST_GIF_DELAY = 65_535
"""Hundredths of a second that a picture of a GIF may stay; so often may it be repeated, too."""

KILL_AFTER_SECONDS = 3.0
"""How long ffmpeg may take to end before it is killed."""

_SAYS_LITTLE = r"Conversion failed|Terminating thread|Task finished|Error opening output file|Nothing was written into"
"""Messages of ffmpeg that follow from others."""


class _AbandonedError(Exception):
    """The writer's block ended with an exception."""


class VideoWriter:
    """Writes a video frame by frame, with exact times, through an ffmpeg process; a context manager.

    On a clean exit every frame of `timing` is written and the complete file appears under its name, atomically. In any
    other case nothing is left behind. No ffmpeg process outlives the block.

    - `encoding` says how pictures are encoded; what it leaves open follows from the file's ending (`media.codecs`).
    - Times are those of `timing`, to the tick, in MP4 and MOV. Matroska and WebM keep milliseconds (and the exact rate
      where it is constant), GIF hundredths of a second.
    - Sound, subtitles, chapters and metadata come from `tracks`, copied where the container takes them, and stay in
      sync with the pictures. Of a `part`, only what lies in it is written.

    `notes` has a line for each thing that was lost.
    """

    def __init__(
        self,
        path: Path,
        size: tuple[int, int],
        timing: Timing,
        *,
        color: VideoColor | None = None,
        encoding: Encoding = Encoding(),
        has_alpha: bool = False,
        tracks: Tracks = Tracks(),
        plays: int = 0,
        part: tuple[Fraction, Fraction] | None = None,
        preset: str = "medium",
        kill_after_seconds: float = KILL_AFTER_SECONDS,
    ) -> None:
        """
        path: the video to write; its ending, one of `OUTPUT_SUFFIXES`, names the container.
        size: (height, width) of every frame.
        timing: when each frame is shown, on the clock of the file that `tracks` are from, where there is one.
        color: tags and matrix of the output; what is None there is BT.709 (below 720 lines, in a video
            that has a `color` other than RGB, BT.601, as when reading). None: BT.709. The range written is limited,
            but where the encoding asks for RGB.
        encoding: codec, quality and pixel format.
        has_alpha: frames have a fourth channel, 255 where they are opaque; it is dropped, with a note, where the
            encoding does not take it.
        tracks: what goes along, see `tracks.read_tracks`.
        plays: how often a GIF is played, 0 for ever.
        part: (start, end) in seconds on the clock of `timing`; None takes all of the tracks.
        preset: the speed preset of x264 and x265.
        kill_after_seconds: how long ffmpeg may take to end before it is killed.

        Raises `OutputError` for an ending that cannot be written, `UsageError` for an encoding that does not go
        with it.
        """
        self._suffix = path.suffix.lower()
        if self._suffix not in OUTPUT_SUFFIXES:
            raise OutputError(
                f"cannot write a video as {path.name}: use one of the endings {' '.join(OUTPUT_SUFFIXES)}"
            )
        if min(size) < 1:
            raise ValueError(f"a video of {size[0]}×{size[1]} has no pixels")
        if not timing.times:
            raise ValueError("a video has at least one frame, and timing holds none")
        if part is not None and part[0] >= part[1]:
            raise ValueError(f"part {part} is empty")
        self.path = path
        self.size = size
        self.timing = timing
        self.notes: list[str] = []
        """What could not be kept as it was, one line each; complete after a clean exit."""
        self.frames_written = 0
        self._color = _output_color(color, size[0])
        self._channels = 4 if has_alpha else 3
        self._choice = encoding.choose(self._suffix, size, has_alpha)
        self._preset = preset
        self._kill_after_seconds = kill_after_seconds
        self._tracks = tracks
        self._plays = plays
        self._part = part
        self._state: Literal["new", "open", "failed", "closed"] = "new"

    # --- life ---

    def __enter__(self) -> Self:
        if self._state != "new":
            raise MediaError(f"the writer of {self.path} is used up: make a new one for each video")
        with contextlib.ExitStack() as stack:
            self._temporary = stack.enter_context(atomic_file(self.path))
            self._stderr: IO[bytes] = stack.enter_context(tempfile.TemporaryFile())
            # Named so that what a crash leaves of it is removed with the rest.
            ffmetadata = tempfile.NamedTemporaryFile(
                dir=self._temporary.parent, prefix=f"{self._temporary.name}.", suffix=".ffmetadata"
            )
            self._ffmetadata_file: IO[bytes] = stack.enter_context(ffmetadata)
            self.notes += self._choice.notes
            self._process = self._start()
            stack.callback(self._end_process)
            self._pipe = self._open_pipe()
            self._files = stack.pop_all()
        self._state = "open"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is not None:
            self._state = "failed"
            # Not the error itself: `atomic_file` would take somebody else's OSError for one of this file.
            with contextlib.suppress(_AbandonedError), self._files:
                raise _AbandonedError
            return
        # The stack ends ffmpeg first, and then the file is renamed or removed, by whether `_finish` raised.
        try:
            with self._files:
                self._finish()
        except BaseException:
            self._state = "failed"
            raise
        self._state = "closed"

    def write(self, array: np.ndarray) -> None:
        """Writes the next frame: `H×W×3` uint8 RGB of the video's size, or `H×W×4` with alpha.

        Raises `MediaError`, or `StorageError` when the disk is full, once ffmpeg has ended; and `MediaError` outside
        the block, after a failure, and beyond the last frame.
        """
        if self._state != "open":
            state = {"new": "not open yet", "failed": "ended by an error", "closed": "finished"}[self._state]
            raise MediaError(f"cannot write a frame to {self.path}: its writer is {state}")
        if array.shape != (*self.size, self._channels) or array.dtype != np.uint8:
            raise ValueError(
                f"a frame of {self.path.name} is {self.size[0]}×{self.size[1]}×{self._channels} uint8, "
                f"and this one is {'×'.join(map(str, array.shape))} {array.dtype}"
            )
        if self.frames_written >= self.timing.frame_count:
            raise MediaError(f"cannot write a frame to {self.path}: all of its {self.timing.frame_count} are written")
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(array), format=self._raw_format)
        frame.pts = self._ticks[self.frames_written]
        frame.time_base = Fraction(1, self._ticks_a_second)
        try:
            self._pipe.mux(self._raw.encode(frame))
        except (OSError, av.error.FFmpegError) as error:
            self._state = "failed"
            raise self._failure() from error
        self.frames_written += 1

    def _finish(self) -> None:
        if self._state == "failed":
            raise self._failure()
        if self.frames_written != self.timing.frame_count:
            raise MediaError(
                f"could not write {self.path}: {self.frames_written} of its {self.timing.frame_count} frames came"
            )
        try:
            self._pipe.mux(self._raw.encode(None))
            self._pipe.close()
            assert self._process.stdin is not None
            self._process.stdin.close()
        except (OSError, av.error.FFmpegError) as error:
            raise self._failure() from error
        if self._process.wait() != 0:
            raise self._failure()
        if self._suffix in (".mp4", ".mov") and self._temporary.is_file():
            mark_tracks(self._temporary, self._tracks.mov_marks(self._suffix))
        self._check_result()
        if damage := self._damage_along():
            self.notes.append(f"what goes along with the pictures is damaged: {damage}")

    def _end_process(self) -> None:
        """Ends ffmpeg: asks it to, then kills it."""
        process = self._process
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(self._kill_after_seconds)
            except subprocess.TimeoutExpired:
                process.kill()
        process.wait()
        # Only now: closing flushes, and a full pipe to a living process would block.
        with contextlib.suppress(OSError, av.error.FFmpegError):
            if hasattr(self, "_pipe"):
                self._pipe.close()
        with contextlib.suppress(OSError):
            if process.stdin is not None:
                process.stdin.close()

    def _failure(self) -> MediaError | StorageError:
        """The error that says why ffmpeg stopped. Waits for its end, as messages may still be on their way."""
        with contextlib.suppress(OSError):
            if self._process.stdin is not None:
                self._process.stdin.close()
        try:
            status = self._process.wait(self._kill_after_seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            status = self._process.wait()
        words = self._last_words()
        for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS):
            if os.strerror(number) in words or (number == errno.EFBIG and status == -signal.SIGXFSZ):
                return storage_error(OSError(number, os.strerror(number)), self.path)
        if status < 0:
            name = signal.Signals(-status).name
            return MediaError(f"could not write {self.path}: ffmpeg was ended by {name}; run the same command again")
        return MediaError(f"could not write {self.path}: ffmpeg ended with status {status} ({words or 'no message'})")

    def _last_words(self) -> str:
        """The most telling line of ffmpeg's messages: the last that names a cause, without its address in memory."""
        lines = self._messages()
        full = [line for line in lines if "No space left" in line or "Disk quota" in line]
        told = [line for line in lines if not re.search(_SAYS_LITTLE, line)]
        return _without_address((full or told or lines or [""])[-1])

    def _damage_along(self) -> str | None:
        """ffmpeg's message about broken sound or subtitles, which it copied as far as they go."""
        told = [line for line in self._messages() if re.match(r"\[(in|aist|sist)#1\b", line)]
        return _without_address(told[0]) if told else None

    def _messages(self) -> list[str]:
        size = self._stderr.seek(0, os.SEEK_END)
        self._stderr.seek(max(0, size - 20_000))
        return [line.strip() for line in self._stderr.read().decode("utf-8", "replace").splitlines() if line.strip()]

    # --- how ---

    def _start(self) -> "subprocess.Popen[bytes]":
        self._place_in_time()
        command = [str(ffmpeg_path()), *self._input_arguments(), *self._output_arguments()]
        try:
            # A session of its own: Ctrl-C is for the program that writes, which ends ffmpeg when it wants to.
            return subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                # A file and not a pipe: nobody has to drain it while frames are written.
                stderr=self._stderr,
                start_new_session=True,
            )
        except OSError as error:
            raise MediaError(f"could not start ffmpeg ({command[0]}): {error.strerror or error}") from error

    def _place_in_time(self) -> None:
        """Chooses the tick, and the zero of the output on the source's clock; `_ticks` are the frames' times from it.

        Zero is where the written part begins, or the source, or without a source the first frame. It is rounded down to
        a tick of the video stream, for sound and pictures alike, so that frame times stay exact and neither shifts.
        """
        origin = self.timing.start_seconds
        if self._part is not None:
            origin = min(self._part[0], origin)
        elif self._tracks.audio:
            origin = min(self._tracks.start_seconds, origin)
        base = self.timing.time_base
        rate = base.denominator
        while rate < _MIN_TICKS_A_SECOND:
            rate *= 2
        if rate > _MAX_TICKS_A_SECOND:
            raise MediaError(f"could not write {self.path}: no container has a clock of {rate} ticks a second")
        self._ticks_a_second = rate
        self._origin = Fraction(math.floor(origin / base)) * base
        self._ticks = [int((ticks * base - self._origin) * rate) for ticks in self.timing.times]

    @property
    def _raw_format(self) -> str:
        return "rgba" if self._channels == 4 else "rgb24"

    def _open_pipe(self) -> OutputContainer:
        """Opens a NUT stream of raw frames into ffmpeg, which, unlike plain raw video, has a time stamp for each
        frame."""
        height, width = self.size
        pipe = av.open(self._process.stdin, mode="w", format="nut", buffer_size=1 << 20)
        stream = pipe.add_stream("rawvideo", rate=self.timing.rate or 25)
        stream.width, stream.height, stream.pix_fmt = width, height, self._raw_format
        stream.time_base = stream.codec_context.time_base = Fraction(1, self._ticks_a_second)
        self._raw = stream
        return pipe

    def _input_arguments(self) -> list[str]:
        arguments = ["-nostdin", "-hide_banner", "-nostats", "-loglevel", "error", "-y"]
        arguments += ["-protocol_whitelist", PROTOCOLS, "-f", "nut", "-i", "pipe:0"]
        metadata_input = "1"
        source = self._tracks.source
        if source is not None and self._tracks.has_streams:
            metadata_input = "2"
            arguments += ["-protocol_whitelist", PROTOCOLS, "-format_whitelist", CONTAINERS]
            arguments += ["-itsoffset", _decimal(-self._origin), "-i", file_url(source)]
        metadata = self._tracks.ffmetadata(self._origin, self._part, self.timing)
        self._ffmetadata_file.write(metadata.encode("utf-8", "replace"))
        self._ffmetadata_file.flush()
        arguments += ["-f", "ffmetadata", "-i", file_url(Path(self._ffmetadata_file.name))]
        # What the streams say of themselves, as their language, goes with them.
        arguments += ["-map_metadata:g", f"{metadata_input}:g", "-map_chapters", metadata_input]
        return [*arguments, "-map", "0:v:0", "-copyts", "-fps_mode", "passthrough", "-enc_time_base:v", "demux"]

    def _output_arguments(self) -> list[str]:
        part = None
        if self._part is not None:
            part = _decimal(self._part[0] - self._origin), _decimal(self._part[1] - self._origin)
        along, notes = self._tracks.arguments(self._suffix, part)
        self.notes += notes
        code = self._tracks.time_code
        if code is not None and (loss := code.loss(self._suffix, self.timing)) is not None:
            self.notes.append(loss)
        # Sound may wait long for the first frame of a thorough encoder.
        arguments = [*self._picture_arguments(), *along, "-max_muxing_queue_size", "100000"]
        if self._suffix in (".mp4", ".mov"):
            # The movie's clock places the sound against the picture; it takes both exactly where it can.
            movie = self._ticks_a_second
            for audio in self._tracks.audio:
                common = math.lcm(movie, audio.sample_rate or 1)
                movie = common if common <= _MAX_TICKS_A_SECOND else movie
            arguments += ["-video_track_timescale", str(self._ticks_a_second), "-movie_timescale", str(movie)]
            arguments += ["-movflags", "+faststart"]
        # Bit-exact: no version, date or random number in the file, so the same frames give the same bytes.
        arguments += ["-fflags", "+bitexact", "-flags:v", "+bitexact", "-flags:a", "+bitexact"]
        return [*arguments, "-f", _MUXERS[self._suffix], file_url(self._temporary)]

    def _picture_arguments(self) -> list[str]:
        choice = self._choice
        if self._suffix == ".gif":
            # A palette for each frame, so that no more than a frame is held; one for all would need all of them.
            palette = "split[a][b];[a]palettegen=stats_mode=single[p];[b][p]paletteuse=new=1"
            last = self.timing.end_seconds - self.timing.times[-1] * self.timing.time_base
            delay = str(min(round(100 * last), _MOST_GIF_DELAY) if last else -1)
            # Its number is that of the repetitions; without one it is played once.
            loop = {0: 0, 1: -1}.get(self._plays, self._plays - 1)
            return ["-vf", palette, "-final_delay", delay, "-loop", str(min(loop, _MOST_GIF_DELAY))]
        color = self._color
        shown = "pc" if choice.is_full_range else "tv"
        scale = (
            f"scale=in_range=pc:out_range={shown}"
            + ("" if choice.is_rgb else f":out_color_matrix={color.matrix}")
            + ":flags=bicubic+accurate_rnd+full_chroma_int+full_chroma_inp+bitexact"
        )
        # On the frames and not as options of the encoder, which the frames' own tags, or lack of them, would override.
        tags = (
            f"setparams=colorspace={'gbr' if choice.is_rgb else color.matrix}:range={shown}"
            f":color_primaries={color.primaries}:color_trc={color.transfer}"
        )
        arguments = ["-vf", f"{scale},format={choice.pixel_format},{tags}", *choice.arguments(self._preset)]
        # To frames of a millisecond or less, libavformat gives no duration, and players do not show the last.
        is_fast = self.timing.rate is not None and self.timing.rate >= _FAST_RATE
        if (self.timing.states_last or is_fast) and self.timing.last_seconds is not None:
            # The pipe carries no durations, and the last frame has no next one to end it. MP4 takes the duration
            # from the last packet, which is the last frame only without reordering.
            if choice.codec.reorders:
                arguments += ["-bf", "0"]
            last = Fraction(self._ticks[-1], self._ticks_a_second)
            longest = Fraction(_MAX_TICKS_A_SECOND, self._ticks_a_second)
            duration = min(self.timing.last_seconds, longest)
            half_tick = Fraction(1, 2 * self._ticks_a_second)
            is_last = f"gt(PTS*TB\\,{_decimal(last - half_tick)})"
            arguments += [
                "-bsf:v",
                f"setts=pts=PTS:dts=DTS:duration=if({is_last}\\,{_decimal(duration)}/TB\\,DURATION)",
            ]
        return arguments

    def _check_result(self) -> None:
        """Reads the finished file back, as ffmpeg has reported success on a full disk."""
        try:
            with open_container(self._temporary) as container:
                stream = video_stream(container, self._temporary)
                base = stream.time_base or Fraction(1, 1000)
                written = sorted(packet.pts for packet in container.demux(stream) if packet.pts is not None)
                lost = self._tracks.lost_metadata(container.metadata)
        except (InputError, av.error.FFmpegError) as error:
            raise MediaError(f"could not write {self.path}: what ffmpeg left cannot be read ({error})") from error
        if len(written) != self.timing.frame_count:
            raise MediaError(
                f"could not write {self.path}: ffmpeg wrote {len(written)} of its {self.timing.frame_count} frames "
                "and reported no error; free space on the disk and run the same command again"
            )
        if lost:
            self.notes.append(f"metadata that {self._suffix[1:]} has no place for is left out: {', '.join(lost)}")
        shift = max(
            abs((pts - written[0]) * base - Fraction(ticks - self._ticks[0], self._ticks_a_second))
            for pts, ticks in zip(written, self._ticks, strict=True)
        )
        if shift > Fraction(1, 1000):
            self.notes.append(
                f"{self._suffix[1:]} rounds times: frames are shown up to {float(shift) * 1000:.1f} ms early or late"
            )


def _without_address(line: str) -> str:
    return re.sub(r"^(\[[^\]]* @ 0x[0-9a-f]+\] )+", "", line)


def _decimal(seconds: Fraction) -> str:
    """Seconds as a decimal number without an exponent, at least to the microsecond, as ffmpeg reads them."""
    return f"{float(seconds):.9f}"


def _output_color(color: VideoColor | None, height: int) -> VideoColor:
    """The complete colour tags of the output, with the matrix that it is converted with."""
    if color is None:
        return VideoColor("bt709", "tv", "bt709", "bt709")
    matrix = color.matrix_for(height)
    # Without BT.2020's constant luminance, which the scaler cannot compute.
    matrix = "bt2020nc" if matrix == "bt2020c" else matrix
    plain = matrix if matrix in ("bt709", "smpte170m", "bt470bg", "smpte240m") else "bt709"
    return VideoColor(
        matrix=matrix,
        range="tv",
        primaries=color.primaries or plain,
        # As a transfer, bt470bg is a gamma of 2.8, which no video has that does not say so.
        transfer=color.transfer or ("smpte170m" if plain == "bt470bg" else plain),
    )
