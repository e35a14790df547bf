"""stderr of a job that outlives its terminal."""

import contextlib
import errno
import os
from collections.abc import Iterator
from typing import Any, TextIO


class ClosableTerminal:
    """A stream that goes silent when its terminal is closed, instead of failing every write with EIO."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with self._silent_once_closed():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with self._silent_once_closed():
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    @contextlib.contextmanager
    def _silent_once_closed(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            # The unwritten text stays in the stream's buffer, and flushing it at exit would fail again.
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, self._stream.fileno())
            os.close(null)
