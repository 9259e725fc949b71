"""Errors whose class decides what the job does.

Each is built from plain strings, so that it survives pickling between workers. Its text states where, what was found,
what was expected, and the remedy.
"""


class ConfigError(ValueError):
    """A setting, model or head is invalid: the job stops before it does any work."""


class SchemaError(ValueError):
    """A table has wrong columns, types or ids: the job stops."""


class ShardError(RuntimeError):
    """An archive cannot be read further: the members read so far are kept, the rest becomes one failure row."""


class DeviceError(RuntimeError):
    """A GPU failed: this process cannot compute any more, but a new one can."""


class UtteranceError(RuntimeError):
    """One recording gives no score: it becomes one row of `failures`, and all others are unaffected.

    Parameters
    ----------
    error : str
        One word of :data:`detector.failures.FAILURE_ERRORS`.
    message : str
        What was found, for a person.
    seconds : float, optional
        Length that was decoded.
    seconds_claimed : float, optional
        Length that the file's headers state.
    """

    def __init__(
        self, error: str, message: str, seconds: float | None = None, seconds_claimed: float | None = None
    ) -> None:
        super().__init__(error, message, seconds, seconds_claimed)
        self.error = error
        self.message = message
        self.seconds = seconds
        self.seconds_claimed = seconds_claimed

    def __str__(self) -> str:
        return f"{self.error}: {self.message}"
