"""Heads of an output: what they are called, which is active, and what an output of an earlier version says of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from detector.head import Head
from jobs.tables.checksummed_json import dump_checksummed, load_checksummed
from jobs.tables.heads import activate, active_head, introduce, known_heads, named_head, rename, verify_heads
from jobs.tables.ledger import Ledger
from jobs.tables.protocol import Entry, Plan
from tests.support.made_heads import PLAIN

Run = Callable[..., tuple[int, str, str]]

OTHER = dataclasses.replace(PLAIN, bias=1.0)


def scored(output: str, head: Head, date: str) -> None:
    """Plan rows of a head."""
    Ledger(output, "scores", head.head_id).freeze(lambda _: Plan(f"{date}-1", date, (Entry("0", "s"),), {"prior": 0.5}))


def test_a_head_is_called_like_its_file_unless_that_says_nothing_or_is_taken(tmp_path: Path) -> None:
    output = str(tmp_path)
    third = dataclasses.replace(PLAIN, bias=2.0)

    names = [
        introduce(output, PLAIN, "s3://heads/calls-2026.json", "2026-11-23"),
        introduce(output, OTHER, "/old/calls-2026.json", "2026-11-24"),
        introduce(output, third, "s3://heads/2026/head.json", "2026-11-24"),
        introduce(output, PLAIN, "s3://moved/elsewhere.json", "2026-11-25"),
    ]

    assert names == ["calls-2026", f"head-{OTHER.head_id[:6]}", f"head-{third.head_id[:6]}", "calls-2026"]


def test_the_starter_is_called_starter(tmp_path: Path) -> None:
    assert introduce(str(tmp_path), PLAIN, "starter", "2026-11-23") == "starter"


def test_an_output_of_an_earlier_version_has_the_heads_of_its_plans(tmp_path: Path) -> None:
    output = str(tmp_path)
    scored(output, OTHER, "2026-11-22")
    scored(output, PLAIN, "2026-11-23")

    assert [(each.name, each.since, each.state) for each in known_heads(output)] == [
        (PLAIN.head_id, "2026-11-23", "active"),
        (OTHER.head_id, "2026-11-22", "retired"),
    ]


def test_the_active_head_is_what_was_said_last(tmp_path: Path) -> None:
    output = str(tmp_path)
    assert active_head(output) is None
    scored(output, PLAIN, "2026-11-23")
    scored(output, OTHER, "2026-11-24")
    assert active_head(output) == OTHER.head_id
    activate(output, PLAIN.head_id)
    assert active_head(output) == PLAIN.head_id


def test_a_name_that_is_given_finds_the_head_and_no_other_may_have_it(tmp_path: Path) -> None:
    output = str(tmp_path)
    for head in (PLAIN, OTHER):
        introduce(output, head, "head.json", "2026-11-23")
    rename(output, PLAIN.head_id, "calls")

    found = named_head(output, "calls")
    assert found is not None
    assert found.head_id == PLAIN.head_id
    assert found.figures == {"cllr": 0.1, "trained_bonafide": 10, "trained_spoof": 12}
    with pytest.raises(ValueError, match="another head is called 'calls'"):
        rename(output, OTHER.head_id, "calls")
    with pytest.raises(ValueError, match="letter or digit"):
        rename(output, OTHER.head_id, "../calls")


@pytest.mark.parametrize(
    "change",
    [
        {"figures": {"risk": ["'); COPY (SELECT 1) TO '/tmp/x'; --"]}},
        {"figures": {"risk": 10**400}},
        {"figures": {"risk": True}},
        {"figures": 5},
        {"name": 5},
        {"surprise": 5},
    ],
)
def test_what_is_noted_of_a_head_is_names_and_numbers_or_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    output = str(tmp_path)
    introduce(output, PLAIN, "head.json", "2026-11-23")
    noted = tmp_path / "heads" / f"{PLAIN.head_id}.json"
    noted.write_bytes(dump_checksummed(load_checksummed(noted.read_bytes(), "") | change))

    with pytest.raises(ValueError, match="names and numbers"):
        known_heads(output)


def test_heads_are_listed_and_named_by_the_command(tmp_path: Path, bonafide: Run) -> None:
    output = str(tmp_path)
    introduce(output, PLAIN, "head.json", "2026-11-23")

    assert bonafide("heads", output, "--head", PLAIN.head_id, "--name", "calls")[0] == 0
    code, out, _ = bonafide("heads", output)
    assert code == 0
    assert out.splitlines()[2].split()[:2] == [PLAIN.head_id, "calls"]
    assert bonafide("heads", tmp_path / "nothing")[0] == 65


def test_verify_names_what_is_damaged_of_heads(tmp_path: Path) -> None:
    output, folder = str(tmp_path), tmp_path / "heads"
    introduce(output, PLAIN, "starter", "2026-11-23")
    activate(output, PLAIN.head_id)
    assert list(verify_heads(output)) == []
    content = (folder / f"{PLAIN.head_id}.json").read_bytes()

    (folder / f"{PLAIN.head_id}.json").write_bytes(content.replace(b"starter", b"another"))
    (folder / "active.json").write_bytes(b"{}")
    (folder / "0123456789abcdef.json").write_bytes(content)
    (folder / "notes.json").write_bytes(dump_checksummed({"name": "x"}))

    found = list(verify_heads(output))
    assert [message.partition(": ")[0] for message in found] == sorted(map(str, folder.iterdir()))
