"""A stream: blocks pass through decode tasks and encoders on Ray, so many at a time that memory is bounded.

```
 blocks            decode tasks                    encoders
┌────────────┐    ┌──────────────────────────┐    ┌──────────────────────────┐
│ some small ├───►│ 2 tables ahead of what   ├───►│ 2 tables each: computes  ├───► receipts
│ shards, or │    │ encoders take; then a    │    │ one while the other one  │
│ a large one│    │ task waits               │    │ comes                    │
└────────────┘    └──────────────────────────┘    └──────────────────────────┘
```

The driver passes references on; it sees receipts, and no audio. It begins a block as soon as a task has ended, so no
encoder waits for the end of what other encoders have.

An encoder whose process or machine is lost gives its tables back at once: other encoders take them, and a new encoder
is asked for in its place. Whatever else is lost is left out; :mod:`jobs.execution.retries` asks for it again.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import pyarrow as pa

from jobs.errors import WorkersLostError
from jobs.execution.blocks import Blocks
from jobs.execution.pool import Pool

TABLES_AHEAD = 2  # of a decode task: one that waits, one that is decoded
TABLES_AT_ENCODER = 2
TABLE_RETRIES = 2  # of a table whose encoder was lost
LOSSES_IN_A_ROW = 20  # of encoders, without a table that was encoded: not recordings end them, but something else
STORE_SHARE = 0.75  # of the object store, for tables
WAIT_SECONDS = 0.5
ROUND_SECONDS = 0.01  # what comes within this time is handled together
ROOM_SECONDS = 5.0  # between two looks at the cluster's size
END_SECONDS = 1.0  # for the end of a task's stream, which may have to come from another machine

log = logging.getLogger(__name__)


@dataclass(eq=False)
class Encoder:
    """An encoder actor, as the driver sees it."""

    actor: Any
    is_loaded: bool = False
    n_tables: int = 0
    computed: Any = None  # when it was lost: what it had in hand


class Table(NamedTuple):
    """A reference to a decoded table, and how many encoders were lost while they computed it."""

    reference: Any
    n_lost: int = 0


class Room(NamedTuple):
    """How much may be under way at once: decode tasks, and tables at encoders."""

    decoders: int
    tables: int


class RayStream:
    """One pass over blocks.

    Parameters
    ----------
    decode : callable
        Begins a decode task for a block, and returns the generator of its tables.
    encoder : callable
        Asks for an encoder, and returns its actor.
    pool : Pool
    resources : callable
        Returns what the cluster has: `CPU`, `GPU`, `memory`, `object_store_memory`.
    singly : bool
        If True, an encoder has one table at a time.
    """

    def __init__(
        self,
        decode: Callable[[list[str]], Any],
        encoder: Callable[[], Any],
        pool: Pool,
        resources: Callable[[], Mapping[str, float]],
        *,
        singly: bool = False,
    ) -> None:
        self._decode = decode
        self._encoder = encoder
        self._pool = pool
        self._resources = resources
        self._at_encoder = 1 if singly else TABLES_AT_ENCODER
        self._room = Room(1, 1)
        self._looked = float("-inf")
        self._encoders: list[Encoder] = []
        self._loading: dict[Any, Encoder] = {}
        self._decoding: dict[Any, None] = {}  # generators of which no table is ready
        self._ready: deque[Any] = deque()  # and those of which one is
        self._again: deque[Table] = deque()
        self._sent: dict[Any, tuple[Encoder, Table]] = {}
        self._n_losses = 0
        self._has_warned = False

    def tables(self, blocks: Blocks) -> Iterator[pa.Table]:
        """Yield what the encoders return, in no order.

        Raises
        ------
        WorkersLostError
            If encoders end one after the other, and nothing is encoded.
        """
        for _ in range(self._pool.encoders):  # all at once: an autoscaler brings their machines in one go
            self._ask_for_encoder()
        try:
            while True:
                self._begin(blocks)
                self._hand_over()
                if blocks.is_empty and not self._n_decoding and not self._again:
                    if not self._sent:
                        return
                    self._release_idle()
                if tables := self._take(self._come()):
                    yield pa.concat_tables(tables)
        finally:  # actors and tasks end when nothing refers to them
            for each in (self._encoders, self._loading, self._sent, self._decoding, self._ready, self._again):
                each.clear()

    @property
    def _n_decoding(self) -> int:
        return len(self._decoding) + len(self._ready)

    def _begin(self, blocks: Blocks) -> None:
        """Begin as many decode tasks as there is room for."""
        if time.monotonic() - self._looked > ROOM_SECONDS:
            n_loaded = sum(each.is_loaded for each in self._encoders)
            self._room = room_for(self._pool, self._resources(), max(1, n_loaded), self._at_encoder)
            self._looked = time.monotonic()
        while self._n_decoding < self._room.decoders and (block := blocks.take(self._room.decoders)):
            self._decoding[self._decode(block)] = None

    def _hand_over(self) -> None:
        """Give tables to encoders that have room, the least busy first."""
        while len(self._sent) < self._room.tables:
            loaded = [each for each in self._encoders if each.is_loaded and each.n_tables < self._at_encoder]
            if not loaded or (table := self._next()) is None:
                return
            encoder = min(loaded, key=lambda each: each.n_tables)
            encoder.n_tables += 1
            self._sent[encoder.actor.encode.remote(table.reference)] = (encoder, table)

    def _next(self) -> Table | None:
        """Return a table that no encoder has."""
        if self._again:
            return self._again.popleft()
        while self._ready:
            generator = self._ready.popleft()
            with contextlib.suppress(StopIteration):  # it has ended
                reference = generator._next_sync(timeout_s=0)
                self._decoding[generator] = None
                if not reference.is_nil():
                    return Table(reference)
        return None

    def _come(self) -> list[Any]:
        """Wait for what comes first; return it with what comes right after it."""
        import ray

        due = [*self._sent, *self._loading, *self._decoding]
        if not due:  # tables wait for room
            time.sleep(ROUND_SECONDS)
            return []
        came, _ = ray.wait(due, timeout=WAIT_SECONDS, fetch_local=False)
        if came and len(due) > 1:
            time.sleep(ROUND_SECONDS)
            came, _ = ray.wait(due, num_returns=len(due), timeout=0, fetch_local=False)
        return list(came)

    def _take(self, came: list[Any]) -> list[pa.Table]:
        """Take note of what has come; return the tables that were encoded."""
        tables = []
        for each in came:
            if each in self._sent:
                if (table := self._result(each)) is not None:
                    tables.append(table)
            elif each in self._loading:
                self._note_loaded(each)
            elif each in self._decoding:
                del self._decoding[each]
                if not (each._stream_exhausted() and self._has_ended(each)):
                    self._ready.append(each)
        return tables

    def _has_ended(self, generator: Any) -> bool:
        """Return True if a task whose tables were all taken has ended; False if that is not known yet."""
        try:
            reference = generator._next_sync(timeout_s=END_SECONDS)
        except StopIteration:
            return True
        if reference.is_nil():
            return False
        self._warn("a decode task")
        return True

    def _note_loaded(self, reference: Any) -> None:
        import ray

        encoder = self._loading.pop(reference)
        try:
            ray.get(reference)
            encoder.is_loaded = True
        except ray.exceptions.RayError as error:
            self._lose(encoder, error)

    def _result(self, reference: Any) -> pa.Table | None:
        """Return what an encoder returned; None if it was lost, or the table."""
        import ray

        encoder, table = self._sent[reference]
        try:
            result: pa.Table | None = ray.get(reference)
        except ray.exceptions.RayActorError as error:
            self._lose(encoder, error)
            n_lost = table.n_lost + (encoder.computed is table.reference)  # the other one only waited
            if n_lost <= TABLE_RETRIES:
                self._again.append(Table(table.reference, n_lost))
        except ray.exceptions.RayError as error:
            self._warn(f"a table ({type(error).__name__})")
        else:
            self._n_losses = 0
            return result
        finally:
            del self._sent[reference]
            encoder.n_tables -= 1
        return None

    def _lose(self, encoder: Encoder, error: Exception) -> None:
        """Replace an encoder whose process or machine is gone, or cannot be reached."""
        import ray

        if encoder not in self._encoders:
            return
        self._encoders.remove(encoder)
        computing = (table.reference for each, table in self._sent.values() if each is encoder)
        encoder.computed = next(computing, None)  # an encoder computes its tables in turn
        self._warn("an encoder")
        ray.kill(encoder.actor)  # it may run where we do not reach it
        self._n_losses += 1
        if self._n_losses > max(LOSSES_IN_A_ROW, 3 * self._pool.encoders):
            raise WorkersLostError(f"{self._n_losses} encoders ended, and nothing was encoded between") from error
        self._ask_for_encoder()

    def _ask_for_encoder(self) -> None:
        encoder = Encoder(self._encoder())
        self._encoders.append(encoder)
        self._loading[encoder.actor.ready.remote()] = encoder

    def _release_idle(self) -> None:
        """Let encoders go that will have nothing more to do, and their machines with them."""
        self._encoders = [each for each in self._encoders if each.n_tables]
        self._loading = {reference: each for reference, each in self._loading.items() if each.n_tables}

    def _warn(self, what: str) -> None:
        """Log the first loss; a lost machine has many."""
        if not self._has_warned:
            log.warning("%s was lost; what it had is done again", what)
        self._has_warned = True


def room_for(pool: Pool, resources: Mapping[str, float], n_encoders: int, at_encoder: int) -> Room:
    """Return how much may be under way in a cluster, so that its object stores hold all tables.

    Parameters
    ----------
    n_encoders : int
        Encoders that are loaded.
    at_encoder : int
        Tables that each of them may have.

    Examples
    --------
    >>> from jobs.config import RunConfig
    >>> from jobs.execution.pool import fit_pool
    >>> machine = {"CPU": 4.0, "memory": 8e9, "object_store_memory": float(256 << 20)}
    >>> room_for(fit_pool(RunConfig(encoders="3"), cpus=4, gpus=0), machine, 3, 2)
    Room(decoders=2, tables=20)
    """
    room = int(STORE_SHARE * resources.get("object_store_memory", 0.0) / pool.window_bytes)
    seats = pool.encoders if not pool.encoder_gpus else int(resources.get("GPU", 0.0) / pool.encoder_gpus)
    cpus = resources.get("CPU", 0.0) - min(seats, pool.encoders) * pool.encoder_cpus
    fit = min(cpus / pool.decode_cpus + 1e-6, resources.get("memory", 0.0) / pool.decode_bytes)
    by_store = (room - at_encoder * n_encoders) // TABLES_AHEAD
    decoders = max(1, min(int(fit), by_store, pool.decoders or int(fit)))
    return Room(decoders, max(n_encoders, room - TABLES_AHEAD * decoders))
