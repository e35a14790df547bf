"""The layers of the package, read from its imports; what is light stays light; errors are all accounted for."""

import ast
import inspect
import itertools
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from impasto import errors

ROOT = Path(__file__).resolve().parent.parent

TABLE = re.findall(
    r"^\| (\d) \| `pipeline/(\w+)\.py` \|", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE
)
"""The rows of the README's table of modules, from above."""

ROWS = {module: int(number) for number, module in TABLE}

WITHOUT_TORCH = (
    "children",
    "errors",
    "events",
    "layers",
    "storage",
    "config",
    "images",
    "media",
    "frame_index",
    "video_reader",
    "decoding",
    "video_writer",
    "codecs",
    "tracks",
    "truncation",
    "dissolves",
    "shots",
    "store",
    "job",
    "content",
)

SOURCES = {path.stem: path for path in sorted((ROOT / "pipeline").glob("*.py"))}
CLI_SOURCES = {path.stem: path for path in sorted((ROOT / "cli").glob("*.py"))}


def imports(path: Path, *, lazy: bool = True) -> Iterator[str]:
    """The modules of `pipeline` and `cli` that a file imports, as `package.module`; `lazy`: also inside functions."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = ast.walk(tree) if lazy else iter(tree.body)
    for node in nodes:
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name} imports relatively"
            assert node.module is not None
            names = [node.module]
            if node.module in ("pipeline", "cli"):
                names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            if name.partition(".")[0] in ("pipeline", "cli", "samples", "tests", "configs"):
                yield name


def test_every_module_has_a_row() -> None:
    assert sorted(SOURCES) == sorted(["__init__", *(module for _, module in TABLE)])
    assert [number for number, _ in TABLE] == sorted(number for number, _ in TABLE)


@pytest.mark.parametrize("module", SOURCES)
def test_modules_import_from_above(module: str) -> None:
    for name in imports(SOURCES[module]):
        package, _, imported = name.partition(".")
        assert package == "pipeline", f"{module} imports {name}"
        assert ROWS[imported.partition(".")[0]] <= ROWS.get(module, 0), (
            f"{module} imports {imported}, which is below it"
        )


def test_settings_are_unpacked_above_the_numerics() -> None:
    """Below, functions take plain numbers and tensors."""
    for module in {module for module, row in ROWS.items() if row <= 4} - {"config"}:
        assert "pipeline.config" not in set(imports(SOURCES[module])), module


def test_there_is_no_circle() -> None:
    graph = {module: {name.split(".")[1] for name in imports(path) if "." in name} for module, path in SOURCES.items()}
    while graph:
        free = [module for module, needed in graph.items() if not needed & set(graph)]
        assert free, f"these import each other: {sorted(graph)}"
        for module in free:
            del graph[module]


def test_the_command_line_knows_the_pipeline_only() -> None:
    for name in itertools.chain.from_iterable(map(imports, CLI_SOURCES.values())):
        assert name.partition(".")[0] in ("pipeline", "cli"), name


def test_the_command_line_imports_heavy_modules_inside_its_commands() -> None:
    for path in CLI_SOURCES.values():
        for name in imports(path, lazy=False):
            if name.startswith("pipeline."):
                assert name.split(".")[1] in ("errors", "events"), f"{path.name} imports {name}"


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
            assert module in ("dissolves", "shots", "flow")


def test_light_modules_import_no_torch() -> None:
    script = """
import importlib, json, sys
found = {}
for name in sys.argv[1:]:
    importlib.import_module(name)
    found[name] = [heavy for heavy in ("torch", "torchvision", "matplotlib", "scenedetect") if heavy in sys.modules]
print(json.dumps(found))
"""
    names = [f"pipeline.{name}" for name in WITHOUT_TORCH]
    done = subprocess.run(
        [sys.executable, "-c", script, "cli.main", "cli.views", "cli.doctor", *names],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout)
    assert {name: heavy for name, heavy in found.items() if heavy} == {}
    assert set(found) >= set(names)


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
    ("store", "sqlite3.connect"): "the store, which SQLite writes: it commits once the file that it tells of is there",
    ("images", "save"): "Pillow, to the temporary name that storage hands out",
    ("report", "savefig"): "matplotlib, to the temporary name that storage hands out",
    ("checkpoint", "save_file"): "safetensors, to the temporary name that storage hands out",
    ("executors", "tempfile.TemporaryFile"): "what a worker says last, which has no name",
    ("video_writer", "tempfile.TemporaryFile"): "what ffmpeg says, which has no name",
    ("video_writer", "tempfile.NamedTemporaryFile"): "what ffmpeg is told, gone with the writer",
    ("decoding", "os.open"): "the device to which nothing is written",
    ("main", "os.open"): "the same, in the place of a terminal that was closed",
    ("decoding", "os.fdopen"): "pipes to a child",
    ("decoding", "write_text"): "a knob of the system, and no file",
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
        (name, call): line
        for name, path in {**SOURCES, **CLI_SOURCES}.items()
        if name != "storage"
        for call, line in writes(path)
    }
    assert {f"{name}:{line} {call}" for (name, call), line in found.items() if (name, call) not in ALLOWED} == set()
    assert set(found) == set(ALLOWED), "what is allowed and not there any more"


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
