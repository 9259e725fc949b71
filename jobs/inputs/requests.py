"""Requests: many to the store, with a bounded number of them, and of bytes, on their way at any time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

AT_ONCE = 16
QUEUED = 1_024  # requests, or answers, that are waiting
QUEUED_OBJECTS = 2 * AT_ONCE
QUEUED_BYTES = 256 << 20  # of objects, which may be large

Item = TypeVar("Item")
Answer = TypeVar("Answer")


def answers(ask: Callable[[Item], Answer], items: Iterable[Item]) -> Iterator[Answer]:
    """Yield what ``ask`` returns for each item, in their order; its first error is raised.

    Items are asked for as the answers are taken, so millions take no more memory than a thousand.

    Examples
    --------
    >>> list(answers(len, ["a", "bc"]))
    [1, 2]
    """
    return (answer for _, answer in _asked(ask, items, lambda _: 0, QUEUED))


def objects(
    read: Callable[[Item], Answer], items: Iterable[Item], bytes_of: Callable[[Item], int]
) -> Iterator[tuple[Item, Answer]]:
    """Yield each item with what ``read`` returns for it, as :func:`answers` does, for objects of any size.

    Parameters
    ----------
    bytes_of : callable
        Returns what an item's objects take. More than :data:`QUEUED_BYTES` are read alone.

    Examples
    --------
    >>> list(objects(str.upper, ["a", "bc"], len))
    [('a', 'A'), ('bc', 'BC')]
    """
    return _asked(read, items, bytes_of, QUEUED_OBJECTS)


def _asked(
    ask: Callable[[Item], Answer], items: Iterable[Item], bytes_of: Callable[[Item], int], most: int
) -> Iterator[tuple[Item, Answer]]:
    waiting: deque[tuple[Item, int, Future[Answer]]] = deque()
    n_bytes = 0
    with ThreadPoolExecutor(AT_ONCE) as pool:

        def take() -> tuple[Item, Answer]:
            nonlocal n_bytes
            item, size, answer = waiting.popleft()
            n_bytes -= size
            return item, answer.result()

        try:
            for item in items:
                size = bytes_of(item)
                while waiting and (len(waiting) >= most or n_bytes + size > QUEUED_BYTES):
                    yield take()
                waiting.append((item, size, pool.submit(ask, item)))
                n_bytes += size
            while waiting:
                yield take()
        finally:
            for _, _, answer in waiting:
                answer.cancel()
