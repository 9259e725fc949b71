"""Attribution of a fit: a head that also names the nearest system, learnt on the rows that chose the settings."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from detector.head import Head
from detector.training.attribution import fit_attribution, n_spaces
from detector.training.nuisance import Cleaned
from detector.training.systems import Spoken
from jobs.fitting.choice import Choice
from jobs.telemetry.names import say
from jobs.telemetry.progress import steps

NAMES = ("system", "source", "speaker")
IN_HEAD = (
    *("rows", "systems_measured", "rows_measured", "nearest", "nearest_row", "chance", "rightly_named"),
    *("wrongly_named", "asked_false_attribution", "false_attribution", "auroc"),
)
"""What of the report becomes part of the head."""


def with_attribution(head: Head, chosen: Choice, rate: float) -> tuple[Head, dict[str, Any]]:
    """Return the head with what names the nearest system, and what was measured of it.

    The rows are those that chose the settings, ``search_rows`` at most: they are in memory, and none of them certifies.

    Raises
    ------
    ConfigError
        If too few systems can be told apart.
    """
    rows = chosen.sample.rows if isinstance(chosen.sample, Cleaned) else chosen.sample  # as `score` will see them
    standardised = np.empty((rows.n_rows, rows.dim))
    for index, block in rows.blocks():
        standardised[index] = (block - np.array(head.mean)) / np.array(head.scale)
    names = {name: chosen.rows.names[name][chosen.sampled] for name in NAMES}
    is_bonafide = chosen.rows.is_bonafide[chosen.sampled]
    n_steps = n_spaces(Spoken.of(standardised, is_bonafide, names))
    with steps("fit", n_steps, "spaces that tell systems apart") as shown:
        found, report = fit_attribution(standardised, is_bonafide, names, rate, shown.done)
    summary = {name: report[name] for name in IN_HEAD}
    return replace(head, attribution=found.to_dict(), training=head.training | {"attribution": summary}), report


def print_attribution(report: dict[str, Any]) -> None:
    """Print how well systems are told apart, and what the threshold costs."""

    def shown(name: str) -> str:
        found = report[name]
        return f"{found['value']:.1%} ({found['low']:.1%} to {found['high']:.1%})"

    if report["rows_measured"]:
        say(
            f"attribution, {report['left_out_by']} left out: the nearest of {report['systems']} systems is the right "
            f"one in {shown('nearest')} of a mean system's recordings ({report['systems_measured']} systems measured); "
            f"by the nearest row {shown('nearest_row')}, by chance {report['chance']:.1%}",
            f"named above {report['threshold']:.3f}: rightly {shown('rightly_named')}, wrongly "
            f"{shown('wrongly_named')}",
        )
    else:
        say(
            f"attribution: no system has several sources or speakers in the labels, so how often a name is right is "
            f"not known; chance is {report['chance']:.1%}"
        )
    auroc = "" if report["auroc"] is None else f"; AUROC of heard against not heard {report['auroc']['value']:.3f}"
    say(
        f"a system that was not heard gets a name in {shown('false_attribution')} of its recordings "
        f"({report['asked_false_attribution']:.1%} asked for){auroc}"
    )
