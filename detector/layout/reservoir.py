"""Bit reservoir of layer III: the bits of a frame may begin within the frames before it, behind those that these use.

```
header, side    main data                 header, side    main data
[■■■■■■■■■■■■■■]1111111111111112222222222 [■■■■■■■■■■■■■■]2222223333333333333
                               ◄─────────── main_data_begin of the second frame
```

Where a frame begins earlier, with bits that were used, FFmpeg leaves it silent, and mpg123 plays it. One frame behind a
cut does. Where many do, a voice may be hidden.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

SIDE_BYTES = 32  # of side information, at most
BEGIN_BITS, BEGIN_BITS_OF_MPEG2 = 9, 8  # of main_data_begin
NEAR_FRAMES, MOST_NEAR = 32, 7  # frames that may begin too early, of so many

Numbers = npt.NDArray[np.int64]


class Reservoir:
    """Frames of one kind, added in their order; it counts those that begin with bits which others have used.

    Parameters
    ----------
    is_mpeg1, is_mono : bool
        Of all frames.

    Examples
    --------
    >>> frame = b"\\xff\\xfb\\x90\\xc0" + bytes(413)  # MPEG 1, layer III, 128 kbit/s, 44.1 kHz, mono
    >>> reservoir = Reservoir(is_mpeg1=True, is_mono=True)
    >>> reservoir.add(frame * 40, [417 * number for number in range(40)], 417 * 40)
    >>> reservoir.is_read_twice
    False
    """

    def __init__(self, *, is_mpeg1: bool, is_mono: bool) -> None:
        self.is_read_twice = False
        """True if frames that begin too early are so many nearby that no cut explains them."""
        n_channels = 1 if is_mono else 2
        self._is_mpeg1 = is_mpeg1
        self._side_bytes = (17 if is_mono else 32) if is_mpeg1 else (9 if is_mono else 17)
        first, step = (14 + 4 if is_mono else 12 + 8, 59) if is_mpeg1 else (8 + n_channels, 63)
        self._lengths = [first + step * number for number in range(n_channels * (2 if is_mpeg1 else 1))]
        self._unused = 0  # bytes of the frame before, at its end
        self._are_early = np.zeros(NEAR_FRAMES, bool)

    def add(self, block: bytes, starts: list[int], end: int) -> None:
        """Add the frames that begin at offsets of ``block``; the last of them ends at the offset ``end``."""
        if not starts:
            return
        at = np.array(starts)
        values = np.frombuffer(block + bytes(6 + SIDE_BYTES), np.uint8)
        side = at + np.where(values[at + 1] & 1, 4, 6)  # behind a checksum
        n_bytes = np.maximum(0, np.append(at[1:], end) - side - self._side_bytes)
        begins = _bits(values, side, 0, BEGIN_BITS if self._is_mpeg1 else BEGIN_BITS_OF_MPEG2)
        n_used = -(-sum((_bits(values, side, each, 12) for each in self._lengths), np.zeros_like(at)) // 8)
        unused = np.clip(begins + n_bytes - n_used, 0, None)
        are_early = begins > np.append(self._unused, unused[:-1])
        self._unused = int(unused[-1])
        recent = np.concatenate([self._are_early, are_early])
        if recent.any():
            self.is_read_twice |= bool(np.convolve(recent, np.ones(NEAR_FRAMES), "valid").max() > MOST_NEAR)
        self._are_early = recent[-NEAR_FRAMES:]


def _bits(values: npt.NDArray[np.uint8], at: Numbers, first: int, n_bits: int) -> Numbers:
    """Numbers of up to 17 bits that begin ``first`` bits behind offsets."""
    at = at + first // 8
    word = values[at].astype(np.int64) << 16 | values[at + 1].astype(np.int64) << 8 | values[at + 2]
    return np.asarray(word >> (24 - first % 8 - n_bits) & (1 << n_bits) - 1)
