"""Names that were cut where they were written down are found, whoever cut them, and those of others are not."""

from __future__ import annotations

import json

import pytest

from detector.jumbf import GENERATOR_LENGTH
from jobs import storage
from jobs.erasure.erasing import erase
from jobs.erasure.redaction import redact_record
from jobs.erasure.request import ErasureRequest
from jobs.inputs.passed_over import PassedOver
from jobs.tables.checksummed_json import dump_checksummed, load_checksummed
from tests.unit.jobs.erasure.outputs import VICTIM, everything

CALL = "caller_Alice-Maria-Smith_born-1970-01-01_passport-K1234567_from-0041791234567_to-0041449876543_agent-7_line2"
OTHER = CALL.replace("agent-7", "agent-8")
ROOT = "s3://archive/2026/"


def cut(text: str, most: int) -> str:
    """As releases before this one cut examples (101 characters), and as tables on a terminal are cut (72)."""
    half = (most - 1) // 2
    return text if len(text) <= most else text[:half] + "…" + text[-half:]


def request(name: str = CALL, root: str = ROOT) -> ErasureRequest:
    return ErasureRequest([name], [root])


@pytest.mark.parametrize("most", [72, 101])
@pytest.mark.parametrize(
    ("name", "root", "shown"),
    [
        (CALL, ROOT, f"2026/{CALL}"),
        (CALL, "/data/archive/", f"/data/archive/{CALL}"),
        (f"1.tar#{CALL}", ROOT, f"2026/1.tar#{CALL}"),
        (f"feed##{CALL}", ROOT, f"2026/feed#{CALL}"),
        ("a.wav", "/data/" + "folder/" * 20, "/data/" + "folder/" * 20 + "a.wav"),
        (f"{CALL}\\x23\\x40", ROOT, f"2026/{CALL}#@"),
        (f"{CALL}\x1b.wav", ROOT, f"2026/{CALL}\\x1b.wav"),
        ("émile/" * 30 + "ü.wav", ROOT, "2026/" + "émile/" * 30 + "ü.wav"),
    ],
)
def test_a_name_without_its_middle_is_found(name: str, root: str, shown: str, most: int) -> None:
    text = cut(shown, most)
    assert text != shown

    assert request(name, root).ids_in_setting(text) == {name}
    assert request(name, root).ids_in_text(f"<td>{text}</td>") == {name}
    assert request(name, root).ids_in_foreign_text(f"INFO passed over 1 .x ({text}); 2 more") == {name}
    assert request(name, root).ids_in_foreign_text(json.dumps({"examples": [text]})) == {name}


def test_a_name_without_its_middle_is_not_another_one() -> None:
    text = cut(f"2026/{OTHER}", 101)

    assert request().ids_in_setting(text) == set()
    assert request().ids_in_foreign_text(text) == set()
    assert request().ids_in_text("to be continued …") == set()


@pytest.mark.parametrize("shown", [7, 20, 60, 100])
def test_a_name_without_its_end_is_found_in_a_text_that_is_as_long_as_is_kept(shown: int) -> None:
    claim = f"{'made with a long tool ' * 20}"[: GENERATOR_LENGTH - shown - 2] + f": {CALL}"
    claim = claim[:GENERATOR_LENGTH]

    found = {CALL} if shown >= 8 else set()
    assert request().ids_in_text(claim) == found
    assert request().ids_in_text(f"<td>{claim}</td>") == found
    assert request().ids_in_foreign_text(f"x.wav\t{claim}\t0.5\n") == found
    assert request().ids_in_text(claim[:-1] + "!") == set()
    assert request().ids_in_text(claim + " and more of a text that was not cut") == set()


def test_a_suffix_that_may_be_a_part_of_the_name_goes_with_it() -> None:
    counts = PassedOver()
    for name in ("2026/call.a-smith", "2026/call.textgrid", "2026/notes.txt"):
        counts.add(name)
    record = {"passed_over": counts.to_content()}

    redacted = redact_record(record, ErasureRequest(["call.a-smith", "call.textgrid"], [ROOT]))

    assert redacted["passed_over"] == {
        "(other suffixes)": {"count": 1, "examples": ["(erased)"]},
        ".textgrid": {"count": 1, "examples": ["(erased)"]},
        ".txt": {"count": 1, "examples": ["2026/notes.txt"]},
    }


def test_an_erasure_takes_shortened_names_of_earlier_releases_out_of_records(tables: str) -> None:
    folder = "s3://archive/" + "2026/" * 20
    record = next(uri for uri in everything(tables) if "/runs/" in uri and uri.endswith(".json"))
    content = load_checksummed(storage.read_bytes(record), record)
    key = folder.removeprefix("s3://archive/") + VICTIM
    content["passed_over"] = {"(no suffix)": {"count": 2, "examples": [cut(key, 101), "2026/other"]}}
    storage.write_bytes(record, dump_checksummed(content, indent=1))

    erase(tables, ErasureRequest([VICTIM], ["s3://archive/", folder]), lambda *_: 0)

    examples = json.loads(storage.read_bytes(record))["passed_over"]
    assert examples == {"(no suffix)": {"count": 2, "examples": ["(erased)", "2026/other"]}}
