"""Every alert is about metrics that there are, and each alert and exit code has its paragraph in the runbook."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from jobs.cli import EX_USAGE, EXIT_CODES, MEANINGS
from jobs.telemetry import alarms
from jobs.telemetry.ends import ENDS, Ends
from jobs.telemetry.metrics import METRICS
from tests.support import ROOT

ALERTS = yaml.safe_load((ROOT / "cluster" / "prometheus" / "alerts.yaml").read_text())
RULES = {rule["alert"]: rule for group in ALERTS["groups"] for rule in group["rules"]}
SECTIONS = dict(
    re.findall(
        r"^### (.+)\n\n((?:(?!^#).*\n)*)", (ROOT / "docs" / "how-to" / "runbook.md").read_text() + "\n", re.MULTILINE
    )
)


def test_the_runbook_has_a_paragraph_for_each_exit_code_and_alert_and_no_other() -> None:
    assert set(SECTIONS) == {f"Exit {code}" for code in MEANINGS} | set(RULES)
    for name, text in SECTIONS.items():
        assert re.findall(r"\*\*(\w[\w ]*)\.\*\*", text) == ["Means", "See more", "Do"], name


def test_each_exit_code_that_a_verb_can_end_with_has_a_meaning() -> None:
    assert {0, EX_USAGE, 3, 70, *EXIT_CODES.values()} == set(MEANINGS)


@pytest.mark.parametrize("alert", RULES)
def test_an_alert_is_about_metrics_that_are_exported(alert: str, tmp_path: Path) -> None:
    alarms.sound("s3://archive/7.tar", ["scores"])
    Ends(tmp_path).write("nightly", 0, "s3://archive/tables")
    alarms.begin()
    (path,) = tmp_path.iterdir()
    written = {
        sample.name: set(sample.labels)
        for family in text_string_to_metric_families(path.read_text())
        for sample in family.samples
    }
    exported = {f"ray_{name}": {*each.labels, "SessionName", "WorkerId"} for name, each in METRICS.items()} | written
    expression = RULES[alert]["expr"]

    selectors = re.findall(r"\b((?:ray_)?bonafide_\w+)(?:{([^}]*)})?", expression)

    assert selectors
    for name, matchers in selectors:
        assert set(re.findall(r"(\w+)\s*[=!]~?", matchers)) <= exported[name]
    for labels in re.findall(r"\b(?:by|on) \(([^)]*)\)", expression):
        assert set(re.findall(r"\w+", labels)) <= set().union(*(exported[name] for name, _ in selectors))
    assert set(written) == set(ENDS)


def test_every_bad_exit_code_raises_an_alert() -> None:
    raised = {int(code) for rule in RULES.values() for code in re.findall(r"bonafide_exit_code == (\d+)", rule["expr"])}

    assert raised == set(MEANINGS) - {0}
