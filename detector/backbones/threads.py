"""Threads: the number of threads of a computation, which decides the last bits of its sums."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Restrict torch to one CPU thread: how a product is split over threads changes the last bits of its sums."""
    before = torch.get_num_threads()
    if before == 1:  # setting it again would discard what oneDNN has prepared
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
