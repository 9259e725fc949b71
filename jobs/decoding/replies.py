"""Replies of a decoder process: parsed, and accepted only if they can be true."""

from __future__ import annotations

import json
from typing import Any, cast

from detector.audio import DECODERS, MAX_CHANNELS, RATES, SAMPLE_RATE
from detector.errors import UtteranceError
from detector.recording import Facts
from detector.schema import DECODED, FAILURE_ERRORS
from jobs.decoding.faults import CANNOT_BE, DecoderError, check

CODEC_CHARACTERS = 64


def parse(text: bytes | bytearray) -> dict[str, Any]:
    """Parse the JSON of a `done` or `fail`."""
    try:
        reply = json.loads(text)
    except (ValueError, RecursionError):
        reply = None
    check(isinstance(reply, dict), "no JSON object")
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
    return Facts(**own, **stated, n_segments=n_segments)  # type: ignore[arg-type]  # checked above


def failure_of(kind: bytes, reply: dict[str, Any]) -> UtteranceError:
    """Return the error in a `fail`.

    Raises
    ------
    DecoderError
        If it is not an error that a decoder may report.
    """
    error, message = reply.get("error"), reply.get("message")
    if kind == b"fail" and error in FAILURE_ERRORS and isinstance(message, str):
        # half a surrogate pair is no text, and no table can hold it
        return UtteranceError(error, message.encode(errors="backslashreplace").decode())
    raise DecoderError("decoder_crash", f"{CANNOT_BE}: {kind!r}")
