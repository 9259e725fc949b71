"""A line a record. In processes of their own: pytest's takes what is logged before we do."""

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


def ended(*command: object, form: str | None = None) -> tuple[int, list[str]]:
    """Exit code and lines on stderr."""
    environment = os.environ | ({"BONAFIDE_LOG_FORMAT": form} if form else {})
    done = subprocess.run([sys.executable, *map(str, command)], env=environment, capture_output=True, text=True)
    return done.returncode, done.stderr.splitlines()


def test_as_json_every_line_is_an_object_that_names_verb_run_and_shard() -> None:
    _, lines = ended("-c", PROGRAM)

    first, second, third = map(json.loads, lines)
    assert datetime.fromisoformat(first.pop("time")).utcoffset() is not None
    assert first == {"level": "info", "message": "starting", "verb": "nightly"}
    assert (second["run_id"], second["shard"], second["level"]) == ("2026-11-23-1", "s3://a/0.tar", "warning")
    assert second["message"] == "a\n\x1b[2J.tar: lost"
    assert "ValueError: invalid literal" in third["traceback"]


def test_a_verb_logs_as_the_environment_says(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no audio")
    (tmp_path / "a.wav").write_bytes(b"")
    manifest = ("-m", "jobs", "manifest", "--input", tmp_path, "--output", tmp_path / "m.parquet")

    code, lines = ended(*manifest, form="json")
    _, words = ended(*manifest)

    assert code == 0
    assert [json.loads(line)["verb"] for line in lines] == ["manifest"] * len(lines)
    assert any("skipped 1 objects" in json.loads(line)["message"] for line in lines)
    assert any(" INFO skipped 1 objects" in line for line in words)


def test_a_format_that_is_not_known_is_refused() -> None:
    code, lines = ended("-m", "jobs", "demo", form="xml")

    assert code == 2
    assert lines[-1] == "bonafide: error: BONAFIDE_LOG_FORMAT 'xml'; expected one of text, json"
