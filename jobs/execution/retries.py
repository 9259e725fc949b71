"""Attempts: shards through the encoders, again where workers were lost, with a bound; what keeps failing is split.

```
pass 1   whole shards                     a lost worker costs what it had in hand
pass 2   utterances that are lacking      of one shard together
pass 3   the same, each on its own        whoever dies alone, while its neighbours pass, is the one that does it
```

Knows nothing of Ray: it is given something that streams portions into pieces.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Iterator

import pyarrow as pa

from jobs.errors import CorruptError, RunAgain, SourceChangedError, StalledError, WorkersLostError, from_text
from jobs.execution.assembly import ShardAssembler, ShardRows, failed_to_embed
from jobs.inputs.shards import Portion, Shard
from jobs.telemetry import metrics

PASSES = 3
PAUSE_SECONDS = 2.0  # before the second pass, with jitter; doubles
MAX_CRASHES = 3  # in one shard; where more die, it is not the recordings

log = logging.getLogger(__name__)

Stream = Callable[[list[Portion], bool], Iterator[pa.Table]]


def embed_all(stream: Stream, shards: list[Shard], pause: Callable[[float], None] = time.sleep) -> Iterator[ShardRows]:
    """Stream shards until each is whole.

    Parameters
    ----------
    stream : callable
        Gives pieces of :data:`jobs.inputs.pieces.EMBEDDED` of the portions, in no order, less what was lost. Its second
        argument says whether tables are to reach an encoder one at a time, so that none is lost with another.
    shards : list of Shard
    pause : callable
        Waits so many seconds.

    Yields
    ------
    ShardRows
        Each shard once, when it is whole.

    Raises
    ------
    ConfigError, SchemaError, StorageError, DefectError
        What a worker ran into, at once: it would be so for every shard.
    CorruptError
        Where a source's bytes are wrong every time.
    SourceChangedError
        At the end, where a source was replaced or removed since the plan; the other shards were given out.
    RunAgain
        At the end, where a shard did not become whole in :data:`PASSES` passes.
    """
    work = _Attempts(shards)
    for number in range(1, PASSES + 1):
        try:
            for table in stream(work.portions(number), number > 1):
                yield from work.take(table)
        except WorkersLostError as error:
            work.notes = str(error)
        except StalledError as error:
            if work.left:  # else nothing is lost but the end of the stream
                raise StalledError(f"{error} {work.complaint()}") from error
        work.end_pass()
        if not work.left:
            break
        metrics.count("bonafide_workers_lost_total", verb="embed")
        log.warning("pass %d of %d: %s", number, PASSES, work.complaint())
        if number < PASSES:
            pause(PAUSE_SECONDS * 2 ** (number - 1) * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
    yield from work.verdicts()
    work.raise_what_is_left()


class _Attempts:
    """What came of each shard so far."""

    def __init__(self, shards: list[Shard]) -> None:
        self.left = {shard.shard_id: shard for shard in shards}
        self.notes = "its workers were lost"
        self._gatherer = ShardAssembler()
        self._changed: list[SourceChangedError] = []
        self._corrupt: dict[str, CorruptError] = {}
        self._n_given = 0

    def portions(self, number: int) -> list[Portion]:
        """What is left to read, in the pass of this number."""
        if number == 1:
            return [Portion(shard) for shard in self.left.values()]
        found: list[Portion] = []
        for shard_id, shard in self.left.items():
            rows = self._gatherer.rows(shard_id)
            if shard_id in self._corrupt:
                found.append(Portion(shard))
            elif rows.n_utterances is None:
                found += [Portion(shard, None, "known"), Portion(shard, None, "segments")]
            elif number == PASSES:
                found += [Portion(shard, (ordinal,), "segments") for ordinal in rows.lacking]
            else:
                found.append(Portion(shard, tuple(rows.lacking), "segments"))
        return found

    def take(self, table: pa.Table) -> Iterator[ShardRows]:
        """Gather pieces; give out the shards that they complete."""
        troubles = table.filter(table["trouble"].is_valid())
        for shard_id, text in zip(troubles["shard_id"].to_pylist(), troubles["trouble"].to_pylist(), strict=True):
            self._note(shard_id, from_text(text))
        for rows in self._gatherer.add(table.filter(table["trouble"].is_null())):
            yield self._given(rows)

    def _note(self, shard_id: str, trouble: Exception) -> None:
        match trouble:
            case SourceChangedError():
                self._changed.append(trouble)
                self.left.pop(shard_id, None)
                log.warning("set aside: %s", trouble)
            case CorruptError():
                self._corrupt[shard_id] = trouble
            case RunAgain():
                self.notes = str(trouble)
            case _:
                raise trouble

    def end_pass(self) -> None:
        """All that was under way has arrived or is lost: now a shard of wrong bytes can be dropped as a whole."""
        for shard_id, error in self._corrupt.items():
            self._gatherer.forget(shard_id)
            self.notes = str(error)

    def verdicts(self) -> Iterator[ShardRows]:
        """Give rows of their own to the few recordings that an encoder dies of, where all others pass."""
        for shard_id in list(self.left):
            rows = self._gatherer.rows(shard_id)
            passed = self._n_given + len(rows.outcomes) - len(rows.lacking)
            if rows.n_utterances is None or len(rows.lacking) > MAX_CRASHES or not passed:
                continue
            for ordinal in rows.lacking:
                log.error("%s: the encoder dies of it", rows.outcomes[ordinal]["utterance_id"])
                message = "the encoder's process dies on this recording, alone and every time"
                rows.outcomes[ordinal] = failed_to_embed(rows.outcomes[ordinal], "encoder_crash", message, PASSES)
            whole = self._gatherer.close(shard_id)
            if whole is not None:
                yield self._given(whole)

    def complaint(self) -> str:
        """Which shards are not whole: first one of which something came."""
        first = min((not self._gatherer.rows(key).outcomes, shard.uri) for key, shard in self.left.items())[1]
        return f"{len(self.left)} shard(s) not whole, first {first}: {self.notes}"

    def raise_what_is_left(self) -> None:
        for shard_id in self.left:
            if shard_id in self._corrupt:
                raise self._corrupt[shard_id]
        if self.left:
            raise RunAgain(f"gave up after {PASSES} passes: {self.complaint()}. Run the same command again.")
        if self._changed:
            raise SourceChangedError(
                f"{len(self._changed)} shard(s) set aside, all others are committed; first: {self._changed[0]}"
            )

    def _given(self, rows: ShardRows) -> ShardRows:
        self._n_given += 1
        self._corrupt.pop(rows.shard_id, None)
        self.left.pop(rows.shard_id, None)
        return rows
