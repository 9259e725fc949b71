"""Recordings that pass for bona fide as a whole, and not in a part, are in the queue behind the uncertain ones."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest

from detector.head import Head
from detector.schema import SCORES
from jobs.reports.review.queue import COLUMNS, ReviewQueue, ReviewQueueBuilder
from jobs.tables.ledger import Ledger
from tests.support import nightly_runs

PRIOR = 0.5
RULED = {"contains_rule": "lowest", "contains_numbers": (1.0, 0.0, -10.0, 10.0)}


def row(name: str, **values: Any) -> dict[str, Any]:
    """A confident bona fide recording of `scores`, with some other values."""
    verdict = {"score": 6.0, "p_spoof": 0.0, "label": "bonafide", "entropy_bits": 0.0, "ood": 0.1, "reject": False}
    return dict.fromkeys(COLUMNS) | {"utterance_id": name, "uri": f"s3://a/{name}"} | verdict | values


def queue(head: Head, rows: list[dict[str, Any]], lowest: dict[str, float], n_rows: int = 200) -> ReviewQueue:
    builder = ReviewQueueBuilder(head, PRIOR, n_rows)
    schema = pa.schema([SCORES.field(name) for name in COLUMNS])
    builder.add(pa.RecordBatch.from_pylist(rows, schema), 0, lowest)
    return builder.queue(Ledger("memory", "embeddings", "none"), [])


def test_without_a_rule_the_most_suspicious_window_says_it() -> None:
    rows = [
        row("whole"),
        row("a"),
        row("b"),
        row("spoof", label="spoof", score=-6.0, p_spoof=1.0),
        row("out", reject=True),
    ]

    found = queue(nightly_runs.head(), rows[:4], {"a": -1.0, "b": -3.0, "spoof": -6.0})

    assert [(each["utterance_id"], each["why"]) for each in found.rows] == [("b", "part"), ("a", "part")]
    assert found.n_parts == 2


def test_with_a_rule_its_score_says_it_and_windows_do_not() -> None:
    head = replace(nightly_runs.head(), **RULED)

    found = queue(head, [row("a", contains_score=2.0), row("b", contains_score=-2.0), row("c")], {"a": -9.0})

    assert [each["utterance_id"] for each in found.rows] == ["b"]


@pytest.mark.parametrize(("n_rows", "expected"), [(4, 1), (8, 2)])
def test_a_quarter_of_the_queue_is_kept_for_them(n_rows: int, expected: int) -> None:
    names = [f"{number:02}" for number in range(30)]

    found = queue(
        nightly_runs.head(), [row(name) for name in names], {name: -float(name) - 1 for name in names}, n_rows
    )

    assert [each["utterance_id"] for each in found.rows] == ["29", "28"][:expected]
    assert found.n_parts == 30
