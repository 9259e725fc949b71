"""Errors survive pickling between workers."""

from __future__ import annotations

import pickle

import pytest

from detector.errors import ConfigError, SchemaError, ShardError, UtteranceError


@pytest.mark.parametrize("kind", [ConfigError, SchemaError, ShardError])
def test_an_error_text_survives_pickling(kind: type[Exception]) -> None:
    error = pickle.loads(pickle.dumps(kind("s3://corpus/a.tar: it ends early.")))

    assert type(error) is kind
    assert str(error) == "s3://corpus/a.tar: it ends early."


def test_an_utterance_error_survives_pickling_with_its_code() -> None:
    error = pickle.loads(pickle.dumps(UtteranceError("empty", "0 bytes")))

    assert (error.error, error.message, str(error)) == ("empty", "0 bytes", "empty: 0 bytes")
