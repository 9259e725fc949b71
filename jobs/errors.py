"""Errors of running, beside those of content in :mod:`detector.errors`: each is an exit code of the contract."""

from detector.errors import ConfigError, SchemaError


class StorageError(OSError):
    """The store gave up after its retries, or refuses us: exit 69."""


class RunAgain(RuntimeError):  # noqa: N818 - it says what to do
    """The run stopped early and lost nothing; the same command goes on from there: exit 75."""


TROUBLES = {kind.__name__: kind for kind in (ConfigError, SchemaError, StorageError, RunAgain)}
"""What a worker may run into that ends the run, by name: so it travels from worker to driver as text."""


def to_text(error: Exception) -> str:
    """An error of :data:`TROUBLES` as text."""
    name = next(name for name, kind in TROUBLES.items() if isinstance(error, kind))
    return f"{name}: {error}"


def from_text(text: str) -> Exception:
    """The error that :func:`to_text` wrote.

    Examples
    --------
    >>> from_text(to_text(RunAgain("the plan is old")))
    RunAgain('the plan is old')
    """
    name, message = text.split(": ", 1)
    return TROUBLES[name](message)
