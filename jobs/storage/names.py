r"""Names: the names of local files, which are bytes, as text that tables can hold, and back.

A name that is UTF-8, as almost all are, is its own text. A byte that is not is written as an escape; so is a backslash
where what follows it would make it read as an escape. So each name has one text, and each text is of one name:

```
bytes of the name                       text
c3 a9 2e 77 61 76                       é.wav
e9 2e 77 61 76                          \xe9.wav
5c 78 65 39 2e 77 61 76                 \x5cxe9.wav      this name has a backslash, and is plain ASCII
5c 61 2e 77 61 76                       \a.wav
```
"""

from __future__ import annotations

import os
import re

ESCAPE = re.compile(rb"\\x(5c|[89a-f][0-9a-f])")


def text_of(name: bytes) -> str:
    r"""Return the text of a name.

    Examples
    --------
    >>> print(text_of(b"caf\xe9.wav"), text_of(rb"caf\xe9.wav"), text_of(rb"a\b.wav"))
    caf\xe9.wav caf\x5cxe9.wav a\b.wav
    """
    return ESCAPE.sub(rb"\\x5cx\1", name).decode(errors="backslashreplace")


def bytes_of(text: str) -> bytes:
    r"""Return the name of which a text is.

    Examples
    --------
    >>> bytes_of(r"caf\xe9.wav"), bytes_of("café.wav")
    (b'caf\xe9.wav', b'caf\xc3\xa9.wav')
    """
    return ESCAPE.sub(lambda escape: bytes.fromhex(escape[1].decode()), text.encode())


def uri_of(path: str) -> str:
    """Return the URI of a path as the system's functions give it, where a byte that is not UTF-8 is a lone surrogate.

    Examples
    --------
    >>> print(uri_of(os.fsdecode(b"/data/caf\\xe9.wav")))
    /data/caf\\xe9.wav
    """
    if path.isascii() and "\\" not in path:
        return path
    return text_of(os.fsencode(path))


def path_of(uri: str) -> str:
    """Return the path of a local URI, as the system's functions take it; a path that has surrogates already is one.

    Examples
    --------
    >>> path_of(r"/data/caf\\xe9.wav") == os.fsdecode(b"/data/caf\\xe9.wav")
    True
    """
    return os.fsdecode(bytes_of(uri)) if is_text(uri) else uri


def is_text(name: str) -> bool:
    """Return True unless a name holds lone surrogates, as the system's functions give them for bytes."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
