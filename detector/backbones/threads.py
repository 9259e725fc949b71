"""Threads: how many compute one thing, which decides the last bits of sums."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Compute on one thread of the CPU: how a product is split over threads decides the last bits of its sums."""
    before = torch.get_num_threads()
    if before == 1:  # as in Ray's workers; to set it again would throw away what oneDNN has prepared
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
