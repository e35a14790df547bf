"""The lock by which one process at a time owns a job folder.

A lock of the operating system: it ends with its process, however that ends. The name of the owner in the store is for
messages only.
"""

import contextlib
import errno
import warnings
from collections.abc import Callable
from pathlib import Path

import filelock

from .. import storage
from ..errors import JobLockedError, StorageError

_LOCK_NAME = "lock"
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}
_OS_LOCKS = (filelock.UnixFileLock, filelock.WindowsFileLock)


def acquire_lock(folder: Path, recorded_owner: Callable[[Path], str | None]) -> filelock.BaseFileLock:
    """Takes the lock on a folder. Raises `JobLockedError` when another process has it, and `StorageError`.

    `recorded_owner` reads the owner's name from a job's store, for the message.
    """
    # `running_owner` holds the lock for an instant: wait for that.
    lock = filelock.FileLock(folder / _LOCK_NAME, timeout=0.5)
    try:
        _lock(lock, folder)
    except filelock.Timeout as error:
        owner = "another process"
        with contextlib.suppress(Exception):
            owner = recorded_owner(folder) or owner
        raise JobLockedError(
            f"the job in {folder} is being worked on by {owner}: wait for it, stop it, or choose another `output`"
        ) from error
    except OSError as error:
        raise storage.storage_error(error, folder) from error
    return lock


def _lock(lock: filelock.BaseFileLock, folder: Path) -> None:
    """Takes a lock of the operating system, and no other kind.

    On a file system without locks `filelock` falls back to a file whose existence is the lock: one left by a killed
    process would lock its job for good, and one of another machine would not count. Raises `StorageError` there,
    `filelock.Timeout` when another process has the lock, and `OSError`.
    """
    refused = StorageError(
        f"the disk of {folder} cannot lock files, so two processes could work on one job: "
        "name a folder on a local disk with `job`"
    )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # That `filelock` falls back.
            lock.acquire(poll_interval=0.02)
    except filelock.Timeout:
        if not isinstance(lock, _OS_LOCKS):
            raise refused from None
        raise
    except NotImplementedError:  # Older versions of `filelock`, instead of the fallback.
        raise refused from None
    except OSError as error:
        if error.errno in _NO_LOCKS:
            raise refused from error
        raise
    if not isinstance(lock, _OS_LOCKS):
        lock.release()
        raise refused


def running_owner(folder: Path, recorded: str | None) -> str | None:
    """Returns the recorded owner, or "another process", when a process holds the lock; else None."""
    lock = filelock.FileLock(folder / _LOCK_NAME, blocking=False)
    try:
        _lock(lock, folder)
    except filelock.Timeout:
        return recorded or "another process"
    except (OSError, StorageError):
        return None
    lock.release()
    return None
