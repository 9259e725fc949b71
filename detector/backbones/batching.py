"""Batching: which segments share a forward pass, such that little of it is padding."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

MAX_WASTE = 1.05  # padded over real: what a batch may cost beyond its own audio


def batches(lengths: Sequence[int], budget: float, max_waste: float = MAX_WASTE) -> Iterator[list[int]]:
    """Share segments out: neighbours in length, as many as the budget takes and little padding allows.

    ```
    sorted by length   ▂ ▂ ▃ ▃ ▃ ▅ ▅ ▇ █
    batches            └──┘ └───┘ └─┘ └─┘     a segment much longer than the first begins the next one
    ```

    Parameters
    ----------
    lengths : sequence of int
        Of the segments, each above 0: samples, or whatever the budget counts.
    budget : float
        Padded length of a batch at most: its longest segment times their number. One segment alone may exceed it.
    max_waste : float
        Padded over real length of a batch at most, 1 for equal lengths only.

    Yields
    ------
    list of int
        Indices into ``lengths``: each once, batches in falling order of length, so that what does not fit a
        device's memory shows at once.

    Examples
    --------
    >>> list(batches([100, 40, 99, 41, 100], budget=300))
    [[0, 4, 2], [3, 1]]
    """
    batch: list[int] = []
    real = 0
    for index in sorted(range(len(lengths)), key=lambda index: -lengths[index]):
        real += lengths[index]
        padded = lengths[batch[0] if batch else index] * (len(batch) + 1)
        if batch and (padded > budget or padded > max_waste * real):
            yield batch
            batch, real = [], lengths[index]
        batch.append(index)
    if batch:
        yield batch


def waste(lengths: Sequence[int], shared: Sequence[Sequence[int]]) -> float:
    """Padded over real length of batches: 1 where nothing is padded.

    Examples
    --------
    >>> waste([10, 5], [[0, 1]])
    1.3333333333333333
    """
    padded = sum(max(lengths[index] for index in batch) * len(batch) for batch in shared)
    return padded / sum(lengths[index] for batch in shared for index in batch)
