"""Session: DuckDB with the views of an output; the one place that imports it."""

from __future__ import annotations

import atexit
import logging
import shutil
import tempfile
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from detector.errors import ConfigError, SchemaError
from jobs import storage
from jobs.inputs.labels import read_labels
from jobs.reports.nightly.history import summarise
from jobs.reports.runs import read_records
from jobs.reports.sql.views import STORED, Content, view_statements
from jobs.tables.compaction.copy import is_copy, output_of
from jobs.tables.heads import KnownHead, active_head, known_heads, noted_heads
from jobs.tables.run_records import RECORD_NAME

if TYPE_CHECKING:
    import duckdb

Answer = TypeVar("Answer")

log = logging.getLogger(__name__)


def connect(content: Content, labels: str | None = None) -> duckdb.DuckDBPyConnection:
    """Open DuckDB in memory with the views of an output.

    Parameters
    ----------
    content : Content
    labels : str, optional
        A list of labels, in any form that `fit` reads: the view `labels`.

    Raises
    ------
    SchemaError
        If DuckDB cannot read an object of a table.
    """
    import duckdb  # only now: no other verb needs it

    spilled = tempfile.mkdtemp(prefix="bonafide-sql-")  # of the user alone; rows are personal data
    atexit.register(shutil.rmtree, spilled, ignore_errors=True)
    connection = duckdb.connect(config={"temp_directory": spilled})
    connection.execute("SET enable_progress_bar = false")
    if (scheme := storage.scheme_of(content.place)) != "file":
        connection.register_filesystem(storage.filesystem(scheme))
    try:
        for statement in view_statements(content, "duckdb"):
            connection.execute(statement)
    except duckdb.Error as error:
        raise SchemaError(f"{content.place}: {error}. `verify` says more.") from error
    if labels is not None:
        connection.register("given_labels", read_labels(storage.normal(labels)))
        connection.execute("CREATE OR REPLACE VIEW labels AS SELECT * FROM given_labels")
    return connection


def read_content(place: str, labels: str | None = None) -> Content:
    """Read what the views of an output, or of its compacted copy, follow from.

    Nights of a copy are those of the output that it was made from, as far as that is still there. What a role may not
    read is left out, with a warning: scores are enough.

    Raises
    ------
    ConfigError
        If neither is at ``place``.
    """
    unknown = "which head is active: `recordings` has the one that scored last"
    active = _if_allowed(lambda: active_head(place), None, unknown)
    noted: list[KnownHead] = _if_allowed(lambda: noted_heads(place, active), [], "notes of heads: `heads` has no rows")
    heads = _if_allowed(lambda: known_heads(place, active), noted, "plans: `heads` has those that are noted")
    folders = sorted({folder for folder, _, _ in STORED.values()})
    present = frozenset(
        folder
        for folder in folders
        if _if_allowed(partial(_holds_tables, storage.join(place, folder)), False, f"`{folder}`, which has no rows")
    )
    if not present:
        raise ConfigError(f"{place}: no tables of ours here. Give the --output of a run, or a copy of it.")
    is_copied = _if_allowed(lambda: is_copy(place), False, "whether it is a copy")
    output = output_of(place) if is_copied else place
    nights: list[dict[str, Any]] = _if_allowed(
        lambda: _nights(output, heads), [], "records of runs: `nights` has no rows"
    )
    return Content(place, present, active, [head_row(each) for each in heads], nights, labels)


def _if_allowed(read: Callable[[], Answer], otherwise: Answer, what: str) -> Answer:
    """Return what a function reads, or something else if the role may not read it."""
    try:
        return read()
    except storage.RefusedError as error:
        log.warning("this role does not read %s (%s)", what, error)
        return otherwise


def head_row(head: KnownHead) -> dict[str, Any]:
    """Return the row of a head in the view `heads`."""
    facts = {"head_id": head.head_id, "head": head.name, "since": head.since, "state": head.state, "file": head.file}
    return facts | head.figures


def _holds_tables(folder: str) -> bool:
    return any(stored.uri.endswith(".parquet") for stored in storage.listing(folder) or [])


def _nights(output: str, heads: list[KnownHead]) -> list[dict[str, Any]]:
    """Return the complete runs that scored something, the first one first."""
    names = {head.head_id: head.name for head in heads}
    folder = storage.join(output, "runs")
    listed = [stored.uri.removeprefix(f"{folder}/") for stored in storage.listing(folder) or []]
    run_ids = [name.removesuffix(".json") for name in listed if RECORD_NAME.fullmatch(name) and "/" not in name]
    records = [record for record in read_records(output, run_ids) if "scores" in record]
    return [
        summarise(record)
        | {"night": record["run_id"][:10], "verb": record["verb"], "head_id": record["head_id"]}
        | {"head": names.get(record["head_id"]), "wall_seconds": record["wall_seconds"]}
        for record in sorted(records, key=lambda each: (each["finished"], each["run_id"]))
    ]
