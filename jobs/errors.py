"""Errors of a run, in addition to those of content in :mod:`detector.errors`; each has an exit code in the contract."""

import sys
import traceback

from detector.errors import ConfigError, SchemaError


class UsageError(ValueError):
    """The command line or the environment is wrong: exit 2."""


class StorageError(OSError):
    """The store still failed after all retries, or refuses access: exit 69."""


class CorruptError(StorageError):
    """Bytes from the store do not match its checksum; what was made of them is discarded and computed again."""


class RunAgain(RuntimeError):  # noqa: N818 - the name says what to do
    """The run stopped early and lost nothing; the same command goes on from there: exit 75."""


class SourceChangedError(RunAgain):
    """A source is missing or has changed since it was planned: its shard is set aside, the others go on."""


class StoppedError(RunAgain):
    """Somebody asked the run to stop: it begins nothing more, unlike one that merely could not do all of its work."""


class WorkersLostError(RunAgain):
    """Workers, or the whole cluster, were lost in the middle: their work is done again, a limited number of times."""


class StalledError(RunAgain):
    """No progress for too long: the run ends instead of hanging."""


class DefectError(RuntimeError):
    """A worker met an error that is none of these: exit 70."""


KINDS = (ConfigError, SchemaError, CorruptError, StorageError, SourceChangedError, RunAgain, DefectError)
WORKER_ERRORS = {kind.__name__: kind for kind in KINDS}
"""Errors that a worker sends to the driver as text, by name; subclasses come before their parents."""


def to_text(error: Exception) -> str:
    """Write an error as text; one that is not in :data:`WORKER_ERRORS` becomes a defect, with its traceback."""
    if isinstance(error, ModuleNotFoundError) and not is_ours(error):
        error = ConfigError(lacks_package(error))
    for name, kind in WORKER_ERRORS.items():
        if isinstance(error, kind):
            return f"{name}: {error}"
    return f"{DefectError.__name__}: {''.join(traceback.format_exception(error))}"


def from_text(text: str) -> Exception:
    """Return the error that :func:`to_text` wrote.

    Examples
    --------
    >>> from_text(to_text(RunAgain("the plan is old")))
    RunAgain('the plan is old')
    """
    name, message = text.split(": ", 1)
    return WORKER_ERRORS[name](message)


def is_ours(error: ModuleNotFoundError) -> bool:
    """Return True if the module that is not found is one of bonafide's own: a defect, not a missing package."""
    return (error.name or "").partition(".")[0] in ("detector", "jobs", "cluster")


def lacks_package(error: ModuleNotFoundError) -> str:
    """Return what to say of a Python that lacks a package that bonafide needs.

    Examples
    --------
    >>> lacks_package(ModuleNotFoundError("No module named 'soxr'", name="soxr")).partition(";")[2]
    ' bonafide needs it. Install bonafide there with all of its packages, or submit with --requirements.'
    """
    package = (error.name or "").partition(".")[0]
    return (
        f"{sys.executable}: this Python has no package {package}; bonafide needs it. Install bonafide there with all "
        f"of its packages, or submit with --requirements."
    )
