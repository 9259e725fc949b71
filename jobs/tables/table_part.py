"""Table part: the object with one shard's rows of a table, as the protocol sees it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TablePart:
    """The object with one shard's rows of a table.

    Parameters
    ----------
    name : str
        Name of the object, below the output.
    content : bytes
    rows : int
    digest : str
        Order-free digest of the rows: :mod:`jobs.tables.row_digest`.
    shard : str
        :attr:`jobs.tables.protocol.PlannedShard.name`.
    follows : str
        SHA-256 of the object whose rows were taken over: no other one is replaced. Empty if none were.
    """

    name: str
    content: bytes
    rows: int
    digest: str
    shard: str
    follows: str = ""
