"""Reading: a shard's bytes, front to back, as pieces. Runs on CPU tasks; knows nothing of Ray.

A container is walked member by member (:mod:`jobs.inputs.containers`); a member is decoded where it stands, and no name
of the archive is ever opened. Members up to 16 MiB are held whole, and handed to the decoder while it is at work on the
one before; a longer one is decoded through a window on the stored object.
"""

from __future__ import annotations

import io
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import BinaryIO, cast

from detector.audio import MAX_CHANNELS, WHOLE, Excerpt
from detector.config import CHANNELS
from detector.errors import SchemaError, ShardError, UtteranceError
from jobs import storage
from jobs.decoding.queue import DecodeQueue
from jobs.decoding.recording import DecodedRecording
from jobs.inputs import archive, containers, pieces
from jobs.inputs.archive import Pick, Portion, Shard
from jobs.inputs.containers import CONTAINERS, Member
from jobs.inputs.pieces import Piece
from jobs.storage import Stored, StoredFile

HELD_BYTES = 16 << 20


@dataclass(frozen=True)
class _Place:
    """Where a recording lies, and how many bytes of it there are."""

    uri: str
    member: str | None
    n_bytes: int


def read_shard(portion: Portion, segment_seconds: float, channels: str = CHANNELS[0]) -> Iterator[Piece]:
    """Read a shard, or some utterances of it: segments, an outcome for each, and at the end how many the shard has.

    Parameters
    ----------
    portion : Portion
    segment_seconds : float
    channels : str
        One of :data:`detector.config.CHANNELS`, for recordings of which no list names a channel.

    Raises
    ------
    SchemaError
        Where two utterances of the shard have one id.
    RunAgain, StorageError
        Trouble of the store; never a row.
    """
    with DecodeQueue(segment_seconds) as queue:
        yield from _read_shard(portion.shard, _Reader(portion.shard.shard_id, queue, portion.only, channels))


def _read_shard(shard: Shard, reader: _Reader) -> Iterator[Piece]:
    if shard.kind in CONTAINERS:
        yield from _read_container(shard, reader)
    else:
        picks = shard.picks() or {}
        for source in shard.sources:
            if source.etag == storage.ABSENT:
                gone = UtteranceError("missing", "was in the archive once; gone when its shard was planned again")
                yield from reader.fail(picks[source.uri], _Place(source.uri, None, 0), gone)
                continue
            with storage.opened(source, whole=True) as file:
                place = _Place(source.uri, None, source.size)
                yield from reader.read(picks[source.uri], place, _held(file, source.size))
                file.verify()
    yield from reader.rest()
    yield pieces.shard_end(shard.shard_id, reader.n_utterances)


class _Reader:
    """Numbers the utterances of one shard, and turns each into pieces.

    Where each channel is an utterance, nobody knows how many there are before one is decoded: their numbers leave room.
    """

    def __init__(self, shard_id: str, queue: DecodeQueue, only: tuple[int, ...] | None, channels: str) -> None:
        self.n_utterances = 0
        self._only = only
        self._shard_id = shard_id
        self._queue = queue
        self._channels = channels
        self._ahead: Iterator[Piece] = iter(())
        self._seen: dict[str, int] = {}
        self._n_recordings = 0

    def read(self, picks: Iterable[Pick], place: _Place, file: BinaryIO) -> Iterator[Piece]:
        """Hand a recording to the decoder, as often as there are picks; what comes are the pieces of the one before."""
        for name, excerpt in picks:
            ordinal = self._number(name, place)
            if excerpt.channel is None and self._channels == "each":
                yield from self._read_each(ordinal, name, excerpt, place, file)
            elif self._wants(ordinal):
                channel = 0 if excerpt.channel is None and self._channels == "first" else excerpt.channel
                excerpt = replace(excerpt, channel=channel)
                recording = self._queue.put(file, name, excerpt)
                yield from self.rest()
                self._ahead = self._pieces(ordinal, name, name, excerpt, place, recording)
                if not recording.is_held:
                    yield from self.rest()  # its bytes can be read only now

    def _read_each(self, first: int, name: str, whole: Excerpt, place: _Place, file: BinaryIO) -> Iterator[Piece]:
        """An utterance a channel; one for all where the first cannot be read."""
        yield from self.rest()
        n_channels = 1 if self._only is None else MAX_CHANNELS
        channel = 0
        while channel < n_channels:
            if self._wants(first + channel):
                excerpt = replace(whole, channel=channel)
                utterance_id = f"{name}/ch{channel}"
                self._claim(utterance_id, place)
                self.n_utterances += channel > 0
                recording = self._queue.put(file, utterance_id, excerpt)
                failed_as = utterance_id if channel else name
                found = yield from self._pieces(first + channel, utterance_id, failed_as, excerpt, place, recording)
                n_channels = n_channels if self._only is not None or channel else found
            channel += 1

    def rest(self) -> Iterator[Piece]:
        """The pieces of the utterance that is still with the decoder."""
        ahead, self._ahead = self._ahead, iter(())
        yield from ahead

    def _pieces(
        self,
        ordinal: int,
        utterance_id: str,
        failed_as: str,
        excerpt: Excerpt,
        place: _Place,
        recording: DecodedRecording,
    ) -> Generator[Piece, None, int]:
        """Segments and outcome; returns how many channels the recording has, as far as that is known."""
        try:
            for index, samples in enumerate(recording.segments()):
                yield pieces.segment(self._shard_id, ordinal, index, samples)
        except UtteranceError as error:
            is_read = error.error == "bad_archive" or (error.error == "empty" and place.n_bytes == 0)
            yield self._failure(ordinal, failed_as, place, "read" if is_read else "decode", error)
            return 1
        except ShardError as error:  # in the middle of a long one
            yield self._failure(ordinal, failed_as, place, "read", UtteranceError("bad_archive", str(error)))
            raise
        found = pieces.decoded(utterance_id, place.uri, place.member, place.n_bytes, recording.facts, excerpt)
        yield pieces.outcome(self._shard_id, ordinal, found)
        return recording.facts.channels

    def fail(self, picks: Iterable[Pick], place: _Place, error: UtteranceError) -> Iterator[Piece]:
        """A row for each pick of what cannot be read."""
        for name, _ in picks:
            ordinal = self._number(name, place)
            if self._wants(ordinal):
                yield from self.rest()
                yield self._failure(ordinal, name, place, "read", error)

    def _failure(self, ordinal: int, name: str, place: _Place, stage: str, error: UtteranceError) -> Piece:
        found = pieces.failed(name, place.uri, place.member, place.n_bytes, stage, error)
        return pieces.outcome(self._shard_id, ordinal, found)

    def _wants(self, ordinal: int) -> bool:
        return self._only is None or ordinal in self._only

    def _number(self, name: str, place: _Place) -> int:
        self._claim(name, place)
        self.n_utterances += 1
        self._n_recordings += 1
        return (self._n_recordings - 1) * (MAX_CHANNELS if self._channels == "each" else 1)

    def _claim(self, name: str, place: _Place) -> None:
        if name in self._seen:
            raise SchemaError(
                f"{place.uri}: utterance id {name!r} stands twice, as utterance {self._seen[name]} and "
                f"{self._n_recordings} of the shard. Ids are unique: rename one and write the shard again."
            )
        self._seen[name] = self._n_recordings


def _read_container(shard: Shard, reader: _Reader) -> Iterator[Piece]:
    source = shard.sources[0]
    container = CONTAINERS[shard.kind]
    wanted = shard.picks()
    whole = container.in_order and wanted is None
    with storage.opened(source, whole=whole) as file:
        try:
            for member in container.walk(file, source):
                picks: tuple[Pick, ...] = ()
                if wanted is not None:
                    picks = wanted.pop(member.name, ())
                elif container.all_audio or archive.is_audio(member.name):
                    picks = ((archive.utterance_id(source.uri, member.name), WHOLE),)
                if picks:
                    yield from _read_member(picks, source, member, reader)
                    file.raise_trouble()
            file.verify()
        except ShardError as error:
            file.verify() if whole else _verify(source)
            broken = UtteranceError("bad_archive", str(error))
            picks = ((archive.utterance_id(source.uri, None), WHOLE),)
            yield from reader.fail(picks, _Place(source.uri, None, source.size), broken)
    for name, picks in (wanted or {}).items():
        missing = UtteranceError("missing", "listed in the manifest, not found in the shard")
        yield from reader.fail(picks, _Place(source.uri, name, 0), missing)


def _read_member(picks: tuple[Pick, ...], source: Stored, member: Member, reader: _Reader) -> Iterator[Piece]:
    place, content = _Place(source.uri, containers.short(member.name), member.size), member.content
    if not isinstance(content, UtteranceError):
        try:
            content = _held(content, member.size)
        except UtteranceError as error:
            _verify(source)
            content = error
    if isinstance(content, UtteranceError):
        yield from reader.fail(picks, place, content)
    else:
        yield from reader.read(picks, place, content)


def _verify(source: Stored) -> None:
    """Raise where a source's bytes were changed on their way: that is no fault of what stands in them."""
    with storage.opened(source, whole=True) as file:
        file.verify()


def _held(file: BinaryIO | StoredFile, size: int) -> BinaryIO:
    """The file in memory where it is small: then a fault of the store shows here, not inside a decoder."""
    return io.BytesIO(file.read()) if size <= HELD_BYTES else cast(BinaryIO, file)
