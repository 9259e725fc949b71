"""The canaries of a run: do they give what they gave when the rows of the output were computed?

```
driver    hears the canaries          before a plan is written   samples  ─┐
worker    hears the same, or ends     before its first shard               ├─► the output's references: go on, or 65
encoder   embeds what was heard       with its first table       vectors  ─┘
```

An encoder's vectors come with the first table that it returns, and are compared before a row of that table is written.
Where an output has no reference yet, the first encoder's vectors become it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from detector import canaries
from detector.canaries import Drift, Heard, cosine_distance, kept, samples_distance
from detector.config import FORMER, Recipe
from detector.errors import ConfigError
from detector.metrics import Floats
from jobs.decoding.canaries import hear
from jobs.embedding.redo import NOTHING, Redo
from jobs.inputs import pieces
from jobs.tables.canaries import REPLACES, Reference, Vectors, read_references, write_reference
from jobs.tables.ledger import Ledger

SHOWN = 4  # drifts in a message

log = logging.getLogger(__name__)

Judge = Callable[[Floats], Floats]


class RunCanaries:
    """The canaries of one run, for all of its layers.

    Parameters
    ----------
    accept_drift : bool
        If True, a drift is stored as another reference and stands in the record; else it is an error.
    redo : Redo
        What is embedded again: a drift of nothing else is stored, too, in the place of all earlier references.
    judge : callable, optional
        Scores of embeddings, in nats, if the run has a head.
    """

    def __init__(self, *, accept_drift: bool = False, redo: Redo = NOTHING, judge: Judge | None = None) -> None:
        self._accept_drift = accept_drift
        self._redo = redo
        self._judge = judge
        self._tables: dict[str, _TableCanaries] = {}
        self.compared: set[str] = set()
        """Digests of the vectors that were compared, and did not end the run."""

    @property
    def heard(self) -> dict[str, Heard]:
        """The canaries as the driver hears them, once something needs them."""
        return hear()

    def compare_samples(self, table: Ledger, recipe: Recipe) -> None:
        """Compare what the driver hears with the references of a table; do nothing if it was done before.

        Raises
        ------
        ConfigError
            If samples differ too much, and no drift is accepted.
        """
        if table.name not in self._tables:
            each = _TableCanaries(table, kept(self.heard), self._judge, self._redo)
            if not self._accept_drift:
                each.refuse_other_versions(recipe)
                each.refuse_other_samples()
            self._tables[table.name] = each

    def compare(self, embedded: pa.Table, tables: list[Ledger]) -> bool:
        """Compare the vectors of canaries in a table of pieces with the references; return True if there are any.

        Parameters
        ----------
        tables : list of Ledger
            Of the layers whose vectors stand side by side.

        Raises
        ------
        ConfigError
            If vectors differ too much, and no drift is accepted.
        """
        reports = pieces.canaries_in(embedded)
        names = canaries.decoded(self.heard)
        for vectors, versions in reports:
            if (digest := pieces.canaries_digest(vectors, versions)) in self.compared:
                continue
            for table, of_layer in zip(tables, np.split(vectors, len(tables), axis=1), strict=True):
                found = dict(zip(names, of_layer, strict=True))
                self._tables[table.name].compare(found, versions, accept_drift=self._accept_drift)
            self.compared.add(digest)
        return bool(reports)

    def record(self, table: Ledger) -> dict[str, Any] | None:
        """Return what the run's record says: the largest distances, and what was accepted; None if none was heard."""
        return self._tables[table.name].record() if table.name in self._tables else None


class _TableCanaries:
    """The canaries beside the references of one table."""

    def __init__(self, table: Ledger, heard: Mapping[str, Heard], judge: Judge | None, redo: Redo) -> None:
        self._table = table
        self._redo = redo
        self._heard = heard
        self._judge = judge
        self._references = read_references(table)
        self._largest: dict[str, float] = {}
        self._accepted: list[Drift] = []

    def refuse_other_versions(self, recipe: Recipe) -> None:
        """Refuse what cannot be measured: an output of an earlier version, with another decoder or resampler."""
        now = _former(canaries.versions())
        changed = [
            f"{name} was {value!r}, now {now[name]!r}" for name, value in recipe.former if value != now.get(name)
        ]
        if changed and not self._references:
            raise ConfigError(
                f"{self._table.output}: its embeddings (fingerprint {self._table.key}) were computed with other "
                f"libraries before canaries were kept, so nothing tells whether these give the same: "
                f"{'; '.join(changed)}. Run once with the libraries of then, which keeps canaries; or go on with "
                f"--accept-drift, of which the run's record will tell; or use another --output."
            )

    def refuse_other_samples(self) -> None:
        """Refuse samples that differ from those of every reference."""
        found = [(_heard_otherwise(each, self._heard)[0], each) for each in self._references]
        if found:
            drifts, reference = min(found, key=_by_drifts)
            self._refuse(drifts, reference, canaries.versions())

    def compare(self, vectors: Vectors, versions: dict[str, str], *, accept_drift: bool) -> None:
        """Compare what an encoder gives with the references; store it as one if there is none, or if it may drift."""
        now = Reference(self._heard, vectors, canaries.versions() | versions)
        while True:
            drifts, distances, nearest = self._nearest(now)
            if nearest is not None and not accept_drift:
                self._refuse(drifts, nearest, now.versions)
            if nearest is not None and not drifts:
                break
            detail = {"accepted": [asdict(each) for each in drifts], REPLACES: bool(drifts) and not accept_drift}
            if write_reference(self._table, replace(now, detail=detail), self._references):
                break
            # another run was faster: ours is compared with what it stored
            self._references = read_references(self._table)
        for each in drifts:
            log.warning("%s: accepted: %s", self._table.output, _described(each))
        self._references = read_references(self._table) if drifts or nearest is None else self._references
        self._accepted += drifts
        self._largest = {name: max(value, self._largest.get(name, 0.0)) for name, value in distances.items()}

    def _refuse(self, drifts: list[Drift], reference: Reference, versions: Mapping[str, str]) -> None:
        """Refuse drifts of what is not embedded again."""
        is_of_versions = _are_others(reference)
        if left := [each for each in drifts if not self._redo.covers(each, is_of_versions)]:
            raise self._refused(left, reference, versions)

    def record(self) -> dict[str, Any]:
        return {"largest": self._largest, "accepted": [asdict(each) for each in self._accepted]}

    def _nearest(self, now: Reference) -> tuple[list[Drift], dict[str, float], Reference | None]:
        """Return how ``now`` differs from the reference that it differs least from."""
        nothing = {"samples": 0.0, "embedding": 0.0} | ({} if self._judge is None else {"score": 0.0})
        if not self._references:
            return [], nothing, None
        found = []
        for each in self._references:
            drifts, heard = _heard_otherwise(each, now.heard)
            cosines, scores = _encoded_distances(each.vectors, now.vectors, self._judge)
            drifts += canaries.encoded_otherwise(cosines, scores, each.heard)
            measured = {"samples": heard, "embedding": cosines, "score": scores}
            largest = {name: max(measured[name].values(), default=0.0) for name in nothing}
            found.append((drifts, largest, each))
        return min(found, key=_by_drifts)

    def _refused(self, drifts: list[Drift], reference: Reference, versions: Mapping[str, str]) -> ConfigError:
        libraries = sorted({name for each in drifts for name in each.libraries})
        changed = ", ".join(f"{name} {reference.versions.get(name)} then, {versions[name]} now" for name in libraries)
        shown = "; ".join(map(_described, sorted(drifts, key=lambda each: -each.distance)[:SHOWN]))
        more = f"; and {len(drifts) - SHOWN} more" if len(drifts) > SHOWN else ""
        again = {_to_redo(each) if _are_others(reference) else f"codec={each.codec}" for each in drifts}
        return ConfigError(
            f"{self._table.output}: canaries do not give what they gave when its embeddings (fingerprint "
            f"{self._table.key}) were computed: {shown}{more} ({changed}). Install the versions of then; or embed "
            f"again what is affected, with --redo {','.join(sorted(again))}; or go on with "
            f"--accept-drift, of which the run's record will tell."
        )


def _by_drifts(found: tuple[Any, ...]) -> int:
    return len(found[0])


def _are_others(reference: Reference) -> bool:
    """Return True if what is installed is not what a reference was made with."""
    return any(reference.versions.get(name) != version for name, version in canaries.versions().items())


def _to_redo(drift: Drift) -> str:
    """Return what to embed again: the rows of a codec, or all those that the resampler or the encoder has made."""
    return drift.codec if drift.libraries[0] in canaries.DECODERS else drift.libraries[0]


def _described(drift: Drift) -> str:
    unit, tolerance = {
        "samples": ("of full scale", canaries.SAMPLES_TOLERANCE),
        "embedding": ("of 1 - cosine", canaries.COSINE_TOLERANCE),
        "score": ("nats", canaries.SCORE_TOLERANCE),
    }[drift.what]
    blamed = " or ".join(drift.libraries)
    return (
        f"{drift.codec} ({drift.canary}): {drift.what} {drift.distance:.2g} {unit} away by {blamed}, where "
        f"{tolerance:g} is allowed"
    )


def _heard_otherwise(reference: Reference, heard: Mapping[str, Heard]) -> tuple[list[Drift], dict[str, float]]:
    """Compare the canaries that both have, and that could be decoded when the reference was written."""
    distances = {
        name: samples_distance(before.samples, heard[name].samples)
        for name, before in reference.heard.items()
        if name in heard and len(before.samples)
    }
    return canaries.heard_otherwise(distances, reference.heard), distances


def _encoded_distances(before: Vectors, now: Vectors, judge: Judge | None) -> tuple[dict[str, float], dict[str, float]]:
    """Return the distances of vectors and of their scores, by canary."""
    names = [name for name in before if name in now]
    cosines = {name: cosine_distance(before[name], now[name]) for name in names}
    if judge is None or not names or any(before[name].shape != now[name].shape for name in names):
        return cosines, {}
    scores = [judge(_matrix(vectors, names)) for vectors in (before, now)]
    return cosines, dict(zip(names, canaries.score_distances(*scores).tolist(), strict=True))


def _matrix(vectors: Vectors, names: list[str]) -> npt.NDArray[np.float64]:
    return np.stack([vectors[name] for name in names]).astype(np.float64)


def _former(versions: Mapping[str, str]) -> dict[str, str]:
    """Write versions as the recipes of earlier versions of bonafide have them."""
    values = (
        f"libsndfile {versions['libsndfile']}, libavcodec {versions['libavcodec']}",
        f"soxr HQ {versions['soxr']}",
    )
    return dict(zip(FORMER, values, strict=True))
