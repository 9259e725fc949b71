"""Windows are judged as recordings are, by the same rules, however they are put into blocks."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from detector import segments
from detector.schema import SEGMENTS, embeddings_schema
from detector.segments import count_segments, judge_windows
from detector.windows import COLUMNS, Windows
from tests.support.made_heads import PLAIN, RECIPE

WINDOWS = Windows(2.0, 1.0)
HEAD = replace(PLAIN, min_seconds=1.5)  # the score of an embedding is its first number; uncertain up to 2.09


def row(name: str, scores: list[float], levels: list[float] | None = None, **facts: Any) -> dict[str, Any]:
    """A recording with a window for each of these scores, one a second."""
    windows = (2.0, 1.0, [0.5] * len(scores), levels or [-20.0] * len(scores), [x for s in scores for x in (s, 0.0)])
    same = {"uri": "u", "rms_dbfs": -20.0, "fingerprint": RECIPE.fingerprint, "run_id": "embedded"}
    same |= {"audio_sha256": "", "native_rate": 16_000, "channels": 1, "codec": "c", "decoder": "d", "layer": -1}
    same |= dict(zip(COLUMNS, windows, strict=True))
    return same | {"utterance_id": name, "seconds": len(scores) + 1.0, "embedding": [3.0, 0.0]} | facts


def judged(*rows: dict[str, Any]) -> tuple[pa.Table, pa.Table]:
    table = pa.Table.from_pylist(list(rows), embeddings_schema(2))
    scores = HEAD.judge(table, 0.5, "scored")
    return judge_windows(HEAD, table, scores, 0.5), scores


def test_each_window_is_judged_by_the_rules_for_recordings() -> None:
    levels = [-20.0, -20.0, -80.0, -20.0, -20.0]
    found, scores = judged(row("a", [-5.0, 0.5, 4.0, math.nan, 6.0], levels), row("b", [2.5]))

    assert found.schema == SEGMENTS
    assert found.select(["utterance_id", "segment", "start_seconds", "end_seconds"]).to_pylist() == [
        {"utterance_id": name, "segment": number, "start_seconds": start, "end_seconds": end}
        for name, number, start, end in [
            ("a", 0, 0.0, 2.0),
            ("a", 1, 1.0, 3.0),
            ("a", 2, 2.0, 4.0),
            ("a", 3, 3.0, 5.0),
            ("a", 4, 4.0, 6.0),
            ("b", 0, 0.0, 2.0),
        ]
    ]
    assert found["score"].to_pylist() == [-5.0, 0.5, None, None, 6.0, 2.5]
    assert found["reject_reason"].to_pylist() == [None, "uncertain", "silent", "out_of_distribution", None, None]
    assert found["p_spoof"][0].as_py() == pytest.approx(1 / (1 + math.exp(-5.0)))
    assert set(found["run_id"].to_pylist()) == {"scored"}
    assert set(found["head_id"].to_pylist()) == {HEAD.head_id}
    assert count_segments(found, scores) == {"rows": 6, "flagged": 1, "recordings": 2, "recordings_without": 0}


def test_recordings_without_a_score_or_without_windows_give_no_rows() -> None:
    found, scores = judged(
        row("short", [1.0], seconds=1.0),
        row("silent", [1.0, 2.0], rms_dbfs=-90.0),
        row("old", [], seconds=3.0, window_seconds=None, hop_seconds=None, window_embeddings=None),
        row("kept", [1.0]),
    )

    assert found["utterance_id"].to_pylist() == ["kept"]
    assert scores["reject_reason"].to_pylist()[:2] == ["too_short", "silent"]
    assert count_segments(found, scores)["recordings_without"] == 1


def test_rows_of_a_version_without_windows_give_no_rows() -> None:
    table = pa.Table.from_pylist([row("a", [1.0])], embeddings_schema(2)).drop_columns(list(COLUMNS))

    assert len(judge_windows(HEAD, table, HEAD.judge(table, 0.5, "scored"), 0.5)) == 0


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    rows = [row(str(number), rng.normal(scale=4.0, size=number).tolist()) for number in (7, 1, 12, 3)]
    whole, _ = judged(*rows)

    monkeypatch.setattr(segments, "BLOCK_WINDOWS", 5)

    assert judged(*rows)[0].equals(whole)
    assert len(whole) == 23
