"""Child processes that run this package: how they are started, and what they leave to their parent."""

import signal
import sys
from pathlib import Path


def command(module: str, call: str) -> list[str]:
    """The command of a Python process that makes one `call` of a function of `pipeline.MODULE`.

    It has this very package, and else what this process imports, but nothing from the current folder: -P, and no "".
    Not by multiprocessing, which would run a script that has no main guard once more.
    """
    root = str(Path(__file__).resolve().parent.parent)
    path = [entry for entry in sys.path if Path(entry).is_absolute()]
    name = call.partition("(")[0]
    code = (
        f"import sys; sys.path[:] = [{root!r}]; import pipeline; sys.path[:] = {path!r}; "
        f"from pipeline.{module} import {name}; {call}"
    )
    return [sys.executable, "-P", "-c", code]


def leave_signals_to_parent() -> None:
    """For the child: a system that ends a job tells each of its processes, and the parent decides what is finished
    first. Its end is the child's, in any case."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
