"""Steps of the protocol, carried out on a real store: one request after the other, and the parts of one at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from jobs import storage
from jobs.tables.protocol import Answer, Steps
from jobs.tables.requests import Exist, Fetch, Get, List, Put

READERS = 16  # threads that ask for small objects: the store's latency is the bottleneck


def carry_out(output: str, steps: Steps[Answer]) -> Answer:
    """Send the requests of some steps to the store that holds an output; return what the steps return."""
    answer: Any = None
    while True:
        try:
            asked = steps.send(answer)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]
        match asked:
            case Put(name, content, expected):
                answer = storage.put(storage.join(output, name), content, expected)
            case Get(name):
                answer = read(output, name)
            case Fetch(names):
                with ThreadPoolExecutor(READERS) as pool:
                    answer = list(pool.map(partial(read, output), names))
            case List(folder):
                answer = (f"{folder}/{name}" for name in storage.names(storage.join(output, folder)))
            case Exist(names):
                with ThreadPoolExecutor(READERS) as pool:
                    found = pool.map(storage.stat, (storage.join(output, name) for name in names))
                    answer = [name for name, stored in zip(names, found, strict=True) if stored is not None]


def read(output: str, name: str) -> bytes | None:
    """Read an object below an output; None if there is none."""
    try:
        return storage.read_bytes(storage.join(output, name))
    except storage.NotFoundError:
        return None
