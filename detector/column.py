"""Column: the declaration of one column of a table: its type, its unit, who fills it, and its text for the docs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import pyarrow as pa


class FilledBy(StrEnum):
    """The part of the system that computes the value of a column."""

    INPUT = "input"
    """The archive or list that names the recording."""
    DECODER = "decoder"
    """The decoder, once it has read the recording to its end."""
    ENCODER = "encoder"
    HEAD = "head"
    RUN = "run"
    FAILURE = "failure"
    """The stage that failed."""
    LABELS = "labels"
    """The corpus, or the person who labelled the recording."""


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Parameters
    ----------
    name : str
    type : pyarrow.DataType
    filled_by : FilledBy
    text : str
        Meaning, in Markdown, for `docs/data-contract.md`.
    unit : str
        Empty for text, counts and flags.
    nullable : bool
        Columns that were added later are nullable: rows of earlier versions lack them.
    is_optional : bool
        True if a decoder may state no value. Other columns that a decoder fills are null in old rows only.
    bounds : tuple of two floats
        Smallest and largest value that a decoder may state, for numbers.

    Examples
    --------
    >>> share = Column("quiet_share", pa.float64(), FilledBy.DECODER, "share of quiet frames", bounds=(0.0, 1.0))
    >>> share.accepts(0.5), share.accepts(1.5), share.accepts("0.5")
    (True, False, False)
    """

    name: str
    type: pa.DataType
    filled_by: FilledBy
    text: str
    unit: str = ""
    nullable: bool = False
    is_optional: bool = False
    bounds: tuple[float, float] = (-math.inf, math.inf)

    @property
    def field(self) -> pa.Field:
        """The column in a pyarrow schema. It has no metadata: that would be written into every Parquet file."""
        return pa.field(self.name, self.type, self.nullable)

    def accepts(self, value: Any) -> bool:
        """Return True if a value from an untrusted process has this column's type and lies within its bounds."""
        if value is None:
            return self.is_optional
        if pa.types.is_boolean(self.type):
            return type(value) is bool
        if pa.types.is_string(self.type):
            return type(value) is str
        low, high = self.bounds
        if pa.types.is_floating(self.type):
            return type(value) is float and math.isfinite(value) and low <= value <= high
        # type(), because a bool is an int; JSON has integers of any length
        return type(value) is int and value.bit_length() < self.type.bit_width and low <= value <= high


Columns = tuple[Column, ...]
