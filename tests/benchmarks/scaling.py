"""One worker with all cores against a worker for each core, and how much of its time a worker paints."""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from pipeline.executors import usable_cores
from pipeline.images import read_image, write_image
from samples import scenes
from tests.benchmarks.common import ROOT, machine, show

PHOTOS = 8
ROUNDS = 2
SIZE = (96, 128)
ITERATIONS = 60


def run() -> None:
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        write_image(work / "style.png", read_image(ROOT / "samples" / "style.png"))
        scene = scenes.pan(SIZE, PHOTOS, 3)
        for index in range(PHOTOS):
            write_image(work / "photos" / f"{index}.png", scene.frame(index))
        cores = usable_cores()
        ratios, shares = [], []
        for number in range(ROUNDS):
            one, _ = _painted(work, f"one-{number}", "inline", cores)
            each, share = _painted(work, f"each-{number}", "processes", 1)
            ratios.append(one / each)
            shares.append(share)
        show(
            f"{PHOTOS} photos of {SIZE[1]}×{SIZE[0]}, {ITERATIONS} iterations ({machine()})",
            ("", "least", "median", "most"),
            [
                (
                    f"throughput of {cores} workers of 1 thread, by that of one worker of {cores}",
                    *(f"{value:.2f}" for value in _spread(ratios)),
                ),
                ("share of the time in which a worker paints", *(f"{value:.1%}" for value in _spread(shares))),
            ],
            ["whole processes, in turns; the share is from the first frame's start to the last one's end"],
        )


def _spread(values: list[float]) -> tuple[float, float, float]:
    return min(values), statistics.median(values), max(values)


def _painted(work: Path, name: str, executor: str, threads: int) -> tuple[float, float]:
    """(Seconds of the whole process, share of the workers' time in which they painted)."""
    command = [sys.executable, "-m", "cli", "stylize", str(work / "photos"), "--style", str(work / "style.png")]
    command += ["--output", str(work / name), "--executor", executor, "--json"]
    command += ["--set", f"iterations.first={ITERATIONS}", "--set", "iterations.tolerance=0"]
    began = time.monotonic()
    painted, first, last, workers = 0.0, None, 0.0, 1
    with subprocess.Popen(
        command, cwd=ROOT, text=True, stdout=subprocess.PIPE, env={**os.environ, "OMP_NUM_THREADS": str(threads)}
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            record, now = json.loads(line), time.monotonic()
            if record["event"] == "job_started" and "processes" in record["device"]:
                workers = usable_cores() // threads
            if record["event"] == "frame_started" and first is None:
                first = now
            if record["event"] == "frame_done":
                painted, last = painted + record["seconds"], now
    assert process.returncode == 0 and first is not None
    return time.monotonic() - began, painted / workers / (last - first)
