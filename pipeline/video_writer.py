"""Writing videos through the ffmpeg program, frame by frame, with exact times.

See `pipeline.media` for the conventions.
"""

import contextlib
import math
import os
import re
import signal
import subprocess
import tempfile
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import IO, Literal, Self

import av
import numpy as np
from av.container import OutputContainer

from pipeline.errors import InputError, MediaError, OutputError, StorageError
from pipeline.media import (
    CONTAINERS,
    OUTPUT_SUFFIXES,
    PROTOCOLS,
    Timing,
    VideoColor,
    ffmpeg_path,
    file_url,
    open_container,
    video_stream,
)
from pipeline.storage import atomic_file

_MUXERS = {".mp4": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm", ".gif": "gif"}

_PCM = {"pcm_s16le", "pcm_s16be", "pcm_s24le", "pcm_s24be", "pcm_s32le", "pcm_f32le", "pcm_u8"}
_AUDIO_KEPT = {
    ".mp4": {"aac", "mp3", "ac3", "eac3", "alac", "flac", "opus"},
    ".mov": {"aac", "mp3", "ac3", "eac3", "alac", *_PCM},
    ".mkv": {"aac", "mp3", "mp2", "ac3", "eac3", "dts", "truehd", "alac", "flac", "opus", "vorbis", *_PCM},
    ".webm": {"opus", "vorbis"},
}
"""The audio codecs that each container takes and players expect there; others are encoded anew."""

_AUDIO_ENCODED = {
    ".mp4": ("aac", ["-b:a", "256k"]),
    ".mov": ("aac", ["-b:a", "256k"]),
    ".mkv": ("aac", ["-b:a", "256k"]),
    ".webm": ("libopus", ["-b:a", "160k"]),
}

_MIN_TICKS_A_SECOND = 10_000
_MAX_TICKS_A_SECOND = (1 << 31) - 1

_KILL_AFTER_SECONDS = 3.0


@dataclass(frozen=True)
class _AudioStream:
    number: int
    """Its place among the streams of sound in the file."""

    codec: str
    sample_rate: int


class _AbandonedError(Exception):
    """The block around a writer was left by an error."""


class VideoWriter:
    """Writes a video frame by frame, with exact times, through an ffmpeg process; a context manager.

    On a clean exit every frame of `timing` has been written and the finished file is under its name,
    put there at once; whatever else happens, nothing is there that was not before. Either way no ffmpeg
    process is left.

    - MP4, MOV and MKV hold H.264 (4:2:0, or 4:4:4 where a side is odd and 4:2:0 would lose a row), WebM
      holds VP9, GIF a palette for each frame.
    - Times are those of `timing`, to the tick, in MP4 and MOV. Matroska and WebM keep milliseconds (with the
      exact rate beside them where it is constant), GIF hundredths of a second.
    - Sound comes from `source_for_audio` as it is, where the container takes it, and is else encoded anew; it keeps
      its place beside the picture. With `audio_range` it is cut to that time, to a whole packet
      where it is copied.

    `notes` says in words what could not be kept as it was.
    """

    def __init__(
        self,
        path: Path,
        size: tuple[int, int],
        timing: Timing,
        *,
        color: VideoColor | None = None,
        source_for_audio: Path | None = None,
        audio_range: tuple[Fraction, Fraction] | None = None,
        crf: int = 16,
        preset: str = "medium",
    ) -> None:
        """
        path: the video to write; its ending, one of `OUTPUT_SUFFIXES`, names the container.
        size: (height, width) of every frame.
        timing: when each frame is shown, on the clock of `source_for_audio` where there is one.
        color: tags and matrix of the output; what is None there is BT.709 (below 720 lines, in a video
            that has a `color`, BT.601, as when reading). The range written is always limited. None: BT.709.
        source_for_audio: file whose sound is taken along, all its tracks; one without sound is no error.
        audio_range: (start, end) in seconds on that file's clock; None takes all of it.
        crf: quality of H.264, 0 (lossless but for colour) to 51; VP9 gets the value of like quality.
        preset: how much time x264 may take, in its own words.

        Raises `OutputError` for an ending that cannot be written and `InputError` for a bad `source_for_audio`.
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
        if not 0 <= crf <= 51:
            raise ValueError(f"crf is {crf}: it goes from 0 to 51")
        if audio_range is not None and audio_range[0] >= audio_range[1]:
            raise ValueError(f"audio_range {audio_range} is empty")
        self.path = path
        self.size = size
        self.timing = timing
        self.notes: list[str] = []
        """What could not be kept as it was, one line each; complete after a clean exit."""
        self.frames_written = 0
        self._color = _output_color(color, size[0])
        self._crf = crf
        self._preset = preset
        self._audio_source = source_for_audio
        self._audio_range = audio_range
        self._audio = [] if source_for_audio is None else _audio_streams(source_for_audio)
        self._state: Literal["new", "open", "failed", "closed"] = "new"

    # --- life ---

    def __enter__(self) -> Self:
        if self._state != "new":
            raise MediaError(f"the writer of {self.path} is used up: make a new one for each video")
        with contextlib.ExitStack() as stack:
            self._temporary = stack.enter_context(atomic_file(self.path))
            self._stderr: IO[bytes] = stack.enter_context(tempfile.TemporaryFile())
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
        """Writes the next frame: `H×W×3` uint8 RGB of the video's size.

        Raises `MediaError`, or `StorageError` when the disk is full, once ffmpeg is no longer there; and
        `MediaError` before the block, after it, after a failure, and beyond the last frame.
        """
        if self._state != "open":
            state = {"new": "not open yet", "failed": "ended by an error", "closed": "finished"}[self._state]
            raise MediaError(f"cannot write a frame to {self.path}: its writer is {state}")
        if array.shape != (*self.size, 3) or array.dtype != np.uint8:
            raise ValueError(
                f"a frame of {self.path.name} is {self.size[0]}×{self.size[1]}×3 uint8, "
                f"and this one is {'×'.join(map(str, array.shape))} {array.dtype}"
            )
        if self.frames_written >= self.timing.frame_count:
            raise MediaError(f"cannot write a frame to {self.path}: all of its {self.timing.frame_count} are written")
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(array), format="rgb24")
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
        self._check_result()

    def _end_process(self) -> None:
        """Ends ffmpeg, gently and then not; it never outlives the block."""
        process = self._process
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(_KILL_AFTER_SECONDS)
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
        """The error that says why ffmpeg stopped; waits for its end, as its last words may be on their way."""
        with contextlib.suppress(OSError):
            if self._process.stdin is not None:
                self._process.stdin.close()
        try:
            status = self._process.wait(_KILL_AFTER_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            status = self._process.wait()
        words = self._last_words()
        if "No space left on device" in words or "Disk quota exceeded" in words:
            return StorageError(
                f"no space left on the disk while writing {self.path}: free some and run the same command again"
            )
        if status < 0:
            name = signal.Signals(-status).name
            return MediaError(f"could not write {self.path}: ffmpeg was ended by {name}; run the same command again")
        return MediaError(f"could not write {self.path}: ffmpeg ended with status {status} ({words or 'no message'})")

    def _last_words(self) -> str:
        """The line of ffmpeg's messages that tells most: the last that names a cause, without its address in memory."""
        size = self._stderr.seek(0, os.SEEK_END)
        self._stderr.seek(max(0, size - 20_000))
        lines = [line.strip() for line in self._stderr.read().decode("utf-8", "replace").splitlines() if line.strip()]
        full = [line for line in lines if "No space left" in line or "Disk quota" in line]
        told = [line for line in lines if not re.search(r"Conversion failed|Terminating thread|Task finished", line)]
        line = (full or told or lines or [""])[-1]
        return re.sub(r"^(\[[^\]]* @ 0x[0-9a-f]+\] )+", "", line)

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

        Zero is where the part begins that is written: the range of the sound, or all of the source that gives it, or
        without sound the first frame. It is rounded down to a tick of the picture's clock, for sound
        and picture alike, so that the frames stay exact and neither moves against the other.
        """
        if not self._audio:
            origin = self.timing.start_seconds
        elif self._audio_range is not None:
            origin = min(self._audio_range[0], self.timing.start_seconds)
        else:
            assert self._audio_source is not None
            with open_container(self._audio_source) as container:
                declared = Fraction(container.start_time or 0, av.time_base)
            origin = min(declared, self.timing.start_seconds)
        base = self.timing.time_base
        rate = base.denominator
        while rate < _MIN_TICKS_A_SECOND:
            rate *= 2
        if rate > _MAX_TICKS_A_SECOND:
            raise MediaError(f"could not write {self.path}: no container has a clock of {rate} ticks a second")
        self._ticks_a_second = rate
        self._origin = Fraction(math.floor(origin / base)) * base
        self._ticks = [int((ticks * base - self._origin) * rate) for ticks in self.timing.times]

    def _open_pipe(self) -> OutputContainer:
        """A NUT stream of raw frames into ffmpeg: unlike plain raw video it carries a time stamp for each."""
        height, width = self.size
        pipe = av.open(self._process.stdin, mode="w", format="nut", buffer_size=1 << 20)
        stream = pipe.add_stream("rawvideo", rate=self.timing.rate or 25)
        stream.width, stream.height, stream.pix_fmt = width, height, "rgb24"
        stream.time_base = stream.codec_context.time_base = Fraction(1, self._ticks_a_second)
        self._raw = stream
        return pipe

    def _input_arguments(self) -> list[str]:
        arguments = ["-nostdin", "-hide_banner", "-nostats", "-loglevel", "error", "-y"]
        arguments += ["-protocol_whitelist", PROTOCOLS, "-f", "nut", "-i", "pipe:0"]
        if self._audio:
            assert self._audio_source is not None
            arguments += ["-protocol_whitelist", PROTOCOLS, "-format_whitelist", CONTAINERS]
            arguments += ["-itsoffset", _decimal(-self._origin), "-i", file_url(self._audio_source)]
        # Bit-exact: no version, date or random number in the file, so the same frames give the same bytes.
        return [*arguments, "-map", "0:v:0", "-copyts", "-fps_mode", "passthrough", "-enc_time_base", "demux"]

    def _output_arguments(self) -> list[str]:
        arguments = [*self._picture_arguments(), *self._audio_arguments()]
        if self._suffix in (".mp4", ".mov"):
            # The movie's clock places the sound against the picture; it takes both exactly where it can.
            movie = self._ticks_a_second
            for audio in self._audio:
                common = math.lcm(movie, audio.sample_rate or 1)
                movie = common if common <= _MAX_TICKS_A_SECOND else movie
            arguments += ["-video_track_timescale", str(self._ticks_a_second), "-movie_timescale", str(movie)]
            arguments += ["-movflags", "+faststart"]
        arguments += ["-map_chapters", "-1", "-fflags", "+bitexact", "-flags:v", "+bitexact", "-flags:a", "+bitexact"]
        return [*arguments, "-f", _MUXERS[self._suffix], file_url(self._temporary)]

    def _picture_arguments(self) -> list[str]:
        if self._suffix == ".gif":
            # A palette for each frame, so that no more than a frame is held; one for all would need all of them.
            return ["-vf", "split[a][b];[a]palettegen=stats_mode=single[p];[b][p]paletteuse=new=1"]
        color, (height, width) = self._color, self.size
        pixels = "yuv420p"
        if self._suffix != ".webm" and (height % 2 or width % 2):
            pixels = "yuv444p"
            self.notes.append(
                f"{width}×{height} has an odd side: the video is written as H.264 4:4:4, which some players do not show"
            )
        scale = (
            f"scale=in_range=pc:out_color_matrix={color.matrix}:out_range=tv"
            ":flags=bicubic+accurate_rnd+full_chroma_int+full_chroma_inp+bitexact"
        )
        # On the frames and not as options of the encoder, which the frames' own tags, or lack of them, would override.
        tags = (
            f"setparams=colorspace={color.matrix}:range=tv:color_primaries={color.primaries}:color_trc={color.transfer}"
        )
        arguments = ["-vf", f"{scale},format={pixels},{tags}"]
        if self._suffix == ".webm":
            # VP9 counts quality to 63 where H.264 counts to 51, and looks alike at about 3/2 of its value.
            arguments += ["-c:v", "libvpx-vp9", "-b:v", "0", "-crf", str(min(63, round(self._crf * 1.5)))]
            arguments += ["-deadline", "good", "-cpu-used", "4", "-row-mt", "1"]
        else:
            arguments += ["-c:v", "libx264", "-preset", self._preset, "-crf", str(self._crf)]
        if self.timing.rate is None and self.timing.last_duration is not None:
            # The pipe carries no durations, and the last frame has no next one to end it. MP4 takes the duration
            # from the last packet, which is the last frame only without reordering.
            if self._suffix != ".webm":
                arguments += ["-bf", "0"]
            last = Fraction(self._ticks[-1], self._ticks_a_second)
            duration = self.timing.last_duration * self.timing.time_base
            half_tick = Fraction(1, 2 * self._ticks_a_second)
            is_last = f"gt(PTS*TB\\,{_decimal(last - half_tick)})"
            arguments += [
                "-bsf:v",
                f"setts=pts=PTS:dts=DTS:duration=if({is_last}\\,{_decimal(duration)}/TB\\,DURATION)",
            ]
        return arguments

    def _audio_arguments(self) -> list[str]:
        if not self._audio:
            return []
        if self._suffix == ".gif":
            self.notes.append("the sound is left out: a GIF holds none")
            return []
        arguments = []
        for audio in self._audio:
            arguments += ["-map", f"1:a:{audio.number}"]
        begin, end = None, None
        if self._audio_range is not None:
            begin, end = (_decimal(bound - self._origin) for bound in self._audio_range)
        for number, audio in enumerate(self._audio):
            if audio.codec in _AUDIO_KEPT[self._suffix]:
                arguments += [f"-c:a:{number}", "copy"]
                if begin is not None:
                    # Whole packets go, and those that stay keep their time: the sound does not move.
                    arguments += [f"-bsf:a:{number}", f"noise=drop=lt(pts*tb\\,{begin})+gte(pts*tb\\,{end})"]
                continue
            codec, options = _AUDIO_ENCODED[self._suffix]
            arguments += [f"-c:a:{number}", codec, *options]
            if begin is not None:
                arguments += [f"-filter:a:{number}", f"atrim=start={begin}:end={end}"]
            self.notes.append(
                f"the sound is encoded anew, from {audio.codec} to {codec.removeprefix('lib')}: "
                f"{self._suffix[1:]} does not hold it as it was"
            )
        return arguments

    def _check_result(self) -> None:
        """Reads the finished file back: ffmpeg's word for success has been wrong on a full disk."""
        try:
            with open_container(self._temporary) as container:
                stream = video_stream(container, self._temporary)
                base = stream.time_base or Fraction(1, 1000)
                written = sorted(packet.pts for packet in container.demux(stream) if packet.pts is not None)
        except (InputError, av.error.FFmpegError) as error:
            raise MediaError(f"could not write {self.path}: what ffmpeg left cannot be read ({error})") from error
        if len(written) != self.timing.frame_count:
            raise MediaError(
                f"could not write {self.path}: ffmpeg wrote {len(written)} of its {self.timing.frame_count} frames "
                "and reported no error; free space on the disk and run the same command again"
            )
        shift = max(
            abs((pts - written[0]) * base - Fraction(ticks - self._ticks[0], self._ticks_a_second))
            for pts, ticks in zip(written, self._ticks, strict=True)
        )
        if shift > Fraction(1, 1000):
            self.notes.append(
                f"{self._suffix[1:]} rounds times: frames are shown up to {float(shift) * 1000:.1f} ms early or late"
            )


def _decimal(seconds: Fraction) -> str:
    """Seconds as ffmpeg reads them, to its microsecond or finer, without an exponent."""
    return f"{float(seconds):.9f}"


def _output_color(color: VideoColor | None, height: int) -> VideoColor:
    """Complete tags for what is written, and the matrix that it is converted with."""
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
        transfer=color.transfer or ("gamma28" if plain == "bt470bg" else plain),
    )


def _audio_streams(path: Path) -> list[_AudioStream]:
    """The streams of sound in a file, less those of a kind that nobody here knows."""
    with open_container(path) as container:
        return [
            _AudioStream(number, stream.codec_context.codec.canonical_name, stream.codec_context.sample_rate or 0)
            for number, stream in enumerate(container.streams.audio)
            if stream.codec_context is not None
        ]
