"""The README's commands, queries and Python, run as they stand, in their order."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import duckdb
import fsspec
import pytest

from tests.support import ROOT
from tests.support.audio import encoded, tone
from tests.support.ray_head import ray_head

README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A newcomer's folder with one recording."""
    folder = tmp_path_factory.mktemp("newcomer")
    (folder / "my-recordings").mkdir()
    (folder / "my-recordings" / "call.flac").write_bytes(encoded(tone(2.0)))
    return folder


@pytest.fixture(scope="module")
def said(home: Path, job_environment: dict[str, str]) -> list[str]:
    """What the demo prints into the newcomer's folder."""
    return shell("python -m jobs demo", home, job_environment).splitlines()


def shell(command: str, folder: Path, environment: dict[str, str]) -> str:
    done = subprocess.run(
        ["bash", "-ec", command], cwd=folder, env=environment, capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def test_a_command_stands_before_line_30_and_prints_what_the_readme_says(said: list[str]) -> None:
    demo = blocks("console")[0]
    command, *printed = demo.strip().splitlines()
    assert command == "$ make demo"
    assert README[: README.index(demo)].count("\n") < 30
    assert "jobs demo" in (ROOT / "Makefile").read_text()

    night = re.compile(r"\d{4}-\d\d-\d\d-[0-9a-f]{8}")  # its date, and a digest of it
    assert [night.sub("…", line) for line in said[-len(printed) :]] == [night.sub("…", line) for line in printed]


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.usefixtures("said")
def test_the_commands_queries_and_python_run_in_their_order(
    home: Path, store: fsspec.AbstractFileSystem, job_environment: dict[str, str], tmp_path: Path
) -> None:
    _demo, own_folder, own_head, two_heads, on_s3, on_a_cluster, afterwards = blocks("console")
    for block in (own_folder, own_head, two_heads, afterwards):
        for line in block.strip().splitlines():
            shell(line.removeprefix("$ "), home, job_environment)

    store.put(str(home / "bonafide-demo" / "head.json"), "archive/heads/head.json")
    store.put(str(home / "my-recordings" / "call.flac"), "archive/2026/call.flac")
    shell(on_s3.strip().removeprefix("$ "), home, job_environment)
    with_token = job_environment | {"RAY_AUTH_MODE": "token"}
    with ray_head(with_token, tmp_path / "ray") as address:
        outs = [
            shell(
                line.removeprefix("$ "), home, with_token | {"RAY_API_SERVER_ADDRESS": address, "RAY_ADDRESS": address}
            )
            for line in on_a_cluster.strip().splitlines()
        ]

    assert all("nothing new" in out for out in outs)
    (python,) = blocks("python")
    assert shell(f"python - <<'END'\n{python}\nEND", home, job_environment).split()[-2:-1] in (["True"], ["False"])
    before = Path.cwd()
    os.chdir(home)
    try:
        for query in blocks("sql"):
            assert duckdb.sql(query).fetchall()
    finally:
        os.chdir(before)
    assert len(blocks("sql")) == 3
