"""One worker with all cores against a worker for each core, and how much of its time a worker paints; on a GPU,
pictures side by side against one at a time."""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from rich.console import Console

from impasto.media.images import read_image, write_image
from impasto.plan.resources import usable_cores
from samples import scenes
from tests.benchmarks.common import ROOT, machine, show

PHOTOS = 8
GPU_PHOTOS = 64
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

    _side_by_side()


def _side_by_side() -> None:
    if not torch.cuda.is_available():
        Console().print("pictures side by side: not measured, needs a CUDA device")
        return
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        write_image(work / "style.png", read_image(ROOT / "samples" / "style.png"))
        scene = scenes.pan((256, 256), GPU_PHOTOS, 3)
        for index in range(GPU_PHOTOS):
            write_image(work / "photos" / f"{index}.png", scene.frame(index))
        ratios, shares = [], []
        for number in range(ROUNDS):
            single, _ = _painted(work, f"single-{number}", "inline", 1, "--device", "cuda:0", "--batch", "1")
            many, share = _painted(work, f"many-{number}", "inline", 1, "--device", "cuda:0")
            ratios.append(single / many)
            shares.append(share)
    show(
        f"{GPU_PHOTOS} photos of 256×256, {ITERATIONS} iterations ({torch.cuda.get_device_name()})",
        ("", "least", "median", "most"),
        [
            ("throughput of pictures side by side, by that of one at a time", *(f"{it:.2f}" for it in _spread(ratios))),
            ("share of the time in which the GPU's worker paints", *(f"{it:.1%}" for it in _spread(shares))),
        ],
        ["whole processes, in turns; choosing how many are painted side by side is part of it"],
    )


def _spread(values: list[float]) -> tuple[float, float, float]:
    return min(values), statistics.median(values), max(values)


def _painted(work: Path, name: str, executor: str, threads: int, *more: str) -> tuple[float, float]:
    """(Seconds of the whole process, share of the workers' time in which they painted)."""
    command = [sys.executable, "-m", "impasto", "stylize", str(work / "photos"), "--style", str(work / "style.png")]
    command += ["--output", str(work / name), "--executor", executor, "--json"]
    command += ["--set", f"iterations.first={ITERATIONS}", "--set", "iterations.tolerance=0", *more]
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
