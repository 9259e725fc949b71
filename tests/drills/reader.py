"""A reader that watches an output while runs write to it, and the comparison of rows bit for bit."""

from __future__ import annotations

import io
import threading
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from detector.schema import HISTORY
from tests.drills.store import key_of

POLL_SECONDS = 0.2
WRITTEN = {"run_id", "head", *(column.name for column in HISTORY)}


class Reader:
    """O4: a reader that lists the tables all the time, past the proxy, and must see only complete shards, each once.

    ``right`` is by URI: the lists of rows that a shard may have, one for each state of its source. A shard's rows
    must be one of them, bit for bit.
    """

    def __init__(self, store: Any, outputs: list[str], right: dict[str, list[list[dict[str, Any]]]]) -> None:
        self._store, self._outputs, self._right = store, outputs, right
        self._seen: dict[tuple[str, str], list[dict[str, Any]]] = {}
        self._ended = threading.Event()
        self.wrong: list[str] = []
        self.looks = 0
        self._thread = threading.Thread(target=self._watch, daemon=True, name="reader")

    def __enter__(self) -> Reader:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        """Stop reading, for drills that damage stored objects afterwards."""
        self._ended.set()
        self._thread.join(30)

    def _watch(self) -> None:
        while not self._ended.wait(POLL_SECONDS):
            try:
                self.look()
            except Exception as error:
                self.wrong.append(f"a reader ran into {type(error).__name__}: {error}")
                return

    def look(self) -> None:
        """Read the tables once."""
        self.looks += 1
        for output in list(self._outputs):
            self._look_at(f"{key_of(output)}/embeddings/**/*.parquet")

    def _look_at(self, glob: str) -> None:
        shards: dict[str, str] = {}
        for path, info in self._store.glob(glob, detail=True).items():
            tag = (path, info["ETag"])
            if tag not in self._seen:
                try:
                    content = self._store.cat_file(path)
                except FileNotFoundError:
                    continue  # gc removed it meanwhile
                self._seen[tag] = rows_of(pq.read_table(io.BytesIO(content), partitioning=None))
                self._check(path, self._seen[tag])
            for uri in {row["uri"] for row in self._seen[tag]}:
                if uri in shards:
                    self.wrong.append(f"{uri} stands twice: in {shards[uri]} and in {path}")
                shards[uri] = path

    def _check(self, path: str, rows: list[dict[str, Any]]) -> None:
        for uri in sorted({row["uri"] for row in rows}):
            mine = [row for row in rows if row["uri"] == uri]
            if mine not in self._right.get(uri, []):
                self.wrong.append(f"{path}: {len(mine)} rows of {uri}, which are not those of any state of it")


def rows_of(table: pa.Table) -> list[dict[str, Any]]:
    """Return rows of what is there, with exact floats, without what says when and by whom they were written."""
    if "removed_at" in table.column_names:
        table = table.filter(pc.is_null(table["removed_at"]))
    return [exact(row) for row in table.drop_columns([*WRITTEN.intersection(table.column_names)]).to_pylist()]


def exact(row: dict[str, Any]) -> dict[str, Any]:
    """Write floats as text with all of their bits, so that equal bits compare equal, NaN included."""
    return {
        name: [each.hex() for each in value]
        if name == "embedding" and value is not None
        else value.hex()
        if isinstance(value, float)
        else value
        for name, value in row.items()
    }


def assert_same_rows(table: str, found: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    """Check that two lists have the same ids, each once, and the same bits; the message names the difference."""
    ids, right = ([row["utterance_id"] for row in rows] for rows in (found, expected))
    twice = sorted({each for each in ids if ids.count(each) > 1})
    assert not twice, f"{table}: stand twice: {twice}"
    lost, added = sorted(set(right) - set(ids)), sorted(set(ids) - set(right))
    assert lost + added == [], f"{table}: lost {lost}; not in the undisturbed table {added}"
    differ = [(a, b) for a, b in zip(found, expected, strict=True) if a != b]
    first = [(name, a.get(name), b.get(name)) for a, b in differ[:1] for name in a | b if a.get(name) != b.get(name)]
    assert not differ, f"{table}: {len(differ)} rows differ, first {differ[0][0]['utterance_id']}: {first or differ[0]}"
