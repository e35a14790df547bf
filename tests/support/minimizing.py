"""A minimizer from its first step to its last."""

from impasto.paint.minimizer import Minimizer
from impasto.paint.stopping import Outcome


def outcomes_of(minimizer: Minimizer) -> list[Outcome]:
    """Steps until every picture is done; returns what became of them, by their slots."""
    outcomes: dict[int, Outcome] = {}
    while minimizer.active_slots:
        outcomes |= minimizer.step()
    return [outcome for _, outcome in sorted(outcomes.items())]
