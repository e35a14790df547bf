"""Child processes that run this package: how they are started, and which signals they leave to their parent."""

import signal
import sys
from pathlib import Path

_BOOT = """
import importlib.util, sys
spec = importlib.util.spec_from_file_location({name!r}, {init!r}, submodule_search_locations={folders!r})
package = sys.modules[{name!r}] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(package)
sys.path[:] = {path!r}
from {name}.{module} import {function}
{call}
"""


def command(module: str, call: str) -> list[str]:
    """The command of a Python process that makes one `call` of a function of this package's `module`.

    The child loads the files of this very package, whatever else is called the same, and finds everything else where
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
        function=call.partition("(")[0],
        call=call,
    )
    return [sys.executable, "-P", "-c", code]


def leave_signals_to_parent() -> None:
    """Ignores SIGTERM and SIGHUP in a child: a system that ends a job signals each of its processes, and the parent
    decides what is finished first. The child ends with its parent in any case."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
