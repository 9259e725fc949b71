"""Contested FLAC: whole frames stand within another one, and decoders that search for frames play them instead.

```
libFLAC   [header|subframe ................................. |CRC][header|subframe ...
FFmpeg                     [header|subframe|CRC][header|subframe|CRC]
```

libFLAC steps from the end of a frame to the next; FFmpeg searches for headers, and takes the likeliest of them. Headers
that count other samples than the file does show it; in some 50 MB of compressed sound, one is there by accident. Then
both decoders must give the same samples.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace

from detector.decoders import DECODERS, Ledger, Mixer
from detector.errors import UtteranceError
from detector.layout import BOTH, PYAV, SOUNDFILE, Layout


def refuse_two_sounds(layout: Layout) -> None:
    """Raise if libsndfile reads other samples of a FLAC than FFmpeg, as far as its header counts them.

    Raises
    ------
    UtteranceError
        `bad_header`. A file that libsndfile does not read to its end raises nothing here.
    """
    both = replace(layout, decoders=BOTH)
    channel, n_channels = 0, 1
    while channel < n_channels:
        try:
            n_channels, n_samples, digest = _read(both, SOUNDFILE, channel)
        except UtteranceError:
            return
        try:
            is_same = _read(both, PYAV, channel, n_samples)[2] == digest
        except UtteranceError:
            is_same = False
        if not is_same:
            message = "a FLAC with frames within others, which players play instead of these or do not: write it again"
            raise UtteranceError("bad_header", message)
        channel += 1


def _read(layout: Layout, name: str, channel: int, n_most: int | None = None) -> tuple[int, int, bytes]:
    """Decode a channel: the number of channels, the samples of it, and the digest of at most ``n_most`` of them."""
    stored, blocks = DECODERS[name](layout, Mixer(channel, Ledger()))
    n_samples, digest = 0, hashlib.sha256()
    for block in blocks:
        samples = block.samples if n_most is None else block.samples[: max(0, n_most - n_samples)]
        n_samples += len(samples)
        digest.update(samples.tobytes())
    return stored.channels, n_samples, digest.digest()
