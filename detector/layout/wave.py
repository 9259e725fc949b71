"""WAVE files in RIFF, RIFX (big-endian), RF64, BW64 and W64: where their samples lie, whatever the sizes claim.

Sizes are wrong where a program crashed or wrote to a pipe, where a file was joined or cut, and beyond 4 GiB. What
stands behind the claimed samples tells: chunks to the end of the file, a second chunk of samples, another recording,
text or packed bytes, or bytes that are none of these, which are samples that the header does not count.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import BinaryIO, Literal, NamedTuple

from detector.errors import UtteranceError
from detector.layout import disguised, tags
from detector.layout.channels import MIXED_BITS, UNPLAYED
from detector.layout.spliced import Range, read_at

CHUNKS = 1_000
FORMAT_BYTES = 64 << 10
UNKNOWN_BYTES = 0x7FFF_0000  # sizes from here to 4 GiB are placeholders of programs that write to a pipe
UNCOUNTED_SECONDS = 0.05  # bytes behind the samples that would last shorter are not taken for samples
W64 = bytes.fromhex("726966662e91cf11a5d628db04c10000")
W64_CHUNK = bytes.fromhex("f3acd3118cd100c04f8edb8a")  # behind the four letters of a chunk's name
W64_HEADER_BYTES = 24
FAMILY = {b"RIFF": "<", b"RF64": "<", b"BW64": "<", b"RIFX": ">"}
CUT_CHUNKS = frozenset(
    b"LIST id3  ID3  bext fact cue  smpl inst PEAK JUNK junk PAD  FLLR iXML axml C2PA DISP".split(b" ")
)
ADPCM_TAGS = {2: (7, 2), 0x11: (4, 1)}  # Microsoft, IMA: header bytes per channel, samples in the header
MPEG_TAGS = (0x50, 0x55)  # WAVE_FORMAT_MPEG, _MPEGLAYER3
G721, G721_BITS = 0x40, 4  # WAVE_FORMAT_G721_ADPCM
PCM, FLOAT, EXTENSIBLE = 1, 3, 0xFFFE
MIN_FORMAT_BYTES = 16
ORDER_BYTES = 16 << 20  # of samples, in which another byte order is looked for
EXTENDED_TAG = 24  # offset of the tag in a format that is WAVE_FORMAT_EXTENSIBLE
STORED_TAGS = (PCM, FLOAT, 6, 7)  # and WAVE_FORMAT_ALAW, _MULAW: formats that store samples one by one


@dataclass(frozen=True)
class Wave:
    """The format and the samples of a WAVE file.

    Parameters
    ----------
    endian : str
        `<` or `>`, as :mod:`struct` has it.
    is_w64 : bool
    format : bytes
        Content of the `fmt ` chunk; empty if there is none.
    samples : tuple of Range
        The chunks of samples; empty if there is none.
    claimed_bytes : int or None
        Bytes of samples that the header claims; None if it claims none, or has a placeholder.
    is_regular : bool
        True if a decoder that believes the header reads all samples.
    end : int
        Offset of the first byte that is not part of the file.
    """

    endian: str
    is_w64: bool
    format: bytes
    samples: tuple[Range, ...]
    claimed_bytes: int | None
    is_regular: bool
    end: int

    @property
    def n_bytes(self) -> int:
        """Bytes of samples that are there."""
        return sum(each.end - each.start for each in self.samples)

    @property
    def is_mpeg(self) -> bool:
        """True if the samples are said to be frames of MPEG audio."""
        return self._tag in MPEG_TAGS

    @property
    def _tag(self) -> int:
        if self.format[:2] in (b"\xfe\xff", b"\xff\xfe"):
            return int.from_bytes(self.format[EXTENDED_TAG : EXTENDED_TAG + 4], self._order)
        return int.from_bytes(self.format[:2], self._order)

    @property
    def _order(self) -> Literal["little", "big"]:
        return "little" if self.endian == "<" else "big"

    def seconds(self, n_bytes: int | None) -> float | None:
        """Length of so many bytes of samples; None for formats that compress, and where there is no number of bytes."""
        _, channels, rate, _, _, bits = struct.unpack(f"{self.endian}HHIIHH", self.format[:16].ljust(16, b"\0"))
        frame_bytes = channels * (-(-bits // 8) if self._tag in (PCM, FLOAT) else 1)
        if n_bytes is None or self._tag not in STORED_TAGS or not (frame_bytes and rate):
            return None
        return float(n_bytes // frame_bytes / rate)

    def header(self) -> bytes:
        """Return the header of a RIFF (or RIFX) file with these samples."""
        size = min(0xFFFF_FFFF, self.n_bytes)
        content = b"fmt " + struct.pack(f"{self.endian}I", len(self.format)) + self.format + bytes(len(self.format) % 2)
        content = b"WAVE" + content + b"data" + struct.pack(f"{self.endian}I", size)
        magic = b"RIFF" if self.endian == "<" else b"RIFX"
        return magic + struct.pack(f"{self.endian}I", min(0xFFFF_FFFF, len(content) + size)) + content

    def why_not(self) -> str:
        """Return why libsndfile may not decode it, or nothing."""
        tag, channels, _, _, block_bytes, _, _, block_samples = struct.unpack(
            f"{self.endian}HHIIHHHH", self.format[:20].ljust(20, b"\0")
        )
        if self.is_mpeg:
            return "a WAV of MPEG audio, whose length it guesses"
        if tag == EXTENSIBLE and int.from_bytes(self.format[20:24], self._order) & ~MIXED_BITS:
            return UNPLAYED
        if self.is_w64:
            return "" if tag in STORED_TAGS else f"a W64 file of format {tag:#x}"
        if tag in ADPCM_TAGS:  # blocks that claim more samples than their bytes can hold overflowed decoders
            header_bytes, header_samples = ADPCM_TAGS[tag]
            room = block_bytes - header_bytes * channels
            if not (channels > 0 and room > 0 and block_samples <= 2 * room // channels + header_samples):
                return "a WAV whose block size is impossible"
        return ""

    def contradiction(self) -> str:
        """Return what players read differently in the format of PCM, float or G.721, or nothing.

        libsndfile takes the bits of a sample, FFmpeg the valid ones among them, and others the size of a block. FFmpeg
        takes the bits of G.721 from the bytes of a second.
        """
        first, channels, rate, byte_rate, block_bytes, bits, _, valid = struct.unpack(
            f"{self.endian}HHIIHHHH", self.format[:20].ljust(20, b"\0")
        )
        if self._tag == G721 and 8 * byte_rate // max(1, rate) != G721_BITS:
            return f"G.721, of {G721_BITS} bits, with {8 * byte_rate:,} bits in a second of {rate:,} samples"
        if self._tag not in (PCM, FLOAT) or len(self.format) < MIN_FORMAT_BYTES:
            return ""
        n_bytes = -(-bits // 8)
        if block_bytes != channels * n_bytes:
            return f"{channels:,} channels of {bits:,} bits in blocks of {block_bytes:,} bytes"
        is_valid = valid == bits if self._tag == FLOAT else -(-valid // 8) == n_bytes
        if first != EXTENSIBLE or self.endian == ">" or valid == 0 or is_valid:
            return ""
        return f"{valid:,} valid bits in samples of {bits:,}"

    def disguise(self, file: BinaryIO) -> str:
        """Return the coding that players find in samples that are said to be PCM, or nothing."""
        _, _, rate, _, block_bytes, bits = struct.unpack(f"{self.endian}HHIIHH", self.format[:16].ljust(16, b"\0"))
        if self._tag != PCM:
            return ""
        find = disguised.coding if 8 < bits <= 16 else disguised.bursts
        n_bytes = disguised.n_probed(rate, block_bytes)
        heads = (read_at(file, each.start, n_bytes, each.end) for each in self.samples)
        found = next((found for head in heads if (found := find(head))), "")
        return found or (disguised.LITTLE_ENDIAN if self._has_two_orders(file, bits) else "")

    def _has_two_orders(self, file: BinaryIO, bits: int) -> bool:
        """Return True if a RIFX file is sound in the opposite byte order, too, in which FFmpeg plays it."""
        if self.endian != ">" or bits != 16 or not self.samples:
            return False
        first = self.samples[0]
        return disguised.is_sound_in_both_orders(read_at(file, first.start, ORDER_BYTES, first.end))


class _Chunk(NamedTuple):
    """A chunk's name, the offset of its content, and the size that it states."""

    name: bytes
    at: int
    size: int

    @property
    def end(self) -> int:
        return self.at + self.size


MAX_TAG_BYTES = 1 << 12
"""Of tags that are left out where nothing says where the samples end: an eighth of a second of speech."""


def is_wave(head: bytes) -> bool:
    """Return True if a file that begins with ``head`` is a WAVE file."""
    return (head[:4] in FAMILY and head[8:12] == b"WAVE") or head[:16] == W64


def read(file: BinaryIO, start: int, size: int, head: bytes) -> Wave:
    """Find the samples of the WAVE file that begins at ``start`` and extends at most to ``size``.

    Raises
    ------
    UtteranceError
        `bad_header`, if there are two formats: some players take the first, and some the last.
    """
    is_w64 = head[:16] == W64
    endian = "<" if is_w64 else FAMILY[head[:4]]
    content, long_size = b"", 0
    for chunk in _chunks(file, start + (40 if is_w64 else 12), size, endian, is_w64=is_w64):
        if chunk.name == b"fmt " or (chunk.name == b"XMA2" and not content):  # the latter is a format to FFmpeg
            stated = read_at(file, chunk.at, min(chunk.size, FORMAT_BYTES), size)
            if stated != (content or stated):
                raise UtteranceError("bad_header", "two formats before the samples: write it again with the right one")
            content = stated
        elif chunk.name == b"ds64":
            long_size = int.from_bytes(read_at(file, chunk.at + 8, 8, size), "little")
        elif chunk.name == b"data":
            is_unknown = chunk.size == 0 or (chunk.size >= UNKNOWN_BYTES and not is_w64)
            if chunk.size == 0xFFFF_FFFF and long_size:
                chunk, is_unknown = chunk._replace(size=long_size), False
            samples = Range(chunk.at, min(size, chunk.end))
            wave = Wave(endian, is_w64, content, (samples,), None if is_unknown else chunk.size, True, size)
            return wave if chunk.end >= size and not is_unknown else _read_on(file, size, chunk, wave)
    return Wave(endian, is_w64, content, (), None, True, size)


def _read_on(file: BinaryIO, size: int, data: _Chunk, wave: Wave) -> Wave:
    """Look at what stands behind the samples that the header counts, if it counts them."""
    stop, later = _chunks_behind(file, data, size, wave)
    if data.end < size and (stop == size or tags.is_zero(file, stop, size)):
        return _with_more(wave, later, size)
    if wave.claimed_bytes is not None and _is_next(file, stop, size):
        return _with_more(wave, later, stop)
    tail = tags.before_tags(file, data.at, size)
    if wave.claimed_bytes is None:
        tail = tail if size - tail <= MAX_TAG_BYTES else size  # players play all that there is
        # the header of the next may stand anywhere; libsndfile reads none of a chunk of size 0
        last = _next_wave(file, data.at, tail, wave.format)
        is_regular = data.size > 0 and last == size
        return replace(wave, samples=(Range(data.at, last),), is_regular=is_regular, end=last)
    last = _next_wave(file, data.end, tail)
    is_short = last - data.end < UNCOUNTED_SECONDS * _byte_rate(wave)
    if is_short or tags.is_text_or_packed(file, data.end, last, _sample_bytes(wave)):
        return replace(wave, end=data.end)
    return replace(wave, samples=(Range(data.at, last),), is_regular=False, end=last)


def _with_more(wave: Wave, later: list[Range], end: int) -> Wave:
    """Return the wave with chunks of samples behind the first."""
    if not later:
        return replace(wave, end=end)
    samples = (*wave.samples, *later)
    claimed = wave.claimed_bytes
    if claimed is not None:
        claimed += sum(each.end - each.start for each in later)
    return replace(wave, samples=samples, claimed_bytes=claimed, is_regular=False, end=end)


def _byte_rate(wave: Wave) -> int:
    """Bytes of a second, from the sample rate and the size of a block; of compressed formats, what the header says."""
    _, _, rate, stated, block_bytes = struct.unpack(f"{wave.endian}HHIIH", wave.format[:14].ljust(14, b"\0"))
    return int(stated or rate * block_bytes)


def _sample_bytes(wave: Wave) -> int:
    """Bytes of a sample; 1 for formats that compress."""
    tag, bits = struct.unpack(f"{wave.endian}H12xH", wave.format[:16].ljust(16, b"\0"))
    return max(1, min(8, bits // 8)) if tag in (PCM, FLOAT, EXTENSIBLE) else 1


def _is_next(file: BinaryIO, at: int, size: int) -> bool:
    """Return True if another recording, or a tag, begins right behind the chunks."""
    following = tags.find_recording(file, at, min(size, at + tags.HEAD_BYTES + tags.OVERLAP_BYTES))
    return following is not None and tags.is_zero(file, at, following)


def _next_wave(file: BinaryIO, start: int, size: int, alike: bytes | None = None) -> int:
    """Return the offset of the next WAVE file, or ``size``; quick, since there may be many gigabytes of samples.

    Among samples of which nothing says where they end, only one with the format ``alike`` counts: players take another
    header for samples, and would not play what follows at its rate.
    """
    for offset, block in tags.blocks(file, start, size, 12):
        at = block.find(b"WAVE", 8)
        while at >= 0:
            if is_wave(block[at - 8 : at + 4]) and alike in (None, _format_at(file, offset + at - 8, size)):
                return offset + at - 8
            at = block.find(b"WAVE", at + 1)
    return size


def _format_at(file: BinaryIO, start: int, size: int) -> bytes:
    """Return the content of the chunk `fmt ` of the WAVE file at ``start``; nothing if it has none."""
    head = read_at(file, start, tags.HEAD_BYTES, size)
    chunks = _chunks(file, start + 12, size, FAMILY.get(head[:4], "<"), is_w64=False)
    found = next((chunk for chunk in chunks if chunk.name == b"fmt "), None)
    return b"" if found is None else read_at(file, found.at, min(found.size, FORMAT_BYTES), size)


def _chunks_behind(file: BinaryIO, data: _Chunk, size: int, wave: Wave) -> tuple[int, list[Range]]:
    """Return where the chunks behind the samples end, and those of them that hold samples, too."""
    later = []
    at = _padded(data, is_w64=wave.is_w64) if data.end < size else size
    for chunk in _chunks(file, at, size, wave.endian, is_w64=wave.is_w64):
        if chunk.end > size + 1 and chunk.name not in CUT_CHUNKS and chunk.name != b"data":
            break
        if chunk.name == b"data":
            later.append(Range(chunk.at, min(size, chunk.end)))
        at = _padded(chunk, is_w64=wave.is_w64)
    return min(at, size), later


def _padded(chunk: _Chunk, *, is_w64: bool) -> int:
    """Offset at which the chunk after this one begins; the file itself may begin anywhere, behind a tag."""
    return chunk.end + -chunk.size % (8 if is_w64 else 2)


def _chunks(file: BinaryIO, at: int, size: int, endian: str, *, is_w64: bool) -> Iterator[_Chunk]:
    """Yield chunk by chunk, up to the first bytes that are none."""
    header_bytes = W64_HEADER_BYTES if is_w64 else 8
    for _ in range(CHUNKS):
        header = read_at(file, at, header_bytes, size)
        is_name = len(header) == header_bytes and tags.is_printable(header[:4])
        if not is_name or (is_w64 and header[4:16] != W64_CHUNK) or tags.is_magic(file, at, size):
            return
        if is_w64:
            n_bytes = max(0, int.from_bytes(header[16:24], "little") - W64_HEADER_BYTES)
        else:
            (n_bytes,) = struct.unpack_from(f"{endian}I", header, 4)
        chunk = _Chunk(header[:4], at + header_bytes, n_bytes)
        yield chunk
        at = _padded(chunk, is_w64=is_w64)
