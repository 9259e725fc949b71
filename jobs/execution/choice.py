"""The choice of a runner: Ray for large work and for clusters, this machine without Ray for small work."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from jobs import storage
from jobs.config import AUTO, LOCAL, RAY, RunConfig
from jobs.execution.assemblers import Assemblers, Commit
from jobs.execution.confinement_level import ConfinementLevel
from jobs.execution.encoder_stats import PoolStats
from jobs.execution.gpus import visible_gpus
from jobs.execution.pandas_import import keep_pandas_out, let_pandas_in
from jobs.execution.pool import Pool
from jobs.execution.runner import Runner
from jobs.execution.stop_request import StopRequest
from jobs.execution.watchdog import Watchdog
from jobs.execution.work import Work
from jobs.inputs.shards import Amount, Portion

EMBED = "embed"
LOCAL_BYTES = 32 << 20  # of recordings: containers do not say how many they hold
LOCAL_ITEMS = 256  # shards of stored rows, each of 512 rows or of one container

log = logging.getLogger(__name__)


class ChosenRunner:
    """The runner that `--runner` names; with `auto` it is chosen when the size of the work is known.

    Ray is started, or imported, only if it is chosen.

    Parameters
    ----------
    config : RunConfig

    Attributes
    ----------
    chosen : dict of str
        The runner of each kind of work that this run has done so far, `embed` and `score`; for its record.
    """

    def __init__(self, config: RunConfig) -> None:
        keep_pandas_out()
        self.chosen: dict[str, str] = {}
        self._config = config
        self._runners: dict[str, Runner] = {}
        self._requests_before = Counter(storage.request_counts())
        storage.set_retry_budget(config.store_patience)

    def __enter__(self) -> ChosenRunner:
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        self.end(is_clean=kind is None)

    def end(self, *, is_clean: bool) -> None:
        """End all runners that were taken; ``is_clean`` is False after an error."""
        for runner in self._runners.values():
            runner.end(is_clean=is_clean)

    @property
    def requests(self) -> dict[str, int]:
        """Requests to the store since this was made, by kind: of this process, and of all workers that reported any."""
        counts = Counter(storage.request_counts()) - self._requests_before
        for runner in self._runners.values():
            counts.update(runner.encoder_stats.requests)
        return {kind: counts[kind] for kind in self._requests_before}

    @property
    def encoder_stats(self) -> PoolStats:
        """Statistics of the encoders that have worked for this run."""
        return self._embedder.encoder_stats

    @property
    def confinement(self) -> ConfinementLevel:
        """The weakest confinement of the decoders that have worked for this run."""
        return self._embedder.confinement

    def pool(self, amount: Amount) -> Pool:
        """Choose the runner that embeds so much, and return the sizes of its encoder pool."""
        size = f"{amount.n_recordings} recordings or containers of {amount.n_bytes / 1e6:.1f} MB"
        is_small = amount.n_recordings <= self._config.local_recordings and amount.n_bytes <= LOCAL_BYTES
        return self._choose(EMBED, size, is_small, uses_encoder=True).pool(amount)

    def assemblers(self, commit: Commit, pool: Pool) -> Assemblers:
        """Return the assemblers of the runner that :meth:`pool` has chosen."""
        return self._embedder.assemblers(commit, pool)

    def embed_portions(self, portions: Iterable[Portion], work: Work, *, singly: bool = False) -> Iterator[pa.Table]:
        """Embed on the runner that :meth:`pool` has chosen: see :class:`jobs.execution.runner.Runner`."""
        return self._embedder.embed_portions(portions, work, singly=singly)

    def map_items(
        self, function: Callable[[str], dict[str, Any]], items: Sequence[str], watchdog: Watchdog, stop: StopRequest
    ) -> Iterator[dict[str, Any]]:
        """Choose the runner for these items, and call ``function`` on each."""
        runner = self._choose(function.__name__, f"{len(items)} shards", len(items) <= LOCAL_ITEMS)
        return runner.map_items(function, items, watchdog, stop)

    @property
    def _embedder(self) -> Runner:
        return self._runners[self.chosen[EMBED]]

    def _choose(self, work: str, size: str, is_small: bool, *, uses_encoder: bool = False) -> Runner:
        reason = reason_for_ray(self._config, os.environ, visible_gpus() if uses_encoder else 0)
        if self._config.runner != AUTO:
            name, why = self._config.runner, f"--runner {self._config.runner}"
        elif RAY in self._runners:
            name, why = RAY, "it runs already"
        elif reason is not None:
            name, why = RAY, reason
        else:
            name, why = (LOCAL, size) if is_small else (RAY, f"{size} are more than this process does alone")
        if self.chosen.get(work) != name:
            log.info("%s: runner %s (%s)", work, name, why)
        self.chosen[work] = name
        if name not in self._runners:
            self._runners[name] = _started(name, self._config)
        return self._runners[name]


def reason_for_ray(config: RunConfig, environment: Mapping[str, str], n_gpus: int) -> str | None:
    """Return why `auto` takes Ray for work of any size; None if small work may do without.

    Examples
    --------
    >>> reason_for_ray(RunConfig(), {"RAY_ADDRESS": "10.0.0.1:6379"}, n_gpus=0)
    'RAY_ADDRESS names a cluster'
    >>> reason_for_ray(RunConfig(device="cpu"), {}, n_gpus=1) is None
    True
    """
    if environment.get("RAY_ADDRESS"):
        return "RAY_ADDRESS names a cluster"
    if config.device == "cuda" or (config.device == "auto" and n_gpus):
        return "the encoder takes a GPU"
    if config.encoder_range not in (None, (1, 1)):
        return f"--encoders {config.encoders}"
    return None


def _started(name: str, config: RunConfig) -> Runner:
    if name == LOCAL:
        from jobs.execution.local import LocalRunner

        return LocalRunner(config)
    from jobs.execution.cluster import Cluster  # only now: a local run needs none of it

    let_pandas_in()
    return Cluster(config)
