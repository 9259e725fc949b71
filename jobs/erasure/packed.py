"""Packed content: what lies in archives and compressed files, told by their first and last bytes, and opened in limits.

```
backup.tgz   gzip ─► tar ─► scores.parquet        a table
                       └──► logs.zip ─► a.csv     text
```

Every byte belongs to a part, or the content is refused: also bytes before, between and behind members are read. Nothing
is written to a disk. Content that is damaged, encrypted, of two formats at once or beyond a limit raises an error: what
it holds is not known.
"""

from __future__ import annotations

import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Iterator

from detector.errors import SchemaError
from jobs.erasure import avro
from jobs.erasure.parts import Budget, Kind, Part
from jobs.erasure.streams import stream_parts
from jobs.erasure.tars import is_in_one_member, is_tar, tar_parts
from jobs.erasure.zips import extent, zip_directory, zip_parts

MAX_DEPTH = 5
PARQUET, ARROW_FILE, FEATHER, ORC = b"PAR1", b"ARROW1", b"FEA1", b"ORC"
TABLES = (PARQUET, ARROW_FILE, FEATHER, ORC)
"""First bytes of the tables that :mod:`jobs.erasure.foreign` reads; all but the last format end with them, too."""

UNPACK_ERRORS = (zlib.error, lzma.LZMAError, EOFError, tarfile.TarError, zipfile.BadZipFile, NotImplementedError)


class Unpacker:
    """Unpacks one object, and counts what it unpacks to.

    Examples
    --------
    >>> import gzip
    >>> [leaf.content for leaf in Unpacker().leaves("a.csv.gz", gzip.compress(b"id"))]
    [b'id']
    """

    def __init__(self) -> None:
        self._budget = Budget()

    def leaves(self, name: str, content: bytes, depth: int = 0) -> Iterator[Part]:
        """Yield what is not packed itself, each with its path; and what headers say.

        Raises
        ------
        SchemaError
            If there is more of it than the limits allow, or it can be read in two ways.
        """
        members = self._parts(content)
        if members is None:
            yield Part(name, content)
            return
        if depth == MAX_DEPTH:
            raise SchemaError(f"{name}: is packed more than {MAX_DEPTH} times")
        for member, inner, kind in members:
            self._budget.count_member()
            path = f"{name}/{member}" if member else name
            if kind is Kind.CONTENT:
                yield from self.leaves(path, inner, depth + 1)
            else:
                yield Part(path, inner, kind)

    def _parts(self, content: bytes) -> Iterator[Part] | None:
        """Take packed content apart; return None if it is not packed."""
        if (streams := stream_parts(content, self._budget)) is not None:
            return streams
        directory = zip_directory(content)
        if is_tar(content):
            if directory is not None and not is_in_one_member(content, *extent(content, directory)):
                raise SchemaError("is a tar and a zip at once")
            return tar_parts(content, self._budget)
        if directory is not None and content.startswith((*TABLES, avro.MAGIC)):
            raise SchemaError("is a table and a zip at once")
        if content.startswith(avro.MAGIC):
            return avro.avro_parts(content, self._budget)
        return None if directory is None else zip_parts(content, directory, self._budget)
