"""What runs leave beside their rows, and is not there: records, canaries, the note of the active head.

No row depends on these, and a run that was killed leaves none either, so nothing is damaged. But whoever verifies is to
know what the output cannot say any more.
"""

from __future__ import annotations

from collections.abc import Iterator

from jobs import storage
from jobs.tables.canaries import read_references
from jobs.tables.heads import ACTIVE
from jobs.tables.heads import FOLDER as HEADS
from jobs.tables.ledger import Ledger


def left_out(output: str, tables: list[Ledger]) -> Iterator[str]:
    """Yield a message for each kind of such an object that is not there."""
    records = _names(output, "runs")
    for table in tables:
        yield from _without_record(table, records)
        if not table.is_scores and not read_references(table):
            yield (
                f"{table.name}: keeps no canaries, so the next run cannot tell whether other libraries give other "
                f"numbers, and takes what it hears as the reference. Restore them from a copy, if it had some."
            )
    if (noted := _names(output, HEADS)) and ACTIVE not in noted:
        yield f"{storage.join(output, HEADS, ACTIVE)}: is not there; the head that scored last counts as active."


def _without_record(table: Ledger, records: set[str]) -> Iterator[str]:
    history, done = table.history(), table.done()
    runs = [
        plan.run_id
        for number, plan in enumerate(history.plans, start=1)
        if f"{plan.run_id}.json" not in records and (names := history.of_plan(number).names) and not names - done
    ]
    if runs:
        yield (
            f"{table.name}: {len(runs)} plans are done and have no record, first runs/{runs[0]}.json: it was removed, "
            "or its run was stopped before it wrote it."
        )


def _names(output: str, folder: str) -> set[str]:
    return {storage.name_of(stored.uri) for stored in storage.listing(storage.join(output, folder)) or []}
