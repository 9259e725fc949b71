"""The steps of an erasure: inventory, rewriting, proof.

1. Everything is read. Damage, unknown ids and mentions that cannot be erased are refused before anything is changed.
2. Tables, markers, records and plans are rewritten, rows before the markers that count them, and last the plans, which
   say where recordings lie: if the command is interrupted, nothing is left behind unnoticed, and the same command
   finishes the work. Pages that mention the
   recordings are removed, and drawn again from what is left.
3. Every object under the output is read again.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from detector.errors import ConfigError
from jobs import storage
from jobs.erasure.concern import is_planned_anew, slots_of
from jobs.erasure.inventory import Inventory, take_inventory
from jobs.erasure.mentions import find_mentions
from jobs.erasure.places import with_places, with_unheard
from jobs.erasure.proof import prove_erased
from jobs.erasure.request import ErasureRequest
from jobs.erasure.rewriting import remove_pages, rewrite_plans, rewrite_records, rewrite_table
from jobs.erasure.runs import lacking_pages, pages, records
from jobs.errors import RunAgain
from jobs.storage import Stored
from jobs.tables.compaction.copy import is_copy, output_of
from jobs.tables.dropping import finish_drops, waiting
from jobs.tables.erasures import is_unfinished, leave_note, note_done
from jobs.tables.garbage import remove_drafts
from jobs.tables.ledger import Ledger, ledgers
from jobs.tables.names import Names
from jobs.tables.protocol import slot_of_shard
from jobs.telemetry.names import say

NOT_ERASED = (
    "not erased: the recording itself (a loose file that is still in the archive is embedded again by the next run, a "
    "member of a container once the container changes, and everything by another encoder or into a new output); older "
    "versions of objects in a versioned bucket; files that were exported or copied from here; and a copy made by "
    "`compact`, until `compact` runs again"
)

Redraw = Callable[[str, list[str]], int]


@dataclass(frozen=True)
class _Target:
    """An output to erase from, as it was before anything was changed."""

    output: str
    tables: list[Ledger]
    planned: dict[str, tuple[Names, int]]
    slots: set[str]
    request: ErasureRequest
    inventory: Inventory
    drafts: list[Stored]


def erase(output: str, request: ErasureRequest, redraw: Redraw) -> None:
    """Erase the recordings, read every object again, and print the result.

    Parameters
    ----------
    output : str
    request : ErasureRequest
    redraw : callable
        Takes the output and the ids of runs whose pages were removed; draws these again, and returns how many.

    Raises
    ------
    ConfigError
        If an id is no recording of the output, or a run is unfinished. Nothing was changed.
    SchemaError
        If a table is damaged, and nothing was changed; or if an object still mentions a recording in the end.
    RunAgain
        If another command wrote to the output meanwhile.
    """
    started = time.time()
    for table in ledgers(output):
        finish_drops(table)
    target = _inspect(output, request)
    request = target.request
    removed: list[str] = []
    if is_unfinished(output, request.asked):  # one that was killed took some
        removed = lacking_pages(output, target.tables)
    leave_note(output, request.asked)  # the same command is known again from now on, whatever is gone by then
    rewrite_records(output, [], request, target.inventory)  # of their digests, not yet
    n_rows = sum(rewrite_table(table, target.inventory, request) for table in target.tables)
    removed += remove_pages(output, request)
    settled = rewrite_records(output, target.tables, request, target.inventory)
    leave_note(output)  # what a run writes from now on names none of them; what it wrote before is looked at again
    removed += remove_pages(output, request)
    rewrite_records(output, target.tables, request, target.inventory, settled)
    for table in target.tables:
        rewrite_plans(table, request)
    _refuse_new_plans(target)
    storage.abandon_uploads(output, started)  # of writers that were killed: no listing shows these
    remove_drafts(output, target.drafts)
    n_pages = redraw(output, removed) - len(remove_pages(output, request))  # one that names it after all must go
    n_objects = prove_erased(output, request)
    _refuse_late_names(output, request)
    note_done(output, request.asked)
    say(
        f"erased {n_rows} rows of {request}; pages that showed it: {n_pages} drawn again without, "
        f"{len(removed) - n_pages} removed; read again: none of the {n_objects} objects under {output} mentions it",
        NOT_ERASED,
    )


def print_mentions(output: str, request: ErasureRequest) -> None:
    """List the objects that :func:`erase` would rewrite or remove; change nothing."""
    mentions, _ = find_mentions(output, _inspect(output, request).request)
    say(*mentions, f"{len(mentions)} objects mention {request}")


def _inspect(output: str, request: ErasureRequest) -> _Target:
    if is_copy(output):
        raise ConfigError(f"{output}: is a copy of {output_of(output)}; erase there, then run `compact` again.")
    tables = ledgers(output)
    if not tables:
        raise ConfigError(f"{output}: holds no tables of bonafide. Give the --output of a run.")
    planned = _planned(tables)
    if unfinished := _unfinished(tables):
        raise ConfigError(unfinished)
    request = with_places(tables, with_unheard(tables, request))
    if unheard := sorted({*request.ids} - {*request.asked}):
        say(f"not heard for the same id, and erased with it: {', '.join(unheard)}; a run that finds one plans it anew")
    slots = slots_of(tables, request)
    inventory = take_inventory(output, tables, request, slots)
    for ids in inventory.same_audio.values():
        say(f"other ids have the same audio and are not erased: {', '.join(sorted(ids))}")
    slots |= {slot_of_shard(marker.name) for markers in inventory.markers.values() for marker in markers}
    return _Target(output, tables, planned, slots, request, inventory, storage.drafts(output))


def _planned(tables: list[Ledger]) -> dict[str, tuple[Names, int]]:
    """Return the shards that each table has planned, and the number of its plans."""
    return {table.name: (history.names, len(history.plans)) for table in tables for history in [table.history()]}


def _unfinished(tables: list[Ledger]) -> str:
    """Name a table with shards that are planned but not done; return an empty text if there is none."""
    for table in tables:
        if missing := waiting(table.history(), table.done()):
            run_id = missing[0].run_id
            return (
                f"{table.output}: {len(missing)} shards of {table.name} are planned but not done; a run may be working "
                f"on them. Let the command that planned them finish (run {run_id}), or give them up by `bonafide gc "
                f"{table.output} --abandon {run_id}`; then erase."
            )
    return ""


def _refuse_late_names(output: str, request: ErasureRequest) -> None:
    """Refuse if a record or page that a run wrote during the proof names a recording: that run had seen no note yet."""
    named = [uri for uri, ids in pages(output, request) if ids]
    named += [each.uri for each in records(output, [], request) if each.redacted != each.stored]
    if named:
        raise RunAgain(f"{named[0]}: a run wrote it meanwhile. Run the same command again.")


def _refuse_new_plans(target: _Target) -> None:
    """Refuse if a run planned shards since the inventory that may bring an erased recording back."""
    for table in ledgers(target.output):
        before, n_plans = target.planned.get(table.name, (Names(), 0))
        if is_planned_anew(table, before, n_plans, target.slots, target.request):
            raise RunAgain(
                f"{target.output}: another run planned meanwhile what may hold {target.request}. Let it finish, then "
                f"run the same command again."
            )
