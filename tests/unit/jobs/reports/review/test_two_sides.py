"""The two sides of a call stand side by side: on the nightly page, in the queue and in the sheet."""

from __future__ import annotations

import csv
import html
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.support import nightly_runs

Run = Callable[..., tuple[int, str, str]]
CALLS = 3
URI = "s3://archive/2026/radio/0001.tar"


@pytest.fixture
def calls(tmp_path: Path) -> Path:
    """A night of three calls: side 0 is flagged for certain, side 1 is at the threshold; and other recordings."""
    rows = nightly_runs.recordings(nightly_runs.drawn(60, seed=4)[0], URI)
    for number in range(CALLS):
        for channel, height in ((0, -2.5), (1, -0.02 * number)):
            vector = np.zeros(nightly_runs.DIM, np.float32)
            vector[0], vector[number + 1 + 3 * channel] = height, 0.5
            rows.append(nightly_runs.Recording(URI, f"call-{number}.wav", vector, 5.0, channel))
    judge = nightly_runs.head(target_coverage=0.5)
    (tmp_path / "head.json").write_text(judge.to_json())
    nightly_runs.night(
        str(tmp_path / "tables"), {URI: rows}, judge=judge, head_uri=str(tmp_path / "head.json"), players="link"
    )
    return tmp_path


def test_the_sheet_has_each_side_with_what_the_other_one_is(calls: Path, bonafide: Run) -> None:
    code, _, err = bonafide("review", "export", "--output", calls / "tables", "--to", calls / "queue.csv")

    assert code == 0, err
    with (calls / "queue.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = {row["utterance_id"]: row for row in csv.DictReader(file)}
    for number in range(CALLS):
        row = rows[f"2026/radio/0001.tar#call-{number}.wav/ch1"]
        assert row["other_sides"].startswith("ch0 spoof, score -")
    assert {row["other_sides"] for row in rows.values() if row["channel"] == ""} == {""}


def test_the_nightly_page_shows_the_sides_of_a_flagged_call(calls: Path) -> None:
    (page,) = (calls / "tables" / "runs").glob("*.html")
    text = html.unescape(page.read_text())

    flagged = text[text.index("<h2>Flagged as spoof</h2>") : text.index("<h2>Rejected and failed")]
    assert flagged.count("other side: ch1 rejected (uncertain), score ") == CALLS


def test_sides_that_are_both_in_a_list_are_neighbours(calls: Path, bonafide: Run) -> None:
    rows = nightly_runs.recordings(nightly_runs.drawn(8, seed=4)[0] * 0.0, URI)
    for place, row in enumerate(rows):  # all at the threshold: sides of four calls, far from one another by id
        row.member, row.channel, row.seconds = f"call-{place % 4}.wav", place // 4, 5.0
        assert row.embedding is not None
        row.embedding[0], row.embedding[1 + place % 7] = 0.01 * (place - 4), 1.0 if place < 7 else -1.0
    nightly_runs.night(
        str(calls / "others"), {URI: rows}, judge=nightly_runs.head(target_coverage=0.5), pages=False,
        head_uri=str(calls / "head.json"),
    )  # fmt: skip

    bonafide("review", "export", "--output", calls / "others", "--to", calls / "queue.csv")

    with (calls / "queue.csv").open(encoding="utf-8-sig", newline="") as file:
        names = [row["utterance_id"].rpartition("#")[2] for row in csv.DictReader(file)]
    assert len(names) == 8
    for one, two in zip(names[::2], names[1::2], strict=True):
        assert two == one.replace("/ch0", "/ch1") != one
