"""Said once when it is known, warned once where decode starves the encoders, and kept for the record."""

from __future__ import annotations

import logging

import pytest

from jobs.execution.encoder_stats import EncoderStats, PoolStats


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, "jobs.execution.encoder_stats")
    return caplog


def test_the_pace_is_said_once_it_is_known_and_once_only(said: pytest.LogCaptureFixture) -> None:
    pace = PoolStats()

    pace.hear({"a": EncoderStats("cpu", 4.0, 1.0, 16.0)})
    assert said.messages == []
    for _ in range(2):
        pace.hear({"a": EncoderStats("cpu", 20.0, 5.0, 70.0), "b": EncoderStats("cpu", 20.0, 5.0, 90.0)})

    # 160 s of audio in 40 s of work; 10 of 50 s waited
    assert said.messages == [
        "encoders: 2 on cpu, 4.0 audio-seconds a second each; they wait for audio 20 % of the time"
    ]


def test_encoders_that_decode_starves_are_warned_of_once(said: pytest.LogCaptureFixture) -> None:
    pace = PoolStats()

    for _ in range(2):
        pace.hear({"a": EncoderStats("cuda:0 (X)", 30.0, 30.0, 600.0)})

    (warning,) = [record for record in said.records if record.levelno == logging.WARNING]
    assert "they wait 50 %" in warning.getMessage()


def test_the_record_has_the_share_of_waiting() -> None:
    pace = PoolStats()
    pace.hear({"a": EncoderStats("cpu", 30.0, 10.0, 60.0), "b": EncoderStats("cpu", 10.0, 30.0, 20.0)})

    assert pace.record() == {
        "n_encoders": 2,
        "devices": ["cpu"],
        "busy_seconds": 40.0,
        "waited_seconds": 40.0,
        "waiting": 0.5,
        "audio_seconds_a_busy_second": 2.0,
    }


def test_nothing_heard_is_nothing_known() -> None:
    assert PoolStats().record()["audio_seconds_a_busy_second"] is None
    assert PoolStats().waiting == 0.0
