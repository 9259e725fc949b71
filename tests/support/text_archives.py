"""Archives of texts that stand for recordings, an output, and nights over them that decode nothing."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from detector.checkpoint import recipe_of
from detector.config import EmbedConfig, digest_of
from jobs.config import RunConfig
from jobs.embedding.canaries import RunCanaries
from jobs.embedding.planning import Planner
from jobs.embedding.result import EmbeddingRun, MissingShards
from jobs.embedding.speed import GroupSize
from jobs.execution.assembly import ShardRows
from jobs.inputs.config import InputConfig
from jobs.inputs.contents import Contents
from jobs.inputs.shards import SHARED, Shard
from jobs.tables.ledger import Ledger

RECIPE = recipe_of(EmbedConfig(backbone="melstats", segment_seconds=2.0), None)
DIM = 128
BROKEN = "broken"
HEARD = RunCanaries()
FILES, TARS = ("a.wav", "b.wav", "sub/c.wav", "d.wav"), ("1.tar", "sub/2.tar")


class Nights:
    """Folders of texts that stand for recordings, an output, and nights over them; no text is decoded."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.folder, self.output = folder, folder / "output"
        self.table = Ledger(str(self.output), "embeddings", RECIPE.fingerprint)
        self.today = date(2026, 12, 1)
        self.read: list[str] = []
        self.settings = {"max_removed": 1.0} | settings

    def write(self, place: str, name: str, text: str = "1", when: int = 1) -> None:
        path = self.folder / place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"m.wav": text, "n.wav": "7"}) if name in TARS else text)
        os.utime(path, ns=(when, when))

    def move(self, old: str, new: str) -> None:
        shutil.move(str(self.folder / old), self.folder / new)

    def night(
        self, *places: str, moved: str = "", dies: Callable[[], bool] = lambda: False, **settings: Any
    ) -> EmbeddingRun:
        """Run once, on the next day; it may be killed before any of its commits."""
        self.today += timedelta(days=1)
        told = tuple("=".join(f"{self.folder}/{each}" for each in pair.split("=")) for pair in moved.split())
        config = RunConfig(run_date=self.today.isoformat(), moved=told, **self.settings | settings)
        inputs = InputConfig(input=tuple(f"{self.folder}/{each}" for each in places))
        run = Planner(self.table, inputs, RECIPE, config, Contents(), HEARD, GroupSize(config)).run()
        self.read = []
        missing = MissingShards([run])
        work = [(run.lacking(slot), None) for run, slot in missing.unread]
        for shard in missing.shards():
            work += [(layer.lacking(slot), shard) for layer, slot in missing.slots_of(shard)]
        for lacking, found in work:
            if dies():
                return run
            lacking.commit(None if found is None else self.heard_in(found), found, (RECIPE.config.layer,))
        return run

    def heard_in(self, shard: Shard) -> ShardRows:
        """Return what a decoder and an encoder would make of a shard."""
        rows = ShardRows("made", n_utterances=0)
        for source in shard.sources:
            place = {"uri": source.uri, "member": None, "bytes": 1, "stage": "read", "message": "made"}
            if shard.kind == SHARED:
                if shard.is_apart:
                    rows.outcomes[0] = place | {"utterance_id": source.uri, "error": "bad_name"}
                continue
            self.read.append(source.uri)
            text = Path(source.uri).read_text()
            names = [name for uri, name in shard.names or () if uri == source.uri]
            texts = dict.fromkeys(names, text)
            if shard.kind != "files":
                members = json.loads(text).items()
                texts = {f"{shard.id_of(None)}#{member}": says for member, says in members}
            for name, says in texts.items():
                member = name.rpartition("#")[2] if shard.kind != "files" else None
                self._add(rows, place | {"utterance_id": name, "member": member}, says)
        return rows

    def _add(self, rows: ShardRows, place: dict[str, Any], says: str) -> None:
        number = len(rows.outcomes)
        if says == BROKEN:
            rows.outcomes[number] = place | {"error": "not_audio"}
            return
        facts = {"audio_sha256": digest_of(says), "seconds": 5.0, "native_rate": 16_000, "channels": 1, "codec": "c"}
        facts |= {"decoder": "d", "rms_dbfs": -20.0, "n_segments": 1, "error": None}
        rows.outcomes[number] = place | facts
        rows.segments[number] = {0: (np.full(DIM, 1.0, dtype=np.float32), 10)}

    def rows(self, table: str = "embeddings") -> dict[str, dict[str, Any]]:
        paths = (self.output / table).rglob("*.parquet")
        rows = [row for path in paths for row in pq.read_table(path, partitioning=None).to_pylist()]
        found = {row["utterance_id"]: row for row in rows}
        assert len(found) == len(rows)  # one row a recording
        return found

    def current(self) -> dict[str, tuple[str, str]]:
        """Place and content of each recording that the tables say is there, by id."""
        rows = self.rows().items()
        return {name: (row["uri"], row["audio_sha256"]) for name, row in rows if row["removed_at"] is None}


def walked(folder: Path) -> dict[str, tuple[str, str]]:
    """What the rows of an archive are to say, by a walk that knows nothing of plans."""
    found: dict[str, tuple[str, str]] = {}
    for path in (each for each in folder.rglob("*") if each.is_file()):
        name, text = str(path.relative_to(folder)), path.read_text()
        texts = (
            {f"{name}#{member}": says for member, says in json.loads(text).items()} if name in TARS else {name: text}
        )
        found |= {each: (str(path), digest_of(says)) for each, says in texts.items() if says != BROKEN}
    return found
