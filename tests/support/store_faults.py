"""Faults on the way to a store, and the objects that they strike."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jobs.storage import READ_AHEAD_BYTES
from tests.support.proxy import Rule

BUDGET_SECONDS = 3.0


LONG = bytes(range(251)) * ((2 * READ_AHEAD_BYTES + 12_345) // 251)  # three blocks, no two alike


SHORT = LONG[:100_000]


def change(rule: Rule, to: Callable[[bytes], bytes]) -> None:
    """Let the reply's body be another."""

    def fault(reply: Any) -> None:
        reply.body = to(reply.body)

    rule._change("another body", fault)
