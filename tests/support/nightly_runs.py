"""Nights without Ray: embeddings drawn from a known model, a head fitted on such, scored and recorded as runs do."""

from __future__ import annotations

import datetime
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa

from detector.config import EmbedConfig, Recipe, digest_of
from detector.groups import Names, groups_of
from detector.head import Head
from detector.logistic import Matrix
from detector.schema import FAILURES, embeddings_schema
from detector.training.config import TrainingConfig
from detector.training.fitting import fit_head
from detector.windows import COLUMNS, Windows
from jobs import storage
from jobs.reports.nightly import page
from jobs.reports.nightly.config import NightlyConfig
from jobs.scoring import run as scoring_run
from jobs.scoring.result import ScoringRun
from jobs.scoring.shards import score_shards
from jobs.tables.ledger import Ledger
from jobs.tables.plan import SEGMENTS
from jobs.tables.protocol import Entry, Plan
from tests.support.runner import InProcessRunner

DIM = 8
RECIPE = Recipe(EmbedConfig(backbone="melstats"), "melstats", "00")
STARTED = datetime.datetime(2026, 11, 23, tzinfo=datetime.UTC)


def drawn(
    n: int, *, spoof: float = 0.5, seed: int = 0, moved: float = 0.0, dim: int = DIM
) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings of two classes, two standard deviations apart in the first dimension; and which are bona fide."""
    rng = np.random.default_rng(seed)
    is_bonafide = rng.random(n) >= spoof
    vectors = rng.normal(size=(n, dim))
    vectors[:, 0] += np.where(is_bonafide, 1.0, -1.0)
    return (vectors + moved).astype(np.float32), is_bonafide


@cache
def head(*, with_sources: bool = True, target_coverage: float = 0.8, recipe: Recipe = RECIPE, dim: int = DIM) -> Head:
    """Fitted on 600 rows of sources `radio` (two in three) and `calls`; lengths are 2 to 12 s."""
    vectors, is_bonafide = drawn(600, seed=1, dim=dim)
    number = np.arange(len(vectors))
    sources = Names.of(["radio" if each % 3 else "calls" for each in number])
    none = Names.of([None] * len(vectors))
    groups = groups_of(
        is_bonafide, {"system": Names.of([f"s{each % 10}" for each in number]), "speaker": none, "source": none}
    )
    found, _, _ = fit_head(
        Matrix(vectors),
        is_bonafide,
        groups,
        TrainingConfig(c=1.0, standardise=True, target_coverage=target_coverage),
        recipe=recipe.describe(),
        model="drawn",
        seconds=np.random.default_rng(2).uniform(2.0, 12.0, len(vectors)),
        sources=sources if with_sources else None,
    )
    return found


@dataclass
class Recording:
    """A row of `embeddings` to be."""

    uri: str
    member: str | None
    embedding: np.ndarray | None
    seconds: float = 5.0
    channel: int | None = None
    window_seconds: float | None = None
    hop_seconds: float | None = None
    window_speech_shares: list[float] | None = None
    window_levels: list[float] | None = None
    window_embeddings: list[float] | None = None
    audio_sha256: str = ""  # of bytes that are nowhere

    def with_windows(self, vectors: np.ndarray, windows: Windows) -> Recording:
        """The recording with windows of these embeddings, one a window."""
        n = windows.n_windows(self.seconds)
        columns = (windows.window_seconds, windows.hop_seconds, [0.5] * n, [-20.0] * n, vectors[:n].ravel().tolist())
        found: dict[str, Any] = dict(zip(COLUMNS, columns, strict=True))
        return replace(self, **found)

    @property
    def windows(self) -> Windows | None:
        return Windows(self.window_seconds, self.hop_seconds) if self.window_seconds and self.hop_seconds else None

    @property
    def utterance_id(self) -> str:
        side = "" if self.channel is None else f"/ch{self.channel}"
        return storage.key_of(self.uri) + (f"#{self.member}" if self.member else "") + side


def recordings(vectors: np.ndarray, uri: str = "s3://archive/2026/radio/0001.tar", *, seed: int = 3) -> list[Recording]:
    """Members of a container, 2 to 12 s long."""
    seconds = np.random.default_rng(seed).uniform(2.0, 12.0, len(vectors))
    return [
        Recording(uri, f"{number:04d}.flac", vector, length)
        for number, (vector, length) in enumerate(zip(vectors, seconds, strict=True))
    ]


def embed(
    output: str,
    shards: dict[str, list[Recording]],
    failures: dict[str, str],
    date: str,
    failed_seconds: float | None = None,
    state: str = "made",
    recipe: Recipe = RECIPE,
) -> Ledger:
    """Commit shards to the embedding table as `embed` does; failures are of the first, by member with their error."""
    table = Ledger(output, "embeddings", recipe.fingerprint)
    entries = tuple(Entry(slot_of(name), state) for name in shards)
    names = {slot_of(name): name for name in shards}

    def propose(history: Any) -> Plan | None:
        have = {(slot, each.entry.state) for slot, each in history.current.items()}
        new = tuple(each for each in entries if (each.slot, each.state) not in have)
        windows = {str(each.windows) for rows in shards.values() for each in rows if each.windows}
        detail = {SEGMENTS: min(windows)} if windows else {}
        return Plan(f"{date}-embed{len(history.plans)}", date, new, detail) if new else None

    history, done = table.freeze(propose), table.done()
    same: dict[str, Any] = {"native_rate": 16_000, "channels": 1, "codec": "c", "decoder": "d", "rms_dbfs": -20.0}
    planned_on = datetime.date.fromisoformat(date)
    for number, (slot, name) in enumerate(names.items()):
        planned = history.current[slot]
        if planned.name in done:
            continue
        same |= {"layer": recipe.config.layer, "fingerprint": recipe.fingerprint, "run_id": planned.run_id}
        same |= {"first_run_id": planned.run_id} | dict.fromkeys(("first_seen", "changed_at"), planned_on)
        rows = [
            same
            | vars(each)
            | {
                "utterance_id": each.utterance_id,
                "audio_sha256": each.audio_sha256 or digest_of(each.utterance_id),
                "embedding": None if each.embedding is None else each.embedding.tolist(),
            }
            for each in shards[name]
        ]
        failed = [
            {"utterance_id": f"{name}#{member}", "uri": name, "member": member, "stage": "decode", "error": error}
            | {"message": "", "bytes": 1, "attempts": 1, "run_id": planned.run_id}
            | {"seconds": failed_seconds}
            for member, error in (failures if number == 0 else {}).items()
        ]
        tables = {
            "failures": (f"failures/run_date={planned.run_date}", pa.Table.from_pylist(failed, FAILURES)),
            "embeddings": ("embeddings/backbone=drawn", pa.Table.from_pylist(rows, embeddings_schema(DIM))),
        }
        detail = {"recipe": recipe.describe(), "model": "drawn", "run_id": planned.run_id, "audio_seconds": 0.0}
        table.commit(planned, name, tables, detail)
    return table


def slot_of(name: str) -> str:
    """Sixteen hexadecimal digits of a shard's name."""
    return digest_of(name)


def night(
    output: str,
    shards: dict[str, list[Recording]],
    failures: dict[str, str] | None = None,
    *,
    date: str = "2026-11-23",
    judge: Head | None = None,
    head_uri: str = "head.json",
    pages: bool = True,
    found: dict[str, Any] | None = None,
    failed_seconds: float | None = None,
    state: str = "made",
    recipe: Recipe = RECIPE,
    **settings: Any,
) -> tuple[ScoringRun, Ledger]:
    """Embed, score and record shards as `nightly` does, and write the page.

    Parameters
    ----------
    found : dict, optional
        What the record takes from the listing of the archive.
    failed_seconds : float, optional
        What was decoded of each failure.
    state : str
        Of the sources; another one for the same shards is that of replaced sources.
    recipe : Recipe
        Of the embeddings, and of the head if none is given.
    """
    judge = judge or head(recipe=recipe)
    source = embed(output, shards, failures or {}, date, failed_seconds, state, recipe)
    given = NightlyConfig(
        input=("s3://archive/2026/",), head=head_uri, output=output, run_date=date, max_failures=1.0, **settings
    )
    planned = source.history().current.having(map(slot_of, shards)).committed(source.done())
    how = (given.prior, given.output, given, given.head)
    scored = score_shards(InProcessRunner(), source, planned, judge, *how, segments=given.segments is not None)
    scoring_run._finish("nightly", STARTED, scored, given, found or {})
    if pages:
        page.write_pages(scored, source)
    return scored, source
