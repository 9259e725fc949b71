"""Frames of MPEG audio are heard as most players play them, also those that another decoder gives up."""

from __future__ import annotations

import io
import struct

import av
import numpy as np
import pytest
import soundfile

from detector.audio import SAMPLE_RATE
from detector.errors import UtteranceError
from detector.layout.mpeg import ENCODER_DELAY, walk
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


def read_again(frame: bytes) -> bytes:
    """A frame that begins with the bits of the frame before it, and has none of its own."""
    sound = frame[4 + SIDE_BYTES :]
    return with_bits(frame[: -len(sound)] + bytes(len(sound)), 32, 9, len(sound))


def test_a_few_frames_that_read_bits_again_are_heard_as_damage() -> None:
    frames = frames_of(VOICE, 64_000, reservoir=False)
    cut = [frame + read_again(frame) if number % 50 == 10 else frame for number, frame in enumerate(frames)]

    facts, _ = heard(b"".join(cut))

    assert facts.seconds == pytest.approx(3.0, abs=0.2)


@pytest.mark.parametrize("between", [b"", b"no frame"])
def test_frames_that_some_players_play_and_others_leave_silent_are_refused(between: bytes) -> None:
    frames = frames_of(VOICE, 64_000, reservoir=False)
    quiet = frames_of(VOICE * 1e-3, 64_000, reservoir=False)
    hiding = b"".join(frame + between + read_again(frame) for frame in frames[30:70])
    alone, _ = soundfile.read(io.BytesIO(hiding))
    assert np.abs(alone[RATE:]).max() > 0.1  # mpg123 plays each frame twice, FFmpeg once

    with pytest.raises(UtteranceError, match="bad_header: frames of an MP3 begin with bits that others use"):
        heard(b"".join(quiet) + hiding + b"".join(quiet))


@pytest.mark.parametrize(
    ("rate", "layout"), [(48_000, "mono"), (44_100, "stereo"), (22_050, "stereo"), (8_000, "mono")]
)
@pytest.mark.parametrize("options", [{}, {"abr": "1"}, {"flags": "+qscale", "global_quality": str(2 * 118)}], ids=str)
def test_an_encoder_uses_bits_once(rate: int, layout: str, options: dict[str, str]) -> None:
    gaps = np.tile(np.where(np.arange(2 * rate) % rate < rate // 2, tone(2.0, rate=rate), 1e-3), 2).astype(np.float32)
    samples = np.stack([gaps] * (1 + (layout == "stereo")))
    with av.open(io.BytesIO(), "w", format="mp3") as container:
        stream = container.add_stream("libmp3lame", rate=rate, layout=layout, options=options)
        stream.format = "fltp"
        frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout=layout)
        frame.sample_rate, frame.pts = rate, 0
        content = b"".join(bytes(each) for each in [*stream.encode(frame), *stream.encode(None)])

    stream_of = walk(io.BytesIO(content), 0, len(content))

    assert stream_of.n_frames > 50
    assert not stream_of.is_read_twice
