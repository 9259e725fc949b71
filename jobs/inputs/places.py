"""Places: the folders, prefixes and patterns of an archive that were listed, so that what is not found is gone."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from jobs import storage


@dataclass(frozen=True)
class Place:
    """A folder or prefix that was listed, or a pattern; and what is called exactly like it.

    Examples
    --------
    >>> Place("s3://archive/2026/").covers("s3://archive/2026/a.wav"), Place("/data/*/b", True).covers("/data/a/c.wav")
    (True, False)
    >>> [Place("/data/take[1]", True).covers(f"/data/take{each}/a.wav") for each in ("[1]", "1", "2")]
    [True, True, False]
    """

    uri: str
    is_pattern: bool = False

    def covers(self, uri: str) -> bool:
        """Return True if a listing of the place would find an object of this name."""
        if uri.startswith(f"{self.uri.rstrip('/')}/") or uri == self.uri:
            return True
        return self.is_pattern and self._glob.matches(storage.path_of(uri) if self._is_local else uri)

    def walks(self, folder: str) -> bool:
        """Return True if a listing of the place would list a folder, in which there may be something that it covers.

        Examples
        --------
        >>> [Place("/data/*/calls", True).walks(each) for each in ("/data/2026", "/data/2026/calls/1", "/data/2026/tv")]
        [True, True, False]
        """
        return self.covers(folder) or (self.is_pattern and self._glob.may_lead(storage.path_of(folder)))

    @cached_property
    def _glob(self) -> storage.Glob:
        return storage.Glob(storage.path_of(self.uri) if self._is_local else self.uri)

    @property
    def _is_local(self) -> bool:
        return storage.scheme_of(self.uri) == "file"
