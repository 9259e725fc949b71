"""Measure the dearest megabyte: how much encoder a stranger gets for what is uploaded, by format and sound.

    python -m bench.dearest

Writes each of :data:`SOUNDS` in each of :data:`FORMATS`, at two lengths, reads it on the real path with the limits that
are the default, and counts the audio that reaches the encoder. The difference of the lengths leaves headers out, and a
minute that any object may have: that counts by the object, so the smallest one that holds it is told beside the table.
The speed of the starter on one thread turns audio into seconds of encoder. Writes the table into docs/security.md.
"""

from __future__ import annotations

import argparse
import io
import math
import resource
import sys
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from bench.codecs import Encode, Recording, by_ffmpeg, by_soundfile
from bench.dev_corpus import ROOT
from bench.marked import write_between
from detector.audio import SAMPLE_RATE
from detector.backbones import load_backbone
from detector.config import STARTER, EmbedConfig
from detector.embedding import embed_segments
from jobs import storage
from jobs.decoding import idle
from jobs.inputs.containers.decompressed import WINDOW_LOG, zstd
from jobs.inputs.limits import FREE_SECONDS
from jobs.inputs.shard_reader import read_shard
from jobs.inputs.shards import Portion, Selection, Shard

PAGE = ROOT / "docs" / "security.md"
BEGIN, END = "<!-- dearest: begin -->", "<!-- dearest: end -->"
LENGTHS = (60.0, 240.0)  # s
PACKED_LENGTHS = (480.0, 14_400.0)  # s; both beyond what their object may have, if anything is
PIECE_SECONDS = 3 * 3600.0  # of a recording that is copied
N_COPIES = {".zip": 4, ".tar.zst": 400, ".parquet": 400}  # a zip compresses each by itself
SHOWN = 16
CONFIG = EmbedConfig(backbone=STARTER)


def silence(n_samples: int) -> Recording:
    """Return digital silence."""
    return np.zeros(n_samples, np.int16)


def constant(n_samples: int) -> Recording:
    """Return one value, which is loud to a meter, and as short as silence to a lossless codec."""
    return np.full(n_samples, 8_000, np.int16)


def tone(n_samples: int) -> Recording:
    """Return a tone whose period is 16 samples."""
    return np.asarray(8_000 * np.sin(np.arange(n_samples) * np.pi / 8), np.int16)


def noise(n_samples: int) -> Recording:
    """Return white noise."""
    return np.asarray(np.random.default_rng(0).normal(0.0, 3_000, n_samples), np.int16)


SOUNDS: dict[str, Callable[[int], Recording]] = {each.__name__: each for each in (silence, constant, tone, noise)}


def zipped(contents: Sequence[bytes], suffix: str) -> bytes:
    """Return a deflated zip."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as container:
        for number, content in enumerate(contents):
            container.writestr(f"{number}{suffix}", content)
    return file.getvalue()


def tarred(contents: Sequence[bytes], suffix: str) -> bytes:
    """Return a tar under Zstandard, with the longest window."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as container:
        for number, content in enumerate(contents):
            info = tarfile.TarInfo(f"{number}{suffix}")
            info.size = len(content)
            container.addfile(info, io.BytesIO(content))
    parameter = zstd.CompressionParameter
    options = {int(parameter.window_log): WINDOW_LOG, int(parameter.enable_long_distance_matching): 1}
    return zstd.compress(file.getvalue(), options=options)


def in_parquet(contents: Sequence[bytes], suffix: str) -> bytes:  # noqa: ARG001 - rows are named by their numbers
    """Return a Parquet file, whose dictionary holds equal recordings once."""
    file = io.BytesIO()
    pq.write_table(pa.table({"audio": list(contents)}), file, compression="zstd", dictionary_pagesize_limit=1 << 26)
    return file.getvalue()


PACKS: dict[str, Callable[[Sequence[bytes], str], bytes]] = {
    ".zip": zipped,
    ".tar.zst": tarred,
    ".parquet": in_parquet,
}


@dataclass(frozen=True)
class Format:
    """How a sound is written.

    Parameters
    ----------
    suffix : str
        Of a recording's name.
    rate : int
        That the sound is made at, Hz.
    container : str
        One of :data:`PACKS` that holds the recordings; else the empty string.
    piece_seconds : float
        Length of a recording in a container that holds copies of it.
    sounds : tuple of str
        Of :data:`SOUNDS`.
    """

    name: str
    suffix: str
    encode: Encode
    rate: int = 8_000
    container: str = ""
    lengths: tuple[float, float] = LENGTHS
    piece_seconds: float = math.inf
    sounds: tuple[str, ...] = tuple(SOUNDS)

    def write(self, sound: str, seconds: float) -> bytes:
        """Return the bytes of a sound."""
        piece_seconds = seconds if math.isinf(self.piece_seconds) else self.piece_seconds
        one = self.encode(SOUNDS[sound](round(piece_seconds * self.rate)), self.rate)
        return PACKS[self.container]([one] * round(seconds / piece_seconds), self.suffix) if self.container else one


def _copies(of: str, encode: Encode, suffix: str, container: str) -> Format:
    name = f"copies of {of} in `{container}`"
    lengths = (0.0, N_COPIES[container] * PIECE_SECONDS)
    return Format(name, suffix, encode, 4_000, container, lengths, PIECE_SECONDS, ("silence", "constant"))


FLAC, WAV = by_soundfile("FLAC", "PCM_16"), by_soundfile("WAV", "PCM_U8")
FORMATS = (
    *(_copies("FLAC, 4 kHz", FLAC, ".flac", container) for container in PACKS),
    Format("WAV PCM 8, 4 kHz, in `.tar.zst`", ".wav", WAV, 4_000, ".tar.zst", PACKED_LENGTHS),
    Format("WAV PCM 8, 4 kHz, in `.zip`", ".wav", WAV, 4_000, ".zip", PACKED_LENGTHS),
    Format("WavPack, 4 kHz", ".wv", by_ffmpeg("wv", "wavpack"), 4_000, lengths=PACKED_LENGTHS),
    Format("FLAC, 4 kHz", ".flac", FLAC, 4_000),
    Format("FLAC, 16 kHz", ".flac", FLAC, 16_000),
    Format("WAV PCM 8, 4 kHz", ".wav", WAV, 4_000),
    Format("WAV GSM 6.10", ".wav", by_soundfile("WAV", "GSM610")),
    Format("Ogg Opus, 6 kbit/s", ".opus", by_ffmpeg("ogg", "libopus", 48_000, 6_000)),
    Format("Ogg Vorbis, 8 kHz", ".ogg", by_soundfile("OGG", "VORBIS")),
    Format("MP3, 8 kbit/s", ".mp3", by_ffmpeg("mp3", "libmp3lame", bits=8_000)),
    Format("AMR, 4.75 kbit/s", ".amr", by_ffmpeg("amr", "libopencore_amrnb", 8_000, 4_750)),
    Format("Ogg Speex, 2 kbit/s", ".spx", by_ffmpeg("ogg", "libspeex", 8_000, 2_000)),
    Format("AAC in ADTS, 8 kHz", ".aac", by_ffmpeg("adts", "aac", bits=6_000)),
    Format("ALAC in M4A, 8 kHz", ".m4a", by_ffmpeg("ipod", "alac")),
)


@dataclass(frozen=True)
class Cost:
    """What a megabyte of one sound in one format costs, in the long run.

    Parameters
    ----------
    held, encoded : float
        Seconds of audio that were written, and that reached the encoder, for each MB (10^6 B) uploaded.
    decoder : float
        CPU time of the decoder process for each MB, s.
    error : str
        The last row's error, if it is a failure; else the empty string.
    """

    format: str
    sound: str
    held: float
    encoded: float
    decoder: float
    error: str = ""


def cost(each: Format, sound: str, lengths: tuple[float, float] | None = None) -> Cost:
    """Write a sound at two lengths, read both, and return what the difference costs.

    Raises
    ------
    ValueError
        If this FFmpeg has no such encoder.
    """
    lengths = lengths or each.lengths
    n_bytes, encoded, took, error = zip(*(_read(each, sound, seconds) for seconds in lengths), strict=True)
    megabytes = (n_bytes[1] - n_bytes[0]) / 1e6
    return Cost(
        each.name,
        sound,
        (lengths[1] - lengths[0]) / megabytes,
        (encoded[1] - encoded[0]) / megabytes,
        max(0.0, took[1] - took[0]) / megabytes,
        error[1],
    )


def _read(each: Format, sound: str, seconds: float) -> tuple[int, float, float, str]:
    """Return bytes, seconds for the encoder, CPU seconds of the decoder, and the error of the last row."""
    content = each.write(sound, seconds)
    with tempfile.TemporaryDirectory(prefix="bonafide-dearest-") as folder:
        path = Path(folder, f"a{each.container or each.suffix}")
        path.write_bytes(content)
        stored = storage.stat(str(path))
        assert stored is not None  # it was written a moment ago
        files = Shard.selecting("files", (stored,), [(stored.uri, Selection("a"))])
        shard = Shard(each.container.removeprefix("."), (stored,)) if each.container else files
        began = _decoder_seconds()
        rows = list(read_shard(Portion(shard), CONFIG.segment_seconds))
        took = _decoder_seconds() - began
    outcomes = [row["outcome"] for row in rows if "outcome" in row]
    n_samples = sum(len(row["samples"]) // 4 for row in rows if "samples" in row)
    return len(content), n_samples / SAMPLE_RATE, took, (outcomes and outcomes[-1].get("error")) or ""


def smallest() -> int:
    """Return the bytes of the smallest object that holds the minute of audio which any object may have."""
    return min(
        len(each.write("constant", FREE_SECONDS))
        for each in FORMATS
        if each.container and math.isinf(each.piece_seconds)
    )


def _decoder_seconds() -> float:
    """Return the CPU time of the decoder process that waits for the next recording, and of those that have ended."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return ended.ru_utime + ended.ru_stime + (idle.IDLE[-1].cpu_seconds() if idle.IDLE else 0.0)


def encoder_speed(seconds: float = 120.0) -> float:
    """Measure the seconds of audio that the starter encodes in a second of one thread."""
    torch.set_num_threads(1)
    backbone = load_backbone(CONFIG)
    segment = (noise(round(CONFIG.segment_seconds * SAMPLE_RATE)) / 32_768).astype(np.float32)
    embed_segments(backbone, [segment])
    n_segments = max(1, round(seconds / CONFIG.segment_seconds))
    began = time.thread_time()  # a busy machine makes no difference
    for _ in range(n_segments):
        embed_segments(backbone, [segment])
    return n_segments * CONFIG.segment_seconds / (time.thread_time() - began)


def costs() -> Iterator[Cost]:
    """Yield the cost of every sound in every format that this FFmpeg can write."""
    for each in FORMATS:
        for sound in each.sounds:
            try:
                yield cost(each, sound)
            except ValueError as error:  # of PyAV, for an encoder that it was built without
                print(f"left out: {each.name}: {error}", file=sys.stderr)
                break


def table(found: Sequence[Cost], speed: float, n_smallest: int) -> str:
    """Return the table as Markdown, the dearest first, and what the smallest object costs."""
    ordered = sorted(found, key=lambda each: (-each.encoded, -each.held))
    lines = [
        f"`python -m bench.dearest`: a megabyte of each, in the long run; the starter on one thread of this machine "
        f"encodes {speed:.0f} s of audio a second. The {SHOWN} dearest of {len(found)}:",
        "",
        "| format | sound | holds, h | to the encoder, h | encoder, s | decoder, s |",
        "| --- | --- | ---: | ---: | ---: | ---: |",
    ]
    for each in ordered[:SHOWN]:
        hours = f"{each.held / 3600:,.2f} | {each.encoded / 3600:.2f}"
        name = f"{each.sound} (`{each.error}`)" if each.error else each.sound
        lines.append(f"| {each.format} | {name} | {hours} | {each.encoded / speed:,.0f} | {each.decoder:,.1f} |")
    left_out = sorted({each.name for each in FORMATS} - {each.format for each in found})
    silent = max((each for each in found if each.sound == "silence"), key=lambda each: each.decoder)
    lines += [
        "",
        f"Silence never reaches the encoder; the dearest is {silent.format}: {silent.decoder:,.0f} s of decoder a "
        f"megabyte."
        + (f" Left out, because this FFmpeg does not write it: {'; '.join(left_out)}." if left_out else ""),
        "",
        f"Each object may have {FREE_SECONDS:g} s beside it, which a container of {n_smallest} bytes can hold: "
        f"{FREE_SECONDS / speed:.1f} s of encoder an object, and {FREE_SECONDS / speed / n_smallest * 1e6:,.0f} s a "
        f"megabyte of such objects.",
    ]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print and store the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.dearest", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--no-write", action="store_true", help="print the table, leave docs/security.md alone")
    known = parser.parse_args(arguments)
    text = table(list(costs()), encoder_speed(), smallest())
    print(text)
    if not known.no_write:
        write_between(PAGE, BEGIN, END, text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
