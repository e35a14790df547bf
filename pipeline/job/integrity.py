"""Checks that a job's store is what the job wrote.

SQLite takes a flipped bit for a value. `damage` therefore compares each row with its checksum, the number of rows with
the recorded one, and the tables' definitions with those of `schema`: a changed value, and a row that is lost, added or
doubled, is found. `PRAGMA integrity_check` covers the structure around the rows.
"""

import contextlib
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from ..errors import JobError
from .schema import META, ROW_COUNTS_KEY, SCHEMA_VERSION, TABLES

START_OVER = ": start over with `stylize(force=True)`"

UNREADABLE = (sqlite3.DatabaseError, UnicodeDecodeError)
"""What reading a damaged store raises: `UnicodeDecodeError` where SQLite's own message quotes damaged bytes."""

_MOST_LETTERS = 80

# Errors that come from the disk or another process, and say nothing about the bytes of the store.
_NOT_DAMAGE = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_PERM,
}


def require_sound(connection: sqlite3.Connection, folder: Path, *, thorough: bool = False) -> None:
    """Raises `JobError` when the store is damaged or of another version.

    Raises `sqlite3.Error` when the disk cannot be read or another process holds the store: a moment's failure is no
    reason to fall back on the copy.
    """
    try:
        _require_version(connection, folder)
        problem = damage(connection, thorough=thorough)
    except UNREADABLE as error:
        if not is_damage(error):
            raise
        problem = f"is damaged ({shorten(error)})"
    if problem is not None:
        raise JobError(f"the store of the job in {folder} {problem}{START_OVER}")


def _require_version(connection: sqlite3.Connection, folder: Path) -> None:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version == 0:
        raise JobError(f"the store of the job in {folder} is damaged (it is empty){START_OVER}")
    if version != SCHEMA_VERSION:
        raise JobError(
            f"the job in {folder} was made by another version of impasto (its store is {version}, "
            f"this one reads {SCHEMA_VERSION}): "
            "finish it with that version, or start over with `stylize(force=True)`"
        )


def damage(connection: sqlite3.Connection, *, thorough: bool = False) -> str | None:
    """Returns what is wrong with a store, in words that follow its name; None when it is what was written.

    `thorough` also checks SQLite's own structures, on which the next write depends. Raises `sqlite3.Error` when the
    disk cannot be read or another process holds the store.
    """
    try:
        if thorough:
            found = str(connection.execute("PRAGMA integrity_check(1)").fetchone()[0])
            if found != "ok":
                return f"is damaged ({shorten(found)})"
        with _snapshot(connection):
            return _damaged_rows(connection)
    except UNREADABLE as error:
        if not is_damage(error):
            raise
        return f"is damaged ({shorten(error)})"


def _damaged_rows(connection: sqlite3.Connection) -> str | None:
    definitions = [row[0] for row in connection.execute("SELECT sql FROM main.sqlite_master")]
    if sorted(map(str, definitions)) != sorted(table.definition for table in TABLES):
        return "is damaged (its tables are not those of a job)"
    found = {}
    for table in TABLES:
        keys = set()
        # By position: damage may have renamed a column.
        for row in connection.execute(f"SELECT * FROM {table.name}"):
            key = tuple(row)[: table.key_length]
            if not table.is_sound(row) or key in keys:
                return f"is damaged (a row of {table.name} does not match its checksum)"
            keys.add(key)
        found[table.name] = len(keys)
    recorded = connection.execute(f"SELECT value FROM {META.name} WHERE {META.where_key}", (ROW_COUNTS_KEY,)).fetchone()
    if recorded is None or json.loads(recorded[0]) != found:
        return "is damaged (rows were lost or added)"
    return None


def is_damage(error: Exception) -> bool:
    """Whether an error comes from the bytes of a store, and not from its disk or from another process."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF not in _NOT_DAMAGE


def shorten(message: object) -> str:
    """A message of SQLite's on one line; SQLite quotes at length what it cannot read."""
    line = " ".join(str(message).split())
    return line if len(line) <= _MOST_LETTERS else f"{line[:_MOST_LETTERS]}…"


@contextlib.contextmanager
def _snapshot(connection: sqlite3.Connection) -> Iterator[None]:
    """The block reads the store as it is at one moment, while another process may write."""
    connection.execute("BEGIN")
    try:
        yield
    finally:
        with contextlib.suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
