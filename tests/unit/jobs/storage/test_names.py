"""A name of any bytes has one text, and each text is of one name."""

from __future__ import annotations

import itertools
import os
import random
import re

import pytest

from jobs import storage
from jobs.storage.names import bytes_of, text_of

PARTS = (b"\\", b"x", b"5c", b"e9", b"\xe9", b"\xc3\xa9", b"8", b"E9", b"\xff", b"a")


def spelt(name: bytes) -> str:
    """Write a name's text letter by letter, as the table in docs/inputs.md says."""
    text, at = "", 0
    while at < len(name):
        if re.match(rb"\\x(5c|[89a-f][0-9a-f])", name[at:]):
            text, at = text + r"\x5c", at + 1
            continue
        for length in (1, 2, 3, 4):
            try:
                letter = name[at : at + length].decode()
            except UnicodeDecodeError:
                continue
            text, at = text + letter, at + length
            break
        else:
            text, at = text + f"\\x{name[at]:02x}", at + 1
    return text


def test_every_name_of_a_few_difficult_parts_has_a_text_of_its_own_that_gives_the_name_back() -> None:
    names = {b"".join(parts) for n in range(1, 5) for parts in itertools.product(PARTS, repeat=n)}

    texts = {text_of(name): name for name in names}

    assert len(texts) == len(names)
    assert all(bytes_of(text) == name and text == spelt(name) for text, name in texts.items())


def test_names_of_random_bytes_come_back() -> None:
    source = random.Random(7)
    for _ in range(2_000):
        name = bytes(source.choices(b"\\x5c89aefg/\xc3\xa9\xe9\xf0\x9f\x00\n", k=source.randrange(24)))
        assert bytes_of(text_of(name)) == name
        assert text_of(name) == spelt(name)


@pytest.mark.parametrize(
    "name", ["café.wav", "日本.flac", r"a\b.wav", r"\x41.wav", r"\xE9.wav", "new\nline.wav", "\U0001f399"]
)
def test_an_ordinary_name_is_its_own_text(name: str) -> None:
    assert text_of(name.encode()) == name


@pytest.mark.parametrize(
    "given",
    [
        os.fsdecode(b"/data/caf\xe9.wav"),  # as a shell gives it
        r"/data/caf\xe9.wav",  # as a table has it
        r"file:///data/./caf\xe9.wav",
        r"/data/\x63af\xe9.wav".replace(r"\x63", "c"),
    ],
)
def test_the_bytes_and_the_text_of_a_name_are_the_same_uri(given: str) -> None:
    assert storage.normal(given) == r"/data/caf\xe9.wav"
    assert storage.normal(storage.normal(given)) == storage.normal(given)


def test_an_escape_that_no_name_needs_is_no_second_spelling_of_a_file() -> None:
    assert storage.normal(r"/data/caf\xc3\xa9.wav") == "/data/café.wav"
    assert storage.normal("s3://bucket/caf\\xe9.wav") == "s3://bucket/caf\\xe9.wav"
