"""An estimate: what a run would do and cost, from the plans, the archive's listing and what stands; nothing is written.

Recordings in files are counted. Those in containers, the audio, the encoders' hours and the requests are estimated, and
said to be: from rows of this output where it has some of the kind, else at stated rates.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Set
from dataclasses import dataclass, field
from itertools import chain

from detector.config import Recipe
from jobs import storage
from jobs.config import CostConfig, OutputConfig, RunConfig
from jobs.embedding.commits import Lacking
from jobs.embedding.cost import CHANGES, Cost
from jobs.embedding.planning import look_for_new, refuse_other_encoder
from jobs.embedding.result import EmbeddingRun, MissingShards
from jobs.embedding.speed import LEAST_SECONDS, GroupSize, Speed, speed_of
from jobs.inputs.archive import Archive
from jobs.inputs.config import InputConfig
from jobs.inputs.contents import Contents
from jobs.inputs.durations import kind_of, stated_seconds
from jobs.inputs.shards import FOLDER, SHARED, Shard
from jobs.storage import Stored
from jobs.tables.ledger import Ledger
from jobs.tables.plan import Proposal
from jobs.tables.protocol import Plan, PlanHistory
from jobs.tables.recipes import as_stored

SAMPLED_SHARDS = 16  # of the last that were committed
KEYS_A_LIST = 1_000  # of S3
PUTS_A_SHARD, PUTS_A_RUN = 2, 3  # rows and their marker; the plan, the record and the page
GETS_A_RUN, LISTS_A_RUN = 3, 8  # references and records; plans, markers, records and references


@dataclass
class StoredRates:
    """How much audio, and how many recordings, the stored bytes of each kind came to in the rows of an output.

    Attributes
    ----------
    n_recordings : int
        In the rows that were looked at.
    """

    n_recordings: int = 0
    _bytes: Counter[str] = field(default_factory=Counter)
    _seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    _rows: Counter[str] = field(default_factory=Counter)

    @classmethod
    def of(cls, table: Ledger, history: PlanHistory) -> StoredRates:
        """Read the last shards that were committed."""
        rates = cls()
        committed = history.last_committed(table.done(history))
        newest = committed.where(~committed.is_dropped).last(SAMPLED_SHARDS)
        last = [each for each in newest.values() if each.entry.has_sources]
        shards = {each.name: Shard.from_content(each.entry.work) for each in last}
        for marker in table.markers(shards):
            rows = table.read(marker, "embeddings")
            if rows is not None:
                rates.add(shards[marker.name], rows["uri"].to_pylist(), rows["seconds"].to_pylist())
        return rates

    def add(self, shard: Shard, uris: list[str], seconds: list[float | None]) -> None:
        """Add the rows of a shard; sources without a row told nothing of their durations."""
        sizes = {source.uri: source.size for source in shard.sources}
        for uri in set(uris) & sizes.keys():
            self._bytes[kind_of(uri)] += sizes[uri]
        for uri, each in zip(uris, seconds, strict=True):
            if uri in sizes:
                self._seconds[kind_of(uri)] += each or 0.0
                self._rows[kind_of(uri)] += 1
                self.n_recordings += 1

    def seconds_of(self, source: Stored) -> float:
        """Return the estimated audio of an object; by a stated rate where no row is of its kind."""
        kind = kind_of(source.uri)
        if not self._bytes[kind] or not self._seconds[kind]:
            return stated_seconds(source)
        return source.size * self._seconds[kind] / self._bytes[kind]

    def knows(self, source: Stored) -> bool:
        """Return True if rows are of the object's kind."""
        kind = kind_of(source.uri)
        return bool(self._bytes[kind] and self._seconds[kind])

    def n_recordings_of(self, source: Stored) -> float | None:
        """Return the estimated number of recordings in a container; None where no row is of its kind."""
        kind = kind_of(source.uri)
        return source.size * self._rows[kind] / self._bytes[kind] if self._bytes[kind] else None


@dataclass
class Amounts:
    """What a run would read and write, added up: an archive may have millions of sources, and none is held.

    Attributes
    ----------
    n_read, n_bytes : int
        Sources that are read.
    known_bytes : int
        Those whose audio is estimated from rows of this output.
    seconds : float
        Of audio, estimated.
    n_gets : int
        Requests that read sources from a store.
    n_shards : int
        That would be committed.
    changes : Counter
        Recordings in files by change.
    n_containers : int
        Whose recordings nobody has counted.
    n_inside : float or None
        Estimated recordings in these; None if nothing tells.
    """

    n_read: int = 0
    n_bytes: int = 0
    known_bytes: int = 0
    seconds: float = 0.0
    n_gets: int = 0
    n_shards: int = 0
    changes: Counter[str] = field(default_factory=Counter)
    n_containers: int = 0
    n_inside: float | None = 0.0

    @classmethod
    def of(cls, missing: MissingShards, rates: StoredRates, *, several_layers: bool) -> Amounts:
        """Add up what is missing."""
        amounts, seen = cls(), set[str]()
        read = (shard for shard in missing.shards() if shard.kind not in (FOLDER, SHARED))
        for source in chain.from_iterable(shard.sources for shard in read):
            amounts._read(source, rates)
        for lacking in missing.every():
            amounts.n_shards += 1
            if several_layers:
                if lacking.planned.slot in seen:
                    continue
                seen.add(lacking.planned.slot)
            amounts._write(lacking, rates)
        return amounts

    def _read(self, source: Stored, rates: StoredRates) -> None:
        self.n_read += 1
        self.n_bytes += source.size
        self.known_bytes += source.size if rates.knows(source) else 0
        self.seconds += rates.seconds_of(source)
        if storage.scheme_of(source.uri) != "file":
            self.n_gets += max(1, -(-source.size // storage.READ_AHEAD_BYTES))

    def _write(self, lacking: Lacking, rates: StoredRates) -> None:
        """Count recordings in files by change, and containers whose recordings nobody has counted."""
        taken_over = lacking.take_over()
        replaced = taken_over.replaced
        self.changes["removed"] += taken_over.n_removed
        shard = taken_over.to_read
        if shard is None or shard.kind in (FOLDER, SHARED):
            return
        selections = shard.selections()
        if selections is None:
            for source in shard.sources:
                inside = rates.n_recordings_of(source)
                self.n_containers += 1
                self.n_inside = None if inside is None or self.n_inside is None else self.n_inside + inside
            return
        for place, selected in selections.items():
            uri = place if shard.kind == "files" else shard.uri
            self.changes["replaced" if uri in replaced else "new"] += len(selected)


@dataclass
class Estimate:
    """What a run would do.

    Attributes
    ----------
    cost : Cost
    n_shards : int
        That would be committed.
    n_containers : int
        Among what is read, whose recordings nobody has counted.
    n_inside : float or None
        Estimated recordings in these; None if nothing tells.
    known_share : float
        Of the bytes that are read: those whose audio is estimated from rows of this output.
    rates : StoredRates
    speed : Speed
    planned : PlanHistory
        The plans as they would be.
    slots : set of str
        Of all shards of the archive.
    scores : str
        What would be scored, where a head judges; see :mod:`jobs.scoring.estimate`.
    """

    cost: Cost
    n_shards: int
    n_containers: int
    n_inside: float | None
    known_share: float
    rates: StoredRates
    speed: Speed
    planned: PlanHistory
    slots: Set[str]
    scores: str = ""

    def lines(self, prices: CostConfig) -> Iterator[str]:
        """Yield the lines that a dry run prints."""
        yield "dry run: nothing is written. The run would find, from the listing and the plans:"
        changes = ", ".join(f"{self.cost.changes.get(name, 0)} {name}" for name in CHANGES)
        yield f"recordings: {changes}, in {self.n_shards} shards{self._containers()}"
        if self.cost.n_bytes:
            seconds = self.cost.audio_seconds
            audio = f"{seconds / 3600:,.1f} h" if seconds >= 3600 else f"{seconds / 60:.1f} min"
            yield f"read: {self.cost.n_bytes / 1e6:,.1f} MB, about {audio} of audio (estimated by {self._basis()})"
            yield f"encoders: {self._hours()}"
        if self.scores:
            yield self.scores
        yield from request_lines(self.cost, prices)

    def _basis(self) -> str:
        stated = "a stated rate for each format"
        return {0.0: stated, 1.0: self._rows()}.get(self.known_share, f"{self._rows()}, and {stated}")

    def _containers(self) -> str:
        if not self.n_containers:
            return ""
        inside = "an unknown number of" if self.n_inside is None else f"about {self.n_inside:.0f}"
        return f"; besides, {self.n_containers} containers with {inside} recordings"

    def _rows(self) -> str:
        return f"{self.rates.n_recordings} recordings of this output"

    def _hours(self) -> str:
        speed, what = self.speed, "GPU" if self.speed.device == "cuda" else "core"
        if self.cost.encoder_seconds is None:
            return (
                f"{what}-hours unknown: no earlier run of this output has kept its encoder on a {what} for "
                f"{LEAST_SECONDS:g} s, to measure it"
            )
        hours = self.cost.gpu_hours if what == "GPU" else self.cost.core_hours
        return (
            f"about {hours:.3f} {what}-hours (estimated by {speed.audio_seconds_a_second:.1f} audio-seconds a second, "
            f"as run {speed.run_id} measured)"
        )


def request_lines(cost: Cost, prices: CostConfig) -> Iterator[str]:
    """Yield the lines of requests, if there are any, and of the price, if prices are given."""
    if any(cost.requests.values()):
        counts = ", ".join(f"{n} {kind.upper()}" for kind, n in cost.requests.items())
        yield f"store: about {counts} requests (estimated)"
    if prices.has_prices:
        dollars = cost.dollars(prices)
        price = "unknown, as the hours are" if dollars is None else f"about {dollars:.4f}, at the given prices"
        yield f"dollars: {price}"


def estimate(inputs: InputConfig, recipes: tuple[Recipe, ...], output: OutputConfig, config: RunConfig) -> Estimate:
    """Estimate what `embed` would do; nothing is written.

    Raises
    ------
    ConfigError, SchemaError, StorageError
        As the run would, for what is found before any work, or refused at its end.
    """
    uri = storage.normal(output.output)
    storage.check_folder(uri)
    contents, group_size = Contents(inputs.input), GroupSize(config)
    recipes = tuple(as_stored(uri, each) for each in recipes)
    if not output.new_table:
        refuse_other_encoder(uri, recipes)
    looked = [
        _look(Ledger(uri, "embeddings", each.fingerprint), each, inputs, config, contents, group_size)
        for each in recipes
    ]
    runs = [run for run, _ in looked]
    (first, archive), missing = looked[0], MissingShards(runs)
    rates = StoredRates.of(first.ledger, first.history) if missing.amount.n_shards else StoredRates()
    speed = speed_of(first.ledger, first.history, config)
    amounts = Amounts.of(missing, rates, several_layers=len(runs) > 1)
    cost = Cost(
        amounts.changes,
        amounts.n_bytes,
        amounts.seconds,
        speed.device,
        None if speed.measured is None and amounts.n_read else amounts.seconds / speed.audio_seconds_a_second,
        config.encoder_gpus,
        _requests(archive, amounts, first),
    )
    return Estimate(
        cost=cost,
        n_shards=amounts.n_shards,
        n_containers=amounts.n_containers,
        n_inside=amounts.n_inside,
        known_share=amounts.known_bytes / amounts.n_bytes if amounts.n_bytes else 0.0,
        rates=rates,
        speed=speed,
        planned=first.history,
        slots=first.slots,
    )


def _look(
    table: Ledger, recipe: Recipe, inputs: InputConfig, config: RunConfig, contents: Contents, group_size: GroupSize
) -> tuple[EmbeddingRun, Archive]:
    """Return the run of one layer as it would be planned, and the archive."""
    history = table.history()
    found = look_for_new(table, history, inputs, config, contents, group_size, recipe.windows)
    planned = _planned(history, found.proposal, config)
    run = EmbeddingRun(recipe, table, planned, found.proposal.slots, refused=found.proposal.refused)
    run.raise_set_aside()
    return run, found.archive


def _planned(history: PlanHistory, proposal: Proposal, config: RunConfig) -> PlanHistory:
    new = (Plan("dry-run", config.run_date, part) for part in proposal.parts)
    return PlanHistory((*history.plans, *new))


def _requests(archive: Archive, amounts: Amounts, run: EmbeddingRun) -> dict[str, int]:
    """Estimate the requests to S3; local disks have none."""
    n_listed = len(archive.files) + len(archive.containers) + archive.passed_over.total
    is_remote = storage.scheme_of(run.ledger.output) != "file"
    n_places = sum(storage.scheme_of(place.uri) != "file" for place in archive.places)
    lists = n_places and n_places - 1 + -(-n_listed // KEYS_A_LIST)
    puts = PUTS_A_SHARD * amounts.n_shards + PUTS_A_RUN if amounts.n_shards and is_remote else 0
    gets = amounts.n_gets + (GETS_A_RUN + len(run.history.plans) if is_remote else 0)
    return {"put": puts, "get": gets, "list": lists + (LISTS_A_RUN if is_remote else 0)}
