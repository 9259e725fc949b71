"""The README's commands, queries and Python run as they stand, in their order; so do those of the how-to pages."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import duckdb
import fsspec
import pytest

from detector import starter
from tests.support import ROOT
from tests.support.audio import encoded, tone
from tests.support.ray_head import ray_head
from tests.support.voices import write_corpus

README = (ROOT / "README.md").read_text()
HOW_TO = ROOT / "docs" / "how-to"


def blocks(language: str, page: str = README) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A newcomer's folder with one recording, and with a labelled corpus."""
    folder = tmp_path_factory.mktemp("newcomer")
    write_corpus(folder / "my-corpus")
    (folder / "my-recordings").mkdir()
    (folder / "my-recordings" / "call.flac").write_bytes(encoded(tone(2.0)))
    return folder


@pytest.fixture(scope="module")
def printed(home: Path, job_environment: dict[str, str]) -> list[str]:
    """The lines that the demo prints, run in the newcomer's folder."""
    return shell("python -m jobs demo", home, job_environment).splitlines()


def shell(command: str, folder: Path, environment: dict[str, str]) -> str:
    done = subprocess.run(
        ["bash", "-ec", command], cwd=folder, env=environment, capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def run_block(block: str, folder: Path, environment: dict[str, str]) -> list[str]:
    """Run every line of a console block; return what each printed."""
    lines = block.strip().splitlines()
    assert all(line.startswith("$ ") for line in lines)
    return [shell(line.removeprefix("$ "), folder, environment) for line in lines]


def test_the_readme_fits_in_130_lines() -> None:
    assert README.count("\n") <= 130


def test_every_block_of_the_readme_is_one_that_these_tests_run() -> None:
    languages = re.findall(r"^```(.*)\n(?:.*\n)*?```$", README, re.MULTILINE)

    assert sorted(languages) == ["console"] * 4 + ["python"] + ["sql"] * 2


def test_a_command_stands_before_line_30_and_prints_what_the_readme_says(printed: list[str]) -> None:
    demo = blocks("console")[0]
    command, *shown = demo.strip().splitlines()
    assert command == "$ make demo"
    assert README[: README.index(demo)].count("\n") < 30
    assert "jobs demo" in (ROOT / "Makefile").read_text()

    run_id = re.compile(r"\d{4}-\d\d-\d\d-[0-9a-f]{8}")  # the date of the run, and a digest that covers the date
    output = [run_id.sub("…", line) for line in printed]
    for part in run_id.sub("…", "\n".join(shown)).split("\n[…]\n"):  # where the README leaves lines out
        lines = part.splitlines()
        start = output.index(lines[0])
        assert output[start : start + len(lines)] == lines
        output = output[start + len(lines) :]
    assert not output


@pytest.mark.usefixtures("printed")
def test_the_queries_run_on_the_demo_and_give_the_verdicts_that_the_readme_shows(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(home)
    verdicts, *others = blocks("sql")

    answer = duckdb.sql(verdicts)

    table = README.partition(verdicts)[2].partition("\n|")[2].partition("\n\n")[0].splitlines()
    header, _, *rows = [
        [cell.strip() for cell in line.removeprefix("|").removesuffix("|").split("|")] for line in table
    ]
    assert header == answer.columns
    assert rows == [[cell_of(value) for value in row] for row in answer.fetchall()]
    assert len(others) == 1
    assert all(duckdb.sql(query).fetchall() for query in others)


def cell_of(value: Any) -> str:
    """A value of a query's answer as a cell of the README's table."""
    return "" if value is None else str(value).lower()


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.usefixtures("printed")
def test_the_commands_and_python_run_in_their_order(
    home: Path, store: fsspec.AbstractFileSystem, job_environment: dict[str, str], tmp_path: Path
) -> None:
    _demo, own_folder, on_s3, on_a_cluster = blocks("console")
    run_block(own_folder, home, job_environment)
    for page in ("fit-a-head.md", "keep-tables-in-order.md", "../operations.md"):
        local = [block for block in blocks("console", (HOW_TO / page).read_text()) if "s3://" not in block]
        assert local
        for block in local:
            run_block(block, home, job_environment)

    if store.exists("archive/tables"):  # of another test: all share one store
        store.rm("archive/tables", recursive=True)
    store.put(str(starter.HEAD), "archive/heads/head.json")
    store.put(str(home / "my-recordings" / "call.flac"), "archive/2026/call.flac")
    run_block(on_s3, home, job_environment)
    with_token = job_environment | {"RAY_AUTH_MODE": "token"}
    shell("ray get-auth-token --generate", home, with_token)  # nothing before needed a Ray, which would have left one
    with ray_head(with_token, tmp_path / "ray") as address:
        on_the_cluster = with_token | {"RAY_API_SERVER_ADDRESS": address, "RAY_ADDRESS": address}
        outs = run_block(on_a_cluster, home, on_the_cluster)

    assert all("nothing new" in out for out in outs)
    store.rm("archive/tables", recursive=True)  # all share one store, and other tests use another encoder
    (python,) = blocks("python")
    assert shell(f"python - <<'END'\n{python}\nEND", home, job_environment).split()[-2:-1] in (["True"], ["False"])
