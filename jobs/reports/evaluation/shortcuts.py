"""Shortcuts: how well duration, silence, bandwidth, level or rate alone would score, compared with the head."""

from __future__ import annotations

import logging
from collections import defaultdict
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from detector import metrics
from detector.audio import Excerpt
from detector.errors import ConfigError
from detector.metrics import Floats
from detector.schema import LABELS, SPOOF
from detector.shortcuts import SHORTCUTS, SPECTRUM_SAMPLES, Sound, cross_fitted, sound_of, transferred
from jobs import storage
from jobs.inputs import shard_reader
from jobs.inputs.containers import container_kind
from jobs.inputs.shards import Portion, Selection, Shard
from jobs.reports.evaluation.trials import HeadTrials, bootstrap_clusters, to_trials
from jobs.tables import ledger

log = logging.getLogger(__name__)

FACTS = ("native_rate", "codec", "channels", "rms_dbfs")
WAYS = ("learnt_on_others", "in_folds")
KNOWS = 0.45  # an EER above this is not a shortcut, even if the head is no better
SOUND = tuple(Sound.__dataclass_fields__)
MAX_SECONDS = 120  # of a recording are held, to measure its silence and spectrum


def join_metadata(judged: list[HeadTrials], embeddings: str | None) -> list[HeadTrials]:
    """Add columns of the embedding table to every head's trials: rate, codec, channels, level.

    Parameters
    ----------
    judged : list of HeadTrials
    embeddings : str or None
        Output of `embed`; where None, the first embeddings that stand beside any head's scores are used, and nothing
        is added where there are none.

    Raises
    ------
    ConfigError
        Where ``embeddings`` has none that any of the scores are of.
    """
    uris = [each.uri for each in judged] if embeddings is None else [storage.normal(embeddings)]
    fingerprints = [each.rows["fingerprint"][0].as_py() for each in judged]
    there = [(uri, name) for uri in uris for name in ledger.keys(uri, "embeddings") if name in fingerprints]
    if not there and embeddings is not None:
        raise ConfigError(f"{uris[0]}: no embeddings of fingerprint {fingerprints[0]}, which the scores are of.")
    if not there:
        return judged
    uri, fingerprint = there[0]
    history = ledger.Ledger(uri, "embeddings", fingerprint)
    tables = [
        table.select(["utterance_id", *FACTS])  # at once, so that the embeddings of one shard are held, not of all
        for marker in history.committed()
        if (table := history.read(marker, "embeddings")) is not None
    ]
    return [_joined(each, pa.concat_tables(tables)) for each in judged] if tables else judged


def measure_audio(judged: HeadTrials) -> HeadTrials:
    """Read the recordings again, and add the measures of :func:`detector.shortcuts.sound_of`.

    Recordings that cannot be read any more, or are too short, get nulls.
    """
    wanted = pa.concat_tables([each.select(["utterance_id", "uri", "member"]) for each in (judged.rows, judged.seen)])
    measured: list[dict[str, Any]] = []
    shards = _shards(wanted)
    for number, shard in enumerate(shards, start=1):
        log.info("shortcuts: reading %s (%d of %d)", shard.uri, number, len(shards))
        measured += _sounds(shard)
    schema = pa.schema([("utterance_id", pa.string()), *((name, pa.float64()) for name in SOUND)])
    return _joined(judged, pa.Table.from_pylist(measured, schema=schema))


def baselines(judged: HeadTrials, n_draws: int) -> list[dict[str, Any]]:
    """Return the EER of each shortcut and of the head: learnt on other splits, and in folds of the same trials.

    Returns
    -------
    list of dict
        `name`, `facts`, `rows`; `learnt_on_others` and `in_folds`, each None or an `equal_error_rate` with its interval
        and `near`: whether it is below 45 % and the head is not shown to be better (95 % interval of the difference on
        the same draws).
        `absent` says why, where the tables do not carry the facts.
    """
    return [_baseline(name, facts, judged, n_draws) for name, facts in SHORTCUTS.items()]


def warnings_of(found: list[dict[str, Any]]) -> list[str]:
    """Return a warning for each shortcut that is nearly as good as the head."""
    sentences = []
    for each in found:
        near = [each[way]["value"] for way in WAYS if each[way] is not None and each[way]["near"]]
        if near:
            sentences.append(
                f"Shortcut: {each['name']} alone has an EER of {min(near):.1%}, and the head is not shown to be better:"
                f" the head may rely on this shortcut."
            )
    return sentences


def _baseline(name: str, facts: tuple[str, ...], judged: HeadTrials, n_draws: int) -> dict[str, Any]:
    found: dict[str, Any] = {"name": name, "facts": list(facts), "rows": 0, "absent": None}
    found |= {"learnt_on_others": None, "in_folds": None}
    missing = [fact for fact in facts if fact not in judged.rows.column_names]
    if missing:
        how = (
            "read the recordings with --audio" if missing[0] in SOUND else "name the table that has it by --embeddings"
        )
        return found | {"absent": f"the score table does not carry {', '.join(missing)}; {how}"}
    here, there = _measured(judged.rows, facts), _measured(judged.seen, facts)
    head = to_trials(judged.rows)[here & judged.rows["score"].is_valid().to_numpy()]
    rows = judged.rows.filter(pa.array(here & judged.rows["score"].is_valid().to_numpy()))
    values, others = _values(rows, facts), judged.seen.filter(pa.array(there))
    found["rows"] = len(rows)
    if min(head.is_spoof.sum(), (~head.is_spoof).sum()) < 2:
        return found | {"absent": "too few recordings with these facts"}
    if len(set(others["truth"].to_pylist())) == len(LABELS):
        truth = pc.equal(others["truth"], SPOOF).to_numpy(zero_copy_only=False)
        scores = transferred(_values(others, facts), truth, values)
        found["learnt_on_others"] = _beside(head, scores, n_draws)
    crossed = cross_fitted(values, head.is_spoof, bootstrap_clusters(rows))
    if crossed is not None:
        found["in_folds"] = _beside(head, crossed, n_draws)
    return found


def _beside(head: metrics.Trials, scores: Floats, n_draws: int) -> dict[str, Any]:
    shortcut = replace(head, score=scores)
    eer = asdict(metrics.intervals(shortcut, n_draws)["equal_error_rate"])
    behind = metrics.compare(shortcut, head, n_draws)["equal_error_rate"]
    return eer | {"near": behind.low <= 0.0 and eer["value"] < KNOWS}


def _measured(rows: pa.Table, facts: tuple[str, ...]) -> npt.NDArray[np.bool_]:
    return np.asarray(np.isfinite(_values(rows, facts)).all(axis=1))


def _values(rows: pa.Table, facts: tuple[str, ...]) -> Floats:
    return np.stack([rows[fact].cast(pa.float64()).fill_null(np.nan).to_numpy() for fact in facts], axis=1)


def _joined(judged: HeadTrials, facts: pa.Table) -> HeadTrials:
    rows, seen = (
        each.join(facts, "utterance_id", join_type="left outer").sort_by("utterance_id")
        for each in (judged.rows, judged.seen)
    )
    return replace(judged, rows=rows, seen=seen)


def _shards(rows: pa.Table) -> list[Shard]:
    """Return the stored objects that hold these recordings, without those that are gone."""
    selections = defaultdict(list)
    for row in rows.to_pylist():
        kind = "files" if row["member"] is None else container_kind(row["uri"]) or "tar"
        excerpt = Excerpt(row.get("start") or 0.0, row.get("end"), row.get("channel"))
        selections[kind, row["uri"]].append((row["member"] or row["uri"], Selection(row["utterance_id"], excerpt)))
    there = [(kind, storage.stat(uri), named) for (kind, uri), named in selections.items()]
    return [Shard.selecting(kind, (source,), named) for kind, source, named in there if source is not None]


def _sounds(shard: Shard) -> list[dict[str, Any]]:
    held: dict[int, list[npt.NDArray[np.float32]]] = defaultdict(list)
    found = []
    for piece in shard_reader.read_shard(Portion(shard), segment_seconds=float(MAX_SECONDS)):
        if "samples" in piece and piece["segment"] == 0:
            held[piece["ordinal"]].append(np.frombuffer(piece["samples"], dtype=np.float32))
        elif "outcome" in piece:
            samples = held.pop(piece["ordinal"], [])
            if samples and "error" not in piece["outcome"] and len(samples[0]) >= SPECTRUM_SAMPLES:
                found.append({"utterance_id": piece["outcome"]["utterance_id"], **sound_of(samples[0]).to_dict()})
    return found
