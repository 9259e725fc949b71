"""docs/sql.md: every query runs on tables as they are written, and gives the answer that the rows were made for."""

from __future__ import annotations

import datetime
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from detector.schema import FAILURES, SCORES, SEGMENTS, embeddings_schema
from jobs.reports.sql.session import connect, read_content
from jobs.tables.heads import activate
from jobs.tables.ledger import Ledger
from jobs.tables.parquet import parquet_bytes
from jobs.tables.protocol import Entry, Plan
from jobs.verbs import compact
from tests.support import ROOT

PAGE = (ROOT / "docs" / "sql.md").read_text()
QUERIES = re.findall(r"```sql\n(.*?)```", PAGE, re.DOTALL)
FIRST, SECOND_NIGHT = datetime.date(2026, 11, 22), datetime.date(2026, 11, 23)
HEAD, OTHER = "a" * 16, "b" * 16


def scored(name: str, score: float | None, reason: str | None = None, **facts: Any) -> dict[str, Any]:
    """A row of scores at a prior of one half: spoof below 0."""
    p_spoof = None if score is None else 1 / (1 + math.exp(score))
    row = {
        "utterance_id": name,
        "uri": "s3://calls/0.tar",
        "seconds": 3_600.0,
        "score": score,
        "prior": 0.5,
        "p_spoof": p_spoof,
        "label": None if score is None else "spoof" if score < 0 else "bonafide",
        "entropy_bits": None if p_spoof is None else -sum(p * math.log2(p) for p in (p_spoof, 1 - p_spoof)),
        "ood": None if score is None else 0.5,
        "reject": reason is not None,
        "reject_reason": reason,
        "head_id": HEAD,
        "fingerprint": "f",
        "run_id": "2026-11-22-1",
        "speech_share": 0.9,
        "clipped_share": 0.0,
        "first_seen": FIRST,
        "changed_at": FIRST,
    }
    return row | facts


def embedded(name: str, audio: str, embedding: list[float] | None, **facts: Any) -> dict[str, Any]:
    same = {"uri": "s3://calls/0.tar", "seconds": 3_600.0, "native_rate": 8_000, "channels": 1, "codec": "wav/ulaw"}
    same |= {"decoder": "soundfile", "rms_dbfs": -20.0, "layer": 1, "fingerprint": "f", "run_id": "2026-11-22-1"}
    same |= {"seconds_claimed": 3_600.0, "truncated": False, "trailing_bytes": 0}
    return same | {"utterance_id": name, "audio_sha256": audio, "embedding": embedding} | facts


def segmented(name: str, number: int, start: float, score: float | None, reason: str | None = None) -> dict[str, Any]:
    same = {key: value for key, value in scored(name, score, reason).items() if key in SEGMENTS.names}
    return same | {"segment": number, "start_seconds": start, "end_seconds": start + 4.0}


def failed(name: str, error: str) -> dict[str, Any]:
    same = {"uri": "s3://calls/0.tar", "message": f"it is {error}", "bytes": 7, "attempts": 1}
    return same | {"utterance_id": name, "stage": "decode", "error": error, "run_id": "2026-11-22-1"}


LATER: dict[str, Any] = {"run_id": "2026-11-23-2", "first_seen": SECOND_NIGHT, "changed_at": SECOND_NIGHT}
NAMED: dict[str, Any] = {"nearest_system": "tacotron", "system_similarity": 0.5}
SCORED = [
    scored("calls/0.tar#a.flac", -6.0, has_c2pa=True, claim_generator="Voice Maker/3.1", **NAMED),
    scored("calls/0.tar#b.flac", -5.0, speech_share=0.1, nearest_system="unknown", system_similarity=0.25),
    scored("calls/0.tar#c.flac", 4.0, has_c2pa=True, claim_generator="Voice Maker/3.1"),
    scored("calls/0.tar#d.flac", 0.25, "uncertain"),
    scored("calls/0.tar#e.flac", 0.25, "uncertain"),
    scored("calls/0.tar#f.flac", -0.55, "uncertain"),
    scored("mail/1.wav/ch0", 3.0, channel=0, **LATER),
    scored("mail/1.wav/ch1", -3.0, channel=1, clipped_share=0.5, **LATER, **NAMED),
    scored("mail/2.wav", None, "too_short", **LATER),
    scored("mail/3.wav", -9.0, removed_at=SECOND_NIGHT),
]
EMBEDDED = [
    embedded("calls/0.tar#a.flac", "11", [1.0, 0.0]),
    embedded("calls/0.tar#b.flac", "22", [0.6, 0.8], seconds_claimed=1.5),
    embedded("calls/0.tar#c.flac", "33", [-1.0, 0.0], seconds_claimed=None, trailing_bytes=7),
    embedded("calls/0.tar#d.flac", "44", [0.0, 1.0]),
    embedded("calls/0.tar#e.flac", "44", None),
    embedded("calls/0.tar#f.flac", "55", None),
]
FAILED = [failed("calls/0.tar#x.wav", "not_audio"), failed("calls/0.tar#y.wav", "not_audio"), failed("z.wav", "empty")]
SEGMENTED = [
    segmented("calls/0.tar#a.flac", 0, 0.0, -1.0),
    segmented("calls/0.tar#a.flac", 1, 58.0, 3.0),
    segmented("calls/0.tar#a.flac", 2, 60.0, -8.0),
    segmented("calls/0.tar#a.flac", 3, 118.0, 0.25, "uncertain"),
    segmented("calls/0.tar#a.flac", 4, 120.0, None, "silent"),
    segmented("calls/0.tar#c.flac", 0, 0.0, 5.0),
    segmented("calls/0.tar#c.flac", 1, 2.0, -4.0),
    segmented("mail/3.wav", 0, 0.0, -9.0),  # which is gone
]
SECOND = [scored("calls/0.tar#a.flac", 2.0, head_id=OTHER), scored("calls/0.tar#c.flac", 1.0, head_id=OTHER)]


@pytest.fixture(params=["written", "compacted"])
def tables(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[duckdb.DuckDBPyConnection]:
    """The views of the page, over rows of one head: as a run writes them, and in a compacted copy of that."""
    monkeypatch.chdir(tmp_path)
    if request.param == "written":
        put_all()
    else:
        put_copy()
    connection = connect(read_content("tables"))
    yield connection
    connection.close()


def put_all() -> None:
    """All tables, in the working folder, as a run writes them."""
    put("scores/run_date=2026-11-22/a.parquet", SCORED, SCORES)
    put("failures/run_date=2026-11-22/a.parquet", FAILED, FAILURES)
    put("segments/run_date=2026-11-22/a.parquet", SEGMENTED, SEGMENTS)
    put("embeddings/backbone=b/a.parquet", EMBEDDED, embeddings_schema(2))
    activate("tables", HEAD)


def put_copy() -> None:
    """Write the same rows as two shards of a run, and compact them, so that several objects become one."""
    dim = embeddings_schema(2)
    embedded, judged = "embeddings/backbone=b", "scores/run_date=2026-11-22"
    commit("embeddings", {embedded: (EMBEDDED, dim), "failures/run_date=2026-11-22": (FAILED, FAILURES)})
    commit("scores", {judged: (SCORED, SCORES), "segments/run_date=2026-11-22": (SEGMENTED, SEGMENTS)})
    assert compact.run(compact.Settings(output="run", to="tables")) == 0
    assert [len(list(Path(place, judged).iterdir())) for place in ("run", "tables")] == [2, 1]


def commit(kind: str, tables: dict[str, tuple[list[dict[str, Any]], pa.Schema]]) -> None:
    """Half of the rows to each of two shards."""
    ledger = Ledger(str(Path("run").absolute()), kind, HEAD)
    history = ledger.freeze(
        lambda history: None if history.plans else Plan("r", "2026-11-22", (Entry("0", "s"), Entry("1", "s")))
    )
    for number, shard in enumerate(history.current.values()):
        halves = {folder: pa.Table.from_pylist(rows[number::2], schema) for folder, (rows, schema) in tables.items()}
        ledger.commit(shard, "s", {folder.partition("/")[0]: (folder, rows) for folder, rows in halves.items()})


def put(name: str, rows: list[dict[str, Any]], schema: pa.Schema) -> None:
    path = Path("tables", name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(parquet_bytes(pa.Table.from_pylist(rows, schema)))


ANSWERS: dict[str, list[tuple[Any, ...]]] = {
    "outcome": [
        ("spoof", 3, 3.0),
        ("uncertain", 3, 3.0),
        ("bonafide", 2, 2.0),
        ("failed: not_audio", 2, None),
        ("failed: empty", 1, None),
        ("too_short", 1, 1.0),
    ],
    # of mail/1.wav/ch0 and /ch1 the folder is mail/1.wav; mail/2.wav is alone in its folder
    "AS folder": [("mail/1.wav", 2, 0.5, 0.0), ("calls/0.tar", 6, 0.333, 0.5)],
    # mail/3.wav, which is gone, was scored in the first night
    "AS median_score": [("2026-11-22", 7, 3, 3, -0.55), ("2026-11-23", 3, 1, 1, 0.0)],
    "AS removed": [("2026-11-23", 0, 1)],
    "AS example": [
        ("not_audio", "decode", 2, "calls/0.tar#x.wav", "it is not_audio"),
        ("empty", "decode", 1, "z.wav", "it is empty"),
    ],
    "AS heard": [
        ("calls/0.tar#b.flac", 3_600.0, 1.5, False, 0),
        ("calls/0.tar#c.flac", 3_600.0, None, False, 7),
    ],
    "GROUP BY has_c2pa": [(None, None, 7, 2, 4), (True, "Voice Maker/3.1", 2, 1, 0)],
    "AS says": [("calls/0.tar#c.flac", "Voice Maker/3.1", 4.0)],
    "4) AS p_spoof": [
        ("calls/0.tar#a.flac", -6.0, round(1 / (1 + math.exp(-6)), 4)),
        ("calls/0.tar#b.flac", -5.0, round(1 / (1 + math.exp(-5)), 4)),
        ("mail/1.wav/ch1", -3.0, round(1 / (1 + math.exp(-3)), 4)),
    ],
    "AS median_similarity": [("tacotron", 2, 0.5, "calls/0.tar#a.flac"), ("unknown", 1, 0.25, "calls/0.tar#b.flac")],
    "AS copies": [("calls/0.tar#d.flac", 2, 0.989), ("calls/0.tar#f.flac", 1, 0.947)],
    "AS sides": [("mail/1.wav", 1, 1, 2)],
    "AS first_side,": [("mail/1.wav", "bonafide", 3.0, "spoof", -3.0)],
    "AS clipped": [("calls/0.tar#b.flac", -5.0, 0.1, 0.0), ("mail/1.wav/ch1", -3.0, 0.9, 0.5)],
    "AS at_minute": [("calls/0.tar#a.flac", 1, -8.0, 1, 2)],
    "AS flagged_share": [("calls/0.tar#c.flac", "bonafide", 2, 0.5), ("calls/0.tar#a.flac", "spoof", 5, 0.4)],
    # ln(p / (1 - p)) is 0, -2.2, -4.6 and -6.9
    "AS prior": [(0.5, 4, 8), (0.1, 3, 8), (0.01, 2, 8), (0.001, 0, 8)],
    "AS threshold": [(round(math.log(0.01 / 0.99) + math.log(0.1), 3), 0)],
    "AS second_score": [],
    "AS cosine": [("calls/0.tar#b.flac", 0.6), ("calls/0.tar#d.flac", 0.0), ("calls/0.tar#c.flac", -1.0)],
}


def query(mark: str) -> str:
    (found,) = [each for each in QUERIES if mark in each]
    return found


@pytest.mark.parametrize("mark", ANSWERS)
def test_a_query_gives_what_the_rows_were_made_for(mark: str, tables: duckdb.DuckDBPyConnection) -> None:
    assert tables.sql(query(mark)).fetchall() == ANSWERS[mark]


def test_every_query_has_its_answer_here() -> None:
    assert len(QUERIES) == len(ANSWERS) == 20


def test_the_view_of_calls_has_a_row_for_each_call_with_its_sides(tables: duckdb.DuckDBPyConnection) -> None:
    p_spoof = 1 / (1 + math.exp(3))

    (found,) = tables.sql("SELECT * FROM calls").fetchall()

    assert found == ("mail/1.wav", 2, "bonafide", 3.0, p_spoof, "spoof", -3.0, 1 / (1 + math.exp(-3)))


def test_where_two_heads_disagree_is_found(tables: duckdb.DuckDBPyConnection) -> None:
    put("scores/run_date=2026-11-23/b.parquet", SECOND, SCORES)

    assert tables.sql(query("AS second_score")).fetchall() == [("calls/0.tar#a.flac", -6.0, 2.0)]


def test_tables_of_an_earlier_version_are_read_beside_newer_ones(tables: duckdb.DuckDBPyConnection) -> None:
    fewer = pa.schema([field for field in SCORES if field.name not in ("speech_share", "clipped_share", "channel")])
    rows = [{name: row[name] for name in fewer.names if name in row} for row in SECOND]
    put("scores/run_date=2026-11-21/old.parquet", rows, fewer)

    assert tables.sql("SELECT count(*), count(speech_share) FROM scores").fetchall() == [(len(SCORED) + 2, len(SCORED))]
