"""fit: labelled embeddings in, a head and its report out."""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import asdict, dataclass, replace
from typing import Annotated, Any

import numpy as np
import pyarrow as pa

from detector.config import LAST_LAYER
from detector.errors import ConfigError
from detector.groups import Groups, Names, blocks, groups_of, sample, tally
from detector.head import Head
from detector.logistic import Bools, Matrix, Rows, gather, subset
from detector.schema import BONAFIDE, LABELS, LABELS_HELP, SPOOF
from detector.training.config import TrainingConfig
from detector.training.fitting import certification_rows, fit_head
from detector.training.leave_out import leave_one_out
from detector.training.report import outcomes
from detector.training.search import choose, edge_of_search, search
from jobs import storage
from jobs.tables import ledger, run_records
from jobs.tables.labelled import Labelled, Labels, refuse_shared_audio
from jobs.tables.ledger import Ledger

log = logging.getLogger(__name__)

MIB = 1 << 20
KINDS = ("system", "source")


@dataclass(frozen=True, kw_only=True)
class Settings(TrainingConfig):
    """Fit a head on labelled embeddings; calibrate it on rows of held-out systems and speakers."""

    embeddings: Annotated[
        tuple[str, ...],
        "the --output of an `embed` or `nightly` run; of several tables there the best on folds is taken; repeatable: "
        "rows of all are fitted on, each id once",
    ]
    labels: Annotated[str, f"manifest, CSV, JSONL or Parquet: {LABELS_HELP}"]
    output: Annotated[str, "head to write, …/head.json (or its folder); the report goes beside it"]
    split: Annotated[str, "rows to fit on, where the labels have a split"] = "train"
    fingerprint: Annotated[str | None, "which embeddings, where the output holds several [default: tries all]"] = None
    search_rows: Annotated[
        int, "settings are chosen, and systems left out, on at most so many rows: by hash of the id, all groups alike"
    ] = 20_000
    sample_rows: Annotated[int | None, "fit on about so many rows, chosen in that way [default: all]"] = None
    memory_mib: Annotated[int, "embeddings above this are not held in memory but read again for every pass; MiB"] = (
        2_048
    )
    sign_key: Annotated[str | None, "private key that signs the head, PEM; `keygen` makes one"] = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.search_rows < 1 or self.memory_mib < 0 or (self.sample_rows is not None and self.sample_rows < 1):
            raise ConfigError(
                f"search_rows {self.search_rows}, sample_rows {self.sample_rows}, memory_mib {self.memory_mib}; "
                f"expected 1 or more, 1 or more, 0 or more."
            )


@dataclass(frozen=True)
class Chosen:
    """The table to fit on, the settings that did best on it, and all that were tried.

    `certifying` tells the rows that nothing may be learnt from; `sampled` those that chose the settings, `sample` has
    their embeddings. `edge` says where the choice is at an end of what was tried.
    """

    rows: Labelled
    groups: Groups
    config: TrainingConfig
    certifying: Bools
    sampled: Bools
    sample: Matrix
    tried: list[dict[str, Any]]
    edge: str | None


def run(settings: Settings) -> int:
    """Fit, write head and report, and say how good it is on held-out rows; return the exit code."""
    started = run_records.now()
    # the default one keeps what its threads freed: 45 MB after the labels of a million rows, of which it needed 6
    pa.set_memory_pool(pa.system_memory_pool())
    key = None if settings.sign_key is None else storage.read_bytes(storage.normal(settings.sign_key))
    chosen = _chosen(settings)
    used = _used(chosen, settings)
    rows, how = _held(chosen.rows, used, settings.memory_mib)
    is_bonafide = chosen.rows.is_bonafide
    names = {name: chosen.rows.names[name] for name in KINDS}
    head, report, held_out = fit_head(
        rows,
        is_bonafide[used],
        chosen.groups[used],
        chosen.config,
        recipe=chosen.rows.recipe,
        model=chosen.rows.model,
        certifying=chosen.certifying[used],
        seconds=chosen.rows.seconds[used],
        sources=names["source"][used],
        about={"read": how, "trained_on": _trained_on(chosen.rows, used)},
    )
    sampled = {name: column[chosen.sampled] for name, column in names.items()}
    content = {
        "head_id": head.head_id,
        "started": started.isoformat(timespec="seconds"),
        "settings": run_records.settings_of(settings),
        "versions": run_records.versions(),
        "training": report,
        "tried": chosen.tried,
        "chosen_by": "the least C whose Cllr is not above the best's by more than one standard error over the folds",
        "edge_of_search": chosen.edge,
        "leave_one_out": {
            "rows": chosen.sample.n_rows,
            **leave_one_out(chosen.sample, is_bonafide[chosen.sampled], sampled, chosen.config, head.calibration),
        },
        "held_out_by": outcomes(held_out, is_bonafide[used], {name: column[used] for name, column in names.items()}),
        "reject_band_nats": head.reject_band(),
    }
    uri = storage.normal(settings.output)
    uri = uri if uri.endswith(".json") else storage.join(uri, "head.json")
    report_uri = uri.removesuffix(".json") + ".report.json"
    storage.write_bytes(uri, head.to_json(key).encode())
    storage.write_bytes(report_uri, (json.dumps(content, indent=1, sort_keys=True) + "\n").encode())
    _say(head, content)
    print(f"head: {uri}\nreport: {report_uri}")
    return 0


def _chosen(settings: Settings) -> Chosen:
    """Try the settings that are open, on every table there is; the best on grouped folds."""
    found = _tables(settings)
    refuse_shared_audio(found[0], storage.normal(settings.labels), settings.split)
    labels = Labels.read(storage.normal(settings.labels), settings.split)  # now: that other look holds as much again
    best: Chosen | None = None  # one table at a time: the others need not be held
    tried: list[dict[str, Any]] = []
    for tables in found:
        table = Labelled(tables, labels, settings)
        if settings.recipe is None or (table.recipe["layer"], table.recipe["pooling"]) == (LAST_LAYER, "mean"):
            choice = _tried(table, settings)
            tried += choice.tried
            if best is None or choice.tried[0]["cllr"] < best.tried[0]["cllr"]:
                best = choice
    if best is None:
        raise ConfigError(
            f"{', '.join(settings.embeddings)}: recipe {settings.recipe} is for the mean over the last layer, and none "
            f"of {len(found)} tables here is. Embed with --layer {LAST_LAYER} --pooling mean."
        )
    return replace(best, tried=sorted(tried, key=lambda each: float(each["cllr"])))


def _tables(settings: Settings) -> list[list[Ledger]]:
    """The tables of each recipe that every output has."""
    uris = [storage.normal(each) for each in settings.embeddings]
    keys = [ledger.keys(uri, "embeddings") for uri in uris]
    for uri, here in zip(uris, keys, strict=True):
        if not any(settings.fingerprint in (None, key) for key in here):
            raise ConfigError(f"{uri}: no table of embeddings here. Give the --output of an `embed` run.")
    shared = [key for key in keys[0] if settings.fingerprint in (None, key) and all(key in here for here in keys)]
    if not shared:
        told = "; ".join(f"{uri} has {', '.join(here)}" for uri, here in zip(uris, keys, strict=True))
        raise ConfigError(f"no fingerprint of embeddings in all outputs: {told}. Embed with the same settings.")
    return [[Ledger(uri, "embeddings", key) for uri in uris] for key in shared]


def _tried(table: Labelled, settings: Settings) -> Chosen:
    """The best settings for one table."""
    groups = groups_of(table.is_bonafide, table.names)
    certifying = certification_rows(table.is_bonafide, groups, settings)
    sampled = sample(table.is_bonafide, groups, settings.search_rows) & ~certifying
    rows = gather(table, sampled)
    candidates = search(rows, table.is_bonafide[sampled], groups[sampled], settings)
    best = choose(candidates)
    config = replace(settings, c=best.c, standardise=best.standardise)
    which = {"model": table.model, **{name: table.recipe[name] for name in ("layer", "pooling")}}
    log.info("%s: C = %g, %s: Cllr %.3f on the folds", which, best.c, "standardised" * best.standardise, best.cllr)
    edge = edge_of_search(best, candidates)
    if edge is not None:
        log.warning("%s: %s", which, edge)
    tried = [which | asdict(each) for each in candidates]
    return Chosen(table, groups, config, certifying, sampled, rows, tried, edge)


def _used(chosen: Chosen, settings: Settings) -> Bools:
    """The rows to fit on: all, or a sample where that is wished."""
    n_rows = chosen.rows.n_rows if settings.sample_rows is None else settings.sample_rows
    return sample(chosen.rows.is_bonafide, chosen.groups, n_rows)


def _held(table: Labelled, used: Bools, memory_mib: int) -> tuple[Rows, str]:
    """The rows in memory where they fit, else as they stand in the table; and which it is."""
    n_used = int(np.count_nonzero(used))
    needed = n_used * table.dim * 4 / MIB
    if needed <= memory_mib:
        return gather(table, used), "held in memory"
    log.info("%d embeddings take %.0f MiB, more than --memory-mib %d: streamed", n_used, needed, memory_mib)
    return subset(table, used), "streamed, anew for every pass"


def _trained_on(table: Labelled, used: Bools) -> dict[str, Any]:
    """Rows by label, system and source; and a digest of each row's id digest and class, in the order of the former."""
    labels = table.labels
    digest = hashlib.sha256()
    for rows in blocks(len(labels)):
        content = np.empty(len(used[rows]), dtype=[("id", ">u8"), ("is_bonafide", "u1")])
        content["id"], content["is_bonafide"] = labels.digest[rows], labels.is_bonafide[rows]
        digest.update(content[used[rows]].tobytes())
    counts = {name: _counts(labels.names[name], labels.is_bonafide, used) for name in KINDS}
    return {"rows": int(np.count_nonzero(used)), "labels_sha256": digest.hexdigest(), **counts}


def _counts(names: Names, is_bonafide: Bools, used: Bools) -> dict[str, int]:
    """Rows by label and name; `-` is one not known."""
    found: dict[str, int] = {}
    for label, of_class in ((BONAFIDE, used & is_bonafide), (SPOOF, used & ~is_bonafide)):
        n_rows = tally(names.code, len(names.words), of_class)[:, 0].tolist()
        unknown = int(np.count_nonzero(of_class)) - sum(n_rows)
        found |= {f"{label} {word}": n for word, n in zip((*names.words, "-"), (*n_rows, unknown), strict=True) if n}
    return found


def _say(head: Head, content: dict[str, Any]) -> None:
    report = content["training"]
    held_out, converged = report["held_out"], report["convergence"]
    print(
        f"head {head.head_id}: {report['bonafide']} bonafide and {report['spoof']} spoof rows in {report['groups']} "
        f"groups ({report['grouped_by']}), {report['read']}\n"
        f"c {report['c']:g}, {'standardised' if report['standardise'] else 'not standardised'}, class weights "
        f"{report['class_weights']}: best of {len(content['tried'])} tried on {report['folds']} folds "
        f"({report['folds_because']}); converged in {converged['passes']} passes\n"
        f"{content['edge_of_search'] + chr(10) if content['edge_of_search'] else ''}"
        f"held out: EER {held_out['equal_error_rate']:.1%}, Cllr {held_out['cllr']:.3f} bits, "
        f"ECE {held_out['expected_calibration_error']:.1%}"
    )
    left_out = content["leave_one_out"]
    if "equal_error_rate" in left_out:
        worst = max(left_out["system"].items(), key=lambda item: item[1]["wrong"])
        print(
            f"each system and source left out in turn: EER {left_out['equal_error_rate']:.1%}; worst system "
            f"{worst[0]}, {worst[1]['wrong']:.0%} of {worst[1]['rows']} taken for bona fide"
        )
    low, high = head.reject_band()
    if report["target_met"]:
        print(
            f"rejects scores between {low:.2f} and {high:.2f} nats at a prior of {head.prior:g}: keeps "
            f"{report['coverage']:.1%} of the held-out rows, {report['risk']:.1%} of them wrong"
        )
    if "certificate" in report:
        _say_certified(report["certificate"])
    elif not report["target_met"]:
        print(
            f"a risk of {report['target_risk']:g} is not reached at any coverage: the head rejects everything. Wish "
            f"for a --target-coverage or a higher --target-risk, or use a better encoder."
        )


def _say_certified(certificate: dict[str, Any]) -> None:
    shown = [(name, certificate[name]) for name in LABELS if certificate[name]["limit"] is not None]
    for name, found in shown:
        what = "miss" if name == BONAFIDE else "false alarm"
        if certificate["certified"]:
            print(
                f"certified, {certificate['confidence']:.0%} sure: {what} at most {found['bound']:.2%} of kept {name} "
                f"rows ({found['wrong']} of {found['kept']} wrong, wished {found['limit']:g}), at a prior of "
                f"{certificate['prior']:g} and for rows like these"
            )
        else:
            print(
                f"{what} of {found['limit']:g} cannot be certified with n = {found['rows']} {name} rows "
                f"({found['rows_needed']} kept ones without an error are the least): the head rejects everything"
            )
