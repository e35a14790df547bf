"""What surrounds every command: its view, signals, and errors as one line and an exit code."""

import contextlib
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import FrameType
from typing import IO, Any, cast

import typer
from rich.console import Console

from ..errors import ImpastoError, Interrupted, OutOfMemoryError, StorageError
from ..events import StopSignal
from ..out_of_memory import is_out_of_memory, out_of_memory_error
from .engine import Engine
from .formatting import short_path
from .streams import DroppingStream, StdoutError, require_stdout, silence_stdout, stdout_problem
from .view import View
from .views import make_view


@dataclass(frozen=True)
class CommandState:
    """What all commands of one call share, as the object of the typer context."""

    debug: bool = False
    """Whether an error shows its traceback."""

    owns_process: bool = False
    """Whether the process ends with the command; not so where another program or a test calls one."""

    engine: Engine = field(default_factory=Engine)


def state_of(context: typer.Context) -> CommandState:
    """The state that the caller handed in, or the default."""
    return context.find_object(CommandState) or CommandState()


@contextlib.contextmanager
def session(
    context: typer.Context,
    *,
    quiet: bool = False,
    as_json: bool = False,
    shows_job: bool = False,
    paints: bool | None = None,
) -> Iterator[tuple[View, StopSignal]]:
    """The view and the stop signal of a command. Errors become one line on stderr and the exit code.

    `shows_job`: whether the command runs a job whose progress is shown. `paints` (by default the same): whether the
    first Ctrl-C waits for the frames in flight; other commands end at once.
    """
    state = state_of(context)
    paints = shows_job if paints is None else paints
    console = Console(file=cast(IO[str], DroppingStream(sys.stderr)), highlight=False)
    view = make_view(console, quiet=quiet or not shows_job, as_json=as_json)
    stop = StopOnSignal(view, owns_process=state.owns_process)
    code = 0
    try:
        if as_json:
            require_stdout()
        with view, stop if paints else contextlib.nullcontext():
            yield view, stop
    except ImpastoError as error:
        if state.debug:
            raise
        view.error(error)
        code = error.exit_code
    except KeyboardInterrupt:
        view.error(Interrupted(f"stopped at once{_resume_hint(view)}"))
        code = Interrupted.exit_code
    except BrokenPipeError:
        # The reader of stdout has closed it, as `head` does: nothing more can be printed.
        silence_stdout()
        code = 1
    except StdoutError as error:
        silence_stdout()
        View(console).error(StorageError(f"{stdout_problem(error)}{_resume_hint(view)}"))
        code = StorageError.exit_code
    except OSError as error:
        # What the pipeline does not translate: a file name that is too long, a current folder that was removed.
        if state.debug:
            raise
        path = f"{error.filename}: " if error.filename else ""
        shown = out_of_memory_error(error) if is_out_of_memory(error) else None
        view.error(shown or StorageError(f"{path}{error.strerror or error}"))
        code = StorageError.exit_code
    except Exception as error:
        if state.debug or not is_out_of_memory(error):
            raise
        # As libraries are loaded; the pipeline translates what comes later.
        view.error(out_of_memory_error(error))
        code = OutOfMemoryError.exit_code
    if code:
        raise typer.Exit(code)


def _resume_hint(view: View) -> str:
    return "" if view.job is None else f"; continue with: impasto resume {short_path(view.job)}"


class StopOnSignal(StopSignal):
    """A stop signal that the first SIGINT (Ctrl-C), SIGTERM or SIGHUP requests; the second raises KeyboardInterrupt.

    A context manager: leaving it restores the signal handlers.
    """

    def __init__(self, view: View, *, owns_process: bool) -> None:
        super().__init__()
        self._view = view
        self._owns_process = owns_process
        self._previous_handlers: dict[int, Any] = {}

    def __enter__(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if number == signal.SIGHUP and signal.getsignal(number) == signal.SIG_IGN:
                continue  # nohup: the job is to outlive its terminal.
            with contextlib.suppress(ValueError):  # not the main thread, as under some test runners
                self._previous_handlers[number] = signal.signal(number, self._on_signal)

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous_handlers.items():
            # Another Ctrl-C while the interpreter exits would only print a traceback.
            is_ending = self._owns_process and self.requested and number == signal.SIGINT
            signal.signal(number, signal.SIG_IGN if is_ending else handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        if self.requested:
            raise KeyboardInterrupt
        self.request()
        # The line is dispensable: the terminal may have gone, or be in the middle of a write.
        with contextlib.suppress(OSError, RuntimeError):
            self._view.say(
                f"finishing the frames in progress (at most {self.grace_seconds:.0f} s); Ctrl-C again stops at once"
            )
