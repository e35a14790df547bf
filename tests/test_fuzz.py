"""Two hundred damaged files through the real job; `make bench ONLY=fuzz` feeds it thousands."""

from collections import Counter
from pathlib import Path

import pytest

from tests.support.fuzzing import FORBIDDEN, Fuzzer, Outcome, wholes
from tests.support.mutants import MUTATIONS, Mutant, Seed, in_turn, make_seeds, mutants

PHOTOS, FILMS, OTHERS = 7, 5, 4
"""Of each format."""


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> list[Seed]:
    return make_seeds(tmp_path_factory.mktemp("seeds"))


def fed(tmp_path: Path, some: list[Mutant]) -> Counter[Outcome]:
    """What became of them, counted; what must not be fails, with what was said of it."""
    counts: Counter[Outcome] = Counter()
    with Fuzzer(tmp_path / "fuzz") as fuzzer:
        for kind in ("photo", "video", "style", "flow"):
            for finding in fuzzer.findings([mutant for mutant in some if mutant.seed.kind == kind]):
                what = f"{finding.outcome}: {finding.mutant.seed.name}, {finding.mutant.name}: {finding.said}"
                assert finding.outcome not in FORBIDDEN and not finding.is_contained, what
                counts[finding.outcome] += 1
    return counts


@pytest.mark.slow
def test_two_hundred_damaged_files(tmp_path: Path, seeds: list[Seed]) -> None:
    some = list(mutants(seeds, {"photo": PHOTOS, "video": FILMS, "style": OTHERS, "flow": OTHERS}))
    assert len(some) >= 200 and {mutant.how for mutant in some} == set(MUTATIONS)
    assert len({mutant.data for mutant in some}) > 0.9 * len(some)
    counts = fed(tmp_path, some)
    # Neither everything nor nothing is refused.
    assert all(counts[outcome] >= 10 for outcome in (Outcome.WHOLE, Outcome.PART, Outcome.REFUSED)), counts


def test_whole_files_are_painted_whole(tmp_path: Path, seeds: list[Seed]) -> None:
    """What damaged ones are judged by."""
    some = [whole for whole in wholes(seeds) if whole.seed.kind != "video" or whole.seed.suffix in (".webm", ".mpg")]
    assert fed(tmp_path, some) == {Outcome.WHOLE: len(some)}


def test_mutants_are_the_same_each_time(tmp_path: Path, seeds: list[Seed]) -> None:
    counts = {"photo": 13, "video": 13, "style": 13, "flow": 13}
    first, again = list(mutants(seeds, counts)), list(mutants(make_seeds(tmp_path), counts))
    assert [(mutant.name, mutant.data) for mutant in first] == [(mutant.name, mutant.data) for mutant in again]
    (later,) = in_turn(list(mutants(seeds[:1], dict.fromkeys(counts, 1), first=12)), 9)
    assert later == [first[12]]
