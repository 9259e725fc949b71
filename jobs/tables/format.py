"""The format version of stored tables: plans, markers and compacted objects carry it, and others are refused."""

from __future__ import annotations

from typing import Any

from detector.errors import SchemaError

FORMAT = 2
"""Format 1 has no version in its files; its row digests were made of decimal text. Format 2 makes them of bytes."""

NEW_OUTPUT = "Write into a new --output"
NEW_COPY = "Make a new copy by `compact`"


def check_format(content: dict[str, Any], name: str, remedy: str) -> None:
    """Refuse stored content of another format version than this release reads and writes.

    Parameters
    ----------
    content : dict
        A plan, a marker or a manifest, as JSON holds it.
    name : str
        Name of the object, for the message.
    remedy : str
        What to do instead of using the release that wrote it: a clause without a full stop.

    Raises
    ------
    SchemaError
        If the versions differ.

    Examples
    --------
    >>> check_format({"format": FORMAT}, "a.json", NEW_OUTPUT)
    """
    found = content.get("format", 1)
    if found != FORMAT:
        raise SchemaError(
            f"{name}: has format {found}; this release reads and writes format {FORMAT}. {remedy}, or use the release "
            f"that wrote it."
        )
