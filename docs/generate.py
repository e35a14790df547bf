"""Writes the pages that follow from the code: options.md, settings.md, and the table of modules in architecture.md.

    python docs/generate.py            # writes them
    python docs/generate.py --check    # exit code 1 if any is out of date

impasto has to be installed, as `make` does. The texts come from the help of the command line, the descriptions of the
settings, the presets, and the first sentences of the modules' docstrings.
"""

import ast
import itertools
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import typer

from impasto.cli.main import app
from impasto.presets import PRESET_FOLDER, load_settings, preset_names
from impasto.setting_help import documented_fields
from impasto.settings import Section, Settings

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
FOLDERS = ("cli", "pipeline")
TABLE_START, TABLE_END = "<!-- modules: written by docs/generate.py -->\n", "<!-- end of modules -->\n"
WRITTEN_BY = "<!-- Written by docs/generate.py: change the code and run that. -->\n"


def pages() -> dict[Path, str]:
    """The text of every generated page, by its path."""
    architecture = DOCS / "architecture.md"
    head, _, rest = architecture.read_text(encoding="utf-8").partition(TABLE_START)
    _, _, tail = rest.partition(TABLE_END)
    return {
        DOCS / "options.md": options_page(),
        DOCS / "settings.md": settings_page(),
        architecture: f"{head}{TABLE_START}{module_tables()}{TABLE_END}{tail}",
    }


def options_page() -> str:
    """Every command with its arguments and options."""
    command = typer.main.get_command(app)
    assert isinstance(command, typer.core.TyperGroup)
    context = typer.Context(command, info_name="impasto")
    parts = [
        WRITTEN_BY,
        "# Commands and options\n",
        "`--json` prints one JSON object per line on stdout; texts for people go to stderr. Exit codes: 0 done, "
        "1 failed, 2 wrong usage or input, 3 done in part (what failed is listed), 130 interrupted and resumable.\n",
        "With `impasto --debug COMMAND`, an error shows its traceback; `impasto --version` prints the version.\n",
    ]
    for name in command.list_commands(context):
        parts += _command_section(name, command.get_command(context, name))
    return "\n".join(parts)


def _command_section(name: str, command: typer.core.TyperCommand) -> Iterator[str]:
    usage = " ".join(
        f"[{text}]" if not parameter.required else text
        for parameter in command.params
        if parameter.param_type_name == "argument"
        for text in (f"{parameter.metavar}…" if parameter.nargs == -1 else str(parameter.metavar),)
    )
    yield f"## impasto {name}\n"
    yield f"    impasto {name} {usage}".rstrip() + " [OPTIONS]\n"
    yield f"{_cell(command.help or '')}\n"
    rows = [_parameter_row(parameter) for parameter in command.params if not getattr(parameter, "hidden", False)]
    yield "| | |\n|---|---|\n" + "".join(f"| `{names}` | {text} |\n" for names, text in rows)


def _parameter_row(parameter: typer.core.TyperOption | typer.core.TyperArgument) -> tuple[str, str]:
    text = _cell(getattr(parameter, "help", "") or "")
    if parameter.param_type_name == "argument":
        return str(parameter.metavar), text
    value = "" if parameter.is_flag else f" {parameter.metavar or parameter.type.name.upper()}"
    default = parameter.default
    if not parameter.is_flag and default not in (None, "") and not callable(default) and "default" not in text.lower():
        text += f" Default: {default}."
    if parameter.required:
        text += " Required."
    return (", ".join((*parameter.opts, *parameter.secondary_opts)) + value).replace("|", "\\|"), text


def settings_page() -> str:
    """Every preset, and every setting with its default, allowed values and meaning."""
    rows = [
        WRITTEN_BY,
        "# Settings and presets\n",
        "`--config NAME` takes a preset, or a YAML file that names one as its `base` and changes some settings:\n",
        "```yaml\nbase: default\nstyle: {weight: 300, scale: 0.5}     # stronger, with finer strokes\n"
        "start: {first: noise, seed: 7}\n```\n",
        '`--set style.weight=300` changes a single setting, and `settings={"style.weight": 300}` does so from Python. '
        "An unknown key or a value out of range is refused with what is allowed. `impasto configs NAME` prints a "
        "preset in full, and `impasto configs --keys` the tables of this page.\n",
        "## Presets\n",
        *(_preset_row(name) for name in preset_names()),
    ]
    heading = None
    for key, default, allowed, meaning in documented_fields():
        section = key.rpartition(".")[0]
        if section != heading:
            heading = section
            rows += _settings_heading(section)
        rows.append(f"| `{key}` | {_cell(meaning)} | `{default or ' '}` | {_cell(allowed)} |")
    return "\n".join(rows) + "\n"


def _preset_row(name: str) -> str:
    """What a preset is for, and the comment at the top of its file: what it follows, and where it departs from it."""
    settings = load_settings(name)
    lines = (PRESET_FOLDER / f"{name}.yaml").read_text(encoding="utf-8").splitlines()
    comment = " ".join(
        line.removeprefix("#").strip() for line in itertools.takewhile(lambda line: line[:1] == "#", lines)
    )
    size = f"At most {settings.size} pixels wide or high. " if settings.size else ""
    link = f"[`{name}`](../configs/{name}.yaml)"
    passes, iterations = settings.passes, settings.iterations
    limit = f"{iterations.first} for a photo or the first frame of a shot, {iterations.next} for a later frame"
    if passes.count > 1:
        limit = f"{passes.iterations} in each of {passes.count} passes over a video"
    return (
        f"- **{link}**: {_cell(settings.description)}. {_cell(comment)} {size}Iterations, at most: {limit}. "
        f"Tuned for the {settings.tuned_for} encoder weights."
    )


def _settings_heading(section: str) -> Iterator[str]:
    yield f"\n## {section or 'General'}\n"
    if section:
        model = Settings.model_fields[section].annotation
        assert isinstance(model, type) and issubclass(model, Section)
        yield f"{_cell((model.__doc__ or '').strip())}\n"
    yield "| setting | meaning | default | allowed |\n|---|---|---|---|"


def module_tables() -> str:
    """A table for each package, from its docstring and those of its modules."""
    text = ""
    for package in sorted({path.parent for path in modules()}, key=_package_order):
        name = package.relative_to(ROOT).as_posix()
        text += f"\n### {name}/\n\n{_paragraphs(package / '__init__.py')}\n\n| module | |\n|---|---|\n"
        for path in modules():
            if path.parent == package and path.name != "__init__.py":
                relative = path.relative_to(ROOT).as_posix()
                text += f"| [`{path.name}`](../{relative}) | {_cell(_first_paragraph(path))} |\n"
    return text + "\n"


def modules() -> list[Path]:
    """Every module of the code, sorted."""
    return sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))


def _package_order(package: Path) -> int:
    """The order in which a frame goes through the packages."""
    names = ("pipeline", "media", "shots", "motion", "paint", "job", "plan", "report", "run", "api", "cli")
    return names.index(package.name) if package.name in names else len(names)


def _docstring(path: Path) -> str:
    return ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""


def _first_paragraph(path: Path) -> str:
    return " ".join(_docstring(path).split("\n\n")[0].split())


def _paragraphs(path: Path) -> str:
    """The first two paragraphs of a docstring that are text, as one; of the whole package only the first."""
    texts = [part for part in _docstring(path).split("\n\n") if not part.startswith(("    ", "-", "|"))]
    return _cell(" ".join(" ".join(texts[: 1 if path.parent.name == "pipeline" else 2]).split()))


def _cell(text: str) -> str:
    """Text as a cell of a Markdown table."""
    plain = " ".join(text.replace("[bold]", "`").replace("[/]", "`").split())
    return re.sub(r"<(?=[^`]*(?:`[^`]*`[^`]*)*$)", "&lt;", plain).replace("|", "\\|")


def main() -> int:
    """Writes the pages, or with `--check` reports those that are out of date."""
    stale = {path: text for path, text in pages().items() if not path.exists() or path.read_text("utf-8") != text}
    for path, text in stale.items():
        if "--check" in sys.argv[1:]:
            sys.stderr.write(f"{path.relative_to(ROOT)} is out of date: run python docs/generate.py\n")
        else:
            path.write_text(text, encoding="utf-8")
    return 1 if stale and "--check" in sys.argv[1:] else 0


if __name__ == "__main__":
    raise SystemExit(main())
