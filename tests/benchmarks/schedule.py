"""The scheduler with workers that only count: how idle they are, and what a million frames cost; what the store takes
for each frame, and what is decoded to reach one.
"""

import random
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from impasto.events import Losses
from impasto.job.job import Job
from impasto.job.records import PlannedFrame
from impasto.job.store import COPY_NAME, STORE_NAME
from impasto.media.frame_index import FrameIndex
from impasto.media.frame_reader import SEEK_MIN_FRAMES
from impasto.media.video_reader import read_frames, scan
from impasto.plan.scheduler import Chain, ScheduledFrame, simulate
from tests.benchmarks.common import ROOT, show
from tests.support.clips import ffmpeg
from tests.test_scheduler import film, idle_share, switches

MILLION = """
import sys, time
from pathlib import Path
from impasto.plan.scheduler import Chain, Scheduler
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
    show(
        "The store of a film of shots of 100 frames, in bytes a frame",
        ("frames", f"{STORE_NAME}, planned", f"{STORE_NAME}, painted", COPY_NAME),
        [_store(count) for count in (1000, 10_000, 100_000)],
    )
    with tempfile.TemporaryDirectory() as folder:
        _reading(Path(folder))


def _store(count: int) -> tuple[str, ...]:
    """As a job writes it, for frames that nobody paints."""
    index, chance = FrameIndex(), random.Random(count)
    for frame in range(count):
        index.add(frame * 512, chance.getrandbits(32), is_key=frame % 250 == 0)
    frames = [PlannedFrame(i, i - i % 100, f"frame {i}", f"frames/{i:06d}.png", i * 512, 60) for i in range(count)]
    # Each frame is flushed to the disk, of which the size does not depend.
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as name:
        folder = Path(name) / "job"
        with Job.create(folder, {}, {}, {}, frames, frame_index=index.to_text()) as job:
            planned = (folder / STORE_NAME).stat().st_size
            for i in range(count):
                losses = Losses(*(chance.lognormvariate(12, 1) for _ in range(3)))
                job.finish_frame(
                    *(i, f"{chance.getrandbits(256):064x}", losses, 37, "target", None, chance.random()),
                    device="cuda:0 (NVIDIA H100 80GB HBM3)",
                    reference=losses.objective,
                    sources=(i - 1,) if i % 100 else (),
                )
        sizes = planned, *((folder / name).stat().st_size for name in (STORE_NAME, COPY_NAME))
    return f"{count}", *(f"{size / count:.0f}" for size in sizes)


FILM_SECONDS, SHOT = 800, 100


def _reading(folder: Path) -> None:
    """Packets that are read to reach a frame, and frames that workers decode for each one of a film."""
    path = folder / "long.mp4"
    ffmpeg("-f", "lavfi", "-i", f"testsrc2=s=64x48:r=25:d={FILM_SECONDS}", "-c:v", "libx264", "-bf", "3", path)
    index = scan(path).index
    assert index is not None
    rows = []
    for frame in (0, 1_100, 10_100, 19_100, 19_999):
        counts = []
        for known in (None, index):
            packets: list[None] = []
            reading = read_frames(
                path, frame, frame + 1, accept_damage=True, index=known, alive=lambda own=packets: own.append(None)
            )
            assert len(list(reading)) == 1
            counts.append(f"{len(packets)}")
        rows.append((f"packets to frame {frame}", *counts))
    chains = [Chain(first, SHOT, float(SHOT)) for first in range(0, index.frame_count, SHOT)]
    for slots in (1, 8, 64):
        turns = list(simulate(chains, slots, in_order=slots == 1))
        counts = [f"{_decoded(turns, known) / index.frame_count:.1f}" for known in (None, index)]
        rows.append((f"frames decoded for each of the film, {slots} workers", *counts))
    title = f"Reading an H.264 film of {index.frame_count} frames, {len(index.keys)} of them key frames"
    show(title, ("", "from the beginning", "from a key frame"), rows)


def _decoded(turns: Sequence[ScheduledFrame], index: FrameIndex | None) -> int:
    """How many frames the readers of all workers decode, each going on where it is or beginning anew as `FrameReader`
    does."""
    begun: Counter[int] = Counter()
    following: dict[int, int] = {}
    count = 0
    for turn in turns:
        frame = turn.chain + begun[turn.chain]
        begun[turn.chain] += 1
        first = 0 if index is None else index.key_before(frame)
        now = following.get(turn.worker)
        if now is None or frame < now or (frame - now >= SEEK_MIN_FRAMES and first > now):
            now = first
        count += frame + 1 - now
        following[turn.worker] = frame + 1
    return count
