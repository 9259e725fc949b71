"""Reading: a shard's bytes, front to back, as pieces. Runs on CPU tasks; knows nothing of Ray.

A container is walked member by member (:mod:`jobs.containers`); a member is decoded where it stands, and no name of
the archive is ever opened. Members up to 16 MiB are held whole, and handed to the decoder while it is at work on the
one before; a longer one is decoded through a window on the stored object.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import BinaryIO, cast

from detector.errors import SchemaError, ShardError, UtteranceError
from jobs import archive, containers, decoding, pieces, storage
from jobs.archive import Portion, Shard
from jobs.containers import CONTAINERS, Member
from jobs.pieces import Piece
from jobs.storage import Stored, StoredFile

HELD_BYTES = 16 << 20


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
    if shard.kind in CONTAINERS:
        yield from _read_container(shard, reader)
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
            is_read = error.error == "bad_archive" or (error.error == "empty" and n_bytes == 0)
            outcome = pieces.failed(utterance_id, uri, member, n_bytes, "read" if is_read else "decode", error)
        except ShardError as error:  # in the middle of a long one
            broken = UtteranceError("bad_archive", str(error))
            failure = pieces.failed(utterance_id, uri, member, n_bytes, "read", broken)
            yield pieces.outcome(self._shard_id, ordinal, failure)
            raise
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


def _read_container(shard: Shard, reader: _Reader) -> Iterator[Piece]:
    source = shard.sources[0]
    container = CONTAINERS[shard.kind]
    wanted = None if shard.names is None else dict(shard.names)
    whole = container.in_order and wanted is None
    with storage.opened(source, whole=whole) as file:
        try:
            for member in container.walk(file, source):
                if wanted is None:
                    is_audio = container.all_audio or archive.is_audio(member.name)
                    name = archive.utterance_id(source.uri, member.name) if is_audio else None
                else:
                    name = wanted.pop(member.name, None)
                if name is not None:
                    yield from _read_member(name, source, member, reader)
                    file.raise_trouble()
            file.verify()
        except ShardError as error:
            file.verify() if whole else _verify(source)
            broken = UtteranceError("bad_archive", str(error))
            yield from reader.fail(archive.utterance_id(source.uri, None), source.uri, None, source.size, broken)
    for name, utterance_id in (wanted or {}).items():
        missing = UtteranceError("missing", "listed in the manifest, not found in the shard")
        yield from reader.fail(utterance_id, source.uri, name, 0, missing)


def _read_member(name: str, source: Stored, member: Member, reader: _Reader) -> Iterator[Piece]:
    short, content = containers.short(member.name), member.content
    if not isinstance(content, UtteranceError):
        try:
            content = _held(content, member.size)
        except UtteranceError as error:
            _verify(source)
            content = error
    if isinstance(content, UtteranceError):
        yield from reader.fail(name, source.uri, short, member.size, content)
    else:
        yield from reader.read(name, source.uri, short, content, member.size)


def _verify(source: Stored) -> None:
    """Raise where a source's bytes were changed on their way: that is no fault of what stands in them."""
    with storage.opened(source, whole=True) as file:
        file.verify()


def _held(file: BinaryIO | StoredFile, size: int) -> BinaryIO:
    """The file in memory where it is small: then a fault of the store shows here, not inside a decoder."""
    return io.BytesIO(file.read()) if size <= HELD_BYTES else cast(BinaryIO, file)
