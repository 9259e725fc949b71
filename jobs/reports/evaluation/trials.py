"""Trials: scores of one or more heads joined with labels, one to one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from detector.errors import ConfigError
from detector.metrics import Trials
from detector.schema import BONAFIDE, SCORES, SPOOF, UNKNOWN
from jobs import storage
from jobs.inputs.suffix_matches import match_by_suffix, rename, suggestion
from jobs.inputs.utterance_ids import refuse_repeated
from jobs.tables import ledger
from jobs.tables.protocol import Marker

RENAMED = {
    "label": "truth",
    "codec": "transmission",
}  # scores have a label, embeddings a codec of their own
CLUSTERS = {BONAFIDE: ("speaker", "source"), SPOOF: ("system", "speaker", "source")}
SHOWN_IDS = 5


@dataclass(frozen=True)
class HeadTrials:
    """The scores of one head, joined with the labels.

    Parameters
    ----------
    head_id : str
    uri : str
        The output that holds its scores.
    rows : pyarrow.Table
        Columns of `scores`, then `truth`, `transmission` (the labels' `codec`) and what else the labels say; sorted by
        `utterance_id`.
    seen : pyarrow.Table
        The same of labelled rows of other splits.
    n_unlabelled : int
        Scores that no label knows.
    failed : tuple of str
        Labelled ids that are in `failures`, not in `scores`.
    missing : tuple of str
        Labelled ids that are in neither.
    """

    head_id: str
    uri: str
    rows: pa.Table
    seen: pa.Table
    n_unlabelled: int
    failed: tuple[str, ...]
    missing: tuple[str, ...]


def join_scores_with_labels(
    uris: Iterable[str],
    head_ids: tuple[str, ...],
    labels: pa.Table,
    split: str,
    *,
    allow_missing: bool,
    match: str = "exact",
) -> list[HeadTrials]:
    """Join the scores of every head under ``uris`` with the labels.

    Parameters
    ----------
    uris : iterable of str
        Outputs of `score` or `nightly`.
    head_ids : tuple of str
        Which heads; all where empty.
    labels : pyarrow.Table
        As :func:`jobs.inputs.labels.read_labels` reads them, of all splits.
    split : str
        The rows to judge by, where the labels know splits.
    allow_missing : bool
        Whether a labelled id may have neither a score nor a failure.
    match : str
        One of :data:`jobs.config.MATCH`.

    Returns
    -------
    list of HeadTrials
        In the order of ``uris`` and, of one output, of ``head_ids`` or of the ids.

    Raises
    ------
    ConfigError
        Where a head is not there or twice, or ids do not join.
    """
    found = [(uri, head_id) for uri in map(storage.normal, uris) for head_id in _heads_of(uri, head_ids)]
    names = [head_id for _, head_id in found]
    absent = [head_id for head_id in head_ids if head_id not in names]
    twice = sorted({name for name in names if names.count(name) > 1})
    if absent or twice:
        where = ", ".join(f"{name} in {uri}" for uri, name in found) or "none"
        what = f"not there: {', '.join(absent)}" if absent else f"there twice: {', '.join(twice)}"
        raise ConfigError(f"heads {what}. Found: {where}. Name each head's scores once, by --scores and --head-id.")
    judged = [_joined(uri, head_id, labels, split, match) for uri, head_id in found]
    for each in judged:
        if each.missing and not allow_missing:
            raise ConfigError(
                f"{each.uri}: {len(each.missing)} labelled id(s) of split {split!r} have neither a score of head "
                f"{each.head_id} nor a failure: {_some(each.missing)}. Score them, take them out of the labels, or "
                f"say --allow-missing to judge by the rest."
            )
    return judged


def restrict_to_shared_ids(judged: list[HeadTrials], *, allow_missing: bool) -> list[HeadTrials]:
    """Refuse heads that scored different utterances, or keep the utterances that all scored.

    Raises
    ------
    ConfigError
        Naming ids that one head has and another has not.
    """
    ids = [set(each.rows["utterance_id"].to_pylist()) for each in judged]
    shared = set.intersection(*ids)
    for each, own in zip(judged, ids, strict=True):
        if own != shared and not allow_missing:
            raise ConfigError(
                f"{each.uri}: {len(own - shared)} id(s) were scored by head {each.head_id}, not by every other head: "
                f"{_some(sorted(own - shared))}. A comparison is of the same utterances: score them with all heads, or "
                f"say --allow-missing to compare on the {len(shared)} that they share."
            )
    if not shared:
        raise ConfigError("the heads were scored on different utterances; none is shared.")
    keep = pa.array(sorted(shared))
    return [
        each if len(each.rows) == len(shared) else _kept(each, pc.is_in(each.rows["utterance_id"], keep))
        for each in judged
    ]


def to_trials(rows: pa.Table) -> Trials:
    """Return the rows as trials for the metrics, with the clusters of :func:`bootstrap_clusters`.

    Parameters
    ----------
    rows : pyarrow.Table
        As :attr:`HeadTrials.rows`.
    """
    numbers = {name: rows[name].fill_null(np.nan).to_numpy() for name in ("score", "p_spoof", "entropy_bits")}
    is_spoof = pc.equal(rows["truth"], SPOOF).to_numpy(zero_copy_only=False)
    called_spoof = pc.equal(rows["label"], SPOOF).fill_null(False).to_numpy(zero_copy_only=False)
    scored = rows["score"].is_valid().to_numpy()
    return Trials(
        score=numbers["score"],
        is_spoof=is_spoof,
        p_spoof=numbers["p_spoof"],
        uncertainty=numbers["entropy_bits"],
        wrong=scored & (called_spoof != is_spoof),
        kept=~rows["reject"].to_numpy(zero_copy_only=False),
        cluster=bootstrap_clusters(rows),
    )


def bootstrap_clusters(rows: pa.Table) -> npt.NDArray[np.str_]:
    """Return the cluster of each row for the bootstrap: the speaker of bona fide speech, the system of spoof.

    Without these, the source, or the other of the two.

    Parameters
    ----------
    rows : pyarrow.Table
        With `utterance_id`, `truth`, `system`, `speaker` and `source`. A row of which none is known is a cluster of
        its own; the classes share no cluster.
    """
    names = []
    for row in rows.select(["utterance_id", "truth", *CLUSTERS[SPOOF]]).to_pylist():
        known = next((name for name in CLUSTERS[row["truth"]] if row[name] not in UNKNOWN), "utterance_id")
        names.append(f"{row['truth']} {known} {row[known]}")
    return np.array(names, dtype=np.str_)


def _heads_of(uri: str, head_ids: tuple[str, ...]) -> list[str]:
    here = ledger.keys(uri, "scores")
    if not here:
        raise ConfigError(f"{uri}: no scores here. Give the --output of the `score` or `nightly` run that wrote them.")
    return [head_id for head_id in head_ids if head_id in here] if head_ids else here


def _joined(uri: str, head_id: str, labels: pa.Table, split: str, match: str) -> HeadTrials:
    history = ledger.Ledger(uri, "scores", head_id)
    markers = list(history.committed())
    scores = _tables(history, markers, "scores", SCORES)
    refuse_repeated(scores["utterance_id"], uri)
    failures = {name for marker in markers for name in _failed_ids(history, marker)}
    names = [*scores["utterance_id"].to_pylist(), *failures]
    if match == "suffix":
        labels = rename(labels, match_by_suffix(labels["utterance_id"].to_pylist(), names, uri))
    known = labels["split"].null_count < len(labels)
    of_split = pc.equal(labels["split"], split).fill_null(False) if known else pa.array([True] * len(labels))
    wanted = labels.filter(of_split).rename_columns(RENAMED)
    others = labels.filter(pc.invert(of_split)).rename_columns(RENAMED)
    rows = scores.join(wanted, "utterance_id", join_type="inner").sort_by("utterance_id")
    if not len(rows):
        some = next(iter(scores["utterance_id"].to_pylist()), "none")
        raise ConfigError(
            f"{uri}: none of {len(wanted)} labelled ids (split {split!r}) is among {len(scores)} scores of head "
            f"{head_id}. The ids of both must be spelt alike; a score's is {some!r}."
            f"{suggestion(wanted['utterance_id'].to_pylist(), names)}"
        )
    without = sorted(set(wanted["utterance_id"].to_pylist()) - set(rows["utterance_id"].to_pylist()))
    seen = scores.join(others, "utterance_id", join_type="inner").sort_by("utterance_id")
    return HeadTrials(
        head_id=head_id,
        uri=uri,
        rows=rows,
        seen=seen,
        n_unlabelled=len(scores) - len(rows) - len(seen),
        failed=tuple(name for name in without if name in failures),
        missing=tuple(name for name in without if name not in failures),
    )


def _tables(history: ledger.Ledger, markers: list[Marker], table: str, schema: pa.Schema) -> pa.Table:
    tables = [rows for marker in markers if (rows := history.read(marker, table)) is not None]
    return pa.concat_tables([schema.empty_table(), *tables])


def _failed_ids(history: ledger.Ledger, marker: Marker) -> list[str]:
    failed = history.read(marker, "failures") if "failures" in marker.rows else None
    return [] if failed is None else list(failed["utterance_id"].to_pylist())


def _kept(judged: HeadTrials, keep: pa.ChunkedArray) -> HeadTrials:
    return HeadTrials(**{**vars(judged), "rows": judged.rows.filter(keep)})


def _some(names: tuple[str, ...] | list[str]) -> str:
    more = len(names) - SHOWN_IDS
    return ", ".join(map(repr, names[:SHOWN_IDS])) + (f" and {more} more" if more > 0 else "")
