"""One line for each record. The tests log in processes of their own, because pytest takes over logging in its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import datetime
from pathlib import Path

PROGRAM = """
import logging
from jobs.telemetry import logs
logs.begin("json", "nightly")
log = logging.getLogger("jobs.anything")
log.info("starting")
logs.bind(run_id="2026-11-23-1")
log.warning("%s: lost", "a\\n\\x1b[2J.tar", extra={"shard": "s3://a/0.tar"})
try:
    int("no")
except ValueError:
    log.exception("a defect")
"""


def run(*command: object, log_format: str | None = None) -> tuple[int, list[str]]:
    """Run Python; return its exit code and its lines on stderr."""
    environment = os.environ | ({"BONAFIDE_LOG_FORMAT": log_format} if log_format else {})
    done = subprocess.run([sys.executable, *map(str, command)], env=environment, capture_output=True, text=True)
    return done.returncode, done.stderr.splitlines()


def test_as_json_every_line_is_an_object_that_names_verb_run_and_shard() -> None:
    _, lines = run("-c", PROGRAM)

    first, second, third = map(json.loads, lines)
    assert datetime.fromisoformat(first.pop("time")).utcoffset() is not None
    assert first == {"level": "info", "message": "starting", "verb": "nightly"}
    assert (second["run_id"], second["shard"], second["level"]) == ("2026-11-23-1", "s3://a/0.tar", "warning")
    assert second["message"] == "a\n\x1b[2J.tar: lost"
    assert "ValueError: invalid literal" in third["traceback"]


def test_the_environment_sets_the_format_of_the_log(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no audio")
    (tmp_path / "a.wav").write_bytes(b"")
    manifest = ("-m", "jobs", "manifest", "--input", tmp_path, "--output", tmp_path / "m.parquet")

    code, lines = run(*manifest, log_format="json")
    _, words = run(*manifest)

    assert code == 0
    assert [json.loads(line)["verb"] for line in lines] == ["manifest"] * len(lines)
    assert any("passed over 1 objects" in json.loads(line)["message"] for line in lines)
    assert any(" INFO passed over 2 objects" in line for line in words)


def test_an_unknown_format_is_refused() -> None:
    code, lines = run("-m", "jobs", "demo", log_format="xml")

    assert code == 2
    assert lines[-1] == "bonafide: error: BONAFIDE_LOG_FORMAT 'xml'; expected one of text, json"
