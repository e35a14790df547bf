"""What people and programs see of a job, from its events alone."""

import dataclasses
import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from impasto.cli import formatting
from impasto.cli.event_lines import summary_lines
from impasto.cli.json_view import JsonView
from impasto.cli.live_view import LiveView
from impasto.cli.pace import Pace
from impasto.cli.plain_view import PlainView
from impasto.cli.view import View
from impasto.cli.views import make_view
from impasto.errors import InputError
from impasto.events import (
    Assembling,
    Event,
    FrameDone,
    FrameFailed,
    FrameProgress,
    FrameStarted,
    JobDone,
    JobStarted,
    Losses,
    Notice,
    Scanning,
)

LOSSES = Losses(1000.0, 2000.0, 1.0)


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def started(iterations: int, frames: int = 3, done: int = 0, kind: str = "video") -> JobStarted:
    return JobStarted(kind, Path("o.mp4"), Path("o.mp4.impasto"), frames, done, 2, iterations, "cpu", "")


def begun(index: int, iterations: int) -> FrameStarted:
    return FrameStarted(index, f"frame {index}", (48, 64), "content", iterations, iterations)


def progress(index: int, iteration: int, iterations: int = 10) -> FrameProgress:
    return FrameProgress(index, iteration, iterations, LOSSES, iteration)


def finished(index: int, iterations: int, seconds: float = 1.0) -> FrameDone:
    return FrameDone(index, f"frame {index}", Path("x.png"), LOSSES, iterations, "limit", seconds, None)


def ended(**changes: object) -> JobDone:
    values: dict[str, object] = {
        "output": Path("o.mp4"),
        "job": Path("o.mp4.impasto"),
        "frame_count": 3,
        "painted_count": 3,
        "failed": (),
        "plots": (),
        "losses": LOSSES,
        "iterations": 50,
        "seconds": 125.0,
    }
    return JobDone(**{**values, **changes})  # type: ignore[arg-type]


# Pace


def run_frame(pace: Pace, clock: Clock, index: int, planned: int, used: int, seconds: float) -> None:
    """A frame of which each iteration takes `seconds`."""
    pace(begun(index, planned))
    for iteration in range(1, used + 1):
        clock.now += seconds
        pace(progress(index, iteration, planned))
    pace(finished(index, used, used * seconds))


def test_equal_iterations_give_the_exact_time_left() -> None:
    clock = Clock()
    pace = Pace(clock)
    pace(started(30 + 10 + 10))
    assert pace.seconds_left is None
    pace(begun(0, 30))
    for iteration in range(1, 31):
        clock.now += 2.0
        pace(progress(0, iteration, 30))
        if iteration >= 2:
            assert pace.seconds_left == pytest.approx(2.0 * (50 - iteration))
    pace(finished(0, 30, 60.0))
    assert pace.seconds_left == pytest.approx(40)
    run_frame(pace, clock, 1, 10, 10, 2.0)
    assert pace.seconds_left == pytest.approx(20)
    run_frame(pace, clock, 2, 10, 10, 2.0)
    assert pace.seconds_left == 0
    assert pace.frame_seconds == pytest.approx((60 + 20 + 20) / 3)


def at_scale(iteration: int, work: float, size: tuple[int, int]) -> FrameProgress:
    """A frame of 20 iterations at a quarter of its 48×64 pixels, and 5 at its own size."""
    return FrameProgress(0, iteration, 25, LOSSES, work, size)


def test_iterations_of_a_small_scale_count_for_less(paper: Console) -> None:
    clock = Clock()
    pace, plain = Pace(clock), PlainView(paper, clock)
    live = LiveView(Console(file=io.StringIO(), force_terminal=True, width=100), clock)
    start, began = FrameStarted(0, "frame 0", (48, 64), "content", 25, 10.0), clock.now
    with live:
        for view in (pace, plain, live):
            view(started(10))
            view(start)
        for iteration in range(1, 26):
            is_small = iteration <= 20
            clock.now += 1.0 if is_small else 4.0
            event = at_scale(
                iteration, iteration / 4 if is_small else iteration - 15, (24, 32) if is_small else (48, 64)
            )
            for view in (pace, plain, live):
                view(event)
            if iteration >= 2:
                assert pace.seconds_left == pytest.approx(40 - (clock.now - began))
            if iteration == 20:
                file = io.StringIO()
                Console(file=file, width=100).print(live.rendered())
                (line,) = (line for line in file.getvalue().splitlines() if "frame 0" in line)
                assert "5/10" in line and line.rstrip().endswith("at 32×24 of 64×48, start: content")
    assert written(paper)[-1] == "frame 0: iteration 23/25 (at 64×48), objective 3.001k"


def test_a_frame_that_stops_early_gives_its_time_back() -> None:
    clock = Clock()
    pace = Pace(clock)
    pace(started(40))
    run_frame(pace, clock, 0, 30, 6, 1.0)
    assert pace.seconds_left == pytest.approx(10)


def test_nothing_is_left_after_the_last_frame() -> None:
    """Whole iterations at each of its scales are worth a little less than what was planned."""
    clock = Clock()
    pace = Pace(clock)
    pace(started(20, frames=2))
    for index, left in ((0, 11), (1, 0)):
        pace(FrameStarted(index, f"frame {index}", (48, 64), "content", 12, 9.0))
        for iteration in range(1, 13):
            clock.now += 0.75
            pace(FrameProgress(index, iteration, 12, LOSSES, iteration * 0.75, (48, 64)))
        pace(finished(index, 12))
        assert pace.seconds_left == pytest.approx(left)


def test_a_frame_that_fails_gives_its_time_back() -> None:
    clock = Clock()
    pace = Pace(clock)
    pace(started(40))
    run_frame(pace, clock, 0, 10, 10, 1.0)
    pace(begun(1, 20))
    clock.now += 1
    pace(progress(1, 1, 20))
    pace(FrameFailed(1, "frame 1", "broken"))
    assert pace.seconds_left == pytest.approx(10)


def test_a_frame_that_is_tried_twice_is_planned_once() -> None:
    clock = Clock()
    pace = Pace(clock)
    pace(started(20))
    pace(begun(0, 10))
    for iteration in (1, 2, 3, 4, 1, 2, 3):
        clock.now += 1
        pace(progress(0, iteration))
    assert pace.seconds_left == pytest.approx(17, rel=0.2)
    for iteration in range(4, 11):
        clock.now += 1
        pace(progress(0, iteration))
    pace(finished(0, 10))
    left = pace.seconds_left
    assert left is not None
    assert 10 <= left <= 14  # 14 seconds went into ten planned iterations.


def test_done_before_does_not_count() -> None:
    clock = Clock()
    pace = Pace(clock)
    clock.now += 1000  # Reading the content.
    pace(started(20, frames=10, done=8))
    run_frame(pace, clock, 8, 10, 10, 1.0)
    assert pace.seconds_left == pytest.approx(10)


# Plain


@pytest.fixture
def paper() -> Console:
    return Console(file=io.StringIO(), width=40, highlight=False)


def written(console: Console) -> list[str]:
    file = console.file
    assert isinstance(file, io.StringIO)
    return file.getvalue().splitlines()


def feed(view: View, *events: Event) -> None:
    with view:
        for event in events:
            view(event)


def test_plain_lines(paper: Console) -> None:
    clock = Clock()
    view = PlainView(paper, clock)
    with view:
        view(Notice("mind [this]"))
        view(started(14, frames=2))
        view(begun(0, 10))
        for iteration in range(1, 11):
            clock.now += 1
            view(progress(0, iteration))
        view(finished(0, 10, 10.0))
        view(FrameFailed(1, "frame 1", "cannot read [x]"))
        view(Assembling(Path("o.mp4"), 1, 2))
        view(Assembling(Path("o.mp4"), 2, 2))
        view(ended(failed=("frame 1: broken",), frame_count=2, painted_count=1))
    assert written(paper) == [
        "note: mind [this]",
        "video: 2 frames in 2 shots → o.mp4",
        "painting on cpu",
        "[1/2] frame 0: objective 3.001k (content 1k, style 2k, tv 1) in 10 iterations, 10.0 s; 4.0 s left",
        "frame 1: failed: cannot read [x]",
        "writing o.mp4",
        "painted 1 frame in 2 min 05 s",
        "mean objective 3.001k (content 1k, style 2k, tv 1)",
        "1 of 2 done; failed:",
        "  frame 1: broken",
    ]


def test_a_resumed_job_says_what_was_done_before(paper: Console) -> None:
    feed(PlainView(paper, Clock()), started(0, frames=3, done=3), ended(painted_count=0))
    lines = written(paper)
    assert lines[0] == "video: 3 frames in 2 shots, 3 already done → o.mp4"
    assert lines[1] == "nothing left to paint"


def test_a_long_frame_is_heard_of(paper: Console) -> None:
    clock = Clock()
    view = PlainView(paper, clock)
    for second in range(100):
        clock.now += 1
        view(progress(0, second + 1, 100))
    lines = written(paper)
    assert len(lines) == 3
    assert lines[0] == "frame 0: iteration 30/100, objective 3.001k"
    view(Scanning(Path("a/in.mp4"), 1, None))
    clock.now += 31
    view(Scanning(Path("a/in.mp4"), 2, None))
    assert written(paper)[-1] == "reading in.mp4: 2 frames"


def test_each_of_several_frames_under_way_is_heard_of_by_its_own_name(paper: Console) -> None:
    clock = Clock()
    view = PlainView(paper, clock)
    for index in (0, 1):
        view(FrameStarted(index, f"photo {index}.jpg", (48, 64), "content", 100, 100))
    for index in (0, 1):
        clock.now += 31
        view(progress(index, 5, 100))
    assert [line.partition(":")[0] for line in written(paper)] == ["photo 0.jpg", "photo 1.jpg"]


def test_places_are_named_where_they_exist(tmp_path: Path) -> None:
    output, plot = tmp_path / "o.png", tmp_path / "plot.png"
    output.touch()
    plot.touch()
    lines = summary_lines(ended(output=output, job=tmp_path / "missing", plots=(plot,), frame_count=1))
    assert lines[1].startswith("objective ")
    assert lines[2:] == [f" output  {output}", f"   plot  {plot}"]


# JSON, and errors only


def test_json_lines_are_throttled(capsys: pytest.CaptureFixture[str], paper: Console) -> None:
    clock = Clock()
    view = JsonView(paper, clock)
    with view:
        view(started(100))
        for iteration in range(1, 101):
            clock.now += 0.25
            view(progress(0, iteration, 100))
        view(finished(0, 100))
        view(Notice("ü \n x"))
        view(ended(plots=(Path("a.png"),)))
        view.error(InputError("no"))
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    kinds = [line["event"] for line in lines]
    assert kinds.count("frame_progress") == 25
    assert [kind for kind in kinds if kind != "frame_progress"] == [
        "job_started", "frame_done", "notice", "job_done", "error"
    ]  # fmt: skip
    progressed = [line for line in lines if line["event"] == "frame_progress"]
    assert progressed[0]["losses"] == {
        "content": 1000, "style": 2000, "total_variation": 1, "temporal": 0, "objective": 3001
    }  # fmt: skip
    assert lines[-1] == {"event": "error", "message": "no", "exit_code": 2}
    assert lines[-2]["plots"] == ["a.png"]
    assert lines[-3]["text"] == "ü \n x"
    assert written(paper) == ["impasto: no"]


def test_json_with_a_name_that_is_not_utf_8(capsysbinary: pytest.CaptureFixture[bytes], paper: Console) -> None:
    JsonView(paper, Clock())(FrameFailed(0, "\udcff.png", "broken"))
    assert json.loads(capsysbinary.readouterr().out)["message"] == "broken"


def test_json_has_no_numbers_that_json_does_not_know(capsys: pytest.CaptureFixture[str], paper: Console) -> None:
    nothing = Losses(float("nan"), float("inf"), 0.0)
    JsonView(paper, Clock())(FrameProgress(0, 1, 2, nothing, 1))

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    json.loads(capsys.readouterr().out, parse_constant=refuse)


def test_quiet_shows_errors_only(paper: Console, capsys: pytest.CaptureFixture[str]) -> None:
    view = View(paper)
    feed(view, Notice("x"), started(10), finished(0, 1), FrameFailed(1, "a", "b"), ended())
    assert written(paper) == []
    view.error(InputError("a [red]line[/] " + "that is long " * 20))
    assert len(written(paper)) == 1
    assert written(paper)[0].startswith("impasto: a [red]line[/] that")
    assert capsys.readouterr() == ("", "")


# Live


def every_event() -> list[Event]:
    return [
        Scanning(Path("[a].mp4"), 10, None),
        Scanning(Path("[a].mp4"), 20, 20),
        Notice("[bold]not markup"),
        started(20),
        begun(0, 10),
        *(progress(0, iteration) for iteration in range(1, 11)),
        finished(0, 10),
        FrameStarted(1, "[/x] 100%", (48, 64), "my [/start].png", 10, 10),
        FrameFailed(1, "[/x]", "[/y]"),
        Assembling(Path("[/o].mp4"), 3, 3),
        ended(failed=("[/x]: y",)),
    ]


def test_the_live_view_takes_every_event_and_any_name() -> None:
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=100, color_system=None, highlight=False)
    view = LiveView(console, Clock())
    with view:
        for event in every_event():
            view(event)
            console.print(view.rendered())
        view.say("[/said]")
    text = file.getvalue()
    for part in ("[bold]not markup", "[/x] 100%", "my [/start].png", "[/x]: failed: [/y]", "[/x]: y", "[/said]"):
        assert part in text


def test_of_several_devices_the_live_view_tells_which_has_each_frame() -> None:
    for devices, told in (
        (["cuda:0 (A)"], [""]),
        (
            ["10.0.0.3 cuda:0 (NVIDIA H100 80GB HBM3)", "10.0.0.4 cpu (1 thread)"],
            [" on 10.0.0.3 cuda:0", " on 10.0.0.4 cpu"],
        ),
    ):
        file = io.StringIO()
        view = LiveView(Console(file=io.StringIO(), force_terminal=True, width=80), Clock())
        with view:
            view(dataclasses.replace(started(20), device=", ".join(devices)))
            for index, device in enumerate(devices):
                view(dataclasses.replace(begun(index, 10), device=device))
            Console(file=file, width=80).print(view.rendered())
        lines = file.getvalue().splitlines()
        for index, where in enumerate(told):
            (line,) = (line for line in lines if f"frame {index} " in line)
            assert line.rstrip().endswith(f"64×48, start: content{where}") and "0/10" in line
            assert len(line) <= 80


def test_many_pictures_under_way_fit_the_terminal() -> None:
    view = LiveView(Console(file=io.StringIO(), force_terminal=True, width=80, height=20), Clock())
    with view:
        view(started(20))
        for index in range(64):
            view(begun(index, 10))
        file = io.StringIO()
        Console(file=file, width=80).print(view.rendered())
        lines = file.getvalue().splitlines()
        assert len(lines) <= 20
        shown = [line for line in lines if "0/10" in line]
        assert "frame 0 " in shown[0] and f"and {64 - len(shown)} more in progress" in lines[len(shown) + 1]
        for index in range(60):
            view(finished(index, 10))
        file = io.StringIO()
        Console(file=file, width=80).print(view.rendered())
        assert "more in progress" not in file.getvalue() and file.getvalue().count("frame 6") == 4


def test_the_view_fits_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    terminal, file = Console(file=io.StringIO(), force_terminal=True), Console(file=io.StringIO())
    assert type(make_view(terminal, quiet=False, as_json=False)) is LiveView
    assert type(make_view(file, quiet=False, as_json=False)) is PlainView
    assert type(make_view(terminal, quiet=True, as_json=False)) is View
    assert type(make_view(terminal, quiet=True, as_json=True)) is JsonView
    monkeypatch.setenv("TERM", "dumb")
    assert type(make_view(terminal, quiet=False, as_json=False)) is PlainView


# Formatting


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "–"),
        (0, "0.0 s"),
        (7.44, "7.4 s"),
        (59.94, "59.9 s"),
        (59.96, "1 min 00 s"),
        (125, "2 min 05 s"),
        (3599.4, "59 min 59 s"),
        (3599.6, "1 h 00 min"),
        (11_520, "3 h 12 min"),
        (48 * 3600 - 61, "47 h 58 min"),
        (48 * 3600, "2 d 0 h"),
        (187_200, "2 d 4 h"),
    ],
)
def test_durations(seconds: float | None, text: str) -> None:
    assert formatting.format_duration(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (12_300_000, "12.3 MB"), (1.4e9, "1.4 GB"), (2.5e12, "2.5 TB")],
)
def test_sizes(count: float, text: str) -> None:
    assert formatting.format_bytes(count) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.0042, "0.0042"), (999.96, "1000"), (87_310, "87.31k"), (2_649_000, "2.649M"), (3e9, "3G")],
)
def test_losses(value: float, text: str) -> None:
    assert formatting.format_loss(value) == text


def test_counts_and_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert formatting.format_count(1, "frame") == "1 frame"
    assert formatting.format_count(0, "frame") == "0 frames"
    monkeypatch.chdir(tmp_path)
    assert formatting.short_path(tmp_path / "a" / "b") == str(Path("a/b"))
    assert formatting.short_path(tmp_path.parent / "b") == str(tmp_path.parent / "b")
