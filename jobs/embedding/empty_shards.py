"""Empty shards: those without a recording that came before the run had found one, kept until it does."""

from __future__ import annotations

import json
from collections.abc import Iterator

from jobs.execution.assembly import ShardRows
from jobs.inputs.passed_over import PassedOver
from jobs.tables.spool import SpooledText, spooled


class EmptyShards:
    """Shards without a recording, on the local disk: an archive may begin with any number of them.

    Attributes
    ----------
    passed_over : PassedOver
        What they hold instead.

    Examples
    --------
    >>> empty = EmptyShards()
    >>> empty.add(ShardRows("a1", portion="{}", passed_over={".txt": {"count": 2, "examples": ["a.tar#1.txt"]}}))
    >>> len(empty), str(empty.passed_over), [rows.portion for rows in empty]
    (1, '2 .txt (a.tar#1.txt)', ['{}'])
    """

    def __init__(self) -> None:
        self.passed_over = PassedOver()
        self._texts: list[SpooledText] = []

    def add(self, rows: ShardRows) -> None:
        """Keep a shard."""
        self.passed_over.merge(rows.passed_over)
        self._texts.append(spooled(json.dumps([rows.shard_id, rows.portion, rows.passed_over]).encode()))

    def __len__(self) -> int:
        return len(self._texts)

    def __iter__(self) -> Iterator[ShardRows]:
        for text in self._texts:
            shard_id, portion, passed_over = json.loads(text.read(0, len(text)))
            yield ShardRows(shard_id, portion=portion, passed_over=passed_over)
