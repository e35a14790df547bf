"""Pictures read ahead: in order, several at once, few of them, and errors in their turn."""

import threading

import numpy as np
import pytest

from impasto.run.read_ahead import read_ahead


def picture(number: int) -> np.ndarray:
    return np.full((4, 4, 3), number, np.uint8)


def test_pictures_come_in_order_and_are_read_at_the_same_time() -> None:
    together = threading.Barrier(3)

    def read(number: int) -> np.ndarray:
        if number in (4, 5, 6):
            together.wait(20)  # It fails, unless three threads are here at once.
        return picture(number)

    assert [int(found[0, 0, 0]) for found in read_ahead(read, range(9), 3)] == list(range(9))


@pytest.mark.parametrize(("most_bytes", "ahead"), [(1 << 20, 3), (2 * 48, 2), (1, 1)])
def test_few_are_read_ahead(most_bytes: int, ahead: int) -> None:
    begun = list[int]()

    def read(number: int) -> np.ndarray:
        begun.append(number)
        return picture(number)

    for taken, _ in enumerate(read_ahead(read, range(12), 3, most_bytes), start=1):
        assert len(begun) <= taken + ahead
    assert sorted(begun) == list(range(12))


def test_an_error_comes_in_its_turn_and_what_is_left_is_not_read() -> None:
    begun = list[int]()

    def read(number: int) -> np.ndarray:
        begun.append(number)
        if number == 2:
            raise ValueError("damaged")
        return picture(number)

    pictures = read_ahead(read, range(100), 2)
    assert [int(next(pictures)[0, 0, 0]) for _ in range(2)] == [0, 1]
    with pytest.raises(ValueError, match="damaged"):
        next(pictures)
    assert len(begun) < 10 and not any(thread.name.startswith("reader") for thread in threading.enumerate())
