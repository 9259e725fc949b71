"""A recording behind AAC in ADTS, MPEG-TS, FLV or TTA is heard, whatever its format; damage within is passed over."""

from __future__ import annotations

import io

import numpy as np
import pytest

from detector.audio import SAMPLE_RATE
from detector.decoders import Samples
from detector.errors import UtteranceError
from detector.layout import Layouts
from tests.support.audio import encoded, tone
from tests.unit.detector.test_audio import muxed
from tests.unit.detector.test_heard_whole import by_ffmpeg, heard

ONE, OTHER = tone(1.0), tone(0.7, hertz=330.0, seed=2)
STREAMS = {
    "adts": {"kind": "adts", "codec": "aac"},
    "ts": {"kind": "mpegts", "codec": "aac"},
    "flv": {"kind": "flv", "codec": "aac", "rate": 44_100},
    "tta": {"kind": "tta", "codec": "tta"},
}


def of_kind(kind: str, seconds: float, hertz: float = 220.0) -> bytes:
    settings = dict(STREAMS[kind])
    rate = settings.pop("rate", 16_000)
    return muxed(tone(seconds, hertz=hertz, rate=rate), rate=rate, **settings)


BEHIND = {
    "wav": encoded(OTHER, kind="WAV"),
    "flac": encoded(OTHER),
    "mp3": encoded(OTHER, kind="MP3", subtype=None),
    "ogg": encoded(OTHER, kind="OGG", subtype="VORBIS"),
    "aiff": encoded(OTHER, kind="AIFF"),
    "webm": muxed(tone(0.7, hertz=330.0, rate=48_000), kind="webm", codec="libopus", rate=48_000),
    **{kind: of_kind(kind, 0.7, 330.0) for kind in STREAMS},
}
FIRST = {
    "wav": encoded(ONE, kind="WAV"),
    "mp3": encoded(ONE, kind="MP3"),
    **{kind: of_kind(kind, 1.0) for kind in STREAMS},
}


@pytest.mark.parametrize("second", BEHIND)
@pytest.mark.parametrize("first", FIRST)
def test_a_recording_behind_a_stream_is_heard_after_it(first: str, second: str) -> None:
    alone, _ = heard(FIRST[first])
    behind, _ = heard(BEHIND[second])

    facts, samples = heard(FIRST[first] + BEHIND[second])

    assert facts.seconds == pytest.approx(alone.seconds + behind.seconds, abs=0.15)
    assert facts.trailing_bytes == 0
    assert pitch(samples[2_000:10_000]) == pytest.approx(220.0, abs=5.0)
    assert pitch(samples[-8_000:-2_000]) == pytest.approx(330.0, abs=5.0)


def pitch(samples: Samples) -> float:
    """Frequency of the strongest line, in Hz."""
    power = np.abs(np.fft.rfft(samples * np.hanning(len(samples)), 1 << 16))
    return float(np.fft.rfftfreq(1 << 16, 1 / SAMPLE_RATE)[power.argmax()])


@pytest.mark.parametrize("kind", ["adts", "ts"])
def test_a_stream_goes_on_behind_damage(kind: str) -> None:
    content = of_kind(kind, 2.0)
    middle = len(content) // 2
    damaged = content[:middle] + bytes([0x55]) * 333 + content[middle:]

    layouts = [(each.start, each.end) for each in Layouts(io.BytesIO(damaged))]

    assert layouts == [(0, len(damaged))]


@pytest.mark.parametrize("kind", ["adts", "flv", "tta"])
def test_bytes_of_no_recording_behind_a_stream_change_nothing(kind: str) -> None:
    content = of_kind(kind, 1.0)

    _, samples = heard(content + b"left over " * 50)

    assert len(samples) == pytest.approx(len(by_ffmpeg(content)), abs=2_000)


def test_pages_of_an_ogg_stream_that_no_decoder_would_hear_are_a_row() -> None:
    content = muxed(tone(3.0, rate=48_000), kind="ogg", codec="libopus", rate=48_000)
    one = [b"OggS" + page for page in content.split(b"OggS")[1:]]
    other = [page[:14] + b"next" + page[18:] for page in one]

    for pages in (one + other[1:], [*one[:3], *other[:1], *one[3:], *other[1:]]):
        with pytest.raises(UtteranceError, match="pages of a stream of Ogg that does not begin with the others"):
            heard(b"".join(pages))
