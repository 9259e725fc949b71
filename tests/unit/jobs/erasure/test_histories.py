"""Whatever happened to an output, an erasure can be done by what its messages say, and its proof is right.

Histories are drawn: nights over an archive whose sources come, change and go, runs that are killed at any point, clocks
that are wrong by an hour, copies and drafts that others leave. An independent search of all bytes checks the end.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import lzma
import os
import random
import re
import tarfile
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from detector.config import digest_of
from detector.schema import FAILURES, embeddings_schema
from jobs.config import RunConfig
from jobs.embedding.canaries import RunCanaries
from jobs.embedding.planning import Planner
from jobs.embedding.speed import GroupSize
from jobs.errors import RunAgain
from jobs.inputs.config import InputConfig
from jobs.inputs.contents import Contents
from jobs.inputs.shards import Shard
from jobs.scoring.shards import score_shards
from jobs.tables import erasures
from jobs.tables.ledger import Ledger
from jobs.tables.protocol import PlannedShard
from jobs.tables.run_records import now, write_records
from jobs.tables.totals import Totals
from tests.support.nightly_runs import DIM, RECIPE, head
from tests.support.runner import InProcessRunner

Run = Callable[..., tuple[int, str, str]]
HOUR = 3600.0
LONG = "caller_Alice-Maria-Smith_born-1970-01-01_passport-K1234567_from-0041791234567_to-0041449876543_agent-7.wav"
NAMES = ("a.wav", LONG, "c.flac", "d.wav", "e.tar", "f.tar")
MEMBERS = 3


class History:
    """An archive, an output, and what happens to them, drawn from a seed."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.rng = random.Random(seed)
        self.archive, self.output = folder / "archive", folder / "tables"
        self.table = Ledger(str(self.output), "embeddings", RECIPE.fingerprint)
        self.archive.mkdir()
        (self.archive / "always.wav").write_bytes(b"an archive that is never empty")
        for name in self.rng.sample(NAMES, 4):
            self.write(name)

    def write(self, name: str) -> None:
        """Add or replace a source, by a clock that may be wrong."""
        (self.archive / name).write_bytes(self.rng.randbytes(9))
        self.skew(self.archive / name)

    def skew(self, path: Path) -> None:
        when = time.time() + self.rng.choice([-HOUR, 0.0, HOUR]) + self.rng.random()
        os.utime(path, (when, when))

    def happen(self) -> None:
        """Let one thing happen."""
        draw = self.rng.random()
        name = self.rng.choice(NAMES)
        if draw < 0.25:
            self.write(name)
        elif draw < 0.5:
            (self.archive / name).unlink(missing_ok=True)
        elif draw < 0.85:
            self.night()
        else:
            self.copy()

    def night(self) -> None:
        """Run `nightly`, which may be killed after its plan, within a shard, between shards, or before its scores."""
        config = RunConfig(run_date=self.rng.choice(["2026-11-22", "2026-11-23"]), max_removed=1.0)
        inputs = InputConfig(input=(str(self.archive),))
        run = Planner(self.table, inputs, RECIPE, config, Contents(), RunCanaries(), GroupSize(config)).run()
        done = self.table.done()
        missing = list(run.planned.lacking(done).ordered().values())
        kill = self.rng.random() < 0.5
        for planned in missing[: self.rng.randrange(len(missing) + 1)] if kill else missing:
            self.commit(planned)
            if kill and self.rng.random() < 0.3:  # killed between the rows and the marker
                (self.output / "_commits" / self.table.name / f"{planned.name}.json").unlink()
                return
        if not (kill and self.rng.random() < 0.7):
            score_shards(
                InProcessRunner(), self.table, run.committed(), head(), None, str(self.output), config, "head.json"
            )

    def commit(self, planned: PlannedShard) -> None:
        shard = Shard.from_content(planned.entry.work)
        ids = [(name, uri) for uri, name in shard.ids()]
        if shard.kind == "tar":
            ids = [(f"{name}#{member}.wav", uri) for name, uri in ids for member in range(MEMBERS)]
        same = {"native_rate": 16_000, "channels": 1, "codec": "c", "decoder": "d", "rms_dbfs": -20.0, "seconds": 5.0}
        same |= {"layer": -1, "fingerprint": RECIPE.fingerprint, "run_id": planned.run_id, "embedding": [0.5] * DIM}
        rows = [
            same | {"utterance_id": name, "uri": uri, "audio_sha256": digest_of([name, planned.entry.state])}
            for name, uri in ids
        ]
        failed = {"stage": "decode", "error": "empty", "message": "", "bytes": 1, "attempts": 1}
        n_failed = int(planned.entry.state[0], 16) % 2  # the same in every attempt
        failures = [failed | {name: row[name] for name in ("utterance_id", "uri", "run_id")} for row in rows[:n_failed]]
        tables = {
            "failures": (f"failures/run_date={planned.run_date}", pa.Table.from_pylist(failures, FAILURES)),
            "embeddings": (
                f"embeddings/backbone={RECIPE.slug}",
                pa.Table.from_pylist(rows[n_failed:], embeddings_schema(DIM)),
            ),
        }
        detail = {"recipe": RECIPE.describe(), "model": RECIPE.model, "run_id": planned.run_id, "audio_seconds": 0.0}
        self.table.commit(planned, shard.uri, tables, detail)

    def copy(self) -> None:
        """Leave a copy of an object, of one kind or another, beside it or elsewhere."""
        objects = sorted(path for path in self.output.rglob("*.parquet") if path.is_file())
        if not objects:
            return
        place = self.rng.choice(objects)
        content, number = place.read_bytes(), self.rng.randrange(1 << 32)
        ids = "\n".join(sorted(texts_of(content))).encode()
        name, copy = self.rng.choice(
            [
                (f"{place.name}.bak", content),
                (f".{place.name}.Xa3f9k", content),
                (f".{place.name}.4711-{number:08x}.part", content),
                (f".{place.name}.4711-{number:08x}.part", content[: len(content) // 2]),
                (f"scores-{number}.pq", content),
                (f"{number}.csv", ids),
                (f"{number}.gz", gzip.compress(ids)),
                (f"{number}.xz", lzma.compress(content)),
                (f"{number}.tgz", tgz(place.name, content)),
                (f"{number}.zip", zipped("tables.tgz", tgz(place.name, content))),
                (f"{number}.txt", b"nothing of interest"),
            ]
        )
        folder = self.rng.choice([place.parent, self.output / "backup", self.output / ".hidden"])
        folder.mkdir(exist_ok=True)
        (folder / name).write_bytes(copy)
        self.skew(folder / name)

    def late_night(self, victim: str) -> Callable[[], None]:
        """Begin a night that has committed everything, and return what writes its records, which name a recording."""
        note, history = erasures.note_of(str(self.output)), self.table.history()
        key = str(self.archive / victim)
        spelling = self.rng.choice([victim, key, f"{key[:50]}…{key[-50:]}" if len(key) > 101 else key])
        example = {".wav": {"count": 1, "examples": [spelling]}}  # the last one as releases before this one cut it
        content = {"settings": {"input": [str(self.archive / victim.rpartition("/")[2])]}, "passed_over": example}

        def write() -> None:
            with contextlib.suppress(RunAgain):  # a state that was given up meanwhile
                write_records(self.table, history, list(history.current), "nightly", now(), content, Totals, note)

        return write

    def recordings(self) -> list[str]:
        """Ids of all rows of embeddings and failures."""
        found = [
            marker_rows["utterance_id"].to_pylist()
            for name in ("embeddings", "failures")
            for marker_rows in self.table.read_all(name)[1]
        ]
        return sorted({each for ids in found for each in ids})

    def standing(self) -> set[str]:
        """Ids of all rows in the objects of both tables, committed or not."""
        folders = (self.output / "embeddings", self.output / "failures")
        return {
            each
            for folder in folders
            for path in folder.rglob(f"{self.table.key}-*.parquet")
            for each in texts_of(path.read_bytes())
        }


def tgz(name: str, content: bytes) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        member = tarfile.TarInfo(name)
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    return file.getvalue()


def zipped(name: str, content: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return file.getvalue()


# the independent search: suffixes and Python's own readers, DuckDB for tables, and no code of the product


def texts_of(content: bytes) -> set[str]:
    """All ids and URIs of a Parquet file."""
    rows = duckdb.from_arrow(pa.parquet.read_table(pa.BufferReader(content))).fetchall()
    return {value for row in rows for value in row if isinstance(value, str)}


def unpacked(content: bytes) -> Iterator[bytes]:
    yield content
    if content[:2] == b"\x1f\x8b":
        yield from unpacked(gzip.decompress(content))
    elif content[:6] == b"\xfd7zXZ\0":
        yield from unpacked(lzma.decompress(content))
    elif content[:2] == b"PK":
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            for name in archive.namelist():
                yield from unpacked(archive.read(name))
    elif content[257:262] == b"ustar":
        with tarfile.open(fileobj=io.BytesIO(content)) as archive:
            for member in archive.getmembers():
                file = archive.extractfile(member)
                yield from unpacked(file.read() if file else b"")
    elif content[:4] == b"PAR1" == content[-4:]:
        yield "\n".join(texts_of(content)).encode()


def holds(path: Path, utterance_id: str) -> bool:
    """True if a file has the id's bytes: as a whole, as ids of members of a tar begin with the tar's."""
    pattern = re.compile(re.escape(utterance_id.encode()) + rb"(?![\w#])")
    if utterance_id == LONG:  # any part of it
        pattern = re.compile("|".join(re.escape(LONG[at : at + 20]) for at in range(len(LONG) - 20)).encode())
    return any(pattern.search(part) for part in unpacked(path.read_bytes()))


def files(folder: Path) -> list[Path]:
    return [Path(at) / name for at, _, names in os.walk(folder) for name in names]


def erase(history: History, victim: str, bonafide: Run) -> list[str]:
    """Erase, doing what the messages say until it succeeds; return the foreign files that had to go."""
    output, removed = str(history.output), []
    for _ in range(60):
        code, _, err = bonafide("erase", victim, "--output", output)
        said = err.splitlines()[-1] if err else ""
        if code == 0:
            return removed
        assert code == 65, err
        if found := re.search(r"`bonafide gc \S+ (--abandon \S+|--grace-hours 0)`", said):
            assert bonafide("gc", output, *found[1].split())[0] == 0
        else:
            place = re.match(r"error 65: (.+?): (?:mentions|cannot be read)", said)
            assert place is not None, said
            assert "Delete it, or rewrite it without the recording" in said
            removed.append(place[1])
            assert holds(Path(place[1]), victim) or "cannot be read" in said
            Path(place[1]).unlink()
    raise AssertionError("the erasure never succeeded")


def check(folder: Path, seed: int, bonafide: Run) -> None:
    """Play a history, erase one of its recordings, and search all bytes for it."""
    history = History(folder, seed)
    history.night()
    for _ in range(history.rng.randrange(4, 14)):
        history.happen()
    recordings = history.recordings()
    if not recordings:
        return
    victim = history.rng.choice(recordings)
    standing = history.standing()
    innocent = {path for path in files(history.output) if path.suffix == ".txt"}
    (history.archive / victim.partition("#")[0].rpartition("/")[2]).unlink(missing_ok=True)

    late, is_before = history.late_night(victim), history.rng.random() < 0.3
    if is_before:
        late()
    erase(history, victim, bonafide)
    late()

    assert [path for path in files(history.output) if holds(path, victim)] == []
    assert innocent <= set(files(history.output)), "a file that mentions nothing had to go"
    left = set(history.recordings())  # with rows of a state that had been replaced, but never was committed
    assert set(recordings) - {victim} <= left <= standing - {victim}
    code, out, err = bonafide("verify", history.output)
    assert code == 0, err
    assert "planned and not done" not in out


@pytest.mark.parametrize("seed", range(2))
def test_every_history_ends_in_an_erasure_whose_proof_is_right(tmp_path: Path, bonafide: Run, seed: int) -> None:
    check(tmp_path, seed, bonafide)


@pytest.mark.long
@pytest.mark.parametrize("seed", [*range(2, 6), *range(100, 300)])
def test_two_hundred_more_histories_do(tmp_path: Path, bonafide: Run, seed: int) -> None:
    check(tmp_path, seed, bonafide)
