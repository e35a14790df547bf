"""Child processes that run a function of this package, and the messages between parent and child.

`Child` is the parent's side and `Parent` the child's. A message is any object that can be pickled, and travels over a
socket by `multiprocessing.connection`: first the lengths of its parts, then the pickle and each buffer that the pickle
refers to, so that arrays are not copied into the pickle. A child ends when its parent does, however that ends.
"""

import contextlib
import os
import pickle
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import weakref
from collections.abc import Callable, Iterator
from functools import cache
from multiprocessing.connection import Connection
from pathlib import Path
from typing import IO, Any

_PIECE_BYTES = 1 << 20
"""`Connection` grows the message that it receives by copying it: 6 MB, a frame of 1080p, take 5 times as long whole as
in pieces of 1 MB."""

_EXIT_SECONDS = 5.0
"""What a child that has closed its connection may take to exit; then it is killed."""

_BOOT = """
import importlib.util, sys
spec = importlib.util.spec_from_file_location({name!r}, {init!r}, submodule_search_locations={folders!r})
package = sys.modules[{name!r}] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(package)
sys.path[:] = {path!r}
from {name}.{module} import {function}
{function}(*{arguments!r})
"""


class Child:
    """A child process that calls a function of this package.

    `function` of `module` (a name within this package) is called with the descriptor of the child's end of the
    connection, from which it makes a `Parent`, and with `arguments`, whose `repr` must be Python. The child has a
    session of its own, so that Ctrl-C in the terminal reaches the parent alone. Raises `OSError` where no process can
    be started. `timeout`: the seconds after which `receive` stops waiting for a child that sends nothing.
    """

    def __init__(self, module: str, function: str, *arguments: Any, timeout: float | None = None) -> None:
        _disown_children_after_fork()
        ours, theirs = socket.socketpair()
        with ours, theirs:
            if timeout is not None:
                # The system's own limit also covers a child that stops in the middle of a message.
                microseconds = round(timeout * 1e6)
                limit = struct.pack("@ll", *divmod(microseconds, 1_000_000))
                ours.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
            self._stderr: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 (closed with the child)
            try:
                self._process = subprocess.Popen(
                    _command(module, function, (theirs.fileno(), *arguments)),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=self._stderr,
                    pass_fds=[theirs.fileno()],
                    start_new_session=True,
                )
            except BaseException:
                self._stderr.close()
                raise
            self.connection = Connection(ours.detach())
        _children.add(self)

    @property
    def pid(self) -> int:
        return self._process.pid

    def is_alive(self) -> bool:
        return self._process.poll() is None

    def send(self, message: Any) -> None:
        """Sends a message, which takes until the child has read most of it. Raises `EOFError` when it has ended."""
        with _ended_is_eof():
            _send(self.connection, message)

    def receive(self) -> Any:
        """The child's next message. Raises `EOFError` when it has ended, and `TimeoutError` when it sends nothing."""
        with _ended_is_eof():
            return _receive(self.connection)

    def exit_reason(self) -> str:
        """How the child ended (`SIGSEGV`, `status 1`), with the last line that it wrote to stderr. Closes it."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_EXIT_SECONDS)
        self._process.kill()
        status = self._process.wait()
        reason = signal.Signals(-status).name if status < 0 else f"status {status}"
        self._stderr.seek(0)
        lines = self._stderr.read().decode(errors="replace").strip().splitlines()
        self.close()
        return f"{reason}: {lines[-1]}" if lines else reason

    def kill(self) -> None:
        """Kills the child; a thread that waits for its next message gets `EOFError`."""
        self._process.kill()

    def close(self) -> None:
        """Kills the child, if it is alive, and closes the connection."""
        self._process.kill()
        self._process.wait()
        self._close_files()

    def _close_files(self) -> None:
        self.connection.close()
        self._stderr.close()

    def disown(self) -> None:
        """Lets go of a child that is another process's, without killing it."""
        self._process.returncode = 0
        self._close_files()


class Parent:
    """The parent of this process, as the child sees it, at the `descriptor` that the child was started with.

    SIGTERM and SIGHUP are ignored from here on: a system that ends a job signals each of its processes, and the parent
    decides what is finished first.
    """

    def __init__(self, descriptor: int) -> None:
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        self._connection = Connection(descriptor)

    def send(self, message: Any) -> None:
        """Sends a message, which takes until the parent has read most of it. Ends this process if the parent has."""
        try:
            with _ended_is_eof():
                _send(self._connection, message)
        except EOFError:
            os._exit(0)

    def receive(self) -> Any:
        """The parent's next message. Ends this process if the parent has ended."""
        try:
            with _ended_is_eof():
                return _receive(self._connection)
        except EOFError:
            os._exit(0)

    def listen(self, handle: Callable[[Any], None]) -> None:
        """Starts a thread that passes each message to `handle` and ends this process, busy or not, with its parent."""
        threading.Thread(target=self._listen, args=(handle,), daemon=True).start()

    def _listen(self, handle: Callable[[Any], None]) -> None:
        try:
            while True:
                handle(self.receive())
        finally:
            os._exit(1)


def _send(connection: Connection, message: Any) -> None:
    buffers: list[pickle.PickleBuffer] = []
    data = pickle.dumps(message, 5, buffer_callback=buffers.append)
    parts = [memoryview(data), *(buffer.raw() for buffer in buffers)]
    connection.send([part.nbytes for part in parts])
    for part in parts:
        for start in range(0, part.nbytes, _PIECE_BYTES):
            connection.send_bytes(part[start : start + _PIECE_BYTES])


def _receive(connection: Connection) -> Any:
    parts = [bytearray(length) for length in connection.recv()]
    for part in parts:
        start = 0
        while start < len(part):
            start += connection.recv_bytes_into(part, start)
    return pickle.loads(parts[0], buffers=parts[1:])


@contextlib.contextmanager
def _ended_is_eof() -> Iterator[None]:
    """Raises `EOFError` for each error that says that the other end has closed, and `TimeoutError` for silence."""
    try:
        yield
    except BlockingIOError as error:
        raise TimeoutError from error
    except OSError as error:
        # `Connection` raises one without a number where the other end closes in the middle of a message.
        if isinstance(error, BrokenPipeError | ConnectionResetError) or error.errno is None:
            raise EOFError from error
        raise


def _command(module: str, function: str, arguments: tuple[Any, ...]) -> list[str]:
    """The command of a Python process that calls `function(*arguments)` of this package's `module`.

    The child loads the files of this very package, whatever else has its name, and finds everything else where
    this process does, but nothing in the current folder (-P, and no "" in `sys.path`). `multiprocessing` would
    instead run a script without a main guard once more.
    """
    package = sys.modules[__package__ or ""]
    code = _BOOT.format(
        name=package.__name__,
        init=str(Path(__file__).resolve().with_name("__init__.py")),
        folders=list(package.__path__),
        path=[entry for entry in sys.path if Path(entry).is_absolute()],
        module=module,
        function=function,
        arguments=arguments,
    )
    return [sys.executable, "-P", "-c", code]


_children: "weakref.WeakSet[Child]" = weakref.WeakSet()


@cache
def _disown_children_after_fork() -> None:
    """Has a process that is forked from this one close its copies of the connections, which would keep the children
    alive after this process has ended."""
    os.register_at_fork(after_in_child=_disown_children)


def _disown_children() -> None:
    for child in list(_children):
        child.disown()
    _children.clear()
