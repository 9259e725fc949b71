"""Heads: read from where they are stored, and refused for embeddings that they were not fitted on."""

from __future__ import annotations

import logging

from detector import starter
from detector.config import STARTER
from detector.errors import ConfigError
from detector.head import Head
from jobs import storage
from jobs.tables import ledger
from jobs.tables.ledger import Ledger

log = logging.getLogger(__name__)


def read_head(uri: str, public_key: str | None = None) -> Head:
    """Read a head; with the URI of a public key, refuse a head that this key did not sign."""
    if uri == STARTER and public_key is None:
        log.warning("%s", starter.NOTICE)
        return Head.starter()
    uri = storage.normal(str(starter.HEAD) if uri == STARTER else uri)
    key = None if public_key is None else storage.read_bytes(storage.normal(public_key))
    return Head.from_json(storage.read_bytes(uri), uri, key)


def check_fingerprint(head: Head, fingerprint: str, where: str) -> None:
    """Refuse a head of another encoder before any row is written.

    Raises
    ------
    ConfigError
        If the head is not for embeddings of ``fingerprint``.
    """
    if fingerprint not in head.fingerprints.values():
        raise ConfigError(
            f"{where}: the head is for embeddings of fingerprint {head.fingerprint} ({head.model}, {head.recipe}), "
            f"but these have {fingerprint}. Use the head that was fitted on this encoder's embeddings, the same "
            f"--model and library versions, or fit again."
        )


def embeddings_of(output: str, head: Head, channels: str | None = None) -> Ledger:
    """Return the table of an output that has the embeddings that the head is for: of ``channels``, if given.

    Raises
    ------
    ConfigError
        If there is no such table, or only tables of another recipe.
    """
    uri = storage.normal(output)
    present = ledger.keys(uri, "embeddings")
    if not present:
        raise ConfigError(f"{uri}: no embeddings here. Give the --output of an `embed` run.")
    fingerprint = head.fingerprints[channels] if channels else head.fingerprint
    others = {name: each for name, each in head.fingerprints.items() if each in present}
    if fingerprint not in present and others:
        raise ConfigError(f"{uri}: its embeddings are of other channels; ask for them by --channels {min(others)}.")
    if fingerprint not in present:
        check_fingerprint(head, ", ".join(present), output)
    return Ledger(uri, "embeddings", fingerprint)
