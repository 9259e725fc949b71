"""Whatever happens to an archive, the history of each row is what a plain recount of its nights says.

Archives are drawn: files and containers come, change, go and come back; recordings in them fail; runs are killed at any
point and run again; now and then a night prunes. A container here is a list of its members in JSON: nothing is decoded.
"""

from __future__ import annotations

import json
import os
import random
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from detector.config import digest_of
from jobs import storage
from jobs.config import RunConfig
from jobs.embedding.canaries import RunCanaries
from jobs.embedding.planning import Planner
from jobs.embedding.result import EmbeddingRun, MissingShards
from jobs.embedding.speed import GroupSize
from jobs.execution.assembly import ShardRows
from jobs.inputs.config import InputConfig
from jobs.inputs.contents import Contents
from jobs.inputs.shards import Shard
from jobs.scoring.shards import score_shards
from jobs.tables.ledger import Ledger
from jobs.tables.removal import PRUNED_ROWS
from jobs.tables.verification import verify_tables
from tests.support.nightly_runs import DIM, RECIPE, head
from tests.support.runner import InProcessRunner

FILES, TARS = ("a.wav", "b.wav", "c.wav", "d.wav", "e.wav"), ("x.tar", "y.tar")
MEMBERS = ("p", "q", "r")
BROKEN = "broken"
HEARD = RunCanaries()


@dataclass
class Recount:
    """What must stand, told by the content of the archive on each night alone."""

    rows: dict[str, dict[str, Any]] = field(default_factory=dict)
    failures: set[str] = field(default_factory=set)
    n_pruned: int = 0

    def night(self, content: dict[str, str], today: date, *, prune: bool) -> None:
        self.failures = {name for name, text in content.items() if text == BROKEN}
        for name, text in content.items():
            if text == BROKEN:
                self.rows.pop(name, None)
                continue
            row = self.rows.setdefault(name, {"first_seen": today, "content": None})
            if row["content"] != text:
                row |= {"content": text, "changed_at": today}
            row["removed_at"] = None
        for name in self.rows.keys() - content.keys():
            self.rows[name]["removed_at"] = self.rows[name]["removed_at"] or today
        if prune:
            n_before = len(self.rows)
            self.rows = {name: row for name, row in self.rows.items() if row["removed_at"] is None}
            self.n_pruned += n_before - len(self.rows)


class Nights:
    """An archive, an output, and nights over them, drawn from a seed."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.rng = random.Random(seed)
        self.archive, self.output = folder / "archive", folder / "output"
        self.table = Ledger(str(self.output), "embeddings", RECIPE.fingerprint)
        self.archive.mkdir()
        self.today = date(2026, 11, 1)
        self.sources: dict[str, str] = {}
        self.touched: set[str] = set()
        for name in (*FILES[:3], *TARS):
            self.write(name)

    def write(self, name: str) -> None:
        drawn = lambda: self.rng.choice(["1", "2", "3", BROKEN])  # noqa: E731
        self.sources[name] = drawn() if name in FILES else json.dumps({each: drawn() for each in self.members()})
        (self.archive / name).write_text(self.sources[name])
        when = self.rng.randrange(1 << 40)
        os.utime(self.archive / name, ns=(when, when))
        self.touched.add(name)

    def members(self) -> list[str]:
        return sorted(self.rng.sample(MEMBERS, self.rng.randint(1, 3)))

    def happen(self) -> None:
        name = self.rng.choice([*FILES, *TARS])
        if self.rng.random() < 0.5:
            self.write(name)
        elif len(self.sources) > 1 or name not in self.sources:
            self.sources.pop(name, None)
            (self.archive / name).unlink(missing_ok=True)
            self.touched.discard(name)

    def content(self) -> dict[str, str]:
        """Content of each recording by its id."""
        found = {}
        for name, text in self.sources.items():
            members = {"": text} if name in FILES else {f"#{each}": says for each, says in json.loads(text).items()}
            found |= {f"{name}{each}": says for each, says in members.items()}
        return found

    def night(self, *, prune: bool) -> None:
        """Run until it is done; it may be killed at several points before."""
        self.today += timedelta(days=1)
        read: set[str] = set()
        killed = False
        while self.rng.random() < 0.4:
            killed = True
            run = self.planned(prune)
            self.embed(run, read, self.rng.random)
        run = self.planned(prune)
        self.embed(run, read)
        assert killed or read == self.touched
        self.touched.clear()
        config = RunConfig(run_date=self.today.isoformat())
        score_shards(
            InProcessRunner(), self.table, run.committed(), head(), None, str(self.output), config, "head.json"
        )

    def planned(self, prune: bool) -> EmbeddingRun:
        config = RunConfig(run_date=self.today.isoformat(), max_removed=1.0, prune=prune)
        inputs = InputConfig(input=(str(self.archive),))
        return Planner(self.table, inputs, RECIPE, config, Contents(), HEARD, GroupSize(config)).run()

    def embed(self, run: EmbeddingRun, read: set[str], dies: Any = lambda: 1.0) -> None:
        missing = MissingShards([run])
        work = [(run.lacking(slot), None) for run, slot in missing.unread]
        for shard in missing.shards():
            work += [(layer.lacking(slot), shard) for layer, slot in missing.slots_of(shard)]
        for lacking, shard in work:
            before = {name: self.bytes_of(lacking.folders[name], lacking.planned.slot) for name in lacking.folders}
            rows = None if shard is None else self.decoded(shard, read)
            lacking.commit(rows, shard, (RECIPE.config.layer,))
            died = dies()
            if died < 0.4:  # before the marker
                (self.output / "_commits" / self.table.name / f"{lacking.planned.name}.json").unlink()
            if died < 0.2:  # or between failures and embeddings
                path = self.place(lacking.folders["embeddings"], lacking.planned.slot)
                was = before["embeddings"]
                path.unlink(missing_ok=True) if was is None else path.write_bytes(was)
            if died < 0.6:
                return

    def place(self, folder: str, slot: str) -> Path:
        return self.output / folder / f"{self.table.key}-{slot}.parquet"

    def bytes_of(self, folder: str, slot: str) -> bytes | None:
        path = self.place(folder, slot)
        return path.read_bytes() if path.exists() else None

    def decoded(self, shard: Shard, read: set[str]) -> ShardRows:
        """Return what a decoder and an encoder would make of a shard."""
        rows = ShardRows("made", n_utterances=0)
        for source in shard.sources:
            name = storage.name_of(source.uri)
            read.add(name)
            text = self.sources[name]
            members = {None: text} if name in FILES else json.loads(text)
            for member, says in members.items():
                number = len(rows.outcomes)
                place = {"utterance_id": name + (f"#{member}" if member else "")}
                place |= {"uri": source.uri, "member": member, "bytes": len(says)}
                if says == BROKEN:
                    rows.outcomes[number] = place | {"stage": "decode", "error": "not_audio", "message": "made"}
                    continue
                facts = {"audio_sha256": digest_of(says), "seconds": 5.0, "native_rate": 16_000, "channels": 1}
                facts |= {"codec": "c", "decoder": "d", "rms_dbfs": -20.0, "n_segments": 1, "error": None}
                rows.outcomes[number] = place | facts
                vector = np.full(DIM, float(says), dtype=np.float32)
                rows.segments[number] = {0: (vector, 10)}
        return rows

    def n_pruned(self, table: str) -> int:
        """Rows that were taken out so far, as markers say."""
        key = RECIPE.fingerprint if table == "embeddings" else head().head_id
        ledger = Ledger(str(self.output), table, key)
        markers = ledger.markers(ledger.done() & set(ledger.history().by_name))
        return sum(each.detail.get(PRUNED_ROWS, 0) for each in markers)

    def rows(self, table: str) -> dict[str, dict[str, Any]]:
        paths = (self.output / table).rglob("*.parquet")
        rows = [row for path in paths for row in pq.read_table(path, partitioning=None).to_pylist()]
        found = {row["utterance_id"]: row for row in rows}
        assert len(found) == len(rows)
        return found


@pytest.mark.parametrize("seed", [0, 1, *(pytest.param(seed, marks=pytest.mark.long) for seed in range(2, 50))])
def test_the_history_of_every_row_is_that_of_its_own_recording(tmp_path: Path, seed: int) -> None:
    nights, recount = Nights(tmp_path, seed), Recount()
    for _ in range(5):
        prune = nights.rng.random() < 0.2
        nights.night(prune=prune)
        recount.night(nights.content(), nights.today, prune=prune)

        dates = ("first_seen", "changed_at", "removed_at")
        expected = {name: [row[each] for each in dates] for name, row in recount.rows.items()}
        for table in ("embeddings", "scores"):
            shown = nights.rows(table)
            assert {name: [row[each] for each in dates] for name, row in shown.items()} == expected
            assert nights.n_pruned(table) == recount.n_pruned
            assert all(row["run_id"].startswith(row["changed_at"].isoformat()) for row in shown.values())
            assert all(row["first_run_id"].startswith(row["first_seen"].isoformat()) for row in shown.values())
        assert {name: row["audio_sha256"] for name, row in nights.rows("embeddings").items()} == {
            name: digest_of(row["content"]) for name, row in recount.rows.items()
        }
        assert nights.rows("failures").keys() == recount.failures
        for _ in range(nights.rng.randrange(4)):
            nights.happen()
    assert verify_tables(str(nights.output)) == []
