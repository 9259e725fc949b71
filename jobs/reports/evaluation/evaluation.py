"""An evaluation: scores and labels in, figures and a page out."""

from __future__ import annotations

import json
import math
from typing import Any

from detector.errors import ConfigError, SchemaError
from detector.head import Head
from jobs import storage
from jobs.decoding import confinement
from jobs.inputs.labels import read_labels
from jobs.inputs.results import write_result
from jobs.reports.evaluation import findings, page, shortcuts
from jobs.reports.evaluation.config import EvaluationConfig
from jobs.reports.evaluation.systems import system_findings
from jobs.reports.evaluation.trials import HeadTrials, join_scores_with_labels, restrict_to_shared_ids
from jobs.scoring.heads import load_head
from jobs.tables import run_records
from jobs.tables.heads import file_of, named_or_file
from jobs.telemetry.names import say


def write_report(config: EvaluationConfig) -> dict[str, Any]:
    """Write report.json and report.html, print the headline figures, and return the content of the report."""
    output = storage.normal(config.output)
    storage.check_folder(output)
    content = evaluate(config)
    json_uri, html_uri = storage.join(output, "report.json"), storage.join(output, "report.html")
    write_result(json_uri, (json.dumps(content, indent=1, sort_keys=True, allow_nan=False) + "\n").encode())
    write_result(html_uri, page.render(content).encode())
    for head in content["heads"]:
        _print_headline(head)
    for warning in content["warnings"]:
        say(f"warning: {warning}")
    say(f"report: {html_uri}")
    return content


def evaluate(config: EvaluationConfig) -> dict[str, Any]:
    """Compute the content of the report; a number that is not defined is None.

    Returns
    -------
    dict
        `heads`, each as :func:`~jobs.reports.evaluation.findings.head_findings` returns it, the reference first;
        `comparisons` of every other head with the reference; `shortcuts` compared with it; `warnings`; `settings` and
        `versions`.
    """
    labels = read_labels(storage.normal(config.labels))
    if not len(labels):
        raise SchemaError(f"{config.labels}: no row has a label. Expected utterance ids, each with its label.")
    head_ids, files = _wanted(config)
    judged = join_scores_with_labels(
        config.scores, head_ids, labels, config.split, allow_missing=config.allow_missing, match=config.match
    )
    judged = shortcuts.join_metadata(
        restrict_to_shared_ids(judged, allow_missing=config.allow_missing), config.embeddings
    )
    if config.audio:
        confinement.set_mode(config.confinement)
        judged[0] = shortcuts.measure_audio(judged[0])
    given = _given_heads(files, config.backbone, [each.head_id for each in judged])
    heads = [
        findings.head_findings(each.rows, config.draws) | _joins(each) | _promised(each, given, config.draws)
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
                "metrics": findings.compare_heads(judged[0].rows, other.rows, config.draws),
            }
            for other in judged[1:]
        ],
        "shortcuts": baselines,
        "warnings": [*_warnings(heads), *shortcuts.warnings_of(baselines)],
    }
    return nan_to_none(content)  # type: ignore[no-any-return]


def _wanted(config: EvaluationConfig) -> tuple[tuple[str, ...], list[str]]:
    """Return the ids of the heads to compare, and the files of heads; a head's name stands for both."""
    outputs = [storage.normal(uri) for uri in config.scores]
    ids, files = list(config.head_id), []
    for given in config.head:
        named = named_or_file(outputs, given)
        files.append(file_of(named) if named else given)
        if named and named.head_id not in ids:
            ids.append(named.head_id)
    return tuple(ids), files


def _given_heads(files: list[str], loaders: tuple[str, ...], judged: list[str]) -> dict[str, Head]:
    """Return the heads whose files were given, by head id."""
    found = {}
    for uri in files:
        head = load_head(uri, loaders=loaders)
        if head.head_id not in judged:
            raise ConfigError(f"{uri}: head {head.head_id} is none of those judged here: {', '.join(judged)}.")
        found[head.head_id] = head
    return found


def _promised(judged: HeadTrials, given: dict[str, Head], n_draws: int) -> dict[str, Any]:
    """Return the certificate of a head, and how well it names systems: None where there is none."""
    head = given.get(judged.head_id)
    heard = None if head is None or head.systems is None else head.systems.systems
    return {
        "certificate": None if head is None else head.training.get("certificate"),
        "systems": system_findings(judged.rows, heard, n_draws),
    }


def _warnings(heads: list[dict[str, Any]]) -> list[str]:
    """Collect the warnings: one that holds for every head once, any other with the head's id before it."""
    texts = dict.fromkeys(text for head in heads for text in head["warnings"])
    found = [f"head {head['head_id']}: {broken}" for head in heads for broken in findings.exceeded_limits(head)]
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


def _print_headline(head: dict[str, Any]) -> None:
    counts, headline = head["counts"], head["headline"]

    def shown(name: str, form: str = ".1%") -> str:
        value, low, high = (headline[name][each] for each in ("value", "low", "high"))
        if value is None:
            return "none"
        return f"{value:{form}}" + ("" if low is None else f" ({low:{form}} to {high:{form}})")

    say(
        f"head {head['head_id']}: {counts['bonafide']} bonafide and {counts['spoof']} spoof scores of "
        f"{counts['bonafide_clusters']} and {counts['spoof_clusters']} clusters; with 95 % intervals:",
        f"EER {shown('equal_error_rate')}, Cllr {shown('cllr', '.3f')} bits, ECE {shown('expected_calibration_error')}",
        f"kept {shown('coverage')}, of them {shown('risk')} wrong; without rejecting, {shown('risk_at_full_coverage')}",
    )


def nan_to_none(value: Any) -> Any:
    """Replace NaN and infinities in a nested value by None, since JSON has neither."""
    if isinstance(value, dict):
        return {name: nan_to_none(each) for name, each in value.items()}
    if isinstance(value, list):
        return [nan_to_none(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
