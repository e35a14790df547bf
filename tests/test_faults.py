"""Crash safety: faults at some points of real runs, after which the job is resumed.

`make bench ONLY=faults` tries all points.
"""

import dataclasses
import hashlib
import os
import pty
import random
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from impasto.errors import Interrupted, JobError, JobMismatchError
from impasto.events import Assembling, Event, FrameDone, FrameProgress, FrameStarted, StopSignal
from impasto.job.cleaning import clean_job
from impasto.job.folder import is_job
from impasto.job.job import Job
from impasto.job.status import status_of
from impasto.job.verification import find_problems
from impasto.media import images
from impasto.paint.encoder_weights import EncoderWeights
from impasto.plan import request as request_module
from impasto.presets import load_settings
from impasto.run import job_run
from samples import scenes
from tests.conftest import TINY
from tests.support import faults
from tests.support.seeds import python_stream

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module", params=["film", "photos"])
def sweep(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> faults.Sweep | faults.InProcess:
    work = faults.Work(tmp_path_factory.mktemp("sweep"), request.param, 2)
    return faults.Sweep(work) if faults.can_trace() else faults.InProcess(work)


@pytest.mark.slow
def test_a_kill_at_every_tenth_point(sweep: faults.Sweep | faults.InProcess) -> None:
    tally = faults.Tally()
    first = random.randrange(10)
    for point in sweep.points()[first::10]:
        faults.struck_and_resumed(sweep, point, faults.KILL, tally)
    print(f"from point {first}: {tally}")
    assert tally.killed > tally.points / 2


@pytest.mark.sweep(1)
@pytest.mark.parametrize("fault", faults.ERRORS, ids=lambda fault: fault.name)
def test_a_disk_that_fails_at_some_points(sweep: faults.Sweep | faults.InProcess, fault: faults.Fault) -> None:
    tally = faults.Tally()
    points = sweep.points(fault)
    step = len(points) // 2
    first = random.randrange(step)
    for point in points[first::step]:
        faults.struck_and_resumed(sweep, point, fault, tally)
    print(f"from point {first}: {tally}")


@pytest.mark.sweep(1)
@pytest.mark.parametrize("fault", [faults.KILL, faults.ERRORS[1]], ids=lambda fault: fault.name)
def test_faults_from_inside_the_process(tmp_path: Path, fault: faults.Fault) -> None:
    """The way that serves where there is no `strace`, tested everywhere."""
    inside = faults.InProcess(faults.Work(tmp_path, "photos", 2))
    tally = faults.Tally()
    assert inside.count > 30
    for number in (3, inside.count // 2, inside.count - 2):
        faults.struck_and_resumed(inside, faults.Point("storage", number), fault, tally)
    assert tally.survived < tally.points


@pytest.mark.slow
@pytest.mark.parametrize("state", ["finished", "stopped", "crashed", "torn"])
def test_damaged_files_are_reported_and_repaired(tmp_path: Path, weights: EncoderWeights, state: str) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    chance = python_stream(seed)
    mutations = faults.Mutations(tmp_path, state, lambda _: weights)
    kinds = mutations.files()
    assert {"store", "copy of the store"} < set(kinds)
    for names in kinds.values():
        tally = faults.Damaged()
        for _ in range(2):
            mutations.damage(chance.choice(names), chance, tally)


def test_one_of_two_owners_wins(tmp_path: Path) -> None:
    for pair in faults.contest(tmp_path, 12):
        assert sorted(pair) == ["locked out", "won"]


# --- locks of disks that have none ---


@pytest.mark.sweep(3)
@pytest.mark.skipif(not faults.can_trace(), reason="strace is not here, or may not attach")
@pytest.mark.parametrize("error", ["ENOLCK", "ENOSYS", "EOPNOTSUPP"])
@pytest.mark.parametrize("begun", [False, True], ids=["new", "begun"])
def test_a_disk_without_locks_is_refused(tmp_path: Path, error: str, begun: bool) -> None:
    """A lock that is only a file would outlive a crash, and lock nobody out on another machine."""
    folder = tmp_path / "job"
    script = """
import sys
from pathlib import Path
from impasto.job.job import Job; from impasto.job.records import PlannedFrame
from impasto.errors import StorageError
folder = Path(sys.argv[1])
try:
    Job.open(folder) if folder.exists() else Job.create(folder, {}, {}, {}, [PlannedFrame(0, 0, "a", "a")])
except StorageError as error:
    print(error)
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-W", "error", "-c", script, str(folder)]
    if begun:
        subprocess.run(command, env=environment, check=True)
    assert faults.STRACE is not None
    tracer = [faults.STRACE, "-f", "-o", os.devnull, "-e", f"inject=flock:error={error}"]
    done = subprocess.run([*tracer, *command], env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"the disk of {folder} cannot lock files") and "`job`" in done.stdout
    assert done.stdout.count("\n") == 1
    if begun:
        with Job.open(folder) as job:
            assert job.frames()


# --- signals, at a terminal ---

HIDE, SHOW = b"\x1b[?25l", b"\x1b[?25h"


@dataclasses.dataclass
class Terminal:
    process: "subprocess.Popen[bytes]"
    screen: int
    shown: bytes = b""

    def read_until(self, what: Callable[[bytes], bool], seconds: float = 60) -> bool:
        end = time.monotonic() + seconds
        while not what(self.shown) and time.monotonic() < end:
            if select.select([self.screen], [], [], 0.1)[0]:
                try:
                    self.shown += os.read(self.screen, 65536)
                except OSError:  # Nobody has the other side open any more.
                    break
            elif self.process.poll() is not None:
                break
        return what(self.shown)


@pytest.fixture
def terminal(
    request: pytest.FixtureRequest, tmp_path: Path, content_file: Path, style_file: Path
) -> Iterator[Terminal]:
    """The command at a terminal of its own, with one picture under way, which takes hours.

    With "nohup" it takes little, and the command is to outlive its terminal.
    """
    outlives = getattr(request, "param", None) == "nohup"
    own = ["--set", "style.layers={relu1_1: 1}", "--set", "content.layers={relu2_1: 1}", "--size", "64"]
    arguments = [str(content_file), "-s", str(style_file), "-o", str(tmp_path / "o.png"), *own]
    arguments += ["--set", "iterations.tolerance=0", "--iterations", "150" if outlives else "1000000"]
    screen, side = pty.openpty()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "TERM": "xterm"}
    script = (
        "import os, sys, fcntl, signal, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); "
        f"signal.signal(signal.SIGHUP, signal.{'SIG_IGN' if outlives else 'SIG_DFL'}); "
        "os.execv(sys.argv[1], sys.argv[1:])"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, sys.executable, "-m", "impasto", "stylize", *arguments],
        stdin=side,
        stdout=side,
        stderr=side,
        start_new_session=True,
        env=environment,
        cwd=tmp_path,
    ) as process:
        os.close(side)
        shown = Terminal(process, screen)
        try:
            assert shown.read_until(lambda text: b"objective" in text), shown.shown
            assert HIDE in shown.shown and SHOW not in shown.shown.rpartition(HIDE)[2]
            yield shown
        finally:
            process.kill()
            if screen == shown.screen:
                os.close(screen)


def test_two_interrupts_at_the_keyboard(terminal: Terminal) -> None:
    os.write(terminal.screen, b"\x03")
    assert terminal.read_until(lambda text: b"again stops at once" in text)
    assert terminal.process.poll() is None
    os.write(terminal.screen, b"\x03")
    stopped_in_order(terminal)


@pytest.mark.parametrize("numbers", [(signal.SIGTERM, signal.SIGTERM), (signal.SIGHUP, signal.SIGINT)])
def test_signals_at_a_terminal(terminal: Terminal, numbers: tuple[signal.Signals, ...]) -> None:
    for number in numbers:
        terminal.process.send_signal(number)
        terminal.read_until(lambda text: b"again stops at once" in text)
    stopped_in_order(terminal)


def stopped_in_order(terminal: Terminal) -> None:
    assert terminal.read_until(lambda text: SHOW in text.rpartition(HIDE)[2])
    terminal.read_until(lambda text: False, 2)
    assert terminal.process.wait(60) == 130
    assert b"Traceback" not in terminal.shown
    assert terminal.shown.rstrip().rpartition(HIDE)[2].count(SHOW) >= 1


def test_a_terminal_that_closes(terminal: Terminal, tmp_path: Path) -> None:
    os.close(terminal.screen)
    terminal.screen = -1
    # SIGHUP comes of itself; the picture is given its time, and a second signal ends it.
    time.sleep(1)
    assert terminal.process.poll() is None
    terminal.process.send_signal(signal.SIGTERM)
    assert terminal.process.wait(60) == 130
    with Job.read(tmp_path / "o.png.impasto") as job:
        assert status_of(job).owner is None and status_of(job).lost_owner is None
        assert find_problems(job) == []


@pytest.mark.parametrize("terminal", ["nohup"], indirect=True)
def test_a_job_that_outlives_its_terminal(terminal: Terminal, tmp_path: Path) -> None:
    os.close(terminal.screen)
    terminal.screen = -1
    assert terminal.process.wait(60) == 0
    assert (tmp_path / "o.png").exists()


def test_the_frame_under_way_has_its_time_and_no_more(tmp_path: Path, content_file: Path, style_file: Path) -> None:
    now = [0.0]
    stop = StopSignal(30, lambda: now[0])
    settings = load_settings("default", (*TINY, "iterations={first: 1000, next: 1000}"))
    asked = request_module.Request((content_file,), (style_file,), tmp_path / "o.png", settings, device="cpu")
    events: list[Event] = []

    def on_event(event: Event) -> None:
        events.append(event)
        if isinstance(event, FrameProgress):
            if event.iteration == 3:
                stop.request()
            now[0] += 10

    with pytest.raises(Interrupted, match="impasto resume"):
        job_run.stylize(asked, on_event, stop)
    assert [event.iteration for event in events if isinstance(event, FrameProgress)][-1] in (5, 6)
    assert not (tmp_path / "o.png").exists()
    with Job.read(asked.job_folder) as job:
        assert (status_of(job).done_count, status_of(job).lost_owner, find_problems(job)) == (0, None, [])


# --- anything, in any order ---


class AnyOrder(RuleBasedStateMachine):
    """A film that is painted, killed, damaged, deleted in parts, cleaned and resumed in any order.

    `verify` always names exactly what was damaged, the frames that are there are those of an uninterrupted run, and a
    run that ends has painted what was missing and nothing else.
    """

    material: Path
    whole: dict[str, str]
    weights: EncoderWeights

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(dir=self.material))
        self.content = self.folder / "content"
        shutil.copytree(self.material / "content", self.content)
        self.hurt: set[str] = set()
        self.cleaned = False

    def teardown(self) -> None:
        shutil.rmtree(self.folder)

    @property
    def asked(self) -> request_module.Request:
        output = self.folder / "place" / "o.mp4"
        return request(self.content, self.material / "style.png", output)

    @property
    def frames(self) -> Path:
        return self.asked.job_folder / "frames"

    def has_job(self) -> bool:
        return is_job(self.asked.job_folder)

    def done(self) -> set[str]:
        """Names of the frames that the store takes for done."""
        with Job.read(self.asked.job_folder) as job:
            return {frame.path.name for frame in job.frames() if frame.sha256 is not None}

    def has_written_its_film(self) -> bool:
        if not self.has_job():
            return False
        with Job.read(self.asked.job_folder) as job:
            return job.output is not None

    def missing(self) -> set[str]:
        """What the next run has to paint."""
        names = {f"{index:06d}.png" for index in range(3)}
        if not self.has_job():
            return names
        if self.cleaned:
            return set() if self.asked.output.exists() else names
        return names - self.done() | {name for name in self.hurt if name.endswith(".png")}

    def goes_on(self, stop_after: int | None = None) -> None:
        expected = self.missing()
        was_there = self.asked.output.exists()
        stop, painted = StopSignal(), []

        def on_event(event: Event) -> None:
            if isinstance(event, FrameStarted):
                painted.append(f"{event.index:06d}.png")
            if isinstance(event, FrameDone) and len(painted) == stop_after:
                stop.request()

        try:
            job_run.stylize(self.asked, on_event, stop, weights_loader=lambda _: self.weights)
            ended = True
        except Interrupted:
            ended = False
        if ended:
            assert set(painted) == expected and len(painted) == len(expected)
            assert self.hashes()["o.mp4"] == self.whole["o.mp4"]
            self.cleaned = self.cleaned and was_there
        else:
            assert set(painted) <= expected
            self.cleaned = False
        self.hurt.clear()

    def hashes(self) -> dict[str, str]:
        files = [self.asked.output, *self.frames.glob("0*.png")]
        return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files if path.is_file()}

    # --- what happens ---

    @initialize()
    def begin(self) -> None:
        self.goes_on(stop_after=1)

    @rule(count=st.integers(1, 3))
    def runs_a_while(self, count: int) -> None:
        self.goes_on(stop_after=count)

    @rule()
    def runs(self) -> None:
        self.goes_on()

    @rule()
    def is_resumed(self) -> None:
        expected = self.missing()
        was_there = self.asked.output.exists()
        done = job_run.resume(self.asked.job_folder, weights_loader=lambda _: self.weights)
        assert done.painted_count == len(expected)
        self.cleaned = self.cleaned and was_there
        self.hurt.clear()

    @rule(place=st.sampled_from(["started 0", "progress 1", "done 0", "done 2", "assembling 1", "assembling 3"]))
    def is_killed(self, place: str) -> None:
        expected = self.missing()
        was_finished, was_there = self.has_written_its_film(), self.asked.output.exists()
        process = faults.SERVER.Process(target=_dying, args=(self.asked.to_values(), self.asked.job_folder, place))
        process.start()
        process.join(120)
        assert process.exitcode in (-signal.SIGKILL, 0)
        if process.exitcode == 0:
            # The place was not reached: it had been painted before.
            assert not expected or was_finished or place[0] in "spd"
        self.cleaned = self.cleaned and was_there
        self.hurt.clear()

    @rule()
    def settings_are_edited(self) -> None:
        self.is_refused(request(self.content, self.material / "style.png", self.asked.output, "style.weight=7"))

    @rule(index=st.integers(0, 2))
    def content_is_swapped(self, index: int) -> None:
        path = self.content / f"f{index}.png"
        kept = path.read_bytes()
        images.write_image(path, scenes.pan((48, 64), 1, 77).frame(0))
        self.is_refused(self.asked)
        path.write_bytes(kept)

    def is_refused(self, asked: request_module.Request) -> None:
        before = self.hashes()
        with pytest.raises(JobMismatchError):
            job_run.stylize(asked, weights_loader=lambda _: self.weights)
        assert self.hashes() == before
        # Opening a job repairs its store.
        self.hurt -= {"job.db", "job.copy"}

    @precondition(lambda self: not self.cleaned)
    @rule(index=st.integers(0, 2), deleted=st.booleans(), seed=st.integers(0, 1000))
    def a_frame_is_hurt(self, index: int, deleted: bool, seed: int) -> None:
        path = self.frames / f"{index:06d}.png"
        if not path.exists():
            return
        if deleted:
            path.unlink()
        else:
            path.write_bytes(faults.damaged(path.read_bytes(), python_stream(seed)))
        if path.name in self.done():
            self.hurt.add(path.name)

    @rule(name=st.sampled_from(["job.db", "job.copy"]), seed=st.integers(0, 1000))
    def the_store_is_hurt(self, name: str, seed: int) -> None:
        """One of the two; both together are refused, which ends a job."""
        if self.hurt & {"job.db", "job.copy"}:
            return
        with Job.read(self.asked.job_folder) as job:
            if status_of(job).lost_owner is not None:
                return  # After a crash the copy may be older, and what is missing not told by it.
        path = self.asked.job_folder / name
        path.write_bytes(faults.damaged(path.read_bytes(), python_stream(seed)))
        self.hurt.add(name)

    @precondition(lambda self: self.has_written_its_film() and not self.cleaned)
    @rule()
    def is_cleaned(self) -> None:
        before = self.hashes()
        refusal = None
        if len(self.done()) < 3:
            refusal = "is not finished and needs its frames"
        elif not self.asked.output.exists():
            refusal = "is made again from the frames"
        with Job.open(self.asked.job_folder) as job:
            if refusal is None:
                clean_job(job)
                self.cleaned = True
            else:
                with pytest.raises(JobError, match=refusal):
                    clean_job(job)
                assert self.hashes() == before
        # Frames that were hurt are no longer needed.
        self.hurt = set() if self.cleaned else self.hurt - {"job.db", "job.copy"}

    @precondition(lambda self: self.asked.output.exists())
    @rule()
    def the_film_is_deleted(self) -> None:
        self.asked.output.unlink()
        if self.has_written_its_film():
            self.hurt.add("o.mp4")

    # --- what holds ---

    @invariant()
    def verify_names_what_was_hurt(self) -> None:
        if not self.has_job():
            return
        with Job.read(self.asked.job_folder) as job:
            problems = find_problems(job)
        named = {next(name for name in self.names() if name in problem) for problem in problems}
        hurt = {"store" if name.startswith("job.") else name for name in self.hurt}
        assert named == hurt and len(problems) == len(hurt), problems

    def names(self) -> list[str]:
        return [*(f"{index:06d}.png" for index in range(3)), "store", "o.mp4"]

    @invariant()
    def what_is_there_is_right(self) -> None:
        for name, digest in self.hashes().items():
            if name not in self.hurt and (name == "o.mp4" or not self.has_job() or name in self.done()):
                assert digest == self.whole[name]


def request(content: Path, style: Path, output: Path, *own: str) -> request_module.Request:
    settings = load_settings("default", (*TINY, "iterations={first: 2, next: 1}", *own))
    return request_module.Request((content,), (style,), output, settings, device="cpu")


def _dying(values: dict[str, Any], job: Path, place: str) -> None:
    """Runs a job in a process that kills itself at a place."""
    import torch

    torch.set_num_threads(1)
    kind, _, number = place.partition(" ")

    def on_event(event: Event) -> None:
        at = {
            "started": isinstance(event, FrameStarted) and event.index,
            "progress": isinstance(event, FrameProgress) and event.index,
            "done": isinstance(event, FrameDone) and event.index,
            "assembling": isinstance(event, Assembling) and event.frames_written,
        }[kind]
        if at is not False and at == int(number):
            os.kill(os.getpid(), signal.SIGKILL)

    job_run.stylize(request_module.Request.from_values(values, job), on_event)


@pytest.mark.slow
def test_anything_in_any_order(tmp_path: Path, weights: EncoderWeights) -> None:
    AnyOrder.weights = weights
    for index in range(3):
        images.write_image(tmp_path / "content" / f"f{index}.png", scenes.pan((48, 64), 3, 3).frame(index))
    images.write_image(tmp_path / "style.png", scenes.pan((48, 60), 1, 8).frame(0))
    AnyOrder.material = tmp_path
    asked = request(tmp_path / "content", tmp_path / "style.png", tmp_path / "whole" / "o.mp4")
    job_run.stylize(asked)
    files = [asked.output, *(asked.job_folder / "frames").iterdir()]
    AnyOrder.whole = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    few = hypothesis.settings(
        max_examples=6,
        stateful_step_count=10,
        deadline=None,
        database=None,
        phases=[hypothesis.Phase.generate],  # To make a failure short takes minutes.
        print_blob=True,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    hypothesis.stateful.run_state_machine_as_test(AnyOrder, settings=few)  # type: ignore[no-untyped-call]
