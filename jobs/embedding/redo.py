"""What is to be embedded again: rows that other libraries have computed, or shards that are named.

```
 aac, soxr, torch      shards with rows of a codec or library, unless the installed libraries have computed them
 segments              shards with recordings that lack the windows that `--segments` asks for
 codec=aac             shards with rows of a codec, whatever has computed them
 prefix=s3://a/2026/   shards with a source below a prefix
 shard=s3://a/1.tar    the shard of a source
```
"""

from __future__ import annotations

from collections.abc import Mapping, Set

import pyarrow as pa
import pyarrow.compute as pc

from detector.audio import SAMPLE_RATE
from detector.canaries import DECODERS, ENCODERS, RESAMPLER, Drift
from detector.errors import ConfigError
from detector.layout import PYAV, SOUNDFILE
from detector.windows import Windows
from jobs import storage
from jobs.embedding.segments import shards_without
from jobs.inputs.shards import is_removed
from jobs.tables.ledger import Ledger
from jobs.tables.plan import SEGMENTS
from jobs.tables.protocol import Marker, PlanHistory, PlannedShard

VERSIONS = "versions"
"""In the detail of a plan: versions of libraries with which its shards were begun."""

REDO = "redo"
"""In the detail of a plan: the codecs, prefixes and shards that its run was told to embed again."""

_DECODER_OF = dict(zip(DECODERS, (SOUNDFILE, PYAV), strict=True))


class Redo:
    """Rows that are embedded again, by the shards that hold them.

    Parameters
    ----------
    names : str
        Separated by commas. Codecs as in the column `codec`, `libsndfile` and `libavcodec` for all that these decode,
        `soxr` for all that it resamples, `torch`, `transformers` or `numpy` for all rows: of these, what other versions
        of the libraries have computed. `segments`: what lacks the windows that the run asks for. `codec=`, `prefix=`
        and `shard=`: all that has a row of this codec, or a source below this prefix or at this URI; a run that is
        started again on the same date does not repeat it.

    Raises
    ------
    ConfigError
        If a name has an `=` behind another word, or nothing behind it.

    Examples
    --------
    >>> redo = Redo("aac,soxr")
    >>> [redo.covers(Drift("a", codec, "samples", 0.1, (library,)), True) for codec, library in (("aac", "libavcodec"),
    ...  ("mp3", "soxr"), ("mp3", "libavcodec"))]
    [True, True, False]
    """

    def __init__(self, names: str) -> None:
        given = [name.strip() for name in names.split(",") if name.strip()]
        self.named = sorted({name for name in given if "=" in name})
        self.asks_for_segments = SEGMENTS in given
        self.names = frozenset(given).difference(self.named, [SEGMENTS])
        self._codecs = frozenset(_values(self.named, "codec"))
        self._prefixes = tuple(map(_prefix, _values(self.named, "prefix")))
        self._sources = frozenset(map(storage.normal, _values(self.named, "shard")))
        if len([*self._codecs, *self._prefixes, *self._sources]) < len(self.named):
            raise ConfigError(
                f"--redo {names}: expected codecs, libraries, segments, codec=NAME, prefix=URI or shard=URI."
            )

    def covers(self, drift: Drift, is_of_versions: bool) -> bool:
        """Return True if all rows that a drift concerns are embedded again.

        Parameters
        ----------
        is_of_versions : bool
            True if versions of libraries are others than then. If not, as between builds or kinds of processors, what
            is named without `codec=` is taken for what these versions gave, and left alone.
        """
        return drift.codec in self._codecs or (is_of_versions and bool(self.names & {drift.codec, *drift.libraries}))

    def sources(
        self,
        table: Ledger,
        history: PlanHistory,
        done: Set[str],
        versions: Mapping[str, str],
        date: str,
        windows: Windows | None = None,
    ) -> frozenset[str]:
        """Return the URIs of the sources of committed shards that are embedded again, but for those that are gone.

        Parameters
        ----------
        versions : mapping
            What is installed: shards that were begun with it are left alone, unless they are named.
        date : str
            Date of the run: shards that were planned on it for the same reason are left alone, so that a run that was
            stopped does not begin anew.
        windows : Windows, optional
            Windows that the run asks for.

        Raises
        ------
        ConfigError
            If no shard of the table has a source that is named, or windows are named and none are asked for.
        """
        if self.asks_for_segments and windows is None:
            raise ConfigError(f"--redo {SEGMENTS}: embeds what has no windows; say which by --segments.")
        if not (self.names or self.named or self.asks_for_segments):
            return frozenset()
        # the rows that stand, also of a slot that was planned again since, which would take them over
        committed = list(history.last_committed(done).values())
        begun = {planned.name for planned in committed if self._is_begun(planned, history, date)}
        named = {planned.name for planned in committed if self._names_a_source(planned)}
        if (self._prefixes or self._sources) and not named:
            raise ConfigError(
                f"--redo {','.join(self.named)}: no committed shard of {table.output} has a source there. Give the URI "
                f"as in the column `uri`."
            )
        plans = {planned.name: history.plans[planned.number - 1] for planned in committed}
        older = {name for name, plan in plans.items() if plan.detail.get(VERSIONS) != versions}
        again = {name for name, plan in plans.items() if (plan.run_date, plan.detail.get(REDO)) != (date, self.named)}
        again -= begun
        found = named & again
        found |= _with_rows(table, again - found, self._codecs)
        found |= _with_rows(table, older - found, self.names)
        if self.asks_for_segments and windows is not None:
            found |= shards_without(table, history, committed, windows)
        sources = (source for name in found for source in history.by_name[name].shard.sources)
        return frozenset(source.uri for source in sources if not is_removed(source))

    def _is_begun(self, planned: PlannedShard, history: PlanHistory, date: str) -> bool:
        """Return True if a run of this date that was told the same has planned a shard again, and not come to it."""
        now = history.current.get(planned.slot, planned)
        plan = history.plans[now.number - 1]
        return bool(self.named) and now != planned and (plan.run_date, plan.detail.get(REDO)) == (date, self.named)

    def _names_a_source(self, planned: PlannedShard) -> bool:
        return any(uri.startswith(self._prefixes) or uri in self._sources for uri in planned.entry.source_uris)


def _with_rows(table: Ledger, shards: set[str], names: frozenset[str]) -> set[str]:
    """Return which of these committed shards have rows of such codecs or libraries."""
    return {each.name for each in table.markers(shards) if _is_in(table, each, names)} if names else set()


def _is_in(table: Ledger, marker: Marker, names: frozenset[str]) -> bool:
    batches = table.batches(marker, "embeddings", ["codec", "decoder", "native_rate"])
    return any(pc.any(_concerned(batch, names)).as_py() for batch in batches)


def _concerned(batch: pa.RecordBatch, names: frozenset[str]) -> pa.Array:
    decoders = [decoder for library, decoder in _DECODER_OF.items() if library in names]
    found = pc.or_(
        pc.is_in(batch["codec"], pa.array(sorted(names))),
        pc.is_in(batch["decoder"], pa.array(decoders, pa.string())),
    )
    if RESAMPLER in names:
        found = pc.or_(found, pc.not_equal(batch["native_rate"], SAMPLE_RATE))
    return pc.or_(found, pa.scalar(bool(names & set(ENCODERS))))


def _values(named: list[str], kind: str) -> list[str]:
    return [name.removeprefix(f"{kind}=") for name in named if name.startswith(f"{kind}=") and name != f"{kind}="]


def _prefix(name: str) -> str:
    """Return a prefix as the URIs of sources begin with it; a slash at its end stays."""
    return storage.normal(name).rstrip("/") + "/" * name.endswith("/")


NOTHING = Redo("")
