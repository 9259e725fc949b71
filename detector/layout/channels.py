"""Channels: where a file says that they are to be heard. Players leave some out where there are two loudspeakers.

libsndfile does not tell them apart, so a file that names one of these is read with FFmpeg.
"""

from __future__ import annotations

import struct

MIXED = frozenset("FL FR FC BL BR FLC FRC BC SL SR TFL TFR NONE".split())
"""The channels that FFmpeg mixes to two loudspeakers, as it calls them. Not so that of low-frequency effects (LFE), nor
a downmix (DL, DR) beside others."""

MIXED_BITS = 0x57F7
"""The same in the mask of a WAVE_FORMAT_EXTENSIBLE, and of Core Audio, which has the same bits."""

UNPLAYED = "names a channel that two loudspeakers do not play"
"""Why libsndfile may not open a file, for a person."""

BY_LABELS, BY_BITS = 0, 0x10000  # tags of Core Audio whose channels are described behind them
MIXED_LABELS = frozenset((0, 1, 2, 3, *range(5, 12), 13, 15, 42))
MIXED_LAYOUTS = frozenset((*range(100, 107), 147, 0xFFFF))
"""Mono and stereo of every kind, discrete channels, unknown ones."""

LABEL_BYTES = 20


def are_mixed(layout: bytes) -> bool:
    """Return True if players mix all channels of a layout of Core Audio, as a CAF or an AIFF has it.

    It need not know those of more than two channels, which FFmpeg reads in any case.

    Examples
    --------
    >>> stereo, center_and_lfe = 101 << 16 | 2, 149 << 16 | 2
    >>> [are_mixed(struct.pack(">III", tag, 0, 0)) for tag in (stereo, center_and_lfe)]
    [True, False]
    """
    tag, bits, n_labels = struct.unpack(">III", layout[:12].ljust(12, b"\0"))
    if tag == BY_BITS:
        return not bits & ~MIXED_BITS
    if tag != BY_LABELS:
        return tag >> 16 in MIXED_LAYOUTS
    ends = range(16, min(len(layout), 12 + n_labels * LABEL_BYTES) + 1, LABEL_BYTES)
    return all(int.from_bytes(layout[end - 4 : end], "big") in MIXED_LABELS for end in ends)
