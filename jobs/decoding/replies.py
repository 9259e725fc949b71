"""Replies of a decoder process: parsed, and believed only as far as they can be true."""

from __future__ import annotations

import json
import math
from typing import Any, cast

from detector.audio import DECODERS, MAX_CHANNELS, RATES, SAMPLE_RATE
from detector.errors import UtteranceError
from detector.recording import Facts
from detector.schema import FAILURE_ERRORS
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
    """Return the facts in a `done`; the digest and the counts are ours, since we saw all bytes and samples."""
    rate, channels, level = reply.get("native_rate"), reply.get("channels"), reply.get("rms_dbfs")
    codec, decoder = reply.get("codec"), reply.get("decoder")
    speech, clipped = reply.get("speech_share"), reply.get("clipped_share")
    check(type(rate) is int and RATES[0] <= rate <= RATES[1], f"a rate of {rate!r}")
    check(type(channels) is int and 1 <= channels <= MAX_CHANNELS, f"{channels!r} channels")
    check(type(level) is float and math.isfinite(level), f"a level of {level!r}")
    check(type(codec) is str and codec.isprintable() and len(codec) <= CODEC_CHARACTERS, f"a codec {codec!r}")
    check(type(decoder) is str and decoder in DECODERS, f"a decoder {decoder!r}")
    check(all(type(share) is float and 0.0 <= share <= 1.0 for share in (speech, clipped)), "a share that is none")
    return Facts(
        audio_sha256=audio_sha256,
        seconds=n_samples / SAMPLE_RATE,
        native_rate=reply["native_rate"],
        channels=reply["channels"],
        codec=reply["codec"],
        decoder=reply["decoder"],
        rms_dbfs=reply["rms_dbfs"],
        n_segments=n_segments,
        speech_share=reply["speech_share"],
        clipped_share=reply["clipped_share"],
    )


def failure_of(kind: bytes, reply: dict[str, Any]) -> UtteranceError:
    """Return the error in a `fail`.

    Raises
    ------
    DecoderError
        If it is none that a decoder may report.
    """
    error, message = reply.get("error"), reply.get("message")
    if kind == b"fail" and error in FAILURE_ERRORS and isinstance(message, str):
        # half a surrogate pair is no text, and no table can hold it
        return UtteranceError(error, message.encode(errors="backslashreplace").decode())
    raise DecoderError("decoder_crash", f"{CANNOT_BE}: {kind!r}")
