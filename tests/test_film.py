"""Films hold still: frames start from the warped one before, stop at a target, and may be painted in several passes."""

import hashlib
import itertools
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from impasto.errors import InputError, Interrupted, JobMismatchError, PartialError, UsageError
from impasto.events import Event, FrameDone, FrameFailed, FrameStarted, JobDone, JobStarted, StopSignal
from impasto.job.job import Job
from impasto.job.records import FrameRecord
from impasto.job.status import status_of
from impasto.job.verification import find_problems
from impasto.media import images, video_reader
from impasto.motion.dis import DisFlow
from impasto.motion.flo_files import FloFolder
from impasto.paint.batch import paint_one
from impasto.paint.encoder_weights import EncoderWeights
from impasto.paint.painter import Painter
from impasto.paint.stopping import StopRule
from impasto.paint.task import FrameTask
from impasto.plan.frame_rules import REFERENCE_RISE
from impasto.plan.request import FrameRange, Request
from impasto.report import stability
from impasto.run.dry_run import dry_run
from impasto.run.job_run import resume, stylize
from samples import scenes
from tests.support.flow_files import write_flo
from tests.support.trees import tree
from tests.test_cli import FAST, impasto, refused
from tests.test_resume import SERVER, flipped, killed_at, no_traces
from tests.test_run import SIZE, footage, notices, of_kind, read, request, settings, write_clip, write_frames

PATIENT = "iterations={first: 12, next: 4}"
STEADY = "iterations={first: 4, next: 3, target: none}"
ONE_SHOT = "shots.detect=false"
PAN = scenes.pan(SIZE, 4, 3)
THREE_PASSES = ("passes={count: 3, iterations: 3, blend: 1, temporal_from: 3}", "iterations.target=none")


@pytest.fixture(scope="session", autouse=True)
def _server() -> None:
    SERVER.set_forkserver_preload(["tests.test_resume"])


@pytest.fixture(scope="module")
def style(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("style") / "style.png"
    images.write_image(path, scenes.pan((48, 60), 1, 8).frame(0))
    return path


@pytest.fixture
def events() -> list[Event]:
    return []


@pytest.fixture
def pairs(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """The pairs of pictures, by their hashes, that flow is estimated for."""
    seen: list[tuple[str, str]] = []
    estimate = DisFlow.pair

    def pair(self: DisFlow, a: np.ndarray, b: np.ndarray, size: Any) -> Any:
        first, second = (hashlib.sha256(np.ascontiguousarray(frame)).hexdigest() for frame in (a, b))
        seen.append((min(first, second), max(first, second)))
        return estimate(self, a, b, size)

    monkeypatch.setattr(DisFlow, "pair", pair)
    return seen


def of(scene: scenes.Footage, count: int | None = None) -> list[np.ndarray]:
    return [scene.frame(t) for t in range(scene.frame_count if count is None else count)]


def film(folder: Path, style: Path, contents: Sequence[np.ndarray], name: str, *own: str, **more: Any) -> Request:
    """A request to paint a sequence, which is written once, to a video: its frames are in the job's folder."""
    if not (folder / "in").exists():
        write_frames(folder / "in", contents)
    return request(folder / "in", style, folder / f"{name}.mp4", mode="sequence", settings=settings(*own), **more)


def records(asked: Request) -> list[FrameRecord]:
    with Job.read(asked.job_folder) as job:
        return job.frames()


def course(asked: Request) -> list[tuple[int, int, str | None, int | None, str | None, float | None]]:
    """What the store says of each painting, to the bit."""
    return [(r.pass_number, r.index, r.sha256, r.iterations, r.stop, r.reference) for r in records(asked)]


def hashes(asked: Request) -> list[str | None]:
    return [record.sha256 for record in records(asked)]


def error_of(asked: Request, scene: scenes.Footage) -> float:
    """The film's mean warping error by the scene's own flow and occlusion, in thousandths."""
    errors = []
    paths = [record.path for record in records(asked) if record.pass_number == 0]
    for index in range(1, len(paths)):
        now, before = (
            torch.from_numpy(read(path).astype(np.float32) / 255).permute(2, 0, 1)[None]
            for path in (paths[index], paths[index - 1])
        )
        flow = torch.from_numpy(scene.flow(index, index - 1)).permute(2, 0, 1)[None]
        seen = torch.from_numpy((~scene.occluded(index, index - 1)).astype(np.float32))[None, None]
        errors.append(1000 * stability.warping_error(now, before, flow, seen).item())
    return float(np.mean(errors))


def stop_after(count: int) -> tuple[Callable[[Event], None], StopSignal]:
    """A listener that asks to stop after so many paintings."""
    stop, done = StopSignal(), [0]

    def listener(event: Event) -> None:
        if isinstance(event, FrameDone):
            done[0] += 1
            if done[0] == count:
                stop.request()

    return listener, stop


def write_flows(folder: Path, scene: scenes.Footage, sign: float = 1.0) -> Path:
    """The scene's true flow between neighbours, there and back, as files."""
    folder.mkdir(exist_ok=True)
    store = FloFolder(folder)
    for index in range(1, scene.frame_count):
        for a, b in ((index, index - 1), (index - 1, index)):
            write_flo(folder / store.expected_name(a, b), (sign * scene.flow(a, b)).astype(np.float32))
    return folder


# Still scenes


def test_a_still_scene_stands_still(tmp_path: Path, style: Path, events: list[Event]) -> None:
    """Only the sensor's noise differs between frames, and the painting takes no notice of it."""
    frames = of(scenes.still(SIZE, 10, 3))
    assert len({frame.tobytes() for frame in frames}) == 10
    asked = film(tmp_path, style, frames, "o")
    stylize(asked, events.append)
    (started,) = of_kind(events, JobStarted)
    assert (started.shot_count, started.iterations_left) == (1, 4 + 9 * 2)
    first, *others = records(asked)
    assert (first.iterations, first.stop, first.reference) == (4, "iterations", None)
    assert [(frame.iterations, frame.stop) for frame in others] == [(1, "target")] * 9
    files = {frame.path.read_bytes() for frame in (first, *others)}
    assert len(files) == 1
    losses = [frame.losses for frame in (first, *others)]
    assert len(set(losses)) == 10, "each is judged by its own content"


def test_a_still_scene_without_a_target_goes_on(tmp_path: Path, style: Path) -> None:
    """What the test above shows is done by the target, and not by a film that is the same anyhow."""
    asked = film(tmp_path, style, of(scenes.still(SIZE, 4, 3)), "o", "iterations.target=none")
    stylize(asked)
    assert [(frame.iterations, frame.stop) for frame in records(asked)] == [(4, "iterations")] + [(2, "iterations")] * 3
    assert len(set(hashes(asked))) == 4


def test_the_floor_is_painted_whatever_the_target(tmp_path: Path, style: Path) -> None:
    asked = film(tmp_path, style, of(scenes.still(SIZE, 3, 3)), "o", "iterations={first: 4, next: 6, floor: 3}")
    stylize(asked)
    assert [(frame.iterations, frame.stop) for frame in records(asked)[1:]] == [(3, "target")] * 2
    assert len(set(hashes(asked))) == 3


def test_a_warm_frame_has_a_tolerance_of_its_own(tmp_path: Path, style: Path) -> None:
    """Which ends it after two intervals at the soonest; the first frame of a shot keeps to the other one."""
    frames = of(scenes.still(SIZE, 2, 3))
    for name, tolerances, iterations in (
        ("cold", "tolerance: 0.9, interval: 3, next_tolerance: 0, next_interval: 2", [6, 9]),
        ("warm", "tolerance: 0, interval: 3, next_tolerance: 0.9, next_interval: 2", [9, 4]),
    ):
        own = f"iterations={{first: 9, next: 9, target: none, {tolerances}}}"
        asked = film(tmp_path, style, frames, name, ONE_SHOT, own)
        stylize(asked)
        assert [frame.iterations for frame in records(asked)] == iterations, name
    assert records(asked)[1].stop == "tolerance"


# Moving scenes


@pytest.fixture(scope="module")
def pan_film(tmp_path_factory: pytest.TempPathFactory, style: Path) -> Request:
    """A pan, painted as by default."""
    asked = film(tmp_path_factory.mktemp("pan"), style, of(PAN), "default", PATIENT)
    stylize(asked)
    return asked


@pytest.mark.slow
def test_a_pan_holds_better_than_without_warping(pan_film: Request, tmp_path: Path, style: Path) -> None:
    held = error_of(pan_film, PAN)
    for start, share in (("previous", 0.5), ("content", 0.3)):
        asked = film(tmp_path, style, of(PAN), start, PATIENT, f"start.next={start}")
        stylize(asked)
        assert held < share * error_of(asked, PAN), start


def test_a_start_is_the_frame_before_moved_along_the_flow(tmp_path: Path, style: Path) -> None:
    """One iteration only looks, so that the frame is its start; a flow of whole pixels copies."""
    pan = scenes.pan(SIZE, 2, 3, velocity=(3.0, -2.0))
    folder = write_flows(tmp_path / "flow", pan)
    own = ("iterations={first: 4, next: 1}", "flow.method=files", f"flow.folder={folder}")
    asked = film(tmp_path, style, of(pan), "o", *own)
    stylize(asked)
    before, now = (read(frame.path).astype(int) for frame in records(asked))
    # What is at (x, y) has come from (x - 3, y + 2).
    moved = np.abs(now[8:-10, 11:-8] - before[10:-8, 8:-11])
    assert moved.max() <= 1
    assert np.abs(now - before)[8:-10, 11:-8].mean() > 10


def test_a_flow_of_the_other_sign_is_the_wrong_one(tmp_path: Path, style: Path) -> None:
    pan = scenes.pan(SIZE, 3, 3)
    errors = []
    for name, sign in (("right", 1.0), ("wrong", -1.0)):
        folder = write_flows(tmp_path / f"flow-{name}", pan, sign)
        own = ("flow.method=files", f"flow.folder={folder}", "temporal.weight=0")
        asked = film(tmp_path, style, of(pan), name, *own)
        stylize(asked)
        errors.append(error_of(asked, pan))
    assert errors[1] > 10 * errors[0]


def test_the_temporal_loss_holds_a_film(pan_film: Request, tmp_path: Path, style: Path) -> None:
    errors = {}
    for weight in (0, 1_000_000):
        asked = film(tmp_path, style, of(PAN), f"o{weight}", PATIENT, f"temporal.weight={weight}")
        stylize(asked)
        errors[weight] = error_of(asked, PAN)
    assert error_of(pan_film, PAN) < 0.9 * errors[0]
    assert errors[1_000_000] < 0.9 * error_of(pan_film, PAN)


@pytest.mark.slow
def test_frames_further_back_are_held_to(tmp_path: Path, style: Path, pairs: list[tuple[str, str]]) -> None:
    frames = of(scenes.occluder(SIZE, 6, 3))
    distances = "temporal.distances=[1, 2, 4]"
    one, again = (film(tmp_path, style, frames, name, ONE_SHOT, STEADY, distances) for name in ("one", "again"))
    stylize(one)
    # 5 pairs of neighbours, 4 two apart, 2 four apart; none is estimated twice.
    assert len(pairs) == len(set(pairs)) == 5 + 4 + 2
    stylize(again)
    assert course(one) == course(again)
    nearest = film(tmp_path, style, frames, "nearest", ONE_SHOT, STEADY)
    stylize(nearest)
    assert hashes(nearest)[:2] == hashes(one)[:2], "the first two have no frame that is further back"
    assert hashes(nearest)[2:] != hashes(one)[2:]


# Cuts

DISTANCES = "temporal.distances=[1, 2]"


@pytest.fixture(scope="module")
def cut_film(tmp_path_factory: pytest.TempPathFactory, style: Path) -> Request:
    """Two shots of three frames, painted whole, with the cut found."""
    folder = tmp_path_factory.mktemp("cut")
    asked = film(folder, style, footage(), "whole", DISTANCES)
    stylize(asked)
    assert [frame.shot for frame in records(asked)] == [0, 0, 0, 3, 3, 3]
    return asked


@pytest.mark.parametrize("first", [2, 3])
def test_nothing_crosses_a_cut(cut_film: Request, tmp_path: Path, style: Path, first: int) -> None:
    """The second shot is painted alone, with a frame of the first one before it or without."""
    own = (DISTANCES, "shots.cuts=[3]")
    asked = film(tmp_path, style, footage(), "part", *own, frames=FrameRange(first, None))
    stylize(asked)
    assert [frame.shot for frame in records(asked)][-3:] == [3, 3, 3]
    assert course(asked)[-3:] == course(cut_film)[-3:]
    assert course(cut_film)[3][-1] is None


def test_a_cut_by_hand_is_the_cut_that_was_found(
    cut_film: Request, tmp_path: Path, style: Path, events: list[Event]
) -> None:
    asked = film(tmp_path, style, footage(), "hand", DISTANCES, "shots.cuts=[3, 6, 99]")
    stylize(asked, events.append)
    assert course(asked) == course(cut_film)
    assert "cut 6 lies beyond the last frame, 5" in notices(events)
    assert "cut 99 lies beyond the last frame, 5" in notices(events)
    assert "cut 3" not in notices(events)


def test_a_cut_that_is_to_be_none(cut_film: Request, tmp_path: Path, style: Path, events: list[Event]) -> None:
    asked = film(tmp_path, style, footage(), "none", DISTANCES, ONE_SHOT)
    stylize(asked, events.append)
    assert {frame.shot for frame in records(asked)} == {0}
    assert [event.start for event in of_kind(events, FrameStarted)] == ["content"] + ["warped"] * 5
    assert hashes(asked)[:3] == hashes(cut_film)[:3]
    assert not set(hashes(asked)[3:]) & set(hashes(cut_film)[3:])


def test_a_cut_where_none_is_to_be_seen(tmp_path: Path, style: Path) -> None:
    """By hand alone: others are not looked for, and the first frame is no cut."""
    for cuts, count in (("[0]", 1), ("[0, 1]", 2), ("[1, 2, 3]", 4), ("[]", 2)):
        plan = dry_run(film(tmp_path, style, footage(), "o", f"shots.cuts={cuts}"))
        assert plan.shot_count == count, cuts


@pytest.fixture
def here(tmp_path: Path, style: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder with `style.png` and a sequence of two shots of three frames in `in`."""
    shutil.copy(style, tmp_path / "style.png")
    write_frames(tmp_path / "in", footage())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def command(output: str, *more: str, content: str = "in") -> list[str]:
    return ["stylize", content, "--sequence", "-s", "style.png", "-o", output, *FAST, *more]


@pytest.mark.slow
def test_cuts_of_the_command_line(here: Path) -> None:
    (here / "cuts.txt").write_text("# by hand\n3\n\n", encoding="utf-8")
    said = {
        name: impasto(*command(f"{name}.mp4", "--cuts", value, "--json"))
        for name, value in (
            ("auto", "auto"),
            ("given", "3,77"),
            ("file", "cuts.txt"),
            ("none", "none"),
        )
    }
    assert {result.code for result in said.values()} == {0}, {name: result.err for name, result in said.items()}
    frames = {name: tree(here / f"{name}.mp4.impasto" / "frames") for name in said}
    shots = {
        name: next(record["shot_count"] for record in result.records if record["event"] == "job_started")
        for name, result in said.items()
    }
    assert shots == {"auto": 2, "given": 2, "file": 2, "none": 1}
    assert frames["auto"] == frames["given"] == frames["file"]
    assert frames["none"] != frames["auto"]
    texts = {
        name: [record["text"] for record in result.records if record["event"] == "notice"]
        for name, result in said.items()
    }
    assert [text for text in texts["given"] if "cut 77" in text]
    assert not [text for name in ("auto", "file", "none") for text in texts[name] if "cut" in text]


# Targets


@pytest.fixture(scope="module")
def uneven(tmp_path_factory: pytest.TempPathFactory, style: Path) -> Request:
    """A film, said to be one shot, whose content becomes harder and easier: every rule about targets is used."""
    still, other = of(scenes.still(SIZE, 3, 3)), of(scenes.still(SIZE, 2, 12))
    darker = [frame // 2 + 60 for frame in other]
    frames = [cv2.GaussianBlur(still[0], (0, 0), 1.5), *still, *other, *darker, *[still[0]] * 6]
    own = (ONE_SHOT, "iterations={first: 4, next: 5}")
    asked = film(tmp_path_factory.mktemp("uneven"), style, frames, "o", *own)
    stylize(asked)
    return asked


def test_the_reference_follows_its_rule(uneven: Request) -> None:
    frames = records(uneven)
    assert frames[0].reference is None
    cases = set()
    for before, frame in itertools.pairwise(frames):
        assert before.losses is not None
        reached = before.losses.objective
        if before.reference is None:
            cases.add("first")
            expected = reached
        elif reached < before.reference:
            cases.add("fell")
            expected = reached
        elif before.stop == "target":
            cases.add("kept")
            expected = before.reference
        else:
            assert (before.stop, before.iterations) == ("iterations", 5)
            missed = reached - 1.05 * before.reference
            cases.add("rose" if missed > 0 else "came near")
            expected = before.reference + REFERENCE_RISE * max(missed, 0.0)
        assert frame.reference == pytest.approx(expected, rel=1e-12), frame.index
        assert frame.losses is not None
        assert frame.reference is not None
        if frame.stop == "target":  # On the way to a file the objective changes a little, by rounding.
            assert frame.losses.objective <= 1.05 * frame.reference * 1.001
        else:
            assert (frame.stop, frame.iterations) == ("iterations", 5)
    assert cases >= {"first", "fell", "kept", "rose"}, cases


def copied(asked: Request, folder: Path) -> Request:
    """The same film painted anew, at another place."""
    shutil.copytree(asked.content[0], folder / "in")
    return Request(
        (folder / "in",), asked.styles, folder / asked.output.name, asked.settings, mode=asked.mode, rate=asked.rate
    )


@pytest.mark.parametrize("index", [0, 4, 8])
def test_a_frame_that_went_bad_leaves_the_others_as_they_are(uneven: Request, index: int) -> None:
    before, film_before = course(uneven), uneven.output.read_bytes()
    frames = [frame.path for frame in records(uneven)]
    ages = [path.stat().st_mtime_ns for path in frames]
    flipped(frames[index])
    events: list[Event] = []
    assert stylize(uneven, events.append).painted_count == 1
    assert [event.index for event in of_kind(events, FrameStarted)] == [index]
    assert course(uneven) == before
    assert [path.stat().st_mtime_ns for path in frames if path != frames[index]] == [
        age for place, age in enumerate(ages) if place != index
    ]
    assert uneven.output.read_bytes() == film_before


def test_frames_that_are_gone_come_back(uneven: Request) -> None:
    before = course(uneven)
    for index in (2, 3, 6):
        records(uneven)[index].path.unlink()
    uneven.output.unlink()
    assert resume(uneven.job_folder).painted_count == 3
    assert course(uneven) == before
    no_traces(uneven.job_folder)


@pytest.mark.slow
def test_a_film_with_targets_that_was_killed(uneven: Request, tmp_path: Path) -> None:
    asked = copied(uneven, tmp_path)
    for place in ("done 2", "after-rename 0", "before-rename 1", "done 6"):
        killed_at(asked, place)
    resume(asked.job_folder)
    assert course(asked) == course(uneven)
    assert asked.output.read_bytes() == uneven.output.read_bytes()
    no_traces(tmp_path)


# Several passes


@pytest.fixture(scope="module")
def three_passes(tmp_path_factory: pytest.TempPathFactory, style: Path) -> tuple[Request, list[Event]]:
    """A film of two shots that nobody interrupted, in three passes."""
    seen: list[Event] = []
    asked = film(tmp_path_factory.mktemp("passes"), style, footage(), "o", *THREE_PASSES)
    stylize(asked, seen.append)
    return asked, seen


def test_passes_go_to_and_fro(three_passes: tuple[Request, list[Event]]) -> None:
    asked, seen = three_passes
    order = [(event.index, event.name.rpartition("pass ")[2]) for event in of_kind(seen, FrameStarted)]
    shot = [[0, 1, 2], [2, 1, 0], [0, 1, 2]]
    assert order == [(first + index, f"{n}") for first in (0, 3) for n, part in enumerate(shot, 1) for index in part]
    assert {(event.iterations, event.stop) for event in of_kind(seen, FrameDone)} == {(3, "iterations")}
    (started,), (done,) = of_kind(seen, JobStarted), of_kind(seen, JobDone)
    assert (started.shot_count, started.iterations_left) == (2, 6 * 3 * 3)
    assert (done.frame_count, done.painted_count, done.failed) == (18, 18, ())
    frames = asked.job_folder / "frames"
    names = [f"{index:06d}.png" for index in range(6)]
    assert set(tree(frames)) == {*names, *(f"pass-{n}/{name}" for n in ("01", "02") for name in names)}
    assert len(set(tree(frames).values())) == 18
    with Job.read(asked.job_folder) as job:
        kept = [frame.path for frame in job.frames() if frame.pass_number == 0]
        assert (status_of(job).finished, find_problems(job)) == (True, [])
    assert kept == [frames / name for name in names]
    assert not (asked.job_folder / "frames" / "flow").exists()


def test_the_film_is_the_last_pass(three_passes: tuple[Request, list[Event]]) -> None:
    asked, _ = three_passes
    frames = asked.job_folder / "frames"
    written = [frame.image.astype(int) for frame in video_reader.read_frames(asked.output)]
    assert len(written) == 6
    distances = np.array(
        [
            [np.abs(image - read(frames / folder / f"{index:06d}.png")).mean() for folder in ("pass-01", "pass-02", "")]
            for index, image in enumerate(written)
        ]
    )
    assert np.all(distances[:, 2] < distances[:, 0])
    # Of all frames together: the last two passes may hardly differ in one, and the film is compressed.
    assert distances.sum(0).argmin() == 2


@pytest.mark.slow
def test_passes_that_were_killed(three_passes: tuple[Request, list[Event]], tmp_path: Path, style: Path) -> None:
    """In the first pass, going back, in the last pass of the first shot, and in the second shot."""
    asked, _ = three_passes
    own = film(tmp_path, style, footage(), "o", *THREE_PASSES)
    for place in ("after-rename 1", "before-rename 2", "after-rename 3", "after-rename 6"):
        killed_at(own, place)
    assert (own.job_folder / "frames" / "flow").is_dir()
    result = resume(own.job_folder)
    assert result.failed == ()
    assert course(own) == course(asked)
    assert own.output.read_bytes() == asked.output.read_bytes()
    assert not (own.job_folder / "frames" / "flow").exists()
    no_traces(tmp_path)


@pytest.mark.parametrize("finished", [True, False], ids=["finished", "unfinished"])
@pytest.mark.parametrize("name", ["pass-01/000001.png", "pass-02/000005.png", "000003.png"])
def test_a_draft_that_went_bad(three_passes: tuple[Request, list[Event]], name: str, finished: bool) -> None:
    asked, _ = three_passes
    before, film_before = course(asked), asked.output.read_bytes()
    flipped(asked.job_folder / "frames" / name)
    if not finished:
        asked.output.unlink()
    assert stylize(asked).painted_count == 1
    assert course(asked) == before
    assert asked.output.read_bytes() == film_before
    assert not (asked.job_folder / "frames" / "flow").exists()


def test_passes_to_a_folder(three_passes: tuple[Request, list[Event]], tmp_path: Path, style: Path) -> None:
    """The user gets the last pass; the drafts stay in the job."""
    asked, _ = three_passes
    write_frames(tmp_path / "in", footage())
    own = request(tmp_path / "in", style, tmp_path / "out", mode="sequence", settings=settings(*THREE_PASSES))
    stylize(own)
    assert set(tree(tmp_path / "out")) == {f"f{number}.png" for number in range(1, 7)}
    assert hashes(own) == hashes(asked)


def test_a_blend_of_nothing_keeps_a_frames_own_last_pass(tmp_path: Path, style: Path, weights: EncoderWeights) -> None:
    frames = footage(2)
    own = settings("passes={count: 2, iterations: 3, blend: 0, temporal_from: 3}")
    asked = film(tmp_path, style, frames, "o", "passes={count: 2, iterations: 3, blend: 0, temporal_from: 3}", ONE_SHOT)
    stylize(asked)
    painter = Painter(own, weights, [read(style)], [1.0], torch.device("cpu"))
    for index, content in enumerate(frames):
        first = paint_one(painter, FrameTask(index, content, "content", StopRule(3))).image
        second = paint_one(painter, FrameTask(index, content, "given", StopRule(3), first, warm=True)).image
        draft = asked.job_folder / "frames" / "pass-01" / f"{index:06d}.png"
        np.testing.assert_array_equal(read(draft), first)
        np.testing.assert_array_equal(read(asked.job_folder / "frames" / draft.name), second)


def test_a_blend_takes_the_neighbour_in(tmp_path: Path, style: Path) -> None:
    """Passes that are blended hold better than passes of each frame alone."""
    pan = scenes.pan(SIZE, 3, 3)
    errors = {}
    for blend in (0, 1):
        passes = f"passes={{count: 3, iterations: 3, blend: {blend}, temporal_from: 4}}"
        asked = film(tmp_path, style, of(pan), f"o{blend}", ONE_SHOT, passes)
        stylize(asked)
        errors[blend] = error_of(asked, pan)
    assert errors[1] < 0.8 * errors[0]


def test_photos_take_no_passes(tmp_path: Path, style: Path, pairs: list[tuple[str, str]]) -> None:
    write_frames(tmp_path / "in", footage()[:2])
    plain = request(tmp_path / "in", style, tmp_path / "plain")
    stylize(plain)
    own = settings(*THREE_PASSES, "flow.method=dis", "temporal.weight=9")
    assert stylize(request(tmp_path / "in", style, tmp_path / "out", settings=own)).painted_count == 2
    assert tree(tmp_path / "out") == tree(tmp_path / "plain")
    single = request(tmp_path / "in" / "f1.png", style, tmp_path / "o.png", settings=own)
    assert stylize(single).painted_count == 1
    assert (tmp_path / "o.png").read_bytes() == (tmp_path / "plain" / "f1.png").read_bytes()
    assert pairs == []


def test_a_film_of_one_frame_needs_no_flow(tmp_path: Path, style: Path, pairs: list[tuple[str, str]]) -> None:
    for name, own in (("one", ()), ("passes", THREE_PASSES)):
        asked = film(tmp_path, style, footage()[:1], name, *own)
        assert stylize(asked).failed == ()
    assert pairs == []


# Flow is estimated once

LOOK = "iterations={first: 1, next: 1}"
TO_AND_FRO = (
    "passes={count: 2, iterations: 1, blend: 1, temporal_from: 9}",
    ONE_SHOT,
)


def test_flow_is_estimated_once(tmp_path: Path, style: Path, pairs: list[tuple[str, str]]) -> None:
    frames = of(scenes.pan(SIZE, 10, 3))
    stylize(film(tmp_path, style, frames, "single", LOOK, ONE_SHOT))
    assert len(pairs) == len(set(pairs)) == 9
    pairs.clear()
    # More pairs than are kept in memory.
    asked = film(tmp_path, style, frames, "passes", *TO_AND_FRO)
    listener, stop = stop_after(13)
    with pytest.raises(Interrupted):
        stylize(asked, listener, stop)
    assert (asked.job_folder / "frames" / "flow").is_dir()
    assert stylize(asked).painted_count == 20 - 13
    assert len(pairs) == len(set(pairs)) == 9
    assert not (asked.job_folder / "frames" / "flow").exists()
    pairs.clear()
    stylize(film(tmp_path, style, frames[:3], "previous", LOOK, ONE_SHOT, "start.next=previous", "temporal.weight=0"))
    stylize(film(tmp_path, style, frames[:3], "content", LOOK, ONE_SHOT, "start.next=content"))
    assert pairs == []


def test_flow_that_a_crash_has_cut_short_is_estimated_again(tmp_path: Path, style: Path) -> None:
    frames = of(scenes.pan(SIZE, 3, 3))
    asked, whole = (film(tmp_path, style, frames, name, *TO_AND_FRO) for name in ("o", "whole"))
    stylize(whole)
    listener, stop = stop_after(4)
    with pytest.raises(Interrupted):
        stylize(asked, listener, stop)
    kept = sorted((asked.job_folder / "frames" / "flow").iterdir())
    assert kept
    for path in kept:
        path.write_bytes(path.read_bytes()[:100])
    with Job.read(asked.job_folder) as job:
        assert [problem.partition(":")[0] for problem in find_problems(job)] == ["flow"] * len(kept)
    stylize(asked)
    assert course(asked) == course(whole)


# A video is read backwards


@pytest.mark.slow
def test_a_video_in_passes(tmp_path: Path, style: Path) -> None:
    """Decoded backwards, over more frames than are kept and stopped on the way, it is what it is frame by frame."""
    own = (*TO_AND_FRO, "shots.cuts=[17]")
    clip = write_clip(tmp_path / "in.mp4", of(scenes.pan(SIZE, 19, 3)))
    video = request(clip, style, tmp_path / "video.mp4", settings=settings(*own))
    listener, stop = stop_after(25)
    with pytest.raises(Interrupted):
        stylize(video, listener, stop)
    stylize(video)
    decoded = [frame.image for frame in video_reader.read_frames(clip)]
    assert len(decoded) == 19
    sequence = film(tmp_path, style, decoded, "sequence", *own)
    stylize(sequence)
    assert len(hashes(video)) == 2 * 19
    assert hashes(video) == hashes(sequence)


# Flow from files


@pytest.fixture
def flows(tmp_path: Path) -> Path:
    """Flow for both shots of `footage`, as files, in `flow`."""
    whole = scenes.cut(SIZE, 6, 3)
    folder = tmp_path / "flow"
    folder.mkdir()
    store = FloFolder(folder)
    for later in (1, 2, 4, 5):
        for a, b in ((later, later - 1), (later - 1, later)):
            write_flo(folder / store.expected_name(a, b), whole.flow(a, b))
    return folder


FILES = ("flow.method=files", "flow.folder=flow")


def test_flow_from_files(flows: Path, here: Path, pairs: list[tuple[str, str]], events: list[Event]) -> None:
    assert stylize(film(here, Path("style.png"), (), "o", *FILES), events.append).failed == ()
    assert pairs == []
    assert [event.start for event in of_kind(events, FrameStarted)] == ["content", "warped", "warped"] * 2
    # The way back only sharpens the masks, and may be missing.
    for path in flows.glob("forward_*"):
        path.unlink()
    assert stylize(film(here, Path("style.png"), (), "p", *FILES)).failed == ()


def test_flow_files_are_looked_for_before_the_job_begins(flows: Path, here: Path) -> None:
    saved = (flows / "backward_3_2.flo").read_bytes()
    (flows / "backward_3_2.flo").unlink()
    asked = film(here, Path("style.png"), (), "o", *FILES)
    with pytest.raises(InputError, match=r"backward_3_2\.flo is not in"):
        stylize(asked)
    assert not asked.job_folder.exists()
    (flows / "backward_3_2.flo").write_bytes(saved)
    assert stylize(asked).painted_count == 6


@pytest.mark.parametrize("start", ["content", "matched"])
def test_no_flow_file_is_needed_where_every_frame_starts_cold(flows: Path, here: Path, start: str) -> None:
    for path in flows.iterdir():
        path.unlink()
    asked = film(here, Path("style.png"), (), "o", *FILES, f"start.next={start}")
    assert stylize(asked).painted_count == 6


def test_a_frame_that_breaks_in_a_pass_is_set_aside(flows: Path, here: Path, events: list[Event]) -> None:
    """A frame counts once in each pass."""
    path = flows / "forward_2_3.flo"
    asked = film(here, Path("style.png"), (), "o", *FILES, *THREE_PASSES)

    def damage(event: Event) -> None:
        """Not before the job has begun: then it would be found there."""
        events.append(event)
        if isinstance(event, JobStarted):
            path.write_bytes(path.read_bytes()[:-7])

    with pytest.raises(PartialError, match=r"2 of 18 frames .*forward_2_3\.flo"):
        stylize(asked, damage)
    # The first pass needs no flow, and the second one goes backwards.
    assert [event.index for event in of_kind(events, FrameFailed)] == [1, 1]
    (done,) = of_kind(events, JobDone)
    assert (done.frame_count, done.painted_count, len(done.failed)) == (18, 16, 2)
    assert [frame.index for frame in records(asked) if frame.pass_number == 0 and frame.sha256] == [0, 2, 3, 4, 5]
    # The one after it has no neighbour then, and begins from its own last pass.
    assert [frame.sources for frame in records(asked) if frame.index in (0, 1) and frame.pass_number == -1] == [
        (),
        None,
    ]


def test_a_damaged_flow_file_is_named(flows: Path, here: Path) -> None:
    data = (flows / "backward_2_1.flo").read_bytes()
    (flows / "backward_2_1.flo").write_bytes(data[:-7])
    result = impasto(*command("o.mp4", *(f"--set={own}" for own in FILES)))
    assert result.code == 2, "before anything is painted"
    (line,) = (line for line in result.err.splitlines() if line.startswith("impasto: "))
    assert "backward_2_1.flo" in line
    (flows / "backward_2_1.flo").write_bytes(data)
    assert impasto(*command("o.mp4", *(f"--set={own}" for own in FILES))).code == 0, "and then it can be mended"


def begin(asked: Request, count: int = 2) -> None:
    listener, stop = stop_after(count)
    with pytest.raises(Interrupted):
        stylize(asked, listener, stop)


def test_other_flow_files_are_another_recipe(flows: Path, here: Path) -> None:
    asked = film(here, Path("style.png"), (), "o", *FILES)
    begin(asked)
    saved = (flows / "forward_5_6.flo").read_bytes()
    (flows / "forward_5_6.flo").unlink()
    with pytest.raises(JobMismatchError, match=r"flow\.folder"):
        stylize(asked)
    with pytest.raises(JobMismatchError, match=r"flow\.folder"):
        resume(asked.job_folder)
    (flows / "forward_5_6.flo").write_bytes(saved)
    assert stylize(asked).painted_count == 4


@pytest.mark.slow
def test_the_flow_folder_may_move(flows: Path, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative folder is that of the command, from wherever it is resumed; one moved is given by its new name."""
    whole, asked, moved = (film(here, Path("style.png"), (), name, *FILES) for name in ("w", "o", "m"))
    stylize(whole)
    begin(asked)
    begin(moved)
    (here / "elsewhere").mkdir()
    monkeypatch.chdir(here / "elsewhere")
    assert resume(Path("..") / "o.mp4.impasto").painted_count == 4
    assert list(Path().iterdir()) == []
    monkeypatch.chdir(here)
    flows.rename(here / "flow-moved")
    with pytest.raises(UsageError, match="flow"):
        resume(moved.job_folder)
    again = film(here, Path("style.png"), (), "m", "flow.method=files", "flow.folder=flow-moved")
    assert stylize(again).painted_count == 4
    assert hashes(asked) == hashes(again) == hashes(whole)


# What is refused


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--set", "temporal.distances=[2, 1]"], "temporal.distances = 2, 1"),
        (["--set", "temporal.distances=[1, 1]"], "temporal.distances = 1, 1"),
        (["--set", "temporal.distances=[0]"], "temporal.distances = 0"),
        (["--set", "temporal.distances=[]"], "temporal.distances"),
        (["--set", "temporal.distances=1.5"], "temporal.distances"),
        (["--set", "temporal.weight=-1"], "temporal.weight"),
        (["--set", "shots.cuts=[-1]"], "shots.cuts holds -1"),
        (["--set", "iterations.target=0.9"], "iterations.target"),
        (["--set", "iterations.floor=0"], "iterations.floor"),
        (["--set", "passes.count=0"], "passes.count"),
        (["--set", "start.next=flow"], "start.next"),
        (["--set", "flow.method=farneback"], "flow.method"),
        (["--set", "flow.method=files"], "flow.method = files needs a folder"),
        (["--set", "flow.method=files", "--set", "flow.folder=none-there"], "flow.folder none-there is no folder"),
        (["--cuts", "nonsense"], "cuts 'nonsense' is neither auto nor none"),
        (["--cuts", "-3"], "-3"),
        (["--cuts", "3,x"], "3,x"),
        (["--cuts", ""], "cuts"),
        (["--cuts", "in"], "cuts 'in'"),
        (["--cuts", "style.png"], "style.png"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_settings_that_are_none(here: Path, more: list[str], said: str) -> None:
    refused(2, said, *command("o.mp4", *more))
    assert not (here / "o.mp4.impasto").exists()
