"""An output of two heads and three layers: each verb keeps the rows of every head and layer apart.

All of them share the names of shards, since these follow from the sources alone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow.compute as pc
import pytest

from jobs import storage
from jobs.erasure.mentions import find_mentions
from jobs.erasure.request import ErasureRequest
from jobs.tables.compaction.objects import CompactedObject, RowRange, repeated_rows
from tests.support.compaction import (
    LAYERS,
    Run,
    assert_same,
    catalog_at,
    each_once,
    held,
    in_a_bucket_if_long,
    in_a_folder,
    objects,
    tars,
)
from tests.support.nightly_runs import head, night

NIGHTS = (
    # date, number of tars in the archive by then, layer, coverage that the head was fitted for
    ("2026-11-22", 2, 0, 0.8),
    ("2026-11-23", 3, 0, 0.6),
    ("2026-11-23", 3, 1, 0.8),
    ("2026-11-24", 4, 2, 0.8),
)
VICTIM = "2026/01.tar#0004.flac"  # of the second tar, which all of them have


@dataclass
class TwoHeadsAndThreeLayers:
    """The output, which grows by a night at a time, and its copy."""

    output: str
    copy: str
    bonafide: Run

    def night(self, date: str, n_tars: int, layer: int, coverage: float) -> None:
        judge = head(target_coverage=coverage, recipe=LAYERS[layer])
        uri = f"{self.output}.head.json"
        storage.write_bytes(uri, judge.to_json().encode())
        failures = {"broken.flac": "truncated"}
        shards = tars(*range(n_tars))
        night(self.output, shards, failures, date=date, judge=judge, head_uri=uri, recipe=LAYERS[layer], pages=False)

    def done(self, *command: object) -> list[str]:
        code, out, err = self.bonafide(*command)
        assert code == 0, err
        return out.splitlines()

    def digests(self, place: str) -> list[str]:
        """The lines of `verify` about tables; others say what an output lacks."""
        return [line for line in self.done("verify", place) if "digest" in line]

    def compact(self) -> list[str]:
        return self.done("compact", self.output, "--to", self.copy)

    def assert_copied(self) -> None:
        """Check that the copy has the rows, and that `verify` says of it what it says of the output."""
        assert_same(self.output, self.copy)
        for a, b in zip(self.digests(self.output), self.digests(self.copy), strict=True):
            assert b.startswith(f"copy of {self.output}: {a.partition(':')[0]}: ")
            assert a.rpartition("digest ")[2] == b.rpartition("digest ")[2]


@pytest.fixture
def tables(root: str, bonafide: Run) -> TwoHeadsAndThreeLayers:
    return TwoHeadsAndThreeLayers(f"{root}/tables", f"{root}/copy", bonafide)


@in_a_bucket_if_long
def test_a_copy_follows_night_by_night_and_nothing_that_is_erased_stays(
    tables: TwoHeadsAndThreeLayers, tmp_path: Path
) -> None:
    catalog = f"sqlite:///{tmp_path}/catalog.db"
    for each in NIGHTS:
        tables.night(*each)
        tables.compact()
    tables.assert_copied()
    tables.done("register", tables.copy, "--catalog", catalog)
    assert len(tables.digests(tables.output)) == 3 + 4  # layers, and heads: one of each layer, two of the first
    before = objects(tables.copy)

    assert tables.done("erase", VICTIM, "--output", tables.output)[0].startswith("erased 7 rows")

    assert find_mentions(tables.copy, ErasureRequest((VICTIM,)))[0]
    tables.compact()
    assert find_mentions(tables.copy, ErasureRequest((VICTIM,)))[0] == []
    tables.assert_copied()
    after = objects(tables.copy)
    assert after.keys() == before.keys()
    assert sum(after[uri] != before[uri] for uri in before) == 7  # one object of each ledger held it
    assert tables.compact()[0].endswith("0 written, 0 rewritten")
    tables.done("register", tables.copy, "--catalog", catalog)
    for name, rows in held(tables.output).items():
        assert len(registered(catalog, name)) == len(rows)
        assert VICTIM not in registered(catalog, name)


def registered(catalog: str, name: str) -> list[str]:
    """Ids of the rows of an Iceberg table."""
    table = catalog_at(catalog).load_table(f"bonafide.{name}")
    found: list[str] = table.scan(selected_fields=("utterance_id",)).to_arrow()["utterance_id"].to_pylist()
    return found


@in_a_folder
def test_the_rows_of_a_head_do_not_depend_on_when_its_copy_is_made(tables: TwoHeadsAndThreeLayers, root: str) -> None:
    for each in NIGHTS:
        tables.night(*each)
        tables.compact()
    late = TwoHeadsAndThreeLayers(tables.output, f"{root}/late", tables.bonafide)

    late.compact()

    late.assert_copied()
    assert_same(tables.copy, late.copy)
    for name, key in (("embeddings", "fingerprint"), ("scores", "head_id")):
        rows = held(late.copy)[name]
        assert not each_once(rows)
        for each in rows[key].unique():
            assert each_once(rows.filter(pc.equal(rows[key], each)))


def test_only_rows_of_the_same_ledger_table_and_shard_are_repeated() -> None:
    shard = RowRange("0123456789abcdef-000001", "", 2, "00")
    later = replace(shard, shard="0123456789abcdef-000002")
    first = CompactedObject("a", "out", "scores-1", "scores", (shard,))
    others = [
        replace(first, name="b", ledger="scores-2"),
        replace(first, name="c", table="failures"),
        replace(first, name="d", ranges=(replace(shard, shard="aaaaaaaaaaaaaaaa-000001"),)),
    ]

    assert repeated_rows([first, *others]) == []
    assert repeated_rows([first, *others, replace(first, name="e", ranges=(later,))]) == [
        "a: rows of shard 0123456789abcdef of scores-1 are in e, too"
    ]


@in_a_folder
def test_rows_of_a_ledger_that_the_output_has_lost_are_not_passed_over(tables: TwoHeadsAndThreeLayers) -> None:
    for each in NIGHTS[:2]:
        tables.night(*each)
    tables.compact()
    lost = f"scores-{head(target_coverage=0.6, recipe=LAYERS[0]).head_id}"
    for stored in storage.listing(f"{tables.output}/_plans/{lost}") or []:
        storage.remove(stored.uri)

    code, _, err = tables.bonafide("compact", tables.output, "--to", tables.copy)

    assert code == 65
    assert f"holds rows of {lost}, of which {tables.output} has no plan" in err.splitlines()[-1]
    for uri in [uri for uri in objects(tables.copy) if lost.partition("-")[2] in uri]:
        storage.remove(uri)  # what the message says to do
    tables.compact()
