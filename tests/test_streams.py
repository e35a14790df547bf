"""Standard streams that are closed, full or ASCII: a job goes on, and a result that cannot be written is an error."""

import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from impasto.cli.main import app
from impasto.job.job import Job

TINY = "--size 64 --iterations 1,1 --device cpu --set start.first=content --quiet"


def run(command: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    """A command of ours through the shell, in a folder, with what the shell does to its streams."""
    impasto = f"{shlex.quote(sys.executable)} -m impasto"
    return subprocess.run(
        ["bash", "-c", command.replace("impasto", impasto, 1)], cwd=folder, capture_output=True, text=True, check=False
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for name in ("photo.png", "style.png"):
        Image.fromarray(rng.integers(0, 255, (48, 64, 3), dtype=np.uint8)).save(tmp_path / name)
    return tmp_path


@pytest.mark.sweep(1)
@pytest.mark.parametrize("streams", [">&- 2>&- <&-", ">/dev/full 2>/dev/full", "2>/dev/full", "2>&-"])
def test_a_job_goes_on_in_silence(folder: Path, streams: str) -> None:
    done = run(f"impasto stylize photo.png --style style.png --output o.png {TINY} {streams}", folder)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    with Job.read(folder / "o.png.impasto") as job:
        assert job.is_finished


@pytest.mark.parametrize(("streams", "why"), [(">&-", "it is closed"), (">/dev/full", "No space left on device")])
def test_json_that_cannot_be_written_is_one_line(
    folder: Path, monkeypatch: pytest.MonkeyPatch, streams: str, why: str
) -> None:
    command = f"stylize photo.png --style style.png --output o.png {TINY}"
    done = run(f"impasto {command} --json {streams}", folder)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"impasto: standard output cannot be written ({why}): send it elsewhere")
    monkeypatch.chdir(folder)
    assert CliRunner().invoke(app, command.split()).exit_code == 0


@pytest.mark.parametrize("command", ["configs", "configs default", "--help", "--version", "stylize --help"])
@pytest.mark.parametrize(
    ("streams", "code", "lines"),
    [(">&-", 0, 0), (">/dev/full", 1, 1), ("2>&-", 0, 0), ("2>/dev/full", 0, 0), ("| head -c 1 >/dev/null", 0, 0)],
)
def test_commands_that_print(folder: Path, command: str, streams: str, code: int, lines: int) -> None:
    done = run(f"impasto {command} {streams}", folder)
    assert done.returncode == code
    assert len(done.stderr.splitlines()) == lines, done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("streams", ["2>&-", "2>/dev/full"])
def test_an_error_that_nobody_reads_has_its_exit_code(folder: Path, streams: str) -> None:
    assert run(f"impasto configs none {streams}", folder).returncode == 2


@pytest.mark.sweep(2)
@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("stylize photo.png --style style.png --output ö.png --dry-run", r"64\xd748"),
        ("stylize --help", r"cuda:N,\u2026"),
        ("doctor", r"\u2713 disk: "),
    ],
)
def test_ascii_escapes_what_it_lacks(folder: Path, command: str, said: str) -> None:
    done = run(f"LC_ALL=C PYTHONUTF8=0 PYTHONIOENCODING=ascii impasto {command}", folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert said in done.stdout
