"""A runner: what embedding and scoring need from the machines that do their work."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol

import pyarrow as pa

from jobs.execution.assemblers import Assemblers, Commit
from jobs.execution.confinement_level import ConfinementLevel
from jobs.execution.encoder_stats import PoolStats
from jobs.execution.pool import Pool
from jobs.execution.stop_request import StopRequest
from jobs.execution.watchdog import Watchdog
from jobs.execution.work import Work
from jobs.inputs.shards import Amount, Portion


class Runner(Protocol):
    """Runs the stages of :mod:`jobs.execution.stages` somewhere, and streams their results back.

    There are two: :class:`jobs.execution.cluster.Cluster` on Ray, and :class:`jobs.execution.local.LocalRunner`.
    """

    @property
    def encoder_stats(self) -> PoolStats:
        """Statistics of the encoders that have worked for this run."""

    @property
    def confinement(self) -> ConfinementLevel:
        """The weakest confinement of the decoders that have worked for this run."""

    def pool(self, amount: Amount, /) -> Pool:
        """Return the sizes of the encoder pool that is to embed so much.

        Raises
        ------
        ConfigError
            If a GPU is required and there is none, or if the encoders leave no CPU for a decode task.
        """

    def assemblers(self, commit: Commit, pool: Pool, /) -> Assemblers:
        """Return the assemblers that are to put shards together, and to commit each of them by ``commit``."""

    def embed_portions(self, portions: Iterable[Portion], work: Work, /, *, singly: bool = False) -> Iterator[pa.Table]:
        """Stream portions of shards through decode and the encoders.

        Parameters
        ----------
        portions : iterable of Portion
            Each is asked for when there is room for it.
        work : Work
        singly : bool
            If True, an encoder gets one table at a time. Used after workers were lost: a table that waits at an
            encoder is lost with it when a recording ends the encoder's process.

        Yields
        ------
        pyarrow.Table
            Tables of :data:`jobs.inputs.pieces.EMBEDDED`, in no order: receipts, errors, canaries, and those pieces
            that no encoder has delivered to their assemblers. What a lost worker held is missing. Tables may be empty.

        Raises
        ------
        WorkersLostError
            If the machines are gone as a whole.
        RunAgain
            If the run makes no progress, or SIGTERM came.
        """

    def map_items(
        self, function: Callable[[str], dict[str, Any]], items: Sequence[str], watchdog: Watchdog, stop: StopRequest
    ) -> Iterator[dict[str, Any]]:
        """Call ``function`` on every item; yield the results in no order, without those of lost workers.

        Raises
        ------
        ConfigError, SchemaError, StorageError, DefectError, RunAgain
            The error that ``function`` raised, or as :meth:`embed_portions`.
        """

    def end(self, *, is_clean: bool) -> None:
        """End what was started for the run; ``is_clean`` is False after an error."""
