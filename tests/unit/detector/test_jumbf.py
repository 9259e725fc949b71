"""The program that wrote a manifest is read from the active manifest's claim; hostile bytes cost no time."""

from __future__ import annotations

import io
import struct
import time

import cbor2
import pytest

from detector.jumbf import BOXES, CLAIM_BYTES, GENERATOR_LENGTH, STORE_BYTES, Section, claim_generator
from tests.support.provenance.store import NAMED, box, generated_by, manifest, store, superbox

NAME = {"name": "Voice Maker", "version": "3.1"}


def read(content: bytes) -> str | None:
    return claim_generator(Section(io.BytesIO(content), 0, len(content)))


def test_the_last_manifest_of_the_store_is_the_active_one() -> None:
    earlier = manifest({"claim_generator_info": {"name": "Recorder"}})

    assert read(store(earlier, manifest({"claim_generator_info": NAME}))) == "Voice Maker/3.1"
    assert read(store(earlier, manifest({"claim_generator_info": NAME}, kind=b"c2um"))) == "Voice Maker/3.1"
    assert read(store(earlier, superbox(b"c2xx", b"unknown"))) == "Recorder"


def test_a_compressed_active_manifest_is_not_passed_over_for_an_earlier_one() -> None:
    compressed = superbox(b"c2cm", b"urn:c2pa:2", box(b"brob", b"\x0b\x02\x80"))

    assert read(store(manifest({"claim_generator_info": NAME}), compressed)) is None


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"claim_generator_info": NAME, "claim_generator": "text"}, "Voice Maker/3.1"),
        ({"claim_generator_info": [NAME, {"name": "library"}]}, "Voice Maker/3.1"),  # version 1
        ({"claim_generator_info": {"name": "Voice Maker"}}, "Voice Maker"),
        ({"claim_generator_info": {"version": "3.1"}, "claim_generator": "voice_maker/3 c2pa"}, "voice_maker/3 c2pa"),
        ({"claim_generator_info": {"name": 7, "version": "3.1"}}, None),
        ({"claim_generator_info": {"name": "Voice Maker", "version": 3.1}}, "Voice Maker"),
        ({"claim_generator_info": []}, None),
        ({"claim_generator": b"bytes"}, None),
        ({}, None),
        ([NAME], None),
        ("claim_generator", None),
    ],
)
def test_the_generator_is_name_and_version_else_the_text_of_version_1(fields: object, expected: str | None) -> None:
    assert read(store(manifest(fields, label=b"c2pa.claim"))) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a\nb\tc\0d\x1b[31me", "a b c d [31me"),  # a terminal's escape
        ("  a   b  ", "a b"),
        ("a\u202eb\u200b\u2028c\ufeff", "a b c"),  # reversed reading order, no width, line separator
        ("Stimme für Übung 声", "Stimme für Übung 声"),
        ("<b>&amp;", "<b>&amp;"),  # a page escapes it
        ("\n\0\u200b", None),
        ("", None),
        ("x" * 60_000, "x" * GENERATOR_LENGTH),
    ],
)
def test_a_name_is_one_printable_line(name: str, expected: str | None) -> None:
    assert read(generated_by({"name": name})) == expected


def test_name_and_version_together_have_200_characters_at_most() -> None:
    assert read(generated_by({"name": "n" * 199, "version": "v" * 50})) == "n" * 199 + "/"


def test_text_that_is_not_utf_8_is_no_name() -> None:
    lone_surrogate = b"\xa1\x6fclaim_generator\x63\xed\xa0\x80"

    assert cbor2.loads(lone_surrogate.replace(b"\xed\xa0\x80", b"abc")) == {"claim_generator": "abc"}
    assert read(store(manifest(lone_surrogate))) is None


def test_a_store_that_ends_anywhere_has_no_generator() -> None:
    assert read(NAMED) == "Voice Maker/3.1"
    assert {read(NAMED[:size]) for size in range(len(NAMED))} == {None}


def test_a_cut_behind_an_earlier_manifest_does_not_make_that_one_active() -> None:
    whole = store(manifest({"claim_generator_info": {"name": "Recorder"}}), manifest({"claim_generator_info": NAME}))

    assert {read(whole[:size]) for size in range(len(whole))} == {None}


@pytest.mark.parametrize("size", [2, 7, 0x7FFF_FFFF, 0xFFFF_FFFF])
@pytest.mark.parametrize("name", [b"jumb", b"jumd", b"cbor"])
def test_a_box_of_a_false_size_has_no_generator(name: bytes, size: int) -> None:
    at = NAMED.index(name) - 4

    assert read(NAMED[:at] + struct.pack(">I", size) + NAMED[at + 4 :]) is None


def test_boxes_up_to_the_end_and_of_64_bits_are_read() -> None:
    up_to_the_end = bytes(4) + NAMED[4:]
    of_64_bits = struct.pack(">I4sQ", 1, b"jumb", len(NAMED) + 8) + NAMED[8:]

    assert read(up_to_the_end) == read(of_64_bits) == "Voice Maker/3.1"
    for size in (0, 8, 15, len(NAMED) + 9, 1 << 63, (1 << 64) - 1):
        assert read(of_64_bits[:8] + struct.pack(">Q", size) + NAMED[8:]) is None


def test_boxes_nested_ten_thousand_deep_cost_nothing() -> None:
    nested = b""
    for _ in range(10_000):
        nested = superbox(b"c2pa", b"c2pa", nested)
    begun = time.process_time()

    assert read(nested) is None
    assert read(store(nested, manifest({"claim_generator_info": NAME}))) == "Voice Maker/3.1"
    assert time.process_time() - begun < 0.1


def test_limits_of_boxes_claim_and_store_are_exact() -> None:
    active = manifest({"claim_generator_info": NAME})
    n_plain = len(cbor2.dumps({"claim_generator_info": NAME, "pad": bytes(CLAIM_BYTES // 2)})) - CLAIM_BYTES // 2

    def padded(n_bytes: int) -> bytes:
        return store(manifest({"claim_generator_info": NAME, "pad": bytes(n_bytes - n_plain)}))

    assert read(store(*[box(b"free")] * (BOXES - 1), active)) == "Voice Maker/3.1"
    assert read(store(*[box(b"free")] * BOXES, active)) is None
    assert read(padded(CLAIM_BYTES)) == "Voice Maker/3.1"
    assert read(padded(CLAIM_BYTES + 1)) is None
    n_store = len(store(box(b"free"), active)) - 8
    assert read(store(box(b"free", bytes(STORE_BYTES - n_store)), active)) == "Voice Maker/3.1"
    assert read(store(box(b"free", bytes(STORE_BYTES - n_store + 1)), active)) is None


def big_numbers_that_collide(n: int) -> bytes:
    """A map whose keys are multiples of the modulus of Python's hash of numbers."""
    numbers = ((2**61 - 1) * (number + 100) for number in range(n))
    return b"\xb9" + struct.pack(">H", n) + b"".join(cbor2.dumps(number) + b"\0" for number in numbers)


@pytest.mark.parametrize(
    "value",
    [
        b"\x81" * 10_000,
        b"\xa1" * 10_000,
        b"\xd9\x27\x0f" * 10_000,
        b"\x9f" * 10_000,
        b"\x9b" + b"\xff" * 8,
        b"\xbb" + b"\xff" * 8,
        b"\x7b" + b"\x7f" * 8,
        b"\x5a" + b"\xff" * 4,
        bytes.fromhex("c4821b7fffffffffffffff01"),  # decimal fraction of a huge exponent
        bytes.fromhex("c5821b7fffffffffffffff01"),
        b"\xc4\x82\0\xc2\x59\xea\x60" + b"\xff" * 60_000,  # decimal of 144,000 digits: 0.3 s if it is made
        b"\xd8\x23\x79\xea\x60" + b"(a{1000}){1000}" * 4_000,  # regular expression
        bytes.fromhex("d81c81d81d00"),  # a list in itself
        big_numbers_that_collide(4_000),
        b"\xff",
        b"",
    ],
    ids=lambda value: value[:8].hex(),
)
def test_cbor_that_is_a_bomb_is_read_or_refused_at_once(value: bytes) -> None:
    claim = b"\xa2\x6fclaim_generator\x64text\x61x" + value
    begun = time.process_time()

    assert read(store(manifest(claim))) in ("text", None)
    assert read(store(manifest(value))) is None
    assert time.process_time() - begun < 0.1
