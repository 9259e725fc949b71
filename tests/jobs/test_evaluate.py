"""evaluate: numbers and page from labelled scores, without Ray."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest

from detector.schema import SCORES
from jobs.cli import main
from jobs.evaluate import measure
from jobs.ledger import Ledger
from jobs.protocol import Entry, Plan
from jobs.report import Axis

HOSTILE = '<script>alert("x")</script>'


def row(name: str, score: float | None, label: str, *, reject: bool = False) -> dict[str, object]:
    unscored = score is None
    return {
        "utterance_id": name,
        "uri": name,
        "seconds": 1.0,
        "score": score,
        "prior": 0.5,
        "p_spoof": None if unscored else 0.9 if label == "spoof" else 0.1,
        "label": None if unscored else label,
        "entropy_bits": None if unscored else 1.0 / (1.0 + abs(score or 0.0)),
        "ood": 0.5,
        "reject": reject or unscored,
        "reject_reason": "silent" if unscored else "uncertain" if reject else None,
        "head_id": "a-head",
        "fingerprint": "f",
        "run_id": "r",
    }


ROWS = [
    row("b1", 3.0, "bonafide"),
    row("b2", 1.0, "bonafide"),
    row("b3", -0.5, "spoof", reject=True),  # wrong, and rejected
    row("s1", -3.0, "spoof"),
    row("s2", -1.0, "spoof"),
    row("s3", 0.5, "bonafide", reject=True),  # wrong, and rejected
    row("s4", None, ""),
]
TRUTH = {name["utterance_id"]: "bonafide" if str(name["utterance_id"])[0] == "b" else "spoof" for name in ROWS}


@pytest.fixture
def tables(tmp_path: Path) -> Path:
    """An output with the scores above, and labels with a hostile system name."""
    scores = pa.Table.from_pylist(ROWS, schema=SCORES)
    table = Ledger(str(tmp_path), "scores", "a-head")
    plan = Plan("r", "2026-01-01", (Entry("0", "e"),))
    (shard,) = table.freeze(lambda book: None if book.plans else plan).current.values()
    table.commit(shard, "archive", {"scores": ("scores/run_date=2026-01-01", scores)})
    lines = [f"{name},{label},{HOSTILE if label == 'spoof' else '-'},corpus" for name, label in TRUTH.items()]
    (tmp_path / "labels.csv").write_text("\n".join(["utterance_id,label,system,source", *lines]))
    return tmp_path


def test_the_headline_is_the_hand_count(tables: Path) -> None:
    code = main(["evaluate", "--scores", str(tables), "--labels", str(tables / "labels.csv"), "--output", str(tables)])

    headline = json.loads((tables / "report.json").read_text())["headline"]
    assert code == 0
    assert (headline["bonafide"], headline["spoof"], headline["unscored"]) == (3, 3, 1)
    assert headline["equal_error_rate"] == pytest.approx(1 / 3)  # b3 is under s3: one of three on either side
    assert headline["coverage"] == pytest.approx(4 / 7)  # of seven, two uncertain and one silent are rejected
    assert headline["risk"] == 0.0
    assert headline["risk_at_full_coverage"] == pytest.approx(2 / 6)
    # all said 0.9 or 0.1: of three at 0.9 two are spoof, of three at 0.1 one is; |2 - 2.7| + |1 - 0.3| over 6
    assert headline["expected_calibration_error"] == pytest.approx(1.4 / 6)


def test_the_page_escapes_hostile_names_and_loads_nothing(tables: Path) -> None:
    main(["evaluate", "--scores", str(tables), "--labels", str(tables / "labels.csv"), "--output", str(tables)])

    page = (tables / "report.html").read_text()
    assert HOSTILE not in page
    assert "&lt;script&gt;" in page
    assert "http://" not in page
    assert "https://" not in page


@pytest.mark.parametrize(
    ("labels", "cause"),
    [
        ("utterance_id,label\nb1,bonafide\nb2,bonafide\n", "all of one class"),
        ("utterance_id,label\nnobody,spoof\n", "none of 1 labelled ids"),
        ("utterance_id,label\nb1,1\n", "Write the words"),
        ("utterance_id,label\nb1,spoof\nb1,bonafide\n", "stand more than once"),
        ("utterance_id\nb1\n", "no column `label`"),
    ],
)
def test_labels_that_do_not_fit_are_refused(
    tables: Path, labels: str, cause: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tables / "bad.csv").write_text(labels)

    code = main(["evaluate", "--scores", str(tables), "--labels", str(tables / "bad.csv"), "--output", str(tables)])

    assert code == 65
    assert cause in capsys.readouterr().err.splitlines()[-1]


def test_systems_and_sources_are_counted_apart() -> None:
    rows = pa.Table.from_pylist(
        [
            {**each, "truth": TRUTH[each["utterance_id"]], "system": "tts", "speaker": "ann", "source": None}
            for each in ROWS
        ]
    )

    spoken, synthesised = measure(rows)["by_system"]

    assert (spoken["name"], spoken["accepted_bonafide"], spoken["rejected"]) == ("ann", 2, 1)
    assert (synthesised["name"], synthesised["accepted_spoof"], synthesised["rejected"]) == ("tts", 2, 2)


@pytest.mark.parametrize(
    ("low", "high", "whole", "texts"),
    [
        (0.0, 1.0, False, ["0", "0.2", "0.4", "0.6", "0.8", "1"]),
        (-6.5, 4.4, False, ["-6", "-4", "-2", "0", "2", "4"]),
        (0.0, 3.0, True, ["0", "1", "2", "3"]),
        (2.0, 2.0, False, ["2", "2.2", "2.4", "2.6", "2.8", "3"]),
    ],
)
def test_ticks_are_round_values_inside_the_axis(low: float, high: float, whole: bool, texts: list[str]) -> None:
    axis = Axis(low, high, 0.0, 100.0, whole=whole)

    assert [text for _, text in axis.ticks()] == texts[: len(axis.ticks())]
    assert all(0.0 <= place <= 100.0 for place, _ in axis.ticks())
