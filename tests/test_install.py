"""What an installation puts where, tried as a user has it: from a wheel, beside files with names like ours."""

import os
import site
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import numpy as np
import pytest

from impasto import __version__
from impasto.media.images import read_image, write_image
from tests.conftest import ROOT

pytestmark = pytest.mark.slow

HOSTILE = "raise SystemExit('the wrong module was imported')\n"
"""What a file of the user's does that has the name of one of our folders."""


def run(*command: str | Path, folder: Path) -> str:
    """Runs a command in a folder without anything of this checkout on its path; returns what it printed."""
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTHONHOME")}
    done = subprocess.run(
        list(map(str, command)), check=False, cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, source = tmp_path_factory.mktemp("wheel"), tmp_path_factory.mktemp("source")
    # A copy, as building leaves files behind.
    for name in ("pipeline", "cli", "configs", "pyproject.toml", "README.md", "LICENSE"):
        run("cp", "-r", ROOT / name, source / name, folder=source)
    options = ("--no-deps", "--no-build-isolation", "--disable-pip-version-check", "--quiet")
    run(sys.executable, "-m", "pip", "wheel", *options, "--wheel-dir", folder, source, folder=source)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of programs of a new environment: the wheel, and the packages of this environment beside it."""
    home = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "venv", "--without-pip", home, folder=home)
    programs = home / ("Scripts" if os.name == "nt" else "bin")
    options = ("--no-deps", "--no-index", "--disable-pip-version-check", "--quiet")
    run(sys.executable, "-m", "pip", "--python", programs / "python", "install", *options, wheel, folder=home)
    packages = Path(sysconfig.get_path("purelib", vars={"base": str(home)}))
    # Folders that a .pth file names are searched, but their own .pth files are not read: no editable impasto.
    shared = [*site.getsitepackages(), sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
    (packages / "shared.pth").write_text("\n".join(dict.fromkeys(shared)) + "\n")
    return programs


@pytest.fixture
def beside(tmp_path: Path, content_array: np.ndarray, style_array: np.ndarray) -> Path:
    """A folder with two pictures, and modules of the user's that are called like our folders."""
    for name in ("pipeline.py", "cli.py", "samples.py"):
        (tmp_path / name).write_text(HOSTILE)
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "__init__.py").write_text(HOSTILE)
    write_image(tmp_path / "content.png", content_array)
    write_image(tmp_path / "style.png", style_array)
    return tmp_path


def test_a_wheel_holds_one_package(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert {name.partition("/")[0] for name in names} == {"impasto", f"impasto-{__version__}.dist-info"}
    inside = {name for name in names if name.startswith("impasto/")}
    here = {
        f"impasto/{path.relative_to(ROOT / folder if folder == 'pipeline' else ROOT).as_posix()}"
        for folder in ("pipeline", "cli", "configs")
        for path in (ROOT / folder).rglob("*")
        if path.suffix in (".py", ".yaml", ".typed")
    }
    assert inside == here


def test_commands_work_beside_hostile_modules(installed: Path, beside: Path) -> None:
    assert run(installed / "impasto", "--version", folder=beside) == f"impasto {__version__}\n"
    assert run(installed / "python", "-m", "impasto", "--version", folder=beside) == f"impasto {__version__}\n"
    assert "gatys2016" in run(installed / "impasto", "configs", folder=beside)
    for executor in ("inline", "processes"):
        run(
            *(installed / "impasto", "stylize", "content.png", "--style", "style.png", "--output", f"{executor}.png"),
            *("--iterations", "2", "--executor", executor),
            folder=beside,
        )
    assert np.array_equal(read_image(beside / "inline.png"), read_image(beside / "processes.png"))


def test_a_script_beside_hostile_modules_paints(installed: Path, beside: Path) -> None:
    (beside / "job.py").write_text(
        "import impasto\n"
        "from PIL import Image\n"
        "picture = impasto.stylize_image('content.png', 'style.png', settings={'iterations.first': 2})\n"
        "Image.fromarray(picture).save('painted.png')\n"
        "print(impasto.__file__)\n"
    )
    where = run(installed / "python", "job.py", folder=beside).strip()
    assert Path(where).is_relative_to(installed.parent)
    assert read_image(beside / "painted.png").shape == read_image(beside / "content.png").shape
