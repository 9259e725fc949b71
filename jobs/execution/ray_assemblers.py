"""Assemblers as Ray actors, the driver's view of them, and the way in which encoders deliver pieces to them.

```
encoder ─┬─ pieces, by a hash of the shard ─►  assembler ─┬─ 8 commits at once ─► store
         └─ receipts ─► driver ◄── what was committed ────┘
```

Nothing is taken of an encoder whose canaries the driver has not compared: it introduces itself to an assembler, which
tells the driver, and holds its pieces until then.

An assembler that is killed starts again empty. What it held is missing after the pass and is done again in the next
one; what it had written is found there by conditional PUTs. An encoder that starts again gets its table again, and asks
the assemblers what has arrived of it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
import zlib
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jobs import storage
from jobs.errors import RunAgain
from jobs.execution.assemblers import Assembler, Commit, Reply, Unfinished
from jobs.execution.assembly import ShardRows
from jobs.execution.ray_registry import STAYING, RayReporter
from jobs.execution.worker_lifeline import WorkerLifeline
from jobs.execution.worker_registry import steady_progress
from jobs.inputs import pieces

COMMITS_AT_ONCE = 8  # for each assembler: at 80 ms a request they are 33 shards a second
DELIVERIES_AT_ONCE = 4  # that an assembler takes, or holds back
ANSWER_SECONDS = 10.0
POLL_SECONDS = 0.5
REPLY_SECONDS = 0.05  # that the driver waits for replies which come at once; it takes later ones with the next poll
APPROVAL_SECONDS = 60.0  # that an encoder waits for, with what it holds
HELD_PAUSE_SECONDS = 0.1  # between two attempts to deliver that
CALL_RETRIES = 2  # by Ray, of a call whose assembler was lost; all calls may be repeated
ACTOR: dict[str, Any] = {
    "num_cpus": 0,  # none of its own, so that it takes none from decode
    "scheduling_strategy": "SPREAD",
    **STAYING,
    "max_restarts": -1,  # machines go away
    "max_task_retries": CALL_RETRIES,
    "concurrency_groups": {"deliveries": DELIVERIES_AT_ONCE, "driver": 1},
}


class AssemblerActor(Assembler):
    """An assembler in an actor of Ray; its process ends with the run.

    Parameters
    ----------
    lifeline : WorkerLifeline, optional
        None in a cluster.
    commit : callable
    reporter : RayReporter
    store_patience : float
        Seconds for which a request to the store is retried.
    private : bool
        True if what is written on local disks is for this user alone.
    """

    _is_ready = False

    def __init__(
        self,
        lifeline: WorkerLifeline | None,
        commit: Commit,
        reporter: RayReporter,
        store_patience: float,
        *,
        private: bool,
    ) -> None:
        if lifeline is not None:
            lifeline.hold()
        storage.set_retry_budget(store_patience, answered=True)
        if private:
            storage.set_private()

        def reported(rows: ShardRows) -> Any:
            # the store may make a commit wait; without reports the watchdog would take that for a stall
            with steady_progress(reporter, f"committing shard {rows.shard_id}"):
                committed = commit(rows)
            reporter.idle()
            return committed

        super().__init__(reported, COMMITS_AT_ONCE)
        self._is_ready = True

    def __del__(self) -> None:
        if self._is_ready:  # as an encoder ends: see jobs.execution.cluster.EncoderActor
            os.kill(os.getpid(), signal.SIGKILL)


class RayAssemblers:
    """The driver's view of the assemblers of a run: see :class:`jobs.execution.assemblers.Assemblers`.

    Parameters
    ----------
    number : int
        Of assemblers.
    how
        The parameters of :class:`AssemblerActor`.
    """

    def __init__(self, number: int, *how: Any, **more: Any) -> None:
        import ray

        actor = ray.remote(**ACTOR)(AssemblerActor)
        self._actors = [actor.remote(*how, **more) for _ in range(number)]
        self._due: dict[int, Any] = {}  # replies, by the numbers of their assemblers
        self._replies: dict[int, Reply] = {}  # the last one of each
        self._results: list[Any] = []
        self._introduced: list[pa.Table] = []
        self._polled = 0.0
        self._adding: list[Any] = []

    @property
    def delivery(self) -> Delivery:
        """What encoders deliver pieces with."""
        return Delivery(self._actors)

    @property
    def n_open(self) -> int:
        """Shards of which some pieces have arrived, but not all, when the assemblers were last asked."""
        return sum(each.n_open for each in self._replies.values())

    def approve(self, canaries: Collection[str]) -> None:
        """Let encoders deliver pieces themselves if their canaries have one of these digests."""
        for actor in self._actors:
            _call(actor.approve, "driver", canaries)

    def commit_empty(self) -> None:
        """Commit shards without an utterance, too; one that starts again returns them until it is asked once more."""
        for actor in self._actors:
            _call(actor.commit_empty, "driver")

    def add(self, table: pa.Table) -> None:
        """Deliver pieces from the driver, which does not wait for their assemblers."""
        self._adding += [_call(actor.add, "deliveries", part) for actor, part in divided(table, self._actors)]

    def take(self) -> list[Any]:
        """Return the results of shards that were committed since the last call; asks twice a second at most."""
        if time.monotonic() - self._polled > POLL_SECONDS:
            self._poll(REPLY_SECONDS)
        results, self._results = self._results, []
        return results

    def introduced(self) -> list[pa.Table]:
        """Return the canaries that wait to be approved, of which assemblers have told since the last call."""
        introduced, self._introduced = self._introduced, []
        return introduced

    def is_idle(self) -> bool:
        """Return True if no commit is under way, and all results were taken."""
        import ray

        if self._adding:
            _, self._adding = ray.wait(self._adding, num_returns=len(self._adding), timeout=POLL_SECONDS)
        if self._due:
            self._poll(POLL_SECONDS)  # these replies are older than the question
        if self._adding or self._due:
            return False
        self._poll(POLL_SECONDS)
        return not self._due and not self._results and not any(each.n_committing for each in self._replies.values())

    def unfinished(self) -> Mapping[str, Unfinished]:
        """Return what has arrived of shards that are not whole; nothing of those that a lost assembler had."""
        found: dict[str, Unfinished] = {}
        for actor in self._actors:
            found.update(self._answer(actor.unfinished) or {})
        return found

    def forget(self, shard_id: str) -> None:
        """Drop the pieces of a shard."""
        self._answer(assembler_of(shard_id, self._actors).forget, shard_id)

    def give_up(self, shard_id: str, error: str, message: str, attempts: int) -> list[str]:
        """Make the missing utterances of a shard failures, and commit it; return their ids, if it can be done."""
        actor = assembler_of(shard_id, self._actors)
        return self._answer(actor.give_up, shard_id, error, message, attempts) or []

    def _answer(self, method: Any, *arguments: Any) -> Any:
        """Return an assembler's answer; None if it has none."""
        import ray

        try:
            return ray.get(_call(method, "driver", *arguments), timeout=ANSWER_SECONDS)
        except ray.exceptions.RayError:
            return None

    def _poll(self, seconds: float) -> None:
        """Ask every assembler that owes no reply, and take the replies that come within so many seconds."""
        import ray

        self._polled = time.monotonic()
        for number, actor in enumerate(self._actors):
            if number not in self._due:
                seen = [each.shard_id for each in self._replies[number].results] if number in self._replies else []
                self._due[number] = _call(actor.reply, "driver", seen)
        came, _ = ray.wait(list(self._due.values()), num_returns=len(self._due), timeout=seconds)
        for number in [number for number, due in self._due.items() if due in set(came)]:
            try:
                reply = Reply(*ray.get(self._due.pop(number)))
            except ray.exceptions.RayError:  # it was lost; another one starts in its place
                reply = Reply([], 0, 0, [])
            self._replies[number] = reply
            self._results += reply.results
            self._introduced += reply.introduced


class Delivery:
    """The way in which one encoder delivers pieces; it can be sent to a worker.

    An encoder does not wait for an assembler's answer: it is looked at with the next delivery, or by :meth:`finish`.
    """

    def __init__(self, actors: list[Any]) -> None:
        self._actors = actors
        self._digest = ""  # of the encoder's canaries
        self._canaries = pieces.EMBEDDED.empty_table()
        self._held = pieces.EMBEDDED.empty_table()
        self._sent: list[tuple[Any, pa.Table, Any]] = []  # an assembler, pieces, and the answer that is due

    def __call__(self, table: pa.Table) -> pa.Table:
        """Deliver the pieces in a table of :data:`jobs.inputs.pieces.EMBEDDED`; return what is for the driver.

        Pieces are held, and delivered with the next ones, while the encoder's canaries are not approved.

        Raises
        ------
        RunAgain
            If an assembler was lost, repeatedly, with the pieces of this call or of the one before.
        """
        self._settle()
        for vectors, versions in pieces.canaries_in(table):
            self._digest, self._canaries = pieces.canaries_digest(vectors, versions), pieces.canary_rows(table)
            self._introduce(assembler_of(self._digest, self._actors))
        for_driver, rest = pieces.for_driver(table)
        parts = divided(pa.concat_tables([self._held, rest]), self._actors)
        self._held = pieces.EMBEDDED.empty_table()
        self._sent = [(actor, part, _call(actor.deliver, "deliveries", part, self._digest)) for actor, part in parts]
        return for_driver

    def finish(self) -> None:
        """Return once all pieces were taken: those that are held, as soon as the driver has compared the canaries.

        Raises
        ------
        RunAgain
            If it does not do so in :data:`APPROVAL_SECONDS`, or an assembler was lost, repeatedly.
        """
        until = time.monotonic() + APPROVAL_SECONDS
        self._settle()
        while len(self._held):
            if time.monotonic() > until:
                raise RunAgain(f"the canaries of an encoder were not compared in {APPROVAL_SECONDS:g} s")
            time.sleep(HELD_PAUSE_SECONDS)
            self(pieces.EMBEDDED.empty_table())
            self._settle()

    def arrived(self, table: pa.Table) -> pa.Array:
        """Return for each row of a table of :data:`jobs.inputs.pieces.DECODED` if it is a segment that has arrived.

        None has where an assembler was lost.
        """
        is_segment = table["samples"].is_valid()
        numbered = table.select(["shard_id", "ordinal", "segment"]).append_column("row", pa.array(range(len(table))))
        parts = divided(numbered.filter(is_segment), self._actors)
        has_arrived = np.zeros(len(table), dtype=bool)
        with contextlib.suppress(RunAgain):
            rows = _answers([_call(actor.arrived, "deliveries", part) for actor, part in parts])
            for (_, part), here in zip(parts, rows, strict=True):
                has_arrived[part["row"].to_numpy()[here]] = True
        return pa.array(has_arrived)

    def _settle(self) -> None:
        """Look at the answers that are due, and hold what was refused."""
        sent, self._sent = self._sent, []
        taken = _answers([answer for _, _, answer in sent])
        refused = [(actor, part) for (actor, part, _), is_taken in zip(sent, taken, strict=True) if not is_taken]
        if refused:
            self._held = pa.concat_tables([part for _, part in refused])
            self._introduce(refused[0][0])  # once the driver knows, it tells all; one that starts again refuses alone

    def _introduce(self, actor: Any) -> None:
        _answers([_call(actor.introduce, "deliveries", self._digest, self._canaries)])


def divided(table: pa.Table, assemblers: list[Any]) -> list[tuple[Any, pa.Table]]:
    """Return the pieces of all shards of an assembler, for each that has any."""
    shard_ids: dict[Any, list[str]] = {}
    for each in table["shard_id"].unique().to_pylist():
        shard_ids.setdefault(assembler_of(each, assemblers), []).append(each)
    return [(each, table.filter(pc.is_in(table["shard_id"], pa.array(ids)))) for each, ids in shard_ids.items()]


def assembler_of(shard_id: str, assemblers: list[Any]) -> Any:
    """Return the one assembler of a shard.

    Examples
    --------
    >>> [assembler_of(name, ["first", "second"]) for name in ("a", "b", "c", "d")]
    ['second', 'second', 'second', 'first']
    """
    return assemblers[zlib.crc32(shard_id.encode()) % len(assemblers)]


def _answers(calls: list[Any]) -> list[Any]:
    """Return what assemblers answer; raise RunAgain if one was lost."""
    import ray

    try:
        return list(ray.get(calls))
    except ray.exceptions.RayError as error:
        raise RunAgain(f"an assembler was lost: {type(error).__name__}") from error


def _call(method: Any, group: str, *arguments: Any) -> Any:
    """Call a method of an actor, in one of its groups of threads; return the reference to its answer."""
    return method.options(concurrency_group=group).remote(*arguments)
