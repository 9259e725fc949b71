"""Flags made from settings: their types, defaults, headings and help; and every verb's own."""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated

import pytest

from jobs.cli import VERBS, parse
from jobs.examples import EXAMPLES
from jobs.flags import ARGUMENTS, GROUPS, OTHERS, Parser, add_settings, settings_in

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
    depth: Annotated[str, "how far"] = field(default="no", metadata={"alone": "some"})


def by_flag(text: str) -> dict[str, str]:
    """Return the help text of each flag, on one line."""
    sections = re.split(r"\n  (?=--)", text.split("\nexamples:\n")[0])[1:]
    return {section.split()[0].rstrip(","): " ".join(section.split("\n\n")[0].split()) for section in sections}


@pytest.fixture
def parser() -> argparse.ArgumentParser:
    parser = Parser()
    add_settings(parser, Settings)
    return parser


def test_a_flag_has_the_type_and_default_of_its_field(parser: argparse.ArgumentParser) -> None:
    given = ["--name", "n", "--size", "4", "--share", "0.5", "--quick", "--input-uri", "a", "--input-uri", "b"]

    assert Settings(**vars(parser.parse_args(["--name", "n"]))) == Settings(name="n")
    assert Settings(**vars(parser.parse_args(given))) == Settings(
        name="n", size=4, share=0.5, quick=True, input_uri=("a", "b")
    )


@pytest.mark.parametrize(
    ("given", "depth"), [([], "no"), (["--depth"], "some"), (["--depth", "all"], "all"), (["--depth=all"], "all")]
)
def test_a_flag_may_stand_alone_for_a_value_of_its_own(
    parser: argparse.ArgumentParser, given: list[str], depth: str
) -> None:
    assert parser.parse_args([*given, "--name", "n"]).depth == depth


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
    """Return the settings of every verb, and of every action of a verb that has several."""
    found = {}
    for verb in VERBS:
        module = importlib.import_module(f"jobs.verbs.{verb}")
        actions = getattr(module, "ACTIONS", {"": getattr(module, "Settings", None)})
        found |= {f"{verb} {action}".strip(): settings for action, settings in actions.items()}
    return found


COMMANDS = commands()
every_command = pytest.mark.parametrize(("command", "settings"), COMMANDS.items(), ids=list(COMMANDS))


@every_command
def test_help_of_a_verb_lists_every_setting_with_its_default(
    command: str, settings: type, bonafide: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "400")

    code, out, _ = bonafide(*command.split(), "--help")

    assert code == 0
    helped = by_flag(out)
    defaults = {each.name: each.default for each in dataclasses.fields(settings)}  # without those of a factory
    for each in settings_in(settings):
        if each.is_positional:
            assert f"\n  {each.name.upper()} " in out
            continue
        about = helped.pop(each.flag)
        if isinstance(defaults[each.name], int | float | str):
            assert f"[default: {defaults[each.name]}]" in about
    assert helped == {}


@every_command
def test_every_setting_has_a_help_text_and_a_heading(command: str, settings: type) -> None:
    found = settings_in(settings)

    assert {each.name for each in found} == {each.name for each in dataclasses.fields(settings)}
    assert all(len(each.about) > 3 and each.heading in (ARGUMENTS, *GROUPS) for each in found)


def test_required_settings_come_first_under_their_heading() -> None:
    for settings in COMMANDS.values():
        required = [each.is_required for each in settings_in(settings)]
        assert required == sorted(required, reverse=True)


def test_a_heading_is_that_of_the_annotation_the_name_or_the_class() -> None:
    @dataclass(frozen=True, kw_only=True)
    class RunConfig:
        device: Annotated[str, "of the class"] = ""
        output: Annotated[str, "of its name"] = ""
        labels: Annotated[str, "of the annotation", "machines"] = ""

    @dataclass(frozen=True, kw_only=True)
    class Inheriting(RunConfig):
        other: Annotated[str, "of none"] = ""

    headings = {each.name: each.heading for each in settings_in(Inheriting)}

    assert headings == {"device": "machines", "output": "what to write", "labels": "machines", "other": OTHERS}


def test_every_name_under_a_heading_is_a_setting_or_a_class_of_settings() -> None:
    names = {each.name for settings in COMMANDS.values() for each in dataclasses.fields(settings)}
    classes = {each.__name__ for settings in COMMANDS.values() for each in settings.__mro__}

    listed = " ".join(GROUPS.values()).split()

    assert len(listed) == len(set(listed))
    assert set(listed) <= names | classes


@every_command
def test_help_shows_two_examples_and_they_parse(command: str, settings: type, bonafide: Run) -> None:
    _, out, _ = bonafide(*command.split(), "--help")

    shown = out.split("\nexamples:\n")[1].splitlines()
    assert shown == [f"  bonafide {command} {each}".rstrip() for each in EXAMPLES[command]]
    assert len(shown) == 2
    for example in shown:
        program, *arguments = shlex.split(example)
        verb, kind, values = parse(arguments)
        assert (program, verb, kind) == ("bonafide", command.split()[0], settings)
        kind(**values)


def test_examples_are_of_verbs_alone() -> None:
    assert list(EXAMPLES) == list(COMMANDS)


LARGE = {"torch", "pandas", "ray", "pyarrow", "transformers"}
PROGRAM = f"""
import contextlib, io, json, sys
from jobs import cli
imported = {{}}
for command in {list(COMMANDS)}:
    before = set(sys.modules)
    with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):
        cli.main([*command.split(), "--help"])
    imported[command] = sorted({LARGE} & (sys.modules.keys() - before))
print(json.dumps(imported))
"""


def test_help_imports_no_large_library() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)

    assert json.loads(done.stdout) == {command: [] for command in COMMANDS}


@pytest.mark.parametrize(
    ("arguments", "way"),
    [
        ("erase -x.wav --output /t", "to the end, behind two of them: -- -x.wav"),
        ("erase a.wav --x=y.wav --output /t", "to the end, behind two of them: -- --x=y.wav"),
        ("explain head.json --output /t --utterance -x.wav", "joined to its flag: --utterance=-x.wav"),
        ("embed --input -calls/ --output /t", "joined to its flag: --input=-calls/"),
    ],
)
def test_a_name_that_begins_with_a_dash_is_refused_with_the_way_to_give_it(
    bonafide: Run, arguments: str, way: str
) -> None:
    code, _, err = bonafide(*arguments.split())

    assert code == 2
    assert err.splitlines()[-1].endswith(way)


def test_the_ways_to_give_a_name_that_begins_with_a_dash() -> None:
    erase = parse(["erase", "--output", "/t", "--", "-x.wav", "--output"])
    explain = parse(["explain", "head.json", "--output", "/t", "--utterance=-x.wav"])

    assert erase[2]["utterance_id"] == ["-x.wav", "--output"]
    assert explain[2]["utterance"] == "-x.wav"
