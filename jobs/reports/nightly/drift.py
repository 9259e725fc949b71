"""Drift: how a run's recordings differ from the head's calibration rows, in all and by source."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np

from detector.shift import QUANTITIES, Counts, Reference, Shift, quantile
from jobs.reports.nightly.source_counts import SHOWN_SOURCES, SourceCounts, sum_histograms


def drift_report(by_source: dict[str, SourceCounts], reference: Reference, *, same_prior: bool) -> dict[str, Any]:
    """Compare the histograms of a run with those of the calibration rows.

    Parameters
    ----------
    by_source : dict of SourceCounts
    reference : Reference
        The head's calibration rows.
    same_prior : bool
        False if the run's prior is not the head's; entropy depends on the prior, and is then not compared.
    """
    available = [name for name in QUANTITIES if name in reference.edges]
    quantities = [name for name in available if same_prior or name != "entropy_bits"]
    no_rows = reference.counted({name: np.empty(0) for name in reference.edges})
    observed = sum_histograms([no_rows, *(counts.histograms for counts in by_source.values())])
    expected = reference.expected(observed)
    largest = sorted(by_source, key=lambda name: (-by_source[name].scored, name))[:SHOWN_SOURCES]
    return {
        "quantities": quantities,
        "prior_differs": not same_prior,
        "has_sources": bool(reference.sources),
        "n_reference": reference.n_rows(),
        "mix": _shift(reference.mix_shift({name: counts.scored for name, counts in by_source.items()})),
        "rows": [
            _compare("all", observed, reference, None, quantities),
            *(
                _compare(name, by_source[name].histograms, reference, name, quantities)
                for name in largest
                if _has_scores(by_source[name]) and (len(by_source) > 1 or name in reference.sources)
            ),
        ],
        "pictures": {
            name: {
                "edges": reference.edges[name].tolist(),
                "observed": (observed[name] / max(observed[name].sum(), 1)).tolist(),
                "expected": (expected[name] / max(expected[name].sum(), 1e-300)).tolist(),
            }
            for name in quantities
        },
    }


def _compare(
    name: str, observed: Counts, reference: Reference, source: str | None, quantities: list[str]
) -> dict[str, Any]:
    """Return a row of the drift table; a source that the labels do not name is compared with all calibration rows."""
    shifts, expected = reference.shifts(observed, source), reference.expected(observed, source)
    is_named = source in reference.sources
    return {
        "name": name,
        "rows": int(observed[quantities[0]].sum()),
        "against": f"{name}, {reference.n_rows(source)} rows" if is_named else f"all {reference.n_rows()} rows",
        "shifts": {each: _shift(shifts[each]) for each in quantities},
        "medians": {
            each: [quantile(counts, reference.edges[each]) for counts in (observed[each], expected[each])]
            for each in quantities
        },
    }


def _has_scores(counts: SourceCounts) -> bool:
    return "score" in counts.histograms and bool(counts.histograms["score"].any())


def _shift(shift: Shift | None) -> dict[str, Any] | None:
    return None if shift is None else asdict(shift) | {"word": shift.word}
