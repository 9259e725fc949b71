"""The bench of the dearest megabyte counts what reaches the encoder, and its table has the dearest first."""

from __future__ import annotations

import pytest

from bench.dearest import FORMATS, SOUNDS, Cost, cost, table

BY_NAME = {each.name: each for each in FORMATS}


@pytest.mark.parametrize("name", ["WAV PCM 8, 4 kHz", "zip of WAV PCM 8, 4 kHz"])
def test_silence_is_decoded_and_not_encoded(name: str) -> None:
    found = cost(BY_NAME[name], "silence", (2.0, 6.0))

    assert found.encoded == 0.0
    assert found.decoded > 0.0


def test_audio_that_is_not_compressed_costs_what_its_rate_says() -> None:
    found = cost(BY_NAME["WAV PCM 8, 4 kHz"], "noise", (2.0, 6.0))

    # one byte a sample, 4,000 samples a second
    assert found.encoded == found.decoded == pytest.approx(1e6 / 4_000)


def test_a_constant_is_as_short_as_silence_and_reaches_the_encoder() -> None:
    silence, constant = (cost(BY_NAME["FLAC, 4 kHz"], sound, (10.0, 60.0)) for sound in ("silence", "constant"))

    assert constant.encoded > 0.8 * silence.decoded


def test_the_dearest_comes_first() -> None:
    lines = table([Cost("a", "silence", 9e6, 0.0, 1.0), Cost("b", "tone", 36e3, 36e3, 1.0)], 10.0).splitlines()

    assert lines[4] == "| b | tone | 10.00 | 10.00 | 3,600 | 1.0 |"
    assert set(SOUNDS) == {"silence", "constant", "tone", "noise"}
