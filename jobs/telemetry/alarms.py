"""Alarms: shards that were computed twice, with different results."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from jobs.telemetry import metrics

log = logging.getLogger(__name__)

_raised: set[str] = set()


def begin() -> None:
    """Forget the alarms of what this process ran before."""
    _raised.clear()


def sound(shard: str, tables: Iterable[str]) -> None:
    """Log, count and keep that rows of a shard differ from those that were there.

    Parameters
    ----------
    shard : str
        Its URI.
    tables : iterable of str
        Tables whose rows differ; with none there is no alarm.
    """
    differ = list(tables)
    for table in differ:
        log.error(
            "%s: computed twice, and the %s differ; the first rows stay. Check the machines for a fault.",
            *(shard, table),
            extra={"shard": shard},
        )
    if differ:
        metrics.count("bonafide_alarms_total")
        _raised.add(shard)


def note(shards: Iterable[str]) -> None:
    """Keep alarms that were told before, such as by an attempt that left no end."""
    _raised.update(shards)


def raised() -> bool:
    """Return True if there was an alarm since :func:`begin`."""
    return bool(_raised)
