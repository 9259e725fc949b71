"""register: an Iceberg catalog has the copy's rows, swaps what was written anew at once, and knows no recording."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars
import pyarrow as pa
import pytest
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.exceptions import CommitFailedException
from pyiceberg.table import Table

from jobs import storage
from jobs.erasure.mentions import find_mentions
from jobs.erasure.request import ErasureRequest
from jobs.tables import iceberg
from tests.support.compaction import catalog_at, each_once, held, in_a_folder, nights, objects
from tests.support.rest_catalog import refusing
from tests.support.tables import SLOTS, commit, plan

Run = Callable[..., tuple[int, str, str]]

pytestmark = pytest.mark.filterwarnings("ignore:Iceberg scan planning")  # Polars says that another package is faster


class Registered:
    """An output, its copy and the catalog, and both commands that bring them in line."""

    def __init__(self, root: str, database: Path, bonafide: Run) -> None:
        self.output, self.copy, self.uri = f"{root}/tables", f"{root}/copy", f"sqlite:///{database}"
        self.database, self._bonafide = database, bonafide

    def register(self) -> tuple[int, str, str]:
        return self._bonafide("register", self.copy, "--catalog", self.uri)

    def update(self) -> str:
        code, _, err = self._bonafide("compact", self.output, "--to", self.copy)
        assert code == 0, err
        code, out, err = self.register()
        assert code == 0, err
        return out

    def table(self, name: str) -> Table:
        return catalog_at(self.uri).load_table(f"bonafide.{name}")

    def rows(self, name: str, **scan: Any) -> list[dict[str, Any]]:
        return ordered(self.table(name).scan(**scan).to_arrow())


@pytest.fixture
def registered(root: str, tmp_path: Path, bonafide: Run) -> Registered:
    return Registered(root, tmp_path / "catalog.db", bonafide)


def ordered(rows: pa.Table) -> list[dict[str, Any]]:
    return rows.sort_by("utterance_id").to_pylist()


def all_bounds(table: Table) -> list[bytes]:
    """Return the bounds of every column in every object of every snapshot."""
    return [
        bound
        for snapshot in table.snapshots()
        for manifest in snapshot.manifests(table.io)
        for entry in manifest.fetch_manifest_entry(table.io, discard_deleted=False)
        for bounds in (entry.data_file.lower_bounds, entry.data_file.upper_bounds)
        for bound in (bounds or {}).values()
    ]


def test_a_catalog_has_every_value_of_the_copy(registered: Registered) -> None:
    nights(registered.output, "2026-11-22")

    out = registered.update()

    assert [line.split(";")[0] for line in out.splitlines()] == [
        "bonafide.embeddings: 1 objects, 48 rows",
        "bonafide.scores: 1 objects, 48 rows",
        "bonafide.failures: 1 objects, 1 rows",
    ]
    for name, rows in held(registered.output).items():
        assert registered.rows(name) == ordered(rows)
    assert "FileIO" not in registered.register()[2]


@in_a_folder
def test_a_glob_over_the_tables_finds_nothing_of_iceberg(registered: Registered) -> None:
    nights(registered.output, "2026-11-22")
    registered.update()

    added = {stored.uri for stored in storage.listing(registered.copy) or []} - set(objects(registered.copy))

    assert all(f"{registered.copy}/{folder}/" not in uri for uri in added for folder in ("embeddings", "scores"))
    assert not [uri for uri in added if uri.endswith(".parquet")]
    assert any("/_iceberg/scores/metadata/" in uri for uri in added)


@in_a_folder
def test_a_second_night_is_added_and_the_first_can_still_be_asked_for(registered: Registered) -> None:
    nights(registered.output, "2026-11-22")
    registered.update()
    first = registered.rows("scores")
    before = registered.table("scores").current_snapshot()
    nights(registered.output, "2026-11-22", "2026-11-23")

    assert "2 objects, 96 rows; 1 added, 0 swapped, 0 gone" in registered.update()

    table = registered.table("scores")
    assert registered.rows("scores") == ordered(held(registered.output)["scores"])
    assert before is not None
    assert registered.rows("scores", snapshot_id=before.snapshot_id) == first
    assert [str(each.summary.operation.value) for each in table.snapshots() if each.summary] == ["append", "append"]
    last = table.current_snapshot()
    assert last is not None
    assert last.summary is not None
    assert last.summary["bonafide.run_ids"].startswith("2026-11-23-")
    assert len(last.summary["bonafide.digest"]) == 64


@in_a_folder
def test_nothing_new_changes_nothing(registered: Registered) -> None:
    nights(registered.output, "2026-11-22")
    registered.update()
    before = {stored.uri: stored.etag for stored in storage.listing(registered.copy) or []}

    assert registered.update().count("0 added, 0 swapped, 0 gone") == 3

    assert {stored.uri: stored.etag for stored in storage.listing(registered.copy) or []} == before


def test_an_object_that_was_written_anew_is_swapped_in_one_snapshot(registered: Registered) -> None:
    history = plan(registered.output, a="1", b="1")
    for name in ("a", "b"):
        commit(registered.output, history.current[SLOTS[name]], 3, 1)
    registered.update()
    commit(registered.output, plan(registered.output, a="2").current[SLOTS["a"]], 5, 0)

    out = registered.update()

    assert out.count("0 added, 1 swapped, 0 gone") == 2
    table = registered.table("embeddings")
    rows = registered.rows("embeddings")
    assert rows == ordered(held(registered.output)["embeddings"])
    assert len(rows) == 8
    assert each_once(pa.Table.from_pylist(rows))
    assert [str(each.summary.operation.value) for each in table.snapshots() if each.summary] == ["append", "overwrite"]
    assert sum(each.file.record_count for each in table.scan().plan_files()) == 8  # counts are of the new object


def test_after_an_erasure_neither_rows_nor_metadata_nor_earlier_snapshots_know_the_recording(
    registered: Registered, bonafide: Run
) -> None:
    nights(registered.output, "2026-11-22")
    registered.update()
    victim = "2026/03.tar#0004.flac"
    before = registered.table("scores").current_snapshot()

    bonafide("erase", victim, "--output", registered.output)
    registered.update()

    assert before is not None
    for rows in (registered.rows("scores"), registered.rows("scores", snapshot_id=before.snapshot_id)):
        assert len(rows) == 47
        assert victim not in {row["utterance_id"] for row in rows}
    assert find_mentions(registered.copy, ErasureRequest((victim,)))[0] == []
    assert b"0004.flac" not in registered.database.read_bytes()
    # manifests are compressed: bounds of columns in any snapshot's
    bounds = [bound for name in ("scores", "embeddings", "failures") for bound in all_bounds(registered.table(name))]
    assert any(b"2026-11-22-" in bound for bound in bounds)  # of run_id
    assert not [bound for bound in bounds if b"2026/" in bound or b"s3://" in bound]


@in_a_folder
@pytest.mark.parametrize("then", ["gone", "with rows again"])
def test_an_object_without_rows_is_swapped_and_dropped_as_any_other(
    registered: Registered, bonafide: Run, then: str
) -> None:
    history = plan(registered.output, a="1", b="1")
    commit(registered.output, history.current[SLOTS["a"]], 1)
    bonafide("compact", registered.output, "--to", registered.copy)  # so that it is an object of its own
    commit(registered.output, history.current[SLOTS["b"]], 2)
    registered.update()
    bonafide("erase", "a1#0", "--output", registered.output)
    assert "2 objects, 2 rows" in registered.update()
    if then == "gone":
        storage.remove(min(objects(registered.copy)))
        assert "1 objects, 2 rows; 0 added, 0 swapped, 1 gone" in registered.update()
    else:  # the object of the shard that has rows takes more in; that of the other stays listed
        commit(registered.output, plan(registered.output, b="2").current[SLOTS["b"]], 5)
        assert "2 objects, 5 rows; 0 added, 1 swapped, 0 gone" in registered.update()

    assert registered.rows("embeddings") == ordered(held(registered.output)["embeddings"])


@in_a_folder
def test_two_at_once_never_list_an_object_twice(
    registered: Registered, bonafide: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    nights(registered.output, "2026-11-22")
    assert bonafide("compact", registered.output, "--to", registered.copy)[0] == 0
    run_ids, once = iceberg._run_ids, iter((True,))

    def interrupted(found: Any) -> list[str]:
        if next(once, False):  # what is new is known, and not registered yet
            assert registered.register()[0] == 0
        return run_ids(found)

    with monkeypatch.context() as patched:
        patched.setattr(iceberg, "_run_ids", interrupted)
        code, _, err = registered.register()

    assert code == 75
    assert "another command changed the table" in err.splitlines()[-1]
    assert len(registered.rows("embeddings")) == 48
    assert registered.register()[0] == 0
    assert registered.rows("scores") == ordered(held(registered.output)["scores"])


@in_a_folder
def test_a_commit_that_fails_leaves_the_table_as_it_was(
    registered: Registered, monkeypatch: pytest.MonkeyPatch
) -> None:
    nights(registered.output, "2026-11-22")
    registered.update()
    nights(registered.output, "2026-11-22", "2026-11-23")
    with monkeypatch.context() as patched:

        def lost(*_: Any) -> Any:
            raise CommitFailedException("somebody was faster")

        patched.setattr(SqlCatalog, "commit_table", lost)
        with pytest.raises(AssertionError, match="error 75"):
            registered.update()
    assert len(registered.rows("scores")) == 48

    assert "1 added" in registered.update()
    assert len(registered.rows("scores")) == 96


@in_a_folder
def test_a_table_of_an_earlier_version_gets_the_columns_that_were_added(registered: Registered) -> None:
    fewer = pa.schema([each for each in iceberg.SCHEMAS["scores"] if each.name != "clipped_share"])
    catalog = SqlCatalog("bonafide", uri=registered.uri)
    catalog.create_namespace("bonafide")
    catalog.create_table("bonafide.scores", fewer, location=f"{registered.copy}/_iceberg/scores")
    nights(registered.output, "2026-11-22")

    registered.update()

    assert registered.rows("scores") == ordered(held(registered.output)["scores"])


@in_a_folder
def test_polars_reads_the_scores_by_the_catalog(registered: Registered) -> None:
    nights(registered.output, "2026-11-22")
    registered.update()

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = polars.scan_iceberg(registered.table("scores")).collect()

    assert ordered(found.to_arrow()) == ordered(held(registered.output)["scores"])


@in_a_folder
def test_no_copy_or_one_that_is_not_read_back_is_refused(registered: Registered, bonafide: Run) -> None:
    nights(registered.output, "2026-11-22")
    assert "is no compacted copy" in registered.register()[2].splitlines()[-1]
    bonafide("compact", registered.output, "--to", registered.copy)
    (manifest,) = storage.listing(f"{registered.copy}/_compacted/scores") or []
    storage.remove(manifest.uri)

    code, _, err = registered.register()

    assert code == 65
    assert "was not read back since it was written" in err.splitlines()[-1]
    assert not registered.database.exists()


@in_a_folder
def test_a_table_of_another_copy_is_not_touched(registered: Registered, bonafide: Run, root: str) -> None:
    nights(registered.output, "2026-11-22")
    registered.update()
    bonafide("compact", registered.output, "--to", f"{root}/other")

    code, _, err = bonafide("register", f"{root}/other", "--catalog", registered.uri)

    assert code == 65
    assert "Give another --namespace" in err.splitlines()[-1]
    assert bonafide("register", f"{root}/other", "--catalog", registered.uri, "--namespace", "other")[0] == 0


def test_without_pyiceberg_the_remedy_is_said(tmp_path: Path, bonafide: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    real = iceberg.importlib.util.find_spec
    monkeypatch.setattr(
        iceberg.importlib.util, "find_spec", lambda name, *more: None if name == "pyiceberg" else real(name, *more)
    )

    code, _, err = bonafide("register", tmp_path, "--catalog", "sqlite:///c.db")

    assert code == 65
    assert err.splitlines()[-1].endswith("Install it: pip install 'bonafide[iceberg]'.")


@pytest.mark.parametrize(
    ("catalog", "code", "says"),
    [
        ("postgresql://me:hunter2@host/db", 65, "a password in its URI"),
        ("nonsense", 65, "catalog: "),
        ("https://me:hunter2@host/catalog", 65, "PYICEBERG_CATALOG__BONAFIDE__CREDENTIAL"),
        ("https://host/catalog?token=hunter2", 65, "PYICEBERG_CATALOG__BONAFIDE__CREDENTIAL or …__TOKEN"),
        ("http://127.0.0.1:1/catalog", 69, "gave up"),
        ("sqlite:////no/such/folder/c.db", 69, "gave up"),
    ],
)
def test_a_catalog_that_cannot_be_is_named_and_no_password_repeated(
    tmp_path: Path, bonafide: Run, catalog: str, code: int, says: str
) -> None:
    output = str(tmp_path / "tables")
    commit(output, plan(output, a="1").current[SLOTS["a"]], 2)
    bonafide("compact", output, "--to", tmp_path / "copy")

    found, out, err = bonafide("register", tmp_path / "copy", "--catalog", catalog)

    assert found == code
    assert says in err.splitlines()[-1]
    assert "hunter2" not in out + err


@in_a_folder
def test_a_catalog_that_is_no_database_is_named(registered: Registered, bonafide: Run) -> None:
    nights(registered.output, "2026-11-22")
    bonafide("compact", registered.output, "--to", registered.copy)
    registered.database.write_text("no database at all" * 100)

    code, _, err = registered.register()

    assert code == 65
    assert "file is not a database" in err.splitlines()[-1]


@pytest.mark.parametrize(
    ("status", "code", "says"),
    [(401, 65, "__TOKEN"), (403, 65, "the right to create"), (400, 65, "__WAREHOUSE"), (503, 69, "gave up")],
)
def test_what_a_rest_catalog_refuses_is_said(tmp_path: Path, bonafide: Run, status: int, code: int, says: str) -> None:
    output = str(tmp_path / "tables")
    commit(output, plan(output, a="1").current[SLOTS["a"]], 2)
    bonafide("compact", output, "--to", tmp_path / "copy")

    with refusing(status) as address:
        found, _, err = bonafide("register", tmp_path / "copy", "--catalog", address)

    assert found == code
    assert says in err.splitlines()[-1]


@pytest.mark.parametrize("root", ["s3"], indirect=True)
def test_no_store_credential_is_written_to_catalog_or_metadata(
    registered: Registered, request: pytest.FixtureRequest
) -> None:
    nights(registered.output, "2026-11-22")
    registered.update()

    environment = request.getfixturevalue("s3_environment")
    keys = [environment[name].encode() for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")]
    written = [storage.read_bytes(stored.uri) for stored in storage.listing(registered.copy) or []]
    assert not [key for key in keys for content in (*written, registered.database.read_bytes()) if key in content]
