"""NIST SPHERE: the fields of its header, which libsndfile, FFmpeg and NIST's own library must read alike.

```
NIST_1A
   1024                      the bytes of the header
sample_rate -i 16000         a name, a type, a value
sample_byte_format -s2 01    the type of a text has its length
end_head
```

libsndfile looks for names anywhere in the first 1,024 bytes, and wants one space behind them. FFmpeg compares how lines
begin, takes the last line of a name, and any spaces. A header in which they find the same has each field once, as the
beginning of a line of its own.
"""

from __future__ import annotations

import re
from typing import BinaryIO

from detector.errors import UtteranceError
from detector.layout.linear import Claim
from detector.layout.spliced import read_at

HEADER_BYTES = 16 << 10  # at most
SOUNDFILE_BYTES = 1 << 10  # of a header, which libsndfile reads
END = b"end_head"
TYPES = {
    b"channel_count": rb"-i \d{1,15}",
    b"sample_n_bytes": rb"-i \d{1,15}|-s1 1",  # the latter in what libsndfile writes of companded samples
    b"sample_sig_bits": rb"-i \d{1,15}",
    b"sample_rate": rb"-i \d{1,15}|-r \d{1,15}(?:\.\d{0,6})?",
    b"sample_count": rb"-i \d{1,15}|-r \d{1,15}(?:\.\d{0,6})?",
    b"sample_coding": rb"-s\d{1,3} \S{1,60}",
    b"sample_byte_format": rb"-s\d{1,3} \S{1,60}",
}
"""Fields that decoders heed, and how their types and values may be written: integers, reals, texts."""

NAME = re.compile(b"|".join(TYPES))
LINE = re.compile(b"^(" + b"|".join(b"%b (?:%b)" % each for each in TYPES.items()) + rb")[ \t\r]*$", re.MULTILINE)
COMPRESSED = re.compile(r"[\w,-]{1,20}embedded-[\w.-]{1,40}")


def read(file: BinaryIO, start: int, size: int) -> Claim:
    """Read a NIST SPHERE file: lines of text, among them the number of samples of a channel, and the rate.

    Raises
    ------
    UtteranceError
        `bad_header` if decoders read a field differently.
    """
    header = read_at(file, start, HEADER_BYTES, size)
    text, end, _ = header.partition(END)
    if not end:
        return Claim(size, why_not="a NIST SPHERE header that does not say where it ends")
    if not text.endswith(b"\n") or b"\0" in text:
        raise _unclear("no line of its own that says where the fields end")
    fields = _fields(text)
    coding = fields.get(b"sample_coding", "pcm")
    n_samples, rate = float(fields.get(b"sample_count", 0)), float(fields.get(b"sample_rate", 0))
    sample_bytes = int(fields.get(b"sample_n_bytes", 2))
    _refuse_other_sizes(text, fields, sample_bytes)
    seconds = n_samples / rate if n_samples and rate else None
    if COMPRESSED.fullmatch(coding):
        why_not = f"NIST SPHERE samples are coded as {coding}; sph2pipe decodes what FFmpeg does not"
        return Claim(size, seconds, why_not=why_not)
    why_not = "" if len(text + END) <= SOUNDFILE_BYTES else "a NIST SPHERE header of which it reads a part"
    header_bytes = header[8:16].strip()
    if seconds is None or b"sample_n_bytes" not in fields or not header_bytes.isdigit():
        return Claim(size, seconds, why_not=why_not)
    frame_bytes = int(fields.get(b"channel_count", 1)) * sample_bytes
    return Claim(min(size, round(start + int(header_bytes) + n_samples * frame_bytes)), seconds, why_not=why_not)


def _fields(text: bytes) -> dict[bytes, str]:
    """Return the fields that decoders heed by their names."""
    lines = [line.split() for line in LINE.findall(text)]
    fields = {name: value.decode("latin-1") for name, _, value in lines}
    names = NAME.findall(text)
    for name in names:
        if names.count(name) > 1:
            raise _unclear(f"the field {name.decode()}, which stands {names.count(name)} times")
        if name not in fields:
            raise _unclear(f"the field {name.decode()} in no line `name -type value` of its own")
    return fields


def _refuse_other_sizes(text: bytes, fields: dict[bytes, str], sample_bytes: int) -> None:
    """Raise if a sample has another size elsewhere: in its bits to FFmpeg, in a type to libsndfile.

    The byte order has the type of a text of two letters; libsndfile takes and writes the bytes of a sample for it.
    """
    bits = int(fields.get(b"sample_sig_bits", 8 * sample_bytes))
    is_pcm = fields.get(b"sample_coding", "pcm") == "pcm"
    if is_pcm and (-(-bits // 8) != sample_bytes or b"sample_n_bytes -s" in text):
        raise _unclear(f"{bits:,} bits in samples of {sample_bytes:,} bytes")
    order = fields.get(b"sample_byte_format", "")
    if (width := re.search(rb"sample_byte_format -s(\d+)", text)) and int(width[1]) not in (len(order), sample_bytes):
        raise _unclear(f"a byte order of {int(width[1])} letters, which has {len(order)}")


def _unclear(what: str) -> UtteranceError:
    message = f"a NIST SPHERE header with {what}, which players read differently: convert it to WAV with SoX"
    return UtteranceError("bad_header", message)
