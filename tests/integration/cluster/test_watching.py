"""The metrics that a run exports to Prometheus, and the dashboard and alerts built on them."""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from itertools import combinations
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import fsspec
import promql_parser
import pytest
import ray
import yaml
from prometheus_client.parser import text_string_to_metric_families

from jobs.telemetry.ends import ENDS
from jobs.telemetry.metrics import METRICS
from tests.integration.cluster.conftest import Submit
from tests.integration.cluster.dashboard import asked
from tests.support import ROOT

CLUSTER = ROOT / "cluster"
DASHBOARD = json.loads((CLUSTER / "grafana" / "bonafide.json").read_text())
ALERTS = yaml.safe_load((CLUSTER / "prometheus" / "alerts.yaml").read_text())
RULES = [rule for group in ALERTS["groups"] for rule in group["rules"]]
RAYS = {"SessionName", "WorkerId", "NodeAddress"}  # labels that Ray adds
RAYS_OWN = (Path(ray.__file__).parent / "data" / "_internal" / "stats.py").read_text()
SECONDS = 30.0  # Ray tells Prometheus every second here, and anew who can be asked every five

Told = Counter[tuple[str, frozenset[tuple[str, str]]]]


def told(cluster: str, token: str) -> Told:
    """Sum of every meter of ours over all processes, by name and its own labels."""
    _, found = asked(cluster, "GET", "/api/prometheus/sd", token)
    sums: Told = Counter()
    for target in {each for group in json.loads(found) for each in group["targets"]}:
        try:
            with urlopen(f"http://{target}/metrics") as answer:
                families = list(text_string_to_metric_families(answer.read().decode()))
        except URLError:
            continue  # Ray names the autoscaler, too, which is not there on one machine; Prometheus takes it for down
        for sample in (sample for family in families for sample in family.samples):
            name = sample.name.removeprefix("ray_")
            if name in METRICS:
                labels = {(key, value) for key, value in sample.labels.items() if key in METRICS[name].labels}
                sums[name, frozenset(labels)] += sample.value
    return sums


def meter(name: str, **labels: str) -> tuple[str, frozenset[tuple[str, str]]]:
    return name, frozenset(labels.items())


@pytest.mark.long
def test_meters_say_what_the_records_say(
    submit: Submit, bucket: fsspec.AbstractFileSystem, head: str, cluster: str, environment: dict[str, str]
) -> None:
    token = Path(environment["RAY_AUTH_TOKEN_PATH"]).read_text()
    before = told(cluster, token)
    bucket.pipe("night/archive-of-meters/9.tar", bucket.cat("night/archive/1.tar"))
    bucket.pipe("night/archive-of-meters/page.flac", b"<html>404</html>")
    night = ("--input", "s3://night/archive-of-meters/", "--head", head, "--max-failures", "1")
    job = submit("nightly", *night, "--output", "s3://night/metered")
    out, err = job.communicate(timeout=200)
    assert job.returncode == 0, out + err

    records = [json.loads(bucket.cat(path)) for path in bucket.glob("night/metered/runs/*.json")]
    (seconds,) = [record["audio_seconds"] for record in records if "audio_seconds" in record]
    (scores,) = [record["scores"] for record in records if "scores" in record]
    deadline = time.monotonic() + SECONDS
    while (after := told(cluster, token) - before)[meter("bonafide_shards_committed_total", verb="score")] < 2:
        assert time.monotonic() < deadline, after
        time.sleep(0.5)

    assert after[meter("bonafide_audio_seconds_total")] == pytest.approx(seconds, abs=1e-3)
    assert after[meter("bonafide_shards_committed_total", verb="embed")] == 2
    assert after[meter("bonafide_rows_total", verb="embed", outcome="embedded")] == scores["rows"] == 8
    assert after[meter("bonafide_rows_total", verb="embed", outcome="not_audio")] == scores["failed"] == 1
    verdicts = {"bonafide": scores["accepted_bonafide"], "spoof": scores["accepted_spoof"]}
    verdicts["uncertain"] = scores.get("uncertain", 0)
    found = {outcome: after[meter("bonafide_rows_total", verb="score", outcome=outcome)] for outcome in verdicts}
    assert found == verdicts
    for name in ("bonafide_alarms_total", "bonafide_workers_lost_total", "bonafide_shards_open"):
        assert not any(value for (other, _), value in after.items() if other == name)


def test_meters_are_named_as_prometheus_wants_it() -> None:
    for name, each in METRICS.items():
        assert re.fullmatch(r"bonafide_[a-z_]+", name)
        assert name.endswith("_total") == (each.kind == "counter")
        assert each.about
        assert set(each.labels) <= {"verb", "outcome", "level", "change"}  # few values each


def expressions() -> dict[str, str]:
    """Every expression of the dashboard and the alerts, Grafana's own variables filled in."""
    panels = {
        f"{panel['title']} {each['refId']}": each["expr"] for panel in DASHBOARD["panels"] for each in panel["targets"]
    }
    found = panels | {rule["alert"]: rule["expr"] for rule in RULES}
    return {where: text.replace("$__rate_interval", "5m").replace("$session", ".*") for where, text in found.items()}


@pytest.mark.parametrize("where", expressions())
def test_an_expression_is_promql_about_meters_that_there_are(where: str) -> None:
    text = expressions()[where]

    promql_parser.parse(text)

    assert set(re.findall(r"\bray_(data_\w+)", text)) <= set(re.findall(r'"(data_\w+)"', RAYS_OWN))
    of_ends = re.findall(r"\b(bonafide_\w+)(?:{([^}]*)})?", text)
    for name, matchers in of_ends:  # they come from a file or a Pushgateway, not through Ray
        assert set(re.findall(r"(\w+)\s*[=!]~?", matchers)) <= set(ENDS[name].labels)
    selectors = re.findall(r"\bray_(bonafide_\w+)(?:{([^}]*)})?", text)
    assert selectors or of_ends or "ray_data_" in text
    for name, matchers in selectors:
        assert name in METRICS
        labels = set(re.findall(r"(\w+)\s*[=!]~?", matchers))
        assert labels <= {*METRICS[name].labels, *RAYS}
        assert f"increase(ray_{name}" not in text  # Ray exports no 0 first, so it would miss the first increment


def test_every_meter_is_watched() -> None:
    text = " ".join(expressions().values())

    assert {name for name in METRICS if f"ray_{name}" not in text} == set()
    assert {name for name in ENDS if name not in text} == set()


def test_the_dashboard_is_whole() -> None:
    panels: list[dict[str, Any]] = DASHBOARD["panels"]
    variables = {each["name"] for each in DASHBOARD["templating"]["list"]} | {"__rate_interval"}

    assert len({panel["id"] for panel in panels}) == len(panels)
    assert set(re.findall(r"\$\{?([a-z_]+)", json.dumps(DASHBOARD))) == variables
    assert all(panel["datasource"]["uid"] == "${datasource}" for panel in panels)
    assert all(panel["title"] and panel["description"] and panel["fieldConfig"]["defaults"]["unit"] for panel in panels)
    for panel in panels:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])
    for a, b in combinations([panel["gridPos"] for panel in panels], 2):
        apart = [a[at] + a[size] <= b[at] or b[at] + b[size] <= a[at] for at, size in (("x", "w"), ("y", "h"))]
        assert any(apart), (a, b)


def test_every_alert_says_what_and_what_to_do() -> None:
    assert len({rule["alert"] for rule in RULES}) == len(RULES)
    for rule in RULES:
        assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
        assert rule["labels"]["severity"] in ("info", "warning", "critical")
        assert set(rule["annotations"]) == {"summary", "remedy"}


def test_the_page_lists_every_meter() -> None:
    page = (CLUSTER.parent / "docs" / "watching.md").read_text()
    rows = re.findall(r"^\| `(bonafide_\w+)` \| (\w+) \| (.*?) ?\| (.*?) \|$", page, re.MULTILINE)

    assert {name: (kind, tuple(re.findall(r"\w+", labels)), about) for name, kind, labels, about in rows} == {
        name: (each.kind, each.labels, each.about) for name, each in (METRICS | ENDS).items()
    }
