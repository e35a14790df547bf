"""Mutants through the real job, and what became of each.

The job runs in a process of its own, as a hostile file may take that down or hang it: `Fuzzer` starts it, gives it one
job after the other and looks at what it leaves. Photos are fed in as folders, one job each, with a whole photo among
them; videos, styles and flow one by one. Nothing is painted: the identity stands in for the optimisation.
"""

import contextlib
import functools
import hashlib
import json
import os
import select
import shutil
import subprocess
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from PIL import Image

from impasto.media.image_file import ANIMATED_SUFFIXES, IMAGE_SUFFIXES, READ_SUFFIXES
from impasto.paint.encoder_weights import load_weights
from tests.support.mutants import Mutant, Seed, in_turn

ROOT = Path(__file__).resolve().parent.parent.parent
HANG_SECONDS = 100.0
"""A job that takes longer hangs; one of a few frames of 64×48 pixels takes one second, a folder of photos some."""

PHOTOS_A_JOB = 24
OUTPUTS = (".mp4", ".mkv", ".mov", ".mp4", ".webm", "", ".mkv", ".gif")
"""What videos are painted to, in turn; the one without an ending is a folder."""


_PHOTO_SUFFIXES = IMAGE_SUFFIXES | READ_SUFFIXES


class Outcome(StrEnum):
    WHOLE = "painted"
    PART = "in part, said"
    REFUSED = "refused"
    # What must not be:
    TRACEBACK = "traceback"
    HANG = "hang"
    CRASH = "crash"
    STRAY = "stray write"
    CHANGED = "input changed"
    UNCLEAR = "unclear"
    """Refused in more than a line or without its name, painted to no file, or not painted to the end."""


FORBIDDEN = (Outcome.TRACEBACK, Outcome.HANG, Outcome.CRASH, Outcome.STRAY, Outcome.CHANGED, Outcome.UNCLEAR)


@dataclass(frozen=True)
class Finding:
    """`said` is what the job told of the mutant: why it was refused, or what was lost. `frames` is how many of a video
    were painted."""

    mutant: Mutant
    outcome: Outcome
    said: str = ""
    frames: int = 0

    @property
    def is_contained(self) -> bool:
        """Whether a decoder failed in a way that nobody foresaw, crashed or hung, which cost this file alone."""
        return any(words in self.said for words in ("its decoder failed", "its decoder crashed", "gave no answer"))

    @property
    def is_short(self) -> bool:
        """Whether frames of the seed are missing and nothing was said of it."""
        seed = self.mutant.seed
        is_film = seed.kind == "video" and self.mutant.suffix not in _PHOTO_SUFFIXES - ANIMATED_SUFFIXES
        return self.outcome is Outcome.WHOLE and is_film and self.frames < seed.frame_count


# --- the process that runs the jobs -----------------------------------------------------------------------------------


def serve() -> None:
    """Runs jobs: a line of JSON each on standard input, and one on standard output for what came of it."""

    from impasto.errors import ImpastoError
    from impasto.events import Event, FrameDone, FrameFailed, Notice
    from impasto.plan.inputs import read_inputs
    from impasto.plan.request import Request
    from impasto.presets import load_settings
    from impasto.run.frame_loop import FrameLoop
    from impasto.run.job_run import JobRun
    from tests.conftest import TINY
    from tests.support.unpainted import unpainted

    # What has nothing to do with the files is done once.
    weights_loader = functools.cache(load_weights)
    without_plots = functools.partial(FrameLoop, plot=lambda *_: None)
    for line in sys.stdin:
        asked = json.loads(line)
        done: dict[str, str] = {}
        failed: dict[str, str] = {}
        notices: list[str] = []

        def listen(
            event: Event,
            done: dict[str, str] = done,
            failed: dict[str, str] = failed,
            notices: list[str] = notices,
        ) -> None:
            if isinstance(event, FrameDone):
                done[event.name] = str(event.path)
            elif isinstance(event, FrameFailed):
                failed[event.name] = event.message
            elif isinstance(event, Notice):
                notices.append(event.text)

        error: list[str] | None = None
        unexpected = ""
        try:
            settings = load_settings("default", (*TINY, "flow.method=dis", *asked["settings"]))
            request = Request(
                (Path(asked["content"]),), (Path(asked["style"]),), Path(asked["output"]), settings, mode=asked["mode"]
            )
            JobRun(
                read_inputs(request),
                listen,
                executor_factory=unpainted,
                weights_loader=weights_loader,
                loop_factory=without_plots,
            ).run()
        except ImpastoError as caught:
            error = [type(caught).__name__, str(caught)]
        except BaseException:
            unexpected = traceback.format_exc()
        answer = {"done": done, "failed": failed, "notices": notices, "error": error, "unexpected": unexpected}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


# --- who feeds it -----------------------------------------------------------------------------------------------------


class _HungError(Exception):
    pass


class _CrashedError(Exception):
    pass


class Fuzzer:
    """Feeds mutants to jobs in `folder`, which belongs to it; a context manager, whose exit ends the process."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        # Whatever a job writes besides its output and its own folder, it most likely writes into one of these.
        self._elsewhere = [folder / name for name in ("current", "home", "temporary")]
        for place in self._elsewhere:
            place.mkdir(parents=True)
        self._inputs = folder / "in"
        self._outputs = folder / "out"
        self._style = folder / "style.png"
        shutil.copy(ROOT / "samples" / "style.png", self._style)
        self._messages = folder / "messages.txt"
        self._messages.touch()
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback_: TracebackType | None
    ) -> None:
        self._end()

    def findings(self, mutants: Sequence[Mutant]) -> list[Finding]:
        """What becomes of each mutant of one kind."""
        if not mutants:
            return []
        if mutants[0].seed.kind == "photo":
            return [finding for batch in in_turn(mutants, PHOTOS_A_JOB) for finding in self._photos(batch)]
        feed = {"video": self._video, "style": self._as_style, "flow": self._as_flow}[mutants[0].seed.kind]
        return [feed(mutant) for mutant in mutants]

    def _photos(self, mutants: Sequence[Mutant]) -> list[Finding]:
        """A folder as one job, but for those whose ending is no photo's."""
        together = [mutant for mutant in mutants if mutant.suffix in _PHOTO_SUFFIXES]
        self._clear()
        for mutant in together:
            (self._inputs / mutant.name).write_bytes(mutant.data)
        whole = self._inputs / "whole.png"
        shutil.copy(self._style, whole)
        found: dict[Mutant, Finding] = {}
        answer, trouble = self._run(self._inputs, self._outputs, "photos")
        if not trouble and answer is not None and str(self._outputs / whole.name) not in answer["done"].values():
            trouble = {"": (Outcome.UNCLEAR, f"the others did not go on: {answer['error']}")}
        for mutant in together:
            if outcome := trouble.get(mutant.name) or trouble.get(""):
                found[mutant] = Finding(mutant, *outcome)
                continue
            assert answer is not None
            if mutant.name in answer["failed"]:
                found[mutant] = self._refused(mutant, answer["failed"][mutant.name], self._outputs / mutant.name)
            elif mutant.name in answer["done"] and Path(answer["done"][mutant.name]).is_file():
                found[mutant] = Finding(mutant, Outcome.WHOLE)
            else:
                found[mutant] = Finding(mutant, Outcome.UNCLEAR, f"neither painted nor refused: {answer['error']}")
        return [found.get(mutant) or self._video(mutant) for mutant in mutants]

    def _video(self, mutant: Mutant) -> Finding:
        self._clear()
        content = self._inputs / mutant.name
        content.write_bytes(mutant.data)
        ending = OUTPUTS[mutant.number % len(OUTPUTS)]
        if mutant.suffix in _PHOTO_SUFFIXES - ANIMATED_SUFFIXES:
            ending = ""
        output = self._outputs / f"o{ending}"
        answer, trouble = self._run(content, output, "auto")
        if trouble:
            return Finding(mutant, *next(iter(trouble.values())))
        assert answer is not None
        if answer["error"] and answer["error"][0] == "OutputError" and "one image" in answer["error"][1]:
            # A film that can no longer be told from an image is one.
            answer, trouble = self._run(content, self._outputs / "again", "auto")
            output = self._outputs / "again"
            if trouble or answer is None:
                return Finding(mutant, *next(iter(trouble.values())))
        return self._result(mutant, answer, output)

    def _as_style(self, mutant: Mutant) -> Finding:
        self._clear()
        style = self._inputs / mutant.name
        style.write_bytes(mutant.data)
        answer, trouble = self._run(self._style, self._outputs / "o.png", "auto", style=style)
        if trouble or answer is None:
            return Finding(mutant, *next(iter(trouble.values())))
        return self._result(mutant, answer, self._outputs / "o.png")

    def _as_flow(self, mutant: Mutant) -> Finding:
        self._clear()
        frames, flow = self._inputs / "frames", self._inputs / "flow"
        frames.mkdir()
        flow.mkdir()
        with Image.open(self._style) as image:
            for index in range(2):
                image.resize((64, 48)).save(frames / f"{index}.png")
        for name in ("backward_2_1.flo", "forward_1_2.flo"):
            (flow / name).write_bytes(mutant.data)
        settings = ["flow.method=files", f"flow.folder={json.dumps(str(flow))}", "shots.detect=false"]
        answer, trouble = self._run(frames, self._outputs / "o", "sequence", settings=settings)
        if trouble or answer is None:
            return Finding(mutant, *next(iter(trouble.values())))
        return self._result(mutant, answer, self._outputs / "o", named="ward_")

    def _result(self, mutant: Mutant, answer: dict[str, Any], output: Path, named: str | None = None) -> Finding:
        error = answer["error"]
        damage = [text for text in answer["notices"] if "is damaged" in text or "as broken in" in text]
        frames = len(answer["done"])
        if error is None:
            if not output.exists():
                return Finding(mutant, Outcome.UNCLEAR, "painted to no file")
            return Finding(mutant, Outcome.PART if damage else Outcome.WHOLE, " ".join(damage), frames)
        kind, message = error
        if kind == "PartialError":
            return Finding(mutant, Outcome.PART, message, frames)
        if frames:
            return Finding(mutant, Outcome.UNCLEAR, f"{frames} frames were painted, and then: {kind}: {message}")
        return self._refused(mutant, message, output, named)

    def _refused(self, mutant: Mutant, message: str, output: Path, named: str | None = None) -> Finding:
        if "\n" in message or (named or mutant.name) not in message or (output.is_file()):
            return Finding(mutant, Outcome.UNCLEAR, message)
        return Finding(mutant, Outcome.REFUSED, message)

    # --- one job ---

    def _clear(self) -> None:
        for folder in (self._inputs, self._outputs):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()

    def _run(
        self, content: Path, output: Path, mode: str, style: Path | None = None, settings: Sequence[str] = ()
    ) -> tuple[dict[str, Any] | None, dict[str, tuple[Outcome, str]]]:
        """What the job answered, and what went wrong that never must: of a file by its name, or of all under ""."""
        asked = {
            "content": str(content),
            "output": str(output),
            "mode": mode,
            "style": str(style or self._style),
            "settings": list(settings),
        }
        before = self._input_hashes()
        told_before = self._messages.stat().st_size
        try:
            answer = self._ask(asked)
        except _HungError:
            return None, {"": (Outcome.HANG, f"no end after {HANG_SECONDS:g} s")}
        except _CrashedError as error:
            return None, {"": (Outcome.CRASH, str(error))}
        if answer["unexpected"]:
            return answer, {"": (Outcome.TRACEBACK, answer["unexpected"])}
        if told := self._messages.read_bytes()[told_before:].decode("utf-8", "replace"):
            return answer, {"": (Outcome.TRACEBACK, f"on stderr: {told}")}
        changed = {name for name, digest in before.items() if self._input_hashes().get(name) != digest}
        if changed:
            return answer, dict.fromkeys((*changed, ""), (Outcome.CHANGED, ", ".join(changed)))
        if stray := self._strays(output):
            return answer, {"": (Outcome.STRAY, ", ".join(stray))}
        return answer, {}

    def _input_hashes(self) -> dict[str, str]:
        paths = [path for path in self._inputs.rglob("*") if path.is_file()]
        return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in [*paths, self._style]}

    def _strays(self, output: Path) -> list[str]:
        """What lies where nothing should, or is left unfinished."""
        found = [path for place in self._elsewhere for path in place.rglob("*")]
        expected = {*self._elsewhere, self._inputs, self._outputs, self._style, self._messages}
        found += [path for path in self._folder.iterdir() if path not in expected]
        if output != self._outputs:
            mine = {output, output.with_name(f"{output.name}.impasto")}
            earlier = {path for path in self._outputs.iterdir() if path.name.startswith("o.")}
            found += [path for path in self._outputs.iterdir() if path not in mine | earlier]
        else:
            found = [path for path in found if path != output.with_name("out.impasto")]
            shutil.rmtree(output.with_name("out.impasto"), ignore_errors=True)
        found += self._outputs.rglob("*partial*")
        return [str(path.relative_to(self._folder)) for path in found]

    # --- the process ---

    def _ask(self, asked: dict[str, Any]) -> dict[str, Any]:
        if self._process is None:
            self._process = self._start()
        process = self._process
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(json.dumps(asked).encode() + b"\n")
        data = b""
        poll = select.poll()
        poll.register(process.stdout, select.POLLIN)
        while not data.endswith(b"\n"):
            if not poll.poll(1000 * HANG_SECONDS):
                self._end()
                raise _HungError
            if not (read := os.read(process.stdout.fileno(), 1 << 20)):
                status = process.wait()
                self._end()
                raise _CrashedError(f"the process ended with status {status}")
            data += read
        answer: dict[str, Any] = json.loads(data)
        return answer

    def _start(self) -> "subprocess.Popen[bytes]":
        current, home, temporary = self._elsewhere
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "HOME": str(home), "TMPDIR": str(temporary)}
        with self._messages.open("ab") as messages:
            return subprocess.Popen(
                [sys.executable, "-c", "from tests.support.fuzzing import serve; serve()"],
                bufsize=0,
                cwd=current,
                env={**environment, "OMP_NUM_THREADS": "1"},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=messages,
            )

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None and process.stdout is not None
        with contextlib.suppress(OSError):
            process.stdin.close()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


def wholes(seeds: Sequence[Seed]) -> list[Mutant]:
    """The seeds as they are: what the mutants are judged by."""
    return [Mutant(place, seed, "whole", seed.suffix, seed.data) for place, seed in enumerate(seeds)]
