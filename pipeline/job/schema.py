"""The tables of a job's store, and the checksum that each row holds of its own values."""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

SCHEMA_VERSION = 7
"""SQLite's `user_version` of a store with these tables; a store with another one is refused."""

CHECKSUM = "checksum"
_CHECKSUM_BYTES = 16


@dataclass(frozen=True)
class Table:
    """A table whose rows end with a checksum.

    `columns` maps each name to its SQL type, without the checksum. The first `key_length` of them are the key.
    """

    name: str
    key_length: int
    columns: Mapping[str, str]

    @cached_property
    def key(self) -> tuple[str, ...]:
        return tuple(self.columns)[: self.key_length]

    @cached_property
    def definition(self) -> str:
        columns = ", ".join(f"{name} {kind}" for name, kind in self.columns.items())
        return (
            f"CREATE TABLE {self.name} ({columns}, {CHECKSUM} BLOB NOT NULL, PRIMARY KEY ({', '.join(self.key)})) "
            "WITHOUT ROWID"
        )

    @cached_property
    def _kinds(self) -> tuple[tuple[str, str], ...]:
        return tuple(self.columns.items())

    @cached_property
    def insert(self) -> str:
        """SQL that inserts the values of `row`."""
        return f"INSERT INTO {self.name} VALUES ({', '.join('?' * (len(self.columns) + 1))})"

    @cached_property
    def update(self) -> str:
        """SQL that replaces the row with the key of `row`: takes its values after the key, then the key."""
        names = (*tuple(self.columns)[self.key_length :], CHECKSUM)
        return f"UPDATE {self.name} SET {', '.join(f'{name} = ?' for name in names)} WHERE {self.where_key}"

    @cached_property
    def where_key(self) -> str:
        return " AND ".join(f"{name} = ?" for name in self.key)

    def row(self, values: Mapping[str, object]) -> tuple[object, ...]:
        """The values of a row in the order of the columns, as SQLite returns them once stored, and their checksum."""
        get = values.get
        stored = tuple([_as_stored_real(get(name)) if kind == "REAL" else get(name) for name, kind in self._kinds])
        return *stored, self.checksum(stored)

    def checksum(self, values: Sequence[object]) -> bytes:
        """The checksum of a row's values, which are in the order of the columns."""
        # `ascii` tells apart 1, 1.0, "1" and b"1", and is the same in every version of Python.
        return hashlib.sha256(ascii((self.name, *values)).encode()).digest()[:_CHECKSUM_BYTES]

    def is_sound(self, row: Sequence[object]) -> bool:
        """Whether a row, as it was read, matches its checksum."""
        *values, checksum = row
        return checksum == self.checksum(values)


def _as_stored_real(value: object) -> object:
    """What SQLite returns for a value in a REAL column: of a number a float, of NaN NULL, of -0.0 0.0."""
    if isinstance(value, int | float):
        return None if math.isnan(value) else float(value) + 0.0
    return value


META = Table("meta", 1, {"key": "TEXT NOT NULL", "value": "TEXT NOT NULL"})

FRAMES = Table(
    "frames",
    2,
    {
        "pass": "INTEGER NOT NULL",
        "idx": "INTEGER NOT NULL",
        "shot": "INTEGER NOT NULL",
        "name": "TEXT NOT NULL",
        "path": "TEXT NOT NULL",
        "pts": "INTEGER",
        "work": "INTEGER NOT NULL",
        "state": "TEXT NOT NULL CHECK (state IN ('pending', 'done', 'failed'))",
        "sha256": "TEXT",
        "content": "REAL",
        "style": "REAL",
        "total_variation": "REAL",
        "iterations": "INTEGER",
        "stop": "TEXT",
        "retried": "TEXT",
        "seconds": "REAL",
        "device": "TEXT",
        "reference": "REAL",
        "sources": "TEXT",
        "error": "TEXT",
    },
)

COMPARISONS = Table("comparisons", 1, {"path": "TEXT NOT NULL", "sha256": "TEXT NOT NULL"})

NOT_KEPT = Table("not_kept", 2, {"text": "TEXT NOT NULL", "name": "TEXT NOT NULL"})

TABLES = (META, FRAMES, COMPARISONS, NOT_KEPT)

ROW_COUNTS_KEY = "row_counts"
"""The row of `meta` that holds the number of rows of each table, its own included."""
