"""Segments: the judgement of the windows of recordings, each as if it were a recording of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from detector.head import Head
from detector.schema import SEGMENTS, embeddings_schema
from detector.windows import StoredWindows, stored_windows

BLOCK_WINDOWS = 4_096  # judged at once: 64 MB of 2,048 numbers as float64
UNHEARD = ("too_short", "silent")
"""Reasons for which a head gives a recording no score; such a recording has no windows."""


def judge_windows(
    head: Head, rows: pa.Table, judged: pa.Table, prior: float, recipe: Mapping[str, Any] | None = None
) -> pa.Table:
    """Judge the windows in rows of `embeddings`, and return the rows of `segments`.

    Parameters
    ----------
    rows : pyarrow.Table
        Of `embeddings`; those without windows give no rows.
    judged : pyarrow.Table
        Of `scores`: the same recordings as the head judges them. A window gets the run of its recording.
    prior, recipe
        As for :meth:`detector.head.Head.judge`.

    Returns
    -------
    pyarrow.Table
        With the columns of :data:`detector.schema.SEGMENTS`, in the order of ``rows`` and of time. The rules by which a
        head abstains are those for recordings: a window may be too short, or silent, where its recording is not.
    """
    columns = (judged[name].to_pylist() for name in ("utterance_id", "reject_reason", "run_id"))
    run_ids = {name: run_id for name, reason, run_id in zip(*columns, strict=True) if reason not in UNHEARD}
    ids, fingerprints = rows["utterance_id"].to_pylist(), rows["fingerprint"].to_pylist()
    found = [SEGMENTS.empty_table()]
    for parts in _blocks(windows for windows in stored_windows(rows) if ids[windows.row] in run_ids):
        names = [ids[part.row] for _, part in parts for _ in part.levels]
        block = {
            "utterance_id": names,
            "seconds": np.concatenate([part.end_seconds - part.start_seconds for _, part in parts]),
            "rms_dbfs": np.concatenate([part.levels for _, part in parts]),
            "embedding": _vectors(np.concatenate([part.vectors for _, part in parts])),
            "fingerprint": [fingerprints[part.row] for _, part in parts for _ in part.levels],
        }
        schema = embeddings_schema(parts[0][1].vectors.shape[1])
        absent = {each.name: pa.nulls(len(names), each.type) for each in schema if each.name not in block}
        # judging fills in what it finds; a window has no place in the archive of its own
        table = pa.table(absent | block | {"uri": [""] * len(names)}).select(schema.names)
        verdicts = head.judge(table, prior, "", recipe)
        own = {
            "segment": np.concatenate([first + np.arange(len(part.levels), dtype=np.int32) for first, part in parts]),
            "start_seconds": np.concatenate([part.start_seconds for _, part in parts]),
            "end_seconds": np.concatenate([part.end_seconds for _, part in parts]),
            "speech_share": np.concatenate([part.speech_shares for _, part in parts]),
            "run_id": [run_ids[name] for name in names],
        }
        same = {name: verdicts[name] for name in SEGMENTS.names if name not in own}
        found.append(pa.table(same | own).select(SEGMENTS.names).cast(SEGMENTS))
    return pa.concat_tables(found)


def count_segments(segments: pa.Table, judged: pa.Table) -> dict[str, int]:
    """Count rows of `segments`, those that are flagged, their recordings, and the scored recordings without any."""
    flagged = pc.and_(pc.greater(segments["p_spoof"], 0.5), pc.invert(segments["reject"]))
    n_scored = len(judged) - (pc.sum(pc.is_in(judged["reject_reason"], pa.array(UNHEARD))).as_py() or 0)
    return {
        "rows": len(segments),
        "flagged": pc.sum(flagged).as_py() or 0,
        "recordings": (n_with := len(segments["utterance_id"].unique())),
        "recordings_without": n_scored - n_with,
    }


def _blocks(found: Iterator[StoredWindows]) -> Iterator[list[tuple[int, StoredWindows]]]:
    """Yield windows of one or more recordings, a block at a time, each with the number of its first one."""
    held: list[tuple[int, StoredWindows]] = []
    n_held = 0
    for windows in found:
        for first in range(0, len(windows.levels), BLOCK_WINDOWS):
            part = windows.part(first, first + BLOCK_WINDOWS)
            held.append((first, part))
            n_held += len(part.levels)
            if n_held >= BLOCK_WINDOWS:
                yield held
                held, n_held = [], 0
    if held:
        yield held


def _vectors(vectors: np.ndarray) -> pa.FixedSizeListArray:
    return pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1), pa.float32()), vectors.shape[1])
