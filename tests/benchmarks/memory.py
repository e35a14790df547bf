"""Peak memory over the length of a video: 50 frames against 10. It has to be flat."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from impasto.media.timing import Timing
from impasto.media.video_writer import VideoWriter
from samples.scenes import pan
from tests.benchmarks.common import ROOT, machine, show

SIZE = (48, 64)
COUNTS = (10, 50)

_CHILD = """
import json, resource, sys
from pathlib import Path
from impasto.presets import load_settings
from impasto.plan.request import Request
from impasto.run.job_run import stylize
settings = load_settings("default", ["iterations={first: 5, next: 3, tolerance: 0}"])
stylize(Request((Path(sys.argv[1]),), (Path(sys.argv[2]),), Path(sys.argv[3]), settings, device="cpu"))
print(json.dumps(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss))
"""


def run() -> None:
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        peaks = [_peak(Path(folder), count) for count in COUNTS]
    for count, peak in zip(COUNTS, peaks, strict=True):
        rows.append((f"{count} frames", f"{peak / 1024:.0f}", f"{peak / peaks[0]:.3f}"))
    show(f"Peak memory of painting a 64×48 video, all layers ({machine()})", ("video", "MiB", "ratio"), rows)


def _peak(folder: Path, count: int) -> int:
    """Largest resident set, in KiB, of a process that paints a video of `count` frames."""
    scene = pan(SIZE, count, seed=1)
    source = folder / f"{count}.mp4"
    with VideoWriter(source, SIZE, Timing.constant(24, count)) as writer:
        for index in range(count):
            writer.write(scene.frame(index))
    command = [
        sys.executable,
        "-c",
        _CHILD,
        str(source),
        str(ROOT / "samples/style.png"),
        str(folder / f"out{count}.mp4"),
    ]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT)
    return int(json.loads(done.stdout))
