"""The table of voices: flagged recordings of unknown systems with the cluster of each, for a spreadsheet or SQL."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from detector.errors import ConfigError
from detector.schema import SCORES
from jobs import storage
from jobs.inputs.results import write_result
from jobs.reports.review.config import VoicesConfig
from jobs.reports.review.csv_sheet import write_csv
from jobs.reports.review.exporting import scored_run
from jobs.reports.voices import Voices, find_voices
from jobs.tables.ledger import Ledger
from jobs.tables.parquet import parquet_bytes
from jobs.telemetry.names import say

OF_SCORES = (
    "utterance_id",
    "uri",
    "member",
    "first_seen",
    "seconds",
    "score",
    "p_spoof",
    "system_similarity",
    "run_id",
)
SCHEMA = pa.schema(
    [("cluster", pa.string()), ("recordings", pa.int64()), *((name, SCORES.field(name).type) for name in OF_SCORES)]
)
"""Columns of the table; `recordings` is how many the cluster has."""


def export_voices(config: VoicesConfig) -> None:
    """Write the table, and print how many recordings and clusters it holds.

    Raises
    ------
    ConfigError
        If nothing is scored, the head names no systems, or the file would lie within the output.
    """
    uri = storage.normal(config.to)
    if uri.startswith(f"{storage.normal(config.output).rstrip('/')}/"):
        raise ConfigError(f"{config.to}: lies within the output, among its tables. Write it elsewhere.")
    table, history, record, head = scored_run(config, None)
    if head.systems is None or head.systems.alike is None:
        raise ConfigError(
            f"head {head.head_id}: does not say which recordings are alike. Fit it with --attribution, on four systems "
            f"or more."
        )
    source = Ledger(table.output, "embeddings", history.plans[record["plan"] - 1].detail["fingerprint"])
    voices = find_voices(table, source, history, head, max_rows=config.rows, max_shards=len(history.current))
    rows = pa.Table.from_pylist(list(_rows(voices)), SCHEMA)
    is_parquet = uri.lower().endswith(".parquet")
    content = parquet_bytes(rows) if is_parquet else write_csv(rows.to_pylist(), rows.column_names)
    write_result(uri, content)
    several = sum(len(each) > 1 for each in voices.clusters)
    say(
        f"{voices.n_rows} flagged recordings of unknown systems, of {voices.n_runs} of {voices.of_runs} runs: "
        f"{several} clusters of two or more, {len(voices.clusters) - several} recordings like no other",
        f"table: {uri}",
    )


def _rows(voices: Voices) -> Iterator[dict[str, Any]]:
    for rows in voices.clusters:
        for row in rows:
            yield {"cluster": row["cluster"], "recordings": len(rows)} | {name: row[name] for name in OF_SCORES}
