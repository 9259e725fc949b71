"""Limits: how much audio a recording, a stored object and a source in a shard may have, before the rest is rows."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass

from detector.decoders import MAX_SECONDS
from detector.errors import UtteranceError
from jobs.config import MIN_BITRATE
from jobs.inputs.sources import source_of

FREE_SECONDS = 60.0  # of audio that any object may have, however few its bytes
SILENT_SHARE = 50.0  # seconds of silence that count as one: they are decoded, and never encoded


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
    min_bitrate : float
        Stored bits of an object for each second of audio, beyond :data:`FREE_SECONDS`; what has fewer is `over_quota`.
        0 allows any.
    """

    max_seconds: float = MAX_SECONDS
    max_source_seconds: float = math.inf
    roots: tuple[str, ...] = ()
    min_bitrate: float = MIN_BITRATE

    @property
    def has_quota(self) -> bool:
        """True if sources are counted."""
        return not math.isinf(self.max_source_seconds)

    def allowance_of(self, n_stored: int) -> Allowance:
        """Return the audio that an object of ``n_stored`` bytes may have."""
        return Allowance(n_stored, self.min_bitrate)


DEFAULTS, NO_LIMITS = Limits(), Limits(min_bitrate=0.0)


class Allowance:
    """The audio that is left to the recordings of a stored object, be it a loose file or a container.

    A codec that compresses further than speech can be, and compression upon compression, make any number of hours out
    of a few bytes. Those bytes are all that a stranger has to pay for, so they bound what is encoded.

    Parameters
    ----------
    n_stored : int
        Bytes of the object in the store, compressed as they are.
    min_bitrate : float
        As of :class:`Limits`.

    Examples
    --------
    >>> allowance = Allowance(1_000_000, 100.0)
    >>> allowance.seconds
    80060.0
    >>> allowance.take(heard=80_000.0, decoded=80_000.0)
    >>> allowance.seconds, allowance.is_spent
    (60.0, False)
    >>> allowance.take(heard=0.0, decoded=3_600.0)
    >>> allowance.is_spent
    True
    >>> allowance.refusal().message  # doctest: +ELLIPSIS
    '1,000,000 stored bytes have 80,060 s of audio at most: 60 s, and one for every 100 bits. If ...
    """

    def __init__(self, n_stored: int, min_bitrate: float) -> None:
        self._n_stored = n_stored
        self._min_bitrate = min_bitrate
        self._most = FREE_SECONDS + n_stored * 8 / min_bitrate if min_bitrate else math.inf
        self.seconds = self._most

    @property
    def is_spent(self) -> bool:
        """True if nothing is left."""
        return self.seconds <= 0.0

    @property
    def most_seconds(self) -> float:
        """The most that is left to decode, if all of it is silent."""
        return max(0.0, self.seconds * SILENT_SHARE)

    def take(self, heard: float, decoded: float) -> None:
        """Count a recording: the seconds that were passed to an encoder, or else those that were decoded and silent."""
        self.seconds -= max(heard, decoded / SILENT_SHARE)

    def refusal(self, seconds: float | None = None) -> UtteranceError:
        """Return the error of a recording of which ``seconds`` were decoded when the allowance was spent."""
        return UtteranceError(
            "over_quota",
            f"{self._n_stored:,} stored bytes have {self._most:,.0f} s of audio at most: {FREE_SECONDS:g} s, and one "
            f"for every {self._min_bitrate:g} bits. If recordings have fewer here, lower --min-bitrate",
            seconds,
        )


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
