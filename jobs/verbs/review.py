"""review: what a person should listen to goes out, and the labels come back for the next `fit`."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any

import pyarrow as pa
import pyarrow.compute as pc

from detector.errors import ConfigError, SchemaError
from detector.schema import LABEL_COLUMNS, LABELS, UNKNOWN
from jobs import storage
from jobs.inputs.labels import read_labels
from jobs.reports.nightly.report import Record, read_record, roots_of, shards_of, source_of
from jobs.reports.review.queue import COLUMNS, MAX_ROWS, ReviewQueue, ReviewQueueBuilder
from jobs.reports.review.sheets import FORMATS, UNSURE, Annotation, escape_formula
from jobs.scoring.heads import read_head
from jobs.tables import ledger
from jobs.tables.ledger import Ledger
from jobs.tables.parquet import parquet_bytes
from jobs.tables.protocol import PlanHistory

NAMES = ("utterance_id", *LABEL_COLUMNS)
SHOWN = 5


@dataclass(frozen=True, kw_only=True)
class ReviewConfig:
    """Which tables, and how the file is written."""

    output: Annotated[str, "the --output of the nightly run"]
    format: Annotated[str | None, "csv or label-studio [default: label-studio for .json, else csv]"] = None

    def __post_init__(self) -> None:
        if self.format not in (None, *FORMATS):
            raise ConfigError(f"format {self.format!r}; expected one of {', '.join(FORMATS)}.")

    def format_of(self, uri: str) -> str:
        """The format of a file: as stated, else by its name."""
        return self.format or ("label-studio" if uri.lower().endswith(".json") else "csv")


@dataclass(frozen=True, kw_only=True)
class ExportSettings(ReviewConfig):
    """Write a run's review queue as a table or as tasks, to be filled in."""

    to: Annotated[str, "file to write"]
    run: Annotated[str | None, "run_id of the night [default: the last that is complete]"] = None
    head: Annotated[str | None, "head.json that judged the run [default: where the run's record says]"] = None
    rows: Annotated[int, "at most so many recordings, the most doubtful first"] = MAX_ROWS

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rows < 1:
            raise ConfigError(f"rows {self.rows}; expected 1 or more.")


@dataclass(frozen=True, kw_only=True)
class ImportSettings(ReviewConfig):
    """Read labels that people gave, check them, and write a list that `fit --labels` takes."""

    from_: Annotated[tuple[str, ...], "file that was filled in; repeatable, one a reviewer, say"]
    labels: Annotated[str, "list to write: .parquet, .jsonl or .csv"]
    older: Annotated[
        tuple[str, ...], "labels to keep beside the new ones, because `fit` takes one list; repeatable"
    ] = ()
    split: Annotated[str, "split of the new rows, where the older ones have splits"] = "train"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.labels.lower().endswith(tuple(WRITERS)):
            raise ConfigError(f"labels {self.labels!r}; expected a name that ends in {', '.join(WRITERS)}.")


ACTIONS = {"export": ExportSettings, "import": ImportSettings}
"""What the verb does, with the settings of each."""


def run(settings: ExportSettings | ImportSettings) -> int:
    """Do one of :data:`ACTIONS`; return the exit code."""
    return _export(settings) if isinstance(settings, ExportSettings) else _import(settings)


def _export(settings: ExportSettings) -> int:
    output = storage.normal(settings.output)
    table, history, record = _run_of(output, settings.run)
    head_uri = settings.head or record["settings"]["head"]
    head = read_head(head_uri)
    if head.head_id != record["head_id"]:
        raise ConfigError(
            f"{head_uri}: head {head.head_id}, but run {record['run_id']} was judged by {record['head_id']}. Name that "
            f"one by --head."
        )
    doubtful = ReviewQueueBuilder(head, settings.rows)
    source = Ledger(output, "embeddings", history.plans[record["plan"] - 1].detail["fingerprint"])
    shards = shards_of(table, source, history, record["plan"])
    for number, (scores, _) in enumerate(shards):
        for batch in table.batches(scores, "scores", list(COLUMNS)):
            doubtful.add(batch, number)
    queue = doubtful.queue(source, [embedded for _, embedded in shards])
    uri = storage.normal(settings.to)
    storage.write_bytes(uri, FORMATS[settings.format_of(uri)].write(_rows(queue, record)))
    n_folded = sum(len(row["alike"]) for row in queue.rows)
    print(
        f"{len(queue.rows)} recordings of run {record['run_id']} to listen to, of {queue.n_rejected} rejected and "
        f"{queue.n_borderline} borderline ones; {n_folded} more are folded into them\n"
        f"queue: {uri}"
    )
    return 0


def _run_of(output: str, run_id: str | None) -> tuple[Ledger, PlanHistory, Record]:
    """A run's scores, their plans, and its record; of the one head, the last complete run, where none is named."""
    heads = ledger.keys(output, "scores")
    if run_id is None and len(heads) != 1:
        raise ConfigError(f"{output}: scores of {len(heads)} heads ({', '.join(heads) or 'none'}); name one by --run.")
    for head_id in heads:
        table = Ledger(output, "scores", head_id)
        history = table.history()
        for plan in reversed(history.plans):
            record = read_record(output, plan.run_id) if run_id in (None, plan.run_id) else None
            if record is not None:
                return table, history, record
    raise ConfigError(f"{output}: no complete run{f' {run_id}' if run_id else ''} here; look into its folder `runs`.")


def _rows(queue: ReviewQueue, record: Record) -> Iterable[dict[str, Any]]:
    """What people see of the queue's rows; `label` is left to them."""
    roots = roots_of(record["settings"].get("input", ()))
    for row in queue.rows:
        yield row | {
            "guess": row["label"],
            "label": None,
            "why": row["reject_reason"] or "borderline",
            "alike": len(row["alike"]),
            "source": source_of(row["uri"], row["member"], roots),
        }


def _import(settings: ImportSettings) -> int:
    output, uri = storage.normal(settings.output), storage.normal(settings.labels)
    heard: list[Annotation] = []
    for each in settings.from_:
        where = storage.normal(each)
        heard += FORMATS[settings.format_of(where)].read(storage.read_bytes(where), where)
    said = [each for each in heard if each.label is not None]
    _refuse_unknown(heard, output)
    sure = [each for each in said if each.label != UNSURE]
    _refuse_contradictory(sure)
    older = _older(settings.older)
    new = _labels(sure, settings.split if any(row["split"] for row in older.values()) else None)
    if not new:
        raise SchemaError(f"{', '.join(settings.from_)}: no row has a label yet. Fill in bonafide, spoof or unsure.")
    rows = _merged(older, new)
    suffix = next(each for each in WRITERS if uri.lower().endswith(each))
    storage.write_bytes(uri, WRITERS[suffix](rows, uri))
    counts = [sum(row["label"] == label for row in new.values()) for label in LABELS]
    print(
        f"{len(new)} recordings labelled: {counts[0]} bonafide, {counts[1]} spoof; "
        f"{len(said) - len(sure)} unsure, left out; {len(heard) - len(said)} not labelled yet\n"
        f"{len(rows)} labels with {len(older)} older ones: {uri}"
    )
    return 0


def _refuse_unknown(heard: list[Annotation], output: str) -> None:
    """Every id must be one that was scored: an edited one would never join an embedding."""
    wanted = {each.utterance_id: each for each in heard}
    names = pa.array(list(wanted), pa.string())
    for head_id in ledger.keys(output, "scores"):
        table = Ledger(output, "scores", head_id)
        for marker in table.committed():
            for batch in table.batches(marker, "scores", ["utterance_id"]):
                for name in batch["utterance_id"].filter(pc.is_in(batch["utterance_id"], names)).to_pylist():
                    wanted.pop(name, None)
            if not wanted:
                return
    raise SchemaError(
        f"{len(wanted)} id(s) have no score in {output}: {_some(_places(wanted))}. "
        f"Ids must stand as they were exported; give the --output that they came from."
    )


def _places(heard: dict[str, Annotation]) -> Iterable[tuple[str, str]]:
    return ((name, each.where) for name, each in heard.items())


def _refuse_contradictory(heard: list[Annotation]) -> None:
    first: dict[str, Annotation] = {}
    odd = {}
    for each in heard:
        other = first.setdefault(each.utterance_id, each)
        if other.label != each.label:
            odd[each.utterance_id] = f"{_said(other)}, {_said(each)}"
    if odd:
        raise SchemaError(
            f"{len(odd)} recording(s) have two labels: {_some(odd.items())}. Settle it between the reviewers, or write "
            f"{UNSURE} into one of them."
        )


def _said(heard: Annotation) -> str:
    return f"{heard.label} by {heard.reviewer or 'nobody named'} ({heard.where})"


def _some(pairs: Iterable[tuple[str, str]]) -> str:
    texts = [f"{first!r}: {second}" for first, second in pairs]
    more = len(texts) - SHOWN
    return "; ".join(texts[:SHOWN]) + (f"; and {more} more" if more > 0 else "")


def _older(uris: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Rows of older lists by id."""
    rows: dict[str, dict[str, Any]] = {}
    for uri in map(storage.normal, uris):
        for row in read_labels(uri).to_pylist():
            known = rows.setdefault(row["utterance_id"], row)
            if known["label"] != row["label"]:
                raise SchemaError(
                    f"{uri}: {row['utterance_id']!r} is {row['label']}, {known['label']} in another list."
                )
    return rows


def _labels(heard: list[Annotation], split: str | None) -> dict[str, dict[str, Any]]:
    """New rows by id; of several reviewers the first who knows a system, speaker, source or language is believed."""
    rows: dict[str, dict[str, Any]] = {}
    for each in heard:
        row = rows.setdefault(each.utterance_id, dict.fromkeys(NAMES) | {"split": split})
        row |= {"utterance_id": each.utterance_id, "label": each.label}
        row |= {name: value for name, value in each.given.items() if not row[name]}
    return rows


def _merged(older: dict[str, dict[str, Any]], new: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """All rows, each id once; what an older list says of a recording stays."""
    odd = {name: f"{row['label']} now" for name, row in new.items() if older.get(name, row)["label"] != row["label"]}
    if odd:
        raise SchemaError(
            f"{len(odd)} recording(s) have the other label in an older list: {_some(odd.items())}. Correct one of them."
        )
    return [row for _, row in sorted((new | older).items())]


def _parquet(rows: list[dict[str, Any]], _uri: str) -> bytes:
    return parquet_bytes(pa.Table.from_pylist(rows, schema=pa.schema([(name, pa.string()) for name in NAMES])))


def _json_lines(rows: list[dict[str, Any]], _uri: str) -> bytes:
    return "".join(json.dumps({name: row[name] for name in NAMES}) + "\n" for row in rows).encode()


def _csv(rows: list[dict[str, Any]], uri: str) -> bytes:
    """A table as `fit` reads it: texts as they are, so none may be what a spreadsheet takes for a formula."""
    texts = [row[name] for row in rows for name in NAMES if row[name] not in UNKNOWN]
    odd = next((text for text in texts if escape_formula(text) != text or len(text.splitlines()) > 1), None)
    if odd is not None:
        raise ConfigError(
            f"{uri}: {odd!r} would be a formula, or two lines, in a CSV that is read as it stands. Write .parquet."
        )
    file = io.StringIO(newline="")
    table = csv.DictWriter(file, NAMES, lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    return file.getvalue().encode()


WRITERS = {".parquet": _parquet, ".jsonl": _json_lines, ".csv": _csv}
