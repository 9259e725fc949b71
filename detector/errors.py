"""Errors whose class says what the job does about them.

Each is built from plain strings, so that it survives pickling between workers. The text says where,
what was found, what was expected, and the remedy.
"""


class ConfigError(ValueError):
    """A setting, model or head that does not fit: the job stops before it does any work."""


class SchemaError(ValueError):
    """A table whose columns, types or ids are not what they must be: the job stops."""


class ShardError(RuntimeError):
    """An archive that cannot be read on: what was read of it is kept, the rest is one failure row."""


class DeviceError(RuntimeError):
    """A GPU that failed: this process can compute nothing more, another one can."""


class UtteranceError(RuntimeError):
    """One recording that gives no score: it becomes one row of `failures`, and nobody else notices.

    Parameters
    ----------
    error : str
        One word of :data:`detector.schema.FAILURE_ERRORS`.
    message : str
        What was found, for a person.
    """

    def __init__(self, error: str, message: str) -> None:
        super().__init__(error, message)
        self.error = error
        self.message = message

    def __str__(self) -> str:
        return f"{self.error}: {self.message}"
