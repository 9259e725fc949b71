"""A night brings its copy up to date within bounds, and a copy that fails is said without failing the night."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from detector.errors import ConfigError
from jobs.reports.nightly.config import NightlyConfig
from jobs.reports.nightly.copying import limit, with_copy
from tests.support.archives import write_tar
from tests.support.audio import encoded, tone
from tests.support.compaction import assert_same, nights

Run = Callable[..., tuple[int, str, str]]


def settings(folder: Path, **others: Any) -> NightlyConfig:
    return NightlyConfig(input=("archive",), output=f"{folder}/tables", compact_to=f"{folder}/copy", **others)


@pytest.fixture
def ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the metrics of ends."""
    folder = tmp_path / "ends"
    folder.mkdir()
    monkeypatch.setenv("BONAFIDE_METRICS_FOLDER", str(folder))
    return folder


def test_the_copy_has_the_rows_of_the_output_and_the_night_keeps_its_exit_code(tmp_path: Path) -> None:
    nights(f"{tmp_path}/tables", "2026-11-22")

    assert with_copy(settings(tmp_path), 3) == 3

    assert_same(f"{tmp_path}/tables", f"{tmp_path}/copy")


def test_a_copy_that_fails_is_said_and_recorded_and_changes_the_exit_code_if_asked(
    tmp_path: Path, ends: Path, caplog: pytest.LogCaptureFixture
) -> None:
    nights(f"{tmp_path}/tables", "2026-11-22")
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy" / "embeddings").mkdir()
    (tmp_path / "copy" / "embeddings" / "x.parquet").write_bytes(b"PAR1")  # no object of a copy

    assert with_copy(settings(tmp_path, compact_required=True), 0) == 65

    assert "`compact` ended with 65; the night itself is complete" in caplog.text
    (record,) = (json.loads(path.read_text()) for path in (tmp_path / "tables" / "runs" / "ended").iterdir())
    assert (record["verb"], record["exit_code"]) == ("compact", 65)
    (written,) = ends.iterdir()
    assert f'verb="compact",output="{tmp_path}/tables"}} 65' in written.read_text()


def test_a_copy_that_takes_too_long_is_stopped_and_the_night_keeps_its_exit_code(tmp_path: Path, ends: Path) -> None:
    nights(f"{tmp_path}/tables", "2026-11-22")

    assert with_copy(settings(tmp_path, compact_minutes=1e-6), 0) == 0

    (written,) = ends.iterdir()
    assert f'verb="compact",output="{tmp_path}/tables"}} 75' in written.read_text()


def test_a_process_gets_no_more_memory_than_its_limit() -> None:
    ask = "import sys; sys.stdin.read(); bytearray(int(sys.argv[1]) << 20)"
    codes = []
    for mib in (64, 512):
        command = [sys.executable, "-c", ask, str(mib)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
            limit(process.pid, 256 << 20, 60.0)
            process.communicate()
        codes.append(process.returncode)

    assert codes == [0, 1]


def test_a_bound_that_the_user_has_already_is_not_raised() -> None:
    # without CAP_SYS_RESOURCE the kernel refuses to raise one
    with subprocess.Popen(["sleep", "60"]) as process:
        resource.prlimit(process.pid, resource.RLIMIT_CPU, (100, 100))
        limit(process.pid, 256 << 20, 3_600.0)
        found = resource.prlimit(process.pid, resource.RLIMIT_CPU), resource.prlimit(process.pid, resource.RLIMIT_DATA)
        process.kill()

    assert found == ((100, 100), (256 << 20, 256 << 20))


def test_a_copy_that_cannot_be_begun_leaves_the_night_its_exit_code(
    tmp_path: Path, ends: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "no such program"))

    assert with_copy(settings(tmp_path), 0) == 0
    assert with_copy(settings(tmp_path, compact_required=True), 0) == 75

    assert 'verb="compact"} 75' in (ends / "bonafide-bonafide-compact.prom").read_text()


@pytest.mark.parametrize(
    ("others", "message"),
    [
        ({"compact_to": "tables/copy"}, "A copy needs a place of its own"),
        ({"compact_minutes": 0.0}, "compact_minutes 0.0"),
        ({"compact_mib": 100}, "compact_mib 100"),
    ],
)
def test_a_copy_without_a_place_or_room_is_refused_before_the_night(others: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        NightlyConfig(**{"input": ("archive",), "output": "tables", **others})


@pytest.mark.long
def test_a_night_ends_with_a_copy_of_its_tables(tmp_path: Path, bonafide: Run) -> None:
    write_tar(tmp_path / "0.tar", {"a.flac": encoded(tone(2.0))})

    code, out, _ = bonafide(
        "nightly", "--input", tmp_path / "0.tar", "--output", tmp_path / "tables", "--compact-to", tmp_path / "copy"
    )

    assert code == 0
    assert out.splitlines()[-1].startswith("page: ")
    assert_same(f"{tmp_path}/tables", f"{tmp_path}/copy")
