"""Judging: rows of `embeddings` and a head in, rows of `scores` out.

```
embedding        ─► score, ood ─► p_spoof, entropy ─► label, and for spoof the nearest system
length, level    ─► too_short, silent ─┐
ood, entropy     ─────────────────────┴─► the strongest reason to abstain
windows          ─► contains_score
```
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from detector.errors import ConfigError
from detector.logistic import Bools
from detector.metrics import Floats
from detector.rejection import entropy_bits, p_spoof
from detector.schema import BONAFIDE, SCORES, SPOOF
from detector.segment_rule import contains_scores
from detector.silence import SILENT_DBFS

if TYPE_CHECKING:
    from detector.head import Head


def judge_rows(head: Head, rows: pa.Table, prior: float, run_id: str) -> pa.Table:
    """Judge rows of the head's own recipe; otherwise as :meth:`detector.head.Head.judge`."""
    embeddings, embedded = _matrix(rows["embedding"], len(head.weights))
    score, ood = head.scores(embeddings), head.ood(embeddings)
    # nothing can be said of these rows; NaN is neither above a threshold nor below it, so it would be accepted
    immeasurable = ~(np.isfinite(score) & np.isfinite(ood))
    score, ood = (np.where(immeasurable, 0.0, each) for each in (score, ood))
    too_short, silent = _too_short_and_silent(head, rows, embedded)
    unscored = too_short | silent | immeasurable
    probability, entropy = p_spoof(score, prior), entropy_bits(score, prior)
    reasons = {  # the strongest first: the first that holds is reported
        "too_short": too_short,
        "silent": silent,
        "out_of_distribution": immeasurable | (ood > head.max_ood),
        "uncertain": entropy > head.max_entropy_bits,
    }
    reason = np.select(list(reasons.values()), list(reasons), default="")
    called_spoof = ~unscored & (probability > 0.5)
    contains = contains_scores(
        head.contains_rule,
        head.contains_numbers,
        rows,
        np.where(unscored, np.nan, score),
        head.scores,
        head.silence_dbfs,
    )
    judged = {
        "score": pa.array(score, mask=unscored),
        "prior": np.full(len(rows), prior),
        "p_spoof": pa.array(probability, mask=unscored),
        "label": pa.array(np.where(called_spoof, SPOOF, BONAFIDE), mask=unscored),
        "entropy_bits": pa.array(entropy, mask=unscored),
        "ood": pa.array(ood, mask=unscored),
        "reject": reason != "",
        "reject_reason": pa.array(reason, mask=reason == ""),
        "head_id": [head.head_id] * len(rows),
        "run_id": [run_id] * len(rows),
        "contains_score": pa.array(contains, mask=np.isnan(contains)),
        **head.nearest_systems(embeddings, called_spoof),
    }
    return _as_scores(rows, judged)


def _too_short_and_silent(head: Head, rows: pa.Table, embedded: Bools) -> tuple[Bools, Bools]:
    """Return which rows are too short for a score, and which are too quiet."""
    level = rows["rms_dbfs"].to_numpy()
    unheard = ~embedded & (level <= SILENT_DBFS)  # it was not encoded: no head can score it
    too_short = (~embedded & ~unheard) | (rows["seconds"].to_numpy() < head.min_seconds)
    return too_short, unheard | (level <= head.silence_dbfs)


def _as_scores(rows: pa.Table, judged: dict[str, Any]) -> pa.Table:
    """Return rows of `scores`: what was judged, and beside it what `embeddings` says of the same recordings."""
    same = {name: rows[name] for name in SCORES.names if name in rows.column_names}
    # rows of earlier versions lack columns that were added since
    absent = {each.name: pa.nulls(len(rows)) for each in SCORES if each.nullable and each.name not in same}
    return pa.table({**same, **absent, **judged}).select(SCORES.names).cast(SCORES)


def _matrix(column: pa.ChunkedArray, dim: int) -> tuple[Floats, Bools]:
    """Embeddings as a float64 array of shape (n, dim), zeros for nulls; and a bool array that is False for nulls."""
    array = column.combine_chunks()
    embedded = np.asarray(array.is_valid())
    if array.type.list_size != dim:
        raise ConfigError(f"the head has {dim} dimensions, the embeddings have {array.type.list_size}.")
    embeddings = np.zeros((len(array), dim))
    embeddings[embedded] = array.drop_null().flatten().to_numpy().reshape(-1, dim)
    return embeddings, embedded
