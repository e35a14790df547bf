"""The child process that decodes files: it answers one request after the other until its parent ends.

A request is `(function, folder, path, arguments)`: a name in `_FUNCTIONS`, the folder to which a relative path belongs,
the path and further arguments. The answers to it are pairs of a kind and a value: any number of `item` and of `alive`,
which says only that the decoder works, and then `result`, `error` (an `ImpastoError` to raise), or `failure` or
`no_memory` (the text of any other exception).
"""

import contextlib
import os
import queue
import re
import resource
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np

from ..child_processes import Parent
from ..errors import ImpastoError
from ..out_of_memory import is_out_of_memory
from . import image_metadata, images, rebased_tracks, tracks, video_reader
from .frame_index import FrameIndex
from .video_info import VideoScan

MEMORY_BYTES = 8 << 30
"""The most memory that a decoder may allocate: an image of `images.MAX_PIXELS` takes at most half of it."""

_ALIVE_SECONDS = 1.0
_LONGEST_REPORT = 200


class Answers:
    """Sends answers, and sets an alarm that ends this process when `stall_seconds` pass twice without one.

    The parent kills a child that stalls. The alarm is for a child whose parent has ended, and whose decoder lets no
    other thread of the interpreter run.
    """

    def __init__(
        self, send: Callable[[tuple[str, Any]], None], stall_seconds: float, read_log: Callable[[], str | None]
    ) -> None:
        self._send = send
        self._alarm_seconds = round(2 * stall_seconds) or 1
        self._sent_at = time.monotonic()
        self.read_log = read_log

    def send(self, kind: str, value: Any) -> None:
        signal.alarm(0)  # The parent may take its time to read.
        self._send((kind, value))
        self._sent_at = time.monotonic()
        self.set_alarm()

    def alive(self) -> None:
        """Tells the parent, at most once a second, that the decoder works."""
        if time.monotonic() - self._sent_at > _ALIVE_SECONDS:
            self.send("alive", None)

    def set_alarm(self) -> None:
        signal.alarm(self._alarm_seconds)


def _scan(answers: Answers, path: Path, stream: int | None) -> VideoScan:
    def consumer(index: int, image: np.ndarray) -> None:
        answers.send("item", (index, image))

    return video_reader.scan(path, consumer, answers.alive, answers.read_log, stream)


def _read_frames(
    answers: Answers,
    path: Path,
    start: int,
    stop: int | None,
    accept_damage: bool,
    index: FrameIndex | None,
    stream: int | None,
) -> None:
    frames = video_reader.read_frames(
        path, start, stop, accept_damage=accept_damage, index=index, alive=answers.alive, stream=stream
    )
    for frame in frames:
        answers.send("item", frame)


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "read_image": lambda _, path: images.read_image(path),
    "image_facts": lambda _, path, suffix, strip: images.image_facts(path, suffix, strip=strip),
    "image_size": lambda _, path: images.image_size(path),
    "read_image_and_alpha": lambda _, path: images.read_image_and_alpha(path),
    "is_animated": lambda _, path: images.is_animated(path),
    "read_extras": lambda _, path, strip: image_metadata.read_extras(path, strip=strip),
    "probe": lambda answers, path, stream: video_reader.probe(path, answers.alive, stream),
    "read_tracks": lambda _, path, stream: tracks.read_tracks(path, stream),
    "write_rebased_tracks": lambda _, *arguments: rebased_tracks.write_rebased_tracks(*arguments),
    "scan": _scan,
    "read_frames": _read_frames,
}


def serve(descriptor: int, stall_seconds: float) -> None:
    """Answers requests until the parent ends."""
    parent = Parent(descriptor)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    answers = Answers(parent.send, stall_seconds, _capture_log())
    _limit_memory()
    requests: queue.SimpleQueue[tuple[str, str | None, Path, tuple[Any, ...]]] = queue.SimpleQueue()
    parent.listen(requests.put)
    while True:
        request = requests.get()
        answers.set_alarm()
        answers.send(*_answer(answers, *request))
        signal.alarm(0)


def _answer(
    answers: Answers, function: str, folder: str | None, path: Path, arguments: tuple[Any, ...]
) -> tuple[str, Any]:
    """Kind and value of the last answer to a request; sends those before."""
    try:
        if folder is not None:
            os.chdir(folder)
        return "result", _FUNCTIONS[function](answers, path, *arguments)
    except ImpastoError as error:
        return "error", error
    except Exception as error:
        reason = " ".join(str(error).split())
        kind = "no_memory" if is_out_of_memory(error) else "failure"
        return kind, f"{type(error).__name__}: {reason}" if reason else type(error).__name__


def _capture_log() -> Callable[[], str | None]:
    """Redirects standard error; returns a function that gives the first error that libav has logged since the last
    call, or None.

    libav logs to standard error, from any of its threads. PyAV could hand its messages on, but may deadlock doing so.
    """
    reading, writing = os.pipe()
    # What comes when the pipe is full is dropped.
    for end in (reading, writing):
        os.set_blocking(end, False)
    os.dup2(writing, 2)
    av.logging.set_libav_level(av.logging.ERROR)
    av.logging.restore_default_callback()

    def read_log() -> str | None:
        first = b""
        with contextlib.suppress(BlockingIOError):
            while data := os.read(reading, 1 << 16):
                first = first or data
        line = re.sub(r" @ 0x[0-9a-f]+", "", first.decode("utf-8", "replace").strip().partition("\n")[0])
        return "".join(filter(str.isprintable, line))[:_LONGEST_REPORT] or None

    return read_log


def _limit_memory() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    limits = [limit for limit in (soft, hard, MEMORY_BYTES) if limit != resource.RLIM_INFINITY]
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_DATA, (min(limits), hard))
    # Where Linux runs out of memory all the same, it ends this process and not the job.
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("900")
