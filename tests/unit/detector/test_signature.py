"""A signed head is refused if any byte changes, or if another key signed it."""

from __future__ import annotations

import json

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from detector.errors import ConfigError
from detector.head import Head
from detector.signature import check, key_pair, sign
from tests.support.made_heads import PLAIN, random_head

PRIVATE, PUBLIC = key_pair()


def test_a_signed_head_comes_back_and_is_the_same_head() -> None:
    head = random_head(0, 16)
    text = head.to_json(PRIVATE)

    assert Head.from_json(text, "h.json", PUBLIC) == head
    assert Head.from_json(text.encode(), "h.json") == head
    assert head.to_json(PRIVATE) == text  # Ed25519 is deterministic


def test_a_byte_changed_anywhere_is_noticed() -> None:
    content = PLAIN.to_json(PRIVATE).encode()

    for place in range(len(content)):
        for change in (1, 0x20):  # another digit or letter; the same letter, small or capital
            changed = content[:place] + bytes([content[place] ^ change]) + content[place + 1 :]
            with pytest.raises(ConfigError):
                Head.from_json(changed, "h.json", PUBLIC)


@pytest.mark.parametrize("extra", [b" ", b"\n", b"x"])
def test_a_byte_more_or_less_is_noticed(extra: bytes) -> None:
    content = PLAIN.to_json(PRIVATE).encode()

    for changed in (content + extra, extra + content, content[:-1], content.replace(b'": ', b'":  ', 1)):
        with pytest.raises(ConfigError):
            Head.from_json(changed, "h.json", PUBLIC)


def test_a_head_without_a_signature_is_refused_where_one_is_required() -> None:
    assert Head.from_json(PLAIN.to_json(), "h.json") == PLAIN
    with pytest.raises(ConfigError, match=r"h.json: not signed, and a signature is required"):
        Head.from_json(PLAIN.to_json(), "h.json", PUBLIC)


def test_a_signature_by_another_key_is_refused() -> None:
    text = PLAIN.to_json(key_pair()[0])

    with pytest.raises(ConfigError, match="signed with another key"):
        Head.from_json(text, "h.json", PUBLIC)


def test_a_signature_of_another_head_is_refused_without_a_key_too() -> None:
    other = json.loads(random_head(0, 2).to_json(PRIVATE))
    text = json.dumps(json.loads(PLAIN.to_json()) | {"signature": other["signature"]})

    with pytest.raises(ConfigError, match="does not match its content"):
        Head.from_json(text, "h.json")


@pytest.mark.parametrize(
    "signed", [{}, [], "00", {"ed25519": "zz", "public_key": "00"}, {"ed25519": 1, "public_key": 2}]
)
def test_a_malformed_signature_is_refused(signed: object) -> None:
    with pytest.raises(ConfigError, match="signature is malformed"):
        check(b"text", signed, PUBLIC, "h.json")


def test_keys_of_other_types_are_refused() -> None:
    other = ec.generate_private_key(ec.SECP256R1())
    private = other.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = other.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )

    for key in (private, b"not a key", PUBLIC):
        with pytest.raises(ConfigError):
            sign(b"text", key)
    for key in (public, b"not a key", PRIVATE):
        with pytest.raises(ConfigError):
            check(b"text", sign(b"text", PRIVATE), key, "h.json")
