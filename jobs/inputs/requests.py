"""Requests: many small ones to the store, with a bounded number on their way at any time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

AT_ONCE = 16
QUEUED = 1_024  # requests, or answers, that are waiting

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
    remaining = iter(items)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        while some := list(islice(remaining, QUEUED)):
            yield from pool.map(ask, some)
