"""An audio stream that begins later in a file than FFmpeg looks for streams is heard, behind those that it knows."""

from __future__ import annotations

import io

import av
import numpy as np
import pytest

from detector import demuxing
from detector.audio import decode_native
from detector.decoders import Samples
from tests.support.audio import tone
from tests.unit.detector.test_audio import muxed
from tests.unit.detector.test_heard_whole import heard
from tests.unit.detector.test_joined_streams import pitch

RATE = 44_100
SECONDS, LATER_SECONDS, FLASH_SECONDS = 8.0, 3.0, 60.0
FLV_HEADER_BYTES = 13


def of(kind: str, codec: str, seconds: float, hertz: float, **options: str) -> bytes:
    return muxed(tone(seconds, hertz=hertz, rate=RATE), kind=kind, codec=codec, rate=RATE, **options)


def transport() -> bytes:
    """A change of programmes and back: for 3 s, the table names another stream."""
    first = of("mpegts", "mp2", SECONDS, 220.0, mpegts_start_pid="0x100")
    return first + of("mpegts", "mp2", LATER_SECONDS, 330.0, mpegts_start_pid="0x200") + first


def program() -> bytes:
    first = of("mpeg", "mp2", SECONDS, 220.0)
    return first + of("mpeg", "mp2", LATER_SECONDS, 330.0).replace(b"\0\0\1\xc0", b"\0\0\1\xc1") + first


def flash() -> bytes:
    """Samples of more than the 5 MB that FFmpeg looks at, and then MP3."""
    later = of("flv", "libmp3lame", LATER_SECONDS, 330.0)[FLV_HEADER_BYTES:]
    return of("flv", "pcm_s16le", FLASH_SECONDS, 220.0) + later


def as_stored(content: bytes) -> Samples:
    """The samples at the rate that they are stored at."""
    _, blocks, _ = decode_native(io.BytesIO(content))
    return np.concatenate([each.samples for each in blocks])


LATE = {"mpegts": (transport, 2 * SECONDS), "mpeg": (program, 2 * SECONDS), "flv": (flash, FLASH_SECONDS)}


@pytest.mark.parametrize("kind", LATE)
def test_a_stream_that_begins_late_is_heard(kind: str) -> None:
    make, seconds = LATE[kind]
    content = make()
    with av.open(io.BytesIO(content), "r", options=demuxing.PYAV_OPTIONS) as container:
        assert len(container.streams) == 1  # otherwise this is no test

    facts, samples = heard(content)

    assert facts.seconds == pytest.approx(seconds + LATER_SECONDS, abs=0.3)
    assert pitch(samples[16_000:48_000]) == pytest.approx(220.0, abs=2.0)
    assert pitch(samples[-32_000:-8_000]) == pytest.approx(330.0, abs=2.0)


@pytest.mark.parametrize("kind", LATE)
def test_what_is_known_at_once_is_read_as_before(kind: str) -> None:
    codec = {"mpegts": "aac", "mpeg": "mp2", "flv": "libmp3lame"}[kind]
    content = of(kind, codec, 3.0, 220.0)
    with av.open(io.BytesIO(content), "r", options=demuxing.PYAV_OPTIONS) as container:
        frames = [frame.to_ndarray() for frame in container.decode(audio=0)]
    expected = np.concatenate(frames, axis=1)[0]

    samples = as_stored(content)

    if expected.dtype == np.int16:
        expected = expected / np.float32(32_768)
    np.testing.assert_array_equal(samples, expected)


def test_a_packet_is_no_tag_in_a_codec_that_has_none() -> None:
    # packets of PCM that begin with the letters of a tag; each was passed over
    samples = np.frombuffer(b"TAG!" * 4_000, "<i2")
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as container:
        stream = container.add_stream("pcm_s16le", rate=8_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
        frame.sample_rate, frame.pts = 8_000, 0
        container.mux([*stream.encode(frame), *stream.encode(None)])

    np.testing.assert_array_equal(as_stored(file.getvalue()) * 32_768, samples)
