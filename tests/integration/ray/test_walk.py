"""The walk of docs/walk.md, from an installation to a cluster with a token, runs as it stands and in its order."""

from __future__ import annotations

import subprocess
from pathlib import Path

import fsspec
import pytest

from tests.integration.ray.test_readme import blocks, shell
from tests.support import ROOT
from tests.support.dev_corpus import N_NEW, one_recording, write_corpus
from tests.support.ray_head import ray_head

WALK = (ROOT / "docs" / "walk.md").read_text()


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.needs("the dev corpus")
def test_a_newcomer_gets_from_the_first_folder_to_a_cluster(
    store: fsspec.AbstractFileSystem, job_environment: dict[str, str], tmp_path: Path
) -> None:
    write_corpus(tmp_path / "my-corpus")
    (tmp_path / "my-recordings").mkdir()
    (tmp_path / "my-recordings" / "call.flac").write_bytes(one_recording())
    (tmp_path / "home").mkdir()  # without a token
    environment = job_environment | {"HOME": str(tmp_path / "home")}
    *before, on_s3, on_a_cluster = (
        [line.removeprefix("$ ") for line in each.splitlines()] for each in blocks("console", WALK)
    )
    printed = {}
    for command in (command for each in before for command in each):
        printed[command] = printed.get(command, "") + run(command, tmp_path, environment)
    night = next(text for command, text in printed.items() if " nightly " in command)
    assert f"{2 * N_NEW} new, 0 replaced, 0 rescored, 0 removed" in night
    assert "nothing new" in night

    if store.exists("archive/tables"):  # of another test: all share one store
        store.rm("archive/tables", recursive=True)
    store.put(str(tmp_path / "my-head.json"), "archive/heads/my-head.json")
    store.put(str(tmp_path / "my-recordings" / "call.flac"), "archive/2026/call.flac")
    for command in on_s3:
        run(command, tmp_path, environment)
    token, start, submit, verify = on_a_cluster
    run(token, tmp_path, environment)
    # as the page starts it, but with ports of its own, since others may be in use here
    assert start.startswith("RAY_AUTH_MODE=token ray start --head ")
    with ray_head(environment | {"RAY_AUTH_MODE": "token"}, tmp_path / "ray") as address:
        assert "nothing new" in run(submit, tmp_path, environment | {"RAY_API_SERVER_ADDRESS": address})
        refused = run_freely(
            submit.replace("=token", "=disabled"), tmp_path, environment | {"RAY_API_SERVER_ADDRESS": address}
        )
    assert refused.returncode == 69  # a cluster with a token takes no job without it
    run(verify, tmp_path, environment)
    store.rm("archive/tables", recursive=True)  # other tests use another encoder


def run(command: str, folder: Path, environment: dict[str, str]) -> str:
    """Run a command; `check` may answer that a recording is flagged, or that it does not know."""
    if not command.startswith("bonafide check "):
        return shell(command, folder, environment)
    done = run_freely(command, folder, environment)
    assert done.returncode in (0, 1, 3), done.stderr
    return done.stdout


def run_freely(command: str, folder: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-ec", command], cwd=folder, env=environment, capture_output=True, text=True, timeout=280
    )
