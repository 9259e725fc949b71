"""A fit: labelled embeddings in, a head and its report out."""

from __future__ import annotations

import hashlib
import json
import logging
import posixpath
from typing import Any

import numpy as np
import pyarrow as pa

from detector.errors import ConfigError
from detector.groups import Names, blocks, sample, tally
from detector.head import Head
from detector.logistic import Bools, Matrix, gather, subset
from detector.schema import BONAFIDE, SPOOF
from detector.training.fitting import fit_head
from detector.training.fusion import Part, fuse_heads
from detector.training.leave_out import leave_one_out
from detector.training.report import HeldOut, outcomes
from jobs import storage
from jobs.fitting.attribution import print_attribution, with_attribution
from jobs.fitting.choice import Choice, choose_tables
from jobs.fitting.config import FitConfig
from jobs.fitting.corpora import corpora_of, single_corpus
from jobs.fitting.summary import print_summary
from jobs.inputs.results import write_result
from jobs.tables import run_records
from jobs.tables.labelled import Labelled
from jobs.telemetry.names import say

log = logging.getLogger(__name__)

MIB = 1 << 20
KINDS = ("system", "source")


def fit(settings: FitConfig) -> int:
    """Fit a head, write it and its report, print a summary, and return the exit code."""
    started = run_records.now()
    # Arrow's default pool keeps memory that its threads freed: 45 MB after reading a million labels, which take 6 MB
    pa.set_memory_pool(pa.system_memory_pool())
    uri = storage.normal(settings.output)
    uri = uri if uri.endswith(".json") else storage.join(uri, "head.json")
    storage.check_folder(posixpath.dirname(uri))
    key = None if settings.sign_key is None else storage.read_bytes(storage.normal(settings.sign_key))
    chosen, *others = choose_tables(settings)
    used = _used(chosen, settings)
    is_bonafide = chosen.rows.is_bonafide
    names = {name: chosen.rows.names[name] for name in KINDS}
    head, report, held_out = _fitted([chosen, *others], used, settings)
    attributed = None
    if settings.attribution:
        head, attributed = with_attribution(head, chosen, settings.false_attribution)
    content = {
        "head_id": head.head_id,
        "started": started.isoformat(timespec="seconds"),
        "settings": run_records.settings_of(settings),
        "versions": run_records.versions(),
        "training": report,
        "tried": chosen.tried,
        "chosen_by": "the least C whose Cllr is not above the best's by more than one standard error over the folds",
        "edge_of_search": chosen.edge,
        "single_corpus": single_corpus(corpora_of(names["source"], chosen.rows.outputs)[used], is_bonafide[used]),
        "leave_one_out": {} if others else _left_out(chosen, head),
        "held_out_by": outcomes(held_out, is_bonafide[used], {name: column[used] for name, column in names.items()}),
        "reject_band_nats": head.reject_band(),
        **({} if attributed is None else {"attribution": attributed}),
    }
    report_uri = uri.removesuffix(".json") + ".report.json"
    write_result(uri, head.to_json(key).encode())
    write_result(report_uri, (json.dumps(content, indent=1, sort_keys=True) + "\n").encode())
    print_summary(head, content)
    if attributed is not None:
        print_attribution(attributed)
    say(f"head: {uri}", f"report: {report_uri}")
    return 0


def _fitted(choices: list[Choice], used: Bools, settings: FitConfig) -> tuple[Head, dict[str, Any], HeldOut]:
    """Fit the head of the best choice, or fuse those of all."""
    chosen = choices[0]
    held = _held([each.rows for each in choices], used, settings)
    how = "held in memory" if isinstance(held[0], Matrix) else "streamed, anew for every pass"
    facts: dict[str, Any] = {
        "certifying": chosen.certifying[used],
        "seconds": chosen.rows.seconds[used],
        "systems": chosen.rows.names["system"][used],
        "sources": chosen.rows.names["source"][used],
        "about": {"read": how, "trained_on": _trained_on(chosen.rows, used)},
    }
    is_bonafide, groups = chosen.rows.is_bonafide[used], chosen.groups[used]
    if len(choices) == 1:
        recipe, model = chosen.rows.recipe, chosen.rows.model
        if chosen.parts is not None:
            facts["segments"] = chosen.parts.segments(chosen.rows, used, settings.silence_dbfs)
        return fit_head(held[0], is_bonafide, groups, chosen.config, recipe=recipe, model=model, **facts)
    parts = [
        Part(rows, each.config, each.rows.recipe, each.rows.model) for rows, each in zip(held, choices, strict=True)
    ]
    return fuse_heads(parts, is_bonafide, groups, **facts)


def _left_out(chosen: Choice, head: Head) -> dict[str, Any]:
    """Leave out each system and each source of the sampled rows in turn."""
    names = {name: chosen.rows.names[name][chosen.sampled] for name in KINDS}
    of_sampled = chosen.rows.is_bonafide[chosen.sampled]
    found = leave_one_out(chosen.sample, of_sampled, names, chosen.config, head.calibration)
    return {"rows": chosen.sample.n_rows, **found}


def _used(chosen: Choice, settings: FitConfig) -> Bools:
    """Select the rows to fit on: all, or a sample of ``sample_rows``."""
    n_rows = chosen.rows.n_rows if settings.sample_rows is None else settings.sample_rows
    return sample(chosen.rows.is_bonafide, chosen.groups, n_rows)


def _held(tables: list[Labelled], used: Bools, settings: FitConfig) -> list[Any]:
    """Return the rows of each table, in memory if all fit, else as a stream from the table.

    Raises
    ------
    ConfigError
        If several tables do not fit: they are read shard by shard, each in an order of its own.
    """
    n_used = int(np.count_nonzero(used))
    needed = n_used * sum(table.dim for table in tables) * 4 / MIB
    if needed <= settings.memory_mib:
        return [gather(table, used) for table in tables]
    said = f"{n_used} embeddings take {needed:.0f} MiB, more than --memory-mib {settings.memory_mib}"
    if len(tables) > 1:
        raise ConfigError(f"{said}, and fused tables are not streamed. Raise it, or fit on a part by --sample-rows.")
    log.info("%s: streamed", said)
    return [subset(table, used) for table in tables]


def _trained_on(table: Labelled, used: Bools) -> dict[str, Any]:
    """Count rows by label, system and source; digest the id and class of each row, in the order of the ids' digests."""
    labels = table.labels
    digest = hashlib.sha256()
    for rows in blocks(len(labels)):
        content = np.empty(len(used[rows]), dtype=[("id", ">u8"), ("is_bonafide", "u1")])
        content["id"], content["is_bonafide"] = labels.digest[rows], labels.is_bonafide[rows]
        digest.update(content[used[rows]].tobytes())
    counts = {name: _counts(labels.names[name], labels.is_bonafide, used) for name in KINDS}
    return {"rows": int(np.count_nonzero(used)), "labels_sha256": digest.hexdigest(), **counts}


def _counts(names: Names, is_bonafide: Bools, used: Bools) -> dict[str, int]:
    """Count rows by label and name; `-` stands for an unknown name."""
    found: dict[str, int] = {}
    for label, of_class in ((BONAFIDE, used & is_bonafide), (SPOOF, used & ~is_bonafide)):
        n_rows = tally(names.code, len(names.words), of_class)[:, 0].tolist()
        unknown = int(np.count_nonzero(of_class)) - sum(n_rows)
        found |= {f"{label} {word}": n for word, n in zip((*names.words, "-"), (*n_rows, unknown), strict=True) if n}
    return found
