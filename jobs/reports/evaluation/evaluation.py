"""evaluate: scores and labels in, numbers and a page out."""

from __future__ import annotations

import json
import math
from typing import Any

from detector.errors import ConfigError
from detector.head import Head
from jobs import storage
from jobs.inputs.labels import read_labels
from jobs.reports.evaluation import findings, page, shortcuts
from jobs.reports.evaluation.config import EvaluationConfig
from jobs.reports.evaluation.trials import HeadTrials, judged_by, same_rows
from jobs.tables import run_records


def write_report(config: EvaluationConfig) -> dict[str, Any]:
    """Write the reports, and say the headline; return what they say."""
    content = evaluate(config)
    output = storage.normal(config.output)
    json_uri, html_uri = storage.join(output, "report.json"), storage.join(output, "report.html")
    storage.write_bytes(json_uri, (json.dumps(content, indent=1, sort_keys=True, allow_nan=False) + "\n").encode())
    storage.write_bytes(html_uri, page.render(content).encode())
    for head in content["heads"]:
        _say(head)
    for warning in content["warnings"]:
        print(f"warning: {warning}")
    print(f"report: {html_uri}")
    return content


def evaluate(config: EvaluationConfig) -> dict[str, Any]:
    """What the report says; JSON has null where a number is not defined.

    Returns
    -------
    dict
        `heads`, each as :func:`~jobs.reports.evaluation.findings.of_head`, the reference first; `comparisons` of every
        other head with it;
        `shortcuts` beside the reference; `warnings`; `settings` and `versions`.
    """
    labels = read_labels(storage.normal(config.labels))
    judged = judged_by(config.scores, config.head_id, labels, config.split, allow_missing=config.allow_missing)
    judged = shortcuts.with_facts(same_rows(judged, allow_missing=config.allow_missing), config.embeddings)
    if config.audio:
        judged[0] = shortcuts.with_sound(judged[0])
    promised = _promises(config.head, [each.head_id for each in judged])
    heads = [
        findings.of_head(each.rows, config.draws) | _joins(each) | {"certificate": promised.get(each.head_id)}
        for each in judged
    ]
    baselines = shortcuts.baselines(judged[0], config.draws)
    content = {
        "settings": run_records.settings_of(config),
        "versions": run_records.versions(),
        "heads": heads,
        "comparisons": [
            {
                "head_id": other.rows["head_id"][0].as_py(),
                "reference": heads[0]["head_id"],
                "metrics": findings.of_two(judged[0].rows, other.rows, config.draws),
            }
            for other in judged[1:]
        ],
        "shortcuts": baselines,
        "warnings": [*_warnings(heads), *shortcuts.warnings_of(baselines)],
    }
    return _without_nan(content)  # type: ignore[no-any-return]


def _promises(uris: tuple[str, ...], judged: list[str]) -> dict[str, dict[str, Any]]:
    """Certificates of error rates among the kept rows, by head, where a head has one."""
    found = {}
    for uri in map(storage.normal, uris):
        head = Head.from_json(storage.read_bytes(uri), uri)
        if head.head_id not in judged:
            raise ConfigError(f"{uri}: head {head.head_id} is none of those judged here: {', '.join(judged)}.")
        if "certificate" in head.training:
            found[head.head_id] = head.training["certificate"]
    return found


def _warnings(heads: list[dict[str, Any]]) -> list[str]:
    """What is true of every head once, and what is not with the head's name."""
    texts = dict.fromkeys(text for head in heads for text in head["warnings"])
    found = [f"head {head['head_id']}: {broken}" for head in heads for broken in findings.broken_promises(head)]
    for text in texts:
        of = [head["head_id"] for head in heads if text in head["warnings"]]
        found.append(text if len(of) == len(heads) else f"head {', '.join(of)}: {text}")
    return found


def _joins(judged: HeadTrials) -> dict[str, Any]:
    return {
        "uri": judged.uri,
        "ids": {
            "joined": len(judged.rows),
            "failed": len(judged.failed),
            "missing": len(judged.missing),
            "unlabelled": judged.n_unlabelled,
        },
    }


def _say(head: dict[str, Any]) -> None:
    counts, headline = head["counts"], head["headline"]

    def shown(name: str, form: str = ".1%") -> str:
        value, low, high = (headline[name][each] for each in ("value", "low", "high"))
        return "none" if value is None else f"{value:{form}} ({low:{form}} to {high:{form}})"

    print(
        f"head {head['head_id']}: {counts['bonafide']} bonafide and {counts['spoof']} spoof scores of "
        f"{counts['bonafide_clusters']} and {counts['spoof_clusters']} clusters; with 95 % intervals:\n"
        f"EER {shown('equal_error_rate')}, Cllr {shown('cllr', '.3f')} bits, "
        f"ECE {shown('expected_calibration_error')}\n"
        f"kept {shown('coverage')}, of them {shown('risk')} wrong; "
        f"without rejecting, {shown('risk_at_full_coverage')}"
    )


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_nan(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_without_nan(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
