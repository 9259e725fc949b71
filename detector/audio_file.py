"""An audio file: what a Python program has of one recording, opened as one seekable binary file."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterator
from typing import Any, BinaryIO, cast

import numpy as np
import numpy.typing as npt
import soundfile

from detector.decoders import MAX_CHANNELS, MAX_SECONDS, too_long

Audio = str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO | npt.NDArray[np.floating[Any]]
"""A path, the bytes of a file, a file object, or samples: floats of shape (n_samples,) or (n_samples, n_channels)."""

WAV_BYTES = 1 << 31  # more does not fit into the sizes of its header


@contextlib.contextmanager
def opened(audio: Audio, rate: int | None = None) -> Iterator[BinaryIO]:
    """Open a recording for reading from its beginning.

    A file object of the caller's stays open. Samples become a file, so that they are treated as those of any other.

    Parameters
    ----------
    audio : Audio
    rate : int or None
        Of samples, in Hz; None for all else, whose header says it.

    Raises
    ------
    TypeError
        If it is none of these; also if samples come without their rate, or a rate without samples.
    ValueError
        If the rate is not positive, or the samples do not have one or two axes.
    UtteranceError
        `too_long`, if there are more samples than a recording may have.
    OSError
        If there is no such file, or it may not be read.

    Examples
    --------
    >>> with opened(np.zeros(16_000), rate=16_000) as file:
    ...     soundfile.info(file).duration
    1.0
    """
    is_samples = not isinstance(audio, str | bytes | bytearray | memoryview | os.PathLike) and not _is_file(audio)
    if rate is not None and not is_samples:
        raise TypeError(f"rate {rate} is for an array of samples; found {_kind(audio)}, whose header says it. Omit it.")
    if isinstance(audio, str | os.PathLike):
        with open(audio, "rb") as file:
            yield file
    elif isinstance(audio, bytes | bytearray | memoryview):
        yield io.BytesIO(audio)
    elif is_samples:
        yield _of_samples(np.asarray(audio), rate)
    else:
        yield _seekable(cast(BinaryIO, audio))


def _is_file(audio: object) -> bool:
    return hasattr(audio, "read")


def _kind(audio: object) -> str:
    return f"{type(audio).__module__}.{type(audio).__qualname__}".removeprefix("builtins.")


def _seekable(file: BinaryIO) -> BinaryIO:
    """Return the file, or one with its content if it is a stream, such as a pipe or a reply."""
    if isinstance(file, io.TextIOBase):
        raise TypeError(f"{_kind(file)} gives text; expected a file that is opened in mode 'rb'.")
    seekable = getattr(file, "seekable", None)
    return file if seekable is not None and seekable() else io.BytesIO(file.read())


def _of_samples(samples: npt.NDArray[Any], rate: int | None) -> BinaryIO:
    if not np.issubdtype(samples.dtype, np.floating):
        raise TypeError(
            f"{samples.dtype} is no type of samples; expected a path, bytes, a file object, or an array of floats in "
            f"-1 to 1. Divide int16 by 32768."
        )
    if rate is None:
        raise TypeError("samples need their rate; give rate=16000, in Hz.")
    if rate <= 0 or int(rate) != rate:
        raise ValueError(f"rate {rate}; expected a whole number of Hz above 0.")
    if samples.ndim not in (1, 2) or (samples.ndim == 2 and not 0 < samples.shape[1] <= MAX_CHANNELS):
        raise ValueError(
            f"samples of shape {samples.shape}; expected (n_samples,), or (n_samples, n_channels) with up to "
            f"{MAX_CHANNELS} channels. Transpose an array with the channels first."
        )
    if len(samples) > MAX_SECONDS * rate:
        raise too_long(MAX_SECONDS)
    file = io.BytesIO()
    kind = "WAV" if 4 * samples.size < WAV_BYTES else "W64"
    soundfile.write(file, samples.astype(np.float32, copy=False), int(rate), format=kind, subtype="FLOAT")
    file.seek(0)
    return file
