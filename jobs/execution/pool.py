"""The encoder pool: how many encoders fit into a cluster, how many may come, and what each worker reserves."""

from __future__ import annotations

from dataclasses import dataclass

from detector.errors import ConfigError
from jobs.config import RunConfig
from jobs.inputs.pieces import BATCH_BYTES

DECODE_BYTES = 400 << 20  # reserved by a decode task: Python, one member in memory, its pieces, a decoder process
WINDOWS_HELD = 4  # windows of audio in a decode task: as pieces, as a table, and on their way to the object store
ENCODERS_AN_ASSEMBLER = 8  # by default: a core assembles what so many GPUs embed
# Of audio: 33 s, as a CPU sorts nothing by length. Of two windows at an encoder one waits, and at the end of a run no
# other encoder takes that one.
CPU_WINDOW_MIB = BATCH_BYTES >> 20
# The driver takes some ms for each window, so that windows grow with the encoders: 520 s to 2 h 20 min of audio
LEAST_GPU_WINDOW_MIB, GPU_WINDOW_MIB_AN_ENCODER, MOST_GPU_WINDOW_MIB = 32, 4, 512
# In the object store, for each encoder: Ray Data fills half of it; two windows are at the encoder, and the others last
# until another decode task has begun
WINDOWS_STORED = 16
LEAST_STORE_MIB, MOST_STORE_MIB = 256, 4_096


@dataclass(frozen=True)
class Pool:
    """Sizes of the encoder pool and of the decode tasks, fitted to one cluster.

    Attributes
    ----------
    least_encoders, encoders : int
        Those that the cluster has room for, and those that are asked for at once; the rest wait for its autoscaler.
    decoders : int, optional
        Most decode tasks at once; None for as many as fit.
    """

    least_encoders: int
    encoders: int
    encoder_cpus: float
    encoder_gpus: float
    decode_cpus: float
    device: str
    batch_seconds: float
    window_mib: int
    decoders: int | None = None

    @property
    def size(self) -> str:
        """The number of encoders, or the range that it may be in."""
        is_fixed = self.least_encoders == self.encoders
        return f"{self.encoders}" if is_fixed else f"{self.least_encoders} to {self.encoders}"

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
        If a GPU is required and there is none, or if the least encoders and decode tasks do not fit.

    Examples
    --------
    >>> pool = fit_pool(RunConfig(), cpus=2, gpus=0)
    >>> pool.device, pool.encoders, pool.encoder_cpus, pool.decode_cpus
    ('cpu', 2, 0.75, 0.5)
    >>> fit_pool(RunConfig(encoders="2:64"), cpus=8, gpus=4).size
    '2 to 64'
    """
    device = _device(config, gpus)
    if device == "cuda" and gpus < config.encoder_gpus:
        raise ConfigError(
            f"device cuda: the cluster has {gpus:g} GPU(s), an encoder wants {config.encoder_gpus:g}. Add machines "
            f"with GPUs, or take --device cpu."
        )
    least_decoders, most_decoders = config.decoder_range
    decode_cpus = least_decoders * config.decode_cpus
    least, most, now = _encoders(config, device, cpus, gpus)
    cpus_per_encoder = max(cpus - decode_cpus, 0.0) / now
    # rounded down to hundredths, so that the sum never exceeds what the cluster has
    encoder_cpus = min(1.0, int(cpus_per_encoder * 100) / 100) if config.encoder_cpus is None else config.encoder_cpus
    encoder_gpus = config.encoder_gpus if device == "cuda" else 0.0
    if now * encoder_cpus + decode_cpus > cpus or now * encoder_gpus > gpus:
        raise ConfigError(
            f"{now} encoder(s) of {encoder_cpus:g} CPU and {encoder_gpus:g} GPU and {least_decoders} decode task(s) of "
            f"{config.decode_cpus:g} CPU do not fit a cluster of {cpus:g} CPU and {gpus:g} GPU: they would wait for "
            f"ever. Lower --encoders, --encoder-cpus, --decoders or --decode-cpus."
        )
    reserved = (encoder_cpus, encoder_gpus, config.decode_cpus)
    window_mib = _window_mib(config, device, most)
    return Pool(least, most, *reserved, device, config.batch_seconds, window_mib, most_decoders)


def store_mib(config: RunConfig, cpus: float, gpus: float) -> int:
    """Return the size of the object store of a Ray that is started on a machine of ``cpus`` and ``gpus``.

    Examples
    --------
    >>> store_mib(RunConfig(), cpus=2, gpus=0), store_mib(RunConfig(), cpus=64, gpus=4)
    (256, 2048)
    >>> store_mib(RunConfig(object_store_mib=100), cpus=64, gpus=4)
    100
    """
    if config.object_store_mib is not None:
        return config.object_store_mib
    device = _device(config, gpus)
    _, most, _ = _encoders(config, device, cpus, gpus)
    stored = WINDOWS_STORED * most * _window_mib(config, device, most)
    return min(max(stored, LEAST_STORE_MIB), MOST_STORE_MIB)


def _device(config: RunConfig, gpus: float) -> str:
    return config.device if config.device != "auto" else "cuda" if gpus else "cpu"


def _window_mib(config: RunConfig, device: str, encoders: int) -> int:
    return config.window_mib or (gpu_window_mib(encoders) if device == "cuda" else CPU_WINDOW_MIB)


def gpu_window_mib(encoders: int) -> int:
    """Return the window of encoders on GPUs, if none is chosen.

    Examples
    --------
    >>> [gpu_window_mib(encoders) for encoders in (1, 8, 64, 1_000)]
    [32, 32, 256, 512]
    """
    return min(max(LEAST_GPU_WINDOW_MIB, GPU_WINDOW_MIB_AN_ENCODER * encoders), MOST_GPU_WINDOW_MIB)


def _encoders(config: RunConfig, device: str, cpus: float, gpus: float) -> tuple[int, int, int]:
    """Return the least encoders, the most, and those that begin now, if there is room for the least."""
    if device == "cuda":
        room = int(gpus / config.encoder_gpus)
        least, most = config.encoder_range or (room, room)
        return least, most, max(least, min(most, room))
    room = max(1, int(cpus))
    least, most = config.encoder_range or (room, room)
    # no more than fit now: encoders would take the cores that come later from decode tasks, and wait for audio for ever
    free = cpus - config.decoder_range[0] * config.decode_cpus
    seats = int(free / config.encoder_cpus) if config.encoder_cpus else room
    most = max(least, min(most, seats))
    return least, most, most


def n_assemblers(config: RunConfig, pool: Pool) -> int:
    """Return the number of assemblers beside a pool of encoders.

    Examples
    --------
    >>> [n_assemblers(RunConfig(), fit_pool(RunConfig(encoders=str(each)), cpus=64, gpus=0)) for each in (1, 8, 9)]
    [1, 1, 2]
    """
    return config.assemblers or -(-pool.encoders // ENCODERS_AN_ASSEMBLER)
