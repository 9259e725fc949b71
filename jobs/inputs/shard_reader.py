"""Shard reader: reads the recordings of a shard front to back and decodes them to pieces. Knows nothing of Ray.

Containers are read member by member (:mod:`jobs.inputs.containers`) and decoded in place; no name from an archive is
ever opened. A member of up to 16 MiB is held in memory and queued while the decoder works on the one before it; a
longer one is decoded through a window on the stored object.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import BinaryIO, cast

from detector.audio import Excerpt
from detector.config import CHANNELS
from detector.decoders import MAX_CHANNELS
from detector.errors import ShardError, UtteranceError
from detector.level import Meter
from detector.windows import Windows
from jobs import storage
from jobs.decoding.queue import DecodeQueue
from jobs.errors import SourceChangedError
from jobs.inputs import pieces, unheard
from jobs.inputs.admission import Admission, AdmittedRecording
from jobs.inputs.containers import CONTAINERS, Member, shortened
from jobs.inputs.containers.member import refuse_many
from jobs.inputs.expansion import bomb, exceeds_ratio
from jobs.inputs.limits import DEFAULTS, NO_LIMITS, Limits
from jobs.inputs.passed_over import PassedOver
from jobs.inputs.pieces import Piece
from jobs.inputs.read_ahead import ReadAhead
from jobs.inputs.reading_time import ReadingTime
from jobs.inputs.refusals import note_read, refusal
from jobs.inputs.shards import CHANGED, FOLDER, SHARED, Portion, Selection, Shard
from jobs.storage import Stored, StoredFile

MAX_BUFFERED_BYTES = 16 << 20
MAX_SIZE = (1 << 63) - 1  # that a column holds
GONE = "no object of this name: a list names it, or it was in the archive before"


@dataclass(frozen=True)
class _Location:
    """Where a recording is stored, and its size there."""

    uri: str
    member: str | None
    n_bytes: int


def read_shard(
    portion: Portion,
    segment_seconds: float,
    channels: str = CHANNELS[0],
    limits: Limits = DEFAULTS,
    windows: Windows | None = None,
) -> Iterator[Piece]:
    """Read a shard, or some of its utterances: segments, an outcome for each utterance, and the shard's end.

    Parameters
    ----------
    portion : Portion
    segment_seconds : float
    channels : str
        One of :data:`detector.config.CHANNELS`, for recordings for which no list names a channel.
    limits : Limits
    windows : Windows, optional
        Windows to measure the level and the share of speech of.

    Raises
    ------
    RunAgain, StorageError
        If the store fails. Failures of the store never become a row.
    """
    if portion.shard.kind in (FOLDER, SHARED):
        yield from unheard.pieces_of(portion)
        return
    with DecodeQueue(segment_seconds, limits.max_seconds) as queue:
        # who asks for some utterances only has their outcomes: they are within the limits
        admission = Admission(queue, limits if portion.only is None else NO_LIMITS)
        reader = _UtteranceReader(portion.shard.shard_id, admission, portion.only, channels, windows, limits.roots)
        yield from _read_shard(portion.shard, reader)


def _read_shard(shard: Shard, reader: _UtteranceReader) -> Iterator[Piece]:
    if shard.kind in CONTAINERS and shard.sources[0].is_absent:
        yield from _fail_absent_container(shard, reader)
    elif shard.kind in CONTAINERS:
        yield from _read_container(shard, reader)
    else:
        selections = shard.selections() or {}
        with ReadAhead(shard.sources) as ahead:
            for source in shard.sources:
                yield from _read_file(source, selections[source.uri], reader, ahead)
    yield from reader.finish()
    yield pieces.shard_end(shard.shard_id, reader.n_utterances, reader.passed_over.to_content(), reader.ordinals)


def _read_file(
    source: Stored, selections: tuple[Selection, ...], reader: _UtteranceReader, ahead: ReadAhead
) -> Iterator[Piece]:
    """Yield the pieces of a loose file; one that changed since the plan costs its own row, and not its neighbours'."""
    location = _Location(source.uri, None, source.size)
    if source.is_absent:
        yield from reader.fail(selections, location, UtteranceError("missing", GONE))
        return
    if (hollow := _hollow(source)) is not None:
        yield from reader.fail(selections, location, hollow)
        return
    reader.begin_source(source)
    try:
        with ahead.opened(source) as file:
            content = _buffered(file, source.size)
            if isinstance(content, io.BytesIO):
                file.verify()
            yield from reader.read(selections, location, content)
            file.verify()
            note_read(source, reader.roots)
    except storage.RefusedError as error:
        yield from reader.set_aside(selections, location, refusal(source, error, reader.roots))
    except SourceChangedError as error:
        yield from reader.set_aside(selections, location, UtteranceError(CHANGED, str(error)))


def _hollow(source: Stored) -> UtteranceError | None:
    """Return the error of a local file of holes, which costs its uploader nothing and a night the time to read it."""
    n_held = storage.bytes_held(source) if exceeds_ratio(source.size, 0) else None
    if n_held is None or not exceeds_ratio(source.size, n_held):
        return None
    return UtteranceError("too_large", f"a file with holes: {bomb(source.size, n_held)}")


class _UtteranceReader:
    """Numbers the utterances of one shard, and turns each into pieces.

    An id that occurs again is not read, and its outcome says so: the assembler takes none of its utterances.

    Ordinals follow from the order of recordings alone, so that a retry can ask for an utterance by its ordinal. With
    `--channels each`, the number of channels is unknown until a recording is decoded; each recording then reserves
    :data:`MAX_CHANNELS` ordinals.
    """

    def __init__(
        self,
        shard_id: str,
        admission: Admission,
        only: tuple[int, ...] | None,
        channels: str,
        windows: Windows | None,
        roots: tuple[str, ...],
    ) -> None:
        self.n_utterances = 0
        self.ordinals: list[int] | None = [] if channels == "each" else None
        self.passed_over = PassedOver()
        self.roots = roots
        self._only = only
        self._shard_id = shard_id
        self._admission = admission
        self._channels = channels
        self._windows = windows
        self._pending: Iterator[Piece] = iter(())
        self._ids: dict[str, int] = {}
        self._begun: dict[int, str] = {}  # utterances of the source that is read, by ordinal
        self._n_begun = 0  # selections that they come from
        self._n_recordings = 0

    def read(self, selections: Iterable[Selection], location: _Location, file: BinaryIO) -> Iterator[Piece]:
        """Queue a recording once for each selection; yield the pieces of the utterance queued before."""
        for name, excerpt in selections:
            ordinal = self._next_ordinal()
            self._begun[ordinal] = name
            self._n_begun += 1
            if (first := self._first_of(name)) is not None:
                yield from self._repeated(ordinal, name, location, first)
                continue
            if self._admission.counts_sources:
                yield from self.finish()  # the length of the recording before this one counts
            if (refusal := self._admission.refusal(location.uri, location.member)) is not None:
                yield from self.finish()
                yield self._failure(ordinal, name, location, "read", refusal)
                continue
            if excerpt.channel is None and self._channels == "each":
                yield from self._read_channels(ordinal, name, excerpt, location, file)
            elif self._is_requested(ordinal):
                channel = 0 if excerpt.channel is None and self._channels == "first" else excerpt.channel
                excerpt = replace(excerpt, channel=channel)
                recording = self._admission.put(file, name, excerpt, location.uri, location.member)
                yield from self.finish()
                self._pending = self._pieces(ordinal, name, name, excerpt, location, recording)
                if not recording.is_held:
                    yield from self.finish()  # its file is valid only until the next member is read

    def _read_channels(
        self, first: int, name: str, whole: Excerpt, location: _Location, file: BinaryIO
    ) -> Iterator[Piece]:
        """Read each channel as an utterance; yield one failure for all of them if the first cannot be read."""
        yield from self.finish()
        n_channels = 1 if self._only is None else MAX_CHANNELS
        channel = 0
        while channel < n_channels:
            if self._is_requested(first + channel):
                excerpt = replace(whole, channel=channel)
                channel_id = f"{name}/ch{channel}"
                if channel > 0:
                    self._expect(first + channel)
                self._begun[first + channel] = channel_id if channel else name
                if (before := self._first_of(channel_id)) is not None:
                    yield from self._repeated(first + channel, channel_id, location, before)
                    channel += 1
                    continue
                recording = self._admission.put(file, channel_id, excerpt, location.uri, location.member)
                failed_as = channel_id if channel else name
                n_decoded = yield from self._pieces(
                    first + channel, channel_id, failed_as, excerpt, location, recording
                )
                n_channels = n_channels if self._only is not None or channel else n_decoded
            channel += 1

    def begin_source(self, source: Stored) -> None:
        """Begin an object; a loose file may change, or be refused, while it is read."""
        self._begun, self._n_begun = {}, 0
        self._admission.begin_object(source.size)

    def set_aside(self, selections: Sequence[Selection], location: _Location, error: UtteranceError) -> Iterator[Piece]:
        """Yield an outcome in place of each that came, or was to come, of a source that cannot be read as planned."""
        for ordinal, name in self._begun.items():
            if self._is_requested(ordinal):
                yield self._failure(ordinal, name, location, "read", error)
        yield from self.fail(selections[self._n_begun :], location, error)

    def finish(self) -> Iterator[Piece]:
        """Yield the pieces of the utterance that is still being decoded."""
        pending, self._pending = self._pending, iter(())
        yield from pending

    def _pieces(
        self,
        ordinal: int,
        utterance_id: str,
        failed_as: str,
        excerpt: Excerpt,
        location: _Location,
        recording: AdmittedRecording,
    ) -> Generator[Piece, None, int]:
        """Yield segments and an outcome; return the number of channels of the recording, or 1 if it failed."""
        try:
            n_segments = 0
            meter = Meter()
            for samples in recording.heard():
                if self._windows is not None:
                    meter.add(samples)
                yield pieces.segment(self._shard_id, ordinal, n_segments, samples)
                n_segments += 1
        except UtteranceError as error:
            is_read = error.error == "bad_archive" or (error.error == "empty" and location.n_bytes == 0)
            yield self._failure(ordinal, failed_as, location, "read" if is_read else "decode", error)
            return 1
        except ShardError as error:  # the shard broke off in the middle of a recording that is not buffered
            yield self._failure(ordinal, failed_as, location, "read", UtteranceError("bad_archive", str(error)))
            raise
        facts = replace(recording.facts, n_segments=n_segments)
        energies = meter.energies  # none if no segment is louder than silence: then an empty one was passed on
        measured = self._windows.measured(energies, facts.seconds) if self._windows and len(energies) else {}
        outcome = pieces.decoded(utterance_id, location.uri, location.member, location.n_bytes, facts, excerpt)
        yield pieces.outcome(self._shard_id, ordinal, outcome | measured)
        return recording.facts.channels

    def fail(self, selections: Iterable[Selection], location: _Location, error: UtteranceError) -> Iterator[Piece]:
        """Yield a failure for each selection of a recording that cannot be read."""
        for name, _ in selections:
            ordinal = self._next_ordinal()
            if (first := self._first_of(name)) is not None:
                yield from self._repeated(ordinal, name, location, first)
            elif self._is_requested(ordinal):
                yield from self.finish()
                yield self._failure(ordinal, name, location, "read", error)

    def _failure(self, ordinal: int, name: str, location: _Location, stage: str, error: UtteranceError) -> Piece:
        outcome = pieces.failed(name, location.uri, location.member, location.n_bytes, stage, error)
        return pieces.outcome(self._shard_id, ordinal, outcome)

    def _is_requested(self, ordinal: int) -> bool:
        return self._only is None or ordinal in self._only

    def _next_ordinal(self) -> int:
        self._n_recordings += 1
        ordinal = (self._n_recordings - 1) * (MAX_CHANNELS if self._channels == "each" else 1)
        self._expect(ordinal)
        return ordinal

    def _expect(self, ordinal: int) -> None:
        self.n_utterances += 1
        if self.ordinals is not None:
            self.ordinals.append(ordinal)

    def _first_of(self, name: str) -> int | None:
        """Return the number of the recording before this one that has the same id; None if there is none."""
        here = self._n_recordings - 1
        first = self._ids.setdefault(name, here)
        return None if first == here else first

    def _repeated(self, ordinal: int, name: str, location: _Location, first: int) -> Iterator[Piece]:
        if self._is_requested(ordinal):
            yield from self.finish()
            error = UtteranceError(
                "bad_name",
                f"occurs twice, as utterance {first} and {self._n_recordings - 1} of the shard; neither is taken, as "
                f"nothing tells which is meant. Ids are unique: rename one, and write the shard again",
            )
            outcome = pieces.failed(name, location.uri, location.member, location.n_bytes, "read", error)
            yield pieces.repeated(self._shard_id, ordinal, outcome)


def _read_container(shard: Shard, reader: _UtteranceReader) -> Iterator[Piece]:
    found: set[str] = set()
    source = shard.sources[0]
    reader.begin_source(source)
    container = CONTAINERS[shard.kind]
    listed = shard.selections()
    whole = container.in_order and listed is None
    missing = UtteranceError("missing", "listed in the manifest, but not in the shard")
    with contextlib.ExitStack() as stack:
        try:
            file = stack.enter_context(storage.opened(source, whole=whole))
            for n_members, member in enumerate(ReadingTime(source).members(container, file), start=1):
                refuse_many(n_members, source.size)
                selections: tuple[Selection, ...] = ()
                if listed is not None:
                    selections = listed.get(member.name, ())
                    found.add(member.name)
                elif (recording := container.recording(member)) is not None:
                    member = recording
                    selections = (Selection(shard.id_of(member.name)),)
                else:
                    reader.passed_over.add(member.name, storage.key_of(source.uri))
                if selections:
                    yield from _read_member(selections, source, member, reader)
                file.raise_trouble()
            file.verify()
            note_read(source, reader.roots)
        except storage.RefusedError as error:
            refused, whole_id = refusal(source, error, reader.roots), (Selection(shard.id_of(None)),)
            places = [(None, whole_id)] if listed is None else list(listed.items())
            for name, selections in places:
                if name not in found:
                    yield from reader.fail(selections, _Location(source.uri, name, source.size), refused)
            return
        except ShardError as error:
            # bytes that changed on their way are the store's fault, and no verdict about the container
            file.verify() if whole else _verify(source)
            missing = UtteranceError("bad_archive", str(error))
            selections = (Selection(shard.id_of(None)),)
            yield from reader.fail(selections, _Location(source.uri, None, source.size), missing)
    absent = {name: selections for name, selections in (listed or {}).items() if name not in found}
    for name, selections in absent.items():
        yield from reader.fail(selections, _Location(source.uri, name, 0), missing)


def _fail_absent_container(shard: Shard, reader: _UtteranceReader) -> Iterator[Piece]:
    """Yield a failure for each member that is listed, or one for the container if it is named whole."""
    for member, selections in shard.named_members():
        yield from reader.fail(selections, _Location(shard.uri, member, 0), UtteranceError("missing", GONE))


def _read_member(
    selections: tuple[Selection, ...], source: Stored, member: Member, reader: _UtteranceReader
) -> Iterator[Piece]:
    # a header may claim any number; no table holds one beyond the limit
    location = _Location(source.uri, shortened(member.name), min(member.size, MAX_SIZE))
    content = member.content
    if not isinstance(content, UtteranceError):
        try:
            content = _buffered(content, member.size)
        except UtteranceError as error:
            _verify(source)
            content = error
    if isinstance(content, UtteranceError):
        yield from reader.fail(selections, location, content)
    else:
        yield from reader.read(selections, location, content)


def _verify(source: Stored) -> None:
    """Read a source once more in full; raise if its bytes are not those that the store took in."""
    with storage.opened(source, whole=True) as file:
        file.verify()


def _buffered(file: BinaryIO | StoredFile, size: int) -> BinaryIO:
    """Read a small file into memory, so that a failure of the store is raised here and not inside a decoder."""
    return io.BytesIO(file.read(size)) if size <= MAX_BUFFERED_BYTES else cast(BinaryIO, file)
