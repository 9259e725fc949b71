"""A recording may be called like anything that bonafide itself writes: it is erased, and all else stays."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from detector import canaries
from detector.canaries import Heard, contents
from jobs import storage
from jobs.erasure.mentions import find_mentions
from jobs.erasure.own_objects import below_own_folders
from jobs.erasure.request import ErasureRequest
from jobs.tables import erasures, folding, garbage
from jobs.tables.canaries import Reference, write_reference
from jobs.tables.empty import write_empty_failures
from jobs.tables.heads import activate, introduce
from tests.support.made_heads import PLAIN
from tests.support.nightly_runs import DIM, Recording, drawn, night
from tests.unit.jobs.erasure.outputs import everything, rows

Run = Callable[..., tuple[int, str, str]]
ARCHIVE = "s3://archive/"
ROW_FIELDS = ("utterance_id", "uri", "message")
ID_FIELDS = ("uri", "alarms", "input", "redo", "examples", "utterance_id", "message", "names", "sources")


def output_of(folder: Path, names: list[str]) -> str:
    """An output with one object of every kind that runs write."""
    output = str(folder)
    vectors, _ = drawn(len(names), seed=5)
    calls = [Recording(ARCHIVE + name, None, vector) for name, vector in zip(names, vectors, strict=True)]
    scored, source = night(output, {ARCHIVE + "files": calls}, {"broken.flac": "truncated"})
    heard = Heard(np.zeros(4, np.float32), "wav/pcm_16", 8_000, "opus")
    vector = np.zeros(DIM, np.float32)
    name = next(iter(contents()))
    write_reference(source, Reference({name: heard}, {name: vector}, canaries.versions()), [])
    introduce(output, PLAIN, "starter", "2026-11-23")
    activate(output, PLAIN.head_id)
    write_empty_failures(output, "2026-11-23")
    erasures.leave_note(output)
    for table in (source, scored.ledger):
        history, done = table.history(), table.done()
        folded = folding.Checkpoint(output, table.name, tuple(plan.seal for plan in history.plans), done)
        content = folded.to_json()
        place = folding.name_of(f"_commits/{folding.FOLDER}{table.name}", folded, content)
        storage.write_bytes(f"{output}/{place}", content)
    garbage.mark(output, {uri: "tag" for uri in everything(output) if "/scores/" in uri}, 9e9)
    for place in ("_commits/checkpoints-scores-0123456789abcdef", "failures/run_date=2026-11-24"):
        (folder / place).mkdir()
    return output


def words_of(content: Any) -> Iterator[str]:
    """All keys and values in JSON."""
    if isinstance(content, dict):
        yield from content
        content = list(content.values())
    if isinstance(content, list):
        for each in content:
            yield from words_of(each)
    elif content is not None:
        yield str(content)


def written(output: str) -> set[str]:
    """Every key, value, column, type, file and folder of an output."""
    words: set[str] = set()
    for uri, content in everything(output).items():
        place = uri.removeprefix(f"{output}/")
        words |= {place, *place.split("/"), *place.replace("=", "/").split("/")}
        if content and uri.endswith(".json"):
            words |= set(words_of(json.loads(content)))
        if uri.endswith(".parquet"):
            table = pq.read_table(io.BytesIO(content), partitioning=None)
            about = table.schema.metadata or {}
            words |= {part.decode() for pair in about.items() for part in pair}
            words |= {text for field in table.schema for text in (field.name, str(field.type))}
            words |= {str(value) for row in table.drop_columns(["uri"]).to_pylist() for value in row.values()}
    return {word for word in words if word and "://" not in word and word[0] != "/" and "//" not in word}


def values(content: Any, *, of_ids: bool = False) -> Iterator[str]:
    """All texts of JSON in the fields that hold ids."""
    if isinstance(content, dict):
        for key, each in content.items():
            yield from values(each, of_ids=key in ID_FIELDS)
    elif isinstance(content, list):
        for each in content:
            yield from values(each, of_ids=of_ids)
    elif isinstance(content, str) and of_ids:
        yield content


def named(output: str, ids: set[str]) -> list[str]:
    """An independent search: ids and URIs in the fields that hold them, in JSON and in tables."""
    found = []
    for uri, content in everything(output).items():
        texts: set[str] = set()
        if content and uri.endswith(".json"):
            texts = set(values(json.loads(content)))
        if uri.endswith(".parquet"):
            table = pq.read_table(io.BytesIO(content), partitioning=None)
            texts = {row[name] or "" for row in table.to_pylist() for name in {*ROW_FIELDS} & {*row}}
        found += [f"{uri}: {text}" for text in texts if text.removeprefix(ARCHIVE) in ids]
    return found


def test_whatever_bonafide_writes_may_be_the_name_of_a_recording(tmp_path: Path, bonafide: Run) -> None:
    words = written(output_of(tmp_path / "before", ["a.wav", "b.wav"]))
    assert {"samples", "2026-11-23", "failures", "uri", "double", "_plans", "bonafide.digest"} <= words
    output = output_of(tmp_path / "tables", ["stays.wav", *sorted(words)])
    assert named(output, words)

    code, _, err = bonafide("erase", *sorted(words), "--output", output)

    assert code == 0, err
    assert named(output, words) == []
    assert list(rows(output, "scores")) == ["stays.wav"]
    assert bonafide("verify", output)[0] == 0


def test_each_such_object_is_still_searched_where_it_is_not_what_was_written(tmp_path: Path) -> None:
    output = output_of(tmp_path / "tables", ["a.wav"])
    for uri, content in everything(output).items():
        if content and any(f"/{kind}/" in uri for kind in ("_canaries", "_garbage", "failures", "heads")):
            storage.write_bytes(uri, b'{"of": "2026/call.flac"}')

    mentions, _ = find_mentions(output, ErasureRequest(["2026/call.flac"]))

    assert {each.partition(f"{output}/")[2].split("/")[0] for each in mentions} == {
        *("_canaries", "_garbage", "failures", "heads")
    }


def test_folders_of_bonafide_are_no_part_of_the_name_of_what_others_put_there() -> None:
    assert below_own_folders("failures/run_date=2026-11-23/notes.txt") == "notes.txt"
    assert below_own_folders("_commits/scores-0123456789abcdef/call.flac/x") == "call.flac/x"
    assert below_own_folders("scores/2026/call.flac") == "2026/call.flac"
    assert below_own_folders("runs") == ""
    assert below_own_folders("backup/runs/x") == "backup/runs/x"
