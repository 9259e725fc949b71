"""Ticks: a function is called regularly while an iterator that may block for ever is consumed."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Generator, Iterator
from typing import TypeVar

Item = TypeVar("Item")

TICK_SECONDS = 0.5


def with_ticks(
    items: Iterator[Item], tick: Callable[[], None], nothing: Item | None = None
) -> Generator[Item, None, None]:
    """Iterate over ``items`` in a thread of its own; call ``tick`` in this thread before each wait for an item.

    Where ``nothing`` is given, it is yielded after each wait in which no item came.

    An iterator that blocks inside a C++ library can be neither interrupted nor given a timeout. A wait on a queue can:
    what ``tick`` raises ends the iteration, even if no item ever comes.
    """
    ready: queue.Queue[tuple[Item | None, BaseException | None]] = queue.Queue(maxsize=2)
    is_closed = threading.Event()

    def offer(item: Item | None, error: BaseException | None) -> bool:
        """Hand over an item, or the end; return False once the iteration is closed."""
        while not is_closed.is_set():
            with contextlib.suppress(queue.Full):
                ready.put((item, error), timeout=TICK_SECONDS)
                return True
        return False

    def pump() -> None:
        try:
            for item in items:
                if not offer(item, None):
                    return
        except BaseException as error:
            offer(None, error)
        else:
            offer(None, StopIteration())

    # a daemon: a thread that never comes back from a C++ library must not keep the process from ending
    thread = threading.Thread(target=pump, daemon=True, name="pump")
    thread.start()
    try:
        while True:
            tick()
            try:
                item, error = ready.get(timeout=TICK_SECONDS)
            except queue.Empty:
                if nothing is not None:
                    yield nothing
                continue
            if isinstance(error, StopIteration):
                return
            if error is not None:
                raise error
            yield item  # type: ignore[misc]
    finally:
        is_closed.set()
        if thread is not threading.current_thread():  # the garbage collector may run this on any thread
            thread.join(TICK_SECONDS)  # an iterator that is not blocked is closed by its thread
