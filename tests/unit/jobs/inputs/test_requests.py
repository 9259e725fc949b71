"""Many requests are asked for in order, several at once, and few of their answers are held."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from jobs.inputs.requests import AT_ONCE, QUEUED, QUEUED_BYTES, QUEUED_OBJECTS, answers, objects


def test_few_answers_of_many_items_are_held_at_once() -> None:
    asked = 0

    def items() -> Iterator[int]:
        nonlocal asked
        while asked < 5 * QUEUED:
            asked += 1
            yield asked

    for n_taken, answer in enumerate(answers(lambda item: item + 1, items()), start=1):
        assert answer == n_taken + 1
        assert asked - n_taken < QUEUED + AT_ONCE


def test_sixteen_are_on_their_way_at_once() -> None:
    all_here = threading.Barrier(AT_ONCE, timeout=60)  # fewer would wait for ever

    assert list(answers(lambda item: all_here.wait() >= 0 and item, range(3 * AT_ONCE))) == [*range(3 * AT_ONCE)]


@pytest.mark.parametrize(("size", "most"), [(1, QUEUED_OBJECTS), (QUEUED_BYTES // 4, 4), (QUEUED_BYTES + 1, 1)])
def test_objects_that_are_held_together_have_a_bounded_size(size: int, most: int) -> None:
    begun: list[int] = []

    def read(item: int) -> int:
        begun.append(item)
        return item

    for n_taken, found in enumerate(objects(read, range(100), lambda _: size)):
        assert found == (n_taken, n_taken)
        assert len(begun) - n_taken <= most + 1


def test_an_error_ends_the_asking() -> None:
    def ask(item: int) -> int:
        if item == 3:
            raise ValueError(item)
        return item

    found = answers(ask, range(100))
    assert [next(found) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="3"):
        next(found)
