"""The encoder pool: how many encoders fit into a cluster, and what each worker reserves."""

from __future__ import annotations

from dataclasses import dataclass

from detector.errors import ConfigError
from jobs.config import RunConfig
from jobs.inputs.pieces import BATCH_BYTES

DECODE_BYTES = 400 << 20  # reserved by a decode task: Python, one member in memory, its pieces, a decoder process
WINDOWS_HELD = 4  # windows of audio in a decode task: as pieces, as a table, and on their way to the object store
ENCODERS_AN_ASSEMBLER = 8  # by default: a core assembles what so many GPUs embed
CPU_WINDOW_MIB, GPU_WINDOW_MIB = BATCH_BYTES >> 20, 32  # of audio: 130 s, 520 s


@dataclass(frozen=True)
class Pool:
    """Sizes of the encoder pool and of the decode tasks, fitted to one cluster."""

    encoders: int
    encoder_cpus: float
    encoder_gpus: float
    decode_cpus: float
    device: str
    batch_seconds: float
    window_mib: int

    @property
    def window_bytes(self) -> int:
        """Bytes of decoded audio that an encoder gets in one table."""
        return self.window_mib << 20

    @property
    def decode_bytes(self) -> int:
        """Memory that a decode task reserves, in bytes."""
        return DECODE_BYTES + WINDOWS_HELD * (self.window_bytes - BATCH_BYTES)


def fit_pool(config: RunConfig, cpus: float, gpus: float) -> Pool:
    """Fit the encoder pool into a cluster of ``cpus`` and ``gpus``.

    Raises
    ------
    ConfigError
        If a GPU is required and there is none, or if the encoders leave no CPU for a decode task.

    Examples
    --------
    >>> pool = fit_pool(RunConfig(), cpus=2, gpus=0)
    >>> pool.device, pool.encoders, pool.encoder_cpus, pool.decode_cpus
    ('cpu', 2, 0.75, 0.5)
    """
    device = config.device if config.device != "auto" else "cuda" if gpus else "cpu"
    if device == "cuda" and gpus < config.encoder_gpus:
        raise ConfigError(f"device cuda: the cluster has {gpus:g} GPU(s), an encoder wants {config.encoder_gpus:g}.")
    per_gpu = int(gpus / config.encoder_gpus)
    encoders = config.encoders or (per_gpu if device == "cuda" else max(1, int(cpus)))
    cpus_per_encoder = max(cpus - config.decode_cpus, 0.0) / encoders
    # rounded down to hundredths, so that the sum never exceeds what the cluster has
    encoder_cpus = min(1.0, int(cpus_per_encoder * 100) / 100) if config.encoder_cpus is None else config.encoder_cpus
    encoder_gpus = config.encoder_gpus if device == "cuda" else 0.0
    if encoders * encoder_cpus + config.decode_cpus > cpus or encoders * encoder_gpus > gpus:
        raise ConfigError(
            f"{encoders} encoder(s) of {encoder_cpus:g} CPU and {encoder_gpus:g} GPU and a decode task of "
            f"{config.decode_cpus:g} CPU do not fit a cluster of {cpus:g} CPU and {gpus:g} GPU: they would wait for "
            f"ever. Lower --encoders, --encoder-cpus or --decode-cpus."
        )
    window_mib = config.window_mib or (GPU_WINDOW_MIB if device == "cuda" else CPU_WINDOW_MIB)
    return Pool(encoders, encoder_cpus, encoder_gpus, config.decode_cpus, device, config.batch_seconds, window_mib)


def n_assemblers(config: RunConfig, pool: Pool) -> int:
    """Return the number of assemblers beside a pool of encoders.

    Examples
    --------
    >>> [n_assemblers(RunConfig(), fit_pool(RunConfig(encoders=each), cpus=64, gpus=0)) for each in (1, 8, 9)]
    [1, 1, 2]
    """
    return config.assemblers or -(-pool.encoders // ENCODERS_AN_ASSEMBLER)
