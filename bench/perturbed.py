"""Embed recordings as they are and after changes that should not matter: codec, gain and crop.

Used by `bench.abstention`: a head whose score of a recording moves under such a change should not be sure of it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from bench.codecs import CODECS, FULL_SCALE
from detector.audio import SAMPLE_RATE
from detector.audio_file import opened
from detector.backbones import BATCH_SECONDS, load_backbone
from detector.config import EmbedConfig
from detector.decoders import Samples
from detector.embedding import embed_segments
from detector.metrics import Floats
from detector.recording import Recording

WHOLE_SECONDS = 30.0  # every recording of the corpora is shorter, and is one segment
GAIN = 10.0 ** (-12.0 / 20.0)  # -12 dB

Change = Callable[[Samples], Samples]


def encoded(codec: str, samples: Samples) -> Samples:
    """Return samples after an encoding of :data:`bench.codecs.CODECS` and back."""
    (found,) = (each for each in CODECS if each.name == codec)
    return decoded(found.encode(np.round(samples * (FULL_SCALE - 1.0)).astype(np.int16), SAMPLE_RATE))


CHANGES: dict[str, Change] = {
    "as it is": lambda samples: samples,
    "Opus, 16 kbit/s": functools.partial(encoded, "Ogg Opus 16 kbit/s"),
    "gain, -12 dB": lambda samples: samples * np.float32(GAIN),
    "first three quarters": lambda samples: samples[: len(samples) * 3 // 4],
    "last three quarters": lambda samples: samples[len(samples) // 4 :],
}


def embeddings(paths: Sequence[str], backbone: str, change: str, work: Path) -> Floats:
    """Embed recordings after a change; what is in the work folder is not computed again.

    Returns
    -------
    float64 array of shape (n_recordings, dim)
    """
    kept = work / f"{backbone}-{list(CHANGES).index(change)}.npz"
    if kept.exists():
        with np.load(kept) as file:
            if file["paths"].tolist() == list(paths):
                return np.asarray(file["embeddings"], dtype=np.float64)
    encoder = load_backbone(EmbedConfig(backbone=backbone))
    changed = (CHANGES[change](decoded(path)) for path in paths)
    found = np.concatenate([embed_segments(encoder, batch)[0] for batch in _batches(changed)])
    work.mkdir(parents=True, exist_ok=True)
    np.savez(kept, paths=np.array(paths), embeddings=found)
    return found.astype(np.float64)


def decoded(audio: str | bytes) -> Samples:
    """Decode a recording to 16 kHz mono, as the job does."""
    with opened(audio) as file:
        return np.concatenate(list(Recording(file, WHOLE_SECONDS).segments()))


def _batches(recordings: Iterable[Samples]) -> Iterator[list[Samples]]:
    batch: list[Samples] = []
    for samples in recordings:
        batch.append(samples)
        if sum(map(len, batch)) >= BATCH_SECONDS * SAMPLE_RATE:
            yield batch
            batch = []
    if batch:
        yield batch
