"""compact: the copy has the output's rows in few objects, at any moment that somebody looks, and proves it."""

from __future__ import annotations

import contextlib
import io
import itertools
import os
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import polars
import pyarrow as pa
import pyarrow.dataset
import pyarrow.fs
import pyarrow.parquet as pq
import pytest

from jobs import storage
from jobs.erasure.mentions import find_mentions
from jobs.erasure.request import ErasureRequest
from jobs.tables.compaction.copy import CompactedCopy
from jobs.tables.compaction.objects import FOOTER_KEY, CopiedObject, difference
from jobs.tables.compaction.writer import CompactedObjectWriter
from jobs.tables.row_digest import COLUMNS
from tests.support import ROOT
from tests.support.nightly_runs import drawn, head, night, recordings
from tests.support.tables import KEY, SLOTS, commit, place, plan, table

Run = Callable[..., tuple[int, str, str]]

TABLES = ("embeddings", "scores", "failures")
TINY = 0.001  # MiB: an object for each shard
VICTIM = "2026/03.tar#0004.flac"


in_a_folder = pytest.mark.parametrize("root", ["folder"], indirect=True)


def tars(*numbers: int, rows: int = 12) -> dict[str, Any]:
    uris = [f"s3://archive/2026/{number:02d}.tar" for number in numbers]
    return {uri: recordings(drawn(rows, seed=number)[0], uri) for number, uri in zip(numbers, uris, strict=True)}


def nights(output: str, *dates: str) -> None:
    """On each date four new shards of twelve recordings, one of which could not be read."""
    uri = f"{output}.head.json"
    storage.write_bytes(uri, head().to_json().encode())
    for number, date in enumerate(dates):
        shards = tars(*range(4 * number, 4 * number + 4))
        night(output, shards, {f"broken{number}.flac": "truncated"}, date=date, head_uri=uri, pages=False)


def held(output: str) -> dict[str, pa.Table]:
    """All rows of each table, in the order of their objects."""
    found = {}
    for name in TABLES:
        objects = [stored.uri for stored in storage.listing(f"{output}/{name}") or []]
        parts = [pq.read_table(io.BytesIO(storage.read_bytes(uri)), partitioning=None) for uri in objects]
        whole = pa.concat_tables(part.replace_schema_metadata() for part in parts) if parts else None
        if whole:
            found[name] = whole
    return found


def assert_same(output: str, copy: str) -> None:
    """Row for row and column for column, by another engine than ours."""
    ours, theirs = held(output), held(copy)
    assert ours.keys() == theirs.keys()
    for name in ours:
        assert ours[name].schema == theirs[name].schema
        with duckdb.connect() as connection:
            connection.register("ours", ours[name])
            connection.register("theirs", theirs[name])
            for more in ("FROM ours EXCEPT ALL FROM theirs", "FROM theirs EXCEPT ALL FROM ours"):
                assert connection.sql(more).fetchall() == [], name


def each_once(rows: pa.Table) -> bool:
    return len(rows["utterance_id"].unique()) == len(rows)


def etags(folder: str) -> dict[str, str]:
    return {stored.uri: stored.etag for stored in storage.listing(folder) or []}


def objects(copy: str) -> dict[str, str]:
    return {uri: etag for uri, etag in etags(copy).items() if uri.endswith(".parquet")}


@pytest.fixture
def output(root: str) -> str:
    nights(f"{root}/tables", "2026-11-22")
    return f"{root}/tables"


@pytest.fixture
def copy(root: str) -> str:
    return f"{root}/copy"


def test_a_copy_has_the_same_rows_in_few_objects_and_the_output_is_not_touched(
    output: str, copy: str, bonafide: Run
) -> None:
    before = etags(output)

    code, out, err = bonafide("compact", output, "--to", copy)

    assert code == 0, err
    assert_same(output, copy)
    assert etags(output) == before
    # four shards in one partition each; failures are of the first alone
    assert [line.split(",")[0] for line in out.splitlines()] == [
        "embeddings: 4 objects → 1",
        "scores: 4 objects → 1",
        "failures: 1 objects → 1",
    ]
    assert len(objects(copy)) == 3


@in_a_folder
def test_verify_says_the_same_digest_of_a_copy_as_of_its_output(output: str, copy: str, bonafide: Run) -> None:
    bonafide("compact", output, "--to", copy)

    (code, ours, _), (copied, theirs, _) = bonafide("verify", output), bonafide("verify", copy)

    assert (code, copied) == (0, 0)
    assert len(theirs.splitlines()) == len(ours.splitlines()) == 2
    for a, b in zip(ours.splitlines(), theirs.splitlines(), strict=True):
        assert b.startswith(f"copy of {output}: ")
        assert a.rpartition("digest ")[2] == b.rpartition("digest ")[2]


def test_objects_are_as_large_as_they_may_be_and_no_larger(tmp_path: Any, bonafide: Run) -> None:
    output, copy, limit = f"{tmp_path}/tables", f"{tmp_path}/copy", 40_000
    night(output, tars(*range(12), rows=100), pages=False, head_uri="head.json")

    assert bonafide("compact", output, "--to", copy, "--object-mib", limit / 2**20)[0] == 0

    assert_same(output, copy)
    for name in ("embeddings", "scores"):
        *full, last = [stored.size for stored in storage.listing(f"{copy}/{name}") or []]
        assert full
        assert all(limit / 2 < size <= limit for size in full)
        assert last <= limit


@in_a_folder
def test_nothing_new_reads_no_rows_and_writes_nothing(
    output: str, copy: str, bonafide: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    bonafide("compact", output, "--to", copy)
    before = etags(copy)
    asked: list[str] = []
    for name in ("read_bytes", "put", "write_bytes", "opened"):
        real = getattr(storage, name)
        monkeypatch.setattr(
            storage,
            name,
            lambda what, *rest, name=name, real=real, **more: (
                asked.append(f"{name} {what}") or real(what, *rest, **more)
            ),
        )

    code, out, _ = bonafide("compact", output, "--to", copy)

    assert code == 0
    assert out.count("0 written, 0 rewritten") == 3
    # a plan and its markers of either ledger, and a manifest of each object: all of them small JSON
    assert len(asked) == 2 * (1 + 4) + 3
    assert all(each.startswith("read_bytes") and each.endswith(".json") for each in asked)
    assert etags(copy) == before


@in_a_folder
def test_another_night_comes_in_objects_of_its_own_and_finished_ones_are_not_touched(
    output: str, copy: str, bonafide: Run
) -> None:
    bonafide("compact", output, "--to", copy)
    before = etags(copy)
    nights(output, "2026-11-22", "2026-11-23")

    assert bonafide("compact", output, "--to", copy)[0] == 0

    assert_same(output, copy)
    after = etags(copy)
    assert {uri: after[uri] for uri in before} == before
    assert len(objects(copy)) == 6
    assert bonafide("verify", copy)[0] == 0


@in_a_folder
def test_another_copy_elsewhere_folds_many_nights_into_one_object(output: str, root: str, bonafide: Run) -> None:
    nights(output, "2026-11-22", "2026-11-23", "2026-11-24")

    bonafide("compact", output, "--to", f"{root}/anew")

    assert len(storage.listing(f"{root}/anew/embeddings") or []) == 1
    assert_same(output, f"{root}/anew")


def test_a_replaced_shard_changes_the_one_object_that_holds_it(root: str, copy: str, bonafide: Run) -> None:
    output = f"{root}/tables"
    history = plan(output, a="1", b="1", c="1")
    for name, n_rows, n_failures in (("a", 3, 1), ("b", 4, 0), ("c", 5, 2)):
        commit(output, history.current[SLOTS[name]], n_rows, n_failures)
    bonafide("compact", output, "--to", copy, "--object-mib", TINY)
    before = etags(f"{copy}/embeddings")
    assert len(before) == 3
    commit(output, plan(output, b="2").current[SLOTS["b"]], 7, 1)

    code, out, err = bonafide("compact", output, "--to", copy)

    assert code == 0, err
    assert_same(output, copy)
    after = etags(f"{copy}/embeddings")
    assert [uri[-11:-8] for uri in before if before[uri] != after[uri]] == ["002"]
    assert "embeddings: 3 objects → 3" in out
    assert out.count("0 written, 1 rewritten") == 1
    assert bonafide("verify", copy)[0] == 0


@in_a_folder
def test_until_a_replaced_shard_is_done_its_old_rows_stay(root: str, copy: str, bonafide: Run) -> None:
    output = f"{root}/tables"
    for name, each in plan(output, a="1", b="1").current.items():
        commit(output, each, 3 if name == SLOTS["a"] else 4)
    bonafide("compact", output, "--to", copy)
    before = objects(copy)
    history = plan(output, a="2", c="1")

    code, out, _ = bonafide("compact", output, "--to", copy)
    assert code == 0
    assert "2 shards are planned and not done; they wait" in out
    assert objects(copy) == before

    for slot in (SLOTS["a"], SLOTS["c"]):
        commit(output, history.current[slot], 2)
    assert bonafide("compact", output, "--to", copy)[0] == 0
    assert_same(output, copy)


@in_a_folder
def test_what_was_erased_goes_from_the_copy_while_its_shard_is_planned_again(
    root: str, copy: str, bonafide: Run
) -> None:
    output = f"{root}/tables"
    shards(output, a="1", b="1")
    bonafide("compact", output, "--to", copy)
    assert bonafide("erase", "a1#0", "a!0", "--output", output)[0] == 0
    history = plan(output, a="2")

    code, out, err = bonafide("compact", output, "--to", copy)

    assert code == 0, err
    assert "1 shards are planned and not done; they wait" in out
    assert find_mentions(copy, ErasureRequest(("a1#0", "a!0")))[0] == []
    assert_same(output, copy)
    assert bonafide("verify", copy)[0] == 0
    commit(output, history.current[SLOTS["a"]], 2)
    assert bonafide("compact", output, "--to", copy)[0] == 0
    assert_same(output, copy)


@in_a_folder
def test_of_several_earlier_states_the_last_that_was_committed_counts(root: str, copy: str, bonafide: Run) -> None:
    output = f"{root}/tables"
    shards(output, a="1")
    bonafide("compact", output, "--to", copy)
    shards(output, n_failures=2, a="2")
    plan(output, a="3")

    assert bonafide("compact", output, "--to", copy)[0] == 0

    assert_same(output, copy)


@in_a_folder
def test_rows_that_no_marker_speaks_for_are_never_called_proven(root: str, copy: str, bonafide: Run) -> None:
    output = f"{root}/tables"
    shards(output, a="1", b="1")
    bonafide("compact", output, "--to", copy)
    before = objects(copy)
    history = plan(output, a="2")
    assert "removed 1 objects" in bonafide("gc", output, "--grace-hours", 0)[1]  # its marker

    code, _, err = bonafide("compact", output, "--to", copy)

    assert code == 75
    assert "rows of 1 shards cannot be compared with the output" in err.splitlines()[-1]
    assert objects(copy) == before
    commit(output, history.current[SLOTS["a"]], 2)
    assert bonafide("compact", output, "--to", copy)[0] == 0
    assert_same(output, copy)


@in_a_folder
def test_while_new_rows_are_placed_the_erased_ones_are_not_called_gone(root: str, copy: str, bonafide: Run) -> None:
    output = f"{root}/tables"
    shards(output, a="1")
    bonafide("compact", output, "--to", copy)
    assert bonafide("erase", "a1#0", "--output", output)[0] == 0
    commit(output, plan(output, a="2").current[SLOTS["a"]], 2)
    storage.remove(f"{output}/_commits/embeddings-{KEY}/{SLOTS['a']}-000002.json")  # as before it was put there

    code, _, err = bonafide("compact", output, "--to", copy)

    assert code == 75
    assert "its rows were replaced meanwhile" in err.splitlines()[-1]


@in_a_folder
def test_a_shard_that_has_no_rows_any_more_leaves_an_object_without_any(root: str, copy: str, bonafide: Run) -> None:
    output = f"{root}/tables"
    commit(output, plan(output, a="1").current[SLOTS["a"]], 3, 2)
    bonafide("compact", output, "--to", copy)
    commit(output, plan(output, a="2").current[SLOTS["a"]], 3, 0)

    for _ in range(2):
        assert bonafide("compact", output, "--to", copy)[0] == 0
        assert "failures" not in held(copy)
        assert len(etags(f"{copy}/failures")) == 1
        assert_same(output, copy)
        assert bonafide("verify", copy)[0] == 0


def test_what_is_erased_from_the_output_goes_from_the_copy_with_the_next_compaction(
    output: str, copy: str, bonafide: Run
) -> None:
    bonafide("compact", output, "--to", copy, "--object-mib", TINY)
    before = objects(copy)
    assert find_mentions(copy, ErasureRequest((VICTIM,)))[0]
    assert bonafide("erase", VICTIM, "--output", output)[0] == 0

    code, _, err = bonafide("compact", output, "--to", copy)

    assert code == 0, err
    assert find_mentions(copy, ErasureRequest((VICTIM,)))[0] == []
    assert_same(output, copy)
    after = objects(copy)
    assert after.keys() == before.keys()
    assert sum(before[uri] != after[uri] for uri in before) == 2  # one of embeddings, one of scores
    assert bonafide("verify", copy)[0] == 0


@in_a_folder
def test_a_draft_of_who_was_killed_goes_with_the_next_compaction(output: str, copy: str, bonafide: Run) -> None:
    bonafide("compact", output, "--to", copy)
    whole = Path(next(uri for uri in objects(copy) if "/embeddings/" in uri))
    draft = whole.with_name(f".{whole.name}.123-0011aabb.part")
    draft.write_bytes(whole.read_bytes())
    os.utime(draft, (1e9, 1e9))
    assert bonafide("erase", VICTIM, "--output", output)[0] == 0

    assert bonafide("compact", output, "--to", copy)[0] == 0

    assert not draft.exists()


@in_a_folder
def test_erase_in_a_copy_says_where_to_erase(output: str, copy: str, bonafide: Run) -> None:
    bonafide("compact", output, "--to", copy)
    before = etags(copy)

    code, _, err = bonafide("erase", VICTIM, "--output", copy)

    assert code == 65
    assert f"is a copy of {output}; erase there, then run `compact` again" in err.splitlines()[-1]
    assert etags(copy) == before


@in_a_folder
def test_erase_in_a_copy_whose_objects_are_gone_says_the_same(output: str, copy: str, bonafide: Run) -> None:
    bonafide("compact", output, "--to", copy)
    for uri in objects(copy):
        storage.remove(uri)

    code, _, err = bonafide("erase", VICTIM, "--output", copy)

    assert code == 65
    assert f"is a copy of {output}; erase there" in err.splitlines()[-1]


class Stopper:
    """Kills at the n-th PUT, before or after it is done."""

    def __init__(self, stop: int, *, after: bool) -> None:
        self._left, self._after, self._put = stop, after, storage.put

    def __call__(self, uri: str, content: bytes, expected: str) -> Any:
        self._left -= 1
        if self._left < 0 and not self._after:
            raise KeyboardInterrupt
        found = self._put(uri, content, expected)
        if self._left < 0:
            raise KeyboardInterrupt
        return found


def shards(output: str, n_failures: int = 1, **states: str) -> None:
    """Plan shards, and commit those that are not."""
    done = table(output).done()
    for each in plan(output, **states).current.values():
        if each.name not in done:
            commit(output, each, 3, n_failures)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_killed_at_any_put_the_same_command_again_ends_right(
    tmp_path: Any, bonafide: Run, monkeypatch: pytest.MonkeyPatch, after: bool
) -> None:
    output = f"{tmp_path}/tables"
    shards(output, a="1", b="1")

    for stop in itertools.count():
        copy = f"{tmp_path}/copy{stop}"
        if killed(bonafide, monkeypatch, output, copy, stop, after) == 0:
            break
        assert all(map(each_once, held(copy).values()))
        assert bonafide("compact", output, "--to", copy, "--object-mib", TINY)[0] == 0
        assert_same(output, copy)
        assert bonafide("verify", copy)[0] == 0
    assert stop == 8  # two shards in two tables: an object each, and its manifest


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_killed_while_it_rewrites_the_same_command_again_ends_right(
    root: str, bonafide: Run, monkeypatch: pytest.MonkeyPatch, after: bool
) -> None:
    output = f"{root}/tables"
    copies = [f"{root}/copy{stop}" for stop in range(3)]
    shards(output, a="1", b="1")
    for copy in copies:
        bonafide("compact", output, "--to", copy, "--object-mib", TINY)
    shards(output, n_failures=2, a="2")

    for stop, copy in enumerate(copies):  # at an object of either table, and at a manifest
        assert killed(bonafide, monkeypatch, output, copy, stop, after) == 75
        assert all(map(each_once, held(copy).values()))
        assert bonafide("compact", output, "--to", copy, "--object-mib", TINY)[0] == 0
        assert_same(output, copy)
        assert bonafide("verify", copy)[0] == 0


def killed(bonafide: Run, monkeypatch: pytest.MonkeyPatch, output: str, copy: str, stop: int, after: bool) -> int:
    """Exit code of a compaction that is killed at a PUT, where it comes to it."""
    with monkeypatch.context() as patched:
        patched.setattr(storage, "put", Stopper(stop, after=after))
        return bonafide("compact", output, "--to", copy, "--object-mib", TINY)[0]


@pytest.mark.parametrize("meanwhile", ["compact", "erase and compact"])
def test_two_at_once_end_in_one_set_of_rows(
    root: str, bonafide: Run, monkeypatch: pytest.MonkeyPatch, meanwhile: str
) -> None:
    output = f"{root}/tables"
    shards(output, a="1", b="1", c="1")
    put, seen = storage.put, set()
    for stop in range(3):
        copy, victim = f"{root}/copy{stop}", f"a1#{stop}"
        left = iter(range(stop, -1, -1))

        def interrupted(
            uri: str,
            content: bytes,
            expected: str,
            copy: str = copy,
            victim: str = victim,
            left: Iterator[int] = left,
        ) -> Any:
            if next(left, None) == 0:
                if meanwhile != "compact":
                    assert bonafide("erase", victim, "--output", output)[0] == 0
                assert bonafide("compact", output, "--to", copy)[0] == 0  # other sizes, too
            return put(uri, content, expected)

        with monkeypatch.context() as patched:
            patched.setattr(storage, "put", interrupted)
            seen.add(bonafide("compact", output, "--to", copy, "--object-mib", TINY)[0])
        assert all(map(each_once, held(copy).values()))
        assert bonafide("compact", output, "--to", copy, "--object-mib", TINY)[0] == 0
        assert_same(output, copy)
        assert bonafide("verify", copy)[0] == 0
    assert seen <= {0, 75}
    assert 75 in seen


@in_a_folder
def test_an_object_that_another_command_wrote_anew_before_it_was_proven_is_not_called_damaged(
    root: str, copy: str, bonafide: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = f"{root}/tables"
    shards(output, a="1", b="1")
    bonafide("compact", output, "--to", copy)
    for stored in storage.listing(f"{copy}/_compacted") or []:
        storage.remove(stored.uri)  # as whoever is killed between an object and its manifest
    prove, left = CompactedCopy.prove, iter((True,))

    def interrupted(*arguments: Any, **more: Any) -> CopiedObject:
        if next(left, False):
            shards(output, a="2")
            assert bonafide("compact", output, "--to", copy)[0] == 0
        return prove(*arguments, **more)

    with monkeypatch.context() as patched:
        patched.setattr(CompactedCopy, "prove", interrupted)
        code, _, err = bonafide("compact", output, "--to", copy)

    assert code == 75
    assert "another command wrote it" in err.splitlines()[-1]
    assert_same(output, copy)
    assert bonafide("verify", copy)[0] == 0


def test_who_read_before_an_erasure_cannot_bring_back_what_it_took(
    root: str, copy: str, bonafide: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = f"{root}/tables"
    shards(output, a="1")
    bonafide("compact", output, "--to", copy)
    assert bonafide("erase", "a1#0", "--output", output)[0] == 0
    add, left = CompactedObjectWriter.add, iter((True,))

    def interrupted(*arguments: Any) -> None:
        if next(left, False):  # the rows that are to be written have been read
            assert bonafide("erase", "a1#1", "--output", output)[0] == 0
            assert bonafide("compact", output, "--to", copy)[0] == 0
        add(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(CompactedObjectWriter, "add", interrupted)
        assert bonafide("compact", output, "--to", copy)[0] == 75

    assert held(copy)["embeddings"]["utterance_id"].to_pylist() == ["a1#2"]
    assert bonafide("compact", output, "--to", copy)[0] == 0
    assert_same(output, copy)


@in_a_folder
@pytest.mark.parametrize("meanwhile", ["erased", "replaced"])
def test_rows_that_went_from_the_output_meanwhile_are_not_called_as_committed(
    root: str, copy: str, bonafide: Run, monkeypatch: pytest.MonkeyPatch, meanwhile: str
) -> None:
    output = f"{root}/tables"
    commit(output, plan(output, a="1").current[SLOTS["a"]], 1)
    put, left = storage.put, iter((True,))

    def interrupted(uri: str, content: bytes, expected: str) -> Any:
        if uri.startswith(copy) and next(left, False):
            if meanwhile == "erased":
                assert bonafide("erase", "a1#0", "--output", output)[0] == 0
                assert bonafide("compact", output, "--to", copy)[0] == 0  # no row is left that it could write
            else:
                commit(output, plan(output, a="2").current[SLOTS["a"]], 2)
        return put(uri, content, expected)

    with monkeypatch.context() as patched:
        patched.setattr(storage, "put", interrupted)
        code, _, err = bonafide("compact", output, "--to", copy)

    assert code == 75
    assert "shards were replaced, or rows erased, meanwhile" in err.splitlines()[-1]
    assert bonafide("compact", output, "--to", copy)[0] == 0
    assert_same(output, copy)
    assert find_mentions(copy, ErasureRequest(("a1#0",)))[0] == []


class Reader(threading.Thread):
    """Globs and counts the rows of a copy until it is told to stop."""

    def __init__(self, count: Callable[[], tuple[int, int]]) -> None:
        super().__init__()
        self._count, self._stop_now = count, threading.Event()
        self.seen: list[tuple[int, int]] = []
        self.error: Exception | None = None

    def run(self) -> None:
        try:
            while not self._stop_now.is_set():
                self.seen.append(self._count())
        except Exception as error:
            self.error = error

    def stop(self) -> None:
        self._stop_now.set()
        self.join()


def readers(copy: str) -> Iterator[Callable[[], tuple[int, int]]]:
    """By engine: rows, and distinct ids among them."""
    if copy.startswith("s3://"):
        endpoint = os.environ["AWS_ENDPOINT_URL"]
        arrow = pyarrow.fs.S3FileSystem(
            endpoint_override=endpoint.removeprefix("http://"), scheme="http", region="us-east-1"
        )
        options = {"aws_endpoint_url": endpoint, "aws_region": "us-east-1", "aws_allow_http": "true"}
        options |= {name.lower(): os.environ[name] for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")}
    else:
        arrow, options = pyarrow.fs.LocalFileSystem(), {}
        glob = f"read_parquet('{copy}/scores/**/*.parquet')"
        connection = duckdb.connect()
        yield lambda: connection.sql(f"SELECT count(*), count(DISTINCT utterance_id) FROM {glob}").fetchall()[0]

    def by_arrow() -> tuple[int, int]:
        folder = pyarrow.fs.FileSelector(f"{copy.removeprefix('s3://')}/scores", recursive=True)
        found = [each.path for each in arrow.get_file_info(folder) if each.path.endswith(".parquet")]
        ids = pyarrow.dataset.dataset(found, filesystem=arrow, format="parquet").to_table(["utterance_id"])
        return len(ids), len(ids["utterance_id"].unique())

    def by_polars() -> tuple[int, int]:
        scan = polars.scan_parquet(f"{copy}/scores/**/*.parquet", storage_options=options)
        ids = polars.col("utterance_id")
        return scan.select(polars.len().alias("n"), ids.n_unique()).collect().row(0)

    yield by_arrow
    yield by_polars


def test_a_reader_who_globs_all_the_while_sees_whole_objects_and_no_row_twice(
    output: str, copy: str, bonafide: Run
) -> None:
    limit = ("--object-mib", TINY)
    bonafide("compact", output, "--to", copy, *limit)
    watching = [Reader(count) for count in readers(copy)]
    for each in watching:
        each.start()
    try:
        for dates in (("2026-11-22", "2026-11-23"), ("2026-11-22", "2026-11-23", "2026-11-24")):
            nights(output, *dates)
            assert bonafide("compact", output, "--to", copy, *limit)[0] == 0
    finally:
        for each in watching:
            each.stop()

    folds = CompactedCopy(copy).look()
    rows = [each.compacted.rows for name, each in sorted(folds.items()) if each.compacted.table == "scores"]
    allowed = set(itertools.accumulate(rows))  # objects come in the order of their dates and numbers
    for each in watching:
        assert each.error is None
        assert {n_rows for n_rows, _ in each.seen} <= allowed
        assert all(n_rows == n_ids for n_rows, n_ids in each.seen)
        assert [n_rows for n_rows, _ in each.seen] == sorted(n_rows for n_rows, _ in each.seen)
        assert each.seen[-1][0] > each.seen[0][0]
    assert_same(output, copy)


@in_a_folder
def test_a_flipped_byte_in_the_copy_is_found_and_its_object_named(output: str, copy: str, bonafide: Run) -> None:
    bonafide("compact", output, "--to", copy)
    uri = next(uri for uri in objects(copy) if "/scores/" in uri)
    content = bytearray(storage.read_bytes(uri))
    content[len(content) // 3] ^= 1
    storage.write_bytes(uri, bytes(content))

    for verb in (("verify", copy), ("compact", output, "--to", copy)):
        code, _, err = bonafide(*verb)
        assert code == 65
        assert uri in err.splitlines()[-1]

    storage.remove(uri)  # what the message says to do
    assert bonafide("compact", output, "--to", copy)[0] == 0
    assert_same(output, copy)
    assert bonafide("verify", copy)[0] == 0


@in_a_folder
def test_a_flipped_byte_anywhere_in_a_footer_is_damage(root: str, copy: str, bonafide: Run) -> None:
    output = f"{root}/tables"
    shards(output, a="1")
    bonafide("compact", output, "--to", copy)
    (uri,) = (uri for uri in objects(copy) if "/embeddings/" in uri)
    expected = CompactedCopy(copy).look()[uri.removeprefix(f"{copy}/")].compacted
    content = storage.read_bytes(uri)
    start = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    kinds: dict[str, bytes] = {}
    for at in range(start, len(content)):
        flipped = content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]
        if found := difference(expected, flipped):
            kinds.setdefault(re.sub(r"[^a-z]+", " ", found)[:40], flipped)
    assert len(kinds) > 2

    for flipped in kinds.values():
        storage.write_bytes(uri, flipped)
        for verb in (("verify", copy), ("compact", output, "--to", copy)):
            code, _, err = bonafide(*verb)
            assert code == 65
            assert uri in err.splitlines()[-1]


@in_a_folder
def test_a_damaged_object_that_is_to_be_written_anew_is_named(root: str, copy: str, bonafide: Run) -> None:
    output = f"{root}/tables"
    shards(output, a="1", b="1")
    bonafide("compact", output, "--to", copy)
    (uri,) = (uri for uri in objects(copy) if "/embeddings/" in uri)
    content = bytearray(storage.read_bytes(uri))
    content[len(content) // 4] ^= 1
    storage.write_bytes(uri, bytes(content))
    shards(output, a="2")

    code, _, err = bonafide("compact", output, "--to", copy)

    assert code == 65
    assert f"{uri}: is damaged" in err.splitlines()[-1]


class Broken(io.BytesIO):
    """As a disk that cannot read what it holds."""

    def read(self, size: int | None = -1) -> bytes:
        raise OSError(f"{size} bytes: input/output error")


@in_a_folder
def test_a_store_that_gives_up_at_a_footer_is_no_damage(
    root: str, copy: str, bonafide: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = f"{root}/tables"
    shards(output, a="1")
    bonafide("compact", output, "--to", copy)
    for stored in storage.listing(f"{copy}/_compacted") or []:
        storage.remove(stored.uri)  # so that footers are read
    monkeypatch.setattr(
        storage,
        "opened",
        lambda stored: contextlib.nullcontext(storage.StoredFile(Broken(bytes(stored.size)), stored.uri)),
    )

    code, _, err = bonafide("compact", output, "--to", copy)

    assert code == 69
    assert "the store gave up" in err.splitlines()[-1]


@in_a_folder
@pytest.mark.parametrize("which", ["the first", "the last", "all"])
def test_what_the_message_says_to_do_ends_right_also_among_several_objects(
    root: str, copy: str, bonafide: Run, which: str
) -> None:
    output = f"{root}/tables"
    shards(output, a="1", b="1", c="1")
    bonafide("compact", output, "--to", copy, "--object-mib", TINY)
    uris = sorted(objects(copy))
    for uri in {"the first": uris[:1], "the last": uris[-1:], "all": uris}[which]:
        storage.remove(uri)

    assert "is gone" in bonafide("verify", copy)[2].splitlines()[-1]
    for _ in range(2):
        assert bonafide("compact", output, "--to", copy)[0] == 0
        assert_same(output, copy)
        assert bonafide("verify", copy)[0] == 0
    assert len(etags(f"{copy}/_compacted")) == len(objects(copy))


@in_a_folder
def test_other_rows_under_a_right_footer_are_found(output: str, copy: str, bonafide: Run) -> None:
    bonafide("compact", output, "--to", copy)
    uri = next(uri for uri in objects(copy) if "/scores/" in uri)
    content = io.BytesIO(storage.read_bytes(uri))
    rows, about = pq.read_table(content, partitioning=None), pq.read_metadata(content).metadata
    other = rows.take([0, *range(len(rows) - 1)]).replace_schema_metadata({FOOTER_KEY: about[FOOTER_KEY]})
    file = io.BytesIO()
    pq.write_table(other, file)
    storage.write_bytes(uri, file.getvalue())

    for verb in (("verify", copy), ("compact", output, "--to", copy)):
        code, _, err = bonafide(*verb)
        assert code == 65
        assert f"{uri}: " in err.splitlines()[-1]
        assert "the digest of its rows is" in err.splitlines()[-1]


@in_a_folder
def test_a_row_that_is_lost_on_the_way_ends_with_65(
    output: str, copy: str, bonafide: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    add = CompactedObjectWriter.add
    monkeypatch.setattr(
        CompactedObjectWriter,
        "add",
        lambda self, share, batches, n=0: add(self, share, [each.slice(1) for each in batches], n),
    )

    code, _, err = bonafide("compact", output, "--to", copy)

    assert code == 65
    assert "the digest of its rows is" in err.splitlines()[-1]


@in_a_folder
@pytest.mark.parametrize("content", [b"", b"PAR1 no table", None])
def test_an_object_that_compact_did_not_put_there_is_named(
    output: str, copy: str, bonafide: Run, content: bytes | None
) -> None:
    bonafide("compact", output, "--to", copy)
    uri = f"{copy}/scores/run_date=2026-11-22/mine.parquet"
    theirs = storage.read_bytes((storage.listing(f"{output}/scores") or [])[0].uri)
    storage.write_bytes(uri, theirs if content is None else content)

    for verb in (("verify", copy), ("compact", output, "--to", copy)):
        code, _, err = bonafide(*verb)
        assert code == 65
        assert uri in err.splitlines()[-1]


@in_a_folder
def test_a_shard_of_the_output_that_is_gone_is_named(root: str, copy: str, bonafide: Run) -> None:
    output = f"{root}/tables"
    shards(output, a="1", b="1")
    storage.remove(place(output, "a"))

    code, _, err = bonafide("compact", output, "--to", copy)

    assert code == 65
    assert f"{place(output, 'a')}: is gone; it was committed with 3 rows" in err.splitlines()[-1]


@in_a_folder
def test_a_damaged_shard_of_the_output_is_named_and_not_copied(output: str, copy: str, bonafide: Run) -> None:
    uri = (storage.listing(f"{output}/scores") or [])[3].uri
    content = bytearray(storage.read_bytes(uri))
    content[len(content) // 3] ^= 1
    storage.write_bytes(uri, bytes(content))

    code, _, err = bonafide("compact", output, "--to", copy)

    assert code == 65
    assert f"{uri}: is not what was committed" in err.splitlines()[-1]


@in_a_folder
def test_a_dry_run_says_what_is_new_and_writes_nothing(output: str, copy: str, bonafide: Run) -> None:
    code, out, _ = bonafide("compact", output, "--to", copy, "--dry-run")

    assert code == 0
    assert "4 shards with 48 rows are new in scores/run_date=2026-11-22" in out
    assert storage.listing(copy) is None

    bonafide("compact", output, "--to", copy)
    assert bonafide("compact", output, "--to", copy, "--dry-run")[1].count("nothing new") == 2


@in_a_folder
def test_gc_leaves_a_copy_alone(output: str, copy: str, bonafide: Run) -> None:
    bonafide("compact", output, "--to", copy)
    before = etags(copy)

    assert "removed 0 objects" in bonafide("gc", copy, "--grace-hours", 0)[1]

    after = etags(copy)
    assert {uri: after[uri] for uri in before} == before


@pytest.mark.parametrize("other", ["{output}", "{output}/copy", "{output}/", "{output}/.."])
def test_a_copy_within_the_output_or_around_it_is_refused(tmp_path: Any, bonafide: Run, other: str) -> None:
    output = f"{tmp_path}/tables"
    commit(output, plan(output, a="1").current[SLOTS["a"]], 2)

    code, _, err = bonafide("compact", output, "--to", other.format(output=output))

    assert code == 65
    assert "A copy needs a place of its own" in err.splitlines()[-1]


def test_a_place_that_holds_something_else_is_refused(root: str, bonafide: Run) -> None:
    for name in ("one", "two"):
        commit(f"{root}/{name}", plan(f"{root}/{name}", a="1").current[SLOTS["a"]], 2)
    assert bonafide("compact", f"{root}/one", "--to", f"{root}/copy")[0] == 0
    before = etags(root)

    said = {
        "is the output of a run": ("compact", f"{root}/one", "--to", f"{root}/two"),
        f"is a copy of {root}/one, not of {root}/two": ("compact", f"{root}/two", "--to", f"{root}/copy"),
        "no tables of ours here": ("compact", f"{root}/copy", "--to", f"{root}/other"),
        "object_mib 0.0": ("compact", f"{root}/one", "--to", f"{root}/copy", "--object-mib", "0"),
    }
    for cause, command in said.items():
        code, _, err = bonafide(*command)
        assert code == 65
        assert cause in err.splitlines()[-1]
    assert etags(root) == before


@in_a_folder
def test_columns_that_an_earlier_version_did_not_write_are_null(root: str, copy: str, bonafide: Run) -> None:
    output = f"{root}/tables"
    planned = plan(output, a="1").current[SLOTS["a"]]
    commit(f"{root}/now", planned, 3)
    rows = pq.read_table(io.BytesIO(storage.read_bytes(place(f"{root}/now", "a"))), partitioning=None)
    fewer = rows.replace_schema_metadata().drop_columns(["speech_share", "clipped_share"])
    table(output).commit(planned, "a", {"embeddings": ("embeddings/backbone=b", fewer)})

    assert bonafide("compact", output, "--to", copy)[0] == 0

    found = held(copy)["embeddings"]
    assert found["speech_share"].null_count == 3
    assert found.select(fewer.schema.names) == fewer


@in_a_folder
@pytest.mark.parametrize("unlike", ["a column more", "another size"])
def test_a_later_shard_with_columns_unlike_the_first_is_refused(
    root: str, copy: str, bonafide: Run, unlike: str
) -> None:
    output = f"{root}/tables"
    first, second = plan(output, a="1", b="1").current.values()
    commit(output, first, 3)
    rows = pq.read_table(io.BytesIO(storage.read_bytes(place(output, "a"))), partitioning=None)
    if unlike == "a column more":
        rows = rows.append_column("mood", pa.array(["sad"] * 3))
    else:
        larger = pa.array([[0.5, 0.5]] * 3, pa.list_(pa.float32(), 2))
        rows = rows.set_column(rows.schema.get_field_index("embedding"), "embedding", larger)
    table(output).commit(second, "b", {"embeddings": ("embeddings/backbone=b", rows.replace_schema_metadata())})

    code, _, err = bonafide("compact", output, "--to", copy)

    assert code == 65
    said = {"a column more": "column mood of string", "another size": f"shard {second.name} has embeddings of another"}
    assert said[unlike] in err.splitlines()[-1]
    assert objects(copy) == {}


def test_the_data_contract_names_the_columns_that_digests_prove() -> None:
    contract = (ROOT / "docs/data-contract.md").read_text()
    named = contract.partition("Digests are of what was found:")[2].partition(".")[0]

    for columns, part in zip(COLUMNS.values(), named.split(";"), strict=True):
        assert re.findall(r"`(\w+)`", part) == [*columns]
