"""Files of unknown origin, decoded in a process of their own.

A decoder meets whatever bytes there are, and may hang on them, crash, or ask for all the memory. Here that costs the
file and not the job: the functions are those of `pipeline.images` and `pipeline.video_reader`, with the same results
and errors, but the work is done by a child process. One that gives no sign of life for `DECODE_SECONDS`, or dies,
leaves as `InputError`, and the next file gets a new one. Children are kept for the next request, hold at most
`MEMORY_BYTES`, and never outlive this process.

A request is a pickle on the child's standard input. An answer is a kind and a value, pickled on its standard output
with the pixels beside the pickle: the number of parts and their lengths, as 64 bits each, and then the parts.
"""

import atexit
import contextlib
import os
import pickle
import queue
import re
import resource
import select
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import IO, Any, cast

import av
import numpy as np

from .. import child_processes
from ..errors import ImpastoError, InputError
from . import image_metadata, images, tracks, video_reader
from .frame_index import FrameIndex
from .image_file import ANIMATED_SUFFIXES
from .image_metadata import Extras
from .tracks import Tracks
from .video_info import VideoFrame, VideoInfo, VideoScan

DECODE_SECONDS = 120.0
"""A decoder that gives no sign of life for so long hangs. Each frame that it gives or passes over is one."""

MEMORY_BYTES = 8 << 30
"""What a decoder may ask for: an image of `images.MAX_PIXELS` takes at most half of it."""

_IDLE_MOST = 2
"""Children kept for the next request: one reads ahead while another reads what else a photo's file holds."""

_ALIVE_SECONDS = 1.0
_LONGEST_REPORT = 200
_PIPE_BYTES = 1 << 20
_REMEDY = "convert it with another program, or leave it out"


# --- what is read -----------------------------------------------------------------------------------------------------


def read_image(path: Path) -> np.ndarray:
    """See `images.read_image`."""
    return cast(np.ndarray, _whole("read_image", path))


def image_size(path: Path) -> tuple[int, int]:
    """See `images.image_size`."""
    return cast(tuple[int, int], _whole("image_size", path))


def read_image_and_alpha(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    """See `images.read_image_and_alpha`."""
    return cast(tuple[np.ndarray, np.ndarray | None], _whole("read_image_and_alpha", path))


def is_animated(path: Path) -> bool:
    """See `images.is_animated`; a file on which the decoder fails is none."""
    if path.suffix.lower() not in ANIMATED_SUFFIXES:
        return False
    try:
        return cast(bool, _whole("is_animated", path))
    except InputError:
        return False


def read_extras(path: Path) -> Extras:
    """See `images.read_extras`."""
    return cast(Extras, _whole("read_extras", path))


def probe(path: Path) -> VideoInfo:
    """See `video_reader.probe`."""
    return cast(VideoInfo, _whole("probe", path))


def read_tracks(path: Path) -> Tracks:
    """See `tracks.read_tracks`."""
    return cast(Tracks, _whole("read_tracks", path))


def scan(path: Path, consumer: Callable[[int, np.ndarray], None]) -> VideoScan:
    """See `video_reader.scan`; `consumer` is called in this process."""
    with contextlib.closing(_answers("scan", path)) as answers:
        while True:
            try:
                index, image = next(answers)
            except StopIteration as end:
                return cast(VideoScan, end.value)
            consumer(index, image)


def read_frames(
    path: Path,
    start: int = 0,
    stop: int | None = None,
    *,
    accept_damage: bool = False,
    index: FrameIndex | None = None,
) -> Generator[VideoFrame, None, None]:
    """See `video_reader.read_frames`."""
    return _answers("read_frames", path, start, stop, accept_damage, index)


def warm_up() -> None:
    """Starts a child that will be ready when it is asked; what goes wrong then is said then."""
    with contextlib.suppress(OSError):
        _decoders.give_back(_decoders.take())


def _whole(name: str, path: Path) -> Any:
    with contextlib.closing(_answers(name, path)) as answers:
        try:
            next(answers)
        except StopIteration as end:
            return end.value
        raise AssertionError(f"{name} gives one answer")


def _answers(name: str, path: Path, *arguments: Any) -> Generator[Any, None, Any]:
    """The items that a child answers with, one by one, and what it returns; raises what it raises."""
    what = _kind_of(name)
    again = False
    while True:
        try:
            decoder = _decoders.take(fresh=again)
        except OSError as error:
            raise InputError(
                f"cannot read {what} {path}: no process that decodes could be started ({error.strerror or error}); "
                "end other programs and try again"
            ) from error
        finished = begun = False
        try:
            # The child was started in the folder that was the current one then.
            folder = None if path.is_absolute() else str(Path.cwd())
            decoder.ask((name, folder, path, arguments))
            while True:
                kind, value = decoder.answer()
                begun = True
                finished = kind in ("result", "error")
                if kind == "item":
                    yield value
                elif kind == "error":
                    raise value
                elif kind == "result":
                    return value
        except TimeoutError as error:
            raise InputError(
                f"cannot read {what} {path}: its decoder gave no answer for {DECODE_SECONDS:g} s; {_REMEDY}"
            ) from error
        except (EOFError, BrokenPipeError) as error:
            # A child may die of the file that it read before, or be dying when it is asked.
            again = not begun and decoder.request_count > 1
            if not again:
                raise InputError(
                    f"cannot read {what} {path}: its decoder crashed ({decoder.ending()}); {_REMEDY}"
                ) from error
        finally:
            # In the middle of its answers a child is of no use to anyone else.
            if finished:
                _decoders.give_back(decoder)
            else:
                _decoders.end(decoder)


# --- the children, seen from here -------------------------------------------------------------------------------------


class _Decoder:
    """A child process, which answers one request after the other."""

    def __init__(self) -> None:
        # Decoders print what they think of a file. Ctrl-C is for the program that reads: a session of its own.
        self._process = subprocess.Popen(
            child_processes.command("media.decoding", "serve()"),
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._requests = cast(IO[bytes], self._process.stdin)
        self._answers = cast(Any, self._process.stdout)
        self._arrival = select.poll()
        self._arrival.register(self._answers, select.POLLIN)
        self.request_count = 0

    def ask(self, request: tuple[Any, ...]) -> None:
        self.request_count += 1
        self._requests.write(pickle.dumps(request))

    def answer(self) -> tuple[str, Any]:
        """The next answer. Raises `TimeoutError` when none comes, and `EOFError` when the child has ended."""
        (count,) = struct.unpack("<Q", self._read(8))
        lengths = struct.unpack(f"<{count}Q", self._read(8 * count))
        data, *buffers = [self._read(length) for length in lengths]
        return cast(tuple[str, Any], pickle.loads(data, buffers=buffers))

    def _read(self, length: int) -> bytearray:
        data = bytearray(length)
        left = memoryview(data)
        while left:
            if not self._arrival.poll(1000 * DECODE_SECONDS):
                raise TimeoutError
            if not (read := self._answers.readinto(left)):
                raise EOFError
            left = left[read:]
        return data

    def is_alive(self) -> bool:
        return self._process.poll() is None

    def ending(self) -> str:
        """How the child ended, in a word; it is ended where it has only closed its output."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(1)
        self.end()
        status = self._process.returncode
        return signal.Signals(-status).name if status < 0 else f"status {status}"

    def end(self) -> None:
        self._process.kill()
        self._process.wait()
        self._close()

    def forget(self) -> None:
        """For a process that was forked from the one whose child this is."""
        self._process.returncode = 0
        self._close()

    def _close(self) -> None:
        self._requests.close()
        self._answers.close()


class _Decoders:
    """The children of this process, used by any of its threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._all: set[_Decoder] = set()
        self._idle: list[_Decoder] = []

    def take(self, *, fresh: bool = False) -> _Decoder:
        """A child that waits, or a `fresh` one where none does or that is asked for. Raises `OSError` where none can be
        started."""
        while True:
            with self._lock:
                decoder = self._idle.pop() if self._idle and not fresh else None
            if decoder is None:
                decoder = _Decoder()
                with self._lock:
                    self._all.add(decoder)
                return decoder
            if decoder.is_alive():
                return decoder
            self.end(decoder)

    def give_back(self, decoder: _Decoder) -> None:
        with self._lock:
            keep = len(self._idle) < _IDLE_MOST
            if keep:
                self._idle.append(decoder)
        if not keep:
            self.end(decoder)

    def end(self, decoder: _Decoder) -> None:
        decoder.end()
        with self._lock:
            self._all.discard(decoder)

    def end_idle(self) -> None:
        """Those at work see that this process has gone."""
        while self._idle:
            self.end(self._idle.pop())

    def forget(self) -> None:
        """For a process that was forked from this one: it must neither ask these children nor keep them alive."""
        for decoder in self._all:
            decoder.forget()
        self._lock = threading.Lock()
        self._all.clear()
        self._idle.clear()


_decoders = _Decoders()
atexit.register(_decoders.end_idle)
os.register_at_fork(after_in_child=_decoders.forget)


# --- in the child -----------------------------------------------------------------------------------------------------


class _Answers:
    """Writes answers, and keeps an alarm for the time between them."""

    def __init__(self, stream: IO[bytes], reported: Callable[[], str | None] = lambda: None) -> None:
        self._stream = stream
        self._last = time.monotonic()
        self.reported = reported

    def send(self, kind: str, value: Any) -> None:
        signal.alarm(0)  # Whoever asked may take its time.
        buffers: list[pickle.PickleBuffer] = []
        data = pickle.dumps((kind, value), 5, buffer_callback=buffers.append)
        parts = [memoryview(data), *(buffer.raw() for buffer in buffers)]
        self._stream.write(struct.pack(f"<{1 + len(parts)}Q", len(parts), *(part.nbytes for part in parts)))
        for part in parts:
            self._stream.write(part)
        self._stream.flush()
        self._last = time.monotonic()
        self.expect_next()

    def alive(self) -> None:
        """A sign of life where there is nothing to answer yet."""
        if time.monotonic() - self._last > _ALIVE_SECONDS:
            self.send("alive", None)

    def expect_next(self) -> None:
        # The other process ends a child that hangs. Where it is gone too, a decoder that does not let another thread
        # of the interpreter run would hang for ever.
        signal.alarm(round(2 * DECODE_SECONDS))


def _scan(answers: _Answers, path: Path) -> VideoScan:
    return video_reader.scan(
        path, lambda index, image: answers.send("item", (index, image)), answers.alive, answers.reported
    )


def _read_frames(
    answers: _Answers, path: Path, start: int, stop: int | None, accept_damage: bool, index: FrameIndex | None
) -> None:
    frames = video_reader.read_frames(path, start, stop, accept_damage=accept_damage, index=index, alive=answers.alive)
    for frame in frames:
        answers.send("item", frame)


_IMAGE_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "read_image": lambda _, path: images.read_image(path),
    "image_size": lambda _, path: images.image_size(path),
    "read_image_and_alpha": lambda _, path: images.read_image_and_alpha(path),
    "is_animated": lambda _, path: images.is_animated(path),
    "read_extras": lambda _, path: image_metadata.read_extras(path),
}
_VIDEO_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "probe": lambda answers, path: video_reader.probe(path, answers.alive),
    "read_tracks": lambda _, path: tracks.read_tracks(path),
    "scan": _scan,
    "read_frames": _read_frames,
}
_FUNCTIONS = _IMAGE_FUNCTIONS | _VIDEO_FUNCTIONS
"""What can be asked for."""


def _kind_of(name: str) -> str:
    return "video" if name in _VIDEO_FUNCTIONS else "image"


def serve() -> None:
    """Answers requests until whoever asks has gone: all that a child does."""
    requests, stream = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    # What a decoder prints must not get among the answers.
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 0)
    os.dup2(nowhere, 1)
    reported = _reports()
    _prepare(stream)
    waiting: queue.SimpleQueue[tuple[str, str | None, Path, tuple[Any, ...]]] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(requests, waiting), daemon=True).start()
    answers = _Answers(stream, reported)
    with contextlib.suppress(BrokenPipeError):
        while True:
            name, folder, path, arguments = waiting.get()
            answers.expect_next()
            try:
                if folder is not None:
                    os.chdir(folder)
                kind, value = "result", _FUNCTIONS[name](answers, path, *arguments)
            except ImpastoError as error:
                kind, value = "error", error
            except Exception as error:
                reason = " ".join(str(error).split())
                told = f"{type(error).__name__}: {reason}" if reason else type(error).__name__
                kind, value = (
                    "error",
                    InputError(f"cannot read {_kind_of(name)} {path}: its decoder failed ({told}); {_REMEDY}"),
                )
            answers.send(kind, value)
            del value
            signal.alarm(0)
    os._exit(0)


def _reports() -> Callable[[], str | None]:
    """The first error that libav has printed since this was last called, of all that it passes over.

    It prints to standard error, from any of its threads. PyAV could hand it on, but may wait for ever while it does.
    """
    reading, writing = os.pipe()
    # When that is full, what comes is dropped.
    for end in (reading, writing):
        os.set_blocking(end, False)
    os.dup2(writing, 2)
    av.logging.set_libav_level(av.logging.ERROR)
    av.logging.restore_default_callback()

    def first() -> str | None:
        told = b""
        with contextlib.suppress(BlockingIOError):
            while read := os.read(reading, 1 << 16):
                told = told or read
        line = re.sub(r" @ 0x[0-9a-f]+", "", told.decode("utf-8", "replace").strip().partition("\n")[0])
        return "".join(filter(str.isprintable, line))[:_LONGEST_REPORT] or None

    return first


def _prepare(stream: IO[bytes]) -> None:
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    child_processes.leave_signals_to_parent()
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    least = min((limit for limit in (soft, hard) if limit != resource.RLIM_INFINITY), default=MEMORY_BYTES)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_DATA, (min(MEMORY_BYTES, least), hard))
    if sys.platform == "linux":
        import fcntl

        # Fewer turns for a frame; the system grants only so much to one user.
        with contextlib.suppress(OSError):
            fcntl.fcntl(stream, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        # Where memory runs out all the same, it is this process that goes and not the job.
        with contextlib.suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text("900")


def _listen(requests: IO[bytes], waiting: "queue.SimpleQueue[Any]") -> None:
    """Hands requests on, and ends this process, whatever it is doing, when the one that asks has ended."""
    try:
        while True:
            waiting.put(pickle.load(requests))
    finally:
        os._exit(0)
