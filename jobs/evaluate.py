"""evaluate: scores and labels in, numbers and a page out."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from detector import metrics
from detector.errors import ConfigError
from detector.schema import BONAFIDE, SCORES, SPOOF
from jobs import ledger, report, runs, storage
from jobs.lists import read_labels, refuse_repeated


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Compare scores with labels: how good, how honest, and what is left after rejecting."""

    scores: Annotated[str, "the --output of a `score` or `nightly` run"]
    labels: Annotated[str, "manifest, CSV, JSONL or Parquet: utterance_id,label[,split,system,speaker,source]"]
    output: Annotated[str, "folder or prefix that gets report.json and report.html"]
    split: Annotated[str, "rows to judge by, where the labels have a split"] = "eval"
    head_id: Annotated[str | None, "which head's scores, where the output holds several"] = None


def run(settings: Settings) -> int:
    """Write the reports, and say the headline; return the exit code."""
    rows = _labelled_scores(settings)
    content = {
        "settings": runs.settings_of(settings),
        "versions": runs.versions(),
        "head_id": rows["head_id"][0].as_py(),
        "prior": rows["prior"][0].as_py(),
        **measure(rows),
    }
    output = storage.normal(settings.output)
    json_uri, html_uri = storage.join(output, "report.json"), storage.join(output, "report.html")
    storage.write_bytes(json_uri, (json.dumps(content, indent=1, sort_keys=True) + "\n").encode())
    storage.write_bytes(html_uri, report.page(content).encode())
    headline = content["headline"]
    print(
        f"{headline['bonafide']} bonafide and {headline['spoof']} spoof scores: "
        f"EER {headline['equal_error_rate']:.1%}, Cllr {headline['cllr']:.3f} bits, "
        f"ECE {headline['expected_calibration_error']:.1%}\n"
        f"kept {headline['coverage']:.1%}, of them {_share(headline['risk'])} wrong; "
        f"without rejecting, {headline['risk_at_full_coverage']:.1%} are\n"
        f"report: {html_uri}"
    )
    return 0


def measure(rows: pa.Table) -> dict[str, Any]:
    """Metrics of labelled scores.

    Parameters
    ----------
    rows : pyarrow.Table
        Columns of `scores`, and `truth`, `system`, `source`.

    Returns
    -------
    dict
        `headline`, `curves` for the page, and `by_system`, a row each with its counts.
    """
    scored = rows.filter(pc.is_valid(rows["score"]))
    score = scored["score"].to_numpy()
    is_spoof = np.array(scored["truth"].to_pylist()) == SPOOF
    if is_spoof.all() or not is_spoof.any():
        raise ConfigError(
            f"{len(scored)} labelled scores are all of one class; an error rate needs bonafide and spoof rows."
        )
    wrong = (np.array(scored["label"].to_pylist()) == SPOOF) != is_spoof
    kept = ~scored["reject"].to_numpy(zero_copy_only=False)
    coverage, risk = metrics.risk_coverage(scored["entropy_bits"].to_numpy(), wrong)
    return {
        "headline": {
            "bonafide": int((~is_spoof).sum()),
            "spoof": int(is_spoof.sum()),
            "unscored": len(rows) - len(scored),
            "equal_error_rate": metrics.equal_error_rate(score[~is_spoof], score[is_spoof]),
            "cllr": metrics.cllr(score[~is_spoof], score[is_spoof]),
            "expected_calibration_error": metrics.expected_calibration_error(scored["p_spoof"].to_numpy(), is_spoof),
            "coverage": float(kept.sum() / len(rows)),
            "risk": float(wrong[kept].mean()) if kept.any() else None,
            "risk_at_full_coverage": float(wrong.mean()),
        },
        "curves": {
            "bonafide_scores": _counts(score[~is_spoof], score),
            "spoof_scores": _counts(score[is_spoof], score),
            "score_range": [float(score.min()), float(score.max())],
            "coverage": coverage.tolist(),
            "risk": risk.tolist(),
        },
        "by_system": _by_system(rows),
    }


def _labelled_scores(settings: Settings) -> pa.Table:
    """Scores of one head, joined one to one with labels of the split."""
    uri = storage.normal(settings.scores)
    _, tables = ledger.only(uri, "scores", settings.head_id, "--head-id").read_all("scores")
    labels = read_labels(storage.normal(settings.labels), settings.split)
    labels = labels.rename_columns({"label": "truth"})
    scores = pa.concat_tables([SCORES.empty_table(), *tables])
    refuse_repeated(scores["utterance_id"], uri)
    joined = scores.join(labels, "utterance_id", join_type="inner").sort_by("utterance_id")
    if not len(joined):
        raise ConfigError(
            f"{settings.labels}: none of {len(labels)} labelled ids (split {settings.split!r}) is among "
            f"{len(scores)} scores. The ids of both must be spelt alike."
        )
    return joined


def _counts(score: npt.NDArray[np.float64], of_all: npt.NDArray[np.float64], bins: int = 30) -> list[int]:
    counts, _ = np.histogram(score, bins=bins, range=(of_all.min(), of_all.max()))
    return [int(count) for count in counts]


def _by_system(rows: pa.Table) -> list[dict[str, Any]]:
    """One row for each synthesiser, and for each source of human speech: what became of its recordings."""
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows.select(["truth", "system", "speaker", "source", "label", "reject"]).to_pylist():
        name = (row["source"] or row["speaker"]) if row["truth"] == BONAFIDE else row["system"]
        groups.setdefault((row["truth"], name or "unknown"), []).append(row)
    return [
        {
            "truth": truth,
            "name": name,
            "rows": len(members),
            "accepted_bonafide": sum(not row["reject"] and row["label"] == BONAFIDE for row in members),
            "accepted_spoof": sum(not row["reject"] and row["label"] == SPOOF for row in members),
            "rejected": sum(row["reject"] for row in members),
        }
        for (truth, name), members in sorted(groups.items())
    ]


def _share(value: float | None) -> str:
    return "none" if value is None else f"{value:.1%}"
