"""Growth: a run that finds too few machines asks the cluster's autoscaler for them, and waits until they are there."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass

from detector.errors import ConfigError
from jobs.config import RunConfig
from jobs.errors import RunAgain
from jobs.execution.pool import Pool, fit_pool

log = logging.getLogger(__name__)

Bundle = dict[str, float]
"""What one worker reserves, as Ray writes it: `{"CPU": 1.0, "GPU": 1.0}`."""


@dataclass(frozen=True)
class Look:
    """A cluster at one moment.

    Parameters
    ----------
    seconds : float
        Since the first look.
    cpus, gpus : float
        Of all machines.
    is_final : bool
        True if it is known that nobody adds a machine that would help.
    """

    seconds: float
    cpus: float
    gpus: float
    is_final: bool = False


@dataclass(frozen=True)
class GrownPool:
    """A pool that fits, and the seconds from the first look until there was a machine for its first encoder."""

    pool: Pool
    first_machine_seconds: float


def least_bundles(config: RunConfig) -> list[Bundle]:
    """Return what the least encoders and decode tasks of a run reserve, a bundle each.

    Examples
    --------
    >>> least_bundles(RunConfig(device="cuda", encoders="2:64", encoder_cpus=0.0, decode_cpus=1.0))
    [{'GPU': 1.0}, {'GPU': 1.0}, {'CPU': 1.0}]
    >>> least_bundles(RunConfig())
    [{'CPU': 1.0}, {'CPU': 0.5}]
    """
    least, _ = config.encoder_range or (1, 1)
    needs_gpu = config.device == "cuda"
    # without --encoder-cpus, an encoder beside a GPU gets what its machine has left
    cpus = (0.0 if needs_gpu else 1.0) if config.encoder_cpus is None else config.encoder_cpus
    encoder = {kind: n for kind, n in (("CPU", cpus), ("GPU", config.encoder_gpus * needs_gpu)) if n}
    return [encoder] * least * bool(encoder) + [{"CPU": config.decode_cpus}] * config.decoder_range[0]


def wait_for_pool(config: RunConfig, looks: Iterable[Look]) -> GrownPool:
    """Fit the encoder pool into a cluster as soon as its least encoders and decode tasks fit.

    Parameters
    ----------
    looks : iterable of Look
        Without an end. All but the first come from a cluster that was asked for :func:`least_bundles`.

    Raises
    ------
    ConfigError
        If the pool does not fit, and nobody adds machines.
    RunAgain
        If it does not fit within `--wait-for-gpus`.
    """
    first_machine: float | None = None
    is_told = False
    for look in looks:
        if first_machine is None and (look.gpus if config.device == "cuda" else look.cpus):
            first_machine = look.seconds
        try:
            return GrownPool(fit_pool(config, look.cpus, look.gpus), first_machine or 0.0)
        except ConfigError as error:
            if look.is_final:
                raise
            if look.seconds >= config.wait_for_gpus:
                raise RunAgain(
                    f"the cluster has {look.cpus:g} CPU and {look.gpus:g} GPU after {look.seconds:.0f} s; expected "
                    f"{_sum_of(least_bundles(config))} within --wait-for-gpus {config.wait_for_gpus:g}. See that its "
                    f"autoscaler may start such machines, and that the provider has any; then run the same command "
                    f"again, or wait longer."
                ) from error
        if not is_told:
            is_told = True
            log.warning(
                "the cluster has %g CPU and %g GPU; its autoscaler is asked for %s, for %g s at most",
                look.cpus,
                look.gpus,
                _sum_of(least_bundles(config)),
                config.wait_for_gpus,
            )
    raise RunAgain("the cluster tells no more of its machines; run the same command again")


def _sum_of(bundles: list[Bundle]) -> str:
    return " and ".join(
        f"{total:g} {kind}" for kind in ("CPU", "GPU") if (total := sum(each.get(kind, 0.0) for each in bundles))
    )
