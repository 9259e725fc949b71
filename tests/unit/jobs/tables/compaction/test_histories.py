"""Whatever happened to an output of several heads and layers, its tables and their copy follow from the history alone.

Histories are drawn: nights of three layers and three heads over an archive whose sources come, change and go, nights
that are killed, erasures, collections and compactions, in any order. A plain account of the rows, in dicts and without
code of the product, says what must be there in the end; digests are computed from it by a second implementation.
"""

from __future__ import annotations

import io
import random
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from detector.schema import FAILURES, SCORES, embeddings_schema
from jobs import storage
from jobs.tables.dropping import finish_drops
from jobs.tables.ledger import Ledger
from jobs.tables.plan import propose_scores, tombstones
from jobs.tables.protocol import Entry, Plan, PlanHistory, PlannedShard
from tests.support.compaction import LAYERS, TABLES, Run, catalog_at, held
from tests.support.row_digest import by_hand

DATES = ("2026-11-22", "2026-11-23")
HEADS = {"aaaaaaaaaaaaaaaa": 0, "bbbbbbbbbbbbbbbb": 0, "cccccccccccccccc": 2}  # ids, each with its layer
SOURCES = [f"2026/{letter}.tar" for letter in "abcde"]
SLOTS = {name: f"{number:016x}" for number, name in enumerate(SOURCES, start=1)}
MEMBERS = 3
SCHEMAS = {"embeddings": embeddings_schema(1), "scores": SCORES, "failures": FAILURES}

Row = dict[str, Any]
Rows = dict[str, list[Row]]  # by table


class History:
    """An archive, an output, its copy, and an account of the rows: by ledger, slot and table."""

    def __init__(self, root: str, database: Path, seed: int, bonafide: Run) -> None:
        self.output, self.copy, self.catalog = f"{root}/tables", f"{root}/copy", f"sqlite:///{database}"
        self.rng, self._bonafide = random.Random(seed), bonafide
        self.versions = {name: number for number, name in enumerate(self.rng.sample(SOURCES, 3))}
        self.n_versions = len(self.versions)
        self.layers = [Ledger(self.output, "embeddings", recipe.fingerprint) for recipe in LAYERS]
        self._slugs = {each.name: recipe.slug for each, recipe in zip(self.layers, LAYERS, strict=True)}
        self.heads = [Ledger(self.output, "scores", head) for head in HEADS]
        self.account: dict[str, dict[str, Rows]] = {each.name: {} for each in (*self.layers, *self.heads)}
        self.erased: set[str] = set()

    def happen(self) -> None:
        """Let one thing happen."""
        acts: list[tuple[int, Callable[[], object]]] = [
            (3, self.change_the_archive),
            (4, lambda: self.embed(self.rng.randrange(len(LAYERS)), killed=self.rng.random() < 0.3)),
            (3, lambda: self.score(self.rng.randrange(len(HEADS)), killed=self.rng.random() < 0.3)),
            (2, self.compact),
            (1, self.erase),
            (1, lambda: self.done("gc", self.output, "--grace-hours", 0)),
        ]
        self.rng.choices([act for _, act in acts], [weight for weight, _ in acts])[0]()

    def change_the_archive(self) -> None:
        """Add, replace or remove a source."""
        name = self.rng.choice(SOURCES)
        if self.rng.random() < 0.3:
            self.versions.pop(name, None)
        else:
            self.versions[name] = self.n_versions
            self.n_versions += 1

    def embed(self, layer: int, *, killed: bool = False) -> None:
        """Run a night of one layer up to its scores; a killed one commits only some of its shards."""
        table, recipe = self.layers[layer], LAYERS[layer]

        def propose(history: PlanHistory) -> Plan | None:
            states = {slot: each.entry.state for slot, each in history.current.items()}
            new = [Entry(SLOTS[name], f"{version}") for name, version in sorted(self.versions.items())]
            new = [each for each in new if states.get(each.slot) != each.state]
            here = {SLOTS[name] for name in self.versions}
            done = table.done()
            gone = [slot for slot, each in history.current.items() if slot not in here and each.name not in done]
            new += tombstones(history, done, gone)
            return self._plan(history, new, {"recipe": recipe.describe(), "model": recipe.model})

        history = table.freeze(propose)
        finish_drops(table, history)
        self._commit(table, history, lambda planned: self._embedded(planned, layer), killed)

    def score(self, head: int, *, killed: bool = False) -> None:
        """Score what is committed of a head's layer."""
        table, source = self.heads[head], self.layers[list(HEADS.values())[head]]
        finish_drops(table)
        embedded = source.history().current.committed(source.done())

        def propose(history: PlanHistory) -> Plan | None:
            return self._plan(history, [*propose_scores(embedded, history)], {"fingerprint": source.key})

        def scored(planned: PlannedShard) -> Rows | None:
            rows = self.account[source.name].get(planned.slot, {}).get("embeddings", [])
            same = {"head_id": table.key, "prior": 0.5, "reject": False}
            scores = [
                _of(row, "utterance_id", "uri", "seconds", "fingerprint") | same | {"score": row["embedding"][0] - head}
                for row in rows
            ]
            return {"failures": [], "scores": scores} if planned.entry.state in embedded.names else None

        self._commit(table, table.freeze(propose), scored, killed)

    def erase(self) -> None:
        """Erase one recording, and do what the messages say until it succeeds."""
        known = {row["utterance_id"] for row in self.rows()}
        if not known:
            return
        victim = self.rng.choice(sorted(known))
        while (ended := self._bonafide("erase", victim, "--output", self.output))[0] != 0:
            advice = re.search(r"`bonafide gc \S+ --abandon (\S+)`", ended[2])
            assert advice is not None, ended[2]
            self.done("gc", self.output, "--abandon", advice[1])
        for tables in (tables for slots in self.account.values() for tables in slots.values()):
            for name, rows in tables.items():
                tables[name] = [row for row in rows if row["utterance_id"] != victim]
        self.erased.add(victim)

    def compact(self) -> None:
        """Compact, and compare all rows of the copy with the account.

        Rows that are about to be replaced are in it if an earlier compaction took them; all others always.
        """
        if not any(each.history().plans for each in self.layers):
            return
        self.done("compact", self.output, "--to", self.copy, "--object-mib", self.rng.choice([0.001, 0.01, 256]))
        found = held(self.copy)
        for name in TABLES:
            copied = Counter(map(_facts, found[name].to_pylist() if name in found else []))
            assert copied <= Counter(map(_facts, self.rows(name))), name
            assert copied >= Counter(map(_facts, self.rows(name, settled=True))), name

    def finish(self) -> None:
        """Let every layer and head have a whole night."""
        for layer in range(len(LAYERS)):
            self.embed(layer)
        for head in range(len(HEADS)):
            self.score(head)

    def rows(self, *names: str, settled: bool = False) -> list[Row]:
        """Rows of the account, of these tables or of all; settled ones are those that no plan is about to replace."""
        found = []
        for table in (*self.layers, *self.heads):
            done = table.done() if settled else set()
            waiting = {slot for slot, each in table.history().current.items() if each.name not in done}
            for slot, tables in self.account[table.name].items():
                if not (settled and slot in waiting):
                    found += [row for name in names or TABLES for row in tables.get(name, [])]
        return found

    def digests(self) -> dict[str, str]:
        """The digest that each ledger must have, by the account."""
        found = {}
        for ledger, slots in self.account.items():
            parts = [
                int(by_hand(name, pa.Table.from_pylist(rows, SCHEMAS[name])), 16)
                for tables in slots.values()
                for name, rows in tables.items()
            ]
            found[ledger] = f"{sum(parts) % 2**256:064x}"
        return found

    def done(self, *command: object) -> str:
        code, out, err = self._bonafide(*command)
        assert code == 0, err
        return out

    def _plan(self, history: PlanHistory, new: list[Entry], detail: dict[str, Any]) -> Plan | None:
        run_id = f"run-{self.rng.randrange(1 << 40):010x}"
        return Plan(run_id, self.rng.choice(DATES), tuple(new), detail) if new else None

    def _embedded(self, planned: PlannedShard, layer: int) -> Rows:
        """Rows of a source in one version: one of its members is a failure in every second version."""
        name = next(name for name, slot in SLOTS.items() if slot == planned.slot)
        version = int(planned.entry.state)
        same = {"native_rate": 16_000, "channels": 1, "codec": "c", "decoder": "d", "rms_dbfs": -20.0, "seconds": 5.0}
        same |= {"layer": layer, "fingerprint": LAYERS[layer].fingerprint, "uri": f"s3://archive/{name}"}
        rows = [
            same
            | {"utterance_id": f"{name}#{member}", "audio_sha256": f"{version}", "embedding": [layer + version / 8]}
            for member in range(MEMBERS)
        ]
        failed = {"stage": "decode", "error": "empty", "message": "", "bytes": 1, "attempts": 1}
        n_failed = version % 2
        failures = [_of(row, "utterance_id", "uri") | failed for row in rows[:n_failed]]
        return {"failures": failures, "embeddings": rows[n_failed:]}

    def _commit(
        self, table: Ledger, history: PlanHistory, rows_of: Callable[[PlannedShard], Rows | None], killed: bool
    ) -> None:
        done = table.done()
        missing = [each for each in history.current.values() if each.name not in done]
        for planned in missing[: self.rng.randrange(len(missing) + 1)] if killed else missing:
            rows = rows_of(planned)
            if rows is None:  # its embeddings were replaced: the next run scores those that are there
                continue
            rows = {name: [row | {"run_id": planned.run_id} for row in each] for name, each in rows.items()}
            folders = dict.fromkeys(rows, f"run_date={planned.run_date}")
            folders["embeddings"] = f"backbone={self._slugs.get(table.name)}"
            parts = {
                name: (f"{name}/{folders[name]}", pa.Table.from_pylist(each, SCHEMAS[name]))
                for name, each in rows.items()
            }
            table.commit(planned, f"s3://archive/{planned.slot}", parts, {})
            self.account[table.name][planned.slot] = rows
            if "embeddings" in rows:
                self.erased -= {row["utterance_id"] for each in rows.values() for row in each}


def _of(row: Row, *names: str) -> Row:
    return {name: row[name] for name in names}


def _facts(row: Row) -> str:
    """What tells the rows of a recording apart: layer, head, version and run."""
    names = ("utterance_id", "fingerprint", "head_id", "audio_sha256", "score", "error", "run_id")
    return repr([row.get(name) for name in names])


def holds(uri: str, utterance_id: str) -> bool:
    """True if an object has the id, in the rows of a table or as bytes."""
    content = storage.read_bytes(uri)
    if uri.endswith(".parquet"):
        return utterance_id in pq.read_table(io.BytesIO(content), partitioning=None)["utterance_id"].to_pylist()
    return utterance_id.encode() in content


def check(root: str, database: Path, seed: int, bonafide: Run) -> None:
    """Play a history; then compare tables, copy and catalog with its account."""
    history = History(root, database, seed, bonafide)
    history.embed(0)
    for _ in range(history.rng.randrange(6, 20)):
        history.happen()
    history.finish()
    history.compact()

    expected = {ledger: digest for ledger, digest in history.digests().items() if int(digest, 16)}  # 0: no rows
    for place in (history.output, history.copy):
        said = re.findall(r"((?:embeddings|scores)-\w+): .*digest (\w{64})$", history.done("verify", place), re.M)
        assert {ledger: digest for ledger, digest in said if int(digest, 16)} == expected
    left = {row["utterance_id"] for row in history.rows()}
    objects = [stored.uri for stored in storage.listing(root) or []]
    for victim in history.erased - left:
        assert [uri for uri in objects if holds(uri, victim)] == []
    history.done("register", history.copy, "--catalog", history.catalog)
    catalog = catalog_at(history.catalog)
    for name in TABLES:
        if catalog.table_exists(f"bonafide.{name}"):
            listed = catalog.load_table(f"bonafide.{name}").scan().plan_files()
            assert sum(each.file.record_count for each in listed) == len(history.rows(name)), name


@pytest.mark.parametrize("seed", range(2))
def test_tables_and_copy_follow_from_the_history_alone(tmp_path: Path, bonafide: Run, seed: int) -> None:
    check(str(tmp_path / "root"), tmp_path / "catalog.db", seed, bonafide)


@pytest.mark.long
@pytest.mark.parametrize("seed", [2, 3, *range(100, 200)])
def test_those_of_a_hundred_more_histories_do(tmp_path: Path, bonafide: Run, seed: int) -> None:
    check(str(tmp_path / "root"), tmp_path / "catalog.db", seed, bonafide)


@pytest.mark.long
def test_they_do_in_a_bucket(s3_root: str, tmp_path: Path, bonafide: Run) -> None:
    check(s3_root, tmp_path / "catalog.db", 4, bonafide)
