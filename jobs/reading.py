"""Reading: a shard's bytes, front to back, as pieces. Runs on CPU tasks; knows nothing of Ray.

A tar is walked header by header; a member is decoded where it stands, and no name of the archive is ever opened.
Members up to 16 MiB are held whole, and handed to the decoder while it is at work on the one before; a longer one
is decoded through a window on the stored object.
"""

from __future__ import annotations

import contextlib
import io
import struct
import tarfile
from collections.abc import Iterator
from typing import BinaryIO, cast

from detector.errors import SchemaError, ShardError, UtteranceError
from jobs import archive, decoding, pieces, storage
from jobs.archive import Portion, Shard
from jobs.pieces import Piece
from jobs.storage import StoredFile

HELD_BYTES = 16 << 20
TAIL_BYTES = 1 << 20
MAX_MEMBERS = 1_000_000  # of a tar; its headers are read one by one
MAX_HEADER_BYTES = 32 << 10  # before a member: its own, its long name, its extended attributes
MAX_RECORDS = 1_000  # of extended headers that hold for a whole tar
KINDS = {
    tarfile.SYMTYPE: "a symbolic link",
    tarfile.LNKTYPE: "a hard link",
    tarfile.FIFOTYPE: "a pipe",
    tarfile.CHRTYPE: "a device",
    tarfile.BLKTYPE: "a device",
}


def read_shard(portion: Portion, segment_seconds: float) -> Iterator[Piece]:
    """Read a shard, or some utterances of it: segments, an outcome for each, and at the end how many the shard has.

    Raises
    ------
    SchemaError
        Where two utterances of the shard have one id.
    RunAgain, StorageError
        Trouble of the store; never a row.
    """
    with decoding.Queue(segment_seconds) as queue:
        yield from _read_shard(portion.shard, _Reader(portion.shard.shard_id, queue, portion.only))


def _read_shard(shard: Shard, reader: _Reader) -> Iterator[Piece]:
    if shard.kind == "tar":
        yield from _read_tar(shard, reader)
    else:
        names = dict(shard.names or ())
        for source in shard.sources:
            if source.etag == storage.ABSENT:
                gone = UtteranceError("missing", "was in the archive once; gone when its shard was planned again")
                yield from reader.fail(names[source.uri], source.uri, None, 0, gone)
                continue
            with storage.opened(source, whole=True) as file:
                yield from reader.read(names[source.uri], source.uri, None, _held(file, source.size), source.size)
                file.verify()
    yield from reader.rest()
    yield pieces.shard_end(shard.shard_id, reader.n_utterances)


class _Reader:
    """Numbers the utterances of one shard, and turns each into pieces."""

    def __init__(self, shard_id: str, queue: decoding.Queue, only: tuple[int, ...] | None) -> None:
        self.n_utterances = 0
        self._only = only
        self._shard_id = shard_id
        self._queue = queue
        self._ahead: Iterator[Piece] = iter(())
        self._seen: dict[str, int] = {}

    def read(self, utterance_id: str, uri: str, member: str | None, file: BinaryIO, n_bytes: int) -> Iterator[Piece]:
        """Hand an utterance to the decoder; what comes are the pieces of the one before."""
        ordinal = self._number(utterance_id, uri)
        if not self._wants(ordinal):
            return
        recording = self._queue.put(file, utterance_id)
        yield from self.rest()
        self._ahead = self._pieces(ordinal, utterance_id, uri, member, n_bytes, recording)
        if not recording.is_held:
            yield from self.rest()  # its bytes can be read only now

    def rest(self) -> Iterator[Piece]:
        """The pieces of the utterance that is still with the decoder."""
        ahead, self._ahead = self._ahead, iter(())
        yield from ahead

    def _pieces(
        self, ordinal: int, utterance_id: str, uri: str, member: str | None, n_bytes: int, recording: decoding.Recording
    ) -> Iterator[Piece]:
        try:
            for index, samples in enumerate(recording.segments()):
                yield pieces.segment(self._shard_id, ordinal, index, samples)
            outcome = pieces.decoded(utterance_id, uri, member, n_bytes, recording.facts)
        except UtteranceError as error:
            stage = "read" if error.error == "empty" and n_bytes == 0 else "decode"
            outcome = pieces.failed(utterance_id, uri, member, n_bytes, stage, error)
        yield pieces.outcome(self._shard_id, ordinal, outcome)

    def fail(
        self, utterance_id: str, uri: str, member: str | None, n_bytes: int, error: UtteranceError
    ) -> Iterator[Piece]:
        ordinal = self._number(utterance_id, uri)
        if self._wants(ordinal):
            yield from self.rest()
            failure = pieces.failed(utterance_id, uri, member, n_bytes, "read", error)
            yield pieces.outcome(self._shard_id, ordinal, failure)

    def _wants(self, ordinal: int) -> bool:
        return self._only is None or ordinal in self._only

    def _number(self, utterance_id: str, uri: str) -> int:
        if utterance_id in self._seen:
            raise SchemaError(
                f"{uri}: utterance id {utterance_id!r} stands twice, as utterance {self._seen[utterance_id]} and "
                f"{self.n_utterances} of the shard. Ids are unique: rename one and write the shard again."
            )
        self._seen[utterance_id] = self.n_utterances
        self.n_utterances += 1
        return self._seen[utterance_id]


def _read_tar(shard: Shard, reader: _Reader) -> Iterator[Piece]:
    source = shard.sources[0]
    wanted = None if shard.names is None else dict(shard.names)
    with storage.opened(source, whole=wanted is None) as file:
        try:
            for member, content, size in members(file, source.size):
                if not (archive.is_audio(member) if wanted is None else member in wanted):
                    continue
                name = archive.utterance_id(source.uri, member) if wanted is None else wanted.pop(member)
                short = archive.short(member)
                if isinstance(content, UtteranceError):
                    yield from reader.fail(name, source.uri, short, size, content)
                    continue
                yield from reader.read(name, source.uri, short, _held(content, size), size)
                file.raise_trouble()
            file.verify()
        except ShardError as error:
            file.verify()  # bytes that were changed on the way are no fault of the archive's
            broken = UtteranceError("bad_archive", str(error))
            yield from reader.fail(archive.utterance_id(source.uri, None), source.uri, None, source.size, broken)
    for member, utterance_id in (wanted or {}).items():
        missing = UtteranceError("missing", "listed in the manifest, not found in the shard")
        yield from reader.fail(utterance_id, source.uri, member, 0, missing)


def members(file: StoredFile, size: int) -> Iterator[tuple[str, BinaryIO | UtteranceError, int]]:
    """Walk a tar of ``size`` bytes: name, content and bytes of every member but folders, in order.

    The content is read only where it is asked for, and valid until the next member is. In its place stands an
    `UtteranceError` where there is none, `not_a_file`, or the name is none, `bad_name`.

    Raises
    ------
    ShardError
        Where the bytes are no tar, or stop being one before its end; and where there are more headers than any tar
        of recordings has.
    """
    headers = _Headers(file)
    try:
        # names of any bytes become text that Parquet can hold
        with tarfile.open(fileobj=cast(BinaryIO, headers), mode="r:", errors="backslashreplace") as tar:
            end = n_members = 0
            while (member := tar.next()) is not None:
                n_members += 1
                if member.offset < end or member.size < 0:
                    raise ShardError(f"byte {member.offset:,}: a header that points backwards")
                end = member.offset_data + member.size
                if end > size:
                    raise ShardError(f"ends in the middle of {archive.short(member.name)!r}: {size:,} of {end:,} bytes")
                if n_members > MAX_MEMBERS or len(tar.pax_headers) > MAX_RECORDS:
                    raise ShardError(f"byte {member.offset:,}: more than {MAX_MEMBERS:,} members, or too many headers")
                tar.members.clear()  # type: ignore[attr-defined]  # it would remember all of them, for seeking back
                if not member.isdir():
                    with headers.lifted():
                        yield member.name, _content(tar, member), member.size
            _check_end(file, tar.offset)
    except (tarfile.TarError, struct.error, ValueError, IndexError, OverflowError, RecursionError) as error:
        raise ShardError(f"no tar, or not to its end: {error}") from error


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> BinaryIO | UtteranceError:
    fault = archive.name_fault(member.name)
    if fault is not None:
        return UtteranceError("bad_name", fault)
    if member.issparse() or not member.isreg():
        kind = KINDS.get(member.type, "a file with holes" if member.issparse() else "of a kind that nobody knows")
        to = f", to {archive.short(member.linkname)!r}" if member.islnk() or member.issym() else ""
        return UtteranceError("not_a_file", f"{kind}{to}; links are not followed: store the recording itself")
    return cast(BinaryIO, tar.extractfile(member))


class _Headers:
    """A tar's file as tarfile sees it: what it reads on its way from one member to the next is bounded.

    It would hold whatever size a header gives itself, and there are headers at which it reads for ever.
    """

    def __init__(self, file: StoredFile) -> None:
        self._file = file
        self._n_bytes: int | None = 0

    @contextlib.contextmanager
    def lifted(self) -> Iterator[None]:
        """While a member's content is read."""
        self._n_bytes = None
        yield
        self._n_bytes = 0

    def read(self, size: int) -> bytes:
        """As any file's."""
        if self._n_bytes is not None:
            self._n_bytes += size
            if self._n_bytes > MAX_HEADER_BYTES:
                raise ShardError(f"byte {self._file.tell():,}: headers of more than {MAX_HEADER_BYTES:,} bytes")
        return self._file.read(size)

    def seek(self, offset: int, whence: int = 0) -> int:
        """As any file's."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """As any file's."""
        return self._file.tell()

    def seekable(self) -> bool:
        """It is; tarfile asks."""
        return True


def _check_end(file: StoredFile, offset: int) -> None:
    """After the last member come zeros or nothing; tarfile takes a broken header, and the first zeros, for the end."""
    file.seek(offset)
    while block := file.read(TAIL_BYTES):
        if block.strip(b"\0"):
            raise ShardError(f"byte {offset:,}: a broken header, or members behind the closing zeros; they are lost")


def _held(file: BinaryIO | StoredFile, size: int) -> BinaryIO:
    """The file in memory where it is small: then a fault of the store shows here, not inside a decoder."""
    return io.BytesIO(file.read()) if size <= HELD_BYTES else cast(BinaryIO, file)
