"""Reproduce the published series of XLS-R encoders: our error rates beside the papers', in one table.

    python -m bench.reproduce --asvspoof2019 FOLDER --in-the-wild FOLDER [--fake-or-real FOLDER …] --work FOLDER \\
        --models facebook/wav2vec2-xls-r-2b@COMMIT:-1,9,10,11,12,13 facebook/wav2vec2-xls-r-300m@COMMIT:7 [--price 4]

1. XLS-R-2B, its last layer, mean over time, logistic regression with C = 1e6 (`--recipe pascu2024`)
2. the same at layers 9 to 13
3. XLS-R-300M at layer 7
4. any other encoder: `[TITLE=]MODEL[@COMMIT][:LAYERS]`, where MODEL is a hub name, a folder or a prefix

Each is trained on `train` and `dev` of ASVspoof 2019 LA, and evaluated on its `eval` and on every other corpus whose
folder is given, in the layout that docs/corpora.md describes. Beside each of our heads stands the linear layer of the
usual public benchmark, fitted by a fixed number of epochs on the same rows (bench/underfitted.py). Flags that are not
listed here are passed to `embed` (`--device cuda`). Seconds are of the whole pass over a corpus, whose layers are
embedded together; `--price` turns them into dollars.

After a stop, start the same command again: recordings that are embedded and scored under `--work` are not computed
again. A corpus that is given later is added. The table is written as ladder.md and ladder.json.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bench.steps import StepSeconds
from bench.underfitted import described, underfitted_head
from detector import metrics
from detector.config import LAST_LAYER, MELSTATS
from detector.schema import BONAFIDE, LABEL_COLUMNS, LABELS
from jobs import cli
from jobs.inputs.corpora import CORPORA
from jobs.reports.evaluation.trials import join_scores_with_labels, to_trials
from jobs.tables.ledger import Ledger, keys

TRAINED_ON = "asvspoof2019-la"
VERSIONS = {"fake-or-real": "for-norm", "timit-tts": "CLEAN"}
"""For corpora with several versions: the version of the published figures."""

AI4T = "arXiv 2506.09606, Layers_eval.pdf"
EDGE = "arXiv 2606.30780"
PAPER = ("--recipe", "pascu2024")
SETTINGS_OF_PAPER = ("--c", "1e6", "--no-standardise", "--class-weights", "none")

LARGE, SMALL = "XLS-R-2B", "XLS-R-300M"
TITLES = {"wav2vec2-xls-r-2b": LARGE, "wav2vec2-xls-r-300m": SMALL}
"""Titles of encoders with published figures, by the last part of their hub names."""
DIMENSIONS = {LARGE: 1_920, SMALL: 1_024}
SMALL_LAYER = 7
LAYERS = {LARGE: "-1,9,10,11,12,13", SMALL: str(SMALL_LAYER)}
TRAINING = "ASVspoof 2019 LA train + dev"
CONVERGED = "ours, to the optimum"

Layers = dict[int, float]


@dataclass(frozen=True)
class Test:
    """Recordings of a test set, and the figures that were published for it.

    Parameters
    ----------
    title, corpus : str
    only : mapping
        Values to keep of the manifest's columns; everything if empty.
    large : dict
        Published EER in percent by layer of XLS-R-2B; -1 is the last. All are from :data:`AI4T`.
    small : float or None
        Published EER of XLS-R-300M at layer 7, from :data:`EDGE`.
    """

    title: str
    corpus: str
    only: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    large: Layers = field(default_factory=dict)
    small: float | None = None


EVAL = {"split": ("eval",)}
TESTS = (
    Test("ASVspoof 2019 LA eval", TRAINED_ON, EVAL, {-1: 0.57, 9: 0.12, 10: 0.08, 11: 0.12, 12: 0.05, 13: 0.08}, 0.8),
    Test("In-the-Wild", "in-the-wild", {}, {-1: 7.36, 9: 3.41, 10: 3.31, 11: 3.61, 12: 3.43, 13: 3.34}, 6.6),
    Test("FakeOrReal", "fake-or-real", {}, {-1: 6.66, 9: 6.67, 10: 5.34, 11: 5.84, 12: 5.81, 13: 6.25}),
    Test("FakeOrReal, testing", "fake-or-real", EVAL),
    Test("ASVspoof 2021 LA eval", "asvspoof2021-la", EVAL),
    Test("ASVspoof 2021 DF eval", "asvspoof2021-df", EVAL, small=4.1),
    Test(
        "ASVspoof 2021 DF, no codec, not of 2019",
        "asvspoof2021-df",
        {"codec": ("nocodec",), "source": ("vcc2018", "vcc2020")},
        {-1: 3.33, 9: 2.35, 10: 1.90, 11: 2.07, 12: 1.73, 13: 1.77},
    ),
    Test(
        "ASVspoof 5 train and dev",
        "asvspoof5",
        {"split": ("train", "dev")},
        {-1: 1.72, 9: 0.88, 10: 0.44, 11: 0.24, 12: 0.26, 13: 0.20},
    ),
    Test("ASVspoof 5 eval", "asvspoof5", EVAL),
    *(Test(title, name, EVAL) for title, name in (("PartialSpoof eval", "partialspoof"), ("HAD test", "had"))),
    Test("LlamaPartialSpoof", "llama-partial-spoof"),
    Test("TIMIT-TTS", "timit-tts", {}, {-1: 15.23, 9: 5.66, 10: 12.33, 11: 16.28, 12: 26.27, 13: 28.07}),
    Test("ODSS", "odss", {}, {-1: 17.04, 9: 16.26, 10: 12.66, 11: 12.45, 12: 14.58, 13: 13.32}),
    Test("MLAAD", "mlaad", {}, {-1: 17.07, 9: 12.79, 10: 12.57, 11: 10.36, 12: 10.77, 13: 10.96}),
    Test("AI4T", "ai4t", {}, {-1: 34.19, 9: 27.43, 10: 26.98, 11: 26.21, 12: 29.04, 13: 30.50}),
    Test("WaveFake", "wavefake"),
    Test("FakeAVCeleb", "fakeavceleb"),
    Test("DFADD test", "dfadd", EVAL),
    Test("SpoofCeleb evaluation", "spoofceleb", EVAL),
    Test("Codecfake", "codecfake-xie", EVAL),
    Test("CodecFake", "codecfake-wu"),
    Test("CtrSVDD test, singing", "ctrsvdd", EVAL),
)


@dataclass(frozen=True)
class Encoder:
    """An encoder to evaluate: the published figures to compare with, the flags that select it, and its layers."""

    name: str
    flags: tuple[str, ...]
    layers: tuple[int, ...]

    def figure(self, test: Test, layer: int) -> tuple[float, str] | None:
        """Return the published figure and its source."""
        if self.name == LARGE:
            return (test.large[layer], AI4T) if layer in test.large else None
        return (test.small, EDGE) if test.small is not None and layer == SMALL_LAYER else None


@dataclass(frozen=True)
class Cell:
    """One of our figures, in percent, and the published one."""

    encoder: str
    layer: int
    dim: int
    test: str
    bonafide: int
    spoof: int
    failed: int
    equal_error_rate: float
    low: float
    high: float
    published: float | None
    source: str | None
    recipe: str = CONVERGED
    training: str = TRAINING
    training_seconds: float = 0.0
    test_seconds: float = 0.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Evaluate the given encoders on the given corpora; write and print the table; return 0."""
    parser = _parser()
    known, embed = parser.parse_known_args(arguments)
    folders = {name: getattr(known, name) for name in CORPORA if getattr(known, name, None)}
    if TRAINED_ON not in folders:
        parser.error(f"--{TRAINED_ON} is what every head is trained on; give its folder")
    work = known.work.absolute()
    manifests = {name: manifest(name, given, work, known.allow_missing) for name, given in folders.items()}
    cells = [
        cell
        for encoder in encoders(known)
        for cell in climb(encoder, manifests, work, embed, known.draws, known.epochs)
    ]
    text = table(cells, known.price)
    (work / "ladder.md").write_text(text)
    (work / "ladder.json").write_text(json.dumps([asdict(cell) for cell in cells], indent=1) + "\n")
    print(f"\n{text}\n{work / 'ladder.md'}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench.reproduce",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--models", nargs="+", required=True, metavar="MODEL", help="encoders, as above; melstats for a trial run"
    )
    parser.add_argument("--price", type=float, help="$ an hour of the machine that this runs on")
    parser.add_argument("--epochs", type=int, default=5, help="of the underfitted linear layer; 0: none [%(default)s]")
    parser.add_argument(
        "--work", type=Path, required=True, help="folder that keeps manifests, tables, heads and results"
    )
    parser.add_argument("--draws", type=int, default=1_000, help="for the 95 %% intervals [%(default)s]")
    parser.add_argument("--allow-missing", action="store_true", help="leave out recordings that are listed, not there")
    for name in sorted({TRAINED_ON, *(test.corpus for test in TESTS)}):
        flags = [f"--{name}"] + [f"--{name.removesuffix('-la')}"] * (name == TRAINED_ON)
        about = CORPORA[name].partner
        parser.add_argument(
            *flags, dest=name, nargs="+", metavar="FOLDER", help=f"and {about}, as further folders" if about else None
        )
    return parser


def encoders(known: argparse.Namespace) -> list[Encoder]:
    """Return the encoders that the flags name."""
    found = [encoder_of(text) for text in known.models]
    titles = [each.name for each in found]
    if len(set(titles)) < len(titles):
        raise SystemExit(f"--models: {', '.join(titles)}; expected each once, or a title for each: TITLE=MODEL")
    return found


def encoder_of(text: str) -> Encoder:
    """Read `[TITLE=]MODEL[@COMMIT][:LAYERS]`.

    Examples
    --------
    >>> encoder_of("facebook/wav2vec2-xls-r-300m@0123abc").name
    'XLS-R-300M'
    >>> encoder_of("Mine=/models/mine:-1,4").flags
    ('--backbone', 'huggingface', '--model', '/models/mine', '--layers=-1,4')
    >>> encoder_of("Mine=/models/mine:-1,4").layers
    (-1, 4)
    """
    title, _, rest = text.rpartition("=")
    place, colon, layers = rest.rpartition(":")
    if not colon or not re.fullmatch(r"-?[\d,-]+", layers):
        place, layers = rest, ""
    model, _, revision = place.partition("@")
    title = title or TITLES.get(model.rstrip("/").rpartition("/")[2], model.rstrip("/").rpartition("/")[2])
    if model == MELSTATS:
        return Encoder(title, ("--backbone", MELSTATS), (LAST_LAYER,))
    wanted = layers or LAYERS.get(title, str(LAST_LAYER))
    which = ("--revision", revision) if revision else ()
    flags = ("--backbone", "huggingface", "--model", model, *which, f"--layers={wanted}")
    return Encoder(title, flags, tuple(int(layer) for layer in wanted.split(",")))


def manifest(name: str, folders: list[str], work: Path, partial: bool) -> pa.Table:
    """Write and read a corpus's manifest; if the corpus has several versions, that of the published figures."""
    output = work / "manifests" / f"{name}.parquet"
    inputs = [word for folder in folders for word in ("--input", folder)]
    subset = ("--subset", VERSIONS[name]) if name in VERSIONS else ()
    missing = ("--allow-missing",) if partial else ()
    ids = ("--ids", "absolute")  # corpora share one output, and may have the same paths
    bonafide("manifest", "--corpus", name, *inputs, *subset, *missing, *ids, "--output", str(output))
    return pq.read_table(output)


def climb(
    encoder: Encoder, manifests: dict[str, pa.Table], work: Path, embed: list[str], draws: int, epochs: int
) -> list[Cell]:
    """Embed the corpora, fit the heads of each layer, score, and compute the figures."""
    output, labels = str(work / encoder.name), work / "manifests" / "train.parquet"
    steps = StepSeconds(work / "seconds" / f"{encoder.name}.json")
    pq.write_table(training(manifests[TRAINED_ON]), labels)
    for name in manifests:
        listed = str(work / "manifests" / f"{name}.parquet")
        with steps.step(f"embed {name}"):
            bonafide("embed", "--manifest", listed, *encoder.flags, *embed, "--output", output)
    fingerprints = {layer_of(output, key): key for key in keys(output, "embeddings")}
    cells = []
    for layer in encoder.layers:
        head = work / "heads" / encoder.name / f"layer{layer}.json"
        recipe = PAPER if layer == LAST_LAYER else SETTINGS_OF_PAPER
        what = ("--embeddings", output, "--labels", str(labels), "--fingerprint", fingerprints[layer])
        with steps.step(f"fit layer {layer}"):
            bonafide("fit", *what, *recipe, "--output", str(head))
        heads = {CONVERGED: head}
        if epochs:
            rival, share = underfitted_head(head, output, fingerprints[layer], labels, epochs)
            heads[described(share, epochs)] = rival
        for recipe_name, path in heads.items():
            bonafide("score", "--embeddings", output, "--head", str(path), "--output", output)
            content = json.loads(path.read_text())
            cells += [
                replace(
                    cell,
                    recipe=recipe_name,
                    training_seconds=steps.of(f"embed {TRAINED_ON}") + steps.of(f"fit layer {layer}"),
                    test_seconds=steps.of(f"embed {test.corpus}"),
                    published=cell.published if path == head else None,
                    source=cell.source if path == head else None,
                )
                for test in TESTS
                if test.corpus in manifests
                and (cell := judge(encoder, layer, content, test, manifests[test.corpus], output, draws)) is not None
            ]
    return cells


def training(listed: pa.Table) -> pa.Table:
    """Return the training rows: `train` and `dev` as one split."""
    chosen = listed.filter(pc.is_in(listed["split"], pa.array(["train", "dev"])))
    return _with_split(chosen, "train")


def _with_split(listed: pa.Table, split: str) -> pa.Table:
    at = listed.column_names.index("split")
    return listed.set_column(at, listed.schema.field("split"), pa.array([split] * len(listed), pa.string()))


def layer_of(output: str, key: str) -> int:
    """Return the layer of a table of embeddings."""
    return int(next(Ledger(output, "embeddings", key).committed()).detail["recipe"]["layer"])


def judge(
    encoder: Encoder, layer: int, head: dict[str, Any], test: Test, listed: pa.Table, output: str, draws: int
) -> Cell | None:
    """Compute our figure for one test set; None if a class is missing."""
    for column, values in test.only.items():
        listed = listed.filter(pc.is_in(listed[column], pa.array(values)))
    if len(set(listed["label"].to_pylist())) < len(LABELS):
        print(f"{test.title}: {len(listed)} recordings, not of both classes; left out")
        return None
    labels = _with_split(listed.select(["utterance_id", *LABEL_COLUMNS]), "eval")
    (judged,) = join_scores_with_labels((output,), (head["head_id"],), labels, "eval", allow_missing=False)
    trials = to_trials(judged.rows)
    found = metrics.intervals(trials, draws)["equal_error_rate"]
    figure = encoder.figure(test, layer)
    truth = judged.rows.filter(judged.rows["score"].is_valid())["truth"].to_pylist()
    return Cell(
        encoder=encoder.name,
        layer=layer,
        dim=len(head["weights"]),
        test=test.title,
        bonafide=truth.count(BONAFIDE),
        spoof=len(truth) - truth.count(BONAFIDE),
        failed=len(listed) - len(truth),
        equal_error_rate=round(100 * found.value, 4),
        low=round(100 * found.low, 4),
        high=round(100 * found.high, 4),
        published=None if figure is None else figure[0],
        source=None if figure is None else figure[1],
    )


COLUMNS = ("set", "bona fide", "spoof", "no score", "encoder", "layer", "trained on", "fit", "ours, EER %", "published")


def table(cells: Sequence[Cell], price: float | None = None) -> str:
    """Format the figures as one Markdown table, sorted by test set.

    Parameters
    ----------
    cells : sequence of Cell
    price : float or None
        Dollars an hour of the machine.
    """
    lines = ["# The published ladder, run with this code", ""]
    for name, dim in {cell.encoder: cell.dim for cell in cells}.items():
        if DIMENSIONS.get(name, dim) != dim:
            text = (
                f"**Not comparable**: this {name} has {dim:,} dimensions, the published one has {DIMENSIONS[name]:,}."
            )
            lines += [text, ""]
    columns = [*COLUMNS, "source", "seconds: training, test", *(["$"] if price is not None else [])]
    lines += [f"| {' | '.join(columns)} |", "|" + " --- |" * len(columns)]
    order = {test.title: place for place, test in enumerate(TESTS)}
    for cell in sorted(cells, key=lambda each: order[each.test]):
        lines.append(f"| {' | '.join(_cells(cell, price))} |")
    return "\n".join([*lines, ""])


def _cells(cell: Cell, price: float | None) -> list[str]:
    interval = "" if math.isnan(cell.low) else f" ({cell.low:.2f} to {cell.high:.2f})"
    hours = (cell.training_seconds + cell.test_seconds) / 3_600
    return [
        cell.test,
        *(f"{count:,}" for count in (cell.bonafide, cell.spoof, cell.failed)),
        cell.encoder,
        "last" if cell.layer == LAST_LAYER else str(cell.layer),
        cell.training,
        cell.recipe,
        f"{cell.equal_error_rate:.2f}{interval}",
        "–" if cell.published is None else f"{cell.published:.2f}",
        cell.source or "–",
        f"{cell.training_seconds:,.0f}, {cell.test_seconds:,.0f}",
        *([] if price is None else [f"{hours * price:,.2f}"]),
    ]


def bonafide(*arguments: str) -> None:
    """Run a verb as a user does; exit with its code unless that is 0."""
    print(f"$ bonafide {' '.join(arguments)}", flush=True)
    code = cli.main(arguments)
    if code:
        raise SystemExit(code)


if __name__ == "__main__":
    sys.exit(main())
