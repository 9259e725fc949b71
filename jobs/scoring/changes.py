"""Changes: what a run found new of a shard, beside the scores that the head had given before."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection

import pyarrow as pa

from jobs.tables.row_history import is_here

CHANGES = ("new", "replaced", "rescored", "removed")
"""Kinds of changes: a recording's first score, or the first since it came back; the score of one whose bytes are others
than before; the first score by this head of one that another head has scored; a recording that is gone."""

FAILED_RUNS = "failed_runs"
"""In the detail of a marker: runs of `embeddings` whose failures are new to the head; all are where it is missing."""


def count_changes(
    judged: pa.Table, former: pa.Table | None, failed: Collection[str], run_id: str, known: Callable[[str], bool]
) -> Counter[str]:
    """Count the changes of one shard by :data:`CHANGES`; a recording that is as it was counts nowhere.

    Parameters
    ----------
    judged : pyarrow.Table
        Rows of `scores` that the run writes, those of recordings that are gone among them.
    former : pyarrow.Table or None
        Rows of the head that stood in the shard's slot.
    failed : collection of str
        Ids of recordings without a score now.
    run_id : str
        Of the scoring run.
    known : callable
        Returns True if another head has scored a recording, by the run that first embedded it.

    Returns
    -------
    Counter
        Numbers of recordings.
    """
    before = {} if former is None else dict(zip(former["utterance_id"].to_pylist(), _here(former), strict=True))
    columns = (judged[name].to_pylist() for name in ("utterance_id", "run_id", "first_run_id"))
    found: Counter[str] = Counter(dict.fromkeys(CHANGES, 0))
    here = set()
    for name, written_by, first_seen_by, is_there in zip(*columns, _here(judged), strict=True):
        if not is_there:
            continue
        here.add(name)
        if name in before:
            found["replaced" if before[name] else "new"] += written_by == run_id
        else:
            found["rescored" if known(first_seen_by) else "new"] += 1
    lost = {name for name, was_there in before.items() if was_there} - here
    found["replaced"] += len(lost.intersection(failed))
    found["removed"] += len(lost.difference(failed))
    return found


def count_pruned(judged: pa.Table, former: pa.Table | None, failed: Collection[str]) -> int:
    """Count the rows that `--prune` took out of a shard: a recording that is gone keeps its row otherwise.

    Parameters
    ----------
    judged, former, failed
        As for :func:`count_changes`.
    """
    if former is None:
        return 0
    return len(set(former["utterance_id"].to_pylist()).difference(judged["utterance_id"].to_pylist(), failed))


def _here(rows: pa.Table) -> list[bool]:
    return list(is_here(rows).to_pylist())
