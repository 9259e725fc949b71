"""Content errors: whatever reading one object raises is that object's fault, unless it is the store's.

Who uploads an object chooses its bytes, and a library that meets bytes that nobody foresaw may raise anything.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator

from detector.errors import ConfigError, ShardError, UtteranceError
from jobs.errors import RunAgain, StorageError

OF_STORE = (StorageError, RunAgain, ConfigError, ImportError)  # or of the installation
OF_CONTENT = (ShardError, UtteranceError)
USUAL = (ValueError, OSError, EOFError)  # their text says enough

log = logging.getLogger(__name__)


@contextlib.contextmanager
def content_errors(fault: Callable[[str], Exception], what: str) -> Iterator[None]:
    """Raise what bad content causes in the block as an error of one object; errors of the store stay as they are.

    Parameters
    ----------
    fault : callable
        Makes the error of a text.
    what : str
        What the text begins with.

    Examples
    --------
    >>> with content_errors(ShardError, "cannot be read"):
    ...     {}["a member"]
    Traceback (most recent call last):
    detector.errors.ShardError: cannot be read: KeyError: 'a member'
    """
    try:
        yield
    except (*OF_STORE, *OF_CONTENT):
        raise
    except USUAL as error:
        raise fault(f"{what}: {error}") from error
    except Exception as error:
        log.debug("%s", what, exc_info=True)
        raise fault(f"{what}: {type(error).__name__}: {error}") from error
