"""What is to be embedded again, by codec or library: shards with rows of it that other libraries have computed."""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa
import pyarrow.compute as pc

from detector.audio import SAMPLE_RATE
from detector.canaries import DECODERS, ENCODERS, RESAMPLER, Drift
from detector.layout import PYAV, SOUNDFILE
from jobs.tables.ledger import Ledger
from jobs.tables.protocol import Marker, PlanHistory

VERSIONS = "versions"
"""In the detail of a plan: versions of libraries with which its shards were begun."""

_DECODER_OF = dict(zip(DECODERS, (SOUNDFILE, PYAV), strict=True))


class Redo:
    """Codecs and libraries whose rows are embedded again.

    Parameters
    ----------
    names : str
        Separated by commas: codecs as in the column `codec`, `libsndfile` and `libavcodec` for all that these decode,
        `soxr` for all that it resamples, `torch`, `transformers` or `numpy` for all rows.

    Examples
    --------
    >>> redo = Redo("aac,soxr")
    >>> [redo.covers(Drift("a", codec, "samples", 0.1, (library,))) for codec, library in (("aac", "libavcodec"),
    ...  ("mp3", "soxr"), ("mp3", "libavcodec"))]
    [True, True, False]
    """

    def __init__(self, names: str) -> None:
        self.names = frozenset(filter(None, (name.strip() for name in names.split(","))))

    def covers(self, drift: Drift) -> bool:
        """Return True if all rows that a drift concerns are embedded again."""
        return bool(self.names & {drift.codec, *drift.libraries})

    def sources(
        self, table: Ledger, history: PlanHistory, done: set[str], versions: Mapping[str, str]
    ) -> frozenset[str]:
        """Return the URIs of committed shards that have such rows, unless they were begun with these versions."""
        if not self.names:
            return frozenset()
        older = {
            planned.name
            for planned in history.current.values()
            if history.plans[planned.number - 1].detail.get(VERSIONS) != versions
        }
        shards = [history.by_name[each.name] for each in table.markers(older & done) if self._is_in(table, each)]
        works = [each.entry.work for each in shards if each.entry.has_sources]
        return frozenset(uri for work in works for uri, *_ in work["sources"])

    def _is_in(self, table: Ledger, marker: Marker) -> bool:
        batches = table.batches(marker, "embeddings", ["codec", "decoder", "native_rate"])
        return any(pc.any(self._concerned(batch)).as_py() for batch in batches)

    def _concerned(self, batch: pa.RecordBatch) -> pa.Array:
        decoders = [decoder for library, decoder in _DECODER_OF.items() if library in self.names]
        found = pc.or_(
            pc.is_in(batch["codec"], pa.array(sorted(self.names))),
            pc.is_in(batch["decoder"], pa.array(decoders, pa.string())),
        )
        if RESAMPLER in self.names:
            found = pc.or_(found, pc.not_equal(batch["native_rate"], SAMPLE_RATE))
        return pc.or_(found, pa.scalar(bool(self.names & set(ENCODERS))))


NOTHING = Redo("")
