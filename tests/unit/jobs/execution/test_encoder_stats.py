"""The encoders' speed is logged once, and once that decode starves them; the run's record keeps both."""

from __future__ import annotations

import logging

import pytest

from jobs.execution.encoder_stats import EncoderStats, PoolStats


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, "jobs.execution.encoder_stats")
    return caplog


def test_the_speed_is_logged_once_as_soon_as_it_is_known(logged: pytest.LogCaptureFixture) -> None:
    stats = PoolStats()

    stats.update({"a": EncoderStats("cpu", 4.0, 1.0, 16.0)})
    assert logged.messages == []
    for _ in range(2):
        stats.update({"a": EncoderStats("cpu", 20.0, 5.0, 70.0), "b": EncoderStats("cpu", 20.0, 5.0, 90.0)})

    # 160 s of audio in 40 s of work; 10 of 50 s waited
    assert logged.messages == [
        "encoders: 2 on cpu, 4.0 audio-seconds a second each; they wait for audio 20 % of the time"
    ]


def test_a_pool_that_decode_starves_is_warned_of_once(logged: pytest.LogCaptureFixture) -> None:
    stats = PoolStats()

    for _ in range(2):
        stats.update({"a": EncoderStats("cuda:0 (X)", 30.0, 30.0, 600.0)})

    (warning,) = [record for record in logged.records if record.levelno == logging.WARNING]
    assert "they wait 50 %" in warning.getMessage()


def test_the_record_has_the_share_of_waiting() -> None:
    stats = PoolStats()
    stats.begin(1, 4, 1_000.0)
    stats.update({"a": EncoderStats("cpu", 30.0, 10.0, 60.0), "b": EncoderStats("cpu", 10.0, 30.0, 20.0)})

    assert stats.record() == {
        "least_encoders": 1,
        "most_encoders": 4,
        "n_encoders": 2,
        "reached_encoders": 2,
        "seconds_to_load": None,
        "devices": ["cpu"],
        "busy_seconds": 40.0,
        "waited_seconds": 40.0,
        "waiting": 0.5,
        "audio_seconds_a_busy_second": 2.0,
    }


def test_a_pool_without_statistics_has_no_speed() -> None:
    assert PoolStats().record()["audio_seconds_a_busy_second"] is None
    assert PoolStats().waiting == 0.0


def test_the_time_to_load_ends_with_the_last_encoder_that_replaces_none() -> None:
    stats = PoolStats()
    stats.begin(1, 3, 1_000.0)
    loaded = {name: EncoderStats("cuda:0 (X)", loaded_at=at) for name, at in {"b": 1_090.25, "a": 1_060.0}.items()}

    stats.update(loaded)
    assert stats.seconds_to_load == 90.2
    stats.update(loaded | {"c": EncoderStats("cuda:0 (X)", loaded_at=1_180.0)})
    assert stats.seconds_to_load == 180.0
    # of four, one took the place of another: three were asked for
    stats.update(loaded | {name: EncoderStats("cuda:0 (X)", loaded_at=at) for name, at in (("c", 1_180.0), ("d", 5e3))})
    assert (stats.seconds_to_load, stats.record()["reached_encoders"]) == (180.0, 3)
