"""Idle decoder processes: kept for the next queue, since starting one takes 0.2 s."""

from __future__ import annotations

import atexit
import contextlib
import os

from jobs.decoding.process_handle import DecoderProcess

IDLE: list[DecoderProcess] = []
"""A queue takes a process out and puts it back, so that two threads never share one."""


def take(segment_seconds: float) -> DecoderProcess:
    """Return an idle process that is alive and has the limits for such segments, or start one."""
    while IDLE:
        with contextlib.suppress(IndexError):  # another thread may have taken the last one
            process = IDLE.pop()
            if process.is_fit_for(segment_seconds):
                return process
            process.end()
    return DecoderProcess(segment_seconds)


def start(segment_seconds: float) -> None:
    """Start a process for the next queue, while the caller's other threads are at work."""
    IDLE.append(take(segment_seconds))


def end_all() -> None:
    """End all idle processes."""
    while IDLE:
        IDLE.pop().end()


atexit.register(end_all)
# a forked child shares the pipes; a process that two parents speak to would answer either
os.register_at_fork(after_in_child=IDLE.clear)
