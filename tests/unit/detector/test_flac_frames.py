"""Frames of FLAC are found by their headers, in time that grows with the bytes and not with the recordings in them."""

from __future__ import annotations

import io
from collections import Counter

import numpy as np
import pytest

from detector.audio import decode_native
from detector.layout import flac
from tests.support.audio import encoded

RATE = 4_000
FRAME_LIKE = b"\xff\xf8\x7d\x08\x00"  # the beginning of a header whose checksum is wrong


def remainder(content: bytes) -> int:
    """Checksum by its definition: the remainder of the content, as a polynomial, by x^8 + x^2 + x + 1."""
    number = int.from_bytes(content, "big") << 8
    while number.bit_length() > 8:
        number ^= 0x107 << (number.bit_length() - 9)
    return number


def test_the_checksum_of_a_header_is_the_remainder_of_a_division() -> None:
    random = np.random.default_rng(1)
    for n_bytes in (1, 5, 6, 16):
        content = random.bytes(n_bytes)
        assert flac._crc8(content) == remainder(content)


def test_every_frame_of_a_file_is_found_by_its_samples() -> None:
    content = encoded(np.random.default_rng(1).normal(0.0, 0.1, 10 * RATE), rate=RATE)
    info = flac.stream_info(content)
    assert info is not None

    for first in range(0, info.n_samples, info.block_samples):
        frame = flac.find_uncounted(content[flac.HEADER_BYTES :], info._replace(n_samples=first + 1))
        assert frame is not None
        assert frame.n_counted == 1
        assert content[flac.HEADER_BYTES :][frame.start : frame.start + 2] == b"\xff\xf8"


@pytest.mark.parametrize("n_parts", [1, 40])
def test_a_place_that_looks_like_a_frame_is_looked_at_once_however_many_recordings_are_joined(
    n_parts: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    part, n_like = encoded(np.full(RATE, 0.25), rate=RATE), 2_000
    content = part * n_parts + FRAME_LIKE * n_like
    looked_at: Counter[bytes] = Counter()
    samples = flac._samples

    def counted(header: bytes, info: flac.StreamInfo) -> tuple[int, int]:
        looked_at[header[: len(FRAME_LIKE)]] += 1
        return samples(header, info)

    monkeypatch.setattr(flac, "_samples", counted)
    _, blocks, _ = decode_native(io.BytesIO(content))

    assert sum(len(block.samples) for block in blocks) == n_parts * RATE
    assert 0 < looked_at[FRAME_LIKE] <= 2 * n_like
