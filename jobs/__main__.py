"""`python -m jobs VERB`, and the command `bonafide`: what can run before any package is there."""

from __future__ import annotations

import os
import sys
from typing import NoReturn

from jobs.errors import is_ours, lacks_package


def start() -> NoReturn:
    """Run the command. On a Python that lacks a package, end with 65 and a line that names it, not with a traceback."""
    try:
        from jobs.cli import entry

        entry()
    except ModuleNotFoundError as error:
        if is_ours(error):
            raise
        print(f"error {os.EX_DATAERR}: {lacks_package(error)}", file=sys.stderr)  # noqa: T201 - not stdout
        sys.exit(os.EX_DATAERR)


if __name__ == "__main__":
    start()
