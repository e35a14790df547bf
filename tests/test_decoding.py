"""A decoder that hangs, crashes or is left in the middle costs one file, and no child outlives who asked.

Hangs and crashes are real ones: the child is stopped, or killed, by a signal.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from impasto.child_processes import Child
from impasto.errors import InputError, PartialError
from impasto.events import Event, FrameFailed
from impasto.media import decoder_pool, decoder_process, decoding, image_metadata, images, video_reader
from impasto.media.decoder_pool import DecoderPool
from impasto.media.timing import Timing
from impasto.media.video_writer import VideoWriter
from impasto.plan.request import Request
from impasto.run.job_run import stylize
from impasto.settings import Settings
from tests.support.seeds import numpy_stream

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Each test starts its own children and leaves none."""
    pool = decoding._pool
    pool.close()
    yield
    for each in (pool, decoding._pool):
        each.close()
    assert children() == []


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    Image.fromarray(numpy_stream(0).integers(0, 256, (40, 60, 4), dtype=np.uint8)).save(path)
    return path


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 frames, each larger than what a pipe holds."""
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    with VideoWriter(path, (480, 640), Timing.constant(25, 40)) as writer:
        for index in range(40):
            writer.write(np.full((480, 640, 3), 6 * index, np.uint8))
    return path


def children(of: int | None = None) -> list[int]:
    """The processes that decode for a process, by their ids; ended ones that nobody has asked about do not count."""
    found = []
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == (of or os.getpid()) and b"decoder_process" in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
    return found


def child() -> int:
    (pid,) = children()
    return pid


def wait_for(condition: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.02)


def is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


# The same as in this process


def test_photos_are_the_same(photo: Path) -> None:
    np.testing.assert_array_equal(decoding.read_image(photo), images.read_image(photo))
    assert decoding.image_size(photo) == images.image_size(photo) == (40, 60)
    extras, expected = decoding.read_extras(photo), image_metadata.read_extras(photo)
    assert extras.alpha is not None and expected.alpha is not None
    np.testing.assert_array_equal(extras.alpha, expected.alpha)
    assert (extras.exif, extras.xmp, extras.dpi) == (expected.exif, expected.xmp, expected.dpi)


def test_videos_are_the_same(clip: Path) -> None:
    assert decoding.probe(clip) == video_reader.probe(clip)
    seen: list[tuple[int, np.ndarray]] = []
    expected: list[tuple[int, np.ndarray]] = []
    found = decoding.scan(clip, lambda index, image: seen.append((index, image)))
    assert found == video_reader.scan(clip, lambda index, image: expected.append((index, image)))
    assert [index for index, _ in seen] == list(range(40))
    for ours, theirs in zip(seen, expected, strict=True):
        np.testing.assert_array_equal(ours[1], theirs[1])
    for ours_, theirs_ in zip(decoding.read_frames(clip, 7, 12), video_reader.read_frames(clip, 7, 12), strict=True):
        assert (ours_.index, ours_.time) == (theirs_.index, theirs_.time)
        np.testing.assert_array_equal(ours_.image, theirs_.image)
    assert len(children()) == 1, "one child has answered it all"


def test_errors_are_the_same(tmp_path: Path, clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = ["missing.mp4", "text.mp4", "empty.png", "cut.mp4", "a folder", "a\nb.png", "\udcff.png"]
    for name in names[1:-1]:
        Path(name).write_text("text" if "text" in name or "\n" in name else "")
    Path("a folder").unlink()
    Path("a folder").mkdir()
    Path("cut.mp4").write_bytes(clip.read_bytes()[:-3000])
    calls = ("read_image", "image_size", "read_extras", "probe", "scan", "read_frames")
    for path in map(Path, names):
        for call in calls:
            told = []
            for module in (decoding, next(m for m in (images, image_metadata, video_reader) if hasattr(m, call))):
                arguments = [path, lambda *_: None] if call == "scan" else [path]
                with pytest.raises(InputError) as caught:
                    list(getattr(module, call)(*arguments))
                told.append((type(caught.value), str(caught.value)))
            assert told[0] == told[1]
    assert len(children()) == 1, "an error is an answer like any other"


def test_names_are_those_of_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where it has changed since the child was started."""
    for place, name in enumerate(("one", "two")):
        (tmp_path / name).mkdir()
        images.write_image(tmp_path / name / "a.png", np.full((4, 4, 3), place, np.uint8))
        monkeypatch.chdir(tmp_path / name)
        assert decoding.read_image(Path("a.png")).max() == place
    assert len(children()) == 1


def test_what_no_reader_foresaw_is_one_line(photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = decoding._answers("image", "read_image", photo, "an argument too many")
    with pytest.raises(InputError, match=r"^cannot read image .*photo\.png: its decoder failed \(TypeError: .*$"):
        next(answers)
    assert decoding.image_size(photo) == (40, 60)
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    decoding._pool.close()
    decoding.warm_up()
    with pytest.raises(InputError, match=r"no process that decodes could be started \(No such file or directory\)"):
        decoding.image_size(photo)


def test_the_current_folder_is_no_place_to_import_from(tmp_path: Path, photo: Path) -> None:
    for name in ("numpy", "impasto", "queue", "av"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('from the current folder')")
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); from pathlib import Path; from impasto.media import decoding; "
        f"sys.path.insert(0, ''); print(decoding.image_size(Path({str(photo)!r})))"
    )
    done = subprocess.run([sys.executable, "-P", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.stderr) == ("(40, 60)", "")


def test_a_script_without_a_main_guard_is_not_run_again(tmp_path: Path, photo: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        f"import sys; sys.path.append({str(ROOT)!r})\nfrom pathlib import Path\nfrom impasto.media import decoding\n"
        f"print('once', decoding.image_size(Path({str(photo)!r})))\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.stderr) == ("once (40, 60)", "")


# Hangs and crashes


def test_a_decoder_that_hangs_is_ended(photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "_pool", DecoderPool(3.0))
    decoding.image_size(photo)
    stopped = child()
    os.kill(stopped, signal.SIGSTOP)
    began = time.monotonic()
    with pytest.raises(InputError) as caught:
        decoding.read_image(photo)
    assert time.monotonic() - began < 13
    assert str(caught.value) == (
        f"cannot read image {photo}: its decoder gave no answer for 3 s; convert it with another program, "
        "or leave it out"
    )
    assert is_gone(stopped)
    assert decoding.image_size(photo) == (40, 60)


def test_a_decoder_that_stops_in_the_middle_of_a_frame_is_ended(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "_pool", DecoderPool(3.0))
    frames = decoding.read_frames(clip)
    next(frames)
    time.sleep(0.5)  # It is sending the next frame, which is larger than what the socket holds.
    stopped = child()
    os.kill(stopped, signal.SIGSTOP)
    with pytest.raises(InputError, match=r"^cannot read video .*: its decoder gave no answer for 3 s; "):
        list(frames)
    assert is_gone(stopped)


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGKILL, signal.SIGABRT])
def test_a_decoder_that_crashes_costs_one_file(clip: Path, photo: Path, number: signal.Signals) -> None:
    frames = decoding.read_frames(clip)
    next(frames)
    crashed = child()
    os.kill(crashed, number)
    with pytest.raises(InputError, match=rf"^cannot read video .*clip\.mp4: its decoder crashed \({number.name}\); "):
        list(frames)
    assert is_gone(crashed)
    assert decoding.image_size(photo) == (40, 60)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_decoder_leaves_it_to_who_asks_to_stop(clip: Path, number: signal.Signals) -> None:
    frames = decoding.read_frames(clip)
    next(frames)
    os.kill(child(), number)
    assert sum(1 for _ in frames) == 39


def test_a_decoder_that_ends_while_it_waits_costs_nothing(photo: Path) -> None:
    decoding.image_size(photo)
    first = child()
    os.kill(first, signal.SIGKILL)
    wait_for(lambda: is_gone(first), "it is killed")
    assert decoding.image_size(photo) == (40, 60)
    assert child() != first


def test_a_decoder_that_dies_of_the_file_before_costs_nothing(photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    killed: list[int] = []
    always = False

    class DyingPool(DecoderPool):
        def _first_answer(self, decoder: Child, request: decoder_pool.Request) -> tuple[str, Any]:
            if always or (warm and not killed):
                killed.append(decoder.pid)
                os.kill(decoder.pid, signal.SIGSEGV)
            return super()._first_answer(decoder, request)

    monkeypatch.setattr(decoding, "_pool", DyingPool())
    warm = False
    decoding.image_size(photo)
    warm = True
    assert decoding.image_size(photo) == (40, 60)
    assert len(killed) == 1
    always = True
    with pytest.raises(InputError, match=r"crashed \(SIGSEGV\)"):
        decoding.image_size(photo)
    assert len(killed) == 3, "one that was asked before, and a new one, and no more"


def test_what_is_passed_over_is_a_sign_of_life(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long it takes to the first frame asked for."""
    packets: list[None] = []
    frames = video_reader.read_frames(clip, 39, alive=lambda: packets.append(None))
    assert next(frames).index == 39
    assert len(packets) >= 40
    frames.close()
    monkeypatch.setattr(signal, "alarm", lambda seconds: None)
    now, sent = [0.0], list[tuple[str, Any]]()
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    answers = decoder_process.Answers(sent.append, 120, lambda: None)
    for tenth in range(100):
        now[0] = tenth / 10
        answers.alive()
    assert sent == [("alive", None)] * 9, "one a second"


def test_who_asks_may_take_its_time(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A child that waits for its answers to be read does not hang."""
    monkeypatch.setattr(decoding, "_pool", DecoderPool(3.0))
    frames = decoding.read_frames(clip)
    next(frames)
    time.sleep(6.5)
    assert sum(1 for _ in frames) == 39


@pytest.mark.slow
def test_in_a_batch_the_others_go_on(
    tmp_path: Path,
    style_file: Path,
    content_array: np.ndarray,
    tiny_settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The decoder of one photo hangs, that of another crashes."""
    for index in range(4):
        images.write_image(tmp_path / "in" / f"{index}.png", content_array)

    class DisturbedPool(DecoderPool):
        def _first_answer(self, decoder: Child, request: decoder_pool.Request) -> tuple[str, Any]:
            fault = {"1.png": signal.SIGSTOP, "2.png": signal.SIGSEGV}.get(request[2].name)
            if fault is not None and request[0] == "read_image_and_alpha":
                os.kill(decoder.pid, fault)
            return super()._first_answer(decoder, request)

    monkeypatch.setattr(decoding, "_pool", DisturbedPool(5.0))
    events: list[Event] = []
    request = Request((tmp_path / "in",), (style_file,), tmp_path / "out", tiny_settings, device="cpu")
    with pytest.raises(PartialError, match="2 of 4 photos could not be painted"):
        stylize(request, events.append)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["0.png", "3.png"]
    told = {event.name: event.message for event in events if isinstance(event, FrameFailed)}
    assert "gave no answer for 5 s" in told["1.png"] and "crashed (SIGSEGV)" in told["2.png"]
    decoding._pool.close()
    monkeypatch.undo()
    assert stylize(request).painted_count == 2, "later they can be read"


# What is left behind


def test_a_generator_that_is_left_ends_its_child(clip: Path, photo: Path) -> None:
    frames = decoding.read_frames(clip)
    next(frames)
    left = child()
    frames.close()
    assert is_gone(left)
    assert list(frames) == []

    def fail(index: int, image: np.ndarray) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        decoding.scan(clip, fail)
    assert children() == []
    assert decoding.image_size(photo) == (40, 60)


def test_threads_take_a_child_each_and_few_are_kept(clip: Path, photo: Path) -> None:
    expected = images.read_image(photo)
    with ThreadPoolExecutor(4) as pool, contextlib.closing(decoding.read_frames(clip)) as frames:
        next(frames)
        for image in pool.map(decoding.read_image, [photo] * 40):
            np.testing.assert_array_equal(image, expected)
        assert sum(1 for _ in frames) == 39
    assert len(children()) <= decoder_pool.IDLE_MAX


def test_no_descriptors_are_left_open(clip: Path, photo: Path) -> None:
    def descriptors() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    before = descriptors()
    for _ in range(3):
        decoding.read_image(photo)
        decoding.scan(clip, lambda index, image: None)
        with contextlib.closing(decoding.read_frames(clip)) as frames:
            next(frames)
        decoding.image_size(photo)
        decoding._pool.close()
        frames = decoding.read_frames(clip)
        next(frames)
        os.kill(child(), signal.SIGKILL)
        with pytest.raises(InputError):
            list(frames)
    decoding._pool.close()
    assert descriptors() == before


IN_THE_MIDDLE = """
import sys, time
from pathlib import Path
from impasto.media import decoding
frames = decoding.read_frames(Path(sys.argv[1]))
next(frames)
decoding.warm_up()
print("ready", flush=True)
"""


@pytest.fixture
def start(clip: Path) -> Iterator[Callable[..., "subprocess.Popen[str]"]]:
    """Starts a process that has one child in the middle of a video and one that waits."""
    with contextlib.ExitStack() as stack:

        def begin(then: str) -> "subprocess.Popen[str]":
            command = [sys.executable, "-c", IN_THE_MIDDLE + then, str(clip)]
            process = stack.enter_context(
                subprocess.Popen(
                    command,
                    cwd=ROOT,
                    text=True,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    start_new_session=True,
                )
            )
            stack.callback(process.kill)
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            return process

        yield begin


def test_no_child_outlives_a_process_that_is_killed(start: Callable[..., "subprocess.Popen[str]"]) -> None:
    process = start("time.sleep(60)")
    # One that has been forked but has not begun its program is not known as one yet.
    wait_for(lambda: len(children(process.pid)) == 2, "both children run")
    left = children(process.pid)
    process.kill()
    wait_for(lambda: all(map(is_gone, left)), "the children end")


def test_a_child_that_decodes_ends_with_its_parent_too(
    start: Callable[..., "subprocess.Popen[str]"], tmp_path: Path
) -> None:
    """It is at work when the parent goes: one large picture after the other."""
    noise = numpy_stream(0).integers(0, 256, (3000, 3000, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "large.png", compress_level=1)
    process = start(f"while True: decoding.read_extras(Path({str(tmp_path / 'large.png')!r}))")
    left = children(process.pid)
    time.sleep(0.3)
    process.kill()
    wait_for(lambda: all(map(is_gone, left)), "the children end")


@pytest.mark.parametrize("then", ["", "raise SystemExit(3)", "frames.close()", "del frames"])
def test_no_child_outlives_a_process_that_ends(start: Callable[..., "subprocess.Popen[str]"], then: str) -> None:
    process = start(f"sys.stdin.readline()\n{then}\n")
    wait_for(lambda: len(children(process.pid)) == 2, "both children are there")
    left = children(process.pid)
    assert process.communicate("go on\n")[1] == ""
    assert process.returncode == (3 if "3" in then else 0)
    assert all(map(is_gone, left))


def test_ctrl_c_reaches_the_one_who_asks_alone(start: Callable[..., "subprocess.Popen[str]"]) -> None:
    process = start(
        "try:\n    print('now', flush=True)\n    time.sleep(60)\n"
        "except KeyboardInterrupt:\n    print(sum(1 for _ in frames), flush=True)\n"
    )
    assert process.stdout is not None and process.stdout.readline() == "now\n"
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate()
    assert (out, err) == ("39\n", ""), "the child reads on"


def test_a_forked_process_asks_its_own_children(clip: Path, photo: Path) -> None:
    """And does not keep those of its parent alive."""
    code = (
        "import os, sys\nfrom pathlib import Path\nfrom impasto.media import decoding\n"
        "frames, photo = decoding.read_frames(Path(sys.argv[1])), Path(sys.argv[2])\n"
        "next(frames); decoding.image_size(photo)\n"
        "if os.fork() == 0:\n"
        "    print('forked', decoding.image_size(photo), flush=True); sys.exit()\n"
        "os.wait()\n"
        "print(sum(1 for _ in frames), decoding.image_size(photo))\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, clip, photo], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("forked (40, 60)\n39 (40, 60)\n", "")
