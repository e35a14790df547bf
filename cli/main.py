"""The `impasto` command: the typer application with all its commands."""

import dataclasses
import re
import sys
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperCommand

from .. import __version__
from ..errors import UsageError
from .configs import configs
from .doctor import doctor
from .jobs import clean, status, verify
from .measure import measure
from .session import CommandState, session, state_of
from .streams import StdoutError, install_streams, silence_stdout, stdout_problem
from .stylize import resume, stylize

app = typer.Typer(
    name="impasto",
    help="Paint photos and videos in the style of a picture, by optimising pixels against VGG-19.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode="rich",
)


def _show_version(value: bool) -> None:
    if value:
        sys.stdout.write(f"impasto {__version__}\n")
        raise typer.Exit


@app.callback()
def options(
    context: typer.Context,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Paint photos and videos in the style of a picture, by optimising pixels against VGG-19.

    For a start:  [bold]impasto stylize photo.jpg --style painting.jpg --output painted.png[/]
    """
    del version
    context.obj = dataclasses.replace(state_of(context), debug=debug)


class _Command(TyperCommand):
    """A command that refuses empty arguments: as a path, one would be the current folder."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        for before, argument in zip(("", *args), args, strict=False):
            if not argument or re.fullmatch(r"--[a-z-]+=", argument):
                where = f" after {argument.rstrip('=') or before}" if argument or before else ""
                with session(ctx):
                    raise UsageError(f"an argument{where} is empty: give one, and check the variable it came from")
        return super().parse_args(ctx, args)


for command in (stylize, resume, status, verify, clean, measure, configs, doctor):
    app.command(cls=_Command)(command)


def main() -> NoReturn:
    """Runs the command line of this process and exits with its code."""
    install_streams()
    code: object = 0
    try:
        try:
            app(obj=CommandState(owns_process=True))
        except SystemExit as ended:
            code = ended.code
        sys.stdout.flush()
    except BrokenPipeError:
        silence_stdout()
        code = code or 1
    except StdoutError as error:
        silence_stdout()
        sys.stderr.write(f"impasto: {stdout_problem(error)}\n")
        code = code or 1
    raise SystemExit(code)


if __name__ == "__main__":
    main()
