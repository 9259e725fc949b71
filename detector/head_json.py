"""The JSON of a head: values as they are written and read, with nothing converted on the way."""

from __future__ import annotations

import json
from typing import Any

from detector.errors import ConfigError


def text_of(content: dict[str, Any]) -> str:
    """Return the text of a head's file: sorted keys, and one number a line."""
    return json.dumps(content, indent=1, sort_keys=True) + "\n"


def plain(value: Any) -> Any:
    """Convert a field to JSON values; numbers become floats, so that 1 and 1.0 give the same head."""
    if isinstance(value, tuple):
        return [float(item) for item in value]
    return float(value) if isinstance(value, int) else value


def as_type(name: str, value: Any, kind: Any) -> Any:
    """Return a JSON value as ``kind``; a value of another type is refused, never converted."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if kind is float and number:
        return float(value)
    if kind is str and isinstance(value, str):
        return value
    if kind in (dict[str, Any], dict[str, Any] | None) and isinstance(value, dict):
        return value
    if kind == tuple[float, ...] and isinstance(value, list):
        return tuple(as_type(name, item, float) for item in value)
    raise ConfigError(f"{name} is {type(value).__name__} {str(value)[:40]!r}; expected {kind}.")


def refuse_repeated(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Build a JSON object, and refuse a repeated key: readers disagree on which of its values counts."""
    content = dict(pairs)
    if len(content) != len(pairs):
        raise ValueError(f"a key is repeated among {', '.join(sorted(name for name, _ in pairs))[:200]}")
    return content


def refuse_constant(word: str) -> None:
    """Refuse NaN and infinity, which are not JSON."""
    raise ValueError(f"{word} is not a number that a head can have")
