"""Cost: what a run takes, in the same words where it is measured and where it is estimated."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from jobs.config import CostConfig
from jobs.tables.protocol import Marker

CHANGES = ("new", "replaced", "removed")
READ_BYTES, FOUND = "read_bytes", "found"
"""In the detail of a marker of embeddings: stored bytes of the sources that were read, and recordings by change."""


@dataclass(frozen=True)
class Cost:
    """What a run takes.

    Parameters
    ----------
    changes : mapping of str to int
        Recordings by change: one of :data:`CHANGES`.
    n_bytes : int
        Stored bytes of the sources that are read.
    audio_seconds : float
    device : str
        Of the encoders; empty if none is needed.
    encoder_seconds : float or None
        For which all encoders together are held, on a GPU or a core each; None if nobody knows.
    encoder_gpus : float
        Share of a GPU that an encoder holds.
    requests : mapping of str to int
        To the store, by kind.
    """

    changes: Mapping[str, int] = field(default_factory=dict)
    n_bytes: int = 0
    audio_seconds: float = 0.0
    device: str = ""
    encoder_seconds: float | None = 0.0
    encoder_gpus: float = 1.0
    requests: Mapping[str, int] = field(default_factory=dict)

    @property
    def gpu_hours(self) -> float | None:
        """Hours of a GPU."""
        if self.encoder_seconds is None:
            return None
        return self.encoder_seconds * self.encoder_gpus / 3_600 if self.device == "cuda" else 0.0

    @property
    def core_hours(self) -> float | None:
        """Hours of a core by the encoders on CPUs; decoding is not counted."""
        if self.encoder_seconds is None:
            return None
        return self.encoder_seconds / 3_600 if self.device == "cpu" else 0.0

    def dollars(self, prices: CostConfig) -> float | None:
        """Return the price of encoders and requests at the given prices; None if none is given, or hours are unknown.

        Examples
        --------
        >>> cost = Cost(device="cuda", encoder_seconds=7_200, requests={"put": 900, "list": 100, "get": 5_000})
        >>> cost.dollars(CostConfig(price_gpu_hour=2.5, price_put_1000=0.005))
        5.005
        """
        gpu, core = prices.price_gpu_hour, prices.price_core_hour
        writes = self.requests.get("put", 0) + self.requests.get("list", 0)
        parts = (
            (gpu, self.gpu_hours),
            (core, self.core_hours),
            (prices.price_put_1000, writes / 1_000),
            (prices.price_get_1000, self.requests.get("get", 0) / 1_000),
        )
        given = [(price, amount) for price, amount in parts if price is not None]
        if not given or any(amount is None for _, amount in given):
            return None
        return sum(price * amount for price, amount in given if amount is not None)

    def record(self, prices: CostConfig) -> dict[str, Any]:
        """Return the fields for the run's record."""
        dollars = self.dollars(prices)
        return {
            **{name: self.changes.get(name, 0) for name in CHANGES},
            "bytes": self.n_bytes,
            "audio_seconds": round(self.audio_seconds, 3),
            "gpu_hours": _rounded(self.gpu_hours),
            "core_hours": _rounded(self.core_hours),
            "requests": dict(self.requests),
            "dollars": _rounded(dollars),
        }


@dataclass
class Done:
    """What a run has done so far, from the markers that it committed.

    Parameters
    ----------
    changes : Counter
        Recordings by change: one of :data:`CHANGES`.
    n_bytes : int
        Stored bytes of the sources that were read.
    audio_seconds : float
    """

    changes: Counter[str] = field(default_factory=Counter)
    n_bytes: int = 0
    audio_seconds: float = 0.0

    def add(self, marker: Marker) -> None:
        """Add a shard."""
        self.changes.update(marker.detail.get(FOUND, {}))
        self.n_bytes += marker.detail.get(READ_BYTES, 0)
        self.audio_seconds += marker.detail["audio_seconds"]


def measured(
    done: Done,
    device: str,
    encoders: Mapping[str, Any],
    encoder_gpus: float = 1.0,
    requests: Mapping[str, int] | None = None,
) -> Cost:
    """Return what a run took, from what it has done and what is recorded of its encoders."""
    held = encoders.get("busy_seconds", 0.0) + encoders.get("waited_seconds", 0.0)
    return Cost(done.changes, done.n_bytes, done.audio_seconds, device, held, encoder_gpus, requests or {})


def changes_of(embeddings: pa.Table, run_id: str, date: str) -> dict[str, int]:
    """Count the recordings of a shard that a run found new, replaced or gone, from their rows."""
    is_mine = pc.equal(embeddings["run_id"], run_id)
    is_new = pc.equal(embeddings["first_run_id"], run_id)
    is_gone = pc.fill_null(pc.equal(embeddings["removed_at"].cast(pa.string()), date), False)
    is_here = pc.is_null(embeddings["removed_at"])
    found = {
        "new": pc.and_(pc.and_(is_mine, is_new), is_here),
        "replaced": pc.and_(pc.and_(is_mine, pc.invert(is_new)), is_here),
        "removed": is_gone,
    }
    return {name: n for name, mask in found.items() if (n := pc.sum(mask).as_py() or 0)}


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)
