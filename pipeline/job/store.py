"""The SQLite store of a job, in which a change that the job did not make itself is noticed.

SQLite takes a flipped bit for a number. So the store holds a seal: the exclusive or of a digest of each row of its
tables, and of what says how they are made. Triggers of a writing connection keep it in step with every statement, in
the statement's own transaction, so that a frame costs one digest and not a look at all of the store.

Beside it lies a copy, sealed as a file, of the store as it was when it was last opened, when it was last closed, and
now and then in between: what is wrong with the store is put right from it. At rest, after a clean end, the two are the
same to the byte, by which a change is noticed also where SQLite keeps nothing.
"""

import contextlib
import hashlib
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from .. import storage

STORE_NAME = "job.db"
COPY_NAME = "job.copy"

_SEAL_KEY = "seal"
_OWNER_KEY = "owner"
_MOST_WORDS = 80

UNREADABLE = (sqlite3.DatabaseError, UnicodeDecodeError)
"""What reading a damaged store raises: also of the message in which SQLite quotes it."""

_LOOK_SECONDS = 10.0
_WRITE_SECONDS = 60.0
"""How long to wait for other processes; for whoever looks at all of a large store at once it is longer."""

# What a disk says, and not the bytes that lie on it.
_NOT_DAMAGE = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_PERM,
}


def connect(path: Path) -> sqlite3.Connection:
    """Opens a store to write to it, where there is none an empty one; see `watch`."""
    # Autocommit: each statement is on the disk when it returns, none waits for a commit. EXTRA: also the removal of
    # its journal, which would take it back after a power cut.
    # Any thread: paintings are recorded by the one that saves them.
    connection = sqlite3.connect(path, timeout=_WRITE_SECONDS, isolation_level=None, check_same_thread=False)
    connection.row_factory = sqlite3.Row
    connection.execute("PRAGMA synchronous = EXTRA")
    connection.execute("PRAGMA temp_store = MEMORY")
    return connection


def look_at(path: Path, mode: str = "ro") -> sqlite3.Connection:
    """Opens a store that somebody else may be writing to."""
    uri = f"{path.absolute().as_uri()}?mode={mode}"
    connection = sqlite3.connect(uri, uri=True, timeout=_LOOK_SECONDS, isolation_level=None)
    connection.row_factory = sqlite3.Row
    return connection


def in_memory(data: bytes) -> sqlite3.Connection:
    """A store that is looked at without being on the disk, from the bytes of its file."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.row_factory = sqlite3.Row
    connection.deserialize(data)
    return connection


# --- the seal ---


def seal(connection: sqlite3.Connection) -> None:
    """Seals a store that has just been filled; from then on `watch` keeps the seal."""
    connection.execute(f"INSERT INTO meta VALUES ('{_SEAL_KEY}', ?)", (_seal_of(connection),))


def watch(connection: sqlite3.Connection) -> None:
    """Keeps the seal in step with each change that is made through this connection."""
    connection.create_function("turned", -1, _turned, deterministic=True)
    # Else a row that is replaced goes without a trigger.
    connection.execute("PRAGMA recursive_triggers = ON")
    for table in _tables(connection):
        columns = [row["name"] for row in connection.execute(f"PRAGMA table_info({table})")]
        for event, which in (("INSERT", ("NEW",)), ("DELETE", ("OLD",)), ("UPDATE", ("OLD", "NEW"))):
            value = "value"
            for row in which:
                values = ", ".join(f'{row}."{column}"' for column in columns)
                value = f"turned({value}, '{table}', {values})"
            guard = f"WHEN {which[-1]}.key <> '{_SEAL_KEY}'" if table == "meta" else ""
            connection.execute(
                f"CREATE TEMP TRIGGER seal_{table}_{event} AFTER {event} ON main.{table} {guard} "
                f"BEGIN UPDATE meta SET value = {value} WHERE key = '{_SEAL_KEY}'; END"
            )


def damage(connection: sqlite3.Connection, *, thorough: bool = False) -> str | None:
    """What is wrong with a store, in words that follow its name; None when it is what was written.

    `thorough` looks at what is not told by the rows as well: that what is written next will not go where something
    is. Raises `sqlite3.Error` where the disk cannot be read or another process is in the way.
    """
    try:
        if thorough:
            found = str(connection.execute("PRAGMA integrity_check(1)").fetchone()[0])
            if found != "ok":
                return f"is damaged ({in_short(found)})"
        with _one_look(connection):
            row = connection.execute("SELECT value FROM meta WHERE key = ?", (_SEAL_KEY,)).fetchone()
            if row is None or row["value"] != _seal_of(connection):
                return "is damaged (its rows do not go with its seal)"
    except UNREADABLE as error:
        if not is_damage(error):
            raise
        return f"is damaged ({in_short(error)})"
    return None


def is_damage(error: Exception) -> bool:
    """Whether an error is of the bytes of a store, and not of its disk or of another process that is in the way."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF not in _NOT_DAMAGE


def in_short(words: object) -> str:
    """What SQLite says, on one line: it quotes what it cannot read at length."""
    line = " ".join(str(words).split())
    return line if len(line) <= _MOST_WORDS else f"{line[:_MOST_WORDS]}…"


@contextlib.contextmanager
def _one_look(connection: sqlite3.Connection) -> Iterator[None]:
    """All that is read in the block is of one moment, whoever writes."""
    connection.execute("BEGIN")
    try:
        yield
    finally:
        with contextlib.suppress(sqlite3.Error):
            connection.execute("ROLLBACK")


def _tables(connection: sqlite3.Connection) -> list[str]:
    rows = connection.execute("SELECT name FROM main.sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")
    return [row["name"] for row in rows]


def _seal_of(connection: sqlite3.Connection) -> str:
    seal = 0
    for row in connection.execute("SELECT type, name, tbl_name, sql FROM main.sqlite_master"):
        seal ^= _digest("schema", *row)
    for table in _tables(connection):
        # By position: one that was damaged is not asked by names that it may no longer have.
        for row in connection.execute(f'SELECT * FROM "{table}"'):
            if (table, row[0]) != ("meta", _SEAL_KEY):
                seal ^= _digest(table, *row)
    return f"{seal:064x}"


def _turned(seal: str, *row: object) -> str:
    """The seal with a row put in, or with the same taken out."""
    return f"{int(seal, 16) ^ _digest(*row):064x}"


def _digest(*row: object) -> int:
    text = json.dumps(row, default=lambda value: {"bytes": value.hex()})
    return int.from_bytes(hashlib.sha256(text.encode()).digest())


# --- the copy ---


def is_at_rest(connection: sqlite3.Connection) -> bool:
    """Whether the process that last wrote to the store ended it cleanly."""
    return connection.execute("SELECT 1 FROM meta WHERE key = ?", (_OWNER_KEY,)).fetchone() is None


def write_copy(folder: Path) -> None:
    """Makes the copy anew; for the owner of the job, between two transactions."""
    storage.write_checksummed(folder / COPY_NAME, (folder / STORE_NAME).read_bytes())


def sound_copy(folder: Path, version: int) -> bytes | None:
    """The bytes of the copy; None when there is none, or it is not what was written or of another version."""
    data = storage.read_checksummed(folder / COPY_NAME)
    if data is None:
        return None
    with contextlib.suppress(*UNREADABLE), contextlib.closing(in_memory(data)) as connection:
        if connection.execute("PRAGMA user_version").fetchone()[0] == version and damage(connection) is None:
            return data
    return None


def restore(folder: Path, copy: bytes) -> None:
    """Puts the copy in the place of the store."""
    # A journal would take pages of the damaged one into it.
    storage.remove(*(folder / f"{STORE_NAME}{ending}" for ending in ("-journal", "-wal", "-shm")))
    storage.write_bytes(folder / STORE_NAME, copy)


def differs_at_rest(folder: Path, copy: bytes) -> bool:
    """Whether a store that reads well is not, to the byte, what it was when its job ended cleanly."""
    with contextlib.closing(look_at(folder / STORE_NAME)) as now, contextlib.closing(in_memory(copy)) as then:
        if not (is_at_rest(now) and is_at_rest(then)):
            return False
    return (folder / STORE_NAME).read_bytes() != copy
