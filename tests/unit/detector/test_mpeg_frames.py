"""Frames of MPEG audio are heard as most players play them, also those that another decoder gives up."""

from __future__ import annotations

import io
import struct

import av
import numpy as np
import pytest
import soundfile

from detector.audio import SAMPLE_RATE
from detector.layout.mpeg import ENCODER_DELAY
from tests.support.audio import tone
from tests.unit.detector.test_audio import correlation
from tests.unit.detector.test_heard_whole import by_ffmpeg, heard

RATE = 48_000
VOICE = tone(3.0, rate=RATE) + np.random.default_rng(0).normal(0.0, 0.05, 3 * RATE)
SIDE_BYTES = 17  # of layer III in mono, behind the four bytes of a header
BIG_VALUES_BIT = 32 + 9 + 5 + 4 + 12  # of the first granule: behind header, borrowed bytes, private bits, scfsi, length


def frames_of(samples: np.ndarray, bit_rate: int, *, reservoir: bool) -> list[bytes]:
    """The frames of an MP3 in mono, without one that states the length."""
    options = {"reservoir": str(int(reservoir))}
    with av.open(io.BytesIO(), "w", format="mp3") as container:
        stream = container.add_stream("libmp3lame", rate=RATE, options=options)
        stream.bit_rate, stream.layout, stream.format = bit_rate, "mono", "fltp"
        frame = av.AudioFrame.from_ndarray(samples.astype(np.float32)[None], format="fltp", layout="mono")
        frame.sample_rate, frame.pts = RATE, 0
        return [bytes(packet) for packet in [*stream.encode(frame), *stream.encode(None)] if packet.size]


def with_bits(frame: bytes, at: int, n_bits: int, value: int) -> bytes:
    """Write a number into a frame, from a bit on."""
    shift = 8 * len(frame) - at - n_bits
    cleared = int.from_bytes(frame, "big") & ~((2**n_bits - 1) << shift)
    return (cleared | value << shift).to_bytes(len(frame), "big")


def test_frames_that_one_decoder_gives_up_and_most_players_play_are_heard() -> None:
    content = b"".join(with_bits(each, BIG_VALUES_BIT, 9, 288) for each in frames_of(VOICE, 64_000, reservoir=False))
    alone, _ = soundfile.read(io.BytesIO(content))
    assert np.abs(alone[RATE // 2 :]).max() < 1e-6  # the control: mpg123 gives silence

    facts, samples = heard(content)

    assert (facts.decoder, facts.codec) == ("pyav", "mp3float")
    assert facts.rms_dbfs > -30.0
    assert correlation(samples, by_ffmpeg(content)) > 0.999


def lent(frame: bytes) -> bytes:
    """A silent frame that states a length, with the sound of the next one in its tail, and that next one."""
    sound = frame[4 + SIDE_BYTES :]
    silent = bytearray(2 * len(frame))
    silent[:4] = frame[:2] + bytes([0x50 | frame[2] & 0x0F]) + frame[3:4]  # 64 kbit/s
    silent[4 + SIDE_BYTES : 12 + SIDE_BYTES] = b"Info" + bytes(4)
    silent[-len(sound) :] = sound
    return bytes(silent) + with_bits(frame[: 4 + SIDE_BYTES] + bytes(len(sound)), 32, 9, len(sound))


def test_a_frame_that_needs_the_tail_of_one_that_states_a_length_is_heard() -> None:
    frames = [each for each in frames_of(VOICE, 32_000, reservoir=False) if len(each) == 96]
    content = frames[0] + b"".join(lent(each) for each in frames[1::2])

    facts, samples = heard(content)

    assert facts.trailing_bytes == 0
    n_delay = ENCODER_DELAY * SAMPLE_RATE // RATE  # which players leave in where nothing says that it is one
    assert correlation(samples[:40_000], by_ffmpeg(content)[n_delay : n_delay + 40_000]) > 0.99
    assert facts.rms_dbfs > -30.0


@pytest.mark.parametrize("tag", [b"TAG".ljust(128, b" "), b"ID3\3\0\0\0\0\0\x0a" + bytes(10)])
def test_a_frame_that_needs_bits_from_before_a_tag_is_heard(tag: bytes) -> None:
    frames = frames_of(VOICE, 64_000, reservoir=True)
    assert sum(struct.unpack_from(">H", each, 4)[0] >> 7 > 0 for each in frames) > len(frames) / 2
    whole, expected = heard(b"".join(frames))

    facts, samples = heard(tag.join(frames))

    assert facts.seconds == pytest.approx(whole.seconds, abs=0.1)
    assert correlation(samples[:40_000], expected[:40_000]) > 0.99
