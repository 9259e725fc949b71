"""Attempts to embed shards: what each pass reads, and which recordings end their encoder.

```
pass 1   whole shards                     a lost worker costs what it held
pass 2   utterances that are missing      those of one shard together
pass 3   the same, each on its own        a recording that is lost alone, while its neighbours pass, is the cause
```
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator

import pyarrow as pa

from jobs.errors import CorruptError, RunAgain, SourceChangedError, WorkersLostError, from_text
from jobs.execution.assembly import ShardAssembler, ShardRows, failed_to_embed
from jobs.execution.retries import PASSES
from jobs.inputs.archive import Portion, Shard

MAX_CRASHES = 3  # in one shard: if more recordings end their encoder, the recordings are not the cause

log = logging.getLogger(__name__)

Stream = Callable[[list[Portion], bool], Iterator[pa.Table]]


class EmbeddingAttempts:
    """Shards to embed, as :class:`jobs.execution.retries.Work` whose results are whole shards.

    Parameters
    ----------
    shards : list of Shard
    stream : callable
        Yields pieces of :data:`jobs.inputs.pieces.EMBEDDED` of the portions, in no order, without those that were
        lost. If its second argument is True, an encoder gets one table at a time.
    """

    verb = "embed"

    def __init__(self, shards: list[Shard], stream: Stream) -> None:
        self._missing = {shard.shard_id: shard for shard in shards}
        self._stream = stream
        self._cause = "its workers were lost"
        self._assembler = ShardAssembler()
        self._changed: list[SourceChangedError] = []
        self._corrupt: dict[str, CorruptError] = {}
        self._n_done = 0

    @property
    def is_done(self) -> bool:
        """True if every shard is whole or set aside."""
        return not self._missing

    def attempt(self, number: int) -> Iterator[ShardRows]:
        """Stream what is missing; yield each shard once, when it is whole.

        Raises
        ------
        ConfigError, SchemaError, StorageError, DefectError
            The error of a worker that every other shard would meet too.
        """
        for table in self._stream(self._portions(number), number > 1):
            troubles = table.filter(table["trouble"].is_valid())
            for shard_id, text in zip(troubles["shard_id"].to_pylist(), troubles["trouble"].to_pylist(), strict=True):
                self._note(shard_id, from_text(text))
            for rows in self._assembler.add(table.filter(table["trouble"].is_null())):
                yield self._done(rows)

    def end_pass(self, lost: WorkersLostError | None) -> None:
        """Drop shards of corrupt bytes as a whole, now that no piece of them is under way."""
        self._cause = str(lost or self._cause)
        for shard_id, error in self._corrupt.items():
            self._assembler.forget(shard_id)
            self._cause = str(error)

    def describe_missing(self) -> str:
        """Return the number of shards that are not whole, the first that has pieces, and the cause."""
        first = min((not self._assembler.rows(key).outcomes, shard.uri) for key, shard in self._missing.items())[1]
        return f"{len(self._missing)} shard(s) not whole, first {first}: {self._cause}"

    def finish(self) -> Iterator[ShardRows]:
        """Fail the few recordings that end their encoder every time.

        Raises
        ------
        CorruptError
            If a source's bytes were wrong every time.
        SourceChangedError
            If a source was replaced or removed since the plan; all other shards are done.
        """
        for shard_id in list(self._missing):
            if (rows := self._without_crashing(shard_id)) is not None:
                yield self._done(rows)
        for shard_id in self._missing:
            if shard_id in self._corrupt:
                raise self._corrupt[shard_id]
        if self.is_done and self._changed:
            raise SourceChangedError(
                f"{len(self._changed)} shard(s) set aside, all others are committed; first: {self._changed[0]}"
            )

    def _portions(self, number: int) -> list[Portion]:
        """Return what the pass of this number has to read."""
        if number == 1:
            return [Portion(shard) for shard in self._missing.values()]
        portions: list[Portion] = []
        for shard_id, shard in self._missing.items():
            rows = self._assembler.rows(shard_id)
            if shard_id in self._corrupt:
                portions.append(Portion(shard))
            elif rows.n_utterances is None:
                portions += [Portion(shard, None, "known"), Portion(shard, None, "segments")]
            elif number == PASSES:
                portions += [Portion(shard, (ordinal,), "segments") for ordinal in rows.missing]
            else:
                portions.append(Portion(shard, tuple(rows.missing), "segments"))
        return portions

    def _note(self, shard_id: str, trouble: Exception) -> None:
        """Take an error of a worker: it concerns one shard, or the pass, or it ends the run."""
        match trouble:
            case SourceChangedError():
                self._changed.append(trouble)
                self._missing.pop(shard_id, None)
                log.warning("set aside: %s", trouble)
            case CorruptError():
                self._corrupt[shard_id] = trouble
            case RunAgain():
                self._cause = str(trouble)
            case _:
                raise trouble

    def _without_crashing(self, shard_id: str) -> ShardRows | None:
        """Return a shard with failures for the recordings that end their encoder; None if they are not the cause.

        They are the cause if they are few, and something else has passed through the same encoders.
        """
        rows = self._assembler.rows(shard_id)
        n_passed = self._n_done + len(rows.outcomes) - len(rows.missing)
        if rows.n_utterances is None or len(rows.missing) > MAX_CRASHES or not n_passed:
            return None
        for ordinal in rows.missing:
            log.error("%s: the encoder's process dies on it", rows.outcomes[ordinal]["utterance_id"])
            message = "the encoder's process dies on this recording, alone and every time"
            rows.outcomes[ordinal] = failed_to_embed(rows.outcomes[ordinal], "encoder_crash", message, PASSES)
        return self._assembler.close(shard_id)

    def _done(self, rows: ShardRows) -> ShardRows:
        self._n_done += 1
        self._corrupt.pop(rows.shard_id, None)
        self._missing.pop(rows.shard_id, None)
        return rows
