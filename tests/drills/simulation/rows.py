"""The rows of a simulated shard: a word for each row, an object for each table."""

from __future__ import annotations

import zlib
from functools import cache

from jobs.tables.protocol import PlannedShard
from jobs.tables.table_part import TablePart

EMBEDDINGS, SCORES = "embeddings-f", "scores-h"
TABLES = {EMBEDDINGS: ("failures", "embeddings"), SCORES: ("scores",)}  # in the order in which a shard is written
LEDGER_OF = {table: ledger for ledger, tables in TABLES.items() for table in tables}
OUTCOMES = ("ee", "ef", "fe", "ff", "e-", "-f", "--")  # of a shard's two utterances: embedded, failed, not there


@cache
def rows_of(slot: str, state: str, table: str) -> list[str]:
    """Return the rows that a shard must have in a table: a word for each, `slot/number@state`."""
    letter = "f" if table == "failures" else "e"
    return [f"{slot}/{number}@{state}" for number, outcome in enumerate(state[-2:]) if outcome == letter]


def part(shard: PlannedShard, table: str, rows: list[str]) -> TablePart:
    """Return the object of a shard in a table: the shard's name, its run's id and date, and its rows."""
    content = "|".join((shard.name, shard.run_id, shard.run_date, *rows)).encode()
    return TablePart(place(shard, table), content, len(rows), digest_of(rows), shard.name)


def place(shard: PlannedShard, table: str) -> str:
    """Return the name of the object that holds a shard's rows of a table."""
    folder = table if table == "embeddings" else f"{table}/run_date={shard.run_date}"
    return f"{folder}/k-{shard.slot}.parquet"


def digest_of(rows: list[str]) -> str:
    """Return a digest that does not depend on the order of rows."""
    return f"{sum(zlib.crc32(row.encode()) for row in rows):064x}"


def identify(name: str, content: bytes) -> TablePart | None:
    """Parse an object; None if it is not one of ours."""
    of, *rest = content.decode().split("|")
    return TablePart(name, content, len(rest) - 2, digest_of(rest[2:]), of) if len(rest) >= 2 else None


def rows_in(content: bytes) -> list[str]:
    """Return the rows of an object."""
    return content.decode().split("|")[3:]


def slot_of(name: str) -> str:
    """Return the slot in an object's name."""
    return name.rsplit("-", 1)[-1].removesuffix(".parquet")
