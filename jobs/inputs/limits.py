"""Limits: how much audio one recording may have, and one source within a shard, before the rest becomes rows."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass

from detector.decoders import MAX_SECONDS
from detector.errors import UtteranceError
from jobs.inputs.sources import source_of


@dataclass(frozen=True)
class Limits:
    """What a run decodes at most.

    Parameters
    ----------
    max_seconds : float
        A longer recording is `too_long`.
    max_source_seconds : float
        Once the recordings of a source in a shard come to this, the next ones are `over_quota`.
    roots : tuple of str
        As :func:`jobs.inputs.sources.archive_roots` returns them; a source is a folder below one of them.
    """

    max_seconds: float = MAX_SECONDS
    max_source_seconds: float = math.inf
    roots: tuple[str, ...] = ()

    @property
    def has_quota(self) -> bool:
        """True if sources are counted."""
        return not math.isinf(self.max_source_seconds)


class SourceQuota:
    """Counts the audio of each source in one shard, in the order in which the shard is read.

    Shards are read by many workers at once and again after a fault. Counted within one, the same recordings are over
    the quota every time.

    Examples
    --------
    >>> quota = SourceQuota(Limits(max_source_seconds=3600.0, roots=("s3://archive/",)))
    >>> place = "s3://archive/radio/1.tar", "a.flac"
    >>> quota.add(*place, 4000.0)
    >>> quota.refusal(*place).message
    'source radio: 1.11 h were decoded in this shard, the quota is 1 h'
    >>> quota.refusal("s3://archive/phone/1.tar", "a.flac") is None
    True
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._seconds: dict[str, float] = defaultdict(float)

    def add(self, uri: str, member: str | None, seconds: float) -> None:
        """Count a recording that was decoded, or a part of one."""
        self._seconds[source_of(uri, member, self._limits.roots)] += seconds

    def refusal(self, uri: str, member: str | None) -> UtteranceError | None:
        """Return the error of the next recording of a source that has used up its quota; else None."""
        source = source_of(uri, member, self._limits.roots)
        seconds, most = self._seconds[source], self._limits.max_source_seconds
        if seconds < most:
            return None
        hours = f"{seconds / 3600:.2f} h were decoded in this shard, the quota is {most / 3600:g} h"
        return UtteranceError("over_quota", f"source {source}: {hours}")
