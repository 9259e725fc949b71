"""Totals of markers that are added one by one are the sums over all of them, in any order."""

from __future__ import annotations

import math
import random
from collections import Counter
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pytest

from detector.drift import MIDDLES, drift
from jobs.embedding.permission import NO_PERMISSION
from jobs.embedding.totals import EmbeddingTotals
from jobs.inputs.shards import CHANGED
from jobs.scoring.totals import ScoringTotals
from jobs.tables.ledger import Ledger
from jobs.tables.plan import SEGMENTS
from jobs.tables.protocol import Marker
from jobs.tables.removal import PRUNED_ROWS, REMOVED_ROWS
from jobs.tables.repeated_ids import REPEATED
from tests.support.made_heads import PLAIN

N_SHARDS = 200


def marker(number: int, table: str, detail: dict[str, Any], alarms: tuple[str, ...] = ()) -> Marker:
    digests = {table: f"{random.Random(number).getrandbits(256):064x}", "failures": f"{number:064x}"}
    rows = {table: number, "failures": number % 3}
    return Marker(f"{number:016x}-000001", f"s3://a/{number}.tar", {}, {}, rows, digests, detail, alarms)


@pytest.fixture
def embedded() -> list[Marker]:
    """Markers of embeddings, of which some have what few shards have."""
    rng = random.Random(1)
    markers = []
    for number in range(N_SHARDS):
        detail: dict[str, Any] = {"audio_seconds": rng.uniform(0, 1e6), "recipe": {"layer": 1}, "run_id": "run"}
        if number % 7 == 0:
            detail |= {REMOVED_ROWS: number, "passed_over": {".txt": {"count": number, "examples": [f"{number}.txt"]}}}
        if number % 50 == 3:
            first = {"utterance_id": f"id {number}", "message": "is repeated"}
            detail |= {REPEATED: {"count": number, "first": first}}
        markers.append(marker(number, "embeddings", detail, ("embeddings",) if number % 90 == 1 else ()))
    return markers


def total(markers: list[Marker], name: str) -> int:
    return sum(each.detail.get(name, 0) for each in markers)


def test_totals_of_embeddings_are_the_sums_over_the_list_of_markers(embedded: list[Marker]) -> None:
    totals = EmbeddingTotals(0.05)
    for each in embedded:
        totals.add(each)

    assert (totals.n_shards, totals.digest) == (N_SHARDS, Ledger.digest(embedded))
    assert totals.alarms == [each.uri for each in embedded if each.alarms] != []
    record = totals.record()
    members = record.pop("passed_over_members")
    assert members == {".txt": {"count": total(embedded, REMOVED_ROWS), "examples": ["0.txt", "7.txt", "14.txt"]}}
    refused = [each for each in embedded if REPEATED in each.detail]
    least = min(refused, key=lambda each: each.uri)
    assert record == {
        "embeddings": sum(each.rows["embeddings"] for each in embedded),
        "failures": sum(each.rows["failures"] for each in embedded),
        REMOVED_ROWS: total(embedded, REMOVED_ROWS),
        PRUNED_ROWS: 0,
        CHANGED: 0,
        NO_PERMISSION: 0,
        REPEATED: {
            "count": sum(each.detail[REPEATED]["count"] for each in refused),
            "shards": len(refused),
            "first": {"uri": least.uri, **least.detail[REPEATED]["first"]},
        },
        "exit_code": 65,
        "audio_seconds": round(math.fsum(each.detail["audio_seconds"] for each in embedded), 3),
    }


def test_totals_do_not_depend_on_the_order_of_markers(embedded: list[Marker]) -> None:
    found = []
    for seed in range(3):
        random.Random(seed).shuffle(embedded)
        totals = EmbeddingTotals(0.05)
        for each in embedded:
            totals.add(each)
        record = totals.record()
        del record["passed_over_members"]  # its examples are the first that came
        found.append((totals.digest, sorted(totals.alarms), record))

    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize(
    ("detail", "failures", "code"),
    [({}, 0, 0), ({}, 1, 3), ({REPEATED: {"count": 1, "first": {}}}, 1, 65), ({CHANGED: 1}, 0, 0)],
)
def test_the_exit_code_follows_from_the_markers(detail: dict[str, Any], failures: int, code: int) -> None:
    rows = {"embeddings": 10, "failures": failures}
    totals = EmbeddingTotals(0.05)
    totals.add(Marker("a-000001", "a", {}, {}, rows, {}, {"audio_seconds": 1.0, **detail}))

    assert totals.record()["exit_code"] == code


def test_totals_of_scores_are_the_sums_over_the_list_of_markers() -> None:
    bins = np.arange(len(MIDDLES))
    calibration = {"bonafide": bins.tolist(), "spoof": bins[::-1].tolist()}
    details = [
        {
            "counts": {"rows": number, "failed": 1, "accepted_spoof": number, "accepted_bonafide": 0, "far_out": 0},
            "failed_by": {"empty": number % 2},
            "histogram": (bins % (number + 1)).tolist(),
            **({"whole": {"rows": 2 * number, "failed": 2}, "changes": {"new": number}} if number % 2 else {}),
            **({SEGMENTS: {"rows": number, "flagged": 0}} if number % 5 == 0 else {}),
        }
        for number in range(N_SHARDS)
    ]
    totals = ScoringTotals(replace(PLAIN, training={"score_histograms": calibration}), 0.05)
    for number, detail in enumerate(details):
        totals.add(marker(number, "scores", detail))

    def summed(name: str, other: str = "") -> Counter[str]:
        found: Counter[str] = Counter()
        for each in details:
            found.update(each.get(name, each[other] if other else {}))
        return found

    record = totals.record()
    assert record["scores"] == summed("counts")
    assert record["whole"] == summed("whole", "counts") & Counter({"rows": 10**6, "failed": 10**6})
    assert (record["changes"], record["failed_by"]) == (summed("changes"), summed("failed_by"))
    assert (record["segment_rows"], "flagged" in record["segment_rows"]) == (summed(SEGMENTS), True)
    histogram = np.sum([each["histogram"] for each in details], axis=0)
    n_accepted = summed("counts")["accepted_spoof"]
    moved = drift(histogram, 0, calibration, n_accepted=n_accepted, cllr=None)
    assert moved is not None
    assert (record["drift"], record["exit_code"]) == (asdict(moved), 0)


def test_scores_of_runs_without_segments_have_no_row_of_them_in_the_record() -> None:
    totals = ScoringTotals(PLAIN, 0.05)
    totals.add(marker(1, "scores", {"counts": {"rows": 1, "failed": 0}}))

    assert not {"segment_rows", "drift"} & totals.record().keys()
