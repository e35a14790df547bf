"""The SQLite store of a job, `job.db`: one process writes it, any process reads it.

`Store._put` writes every row, computes its checksum, and keeps the number of rows of each table in the
same transaction (see `integrity` for what that finds).
"""

import contextlib
import json
import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from .. import storage
from ..errors import JobError, StorageError
from .integrity import START_OVER, damage, shorten
from .schema import FRAMES, META, NOT_KEPT, ROW_COUNTS_KEY, SCHEMA_VERSION, TABLES, Table

STORE_NAME = "job.db"
COPY_NAME = "job.copy"

READ_TIMEOUT_SECONDS = 10.0
_WRITE_TIMEOUT_SECONDS = 60.0
"""How long to wait for other processes; a reader that checks all of a large store holds it longer than a writer."""


def connect_to_write(path: Path) -> sqlite3.Connection:
    """Opens a store for its one writer; makes an empty one where there is none."""
    # Autocommit: each statement is on the disk when it returns. EXTRA: the removal of the journal as well, which
    # would take the statement back after a power cut.
    # Any thread: the thread that saves the pictures records them.
    connection = sqlite3.connect(path, timeout=_WRITE_TIMEOUT_SECONDS, isolation_level=None, check_same_thread=False)
    connection.row_factory = sqlite3.Row
    connection.execute("PRAGMA synchronous = EXTRA")
    connection.execute("PRAGMA temp_store = MEMORY")
    return connection


def connect_to_read(path: Path, mode: str = "ro", timeout_seconds: float = READ_TIMEOUT_SECONDS) -> sqlite3.Connection:
    """Opens a store that another process may be writing."""
    uri = f"{path.absolute().as_uri()}?mode={mode}"
    connection = sqlite3.connect(uri, uri=True, timeout=timeout_seconds, isolation_level=None)
    connection.row_factory = sqlite3.Row
    return connection


def from_bytes(data: bytes) -> sqlite3.Connection:
    """A store in memory, from the bytes of its file."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.row_factory = sqlite3.Row
    connection.deserialize(data)
    return connection


def create_store(
    path: Path,
    meta: Mapping[str, str],
    frames: Iterable[Mapping[str, object]],
    not_kept: Iterable[Mapping[str, object]] = (),
) -> None:
    """Makes a store with these rows. Raises `sqlite3.Error` and `OSError`."""
    with contextlib.closing(connect_to_write(path)) as connection, connection:
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        # In one transaction: else each of ten thousand frames is flushed to the disk by itself.
        connection.execute("BEGIN")
        for table in TABLES:
            connection.execute(table.definition)
        counts = {**{table.name: 0 for table in TABLES}, META.name: len(meta) + 1}
        for table, rows_of in ((FRAMES, frames), (NOT_KEPT, not_kept)):
            counts[table.name] = max(connection.executemany(table.insert, map(table.row, rows_of)).rowcount, 0)
        rows = {**meta, ROW_COUNTS_KEY: json.dumps(counts)}
        connection.executemany(META.insert, (META.row({"key": key, "value": value}) for key, value in rows.items()))


def write_copy(folder: Path) -> None:
    """Writes `job.copy`, a copy of the store with a checksum header. Only between two transactions of the writer.

    Raises `JobError` when the store is damaged: the copy from which it can be restored stays.
    """
    data = (folder / STORE_NAME).read_bytes()
    with contextlib.closing(from_bytes(data)) as connection:
        problem = damage(connection)
    if problem is not None:
        raise _damaged(folder, problem)
    storage.write_checksummed(folder / COPY_NAME, data)


class Store:
    """An open store, for one thread at a time. Errors of SQLite and the disk are raised as our own."""

    def __init__(self, folder: Path, connection: sqlite3.Connection) -> None:
        self.folder = folder
        self.connection = connection
        self._lock = threading.RLock()
        """Keeps a thread's reads and the copy of the file out of another thread's transaction."""

    def close(self) -> None:
        self.connection.close()

    def read(self, query: str, values: Sequence[object] = ()) -> list[sqlite3.Row]:
        """The rows that a SELECT returns."""
        with self._lock, translated_errors(self.folder):
            return self.connection.execute(query, values).fetchall()

    def meta(self, key: str) -> str | None:
        """A value of `meta`, None where there is none."""
        rows = self.read("SELECT value FROM meta WHERE key = ?", (key,))
        return str(rows[0]["value"]) if rows else None

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """All that the block writes is stored, or nothing. A transaction inside another is part of it."""
        with self._lock, translated_errors(self.folder):
            if self.connection.in_transaction:
                yield
                return
            with self.connection:
                self.connection.execute("BEGIN IMMEDIATE")
                yield

    def set_meta(self, values: Mapping[str, str]) -> None:
        with self.transaction():
            for key, value in values.items():
                self._put(META, {"key": key, "value": value})

    def delete_meta(self, *keys: str) -> None:
        with self.transaction():
            for key in keys:
                deleted = self.connection.execute("DELETE FROM meta WHERE key = ?", (key,)).rowcount
                self._change_count(META, -deleted)

    def update_frame(self, pass_number: int, index: int, changes: Mapping[str, object]) -> None:
        """Changes columns of a frame's row, where the job has that frame."""
        with self.transaction():
            query = f"SELECT * FROM frames WHERE {FRAMES.where_key}"
            for row in self.connection.execute(query, (pass_number, index)).fetchall():
                self._require_sound(FRAMES, row)
                self._put(FRAMES, {**dict(row), **changes})

    def put(self, table: Table, values: Mapping[str, object]) -> None:
        """Inserts a row, or replaces the one with its key."""
        with self.transaction():
            self._put(table, values)

    def clear(self, table: Table) -> None:
        """Removes all rows of a table."""
        with self.transaction():
            self._change_count(table, -self.connection.execute(f"DELETE FROM {table.name}").rowcount)

    def write_copy(self) -> None:
        """Writes `job.copy`, between two transactions."""
        with self._lock, translated_errors(self.folder):
            write_copy(self.folder)

    def _put(self, table: Table, values: Mapping[str, object]) -> None:
        row = table.row(values)
        key, rest = row[: table.key_length], row[table.key_length :]
        if not self.connection.execute(table.update, (*rest, *key)).rowcount:
            self.connection.execute(table.insert, row)
            self._change_count(table, 1)

    def _change_count(self, table: Table, change: int) -> None:
        if not change:
            return
        query = f"SELECT * FROM meta WHERE {META.where_key}"
        row = self.connection.execute(query, (ROW_COUNTS_KEY,)).fetchone()
        self._require_sound(META, row)
        counts = json.loads(row["value"])
        counts[table.name] += change
        self._put(META, {"key": ROW_COUNTS_KEY, "value": json.dumps(counts)})

    def _require_sound(self, table: Table, row: sqlite3.Row | None) -> None:
        """A damaged row that is rewritten would get a checksum that matches."""
        if row is None or not table.is_sound(row):
            raise _damaged(self.folder, f"is damaged (a row of {table.name} does not match its checksum)")


def _damaged(folder: Path, problem: str) -> JobError:
    return JobError(
        f"the store of the job in {folder} {problem}: run the same command again to restore it from its copy"
    )


@contextlib.contextmanager
def translated_errors(folder: Path) -> Iterator[None]:
    """Raises errors of SQLite and the disk as `JobError` and `StorageError`."""
    try:
        yield
    except sqlite3.OperationalError as error:
        if "full" in str(error) or "disk I/O" in str(error) or "readonly" in str(error):
            remedy = "free some space" if "full" in str(error) else "check the disk"
            if storage.file_size_limit() is not None:
                remedy = f"raise the limit on the size of files (ulimit -f), or {remedy}"
            raise StorageError(
                f"the store of the job in {folder} cannot be written ({error}): {remedy} and run the same command again"
            ) from error
        raise JobError(f"the store of the job in {folder} cannot be used: {shorten(error)}") from error
    except sqlite3.DatabaseError as error:
        raise JobError(f"the store of the job in {folder} is damaged ({shorten(error)}){START_OVER}") from error
    except OSError as error:
        raise storage.storage_error(error, folder) from error


def to_text(text: str) -> str | bytes:
    """A text as SQLite keeps it: as bytes where a file's name holds bytes that are no UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return os.fsencode(text)
    return text


def from_text(value: str | bytes) -> str:
    """The text that `to_text` stored."""
    return os.fsdecode(value) if isinstance(value, bytes) else value
