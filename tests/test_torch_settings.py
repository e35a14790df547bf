"""Settings of the process are in force while they are needed, and restored afterwards."""

import threading
import time

import pytest
import torch

from impasto.torch_settings import _flags, reproducible, thread_limit

CPU = torch.device("cpu")
GPU = torch.device("cuda", 0)  # the flags can be set without one


def flags() -> tuple[bool, bool, bool, bool]:
    cudnn = torch.backends.cudnn
    return cudnn.deterministic, cudnn.benchmark, cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32


EXACT = (True, False, False, False)


def test_a_gpu_computes_exactly_and_the_host_gets_its_flags_back() -> None:
    before = flags()
    assert before != EXACT
    with reproducible(CPU):
        assert flags() == before
    with pytest.raises(KeyError), reproducible(GPU):
        assert flags() == EXACT
        with reproducible(GPU):
            assert flags() == EXACT
        assert flags() == EXACT
        raise KeyError
    assert flags() == before


def test_a_thread_that_leaves_takes_nothing_from_one_that_computes() -> None:
    before, entered, leave = flags(), threading.Event(), threading.Event()

    def other() -> None:
        with reproducible(GPU):
            entered.set()
            leave.wait(60)

    thread = threading.Thread(target=other)
    thread.start()
    entered.wait(60)
    with reproducible(GPU):
        leave.set()
        thread.join()
        assert flags() == EXACT
    assert flags() == before


def test_neither_kind_of_thread_keeps_the_other_out() -> None:
    """They take turns in the order in which they came, and a thread within one kind cannot begin the other."""
    order: list[str] = []

    def other(name: str, tf32: bool) -> None:
        with reproducible(GPU, tf32=tf32):
            order.append(f"{name} {flags()[2]}")

    threads = [threading.Thread(target=other, args=each) for each in (("exact", False), ("fast", True))]
    with reproducible(GPU, tf32=True):
        assert flags() == (True, False, True, False)
        for number, thread in enumerate(threads, start=1):
            thread.start()
            while len(_flags._queue) < number:
                time.sleep(0.001)
        with reproducible(GPU, tf32=True), pytest.raises(ValueError, match="another"), reproducible(GPU):
            pass
        assert not order, "the second would fit, but the first came before it"
    for thread in threads:
        thread.join(60)
    assert order == ["exact False", "fast True"] and flags()[2] is True


def test_threads_are_limited_on_a_cpu_alone() -> None:
    before = torch.get_num_threads()
    with thread_limit(before + 1, GPU):
        assert torch.get_num_threads() == before
    with pytest.raises(KeyError), thread_limit(before + 1, CPU):
        assert torch.get_num_threads() == before + 1
        raise KeyError
    assert torch.get_num_threads() == before
