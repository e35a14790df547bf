"""The order of work, with workers and a clock that only count: each chain in order, no schedule longer than needed."""

import itertools
import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from impasto.plan.scheduler import QUANTUM_SHARE, Chain, ScheduledFrame, Scheduler, coarsened, makespan, simulate
from tests.support.seeds import numpy_stream


def switches(chains: list[Chain], turns: list[ScheduledFrame]) -> int:
    """How often a worker left a chain that was not at its end."""
    frames, begun = {chain.key: chain.frames for chain in chains}, Counter[int]()
    held: dict[int, int] = {}
    count = 0
    for turn in turns:
        before = held.get(turn.worker, turn.chain)
        count += before != turn.chain and begun[before] < frames[before]
        held[turn.worker] = turn.chain
        begun[turn.chain] += 1
    return count


def idle_share(chains: list[Chain], slots: int) -> float:
    """Of the workers' time, beyond what the longest chain alone makes unavoidable."""
    end = makespan(chains, slots)
    total, longest = sum(chain.work for chain in chains), max(chain.work for chain in chains)
    return 1 - max(total / slots, longest) / end


def film(seed: int, shots: int) -> list[Chain]:
    """Lengths of shots as films have them: log-normal, of 2 to 3 s in the middle (Cutting, DeLong and Nothelfer 2010),
    at 24 frames a second. The first frame of a shot takes ten times the iterations of the others."""
    seconds = numpy_stream(seed).lognormal(np.log(2.7), 0.9, shots)
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
    assert makespan(chains, 4) == 400
    assert min(turn.begin for turn in simulate(chains, 4) if turn.chain == 2) == 0


def test_chains_that_differ_little_are_not_left_all_the_time() -> None:
    """Ten shots on eight devices: none may wait for the others to end, yet each change costs reading up to it."""
    chains = [Chain(key, 1000, 1000.0) for key in range(10)]
    assert makespan(chains, 8) < 1.05 * 10_000 / 8
    assert switches(chains, list(simulate(chains, 8))) <= 10_000 / (1000 * QUANTUM_SHARE)


def test_one_worker_goes_from_the_first_to_the_last() -> None:
    turns = simulate([Chain(0, 2, 2.0), Chain(5, 3, 30.0), Chain(9, 2, 2.0)], 1, in_order=True)
    assert [turn.chain for turn in turns] == [0, 0, 5, 5, 5, 9, 9]


def test_a_chain_waits_for_those_before_it() -> None:
    """Segments of a shot begin when the frames between them are painted, and what is long behind them counts."""
    keyframes, segments = Chain(3, 4, 4.0), [Chain(key, 12, 12.0, (3,)) for key in (4, 5, 6, 7)]
    others = [Chain(key, 5, 5.0) for key in (0, 1, 2)]
    turns = list(simulate([*others, keyframes, *segments], 4))
    end = max(turn.end for turn in turns)
    began = {key: min(turn.begin for turn in turns if turn.chain == key) for key in range(8)}
    assert began[3] == 0, "its own work is the least, and the most waits for it"
    assert all(began[key] == 4 for key in (4, 5, 6, 7)) or end <= 1.2 * (4 + 12)
    assert min(began[key] for key in (4, 5, 6, 7)) >= 4


def test_a_chain_waits_for_lower_keys_only() -> None:
    with pytest.raises(ValueError, match="no lower"):
        Scheduler([Chain(1, 1, 1.0, (2,)), Chain(2, 1, 1.0)], 1)


def test_what_comes_next_is_told_beforehand() -> None:
    scheduler = Scheduler([Chain(0, 1, 1.0), Chain(1, 1, 2.0)], 1)
    assert scheduler.upcoming(3) == [1, 0] and scheduler.next() == 1
    assert scheduler.upcoming() == [0] and scheduler.next() == 0
    assert scheduler.upcoming() == [] and scheduler.next() is None


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
    log = list(simulate(chains, slots, in_order=in_order))
    for chain in chains:
        own = sorted((turn.begin, turn.end) for turn in log if turn.chain == chain.key)
        assert len(own) == chain.frames
        assert all(after[0] >= before[1] - 1e-9 for before, after in itertools.pairwise(own))
        for other in chain.after:
            assert own[0][0] >= max(turn.end for turn in log if turn.chain == other) - 1e-9
    for worker in range(slots):
        turns = sorted((turn.begin, turn.end) for turn in log if turn.worker == worker)
        assert all(after[0] >= before[1] - 1e-9 for before, after in itertools.pairwise(turns))


# When all is done


def test_one_worker_takes_all_the_work_and_many_the_longest_chain() -> None:
    chains = film(3, 40)
    assert makespan(chains, 1) == sum(chain.work for chain in chains)
    assert makespan(chains, 40) == makespan(chains, 10**9) == pytest.approx(max(chain.work for chain in chains))
    assert makespan([], 4) == 0


@pytest.mark.parametrize(
    ("chains", "slots", "end"),
    [
        ([Chain(key, 1, 3.0) for key in range(7)], 3, 9.0),
        # Graham 1969: longest first gives 11 where 9 would do, as photos cannot be left in the middle.
        ([Chain(key, 1, float(work)) for key, work in enumerate((5, 5, 4, 4, 3, 3, 3))], 3, 11.0),
        # Two of three chains of ten frames each go on side by side to the end.
        ([Chain(key, 10, 10.0) for key in range(3)], 2, 15.0),
        # Behind a chain of four, three segments for two workers.
        ([Chain(0, 4, 4.0), *(Chain(key, 6, 6.0, (0,)) for key in (1, 2, 3))], 2, 13.0),
        ([Chain(0, 4, 4.0), Chain(1, 2, 6.0, (0,)), Chain(2, 3, 9.0, (0, 1))], 8, 19.0),
    ],
)
def test_ends_that_are_known(chains: list[Chain], slots: int, end: float) -> None:
    assert makespan(chains, slots) == end


def least_end(chains: list[Chain], slots: int) -> int:
    """The shortest schedule of frames that take 1 each, by looking at all of them."""
    after = {chain.key: chain.after for chain in chains}
    seen = {tuple(chain.frames for chain in chains)}
    for end in itertools.count():
        if any(not any(left) for left in seen):
            return end
        following = set()
        for left in seen:
            rest = {chain.key: count for chain, count in zip(chains, left, strict=True)}
            ready = [key for key, count in rest.items() if count and not any(rest[other] for other in after[key])]
            for chosen in itertools.combinations(ready, min(slots, len(ready))):
                following.add(tuple(count - (key in chosen) for key, count in rest.items()))
        seen = following
    raise AssertionError


@given(st.lists(st.tuples(st.integers(1, 6), st.booleans()), min_size=1, max_size=4), st.integers(2, 4))
def test_no_schedule_is_much_shorter(sizes: list[tuple[int, bool]], slots: int) -> None:
    """Of frames that take 1, also with chains that wait for another: by one frame at most, for as few as here."""
    chains = [
        Chain(key, frames, float(frames), (key // 2,) if waits and key else ())
        for key, (frames, waits) in enumerate(sizes)
    ]
    best, end = least_end(chains, slots), makespan(chains, slots)
    assert best <= end + 1e-9 and end <= best + 1
    assert max(chain.work for chain in chains) <= end
    assert math.ceil(sum(chain.work for chain in chains) / slots) <= end


@pytest.mark.parametrize("slots", [2, 8, 64])
def test_of_many_frames_the_end_is_near_enough(slots: int) -> None:
    photos = [Chain(1000 + key, 1, 300.0 + key % 7) for key in range(20_000)]
    after = [Chain(30_000 + key, 1, 300.0, (1000 + key, 1001 + key)) for key in range(100)]
    for chains in (film(1, 300), photos, [*film(1, 300), *photos, *after]):
        exact = makespan(chains, slots, 10**9)
        assert makespan(chains, slots, 3000) == pytest.approx(exact, rel=0.02)
        assert sum(1 for _ in simulate(coarsened(chains, 3000), slots)) < 2.5 * 3000
