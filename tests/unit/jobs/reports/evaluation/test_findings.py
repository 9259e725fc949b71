"""Findings: counts by group, and checks that say what is wrong with the scores."""

from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from scipy.stats import norm

from detector.metrics import equal_error_rate, share_interval
from jobs.reports.evaluation.findings import _thinned, compare_heads, exceeded_limits, head_findings
from tests.support.labelled_scores import judged_rows


def replaced(rows: pa.Table, **columns: object) -> pa.Table:
    """Rows with other columns."""
    for name, values in columns.items():
        rows = rows.set_column(rows.column_names.index(name), name, pa.array(values, rows.schema.field(name).type))
    return rows


def test_the_headline_of_a_known_model_holds_its_error_rates() -> None:
    # Unit normals 2 apart: EER = Phi(-1), and as many decisions are wrong.
    headline = head_findings(judged_rows(4_000), 100)["headline"]

    for name in ("equal_error_rate", "risk_at_full_coverage"):
        assert headline[name]["low"] < norm.cdf(-1) < headline[name]["high"]
        assert headline[name]["low"] < headline[name]["value"] < headline[name]["high"]
    assert headline["debiased_calibration_error"]["value"] < 0.02


def test_sound_scores_pass_the_checks_and_earn_no_warning() -> None:
    found = head_findings(judged_rows(), 50)

    assert [check["passed"] for check in found["checks"]] == [True, True]
    assert found["checks"][1]["verdict"] == "forward"
    assert found["warnings"] == []


def test_reversed_scores_are_named_as_reversed() -> None:
    rows = judged_rows()

    found = head_findings(replaced(rows, score=(-rows["score"].to_numpy()).tolist()), 50)

    assert found["checks"][1]["verdict"] == "reversed"
    assert any("reversed" in text and "labels swapped" in text for text in found["warnings"])


def test_scores_that_know_nothing_land_at_a_half_and_are_named_so() -> None:
    rows = judged_rows()
    rng = np.random.default_rng(3)

    found = head_findings(replaced(rows, score=rng.normal(size=len(rows)).tolist()), 200)

    assert found["headline"]["equal_error_rate"]["value"] == pytest.approx(0.5, abs=1.96 * np.sqrt(2 / 200) / 4)
    assert found["checks"][1]["verdict"] == "chance"
    assert any(text.startswith("Not distinguished from chance") for text in found["warnings"])


@pytest.mark.parametrize("seed", range(5))
def test_any_scores_dealt_out_by_lot_land_in_the_interval_of_chance(seed: int) -> None:
    (check, _) = head_findings(judged_rows(300, distance=4.0, seed=seed), 10)["checks"]

    assert check["low"] < 0.5 < check["high"]
    assert check["low"] - 0.01 <= check["equal_error_rate"] <= check["high"] + 0.01
    assert check["passed"]


def test_few_speakers_or_systems_are_warned_of() -> None:
    rows = judged_rows()
    few = replaced(rows, system=["tts" if name != "-" else "-" for name in rows["system"].to_pylist()])

    assert any(
        "50 speakers or sources" in text and "1 synthesisers" in text for text in head_findings(few, 10)["warnings"]
    )


def test_groups_are_counted_by_what_they_are_and_what_became_of_them() -> None:
    rows = judged_rows()
    groups = head_findings(rows, 10)["groups"]

    english = next(group for group in groups["language"] if group["name"] == "en")
    here = rows.filter(pc.equal(rows["language"], "en")).to_pylist()
    kept = [row for row in here if not row["reject"]]
    assert (english["rows"], english["rejected"]) == (len(here), len(here) - len(kept))
    assert english["kept_wrong"] == sum(row["label"] != row["truth"] for row in kept)
    assert {group["name"] for group in groups["language"]} == {"en", "de", "unknown"}
    assert sum(group["rows"] for group in groups["duration"]) == len(rows)
    assert {group["name"] for group in groups["duration"]} >= {"0 to 1 s", "2 to 3 s", "10 to 30 s"}
    largest = groups["system"][0]
    assert (largest["name"], largest["rows"]) == ("bona fide speech", 200)
    assert "native_rate" not in groups


def test_groups_have_the_figures_of_their_rows_alone_with_an_interval() -> None:
    rows = judged_rows()
    groups = head_findings(rows, 10)["groups"]

    # of both classes: the EER of its own rows
    english = next(group for group in groups["language"] if group["name"] == "en")
    here = rows.filter(pc.and_(pc.equal(rows["language"], "en"), pc.is_valid(rows["score"])))
    score, truth = here["score"].to_numpy(), np.array(here["truth"].to_pylist())
    assert english["equal_error_rate"] == equal_error_rate(score[truth == "bonafide"], score[truth == "spoof"])
    # of one class: what is wrong there is its false alarms
    largest = groups["system"][1]
    spoof = rows.filter(pc.equal(rows["system"], largest["name"]))
    n_missed = sum(label == "bonafide" for label in spoof["label"].to_pylist())
    assert largest["error_rate"] == asdict(share_interval(n_missed, len(spoof)))
    assert largest["risk"] == asdict(share_interval(largest["kept_wrong"], largest["kept"]))


def test_a_group_of_one_class_is_held_against_all_of_the_other() -> None:
    rows = judged_rows()
    score, names = rows["score"].to_numpy(), np.array(rows["system"].to_pylist())
    low = replaced(rows, score=np.where(names == "tts-1", -100.0, score).tolist())

    (group,) = (group for group in head_findings(low, 10)["groups"]["system"] if group["name"] == "tts-1")

    assert (group["bonafide"], group["equal_error_rate"]) == (0, 0.0)  # below all bona fide speech


def test_rows_without_a_score_are_rejected_and_never_wrong() -> None:
    rows = judged_rows(100)
    gone = [None if number < 10 else value for number, value in enumerate(rows["score"].to_pylist())]
    nothing = [None if value is None else 0.5 for value in gone]
    labels = [None if value is None else "spoof" for value in gone]
    rows = replaced(
        rows, score=gone, p_spoof=nothing, entropy_bits=nothing, label=labels, reject=[g is None for g in gone]
    )

    found = head_findings(rows, 10)

    assert found["counts"]["unscored"] == 10
    assert found["headline"]["coverage"]["value"] == pytest.approx(0.9)
    assert found["headline"]["risk"]["value"] == pytest.approx(0.5)  # all are called spoof, half are


def test_two_heads_are_compared_on_the_same_rows() -> None:
    better, worse = judged_rows(), judged_rows(noise=3.0)

    found = compare_heads(better, worse, 200)["cllr"]

    assert found["low"] > 0.0  # the second head's less the first's
    assert found["share_below"] < 0.01


def test_curves_are_thinned_to_visible_points() -> None:
    rates = np.linspace(0.0, 1.0, 100_000)

    thin = _thinned({"p_fa": rates[::-1], "p_miss": rates}, np.asarray)

    assert 400 <= len(thin["p_fa"]) <= 1_700
    assert (thin["p_miss"][0], thin["p_miss"][-1]) == (0.0, 1.0)
    assert np.diff(thin["p_miss"]).max() <= 1 / 400 + 1e-4


def test_findings_are_json() -> None:
    assert json.dumps(head_findings(judged_rows(60), 10))


@pytest.mark.parametrize(
    ("limit", "certified", "sentences"), [(0.01, True, 1), (0.01, False, 0), (0.5, True, 0), (None, True, 0)]
)
def test_a_promise_that_these_rows_break_is_named(limit: float | None, certified: bool, sentences: int) -> None:
    head = head_findings(judged_rows(), 10)
    certificate = {"certified": certified, "bonafide": {"limit": limit}, "spoof": {"limit": None}}

    found = exceeded_limits(head | {"certificate": certificate})

    counts = head["counts"]["of_class"]["bonafide"]
    assert 0.01 < counts["kept_wrong"] / counts["kept"] < 0.5
    assert len(found) == sentences
    assert all(f"here are {counts['kept_wrong']} of {counts['kept']}" in text for text in found)


@pytest.mark.parametrize(("limit", "sentences"), [(0.01, 1), (0.5, 0)])
def test_a_promise_over_groups_that_these_rows_exceed_is_named_as_such(limit: float, sentences: int) -> None:
    bound = {"limit": limit, "over": "sources", "groups": 90, "groups_kept": 80}
    certificate = {"certified": True, "bonafide": bound, "spoof": {"limit": None}}

    found = exceeded_limits(head_findings(judged_rows(), 10) | {"certificate": certificate})

    assert len(found) == sentences
    assert all("certified over 80 sources" in text and "by chance" in text for text in found)


def test_a_head_without_a_certificate_breaks_none() -> None:
    assert exceeded_limits(head_findings(judged_rows(), 10) | {"certificate": None}) == []
