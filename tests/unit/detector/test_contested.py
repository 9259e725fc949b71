"""A FLAC with frames within others is heard only if both decoders hear the same."""

from __future__ import annotations

import io
import struct

import pytest
import soundfile

from detector.errors import UtteranceError
from detector.layout import layout_at
from tests.support.audio import encoded, tone
from tests.unit.detector.test_audio import correlation
from tests.unit.detector.test_flac_frames import remainder
from tests.unit.detector.test_heard_whole import by_ffmpeg, heard

RATE, FRAME_SAMPLES = 16_000, 40_000
VOICE = tone(2.5, rate=RATE)  # so many samples
FIRST_FRAME = b"\xff\xf8"


def checksum(frame: bytes) -> bytes:
    """Checksum of a frame: the remainder by x^16 + x^15 + x^2 + 1."""
    number = 0
    for byte in frame:
        number ^= byte << 8
        for _ in range(8):
            number = (number << 1 ^ (0x18005 if number & 0x8000 else 0)) & 0xFFFF
    return number.to_bytes(2, "big")


def header_of(number: int) -> bytes:
    """Header of a frame in mono of 16 bits, which spells out its samples."""
    head = FIRST_FRAME + bytes([0x70, 0x08, number]) + struct.pack(">H", FRAME_SAMPLES - 1)
    return head + bytes([remainder(head)])


def holding(content: bytes) -> bytes:
    """A FLAC of one frame, whose samples are stored one by one and begin with other bytes."""
    samples = content + (9_000 * tone(4.0)[:FRAME_SAMPLES]).astype(">i2").tobytes()
    frame = header_of(0) + b"\x02" + samples[: 2 * FRAME_SAMPLES]
    fields = (RATE << 44 | 15 << 36 | FRAME_SAMPLES).to_bytes(8, "big")
    info = struct.pack(">HH", FRAME_SAMPLES, FRAME_SAMPLES) + bytes(6) + fields + bytes(16)
    return b"fLaC\x80\0\0\x22" + info + frame + checksum(frame)


def test_frames_within_a_frame_that_players_play_instead_are_refused() -> None:
    voice = encoded(VOICE, rate=RATE)
    content = holding(voice[voice.index(FIRST_FRAME) :])
    outer, _ = soundfile.read(io.BytesIO(content))
    assert abs(correlation(outer[4_096:32_000], VOICE[4_096:32_000])) < 0.1
    assert correlation(by_ffmpeg(content)[8_192:32_000], VOICE[8_192:32_000]) > 0.99  # other sound, of the same length

    with pytest.raises(UtteranceError, match="bad_header: a FLAC with frames within others"):
        heard(content)


def test_an_encoder_writes_frames_of_as_many_samples_as_it_counts() -> None:
    for n_samples in (1, 16, 4_095, 4_096, 4_097, 40_000):
        content = encoded(VOICE[:n_samples], rate=RATE)
        assert not layout_at(io.BytesIO(content), 0, len(content)).is_contested
