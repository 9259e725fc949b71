"""Errors of running, beside those of content in :mod:`detector.errors`: each is an exit code of the contract."""

import traceback

from detector.errors import ConfigError, SchemaError


class StorageError(OSError):
    """The store gave up after its retries, or refuses us: exit 69."""


class CorruptError(StorageError):
    """Bytes came that are not those the store said it holds; what was made of them is thrown away and done again."""


class RunAgain(RuntimeError):  # noqa: N818 - it says what to do
    """The run stopped early and lost nothing; the same command goes on from there: exit 75."""


class SourceChangedError(RunAgain):
    """A source is gone, or no longer the one that was planned: its shard is set aside, the others go on."""


class WorkersLostError(RunAgain):
    """Workers, or the whole cluster, went away in the middle: what they did is done again, with a bound."""


class StalledError(RunAgain):
    """Nothing moves any more: the run ends rather than hang."""


class DefectError(RuntimeError):
    """A worker ran into an error that nobody thought of: exit 70."""


KINDS = (ConfigError, SchemaError, CorruptError, StorageError, SourceChangedError, RunAgain, DefectError)
TROUBLES = {kind.__name__: kind for kind in KINDS}
"""What a worker may run into, by name, children first: so it travels from worker to driver as text."""


def to_text(error: Exception) -> str:
    """Any error as text; one that is not among :data:`TROUBLES` is a defect, and brings its traceback along."""
    for name, kind in TROUBLES.items():
        if isinstance(error, kind):
            return f"{name}: {error}"
    return f"{DefectError.__name__}: {''.join(traceback.format_exception(error))}"


def from_text(text: str) -> Exception:
    """The error that :func:`to_text` wrote.

    Examples
    --------
    >>> from_text(to_text(RunAgain("the plan is old")))
    RunAgain('the plan is old')
    """
    name, message = text.split(": ", 1)
    return TROUBLES[name](message)
