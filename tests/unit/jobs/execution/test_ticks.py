"""A function is called while an iterator blocks, and can end the iteration."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator

import pytest

from jobs.errors import RunAgain
from jobs.execution.ticks import with_ticks


def test_items_and_errors_come_through_in_their_order() -> None:
    def items() -> Iterator[int]:
        yield from (1, 2)
        raise RunAgain("the end")

    taken: list[int] = []

    with pytest.raises(RunAgain, match="the end"):
        taken += with_ticks(items(), lambda: None)  # an exception drops what += collected
    assert list(with_ticks(iter(range(5)), lambda: None)) == [0, 1, 2, 3, 4]


def test_ticks_go_on_while_no_item_comes() -> None:
    release = threading.Event()
    ticks = itertools.count()

    def tick() -> None:
        if next(ticks) == 2:
            release.set()

    def items() -> Iterator[str]:
        assert release.wait(30)
        yield "late"

    assert list(with_ticks(items(), tick)) == ["late"]


def test_a_tick_that_raises_ends_the_iteration_even_if_no_item_ever_comes() -> None:
    def tick() -> None:
        raise RunAgain("overdue")

    def never() -> Iterator[None]:
        threading.Event().wait()
        yield

    with pytest.raises(RunAgain, match="overdue"):
        next(with_ticks(never(), tick))


def test_the_thread_ends_when_the_iterator_is_closed() -> None:
    before = set(threading.enumerate())
    ticking = with_ticks(itertools.count(), lambda: None)
    assert next(ticking) == 0
    (thread,) = set(threading.enumerate()) - before

    ticking.close()

    thread.join(10)
    assert not thread.is_alive()


def test_the_iterator_may_be_closed_by_its_own_thread() -> None:
    # as the garbage collector does, if it happens to run there
    may_close, outcome = threading.Event(), []

    def items() -> Iterator[int]:
        yield 1
        assert may_close.wait(30)
        try:
            ticking.close()
        except RuntimeError as error:
            outcome.append(str(error))
        else:
            outcome.append("closed")

    ticking = with_ticks(items(), lambda: None)
    assert next(ticking) == 1
    (thread,) = [each for each in threading.enumerate() if each.name == "pump" and each.is_alive()][-1:]

    may_close.set()

    thread.join(10)
    assert outcome == ["closed"]
