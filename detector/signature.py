"""Signature: an Ed25519 signature over every byte of a head's text."""

from __future__ import annotations

from typing import Any

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from detector.errors import ConfigError


def key_pair() -> tuple[bytes, bytes]:
    """Generate a private and a public key, as PEM: the private one signs heads, the public one verifies them."""
    private = Ed25519PrivateKey.generate()
    return (
        private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ),
        private.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo),
    )


def sign(text: bytes, private_key: bytes) -> dict[str, str]:
    """Sign a text.

    Returns
    -------
    dict
        `ed25519` and `public_key` in hexadecimal digits; the same text and key give the same signature.

    Raises
    ------
    ConfigError
        If the key is not an Ed25519 private key.

    References
    ----------
    RFC 8032, Edwards-Curve Digital Signature Algorithm.

    Examples
    --------
    >>> private, public = key_pair()
    >>> check(b"text", sign(b"text", private), public, "head.json")
    """
    try:
        key = serialization.load_pem_private_key(private_key, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigError(
            f"not a private key in PEM format without a password: {error}. `keygen` makes one."
        ) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigError(f"a key of type {type(key).__name__}; expected Ed25519. `keygen` makes one.")
    return {"ed25519": key.sign(text).hex(), "public_key": key.public_key().public_bytes_raw().hex()}


def check(text: bytes, signed: Any, public_key: bytes | None, where: str) -> None:
    """Refuse a text whose signature is missing, wrong, or by another key than ``public_key``.

    Parameters
    ----------
    text : bytes
    signed : dict
        As :func:`sign` returns it; anything else is refused.
    public_key : bytes, optional
        Key that must have signed the text, as PEM; without it, the key in ``signed`` is used.
    where : str
        Name of the file, for error messages.

    Raises
    ------
    ConfigError
    """
    if signed is None:
        raise ConfigError(f"{where}: not signed, and a signature is required. Fit it with --sign-key.")
    if not (isinstance(signed, dict) and set(signed) == {"ed25519", "public_key"}):
        raise ConfigError(f"{where}: its signature is malformed; expected ed25519 and public_key.")
    try:
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(signed["public_key"]))
        value = bytes.fromhex(signed["ed25519"])
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{where}: its signature is malformed: {error}.") from error
    if signed != {"ed25519": value.hex(), "public_key": key.public_bytes_raw().hex()}:
        raise ConfigError(
            f"{where}: its signature is not spelt as `fit` writes it: it was changed. Fit the head again."
        )
    if public_key is not None and _public(public_key).public_bytes_raw() != key.public_bytes_raw():
        raise ConfigError(f"{where}: signed with another key ({signed['public_key'][:16]}…) than the one required.")
    try:
        key.verify(value, text)
    except InvalidSignature as error:
        raise ConfigError(
            f"{where}: its signature does not match its content: it was changed. Fit the head again."
        ) from error


def _public(pem: bytes) -> Ed25519PublicKey:
    try:
        key = serialization.load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ConfigError(f"not a public key in PEM format: {error}. `keygen` makes one.") from error
    if not isinstance(key, Ed25519PublicKey):
        raise ConfigError(f"a public key of type {type(key).__name__}; expected Ed25519. `keygen` makes one.")
    return key
