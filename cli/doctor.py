"""The command `doctor`."""

import typer
from rich.console import Console
from rich.text import Text

from .machine_checks import Finding
from .memory_limit import require_room_for_libraries
from .options import JsonOption
from .output import print_json
from .session import session, state_of


def doctor(context: typer.Context, as_json: JsonOption = False) -> None:
    """Check devices, memory, ffmpeg and encoder weights on this machine, with a remedy for each problem."""
    with session(context, as_json=as_json):
        require_room_for_libraries()
        findings = state_of(context).engine.check_machine()
        for finding in findings:
            if as_json:
                print_json({"event": "finding", **vars(finding)})
            else:
                _print_finding(finding)
        if not all(finding.works or not finding.needed for finding in findings):
            raise typer.Exit(1)


def _print_finding(finding: Finding) -> None:
    mark, style = ("✓", "green") if finding.works else ("✗", "red" if finding.needed else "yellow")
    remedy = f"\n    → {finding.remedy}" if finding.remedy else ""
    Console().print(
        Text.assemble((f"{mark} ", style), (f"{finding.what}: ", "bold"), finding.found, remedy), soft_wrap=True
    )
