"""Planning: what an archive has that is new to an embedding table, frozen as plans."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Sequence, Set
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from detector import canaries
from detector.config import Recipe, difference, without_former
from detector.errors import ConfigError
from detector.windows import Windows
from jobs import storage
from jobs.config import RunConfig
from jobs.embedding.canaries import RunCanaries
from jobs.embedding.permission import readable_again
from jobs.embedding.redo import REDO, VERSIONS, Redo
from jobs.embedding.result import EmbeddingRun
from jobs.embedding.set_aside import set_aside_before
from jobs.embedding.speed import GroupSize
from jobs.errors import RunAgain
from jobs.inputs import archive
from jobs.inputs.archive import Archive
from jobs.inputs.arguments import is_pattern, object_called
from jobs.inputs.config import InputConfig
from jobs.inputs.contents import Contents
from jobs.inputs.existence import look
from jobs.inputs.sources import archive_roots
from jobs.tables import erasures, ledger, run_records
from jobs.tables.copies import refuse_lost_plans
from jobs.tables.dropping import finish_drops
from jobs.tables.empty import write_empty_failures
from jobs.tables.entries import Entry
from jobs.tables.id_rule import describe_rule, is_relative
from jobs.tables.id_rule import id_roots as id_roots_of_plans
from jobs.tables.instalments import Instalments
from jobs.tables.ledger import Ledger
from jobs.tables.moves import MOVED, Moves
from jobs.tables.names import Names
from jobs.tables.others import Others
from jobs.tables.plan import SEGMENTS, Proposal, plan_id_of, propose
from jobs.tables.protocol import Plan, PlanHistory
from jobs.tables.recipes import recipes_in
from jobs.tables.removal import RemovalPolicy, slots_to_prune
from jobs.tables.source_index import SourceIndex
from jobs.telemetry import logs

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Found:
    """What an archive has, beside earlier plans.

    Parameters
    ----------
    archive : Archive
        Without what is as it was planned, and without what is planned in instalments.
    proposal : Proposal
    redone : frozenset of str
        URIs of sources that `--redo` reads again.
    id_roots : frozenset of str or None
        Folders that ids are relative to; None if they are absolute.
    """

    archive: Archive
    proposal: Proposal
    redone: frozenset[str] = frozenset()
    id_roots: frozenset[str] | None = None


ATTEMPTS = 5  # to plan, while recordings are erased
NOTHING = Found(Archive((), (), {}), Proposal((), Names()))


class _ErasedError(Exception):
    """Recordings were erased since the plans were read."""


@dataclass
class Planner:
    """Freezes what is new for one layer in as many plans as it takes, or joins plans that other runs froze first.

    Attributes
    ----------
    found : Found
        What the last listing has.
    """

    table: Ledger
    inputs: InputConfig
    recipe: Recipe
    config: RunConfig
    contents: Contents
    heard: RunCanaries
    group_size: GroupSize
    found: Found = NOTHING
    _waiting: deque[Sequence[Entry]] = field(default_factory=deque)  # parts of the proposal that are to be frozen
    _n_expected: int = 0  # plans, if no other run freezes one between our parts
    _note: str = ""  # of erasures, before the plans were read

    def run(self) -> EmbeddingRun:
        """Freeze all parts of the proposal, and return the run of the layer.

        Raises
        ------
        RunAgain
            If recordings were erased each time between a look at the plans and a new one.
        LateNamesError
            If they were erased while a plan was written.
        """
        history = self._planned()
        if history.plans:
            logs.bind(run_id=history.plans[-1].run_id)
        if n_dropped := finish_drops(self.table, history):
            log.warning(
                "%d shards were planned and never read, and are dropped: their sources are gone; rows that were "
                "committed of them before stay",
                n_dropped,
            )
        archive, proposal = self.found.archive, self.found.proposal
        if proposal.refused:
            log.error("%s", proposal.refused)
        return EmbeddingRun(
            *(self.recipe, self.table, history, proposal.slots, archive.passed_over),
            refused=proposal.refused,
            unheard=proposal.unheard,
        )

    def _planned(self) -> PlanHistory:
        """Freeze all parts, each over plans from which nothing was erased since they were read."""
        for _ in range(ATTEMPTS):
            self._note = erasures.note_of(self.table.output)
            self._waiting.clear()
            with suppress(_ErasedError):
                history = self._frozen()
                while self._waiting:
                    history = self._frozen(history)
                return history
        raise RunAgain(f"{self.table.output}: recordings were erased while it planned. Run the same command again.")

    def _frozen(self, earlier: PlanHistory | None = None) -> PlanHistory:
        history = self.table.freeze(self._next_plan, earlier)
        if self._n_expected == len(history.plans) and self._is_erased():
            raise erasures.LateNamesError(
                f"{self.table.output}: recordings were erased while a plan was written, and it may name them. Run the "
                f"same `erase` again, then this command."
            )
        return history

    def _is_erased(self) -> bool:
        return erasures.note_of(self.table.output) != self._note

    def _next_plan(self, history: PlanHistory) -> Plan | None:
        """Return the next part as a plan; None if there is nothing new.

        What an erasure takes out of the plans, a plan that is made of those in memory would write back.
        """
        if not self._waiting or len(history.plans) != self._n_expected:
            windows = self.recipe.windows
            self.found = look_for_new(
                self.table, history, self.inputs, self.config, self.contents, self.group_size, windows
            )
            self._waiting = deque(self.found.proposal.parts)
            if not self._waiting:
                return None
            self.heard.compare_samples(self.table, self.recipe)
            first_date = history.plans[0].run_date if history.plans else self.config.run_date
            write_empty_failures(self.table.output, first_date)
        new = self._waiting.popleft()
        self._n_expected = len(history.plans) + 1
        run_id = run_records.run_id_of(self.config, plan_id_of(new, len(history.plans)), self.recipe.fingerprint)
        if self._is_erased():
            raise _ErasedError
        return Plan(run_id, self.config.run_date, new, self._detail(history))

    def _detail(self, history: PlanHistory) -> dict[str, Any]:
        """Return what the plan says beside its shards; what the contents of objects are is told with the last part."""
        redo, recipe = Redo(self.config.redo or ""), self.recipe
        detail = {"recipe": recipe.describe(), "model": recipe.model, VERSIONS: canaries.versions()}
        detail |= describe_rule(self.found.id_roots, history)
        if not self._waiting:
            detail |= Others(history).detail(self.contents.others)
        if self.found.redone and redo.named:
            detail[REDO] = redo.named
        if self.config.moved:
            detail[MOVED] = str(Moves.of(self.config.moved))
        if recipe.windows is not None:
            detail[SEGMENTS] = str(recipe.windows)
        return detail


def look_for_new(
    table: Ledger,
    history: PlanHistory,
    inputs: InputConfig,
    config: RunConfig,
    contents: Contents,
    group_size: GroupSize,
    windows: Windows | None = None,
) -> Found:
    """List an archive and propose what is new beside earlier plans; nothing is written."""
    done = table.done(history)
    refuse_lost_plans(table, history, done)
    relative = is_relative(table.output, history, inputs.ids)
    moves = Moves.of(config.moved)
    index = SourceIndex(history, done, relative=relative, moves=moves)
    contents.learn(index.is_recording, Others(history))
    has_lists, group_seconds = archive.names_lists(inputs), partial(group_size.seconds, table, history)
    leave_out = None if has_lists else index.sees
    taken = Instalments(index, contents, group_seconds, relative=relative)
    found = archive.find(inputs, contents, index, relative=relative, leave_out=leave_out, taken=taken)
    found = taken.finish(found)
    redo = Redo(config.redo or "")
    redone = redo.sources(table, history, done, canaries.versions(), config.run_date, windows)
    again = readable_again(table, history, done, found, index) | set_aside_before(table, history, done) | redone
    slots = slots_to_prune(table, history, done) if config.prune else frozenset()
    policy = RemovalPolicy(config.max_removed, config.prune, slots)
    # a link that a listing passes over hides what it leads to here, too
    local = [each for each in archive_roots(inputs.input) if storage.scheme_of(each) == "file"]
    there = partial(look, roots=() if inputs.follow_links == "anywhere" else local)
    proposal = propose(found, history, done, there, again, policy, None if has_lists else index, group_seconds, moves)
    proposal = replace(proposal, slots=proposal.slots | taken.slots, instalments=taken.parts)
    if redo.names:
        _refuse_partial(redo, redone, proposal, found, moves)
    roots = None if found.id_roots is None else {*found.id_roots.values(), *taken.roots}
    id_roots = None if roots is None else frozenset(roots | moves.roots(id_roots_of_plans(history.plans)))
    return Found(found, proposal, redone, id_roots)


def _refuse_partial(redo: Redo, redone: Set[str], proposal: Proposal, found: Archive, moves: Moves) -> None:
    """Refuse to embed some of the rows of a library again: what the others have would pass for what it gives now.

    What an input names or would list, and what a move tells of, is none of the others: it is read, or is gone.
    """
    planned = {uri for part in proposal.parts for entry in part for uri in entry.source_uris}
    others = redone - planned - {uri for uri, _ in found.ids()}
    left = sorted(uri for uri in others if found.place_of(uri) is None and not moves.covers(uri))
    if left:
        raise ConfigError(
            f"--redo {','.join(sorted(redo.names))}: {len(left)} sources that have such rows are not in this --input, "
            f"such as {left[0]}, and would keep them without a word. Give every input of the output at once; "
            f"--accept-drift keeps such rows, and records it."
        )


def refuse_archive_within(output: str, inputs: InputConfig) -> None:
    """Refuse to begin an output around an archive: `erase` would read each recording, and certify nothing.

    A file that is named itself may lie there, as beside the tables of a first try.
    """
    if ledger.keys(output, "embeddings"):
        return
    place = storage.real_folder(output)
    folders = [each for each in map(storage.normal, inputs.input) if is_pattern(each) or object_called(each) is None]
    within = [root for root in archive_roots(folders) if storage.real_folder(root).startswith(place)]
    if within:
        raise ConfigError(
            f"{output}: the archive {within[0]} lies within it. An output needs a place of its own, or `erase` could "
            f"certify nothing: it reads all that is there. Give another --output."
        )


def refuse_other_encoder(output: str, recipes: tuple[Recipe, ...]) -> None:
    """Refuse a second encoder in one output: a query over all embeddings would find every recording twice."""
    others = ledger.keys(output, "embeddings")
    if others and not {recipe.fingerprint for recipe in recipes} & set(others):
        recipe = recipes[0]
        differences = difference(recipe.describe(), without_former(recipes_in(output)[others[0]]))
        raise ConfigError(
            f"{output}: its embeddings have fingerprint {', '.join(others)}, this run's have {recipe.fingerprint}: "
            f"{differences}. Run as before, use another --output, or write a second "
            f"table with --new-table."
        )
