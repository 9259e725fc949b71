"""score: embeddings (or audio) and a head in, the score table out."""

from __future__ import annotations

import datetime
from collections import Counter
from dataclasses import dataclass, field
from typing import Annotated, Any

import pyarrow as pa
import pyarrow.compute as pc

from detector.checkpoint import recipe_of
from detector.config import digest_of
from detector.errors import ConfigError
from detector.head import Head
from detector.rejection import log_odds
from detector.schema import REJECT_REASONS, SCORES, SPOOF
from jobs import embed, ledger, runs, storage
from jobs.archive import InputConfig
from jobs.checkpoint import local_folder
from jobs.config import ModelConfig, OutputConfig, RunConfig, part
from jobs.digest import add
from jobs.ledger import Ledger, Marker
from jobs.pipeline import Cluster
from jobs.progress import progress


@dataclass(frozen=True, kw_only=True)
class HeadConfig:
    """Which head judges, and at which prior."""

    head: Annotated[str, "head.json that `fit` wrote"]
    prior: Annotated[float | None, "share of spoof to assume in the archive [default: the head's]"] = None

    def __post_init__(self) -> None:
        if self.prior is not None and not 0.0 < self.prior < 1.0:
            raise ConfigError(f"prior {self.prior}; expected a share between 0 and 1.")


@dataclass(frozen=True, kw_only=True)
class ScoringConfig(HeadConfig, ModelConfig, OutputConfig, RunConfig):
    """What `score` and `nightly` have in common."""

    def __post_init__(self) -> None:
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
    """What a scoring run did."""

    head: Head
    prior: float
    run_id: str
    markers: list[Marker] = field(default_factory=list)

    @property
    def counts(self) -> Counter[str]:
        """Rows of the run by what became of them: see :func:`_counts`."""
        total: Counter[str] = Counter()
        for marker in self.markers:
            total.update(marker.detail["counts"])
        return total

    def record(self) -> dict[str, Any]:
        """For the run's record."""
        return {
            "head_id": self.head.head_id,
            "prior": self.prior,
            "reject_band_nats": self.head.reject_band(self.prior),
            "scores": dict(self.counts),
            "scores_digest": add(marker.digest for marker in self.markers),
        }

    def summary(self) -> str:
        """For a person."""
        counts = self.counts
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
    head = read_head(settings.head)
    if settings.embeddings is None:
        what = InputConfig(input=settings.input, manifest=settings.manifest)
        return embed_and_score(what, head, settings, "score")
    started = runs.now()
    source = embeddings_of(settings.embeddings, head)
    shard_ids = sorted(source.done())
    run_id = runs.run_id_of(settings, digest_of(shard_ids), head.head_id)
    with Cluster(settings) as cluster:
        scored = score_shards(cluster, source, shard_ids, head, settings, run_id)
    return _finish("score", started, scored, shard_ids, settings, {})


def embed_and_score(what: InputConfig, head: Head, settings: ScoringConfig, verb: str) -> int:
    """Embed and score what is missing of an archive: `nightly`, and `score` of recordings."""
    started = runs.now()
    model = part(settings, ModelConfig)
    recipe = recipe_of(head.embed_config, local_folder(model), model.model)
    check_fingerprint(head, recipe.fingerprint, settings.head)
    with Cluster(settings) as cluster:
        embedded = embed.embed_archive(cluster, what, recipe, model, settings.output, settings, head.head_id)
        shard_ids = [shard.shard_id for shard in embedded.plan.shards]
        scored = score_shards(cluster, embedded.ledger, shard_ids, head, settings, embedded.run_id)
    return _finish(verb, started, scored, shard_ids, settings, embedded.record())


def _finish(
    verb: str,
    started: datetime.datetime,
    scored: Scored,
    shard_ids: list[str],
    settings: ScoringConfig,
    embedded: dict[str, Any],
) -> int:
    """Write the record, say what came of the run, and return its exit code."""
    if not scored.markers:
        print(f"nothing new: all {len(shard_ids)} shards are scored with head {scored.head.head_id}")
        return 0
    output = storage.normal(settings.output)
    content = {"settings": runs.settings_of(settings), **embedded, **scored.record()}
    record = runs.write_record(output, scored.run_id, verb, started, content)
    print(f"{scored.summary()}\ntables: {storage.join(output, 'scores')}\nrecord: {record}")
    return embed.exit_code(output, scored.counts["failed"], scored.counts["rows"], settings.max_failures)


def read_head(uri: str) -> Head:
    """Read a head from wherever it lies."""
    uri = storage.normal(uri)
    return Head.from_json(storage.read_bytes(uri), uri)


def check_fingerprint(head: Head, fingerprint: str, where: str) -> None:
    """Refuse a head of another encoder, before any row is written."""
    if head.fingerprint != fingerprint:
        raise ConfigError(
            f"{where}: the head is for embeddings of fingerprint {head.fingerprint} ({head.model}, {head.recipe}), "
            f"but these have {fingerprint}. Use the head that was fitted on this encoder's embeddings, the same "
            f"--model and library versions, or fit again."
        )


def embeddings_of(output: str, head: Head) -> Ledger:
    """The embeddings under an output that the head is for.

    Raises
    ------
    ConfigError
        Where there are none, or only those of another recipe.
    """
    uri = storage.normal(output)
    found = ledger.keys(uri, "embeddings")
    if not found:
        raise ConfigError(f"{uri}: no embeddings here. Give the --output of an `embed` run.")
    if head.fingerprint not in found:
        check_fingerprint(head, ", ".join(found), output)
    return Ledger(uri, "embeddings", head.fingerprint)


def score_shards(
    cluster: Cluster, source: Ledger, shard_ids: list[str], head: Head, settings: ScoringConfig, run_id: str
) -> Scored:
    """Score the committed shards of an embedding table that have no scores of this head yet."""
    prior = head.prior if settings.prior is None else settings.prior
    table = Ledger(storage.normal(settings.output), "scores", head.head_id)
    done = table.done()
    _refuse_other_prior(table, done, prior)
    todo = sorted(set(shard_ids) - done)
    scored = Scored(head, prior, run_id)
    if todo:
        task = _ScoreShard(source, table, head, prior, settings.run_date, run_id)
        with progress("score", len(todo)) as shown:
            for content in cluster.map_items(task, todo):
                marker = Marker(**content)
                scored.markers.append(marker)
                shown.shard(marker.rows["scores"])
    return scored


def _refuse_other_prior(table: Ledger, done: set[str], prior: float) -> None:
    """A row stands once for one head: the same head at two priors would make two."""
    for marker in table.markers(sorted(done)[:1]):
        before = marker.detail["prior"]
        if before != prior:
            raise ConfigError(
                f"prior {prior:g}: this output holds scores of the head at a prior of {before:g}, and a row stands "
                f"once for a head. Use another --output; `score` itself does not depend on the prior."
            )


@dataclass(frozen=True)
class _ScoreShard:
    """Score one committed shard and commit its scores; runs on a worker."""

    source: Ledger
    table: Ledger
    head: Head
    prior: float
    run_date: str
    run_id: str

    @property
    def __name__(self) -> str:
        return "score"

    def __call__(self, shard_id: str) -> dict[str, Any]:
        embedded = self.source.markers([shard_id])[0]
        rows = self.source.read(embedded, "embeddings")
        judged = SCORES.empty_table() if rows is None else self.head.judge(rows, self.prior, self.run_id)
        tables = {"scores": (f"scores/run_date={self.run_date}", judged)}
        failures = self.source.read(embedded, "failures")
        if failures is not None and self.source.output != self.table.output:
            tables["failures"] = (f"failures/run_date={self.run_date}", failures)
        counts = _counts(judged) | {"failed": embedded.rows["failures"]}
        detail = {"prior": self.prior, "run_id": self.run_id, "counts": counts}
        return vars(self.table.commit(shard_id, embedded.uri, tables, detail))


def _counts(judged: pa.Table) -> dict[str, int]:
    """Rows, those accepted by label, those rejected, and these by reason."""
    accepted = judged.filter(pc.invert(judged["reject"]))["label"].to_pylist()
    reasons = judged["reject_reason"].drop_null().to_pylist()
    return {
        "rows": len(judged),
        "accepted_spoof": accepted.count(SPOOF),
        "accepted_bonafide": len(accepted) - accepted.count(SPOOF),
        "rejected": len(reasons),
        **Counter(reasons),
    }
