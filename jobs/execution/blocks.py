"""Blocks: the portions that one decode task reads. Small ones go together, since each task takes time of the driver."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from jobs.inputs.shards import Portion

BLOCK_PORTIONS = 32
BLOCK_BYTES = 16 << 20  # stored, at least; a block ends with the portion that reaches it
PACKED = 4  # times smaller than decoded samples are stored ones, as FLAC has them
PORTIONS_BEFORE_GROWTH = 4  # for each task


class Blocks:
    """The blocks of a pass, each made when there is a task for it: a pass may have a million portions.

    Parameters
    ----------
    portions : iterable of Portion
    singly : bool
        If True, each portion is a block of its own.
    window_bytes : int
        Of decoded audio that an encoder gets at once; blocks are large enough to fill it.

    Examples
    --------
    >>> from jobs.inputs.shards import Shard
    >>> from jobs.storage import Stored
    >>> blocks = Blocks(Portion(Shard("tar", (Stored(f"{name}.tar", 10, "e"),))) for name in "abcdefghi")
    >>> [len(blocks.take(1)) for _ in range(7)], blocks.is_empty
    ([1, 1, 1, 1, 2, 2, 1], True)
    """

    def __init__(self, portions: Iterable[Portion], *, singly: bool = False, window_bytes: int = 0) -> None:
        self._portions = iter(portions)
        self._most_bytes = max(BLOCK_BYTES, window_bytes // PACKED)
        self._most = 1 if singly else BLOCK_PORTIONS
        self._n_taken = 0
        self.is_empty = False

    def close(self) -> None:
        """Give out no more blocks."""
        self.is_empty = True

    def all(self, n_tasks: int) -> Iterator[list[str]]:
        """Yield one block after the other."""
        while block := self.take(n_tasks):
            yield block

    def take(self, n_tasks: int) -> list[str]:
        """Return the portions of the next block as JSON; none at the end.

        The first blocks have one portion each, so that all tasks have work at once; then they grow.
        """
        most = min(self._most, 1 + self._n_taken // (PORTIONS_BEFORE_GROWTH * n_tasks))
        block: list[str] = []
        n_bytes = 0
        while not self.is_empty and len(block) < most and n_bytes < self._most_bytes:
            portion = next(self._portions, None)
            if portion is None:
                self.close()
                break
            block.append(portion.to_json())
            n_bytes += portion.shard.size
        self._n_taken += len(block)
        return block
