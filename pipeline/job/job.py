"""The open job folder: its frames with their states, and its output.

`OUTPUT.impasto/` holds `job.db` (SQLite, written by the one process that owns the job), its copy `job.copy`, `frames/`
(the painted frames of a video), `plots/`, `checkpoints/`, `log.txt` and `lock`. What makes a frame count as done is in
`records`; `status`, `verification` and `cleaning` take an open job.
"""

import contextlib
import dataclasses
import datetime
import json
import os
import socket
import sqlite3
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import filelock

from .. import storage
from ..errors import ImpastoError, JobError, JobMismatchError
from ..events import Losses, TimeUse
from ..presets import differences, listed
from .folder import (
    CHECKPOINTS_NAME,
    FRAMES_NAME,
    LOG_NAME,
    PLOTS_NAME,
    is_job,
    remove_contents,
    require_job,
    require_no_other_files,
)
from .lock import acquire_lock
from .records import FrameRecord, FrameState, OutputRecord, PlannedFrame, names_by_text
from .relocation import Relocation
from .repair import OWNER_KEY, open_to_read, repair_store
from .rows import UNPAINTED, frame_record, output_from_text, output_to_text, planned_row
from .schema import COMPARISONS, NOT_KEPT
from .store import (
    READ_TIMEOUT_SECONDS,
    STORE_NAME,
    Store,
    connect_to_write,
    create_store,
    from_text,
    to_text,
    translated_errors,
)

COPY_SECONDS = 60.0
"""How often a job at work copies its store. Frames painted since are painted again when a damaged store is restored."""

_FOLDER_KEY = "folder"
"""The row of `meta` with the absolute path of the job folder, from which a move is seen."""

_EARLIER_KEY = "earlier_outputs"
"""The row of `meta` with the paths where the output was before it was moved, until what is there was looked for."""

_TIME_USE_KEY = "time_use"
"""The row of `meta` with where the time went."""


class Job:
    """An open job folder. A context manager: leaving it closes the store and frees the lock.

    `create` and `open` take the lock and may write; `read` takes no lock and writes nothing.
    """

    def __init__(
        self,
        folder: Path,
        store: Store,
        lock: filelock.BaseFileLock | None = None,
        store_problem: str | None = None,
        copy_seconds: float = COPY_SECONDS,
    ) -> None:
        self.folder = folder
        self.store = store
        self.store_problem = store_problem
        """What was wrong with the store: `open` has restored it from its copy, `read` reads the copy instead."""
        self._lock = lock
        self._copy_seconds = copy_seconds
        self._copied_at = time.monotonic()
        recorded, output = json.loads(store.meta(_FOLDER_KEY) or "null"), self._mapping("recipe").get("output")
        content = self._mapping("invocation").get("content", ())
        self._move = Relocation.find(recorded, folder, output, content) if output else None
        """Where the files are now, where the job was moved since it was last written."""

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
        not_kept: Iterable[tuple[str, str]] = (),
        replace: bool = False,
        copy_seconds: float = COPY_SECONDS,
    ) -> Self:
        """Makes a new job; the three mappings hold plain JSON values.

        `recipe`: what decides the result, compared on resume. `invocation`: what was asked for and where the inputs
        are, so that the job can be resumed from its folder alone. `plan`: how it is done, as `ExecutionPlan` writes it.
        `frame_index`: the content's frames as `FrameIndex` writes them, where it is a video that can be sought.
        `not_kept`: what the output cannot keep, see `record_not_kept`.
        With `replace`, what an earlier job left in the folder is removed; without, `JobError` is raised.
        """
        try:
            storage.make_folder(folder)
        except OSError as error:
            raise storage.storage_error(error, folder) from error
        lock = acquire_lock(folder, _recorded_owner)
        try:
            if is_job(folder) and not replace:
                raise JobError(f"another process has made a job in {folder}: run the same command again to continue it")
            if not is_job(folder):
                require_no_other_files(folder)
            remove_contents(folder)
            meta = {name: json.dumps(v) for name, v in (("recipe", recipe), ("invocation", invocation), ("plan", plan))}
            meta |= {"created": _now(), _FOLDER_KEY: json.dumps(os.path.abspath(folder))}
            if frame_index is not None:
                meta["frame_index"] = frame_index
            # Under another name until it is complete: a folder with a job.db has all its frames in it.
            temporary = storage.temporary_beside(folder / STORE_NAME)
            with translated_errors(folder):
                lost = ({"text": to_text(text), "name": to_text(name)} for text, name in dict.fromkeys(not_kept))
                create_store(temporary, meta, map(planned_row, frames), lost)
            storage.move(temporary, folder / STORE_NAME)
            return cls._owned(folder, lock, copy_seconds=copy_seconds)
        except BaseException:
            lock.release()
            raise

    @classmethod
    def open(
        cls, folder: Path, *, copy_seconds: float = COPY_SECONDS, timeout_seconds: float = READ_TIMEOUT_SECONDS
    ) -> Self:
        """Opens an existing job to continue it, and repairs its store. `timeout_seconds`: how long to wait for readers.

        Raises `JobLockedError` when another process has the job, `JobError` when the store cannot be repaired.
        """
        require_job(folder)
        lock = acquire_lock(folder, _recorded_owner)
        try:
            with translated_errors(folder):
                problem = repair_store(folder, timeout_seconds)
                frames = folder / FRAMES_NAME
                for inner in (folder, folder / PLOTS_NAME, folder / CHECKPOINTS_NAME, frames, *frames.glob("*/")):
                    storage.remove_partial_files(inner)
            job = cls._owned(folder, lock, problem, copy_seconds)
            if problem is not None:
                job.log(problem)
            return job
        except BaseException:
            lock.release()
            raise

    @classmethod
    def read(cls, folder: Path, *, timeout_seconds: float = READ_TIMEOUT_SECONDS) -> Self:
        """Opens an existing job for reading, also while another process owns it.

        Where the store is damaged its copy is read, and `store_problem` says so; `JobError` is raised where the copy
        cannot be used either.
        """
        require_job(folder)
        with translated_errors(folder):
            connection, problem = open_to_read(folder, timeout_seconds)
        return cls(folder, Store(folder, connection), store_problem=problem)

    @classmethod
    def _owned(
        cls,
        folder: Path,
        lock: filelock.BaseFileLock,
        store_problem: str | None = None,
        copy_seconds: float = COPY_SECONDS,
    ) -> Self:
        """The job whose lock this process has, with this process as the owner in its store."""
        with translated_errors(folder):
            store = Store(folder, connect_to_write(folder / STORE_NAME))
        job = cls(folder, store, lock, store_problem, copy_seconds)
        try:
            job._record_move()
            store.set_meta({OWNER_KEY: f"process {os.getpid()} on {socket.gethostname()}, since {_now()}"})
            # The copy has the owner as well, so that it is not taken for that of a job which ended cleanly.
            job.copy_store()
        except BaseException:
            store.close()
            raise
        return job

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._lock is not None:
            # Errors are no loss here: `open` copes with a job that was killed.
            with contextlib.suppress(sqlite3.Error, ImpastoError, OSError):
                self.store.delete_meta(OWNER_KEY)
                self.store.write_copy()
        self.store.close()
        if self._lock is not None:
            self._lock.release()

    @property
    def is_owned(self) -> bool:
        """Whether this process owns the job, and may write to it."""
        return self._lock is not None

    @property
    def recipe(self) -> dict[str, Any]:
        """What decides the job's result."""
        values = self._mapping("recipe")
        return values if self._move is None else self._move.recipe(values)

    @property
    def invocation(self) -> dict[str, Any]:
        """What was asked for, and where the inputs were when the job was in the folder `job`."""
        recorded = json.loads(self.store.meta(_FOLDER_KEY) or "null") or os.path.abspath(self.folder)
        values = {"job": recorded, **self._mapping("invocation")}
        return values if self._move is None else self._move.invocation(values)

    def record_invocation(self, values: Mapping[str, Any]) -> None:
        """Records where the inputs are now."""
        if values != self.invocation:
            self.store.set_meta({"invocation": json.dumps(values)})

    @property
    def plan(self) -> dict[str, Any]:
        """How the job is done, as plain values that `ExecutionPlan` reads."""
        values = self._mapping("plan")
        return values if self._move is None else self._move.plan(values)

    def replace_plan(self, plan: Mapping[str, Any]) -> None:
        """Records a plan that had to change while the job is done."""
        self.store.set_meta({"plan": json.dumps(plan)})

    def record_workers(self, count: int) -> None:
        """Records how many workers paint in this run; the time left is estimated from it."""
        self.store.set_meta({"workers": str(count)})

    def record_time_use(self, use: TimeUse) -> None:
        """Records where the time went, over all runs."""
        self.store.set_meta({_TIME_USE_KEY: json.dumps(dataclasses.asdict(use))})

    @property
    def time_use(self) -> TimeUse | None:
        """Where the time went, over all runs; None where nothing was painted, or by an older program."""
        text = self.store.meta(_TIME_USE_KEY)
        return None if text is None else TimeUse(**json.loads(text))

    @property
    def frame_index(self) -> str | None:
        """The content's frames as `FrameIndex` writes them, where it is a video that can be sought."""
        return self.store.meta("frame_index")

    def require_same(self, recipe: Mapping[str, Any], replaceable: Sequence[str] = ()) -> None:
        """Raises `JobMismatchError`, with a line for each difference, unless `recipe` is the job's own.

        `replaceable` names files of the content that may have changed, because their frames failed; the new files
        become part of the job's recipe.
        """
        own = self.recipe
        _forget_name(own, recipe)
        files = own.get("content", {}).get("files", {})
        now = recipe["content"]["files"] if replaceable else {}
        new = {name: now[name] for name in replaceable if name in files and now.get(name, files[name]) != files[name]}
        files.update(new)
        different = differences(own, recipe)
        if different:
            raise JobMismatchError(
                f"the job in {self.folder} was made with other settings or content ({listed(different)}): repeat the "
                "command as it was, with its files as they were, choose another `output`, or start over with "
                "`stylize(force=True)`",
                different,
            )
        if new:
            self.store.set_meta({"recipe": json.dumps(own)})

    def frames(self, state: FrameState | None = None) -> list[FrameRecord]:
        """All frames, or those in one state: pass by pass, each in the order of the content."""
        values: tuple[str, ...] = () if state is None else (state,)
        query = f"SELECT * FROM frames {'WHERE state = ?' if values else ''} ORDER BY pass, idx"
        return [self._record(row) for row in self.store.read(query, values)]

    def frame(self, index: int, pass_number: int = 0) -> FrameRecord | None:
        """One frame, or None when the job has no such frame."""
        rows = self.store.read("SELECT * FROM frames WHERE pass = ? AND idx = ?", (pass_number, index))
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
        """Records a frame as done: its file must be complete on the disk."""
        changes = {
            "state": FrameState.DONE.value,
            "sha256": sha256,
            "content": losses.content,
            "style": losses.style,
            "total_variation": losses.total_variation,
            "iterations": iterations,
            "stop": stop,
            "retried": retried,
            "seconds": seconds,
            "device": device,
            "reference": reference,
            "sources": json.dumps(list(sources)),
            "error": None,
        }
        self.store.update_frame(pass_number, index, changes)
        if time.monotonic() - self._copied_at >= self._copy_seconds:
            self.copy_store()

    def fail_frame(self, index: int, message: str, pass_number: int = 0) -> None:
        """Records a frame that could not be painted; the next run tries again, from the same sources if it has any."""
        changes = {"state": FrameState.FAILED.value, "error": to_text(message)}
        self.store.update_frame(pass_number, index, changes)

    def reset_frames(self, frames: Sequence[FrameRecord]) -> None:
        """Makes frames pending again: those whose files are missing or have changed, and those that failed."""
        with self.store.transaction():
            for frame in frames:
                changes = {"state": FrameState.PENDING.value, **UNPAINTED}
                self.store.update_frame(frame.pass_number, frame.index, changes)

    def expect_output(self, output: OutputRecord) -> None:
        """Records the output just before it gets its name, so that the next run recognises it after a crash."""
        self.store.set_meta({"expected_output": output_to_text(output)})

    @property
    def expected_output(self) -> OutputRecord | None:
        """The output that was last about to get its name."""
        return output_from_text(self.store.meta("expected_output"))

    def finish_output(self, output: OutputRecord) -> None:
        """Records that the output is complete under its name."""
        self.store.set_meta({"output": output_to_text(output)})

    @property
    def output(self) -> OutputRecord | None:
        """The output that is complete under its name; None until there is one."""
        return output_from_text(self.store.meta("output"))

    def reopen_output(self) -> None:
        """Takes back `finish_output`: the output is missing."""
        self.store.delete_meta("output")

    @property
    def is_finished(self) -> bool:
        """Whether the output is complete, shows every frame's own picture, and every frame is done.

        A frame that is lost or fails after the film was made leaves the job unfinished, though the film is complete.
        """
        output = self.output
        if output is None or output.substituted:
            return False
        return not self.store.read("SELECT 1 FROM frames WHERE state <> ? LIMIT 1", (FrameState.DONE.value,))

    def finish_comparison(self, path: Path, sha256: str) -> None:
        """Records a file that shows content and result side by side, before the file gets its name."""
        self.store.put(COMPARISONS, {"path": to_text(os.path.abspath(path)), "sha256": sha256})

    @property
    def comparisons(self) -> dict[Path, str]:
        """The files written for `--compare`, each with its hash."""
        rows = self.store.read("SELECT path, sha256 FROM comparisons ORDER BY path")
        return {Path(self._moved(from_text(row["path"]))): row["sha256"] for row in rows}

    def record_not_kept(self, text: str, name: str = "") -> bool:
        """Records what the output cannot keep of the content's file `name`, empty where there is only one; returns
        whether the same text was not recorded before of any file."""
        with self.store.transaction():
            is_new = not self.store.read("SELECT 1 FROM not_kept WHERE text = ? LIMIT 1", (to_text(text),))
            self.store.put(NOT_KEPT, {"text": to_text(text), "name": to_text(name)})
        return is_new

    @property
    def not_kept(self) -> dict[str, tuple[str, ...]]:
        """What the output could not keep of the content, each with the names of the files that it concerns."""
        rows = self.store.read("SELECT text, name FROM not_kept")
        return names_by_text((from_text(row["text"]), from_text(row["name"])) for row in rows)

    @property
    def is_cleaned(self) -> bool:
        """Whether the frames in the job's own folder were removed by `clean`."""
        return self.store.meta("cleaned") is not None

    def record_cleaned(self) -> None:
        """Records that the frames in the job's own folder are no longer expected there."""
        self.store.set_meta({"cleaned": _now()})

    def reset_cleaned_frames(self) -> None:
        """Makes the frames that `clean` removed pending again."""
        with self.store.transaction():
            self.reset_frames([frame for frame in self.frames() if frame.path.is_relative_to(self.folder)])
            self.store.delete_meta("cleaned")

    def move_output(self, output: Path) -> None:
        """Records that the output, with all files in it, is at another path from now on."""
        self._move = Relocation(Path(self.recipe["output"]), Path(os.path.abspath(output)))
        self._record_move()

    def earlier_places(self, path: Path) -> list[Path]:
        """Where a file of the output may have been before the output, or the job with it, was moved; nowhere after
        `forget_earlier_places`."""
        now, outputs = Path(self.recipe["output"]), json.loads(self.store.meta(_EARLIER_KEY) or "[]")
        return [Path(Relocation(now, Path(earlier)).output(str(path))) for earlier in outputs]

    def forget_earlier_places(self) -> None:
        """Records that nothing is needed any more of where the output was."""
        self.store.delete_meta(_EARLIER_KEY)

    def log(self, line: str) -> None:
        """Adds a line, with the time, to the job's log."""
        with contextlib.suppress(OSError):
            storage.append_line(self.folder / LOG_NAME, f"{_now()} {line}")

    def copy_store(self) -> None:
        """Writes the copy from which a damaged store is restored."""
        self.store.write_copy()
        self._copied_at = time.monotonic()

    def _moved(self, path: str) -> str:
        """Where a painting or comparison is; a path in the job's own folder is relative."""
        return path if self._move is None or not Path(path).is_absolute() else self._move.output(path)

    def _record_move(self) -> None:
        """Writes the paths of a job that was moved anew, so that it may be moved once more."""
        if self._move is None:
            return
        values = {"recipe": self.recipe, "invocation": self.invocation, "plan": self.plan}
        comparisons = self.comparisons
        with self.store.transaction():
            for row in self.store.read("SELECT pass, idx, path FROM frames"):
                path = from_text(row["path"])
                if Path(path).is_absolute():
                    self.store.update_frame(row["pass"], row["idx"], {"path": to_text(self._moved(path))})
            self.store.clear(COMPARISONS)
            for comparison, sha256 in comparisons.items():
                self.store.put(COMPARISONS, {"path": to_text(str(comparison)), "sha256": sha256})
            texts = {name: json.dumps(value) for name, value in values.items()}
            texts[_FOLDER_KEY] = json.dumps(os.path.abspath(self.folder))
            if self._move.new_output != self._move.old_output:
                earlier = json.loads(self.store.meta(_EARLIER_KEY) or "[]")
                texts[_EARLIER_KEY] = json.dumps([*earlier, str(self._move.old_output)])
            self.store.set_meta(texts)
            self._move = None

    def _mapping(self, key: str) -> dict[str, Any]:
        return dict(json.loads(self.store.meta(key) or "{}"))

    def _record(self, row: sqlite3.Row) -> FrameRecord:
        return frame_record(row, self.folder / self._moved(from_text(row["path"])))


def _forget_name(own: dict[str, Any], other: Mapping[str, Any]) -> None:
    """Gives a single file of the content, which its hash identifies, the name that it has now."""
    content, now = own.get("content", {}), other.get("content", {})
    files, others = content.get("files", {}), now.get("files", {})
    if len(files) == len(others) == 1 and list(files.values()) == list(others.values()):
        own["content"] = {**content, "files": dict(others), "order": now.get("order")}


def _now() -> str:
    return datetime.datetime.now().astimezone().isoformat(timespec="seconds")


def _recorded_owner(folder: Path) -> str | None:
    """The owner of a job, as its store has it."""
    with Job.read(folder) as job:
        return job.store.meta(OWNER_KEY)
