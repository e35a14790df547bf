"""The job folder keeps what is recorded, finds what is wrong with it, and has one owner at a time."""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from impasto import storage
from impasto.errors import ImpastoError, JobError, JobLockedError, JobMismatchError, StorageError
from impasto.events import Losses
from impasto.job.cleaning import disposable_files
from impasto.job.folder import LOG_NAME, default_folder, is_job
from impasto.job.job import Job
from impasto.job.records import FrameState, OutputRecord, PlannedFrame
from impasto.job.schema import SCHEMA_VERSION
from impasto.job.status import DevicePace, status_of
from impasto.job.store import COPY_NAME, STORE_NAME, write_copy
from impasto.job.verification import find_problems

ROOT = Path(__file__).resolve().parent.parent
RECIPE: dict[str, Any] = {"output": "/nowhere/out.mp4", "content": {"kind": "video", "a.mp4": "00"}, "size": 64}
INVOCATION = {"content": ["/nowhere/ü.mp4"], "rate": None}
PLAN = {"first": 0, "overwrite": False}
LOSSES = Losses(1.0, 2.0, 0.5)


def planned(count: int = 4) -> list[PlannedFrame]:
    """Two shots; frame paths in the job's folder."""
    return [PlannedFrame(i, 0 if i < 2 else 2, f"frame {i}", f"frames/{i:06d}.png", 512 * i) for i in range(count)]


def make(folder: Path, **changes: Any) -> Job:
    values = {"recipe": RECIPE, "invocation": INVOCATION, "plan": PLAN, "frames": planned(), **changes}
    return Job.create(folder, **values)


def paint(job: Job, index: int, *, losses: Losses = LOSSES, seconds: float = 2.0) -> Path:
    """Does as if the frame had been painted."""
    frame = job.frame(index)
    assert frame is not None
    storage.write_bytes(frame.path, f"frame {index}".encode())
    job.finish_frame(index, storage.hash_file(frame.path), losses, 7, "limit", None, seconds)
    return frame.path


def one_line(error: ImpastoError, *parts: str) -> None:
    message = str(error)
    assert "\n" not in message
    for part in parts:
        assert part in message


@contextmanager
def other_process(folder: Path) -> "Iterator[subprocess.Popen[str]]":
    """A second process that has the job open."""
    script = """
import sys
from pathlib import Path
from impasto.job.job import Job
with Job.open(Path(sys.argv[1])):
    print("open", flush=True)
    sys.stdin.readline()
"""
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(folder)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "open\n"
        yield process
    finally:
        process.communicate("\n", timeout=60)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "out.mp4.impasto"


# What is written is what is read


def test_the_default_folder_is_beside_the_output() -> None:
    assert default_folder(Path("a/out.mp4")) == Path("a/out.mp4.impasto")
    assert default_folder(Path("a/out")) == Path("a/out.impasto")


@pytest.mark.parametrize("output", [".", "..", "a/.."])
def test_the_default_folder_of_a_folder_named_by_dots(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, output: str
) -> None:
    inner = tmp_path / "album" / "inner"
    (inner / "a").mkdir(parents=True)
    monkeypatch.chdir(inner)
    place = default_folder(Path(output))
    meant = Path(output).resolve()
    assert place.resolve() == meant.with_name(meant.name + ".impasto")


def test_a_job_is_read_as_it_was_made(folder: Path) -> None:
    invocation = {**INVOCATION, "job": str(folder)}
    with make(folder) as job:
        assert (job.recipe, job.invocation, job.plan) == (RECIPE, invocation, PLAN)
    assert is_job(folder)
    for opened in (Job.open, Job.read):
        with opened(folder) as job:
            assert (job.recipe, job.invocation, job.plan) == (RECIPE, invocation, PLAN)
            frames = job.frames()
            assert [frame.index for frame in frames] == [0, 1, 2, 3]
            assert [frame.starts_shot for frame in frames] == [True, False, True, False]
            assert frames[3].path == folder / "frames/000003.png"
            assert frames[3].pts == 3 * 512
            assert {frame.state for frame in frames} == {FrameState.PENDING}
            assert job.frame(4) is None


def test_frames_in_their_states(folder: Path) -> None:
    losses = Losses(0.1, 1 / 3, 1e-17)
    with make(folder) as job:
        job.finish_frame(1, "ab" * 32, losses, 7, "limit", "stalled", 1.5)
        job.fail_frame(2, "too small")
    with Job.read(folder) as job:
        done, failed = job.frame(1), job.frame(2)
        assert done is not None
        assert failed is not None
        assert (done.state, done.sha256, done.losses, done.iterations) == (FrameState.DONE, "ab" * 32, losses, 7)
        assert (done.stop, done.retried, done.seconds) == ("limit", "stalled", 1.5)
        assert (failed.state, failed.error, failed.sha256) == (FrameState.FAILED, "too small", None)
        assert [frame.index for frame in job.frames(FrameState.PENDING)] == [0, 3]


def test_frames_are_reset(folder: Path) -> None:
    with make(folder) as job:
        for index in range(3):
            paint(job, index)
        job.fail_frame(3, "broken")
        job.reset_frames([frame for frame in job.frames() if frame.index in (1, 3)])
        assert [frame.index for frame in job.frames(FrameState.PENDING)] == [1, 3]
        again = job.frame(3)
        assert again is not None
        assert again.error is None
        assert [frame.index for frame in job.frames(FrameState.DONE)] == [0, 2]


def test_a_frame_has_a_record_for_each_pass(folder: Path) -> None:
    """Passes come in their order, 0 last; what is said of one says nothing of the others."""
    frames = [
        PlannedFrame(index, 0, f"frame {index}", f"frames/{number}/{index}.png", pass_number=number)
        for index in range(2)
        for number in (-1, 0)
    ]
    reference = 0.1 + 0.2
    with make(folder, frames=frames) as job:
        assert [(frame.pass_number, frame.index) for frame in job.frames()] == [(-1, 0), (-1, 1), (0, 0), (0, 1)]
        for number in (-1, 0):
            job.finish_frame(1, "ab" * 32, LOSSES, 7, "target", None, 1.0, reference=reference, pass_number=number)
        job.finish_frame(0, "cd" * 32, LOSSES, 5, "limit", None, 1.0, pass_number=-1)
        job.fail_frame(0, "broken", 0)
    with Job.open(folder) as job:
        kept, draft = job.frame(1), job.frame(1, -1)
        assert kept is not None
        assert draft is not None
        assert (kept.path, draft.path) == (folder / "frames/0/1.png", folder / "frames/-1/1.png")
        assert (kept.reference, kept.stop, draft.reference) == (reference, "target", reference)
        failed, other = job.frame(0), job.frame(0, -1)
        assert failed is not None
        assert other is not None
        assert (failed.state, other.state, other.reference) == (FrameState.FAILED, FrameState.DONE, None)
        assert job.frame(1, -2) is None
        job.reset_frames([draft])
        assert [(frame.pass_number, frame.index) for frame in job.frames(FrameState.PENDING)] == [(-1, 1)]
        assert job.frame(1) == kept
        again = job.frame(1, -1)
        assert again is not None
        assert (again.sha256, again.reference, again.losses, again.stop) == (None, None, None, None)


def test_a_reader_writes_nothing(folder: Path) -> None:
    make(folder).__exit__()
    with Job.read(folder) as job, pytest.raises(ImpastoError):
        job.fail_frame(0, "x")


def test_the_output_is_finished_and_reopened(folder: Path) -> None:
    with make(folder) as job:
        assert job.output is None
        assert not status_of(job).finished
        for index in range(4):
            paint(job, index)
        output = OutputRecord("cd" * 32)
        job.expect_output(output)
        assert (job.expected_output, job.output) == (output, None)
        assert not status_of(job).finished
        job.finish_output(output)
        assert job.output == output
        assert status_of(job).finished
        job.reset_frames([job.frames()[1]])
        assert job.output == output
        assert not status_of(job).finished
        paint(job, 1)
        assert status_of(job).finished
        job.finish_output(OutputRecord("cd" * 32, (2,)))
        assert not status_of(job).finished
        job.finish_output(OutputRecord(None))
        assert job.output == OutputRecord(None)
        assert status_of(job).finished
        job.reopen_output()
        assert job.output is None
        assert not status_of(job).finished


@pytest.mark.parametrize("state", ["pending", "failed"])
@pytest.mark.parametrize("path", ["frames/000001.png", "/nowhere/1.png"], ids=["inside", "outside"])
def test_a_job_with_a_frame_that_is_not_done_is_neither_finished_nor_cleaned(
    folder: Path, tmp_path: Path, state: str, path: str
) -> None:
    """`status` and `clean` go by the same rule, wherever the frame's file is."""
    frames = [*planned(1), PlannedFrame(1, 0, "frame 1", path)]
    (tmp_path / "o.mp4").write_bytes(b"film")
    recipe = {**RECIPE, "output": str(tmp_path / "o.mp4")}
    with make(folder, frames=frames, recipe=recipe) as job:
        paint(job, 0)
        job.finish_frame(1, "ab" * 32, LOSSES, 7, "limit", None, 1.0)
        job.finish_output(OutputRecord(storage.hash_file(tmp_path / "o.mp4")))
        assert status_of(job).finished and len(disposable_files(job)) == 1
        if state == "failed":
            job.fail_frame(1, "broken")
        else:
            job.reset_frames(job.frames()[1:])
        assert not status_of(job).finished
        with pytest.raises(JobError, match="is not finished and needs its frames"):
            disposable_files(job)


def test_the_log_grows(folder: Path) -> None:
    with make(folder) as job:
        job.log("one")
        job.log("zwei ü")
    lines = (folder / LOG_NAME).read_text(encoding="utf-8").splitlines()
    assert [line.split(" ", 1)[1] for line in lines] == ["one", "zwei ü"]


# Status and problems


def test_status(folder: Path) -> None:
    with make(folder) as job:
        empty = status_of(job)
        assert (empty.frame_count, empty.done_count, empty.iterations, empty.losses) == (4, 0, 0, None)
        assert empty.seconds_left is None
        paint(job, 0, losses=Losses(1, 2, 3))
        paint(job, 1, losses=Losses(3, 4, 5))
        job.fail_frame(2, "broken")
    with Job.read(folder) as job:
        status = status_of(job)
    assert status.output == Path("/nowhere/out.mp4")
    assert status.kind == "video"
    assert (status.frame_count, status.done_count, status.iterations) == (4, 2, 14)
    assert status.failed == (("frame 2", "broken"),)
    assert status.losses == Losses(2, 3, 4)
    assert status.seconds_per_frame == 2.0
    assert status.seconds_left == 4.0
    assert status.owner is None
    assert not status.finished


def test_status_tells_each_device(folder: Path) -> None:
    with make(folder) as job:
        assert status_of(job).devices == ()
        for index, (device, seconds) in enumerate((("cuda:1", 1.0), ("10.0.0.3 cuda:0 (X)", 2), ("cuda:1", 4))):
            job.finish_frame(index, "ab" * 32, LOSSES, 7, "limit", None, seconds, device=device)
        assert status_of(job).devices == (DevicePace("cuda:1", 2, 2.5), DevicePace("10.0.0.3 cuda:0 (X)", 1, 2.0))
        job.reset_frames(job.frames()[:1])
        assert [frame.device for frame in job.frames()] == [None, "10.0.0.3 cuda:0 (X)", "cuda:1", None]
        assert status_of(job).devices == (DevicePace("10.0.0.3 cuda:0 (X)", 1, 2.0), DevicePace("cuda:1", 1, 4.0))


def test_an_owner_that_has_gone_is_told(folder: Path) -> None:
    make(folder).__exit__()
    with Job.read(folder) as job:
        assert (status_of(job).owner, status_of(job).lost_owner) == (None, None)
    with other_process(folder) as process:
        with Job.read(folder) as job:
            assert status_of(job).lost_owner is None
        process.kill()
        process.wait(60)
        with Job.read(folder) as job:
            status = status_of(job)
        assert status.owner is None
        assert status.lost_owner is not None and f"process {process.pid} on " in status.lost_owner
    Job.open(folder).__exit__()
    with Job.read(folder) as job:
        assert status_of(job).lost_owner is None


@pytest.mark.parametrize(("hours", "stalled"), [(0.02, False), (1.4, False), (1.6, True)])
def test_a_job_that_finishes_nothing_is_told(folder: Path, hours: float, stalled: bool) -> None:
    """Frames of 30 minutes at most: 60 s for each of 10 iterations and 30 planned for the longest of those left."""
    frames = [PlannedFrame(i, 0, f"frame {i}", f"frames/{i:06d}.png", work=30 if i == 1 else 10) for i in range(4)]
    with make(folder, frames=frames) as job:
        job.finish_frame(0, "ab" * 32, LOSSES, 10, "limit", None, 600.0)
    with other_process(folder):
        then = time.time() - 3600 * hours
        os.utime(folder / STORE_NAME, (then, then))
        with Job.read(folder) as job:
            seconds = status_of(job).stalled_seconds
        assert (seconds is not None) == stalled
        if seconds is not None:
            assert 3600 * hours <= seconds < 3600 * hours + 60
    with Job.read(folder) as job:
        assert status_of(job).stalled_seconds is None  # Nobody is at work.


def test_nothing_is_stalled_before_its_first_frame_and_after_its_last(folder: Path) -> None:
    frames = [PlannedFrame(0, 0, "frame 0", "frames/0.png", work=2)]
    make(folder, frames=frames).__exit__()
    for done in (False, True):
        if done:
            with Job.open(folder) as job:
                job.finish_frame(0, "ab" * 32, LOSSES, 2, "limit", None, 0.1)
        with other_process(folder):
            os.utime(folder / STORE_NAME, (0, 0))
            with Job.read(folder) as job:
                assert status_of(job).stalled_seconds is None


def test_frames_that_were_reset_do_not_count(folder: Path) -> None:
    with make(folder) as job:
        paint(job, 0, losses=Losses(1, 1, 1), seconds=1)
        paint(job, 1, losses=Losses(9, 9, 9), seconds=9)
        job.reset_frames([frame for frame in job.frames() if frame.index == 1])
        status = status_of(job)
    assert (status.done_count, status.iterations) == (1, 7)
    assert status.losses == Losses(1, 1, 1)
    assert status.seconds_per_frame == 1


def test_problems_are_found(tmp_path: Path, folder: Path) -> None:
    output = tmp_path / "out.mp4"
    output.write_bytes(b"video")
    with make(folder, recipe={**RECIPE, "output": str(output)}) as job:
        paths = [paint(job, index) for index in range(3)]
        job.finish_output(OutputRecord(storage.hash_file(output)))
    with Job.read(folder) as job:
        assert find_problems(job) == []
        paths[0].unlink()
        paths[1].write_bytes(b"frame 2")  # Of the same length.
        output.write_bytes(b"other")
        problems = find_problems(job)
    assert len(problems) == 3
    for problem, path, what in zip(problems, (*paths[:2], output), ("is missing", "changed", "changed"), strict=True):
        assert str(path) in problem
        assert what in problem


# What cannot be used


@pytest.mark.parametrize("opened", [Job.open, Job.read])
def test_no_job(tmp_path: Path, opened: Any) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "empty").mkdir()
    for name in ("missing", "file", "empty"):
        with pytest.raises(JobError) as caught:
            opened(tmp_path / name)
        one_line(caught.value, f"no job at {tmp_path / name}")


@pytest.mark.parametrize("opened", [Job.open, Job.read])
@pytest.mark.parametrize("version", [SCHEMA_VERSION - 1, SCHEMA_VERSION + 1])
def test_a_job_of_another_version(folder: Path, opened: Any, version: int) -> None:
    make(folder).__exit__()
    with closing(sqlite3.connect(folder / STORE_NAME)) as connection:
        connection.execute(f"PRAGMA user_version = {version}")
    write_copy(folder)
    before = (folder / STORE_NAME).read_bytes()
    with pytest.raises(JobError) as caught:
        opened(folder)
    one_line(caught.value, "another version", f"its store is {version}", "force=True")
    assert (folder / STORE_NAME).read_bytes() == before
    make(folder, replace=True).__exit__()  # The refusal has freed the lock.


def look_through(folder: Path) -> None:
    with Job.read(folder) as job:
        assert job.recipe
        assert job.invocation
        assert job.plan
        status_of(job)
        find_problems(job)


@pytest.mark.parametrize("length", [10, 100, 1000, 4096, 8192, 12287])
def test_a_store_that_is_cut_off(folder: Path, length: int) -> None:
    make(folder).__exit__()
    data = (folder / STORE_NAME).read_bytes()
    assert len(data) > length
    (folder / STORE_NAME).write_bytes(data[:length])
    (folder / COPY_NAME).unlink()
    with pytest.raises(JobError) as caught:
        look_through(folder)
    one_line(caught.value, str(folder), "damaged", "force=True")
    make(folder, replace=True).__exit__()
    look_through(folder)


@pytest.mark.parametrize("data", [b"", b"not a database at all" * 500])
def test_a_store_of_something_else(folder: Path, data: bytes) -> None:
    make(folder).__exit__()
    (folder / STORE_NAME).write_bytes(data)
    (folder / COPY_NAME).unlink()
    for use in (look_through, Job.open):
        with pytest.raises(JobError) as caught:
            use(folder)
        one_line(caught.value, "damaged", "force=True")


CHANGES = {
    "a value": "UPDATE meta SET value = '{}' WHERE key = 'plan'",
    "a number": "UPDATE frames SET iterations = iterations + 1 WHERE idx = 1",
    "the last bit of a number": "UPDATE frames SET content = 1.0000000000000002 WHERE idx = 1",
    "the kind of a value": "UPDATE frames SET name = CAST(name AS BLOB) WHERE idx = 0",
    "a state": "UPDATE frames SET state = 'done' WHERE idx = 3",
    "a row less": "DELETE FROM frames WHERE idx = 3",
    "a row more": "INSERT INTO frames (pass, idx, shot, name, path, work, state, checksum) "
    "VALUES (0, 9, 9, 'x', 'x', 1, 'pending', zeroblob(16))",
    "two rows that change their times": "UPDATE frames SET pts = 2560 - pts WHERE idx IN (2, 3)",
    "a column more": "ALTER TABLE frames ADD COLUMN x",
    "how a table is made": "PRAGMA writable_schema = ON; "
    "UPDATE sqlite_master SET sql = replace(sql, 'sha256', '\"sha256') WHERE name = 'frames'",
    "how a table is made, in no letters": "PRAGMA writable_schema = ON; "
    "UPDATE sqlite_master SET sql = CAST(replace(CAST(sql AS BLOB), 'sha256', x'22a9ff') AS TEXT) "
    "WHERE name = 'frames'",
    "a checksum": "UPDATE frames SET checksum = zeroblob(16) WHERE idx = 1",
    "a row with the checksum of another": "UPDATE frames SET checksum = (SELECT checksum FROM frames WHERE idx = 0)",
    "a row of meta less": "DELETE FROM meta WHERE key = 'workers'",
    "a comparison less": "DELETE FROM comparisons",
    "the number of rows": "UPDATE meta SET value = replace(value, '4', '5') WHERE key = 'row_counts'",
    "no number of rows": "DELETE FROM meta WHERE key = 'row_counts'",
}


def changed_behind_the_back(folder: Path, statement: str) -> None:
    with closing(sqlite3.connect(folder / STORE_NAME)) as connection, connection:
        connection.executescript(statement)


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("crashed", [False, True], ids=["at rest", "crashed"])
def test_a_change_that_the_job_did_not_make(folder: Path, change: str, crashed: bool) -> None:
    """It is reported, and the store is restored from its copy; without a copy the job is refused."""
    with make(folder) as job:
        paint(job, 1)
        job.record_workers(2)
        storage.write_bytes(folder.parent / "compared.png", b"content and result")
        job.finish_comparison(folder.parent / "compared.png", storage.hash_file(folder.parent / "compared.png"))
        job.copy_store()
        before = job.frames()
        if crashed:
            kept = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    if crashed:
        for name, data in kept.items():
            (folder / name).write_bytes(data)
    look_through(folder)
    changed_behind_the_back(folder, CHANGES[change])
    with Job.read(folder) as job:
        assert job.frames() == before and job.plan == PLAN  # those of the copy
        (problem,) = find_problems(job)
        assert problem.startswith("store: ") and "damaged" in problem and "\n" not in problem
    copy = (folder / COPY_NAME).read_bytes()
    (folder / COPY_NAME).write_bytes(copy[:-1] + bytes([copy[-1] ^ 1]))
    for use in (look_through, Job.open):
        with pytest.raises(JobError) as caught:
            use(folder)
        one_line(caught.value, str(folder), "damaged", "force=True")
    (folder / COPY_NAME).write_bytes(copy)
    with Job.open(folder) as job:
        assert job.store_problem is not None and "damaged" in job.store_problem
        assert job.frames() == before and job.plan == PLAN
    with Job.read(folder) as job:
        assert job.store_problem is None and find_problems(job) == []


def test_a_damaged_row_is_not_rewritten(folder: Path) -> None:
    """It would get a checksum that matches the damage."""
    with make(folder) as job:
        changed_behind_the_back(folder, "UPDATE frames SET pts = 1 WHERE idx = 1")
        for write in (lambda: job.fail_frame(1, "broken"), lambda: job.reset_frames(job.frames())):
            with pytest.raises(JobError) as caught:
                write()
            one_line(caught.value, "damaged", "checksum", "run the same command again")
        job.fail_frame(0, "broken")
        changed_behind_the_back(folder, "UPDATE meta SET value = replace(value, '4', '5') WHERE key = 'row_counts'")
        with pytest.raises(JobError, match="damaged"):
            job.record_cleaned()
    with Job.open(folder) as job:
        assert job.store_problem is not None
        assert [frame.pts for frame in job.frames()] == [0, 512, 1024, 1536]


def test_a_damaged_store_does_not_replace_its_copy(folder: Path) -> None:
    with make(folder) as job:
        paint(job, 0)
        job.copy_store()
        changed_behind_the_back(folder, "UPDATE frames SET pts = 1 WHERE idx = 1")
        with pytest.raises(JobError, match="damaged"):
            job.copy_store()
    with Job.open(folder) as job:
        assert job.store_problem is not None and "restored from its copy" in job.store_problem
        assert len(job.frames(FrameState.DONE)) == 1
        assert [frame.pts for frame in job.frames()] == [0, 512, 1024, 1536]


def test_a_byte_that_says_nothing(folder: Path) -> None:
    """At rest the store and its copy are the same to the byte, also where SQLite keeps nothing."""
    make(folder).__exit__()
    data = (folder / STORE_NAME).read_bytes()
    hole = data.index(bytes(64))
    (folder / STORE_NAME).write_bytes(data[:hole] + b"\1" + data[hole + 1 :])
    with Job.read(folder) as job:
        assert job.store_problem is None
        (problem,) = find_problems(job)
        assert "has changed since it was written" in problem
    with Job.open(folder) as job:
        assert job.store_problem is not None
        # While somebody owns it the two may differ, and that is no problem.
        job.fail_frame(0, "x")
        with Job.read(folder) as other:
            assert find_problems(other) == []
    with Job.read(folder) as job:
        assert find_problems(job) == []


@pytest.mark.parametrize("data", [b"", b"x", None])
def test_a_copy_that_is_damaged(folder: Path, data: bytes | None) -> None:
    make(folder).__exit__()
    copy = folder / COPY_NAME
    copy.write_bytes(copy.read_bytes()[:-1] if data is None else data)
    with Job.read(folder) as job:
        assert len(find_problems(job)) == 1
    Job.open(folder).__exit__()
    with Job.read(folder) as job:
        assert find_problems(job) == []


def test_a_store_that_cannot_be_read_for_a_moment_is_not_given_up(folder: Path) -> None:
    """The copy, which may be older, replaces the store only when that is damaged."""
    job = make(folder)
    paint(job, 0)
    job.store.close()  # As a process that is killed.
    assert job._lock is not None
    job._lock.release()
    before = (folder / STORE_NAME).read_bytes()
    with closing(sqlite3.connect(folder / STORE_NAME, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(JobError, match="locked"):
            Job.open(folder, timeout_seconds=0.1)
        with pytest.raises(JobError, match="locked"):
            Job.read(folder, timeout_seconds=0.1)
    assert (folder / STORE_NAME).read_bytes() == before
    with Job.open(folder) as job:
        assert job.store_problem is None
        assert len(job.frames(FrameState.DONE)) == 1


@pytest.mark.parametrize(("seconds", "kept"), [(0.0, 2), (3600.0, 0)])
def test_a_job_at_work_copies_its_store_now_and_then(folder: Path, seconds: float, kept: int) -> None:
    """The copied frames are there when a store is damaged in a crash; the others are painted again."""
    with make(folder, copy_seconds=seconds) as job:
        for index in range(2):
            paint(job, index)
        crashed = {name: (folder / name).read_bytes() for name in (STORE_NAME, COPY_NAME)}
    for name, data in crashed.items():
        (folder / name).write_bytes(data)
    changed_behind_the_back(folder, "UPDATE frames SET seconds = 3")
    with Job.open(folder) as job:
        assert job.store_problem is not None
        assert len(job.frames(FrameState.DONE)) == kept
    assert "restored from its copy" in (folder / LOG_NAME).read_text()


def test_checksums_are_kept_by_whatever_is_written(folder: Path) -> None:
    """Every way to write keeps the store sound, with names of any bytes and numbers of any size."""
    name = os.fsdecode(b"\xff \xf0\x9f\x8e\xa8.png")
    frames = [*planned(), PlannedFrame(4, 4, name, f"frames/{name}", -(2**62), 10**9)]
    with make(folder, frames=frames) as job:
        for losses in (Losses(1, -0.0, 1e-300), Losses(float("inf"), float("nan"), 2**60)):
            job.finish_frame(0, "ab" * 32, losses, 7, "limit", "stalled", 2, reference=3)
        job.fail_frame(4, name)
        job.reset_frames(job.frames()[1:3])
        job.expect_output(OutputRecord("cd" * 32, (1, 2)))
        for _ in range(2):
            job.finish_output(OutputRecord("cd" * 32))
        for compared in ("x.mp4", name, "x.mp4"):
            job.finish_comparison(folder / compared, "ef" * 32)
        assert set(job.comparisons) == {folder / "x.mp4", folder / name}
        job.record_cleaned()
        job.reset_cleaned_frames()
        with Job.read(folder) as other:
            assert other.store_problem is None
        job.reopen_output()
    with Job.open(folder) as job:
        assert job.store_problem is None


def test_a_kill_in_the_middle_of_a_write_is_no_damage(folder: Path, tmp_path: Path) -> None:
    """SQLite leaves a journal, and rolls the write back when the store is next opened, also for reading."""
    make(folder).__exit__()
    script = """
import os, signal, sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("PRAGMA cache_size = 1")
connection.execute("BEGIN IMMEDIATE")
connection.execute("UPDATE frames SET state = 'done', sha256 = 'x'")
connection.execute("INSERT INTO meta VALUES ('pad', ?, '')", ("x" * 200_000,))
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", script, str(folder / STORE_NAME)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert (folder / f"{STORE_NAME}-journal").exists()
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    with Job.open(copy) as job:
        assert status_of(job).done_count == 0
    with Job.read(folder) as job:
        assert status_of(job).done_count == 0


def test_one_thread_reads_while_another_writes(folder: Path) -> None:
    """In a process of its own, as threads that wait for each other could not be ended."""
    make(folder).__exit__()
    script = """
import sys, threading
from pathlib import Path
from impasto.events import Losses
from impasto.job.job import Job
with Job.open(Path(sys.argv[1])) as job:
    def write():
        for turn in range(400):
            job.finish_frame(turn % 4, "00", Losses(1, 2, 3), 7, "limit", None, 1.0)
    writer = threading.Thread(target=write, daemon=True)
    writer.start()
    while writer.is_alive():
        assert job.frame(1) is not None
"""
    subprocess.run([sys.executable, "-c", script, str(folder)], cwd=ROOT, check=True, timeout=60)


def test_create_refuses_a_job_that_is_there(folder: Path) -> None:
    with make(folder) as job:
        paint(job, 0)
    with pytest.raises(JobError, match="another process has made a job"):
        make(folder)
    with Job.read(folder) as job:
        assert status_of(job).done_count == 1
        assert find_problems(job) == []
    with make(folder, replace=True) as job:
        assert status_of(job).done_count == 0
        assert not (folder / "frames").exists()


def test_create_leaves_what_is_not_of_a_job(folder: Path) -> None:
    """`--job` may name any folder, and one that holds no job is somebody's."""
    mine = [folder / "frames" / "a.png", folder / "plots" / "b.png", folder / "log.txt", folder / "notes.txt"]
    for path in mine:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"mine")
    with pytest.raises(ImpastoError):
        make(folder)
    assert [path.read_bytes() for path in mine] == [b"mine"] * 4


def test_a_folder_in_the_way_of_a_file(folder: Path) -> None:
    (folder / LOG_NAME / "x").mkdir(parents=True)
    with pytest.raises(ImpastoError) as caught:
        make(folder).__exit__()
    one_line(caught.value, str(folder))


def test_the_folder_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageError) as caught:
        make(tmp_path / "file" / "job")
    one_line(caught.value, str(tmp_path / "file" / "job"))


def test_names_that_are_not_utf_8(folder: Path) -> None:
    name = os.fsdecode(b"\xff.png")
    with make(folder, frames=[PlannedFrame(0, 0, name, f"/nowhere/{name}")]) as job:
        (frame,) = job.frames()
        assert frame.path == Path(f"/nowhere/{name}")


def test_a_kill_in_the_middle_of_create(folder: Path) -> None:
    script = """
import os, signal, sys
from pathlib import Path
from impasto.job.job import Job; from impasto.job.records import PlannedFrame
os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
Job.create(Path(sys.argv[1]), {}, {}, {}, [PlannedFrame(0, 0, "a", "a")])
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(folder)], env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False
    )
    assert done.returncode == -signal.SIGKILL
    assert not is_job(folder)
    make(folder).__exit__()
    assert {path.name for path in folder.iterdir()} <= {STORE_NAME, COPY_NAME, "lock"}
    look_through(folder)


# The recipe


def test_the_same_recipe_is_the_same(folder: Path) -> None:
    with make(folder) as job:
        job.require_same(dict(reversed(RECIPE.items())))


def test_differences_are_named(folder: Path) -> None:
    with make(folder) as job:
        other = {"output": RECIPE["output"], "content": {"kind": "image", "b.mp4": "00"}, "size": None}
        with pytest.raises(JobMismatchError) as caught:
            job.require_same(other)
    assert caught.value.differences == [
        "content.kind: video → image",
        "content.a.mp4: 00 → (not set)",
        "size: 64 → None",
        "content.b.mp4: (not set) → 00",
    ]
    one_line(caught.value, *caught.value.differences, "force=True")


def test_many_differences_are_not_all_shown(folder: Path) -> None:
    recipe = {"content": {f"{i}.png": "0" for i in range(9)}}
    with make(folder, recipe=recipe) as job, pytest.raises(JobMismatchError) as caught:
        job.require_same({"content": {f"{i}.png": "1" for i in range(9)}})
    assert len(caught.value.differences) == 9
    one_line(caught.value, "and 4 more")


# One owner


def test_a_second_process_is_told_of_the_first(folder: Path) -> None:
    make(folder).__exit__()
    with other_process(folder) as process:
        for attempt in (Job.open, lambda path: make(path, replace=True)):
            with pytest.raises(JobLockedError) as caught:
                attempt(folder)
            one_line(caught.value, f"process {process.pid} ", str(folder))
        with Job.read(folder) as job:
            owner = status_of(job).owner
            assert owner is not None
            assert f"process {process.pid} " in owner
    with Job.open(folder) as job:
        assert job.recipe == RECIPE
    with Job.read(folder) as job:
        assert status_of(job).owner is None


def test_the_lock_goes_with_a_process_that_is_killed(folder: Path) -> None:
    make(folder).__exit__()
    with other_process(folder) as process:
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=60)
        with Job.read(folder) as job:
            assert status_of(job).owner is None
        with Job.open(folder) as job:
            assert status_of(job).frame_count == 4


def test_whoever_looks_takes_no_lock(folder: Path) -> None:
    make(folder).__exit__()
    with Job.read(folder), Job.read(folder), Job.open(folder) as job:
        job.fail_frame(0, "x")


def test_an_error_in_the_block_frees_the_job(folder: Path) -> None:
    with pytest.raises(ZeroDivisionError), make(folder):
        raise ZeroDivisionError
    Job.open(folder).__exit__()
