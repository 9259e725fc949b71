"""A copy is right after kills, beside other commands, and for readers at any moment."""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable, Iterator
from typing import Any

import duckdb
import polars
import pyarrow.dataset
import pyarrow.fs
import pytest

from jobs import storage
from jobs.erasure.mentions import find_mentions
from jobs.erasure.request import ErasureRequest
from jobs.tables.compaction.copy import CompactedCopy
from jobs.tables.compaction.objects import CopiedObject
from jobs.tables.compaction.writer import CompactedObjectWriter
from tests.support.compaction import (
    TINY,
    Run,
    assert_same,
    each_once,
    held,
    in_a_bucket_if_long,
    in_a_folder,
    nights,
    shards,
)
from tests.support.tables import SLOTS, commit, plan


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


@in_a_bucket_if_long
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


def test_a_writer_that_read_before_an_erasure_cannot_restore_erased_rows(
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


@in_a_bucket_if_long
def test_a_concurrent_reader_sees_whole_objects_and_no_row_twice(output: str, copy: str, bonafide: Run) -> None:
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
