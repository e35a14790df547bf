"""No process outlives a job, however that ends."""

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from impasto.media import ffmpeg, video_reader
from tests.conftest import TINY
from tests.support.clips import numbered
from tests.support.seeds import numpy_stream

ROOT = Path(__file__).resolve().parents[1]
COUNT = 6


def processes_of(folder: Path) -> list[str]:
    """Command lines of the living processes that name a folder, less this one's own."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
                state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
            except OSError:
                continue
            if str(folder) in command and state != "Z":
                found.append(command)
    return found


def until(what: Callable[[], bool], seconds: float = 60) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if what():
            return True
        time.sleep(0.02)
    return False


@pytest.fixture
def command(tmp_path: Path, style_file: Path) -> list[str]:
    """A job whose film takes ffmpeg long."""
    folder = tmp_path / "frames"
    folder.mkdir()
    for index in range(COUNT):
        Image.fromarray(numbered(index)).save(folder / f"{index}.png")
    options = [part for override in TINY for part in ("--set", override)]
    arguments = ["stylize", str(folder), "--style", str(style_file), "--output", str(tmp_path / "o.mp4"), *options]
    return [sys.executable, "-m", "impasto", *arguments]


def start(
    command: Sequence[str], tmp_path: Path, *, slow: bool = False, most_bytes: int | None = None
) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    if slow:
        # The real program, told to take a film of half a second in five.
        script = tmp_path / "ffmpeg"
        script.write_text(f'#!/bin/sh\nexec "{ffmpeg.ffmpeg_path()}" -readrate 0.1 -readrate_initial_burst 0.01 "$@"\n')
        script.chmod(0o755)
        environment["IMAGEIO_FFMPEG_EXE"] = str(script)

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        if most_bytes is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes))

    return subprocess.Popen(
        list(command),
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=limit,  # noqa: PLW1509  (no threads yet)
    )


def is_writing(folder: Path) -> bool:
    return any("ffmpeg" in command and " nut " in command for command in processes_of(folder))


def film(path: Path) -> list[np.ndarray]:
    return [frame.image for frame in video_reader.read_frames(path)]


@pytest.mark.sweep(1)
@pytest.mark.parametrize(
    ("signals", "statuses"),
    [
        ((), {0}),
        # So few frames may all be on their way: then the film is finished.
        ((signal.SIGINT,), {0, 130}),
        ((signal.SIGINT, signal.SIGINT), {130}),
        ((signal.SIGTERM,), {0, 130}),
        ((signal.SIGKILL,), {-signal.SIGKILL}),
        ((signal.SIGHUP,), {0, 130}),
    ],
    ids=lambda value: "-".join(item.name for item in value) if isinstance(value, tuple) else "",
)
def test_no_ffmpeg_is_left(
    tmp_path: Path, command: list[str], signals: Sequence[signal.Signals], statuses: set[int]
) -> None:
    with start(command, tmp_path, slow=bool(signals)) as process:
        if signals:
            assert until(lambda: is_writing(tmp_path)), "ffmpeg never ran"
            assert not (tmp_path / "o.mp4").exists()
        for number in signals:
            process.send_signal(number)
            time.sleep(0.1)
        out, told = process.communicate(timeout=60)
    assert process.returncode in statuses, (out, told)
    assert "Traceback" not in told
    assert until(lambda: not processes_of(tmp_path), 20), processes_of(tmp_path)
    if process.returncode == 0:
        assert len(film(tmp_path / "o.mp4")) == COUNT
        return
    assert not (tmp_path / "o.mp4").exists()
    with start(command, tmp_path) as again:
        _, told = again.communicate(timeout=120)
    assert again.returncode == 0, told
    assert f"{COUNT} already done" in told
    assert len(film(tmp_path / "o.mp4")) == COUNT
    left = [path.name for path in tmp_path.rglob("*") if "partial" in path.name]
    assert left == [] and processes_of(tmp_path) == []


@pytest.mark.slow
def test_no_ffmpeg_is_left_by_a_failure(tmp_path: Path, command: list[str]) -> None:
    for index in range(COUNT):
        noise = numpy_stream(index).integers(0, 256, (64, 64, 3), dtype=np.uint8)
        Image.fromarray(noise).save(tmp_path / "frames" / f"{index}.png")
    # The paintings and the plots fit, the film without loss does not.
    command[command.index(str(tmp_path / "o.mp4"))] = str(tmp_path / "o.mkv")
    with start([*command, "--codec", "ffv1", "--fps", "60"], tmp_path, most_bytes=80_000) as process:
        _, told = process.communicate(timeout=120)
    assert process.returncode == 1, told
    assert "Traceback" not in told and told.strip().splitlines()[-1].startswith("impasto: ")
    assert until(lambda: not processes_of(tmp_path), 20), processes_of(tmp_path)
    assert not (tmp_path / "o.mkv").exists()
