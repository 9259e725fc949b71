"""The seeded recordings of the drills, in tar shards."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Sequence

import numpy as np

from tests.drills.inject.sitecustomize import MAGIC
from tests.support.audio import encoded

N_SHARDS, N_EACH = 12, 10


def utterance(shard: int, number: int, seconds: float | None = None) -> np.ndarray:
    """Seeded samples, 16 kHz mono, 0.5 to 3 s; the first four identify the utterance (see inject/sitecustomize.py)."""
    rng = np.random.default_rng([3, shard, number])
    n_samples = round(16_000 * (seconds or rng.uniform(0.5, 3.0)))
    tone = 0.2 * np.sin(2 * np.pi * rng.uniform(90, 400) * np.arange(n_samples) / 16_000)
    samples = tone + rng.normal(0.0, 0.05, n_samples)
    samples[:4] = np.array([MAGIC, shard, number, MAGIC]) / 32_768
    return samples


def wav(shard: int, number: int, seconds: float | None = None) -> bytes:
    """Encode an utterance as a 16-bit WAV file, whose bytes contain the magic samples."""
    return encoded(utterance(shard, number, seconds), kind="WAV", subtype="PCM_16")


def flac(shard: int, number: int, seconds: float | None = None) -> bytes:
    """Encode an utterance as a FLAC file."""
    return encoded(utterance(shard, number, seconds), kind="FLAC", subtype="PCM_16")


def bad_member(kind: int) -> bytes:
    """Return bytes without a score: by number HTML, nothing, NaN samples, or a truncated FLAC."""
    nonfinite = encoded(np.full(8_000, np.nan), kind="WAV", subtype="FLOAT")
    return (b"<html>no audio</html>", b"", nonfinite, flac(99, kind, 2.0)[:9_000])[kind % 4]


def members(shard: int, n_each: int = N_EACH) -> dict[str, bytes]:
    """Return a shard's members: WAV and FLAC by turns; in every second shard the last one is bad, so one in 20."""
    found = {f"{n:02d}.{'flac' if n % 2 else 'wav'}": (flac if n % 2 else wav)(shard, n) for n in range(n_each)}
    if shard % 2:
        found[f"{n_each - 1:02d}.flac"] = bad_member(shard // 2)
    return found


def tar(content: dict[str, bytes] | Sequence[tuple[str, bytes]]) -> bytes:
    """Return a tar shard; a list may repeat a name."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as shard:
        for name, data in content.items() if isinstance(content, dict) else content:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            shard.addfile(info, io.BytesIO(data))
    return file.getvalue()


def seeded_tars(n_shards: int = N_SHARDS, n_each: int = N_EACH) -> dict[str, bytes]:
    """Return the archive of the drills: `0000.tar` …"""
    return {f"{shard:04d}.tar": tar(members(shard, n_each)) for shard in range(n_shards)}
