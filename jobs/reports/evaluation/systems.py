"""Systems: how well a head names the synthesiser of the labelled recordings that it calls spoof."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

import numpy as np
import pyarrow as pa

from detector.attribution import UNKNOWN_SYSTEM
from detector.metrics import balanced_share, open_set_auroc
from detector.schema import SPOOF, UNKNOWN

COLUMNS = ("truth", "system", "source", "nearest_system", "system_similarity")


def system_findings(rows: pa.Table, heard: Iterable[str] | None, n_draws: int) -> dict[str, Any] | None:
    """Compare the names that a head gives with those of the labels.

    Parameters
    ----------
    rows : pyarrow.Table
        Columns of `scores`, and `truth`, `system` and `source`.
    heard : iterable of str or None
        Systems that the head can name; if None, those that it names here, so one that it never names counts as not
        heard.
    n_draws : int
        For the intervals.

    Returns
    -------
    dict or None
        None if the head names no systems. Of spoof recordings that it calls spoof, each a mean over systems:
        `rightly_named` and `wrongly_named` of systems that it has heard, with intervals over sources;
        `false_attribution`, the share with a name, of those that it has not, with one over systems; `auroc` of the two.
        `confusion` counts them by system and name; `bonafide_named` counts bona fide speech that got a name.
    """
    named = [row for row in rows.select(COLUMNS).to_pylist() if row["nearest_system"] is not None]
    if not named:
        return None
    is_given = heard is not None
    known = set(heard if heard is not None else (row["nearest_system"] for row in named)) - {UNKNOWN_SYSTEM}
    spoken = [row for row in named if row["truth"] == SPOOF and row["system"] not in UNKNOWN]
    of_heard = [row for row in spoken if row["system"] in known]
    of_others = [row for row in spoken if row["system"] not in known]
    right = np.array([row["nearest_system"] == row["system"] for row in of_heard], dtype=bool)
    has_name = np.array([row["nearest_system"] != UNKNOWN_SYSTEM for row in of_heard], dtype=bool)
    false = np.array([row["nearest_system"] != UNKNOWN_SYSTEM for row in of_others], dtype=bool)
    numbers: dict[str, int] = {}
    system, other = (_numbered([row["system"] for row in each], numbers) for each in (of_heard, of_others))
    place = _numbered([row["system"] if row["source"] in UNKNOWN else row["source"] for row in of_heard], {})
    similar = (np.array([row["system_similarity"] for row in each], dtype=np.float64) for each in (of_heard, of_others))
    heard_similarity, other_similarity = similar
    auroc = open_set_auroc(heard_similarity, system, other_similarity, other, n_draws)
    return {
        "heard": len(known),
        "heard_is_given": is_given,
        "chance": 1.0 / len(known) if known else None,
        "rows_heard": len(of_heard),
        "rows_not_heard": len(of_others),
        "rightly_named": asdict(balanced_share(right, system, place, n_draws)),
        "wrongly_named": asdict(balanced_share(has_name & ~right, system, place, n_draws)),
        "false_attribution": asdict(balanced_share(false, other, n_draws=n_draws)),
        "auroc": asdict(auroc),
        "confusion": _confusion(spoken, known),
        "bonafide_named": sum(row["truth"] != SPOOF and row["nearest_system"] != UNKNOWN_SYSTEM for row in named),
    }


def _numbered(names: list[str], numbers: dict[str, int]) -> np.ndarray:
    return np.array([numbers.setdefault(name, len(numbers)) for name in names], dtype=np.int64)


def _confusion(rows: list[dict[str, Any]], known: set[str]) -> list[dict[str, Any]]:
    """Count rows by system and by the name that they get, the most frequent first: systems that were heard first."""
    counts: dict[str, Counter[str]] = {}
    for row in rows:
        counts.setdefault(row["system"], Counter())[row["nearest_system"]] += 1
    return [
        {
            "system": system,
            "is_heard": system in known,
            "rows": names.total(),
            "right": names[system] if system in known else 0,
            "unknown": names[UNKNOWN_SYSTEM],
            "others": sorted(
                ((name, n) for name, n in names.items() if name not in (system, UNKNOWN_SYSTEM)),
                key=lambda item: (-item[1], item[0]),
            ),
        }
        for system, names in sorted(counts.items(), key=lambda item: (item[0] not in known, item[0]))
    ]
