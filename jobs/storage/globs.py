"""Globs: patterns over local paths, matched name by name while a folder is walked.

```
/data/*/2026/**/*.wav      walked from /data; of it only what may still match
```
"""

from __future__ import annotations

import fnmatch

from detector.errors import ConfigError

LETTERS = "*?["  # that make a name of a path a pattern
ANY_DEPTH = "**"


class Glob:
    """A pattern. It matches a file by the file's own path, or by that of a folder in which the file lies.

    Attributes
    ----------
    root : str
        The folder that the pattern begins with, in which everything that it matches lies.

    Raises
    ------
    ConfigError
        If `**` is only a part of a name.

    Examples
    --------
    >>> glob = Glob("/data/*/b")
    >>> glob.root, glob.matches("/data/a/b/c.wav"), glob.matches("/data/b/c.wav"), glob.may_lead("/data/a")
    ('/data', True, False, True)
    >>> Glob("/data/*").matches("/other/c.wav"), glob.may_lead("/other")
    (False, False)
    """

    def __init__(self, pattern: str) -> None:
        names = pattern.split("/")
        n_plain = next((n for n, name in enumerate(names) if any(each in name for each in LETTERS)), len(names))
        self.root = "/".join(names[:n_plain]) or "/"
        self._patterns = names[n_plain:]
        if any(ANY_DEPTH in name and name != ANY_DEPTH for name in self._patterns):
            raise ConfigError(f"{pattern}: {ANY_DEPTH} stands for whole names; expected it between slashes.")

    def matches(self, path: str) -> bool:
        """Return True if the pattern matches a path below the root, or a folder in it."""
        names = self._names(path)
        return names is not None and _match(names, self._patterns)

    def may_lead(self, folder: str) -> bool:
        """Return True if a folder below the root matches, or may hold what does."""
        names = self._names(folder)
        if names is None:
            return False
        for name, pattern in zip(names, self._patterns, strict=False):
            if pattern == ANY_DEPTH:
                return True
            if not fnmatch.fnmatchcase(name, pattern):
                return False
        return True

    def _names(self, path: str) -> list[str] | None:
        """Return the names below the root; None if the path leads elsewhere."""
        if path == self.root:
            return []
        folder = f"{self.root.rstrip('/')}/"
        return path.removeprefix(folder).split("/") if path.startswith(folder) else None


def _match(names: list[str], patterns: list[str]) -> bool:
    """Return True if the patterns match the names, or the first of them."""
    if not patterns:
        return True
    if patterns[0] == ANY_DEPTH:
        return any(_match(names[n:], patterns[1:]) for n in range(len(names)))
    return bool(names) and fnmatch.fnmatchcase(names[0], patterns[0]) and _match(names[1:], patterns[1:])
