"""A small run on this machine imports no Ray, in none of its processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq

from tests.support import ROOT
from tests.support.audio import encoded, tone
from tests.support.heads import some_head


def test_a_small_night_never_imports_ray(tmp_path: Path) -> None:
    # a package of this name that cannot be imported stands before Ray's on the path of all processes
    (tmp_path / "path" / "ray").mkdir(parents=True)
    (tmp_path / "path" / "ray" / "__init__.py").write_text("raise SystemExit('ray was imported')")
    (tmp_path / "archive").mkdir()
    for number in range(3):
        (tmp_path / "archive" / f"{number}.flac").write_bytes(encoded(tone(2.0, seed=number)))
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment = kept | {"PYTHONPATH": os.pathsep.join([str(tmp_path / "path"), str(ROOT)]), "HOME": str(tmp_path)}
    tables = tmp_path / "tables"

    (tmp_path / "head.json").write_text(some_head().to_json())
    night = ["nightly", "--head", tmp_path / "head.json", "--input", tmp_path / "archive", "--output", tables]

    done = subprocess.run(
        [sys.executable, "-m", "jobs", *night, "--device", "cpu"],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )

    assert done.returncode == 0, done.stderr
    assert "embed: runner local (3 recordings or containers of" in done.stderr
    assert len(pq.read_table(tables / "scores")) == 3
    records = [json.loads(path.read_text()) for path in (tables / "runs").glob("*.json")]
    (record,) = [each for each in records if each["table"].startswith("scores")]
    assert record["runners"] == {"embed": "local", "score": "local"}
    assert record["settings"]["runner"] == "auto"
