"""TODO: job.lock."""

import contextlib
import errno
import warnings
from collections.abc import Callable
from pathlib import Path

import filelock

from .. import storage
from ..errors import JobLockedError, StorageError

_LOCK_NAME = "lock"


def acquire_lock(folder: Path, recorded_owner: Callable[[Path], str | None]) -> filelock.BaseFileLock:
    """The OS's lock on the folder: it goes with its process, however that ends.

    `recorded_owner` reads from a job's store who works on it, for the message of `JobLockedError`.
    """
    # A moment's patience: `status` holds the lock for an instant to see whether anybody does.
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


_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}


def _lock(lock: filelock.BaseFileLock, folder: Path) -> None:
    """Takes a lock of the operating system, and none else.

    Where a file system has no locks, `filelock` takes a file that exists for one: that of a process that was killed
    would lock its job for good, and that of one on another machine would not be believed. Raises `StorageError` there,
    `filelock.Timeout` where somebody has the lock, and `OSError`.
    """
    refused = StorageError(
        f"the disk of {folder} cannot lock files, so two processes could work on one job: "
        "name a folder on a local disk with `job`"
    )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # What `filelock` says where it falls back.
            lock.acquire(poll_interval=0.02)
    except filelock.Timeout:
        if not isinstance(lock, _OS_LOCKS):
            raise refused from None
        raise
    except NotImplementedError:  # So older versions say it.
        raise refused from None
    except OSError as error:
        if error.errno in _NO_LOCKS:
            raise refused from error
        raise
    if not isinstance(lock, _OS_LOCKS):
        lock.release()
        raise refused


_OS_LOCKS = (filelock.UnixFileLock, filelock.WindowsFileLock)


def living_owner(folder: Path, owner: str | None) -> str | None:
    """The recorded owner, when somebody does hold the lock."""
    lock = filelock.FileLock(folder / _LOCK_NAME, blocking=False)
    try:
        _lock(lock, folder)
    except filelock.Timeout:
        return owner or "another process"
    except (OSError, StorageError):
        return None
    lock.release()
    return None
