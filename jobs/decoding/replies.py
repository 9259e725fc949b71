"""Replies of a decoder process: parsed, and accepted only if they can be true."""

from __future__ import annotations

import json
from typing import Any, cast

from detector.audio import SAMPLE_RATE
from detector.decoders import DECODERS, MAX_CHANNELS, RATES
from detector.errors import UtteranceError
from detector.recording import Facts
from detector.schema import DECODED, TABLES
from jobs.decoding.faults import CANNOT_BE, DecoderError, check

CODEC_CHARACTERS = 64
GENERATOR_CHARACTERS = 200
DECODER_ERRORS = frozenset(
    {"bad_header", "decode_error", "decoder_crash", "empty", "nonfinite_audio", "not_audio", "out_of_range"}
    | {"too_large", "too_long", "trailing_data", "truncated"}
)
"""What a decoder may find; whether a file is there, may be read and is within a quota, only its worker knows."""
LENGTHS = tuple(column for column in TABLES["failures"] if column.name in ("seconds", "seconds_claimed"))


def parse(text: bytes | bytearray) -> dict[str, Any]:
    """Parse the JSON of a `done` or `fail`."""
    try:
        reply = json.loads(text)
    except (ValueError, RecursionError):
        reply = None
    # what is nested could be as deep as the parser can just read, and too deep to be shown
    is_flat = isinstance(reply, dict) and not any(isinstance(value, dict | list) for value in reply.values())
    check(is_flat, "no JSON object of plain values")
    return cast(dict[str, Any], reply)


def facts_of(reply: dict[str, Any], audio_sha256: str, n_samples: int, n_segments: int) -> Facts:
    """Check the facts in a `done`, and return them; the digest and the counts are this process's own."""
    own = {"audio_sha256": audio_sha256, "seconds": n_samples / SAMPLE_RATE}
    stated = {column.name: reply.get(column.name) for column in DECODED if column.name not in own}
    for column in DECODED:
        if column.name in stated:
            check(column.accepts(stated[column.name]), f"{column.name} {stated[column.name]!r}")
    rate, channels, codec, decoder = (reply[name] for name in ("native_rate", "channels", "codec", "decoder"))
    check(RATES[0] <= rate <= RATES[1], f"native_rate {rate!r}")
    check(1 <= channels <= MAX_CHANNELS, f"channels {channels!r}")
    check(codec.isprintable() and len(codec) <= CODEC_CHARACTERS, f"codec {codec!r}")
    check(decoder in DECODERS, f"decoder {decoder!r}")
    generator = reply["claim_generator"] or ""
    check(generator.isprintable() and len(generator) <= GENERATOR_CHARACTERS, f"claim_generator {generator!r}")
    check(n_segments > 0, "a recording without samples")
    return Facts(**own, **stated, n_segments=n_segments)  # type: ignore[arg-type]  # checked above


def failure_of(kind: bytes, reply: dict[str, Any]) -> UtteranceError:
    """Return the error in a `fail`.

    Raises
    ------
    DecoderError
        If it is not an error that a decoder may report.
    """
    error, message = reply.get("error"), reply.get("message")
    lengths = {column.name: reply.get(column.name) for column in LENGTHS}
    is_length = all(column.accepts(lengths[column.name]) for column in LENGTHS)
    if kind == b"fail" and error in DECODER_ERRORS and isinstance(message, str) and is_length:
        # half a surrogate pair is no text, and no table can hold it
        return UtteranceError(error, message.encode(errors="backslashreplace").decode(), **lengths)
    raise DecoderError("decoder_crash", f"{CANNOT_BE}: {kind!r}")
