"""FLAC: how many samples the header counts, and what stands behind them.

Frames do not state their size, so that the end of a stream is known only once it is decoded. Frames are independent of
one another, so that those which the header does not count can be decoded under a header that counts none.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from detector.layout.spliced import read_at
from detector.layout.tags import blocks

MAGIC = b"fLaC"
FIRST = MAGIC + b"\0\0\0\x22"  # of a file whose STREAMINFO is not its only block
HEADER_BYTES = 8 + 34  # the magic, and STREAMINFO, which is always the first block
CODES = bytes(each for each in range(256) if each >> 4 and each & 15 < 15)
"""Bytes of a frame's header that tell how many samples the frame has, and their rate."""
LAYOUTS = bytes(each for each in range(256) if each >> 4 < 11 and each >> 1 & 7 != 3 and not each & 1)
"""Bytes of a frame's header that tell its channels, and the bits of a sample."""
SYNC = re.compile(rb"\xff[\xf8\xf9][%s][%s]" % (re.escape(CODES), re.escape(LAYOUTS)), re.DOTALL)
MAX_HEADER_BYTES = 16  # of a frame
SIZE_BYTES, RATE_BYTES = bytes([0] * 6 + [1, 2] + [0] * 8), bytes([0] * 12 + [1, 2, 2, 0])  # by their codes
RATES = {
    rate: code
    for code, rate in enumerate(
        (88_200, 176_400, 192_000, 8_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 96_000), start=1
    )
}
"""The codes of sample rates in a frame; 0 is the header's, and from 12 on it is spelt out."""
RATE_OF = {code: rate for rate, code in RATES.items()}

MAX_BLOCKS = 1_000  # of metadata
COMMENTS = 4  # the kind of a block
MASK = b"WAVEFORMATEXTENSIBLE_CHANNEL_MASK"  # the name of the comment that names channels, in any case
FEWEST, OTHER_SHARE = 3, 0.02
FRAME_BYTES = 64  # more than a frame has beside its samples


def _crc8_of(crc: int) -> int:
    """Checksum of one byte: polynomial x^8 + x^2 + x + 1."""
    for _ in range(8):
        crc = (crc << 1 ^ 0x07) & 0xFF if crc & 0x80 else crc << 1
    return crc


CRC8 = bytes(map(_crc8_of, range(256)))


class StreamInfo(NamedTuple):
    """The block STREAMINFO (RFC 9639, 8.2): the largest block, the sample rate, and the samples of a channel or 0."""

    block_samples: int
    rate: int
    n_samples: int


def stream_info(header: bytes) -> StreamInfo | None:
    """Parse the first 42 bytes of a FLAC file; None if they are no such header.

    Examples
    --------
    >>> import io, numpy, soundfile
    >>> file = io.BytesIO()
    >>> soundfile.write(file, numpy.zeros(5_000), 16_000, format="FLAC")
    >>> stream_info(file.getvalue()[:42])
    StreamInfo(block_samples=4096, rate=16000, n_samples=5000)
    """
    if len(header) < HEADER_BYTES or header[:4] != MAGIC or header[4] & 0x7F or header[5:8] != b"\0\0\x22":
        return None
    fields = int.from_bytes(header[18:26], "big")
    info = StreamInfo(int.from_bytes(header[10:12], "big"), fields >> 44, fields & (1 << 36) - 1)
    return info if info.rate and info.block_samples >= 16 else None


def uncounted(header: bytes) -> bytes:
    """Return a FLAC header as the last block, without its number of samples and its checksum."""
    return MAGIC + b"\x80" + header[5:21] + bytes([header[21] & 0xF0]) + bytes(4) + bytes(16)


class Frame(NamedTuple):
    """A frame: its offset, and the samples in it that the header counts."""

    start: int
    n_counted: int


def find_uncounted(block: bytes, info: StreamInfo) -> Frame | None:
    """Find the frame in ``block`` with the first sample that the header does not count."""
    for sync in SYNC.finditer(block):
        header = block[sync.start() : sync.start() + MAX_HEADER_BYTES]
        first, n_samples = _samples(header, info)
        if first <= info.n_samples < first + n_samples:
            return Frame(sync.start(), info.n_samples - first)
    return None


class Survey(NamedTuple):
    """How many samples the headers of all frames of a FLAC count, and their sample rate if it is not that of the file.

    libsndfile plays at the file's rate, and players at the frames'. The first frame tells; and later ones do, if they
    are three, and two in a hundred: in compressed sound, a few bytes look like such a frame by accident.
    """

    n_samples: int
    other_rate: int | None


def survey(file: BinaryIO, start: int, size: int, info: StreamInfo) -> Survey:
    """Look at every place that looks like a frame, up to another FLAC, which may have another rate."""
    first, n_samples, rates = _first_frame(file, start, size), 0, Counter[int | None]()
    for at, block in blocks(file, first, size, MAX_HEADER_BYTES):
        joined = block.find(FIRST)
        is_last = joined >= 0 or at + len(block) >= size
        end = joined if joined >= 0 else len(block) - (0 if is_last else MAX_HEADER_BYTES)
        for sync in SYNC.finditer(block):
            if (begin := sync.start()) >= end:
                break
            header = block[begin : begin + MAX_HEADER_BYTES]
            if n_of_frame := _samples(header, info)[1]:
                n_samples += n_of_frame
                rates[_rate(header, info)] += 1
        if is_last:
            break
    head = read_at(file, first, MAX_HEADER_BYTES, size)
    if SYNC.match(head) and _samples(head, info)[1] and (rate := _rate(head, info)) not in (None, info.rate):
        return Survey(n_samples, rate)
    n_frames = rates.pop(info.rate, 0)
    del rates[None]
    is_right = rates.total() < max(FEWEST, OTHER_SHARE * n_frames)
    return Survey(n_samples, None if is_right else max(rates, key=rates.__getitem__))


def _first_frame(file: BinaryIO, start: int, size: int) -> int:
    """Return the offset behind the metadata blocks."""
    return max((end for _, _, end in _metadata(file, start, size)), default=start + len(MAGIC))


def names_channels(file: BinaryIO, start: int, size: int) -> bool:
    """Return True if a comment names the channels, as FFmpeg reads it, or may do so behind too many blocks of metadata.

    Encoders write it only for channels that are not those which the standard gives to so many. Its digits may be
    hexadecimal, octal or decimal.
    """
    known = list(_metadata(file, start, size))
    return len(known) == MAX_BLOCKS or any(
        kind == COMMENTS and MASK in read_at(file, begin, end - begin, size).upper() for kind, begin, end in known
    )


def _metadata(file: BinaryIO, start: int, size: int) -> Iterator[tuple[int, int, int]]:
    """Yield the kind of each metadata block, and where its content begins and ends."""
    at, head = start + len(MAGIC), b"\0"
    for _ in range(MAX_BLOCKS):
        if head[0] & 0x80 or len(head := read_at(file, at, 4, size)) < 4:
            break
        end = at + 4 + int.from_bytes(head[1:4], "big")
        yield head[0] & 0x7F, at + 4, end
        at = end


def _rate(header: bytes, info: StreamInfo) -> int | None:
    """Sample rate that the header of a frame states; None if it states 0."""
    code = header[2] & 0xF
    if code < 12:
        return RATE_OF.get(code, info.rate)
    at = _coded_number(header)[1] + SIZE_BYTES[header[2] >> 4]
    stated = int.from_bytes(header[at : at + RATE_BYTES[code]], "big")
    return stated * {12: 1_000, 13: 1, 14: 10}.get(code, 0) or None


def frames_end(file: BinaryIO, start: int, size: int, header: bytes) -> int:
    """Return how far the last frame in ``file[start:size]`` reaches at most: as far as its samples, uncompressed."""
    info = stream_info(header)
    if info is None:
        return size
    fields = int.from_bytes(header[20:22], "big")
    channels, bits = (fields >> 9 & 7) + 1, (fields >> 4 & 31) + 1
    reach = FRAME_BYTES + info.block_samples * channels * bits // 8
    begin, n_bytes = size, reach
    while begin > start:
        begin, end = max(start, begin - n_bytes), begin
        block = read_at(file, begin, end - begin + MAX_HEADER_BYTES, size)
        for sync in reversed(list(SYNC.finditer(block))):
            if _samples(block[sync.start() : sync.start() + MAX_HEADER_BYTES], info)[1]:
                return min(size, begin + sync.start() + reach)
        n_bytes *= 2
    return min(size, start + reach)


def _samples(header: bytes, info: StreamInfo) -> tuple[int, int]:
    """Number of the first sample of a frame, and how many it has (RFC 9639, 9.1); none if the checksum is wrong.

    It is asked for every place that looks like a frame, of which a file that was made for it has one in five bytes.
    """
    number, at = _coded_number(header)
    size_code, rate_code = header[2] >> 4, header[2] & 0xF
    n_size_bytes = SIZE_BYTES[size_code]
    end = at + n_size_bytes + RATE_BYTES[rate_code]
    if number is None or len(header) <= end or _crc8(header[:end]) != header[end]:
        return 0, 0
    if n_size_bytes:
        n_samples = int.from_bytes(header[at : at + n_size_bytes], "big") + 1
    else:
        n_samples = 192 if size_code == 1 else 576 << (size_code - 2) if size_code < 6 else 256 << (size_code - 8)
    return number if header[1] & 1 else number * info.block_samples, n_samples


def _coded_number(header: bytes) -> tuple[int | None, int]:
    """The frame's or sample's number, coded as UTF-8 codes a character, from byte 4 on; and the offset behind it."""
    if len(header) < 5:
        return None, 4
    first = header[4]
    if first < 0x80:
        return first, 5
    n_more = next((n for n in range(1, 7) if first >> (6 - n) & 1 == 0), 0)
    more = header[5 : 5 + n_more]
    if not n_more or len(more) < n_more or any(byte & 0xC0 != 0x80 for byte in more):
        return None, 4
    number = first & (1 << (6 - n_more)) - 1
    for byte in more:
        number = number << 6 | byte & 0x3F
    return number, 5 + n_more


def _crc8(content: bytes) -> int:
    """Checksum of a frame's header."""
    crc = 0
    for byte in content:
        crc = CRC8[crc ^ byte]
    return crc
