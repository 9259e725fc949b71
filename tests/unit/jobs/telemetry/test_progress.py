"""Progress is a line now and then in a log, and a bar in a terminal."""

from __future__ import annotations

import logging
import os
import pty
import subprocess
import sys
import termios

import pytest

from jobs.telemetry.progress import progress, steps

PROGRAM = """
import logging
from jobs.telemetry.progress import progress
logging.basicConfig(level=logging.INFO)
with progress("embed", 2) as shown:
    shown.segments(7)
    shown.shard(3, 60.0)
    shown.shard(2, 120.0)
"""


@pytest.fixture
def lines(capsys: object, caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """The lines that are logged if stderr is not a terminal."""
    caplog.set_level(logging.INFO, "jobs.telemetry.progress")
    return caplog


def test_short_work_logs_one_line_at_its_end(lines: pytest.LogCaptureFixture) -> None:
    with progress("embed", 2) as shown:
        shown.segments(7)
        shown.shard(3, 60.0)
        assert lines.messages == []
        shown.shard(2, 120.0)

    (line,) = lines.messages
    assert line.startswith("embed: 2 of 2 shards, 5 rows, 7 segments encoded (")
    assert "3.0 min of audio at" in line  # 60 s + 120 s
    assert "left" not in line


def test_time_left_follows_from_bytes_before_any_shard_is_done(
    lines: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr("jobs.telemetry.progress.time.monotonic", lambda: now[0])
    with progress("embed", 2, n_bytes=1_000) as shown:
        now[0] = 150.0  # Ray and the encoder start
        shown.read(100, recordings=1)
        now[0] = 170.0
        shown.read(200, recordings=3)

    # 200 bytes took 20 s, and 700 bytes are left
    expected = "embed: 0 of 2 shards, 0.0 of 0.0 MB (30 %), 0 rows, 4 recordings, about 70 s left"
    assert lines.messages[-1] == expected


def test_bytes_that_count_twice_never_exceed_the_total(
    lines: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr("jobs.telemetry.progress.time.monotonic", lambda: now[0])
    with progress("embed", 1, n_bytes=5_000_000) as shown:
        for _ in range(3):  # a file in three excerpts
            now[0] += 20.0
            shown.read(2_000_000, recordings=1)

    assert [line.partition(", ")[2].partition(", 0 rows")[0] for line in lines.messages] == [
        "2.0 of 5.0 MB (40 %)",
        "4.0 of 5.0 MB (80 %)",
        "5.0 of 5.0 MB (100 %)",
    ]


def test_a_line_has_only_what_was_counted(lines: pytest.LogCaptureFixture) -> None:
    with progress("score", 1) as shown:
        shown.shard(4)

    assert lines.messages == ["score: 1 of 1 shards, 4 rows"]


def test_no_work_logs_nothing(lines: pytest.LogCaptureFixture) -> None:
    with progress("embed", 0):
        pass

    assert lines.messages == []


BYTES = PROGRAM.replace('"embed", 2', '"embed", 2, 4_000_000').replace("segments(7)", "read(1_000_000, 2)")


@pytest.mark.parametrize(
    ("program", "parts"), [(PROGRAM, ["2/2"]), (BYTES, [" 25%", "1.00M/4.00M", "2 recordings", "2 of 2 shards"])]
)
def test_a_terminal_gets_a_bar_and_no_lines(program: str, parts: list[str]) -> None:
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 200))
    subprocess.run([sys.executable, "-c", program], stderr=theirs, timeout=60, check=True)
    os.close(theirs)
    shown = os.read(ours, 1 << 16).decode()
    os.close(ours)

    assert "embed: 100%" in shown
    assert [part for part in parts if part not in shown] == []
    assert "5 rows" in shown
    assert "INFO" not in shown


def test_equal_steps_tell_how_many_are_left_and_for_how_long(
    lines: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr("jobs.telemetry.progress.time.monotonic", lambda: now[0])
    with steps("fit", 6, "settings tried") as shown:
        for seconds in (112.0, 118.0, 136.0):
            now[0] = seconds
            shown.done()
        shown.skip(2)
        now[0] = 140.0
        shown.done()

    # 12 s for one step of six, 36 s for three; then there are 6 - 2 steps
    assert lines.messages == [
        "fit: 1 of 6 settings tried, about 60 s left",
        "fit: 3 of 6 settings tried, about 36 s left",
        "fit: 4 of 4 settings tried, in 40 s",
    ]
