"""register: the objects of a compacted copy as Apache Iceberg tables, for engines that ask a catalog.

The one module that knows pyiceberg. No row is copied: a table's metadata lists the objects where they stand. It lies
under `_iceberg/` of the copy, where no glob over the tables comes by, and holds no id of a recording.
"""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.parquet as pq

from detector.errors import ConfigError
from detector.schema import FAILURES, SCORES, embeddings_schema
from jobs import storage
from jobs.errors import RunAgain, StorageError
from jobs.storage import Stored
from jobs.tables import compacted
from jobs.tables.compacted import CompactedCopy, ProvenObject
from jobs.tables.row_digest import add
from jobs.verbs.gc import TABLES

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog
    from pyiceberg.manifest import DataFile
    from pyiceberg.table import Table, Transaction

FOLDER = "_iceberg"
NAME = "bonafide"  # of the catalog: engines name it, too
OBJECT = "bonafide.object."  # a property of a table for each object: the SHA-256 that is registered
NAMES = ("utterance_id", "uri", "member", "audio_sha256", "message")
"""Columns that name recordings: metadata keeps no bounds of them, or `erase` would have to reach it."""

SCHEMAS: dict[str, pa.Schema] = {"embeddings": embeddings_schema(1), "scores": SCORES, "failures": FAILURES}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Register a compacted copy as Iceberg tables `embeddings`, `scores` and `failures`; again, it adds what is new."""

    copy: Annotated[str, "folder or prefix that `compact` keeps"] = field(metadata={"positional": True})
    catalog: Annotated[str, "SQL database of the catalog: sqlite:////path/catalog.db or postgresql://user@host/name"]
    namespace: Annotated[str, "namespace of the tables"] = "bonafide"

    def __post_init__(self) -> None:
        if urlsplit(self.catalog).password is not None:
            raise ConfigError("catalog: a password in its URI; give it by PGPASSWORD or ~/.pgpass.")
        if not self.namespace.isidentifier():
            raise ConfigError(f"namespace {self.namespace!r}; expected a word of letters, digits and _.")


def run(settings: Settings) -> int:
    """Bring the tables in line with the copy, one transaction a table; return the exit code.

    Raises
    ------
    ConfigError
        Where pyiceberg is missing, or the place is no copy that is up to date.
    StorageError
        Where store or catalog gave up.
    RunAgain
        Where another command changed a table meanwhile.
    """
    place = storage.normal(settings.copy).rstrip("/")
    _require_pyiceberg()
    if not compacted.is_copy(place):
        raise ConfigError(f"{place}: is no compacted copy. Make one: `bonafide compact OUTPUT --to {place}`.")
    standing = CompactedCopy(place).look()
    if left := [each.stored.uri for each in standing.values() if not each.proven]:
        raise ConfigError(f"{left[0]}: was not read back since it was written; run `compact` to its end first.")
    with _troubles(place):
        catalog = _catalog(settings.catalog, place)
        catalog.create_namespace_if_not_exists(settings.namespace)
        for name in TABLES:
            folds = {fold: each for fold, each in standing.items() if each.fold.table == name}
            if folds or catalog.table_exists(f"{settings.namespace}.{name}"):
                _register(catalog, f"{settings.namespace}.{name}", storage.join(place, FOLDER, name), folds)
    return 0


def _require_pyiceberg() -> None:
    if importlib.util.find_spec("pyiceberg") is None or importlib.util.find_spec("sqlalchemy") is None:
        raise ConfigError("pyiceberg is not installed. Install it: pip install 'bonafide[iceberg]'.")


def _catalog(uri: str, place: str) -> Catalog:
    from pyiceberg.catalog.sql import SqlCatalog

    logging.getLogger("pyiceberg").setLevel(logging.WARNING)  # it says at every file what reads it
    # keys come from the environment, as for all of our requests; nothing of this is stored
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    known = {"s3.endpoint": endpoint, "s3.region": os.environ.get("AWS_DEFAULT_REGION")}
    given = {name: value for name, value in known.items() if value}
    return SqlCatalog(NAME, uri=uri, warehouse=storage.join(place, FOLDER), **given)


def _register(catalog: Catalog, identifier: str, location: str, folds: dict[str, ProvenObject]) -> None:
    """Add objects that are new, and swap those that were written anew, so that no reader sees rows of both.

    Parameters
    ----------
    folds : dict
        By their names below the copy.
    """
    place = location.rpartition(f"/{FOLDER}/")[0]
    table = _table(catalog, identifier, location)
    known = {name.removeprefix(OBJECT): found for name, found in table.properties.items() if name.startswith(OBJECT)}
    new = sorted(folds.keys() - known.keys())
    other = sorted(name for name in folds.keys() & known.keys() if folds[name].sha256 != known[name])
    gone = sorted(known.keys() - folds.keys())
    if new or other or gone:
        about = {
            "bonafide.digest": add(each.fold.digest for each in folds.values()),
            "bonafide.run_ids": ",".join(_run_ids([folds[name].stored for name in (*new, *other)])),
        }
        with table.transaction() as transaction:
            _widen(transaction, SCHEMAS[identifier.rpartition(".")[2]])
            added, dropped = (
                [storage.join(place, name) for name in names] for names in ((*new, *other), (*other, *gone))
            )
            if dropped:
                _swap(transaction, table, added, dropped, about)
            else:
                transaction.add_files(added, snapshot_properties=about)
            transaction.set_properties({f"{OBJECT}{name}": folds[name].sha256 for name in (*new, *other)})
            if gone:
                transaction.remove_properties(*(f"{OBJECT}{name}" for name in gone))
    n_rows = sum(each.fold.rows for each in folds.values())
    print(
        f"{identifier}: {len(folds)} objects, {n_rows} rows; {len(new)} added, {len(other)} swapped, {len(gone)} gone; "
        f"{table.metadata_location}"
    )


def _table(catalog: Catalog, identifier: str, location: str) -> Table:
    """The table; made where there is none.

    Raises
    ------
    ConfigError
        Where another place has it.
    """
    properties = {f"write.metadata.metrics.column.{name}": "counts" for name in NAMES}
    properties["write.metadata.metrics.column.embedding.element"] = "none"
    # a commit that lost a race is not to be made once more as it stands: the winner may have added the same objects
    properties["commit.retry.num-retries"] = "0"
    schema = SCHEMAS[identifier.rpartition(".")[2]]
    if catalog.table_exists(identifier):
        table = catalog.load_table(identifier)
    else:
        table = catalog.create_table_if_not_exists(identifier, schema, location=location, properties=properties)
    if table.location().rstrip("/") != location:
        raise ConfigError(
            f"{identifier}: is the table of {table.location()} in this catalog. Give another --namespace."
        )
    return table


def _widen(transaction: Transaction, schema: pa.Schema) -> None:
    """Give a table that an earlier version registered the columns that were added since."""
    known = {each.name for each in transaction.table_metadata.schema().fields}
    if set(schema.names) - known:
        with transaction.update_schema() as update:
            update.union_by_name(schema)


def _swap(transaction: Transaction, table: Table, added: list[str], dropped: list[str], about: dict[str, str]) -> None:
    """Take objects out, put others or the same ones in again: one snapshot."""
    from pyiceberg.io.pyarrow import parquet_file_to_data_file

    entries = _entries(table)
    with transaction.update_snapshot(snapshot_properties=about).overwrite() as snapshot:
        for uri in dropped:
            snapshot.delete_data_file(entries[uri])
        for uri in added:
            snapshot.append_data_file(parquet_file_to_data_file(table.io, transaction.table_metadata, uri))


def _entries(table: Table) -> dict[str, DataFile]:
    """What the current snapshot lists, by URI: also objects without rows, which no scan plans to read."""
    snapshot = table.current_snapshot()
    listed = [] if snapshot is None else snapshot.manifests(table.io)
    entries = (each.fetch_manifest_entry(table.io, discard_deleted=True) for each in listed)
    return {entry.data_file.file_path: entry.data_file for some in entries for entry in some}


def _run_ids(objects: list[Stored]) -> list[str]:
    """Runs that wrote rows of these objects."""
    found: set[str] = set()
    for stored in objects:
        with storage.opened(stored) as file:
            column = pq.read_table(file, columns=["run_id"])["run_id"]
            file.raise_trouble()
        found.update(column.unique().to_pylist())
    return sorted(found)


@contextlib.contextmanager
def _troubles(place: str) -> Iterator[None]:
    """Give pyiceberg's and SQLAlchemy's troubles the class that says what to do."""
    from pyiceberg.exceptions import CommitFailedException
    from sqlalchemy import exc

    try:
        yield
    except CommitFailedException as error:
        raise RunAgain(f"{place}: another command changed the table; run the same command again ({error}).") from error
    except (exc.ArgumentError, exc.NoSuchModuleError, ModuleNotFoundError) as error:
        raise ConfigError(
            f"catalog: {error}. Give sqlite:////path/catalog.db, or install the database's driver."
        ) from error
    except StorageError:
        raise
    except (exc.OperationalError, OSError) as error:
        raise StorageError(f"{place}: store or catalog gave up: {error}. Run the same command again.") from error
    except exc.DatabaseError as error:
        raise ConfigError(f"catalog: {error}. Give the database of a catalog, or a path where none is yet.") from error
