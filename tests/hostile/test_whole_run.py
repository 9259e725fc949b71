"""A whole run over an archive of hostile inputs: one row each, good recordings bit-equal, nothing outside touched."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.hostile.harness import packed, snapshot
from tests.hostile.test_archives import SWELLING, UP_TO_FIRST, bombs
from tests.hostile.test_recordings import CUT, NOT_AUDIO, TINY, with_data_size, with_total
from tests.support.audio import encoded, tone
from tests.support.heads import some_head

GOOD = {f"good/{n}.flac": encoded(tone(1.0 + n / 10, seed=n)) for n in range(8)}


def score(folder: Path, archive: Path) -> tuple[int, dict[str, pa.Table]]:
    """Run `bonafide score` in a process of its own; return its exit code and tables."""
    head, output = folder / "head.json", folder / f"tables-of-{archive.name}"
    head.write_text(some_head().to_json())
    command = [sys.executable, "-m", "jobs", "score", "--input", str(archive), "--head", str(head)]
    environment = os.environ | {"HOME": str(folder / "home"), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    ended = subprocess.run(
        [*command, "--output", str(output), "--encoders", "1"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    said = [*ended.stdout.split("\n"), *ended.stderr.split("\n")]
    assert not [line for line in said if not line.isprintable()], ended.stderr
    tables = {name: pq.read_table(output / name) for name in ("scores", "failures") if (output / name).exists()}
    return ended.returncode, tables


@pytest.mark.long
def test_a_run_over_hostile_inputs_gives_each_its_row_and_good_ones_theirs(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "canary").touch()
    expected = {name: error for name, (_, error) in CUT.items()} | dict.fromkeys(NOT_AUDIO, "not_audio")
    expected |= {"new\nline \x1b[2J": "not_audio", "../up": "bad_name", "claim": "truncated", "flac": "truncated"}
    contents = {name: make() for name, (make, _) in CUT.items()} | NOT_AUDIO
    contents |= {"new\nline \x1b[2J": bombs(outside / "boom")["m.pkl"], "../up": TINY}
    contents |= {"claim": with_data_size(TINY, 1 << 30), "flac": with_total(GOOD["good/1.flac"], 1 << 30)}
    clean, dirty = tmp_path / "clean", tmp_path / "dirty"
    for folder in (clean, dirty):
        folder.mkdir()
    members = [(f"{name}.wav", content) for name, content in contents.items()]
    (clean / "0.tar").write_bytes(packed(GOOD.items()))
    (dirty / "0.tar").write_bytes(
        packed([each for pair in zip(GOOD.items(), members, strict=False) for each in pair] + members[len(GOOD) :])
    )
    for number, content in enumerate(SWELLING.values()):
        (dirty / f"swelling-{number}.tar").write_bytes(UP_TO_FIRST + content)
    before = snapshot(outside)

    code, right = score(tmp_path, clean)
    dirty_code, found = score(tmp_path, dirty)

    assert (code, dirty_code) == (0, 3)  # more failures than 5 %
    errors = {row["member"]: row["error"] for row in found["failures"].to_pylist() if row["member"] is not None}
    assert errors == {f"{name}.wav": error for name, error in expected.items()}
    broken = [row for row in found["failures"].to_pylist() if row["member"] is None]
    assert [row["error"] for row in broken] == ["bad_archive"] * len(SWELLING)

    def judged(table: pa.Table) -> dict[str, tuple[float, float]]:
        return {
            row["member"]: (row["score"].hex(), row["ood"].hex())
            for row in table.to_pylist()
            if row["member"].startswith("good/")
        }

    assert judged(found["scores"]) == judged(right["scores"])
    assert len(judged(found["scores"])) == len(GOOD)
    assert snapshot(outside) == before
