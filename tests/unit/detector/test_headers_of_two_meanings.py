"""A header that libsndfile and FFmpeg read differently makes a row, or is read as players read it."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support.audio import encoded, tone
from tests.unit.detector.test_heard_whole import failure_of, heard
from tests.unit.detector.test_wave_readers import hidden, in_w64

VOICE, OTHER = tone(3.0), tone(3.0, hertz=347.0, seed=2)


# a tag in front


def id3(n_bytes: int) -> bytes:
    """An ID3v2 tag of so many bytes behind its ten first."""
    return b"ID3\3\0\0" + bytes(n_bytes >> shift & 0x7F for shift in (21, 14, 7, 0)) + bytes(n_bytes)


@pytest.mark.parametrize("n_bytes", [10, 203, 50_000])
@pytest.mark.parametrize("kind", ["WAV", "RF64", "W64", "AIFF", "AU", "CAF", "NIST", "FLAC", "OGG", "MP3"])
def test_a_tag_in_front_takes_nothing_off_the_end(kind: str, n_bytes: int) -> None:
    facts, samples = heard(encoded(VOICE, kind=kind))

    tagged_facts, tagged_samples = heard(id3(n_bytes) + encoded(VOICE, kind=kind))

    for name in ("seconds", "seconds_claimed", "truncated", "trailing_bytes", "decoder"):
        assert getattr(tagged_facts, name) == getattr(facts, name)
    np.testing.assert_array_equal(tagged_samples, samples)


@pytest.mark.parametrize("kind", ["WAV", "RF64", "W64", "AIFF", "AU", "CAF", "NIST"])
def test_half_a_file_behind_a_tag_is_truncated(kind: str) -> None:
    whole = encoded(VOICE, kind=kind)

    error = failure_of(id3(50_000) + whole[: len(whole) // 2])

    assert (error.error, error.seconds_claimed) == ("truncated", pytest.approx(3.0, abs=0.01))
    assert error.seconds == pytest.approx(1.5, abs=0.1)


def test_a_w64_behind_a_tag_of_any_length_is_looked_at_like_others() -> None:
    assert "AC-3" in str(failure_of(id3(13) + in_w64(hidden("AC-3"))))
