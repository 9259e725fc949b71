"""score: embeddings (or audio) and a head in, the score table out."""

from __future__ import annotations

import datetime
import json
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from detector import starter
from detector.checkpoint import recipe_of
from detector.config import CHANNELS, STARTER
from detector.drift import FAR, Drift, drift, histogram
from detector.errors import ConfigError
from detector.head import Head
from detector.rejection import log_odds
from detector.schema import FAILURES, REJECT_REASONS, SCORES, SPOOF
from jobs import storage
from jobs.config import ModelConfig, OutputConfig, RunConfig, part
from jobs.errors import RunAgain, WorkersLostError
from jobs.execution.cluster import Cluster
from jobs.execution.retries import PASSES
from jobs.execution.watchdog import StopRequest, Watchdog
from jobs.inputs.archive import InputConfig
from jobs.inputs.checkpoint import local_folder
from jobs.tables import ledger, run_records
from jobs.tables.ledger import Ledger
from jobs.tables.plan import plan_id_of, propose_scores
from jobs.tables.protocol import Entry, Marker, Plan, PlanHistory, PlannedShard
from jobs.telemetry import logs, metrics
from jobs.telemetry.progress import progress
from jobs.verbs import embed

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class HeadConfig:
    """Which head judges, and at which prior."""

    head: Annotated[str, "head.json that `fit` wrote, or starter, which is in the box"] = STARTER
    prior: Annotated[float | None, "share of spoof to assume in the archive [default: the head's]"] = None
    require_signature: Annotated[str | None, "public key, PEM: a head that it did not sign is refused"] = None

    def __post_init__(self) -> None:
        if self.prior is not None and not 0.0 < self.prior < 1.0:
            raise ConfigError(f"prior {self.prior}; expected a share between 0 and 1.")


@dataclass(frozen=True, kw_only=True)
class ScoringConfig(HeadConfig, ModelConfig, OutputConfig, RunConfig):
    """What `score` and `nightly` have in common."""

    channels: Annotated[
        str | None, "mix, first or each, as for `embed` [default: as the embeddings that the head was fitted on]"
    ] = None

    def __post_init__(self) -> None:
        if self.channels is not None and self.channels not in CHANNELS:
            raise ConfigError(f"channels {self.channels!r} is not known; expected one of {', '.join(CHANNELS)}.")
        HeadConfig.__post_init__(self)
        RunConfig.__post_init__(self)


@dataclass(frozen=True, kw_only=True)
class Settings(ScoringConfig):
    """Score embeddings, or recordings (which are embedded first, as the head's recipe says)."""

    embeddings: Annotated[str | None, "the --output of an `embed` run"] = None
    input: Annotated[tuple[str, ...], "archive, as for `embed`, instead of --embeddings; repeatable"] = ()
    manifest: Annotated[str | None, "Parquet manifest, instead of --embeddings"] = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.embeddings is not None) == bool(self.input or self.manifest):
            raise ConfigError("give either --embeddings, or --input or --manifest.")


@dataclass
class Scored:
    """A scoring run: the plans that it worked on, and what it committed of them."""

    head: Head
    prior: float
    ledger: Ledger
    history: PlanHistory
    slots: frozenset[str]

    def record(self) -> dict[str, Any]:
        """For the run's record."""
        band = self.head.reject_band(self.prior)
        return {"head_id": self.head.head_id, "prior": self.prior, "reject_band_nats": band}

    def warnings(self, records: list[dict[str, Any]]) -> list[str]:
        """What a person should know of the runs: drift, and a promise that does not hold at this prior."""
        found = {text: None for record in records if "drift" in record for text in _warnings(record, self.prior)}
        certified = self.head.training.get("certificate", {}).get("certified", False)
        if certified and self.prior != self.head.prior:
            found[
                f"the head's certificate is for a prior of {self.head.prior:g}; at {self.prior:g} the band of rejected "
                f"scores is another one, and nothing is certified."
            ] = None
        return list(found)

    def summary(self, counts: Counter[str]) -> str:
        """For a person."""
        rejected = ", ".join(f"{counts[reason]} {reason}" for reason in REJECT_REASONS if counts[reason])
        low, high = self.head.reject_band(self.prior)
        return (
            f"scored {counts['rows']} utterances with head {self.head.head_id} at a prior of {self.prior:g} spoof: "
            f"{counts['accepted_bonafide']} bonafide, {counts['accepted_spoof']} spoof, "
            f"{counts['rejected']} rejected{f' ({rejected})' if rejected else ''}; {counts['failed']} inputs failed\n"
            f"spoof is a score under {log_odds(self.prior):.2f} nats; uncertain is one between {low:.2f} and {high:.2f}"
        )


def run(settings: Settings) -> int:
    """Score, write the record, and say what came of it; return the exit code."""
    head = read_head(settings.head, settings.require_signature)
    if settings.embeddings is None:
        what = InputConfig(input=settings.input, manifest=settings.manifest)
        return embed_and_score(what, head, settings, "score")
    started = run_records.now()
    source = embeddings_of(settings.embeddings, head, settings.channels)
    done = source.done()
    shards = [shard for shard in source.history().current.values() if shard.name in done]
    with Cluster(settings) as cluster:
        scored = score_shards(cluster, source, shards, head, settings)
    return _finish("score", started, scored, settings, {})


def embed_and_score(
    what: InputConfig,
    head: Head,
    settings: ScoringConfig,
    verb: str,
    then: Callable[[Scored, Ledger], None] | None = None,
) -> int:
    """Embed and score what is missing of an archive: `nightly`, and `score` of recordings.

    Parameters
    ----------
    then : callable, optional
        What to do once the records are written, with what was scored and the table of embeddings.
    """
    started = run_records.now()
    model = part(settings, ModelConfig)
    config = head.embed_config
    config = replace(config, channels=settings.channels or config.channels)
    recipe = recipe_of(config, local_folder(model), model.model)
    check_fingerprint(head, recipe.fingerprint, settings.head)
    with Cluster(settings) as cluster:
        embedded = embed.embed_archive(cluster, what, recipe, model, settings, settings)
        embed.write_records(embedded, verb, started, settings)
        scored = score_shards(cluster, embedded.ledger, embedded.committed(), head, settings)
    code = _finish(verb, started, scored, settings, embedded.record())
    if then is not None:
        then(scored, embedded.ledger)
    embedded.raise_set_aside()
    return code


def _finish(
    verb: str, started: datetime.datetime, scored: Scored, settings: ScoringConfig, embedded: dict[str, Any]
) -> int:
    """Write the records, say what came of the run, and return its exit code."""

    def counts(markers: list[Marker]) -> dict[str, Any]:
        found = _total(marker.detail["counts"] for marker in markers)
        failed_by = _total(marker.detail.get("failed_by", {}) for marker in markers)
        moved = _drift(markers, found, scored.head)
        return {"scores": found, "failed_by": failed_by} | ({} if moved is None else {"drift": asdict(moved)})

    content = {"settings": run_records.settings_of(settings), **embedded, **scored.record()}
    records = run_records.write_records(scored.ledger, scored.history, scored.slots, verb, started, content, counts)
    if not records:
        print(f"nothing new: all {len(scored.slots)} shards are scored with head {scored.head.head_id}")
        return 0
    output = scored.ledger.output
    found = _total(record["scores"] for record in records)
    print(f"{scored.summary(found)}\ntables: {storage.join(output, 'scores')}\nrecord: {records[-1]['uri']}")
    for warning in scored.warnings(records):
        print(f"warning: {warning}")
    return embed.exit_code(output, found["failed"], found["rows"], settings.max_failures)


def _warnings(record: dict[str, Any], prior: float) -> list[str]:
    return Drift(**record["drift"]).warnings(prior)


def _drift(markers: list[Marker], counts: Counter[str], head: Head) -> Drift | None:
    """How the archive's scores differ from the calibration rows', where the head says what these were."""
    histograms = [marker.detail["histogram"] for marker in markers if "histogram" in marker.detail]
    if not histograms:
        return None
    total = np.array(histograms, dtype=np.int64).sum(axis=0)
    return drift(total, counts["far_out"], head.training.get("score_histograms", {}))


def _total(counts: Iterable[dict[str, int]]) -> Counter[str]:
    found: Counter[str] = Counter()
    for each in counts:
        found.update(each)
    return found


def read_head(uri: str, public_key: str | None = None) -> Head:
    """Read a head from wherever it lies, or the starter's; given the URI of a public key, only one that it signed."""
    if uri == STARTER and public_key is None:
        log.warning("%s", starter.NOTICE)
        return Head.starter()
    uri = storage.normal(str(starter.HEAD) if uri == STARTER else uri)
    key = None if public_key is None else storage.read_bytes(storage.normal(public_key))
    return Head.from_json(storage.read_bytes(uri), uri, key)


def check_fingerprint(head: Head, fingerprint: str, where: str) -> None:
    """Refuse a head of another encoder, before any row is written."""
    if fingerprint not in head.fingerprints.values():
        raise ConfigError(
            f"{where}: the head is for embeddings of fingerprint {head.fingerprint} ({head.model}, {head.recipe}), "
            f"but these have {fingerprint}. Use the head that was fitted on this encoder's embeddings, the same "
            f"--model and library versions, or fit again."
        )


def embeddings_of(output: str, head: Head, channels: str | None = None) -> Ledger:
    """The embeddings under an output that the head is for: of ``channels``, where that is given.

    Raises
    ------
    ConfigError
        Where there are none, or only those of another recipe.
    """
    uri = storage.normal(output)
    found = ledger.keys(uri, "embeddings")
    if not found:
        raise ConfigError(f"{uri}: no embeddings here. Give the --output of an `embed` run.")
    fingerprint = head.fingerprints[channels] if channels else head.fingerprint
    others = {name: each for name, each in head.fingerprints.items() if each in found}
    if fingerprint not in found and others:
        raise ConfigError(f"{uri}: its embeddings are of other channels; ask for them by --channels {min(others)}.")
    if fingerprint not in found:
        check_fingerprint(head, ", ".join(found), output)
    return Ledger(uri, "embeddings", fingerprint)


def score_shards(
    cluster: Cluster, source: Ledger, shards: list[PlannedShard], head: Head, settings: ScoringConfig
) -> Scored:
    """Score the committed shards of an embedding table that have no scores of this head yet, or older ones."""
    prior = head.prior if settings.prior is None else settings.prior
    table = Ledger(storage.normal(settings.output), "scores", head.head_id)

    def propose(history: PlanHistory) -> Plan | None:
        _refuse_other_prior(history, prior)
        _refuse_other_channels(history, head, source.key)
        new = propose_scores(shards, history)
        if not new:
            return None
        run_id = run_records.run_id_of(settings, plan_id_of(new, len(history.plans)), head.head_id)
        return Plan(run_id, settings.run_date, new, {"prior": prior, "fingerprint": source.key})

    history = table.freeze(propose)
    if history.plans:
        logs.bind(run_id=history.plans[-1].run_id)
    scored = Scored(head, prior, table, history, frozenset(shard.slot for shard in shards))
    done = table.done()
    todo = [shard for slot in sorted(scored.slots) if (shard := history.current[slot]).name not in done]
    if todo:
        task = _ScoreShard(source, table, head, prior)
        watchdog = Watchdog(settings.stall_seconds)
        with progress("score", len(todo)) as shown, StopRequest() as stop:
            for n_rows in run_all(partial(cluster.map_items, task, watchdog=watchdog, stop=stop), todo):
                watchdog.moved()
                shown.shard(n_rows)
    return scored


def run_all(stream: Callable[[list[str]], Iterator[dict[str, Any]]], todo: list[PlannedShard]) -> Iterator[int]:
    """Score every shard, again where a worker was lost; yield rows."""
    left = {shard.name: shard for shard in todo}
    replaced: list[str] = []
    notes = "its workers were lost"
    for _ in range(PASSES):
        try:
            for result in stream([json.dumps(asdict(shard)) for shard in left.values()]):
                if left.pop(result["name"], None) is not None:
                    replaced += [] if result["committed"] else [result["name"]]
                    for outcome, n_rows in result["outcomes"].items():
                        metrics.count("bonafide_rows_total", n_rows, verb="score", outcome=outcome)
                    yield result["rows"]
        except WorkersLostError as error:
            notes = str(error)
        if not left and replaced:
            raise RunAgain(f"{len(replaced)} shard(s) were replaced while they were scored, first {replaced[0]}.")
        if not left:
            return
        metrics.count("bonafide_workers_lost_total", verb="score")
        log.warning("%d shard(s) not scored, first %s: %s", len(left), min(left), notes)
    raise RunAgain(f"gave up on {len(left)} shard(s) after {PASSES} passes, first {min(left)}: {notes}. Run again.")


def _refuse_other_prior(history: PlanHistory, prior: float) -> None:
    """A row stands once for one head: the same head at two priors would make two."""
    before = history.plans[0].detail["prior"] if history.plans else prior
    if before != prior:
        raise ConfigError(
            f"prior {prior:g}: this output holds scores of the head at a prior of {before:g}, and a row stands "
            f"once for a head. Use another --output; `score` itself does not depend on the prior."
        )


def _refuse_other_channels(history: PlanHistory, head: Head, fingerprint: str) -> None:
    """Embeddings of other channels have the same slots: their scores would stand where others stand."""
    before = history.plans[0].detail.get("fingerprint", head.fingerprint) if history.plans else fingerprint
    if before != fingerprint:
        raise ConfigError(
            f"embeddings of fingerprint {fingerprint}: this output holds the head's scores of {before}, that is of "
            f"other --channels. Use another --output."
        )


@dataclass(frozen=True)
class _ScoreShard:
    """Score one committed shard and commit its scores; runs on a worker."""

    source: Ledger
    table: Ledger
    head: Head
    prior: float

    @property
    def __name__(self) -> str:
        return "score"

    def __call__(self, text: str) -> dict[str, Any]:
        content = json.loads(text)
        shard = PlannedShard(**{**content, "entry": Entry(**content["entry"])})
        (embedded,) = self.source.markers([shard.entry.state])
        rows = self.source.read(embedded, "embeddings")
        judged = SCORES.empty_table() if rows is None else self.head.judge(rows, self.prior, shard.run_id)
        failures = self.source.read(embedded, "failures")
        failures = FAILURES.empty_table() if failures is None else failures
        tables = {"scores": (f"scores/run_date={shard.run_date}", judged)}
        if self.source.output != self.table.output:
            tables = {"failures": (f"failures/run_date={shard.run_date}", failures)} | tables
        counts = _counts(judged) | {"failed": embedded.rows["failures"]}
        bins = histogram(judged["score"].drop_null().to_numpy()).tolist()
        failed_by = Counter(failures["error"].to_pylist())
        detail = {"run_id": shard.run_id, "counts": counts, "failed_by": failed_by, "histogram": bins}
        marker = self.table.commit(shard, embedded.uri, tables, detail)
        metrics.count("bonafide_alarms_total", len(marker.alarms) if marker else 0)
        return {"name": shard.name, "rows": len(judged), "committed": marker is not None, "outcomes": _outcomes(judged)}


def _outcomes(judged: pa.Table) -> dict[str, int]:
    """Rows by reason where they are rejected, else by label."""
    return dict(Counter(pc.coalesce(judged["reject_reason"], judged["label"]).to_pylist()))


def _counts(judged: pa.Table) -> dict[str, int]:
    """Rows, those accepted by label, those rejected, and these by reason."""
    accepted = judged.filter(pc.invert(judged["reject"]))["label"].to_pylist()
    reasons = judged["reject_reason"].drop_null().to_pylist()
    return {
        "rows": len(judged),
        "accepted_spoof": accepted.count(SPOOF),
        "accepted_bonafide": len(accepted) - accepted.count(SPOOF),
        "rejected": len(reasons),
        "far_out": pc.sum(pc.greater(judged["ood"], FAR)).as_py() or 0,
        **Counter(reasons),
    }
