"""Measure how well systems are named, on rows whose source or system was left out.

    bonafide embed --input LIST --backbone starter --layer 2 --output TABLES     # LIST: the files of `dev` and `more`
    python -m bench.attribution --embeddings TABLES [--layer 2] [--corpora ../shared/corpus] [--eval]

Every synthesiser of `dev` has one source of recordings: to leave the source out is to leave out the system. So its rows
are left out by speaker, where it has several. Copies in `more` are of many human sources: each is left out with its
copies by all systems.

Intervals are 95 %: over sources and speakers for names, over systems for those that were not heard. With `--eval`, the
synthesisers of `eval`, none of which was heard, are judged with what was learnt on `train`. Writes a table into
docs/results.md.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bench.dev_corpus import CORPUS, RESULTS
from bench.marked import write_between
from bench.starter import rows
from detector.attribution import Attribution
from detector.groups import Names
from detector.logistic import Bools
from detector.metrics import Floats, Interval, balanced_share
from detector.schema import BONAFIDE
from detector.training.attribution import fit_attribution

BEGIN, END = "<!-- attribution: begin -->", "<!-- attribution: end -->"
RATES = (0.05, 0.2)
SETS = {"`dev`": ("dev",), "`dev` and `more`": ("dev", "more")}
HEADER = (
    "| learnt on `train` of | systems | measured: systems, rows, places | nearest is right, % | by nearest row, % | "
    "chance, % | false names asked for, % | rightly named, % | wrongly named, % | not heard, named, % | AUROC |"
)

EVAL_HEADER = "| learnt on `train` of | false names asked for, % | `eval`: systems, rows | named, % |"


@dataclass(frozen=True)
class Corpus:
    """Standardised embeddings, and what is known of each row."""

    standardised: Floats
    is_bonafide: Bools
    names: dict[str, Names]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and write the table; return 0."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.attribution", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--embeddings", action="append", required=True, help="output of `embed`; repeatable")
    parser.add_argument("--layer", type=int, default=2)
    parser.add_argument("--corpora", type=Path, default=CORPUS.parent, help="folder of dev and more")
    parser.add_argument("--eval", action="store_true", help="judge `eval` of dev, too")
    parser.add_argument("--no-write", action="store_true", help="print the table, leave docs/results.md alone")
    known = parser.parse_args(arguments)
    vectors = read(known.embeddings, known.layer)
    lines = [HEADER, "| --- " * (HEADER.count("|") - 1) + "|"]
    on_eval = [
        "| learnt on `train` of | false names asked for, % | `eval`: systems, rows | named, % |",
        "| --- " * 4 + "|",
    ]
    for name, corpora in SETS.items():
        train, scale = joined(vectors, known.corpora, corpora, rows.TRAIN)
        for rate in RATES:
            found, report = fit_attribution(train.standardised, train.is_bonafide, train.names, rate)
            lines.append(row(name, report))
            print(lines[-1], flush=True)
            if known.eval:
                unheard, _ = joined(vectors, known.corpora, ("dev",), rows.EVAL, scale)
                on_eval.append(row_of_eval(name, rate, found, unheard))
    text = "\n".join(lines) + ("\n\n" + "\n".join(on_eval) if known.eval else "")
    if known.no_write:
        print(text)
    else:
        write_between(RESULTS, BEGIN, END, text)
    return 0


def read(outputs: Sequence[str], layer: int) -> dict[str, Floats]:
    """Read the embeddings of one layer, by the place of the recording."""
    vectors: dict[str, Floats] = {}
    for folder in (each for output in outputs for each in Path(output, "embeddings").iterdir()):
        table = pq.read_table(folder, columns=["uri", "layer", "embedding"], partitioning=None)
        table = table.filter(pc.and_(pc.equal(table["layer"], layer), pc.is_valid(table["embedding"])))
        vectors |= dict(zip(table["uri"].to_pylist(), table["embedding"].to_numpy(), strict=True))
    return vectors


def joined(
    vectors: dict[str, Floats],
    folder: Path,
    corpora: Sequence[str],
    split: str,
    scale: tuple[Floats, Floats] | None = None,
) -> tuple[Corpus, tuple[Floats, Floats]]:
    """Join embeddings with what is known of them; the source of a copy is the human source that was copied.

    Parameters
    ----------
    scale : tuple of two arrays, optional
        Mean and scale to standardise by [default: those of the rows, which are returned].
    """
    found = [
        each
        for each in rows.rows_of(folder)
        if each["corpus"] in corpora and each["split"] == split and each["uri"] in vectors
    ]
    embeddings = np.stack([vectors[each["uri"]] for each in found]).astype(np.float64)
    mean, deviation = scale or (embeddings.mean(axis=0), embeddings.std(axis=0))
    names = {kind: Names.of([each[kind] for each in found]) for kind in ("system", "speaker")}
    names["source"] = Names.of([each["copied"] or each["source"] for each in found])
    is_bonafide = np.array([each["label"] == BONAFIDE for each in found])
    return Corpus((embeddings - mean) / deviation, is_bonafide, names), (mean, deviation)


def row(name: str, report: dict[str, Any]) -> str:
    """A row of the table."""
    auroc = report["auroc"]
    cells = [
        name,
        str(report["systems"]),
        f"{report['systems_measured']}, {report['rows_measured']}, {report['places']}",
        percent(report["nearest"]),
        percent(report["nearest_row"]),
        f"{100 * report['chance']:.1f}",
        f"{100 * report['asked_false_attribution']:g}",
        *(percent(report[each]) for each in ("rightly_named", "wrongly_named", "false_attribution")),
        f"{auroc['value']:.3f} ({auroc['low']:.3f} to {auroc['high']:.3f})",
    ]
    return f"| {' | '.join(cells)} |"


def row_of_eval(name: str, rate: float, found: Attribution, unheard: Corpus) -> str:
    """A row of the table of systems that no one has heard."""
    is_spoof = ~unheard.is_bonafide
    system = unheard.names["system"].code[is_spoof]
    place, _ = found.nearest(found.coordinates(unheard.standardised[is_spoof]))
    share = balanced_share(place >= 0, system)
    return f"| {name} | {100 * rate:g} | {len(np.unique(system))}, {len(system)} | {percent(vars(share))} |"


def percent(found: dict[str, float]) -> str:
    """A share with its interval, in percent."""
    interval = Interval(**found)
    return f"{100 * interval.value:.1f} ({100 * interval.low:.1f} to {100 * interval.high:.1f})"


if __name__ == "__main__":
    sys.exit(main())
