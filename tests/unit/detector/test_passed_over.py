"""A header may tell players to pass over sound, and not all do: we hear it, but for as much as a codec's delay."""

from __future__ import annotations

import io
import struct

import av
import numpy as np
import pytest

from tests.support.audio import encoded, tone
from tests.support.matroska import (
    BLOCK,
    BLOCK_GROUP,
    CLUSTER,
    CODEC_DELAY,
    DISCARD_PADDING,
    DURATION,
    INFO,
    SEGMENT,
    SIMPLE_BLOCK,
    TRACK,
    TRACKS,
    changed,
    element,
)
from tests.unit.detector.test_audio import muxed
from tests.unit.detector.test_heard_whole import by_ffmpeg, failure_of, heard

SECONDS = 8.0
CODECS = {"aac": 16_000, "libopus": 48_000, "flac": 16_000, "pcm_s16le": 16_000, "libmp3lame": 16_000}
NS = 10**9


def in_matroska(codec: str) -> bytes:
    return muxed(tone(SECONDS, rate=CODECS[codec]), kind="matroska", codec=codec, rate=CODECS[codec])


def lasting(content: bytes, seconds: float) -> bytes:
    """Return a Matroska file whose header states another length."""

    def change(name: bytes, inner: bytes) -> bytes:
        return element(name, struct.pack(">d", seconds * 1_000) if name == DURATION else inner)

    return changed(content, SEGMENT, INFO, change=change)


def delayed(content: bytes, seconds: float) -> bytes:
    """Return a Matroska file whose codec is said to have a delay."""

    def change(name: bytes, inner: bytes) -> bytes:
        if name == CODEC_DELAY:
            return b""
        delay = element(CODEC_DELAY, round(seconds * NS).to_bytes(8, "big"))
        return element(name, inner) + (delay if name == b"\xd7" else b"")  # behind the track's number

    return changed(content, SEGMENT, TRACKS, TRACK, change=change)


def discarded(content: bytes, n_heard: int, ms: int) -> bytes:
    """Return a Matroska file in which most of each block behind the first ones is said to be padding."""
    n_blocks = 0

    def change(name: bytes, inner: bytes) -> bytes:
        nonlocal n_blocks
        n_blocks += name == SIMPLE_BLOCK
        if name != SIMPLE_BLOCK or n_blocks <= n_heard:
            return element(name, inner)
        padding = element(DISCARD_PADDING, (ms * NS // 1_000).to_bytes(8, "big"))
        return element(BLOCK_GROUP, element(BLOCK, inner) + padding)

    return changed(content, SEGMENT, CLUSTER, change=change)


@pytest.mark.parametrize("codec", CODECS)
def test_a_delay_that_no_codec_has_leaves_nothing_out(codec: str) -> None:
    content = lasting(delayed(in_matroska(codec), SECONDS - 2.0), 2.0)
    assert len(by_ffmpeg(content)) / 16_000 < 2.3  # the control

    facts, _ = heard(content)

    assert facts.seconds == pytest.approx(SECONDS, abs=0.15)


@pytest.mark.parametrize(("codec", "ms"), [("aac", 60), ("libopus", 19), ("libmp3lame", 30)])
def test_sound_that_is_said_to_be_padding_is_heard(codec: str, ms: int) -> None:
    content = lasting(discarded(in_matroska(codec), 10, ms), 0.1)
    assert len(by_ffmpeg(content)) / 16_000 < SECONDS / 2  # the control

    facts, _ = heard(content)

    assert facts.seconds == pytest.approx(SECONDS, abs=0.55)


def test_the_delay_that_a_codec_has_is_left_out() -> None:
    content = delayed(in_matroska("aac"), 1_024 / 16_000)
    with_delay = delayed(content, 0.0)

    assert heard(with_delay)[0].seconds - heard(content)[0].seconds == pytest.approx(1_024 / 16_000, abs=1e-4)


def alac_in_caf(samples: np.ndarray, *changes: tuple[bytes, int, bytes]) -> bytes:
    """Return a CAF with ALAC, in which bytes of some chunks, each at its offset in the chunk, are others."""
    content = bytearray(encoded(samples, kind="CAF", subtype="ALAC_16"))
    for name, offset, new in changes:
        at = content.index(name) + 12 + offset
        content[at : at + len(new)] = new
    return bytes(content)


def test_the_priming_of_a_caf_is_heard() -> None:
    content = alac_in_caf(tone(SECONDS), (b"pakt", 8, struct.pack(">qI", 16_000, round((SECONDS - 1.0) * 16_000))))
    with av.open(io.BytesIO(content)) as container:
        assert sum(frame.samples for frame in container.decode(audio=0)) < 2 * 16_000  # the control

    assert heard(content)[0].seconds == pytest.approx(SECONDS, abs=1e-3)


@pytest.mark.parametrize("change", [(b"desc", 20, struct.pack(">I", 512)), (b"pakt", 8, struct.pack(">q", 16_000))])
def test_a_caf_that_states_a_shorter_length_is_heard_whole(change: tuple[bytes, int, bytes]) -> None:
    assert heard(alac_in_caf(tone(SECONDS), change))[0].seconds == pytest.approx(SECONDS, abs=1e-3)


def test_a_caf_that_counts_a_part_of_its_packets_is_a_row() -> None:
    failure = failure_of(alac_in_caf(tone(SECONDS), (b"pakt", 0, struct.pack(">q", 5))))

    assert failure.error == "decode_error"


@pytest.mark.parametrize(
    ("change", "stated", "found"),
    [
        ((b"desc", 0, struct.pack(">d", 48_000)), 48_000, 16_000),
        ((b"kuki", 20, struct.pack(">I", 8_000)), 16_000, 8_000),
    ],
)
def test_a_caf_of_two_rates_is_a_row(change: tuple[bytes, int, bytes], stated: int, found: int) -> None:
    failure = failure_of(alac_in_caf(tone(SECONDS), change))

    assert str(failure).startswith(f"bad_header: its header states {stated:,} Hz, its frames {found:,} Hz")
