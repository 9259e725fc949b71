"""Spellings: what a text says once the escapes of the formats that it may be in are taken away.

A file that another program wrote may hold an id in the quotes of a CSV, in a JSON that stands in another JSON, in a URI
of an HTML page. Every escape is undone alone, and after every other one.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Callable, Iterator
from urllib.parse import unquote, unquote_plus

ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|x([0-9a-fA-F]{2})|([0-3][0-7]{2})|([\s\S]))")
CONTROL = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f"}
KEY = r"(?:- )?[<\"']?\w+[>\"']?\s*[:=|](?!//)|<\w+>"
BETWEEN_FIELDS = re.compile(rf",?\s*\n\s*(?={KEY})")
COLOURS = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
BYTES = re.compile(r"[\x80-\xff]+")
PRINTABLE = re.compile(r"=(?:([0-9A-F]{2})|\r?\n)")

MAX_ESCAPES = 2
"""Escapes that are undone one after another; text of many kinds of escapes has some hundred readings then."""


def _unescaped(text: str) -> str:
    """Undo the escapes of JSON, of programming languages and of shells."""

    def character(found: re.Match[str]) -> str:
        if number := found[1] or found[2]:
            return chr(int(number, 16))
        return chr(int(found[3], 8)) if found[3] else CONTROL.get(found[4], found[4])

    unescaped = ESCAPE.sub(character, text)
    return unescaped.encode("utf-16", "surrogatepass").decode("utf-16", "replace")  # pairs of surrogates


ESCAPES: dict[str, Callable[[str], str]] = {
    "JSON": _unescaped,
    "HTML": html.unescape,
    "URI": unquote,
    "form": unquote_plus,
    "CSV": lambda text: text.replace('""', '"'),
    "SQL": lambda text: text.replace("''", "'"),
    "Windows": lambda text: text.replace("\\", "/"),
    "decomposed": lambda text: unicodedata.normalize("NFC", text),
    "fields below one another": lambda text: BETWEEN_FIELDS.sub(", ", text),
    "terminal": lambda text: COLOURS.sub("", text),
    "bytes": lambda text: BYTES.sub(lambda found: found[0].encode("latin-1").decode(errors="replace"), text),
    "quoted-printable": lambda text: PRINTABLE.sub(lambda found: chr(int(found[1], 16)) if found[1] else "", text),
}


def readings(text: str) -> Iterator[str]:
    """Yield a text as it is, and as every format reads it that gives another text.

    Examples
    --------
    >>> sorted(readings(r"a\\/b"))
    ['a//b', 'a/b', 'a\\\\/b']
    """
    known, latest = {text}, [text]
    yield text
    for _ in range(MAX_ESCAPES):
        found = dict.fromkeys(undo(each) for each in latest for undo in ESCAPES.values())
        latest = [each for each in found if each not in known]
        known.update(latest)
        yield from latest
