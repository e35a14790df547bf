"""What import-linter cannot say: what stays light, what writes to disk, what prints, and the tree of errors.

`make check` holds the order in which packages import; its contracts stand in `pyproject.toml`.
"""

import ast
import inspect
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from impasto import errors

ROOT = Path(__file__).resolve().parent.parent


def sources(folder: str) -> dict[str, Path]:
    """The modules below a folder of the checkout, by their names: `media.images`."""
    return {
        ".".join(path.relative_to(ROOT / folder).with_suffix("").parts): path
        for path in sorted((ROOT / folder).rglob("*.py"))
    }


SOURCES = sources("pipeline")
CLI_SOURCES = {f"cli.{name}": path for name, path in sources("cli").items()}

WITHOUT_TORCH = (
    "",
    "api",
    "child_processes",
    "errors",
    "events",
    "layers",
    "motion.dis",
    "motion.flow_pool",
    "pictures",
    "presets",
    "settings",
    "storage",
    "cli.main",
    *(name for name in SOURCES if name.startswith(("media.", "shots.", "job."))),
)
"""Modules that start at once: what help, `status` and the children that decode files import."""


def imports(path: Path, *, lazy: bool = True) -> Iterator[tuple[int, str]]:
    """The relative imports of a file as (level, name); `lazy`: also those inside functions."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree) if lazy else iter(tree.body):
        if isinstance(node, ast.ImportFrom) and node.level:
            names = [node.module] if node.module else [alias.name for alias in node.names]
            yield from ((node.level, name) for name in names)


@pytest.mark.parametrize("path", [*SOURCES.values(), *CLI_SOURCES.values()], ids=[*SOURCES, *CLI_SOURCES])
def test_the_package_refers_to_itself_relatively(path: Path) -> None:
    """So that it does not depend on the name that it is installed by."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and not node.level:
            assert str(node.module).partition(".")[0] not in ("impasto", "pipeline", "cli", "samples", "tests")
        if isinstance(node, ast.Import):
            for alias in node.names:
                assert alias.name.partition(".")[0] not in ("impasto", "pipeline", "cli", "samples", "tests")


def test_the_words_of_a_setting_are_spelled_once() -> None:
    """Else a word that is added to the setting is lacking where the setting leads."""
    places: dict[str, list[str]] = {}
    for name, path in SOURCES.items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Subscript) and ast.unparse(node.value) == "Literal":
                places.setdefault(ast.unparse(node.slice), []).append(name)
    ours = {words: found for words, found in places.items() if {"choices", "settings"} & set(found)}
    assert ours and all(len(found) == 1 for found in ours.values()), ours


LIGHT = ("errors", "events", "out_of_memory", "__version__")
"""What costs no torch."""


def test_the_command_line_imports_heavy_modules_inside_its_commands() -> None:
    for name, path in CLI_SOURCES.items():
        for level, imported in imports(path, lazy=False):
            if level == 2:
                assert imported.partition(".")[0] in LIGHT, f"{name} imports {imported}"


@pytest.mark.parametrize("module", SOURCES)
def test_the_pipeline_never_prints(module: str) -> None:
    tree = ast.parse(SOURCES[module].read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            assert node.id not in ("print", "input"), f"{module}:{node.lineno}"
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "sys":
            assert node.attr not in ("stdout", "stderr", "stdin", "exit"), f"{module}:{node.lineno}"
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = {alias.name.partition(".")[0] for alias in node.names}
            assert not names & {"typer", "rich", "logging"}, f"{module}:{node.lineno}"


def test_opencv_takes_its_own_channel_order_in_few_modules_only() -> None:
    """OpenCV's BGR never leaves the function that calls OpenCV."""
    for module, path in SOURCES.items():
        if "cv2" in path.read_text(encoding="utf-8"):
            assert module.startswith(("shots.", "motion.")), module


def test_light_modules_import_no_torch() -> None:
    script = """
import importlib, json, sys
found = {}
for name in sys.argv[1:]:
    importlib.import_module(name)
    found[name] = [heavy for heavy in ("torch", "torchvision", "matplotlib", "scenedetect") if heavy in sys.modules]
print(json.dumps(found))
"""
    names = [f"impasto.{name}".rstrip(".") for name in WITHOUT_TORCH]
    done = subprocess.run(
        [sys.executable, "-c", script, *names],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout)
    assert {name: heavy for name, heavy in found.items() if heavy} == {}
    assert set(found) == set(names)


# The way to disk

WRITES = {
    "os": {"open", "replace", "rename", "renames", "unlink", "remove", "rmdir", "removedirs", "mkdir", "makedirs"}
    | {"link", "symlink", "truncate", "fdopen", "mkfifo", "chmod"},
    "shutil": {"copy", "copy2", "copyfile", "copytree", "copyfileobj", "move", "rmtree", "make_archive"},
    "tempfile": None,
    "np": {"save", "savez", "savez_compressed", "savetxt", "memmap"},
    "torch": {"save"},
    "cv2": {"imwrite", "VideoWriter"},
    "sqlite3": {"connect"},
}
"""Functions that change what is on a disk, by the module that has them; None: all of it."""

WRITING_METHODS = {"write_text", "write_bytes", "unlink", "rename", "rmdir", "mkdir", "touch", "symlink_to"} | {
    *("hardlink_to", "save", "savefig", "tofile", "imsave", "to_csv", "open_writer", "mkdtemp", "mkstemp", "save_file")
}
"""Methods that do, whatever they belong to; `replace` is that of texts far more often than that of paths."""

ALLOWED = {
    ("job", "sqlite3.connect"): "the store, which SQLite writes: it commits once the file of the frame is there",
    ("media", "save"): "Pillow, to the temporary name that storage hands out",
    ("report", "savefig"): "matplotlib, to the temporary name that storage hands out",
    ("paint", "save"): "a checkpoint's own method, which writes by way of storage",
    ("paint", "save_file"): "safetensors, to the temporary name that storage hands out",
    ("child_processes", "tempfile.TemporaryFile"): "the last messages of a child, in a file without a name",
    ("run", "tempfile.TemporaryDirectory"): "the copy of this package for a cluster, removed once it is sent",
    ("run", "shutil.copytree"): "the same",
    ("media", "open"): "a header of MP4 or MOV, to the temporary name that storage hands out",
    ("media", "shutil.copyfileobj"): "the frames behind it, the same",
    ("media", "tempfile.TemporaryFile"): "the messages of ffmpeg, in a file without a name",
    ("media", "tempfile.NamedTemporaryFile"): "what ffmpeg is told, removed with the writer",
    ("cli", "os.open"): "the null device, in the place of a standard stream that is closed or full",
    ("cli", "open"): "the same, as a text stream",
    ("media", "write_text"): "a setting of the operating system under /proc",
}
"""Direct writes outside of `storage`, and why they are none of files that stay."""


def writes(path: Path) -> Iterator[tuple[str, int]]:
    """Each call in a file that may change what is on a disk, and its line."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module in WRITES:
            names = WRITES[node.module]
            yield from (
                (f"{node.module}.{alias.name}", node.lineno) for alias in node.names if alias.name in (names or ())
            )
        if not isinstance(node, ast.Call):
            continue
        called = node.func
        mode = next((word.value for word in node.keywords if word.arg == "mode"), None)
        if isinstance(called, ast.Name) and called.id == "open":
            mode = node.args[1] if len(node.args) > 1 else mode
            if mode is not None and not (isinstance(mode, ast.Constant) and set(mode.value) <= set("rbt")):
                yield "open", node.lineno
        elif isinstance(called, ast.Attribute):
            owner = called.value.id if isinstance(called.value, ast.Name) else ""
            if owner in WRITES:
                names = WRITES[owner]
                if names is None or called.attr in names:
                    yield f"{owner}.{called.attr}", node.lineno
            elif called.attr == "open":
                first = node.args[0] if node.args else mode
                if (
                    isinstance(first, ast.Constant)
                    and set(str(first.value)) & set("wax+")
                    and len(str(first.value)) < 4
                ):
                    yield "open", node.lineno
            elif called.attr in WRITING_METHODS and owner != "storage":
                yield called.attr, node.lineno


def test_all_that_is_written_goes_through_storage() -> None:
    found = {
        (name.partition(".")[0], call): f"{path.relative_to(ROOT)}:{line}"
        for name, path in {**SOURCES, **CLI_SOURCES}.items()
        if name != "storage"
        for call, line in writes(path)
    }
    assert {place: key for key, place in found.items() if key not in ALLOWED} == {}
    assert set(found) == set(ALLOWED), "allowed, and not there any more"


@pytest.mark.parametrize(
    "line",
    [
        "open(path, 'w')",
        "open(path, mode='ab')",
        "open(path, mode)",
        "path.open('wb')",
        "path.write_text('x')",
        "Path(x).unlink()",
        "os.replace(a, b)",
        "from os import rename",
        "shutil.rmtree(folder)",
        "Image.fromarray(x).save(path)",
        "cv2.imwrite(name, image)",
        "np.save(path, x)",
        "torch.save(x, path)",
        "tempfile.mkdtemp()",
    ],
)
def test_direct_writes_are_found(tmp_path: Path, line: str) -> None:
    (tmp_path / "x.py").write_text(f"{line}\n")
    assert len(list(writes(tmp_path / "x.py"))) == 1


@pytest.mark.parametrize("line", ["open(path)", "open(path, 'rb')", "path.open('rb')", "text.replace(a, b)"])
def test_what_only_reads_is_no_write(tmp_path: Path, line: str) -> None:
    (tmp_path / "x.py").write_text(f"{line}\n")
    assert list(writes(tmp_path / "x.py")) == []


# Errors


def every_error() -> list[type[errors.ImpastoError]]:
    return [kind for kind in vars(errors).values() if inspect.isclass(kind) and issubclass(kind, errors.ImpastoError)]


def drawn() -> dict[str, tuple[str, int | None]]:
    """Name → (parent, exit code) in the tree of the docstring."""
    assert errors.__doc__ is not None
    result: dict[str, tuple[str, int | None]] = {}
    parents: list[str] = []
    for line in errors.__doc__.splitlines():
        bare = line.lstrip(" │├└─")
        name = bare.partition(" ")[0]
        if not (name.endswith("Error") or name == "Interrupted"):
            continue
        depth = (len(line) - len(bare)) // 4 - 1
        numbers = [int(word) for word in bare.split()[1:] if word.isdigit()]
        parents[depth:] = [name]
        result[name] = (parents[depth - 1] if depth else "Exception", numbers[0] if numbers else None)
    return result


def test_every_error_is_drawn_with_its_parent_and_exit_code() -> None:
    tree = drawn()
    assert set(tree) == {kind.__name__ for kind in every_error()}
    for kind in every_error():
        parent, code = tree[kind.__name__]
        assert kind.__bases__[0].__name__ == parent, kind.__name__
        assert kind.exit_code == code, kind.__name__


def test_exit_codes_are_those_of_the_contract() -> None:
    assert {kind.exit_code for kind in every_error()} == {1, 2, 3, 130}
    assert {kind.__name__ for kind in every_error() if kind.exit_code == 3} == {"PartialError"}
    assert {kind.__name__ for kind in every_error() if kind.exit_code == 130} == {"Interrupted"}
    for kind in every_error():
        assert (kind.exit_code == 2) == issubclass(kind, errors.UsageError)
        assert kind.__doc__


def test_every_error_is_raised_somewhere() -> None:
    sources = "".join(path.read_text(encoding="utf-8") for path in (*SOURCES.values(), *CLI_SOURCES.values()))
    for kind in every_error():
        if kind not in (errors.ImpastoError, errors.UsageError):
            assert sources.count(f"{kind.__name__}(") >= 2, f"{kind.__name__} is drawn and never raised"
