"""The command line keeps its contract: errors of one line, exit codes, JSON and nothing else, no torch for a look."""

import errno
import io
import json
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import NoReturn

import av
import numpy as np
import pytest
import torch
import yaml
from rich.console import Console
from typer.testing import CliRunner

import impasto as package
from impasto import errors, presets
from impasto.cli.engine import Engine
from impasto.cli.live_view import LiveView
from impasto.cli.machine_checks import Finding
from impasto.cli.main import app
from impasto.cli.session import CommandState
from impasto.errors import ImpastoError
from impasto.events import JobDone, JobStarted, Listener, StopSignal
from impasto.job.job import Job
from impasto.media import images, video_reader
from impasto.paint.precision import choose_precision
from impasto.plan.request import Request
from impasto.report.summary import Measured
from impasto.run.dry_run import DryRun
from impasto.setting_help import documented_fields
from samples import scenes
from tests.support.trees import tree
from tests.support.unprivileged import let_others_enter, not_as_root
from tests.test_run import footage, settings, write_clip, write_frames

ROOT = Path(__file__).resolve().parent.parent
COMMANDS = ("stylize", "resume", "status", "verify", "measure", "configs", "doctor")
FAST = [
    "--size=64",
    "--iterations=3,2",
    "--set=style.layers={relu1_1: 1, relu2_1: 1}",
    "--set=content.layers={relu2_1: 1}",
]


class Result:
    """What a command said and how it ended."""

    def __init__(self, arguments: Sequence[object], engine: Engine | None = None) -> None:
        state = CommandState(engine=engine or Engine())
        result = CliRunner().invoke(app, [str(argument) for argument in arguments], obj=state)
        self.code = result.exit_code
        self.out, self.err = result.stdout, result.stderr
        self.records = [json.loads(line) for line in self.out.splitlines()] if "--json" in arguments else []
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise AssertionError(f"a traceback from {arguments}") from result.exception
        assert "Traceback" not in self.out + self.err

    @property
    def kinds(self) -> list[str]:
        return [record["event"] for record in self.records]


def impasto(*arguments: object, engine: Engine | None = None) -> Result:
    return Result(arguments, engine)


def refused(code: int, said: str, *arguments: object) -> str:
    """The command ends with `code` and one line on stderr that says `said`."""
    result = impasto(*arguments)
    assert (result.code, result.out) == (code, "")
    lines = result.err.splitlines()
    assert len([line for line in lines if line.startswith("impasto: ")]) == 1
    assert lines[-1].startswith("impasto: ")
    assert said in lines[-1]
    return lines[-1]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, style_file: Path, content_file: Path) -> Path:
    """A current folder with `style.png`, `content.png`, a sequence in `in` and a clip `in.mkv`."""
    assert style_file.parent == content_file.parent == tmp_path
    write_frames(tmp_path / "in", footage()[:3])
    monkeypatch.chdir(tmp_path)
    return tmp_path


def stylize(content: object, output: object, *more: object) -> list[object]:
    return ["stylize", content, "-s", "style.png", "-o", output, *FAST, *more]


# Help, and what works without torch


def test_help_says_what_there_is() -> None:
    result = impasto("--help")
    assert result.code == 0
    for name in COMMANDS:
        assert name in result.out
    assert impasto("--version").out == f"impasto {package.__version__}\n"
    assert impasto().code == 2


def test_commands_that_look_import_no_torch(here: Path) -> None:
    assert impasto(*stylize("content.png", "o.png")).code == 0
    script = """
import json, sys
from typer.testing import CliRunner
from impasto.cli.main import app
runs = json.loads(sys.argv[1])
found = {}
for arguments in runs:
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code in (0, 1, 2), result
    found[" ".join(arguments)] = [result.exit_code, "torch" in sys.modules]
print(json.dumps(found))
"""
    runs = [["--help"], ["--version"], *([name, "--help"] for name in COMMANDS)]
    runs += [["configs"], ["configs", "default"], ["configs", "--keys"], ["configs", "--json"]]
    runs += [["status", "o.png.impasto"], ["status", "o.png.impasto", "--json"], ["verify", "o.png.impasto"]]
    failing = [["status", "x"], ["verify", "x"], ["resume", "x"], ["configs", "x"]]
    failing += [["stylize", "x.png", "-s", "style.png", "-o", "y.png", "--config", "x"]]
    done = subprocess.run(
        [sys.executable, "-c", script, json.dumps(runs + failing)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert [name for name, (_, torch) in found.items() if torch] == []
    assert [name for name, (code, _) in found.items() if code] == [" ".join(arguments) for arguments in failing]


# One line for an error


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("missing.png", "o.png"), 2, "missing.png does not exist"),
        (("empty.png", "o.png"), 2, "empty.png"),
        (("text.png", "o.png"), 2, "text.png"),
        (("text.mp4", "o.mp4"), 2, "text.mp4"),
        (("empty.mp4", "o.mp4"), 2, "empty.mp4"),
        (("nothing", "out"), 2, "holds no image"),
        (("notes.txt", "out"), 2, "notes.txt"),
        (("notes.txt", "o.png"), 2, "notes.txt"),
        (("content.png", "there.png"), 2, "there.png exists"),
        (("content.png", "content.png"), 2, "content.png"),
        (("content.png", "o.mp4"), 2, "o.mp4 is a video"),
        (("in", "o.png"), 2, "o.png"),
        (("in", "in/out"), 2, "inside the content"),
        (("in", "o.avi"), 2, "o.avi"),
        (("in", "out", "--sequence", "--photos"), 2, "exclude each other"),
        (("in", "o.mp4", "--photos"), 2, "--photos"),
        (("in", "out", "--frames", "0:1"), 2, "--frames"),
        (("in", "o.mp4", "--frames", "3:"), 2, "none of the 3"),
        (("in", "o.mp4", "--frames", "2:2"), 2, "2:2"),
        (("in", "o.mp4", "--frames", "x"), 2, "'x'"),
        (("in", "o.mp4", "--frames", "-1:2"), 2, "'-1:2'"),
        (("in", "o.mp4", "--frames", "9" * 5000 + ":"), 2, "frame"),
        (("in", "o.mp4", "--fps", "fast"), 2, "'fast'"),
        (("in", "o.mp4", "--fps", "0"), 2, "--fps 0"),
        (("in", "o.mp4", "--fps", "1/0"), 2, "'1/0'"),
        (("in", "o.mp4", "--fps", "nan"), 2, "'nan'"),
        (("content.png", "o.png", "--config", "nice"), 2, "'nice'"),
        (("content.png", "o.png", "--config", "nice.yaml"), 2, "'nice.yaml'"),
        (("content.png", "o.png", "--config", "text.yaml"), 2, "text.yaml"),
        (("content.png", "o.png", "--config", "date.yaml"), 2, "date.yaml"),
        (("content.png", "o.png", "--config", "number.yaml"), 2, "1"),
        (("content.png", "o.png", "--config", "circle.yaml"), 2, "circle.yaml"),
        (("content.png", "o.png", "--config", "in/"), 2, "in/"),
        (("content.png", "o.png", "--set", "style.wieght=1"), 2, "did you mean style.weight"),
        (("content.png", "o.png", "--set", "style.weight"), 2, "KEY=VALUE"),
        (("content.png", "o.png", "--set", "style.weight=much"), 2, "'much'"),
        (("content.png", "o.png", "--set", "style.weight=-1"), 2, "style.weight"),
        (("content.png", "o.png", "--set", "style.weight=nan"), 2, "style.weight"),
        (("content.png", "o.png", "--set", "style.weight.x=1"), 2, "style.weight.x"),
        (("content.png", "o.png", "--set", "style=1"), 2, "style"),
        (("content.png", "o.png", "--set", "size=[1"), 2, "size"),
        (("content.png", "o.png", "--set", "size=2020-99-99"), 2, "size"),
        (("content.png", "o.png", "--set", "style.layers={relu9_9: 1}"), 2, "relu9_9"),
        (("content.png", "o.png", "--set", "style.layers={relu1_1: x}"), 2, "style.layers"),
        (("content.png", "o.png", "--set", "start.first=none.png"), 2, "none.png"),
        (("content.png", "o.png", "--size", "3"), 2, "size = 3"),
        (("content.png", "o.png", "--iterations", "0"), 2, "iterations.first"),
        (("content.png", "o.png", "--iterations", "1,2,3"), 2, "'1,2,3'"),
        (("content.png", "o.png", "--iterations", "many"), 2, "'many'"),
        (("content.png", "o.png", "--iterations", "-5"), 2, "'-5'"),
        (("content.png", "o.png", "--iterations", "²"), 2, "²"),
        (("content.png", "o.png", "--device", "tpu"), 2, "'tpu'"),
        (("content.png", "o.png", "--device", "cuda:99"), 2, "cuda:99"),
        (("content.png", "o.png", "--device", "cuda:-1"), 2, "cuda:-1"),
        (("content.png", "o.png", "--device", "meta"), 2, "'meta'"),
        (("content.png", "o.png", "--weights", "none.pth"), 2, "none.pth"),
        (("content.png", "o.png", "--weights", "text.pth"), 2, "text.pth"),
        (("content.png", "o.png", "--style", "none.png"), 2, "none.png"),
        (("content.png", "o.png", "--style", "text.png"), 2, "text.png"),
        (("content.png", "o.png", "--style", "in"), 2, "in"),
        (("content.png", "o.png", "--style-weight", "1", "--style-weight", "2"), 2, "style weights"),
        (("content.png", "o.png", "--style-weight", "0"), 2, "style weights"),
        (("content.png", "o.png", "--job", "notes.txt"), 2, "notes.txt"),
    ],
    ids=lambda value: " ".join(value)[:60] if isinstance(value, tuple) else None,
)
def test_what_is_refused(here: Path, arguments: tuple[str, ...], code: int, said: str) -> None:
    (here / "empty.png").touch()
    (here / "empty.mp4").touch()
    (here / "nothing").mkdir()
    for name in ("text.png", "text.mp4", "notes.txt", "text.yaml", "there.png", "text.pth"):
        (here / name).write_text("just words")
    (here / "date.yaml").write_text("size: 2020-99-99")
    (here / "number.yaml").write_text("1: 2")
    (here / "circle.yaml").write_text("base: circle.yaml")
    before = {path: path.read_bytes() for path in here.rglob("*") if path.is_file()}
    refused(code, said, *stylize(*arguments))
    after = {path: path.read_bytes() for path in here.rglob("*") if path.is_file()}
    assert after == before, "a command that is refused leaves nothing behind"


@pytest.mark.parametrize("arguments", [("notes.txt/o.png",), ("x" * 300 + ".png",), ("o.png", "--job", "x" * 300)])
def test_places_where_nothing_can_be(here: Path, arguments: tuple[str, ...]) -> None:
    (here / "notes.txt").write_text("x")
    result = impasto(*stylize("content.png", *arguments))
    assert result.code in (1, 2)
    assert result.err.splitlines()[-1].startswith("impasto: ")


@pytest.mark.parametrize("arguments", [(), ("content.png",), ("content.png", "-s", "style.png"), ("--nonsense",)])
def test_usage_is_refused(arguments: tuple[str, ...]) -> None:
    result = impasto("stylize", *arguments)
    assert (result.code, result.out) == (2, "")
    assert result.err


@pytest.mark.parametrize("command", ["resume", "status", "verify"])
@pytest.mark.parametrize("damage", ["missing", "empty", "garbage", "version"])
def test_jobs_that_cannot_be_used(tmp_path: Path, command: str, damage: str) -> None:
    folder = tmp_path / "o.png.impasto"
    if damage != "missing":
        folder.mkdir()
        (folder / "job.db").write_bytes({"empty": b"", "garbage": b"x" * 10_000, "version": b""}[damage])
    if damage == "version":
        Job.create(folder, {}, {}, {}, [], replace=True).__exit__()
        data = bytearray((folder / "job.db").read_bytes())
        data[60:64] = (99).to_bytes(4, "big")  # PRAGMA user_version
        (folder / "job.db").write_bytes(data)
        (folder / "job.copy").unlink()
    said = {"missing": "no job at", "empty": "damaged", "garbage": "damaged", "version": "another version"}[damage]
    refused(1, said, command, folder)


def every_error() -> list[type[ImpastoError]]:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, ImpastoError)]
    return [kind for kind in kinds if kind is not ImpastoError]


@pytest.mark.parametrize("kind", every_error())
@pytest.mark.parametrize("as_json", [False, True])
def test_every_error_is_one_line_and_its_code(here: Path, kind: type[ImpastoError], as_json: bool) -> None:
    class Failing(Engine):
        def stylize(self, *_: object) -> JobDone:
            raise kind("this went [wrong]", []) if kind is errors.JobMismatchError else kind("this went [wrong]")

    result = impasto(*stylize("content.png", "o.png"), *(["--json"] if as_json else []), engine=Failing())
    assert result.code == kind.exit_code
    assert result.err == "impasto: this went [wrong]\n"
    assert result.records == (
        [{"event": "error", "message": "this went [wrong]", "exit_code": kind.exit_code}] if as_json else []
    )


def test_debug_shows_where(here: Path) -> None:
    result = CliRunner().invoke(app, ["--debug", *map(str, stylize("missing.png", "o.png"))])
    assert isinstance(result.exception, errors.InputError)
    assert not isinstance(CliRunner().invoke(app, ["status", "x"]).exception, errors.JobError), "debug does not stay on"


def test_a_folder_that_may_not_be_written(here: Path) -> None:
    locked = here / "locked"
    locked.mkdir()
    let_others_enter(here)
    locked.chmod(0o555)
    with not_as_root():
        refused(2, "locked: Permission denied: choose another --output", *stylize("content.png", "locked/o.png"))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["", "-s", "style.png", "-o", "o.png"], "an argument is empty"),
        (["content.png", "-s", "", "-o", "o.png"], "an argument after -s is empty"),
        (["content.png", "-s", "style.png", "--output="], "an argument after --output is empty"),
    ],
)
def test_an_empty_argument_is_not_the_current_folder(here: Path, arguments: list[str], said: str) -> None:
    result = impasto("stylize", *arguments)
    assert result.code == 2
    assert said in result.err


@pytest.mark.sweep(1)
@pytest.mark.parametrize("failing", [1, 2, 4])
def test_a_full_disk_is_told_and_the_job_goes_on(here: Path, monkeypatch: pytest.MonkeyPatch, failing: int) -> None:
    """The disk is full at the n-th picture or film that is written; then there is space again."""
    assert impasto(*stylize("in", "whole.mp4")).code == 0
    fsync, count = os.fsync, [0]

    def full(descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        count[0] += path.suffix in (".png", ".mp4") and "plots" not in path.parts
        if count[0] == failing:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    result = impasto(*stylize("in", "o.mp4"))
    assert result.code == 1
    last = result.err.splitlines()[-1]
    assert last.startswith("impasto: no space left on the disk")
    assert not Path("o.mp4").exists()
    assert impasto("verify", "o.mp4.impasto").code == 0
    monkeypatch.setattr(os, "fsync", fsync)
    assert impasto("resume", "o.mp4.impasto").code == 0
    assert tree(here / "o.mp4.impasto") == tree(here / "whole.mp4.impasto")
    assert Path("o.mp4").read_bytes() == Path("whole.mp4").read_bytes()


def test_done_in_part(here: Path) -> None:
    (here / "in" / "broken.png").write_text("x")
    result = impasto(*stylize("in", "out"))
    assert result.code == 3
    assert "broken.png: failed" in result.err
    assert "1 of 4 photos" in result.err.splitlines()[-1]
    assert "3 of 4" in impasto("status", "out.impasto").out
    assert impasto("verify", "out.impasto").code == 0


# What is said


def test_a_plain_run(here: Path) -> None:
    result = impasto(*stylize("content.png", "o.png"))
    assert (result.code, result.out) == (0, "")
    assert "\x1b" not in result.err
    assert "image: 1 frame → o.png" in result.err
    assert " output  o.png" in result.err
    again = impasto(*stylize("content.png", "o.png"))
    assert again.code == 0
    assert "nothing left to paint" in again.err


def test_quiet_is_silent(here: Path) -> None:
    result = impasto(*stylize("content.png", "o.png", "--quiet"))
    assert (result.code, result.out, result.err) == (0, "", "")
    result = impasto("resume", "o.png.impasto", "-q")
    assert (result.code, result.out, result.err) == (0, "", "")


def test_json_is_json_and_nothing_else(here: Path) -> None:
    result = impasto(*stylize("in", "o.mp4", "--fps", "30000/1001", "--json"))
    assert (result.code, result.err) == (0, "")
    kinds = result.kinds
    assert [kind for kind in kinds if kind not in ("scanning", "frame_progress", "assembling")] == [
        "job_started", *(["frame_started", "frame_done"] * 3), "job_done"
    ]  # fmt: skip
    assert kinds[0] == "scanning"
    done = result.records[-1]
    assert (done["output"], done["job"], done["painted_count"]) == ("o.mp4", "o.mp4.impasto", 3)
    assert video_reader.scan(here / "o.mp4").rate == Fraction(30000, 1001)
    failed = impasto("status", "missing", "--json")
    assert failed.kinds == ["error"]
    assert failed.records[0]["exit_code"] == failed.code == 1


def test_how_a_video_is_encoded_is_asked_for(here: Path) -> None:
    result = impasto(
        *stylize("in", "o.mkv", "--fps", "25", "--codec", "ffv1", "--pixel-format", "yuv444p", "--compare")
    )
    assert result.code == 0, result.err
    assert "writing o-compare.mkv" in result.err
    for name in ("o.mkv", "o-compare.mkv"):
        with av.open(str(here / name)) as container:
            context = container.streams.video[0].codec_context
            assert (context.codec.canonical_name, context.pix_fmt) == ("ffv1", "yuv444p")
    for arguments, told in (
        (("p.mp4", "--codec", "ffv1"), ".mp4 does not hold FFV1: name the output .mkv, or use --codec h264, hevc, av1"),
        (("p.mp4", "--codec", "x"), "--codec x is not known: use one of h264, hevc, av1, vp9, prores, ffv1, gif"),
        (("p.mp4", "--crf", "99"), "--crf 99 is out of range: H.264 takes 0 (best) to 51"),
        (("p.mp4", "--pixel-format", "y"), "--pixel-format y is none that H.264 takes"),
        (("p", "--sequence", "--crf", "3"), "are for video outputs"),
    ):
        result = impasto(*stylize("in", *arguments))
        assert (result.code, result.out) == (2, "")
        assert told in result.err and result.err.count("\n") == 1
        assert not (here / "p.mp4.impasto").exists()


def test_a_finished_job_is_cleaned(here: Path) -> None:
    assert impasto(*stylize("in", "o.mp4")).code == 0
    told = impasto("clean", "o.mp4.impasto", "--dry-run")
    assert told.code == 0 and told.out.startswith("would remove 3 files (") and "from o.mp4.impasto" in told.out
    assert len(list((here / "o.mp4.impasto" / "frames").iterdir())) == 3
    told = impasto("clean", "o.mp4.impasto", "--json")
    assert told.records == [{"event": "cleaned", "files": 3, "bytes": told.records[0]["bytes"], "dry_run": False}]
    assert not (here / "o.mp4.impasto" / "frames").exists()
    assert impasto("verify", "o.mp4.impasto").code == 0
    assert impasto("clean", "o.mp4.impasto").out.startswith("removed 0 files")
    assert impasto("clean", "nowhere").code == 1


def test_a_job_whose_film_has_gone_is_not_cleaned(here: Path) -> None:
    """Its frames are all that there is of it."""
    assert impasto(*stylize("in", "o.mp4")).code == 0
    (here / "o.mp4").unlink()
    for more in ((), ("--dry-run",)):
        told = impasto("clean", "o.mp4.impasto", *more)
        assert told.code == 1 and "o.mp4 is missing" in told.err and told.err.count("\n") == 1
    assert len(list((here / "o.mp4.impasto" / "frames").iterdir())) == 3


def on_terminal(arguments: Sequence[object], **environment: str) -> tuple[int, str, str]:
    """Runs the command with stderr on a terminal: exit code, stdout, stderr."""
    main, other = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "impasto", *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm-256color", "OMP_NUM_THREADS": "1", **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=other,
    )
    os.close(other)
    shown = b""
    while True:
        try:
            block = os.read(main, 65536)
        except OSError:  # The other side is closed.
            break
        if not block:
            break
        shown += block
    os.close(main)
    out, _ = process.communicate(timeout=120)
    return process.returncode, out.decode(), shown.decode()


COLOUR = re.compile(r"\x1b\[(?:[0-9;]*;)?(?:3[0-7]|9[0-7]|38;[0-9;]*)m")


def test_colour_is_for_terminals_and_for_who_wants_it(tmp_path: Path) -> None:
    code, _, shown = on_terminal(["status", tmp_path / "x"])
    assert code == 1
    assert COLOUR.search(shown)
    code, _, shown = on_terminal(["status", tmp_path / "x"], NO_COLOR="1")
    assert code == 1
    assert not COLOUR.search(shown)


@pytest.mark.slow
def test_a_film_on_a_terminal(here: Path) -> None:
    """A Matroska file does not say how many frames it has."""
    write_clip(here / "in.mkv", footage())
    assert video_reader.probe(here / "in.mkv").frame_count_declared is None
    code, out, shown = on_terminal(stylize("in.mkv", "o.mp4"))
    assert (code, out) == (0, ""), shown
    assert "Traceback" not in shown
    assert "painted 6 frames" in shown


def test_the_live_view_through_the_whole_job(here: Path) -> None:
    """Without a process of its own: the real events of a job, drawn."""
    from impasto.run.job_run import stylize as run

    file = io.StringIO()
    asked = Request((Path("in"),), (Path("style.png"),), Path("o.mp4"), settings(), rate=Fraction(25))
    with LiveView(Console(file=file, force_terminal=True, width=80)) as view:
        run(asked, view)
    assert "painted 3 frames" in file.getvalue()


# The other commands


def test_dry_run(here: Path) -> None:
    before = sorted(here.rglob("*"))
    result = impasto(*stylize("in", "o.mp4", "--dry-run"))
    assert result.code == 0
    assert "sequence, 3 frames in 1 shot\n" in result.out
    assert "7 iterations" in result.out and result.out.rstrip().endswith(", 1 worker")
    result = impasto(*stylize("in", "o.mp4", "--dry-run", "--json"))
    assert result.kinds[-1] == "dry_run"
    assert (result.records[-1]["iterations"], result.records[-1]["workers"]) == (7, 1)
    assert sorted(here.rglob("*")) == before


def test_status(here: Path) -> None:
    impasto(*stylize("in", "o.mp4"))
    result = impasto("status", "o.mp4.impasto")
    assert result.code == 0
    assert "finished" in result.out
    assert "3 of 3 (100%)" in result.out
    assert re.search(r"time +painting \d+%, waiting for flow \d+%, reading \d+%, saving \d+%\n", result.out)
    record = impasto("status", "o.mp4.impasto", "--json").records[0]
    assert record["time_use"]["seconds"] > record["time_use"]["painting"] > 0
    assert (record["event"], record["done_count"], record["frame_count"]) == ("status", 3, 3)
    assert (record["finished"], record["owner"], record["failed"]) == (True, None, [])
    assert record["output"] == str(here / "o.mp4")
    assert record["losses"]["objective"] > 0
    assert result.err == ""


def test_status_tells_where_frames_were_painted(here: Path) -> None:
    impasto(*stylize("in", "o.mp4"))
    precision = choose_precision("auto", torch.device("cpu"))
    assert f"device  cpu (1 thread), {precision}\n" in impasto("status", "o.mp4.impasto").out
    with Job.open(Path("o.mp4.impasto")) as job:
        losses = job.frames()[1].losses
        assert losses is not None
        job.finish_frame(1, "ab" * 32, losses, 7, "limit", None, 20, device="10.0.0.3 cuda:0 (A model)")
    lines = impasto("status", "o.mp4.impasto").out.splitlines()
    start = f"  devices  cpu (1 thread), {precision} "
    place = next(place for place, line in enumerate(lines) if line.startswith(start))
    assert "  2 frames, " in lines[place]
    assert lines[place + 1] == f"           10.0.0.3 cuda:0 (A model), {precision}   1 frame, 20.0 s each"
    record = impasto("status", "o.mp4.impasto", "--json").records[0]
    assert [item["device"] for item in record["devices"]] == ["cpu (1 thread)", "10.0.0.3 cuda:0 (A model)"]
    assert record["devices"][1] == {**record["devices"][1], "frame_count": 1, "seconds_per_frame": 20}


@pytest.mark.slow
def test_status_of_a_job_whose_owner_has_gone(here: Path) -> None:
    impasto(*stylize("in", "o.mp4"))
    Path("o.mp4.impasto/frames/000001.png").unlink()
    script = "import os; from pathlib import Path; from impasto.job.job import Job; "
    script += "job = Job.open(Path('o.mp4.impasto')); job.reopen_output(); os._exit(9)"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parent.parent)}
    with subprocess.Popen([sys.executable, "-c", script], env=environment) as process:
        assert process.wait(60) == 9
    told = impasto("status", "o.mp4.impasto").out
    assert f"crashed (process {process.pid} on " in told
    assert "continue with: impasto resume o.mp4.impasto" in told
    record = impasto("status", "o.mp4.impasto", "--json").records[0]
    assert record["owner"] is None and f"process {process.pid} " in record["lost_owner"]
    assert record["stalled_seconds"] is None
    impasto("resume", "o.mp4.impasto")
    assert impasto("status", "o.mp4.impasto", "--json").records[0]["lost_owner"] is None


def test_status_of_a_job_that_is_stalled(here: Path) -> None:
    impasto(*stylize("in", "o.mp4"))
    with Job.open(Path("o.mp4.impasto")) as job:
        job.reset_frames(job.frames()[2:])
        os.utime("o.mp4.impasto/job.db", (0, 0))
        assert "stalled  no frame finished for" in impasto("status", "o.mp4.impasto").out
        assert impasto("status", "o.mp4.impasto", "--json").records[0]["stalled_seconds"] > 1e9


def test_verify_names_what_changed_in_each_kind_of_file(here: Path) -> None:
    impasto(*stylize("in", "o.mp4", "--compare"))
    assert impasto("verify", "o.mp4.impasto").code == 0
    job = Path("o.mp4.impasto")
    for path, name in (
        (job / "frames" / "000002.png", "frame 2 (f3.png)"),
        (Path("o.mp4"), "output"),
        (Path("o-compare.mp4"), "comparison"),
        (job / "job.db", "store"),
        (job / "job.copy", "store"),
    ):
        whole = path.read_bytes()
        path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        told = impasto("verify", str(job))
        assert told.code == 1
        assert told.out.startswith(f"{name}: ") and path.name in told.out.splitlines()[0]
        (problem,) = impasto("verify", str(job), "--json").records[0]["problems"]
        assert problem == told.out.splitlines()[0]
        path.write_bytes(whole)
    # A comparison that was changed may be the user's own work by now.
    Path("o-compare.mp4").write_bytes(b"mine")
    told = impasto("resume", str(job))
    assert told.code == 2 and "o-compare.mp4 has changed" in told.err and "move it away" in told.err
    Path("o-compare.mp4").unlink()
    assert impasto("resume", str(job)).code == 0
    assert impasto("verify", str(job)).code == 0


@pytest.mark.slow
def test_verify(here: Path) -> None:
    impasto(*stylize("in", "o.mp4"))
    good = impasto("verify", "o.mp4.impasto")
    assert good.code == 0
    assert "3 of 3 frames" in good.out
    frame = Path("o.mp4.impasto/frames/000001.png")
    frame.unlink()
    bad = impasto("verify", "o.mp4.impasto")
    assert bad.code == 1
    assert f"{frame} is missing" in bad.out
    assert "1 problem" in bad.out
    assert "1 problems" not in bad.out
    assert "impasto resume o.mp4.impasto" in bad.err
    assert bad.err.count("\n") == 1
    record = impasto("verify", "o.mp4.impasto", "--json")
    assert record.kinds == ["verified", "error"]
    assert len(record.records[0]["problems"]) == 1
    assert impasto("resume", "o.mp4.impasto").code == 0, "what verify says to do mends it"
    assert impasto("verify", "o.mp4.impasto").code == 0


@pytest.mark.slow
def test_verify_of_a_photo_that_was_changed_says_what_helps(here: Path) -> None:
    impasto(*stylize("in", "out"))
    (here / "out" / "f2.png").write_bytes(b"changed")
    bad = impasto("verify", "out.impasto")
    assert bad.code == 1
    # Resuming keeps what may be the user's own work, so it cannot be all the advice that there is.
    assert impasto("resume", "out.impasto").code != 0
    assert "move" in bad.err


def test_configs() -> None:
    result = impasto("configs")
    assert result.code == 0
    assert result.out.split()[0] == "default"
    for name in presets.preset_names():
        assert f"\n{name} " in f"\n{result.out}"
        printed = impasto("configs", name)
        assert printed.code == 0
        assert presets.parse_settings(yaml.safe_load(printed.out)) == presets.load_settings(name)
    keys = impasto("configs", "--keys").out
    for key, *_ in documented_fields():
        assert f"{key} = " in keys
    records = impasto("configs", "--keys", "--json").records
    assert {record["key"] for record in records} == {key for key, *_ in documented_fields()}
    refused(2, "'nice'", "configs", "nice")


def test_every_value_that_is_said_to_be_allowed_is() -> None:
    """`configs --keys` and the messages say `none or …`, `true, false`, `max, average`."""
    for key, default, allowed, _ in documented_fields():
        for value in (default, *(allowed.split(", ") if "number" not in allowed and "layer" not in allowed else [])):
            if value not in ("text", ""):
                # Flow from files needs a folder of them.
                more = ["flow.folder=flows"] if value == "files" else []
                presets.load_settings("default", [*more, f"{key}={value}"])
        if allowed.startswith("none or "):
            assert presets.load_settings("default", [f"{key}=none"])


def test_a_file_of_weights_may_have_any_name(here: Path) -> None:
    """The name is a name and not YAML."""
    for name in ("a #1.pth", "a: b.pth", "[a].pth", "1e4", "null", "{x}.pth"):
        refused(2, f"{name}", *stylize("content.png", "o.png", "--weights", name))


def test_a_settings_file_names_its_base_from_where_it_lies(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "mine").mkdir()
    (here / "mine" / "base.yaml").write_text("base: default\nsize: 99\n")
    (here / "mine" / "top.yaml").write_text("base: base.yaml\n")
    assert presets.load_settings("mine/top.yaml").size == 99


def test_measure(here: Path) -> None:
    assert impasto(*stylize("content.png", "o.png", "--json")).code == 0
    assert impasto(*stylize("in", "out")).code == 0
    done = impasto(*stylize("in", "o2")).code
    assert done == 0
    options = ["-s", "style.png", *FAST[2:]]
    records = impasto("measure", "o.png", "--content", "content.png", *options, "--json").records
    assert [record["event"] for record in records] == ["measured", "measured_all"]
    assert records[0]["size"] == [43, 64]
    with Job.read(Path("o.png.impasto")) as job:
        (frame,) = job.frames()
    assert frame.losses is not None
    assert records[0]["objective"] == frame.losses.objective == records[1]["mean_objective"]
    table = impasto("measure", "out", "--content", "in", *options, "--photos")
    assert table.code == 0
    lines = table.out.splitlines()
    assert lines[0].split() == ["picture", "size", "objective", "content", "style", "tv", "luma", "contrast", "sharp"]
    assert [line.split()[0] for line in lines[1:]] == ["f1.png", "f2.png", "f3.png", "mean"]


@pytest.mark.sweep(5)
@pytest.mark.parametrize(
    ("result", "content", "more", "said"),
    [
        ("missing.png", "content.png", (), "missing.png does not exist"),
        ("content.png", "missing.png", (), "missing.png does not exist"),
        ("in", "content.png", (), "do not go together"),
        ("in", "other", (), "f1.png has no picture of that name"),
        ("in", "nothing", (), "no image"),
        ("text.png", "content.png", (), "text.png"),
        ("content.png", "content.png", ("--style-weight", "0"), "style weights"),
        ("content.png", "content.png", ("--style-weight", "1", "--style-weight", "2"), "style weights"),
        ("in", "in.mkv", (), "they are paired by order"),
    ],
)
def test_what_cannot_be_measured(here: Path, result: str, content: str, more: tuple[str, ...], said: str) -> None:
    (here / "text.png").write_text("words")
    (here / "nothing").mkdir()
    images.write_image(here / "other" / "x.png", scenes.pan((48, 64), 1, 1).frame(0))
    write_clip(here / "in.mkv", footage())
    refused(2, said, "measure", result, "--content", content, "-s", "style.png", *FAST[2:], *more)


@pytest.mark.slow
def test_doctor() -> None:
    result = impasto("doctor")
    assert result.code == 0
    for what in ("torch", "cpu", "per iteration and megapixel", "memory", "ffmpeg", "bundled weights", "disk"):
        assert what in result.out
    records = impasto("doctor", "--json").records
    assert {record["event"] for record in records} == {"finding"}

    class Broken(Engine):
        def check_machine(self) -> list[Finding]:
            return [Finding("ffmpeg", False, "gone", remedy="install it")]

    result = impasto("doctor", engine=Broken())
    assert result.code == 1
    assert "✗ ffmpeg: gone" in result.out
    assert "install it" in result.out


# Names and places


@pytest.mark.slow
@pytest.mark.parametrize("output", [".", "./"])
def test_the_current_folder_as_output(here: Path, monkeypatch: pytest.MonkeyPatch, output: str) -> None:
    (here / "work").mkdir()
    monkeypatch.chdir(here / "work")
    result = impasto("stylize", "../in", "-s", "../style.png", "-o", output, *FAST)
    assert result.code == 0, result.err
    assert {path.name for path in (here / "work").iterdir()} >= {"f1.png", "f2.png", "f3.png"}


def test_relative_paths_that_climb(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "work").mkdir()
    monkeypatch.chdir(here / "work")
    assert impasto("stylize", "../content.png", "-s", "../style.png", "-o", "../out/o.png", *FAST).code == 0
    assert (here / "out" / "o.png").exists()
    monkeypatch.chdir(here)
    assert "nothing left" in impasto(*stylize("content.png", "out/o.png")).err


def test_content_whose_name_is_not_utf_8(here: Path) -> None:
    name = os.fsdecode(b"\xff.png")
    try:
        images.write_image(here / "odd" / name, footage()[0])
    except (OSError, ImpastoError):
        pytest.skip("this disk takes no such name")
    assert impasto(*stylize("odd", "out")).code == 0
    assert (here / "out" / name).exists()
    assert impasto("status", "out.impasto").code == 0


def test_names_are_told_in_one_line_and_are_not_obeyed(here: Path) -> None:
    name = "a\nb\x1b[31mc\x9b.png"
    assert r"content a\nb\x1b[31mc\x9b.png does not exist" in refused(2, "", *stylize(name, "o.png"))
    (here / name).write_bytes(b"no picture")
    refused(2, r"a\nb\x1b[31mc\x9b.png", *stylize(name, "o.png"))
    (here / name).write_bytes((here / "content.png").read_bytes())
    result = impasto(*stylize(name, f"painted-{name}"))
    assert result.code == 0 and "\x1b[31mc" not in result.err and r"painted-a\nb\x1b[31mc\x9b.png" in result.err
    assert (here / f"painted-{name}").is_file()


def test_an_output_on_a_link(here: Path) -> None:
    (here / "real").mkdir()
    (here / "link").symlink_to("real", target_is_directory=True)
    assert impasto(*stylize("content.png", "link/o.png")).code == 0
    assert (here / "real" / "o.png").exists()
    (here / "mine.png").write_bytes(b"mine")
    (here / "points.png").symlink_to("mine.png")
    refused(2, "exists", *stylize("content.png", "points.png"))
    assert (here / "mine.png").read_bytes() == b"mine"


def test_an_ending_that_is_misspelt_makes_no_folder(here: Path) -> None:
    write_clip(here / "in.mkv", footage())
    for content, output in (("content.png", "o.pgn"), ("content.png", "o.heic"), ("in.mkv", "o.mp5")):
        result = impasto(*stylize(content, output))
        assert result.code == 2, f"{output}: {result.err}"
        assert output in result.err
        assert not Path(output).exists()


def test_content_given_twice_is_said_so(here: Path) -> None:
    line = refused(2, "content.png", *stylize("content.png", "out", "./content.png"))
    assert "twice" in line


# Signals while nothing is painted


class Interrupting(Engine):
    """Sends this process Ctrl-C when it is called."""

    def dry_run(self, *_: object) -> DryRun:
        return interrupt()

    def measure(self, *_: object, **__: object) -> Iterator[Measured]:
        return interrupt()


def interrupt() -> NoReturn:
    signal.raise_signal(signal.SIGINT)
    raise AssertionError("Ctrl-C was not heard")


def test_one_interrupt_ends_what_paints_nothing(here: Path) -> None:
    result = impasto("measure", "content.png", "--content", "content.png", "-s", "style.png", engine=Interrupting())
    assert result.code == 130
    assert "resume" not in result.err


def test_one_interrupt_ends_a_dry_run(here: Path) -> None:
    result = impasto(*stylize("content.png", "o.png", "--dry-run"), engine=Interrupting())
    assert result.code == 130
    assert "in progress" not in result.err


def test_a_stop_at_once_names_the_job_that_goes_on(here: Path) -> None:
    class Stopped(Engine):
        def stylize(self, request: Request, listener: Listener, stop: StopSignal) -> JobDone:
            listener(JobStarted("image", request.output, request.job_folder, 1, 0, 1, 3, "cpu", ""))
            signal.raise_signal(signal.SIGINT)
            assert stop.requested
            raise KeyboardInterrupt

    result = impasto(*stylize("content.png", "o.png"), engine=Stopped())
    assert result.code == 130
    assert "finishing the frames in progress" in result.err
    assert result.err.endswith("impasto: stopped at once; continue with: impasto resume o.png.impasto\n")


def test_handlers_are_put_back(here: Path) -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    impasto("status", "x")
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_the_painting_is_what_the_library_paints(here: Path) -> None:
    """No logic in the command that a script would miss."""
    from impasto.run.job_run import stylize as run

    assert impasto(*stylize("content.png", "a.png")).code == 0
    own = presets.load_settings("default", [option.removeprefix("--set=") for option in FAST[2:]] + ["size=64"])
    own = own.model_copy(update={"iterations": own.iterations.model_copy(update={"first": 3, "next": 2})})
    run(Request((Path("content.png"),), (Path("style.png"),), Path("b.png"), own))
    np.testing.assert_array_equal(images.read_image(Path("a.png")), images.read_image(Path("b.png")))


def test_iterations_of_several_passes_are_those_of_each(tmp_path: Path) -> None:
    from impasto.cli.parsing import settings_from_options

    settings = settings_from_options("multipass", None, None, "30", None)
    assert (settings.iterations.first, settings.passes.iterations) == (30, 30)
    assert settings_from_options("default", None, None, "30", None).passes.iterations == 100
    own = ("--config", "multipass", "--iterations", "30,4")
    refused(2, "give one", "stylize", "x.png", "--style", "y.png", "--output", tmp_path / "z.png", *own)
