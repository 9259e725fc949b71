"""The page of an evaluation: one HTML file that needs no network."""

from __future__ import annotations

import math
import string
from dataclasses import dataclass
from typing import Any

from detector.schema import BONAFIDE, SPOOF
from jobs.reports.charts import BOTTOM, LEFT, RIGHT, TOP, WIDTH, Chart, ProbitAxis, across, round_top, up
from jobs.reports.pages import NO_BREAK, render_page

SQUARE = 380  # height of a picture with two axes of the same kind
DET_RATES = (0.001, 0.999)
SHOWN_GROUPS = 40
N_COLOURS = 6
THIS_HEAD = "this head"


@dataclass(frozen=True)
class Metric:
    """How the page shows a metric."""

    name: str
    about: str
    form: str = "share"
    better: str = "lower"


HEADLINE = {
    "equal_error_rate": Metric("EER", "missed spoof and false alarms are equally frequent; 50 % is chance"),
    "area_under_roc": Metric(
        "AUC", "probability that a bona fide score is above a spoof score; 50 % is chance", better="higher"
    ),
    "min_dcf": Metric(
        "minDCF",
        "cost at the best threshold, with 5 % spoof (ASVspoof 5); accepting everything costs 1. Of such intervals "
        "about 90 % hold the truth",
        "number",
    ),
    "act_dcf": Metric("actDCF", "the same at the threshold that a log-likelihood ratio implies", "number"),
    "cllr": Metric("Cllr", "bits lost per trial; 0 is perfect, 1 is no information, more misleads", "number"),
    "min_cllr": Metric(
        "min-Cllr",
        "the part of Cllr that no calibration could remove. Of such intervals about 90 % hold the truth",
        "number",
    ),
    "expected_calibration_error": Metric(
        "ECE",
        "gap between stated probability and observed share, in 15 bins of equal width; chance alone raises it, so "
        "it has no interval",
    ),
    "equal_mass_calibration_error": Metric("ECE, equal mass", "the same, in bins with equal numbers of trials"),
    "debiased_calibration_error": Metric("ECE, debiased", "root mean square gap, without the part that chance adds"),
    "brier_score": Metric("Brier", "mean squared error of the probability; always saying 50 % has 0.25", "number"),
    "coverage": Metric("kept", "share of the recordings that the head does not reject", better=""),
    "risk": Metric("wrong among kept", "share of wrong decisions among these"),
    "risk_at_full_coverage": Metric("wrong without rejecting", "share of wrong decisions if none are rejected"),
    "risk_at_95_coverage": Metric("wrong at 95 % kept", "the most certain 95 %; accuracy is one minus this"),
    "risk_at_90_coverage": Metric("wrong at 90 % kept", "the most certain 90 %"),
    "risk_at_80_coverage": Metric("wrong at 80 % kept", "the most certain 80 %"),
    "area_under_risk_coverage": Metric("AURC", "mean risk over all coverages", "number"),
    "excess_area_under_risk_coverage": Metric(
        "excess AURC", "excess over an order that rejects all errors first", "number"
    ),
}
"""Every metric of the headline, in the order of the page."""

DIMENSIONS = {
    "system": "By system",
    "source": "By source",
    "speaker": "By speaker",
    "language": "By language",
    "transmission": "By codec in transmission",
    "duration": "By duration",
    "native_rate": "By native rate",
    "codec": "By codec as stored",
}


def render(content: dict[str, Any]) -> str:
    """Render the report as one self-contained HTML page, with all of its texts escaped.

    Parameters
    ----------
    content : dict
        What :func:`jobs.reports.evaluation.evaluation.evaluate` returns.
    """
    heads = [
        {**head, "letter": _letter(number), "colour": f"head-{number % N_COLOURS}", "name": name} | _in_words(head)
        for number, head in enumerate(content["heads"])
        for name in [THIS_HEAD if len(content["heads"]) == 1 else f"head {_letter(number)}"]
    ]
    return render_page(
        "evaluation.html.j2",
        {"share": _share, "number": _number, "signed": _signed, "about": _about},
        content=content,
        heads=heads,
        headline=HEADLINE,
        comparisons=[
            {
                "head": next(head for head in heads if head["head_id"] == each["head_id"]),
                "rows": [_difference(name, each["metrics"][name], heads, each) for name in each["metrics"]],
            }
            for each in content["comparisons"]
        ],
        curves=[_det(heads), _roc(heads), _risk_coverage(heads), _accuracy_over_kept(heads)],
        pictures=[(head, [_reliability(head), _scores(head), _entropy(head)]) for head in heads],
        groups=[(title, rows) for name, title in DIMENSIONS.items() if (rows := _rows_of_groups(heads, name))],
        shown_groups=SHOWN_GROUPS,
        size={"width": WIDTH, "left": LEFT, "bottom": BOTTOM, "top": TOP, "right": RIGHT},
    )


def _share(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f}{NO_BREAK}%"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _signed(value: float | None, form: str) -> str:
    if value is None:
        return "–"
    text = f"{100 * value:+.1f}" if form == "share" else f"{value:+.3f}"
    return text.replace("-", "−")


def _colon(head: dict[str, Any]) -> str:
    """Return the start of a text about one of several heads."""
    return f"Head {head['letter']}: " if head["name"] != THIS_HEAD else ""


def _in_words(head: dict[str, Any]) -> dict[str, Any]:
    """Return the figures of the page's first sentences: how many are decided, how many of them rightly, and errors."""
    counts, headline = head["counts"], head["headline"]
    risk, of_class = headline["risk"]["value"], counts["of_class"]
    return {
        "recordings": counts["bonafide"] + counts["spoof"] + counts["unscored"],
        "decides": _about(headline["coverage"]["value"]),
        "right": None if risk is None else _about(1.0 - risk),
        "missed_spoof": of_class[SPOOF],
        "false_alarms": of_class[BONAFIDE],
    }


def _about(share: float) -> str:
    """Return a share in whole percent, which says 0 and 100 only where that is exact."""
    percent = round(100 * share)
    if percent in (0, 100) and share not in (0.0, 1.0):
        return f"more than 99{NO_BREAK}%" if percent else f"less than 1{NO_BREAK}%"
    return f"{percent}{NO_BREAK}%"


def _letter(number: int) -> str:
    return string.ascii_uppercase[number] if number < len(string.ascii_uppercase) else str(number + 1)


def _difference(name: str, found: dict[str, Any], heads: list[dict[str, Any]], pair: dict[str, Any]) -> dict[str, Any]:
    """Return a row of a comparison: the other head's metric minus the reference's, and which head is better."""
    metric = HEADLINE[name]
    letters = {head["head_id"]: head["letter"] for head in heads}
    verdict = "not told apart"
    if found["low"] is not None and metric.better and (found["low"] > 0.0 or found["high"] < 0.0):
        is_lower = found["high"] < 0.0
        verdict = f"{letters[pair['head_id' if is_lower == (metric.better == 'lower') else 'reference']]} better"
    return {"metric": metric, **found, "verdict": verdict if metric.better else ""}


def _rows_of_groups(heads: list[dict[str, Any]], dimension: str) -> list[dict[str, Any]]:
    """Return the groups of the first head, each with the figures of every head."""
    by_head = [{group["name"]: group for group in head["groups"].get(dimension, [])} for head in heads]
    return [{**group, "heads": [groups[name] for groups in by_head]} for name, group in by_head[0].items()]


def _det(heads: list[dict[str, Any]]) -> Chart:
    chart = Chart(
        "DET",
        "False alarms over missed spoof; normal distributions give a straight line. Nearer the lower left is better.",
        ProbitAxis(*DET_RATES, LEFT, WIDTH - RIGHT),
        ProbitAxis(*DET_RATES, SQUARE - BOTTOM, TOP),
        "missed spoof: accepted",
        "false alarms",
        height=SQUARE,
    )
    chart.line([(rate, rate) for rate in DET_RATES], "soft", faint=True)
    for head in heads:
        curve = head["curves"]["det"]
        chart.line(zip(curve["p_fa"], curve["p_miss"], strict=True), head["colour"])
        eer = head["headline"]["equal_error_rate"]["value"]
        chart.dot(eer, eer, head["colour"], f"{_colon(head)}EER {_share(eer)}", radius=4.0)
    return chart


def _roc(heads: list[dict[str, Any]]) -> Chart:
    chart = Chart(
        "ROC",
        "Bona fide accepted over spoof accepted. The diagonal is chance; below it, scores are reversed.",
        across(0.0, 1.0, percent=True),
        up(0.0, 1.0, SQUARE, percent=True),
        "spoof accepted",
        "bona fide accepted",
        height=SQUARE,
    )
    chart.line([(0.0, 0.0), (1.0, 1.0)], "soft", faint=True)
    for head in heads:
        curve = head["curves"]["roc"]
        chart.line([(fa, 1.0 - miss) for fa, miss in zip(curve["p_fa"], curve["p_miss"], strict=True)], head["colour"])
    return chart


def _risk_coverage(heads: list[dict[str, Any]]) -> Chart:
    risks = [risk for head in heads for risk in head["curves"]["risk_coverage"]["risk"]]
    chart = Chart(
        "Risk and coverage",
        "Share of wrong decisions among what is kept, the most certain first. A dot is a head's own reject rule.",
        across(0.0, 1.0, percent=True),
        up(0.0, round_top(risks), percent=True),
        "coverage: kept of all with a score",
        "risk",
    )
    for head in heads:
        curve = head["curves"]["risk_coverage"]
        chart.line(zip(curve["coverage"], curve["risk"], strict=True), head["colour"])
        risk, counts = head["headline"]["risk"]["value"], head["counts"]
        if risk is not None:
            kept = counts["kept"] / (counts["bonafide"] + counts["spoof"])
            chart.dot(kept, risk, head["colour"], f"{_colon(head)}{_share(kept)} kept, {_share(risk)} of them wrong")
    return chart


def _accuracy_over_kept(heads: list[dict[str, Any]]) -> Chart:
    lowest = min(
        [
            0.9,
            *(
                value
                for head in heads
                for value in head["curves"]["accuracy_over_kept"]["accuracy"]
                if value is not None
            ),
        ]
    )
    chart = Chart(
        "Accuracy over kept",
        "At the paper's reliability thresholds 0, 0.01, … 1: what is left, and how much of it is right.",
        across(0.0, 1.0, percent=True),
        up(math.floor(lowest * 10.0) / 10.0, 1.0, percent=True),
        "kept",
        "accuracy",
    )
    for head in heads:
        curve = head["curves"]["accuracy_over_kept"]
        chart.line(zip(curve["kept"], curve["accuracy"], strict=True), head["colour"])
    return chart


def _reliability(head: dict[str, Any]) -> Chart:
    curve = head["curves"]["reliability"]
    chart = Chart(
        "Reliability",
        f"{_colon(head)}On the line, what is said with 70 % happens in 70 %. The numbers count recordings.",
        across(0.0, 1.0, percent=True),
        up(0.0, 1.0, SQUARE, percent=True),
        "probability of spoof, said",
        "share of spoof, seen",
        height=SQUARE,
    )
    chart.line([(0.0, 0.0), (1.0, 1.0)], "soft", faint=True)
    chart.line(zip(curve["said"], curve["seen"], strict=True), head["colour"], faint=True)
    most = max(curve["rows"])
    for said, seen, rows in zip(curve["said"], curve["seen"], curve["rows"], strict=True):
        says = f"said {_share(said)}, seen {_share(seen)} in {rows} recordings"
        chart.dot(said, seen, head["colour"], says, radius=3.0 + 7.0 * math.sqrt(rows / most), text=str(rows))
    return chart


def _scores(head: dict[str, Any]) -> Chart:
    curve = head["curves"]["scores"]
    edges = curve["edges"]
    chart = Chart(
        "Scores",
        f"{_colon(head)}Recordings by score; the outermost 0.1 % stand in the last bars.",
        across(edges[0], edges[-1]),
        up(0.0, round_top([*curve["bonafide"], *curve["spoof"]], 1.0), whole=True),
        "score in nats, higher is more bona fide",
        "recordings",
    )
    for name in ("bonafide", "spoof"):
        for low, high, rows in zip(edges[:-1], edges[1:], curve[name], strict=True):
            chart.bar(low, high, rows, name, f"{rows} {name} from {low:.2f} to {high:.2f} nats")
    return chart


def _entropy(head: dict[str, Any]) -> Chart:
    curve = head["curves"]["entropy"]
    rates = [wrong / rows if rows else None for wrong, rows in zip(curve["wrong"], curve["rows"], strict=True)]
    chart = Chart(
        "Error by entropy",
        f"{_colon(head)}Share of wrong decisions among recordings of like entropy. It should rise.",
        across(0.0, 1.0),
        up(0.0, round_top(rates, 0.05), percent=True),
        "entropy in bits; the numbers count recordings",
        "wrong",
    )
    for number, (rate, rows) in enumerate(zip(rates, curve["rows"], strict=True)):
        if rate is not None:
            low, high = number / len(rates), (number + 1) / len(rates)
            chart.bar(low, high, rate, head["colour"], f"{low:g} to {high:g} bits: {_share(rate)} of {rows} wrong")
            chart.dot((low + high) / 2 - 0.005, rate, head["colour"], "", radius=0.0, text=str(rows))
    return chart
