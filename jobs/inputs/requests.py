"""Requests: many small ones to the store, with a bounded number on their way at any time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

AT_ONCE = 16
QUEUED = 1_024  # requests that are waiting for a thread

Item = TypeVar("Item")
Answer = TypeVar("Answer")


def answers(ask: Callable[[Item], Answer], items: Sequence[Item]) -> Iterator[Answer]:
    """Yield what ``ask`` returns for each item, in their order; its first error is raised.

    Examples
    --------
    >>> list(answers(len, ["a", "bc"]))
    [1, 2]
    """
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for start in range(0, len(items), QUEUED):
            yield from pool.map(ask, items[start : start + QUEUED])
