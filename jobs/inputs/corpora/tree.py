"""Tree: the files of a corpus, found by the ends of their paths, so that the given folder may be any parent."""

from __future__ import annotations

import posixpath
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator

from detector.errors import ConfigError
from jobs import storage
from jobs.inputs.suffixes import kind_of_name
from jobs.storage import Stored

Files = dict[str, Stored]


class Tree:
    """All files below some folders or prefixes, listed once.

    Parameters
    ----------
    uris : iterable of str
        Folders, prefixes, or single files, as :func:`jobs.storage.normal` spells them.
    follow : str
        Which links to folders are followed: one of :data:`jobs.storage.FOLLOW`.

    Raises
    ------
    ConfigError
        If one of them does not exist.
    """

    def __init__(self, uris: Iterable[str], follow: str = storage.FOLLOW[0]) -> None:
        self.uris = tuple(uris)
        self._folders: dict[str, Files] = defaultdict(dict)
        for stored in (each for uri in self.uris for each in _listed(uri, follow)):
            folder, _, name = stored.uri.rpartition("/")
            self._folders[folder][name] = stored
        self._ending: dict[str, list[str]] = defaultdict(list)
        for folder in self._folders:
            self._ending[posixpath.basename(folder)].append(folder)
        self._inside: dict[tuple[str, ...], Files] = {}

    def inside(self, *ends: str) -> Files:
        """Return files by name, directly in folders whose paths end in one of ``ends``: `ASVspoof2019_LA_eval/flac`.

        Raises
        ------
        ConfigError
            If two of those folders hold a file of the same name, so that the recording is ambiguous.
        """
        if ends not in self._inside:
            found: Files = {}
            for folder in (each for end in ends for each in self._ending[posixpath.basename(end)]):
                if not any(f"{folder}/".endswith(f"/{end}/") for end in ends):
                    continue
                for name, stored in self._folders[folder].items():
                    if found.setdefault(name, stored) != stored:
                        raise ConfigError(
                            f"{found[name].uri} and {stored.uri} have the same name. Give the folder of one "
                            f"corpus, unpacked once."
                        )
            self._inside[ends] = found
        return self._inside[ends]

    def at(self, path: str) -> Stored | None:
        """Return the file whose path ends in ``path`` (at least a folder and a name), or None."""
        folder, _, name = path.rpartition("/")
        return self.inside(folder).get(name)

    def beside(self, stored: Stored) -> Files:
        """Return files by name in the folder of ``stored``."""
        return self._folders[stored.uri.rpartition("/")[0]]

    def tables(self, pattern: str) -> list[Stored]:
        """Return the files of any kind whose path ends in a match of a regular expression, sorted."""
        ending = re.compile(f"/(?:{pattern})$")
        return sorted(each for files in self._folders.values() for each in files.values() if ending.search(each.uri))

    def table(self, pattern: str) -> Stored | None:
        """Return the one file whose path ends in a match of a regular expression, or None.

        Raises
        ------
        ConfigError
            If there are several.
        """
        found = self.tables(pattern)
        if len(found) > 1:
            raise ConfigError(f"{found[0].uri} and {found[1].uri} both match. Give the folder of one corpus.")
        return found[0] if found else None

    def audio(self) -> Iterator[Stored]:
        """Return every file with an audio suffix, sorted."""
        return (
            self._folders[folder][name]
            for folder in sorted(self._folders)
            for name in sorted(self._folders[folder])
            if kind_of_name(name) == "audio"
        )

    def matching(self, pattern: re.Pattern[str]) -> Iterator[tuple[Stored, re.Match[str]]]:
        """Yield every audio file whose URI contains a match of a regular expression, with the match."""
        for stored in self.audio():
            found = pattern.search(stored.uri)
            if found is not None:
                yield stored, found

    def relative(self, stored: Stored) -> str:
        """Return the path of a file relative to the given folder."""
        root = next(uri for uri in self.uris if f"{stored.uri}/".startswith(f"{uri.rstrip('/')}/"))
        return stored.uri.removeprefix(root.rstrip("/")).removeprefix("/")


def _listed(uri: str, follow: str) -> list[Stored]:
    named = storage.stat(uri)
    found = [named] if named is not None else storage.listing(uri, follow)
    if found is None:
        raise ConfigError(f"{uri}: no such file, folder or prefix. Check the bucket and the spelling.")
    return found
