"""Batching: the assignment of segments to forward passes, with little padding."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

MAX_WASTE = 1.05  # padded over real length of a batch


def batches(lengths: Sequence[int], budget: float, max_waste: float = MAX_WASTE) -> Iterator[list[int]]:
    """Group segments of similar length, within a budget and a limit on padding.

    ```
    sorted by length   ▂ ▂ ▃ ▃ ▃ ▅ ▅ ▇ █
    batches            └──┘ └───┘ └─┘ └─┘     a segment much longer than the first begins the next one
    ```

    Parameters
    ----------
    lengths : sequence of int
        Lengths of the segments, each above 0, in the unit of the budget (samples).
    budget : float
        Maximum padded length of a batch: its longest segment times its number of segments. A single segment may exceed
        it.
    max_waste : float
        Maximum ratio of padded to real length of a batch; 1 allows equal lengths only.

    Yields
    ------
    list of int
        Indices into ``lengths``, each once. The longest segments come first, so that a batch that does not fit into
        the memory of the device fails at once.

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
    """Compute the ratio of padded to real length of batches; 1 means no padding.

    Examples
    --------
    >>> waste([10, 5], [[0, 1]])
    1.3333333333333333
    """
    padded = sum(max(lengths[index] for index in batch) * len(batch) for batch in shared)
    return padded / sum(lengths[index] for batch in shared for index in batch)
