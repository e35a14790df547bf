"""Which view a command has: JSON, quiet, live on a terminal, or plain lines. All but JSON goes to stderr."""

from rich.console import Console

from .json_view import JsonView
from .live_view import LiveView
from .plain_view import PlainView
from .view import View


def make_view(console: Console, *, quiet: bool, as_json: bool) -> View:
    """The view for the options and for what stderr is."""
    if as_json:
        return JsonView(console)
    if quiet:
        return View(console)
    return LiveView(console) if console.is_terminal and not console.is_dumb_terminal else PlainView(console)
