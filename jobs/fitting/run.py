"""A fit: labelled embeddings in, a head and its report out."""

from __future__ import annotations

import hashlib
import json
import logging
import posixpath
from typing import Any

import numpy as np
import pyarrow as pa

from detector.groups import Names, blocks, sample, tally
from detector.logistic import Bools, Rows, gather, subset
from detector.schema import BONAFIDE, SPOOF
from detector.training.fitting import fit_head
from detector.training.leave_out import leave_one_out
from detector.training.report import outcomes
from jobs import storage
from jobs.fitting.choice import Choice, choose_table
from jobs.fitting.config import FitConfig
from jobs.fitting.summary import print_summary
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
    chosen = choose_table(settings)
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
        systems=names["system"][used],
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
    report_uri = uri.removesuffix(".json") + ".report.json"
    storage.write_bytes(uri, head.to_json(key).encode())
    storage.write_bytes(report_uri, (json.dumps(content, indent=1, sort_keys=True) + "\n").encode())
    print_summary(head, content)
    say(f"head: {uri}", f"report: {report_uri}")
    return 0


def _used(chosen: Choice, settings: FitConfig) -> Bools:
    """Select the rows to fit on: all, or a sample of ``sample_rows``."""
    n_rows = chosen.rows.n_rows if settings.sample_rows is None else settings.sample_rows
    return sample(chosen.rows.is_bonafide, chosen.groups, n_rows)


def _held(table: Labelled, used: Bools, memory_mib: int) -> tuple[Rows, str]:
    """Return the rows, in memory if they fit, else as a stream from the table; and how they are read, in words."""
    n_used = int(np.count_nonzero(used))
    needed = n_used * table.dim * 4 / MIB
    if needed <= memory_mib:
        return gather(table, used), "held in memory"
    log.info("%d embeddings take %.0f MiB, more than --memory-mib %d: streamed", n_used, needed, memory_mib)
    return subset(table, used), "streamed, anew for every pass"


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
