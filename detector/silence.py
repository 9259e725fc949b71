"""Silence: a recording in which nothing is heard is told before the encoder, which would cost as much as for speech."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from detector.decoders import Samples

SILENT_DBFS = -80.0
"""Segments up to this level are silent; it is the default of the heads' own `--silence-dbfs`, and never above it."""

SILENT_ENERGY = 10.0 ** (SILENT_DBFS / 10.0) * (1.0 - 1e-9)  # mean square; the level of a sum of segments is rounded
WITHHELD_BYTES = 8 << 20  # about 130 s of audio
NOTHING: Samples = np.zeros(0, np.float32)


def is_silent(segment: Samples) -> bool:
    """Return True if the level of a segment is at most -80 dB re full scale.

    Examples
    --------
    >>> is_silent(np.full(16_000, 2e-4, np.float32)), is_silent(np.full(16_000, 9e-5, np.float32))
    (False, True)
    """
    return bool(np.square(segment, dtype=np.float64).sum() <= SILENT_ENERGY * len(segment))


def heard(segments: Iterator[Samples], again: Callable[[], Iterator[Samples]]) -> Iterator[Samples]:
    """Pass segments on; if all of them are silent, pass on a single empty one in their place.

    An encoder makes no frame of an empty segment, so the recording's embedding is null. One segment with sound brings
    all others along, silent or not: the mean over all frames depends on each.

    ```
    silent, silent, silent, end           ►  (empty)
    silent, silent, sound, silent, end    ►  silent, silent, sound, silent
    ```

    Parameters
    ----------
    segments : iterator of float32 arrays of shape (n_samples,)
    again : callable
        Returns the segments from the first on; called at most once, where sound follows more silence than is kept in
        memory. Both iterators are read to the end unless they raise.

    Examples
    --------
    >>> silent, loud = np.zeros(4, np.float32), np.ones(3, np.float32)
    >>> [len(each) for each in heard(iter([silent, loud, silent]), list)]
    [4, 3, 4]
    >>> [len(each) for each in heard(iter([silent, silent]), list)]
    [0]
    """
    withheld: list[Samples] = []
    n_bytes = 0
    for segment in segments:
        if not is_silent(segment):
            if n_bytes > WITHHELD_BYTES:
                yield from again()
                return
            yield from withheld
            yield segment
            yield from segments
            return
        n_bytes += segment.nbytes
        withheld = [*withheld, segment] if n_bytes <= WITHHELD_BYTES else []
    if n_bytes:
        yield NOTHING
