"""Which chain of frames a free worker continues with.

The frames of a chain are painted in order; chains are independent but that one may wait for others. A free worker takes
the ready chain with the most work left on the critical path through it (highest level first, as Hu 1961 and Muntz and
Coffman 1970 have it; no schedule is shorter where frames are small beside chains), so that the longest chain never
begins last. But a worker stays with its chain while no other is ahead by more than a quantum, since changing to another
costs reading up to it.
"""

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

QUANTUM_SHARE = 0.01
"""The quantum, as a share of the work of one worker."""

MAX_STEPS = 30_000
"""Of more frames than this, `makespan` simulates several as one step."""


@dataclass(frozen=True, slots=True)
class Chain:
    """Frames to be painted in order."""

    key: int
    """Its name; of chains with equal work the lower key goes first."""

    frames: int
    """How many frames it has, at least 1."""

    work: float
    """The work of all its frames, in any unit."""

    after: tuple[int, ...] = ()
    """Keys, lower than its own, of the chains that must be done before it begins."""


def critical_path(chains: Sequence[Chain]) -> float:
    """The work of the longest path through chains that wait for each other, which no number of workers shortens."""
    paths: dict[int, float] = {}
    for chain in sorted(chains, key=lambda chain: chain.key):
        paths[chain.key] = chain.work + max((paths[other] for other in chain.after), default=0.0)
    return max(paths.values(), default=0.0)


class Scheduler:
    """The order of work for `slots` workers.

    `in_order` takes chains by their keys and each to its end, as a single worker does, for whom no order is shorter.
    """

    def __init__(self, chains: Sequence[Chain], slots: int, *, in_order: bool = False) -> None:
        self._in_order = in_order
        self._frames = {chain.key: chain.frames for chain in chains}
        # The level of a chain: its work and that of the critical path through the chains that wait for it.
        self._level = {chain.key: chain.work for chain in chains}
        self._quantum = QUANTUM_SHARE * sum(self._level.values()) / max(1, slots)
        self._followers: dict[int, list[int]] = {}
        self._waits_for: dict[int, int] = {}
        for chain in chains:
            if chain.after:
                self._waits_for[chain.key] = len(chain.after)
                for other in chain.after:
                    if other >= chain.key:
                        raise ValueError(f"chain {chain.key} waits for chain {other}, whose key is no lower")
                    self._followers.setdefault(other, []).append(chain.key)
        for key in sorted(self._followers, reverse=True):
            self._level[key] += max(self._level[follower] for follower in self._followers[key])
        self._ready = [self._entry(key) for key in self._frames if key not in self._waits_for]
        heapq.heapify(self._ready)

    def next(self, current: int | None = None) -> int | None:
        """The chain that a free worker continues with; None when none is ready.

        `current` is the worker's chain, if any; it is put back when another is returned.
        """
        own = None if current is None or current not in self._frames else self._entry(current)
        if own is None:
            return heapq.heappop(self._ready)[1] if self._ready else None
        if not self._ready or self._is_near(own[1], self._ready[0][1]):
            return own[1]
        return heapq.heappushpop(self._ready, own)[1]

    @property
    def is_waiting(self) -> bool:
        """Whether any frame is left."""
        return bool(self._frames)

    def upcoming(self, count: int = 1) -> list[int]:
        """The chains, at most `count`, that workers without one would get, in order."""
        return [key for _, key in heapq.nsmallest(count, self._ready)]

    def done(self, key: int, work: float) -> None:
        """Takes a frame off a worker's chain, painted or failed, and its share of the chain's work."""
        self._frames[key] -= 1
        self._level[key] -= work
        if self._frames[key]:
            return
        del self._frames[key], self._level[key]
        for follower in self._followers.pop(key, ()):
            self._waits_for[follower] -= 1
            if not self._waits_for[follower]:
                del self._waits_for[follower]
                heapq.heappush(self._ready, self._entry(follower))

    def _is_near(self, current: int, other: int) -> bool:
        return self._in_order or self._level[other] - self._level[current] <= self._quantum

    def _entry(self, key: int) -> tuple[float, int]:
        return (0.0 if self._in_order else -self._level[key], key)


@dataclass(frozen=True, slots=True)
class ScheduledFrame:
    """A frame of a `chain` that a worker (from 0) paints from `begin` to `end`, in the unit of work."""

    begin: float
    end: float
    worker: int
    chain: int


def simulate(chains: Sequence[Chain], slots: int, *, in_order: bool = False) -> Iterator[ScheduledFrame]:
    """What `slots` workers of equal speed would paint, by the time at which each frame begins; the frames of a chain
    take equal shares of its work."""
    scheduler = Scheduler(chains, slots, in_order=in_order)
    each = {chain.key: chain.work / chain.frames for chain in chains}
    held: list[int | None] = [None] * slots
    idle = list(range(slots))
    busy: list[tuple[float, int, int]] = []
    now = 0.0
    while True:
        still_idle = []
        for worker in idle:
            key = scheduler.next(held[worker]) if held[worker] is not None or scheduler.upcoming() else None
            held[worker] = key
            if key is None:
                still_idle.append(worker)
                continue
            end = now + each[key]
            heapq.heappush(busy, (end, worker, key))
            yield ScheduledFrame(now, end, worker, key)
        if not busy:
            return
        now, worker, key = heapq.heappop(busy)
        scheduler.done(key, each[key])
        idle = [*still_idle, worker]


def makespan(chains: Sequence[Chain], slots: int, max_steps: int = MAX_STEPS) -> float:
    """When `slots` workers of equal speed are done with all chains, in the unit of work; see `simulate`.

    Exact for at most `max_steps` frames; of more, several are one step, and the end may shift by a few steps.
    """
    if slots <= 1:
        return sum(chain.work for chain in chains)
    # More workers than chains are never busy.
    slots = min(slots, len(chains))
    return max((frame.end for frame in simulate(coarsened(chains, max_steps), slots)), default=0.0)


def coarsened(chains: Sequence[Chain], max_steps: int) -> Sequence[Chain]:
    """The chains with about `max_steps` frames in all: several frames are made one, and so are many short chains, as
    photos are."""
    frames = sum(chain.frames for chain in chains)
    if frames <= max_steps:
        return chains
    step = sum(chain.work for chain in chains) / max_steps
    linked = {other for chain in chains for other in chain.after}
    longer, short = [], list[Chain]()
    for chain in chains:
        if chain.after or chain.key in linked or chain.work >= step:
            longer.append(replace(chain, frames=max(1, chain.frames * max_steps // frames)))
        elif short and short[-1].work < step:
            short[-1] = replace(short[-1], work=short[-1].work + chain.work)
        else:
            short.append(replace(chain, frames=1))
    return longer + short
