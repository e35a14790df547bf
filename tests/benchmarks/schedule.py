"""The scheduler with workers that only count: how idle they are, and what a million frames cost."""

import subprocess
import sys

from pipeline.scheduler import simulate
from tests.benchmarks.common import ROOT, show
from tests.test_scheduler import film, idle_share, switches

MILLION = """
import sys, time
from pathlib import Path
from pipeline.scheduler import Chain, Scheduler
kind = sys.argv[1]

def resident():
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024

before = resident()
began = time.perf_counter()
if kind == "photos":
    chains = [Chain(key, 1, 300.0) for key in range(1_000_000)]
else:
    chains = [Chain(key, 100, 400.0) for key in range(10_000)]
scheduler = Scheduler(chains, 64)
planned = time.perf_counter()
size = resident() - before
held = [scheduler.next() for _ in range(64)]
worker = 0
for _ in range(1_000_000):
    worker = (worker + 1) % 64
    key = held[worker]
    scheduler.done(key, 300.0 if kind == "photos" else 4.0)
    held[worker] = scheduler.next(key)
    if held[worker] is None:
        break
ended = time.perf_counter()
print(planned - began, ended - planned, size)
"""


def run() -> None:
    rows = []
    for shots in (12, 100, 1500):
        for slots in (1, 8, 64):
            shares = [idle_share(film(seed, shots), slots) for seed in range(10)]
            left = [switches(film(seed, shots), list(simulate(film(seed, shots), slots))) for seed in range(10)]
            frames = sum(chain.frames for chain in film(0, shots))
            rows.append((f"{shots} shots", f"{frames}", f"{slots}", f"{max(shares):.1%}", f"{max(left) / slots:.1f}"))
    show(
        "Films of log-normal shot lengths, ten of each",
        ("film", "frames", "workers", "most idle", "changes a worker"),
        rows,
        ["idle: of the workers' time, beyond what the longest shot makes unavoidable"],
    )
    rows = []
    for kind, name in (("photos", "a million photos"), ("film", "10,000 shots of 100 frames")):
        done = subprocess.run(
            [sys.executable, "-c", MILLION, kind], cwd=ROOT, capture_output=True, text=True, check=True
        )
        planned, handed, mebibytes = map(float, done.stdout.split())
        rows.append((name, f"{planned:.2f}", f"{handed:.1f}", f"{mebibytes:.0f}"))
    show("A million frames", ("job", "s to plan", "µs to hand out each", "MiB"), rows)
