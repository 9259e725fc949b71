"""Pandas: Arrow imports it, where it is installed, for the first array that is made of Python values.

It then knows a pandas Series when it is given one. Nothing here gives it one, and the import takes each process 0.3 s.
"""

from __future__ import annotations

import sys

import pyarrow as pa

PANDAS = "pandas"


class _Hidden:
    """A finder of modules that says of pandas that it is not installed."""

    @staticmethod
    def find_spec(name: str, _path: object = None, _target: object = None) -> None:
        if name == PANDAS:
            raise ModuleNotFoundError(name)


def keep_pandas_out() -> None:
    """Let Arrow look for pandas now, and find none; it does not look again before :func:`let_pandas_in`.

    Do nothing if pandas is imported already: then it costs nothing, and somebody may use it.
    """
    if PANDAS in sys.modules:
        return
    sys.meta_path.insert(0, _Hidden)
    try:
        pa.array([0])
    finally:
        sys.meta_path.remove(_Hidden)


def let_pandas_in() -> None:
    """Make Arrow and pandas know each other, as Ray Data expects."""
    pa.array([0]).to_pandas()
