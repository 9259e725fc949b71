"""The summary of a fit, as `fit` prints it."""

from __future__ import annotations

from typing import Any

from detector.head import Head
from detector.schema import BONAFIDE, LABELS
from jobs.telemetry.names import say


def print_summary(head: Head, content: dict[str, Any]) -> None:
    """Print how the head was chosen, how good it is on held-out rows, and what it rejects."""
    report = content["training"]
    held_out, converged = report["held_out"], report["convergence"]
    say(
        f"head {head.head_id}: {report['bonafide']} bonafide and {report['spoof']} spoof rows in {report['groups']} "
        f"groups ({report['grouped_by']}), {report['read']}",
        f"c {report['c']:g}, {'standardised' if report['standardise'] else 'not standardised'}, class weights "
        f"{report['class_weights']}: best of {len(content['tried'])} tried on {report['folds']} folds "
        f"({report['folds_because']}); converged in {converged['passes']} passes",
        *([content["edge_of_search"]] if content["edge_of_search"] else []),
        f"held out: EER {held_out['equal_error_rate']:.1%}, Cllr {held_out['cllr']:.3f} bits, "
        f"ECE {held_out['expected_calibration_error']:.1%}",
    )
    left_out = content["leave_one_out"]
    if "equal_error_rate" in left_out:
        worst = max(left_out["system"].items(), key=lambda item: item[1]["wrong"])
        say(
            f"each system and source left out in turn: EER {left_out['equal_error_rate']:.1%}; worst system "
            f"{worst[0]}, {worst[1]['wrong']:.0%} of {worst[1]['rows']} taken for bona fide"
        )
    low, high = head.reject_band()
    if report["target_met"]:
        say(
            f"rejects scores between {low:.2f} and {high:.2f} nats at a prior of {head.prior:g}: keeps "
            f"{report['coverage']:.1%} of the held-out rows, {report['risk']:.1%} of them wrong"
        )
    if "certificate" in report:
        _print_certificate(report["certificate"])
    elif not report["target_met"]:
        say(
            f"a risk of {report['target_risk']:g} is not reached at any coverage: the head rejects everything. Set "
            f"--target-coverage or a higher --target-risk, or use a better encoder."
        )


def _print_certificate(certificate: dict[str, Any]) -> None:
    shown = [(name, certificate[name]) for name in LABELS if certificate[name]["limit"] is not None]
    for name, bound in shown:
        what = "miss" if name == BONAFIDE else "false alarm"
        if certificate["certified"]:
            say(
                f"certified, {certificate['confidence']:.0%} sure: {what} at most {bound['bound']:.2%} of kept {name} "
                f"rows ({bound['wrong']} of {bound['kept']} wrong, limit {bound['limit']:g}), at a prior of "
                f"{certificate['prior']:g} and for rows like these"
            )
        else:
            say(
                f"{what} of {bound['limit']:g} cannot be certified with n = {bound['rows']} {name} rows "
                f"(at least {bound['rows_needed']} kept rows without an error are needed): the head rejects everything"
            )
