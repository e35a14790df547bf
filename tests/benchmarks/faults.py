"""Crash safety: a job is killed, runs out of disk, is damaged and contended for at many points, and is resumed.

Nothing is timed. Each line says how many points were tried; the first point at which a promise does not hold ends the
benchmark with the fault and its outcome.
"""

import random
import shutil
import signal
import tempfile
import time
from pathlib import Path

import torch
from rich.console import Console

from tests.benchmarks.common import show
from tests.support import faults

POSITIONS = 200
KILLS = 20
FRAMES = 40
ATTEMPTS = 50
SEED = 5


def run() -> None:
    import tests.support.warm  # noqa: F401  (weights are read once, not for each of hundreds of runs)

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _sweeps(folder)
        _mutations(folder)
        _kills(folder)
        _owners(folder)


def _sweeps(folder: Path) -> None:
    rows = []
    traced = faults.can_trace()
    for kind, count in (("film", 3), ("photos", 2)):
        work = faults.Work(folder, kind, count)
        sweep = faults.Sweep(work) if traced else faults.InProcess(work)
        for fault in (faults.KILL, *faults.ERRORS):
            tally = faults.Tally()
            for point in sweep.points(fault):
                faults.struck_and_resumed(sweep, point, fault, tally)
            numbers = (tally.points, tally.killed, tally.refused, tally.survived, tally.repainted)
            rows.append((f"{kind}, {count} frames: {fault.name}", *map(str, numbers)))
            Console().print(" · ".join(rows[-1]), style="dim")
        shutil.rmtree(work.place.parent)
    show(
        f"A fault at the N-th write, flush, rename and removal ({'strace' if traced else 'in the process'})",
        ("job and fault", "points", "killed", "exit code 1", "went on", "frames painted twice"),
        rows,
        ["After each the job was resumed: every hash is that of an uninterrupted run."],
    )


def _mutations(folder: Path) -> None:
    chance = random.Random(SEED)
    rows = []
    for state in ("finished", "stopped", "crashed", "torn"):
        mutations = faults.Mutations(folder, state)
        for kind, names in mutations.files().items():
            tally = faults.Damaged()
            for number in range(POSITIONS):
                mutations.damage(names[number % len(names)], chance, tally)
            numbers = (tally.tried, tally.reported, tally.repaired, tally.refused, tally.unused)
            rows.append((f"{state}: {kind}", *map(str, numbers)))
            Console().print(" · ".join(rows[-1]), style="dim")
        shutil.rmtree(mutations.folder)
    show(
        f"A bit flipped, or the rest cut off, at {POSITIONS} random positions of each kind of file",
        ("job: file", "positions", "reported by verify", "repaired by resume", "refused by resume", "unused bytes"),
        rows,
    )


def _kills(folder: Path) -> None:
    chance = random.Random(SEED)
    work = faults.Work(folder, "film", FRAMES)
    work.clear()
    began = time.perf_counter()
    work.run()
    whole_seconds = time.perf_counter() - began
    work.clear()
    started = killed = ended = 0
    while killed < KILLS:
        seconds = chance.uniform(0, whole_seconds / 4)
        outcome = work.run(during=lambda process, seconds=seconds: (process.join(seconds), process.kill()))
        started += len(outcome.painted("frame_started"))
        killed += outcome.code == -signal.SIGKILL
        if outcome.code == 0:
            # It ended before the kill: the next kills are for a new job.
            assert work.results() == work.whole
            ended += 1
            work.clear()
    last = work.run()
    assert last.code == 0, last.told
    started += len(last.painted("frame_started"))
    jobs = ended + 1
    assert work.results() == work.whole and work.leftovers() == []
    assert started <= jobs * FRAMES + killed, (started, jobs, killed)
    show(
        "SIGKILL at random times",
        ("job", "kills", "jobs", "frames begun", "at most"),
        [(f"film of {FRAMES} frames", str(killed), str(jobs), str(started), str(jobs * FRAMES + killed))],
    )


def _owners(folder: Path) -> None:
    outcomes = faults.contest(folder / "owners", ATTEMPTS)
    assert all(sorted(pair) == ["locked out", "won"] for pair in outcomes), outcomes
    show(
        "Two owners at once",
        ("attempts", "one won", "first process won"),
        [(str(len(outcomes)), str(len(outcomes)), str(sum(pair[0] == "won" for pair in outcomes)))],
    )
