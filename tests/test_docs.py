"""README and docs/: links resolve, generated pages are up to date, recipes and examples run, commands parse."""

import dataclasses
import re
import shlex
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import imageio_ffmpeg
import pytest
from PIL import Image
from typer.testing import CliRunner

from docs import generate
from impasto.cli.engine import Engine
from impasto.cli.main import app
from impasto.cli.session import CommandState
from impasto.errors import DeviceError
from impasto.events import JobDone, Listener, StopSignal
from impasto.plan.request import Request
from impasto.presets import parse_settings, to_values
from impasto.run.dry_run import DryRun
from tests.conftest import ROOT, SAMPLES

PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
README = (ROOT / "README.md").read_text(encoding="utf-8")


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", text_of(page), flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def blocks(text: str, language: str) -> list[str]:
    """The fenced blocks of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def commands(text: str) -> Iterator[list[str]]:
    """The arguments of every `impasto` command in lines of shell."""
    for line in text.splitlines():
        if line.startswith("impasto "):
            yield shlex.split(line, comments=True)[1:]


# Pages


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files_and_headings_that_exist(page: Path) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", text_of(page))
    for link in links:
        if link.startswith("https://"):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), f"{page.name} links to {link}, which does not exist"
        assert not anchor or anchor in anchors(target), f"{page.name} links to {link}: no such heading"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_named_in_prose_exist(page: Path) -> None:
    for name in re.findall(r"`((?:pipeline|cli|configs|samples|tests|docs)/[\w/.]*\w)`", text_of(page)):
        assert (ROOT / name).exists(), f"{page.name} names {name}, which does not exist"


def test_every_page_can_be_reached_from_the_readme() -> None:
    for page in PAGES[1:]:
        assert f"(docs/{page.name}" in README


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) < 200


def test_generated_pages_are_up_to_date() -> None:
    for page, text in generate.pages().items():
        assert text_of(page) == text, f"{page.name} is out of date: run python docs/generate.py"


def test_the_architecture_names_every_module_and_no_other() -> None:
    listed = re.findall(
        r"^\| \[`\w+\.py`\]\(\.\./([\w/]+\.py)\)", text_of(ROOT / "docs" / "architecture.md"), re.MULTILINE
    )
    existing = [path for folder in ("pipeline", "cli") for path in (ROOT / folder).rglob("*.py")]
    expected = [path.relative_to(ROOT).as_posix() for path in existing if path.name != "__init__.py"]
    assert sorted(listed) == sorted(expected)


def test_the_architecture_has_every_package_and_no_other() -> None:
    text = text_of(ROOT / "docs" / "architecture.md")
    headed = re.findall(r"^### ([\w/]+)/$", text, re.MULTILINE)
    packages = {path.parent for folder in ("pipeline", "cli") for path in (ROOT / folder).rglob("__init__.py")}
    assert sorted(headed) == sorted(path.relative_to(ROOT).as_posix() for path in packages)
    contract = text.split("| package | what goes in |")[1].split("\n\n")[0]
    rows = re.findall(r"^\| `(\w+)` \|", contract, re.MULTILINE)
    assert sorted(rows) == sorted(path.name for path in packages if path.name != "pipeline")


def test_the_architecture_has_the_order_of_imports_that_import_linter_checks() -> None:
    text = text_of(ROOT / "docs" / "architecture.md")
    shown = re.search(r"^    (errors <.*?)\n\n", text, re.DOTALL | re.MULTILINE)
    assert shown is not None
    order = [set(re.findall(r"\w+", part)) for part in shown[1].split("<")]
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    layers = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    assert order == [set(re.findall(r"\w+", layer)) for layer in reversed(layers)]


# Recipes and examples


@pytest.fixture
def reader_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with the files that the README speaks of, small."""
    for name, source, size in (
        ("photo.jpg", "landscape.jpg", (64, 48)),
        ("painting.jpg", "style.png", (64, 52)),
        ("waves.jpg", "style.png", (48, 40)),
        ("holiday/a.jpg", "landscape.jpg", (48, 32)),
        ("holiday/lake/b.png", "landscape.jpg", (48, 32)),
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.open(SAMPLES / source).convert("RGB").resize(size).save(path)
    cut = ["-i", str(SAMPLES / "clip.mp4"), "-t", "0.15", "-vf", "scale=64:-2"]
    for name in ("clip.mp4", "film.mp4"):
        program = imageio_ffmpeg.get_ffmpeg_exe()
        subprocess.run([program, "-nostdin", "-v", "error", *cut, str(tmp_path / name)], check=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


class SmallEngine(Engine):
    """Paints what is asked for with few layers and iterations."""

    def stylize(self, request: Request, listener: Listener, stop: StopSignal) -> JobDone:
        return super().stylize(self._small(request), listener, stop)

    def dry_run(self, request: Request, listener: Listener) -> DryRun:
        return super().dry_run(self._small(request), listener)

    def _small(self, request: Request) -> Request:
        values = to_values(request.settings)
        values["content"]["layers"] = {"relu2_1": 1.0}
        values["style"]["layers"] = {"relu1_1": 1.0, "relu2_1": 1.0}
        values["iterations"] |= {"first": 4, "next": 2}
        return dataclasses.replace(request, settings=parse_settings(values))


class ParsingEngine(Engine):
    """Takes requests and paints nothing."""

    def __init__(self) -> None:
        self.requests: list[Request] = []

    def stylize(self, request: Request, listener: Listener, stop: StopSignal) -> JobDone:
        self.requests.append(request)
        raise DeviceError("nothing is painted here")


def test_the_recipes_of_the_readme_run(reader_folder: Path) -> None:
    state = CommandState(engine=SmallEngine())
    for recipe in blocks(README, "sh"):
        for arguments in commands(recipe):
            result = CliRunner().invoke(app, arguments, obj=state)
            assert result.exit_code == 0, f"impasto {shlex.join(arguments)}: {result.output}"
    made = {
        "small.png",
        "painted/a.jpg",
        "painted/lake/b.png",
        "painted.mp4",
        "painted-compare.mp4",
        "film-painted.mp4",
    }
    assert made <= {path.relative_to(reader_folder).as_posix() for path in reader_folder.rglob("*")}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_that_need_other_machines_parse(page: Path, reader_folder: Path) -> None:
    for arguments in commands("".join(blocks(text_of(page), ""))):
        engine = ParsingEngine()
        result = CliRunner().invoke(app, arguments, obj=CommandState(engine=engine))
        assert len(engine.requests) == 1, f"impasto {shlex.join(arguments)}: {result.output}"


@pytest.mark.slow
def test_the_python_examples_of_the_readme_run(reader_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for example in blocks(README, "python"):
        exec(compile(example, "README.md", "exec"), {})
    shown = capsys.readouterr().out
    assert "(48, 64, 3)" in shown
    assert "python.mp4 True []" in shown
    assert (reader_folder / "python.mp4").is_file()
