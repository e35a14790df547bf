"""A job that was interrupted, however, ends with the same bytes as one that was not.

Children are forked from a server that has torch imported already, so that each costs milliseconds;
they are killed by SIGKILL, from outside or by themselves at an exact place.
"""

import contextlib
import hashlib
import json
import multiprocessing
import os
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from fractions import Fraction
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
import torch

from impasto import storage
from impasto.errors import Interrupted, JobError, JobMismatchError, OutputError, PartialError, StorageError
from impasto.events import Assembling, Event, FrameDone, FrameProgress, FrameStarted, JobStarted, Notice, StopSignal
from impasto.job.cleaning import clean_job, disposable_files
from impasto.job.job import Job
from impasto.job.records import FrameState
from impasto.job.status import status_of
from impasto.job.store import write_copy
from impasto.job.verification import find_problems
from impasto.media import images, video_reader
from impasto.paint.encoder_weights import bundled_path
from impasto.paint.precision import precisions_of
from impasto.plan.recipe import ENGINE
from impasto.plan.request import FrameRange, Request
from impasto.run.job_run import resume, stylize
from impasto.storage import TEMPORARY_MARK
from samples import scenes
from tests.support.seeds import python_stream
from tests.support.trees import tree
from tests.test_run import footage, notices, of_kind, request, settings, write_clip, write_frames

ROOT = Path(__file__).resolve().parent.parent
SERVER = multiprocessing.get_context("forkserver")

# --- children ---


def _kill_self() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _die_at(place: str) -> Callable[[Event], None]:
    """Arranges for this process to be killed at an exact place; the listener is for places that are events."""
    kind, _, number = place.partition(" ")
    count = int(number or 0)
    if kind in ("before-rename", "after-rename"):
        replace, seen = os.replace, [0]

        def replacing(source: Any, target: Any) -> None:
            if Path(target).suffix in (".png", ".mp4", ".jpg") and "plots" not in str(target):
                if seen[0] == count and kind == "before-rename":
                    _kill_self()
                replace(source, target)
                if seen[0] == count:
                    _kill_self()
                seen[0] += 1
            else:
                replace(source, target)

        os.replace = replacing  # type: ignore[assignment]

    def listener(event: Event) -> None:
        if kind == "done" and isinstance(event, FrameDone) and event.index == count:
            _kill_self()
        # Under way: a frame that starts from the one before it may be done after its first iteration.
        if kind == "progress" and isinstance(event, FrameProgress) and event.index == count and event.iteration == 1:
            _kill_self()
        if kind == "assembling" and isinstance(event, Assembling) and event.frames_written == count:
            _kill_self()

    return listener


def _child(values: dict[str, Any], job: Path, place: str, pipe: Connection) -> None:
    torch.set_num_threads(1)
    listener = _die_at(place)
    pipe.send("ready")
    stylize(Request.from_values(values, job), listener)
    pipe.send("ended")


@contextlib.contextmanager
def painting(asked: Request, place: str = "") -> Iterator[tuple[Any, Connection]]:
    """A process that paints, once it is about to begin."""
    ours, theirs = SERVER.Pipe()
    process = SERVER.Process(target=_child, args=(asked.to_values(), asked.job_folder, place, theirs))
    process.start()
    theirs.close()
    try:
        assert ours.recv() == "ready"
        yield process, ours
    finally:
        process.kill()
        process.join()
        ours.close()


def killed_at(asked: Request, place: str) -> None:
    """Begins or goes on with a job in a process that is killed at `place`, and makes sure that it was."""
    with painting(asked, place) as (process, _):
        process.join(120)
        assert process.exitcode == -signal.SIGKILL


def killed_after(asked: Request, seconds: float) -> bool:
    """Kills after a time; whether that was before the end."""
    with painting(asked) as (process, pipe):
        if pipe.poll(seconds):
            with contextlib.suppress(EOFError):
                assert pipe.recv() == "ended"
        process.kill()
        process.join(60)
        return bool(process.exitcode == -signal.SIGKILL)


@pytest.fixture(scope="session", autouse=True)
def _server() -> None:
    SERVER.set_forkserver_preload(["tests.test_resume"])


# --- material ---


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clip, a sequence and photos, with what a run that nobody interrupted made of them."""
    folder = tmp_path_factory.mktemp("material")
    images.write_image(folder / "style.png", scenes.pan((48, 60), 1, 8).frame(0))
    write_clip(folder / "in.mp4", footage())
    write_frames(folder / "in", footage())
    stylize(request(folder / "in.mp4", folder / "style.png", folder / "whole-film" / "out.mp4"))
    stylize(request(folder / "in", folder / "style.png", folder / "whole-sequence" / "out", mode="sequence"))
    stylize(request(folder / "in", folder / "style.png", folder / "whole-photos" / "out"))
    return folder


def film(material: Path, folder: Path, **more: Any) -> Request:
    return request(material / "in.mp4", material / "style.png", folder / "out.mp4", **more)


def no_traces(folder: Path) -> None:
    """Nothing half-made is left: neither in the job's folder nor where the user looks."""
    assert [path for path in folder.rglob("*") if TEMPORARY_MARK in path.name] == []
    assert list(folder.rglob("*-journal")) == []


def same_as_whole(folder: Path, whole: Path) -> None:
    no_traces(folder)
    assert tree(folder) == tree(whole)


# --- kills ---


@pytest.mark.sweep(1)
@pytest.mark.parametrize(
    "place",
    [
        "before-rename 0",
        "after-rename 0",
        "progress 1",
        "after-rename 2",
        "done 5",
        "assembling 3",
        "before-rename 6",
        "after-rename 6",
        "after-rename 7",
    ],
)
def test_a_film_killed_at_a_place(material: Path, tmp_path: Path, place: str) -> None:
    asked = film(material, tmp_path)
    killed_at(asked, place)
    if place == "after-rename 7":  # Six frames, then the film in the job's folder, then under its name.
        assert video_reader.scan(asked.output).frame_count == 6  # The film is there; only the store does not know.
    else:
        assert not asked.output.exists()
    stylize(asked)
    same_as_whole(tmp_path, material / "whole-film")
    assert stylize(asked).painted_count == 0


@pytest.mark.slow
def test_a_film_killed_again_and_again(material: Path, tmp_path: Path) -> None:
    asked = film(material, tmp_path)
    for place in ("done 0", "progress 1", "after-rename 0", "before-rename 0", "done 3", "progress 5", "assembling 1"):
        killed_at(asked, place)
    resume(asked.job_folder)
    same_as_whole(tmp_path, material / "whole-film")


def test_a_film_killed_at_any_time(material: Path, tmp_path: Path) -> None:
    seed = random.randrange(1 << 32)
    chance = python_stream(seed)
    print(f"seed {seed}")
    asked = film(material, tmp_path)
    kills = 0
    for _ in range(6):
        kills += killed_after(asked, chance.uniform(0.05, 1.0))
    stylize(asked)
    same_as_whole(tmp_path, material / "whole-film")
    assert kills >= 1


@pytest.mark.slow
@pytest.mark.skipif("bf16" not in precisions_of(torch.device("cpu")), reason="needs a CPU with units for bf16")
@pytest.mark.parametrize("kind", ["photos", "film"])
def test_a_job_in_bf16_killed_again_and_again(tmp_path: Path, kind: str) -> None:
    """Photos of four sizes in batches, and a film of six shots: with iterations enough for both stages."""
    images.write_image(tmp_path / "style.png", scenes.pan((48, 60), 1, 8).frame(0))
    numbers = [*range(12)]
    if kind == "photos":
        sizes = [(48, 64), (64, 48), (40, 64), (64, 64)]
        for number in numbers:
            size = sizes[number % 4]
            images.write_image(tmp_path / "in" / f"{number}.png", scenes.pan(size, 1, number).frame(0))
    else:
        frames = [scenes.pan((48, 64), 2, number // 2).frame(number % 2) for number in numbers]
        write_clip(tmp_path / "in.mp4", frames)
    cuts = [] if kind == "photos" else numbers[2::2]
    own = settings("precision=bf16", "iterations={first: 60, next: 30, tolerance: 0}", f"shots.cuts={cuts}")
    name = ("in", "out") if kind == "photos" else ("in.mp4", "out.mp4")
    more: dict[str, Any] = {"batch": 3, "mode": "photos"} if kind == "photos" else {"batch": 3}
    whole, killed = (
        request(tmp_path / name[0], tmp_path / "style.png", tmp_path / folder / name[1], settings=own, **more)
        for folder in ("whole", "killed")
    )
    stylize(whole)
    for place in ("before-rename 1", "after-rename 1", "before-rename 2", "after-rename 0", "before-rename 0"):
        killed_at(killed, place)
    resume(killed.job_folder)
    same_as_whole(tmp_path / "killed", tmp_path / "whole")


@pytest.mark.sweep(1)
@pytest.mark.parametrize("place", ["after-rename 1", "before-rename 2", "after-rename 2"])
def test_a_film_killed_while_its_missing_frame_is_put_in(material: Path, tmp_path: Path, place: str) -> None:
    """The renames are those of the frame, of the new film in the job's folder, and of its name."""
    outputs = []
    for folder, kills in (("whole", False), ("killed", True)):
        shutil.copytree(material / "in", tmp_path / folder / "in")
        asked = request(tmp_path / folder / "in", material / "style.png", tmp_path / folder / "out.mp4")
        lost = tmp_path / folder / "in" / "f3.png"
        data = lost.read_bytes()

        def losing(event: Event, lost: Path = lost) -> None:
            if isinstance(event, JobStarted):
                lost.unlink()

        with pytest.raises(PartialError, match="1 of 6"):
            stylize(asked, losing)
        lost.write_bytes(data)
        if kills:
            killed_at(asked, place)
        assert stylize(asked).failed == ()
        with Job.read(asked.job_folder) as job:
            assert status_of(job).finished and find_problems(job) == []
        outputs.append(asked.output.read_bytes())
    assert outputs[0] == outputs[1]
    no_traces(tmp_path)


@pytest.mark.sweep(1)
@pytest.mark.parametrize("place", ["before-rename 1", "after-rename 1", "done 3", "progress 4"])
@pytest.mark.parametrize("mode", ["sequence", "photos"])
def test_a_folder_killed_at_a_place(material: Path, tmp_path: Path, place: str, mode: Any) -> None:
    """Here the frames are written where the user looks, so what is there already has to be told apart."""
    asked = request(material / "in", material / "style.png", tmp_path / "out", mode=mode)
    killed_at(asked, place)
    resume(asked.job_folder)
    no_traces(tmp_path)
    assert tree(tmp_path / "out") == tree(material / f"whole-{mode}" / "out")


@pytest.mark.sweep(1)
@pytest.mark.parametrize("place", ["before-rename 7", "after-rename 7", "after-rename 9"])
def test_photos_killed_while_they_are_compared(material: Path, tmp_path: Path, place: str) -> None:
    """The renames are those of six photos, then for each of a comparison in the job's folder and of its name."""
    asked = request(material / "in", material / "style.png", tmp_path / "out", compare=True)
    killed_at(asked, place)
    with Job.read(asked.job_folder) as job:
        assert find_problems(job) == []
    stylize(asked)
    no_traces(tmp_path)
    comparisons = sorted((tmp_path / "out-compare").iterdir())
    with Job.read(asked.job_folder) as job:
        assert sorted(job.comparisons) == comparisons and len(comparisons) == 6
        assert find_problems(job) == []
        flipped(comparisons[1])
        comparisons[2].unlink()
        assert [problem.partition(":")[0] for problem in find_problems(job)] == ["comparison"] * 2
    with pytest.raises(OutputError, match=r"out-compare.*f2\.png has changed .*move it away"):
        stylize(asked)
    comparisons[1].unlink()
    stylize(asked)
    with Job.read(asked.job_folder) as job:
        assert find_problems(job) == []


def test_a_comparison_that_appeared_is_kept(material: Path, tmp_path: Path) -> None:
    asked = request(material / "in", material / "style.png", tmp_path / "out", compare=True)
    killed_at(asked, "done 3")
    mine = tmp_path / "out-compare" / "f2.png"
    images.write_image(mine, footage()[0])
    data = mine.read_bytes()
    with pytest.raises(OutputError, match=r"f2\.png, for `compare`, has appeared"):
        stylize(asked)
    assert mine.read_bytes() == data
    mine.unlink()
    stylize(asked)
    no_traces(tmp_path)


@pytest.mark.sweep(1)
@pytest.mark.parametrize("name", ["o.png", "o.jpg"])
@pytest.mark.parametrize("place", ["before-rename 0", "after-rename 0", "progress 0"])
def test_an_image_killed_at_a_place(material: Path, tmp_path: Path, place: str, name: str) -> None:
    content, style = material / "in" / "f1.png", material / "style.png"
    stylize(request(content, style, tmp_path / "whole" / name))
    asked = request(content, style, tmp_path / "killed" / name)
    killed_at(asked, place)
    stylize(asked)
    same_as_whole(tmp_path / "killed", tmp_path / "whole")


def test_a_kill_before_anything_was_begun(material: Path, tmp_path: Path) -> None:
    asked = film(material, tmp_path)
    with painting(asked) as (process, _):
        process.kill()
        process.join(60)
    stylize(asked)
    same_as_whole(tmp_path, material / "whole-film")


# --- files that went bad ---


@pytest.fixture
def painted(material: Path, tmp_path: Path) -> Request:
    """A film that is finished."""
    shutil.copytree(material / "whole-film", tmp_path, dirs_exist_ok=True)
    asked = film(material, tmp_path)
    with Job.open(asked.job_folder) as job:
        for key, values in (("recipe", job.recipe), ("invocation", job.invocation)):
            job.store.set_meta({key: json.dumps({**values, "output": str(asked.output)})})
    assert stylize(asked).painted_count == 0
    return asked


def missing(path: Path) -> None:
    path.unlink()


def flipped(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def truncated(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def replaced_by_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.sweep(2)
@pytest.mark.parametrize("damage", [missing, flipped, truncated, emptied])
@pytest.mark.parametrize("finished", [True, False], ids=["finished", "unfinished"])
def test_a_frame_that_went_bad_is_painted_again(
    material: Path, painted: Request, damage: Callable[[Path], None], finished: bool
) -> None:
    frames = painted.job_folder / "frames"
    whole = tree(frames)
    if not finished:
        painted.output.unlink()
    damage(frames / "000001.png")
    ages = {path.name: path.stat().st_mtime_ns for path in frames.iterdir() if path.name != "000001.png"}
    with Job.read(painted.job_folder) as job:
        assert len(find_problems(job)) == 1 + (not finished)
    events: list[Event] = []
    stylize(painted, events.append)
    assert [event.index for event in of_kind(events, FrameStarted)] == [1]
    assert "000001.png" in of_kind(events, Notice)[0].text
    assert tree(frames) == whole
    assert {name: (frames / name).stat().st_mtime_ns for name in ages} == ages
    same_as_whole(painted.output.parent, material / "whole-film")
    with Job.read(painted.job_folder) as job:
        assert find_problems(job) == []
        assert status_of(job).finished


def test_two_frames_in_a_row_that_went_bad(painted: Request) -> None:
    frames = painted.job_folder / "frames"
    whole = tree(frames)
    painted.output.unlink()
    flipped(frames / "000001.png")
    missing(frames / "000002.png")
    assert stylize(painted).painted_count == 2
    assert tree(frames) == whole


def test_a_frame_replaced_by_a_folder_is_one_clear_error(painted: Request) -> None:
    painted.output.unlink()
    replaced_by_a_folder(painted.job_folder / "frames" / "000001.png")
    with pytest.raises((StorageError, PartialError)) as caught:
        stylize(painted)
    assert "000001.png" in str(caught.value)


def test_a_finished_film_that_was_deleted_is_put_together_again(material: Path, painted: Request) -> None:
    painted.output.unlink()
    events: list[Event] = []
    assert stylize(painted, events.append).painted_count == 0
    assert of_kind(events, FrameStarted) == []
    assert storage.hash_file(painted.output) == storage.hash_file(material / "whole-film" / "out.mp4")


def test_a_finished_film_that_was_changed_is_kept(painted: Request) -> None:
    painted.output.write_bytes(b"cut by hand")
    for again in (lambda: stylize(painted), lambda: resume(painted.job_folder)):
        with pytest.raises(OutputError, match="changed"):
            again()
        assert painted.output.read_bytes() == b"cut by hand"


@pytest.mark.sweep(1)
@pytest.mark.parametrize("place", ["done 4", "assembling 3", "before-rename 6"])
def test_a_film_that_appeared_is_kept(material: Path, tmp_path: Path, place: str) -> None:
    asked = film(material, tmp_path)
    killed_at(asked, place)
    asked.output.write_bytes(b"mine")
    with pytest.raises(OutputError, match=r"out\.mp4"):
        stylize(asked)
    assert asked.output.read_bytes() == b"mine"
    asked.output.unlink()
    stylize(asked)
    same_as_whole(tmp_path, material / "whole-film")


def test_a_film_that_was_put_in_the_place_of_one_that_was_moved_is_kept(painted: Request) -> None:
    painted.output.rename(painted.output.with_name("moved.mp4"))
    stop = StopSignal()
    flipped(painted.job_folder / "frames" / "000004.png")
    flipped(painted.job_folder / "frames" / "000005.png")

    def stopping(event: Event) -> None:
        if isinstance(event, FrameDone):
            stop.request()

    with pytest.raises(Interrupted):
        stylize(painted, stopping, stop)
    painted.output.write_bytes(b"mine")
    with pytest.raises(OutputError, match=r"out\.mp4"):
        stylize(painted)
    assert painted.output.read_bytes() == b"mine"


def test_a_photo_that_appeared_is_kept(material: Path, tmp_path: Path) -> None:
    asked = request(material / "in", material / "style.png", tmp_path / "out")
    killed_at(asked, "done 1")
    mine = tmp_path / "out" / "f4.png"
    mine.write_bytes(b"mine")
    with pytest.raises(PartialError, match=r"f4\.png"):
        stylize(asked)
    assert mine.read_bytes() == b"mine"
    mine.unlink()
    stylize(asked)
    assert tree(tmp_path / "out") == tree(material / "whole-photos" / "out")


def test_a_photo_that_was_changed_by_hand_is_kept(material: Path, tmp_path: Path) -> None:
    asked = request(material / "in", material / "style.png", tmp_path / "out")
    stylize(asked)
    mine = tmp_path / "out" / "f4.png"
    mine.write_bytes(b"retouched")
    events: list[Event] = []
    with pytest.raises((PartialError, OutputError), match=r"f4\.png"):
        stylize(asked, events.append)
    assert mine.read_bytes() == b"retouched"
    assert "painted again" not in "".join(event.text for event in of_kind(events, Notice))


# --- what may not change ---


def changed_settings(asked: Request) -> Request:
    return request(asked.content, asked.styles, asked.output, settings=settings("style.weight=7"))


def changed_iterations(asked: Request) -> Request:
    return request(asked.content, asked.styles, asked.output, settings=settings("iterations.next=3"))


def changed_style(asked: Request) -> Request:
    images.write_image(asked.output.parent / "style.png", scenes.pan((48, 60), 1, 99).frame(0))
    return request(asked.content, asked.output.parent / "style.png", asked.output)


def changed_blend(asked: Request) -> Request:
    return request(asked.content, (*asked.styles, *asked.styles), asked.output)


def changed_range(asked: Request) -> Request:
    return request(asked.content, asked.styles, asked.output, frames=FrameRange(0, 5))


def changed_rate(asked: Request) -> Request:
    return request(asked.content, asked.styles, asked.output, rate=Fraction(25))


def changed_frame(asked: Request) -> Request:
    folder = asked.output.parent / "in"
    shutil.copytree(asked.content[0], folder)
    images.write_image(folder / "f3.png", footage()[5])
    return request(folder, asked.styles, asked.output)


def one_frame_less(asked: Request) -> Request:
    folder = asked.output.parent / "in"
    shutil.copytree(asked.content[0], folder)
    (folder / "f6.png").unlink()
    return request(folder, asked.styles, asked.output)


def another_output(asked: Request) -> Request:
    return request(asked.content, asked.styles, asked.output.with_name("other.mp4"), job=asked.job_folder)


@pytest.mark.sweep(1)
@pytest.mark.parametrize(
    ("change", "field"),
    [
        (changed_settings, "settings.style.weight: 100.0 → 7.0"),
        (changed_iterations, "settings.iterations.next: 2 → 3"),
        (changed_style, "styles.1"),
        (changed_blend, "styles.2"),
        (changed_range, "frames: 0: → 0:5"),
        (changed_rate, "rate: None → 25"),
        (changed_frame, "content.files.f3.png"),
        (one_frame_less, "content.files.f6.png"),
        (another_output, "output: "),
    ],
)
def test_what_changed_is_named_and_nothing_is_done(
    material: Path, tmp_path: Path, change: Callable[[Request], Request], field: str
) -> None:
    asked = request(material / "in", material / "style.png", tmp_path / "out.mp4")
    killed_at(asked, "done 2")
    other = change(asked)
    before = tree(tmp_path)
    with pytest.raises(JobMismatchError) as caught:
        stylize(other)
    assert any(field in difference for difference in caught.value.differences)
    assert field.split(":", maxsplit=1)[0] in str(caught.value)
    first = re.split("[.: ]", field)[0]
    assert {re.split("[.: ]", difference)[0] for difference in caught.value.differences} == {first}
    assert tree(tmp_path) == before
    assert stylize(asked).painted_count == 3


@pytest.mark.parametrize("mode", ["sequence", "photos"])
def test_content_in_another_order_is_other_content(material: Path, tmp_path: Path, mode: Any) -> None:
    files = [material / "in" / f"f{number}.png" for number in (1, 2, 3)]
    asked = request(files, material / "style.png", tmp_path / "out", mode=mode)
    killed_at(asked, "done 0")
    with pytest.raises(JobMismatchError, match="content"):
        stylize(request(files[::-1], material / "style.png", tmp_path / "out", mode=mode))
    assert stylize(asked).painted_count == 2


def test_words_and_places_of_inputs_may_change(material: Path, tmp_path: Path) -> None:
    asked = film(material, tmp_path)
    killed_at(asked, "done 2")
    for name in ("in.mp4", "style.png"):
        shutil.copy(material / name, tmp_path / name)
    moved = request(tmp_path / "in.mp4", tmp_path / "style.png", asked.output, settings=settings("description=other"))
    assert stylize(moved).painted_count == 3
    assert storage.hash_file(asked.output) == storage.hash_file(material / "whole-film" / "out.mp4")


@pytest.mark.sweep(1)
@pytest.mark.parametrize("own", ["description=x", "start.first=start.png", "encoder.weights=weights.bin"])
def test_another_current_folder(material: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own: str) -> None:
    """Everything was named from the folder where the command was given; it is resumed from another."""
    for name in ("in.mp4", "style.png"):
        shutil.copy(material / name, tmp_path / name)
    shutil.copy(material / "in" / "f6.png", tmp_path / "start.png")
    shutil.copy(bundled_path(), tmp_path / "weights.bin")
    monkeypatch.chdir(tmp_path)
    asked = request(Path("in.mp4"), Path("style.png"), Path("out.mp4"), settings=settings(own))
    stop = StopSignal()

    def stopping(event: Event) -> None:
        if isinstance(event, FrameDone):
            stop.request()

    with pytest.raises(Interrupted):
        stylize(asked, stopping, stop)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    resume(Path("..") / "out.mp4.impasto")
    assert video_reader.scan(tmp_path / "out.mp4").frame_count == 6
    assert list(Path().iterdir()) == []


def test_a_job_keeps_its_number_of_threads(material: Path, tmp_path: Path) -> None:
    """Sums are split by thread, and the last bits go with them."""
    asked = film(material, tmp_path)
    killed_at(asked, "done 0")
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        # Pictures this small come out alike with any number, so the bits alone would not show it.
        threads: set[int] = set()
        stylize(asked, lambda event: threads.add(torch.get_num_threads()) if isinstance(event, FrameDone) else None)
        assert threads == {1}
        assert torch.get_num_threads() == 2, "the process gets its own number back"
    finally:
        torch.set_num_threads(before)
    same_as_whole(tmp_path, material / "whole-film")


def test_a_job_of_another_version_is_left_alone(material: Path, tmp_path: Path) -> None:
    asked = film(material, tmp_path)
    killed_at(asked, "done 2")
    with closing(sqlite3.connect(asked.job_folder / "job.db")) as connection:
        connection.execute("PRAGMA user_version = 99")
    write_copy(asked.job_folder)
    before = tree(tmp_path)
    for again in (lambda: stylize(asked), lambda: resume(asked.job_folder)):
        with pytest.raises(JobError, match="another version"):
            again()
    assert tree(tmp_path) == before
    stylize(film(material, tmp_path, force=True))
    same_as_whole(tmp_path, material / "whole-film")


def test_a_version_that_paints_otherwise_or_has_other_settings_is_named(material: Path, tmp_path: Path) -> None:
    asked = film(material, tmp_path)
    killed_at(asked, "done 2")
    with Job.open(asked.job_folder) as job:
        recipe, invocation = job.recipe, job.invocation
        recipe["engine"] -= 1
        for settings in (recipe["settings"], invocation["settings"]):
            settings["brush"] = 3
            del settings["style"]["scale"]
        job.store.set_meta({"recipe": json.dumps(recipe), "invocation": json.dumps(invocation)})
    before = tree(tmp_path)
    for again in (lambda: stylize(asked), lambda: resume(asked.job_folder)):
        with pytest.raises(
            JobMismatchError, match=r"another version .*: finish it with that version, .* start over"
        ) as caught:
            again()
        engine, *settings = caught.value.differences
        assert engine == f"engine: {ENGINE - 1} → {ENGINE}"
        assert settings == ["settings.style.scale is new", "there is no settings.brush any more"]
    assert tree(tmp_path) == before


def test_the_job_folder_was_moved(material: Path, tmp_path: Path) -> None:
    asked = film(material, tmp_path)
    killed_at(asked, "done 2")
    asked.job_folder.rename(tmp_path / "moved")
    resume(tmp_path / "moved")
    assert storage.hash_file(asked.output) == storage.hash_file(material / "whole-film" / "out.mp4")
    assert tree(tmp_path / "moved") == tree(material / "whole-film" / "out.mp4.impasto")


# --- stopping ---


def test_a_job_that_was_asked_to_stop(material: Path, tmp_path: Path) -> None:
    asked = film(material, tmp_path)
    for _ in range(3):
        stop = StopSignal()

        def stopping(event: Event, stop: StopSignal = stop) -> None:
            if isinstance(event, FrameProgress):
                stop.request()

        with pytest.raises(Interrupted) as caught:
            stylize(asked, stopping, stop)
        assert str(asked.job_folder) in str(caught.value)
    with Job.read(asked.job_folder) as job:
        assert status_of(job).done_count == 3  # Each time the frame under way was finished.
    resume(asked.job_folder)
    same_as_whole(tmp_path, material / "whole-film")


def test_a_stop_while_the_content_is_read(material: Path, tmp_path: Path) -> None:
    stop = StopSignal()
    stop.request()
    with pytest.raises(Interrupted, match="nothing was begun"):
        stylize(film(material, tmp_path), stop=stop)
    assert list(tmp_path.iterdir()) == []


def test_a_stop_with_the_last_frame_ends_well(material: Path, tmp_path: Path) -> None:
    stop = StopSignal()

    def stopping(event: Event) -> None:
        if isinstance(event, FrameStarted) and event.index == 0:
            stop.request()

    content, style = material / "in" / "f1.png", material / "style.png"
    assert stylize(request(content, style, tmp_path / "o.png"), stopping, stop).painted_count == 1


# --- the command, with real signals ---

LAYERS = ["--set", "style.layers={relu1_1: 1}", "--set", "content.layers={relu2_1: 1}", "--size", "64"]


def command(*arguments: str | Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "impasto", *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(process: "subprocess.Popen[str]", kind: str, index: int | None = None) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        record = json.loads(line)
        if record["event"] == kind and index in (None, record.get("index")):
            return
    raise AssertionError(f"{kind} never came: {process.communicate()[1]}")


@pytest.mark.slow
def test_the_command_is_interrupted_once_and_killed_and_resumed(material: Path, tmp_path: Path) -> None:
    common = [material / "in.mp4", "-s", material / "style.png", *LAYERS, "--json"]
    one, whole = tmp_path / "one" / "out.mp4", tmp_path / "whole" / "out.mp4"
    iterations = ["--iterations", "12,6"]
    process = command("stylize", *common, *iterations, "-o", one)
    wait_for(process, "frame_progress")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert [json.loads(line)["event"] for line in out.splitlines()][-2:] == ["frame_done", "error"]
    assert "Traceback" not in err
    assert "impasto resume" in err
    with Job.read(Path(f"{one}.impasto")) as job:
        assert 1 <= status_of(job).done_count < 6
        assert find_problems(job) == []
    process = command("stylize", *common, *iterations, "-o", one)
    wait_for(process, "frame_done")
    process.kill()
    process.communicate(timeout=60)
    process = command("resume", f"{one}.impasto", "--json")
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    own = settings(
        "precision=auto", "style.layers={relu1_1: 1}", "content.layers={relu2_1: 1}", "iterations={first: 12, next: 6}"
    )
    stylize(request(material / "in.mp4", material / "style.png", whole, settings=own))
    same_as_whole(one.parent, whole.parent)


def test_the_second_signal_stops_at_once(material: Path, tmp_path: Path) -> None:
    asked = ["stylize", material / "in" / "f1.png", "-s", material / "style.png", *LAYERS, "--json"]
    output = tmp_path / "o.png"
    process = command(*asked, "--iterations", "1000000", "-o", output)
    wait_for(process, "frame_progress")
    process.send_signal(signal.SIGINT)
    time.sleep(0.2)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    began = time.monotonic()
    _, err = process.communicate(timeout=60)
    assert time.monotonic() - began < 5
    assert process.returncode == 130
    assert "Traceback" not in err
    assert not output.exists()
    no_traces(tmp_path)
    with Job.read(Path(f"{output}.impasto")) as job:
        assert status_of(job).done_count == 0
        assert status_of(job).owner is None


def test_frames_hash_alike_whoever_paints_them(material: Path, tmp_path: Path) -> None:
    """The forked children and this process paint the same bits; else the comparisons above would prove nothing."""
    asked = film(material, tmp_path)
    with painting(asked) as (process, pipe):
        assert pipe.recv() == "ended"
        process.join(60)
        assert process.exitcode == 0
    whole = material / "whole-film" / "out.mp4.impasto" / "frames"
    assert len(list(whole.iterdir())) == 6
    assert len({hashlib.sha256(path.read_bytes()).hexdigest() for path in whole.iterdir()}) == 6
    assert tree(asked.job_folder / "frames") == tree(whole)


# --- clean ------------------------------------------------------------------------------------------------------------


def test_a_finished_job_is_cleaned_and_stays_finished(tmp_path: Path, style_file: Path) -> None:
    asked = request(write_frames(tmp_path / "in", footage()), style_file, tmp_path / "o.mp4", mode="sequence")
    stylize(asked)
    film = asked.output.read_bytes()
    with Job.read(asked.job_folder) as job:
        assert len([path for path in disposable_files(job) if path.suffix == ".png"]) == len(footage())
    with Job.open(asked.job_folder) as job:
        clean_job(job)
        assert disposable_files(job) == [] and find_problems(job) == [] and status_of(job).finished
    assert not (asked.job_folder / "frames").exists()
    again = stylize(asked)
    assert again.painted_count == 0 and asked.output.read_bytes() == film
    # What is missed after all is painted again, to the same bits.
    asked.output.unlink()
    assert stylize(asked).painted_count == len(footage())
    assert asked.output.read_bytes() == film
    with Job.read(asked.job_folder) as job:
        assert not job.is_cleaned and find_problems(job) == []


def test_a_changed_film_is_still_seen_after_cleaning(tmp_path: Path, style_file: Path) -> None:
    asked = request(write_frames(tmp_path / "in", footage()), style_file, tmp_path / "o.mp4", mode="sequence")
    stylize(asked)
    with Job.open(asked.job_folder) as job:
        clean_job(job)
    asked.output.write_bytes(b"mine")
    with Job.read(asked.job_folder) as job:
        assert len(find_problems(job)) == 1
    with pytest.raises(OutputError, match="has changed since this job wrote it"):
        stylize(asked)
    assert asked.output.read_bytes() == b"mine"


def test_painted_photos_are_never_cleaned_away(tmp_path: Path, style_file: Path) -> None:
    asked = request(write_frames(tmp_path / "in", footage()), style_file, tmp_path / "out")
    stylize(asked)
    before = tree(asked.output)
    with Job.open(asked.job_folder) as job:
        assert disposable_files(job) == []
        clean_job(job)
    assert tree(asked.output) == before
    (asked.output / "f1.png").unlink()
    assert stylize(asked).painted_count == 1 and tree(asked.output) == before


def test_drafts_of_passes_are_cleaned_and_made_again(tmp_path: Path, style_file: Path) -> None:
    several = settings("passes={count: 3, iterations: 2}")
    content = write_frames(tmp_path / "in", footage(4))
    asked = request(content, style_file, tmp_path / "out", mode="sequence", settings=several)
    stylize(asked)
    before = tree(asked.output)
    with Job.open(asked.job_folder) as job:
        assert len(disposable_files(job)) == 8
        clean_job(job)
    assert stylize(asked).painted_count == 0
    (asked.output / "f2.png").unlink()
    stylize(asked)
    assert tree(asked.output) == before


def test_an_unfinished_job_is_not_cleaned(tmp_path: Path, style_file: Path) -> None:
    asked = request(write_frames(tmp_path / "in", footage()), style_file, tmp_path / "o.mp4", mode="sequence")
    stop = StopSignal()
    with pytest.raises(Interrupted):
        stylize(asked, lambda event: stop.request() if isinstance(event, FrameDone) else None, stop)
    with Job.open(asked.job_folder) as job, pytest.raises(JobError, match="is not finished and needs its frames"):
        clean_job(job)
    assert len(list((asked.job_folder / "frames").iterdir())) == 1


@pytest.mark.parametrize("failed", [False, True])
def test_a_finished_job_with_a_frame_to_paint_again_is_not_cleaned(
    tmp_path: Path, style_file: Path, failed: bool
) -> None:
    asked = request(write_frames(tmp_path / "in", footage()), style_file, tmp_path / "o.mp4", mode="sequence")
    stylize(asked)
    film, before = asked.output.read_bytes(), tree(asked.job_folder / "frames")
    (asked.job_folder / "frames" / "000001.png").unlink()

    def on_event(event: Event) -> None:
        if isinstance(event, FrameStarted):
            raise RuntimeError("as if it were killed")

    with pytest.raises(RuntimeError):
        stylize(asked, on_event)
    with Job.open(asked.job_folder) as job:
        assert not status_of(job).finished and len(job.frames(FrameState.PENDING)) == 1
        if failed:
            job.fail_frame(1, "the device has no memory left")
        with pytest.raises(JobError, match="is not finished and needs its frames"):
            clean_job(job)
    assert stylize(asked).painted_count == 1
    assert asked.output.read_bytes() == film and tree(asked.job_folder / "frames") == before
    with Job.open(asked.job_folder) as job:
        clean_job(job)


def test_a_cleaned_job_misses_its_comparison_only_where_it_is_gone(tmp_path: Path, style_file: Path) -> None:
    write_clip(tmp_path / "in.mp4", footage(3))
    asked = request(tmp_path / "in.mp4", style_file, tmp_path / "o.mp4", settings=settings(), compare=True)
    stylize(asked)
    with Job.open(asked.job_folder) as job:
        clean_job(job)
    events: list[Event] = []
    resume(asked.job_folder, events.append)
    assert "cleaned away" not in notices(events)
    (tmp_path / "o-compare.mp4").unlink()
    resume(asked.job_folder, events.append)
    assert "cleaned away" in notices(events)
