"""The child processes that decode files, kept for the next request and replaced when they stall or crash."""

import atexit
import contextlib
from collections import deque
from collections.abc import Generator
from functools import cached_property
from pathlib import Path
from typing import Any

from ..child_processes import Child

STALL_SECONDS = 120.0
"""A decoder that sends nothing for so long has stalled. It sends each frame, and says once a second that it works."""

IDLE_MAX = 2
"""Decoders kept for the next request: one reads ahead while another reads the metadata of a photo."""

Request = tuple[str, str | None, Path, tuple[Any, ...]]
"""See `decoder_process`."""


class DecoderError(Exception):
    """Why a decoder gave no answer, and the remedy."""

    def __init__(self, reason: str, remedy: str = "convert it with another program, or leave it out") -> None:
        super().__init__(f"{reason}; {remedy}")


class DecoderPool:
    """The decoders of this process. Any of its threads may use them."""

    def __init__(self, stall_seconds: float = STALL_SECONDS) -> None:
        self._stall_seconds = stall_seconds
        self._idle: deque[Child] = deque()
        """Those that have answered a request. Append and pop are atomic."""

    def answers(self, request: Request) -> Generator[Any, None, Any]:
        """The items that a decoder answers a request with, one by one, and what it returns.

        Raises the `ImpastoError` that it raises, and `DecoderError` when it fails, stalls or crashes. A generator that
        is left before its end kills its decoder, which is in the middle of its answers.
        """
        decoder, (kind, value) = self._ask(request)
        finished = False
        try:
            while kind in ("item", "alive"):
                if kind == "item":
                    yield value
                kind, value = self._receive(decoder)
            finished = True
        finally:
            if finished:
                self._give_back(decoder)
            else:
                decoder.close()
        if kind == "error":
            raise value
        if kind == "failure":
            raise DecoderError(f"its decoder failed ({value})")
        if kind == "no_memory":
            raise DecoderError(f"its decoder has not enough memory ({value})", "end other programs, or reduce it first")
        return value

    def warm_up(self) -> None:
        """Starts a decoder that will be ready for the next request. Ignores errors, which that request meets again."""
        with contextlib.suppress(OSError):
            self._give_back(self._idle_decoder() or self._start())

    def close(self) -> None:
        """Kills the idle decoders. Those at work end with their generators, or with this process."""
        while self._idle:
            self._idle.pop().close()

    def _ask(self, request: Request) -> tuple[Child, tuple[str, Any]]:
        """A decoder that was sent a request, and its first answer."""
        if decoder := self._idle_decoder():
            try:
                return decoder, self._first_answer(decoder, request)
            except EOFError:
                decoder.close()  # It crashed of the file before, or was killed: the next one is for this file alone.
        try:
            decoder = self._start()
        except OSError as error:
            reason = f"no process that decodes could be started ({error.strerror or error})"
            raise DecoderError(reason, "end other programs and try again") from error
        try:
            return decoder, self._first_answer(decoder, request)
        except EOFError as error:
            raise DecoderError(f"its decoder crashed ({decoder.exit_reason()})") from error

    def _first_answer(self, decoder: Child, request: Request) -> tuple[str, Any]:
        decoder.send(request)
        answer: tuple[str, Any] = self._timed(decoder)
        return answer

    def _receive(self, decoder: Child) -> tuple[str, Any]:
        try:
            return self._timed(decoder)
        except EOFError as error:
            raise DecoderError(f"its decoder crashed ({decoder.exit_reason()})") from error

    def _timed(self, decoder: Child) -> tuple[str, Any]:
        try:
            answer: tuple[str, Any] = decoder.receive()
        except TimeoutError as error:
            decoder.close()
            raise DecoderError(f"its decoder gave no answer for {self._stall_seconds:g} s") from error
        return answer

    def _idle_decoder(self) -> Child | None:
        while self._idle:
            with contextlib.suppress(IndexError):
                decoder = self._idle.pop()
                if decoder.is_alive():
                    return decoder
                decoder.close()
        return None

    def _start(self) -> Child:
        _ = self._closed_at_exit
        return Child("media.decoder_process", "serve", self._stall_seconds, timeout=self._stall_seconds)

    @cached_property
    def _closed_at_exit(self) -> None:
        atexit.register(self.close)

    def _give_back(self, decoder: Child) -> None:
        self._idle.append(decoder)
        with contextlib.suppress(IndexError):
            while len(self._idle) > IDLE_MAX:
                self._idle.pop().close()
