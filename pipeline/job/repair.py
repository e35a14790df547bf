"""Opening a store that may be damaged: it is restored from its copy, or refused.

`job.copy` is the store as it was when the job was last opened, last closed, and about once a minute in between. After a
clean end the two are the same to the byte, so that a change is found even where SQLite keeps no data.
"""

import contextlib
import sqlite3
from pathlib import Path

from .. import storage
from ..errors import JobError
from .integrity import START_OVER, UNREADABLE, damage, require_sound
from .schema import SCHEMA_VERSION
from .store import COPY_NAME, READ_TIMEOUT_SECONDS, STORE_NAME, connect_to_read, from_bytes

OWNER_KEY = "owner"
"""The row of `meta` that names the process at work; the process deletes it when it ends cleanly."""


def open_to_read(folder: Path, timeout_seconds: float = READ_TIMEOUT_SECONDS) -> tuple[sqlite3.Connection, str | None]:
    """Opens the store, or its copy in memory where the store is damaged; returns what is wrong with the store as well.

    Raises `JobError` where neither can be used.
    """
    try:
        try:
            return _open_sound(folder, "ro", timeout_seconds), None
        except sqlite3.OperationalError:
            # A crash cut a write short, and SQLite has to roll it back before anybody reads.
            return _open_sound(folder, "rw", timeout_seconds), None
    except JobError as error:
        copy = read_copy(folder)
        if copy is None:
            raise
        return from_bytes(copy), str(error).removesuffix(START_OVER)


def repair_store(folder: Path, timeout_seconds: float = READ_TIMEOUT_SECONDS) -> str | None:
    """Restores the store from its copy where it is damaged; returns what was wrong with it. For the owner of the job.

    Raises `JobError` where the copy cannot be used either.
    """
    copy = read_copy(folder)
    try:
        _open_sound(folder, "rw", timeout_seconds, thorough=True).close()
        if copy is None or not has_changed_since_close(folder, copy):
            return None
        problem = f"the store of the job in {folder} has changed since it was written"
    except JobError as error:
        if copy is None:
            raise
        problem = str(error).removesuffix(START_OVER)
    # SQLite would roll back pages of the damaged store from its journal into the restored one.
    storage.remove(*(folder / f"{STORE_NAME}{suffix}" for suffix in ("-journal", "-wal", "-shm")))
    storage.write_bytes(folder / STORE_NAME, copy)
    return f"{problem}: it was restored from its copy, and frames that were painted since the copy are painted again"


def read_copy(folder: Path) -> bytes | None:
    """The bytes of the store's copy; None where there is none, or it is damaged or of another version."""
    data = storage.read_checksummed(folder / COPY_NAME)
    if data is None:
        return None
    with contextlib.suppress(*UNREADABLE), contextlib.closing(from_bytes(data)) as connection:
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version == SCHEMA_VERSION and damage(connection) is None:
            return data
    return None


def has_changed_since_close(folder: Path, copy: bytes) -> bool:
    """Whether a sound store differs by a byte from what it was when its job ended cleanly.

    False where the store or its copy is from the middle of a run: then the two may differ.
    """
    with contextlib.closing(connect_to_read(folder / STORE_NAME)) as now, contextlib.closing(from_bytes(copy)) as then:
        if _has_owner(now) or _has_owner(then):
            return False
    return (folder / STORE_NAME).read_bytes() != copy


def _has_owner(connection: sqlite3.Connection) -> bool:
    return connection.execute("SELECT 1 FROM meta WHERE key = ?", (OWNER_KEY,)).fetchone() is not None


def _open_sound(folder: Path, mode: str, timeout_seconds: float, *, thorough: bool = False) -> sqlite3.Connection:
    connection = connect_to_read(folder / STORE_NAME, mode, timeout_seconds)
    try:
        require_sound(connection, folder, thorough=thorough)
    except BaseException:
        connection.close()
        raise
    return connection
