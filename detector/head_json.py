"""The JSON of a head: values as they are written and read, with nothing converted on the way."""

from __future__ import annotations

import json
from typing import Any

from detector.errors import ConfigError
from detector.schema import BONAFIDE, SPOOF

VERSION = 2
CLASSES = [SPOOF, BONAFIDE]  # from the lowest to the highest score
RULE = ("contains_rule", "contains_numbers")
OPTIONAL = frozenset({*RULE, "attribution"})
"""Keys of a head that has what they are about; files of others are as they were before there was any."""


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


def read_fields(text: str | bytes, where: str, names: set[str]) -> tuple[dict[str, Any], Any, Any]:
    """Parse a head's file; return its fields, all of ``names`` but the optional ones, its id and its signature.

    Raises
    ------
    ConfigError
        If it is no JSON of a head, or has other keys.
    """
    try:
        content = json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_refuse_repeated)
    except (ValueError, RecursionError) as error:  # a UnicodeDecodeError is a ValueError
        raise ConfigError(f"{where}: not a head: {error}. Expected the JSON that `fit` writes.") from error
    if not isinstance(content, dict) or content.get("version") != VERSION:
        raise ConfigError(f"{where}: not a head of version {VERSION}. Fit it again with this bonafide.")
    stated_id, signed = content.pop("head_id", None), content.pop("signature", None)
    classes = content.pop("classes", None)
    if classes != CLASSES:
        raise ConfigError(f"{where}: classes {str(classes)[:40]}; expected {CLASSES}: the score rises to bonafide.")
    del content["version"]
    given = {name for name in OPTIONAL & set(content) if content[name]}
    odd = (set(content) - given) ^ (names - OPTIONAL)
    odd |= set(RULE) - given if given & set(RULE) else set()
    if odd:
        raise ConfigError(f"{where}: unknown or missing key(s): {', '.join(sorted(odd))}.")
    return content, stated_id, signed


def refuse_code(loaders: set[str], where: str) -> None:
    """Refuse a head whose recipe names code that the user did not name."""
    if loaders:
        first = min(loaders)
        raise ConfigError(
            f"{where}: its recipe names code to import, the loader {first}; a head is data, so code is imported only "
            f"if you name it, too. If you trust this loader, add --backbone {first} (in Python: backbone=)."
        )


def _refuse_repeated(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Build a JSON object, and refuse a repeated key: readers disagree on which of its values counts."""
    content = dict(pairs)
    if len(content) != len(pairs):
        raise ValueError(f"a key is repeated among {', '.join(sorted(name for name, _ in pairs))[:200]}")
    return content


def _refuse_constant(word: str) -> None:
    """Refuse NaN and infinity, which are not JSON."""
    raise ValueError(f"{word} is not a number that a head can have")
