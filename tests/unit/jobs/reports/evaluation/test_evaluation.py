"""evaluate: scores of one head or more joined with labels, and judged; without Ray."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from detector.schema import FAILURES, SCORES
from jobs.cli import main
from jobs.tables.ledger import Ledger
from jobs.tables.protocol import Entry, Plan

HOSTILE = '<script>alert("x")</script>'


def row(
    name: str, score: float | None, label: str, *, reject: bool = False, head_id: str = "a-head"
) -> dict[str, object]:
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
        "head_id": head_id,
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


def write_scores(
    folder: Path, rows: list[dict[str, object]], head_id: str = "a-head", failures: tuple[str, ...] = ()
) -> None:
    """Commit scores of a head as `score` does."""
    scores = pa.Table.from_pylist([{**each, "head_id": head_id} for each in rows], schema=SCORES)
    failed = [{"utterance_id": name, "uri": name, "stage": "decode", "error": "not_audio"} for name in failures]
    failed = [{**each, "message": "", "bytes": 1, "attempts": 1, "run_id": "r"} for each in failed]
    table = Ledger(str(folder), "scores", head_id)
    plan = Plan("r", "2026-01-01", (Entry("0", "e"),))
    (shard,) = table.freeze(lambda history: None if history.plans else plan).current.values()
    tables = {
        "failures": ("failures/run_date=2026-01-01", pa.Table.from_pylist(failed, schema=FAILURES)),
        "scores": ("scores/run_date=2026-01-01", scores),
    }
    table.commit(shard, "archive", tables)


def write_labels(folder: Path, extra: str = "") -> Path:
    """Labels of the rows above, with a hostile system name."""
    lines = [f"{name},{label},{HOSTILE if label == 'spoof' else '-'},corpus" for name, label in TRUTH.items()]
    (folder / "labels.csv").write_text("\n".join(["utterance_id,label,system,source", *lines, extra]))
    return folder / "labels.csv"


@pytest.fixture
def tables(tmp_path: Path) -> Path:
    """An output with the scores above, and labels."""
    write_scores(tmp_path, ROWS)
    write_labels(tmp_path)
    return tmp_path


def evaluated(*arguments: object) -> tuple[int, dict[str, Any]]:
    """Run the verb with few draws; its exit code, and the report where there is one."""
    given = [str(each) for each in arguments]
    code = main(["evaluate", "--draws", "20", *given])
    report = Path(given[given.index("--output") + 1]) / "report.json"
    return code, json.loads(report.read_text()) if code == 0 else {}


def test_the_headline_is_the_hand_count(tables: Path) -> None:
    code, report = evaluated("--scores", tables, "--labels", tables / "labels.csv", "--output", tables)

    (head,) = report["heads"]
    value = {name: each["value"] for name, each in head["headline"].items()}
    assert code == 0
    assert {name: head["counts"][name] for name in ("bonafide", "spoof", "unscored", "kept", "kept_wrong")} == {
        "bonafide": 3, "spoof": 3, "unscored": 1, "kept": 4, "kept_wrong": 0
    }  # fmt: skip
    assert value["equal_error_rate"] == pytest.approx(1 / 3)  # b3 is under s3: one of three on either side
    assert value["coverage"] == pytest.approx(4 / 7)  # of seven, two uncertain and one silent are rejected
    assert value["risk"] == 0.0
    assert value["risk_at_full_coverage"] == pytest.approx(2 / 6)
    # all said 0.9 or 0.1: of three at 0.9 two are spoof, of three at 0.1 one is; |2 - 2.7| + |1 - 0.3| over 6
    assert value["expected_calibration_error"] == pytest.approx(1.4 / 6)
    assert value["brier_score"] == pytest.approx((4 * 0.01 + 2 * 0.81) / 6)


@pytest.mark.parametrize(
    ("labels", "cause"),
    [
        ("utterance_id,label\nb1,bonafide\nb2,bonafide\n", "all of one class"),
        ("utterance_id,label\nb1,bonafide\nb9,spoof\nb8,spoof\n", "2 labelled id(s) of split 'eval' have neither"),
        ("utterance_id,label\nb1,bonafide\nb9,spoof\nb8,spoof\n", "'b8', 'b9'. Score them"),
        ("utterance_id,label\nnobody,spoof\n", "none of 1 labelled ids"),
        ("utterance_id,label\nb1,1\n", "Write the words"),
        ("utterance_id,label\nb1,spoof\nb1,bonafide\n", "occur more than once"),
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


def test_labelled_ids_without_a_score_are_counted_where_they_may_be_missing(tables: Path) -> None:
    labels = write_labels(tables, extra="s9,spoof,tts,corpus")

    code, report = evaluated("--scores", tables, "--labels", labels, "--output", tables, "--allow-missing")

    assert code == 0
    assert report["heads"][0]["ids"] == {"joined": 7, "failed": 0, "missing": 1, "unlabelled": 0}


def test_a_labelled_input_that_failed_is_not_missing(tmp_path: Path) -> None:
    write_scores(tmp_path, ROWS, failures=("s9",))
    labels = write_labels(tmp_path, extra="s9,spoof,tts,corpus")

    code, report = evaluated("--scores", tmp_path, "--labels", labels, "--output", tmp_path)

    assert code == 0
    assert report["heads"][0]["ids"] == {"joined": 7, "failed": 1, "missing": 0, "unlabelled": 0}


def test_scores_without_a_label_are_counted_and_not_judged(tables: Path) -> None:
    labels = tables / "few.csv"
    labels.write_text("utterance_id,label\nb1,bonafide\ns1,spoof\n")

    _, report = evaluated("--scores", tables, "--labels", labels, "--output", tables)

    assert report["heads"][0]["ids"]["unlabelled"] == 5
    assert report["heads"][0]["counts"]["spoof"] == 1


def test_every_head_of_a_table_is_compared_with_the_first(tables: Path, capsys: pytest.CaptureFixture[str]) -> None:
    better = [{**each, "score": each["score"] and abs(each["score"]) * (1 if each["utterance_id"][0] == "b" else -1)}
              for each in ROWS]  # fmt: skip
    write_scores(tables, better, "better-head")

    _, report = evaluated("--scores", tables, "--labels", tables / "labels.csv", "--output", tables)

    assert [head["head_id"] for head in report["heads"]] == ["a-head", "better-head"]
    (pair,) = report["comparisons"]
    assert (pair["reference"], pair["head_id"]) == ("a-head", "better-head")
    assert pair["metrics"]["equal_error_rate"]["value"] == pytest.approx(-1 / 3)
    assert "head better-head: 3 bonafide" in capsys.readouterr().out


def test_heads_are_taken_from_several_outputs_and_in_the_order_asked_for(tables: Path, tmp_path: Path) -> None:
    write_scores(tmp_path / "other", ROWS, "b-head")
    where = ("--scores", tables, "--scores", tmp_path / "other")
    what = ("--labels", tables / "labels.csv", "--output", tables)

    _, both = evaluated(*where, *what)
    _, one = evaluated(*where, *what, "--head-id", "b-head")

    assert [head["head_id"] for head in both["heads"]] == ["a-head", "b-head"]
    assert both["comparisons"][0]["metrics"]["cllr"] == {"value": 0, "low": 0, "high": 0, "share_below": 0.5}
    assert [head["head_id"] for head in one["heads"]] == ["b-head"]


def test_heads_that_judged_other_utterances_are_refused_by_the_ids(
    tables: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_scores(tables, ROWS[:-2], "b-head", failures=("s3", "s4"))
    what = ("--scores", tables, "--labels", tables / "labels.csv", "--output", tables)

    assert evaluated(*what)[0] == 65
    assert "'s3', 's4'. A comparison is of the same" in capsys.readouterr().err.splitlines()[-1]
    code, report = evaluated(*what, "--allow-missing")
    assert code == 0
    assert [head["ids"]["joined"] for head in report["heads"]] == [5, 5]


@pytest.mark.parametrize(
    ("more", "cause"),
    [
        (("--head-id", "nobody"), "heads not there: nobody. Found: none"),
        (("--scores", "{tables}"), "heads there twice: a-head"),
        (("--draws", "1"), "an interval needs 2 or more"),
        (("--embeddings", "{tables}"), "no embeddings of fingerprint f"),
    ],
)
def test_settings_that_do_not_fit_are_refused(
    tables: Path, more: tuple[str, str], cause: str, capsys: pytest.CaptureFixture[str]
) -> None:
    more = tuple(each.format(tables=tables) for each in more)

    code, _ = evaluated("--scores", tables, "--labels", tables / "labels.csv", "--output", tables, *more)

    assert code == 65
    assert cause in capsys.readouterr().err.splitlines()[-1]


def test_an_output_without_scores_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _ = evaluated("--scores", tmp_path, "--labels", write_labels(tmp_path), "--output", tmp_path)

    assert code == 65
    assert "no scores here" in capsys.readouterr().err.splitlines()[-1]


def test_labels_of_a_moved_archive_are_judged_by_suffix_only_when_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    moved = [{**each, "utterance_id": f"new/{each['utterance_id']}.flac"} for each in ROWS]
    write_scores(tmp_path / "moved", moved)
    lines = [f"/old/{name}.flac,{label}" for name, label in TRUTH.items()]
    (tmp_path / "old.csv").write_text("\n".join(["utterance_id,label", *lines]))
    command = ["evaluate", "--scores", str(tmp_path / "moved"), "--labels", str(tmp_path / "old.csv"), "--draws", "10"]

    refused = main([*command, "--output", str(tmp_path / "exact")])
    cause = capsys.readouterr().err
    code = main([*command, "--match", "suffix", "--output", str(tmp_path / "suffix")])
    out = capsys.readouterr().out

    assert refused == 65
    assert "--match suffix would join 7 of them by the ends of their paths: '/old/" in cause
    assert code == 0
    assert "7 labels matched by the longest common end of their paths" in caplog.text
    report = json.loads((tmp_path / "suffix" / "report.json").read_text())
    assert report["settings"]["match"] == "suffix"
    assert "3 bonafide and 3 spoof scores" in out
    assert "EER 33.3%" in out  # one of three on each side
