"""Names of systems against those of the labels, counted by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from jobs.reports.evaluation import page
from jobs.reports.evaluation.config import EvaluationConfig
from jobs.reports.evaluation.evaluation import evaluate
from jobs.reports.evaluation.systems import COLUMNS, system_findings
from tests.support.attributed_nights import FIRST, attributing, voice
from tests.support.nightly_runs import night


def rows(*given: tuple[str, str | None, str, str | None, float | None]) -> pa.Table:
    names = {"truth": pa.string(), "system": pa.string(), "source": pa.string(), "nearest_system": pa.string()}
    schema = pa.schema({**names, "system_similarity": pa.float64()})
    return pa.Table.from_pylist([dict(zip(COLUMNS, each, strict=True)) for each in given], schema)


JUDGED = rows(
    ("spoof", "a", "x", "a", 0.9),
    ("spoof", "a", "y", "a", 0.8),
    ("spoof", "a", "y", "b", 0.7),
    ("spoof", "a", "x", "unknown", 0.2),
    ("spoof", "b", "z", "unknown", 0.4),
    ("spoof", "new", "x", "unknown", 0.1),
    ("spoof", "new", "x", "a", 0.75),
    ("spoof", None, "x", "a", 0.9),  # of no system that the labels name
    ("spoof", "a", "x", None, None),  # not called spoof
    ("bonafide", "-", "x", "b", 0.6),
)


def found(heard: tuple[str, ...] | None = ("a", "b", "c")) -> dict[str, Any]:
    result = system_findings(JUDGED, heard, 200)
    assert result is not None
    return result


def test_figures_are_means_over_systems() -> None:
    figures = found()

    assert figures["rightly_named"]["value"] == pytest.approx((2 / 4 + 0 / 1) / 2)
    assert figures["wrongly_named"]["value"] == pytest.approx((1 / 4 + 0 / 1) / 2)
    assert figures["false_attribution"]["value"] == pytest.approx(1 / 2)
    # a: above both of `new`, above both, above the first, above the first; b: above the first
    assert figures["auroc"]["value"] == pytest.approx(((2 + 2 + 1 + 1) / 8 + 1 / 2) / 2)
    assert (figures["rows_heard"], figures["rows_not_heard"], figures["bonafide_named"]) == (5, 2, 1)
    assert figures["chance"] == pytest.approx(1 / 3)


def test_the_confusion_counts_every_name() -> None:
    assert [(each["system"], each["right"], each["unknown"], each["others"]) for each in found()["confusion"]] == [
        ("a", 2, 1, [("b", 1)]),
        ("b", 0, 1, []),
        ("new", 0, 1, [("a", 1)]),
    ]


def test_without_the_head_the_systems_that_it_names_are_those_that_it_has_heard() -> None:
    figures = found(None)

    assert not figures["heard_is_given"]
    assert figures["heard"] == 2


def test_a_head_that_names_no_system_has_no_such_figures() -> None:
    assert system_findings(rows(("spoof", "a", "x", None, None)), None, 200) is None


def test_the_report_says_how_well_systems_are_named(tmp_path: Path) -> None:
    head, output, labels = attributing(threshold=0.9), str(tmp_path / "tables"), tmp_path / "labels.csv"
    (tmp_path / "head.json").write_text(head.to_json())
    bonafide = [replace(each, embedding=-each.embedding) for each in voice(1, 3)]  # type: ignore[operator]
    night(output, {FIRST: [*voice(0, 3), *voice(2, 2), *bonafide[:2]]}, judge=head, pages=False)
    named = {"machine-0": "near the second axis", "machine-2": "<b>another</b>"}
    with labels.open("w") as file:
        file.write("utterance_id,label,system,source\n")
        for each in [*voice(0, 3), *voice(2, 2)]:
            file.write(f"{each.utterance_id},spoof,{named[str(each.member)[3:-5]]},s\n")
        file.writelines(f"{each.utterance_id},bonafide,-,s\n" for each in bonafide[:2])

    for given in ((), (str(tmp_path / "head.json"),)):
        content = evaluate(
            EvaluationConfig(scores=(output,), labels=str(labels), output=str(tmp_path), head=given, draws=50)
        )
        found, html = content["heads"][0]["systems"], page.render(content)

        assert found["rightly_named"]["value"] == 1.0
        assert found["false_attribution"]["value"] == 0.0
        assert found["heard"] == 1 + len(given)
        assert "Which system made them" in html
        assert "<b>another" not in html
