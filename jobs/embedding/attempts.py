"""Attempts to embed shards: what each pass reads, and which recordings end their encoder.

```
pass 1   whole shards                     a lost worker costs what it held
pass 2   utterances that are missing      those of one shard together
pass 3   the same, each on its own        a recording that is lost alone, while its neighbours pass, is the cause
at last  a container that has not come    if it does not come either while nothing else is read, reading it is the
         to its end, with nothing beside  cause: one row
```
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import Any

import pyarrow as pa

from detector.errors import UtteranceError
from jobs.errors import CorruptError, RunAgain, SourceChangedError, WorkersLostError, from_text
from jobs.execution.assemblers import Assemblers, Unfinished
from jobs.execution.retries import PASSES
from jobs.inputs import pieces
from jobs.inputs.containers import CONTAINERS
from jobs.inputs.shards import CHANGED, Portion, Shard

IDLE_SECONDS = 0.05  # between two looks at assemblers that commit
MAX_CRASHES = 3  # in one shard: if more recordings end their encoder, the recordings are not the cause
MAX_UNREADABLE = 3  # containers: if the workers that read them all end, something else is the cause

log = logging.getLogger(__name__)

Stream = Callable[[Iterator[Portion], bool], Iterator[pa.Table]]


class EmbeddingAttempts:
    """Shards to embed, as :class:`jobs.execution.retries.Attempts` whose results are those of their commits.

    Parameters
    ----------
    shards : iterable of Shard
        Each is asked for when there is room for it, in whichever pass that is, and kept until it is done.
    n_shards : int
    stream : callable
        Yields what :meth:`jobs.execution.runner.Runner.embed_portions` yields of the portions. If its second argument
        is True, an encoder gets one table at a time.
    assemblers : Assemblers
        Their results have a `shard_id`.
    planned : callable, optional
        Returns what the commit of a shard needs of the plans: see
        :class:`jobs.inputs.shards.Portion`.
    is_again : bool
        True if sources that changed while they were read are read again: one that changes once more is a failure.
    """

    verb = "embed"

    def __init__(
        self,
        shards: Iterable[Shard],
        n_shards: int,
        stream: Stream,
        assemblers: Assemblers,
        planned: Callable[[Shard], Any] = lambda _: None,
        *,
        is_again: bool = False,
    ) -> None:
        self._shards = iter(shards)
        self._n_missing = n_shards
        self._begun: dict[str, Shard] = {}
        self._stream = stream
        self._planned = planned
        self._cause = "its workers were lost"
        self._assemblers = assemblers
        self._is_again = is_again
        self._changed: list[SourceChangedError] = []
        self._changed_again: dict[str, SourceChangedError] = {}
        self._corrupt: dict[str, CorruptError] = {}
        self._excused: set[str | None] = set()  # shards of which a worker said why they are not done
        self._n_done = 0

    @property
    def is_done(self) -> bool:
        """True if every shard is whole or set aside."""
        return not self._n_missing

    def attempt(self, number: int) -> Iterator[Any]:
        """Stream what is missing; yield the result of each shard once, when it is committed.

        Raises
        ------
        ConfigError, SchemaError, StorageError, DefectError
            The error of a worker that every other shard would meet too.
        """
        yield from self._received(self._portions(number), singly=number > 1)
        yield from self._fail_changed()

    def _received(self, portions: Iterator[Portion], *, singly: bool) -> Iterator[Any]:
        """Stream portions; take note of errors, pass pieces on, and yield the results of commits."""
        for table in self._stream(portions, singly):
            troubles = table.filter(table["trouble"].is_valid())
            for shard_id, text in zip(troubles["shard_id"].to_pylist(), troubles["trouble"].to_pylist(), strict=True):
                self._note(shard_id, from_text(text))
            _, rest = pieces.for_driver(table)
            if len(rest):
                self._assemblers.add(rest)
            yield from self._results()

    def end_pass(self, lost: WorkersLostError | None) -> None:
        """Drop shards of corrupt bytes as a whole, now that no piece of them is under way."""
        self._cause = str(lost or self._cause)
        for shard_id, error in self._corrupt.items():
            self._assemblers.forget(shard_id)
            self._cause = str(error)

    def describe_missing(self) -> str:
        """Return the number of shards that are not whole, the first that has pieces, and the cause."""
        begun = {key for key, each in self._assemblers.unfinished().items() if each.n_outcomes}
        first = min(((key not in begun, shard.uri) for key, shard in list(self._begun.items())), default=None)
        which = "none of them begun" if first is None else f"first {first[1]}"
        return f"{self._n_missing} shard(s) not whole, {which}: {self._cause}"

    def finish(self) -> Iterator[Any]:
        """Fail the few recordings that end their encoder every time, and the few containers that end their reader.

        Raises
        ------
        CorruptError
            If a source's bytes were wrong every time.
        SourceChangedError
            If a source was replaced or removed since the plan; all other shards are done.
        """
        unfinished = {} if self.is_done else self._assemblers.unfinished()
        for shard_id in self._begun:
            if shard_id in unfinished and self._are_to_blame(unfinished[shard_id]):
                self._give_up(shard_id)
        yield from self._last_results()
        yield from self._read_alone()
        for shard_id in self._begun:
            if shard_id in self._corrupt:
                raise self._corrupt[shard_id]
        if self.is_done and self._changed:
            raise SourceChangedError(
                f"{len(self._changed)} shard(s) set aside, all others are committed; first: {self._changed[0]}"
            )

    def _fail_changed(self) -> Iterator[Any]:
        """Fail containers that changed each time they were read, now that no piece of them is under way."""
        self._changed_again = {each: error for each, error in self._changed_again.items() if each in self._begun}
        for shard_id, error in self._changed_again.items():
            shard = self._begun[shard_id]
            self._assemblers.forget(shard_id)
            self._assemblers.add(_failed(shard, self._planned(shard), UtteranceError(CHANGED, str(error))))
        if self._changed_again:
            self._changed_again = {}
            yield from self._last_results()

    def _last_results(self) -> Iterator[Any]:
        while not self._assemblers.is_idle():
            yield from self._results()
            time.sleep(IDLE_SECONDS)
        yield from self._results()

    def _read_alone(self) -> Iterator[Any]:
        """Read each of the few containers that never came to their end, with nothing beside it; then fail it."""
        unfinished = {} if self.is_done else self._assemblers.unfinished()
        suspects = [
            shard
            for shard_id, shard in self._begun.items()
            if shard.kind in CONTAINERS
            and shard_id not in self._excused
            and (shard_id not in unfinished or unfinished[shard_id].n_utterances is None)
        ]
        if len(suspects) > MAX_UNREADABLE or not self._n_done:
            return
        for shard in suspects:
            self._assemblers.forget(shard.shard_id)
            with contextlib.suppress(WorkersLostError):
                yield from self._received(iter([Portion(shard, planned=self._planned(shard))]), singly=True)
            yield from self._last_results()
            have = self._assemblers.unfinished().get(shard.shard_id)
            has_come = shard.shard_id not in self._begun or (have is not None and have.n_utterances is not None)
            if has_come or shard.shard_id in self._excused:
                continue
            log.error("%s: reading it ends its process", shard.uri)
            self._assemblers.forget(shard.shard_id)
            unreadable = UtteranceError("bad_archive", "reading it ends its process, alone and every time")
            self._assemblers.add(_failed(shard, self._planned(shard), unreadable))
            yield from self._last_results()

    def _portions(self, number: int) -> Iterator[Portion]:
        """Return what the pass of this number has to read: first what earlier ones have begun."""
        return chain(self._begun_before(number) if number > 1 else (), self._new())

    def _new(self) -> Iterator[Portion]:
        for shard in self._shards:
            self._begun[shard.shard_id] = shard
            yield Portion(shard, planned=self._planned(shard))

    def _begun_before(self, number: int) -> list[Portion]:
        unfinished = self._assemblers.unfinished()
        portions: list[Portion] = []
        for shard_id, shard in self._begun.items():
            planned, have = self._planned(shard), unfinished.get(shard_id)
            if shard_id in self._corrupt:
                portions.append(Portion(shard, planned=planned))
                continue
            if have is None or have.n_outcomes != have.n_utterances:
                portions.append(Portion(shard, None, "known", planned))
            if have is None or have.n_utterances is None:
                portions.append(Portion(shard, None, "segments"))
            elif number == PASSES:
                portions += [Portion(shard, (ordinal,), "segments") for ordinal in have.missing]
            else:
                portions.append(Portion(shard, have.missing, "segments"))
        return portions

    def _note(self, shard_id: str, trouble: Exception) -> None:
        """Take an error of a worker: it concerns one shard, or the pass, or it ends the run."""
        match trouble:
            case SourceChangedError() if self._is_again:
                self._changed_again[shard_id] = trouble
                self._excused.add(shard_id)
            case SourceChangedError():
                self._changed.append(trouble)
                self._end(shard_id)
                log.warning("set aside: %s", trouble)
            case CorruptError():
                self._corrupt[shard_id] = trouble
                self._excused.add(shard_id)
            case RunAgain():
                self._cause = str(trouble)
                self._excused.add(shard_id)
            case _:
                raise trouble

    def _are_to_blame(self, have: Unfinished) -> bool:
        """Return True if the recordings that a shard lacks are what ends the encoders.

        They are if they are few, and something else has passed through the same encoders.
        """
        n_passed = self._n_done + have.n_outcomes - len(have.missing)
        return have.n_outcomes == have.n_utterances and len(have.missing) <= MAX_CRASHES and n_passed > 0

    def _give_up(self, shard_id: str) -> None:
        message = "the encoder's process dies on this recording, alone and every time"
        for utterance_id in self._assemblers.give_up(shard_id, "encoder_crash", message, PASSES):
            log.error("%s: the encoder's process dies on it", utterance_id)

    def _results(self) -> Iterator[Any]:
        """Yield what came of shards that were committed; one that was committed twice counts once."""
        for result in self._assemblers.take():
            self._corrupt.pop(result.shard_id, None)
            if self._end(result.shard_id):
                self._n_done += 1
                yield result

    def _end(self, shard_id: str) -> bool:
        """Forget a shard that needs nothing more; return False if it was none of those begun."""
        is_known = self._begun.pop(shard_id, None) is not None
        self._n_missing -= is_known
        return is_known


def _failed(shard: Shard, planned: Any, error: UtteranceError) -> pa.Table:
    """Return all pieces of a container that cannot be read: a failure for each member that is listed, or one for it."""
    places = [(member, name) for member, selections in shard.named_members() for name, _ in selections]
    failures = [pieces.failed(name, shard.uri, member, shard.size, "read", error) for member, name in places]
    rows = [pieces.outcome(shard.shard_id, *each) for each in enumerate(failures)]
    rows.append(pieces.shard_end(shard.shard_id, len(rows)))
    return pa.Table.from_pylist(list(pieces.of(Portion(shard, planned=planned), rows)), schema=pieces.EMBEDDED)
