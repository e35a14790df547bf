"""The order of work, with workers and a clock that only count: each chain in order, no schedule longer than needed."""

import heapq
import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.scheduler import QUANTUM_SHARE, Chain, Scheduler


def simulate(
    chains: list[Chain], slots: int, *, in_order: bool = False
) -> tuple[float, list[tuple[float, float, int, int]], int]:
    """(The end, (begin, end, worker, chain) of each frame, how often a worker left a chain that was not at its end).

    Each frame of a chain takes its share of the chain's work.
    """
    scheduler = Scheduler(chains, slots, in_order=in_order)
    each = {chain.key: chain.work / chain.frames for chain in chains}
    left = {chain.key: chain.frames for chain in chains}
    held: list[int | None] = [None] * slots
    idle, busy = set(range(slots)), list[tuple[float, int, int]]()
    log, switches, now = [], 0, 0.0
    while True:
        for worker in sorted(idle):
            key = scheduler.next(held[worker])
            before = held[worker]
            switches += before is not None and before != key and left[before] > 0
            held[worker] = key
            if key is not None:
                idle.discard(worker)
                heapq.heappush(busy, (now + each[key], worker, key))
                log.append((now, now + each[key], worker, key))
        if not busy:
            return now, log, switches
        now, worker, key = heapq.heappop(busy)
        left[key] -= 1
        scheduler.done(key, each[key])
        idle.add(worker)


def idle_share(chains: list[Chain], slots: int) -> float:
    """Of the workers' time, beyond what the longest chain alone makes unavoidable."""
    end, _, _ = simulate(chains, slots)
    total, longest = sum(chain.work for chain in chains), max(chain.work for chain in chains)
    return 1 - max(total / slots, longest) / end


def film(seed: int, shots: int) -> list[Chain]:
    """Lengths of shots as films have them: log-normal, of 2 to 3 s in the middle (Cutting, DeLong and Nothelfer 2010),
    at 24 frames a second. The first frame of a shot takes ten times the iterations of the others."""
    seconds = np.random.default_rng(seed).lognormal(np.log(2.7), 0.9, shots)
    frames = np.maximum(1, np.round(24 * seconds)).astype(int)
    return [Chain(key, int(count), float(count + 9)) for key, count in enumerate(frames)]


@pytest.mark.parametrize("slots", [1, 8, 64])
@pytest.mark.parametrize("shots", [12, 100, 1500])
@pytest.mark.parametrize("seed", range(3))
def test_devices_are_busy_to_the_end(slots: int, shots: int, seed: int) -> None:
    assert idle_share(film(seed, shots), slots) < 0.1


@pytest.mark.parametrize("slots", [2, 8, 64])
def test_photos_are_spread_evenly(slots: int) -> None:
    assert idle_share([Chain(key, 1, 300.0) for key in range(slots * 20)], slots) == pytest.approx(0)


def test_two_thirds_of_a_film_are_one_shot() -> None:
    """The longest chain begins at once and is never left waiting."""
    chains = [Chain(0, 100, 100.0), Chain(1, 100, 100.0), Chain(2, 400, 400.0)]
    end, log, _ = simulate(chains, 4)
    assert end == 400 and min(begin for begin, _, _, key in log if key == 2) == 0


def test_chains_that_differ_little_are_not_left_all_the_time() -> None:
    """Ten shots on eight devices: none may wait for the others to end, yet each change costs reading up to it."""
    chains = [Chain(key, 1000, 1000.0) for key in range(10)]
    end, _, switches = simulate(chains, 8)
    assert end < 1.05 * 10_000 / 8
    assert switches <= 10_000 / (1000 * QUANTUM_SHARE)


def test_one_worker_goes_from_the_first_to_the_last() -> None:
    _, log, switches = simulate([Chain(0, 2, 2.0), Chain(5, 3, 30.0), Chain(9, 2, 2.0)], 1, in_order=True)
    assert [key for *_, key in log] == [0, 0, 5, 5, 5, 9, 9] and switches == 0


def test_a_chain_waits_for_those_before_it() -> None:
    """Segments of a shot begin when the frames between them are painted, and what is long behind them counts."""
    anchors, segments = Chain(3, 4, 4.0), [Chain(key, 12, 12.0, (3,)) for key in (4, 5, 6, 7)]
    others = [Chain(key, 5, 5.0) for key in (0, 1, 2)]
    end, log, _ = simulate([*others, anchors, *segments], 4)
    began = {key: min(begin for begin, _, _, its in log if its == key) for key in range(8)}
    assert began[3] == 0, "its own work is the least, and the most waits for it"
    assert all(began[key] == 4 for key in (4, 5, 6, 7)) or end <= 1.2 * (4 + 12)
    assert min(began[key] for key in (4, 5, 6, 7)) >= 4


def test_a_chain_waits_for_lower_keys_only() -> None:
    with pytest.raises(ValueError, match="no lower"):
        Scheduler([Chain(1, 1, 1.0, (2,)), Chain(2, 1, 1.0)], 1)


def test_what_comes_next_is_told_beforehand() -> None:
    scheduler = Scheduler([Chain(0, 1, 1.0), Chain(1, 1, 2.0)], 1)
    assert scheduler.upcoming() == 1 and scheduler.next() == 1
    assert scheduler.upcoming() == 0 and scheduler.next() == 0
    assert scheduler.upcoming() is None and scheduler.next() is None


@given(
    st.lists(st.tuples(st.integers(1, 20), st.floats(0.1, 50)), min_size=1, max_size=12),
    st.integers(1, 6),
    st.booleans(),
)
def test_every_frame_once_and_each_chain_in_order(sizes: list[tuple[int, float]], slots: int, in_order: bool) -> None:
    chains = [
        Chain(key, frames, work, tuple({key // 2, key // 3} - {key}) if key % 3 == 2 else ())
        for key, (frames, work) in enumerate(sizes)
    ]
    _, log, _ = simulate(chains, slots, in_order=in_order)
    for chain in chains:
        own = sorted((begin, end) for begin, end, _, key in log if key == chain.key)
        assert len(own) == chain.frames
        assert all(after[0] >= before[1] - 1e-9 for before, after in itertools.pairwise(own))
        for other in chain.after:
            assert own[0][0] >= max(end for _, end, _, key in log if key == other) - 1e-9
    for worker in range(slots):
        turns = sorted((begin, end) for begin, end, its, _ in log if its == worker)
        assert all(after[0] >= before[1] - 1e-9 for before, after in itertools.pairwise(turns))
