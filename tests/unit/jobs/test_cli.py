"""Flags made from settings, and exit codes that schedulers act on."""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import pytest

from jobs.cli import VERBS, add_settings
from jobs.storage import patience
from tests.support.archives import write_tar
from tests.support.storage import forget_clients

Run = Callable[..., tuple[int, str, str]]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of every kind."""

    name: Annotated[str, "a text that must be there, 100 % of the time"]
    size: Annotated[int, "a number"] = 3
    share: Annotated[float | None, "a share [default: the head's]"] = None
    input_uri: Annotated[tuple[str, ...], "places; repeatable"] = ()
    quick: Annotated[bool, "whether to hurry"] = False
    when: Annotated[str, "a date"] = field(default_factory=lambda: "2026-11-23")


def by_flag(text: str) -> dict[str, str]:
    """What a help text says of each flag, in one line."""
    sections = re.split(r"\n  (?=--)", text)[1:]
    return {section.split()[0].rstrip(","): " ".join(section.split()) for section in sections}


@pytest.fixture
def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    add_settings(parser, Settings)
    return parser


def test_a_flag_has_the_type_and_default_of_its_field(parser: argparse.ArgumentParser) -> None:
    given = ["--name", "n", "--size", "4", "--share", "0.5", "--quick", "--input-uri", "a", "--input-uri", "b"]

    assert Settings(**vars(parser.parse_args(["--name", "n"]))) == Settings(name="n")
    assert Settings(**vars(parser.parse_args(given))) == Settings(
        name="n", size=4, share=0.5, quick=True, input_uri=("a", "b")
    )


def test_help_is_that_of_the_field_and_says_its_default_once(
    parser: argparse.ArgumentParser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")

    helped = by_flag(parser.format_help())

    assert helped["--name"].endswith("a text that must be there, 100 % of the time")
    assert helped["--size"].endswith("a number [default: 3]")
    assert helped["--share"].endswith("a share [default: the head's]")
    assert helped["--input-uri"].endswith("places; repeatable")
    assert helped["--quick"].endswith("whether to hurry [default: False]")
    assert helped["--when"].endswith("a date [default: 2026-11-23]")


def commands() -> dict[str, type]:
    """Every verb, and what it does where it does several things, with their settings."""
    found = {}
    for verb in [each for each in VERBS if each != "submit"]:  # its settings are another verb's
        module = importlib.import_module(f"jobs.verbs.{verb}")
        actions = getattr(module, "ACTIONS", {"": getattr(module, "Settings", None)})
        found |= {f"{verb} {action}".strip(): settings for action, settings in actions.items()}
    return found


@pytest.mark.parametrize(("command", "settings"), commands().items())
def test_help_of_a_verb_lists_every_setting_with_its_default(
    command: str, settings: type, bonafide: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "400")

    code, out, _ = bonafide(*command.split(), "--help")

    assert code == 0
    helped = by_flag(out)
    for each in dataclasses.fields(settings):
        if each.metadata.get("positional"):
            assert f"\n  {each.name.upper()} " in out
            continue
        about = helped.pop(f"--{each.name.rstrip('_').replace('_', '-')}")
        if isinstance(each.default, int | float | str):
            assert f"[default: {each.default}]" in about
    assert helped == {}


def test_help_lists_the_verbs_of_the_contract(bonafide: Run) -> None:
    code, out, _ = bonafide("--help")

    assert code == 0
    verbs = ("manifest", "embed", "fit", "score", "evaluate", "nightly", "demo")
    assert set(verbs) <= set(VERBS)
    assert all(f"  {verb} " in out and about in out for verb, about in VERBS.items())


@pytest.mark.parametrize(
    ("arguments", "cause"),
    [
        ((), "VERB"),
        (("sing",), "sing"),
        (("fit", "--embeddings", "x"), "--labels"),
        (("demo", "--colour", "red"), "--colour"),
        (("demo", "--out", "x"), "--out"),  # no flag is guessed from its beginning
        (("nightly", "--input", "a", "--head", "h", "--output", "o", "--batch-seconds", "many"), "many"),
        (("manifest", "--output"), "--output"),
        (("review",), "ACTION"),
        (("review", "import", "--output", "o", "--labels", "l.csv"), "--from"),
    ],
    ids=str,
)
def test_wrong_usage_is_2_and_the_last_line_names_it(arguments: tuple[str, ...], cause: str, bonafide: Run) -> None:
    code, _, err = bonafide(*arguments)

    assert code == 2
    assert cause in err.splitlines()[-1]


def test_a_setting_that_does_not_fit_is_65_and_the_last_line_names_it(tmp_path: Path, bonafide: Run) -> None:
    out = ("--output", tmp_path / "out")
    refused = {
        "give either --input": ("embed", "--backbone", "melstats", *out),
        "backbone 'magic'": ("embed", "--backbone", "magic", "--input", tmp_path, *out),
        "needs a checkpoint": ("embed", "--backbone", "huggingface", "--input", tmp_path, *out),
        "no such folder": ("embed", "--backbone", "huggingface", "--model", "./none", "--input", tmp_path, *out),
        "40 hexadecimal digits": ("embed", "--backbone", "huggingface", "--model", "a/b", "--input", tmp_path, *out),
        "prior 2.0": ("nightly", "--input", tmp_path, "--head", "h.json", "--prior", 2, *out),
        "h.json: not found": ("nightly", "--input", tmp_path, "--head", tmp_path / "h.json", *out),
        "device 'tpu'": ("embed", "--backbone", "melstats", "--input", tmp_path, "--device", "tpu", *out),
        "run_date 'today'": ("embed", "--backbone", "melstats", "--input", tmp_path, "--run-date", "today", *out),
        "no table of embeddings here": ("fit", "--embeddings", tmp_path, "--labels", "l.csv", *out),
        f"{tmp_path}/none: no such file": ("manifest", "--input", tmp_path / "none", *out),
    }
    for cause, arguments in refused.items():
        code, _, err = bonafide(*arguments)

        assert (code, cause in err.splitlines()[-1]) == (65, True), err
    assert not (tmp_path / "out").exists()


def test_a_table_that_does_not_fit_is_65_and_the_last_line_names_it(tmp_path: Path, bonafide: Run) -> None:
    (tmp_path / "list.csv").write_text("path\na.flac\n")

    code, _, err = bonafide("manifest", "--input", tmp_path / "list.csv", "--output", tmp_path / "m.parquet")

    assert code == 65
    assert f"error 65: {tmp_path}/list.csv: no column `uri`" in err.splitlines()[-1]


def test_a_store_that_gives_up_is_69_and_the_last_line_names_it(
    s3_root: str, bonafide: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))  # taken, and nobody listens
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{unheard.getsockname()[1]}")
        monkeypatch.setattr(patience, "UNHEARD_SECONDS", 0.5)  # 15, which is long for a test
        forget_clients()

        code, _, err = bonafide("manifest", "--input", f"{s3_root}/a.flac", "--output", tmp_path / "m.parquet")

    assert code == 69
    assert f"error 69: {s3_root}/a.flac: the store gave up" in err.splitlines()[-1]


def test_a_store_that_refuses_us_is_69(
    s3_root: str, bonafide: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    forget_clients()

    code, _, err = bonafide("manifest", "--input", s3_root, "--output", tmp_path / "m.parquet")

    assert code == 69
    assert f"error 69: {s3_root}: permission denied" in err.splitlines()[-1]


def test_a_cause_of_several_lines_is_named_in_the_last(s3_root: str, bonafide: Run, tmp_path: Path) -> None:
    code, _, err = bonafide("manifest", "--input", "s3://no bucket/a.tar", "--output", tmp_path / "m.parquet")

    assert code == 65
    assert err.splitlines()[-1].startswith("error 65: s3://no bucket/a.tar")


def test_a_defect_is_70_and_the_last_line_names_it(bonafide: Run, tmp_path: Path) -> None:
    # no shell can pass a null byte, so nobody answers for it: it stands for what we did not think of
    code, _, err = bonafide("manifest", "--input", "a\0.flac", "--output", tmp_path / "m.parquet")

    assert code == 70
    assert err.splitlines()[-1] == "error 70: ValueError: embedded null byte"


@pytest.mark.parametrize(
    ("stop", "cause"), [(signal.SIGINT, "interrupted"), (signal.SIGTERM, "SIGTERM")], ids=["ctrl-c", "terminated"]
)
def test_a_run_that_is_stopped_is_75_and_says_how_to_go_on(tmp_path: Path, stop: signal.Signals, cause: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # it takes a request, and never answers
        silent.settimeout(60)
        environment = os.environ | {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{silent.getsockname()[1]}",
            "AWS_ACCESS_KEY_ID": "any",
            "AWS_SECRET_ACCESS_KEY": "any",
        }
        manifest = ["manifest", "--input", "s3://bucket/a.flac", "--output", str(tmp_path / "m.parquet")]
        run = subprocess.Popen(
            [sys.executable, "-m", "jobs", *manifest],
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
            # where the tests run in the background, ctrl-c is ignored, and children inherit that
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        silent.accept()
        run.send_signal(stop)
        _, err = run.communicate(timeout=60)

    last = err.splitlines()[-1]
    assert run.returncode == 75
    assert last.startswith("error 75: ")
    assert cause in last
    assert "run the same command again" in last


def test_a_demo_s_folder_is_never_somebody_else_s(tmp_path: Path, bonafide: Run) -> None:
    (tmp_path / "thesis.txt").write_text("precious")

    code, _, err = bonafide("demo", "--output", tmp_path)

    assert code == 65
    assert "not made by the demo" in err
    assert (tmp_path / "thesis.txt").read_text() == "precious"


def test_a_repeated_input_is_one_of_several(tmp_path: Path, bonafide: Run) -> None:
    for name in ("a.tar", "b.tar"):
        write_tar(tmp_path / name, {"x.flac": b""})

    code, out, _ = bonafide(
        "manifest", "--input", tmp_path / "a.tar", "--input", tmp_path / "b.tar", "--output", tmp_path / "m.parquet"
    )

    assert code == 0
    assert "2 recordings in 2 shards" in out
