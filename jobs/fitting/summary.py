"""The summary of a fit, as `fit` prints it."""

from __future__ import annotations

from typing import Any

from detector.config import LAST_LAYER
from detector.head import Head
from detector.schema import BONAFIDE, LABELS, SPOOF
from jobs.telemetry.names import say

ERROR_OF = {BONAFIDE: "miss", SPOOF: "false alarm"}


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
        *([f"warning: {content['single_corpus']}"] if content["single_corpus"] else []),
        f"held out: EER {held_out['equal_error_rate']:.1%}, Cllr {held_out['cllr']:.3f} bits, "
        f"ECE {held_out['expected_calibration_error']:.1%}",
    )
    if "segment_rule" in report:
        _print_rule(report["segment_rule"])
    if "fusion" in report:
        _print_fusion(report["fusion"])
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


def _print_rule(found: dict[str, Any]) -> None:
    """Print how windows say that a recording contains spoof."""
    counts = (
        f"{found['with_spoof']} recordings that contain spoof ({found['spoof_in_part']} in part) and "
        f"{found['without_spoof']} that do not"
    )
    if found["rule"] is None:
        say(f"no rule from windows to recording, of {counts}: {found['why_none']}")
        return
    own, mean = found["tried"][found["rule"]], found["tried"].get("mean")
    beside = f", mean over frames {mean['equal_error_rate']:.1%}" if mean is not None else ""
    say(
        f"rule from windows to recording: {found['rule']}, EER {own['equal_error_rate']:.1%}{beside}, Cllr "
        f"{own['cllr']:.3f} bits, on {counts}"
    )


def _print_certificate(certificate: dict[str, Any]) -> None:
    for name in (name for name in LABELS if certificate[name]["limit"] is not None):
        bound = certificate[name]
        if not certificate["certified"]:
            say(_not_certified(name, bound))
        elif "groups" in bound:
            say(_certified_over_groups(name, bound, certificate))
        else:
            say(
                f"certified, {certificate['confidence']:.0%} sure: {ERROR_OF[name]} at most {bound['bound']:.2%} of "
                f"kept {name} rows ({bound['wrong']} of {bound['kept']} wrong, limit {bound['limit']:g}), at a prior "
                f"of {certificate['prior']:g} and for rows like these"
            )
    if "coverage_on_rows" in certificate:
        say(
            f"the price: {certificate['coverage']:.1%} of the held-out rows are kept; "
            f"{certificate['coverage_on_rows']:.1%} would be, were rows of one system or source independent"
        )


def _certified_over_groups(name: str, bound: dict[str, Any], certificate: dict[str, Any]) -> str:
    groups, limit, worst = bound["over"], bound["limit"], bound["worst"]
    sure = f"certified, {certificate['confidence']:.0%} sure: {ERROR_OF[name]}"
    if "quantile" in bound:
        promised = (
            f"{sure} at most {limit:g} of kept {name} rows for {bound['quantile']:.0%} of {groups} "
            f"({bound['groups_failed']} of {bound['groups_with_enough_rows']} do not show it)"
        )
    else:
        promised = (
            f"{sure} at most {bound['bound']:.2%} of the kept {name} rows of a new one of the {groups}, in expectation "
            f"({bound['groups_kept']} {groups}, limit {limit:g})"
        )
    return (
        f"{promised}, at a prior of {certificate['prior']:g}; {bound['groups_above_limit']} of {bound['groups_kept']} "
        f"are above the limit here, the worst, {worst['name']}, with {worst['rate']:.0%} of {worst['kept']}"
    )


def _not_certified(name: str, bound: dict[str, Any]) -> str:
    what, limit, nothing = ERROR_OF[name], bound["limit"], "the head rejects everything"
    if "groups" not in bound:
        return (
            f"{what} of {limit:g} cannot be certified with n = {bound['rows']} {name} rows (at least "
            f"{bound['rows_needed']} kept rows without an error are needed): {nothing}"
        )
    groups = bound["over"]
    enough = f"with {bound['rows_needed']} kept rows each " if "quantile" in bound else ""
    share = f" for {bound['quantile']:.0%} of {groups}" if "quantile" in bound else f" over {groups}"
    return (
        f"{what} of {limit:g}{share} cannot be certified with n = {bound['groups']} {groups} (at least "
        f"{bound['groups_needed']} {enough}without an error are needed): {nothing}"
    )


def _print_fusion(fusion: dict[str, Any]) -> None:
    """Print what each part weighs, what their fusion gains, and what it costs."""
    parts = fusion["parts"]
    best, gain = parts[fusion["best_alone"]], fusion["cllr_less_best_alone"]
    n_kept = sum(part["weight"] > 0.0 for part in parts)
    say(
        f"fused {n_kept} of {len(parts)} tables; each fold by weights of the others: Cllr {fusion['cllr']:.3f} bits, "
        f"{gain['value']:+.3f} ({gain['low']:+.3f} to {gain['high']:+.3f}) on the best alone, {_table(best)}",
        *(f"  weight {part['weight']:.3f}, alone Cllr {part['cllr']:.3f}: {_table(part)}" for part in parts),
        f"cost: {fusion['passes']} pass(es) of an encoder for each recording, down to the deepest layer above, and "
        f"{fusion['dim']:,} numbers a row",
    )


def _table(part: dict[str, Any]) -> str:
    layer = "last layer" if part["layer"] == LAST_LAYER else f"layer {part['layer']}"
    return f"{part['model']}, {layer}, pooling {part['pooling']}"
