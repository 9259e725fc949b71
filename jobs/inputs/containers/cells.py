"""Cells: one value of an audio column, made into the bytes of a file that a decoder reads."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from detector.decoders import MAX_CHANNELS, RATES
from detector.errors import UtteranceError
from detector.layout.channels import MIXED_BITS
from detector.layout.wave import EXTENSIBLE, FLOAT, PCM
from jobs.inputs.containers.audio_columns import is_list

MAX_WAV_BYTES = (1 << 32) - 128  # of samples: the size in a WAV's header has 32 bits
SUBTYPE = bytes.fromhex("0000 0000 1000 8000 00AA00389B71")  # behind the tag, in the name of a format


def file_of(cell: Any) -> pa.Buffer | None:
    """Return the file whose bytes a cell holds, or None if it is null.

    Raises
    ------
    UtteranceError
        If a list of bytes has a null among them.

    Examples
    --------
    >>> file_of(pa.scalar([82, 73, 70, 70], pa.list_(pa.uint8()))).to_pybytes()
    b'RIFF'
    """
    if not cell.is_valid:
        return None
    if not is_list(cell.type):
        return cell.as_buffer()
    return pa.py_buffer(_numbers(cell.values).view(np.uint8))


def wav_of(cell: Any, rate: Any) -> pa.Buffer | None:
    """Return a WAV of the samples that a cell holds, or None if it is null.

    int16 becomes PCM of 16 bits, and all else float32. Of a list of lists, the shorter side is the channels.

    Raises
    ------
    UtteranceError
        If there are no samples, if the rate is none that a recording has, or if the channels differ in length.

    Examples
    --------
    >>> wav = wav_of(pa.scalar([[0.0, 0.5], [0.25, 1.0]]), pa.scalar(16_000))
    >>> len(wav), np.frombuffer(wav, "<f4", offset=58).tolist()
    (74, [0.0, 0.25, 0.5, 1.0])
    """
    if not cell.is_valid:
        return None
    n_hertz = rate.as_py()
    if n_hertz is None or not RATES[0] <= n_hertz <= RATES[1] or n_hertz % 1:
        raise UtteranceError("bad_header", f"a sampling rate of {n_hertz} Hz; {RATES[0]:,} to {RATES[1]:,} are read")
    samples = _samples(cell.values)
    if not samples.size:
        raise UtteranceError("empty", "the row holds no samples")
    if samples.shape[1] > MAX_CHANNELS:
        raise UtteranceError("bad_header", f"{samples.shape[1]:,} channels; 1 to {MAX_CHANNELS} are read")
    return pa.py_buffer(_wav(samples, int(n_hertz)))


def _samples(values: Any) -> npt.NDArray[Any]:
    """Return samples of shape (n_samples, n_channels)."""
    if not is_list(values.type):
        return _numbers(values)[:, np.newaxis]
    lengths = pc.min_max(pc.list_value_length(values)).as_py()
    if values.null_count or lengths["min"] != lengths["max"]:
        raise UtteranceError("bad_header", f"channels of {lengths['min']} to {lengths['max']} samples")
    samples = _numbers(values.flatten()).reshape(len(values), lengths["max"] or 0)
    return samples.T if samples.shape[0] <= samples.shape[1] else samples


def _numbers(values: Any) -> npt.NDArray[Any]:
    if values.null_count:
        raise UtteranceError("bad_archive", f"{values.null_count:,} nulls among its {len(values):,} numbers")
    numbers: npt.NDArray[Any] = values.to_numpy(zero_copy_only=False)
    return numbers


def _wav(samples: npt.NDArray[Any], rate: int) -> bytes:
    is_pcm = samples.dtype == np.int16
    with np.errstate(over="ignore"):  # a decoder says what infinity is
        content = np.ascontiguousarray(samples, np.dtype("<i2" if is_pcm else "<f4"))
    if content.nbytes > MAX_WAV_BYTES:
        raise UtteranceError("too_large", f"{content.nbytes:,} bytes of samples; at most {MAX_WAV_BYTES:,} are read")
    form = _form(content.shape[1], rate, content.itemsize, PCM if is_pcm else FLOAT)
    chunks = [b"WAVE", b"fmt ", struct.pack("<I", len(form)), form]
    chunks += [
        b"fact",
        struct.pack("<II", 4, len(content)),
        b"data",
        struct.pack("<I", content.nbytes),
        content.tobytes(),
    ]
    return b"".join([b"RIFF", struct.pack("<I", sum(map(len, chunks))), *chunks])


def _form(n_channels: int, rate: int, n_bytes: int, tag: int) -> bytes:
    """The format of a WAV. More than two channels are named, as those without names have one that players leave out."""
    n_extra = 22 if n_channels > 2 else 0
    n_frame_bytes = n_channels * n_bytes
    first = EXTENSIBLE if n_extra else tag
    form = struct.pack("<HHIIHHH", first, n_channels, rate, rate * n_frame_bytes, n_frame_bytes, 8 * n_bytes, n_extra)
    if not n_extra:
        return form
    places = [1 << bit for bit in range(MIXED_BITS.bit_length()) if MIXED_BITS >> bit & 1]
    mask = sum(places[:n_channels]) if n_channels <= len(places) else 0
    return form + struct.pack("<HIH", 8 * n_bytes, mask, tag) + SUBTYPE
