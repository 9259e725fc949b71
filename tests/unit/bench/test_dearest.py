"""The bench of the dearest megabyte counts what reaches the encoder, and its table has the dearest first."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bench.dearest import FORMATS, SOUNDS, Cost, cost, table

BY_NAME = {each.name: each for each in FORMATS}


@pytest.mark.parametrize("name", ["WAV PCM 8, 4 kHz", "WAV PCM 8, 4 kHz, in `.zip`"])
def test_silence_is_decoded_and_not_encoded(name: str) -> None:
    found = cost(BY_NAME[name], "silence", (2.0, 6.0))

    assert found.encoded == 0.0
    assert found.held > 0.0
    assert found.error == ""


def test_audio_that_is_not_compressed_costs_what_its_rate_says() -> None:
    found = cost(BY_NAME["WAV PCM 8, 4 kHz"], "noise", (2.0, 6.0))

    # one byte a sample, 4,000 samples a second
    assert found.encoded == found.held == pytest.approx(1e6 / 4_000)


def test_a_constant_is_as_short_as_silence_and_reaches_the_encoder() -> None:
    silence, constant = (cost(BY_NAME["FLAC, 4 kHz"], sound, (10.0, 60.0)) for sound in ("silence", "constant"))

    assert constant.encoded > 0.8 * silence.held


def test_compression_upon_compression_is_counted_up_to_the_limit() -> None:
    found = cost(
        replace(BY_NAME["copies of FLAC, 4 kHz in `.tar.zst`"], piece_seconds=200.0), "constant", (0.0, 20_000.0)
    )

    # 100 copies hold thousands of hours a megabyte; a minute is encoded, and a second for every 100 bits: 80,000 s
    megabytes = 20_000.0 / found.held
    assert found.held > 1_000 * 3_600
    assert found.encoded * megabytes == pytest.approx(60.0 + 80_000.0 * megabytes, abs=35.0)  # a segment has 30 s
    assert found.error == "over_quota"


def test_the_dearest_comes_first() -> None:
    lines = table([Cost("a", "silence", 9e6, 0.0, 1.0), Cost("b", "tone", 36e3, 36e3, 1.0)], 10.0, 150).splitlines()

    assert lines[4] == "| b | tone | 10.00 | 10.00 | 3,600 | 1.0 |"
    # a minute of audio takes 6 s at ten times real time, and 6,667 objects of 150 bytes are a megabyte
    assert lines[-1].endswith("6.0 s of encoder an object, and 40,000 s a megabyte of such objects.")
    assert set(SOUNDS) == {"silence", "constant", "tone", "noise"}
