"""Iceberg: the objects of a compacted copy as Apache Iceberg tables, for engines that use a catalog.

This is the only module that imports pyiceberg. No row is copied: a table's metadata lists the objects where they are.
The metadata lies under `_iceberg/` of the copy, where no glob over the tables finds it, and holds no recording's id.
"""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from detector.errors import ConfigError
from detector.schema import FAILURES, SCORES, SEGMENTS, embeddings_schema
from jobs import storage
from jobs.errors import RunAgain, StorageError
from jobs.storage import Stored
from jobs.tables.compaction.copy import CompactedCopy, is_copy
from jobs.tables.compaction.objects import CopiedObject
from jobs.tables.ledger import TABLES
from jobs.tables.row_digest import add
from jobs.telemetry.names import say

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog
    from pyiceberg.manifest import DataFile
    from pyiceberg.table import Table, Transaction

FOLDER = "_iceberg"
ANY_REGION = "us-east-1"  # for a store that is not AWS, which has none
CATALOG_NAME = "bonafide"  # engines use it, too
REST = ("http://", "https://")  # a REST catalog's address begins with it; all others are SQL databases
COPY = "bonafide.copy"  # the property of a table that says which copy it lists
OBJECT_PREFIX = "bonafide.object."  # a table has a property for each object: the SHA-256 that is registered
NAMING_COLUMNS = ("utterance_id", "uri", "member", "audio_sha256", "message")
"""Columns that name recordings. Metadata has no bounds of them; else `erase` would have to rewrite metadata, too."""

SCHEMAS: dict[str, pa.Schema] = {
    "embeddings": embeddings_schema(1),
    "scores": SCORES,
    "segments": SEGMENTS,
    "failures": FAILURES,
}


def register_copy(place: str, catalog_uri: str, namespace: str) -> None:
    """Bring the Iceberg tables in line with a copy, one transaction for each table, and print how it went.

    Parameters
    ----------
    place : str
        Normal URI of the copy.
    catalog_uri : str
        SQL database of the catalog, or the address of a REST catalog.
    namespace : str
        Namespace of the tables.

    Raises
    ------
    ConfigError
        If pyiceberg is missing, or the place holds no copy that is up to date.
    StorageError
        If the store or the catalog gave up.
    RunAgain
        If another command changed a table meanwhile.
    """
    _require_pyiceberg()
    if not is_copy(place):
        raise ConfigError(f"{place}: is no compacted copy. Make one: `bonafide compact OUTPUT --to {place}`.")
    standing = CompactedCopy(place).look()
    if unproven := [each.stored.uri for each in standing.values() if not each.proven]:
        raise ConfigError(f"{unproven[0]}: was not read back since it was written; run `compact` to its end first.")
    with _errors_of_ours(place):
        catalog = _catalog(catalog_uri, place)
        catalog.create_namespace_if_not_exists(namespace)
        for name in TABLES:
            objects = {each: copied for each, copied in standing.items() if copied.compacted.table == name}
            if objects or catalog.table_exists(f"{namespace}.{name}"):
                _register(catalog, f"{namespace}.{name}", place, objects)


def _require_pyiceberg() -> None:
    if importlib.util.find_spec("pyiceberg") is None or importlib.util.find_spec("sqlalchemy") is None:
        raise ConfigError("pyiceberg is not installed. Install it: pip install 'bonafide[iceberg]'.")


def _catalog(uri: str, place: str) -> Catalog:
    from pyiceberg.catalog import load_catalog
    from pyiceberg.catalog.sql import SqlCatalog

    logging.getLogger("pyiceberg").setLevel(logging.WARNING)  # it logs a line for every file
    # credentials come from the environment, as for all of our requests; none of these properties is stored
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    # without a region, pyiceberg asks AWS for that of the bucket, also where another store has it
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or (ANY_REGION if endpoint else None)
    properties = {"s3.endpoint": endpoint, "s3.region": region}
    given = {name: value for name, value in properties.items() if value}
    if uri.startswith(
        REST
    ):  # warehouse and token come from pyiceberg's own environment: PYICEBERG_CATALOG__BONAFIDE__…
        return load_catalog(CATALOG_NAME, type="rest", uri=uri, **given)
    return SqlCatalog(CATALOG_NAME, uri=uri, warehouse=storage.join(place, FOLDER), **given)


def _register(catalog: Catalog, identifier: str, place: str, objects: dict[str, CopiedObject]) -> None:
    """Add new objects and swap rewritten ones in one snapshot, so that no reader sees the rows of both.

    Parameters
    ----------
    objects : dict
        By their names below the copy.
    """
    table = _table(catalog, identifier, place)
    registered = {
        name.removeprefix(OBJECT_PREFIX): sha256
        for name, sha256 in table.properties.items()
        if name.startswith(OBJECT_PREFIX)
    }
    new = sorted(objects.keys() - registered.keys())
    rewritten = sorted(name for name in objects.keys() & registered.keys() if objects[name].sha256 != registered[name])
    gone = sorted(registered.keys() - objects.keys())
    if new or rewritten or gone:
        summary = {
            "bonafide.digest": add(each.compacted.digest for each in objects.values()),
            "bonafide.run_ids": ",".join(_run_ids([objects[name].stored for name in (*new, *rewritten)])),
        }
        added = [storage.join(place, name) for name in (*new, *rewritten)]
        dropped = [storage.join(place, name) for name in (*rewritten, *gone)]
        with table.transaction() as transaction:
            _widen(transaction, SCHEMAS[identifier.rpartition(".")[2]])
            if dropped:
                _swap(transaction, table, added, dropped, summary)
            else:
                transaction.add_files(added, snapshot_properties=summary)
            transaction.set_properties({f"{OBJECT_PREFIX}{name}": objects[name].sha256 for name in (*new, *rewritten)})
            if gone:
                transaction.remove_properties(*(f"{OBJECT_PREFIX}{name}" for name in gone))
    n_rows = sum(each.compacted.rows for each in objects.values())
    say(
        f"{identifier}: {len(objects)} objects, {n_rows} rows; {len(new)} added, {len(rewritten)} swapped, "
        f"{len(gone)} gone; {table.metadata_location}"
    )


def _table(catalog: Catalog, identifier: str, place: str) -> Table:
    """Return the table; create it if there is none, under the copy or where a REST catalog puts its tables.

    Raises
    ------
    ConfigError
        If it belongs to another copy.
    """
    from pyiceberg.catalog.sql import SqlCatalog

    properties = {f"write.metadata.metrics.column.{name}": "counts" for name in NAMING_COLUMNS}
    lists = (each.name for each in SCHEMAS["embeddings"] if pa.types.is_nested(each.type))
    properties |= {f"write.metadata.metrics.column.{name}.element": "none" for name in lists}
    # pyiceberg must not repeat a commit that lost a race: the winner may have added the same objects
    properties["commit.retry.num-retries"] = "0"
    properties[COPY] = place
    name = identifier.rpartition(".")[2]
    location = storage.join(place, FOLDER, name)
    if catalog.table_exists(identifier):
        table = catalog.load_table(identifier)
    else:
        given = location if isinstance(catalog, SqlCatalog) else None
        table = catalog.create_table_if_not_exists(identifier, SCHEMAS[name], location=given, properties=properties)
    is_here = table.location().rstrip("/") == location  # tables of earlier versions lack the property
    if (owner := table.properties.get(COPY, place if is_here else table.location())) != place:
        raise ConfigError(f"{identifier}: is the table of {owner} in this catalog. Give another --namespace.")
    return table


def _widen(transaction: Transaction, schema: pa.Schema) -> None:
    """Add to a table that an earlier version registered the columns that exist since."""
    present = {each.name for each in transaction.table_metadata.schema().fields}
    if set(schema.names) - present:
        with transaction.update_schema() as update:
            update.union_by_name(schema)


def _swap(
    transaction: Transaction, table: Table, added: list[str], removed: list[str], summary: dict[str, str]
) -> None:
    """Remove objects and add others, or the same ones again, in one snapshot."""
    from pyiceberg.io.pyarrow import parquet_file_to_data_file

    entries = _entries(table)
    with transaction.update_snapshot(snapshot_properties=summary).overwrite() as snapshot:
        for uri in removed:
            snapshot.delete_data_file(entries[uri])
        for uri in added:
            snapshot.append_data_file(parquet_file_to_data_file(table.io, transaction.table_metadata, uri))


def _entries(table: Table) -> dict[str, DataFile]:
    """Return all data files of the current snapshot, by URI; a scan would leave out those without rows."""
    snapshot = table.current_snapshot()
    manifests = [] if snapshot is None else snapshot.manifests(table.io)
    return {
        entry.data_file.file_path: entry.data_file
        for manifest in manifests
        for entry in manifest.fetch_manifest_entry(table.io, discard_deleted=True)
    }


def _run_ids(objects: list[Stored]) -> list[str]:
    """Return the ids of the runs that wrote rows of these objects."""
    found: set[str] = set()
    for stored in objects:
        with storage.opened(stored) as file:
            column = pq.read_table(file, columns=["run_id"])["run_id"]
            file.raise_trouble()
        found.update(column.unique().to_pylist())
    return sorted(found)


@contextlib.contextmanager
def _errors_of_ours(place: str) -> Iterator[None]:
    """Re-raise errors of pyiceberg and SQLAlchemy as our own classes, which say what to do."""
    from pyiceberg import exceptions
    from sqlalchemy import exc

    refused = (exceptions.BadRequestError, exceptions.UnauthorizedError, exceptions.ForbiddenError)
    try:
        yield
    except (exceptions.CommitFailedException, exceptions.CommitStateUnknownException) as error:
        raise RunAgain(f"{place}: another command changed the table; run the same command again ({error}).") from error
    except (exc.ArgumentError, exc.NoSuchModuleError, ModuleNotFoundError) as error:
        raise ConfigError(
            f"catalog: {error}. Give sqlite:////path/catalog.db, or install the database's driver."
        ) from error
    except (*refused, exceptions.AuthorizationExpiredError, exceptions.OAuthError) as error:
        raise ConfigError(
            f"catalog: {error}. Give warehouse and token by PYICEBERG_CATALOG__BONAFIDE__WAREHOUSE and …__TOKEN (or "
            "…__CREDENTIAL), and the right to create and change tables."
        ) from error
    except StorageError:
        raise
    except (exceptions.RESTError, exc.OperationalError, OSError) as error:
        raise StorageError(f"{place}: store or catalog gave up: {error}. Run the same command again.") from error
    except exc.DatabaseError as error:
        raise ConfigError(f"catalog: {error}. Give the database of a catalog, or a path where none is yet.") from error
