"""Drills of resources: no space, no memory; and memory that must not grow."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.drills.archive import tar, wav
from tests.drills.lab import Lab
from tests.drills.marks import drill
from tests.drills.runs import Run
from tests.drills.store import key_of
from tests.drills.work import markers_put
from tests.support.processes import processes

IN_NAMESPACE = ["unshare", "--map-root-user", "--mount"]  # whoever we are, a mount there is nobody else's
RUN_THEN_GIVE_SPACE = """
place=$1 size=$2 copy=$3
shift 3
mount -t tmpfs -o size=$size drill "$place" || exit 99
"$@"; echo "ended with $? where there was no space" >&2
mount -o remount,size=64m "$place"
"$@"; echo "ended with $? where there was" >&2
cp -r "$place" "$copy"
"""


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A folder where a command can mount a small disk; its name is short, because paths of sockets must be."""
    if subprocess.run([*IN_NAMESPACE, "mount", "-t", "tmpfs", "drill", "/mnt"], capture_output=True).returncode:
        pytest.skip("this machine allows no mount namespaces")
    folder = Path(tempfile.mkdtemp(prefix="full"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def run_on(lab: Lab, disk: Path, size: str, command: list[object], **environment: str) -> list[tuple[int, str]]:
    """Run a command twice in one place: on a disk of ``size``, and when it is larger. Exit codes and last lines."""
    script = [*IN_NAMESPACE, "sh", "-c", RUN_THEN_GIVE_SPACE, "sh", str(disk), size, str(lab.folder / "copy")]
    whole = [*script, sys.executable, "-m", "jobs", *map(str, command)]
    run = Run(whole, lab.environment | environment, lab.folder / "small", None)
    lab.runs.append(run)
    run.wait()
    assert run.code == 0, str(run)
    lines = run.stderr.splitlines()
    ends = [place for place, line in enumerate(lines) if line.startswith("ended with ")]
    assert len(ends) == 2, str(run)
    return [(int(lines[end].split()[2]), lines[end - 1]) for end in ends]


@drill(
    "D32",
    injects="an output on a disk of 60 kB; then more space",
    holds="exit 69 with the object's name and the cause; no partial file; the same command again completes",
    limit=90,
)
def test_a_full_disk_is_named_and_leaves_no_half_file(lab: Lab, small_disk: Path) -> None:
    (full, cause), (after, _) = run_on(lab, small_disk, "60k", lab.embedding(output=str(small_disk)))

    assert full == 69, cause
    assert re.search(rf"{small_disk}.*No space left", cause), cause
    assert after == 0
    _put_into_the_store(lab, lab.folder / "copy")
    lab.assert_same_as_undisturbed()
    lab.assert_clean()
    assert not [name for name in lab.names() if not name.endswith((".parquet", ".json")) and "_garbage" not in name]


def _put_into_the_store(lab: Lab, folder: Path) -> None:
    """Copy tables from a folder, where the oracles look."""
    root = key_of(lab.output)
    files = {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    lab.store.pipe({f"{root}/{name}": content for name, content in files.items()})


@drill(
    "D32",
    injects="Ray's own folder on a disk of 2 MB",
    holds="ends with 0, 69 or 75 and the cause; with space, the same command again completes",
    limit=180,
)
def test_a_full_disk_of_ray_ends_the_run_instead_of_hanging_it(lab: Lab, small_disk: Path) -> None:
    (full, cause), (after, _) = run_on(lab, small_disk, "2m", lab.embedding(), RAY_TMPDIR=str(small_disk))

    assert full in (0, 69, 75), cause
    assert after == 0
    lab.assert_same_as_undisturbed()
    lab.held(f"Ray without space: exit {full}")


@drill(
    "D35",
    injects="Ray's memory monitor with a threshold that every process exceeds",
    holds="bounded retries, then exit 75 that names a shard; without it the same command completes",
    limit=180,
)
def test_a_machine_without_memory_is_given_up_after_a_bound(lab: Lab) -> None:
    monitor = {"RAY_memory_usage_threshold": "0.01", "RAY_memory_monitor_refresh_ms": "100"}

    run = lab.embed("--stall-seconds", 60, code=75, environment=monitor)

    run.assert_ended(75, r"\.tar|shard")
    lab.held(f"75 after {run.seconds:.0f} s")
    assert not lab.read("failures").num_rows
    lab.embed(on=lab.ray())
    lab.assert_same_as_undisturbed()


def private_mb(pid: int) -> float:
    """Memory that a process has for itself, in MB: audio in the object store is everybody's."""
    found = re.search(r"RssAnon:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) / 1e3 if found else 0.0


@drill(
    "D37",
    injects="200 shards of 25 recordings",
    holds="memory grows by at most 1 MB per 1,000 recordings, in the driver and in each worker",
    limit=180,
)
def test_memory_does_not_grow_with_the_work(lab: Lab) -> None:
    n_shards, n_each = 200, 25
    lab.new_archive(
        {f"{s:04d}.tar": tar({f"{n:02d}.wav": wav(s, n, 0.5) for n in range(n_each)}) for s in range(n_shards)}
    )
    run = lab.start_embed()
    samples: dict[int, list[tuple[float, float]]] = {}
    titles: dict[int, str] = {}
    while run.working:
        n_done = float(len(markers_put(lab)) * n_each)
        for each in processes(run.pid):
            if each.pid == run.pid or re.match(r"ray::(Map|IDLE|WorkerRegistry)", each.title):
                try:
                    samples.setdefault(each.pid, []).append((n_done, private_mb(each.pid)))
                    titles[each.pid] = "driver" if each.pid == run.pid else each.title
                except OSError:
                    continue
        time.sleep(0.3)
    run.wait().assert_ended(0)
    lab.assert_same_as_undisturbed()

    slopes = {}
    for pid, found in samples.items():
        late = np.array(
            [each for each in found if each[0] >= n_shards * n_each / 4]
        )  # imports and pools are made by then
        if len(late) >= 20 and np.ptp(late[:, 0]) > n_shards * n_each / 4:
            slopes[titles[pid]] = 1_000.0 * float(np.polyfit(late[:, 0], late[:, 1], 1)[0])
    lab.held(", ".join(f"{name}: {slope:+.2f}" for name, slope in slopes.items()) + " MB per 1,000")
    assert slopes
    assert max(slopes.values()) <= 1.0, slopes
