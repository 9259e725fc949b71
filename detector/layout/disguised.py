"""Other codings in the samples of a WAV that promises PCM, which FFmpeg and VLC play instead of the samples.

FFmpeg looks for bursts of S/PDIF (IEC 61937) in samples of any size. In the first 32 packets of samples of 16 bits, it
takes frames of DTS, too, wherever they stand, and frames of MPEG audio, AAC or AC-3 where the samples begin with them,
and plays nothing else. VLC looks for AC-3, DTS and TrueHD. A person hears these; a decoder that believes the header
hears what is between them.
"""

from __future__ import annotations

import functools
import re
import struct
from collections import Counter

import numpy as np
import numpy.typing as npt

from detector.layout.frames import ac3_bytes, mpeg_bytes

PACKETS, PACKET_BYTES = 32, 4_096  # that FFmpeg looks at; of late, a packet is up to a tenth of a second
MAX_BYTES = 5 << 20
FIRST_FRAMES = {"MPEG audio": 4, "AAC in ADTS": 3, "AAC in LATM": 3}  # in a row that samples may begin with
ANYWHERE_FRAMES = 8  # in a row elsewhere
FEW = 50  # candidates, for which numpy takes longer
HEADER_BYTES = 8  # of a frame, within which its size is stated
BURST_TYPES = 0x37  # of S/PDIF, in the byte behind the sync
DTS_SYNC, DTS_HEADER_BYTES, DTS_MIN_BYTES, DTS_MIN_BLOCKS, DTS_LAYOUTS = 0x7FFE8001, 14, 95, 8, 16
DTS = {  # by sync: the byte order, and the bits of a word that are used
    b"\x7f\xfe\x80\x01": (">", 16),
    b"\xfe\x7f\x01\x80": ("<", 16),
    b"\x1f\xff\xe8\x00": (">", 14),
    b"\xff\x1f\x00\xe8": ("<", 14),
}
SPDIF, DTS_HD = b"\x72\xf8\x1f\x4e", b"\x64\x58\x20\x25"
TRUE_HD = (b"\xf8\x72\x6f\xba", b"\xf8\x72\x6f\xbb")
AC3, SWAPPED_AC3, STAMP, STAMP_BYTES = b"\x0b\x77", b"\x77\x0b", b"\x01\x10", 16
BURSTS, LITTLE_ENDIAN = "bursts of S/PDIF", "other sound in the opposite byte order"
LEAST_SAMPLES, SMOOTH, SAME = (
    100,
    0.7,
    0.9,
)  # of samples: how alike neighbours are in sound, and two orders of small ones
LEAST = {BURSTS: 2, "TrueHD": 2, "DTS": 3, "AC-3": 3}  # that are no accident

Bytes = npt.NDArray[np.uint8]
Offsets = npt.NDArray[np.int64]


def n_probed(rate: int, block_bytes: int) -> int:
    """Bytes of the samples at which FFmpeg looks, at a sample rate in Hz and the bytes of a sample of all channels."""
    packet_bytes = block_bytes << max(0, (rate // 10).bit_length() - 1)
    return min(MAX_BYTES, PACKETS * max(PACKET_BYTES, packet_bytes))


def coding(content: bytes) -> str:
    """Return the coding that players find in the first samples of 16 bits, for a person; nothing if there is none.

    Examples
    --------
    >>> frame = b"\\xff\\xfb\\x90\\xc0" + bytes(413)  # MPEG 1, layer III, 128 kbit/s, 44.1 kHz, mono
    >>> coding(frame * 4), coding(frame * 3), coding(b"\\x01\\x02" + frame * 4)
    ('MPEG audio', '', '')
    """
    begin = len(content) - len(content.lstrip(b"\0"))
    if content.startswith(b"ID3", begin):
        return "an ID3 tag, with a stream behind it"
    if _is_chain(content, begin, FIRST_FRAMES.get(_name(content, begin), 0)):
        return _name(content, begin)
    if _is_ac3(content, begin + STAMP_BYTES * content.startswith(STAMP, begin), may_repeat=True):
        return "AC-3"
    values = np.frombuffer(content, np.uint8)
    offsets = _offsets(content)
    are_frames = _are_frames(values, offsets)
    return _with_syncs(content, offsets[~are_frames]) or _with_chains(content, values, offsets[are_frames])


def bursts(content: bytes) -> str:
    """Return the coding that FFmpeg finds in the first samples of any size: that of bursts of S/PDIF, or nothing."""
    n_found = len(re.findall(re.escape(SPDIF) + b"[\0-%c]" % (BURST_TYPES - 1), content))
    return BURSTS if n_found >= LEAST[BURSTS] else ""


def is_sound_in_both_orders(content: bytes) -> bool:
    """Return True if 16-bit samples are sound in either byte order, and not the same.

    The low bytes of speech are noise. Where they are not, the other order plays another voice, or the same one if all
    samples are small.

    Examples
    --------
    >>> import numpy as np
    >>> at = np.arange(16_000)
    >>> voice, other = 9_000 * np.sin(at / 40), 99 * np.sin(at / 70)
    >>> is_sound_in_both_orders(voice.astype(">i2").tobytes())
    False
    >>> is_sound_in_both_orders(np.stack([voice / 256, other], 1).astype("i1").tobytes())
    True
    """
    samples = np.frombuffer(content[: len(content) // 2 * 2], ">i2")
    other = samples.view("<i2").astype(np.float64)
    if len(other) < LEAST_SAMPLES or not other.any():
        return False
    is_smooth = _cosine(other[1:], other[:-1]) > SMOOTH
    return bool(is_smooth and abs(_cosine(other, samples.astype(np.float64))) < SAME)


def _cosine(one: npt.NDArray[np.float64], other: npt.NDArray[np.float64]) -> float:
    return float(one @ other / max(1e-9, float(np.sqrt((one @ one) * (other @ other)))))


def _are_frames(values: Bytes, at: Offsets) -> npt.NDArray[np.bool_]:
    """Return which of the offsets have the eleven bits with which a frame of MPEG audio, ADTS or LOAS begins."""
    is_frame: npt.NDArray[np.bool_] = ((values[at] == 0xFF) | (values[at] == 0x56)) & (values[at + 1] >= 0xE0)
    return is_frame


def _offsets(content: bytes) -> Offsets:
    """Offsets at which a sync, or the header of a frame, may begin, by its first two bytes."""
    first = np.frombuffer(content, "<u2", count=len(content) // 2)
    second = np.frombuffer(content[1:], "<u2", count=(len(content) - 1) // 2)  # the words in between
    found = [np.flatnonzero(_table().take(words)) * 2 + begin for begin, words in enumerate((first, second))]
    return np.concatenate(found)


@functools.cache
def _table() -> npt.NDArray[np.bool_]:
    """True for the words with which a sync or a frame begins, of 65,536; to look words up is the quickest way."""
    words = [sync[:2] for sync in (*DTS, DTS_HD, SPDIF, *TRUE_HD, AC3, SWAPPED_AC3)]
    words += [bytes([first, second]) for first in (0xFF, 0x56) for second in range(0xE0, 0x100)]
    table = np.zeros(1 << 16, bool)
    table[[int.from_bytes(word, "little") for word in words]] = True
    return table


def _with_chains(content: bytes, values: Bytes, at: Offsets) -> str:
    """Return the coding of which many frames stand in a row that are not all alike, as the periods of a tone are."""
    starts = at
    for _ in range(ANYWHERE_FRAMES):
        is_inside = at <= len(values) - HEADER_BYTES
        starts, at = starts[is_inside], at[is_inside]
        if len(starts) <= FEW:
            break
        n_bytes = _all_frame_bytes(values, at)
        is_frame = n_bytes > 0
        starts, at = starts[is_frame], (at + n_bytes)[is_frame]
    for start in starts.tolist():
        if _is_chain(content, start, ANYWHERE_FRAMES, may_repeat=False):
            return _name(content, start)
    return ""


def _is_chain(content: bytes, start: int, n_frames: int, *, may_repeat: bool = True) -> bool:
    """Return True if so many frames follow one another from ``start`` on; if they are all alike, only if they may."""
    at = start
    for _ in range(n_frames):
        n_bytes = _frame_bytes(content[at : at + HEADER_BYTES])
        if not n_bytes:
            return False
        at += n_bytes
    return n_frames > 0 and (may_repeat or content[start:at] != content[start : start + n_bytes] * n_frames)


def _name(content: bytes, at: int) -> str:
    """Return the coding of the frame that may begin here."""
    first, second = content[at : at + 2].ljust(2, b"\0")
    return "AAC in LATM" if first == 0x56 else "MPEG audio" if second & 6 else "AAC in ADTS"


def _frame_bytes(head: bytes) -> int:
    """Size of the frame of MPEG audio, ADTS or LOAS (ISO 14496-3, 1.7.2) that begins so; 0 for none."""
    if len(head) < HEADER_BYTES or head[1] < 0xE0:
        return 0
    if head[0] == 0x56:
        return ((head[1] & 0x1F) << 8 | head[2]) + 3
    if head[0] != 0xFF or head[1] & 0xF6 != 0xF0:
        return mpeg_bytes(head[1], head[2]) if head[0] == 0xFF else 0
    return (head[3] & 3) << 11 | head[4] << 3 | head[5] >> 5


def _all_frame_bytes(values: Bytes, at: Offsets) -> Offsets:
    """Size of the frame at each offset; 0 for none."""
    first, second, third = values[at], values[at + 1].astype(np.int64), values[at + 2]
    adts_bytes = (
        (values[at + 3] & 3).astype(np.int64) << 11 | values[at + 4].astype(np.int64) << 3 | values[at + 5] >> 5
    )
    mpeg_or_adts = np.where(second & 0xF6 == 0xF0, adts_bytes, _mpeg_table()[second << 8 | third])
    loas_bytes = ((second & 0x1F) << 8 | third) + 3
    return np.where(_are_frames(values, at), np.where(first == 0xFF, mpeg_or_adts, loas_bytes), 0)


@functools.cache
def _mpeg_table() -> Offsets:
    """Sizes of the frames of MPEG audio, by their second and third byte; 0 for none."""
    sizes = [mpeg_bytes(second, third) for second in range(0xE0, 0x100) for third in range(256)]
    return np.array([0] * (0xE0 << 8) + sizes)


def _with_syncs(content: bytes, offsets: Offsets) -> str:
    """Return the coding whose syncs are rare enough to be counted wherever they stand."""
    found = Counter(kind for at in offsets.tolist() if (kind := _kind(content, at)))
    return next((name for (name, _), n_found in found.items() if n_found >= LEAST[name]), "")


def _kind(content: bytes, at: int) -> tuple[str, object] | None:
    """Return the coding that has a sync here, and what all of its frames share; None if none has."""
    sync = content[at : at + 4]
    if sync == SPDIF and content[at + 4 : at + 5] < bytes([BURST_TYPES]):
        return BURSTS, None
    if sync in TRUE_HD:
        return "TrueHD", sync
    if sync == DTS_HD:
        return "DTS", sync
    if sync in DTS and (rate := _dts_rate(content[at : at + DTS_HEADER_BYTES], *DTS[sync])) is not None:
        return "DTS", (sync, rate)
    if sync[:2] in (AC3, SWAPPED_AC3) and _is_ac3(content, at):
        return "AC-3", sync[:2]
    return None


def _dts_rate(header: bytes, order: str, n_bits: int) -> int | None:
    """Return the index of the sample rate in a header of DTS (ETSI TS 102 114, 5.3); None if it is none."""
    if len(header) < DTS_HEADER_BYTES:
        return None
    bits = 0
    for word in struct.unpack(f"{order}7H", header):
        bits = bits << n_bits | word & (1 << n_bits) - 1
    # sync 32, type 1, deficit 5, CRC 1, blocks 7, size 14, channels 6, sample rate 4, bit rate 5, reserved 1
    bits >>= 7 * n_bits - 76
    n_blocks, n_bytes = (bits >> 30 & 0x7F) + 1, (bits >> 16 & 0x3FFF) + 1
    is_sized = n_blocks >= DTS_MIN_BLOCKS and n_bytes >= DTS_MIN_BYTES
    is_valid = bits >> 10 & 0x3F < DTS_LAYOUTS and not bits & 1
    is_header = bits >> 44 == DTS_SYNC and is_sized and is_valid
    return bits >> 6 & 15 if is_header else None


def _is_ac3(content: bytes, at: int, *, may_repeat: bool = False) -> bool:
    """Return True if a frame of AC-3 or E-AC-3 begins here, in either byte order, that another one follows.

    One that is alike counts only if it may repeat.
    """
    n_bytes = _ac3_bytes(content, at)
    end = at + n_bytes
    following = end + STAMP_BYTES if content[end : end + 2] == STAMP else end
    is_another = content[at : at + 2] == content[following : following + 2] and _ac3_bytes(content, following) > 0
    return n_bytes > 0 and is_another and (may_repeat or content[at:end] != content[following : following + n_bytes])


def _ac3_bytes(content: bytes, at: int) -> int:
    head = content[at : at + HEADER_BYTES]
    if head[:2] == SWAPPED_AC3 and len(head) == HEADER_BYTES:
        head = struct.pack("<4H", *struct.unpack(">4H", head))
    return ac3_bytes(head)
