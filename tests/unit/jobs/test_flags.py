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
from typing import Annotated, get_args, get_type_hints

import pytest

from jobs.cli import VERBS, parse
from jobs.examples import EXAMPLES
from jobs.flags import GROUPS, Parser, add_settings, flag_of, heading_of

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
    for each in dataclasses.fields(settings):
        if each.metadata.get("positional"):
            assert f"\n  {each.name.upper()} " in out
            continue
        about = helped.pop(flag_of(each.name))
        if isinstance(each.default, int | float | str):
            assert f"[default: {each.default}]" in about
    assert helped == {}


@every_command
def test_every_setting_has_a_help_text_and_a_heading(command: str, settings: type) -> None:
    hints = get_type_hints(settings, include_extras=True)
    for each in dataclasses.fields(settings):
        assert len(get_args(hints[each.name])[1]) > 3
        assert heading_of(settings, each) in ("arguments", *GROUPS)


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
STILL_LARGE = ("review", "manifest")  # settings and core share a module still
LIGHT = [command for command in COMMANDS if not command.startswith(STILL_LARGE)]
PROGRAM = f"""
import contextlib, io, json, sys
from jobs import cli
imported = {{}}
for command in {LIGHT}:
    before = set(sys.modules)
    with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):
        cli.main([*command.split(), "--help"])
    imported[command] = sorted({LARGE} & (sys.modules.keys() - before))
print(json.dumps(imported))
"""


def test_help_imports_no_large_library() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)

    assert json.loads(done.stdout) == {command: [] for command in LIGHT}
