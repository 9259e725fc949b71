"""A sealed object comes back as it was, or is named as damaged."""

from __future__ import annotations

import pytest

from detector.errors import SchemaError
from jobs.tables.checksummed_json import dump_checksummed, load_checksummed

CONTENT = {"run_id": "a", "rows": {"scores": 3}, "none": None, "list": [1, [2.5, "ü"]]}


@pytest.mark.parametrize("indent", [None, 1])
def test_one_flipped_bit_anywhere_is_found(indent: int | None) -> None:
    text = dump_checksummed(CONTENT, indent)
    assert load_checksummed(text, "a.json") == CONTENT

    for place in range(len(text)):
        for bit in range(8):
            damaged = text[:place] + bytes([text[place] ^ (1 << bit)]) + text[place + 1 :]
            with pytest.raises(SchemaError, match=r"a\.json: is damaged"):
                load_checksummed(damaged, "a.json")


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{}",
        b"null",
        dump_checksummed(CONTENT)[:-1],
        dump_checksummed(CONTENT) + b"\n",
        dump_checksummed(CONTENT)[100:],
    ],
)
def test_truncated_or_unchecksummed_json_is_reported_as_damaged(text: bytes) -> None:
    with pytest.raises(SchemaError, match=r"a\.json: is damaged"):
        load_checksummed(text, "a.json")


def test_missing_checksummed_json_is_reported_as_missing() -> None:
    with pytest.raises(SchemaError, match=r"a\.json: is gone"):
        load_checksummed(None, "a.json")
