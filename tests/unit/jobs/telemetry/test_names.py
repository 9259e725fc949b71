"""Whoever reads the output may leave at any time; the work goes on."""

from __future__ import annotations

import os
import subprocess
import sys

PROGRAM = """
from jobs.telemetry.names import say
for number in range(1_000):
    say(number)
raise SystemExit(3)
"""


def test_a_reader_that_leaves_does_not_change_the_exit_code() -> None:
    reading, writing = os.pipe()
    os.close(reading)

    found = subprocess.run([sys.executable, "-c", PROGRAM], stdout=writing, stderr=subprocess.PIPE, check=False)

    os.close(writing)
    assert (found.returncode, found.stderr) == (3, b"")
