"""Exporting: writes the review queue of a run to a file that people fill in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from detector.errors import ConfigError, SchemaError
from detector.head import Head
from jobs import storage
from jobs.inputs.results import write_result
from jobs.inputs.sources import archive_roots, source_of
from jobs.reports.review.annotations import Row
from jobs.reports.review.config import ExportConfig, VoicesConfig
from jobs.reports.review.context import side_text, with_context
from jobs.reports.review.formats import format_of
from jobs.reports.review.queue import COLUMNS, ReviewQueueBuilder, lowest_windows
from jobs.reports.runs import Record, batches_of_run, find_run, scored_shards
from jobs.scoring.heads import read_head
from jobs.tables.heads import named_or_file
from jobs.tables.ledger import Ledger
from jobs.tables.protocol import PlanHistory
from jobs.telemetry.names import say


def export_queue(config: ExportConfig) -> None:
    """Write the queue, and print how many recordings it holds.

    Raises
    ------
    ConfigError
        If there is no such run, the head is not the one that scored it, or a queue there has labels.
    """
    uri = storage.normal(config.to)
    _refuse_filled_in(uri, config.format)
    table, history, record, head = scored_run(config, config.run)
    builder = ReviewQueueBuilder(head, record["prior"], config.rows)
    source = Ledger(table.output, "embeddings", history.plans[record["plan"] - 1].detail["fingerprint"])
    scored, embedded = scored_shards(table, source, history, record["plan"])
    for number, scores in enumerate(scored):
        lowest = lowest_windows(head, table, scores)
        for batch in batches_of_run(table, scores, COLUMNS):
            builder.add(batch, number, lowest)
    queue = builder.queue(source, embedded)
    rows = with_context(table, scored, queue.rows, builder.shards)
    write_result(uri, format_of(uri, config.format).write(_rows(rows, record)))
    n_folded = sum(len(row["alike"]) for row in queue.rows)
    say(
        f"{len(queue.rows)} recordings of run {record['run_id']} to listen to, from {queue.n_rejected} rejected, "
        f"{queue.n_borderline} borderline and {queue.n_parts} with a suspicious part; {n_folded} more are nearly the "
        f"same as these",
        f"queue: {uri}",
    )


def _refuse_filled_in(uri: str, name: str | None) -> None:
    """Refuse to replace a queue that people have worked on."""
    try:
        rows = format_of(uri, name).read(storage.read_bytes(uri), uri) if storage.stat(uri) else []
    except SchemaError:
        return  # it is no queue
    n_labelled = sum(row.label is not None for row in rows)
    if n_labelled:
        raise ConfigError(
            f"{uri}: {n_labelled} recordings are labelled in the queue that stands there. Take them over with `review "
            f"import`, and give the new queue another name."
        )


def scored_run(config: ExportConfig | VoicesConfig, run_id: str | None) -> tuple[Ledger, PlanHistory, Record, Head]:
    """Return a run's table of scores, its plans and its record, with the head that scored it.

    Raises
    ------
    ConfigError
        If there is no such run, or the head is not the one that scored it.
    """
    output = storage.normal(config.output)
    named = named_or_file([output], config.head) if config.head else None
    table, history, record = find_run(output, run_id, named.head_id if named else None)
    head_uri = (named.file if named else config.head) or record["settings"]["head"]
    head = read_head(head_uri, backbone=config.backbone)
    if head.head_id != record["head_id"]:
        raise ConfigError(
            f"{head_uri}: head {head.head_id}, but run {record['run_id']} was scored with head {record['head_id']}. "
            f"Give that head's file as --head."
        )
    return table, history, record, head


def _rows(rows: Sequence[Row], record: Record) -> Iterator[Row]:
    """Yield the queue's rows as reviewers see them, with an empty `label`."""
    roots = archive_roots(record["settings"].get("input", ()))
    for row in rows:
        first = row["marked"][0] if row["marked"] else None
        yield row | {
            "predicted_label": row["label"],
            "label": None,
            "alike": len(row["alike"]),
            "listen_from": first and first.start_seconds,
            "listen_to": first and first.end_seconds,
            "other_sides": "; ".join(map(side_text, row["sides"])),
            "source": source_of(row["uri"], row["member"], roots),
        }
