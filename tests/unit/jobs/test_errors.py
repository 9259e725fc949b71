"""An error keeps its class and its message on the way from a worker to the exit code."""

from __future__ import annotations

import pickle

import pytest

from jobs.cli import EXIT_CODES
from jobs.errors import WORKER_ERRORS, DefectError, RunAgain, StorageError, from_text, to_text

MESSAGES = ["s3://bucket/a: not found: look again", "two\nlines", ": ", ""]


@pytest.mark.parametrize("message", MESSAGES)
@pytest.mark.parametrize("kind", WORKER_ERRORS.values())
def test_an_error_is_sent_as_text(kind: type[Exception], message: str) -> None:
    error = from_text(to_text(kind(message)))

    assert type(error) is kind
    assert str(error) == message


@pytest.mark.parametrize("kind", WORKER_ERRORS.values())
def test_an_error_survives_pickling(kind: type[Exception]) -> None:
    error = pickle.loads(pickle.dumps(kind("where: what: remedy")))

    assert type(error) is kind
    assert str(error) == "where: what: remedy"


def test_every_error_of_a_worker_has_the_exit_code_of_the_contract() -> None:
    codes = {
        name: next((code for kind, code in EXIT_CODES.items() if issubclass(error, kind)), 70)
        for name, error in WORKER_ERRORS.items()
    }

    assert codes == {
        "ConfigError": 65,
        "SchemaError": 65,
        "CorruptError": 69,
        "StorageError": 69,
        "SourceChangedError": 75,
        "RunAgain": 75,
        "DefectError": 70,
    }


def test_an_unexpected_error_is_sent_as_a_defect_with_its_traceback() -> None:
    try:
        {}["key"]
    except KeyError as error:
        found = from_text(to_text(error))

    assert type(found) is DefectError
    assert "in test_an_unexpected_error" in str(found)
    assert str(found).strip().splitlines()[-1] == "KeyError: 'key'"


def test_a_store_error_is_an_oserror_and_a_stop_is_not() -> None:
    assert issubclass(StorageError, OSError)
    assert not issubclass(RunAgain, OSError)
