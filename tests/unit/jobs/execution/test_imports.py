"""A run on local disks imports no library that it does not use, in none of its processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import soundfile

from detector.checkpoint import recipe_of
from detector.config import EmbedConfig
from tests.support.nightly_runs import head

UNUSED = ("ray", "torch", "transformers", "pandas", "scipy", "sklearn", "fsspec", "s3fs", "botocore", "aiohttp")
# Python imports this module at the start of each process
WATCH = f"""
import os, sys

class Watch:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name in {UNUSED}:
            note(name)

def note(name):
    with open(os.environ["IMPORTED"], "a") as file:
        file.write(name + "\\n")

sys.meta_path.insert(0, Watch)
note("process")
"""


def test_a_night_on_local_files_imports_no_large_library_that_it_does_not_use(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(WATCH)
    judge, archive, imported = tmp_path / "head.json", tmp_path / "archive", tmp_path / "imported"
    judge.write_text(head(recipe=recipe_of(EmbedConfig(backbone="melstats"), None), dim=80).to_json())
    archive.mkdir()
    soundfile.write(archive / "a.wav", np.random.default_rng(0).normal(0.0, 0.1, 16_000), 16_000)
    night = ["nightly", "--input", archive, "--head", judge, "--output", tmp_path / "night", "--runner", "local"]
    paths = os.pathsep.join([str(tmp_path), *filter(None, sys.path)])

    done = subprocess.run(
        [sys.executable, "-m", "jobs", *map(str, night)],
        env=os.environ | {"PYTHONPATH": paths, "IMPORTED": str(imported)},
        capture_output=True,
        text=True,
    )

    assert done.returncode == 0, done.stderr
    assert "1 × CPU" in done.stderr
    found = imported.read_text().split()
    assert found.count("process") >= 2, "the driver and its worker were both watched"
    assert set(found) == {"process"}
