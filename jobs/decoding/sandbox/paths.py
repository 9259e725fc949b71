"""Paths that a decoder may read where no filter of system calls keeps it from opening any: libraries, and nothing else.

The working folder and the home of the user are never among them, even if this program was started there.
"""

from __future__ import annotations

import sys
import sysconfig
from collections.abc import Iterator

SYSTEM = ("/usr/lib", "/usr/lib64", "/usr/local/lib", "/lib", "/lib64", "/etc/ld.so.cache", "/dev/null", "/dev/urandom")


def readable() -> set[str]:
    """Return the folders of the interpreter and of the system's libraries, and each package that is loaded.

    Examples
    --------
    >>> "/etc/passwd" in readable()
    False
    """
    interpreter = (sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib"))
    return {*SYSTEM, *interpreter, f"{sys.base_prefix}/lib", *_loaded()}


def _loaded() -> Iterator[str]:
    """Yield the place of each package and module that this process has imported, without the folder around it."""
    for name, module in list(sys.modules.items()):
        if "." not in name and name != "__main__":
            yield from getattr(module, "__path__", None) or filter(None, [getattr(module, "__file__", None)])
