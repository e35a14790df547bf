"""Random numbers of the tests: the same in every run, or others where `IMPASTO_TEST_SEED` says so.

A test names its stream by a number. With the seed 0, which is the default, stream n is that of `default_rng(n)`; any
other seed gives every stream other numbers. `IMPASTO_TEST_SEED=random` draws a seed. A failure prints the seed that
repeats it.
"""

import os
import random

import numpy as np
import torch

VARIABLE = "IMPASTO_TEST_SEED"


def _seed() -> int:
    given = os.environ.get(VARIABLE, "0")
    if given == "random":
        given = str(random.SystemRandom().randrange(1, 1 << 31))
        os.environ[VARIABLE] = given  # For the processes among which the tests are divided.
    return int(given)


SEED = _seed()


def numpy_stream(number: int) -> np.random.Generator:
    """Stream `number` as a NumPy generator."""
    return np.random.default_rng([SEED, number] if SEED else number)


def torch_stream(number: int) -> torch.Generator:
    """Stream `number` as a generator of torch, on the CPU."""
    return torch.Generator().manual_seed(1_000_003 * SEED + number)


def python_stream(number: int) -> random.Random:
    """Stream `number` as a generator of the standard library."""
    return random.Random(1_000_003 * SEED + number)
