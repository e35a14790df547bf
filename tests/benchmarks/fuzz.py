"""Damaged files of every format, each through the real job: what becomes of them, counted.

`FUZZ_COUNT` in the environment says how many mutants of each format, 64 unless said. Ends with an error where there is
anything among them that must not be.
"""

import os
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.benchmarks.common import machine, show
from tests.support.fuzzing import FORBIDDEN, Finding, Fuzzer, Outcome
from tests.support.mutants import Seed, in_turn, make_seeds, mutants

ALLOWED = (Outcome.WHOLE, Outcome.PART, Outcome.REFUSED)
SHOWN = 20


def run() -> None:
    count = int(os.environ.get("FUZZ_COUNT", "64"))
    began = time.monotonic()
    found: dict[str, list[Finding]] = {}
    with tempfile.TemporaryDirectory() as folder:
        seeds = _seeds(Path(folder) / "seeds")
        everything = list(mutants(seeds, dict.fromkeys(("photo", "video", "style", "flow"), count)))
        with Fuzzer(Path(folder) / "fuzz") as fuzzer:
            for seed in seeds:
                mine = [mutant for mutant in everything if mutant.seed is seed]
                found[seed.name] = [finding for batch in in_turn(mine, 24) for finding in fuzzer.findings(batch)]
    findings = [finding for some in found.values() for finding in some]
    columns = ("format", "files", *ALLOWED, "must not be", "decoder failed", "frames lost, not said")
    rows = [_row(name, some) for name, some in (*found.items(), ("all", findings))]
    minutes = (time.monotonic() - began) / 60
    counts = Counter(finding.outcome for finding in findings)
    notes = [", ".join(f"{outcome}: {counts[outcome]}" for outcome in FORBIDDEN), *_told(findings)]
    show(f"What becomes of damaged files, in {minutes:.0f} minutes ({machine()})", columns, rows, notes)
    if any(finding.outcome in FORBIDDEN for finding in findings):
        sys.exit("there is what must not be")


def _seeds(folder: Path) -> list[Seed]:
    folder.mkdir()
    return make_seeds(folder)


def _row(name: str, findings: list[Finding]) -> list[str]:
    counts = Counter(finding.outcome for finding in findings)
    forbidden = sum(counts[outcome] for outcome in FORBIDDEN)
    contained = sum(finding.is_contained for finding in findings)
    short = sum(finding.is_short for finding in findings)
    numbers = len(findings), *(counts[outcome] for outcome in ALLOWED), forbidden, contained, short
    return [name, *map(str, numbers)]


def _told(findings: list[Finding]) -> list[str]:
    """The mutants that somebody should look at, by the name that makes each again."""
    seen = [finding for finding in findings if finding.outcome in FORBIDDEN or finding.is_contained or finding.is_short]
    return [f"{item.outcome}: {item.mutant.seed.name}, {item.mutant.name}: {item.said}" for item in seen[:SHOWN]]
