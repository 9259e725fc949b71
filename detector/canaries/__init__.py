"""Canaries: short recordings in every codec, which tell whether two installations compute the same.

Rows may stand together if they are what one installation would have computed, whatever the versions of its libraries
are. So a run hears and embeds these recordings first, and compares with what an output has of them.

A canary's bytes never change, since outputs know it by its name: another encoding gets another name
(`python -m bench.canaries`).
"""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from detector.audio import SAMPLE_RATE
from detector.decoders import Samples
from detector.layout import SOUNDFILE

FOLDER = Path(__file__).parent
SEGMENT_SECONDS = 4.0  # none of them is cut
SAMPLES_TOLERANCE = 1e-4  # of full scale; two builds of one decoder differ by 1e-6
COSINE_TOLERANCE = 1e-5  # of 1 - cosine; two devices differ by 1e-6
SCORE_TOLERANCE = 0.01  # nats
LIBRARIES = ("libsndfile", "libavcodec", "soxr", "torch", "transformers", "numpy")
"""Libraries that decide values: two that decode, one that resamples, three that encode."""
DECODERS, RESAMPLER, ENCODERS = LIBRARIES[:2], LIBRARIES[2], LIBRARIES[3:]
Floats = npt.NDArray[np.float64]
KEPT_EVERY = 4  # samples: another resampler, or a shift by one sample, shows in a fourth of them
LOSSLESS = re.compile(r"\bpcm")  # in the name of a codec whose samples leave a decoder no choice


@dataclass(frozen=True)
class Heard:
    """A canary as it was decoded: 16 kHz mono samples, and the facts that rows have of them.

    A canary that cannot be decoded has no samples.
    """

    samples: Samples
    codec: str
    native_rate: int
    decoder: str

    @property
    def library(self) -> str:
        """The library that decoded it."""
        return DECODERS[0] if self.decoder == SOUNDFILE else DECODERS[1]


@dataclass(frozen=True)
class Drift:
    """A canary that gives something else than before.

    Parameters
    ----------
    codec : str
        As in the column `codec` of its rows.
    what : str
        `samples`, `embedding` or `score`.
    distance : float
        In units of the tolerance's: full scale, 1 - cosine, nats.
    libraries : tuple of str
        Those that may be the cause.
    """

    canary: str
    codec: str
    what: str
    distance: float
    libraries: tuple[str, ...]


def contents() -> dict[str, bytes]:
    """Return the canaries' bytes by name, in order of their names.

    Examples
    --------
    >>> sum(len(content) for content in contents().values()) < 500_000
    True
    """
    paths = sorted(path for path in FOLDER.iterdir() if path.is_file() and path.suffix not in (".py", ".pyc"))
    return {path.name: path.read_bytes() for path in paths}


def kept(heard: Mapping[str, Heard]) -> dict[str, Heard]:
    """Return the canaries with the samples that are kept to compare with: every fourth."""
    return {name: replace(each, samples=each.samples[::KEPT_EVERY]) for name, each in heard.items()}


def decoded(heard: Mapping[str, Heard]) -> list[str]:
    """Return the names of the canaries that an encoder embeds, in the order of its vectors: those with samples."""
    return [name for name, each in heard.items() if len(each.samples)]


@cache
def versions() -> dict[str, str]:
    """Return the versions of :data:`LIBRARIES` that are installed."""
    own = {
        "libsndfile": soundfile.__libsndfile_version__,
        "libavcodec": ".".join(map(str, av.library_versions["libavcodec"])),
        "soxr": soxr.__version__,
    }
    return own | {name: importlib.metadata.version(name) for name in ENCODERS}


def samples_distance(one: Samples, other: Samples) -> float:
    """Return the largest difference of two recordings' samples; what one lacks at its end counts as silence.

    Examples
    --------
    >>> samples_distance(np.float32([0.5, 0.25]), np.float32([0.5]))
    0.25
    """
    padded = np.zeros((2, max(len(one), len(other))), np.float32)
    padded[0, : len(one)], padded[1, : len(other)] = one, other
    return float(np.abs(padded[0] - padded[1]).max(initial=0.0))


def cosine_distance(one: npt.NDArray[np.float32], other: npt.NDArray[np.float32]) -> float:
    """Return 1 - cosine of two vectors; 0 for equal ones, 1 for vectors of different lengths or without a direction.

    Examples
    --------
    >>> cosine_distance(np.float32([1, 0]), np.float32([0, 2])), cosine_distance(np.float32([1]), np.float32([1, 0]))
    (1.0, 1.0)
    """
    if one.shape != other.shape:
        return 1.0
    if np.array_equal(one, other, equal_nan=True):
        return 0.0
    first, second = one.astype(np.float64), other.astype(np.float64)
    scale = float(np.linalg.norm(first) * np.linalg.norm(second))
    return max(0.0, 1.0 - float(first @ second) / scale) if np.isfinite(scale) and scale > 0.0 else 1.0


def heard_otherwise(distances: Mapping[str, float], heard: Mapping[str, Heard]) -> list[Drift]:
    """Return the canaries whose samples differ too much, each with the library that is the cause.

    Where the lossless recording of a rate differs, too, the resampler is the cause: there is one way to decode it.

    Parameters
    ----------
    distances : mapping
        By canary, as :func:`samples_distance` measures them.
    heard : mapping
        The canaries as they were heard before.
    """
    far = {name: distance for name, distance in distances.items() if not distance <= SAMPLES_TOLERANCE}
    resampled = {
        heard[name].native_rate
        for name in far
        if LOSSLESS.search(heard[name].codec) and heard[name].native_rate != SAMPLE_RATE
    }
    return [
        Drift(
            name,
            heard[name].codec,
            "samples",
            distance,
            (RESAMPLER if heard[name].native_rate in resampled else heard[name].library,),
        )
        for name, distance in far.items()
    ]


def encoded_otherwise(
    cosines: Mapping[str, float], scores: Mapping[str, float], heard: Mapping[str, Heard]
) -> list[Drift]:
    """Return the canaries whose embeddings or scores differ although their samples may not."""
    limits = (("embedding", cosines, COSINE_TOLERANCE), ("score", scores, SCORE_TOLERANCE))
    return [
        Drift(name, heard[name].codec, what, distance, ENCODERS)
        for what, distances, tolerance in limits
        for name, distance in distances.items()
        if not distance <= tolerance
    ]


def score_distances(one: Floats, other: Floats) -> Floats:
    """Return the differences of two arrays of scores, in nats; two that are equally infinite do not differ."""
    return np.abs(np.subtract(one, other, out=np.zeros(len(one)), where=one != other))
