"""The job folder: what is to be done, how far it is, and who is doing it.

`OUTPUT.impasto/` holds `job.db` (SQLite, written by the one process that owns the job) and `job.copy` of it,
`frames/` (painted frames, where the output is a video), `plots/`, `log.txt` and `lock`. A frame counts as done
when its file is complete on the disk and the store has its hash; on resume the store is compared
with the files and not believed.
"""

import contextlib
import datetime
import json
import os
import socket
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import filelock

from .. import storage
from ..errors import JobError, JobMismatchError, StorageError
from ..events import Losses
from ..presets import differences
from . import store
from .folder import (
    CHECKPOINTS_NAME,
    FLOW_NAME,
    FRAMES_NAME,
    LOG_NAME,
    PLOTS_NAME,
    file_problem,
    is_job,
    remove_contents,
    require_job,
    require_unused_names,
)
from .lock import acquire_lock, living_owner
from .records import DevicePace, FrameRecord, FrameState, JobStatus, PlannedFrame
from .store import COPY_NAME, STORE_NAME

_MOST_DIFFERENCES_SHOWN = 5
_START_OVER = ": start over with `stylize(force=True)`"

COPY_SECONDS = 60.0
"""How often a job at work copies its store: what is painted since is painted again where the store is damaged."""

STALLED_FACTOR = 3.0
STALLED_SECONDS = 60.0
"""A job is stalled that has finished nothing for so many times what its longest frame may take, and for so long."""

SCHEMA_VERSION = 6
_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE frames (
    pass INTEGER NOT NULL,
    idx INTEGER NOT NULL,
    shot INTEGER NOT NULL,
    name TEXT NOT NULL,
    path TEXT NOT NULL,
    pts INTEGER,
    work INTEGER NOT NULL,
    state TEXT NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'done', 'failed')),
    sha256 TEXT,
    content REAL,
    style REAL,
    total_variation REAL,
    iterations INTEGER,
    stop TEXT,
    retried TEXT,
    seconds REAL,
    device TEXT,
    reference REAL,
    sources TEXT,
    error TEXT,
    PRIMARY KEY (pass, idx)
) WITHOUT ROWID;
"""


class Job:
    """An open job folder. A context manager: leaving it closes the store and frees the lock.

    `create` and `open` take the lock and may write; `read` looks on without it.
    """

    def __init__(
        self,
        folder: Path,
        connection: sqlite3.Connection,
        lock: filelock.BaseFileLock | None,
        store_problem: str | None = None,
    ) -> None:
        self.folder = folder
        self.store_problem = store_problem
        """What was wrong with the store: of a job that was opened it was put right, else its copy is looked at."""
        self._connection = connection
        self._lock = lock
        self._copied = time.monotonic()
        self._turn = threading.RLock()
        """Of the threads, one at a time: a copy is made between two transactions, and a thread that waits for SQLite
        would hold the interpreter, which another that is within it needs for the triggers of the seal."""

    @classmethod
    def create(
        cls,
        folder: Path,
        recipe: Mapping[str, Any],
        invocation: Mapping[str, Any],
        plan: Mapping[str, Any],
        frames: Iterable[PlannedFrame],
        *,
        frame_index: str | None = None,
        replace: bool = False,
    ) -> Self:
        """Makes a new job, all three mappings of plain JSON values.

        `recipe`: what decides the result, compared on resume. `invocation`: what was asked for and where,
        so that the job can be resumed from its folder alone. `plan`: how it is done, as `ExecutionPlan` writes it;
        `frame_index`: by what the frames of a video are known again, as `FrameIndex` writes it.
        With `replace`, what an earlier job left in the folder is removed; without, `JobError` is raised.
        """
        try:
            storage.make_folder(folder)
        except OSError as error:
            raise storage.storage_error(error, folder) from error
        lock = acquire_lock(folder, _recorded_owner)
        try:
            if is_job(folder) and not replace:
                raise JobError(f"a job has appeared in {folder} meanwhile: run the same command again to go on with it")
            if not is_job(folder):
                require_unused_names(folder)
            remove_contents(folder)
            # Built under another name: a folder with a job.db always has a whole plan in it.
            path = folder / STORE_NAME
            temporary = storage.temporary_beside(path)
            with _translated(folder):
                connection = store.connect(temporary)
                with connection:
                    connection.executescript(_SCHEMA)
                    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
                    # Else each of ten thousand frames is flushed to the disk by itself.
                    connection.execute("BEGIN")
                    for key, values in (("recipe", recipe), ("invocation", invocation), ("plan", plan)):
                        connection.execute("INSERT INTO meta VALUES (?, ?)", (key, json.dumps(values)))
                    connection.execute("INSERT INTO meta VALUES ('created', ?)", (_now(),))
                    if frame_index is not None:
                        connection.execute("INSERT INTO meta VALUES ('frame_index', ?)", (frame_index,))
                    connection.executemany(
                        "INSERT INTO frames (pass, idx, shot, name, path, pts, work) VALUES (?, ?, ?, ?, ?, ?, ?)",
                        (
                            (
                                frame.pass_number,
                                frame.index,
                                frame.shot,
                                _to_store(frame.name),
                                _to_store(frame.path),
                                frame.pts,
                                frame.work,
                            )
                            for frame in frames
                        ),
                    )
                    store.seal(connection)
                connection.close()
            storage.move(temporary, path)
            return cls._owned(folder, lock)
        except BaseException:
            lock.release()
            raise

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Opens an existing job to go on with it. Raises `JobLockedError` when another process has it."""
        require_job(folder)
        lock = acquire_lock(folder, _recorded_owner)
        try:
            with _translated(folder):
                problem = _put_right(folder)
                frames = folder / FRAMES_NAME
                for place in (folder, folder / PLOTS_NAME, folder / CHECKPOINTS_NAME, frames, *frames.glob("*/")):
                    storage.remove_partial_files(place)
            job = cls._owned(folder, lock, problem)
            if problem is not None:
                job.log(problem)
            return job
        except BaseException:
            lock.release()
            raise

    @classmethod
    def _owned(cls, folder: Path, lock: filelock.BaseFileLock, store_problem: str | None = None) -> Self:
        """The job whose lock this process has, with the name of the owner in its store."""
        with _translated(folder):
            connection = store.connect(folder / STORE_NAME)
            store.watch(connection)
        job = cls(folder, connection, lock, store_problem)
        try:
            job._set_meta("owner", f"process {os.getpid()} on {socket.gethostname()}, since {_now()}")
            # Now, and not at the end alone: a copy with an owner is never taken for one that was made at rest.
            job._keep_copy()
        except BaseException:
            connection.close()
            raise
        return job

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Opens an existing job to look at it, whoever owns it; nothing can be written.

        Where the store is damaged its copy is looked at, and `store_problem` says so; `JobError` is raised where
        that is of no use either.
        """
        require_job(folder)
        with _translated(folder):
            try:
                try:
                    return cls(folder, _look_at(folder, "ro"), None)
                except sqlite3.OperationalError:
                    # A write was cut short by a crash, and SQLite has to take it back before anybody reads.
                    return cls(folder, _look_at(folder, "rw"), None)
            except JobError as error:
                copy = store.sound_copy(folder, SCHEMA_VERSION)
                if copy is None:
                    raise
                return cls(folder, store.in_memory(copy), None, str(error).removesuffix(_START_OVER))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._lock is not None:
            # Not at any price: whoever comes next copes with a job that ended in the middle.
            with contextlib.suppress(sqlite3.Error, StorageError, OSError):
                self._connection.execute("DELETE FROM meta WHERE key = 'owner'")
                store.write_copy(self.folder)
        self._connection.close()
        if self._lock is not None:
            self._lock.release()

    @property
    def recipe(self) -> dict[str, Any]:
        """What decides the job's result."""
        return self._values("recipe")

    @property
    def invocation(self) -> dict[str, Any]:
        """What was asked for, and where it is."""
        return self._values("invocation")

    @property
    def plan(self) -> dict[str, Any]:
        """How the job is done, as plain values that `ExecutionPlan` reads."""
        return self._values("plan")

    def replace_plan(self, plan: Mapping[str, Any]) -> None:
        """Records a plan that had to change while the job is done."""
        self._set_meta("plan", json.dumps(plan))

    def record_workers(self, count: int) -> None:
        """Records how many workers paint in this run; `status` estimates the time left from it."""
        self._set_meta("workers", str(count))

    @property
    def frame_index(self) -> str | None:
        """By what the frames of the content are known again, where it is a video that can be sought."""
        return self._meta("frame_index")

    def require_same(self, recipe: Mapping[str, Any], mendable: Sequence[str] = ()) -> None:
        """Raises `JobMismatchError`, with a line for each difference, unless `recipe` is the job's own.

        `mendable` names files of the content that may have changed, because their frames failed; what they
        are now becomes part of the job's recipe.
        """
        own = self.recipe
        files = own.get("content", {}).get("files", {})
        now = recipe["content"]["files"] if mendable else {}
        mended = {name: now[name] for name in mendable if name in files and now.get(name, files[name]) != files[name]}
        files.update(mended)
        different = differences(own, recipe)
        if different:
            shown = "; ".join(different[:_MOST_DIFFERENCES_SHOWN])
            more = len(different) - _MOST_DIFFERENCES_SHOWN
            raise JobMismatchError(
                f"the job in {self.folder} was made with other settings or content ({shown}"
                f"{f'; and {more} more' if more > 0 else ''}): "
                "repeat the command as it was, choose another `output`, or start over with `stylize(force=True)`",
                different,
            )
        if mended:
            self._set_meta("recipe", json.dumps(own))

    def frames(self, state: FrameState | None = None) -> list[FrameRecord]:
        """All frames, or those in one state: pass by pass, each in the order of the content."""
        values: tuple[str, ...] = () if state is None else (state,)
        query = f"SELECT * FROM frames {'WHERE state = ?' if values else ''} ORDER BY pass, idx"
        return [self._record(row) for row in self._read(query, values)]

    def frame(self, index: int, pass_number: int = 0) -> FrameRecord | None:
        """One frame, or None when the job has no such."""
        rows = self._read("SELECT * FROM frames WHERE pass = ? AND idx = ?", (pass_number, index))
        return self._record(rows[0]) if rows else None

    def finish_frame(
        self,
        index: int,
        sha256: str,
        losses: Losses,
        iterations: int,
        stop: str,
        retried: str | None,
        seconds: float,
        *,
        device: str | None = None,
        reference: float | None = None,
        sources: Sequence[int] = (),
        pass_number: int = 0,
    ) -> None:
        """Records a frame whose file is complete on the disk."""
        terms = losses.content, losses.style, losses.total_variation
        self._write(
            "UPDATE frames SET state = 'done', sha256 = ?, content = ?, style = ?, total_variation = ?, "
            "iterations = ?, stop = ?, retried = ?, seconds = ?, device = ?, reference = ?, sources = ?, error = NULL "
            "WHERE pass = ? AND idx = ?",
            (
                *(sha256, *terms, iterations, stop, retried, seconds, device, reference),
                *(json.dumps(list(sources)), pass_number, index),
            ),
        )
        if time.monotonic() - self._copied >= COPY_SECONDS:
            self._keep_copy()

    def fail_frame(self, index: int, message: str, pass_number: int = 0, *, forget_sources: bool = False) -> None:
        """Records a frame that could not be painted; it is tried again when the job is resumed, from what it was
        painted from before, if it was, unless that is forgotten."""
        self._write(
            "UPDATE frames SET state = 'failed', sources = CASE WHEN ? THEN NULL ELSE sources END, error = ? "
            "WHERE pass = ? AND idx = ?",
            (forget_sources, _to_store(message), pass_number, index),
        )

    def reset_frames(self, frames: Sequence[FrameRecord]) -> None:
        """Puts frames back to be painted: their files are missing, damaged, or had failed."""
        with self._transaction():
            self._connection.executemany(
                "UPDATE frames SET state = 'pending', sha256 = NULL, content = NULL, style = NULL, "
                "total_variation = NULL, iterations = NULL, stop = NULL, retried = NULL, seconds = NULL, "
                "device = NULL, reference = NULL, error = NULL WHERE pass = ? AND idx = ?",
                [(frame.pass_number, frame.index) for frame in frames],
            )

    def expect_output(self, sha256: str, held: Sequence[int] = ()) -> None:
        """Records the hash of the output before it gets its name, by which a crash right after is recognised, and for
        which frames the nearest ones are held in it."""
        with self._transaction():
            self._connection.executemany(
                "INSERT OR REPLACE INTO meta VALUES (?, ?)",
                [("output_expected", sha256), ("output_held", json.dumps(list(held)))],
            )

    @property
    def expected_sha256(self) -> str | None:
        return self._meta("output_expected")

    @property
    def held(self) -> list[int]:
        """The frames for which the nearest ones are held in the output as it is, or as it is about to be."""
        return list(json.loads(self._meta("output_held") or "[]"))

    def finish_output(self, sha256: str | None, held: Sequence[int] = ()) -> None:
        """Records that the output is complete under its name (with its hash, where it is one file). With frames that
        are `held` in place of others the job is not finished."""
        with self._transaction():
            self._connection.execute("DELETE FROM meta WHERE key = 'finished'")
            self._connection.executemany(
                "INSERT OR REPLACE INTO meta VALUES (?, ?)",
                [("output_sha256", sha256 or ""), *([] if held else [("finished", _now())])],
            )

    def finish_comparison(self, path: Path, sha256: str) -> None:
        """Records that content and result stand side by side in a file."""
        self._set_meta("compared", json.dumps([os.path.abspath(path), sha256]))

    @property
    def compared(self) -> tuple[Path, str] | None:
        """The file that was written for `--compare` and its hash, where it is one file."""
        recorded = self._meta("compared")
        if recorded is None:
            return None
        path, sha256 = json.loads(recorded)
        return Path(path), sha256

    def reopen_output(self) -> None:
        """Takes back `finish_output`: the output is missing or no longer what was written."""
        self._write("DELETE FROM meta WHERE key IN ('finished', 'output_sha256')", ())

    @property
    def output_sha256(self) -> str | None:
        """Hash of the finished output file; None while it is not finished, "" when it is a folder."""
        return self._meta("output_sha256")

    @property
    def _is_finished(self) -> bool:
        """Whether the output was written and no frame is to be painted: one that was lost is put back to be painted
        while the film that was made of it is still whole."""
        return self._meta("finished") is not None and not self.frames(FrameState.PENDING)

    @property
    def is_cleaned(self) -> bool:
        """Whether the frames in the job's own folder were removed as no longer needed."""
        return self._meta("cleaned") is not None

    def disposable(self) -> list[Path]:
        """Files that a finished job no longer needs: the frames of which its film is made, drafts of earlier passes,
        the flow between them, and what crashes left. Raises `JobError` for a job that is not finished, of which a
        frame is to be painted again, or of which the film is not there as it was made."""
        # Of a film a frame that failed is tried again by each run, and starts from its neighbours.
        failed_inside = any(frame.path.is_relative_to(self.folder) for frame in self.frames(FrameState.FAILED))
        if failed_inside or not self._is_finished:
            raise JobError(
                f"the job in {self.folder} is not finished and needs its frames: resume it, or delete it whole"
            )
        output = Path(self.recipe["output"])
        if self.output_sha256 and (problem := file_problem(output, self.output_sha256)) is not None:
            raise JobError(f"output {output} {problem}, and is made again of the frames of {self.folder}: resume it")
        frames = self.folder / FRAMES_NAME
        found = [path for path in frames.rglob("*") if path.is_file() or path.is_symlink()]
        found += [path for path in self.folder.iterdir() if storage.is_partial(path)]
        return sorted(found)

    def clean(self) -> None:
        """Removes what `disposable` names; the output stays, and what `status` tells of the job."""
        disposable = self.disposable()
        # First said and then done: whatever is missing after a crash in between is not missed.
        self._set_meta("cleaned", _now())
        storage.remove(*disposable)
        storage.remove_folder(self.folder / FRAMES_NAME)

    def paint_cleaned_again(self) -> None:
        """Puts the frames that `clean` removed back to be painted, as the output that was made of them has gone."""
        self.reset_frames([frame for frame in self.frames() if frame.path.is_relative_to(self.folder)])
        self._write("DELETE FROM meta WHERE key = 'cleaned'", ())

    def problems(self) -> list[str]:
        """Rehashes all that the store knows of, and looks at the store; one line for each difference: the store and
        its copy, every painted frame and draft, the flow that is kept between passes, the output and what is
        written beside it for `--compare`."""
        found = self._store_problems()
        for frame in self.frames(FrameState.DONE):
            if self.is_cleaned and frame.path.is_relative_to(self.folder):
                continue
            problem = file_problem(frame.path, frame.sha256)
            if problem is not None:
                found.append(f"frame {frame.index} ({frame.name}): {frame.path} {problem}")
        if self.output_sha256:
            output = Path(self.recipe["output"])
            problem = file_problem(output, self.output_sha256)
            if problem is not None:
                found.append(f"output: {output} {problem}")
        if self.compared is not None:
            path, sha256 = self.compared
            problem = file_problem(path, sha256)
            if problem is not None:
                found.append(f"comparison: {path} {problem}")
        for path in sorted((self.folder / FLOW_NAME).glob("*")):
            if not storage.is_partial(path) and storage.read_checksummed(path) is None:
                found.append(f"flow: {path} has changed since it was written")
        return found

    def _store_problems(self) -> list[str]:
        if self.store_problem is not None:
            return [f"store: {self.store_problem}"]
        path, copy_path = self.folder / STORE_NAME, self.folder / COPY_NAME
        with _translated(self.folder):
            problem = store.damage(self._connection, thorough=True)
            if problem is not None:
                return [f"store: {path} {problem}"]
            if not copy_path.is_file():
                return []  # As after a crash while the job was made.
            copy = store.sound_copy(self.folder, SCHEMA_VERSION)
            is_owned = self._lock is not None or living_owner(self.folder, None) is not None
            # A copy is made anew while a job is at work, and the store is not at rest.
            if is_owned:
                return []
            if copy is None:
                return [f"store: {copy_path} is damaged"]
            if store.differs_at_rest(self.folder, copy):
                return [f"store: {path} has changed since it was written"]
        return []

    def status(self) -> JobStatus:
        """How far the job is; the time left follows from the frames painted so far."""
        recipe = self.recipe
        ((total, done, seconds, spent, iterations, content, style, variation),) = self._read(
            "SELECT COUNT(*), COUNT(sha256), AVG(seconds), TOTAL(seconds), TOTAL(iterations), "
            "AVG(CASE pass WHEN 0 THEN content END), AVG(CASE pass WHEN 0 THEN style END), "
            "AVG(CASE pass WHEN 0 THEN total_variation END) FROM frames"
        )
        # In shares of the planned work: the first frame of a shot takes many times that of the others.
        ((worked, left),) = self._read(
            "SELECT TOTAL(CASE WHEN sha256 IS NULL THEN 0 ELSE work END), "
            "TOTAL(CASE WHEN sha256 IS NULL THEN work ELSE 0 END) FROM frames"
        )
        devices = self._read(
            "SELECT device, COUNT(*), AVG(seconds) FROM frames WHERE device IS NOT NULL AND sha256 IS NOT NULL "
            "GROUP BY device ORDER BY COUNT(*) DESC, device"
        )
        failed = tuple((frame.name, frame.error or "") for frame in self.frames(FrameState.FAILED))
        owner, lost_owner = None, None
        if self._lock is None and (recorded := self._meta("owner")) is not None:
            owner = living_owner(self.folder, recorded)
            lost_owner = recorded if owner is None else None
        return JobStatus(
            folder=self.folder,
            output=Path(recipe["output"]),
            kind=recipe["content"]["kind"],
            frame_count=total,
            done_count=done,
            failed=failed,
            seconds_per_frame=seconds,
            devices=tuple(DevicePace(*row) for row in devices),
            # As if all workers that there were at the start had work to the end.
            seconds_left=spent / worked * left / int(self._meta("workers") or 1) if worked else None,
            iterations=int(iterations),
            losses=None if content is None else Losses(content, style, variation),
            finished=self._is_finished,
            owner=owner,
            lost_owner=lost_owner,
            stalled_seconds=self._stalled_seconds() if owner is not None else None,
        )

    def _stalled_seconds(self) -> float | None:
        """How long ago something was finished, where that is much longer than a frame should take."""
        ((seconds, iterations),) = self._read("SELECT TOTAL(seconds), TOTAL(iterations) FROM frames")
        ((most,),) = self._read("SELECT MAX(work) FROM frames WHERE state = 'pending'")
        if not iterations or most is None:
            return None  # Nothing is known of its pace, or there is no frame that it should be painting.
        try:
            idle = time.time() - (self.folder / STORE_NAME).stat().st_mtime
        except OSError:
            return None
        longest = most * seconds / iterations
        return idle if idle > max(STALLED_FACTOR * longest, STALLED_SECONDS) else None

    def log(self, line: str) -> None:
        """Adds a line, with the time, to the job's log."""
        with contextlib.suppress(OSError):
            storage.append_line(self.folder / LOG_NAME, f"{_now()} {line}")

    def _record(self, row: sqlite3.Row) -> FrameRecord:
        has_losses = row["content"] is not None
        return FrameRecord(
            pass_number=row["pass"],
            index=row["idx"],
            shot=row["shot"],
            name=_from_store(row["name"]),
            path=self.folder / _from_store(row["path"]),
            pts=row["pts"],
            state=FrameState(row["state"]),
            sha256=row["sha256"],
            losses=Losses(row["content"], row["style"], row["total_variation"]) if has_losses else None,
            iterations=row["iterations"],
            stop=row["stop"],
            retried=row["retried"],
            seconds=row["seconds"],
            device=row["device"],
            reference=row["reference"],
            sources=None if row["sources"] is None else tuple(json.loads(row["sources"])),
            error=None if row["error"] is None else _from_store(row["error"]),
        )

    def _values(self, key: str) -> dict[str, Any]:
        return dict(json.loads(self._meta(key) or "{}"))

    def _meta(self, key: str) -> str | None:
        rows = self._read("SELECT value FROM meta WHERE key = ?", (key,))
        return str(rows[0]["value"]) if rows else None

    def _set_meta(self, key: str, value: str) -> None:
        self._write("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))

    def _keep_copy(self) -> None:
        with self._turn, _translated(self.folder):
            store.write_copy(self.folder)
        self._copied = time.monotonic()

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._turn, _translated(self.folder), self._connection:
            self._connection.execute("BEGIN")
            yield

    def _read(self, query: str, values: Sequence[object] = ()) -> list[sqlite3.Row]:
        with self._turn, _translated(self.folder):
            return self._connection.execute(query, values).fetchall()

    def _write(self, statement: str, values: Sequence[object]) -> None:
        with self._turn, _translated(self.folder):
            self._connection.execute(statement, values)


def _require_schema(connection: sqlite3.Connection, folder: Path) -> None:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version == 0:
        raise JobError(
            f"the store of the job in {folder} is damaged (it is empty): start over with `stylize(force=True)`"
        )
    if version != SCHEMA_VERSION:
        raise JobError(
            f"the job in {folder} was made by another version of impasto (its store is {version}, "
            f"this one reads {SCHEMA_VERSION}): "
            "finish it with that version, or start over with `stylize(force=True)`"
        )


def _look_at(folder: Path, mode: str, *, thorough: bool = False) -> sqlite3.Connection:
    """The store, when it is sound. Raises `JobError` where it is not, and `sqlite3.Error` where that cannot be said:
    a disk that fails for a moment is no reason to go back to the copy."""
    connection = store.look_at(folder / STORE_NAME, mode)
    try:
        try:
            _require_schema(connection, folder)
            problem = store.damage(connection, thorough=thorough)
        except store.UNREADABLE as error:
            if not store.is_damage(error):
                raise
            problem = f"is damaged ({store.in_short(error)})"
        if problem is not None:
            raise JobError(f"the store of the job in {folder} {problem}{_START_OVER}")
    except BaseException:
        connection.close()
        raise
    return connection


def _put_right(folder: Path) -> str | None:
    """Makes sure that the store, which nobody else writes to, is what was written; returns what was wrong with it.

    Raises `JobError` where it is not and its copy is of no use either.
    """
    copy = store.sound_copy(folder, SCHEMA_VERSION)
    try:
        _look_at(folder, "rw", thorough=True).close()
        if copy is None or not store.differs_at_rest(folder, copy):
            return None
        problem = f"the store of the job in {folder} has changed since it was written"
    except JobError as error:
        if copy is None:
            raise
        problem = str(error).removesuffix(_START_OVER)
    store.restore(folder, copy)
    return f"{problem}: it was put right from its copy, and what was painted since that was made is painted again"


@contextlib.contextmanager
def _translated(folder: Path) -> Iterator[None]:
    """Errors of SQLite and the disk as ours."""
    try:
        yield
    except sqlite3.OperationalError as error:
        if "full" in str(error) or "disk I/O" in str(error) or "readonly" in str(error):
            remedy = "free some space" if "full" in str(error) else "look after the disk"
            raise StorageError(
                f"the store of the job in {folder} cannot be written ({error}): {remedy} and run the same command again"
            ) from error
        raise JobError(f"the store of the job in {folder} cannot be used: {store.in_short(error)}") from error
    except sqlite3.DatabaseError as error:
        raise JobError(f"the store of the job in {folder} is damaged ({store.in_short(error)}){_START_OVER}") from error
    except OSError as error:
        raise storage.storage_error(error, folder) from error


def _to_store(text: str) -> str | bytes:
    """A file's name may hold bytes that are no UTF-8, which SQLite keeps only as bytes."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return os.fsencode(text)
    return text


def _from_store(value: str | bytes) -> str:
    return os.fsdecode(value) if isinstance(value, bytes) else value


def _now() -> str:
    return datetime.datetime.now().astimezone().isoformat(timespec="seconds")


def _recorded_owner(folder: Path) -> str | None:
    """Who works on the job, as its store has it."""
    with Job.read(folder) as job:
        return job._meta("owner")
