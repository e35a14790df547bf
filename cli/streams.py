"""Standard output and standard error that are closed, full, or go away with their terminal.

A job outlives what it talks to: text that standard error does not take is dropped, and the job goes on in silence.
Standard output has the result of a command, so `StdoutError` ends a command whose result it does not take. Characters
that the encoding of either lacks, as ASCII does most, are escaped.
"""

import contextlib
import io
import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any, TextIO


class StdoutError(Exception):
    """Standard output does not take what is written; the text says why. No error of the pipeline, which would take it
    for that of a frame."""


class _Stream(ABC):
    """A text stream whose errors go to `_failed`."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        try:
            self._stream.write(text)
        except (OSError, ValueError) as error:  # ValueError: it was closed by this process.
            self._failed(error)
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except (OSError, ValueError) as error:
            self._failed(error)

    def silence(self) -> None:
        """Drops what is still in its buffer, which flushing at exit would try to write again, and all that follows."""
        with contextlib.suppress(OSError, ValueError):
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, self._stream.fileno())
            os.close(null)

    @abstractmethod
    def _failed(self, error: OSError | ValueError) -> None: ...

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class DroppingStream(_Stream):
    """Standard error: goes silent at the first error."""

    def _failed(self, error: OSError | ValueError) -> None:
        self.silence()


class RequiredStream(_Stream):
    """Standard output: raises `StdoutError`, or `BrokenPipeError` where its reader has enough, as `head` has.

    One that the shell has closed drops text for people; `require_stdout` refuses it for programs.
    """

    def __init__(self, stream: TextIO, *, is_closed: bool = False) -> None:
        super().__init__(stream)
        self.is_closed = is_closed

    def _failed(self, error: OSError | ValueError) -> None:
        if isinstance(error, BrokenPipeError):
            raise error
        raise StdoutError(getattr(error, "strerror", None) or str(error)) from error


def install_streams() -> None:
    """Makes the standard streams of this process safe to write to, also where the shell has closed them.

    Else the next file that is opened would get the number of a closed one, with all that libraries print there.
    """
    was_closed = {}
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        was_closed[name] = getattr(sys, name) is None
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # It gets the lowest number that is free: this one.
            os.set_inheritable(number, True)
        if was_closed[name]:
            setattr(sys, name, open(number, "r" if number == 0 else "w", encoding="utf-8", closefd=False))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    sys.stdout = RequiredStream(sys.stdout, is_closed=was_closed["stdout"])
    sys.stderr = DroppingStream(sys.stderr)


def require_stdout() -> None:
    """Raises `StdoutError` where the shell has closed standard output."""
    if getattr(sys.stdout, "is_closed", False):
        raise StdoutError("it is closed")


def silence_stdout() -> None:
    """Drops all that is still to be written to standard output."""
    if isinstance(sys.stdout, RequiredStream):
        sys.stdout.silence()


def stdout_problem(error: StdoutError) -> str:
    """The line for people about standard output that does not take the result."""
    return f"standard output cannot be written ({error}): send it elsewhere"
