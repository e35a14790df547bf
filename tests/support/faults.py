"""Faults injected into real runs of the command, and checks of the job that is left.

A run is a process of its own, forked from a server that has imported torch, so that it takes a second and not four.
`strace` kills it at the N-th write, flush, rename or removal of one of its own files, or makes that call fail. Without
`strace`, the process itself counts its calls of `os` and the statements of the store.
"""

import contextlib
import dataclasses
import errno
import hashlib
import json
import multiprocessing
import os
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from PIL import Image

from impasto.errors import ImpastoError, Interrupted, JobLockedError
from impasto.events import Event, FrameDone, StopSignal
from impasto.job import store
from impasto.job.folder import is_job
from impasto.job.job import Job
from impasto.job.records import PlannedFrame
from impasto.job.status import status_of
from impasto.job.verification import find_problems
from impasto.paint.encoder_weights import load_weights
from impasto.plan.request import Request
from impasto.presets import load_settings
from impasto.run.dry_run import WeightsLoader
from impasto.run.job_run import resume, stylize
from impasto.storage import TEMPORARY_MARK
from samples import scenes
from tests.conftest import TINY

SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["tests.support.faults", "tests.support.warm"])

SIZE = (48, 64)
CALLS = (
    *("write", "pwrite64", "ftruncate", "fsync", "fdatasync"),
    *("rename", "renameat", "renameat2", "unlink", "unlinkat", "mkdir", "rmdir"),
)
"""The system calls of a run that change files."""

STRACE = shutil.which("strace")


@dataclasses.dataclass(frozen=True)
class Fault:
    """What happens at a call: `kill`, or an error by its name; `lasting`: at every later call as well."""

    kind: str
    lasting: bool = False

    @property
    def name(self) -> str:
        return f"{self.kind}, lasting" if self.lasting else self.kind


KILL = Fault("kill")
ERRORS = tuple(Fault(kind, lasting) for kind in ("ENOSPC", "EIO") for lasting in (False, True))


@dataclasses.dataclass(frozen=True)
class Point:
    """The N-th call of a kind, from 1."""

    call: str
    number: int


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a run ended: its exit code, or minus the signal; its records on stdout, and the text on stderr."""

    code: int
    records: tuple[dict[str, Any], ...]
    told: str
    calls: int
    """How many calls a fault from inside may strike; 0 without one."""

    def painted(self, event: str = "frame_done") -> list[int]:
        return [record["index"] for record in self.records if record["event"] == event]


class Work:
    """A job that is run repeatedly, each time in a new folder."""

    def __init__(self, folder: Path, kind: str, count: int) -> None:
        """`kind`: "film" to a video, or "photos" to a folder."""
        self.kind = kind
        self.count = count
        self.place = folder / kind / "place"
        self.content = folder / kind / "content"
        self.style = folder / kind / "style.png"
        self.content.mkdir(parents=True)
        for index in range(count):
            # Two shots.
            Image.fromarray(scenes.cut(SIZE, count, 3).frame(index)).save(self.content / f"f{index}.png")
        Image.fromarray(scenes.pan((48, 60), 1, 8).frame(0)).save(self.style)
        self.output = self.place / ("o.mp4" if kind == "film" else "o")
        self.job = self.place / f"{self.output.name}.impasto"
        self.clear()
        whole = self.run()
        assert whole.code == 0, whole.told
        self.whole = self.results()
        assert len(whole.painted()) == count

    def leftovers(self) -> list[Path]:
        """Partial files."""
        return [path for path in self.place.rglob("*") if TEMPORARY_MARK in path.name or "-journal" in path.name]

    def clear(self) -> None:
        shutil.rmtree(self.place, ignore_errors=True)
        self.place.mkdir()

    @property
    def arguments(self) -> list[str]:
        options = [part for override in TINY for part in ("--set", override)]
        return ["stylize", str(self.content), "-s", str(self.style), "-o", str(self.output), "--json", *options]

    def results(self) -> dict[str, str]:
        """The hash of the output and of each painted frame."""
        roots = [self.output, self.job / "frames"]
        files = [path for root in roots for path in ([root] if root.is_file() else sorted(root.rglob("*")))]
        return {
            path.relative_to(self.place).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in files
            if path.is_file()
        }

    def run(
        self,
        arguments: Sequence[str] | None = None,
        prepare: Callable[[int], contextlib.AbstractContextManager[Any]] | None = None,
        inside: tuple[Fault, int] | None = None,
        during: Callable[[Any], None] | None = None,
    ) -> Outcome:
        """Runs the command to its end. `prepare` makes a context around it from its process id; `inside`: a fault that
        the process injects itself; `during` is called with the process."""
        with tempfile.TemporaryDirectory() as scratch:
            for name in ("out", "err", "calls"):
                Path(scratch, name).write_text(
                    "0" if name == "calls" else ""
                )  # The run may be killed before it writes anything.
            ours, theirs = SERVER.Pipe()
            process = SERVER.Process(
                target=_child, args=(list(arguments or self.arguments), scratch, inside, theirs, str(self.place.parent))
            )
            process.start()
            theirs.close()
            assert process.pid is not None
            try:
                with prepare(process.pid) if prepare is not None else contextlib.nullcontext():
                    ours.send("go")
                    if during is not None:
                        during(process)
                    process.join(120)
                    assert process.exitcode is not None, "the run did not end"
            finally:
                process.kill()
                process.join()
                ours.close()
            out, told = (Path(scratch, name).read_text("utf-8", "replace") for name in ("out", "err"))
            # The last line of a process that was killed may be half a line.
            records = tuple(json.loads(line) for line in out.split("\n")[:-1])
            return Outcome(process.exitcode, records, told, int(Path(scratch, "calls").read_text()))


def _child(arguments: list[str], scratch: str, inside: tuple[Fault, int] | None, pipe: Connection, place: str) -> None:
    import torch

    from impasto.cli.main import main

    for number, name in ((1, "out"), (2, "err")):
        target = os.open(Path(scratch, name), os.O_WRONLY | os.O_CREAT, 0o600)
        os.dup2(target, number)
    sys.stdout = open(1, "w", buffering=1, encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, encoding="utf-8", closefd=False)  # noqa: SIM115
    signal.signal(signal.SIGINT, signal.default_int_handler)
    torch.set_num_threads(1)
    os.chdir(place)
    pipe.recv()
    calls = _inject(*inside, place) if inside is not None else lambda: 0
    sys.argv = ["impasto", *arguments]
    try:
        main()
    finally:
        Path(scratch, "calls").write_text(str(calls()))


# --- by strace --------------------------------------------------------------------------------------------------------


def can_trace() -> bool:
    """Whether `strace` is here and may attach to a process that it did not start."""
    if STRACE is None:
        return False
    with subprocess.Popen(["sleep", "60"]) as sleeper:
        try:
            command = [STRACE, "-p", str(sleeper.pid), "-e", "trace=none"]
            with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as tracer:
                assert tracer.stderr is not None
                attached = "attached" in tracer.stderr.readline()
                tracer.terminate()
            return attached
        finally:
            sleeper.kill()


@contextlib.contextmanager
def _traced(process: int, *options: str) -> Iterator[None]:
    assert STRACE is not None
    command = [STRACE, "-f", "-p", str(process), *options]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as tracer:
        assert tracer.stderr is not None
        line = tracer.stderr.readline()
        assert "attached" in line, line
        try:
            yield
        finally:
            # It ends with the last of what the process has started.
            try:
                tracer.communicate(timeout=30)
            except subprocess.TimeoutExpired:
                tracer.terminate()
                tracer.communicate()


class Sweep:
    """All points at which a work can be struck: the calls that change files in its own folder."""

    def __init__(self, work: Work) -> None:
        self.work = work
        log = work.place.parent / "strace"
        work.clear()
        seen: list[int] = []

        def watching(process: int) -> contextlib.AbstractContextManager[None]:
            seen.append(process)
            return _traced(process, "-y", "-s", "0", "-o", str(log), "-e", f"trace={','.join(CALLS)}")

        outcome = work.run(prepare=watching)
        assert outcome.code == 0, outcome.told
        lines = log.read_text("utf-8", "replace").splitlines()
        log.unlink()
        place = re.escape(str(work.place))
        own = str(seen[0])
        found: dict[str, None] = {}
        counts: dict[tuple[str, str], int] = {}
        for line in lines:
            parts = re.match(r"(\d+) +(\w+)\(", line)
            paths = re.findall(rf"[<\"]({place}[^>\"]*)[>\"]", line)
            if parts and paths:
                found.update(dict.fromkeys(path.replace(own, "{pid}") for path in paths))
                # Each thread counts for itself.
                key = parts[1], parts[2]
                counts[key] = counts.get(key, 0) + 1
        self.paths = list(found)
        self.counts = {
            call: max((count for (_, kind), count in counts.items() if kind == call), default=0) for call in CALLS
        }

    def points(self, fault: Fault = KILL) -> list[Point]:
        if fault.lasting:
            # Of each kind of call the N-th and those after it.
            return [Point("all", number) for number in range(1, max(self.counts.values()) + 1)]
        return [Point(call, number) for call in _failing(fault) for number in range(1, self.counts[call] + 1)]

    def strike(self, point: Point, fault: Fault) -> Outcome:
        """Runs the work in a new folder with a fault at a point."""
        self.work.clear()
        what = "signal=KILL" if fault.kind == "kill" else f"error={fault.kind}"
        when = f"{point.number}{'+' if fault.lasting else ''}"

        def striking(process: int) -> contextlib.AbstractContextManager[None]:
            paths = [part for path in self.paths for part in ("-P", path.replace("{pid}", str(process)))]
            calls = ",".join(_failing(fault)) if point.call == "all" else point.call
            return _traced(
                process, *paths, "-o", "/dev/null", "-e", f"trace={calls}", "-e", f"inject={calls}:{what}:when={when}"
            )

        return self.work.run(prepare=striking)


def _failing(fault: Fault) -> tuple[str, ...]:
    """The calls that fail: a full disk still removes files."""
    return tuple(call for call in CALLS if fault.kind != "ENOSPC" or not call.startswith(("unlink", "rmdir")))


# --- in the process ---------------------------------------------------------------------------------------------------


def _inject(fault: Fault, number: int, place: str) -> Callable[[], int]:
    """Strikes the N-th call of `os` or statement of the store that changes a file in the folder; returns a function
    that counts them."""
    seen = 0

    def is_struck(target: Any) -> bool:
        nonlocal seen
        if isinstance(target, int):
            target = Path(f"/proc/self/fd/{target}").readlink()
        if not os.path.abspath(os.fsdecode(target)).startswith(place):
            return False
        seen += 1
        if seen != number and not (fault.lasting and seen > number):
            return False
        if fault.kind == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        return True

    def struck(call: Callable[..., Any]) -> Callable[..., Any]:
        def calling(target: Any, *arguments: Any, **more: Any) -> Any:
            if is_struck(target):
                code = getattr(errno, fault.kind)
                raise OSError(code, os.strerror(code))
            return call(target, *arguments, **more)

        return calling

    for name in ("fsync", "replace", "mkdir", *(("unlink",) if fault.kind != "ENOSPC" else ())):
        setattr(os, name, struck(getattr(os, name)))

    class Striking(sqlite3.Connection):
        path = ""

        def execute(self, statement: str, *arguments: Any) -> sqlite3.Cursor:  # type: ignore[override]
            if statement.startswith(("INSERT", "UPDATE", "DELETE", "BEGIN")) and is_struck(self.path):
                words = {"ENOSPC": "database or disk is full", "EIO": "disk I/O error"}
                raise sqlite3.OperationalError(words[fault.kind])
            return super().execute(statement, *arguments)

    connect = sqlite3.connect

    def connecting(path: Any, **more: Any) -> sqlite3.Connection:
        connection = connect(path, **{**more, "factory": Striking})
        assert isinstance(connection, Striking)
        connection.path = str(path).removeprefix("file://").partition("?")[0]
        return connection

    store.sqlite3.connect = connecting  # type: ignore[assignment]
    return lambda: seen


class InProcess:
    """`Sweep` without `strace`: the points of all kinds of calls are numbered together."""

    def __init__(self, work: Work) -> None:
        self.work = work
        work.clear()
        self.count = work.run(inside=(Fault("EIO"), 0)).calls

    def points(self, fault: Fault = KILL) -> list[Point]:
        del fault
        return [Point("storage", number) for number in range(1, self.count + 1)]

    def strike(self, point: Point, fault: Fault) -> Outcome:
        self.work.clear()
        return self.work.run(inside=(fault, point.number))


# --- what must hold ---------------------------------------------------------------------------------------------------


@dataclasses.dataclass
class Tally:
    """The results of a sweep."""

    points: int = 0
    survived: int = 0
    """Points that were not reached, or at which the run went on without the call."""
    killed: int = 0
    refused: int = 0
    """Runs that ended with a clear line and exit code 1."""
    repainted: int = 0
    """Frames that were painted twice: the frame in flight, at most one per point."""


def struck_and_resumed(sweep: Sweep | InProcess, point: Point, fault: Fault, tally: Tally) -> None:
    """Strikes a run at a point, resumes it, and asserts that nothing is lost."""
    work = sweep.work
    struck = sweep.strike(point, fault)
    where = f"{fault.name} at {point.call} {point.number} of {work.kind}: {struck.told or struck.code}"
    assert "Traceback" not in struck.told, where
    if struck.code == -signal.SIGKILL:
        assert fault is KILL, where
        tally.killed += 1
    elif struck.code == 0:
        assert work.results() == work.whole, where
        tally.survived += 1
    else:
        assert struck.code == 1, where
        assert struck.records[-1]["event"] == "error" and "\n" not in struck.records[-1]["message"], where
        assert struck.told.splitlines()[-1].startswith("impasto: "), where
        tally.refused += 1
    arguments = ["resume", str(work.job), "--json"] if is_job(work.job) and point.number % 2 else None
    resumed = work.run(arguments)
    assert resumed.code == 0, f"{where}; then: {resumed.told}"
    assert work.results() == work.whole, where
    assert len(struck.painted()) + len(resumed.painted()) <= work.count, where
    again = len(struck.painted("frame_started")) + len(resumed.painted("frame_started")) - work.count
    assert again <= 1, where
    assert work.leftovers() == [], where
    with Job.read(work.job) as job:
        assert find_problems(job) == [] and status_of(job).finished, where
    tally.points += 1
    tally.repainted += max(again, 0)


# --- damaged files ----------------------------------------------------------------------------------------


def damaged(data: bytes, chance: random.Random) -> bytes:
    """The bytes with one bit flipped at a random position, or cut off there."""
    position = chance.randrange(len(data))
    if chance.random() < 0.25:
        return data[:position]
    return data[:position] + bytes([data[position] ^ 1 << chance.randrange(8)]) + data[position + 1 :]


@dataclasses.dataclass
class Damaged:
    """The results of damaging one kind of file many times."""

    tried: int = 0
    reported: int = 0
    """`verify` named it, or said that the store cannot be used."""
    repaired: int = 0
    """`resume` gave every file the hash that it had."""
    refused: int = 0
    """`resume` ended with a line that says why."""
    unused: int = 0
    """Not reported: bytes of the store of a crashed job that SQLite does not use."""


class Mutations:
    """A job in one state, which is damaged, verified and resumed, many times over."""

    def __init__(self, folder: Path, state: str, weights_loader: WeightsLoader = load_weights) -> None:
        """`state`: "finished"; "stopped", in the middle of several passes; "crashed", killed after its second frame;
        or "torn", crashed in the middle of a transaction."""
        self.folder = folder / state
        self.place = self.folder / "place"
        self.state = state
        self.weights_loader = weights_loader
        content, style = self.folder / "content", self.folder / "style.png"
        content.mkdir(parents=True)
        for index in range(3):
            Image.fromarray(scenes.pan(SIZE, 3, 3).frame(index)).save(content / f"f{index}.png")
        Image.fromarray(scenes.pan((48, 60), 1, 8).frame(0)).save(style)
        own = TINY if state != "stopped" else (*TINY, "passes={count: 3, iterations: 2}")
        settings = load_settings("default", own)
        self.asked = Request((content,), (style,), self.place / "o.mp4", settings, device="cpu")
        self.job = self.asked.job_folder
        stylize(self.asked, weights_loader=weights_loader)
        self.whole = self._results()
        if state != "finished":
            shutil.rmtree(self.place)
            self._begin()
        self.kept = self.folder / "kept"
        shutil.copytree(self.place, self.kept)

    def _begin(self) -> None:
        stop, done, kept = StopSignal(), 0, self.folder / "crash"

        def on_event(event: Event) -> None:
            nonlocal done
            if isinstance(event, FrameDone):
                done += 1
                if self.state == "stopped" and done == 5:
                    stop.request()
                elif self.state != "stopped" and done == 2:
                    # The files that a process which is killed here leaves.
                    shutil.copytree(self.place, kept)
                    stop.request()

        with contextlib.suppress(Interrupted):
            stylize(self.asked, on_event, stop, weights_loader=self.weights_loader)
        if self.state != "stopped":
            shutil.rmtree(self.place)
            kept.rename(self.place)
        if self.state == "torn":
            script = """
import os, signal, sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("PRAGMA cache_size = 1")
connection.execute("BEGIN IMMEDIATE")
connection.execute("UPDATE frames SET iterations = 1000, pts = 1000")
connection.execute("INSERT INTO meta VALUES ('pad', ?, '')", ("x" * 200_000,))
os.kill(os.getpid(), signal.SIGKILL)
"""
            subprocess.run([sys.executable, "-c", script, str(self.job / store.STORE_NAME)], check=False)
            assert (self.job / f"{store.STORE_NAME}-journal").exists()

    def _results(self) -> dict[str, str]:
        files = [self.place / "o.mp4", *sorted((self.job / "frames").rglob("*.png"))]
        return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files if path.is_file()}

    def files(self) -> dict[str, list[str]]:
        """The files whose bytes a job depends on, by kind."""
        kinds: dict[str, list[str]] = {}
        for path in sorted(path for path in self.kept.rglob("*") if path.is_file() and path.stat().st_size):
            name = path.relative_to(self.kept).as_posix()
            kind = {"job.db": "store", "job.copy": "copy of the store", "job.db-journal": "journal of the store"}.get(
                path.name
            )
            if kind is None and path.suffix == ".png" and "plots" not in path.parts:
                kind = "draft of a pass" if "pass-" in name else "frame"
            elif kind is None and path.parent.name == "flow":
                kind = "flow between passes"
            elif kind is None and name == "o.mp4":
                kind = "film"
            if kind is not None:
                kinds.setdefault(kind, []).append(name)
        return kinds

    def damage(self, name: str, chance: random.Random, tally: Damaged) -> None:
        """Damages a file at a random position, and asserts that this is reported, and repaired or refused."""
        shutil.rmtree(self.place)
        shutil.copytree(self.kept, self.place)
        path = self.place / name
        path.write_bytes(damaged(path.read_bytes(), chance))
        where = f"{name} of a job that is {self.state}"
        tally.tried += 1
        try:
            with Job.read(self.job) as job:
                problems = find_problems(job)
        except ImpastoError as error:
            problems = [str(error)]
        if problems:
            tally.reported += 1
            assert "\n" not in "".join(problems), where
        else:
            # After a clean end all is reported; after a crash a store has bytes that nobody reads.
            assert self.state in ("crashed", "torn") and "job.db" in name, where
            tally.unused += 1
        try:
            resume(self.job, weights_loader=self.weights_loader)
        except ImpastoError as error:
            assert problems and "\n" not in str(error), f"{where}: {error}"
            tally.refused += 1
            return
        assert self._results() == self.whole, where
        with Job.read(self.job) as job:
            assert find_problems(job) == [], where
        tally.repaired += bool(problems)


# --- two owners -------------------------------------------------------------------------------------------------------


def contest(folder: Path, attempts: int) -> list[list[str]]:
    """Two processes that create or open a job at the same moment, many times; returns the outcomes of both."""
    barrier = SERVER.Barrier(2)
    results = [SERVER.Pipe(duplex=False) for _ in range(2)]
    processes = [SERVER.Process(target=_contend, args=(folder, attempts, barrier, theirs)) for _, theirs in results]
    for process in processes:
        process.start()
    for _, theirs in results:
        theirs.close()
    outcomes = [ours.recv() for ours, _ in results]
    for process in processes:
        process.join(60)
    return [list(pair) for pair in zip(*outcomes, strict=True)]


def _contend(folder: Path, attempts: int, barrier: Any, results: Connection) -> None:
    outcomes = []
    for attempt in range(attempts):
        place = folder / f"{attempt // 2}"
        job = None
        barrier.wait(60)
        try:
            # Created by the even attempts, opened by the odd ones.
            plan = [PlannedFrame(0, 0, "a", "a")]
            job = Job.open(place) if attempt % 2 else Job.create(place, {}, {}, {}, plan)
            outcomes.append("won")
        except JobLockedError:
            outcomes.append("locked out")
        except ImpastoError as error:
            outcomes.append(str(error))
        barrier.wait(60)
        if job is not None:
            job.__exit__()
    results.send(outcomes)
