"""Files and folders that may not be used: to root, whom tests may run as, nothing is forbidden."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

_NOBODY = 65534


@contextlib.contextmanager
def not_as_root() -> Iterator[None]:
    """Runs its block as a user without rights, where the tests run as root."""
    if os.geteuid():
        yield
        return
    os.seteuid(_NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def let_others_enter(folder: Path) -> None:
    """Lets the user without rights enter a temporary folder, which pytest makes for the one who runs it alone."""
    for above in (folder, *folder.parents):
        if above.stat().st_uid == os.getuid() and str(above).startswith(("/tmp/", "/var/tmp/")):
            above.chmod(0o755)
