"""Measure the dearest megabyte: how much encoder a stranger gets for what is uploaded, by format and sound.

    python -m bench.dearest

Writes each of :data:`SOUNDS` in each of :data:`FORMATS`, at two lengths, reads it on the real path, and counts the
audio that reaches the encoder. The difference of the two lengths leaves headers out: what counts is a long recording.
The speed of the starter on one thread turns audio into seconds of encoder. Writes the table into docs/security.md.
"""

from __future__ import annotations

import argparse
import io
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
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
from jobs.inputs.shard_reader import read_shard
from jobs.inputs.shards import Portion, Selection, Shard

PAGE = ROOT / "docs" / "security.md"
BEGIN, END = "<!-- dearest: begin -->", "<!-- dearest: end -->"
LENGTHS = (60.0, 240.0)  # s
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


def zipped(encode: Encode) -> Encode:
    """Return an encoding as the one member of a deflated zip."""

    def zip_of(samples: Recording, native: int) -> bytes:
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as container:
            container.writestr("a.wav", encode(samples, native))
        return file.getvalue()

    return zip_of


@dataclass(frozen=True)
class Format:
    """How a sound is written: the file's suffix, the function, and the rate that the sound is made at."""

    name: str
    suffix: str
    encode: Encode
    rate: int = 8_000


FORMATS = (
    Format("FLAC, 4 kHz", ".flac", by_soundfile("FLAC", "PCM_16"), 4_000),
    Format("FLAC, 16 kHz", ".flac", by_soundfile("FLAC", "PCM_16"), 16_000),
    Format("zip of WAV PCM 8, 4 kHz", ".zip", zipped(by_soundfile("WAV", "PCM_U8")), 4_000),
    Format("WAV PCM 8, 4 kHz", ".wav", by_soundfile("WAV", "PCM_U8"), 4_000),
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
    decoded, encoded : float
        Seconds of audio that were decoded, and that reached the encoder, for each MB (10^6 B) uploaded.
    decoder : float
        CPU time of the decoder process for each MB, s.
    error : str
        The rows' error, if they are failures; else the empty string.
    """

    format: str
    sound: str
    decoded: float
    encoded: float
    decoder: float
    error: str = ""


def cost(each: Format, sound: str, lengths: tuple[float, float] = LENGTHS) -> Cost:
    """Write a sound at two lengths, read both, and return what the difference costs.

    Raises
    ------
    ValueError
        If this FFmpeg has no such encoder.
    """
    n_bytes, decoded, encoded, took, error = zip(*(_read(each, sound, seconds) for seconds in lengths), strict=True)
    megabytes = (n_bytes[1] - n_bytes[0]) / 1e6
    return Cost(
        each.name,
        sound,
        (decoded[1] - decoded[0]) / megabytes,
        (encoded[1] - encoded[0]) / megabytes,
        max(0.0, took[1] - took[0]) / megabytes,
        error[1],
    )


def _read(each: Format, sound: str, seconds: float) -> tuple[int, float, float, float, str]:
    """Return bytes, seconds decoded, seconds for the encoder, CPU seconds of the decoder, and the error of the row."""
    content = each.encode(SOUNDS[sound](round(seconds * each.rate)), each.rate)
    with tempfile.TemporaryDirectory(prefix="bonafide-dearest-") as folder:
        path = Path(folder, f"a{each.suffix}")
        path.write_bytes(content)
        stored = storage.stat(str(path))
        assert stored is not None  # it was written a moment ago
        is_zip = each.suffix == ".zip"
        shard = (
            Shard("zip", (stored,)) if is_zip else Shard.selecting("files", (stored,), [(stored.uri, Selection("a"))])
        )
        began = _decoder_seconds()
        rows = list(read_shard(Portion(shard), CONFIG.segment_seconds))
        took = _decoder_seconds() - began
    (outcome,) = (row["outcome"] for row in rows if "outcome" in row)
    n_samples = sum(len(row["samples"]) // 4 for row in rows if "samples" in row)
    error = outcome.get("error") or ""
    return len(content), outcome.get("seconds") or 0.0, n_samples / SAMPLE_RATE, took, error


def _decoder_seconds() -> float:
    """Return the CPU time of the decoder process that waits for the next recording."""
    return idle.IDLE[-1].cpu_seconds() if idle.IDLE else 0.0


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


def costs(lengths: tuple[float, float] = LENGTHS) -> Iterator[Cost]:
    """Yield the cost of every sound in every format that this FFmpeg can write."""
    for each in FORMATS:
        for sound in SOUNDS:
            try:
                yield cost(each, sound, lengths)
            except ValueError as error:  # of PyAV, for an encoder that it was built without
                print(f"left out: {each.name}: {error}", file=sys.stderr)
                break


def table(found: Sequence[Cost], speed: float) -> str:
    """Return the table as Markdown, the dearest first."""
    ordered = sorted(found, key=lambda each: (-each.encoded, -each.decoded))
    lines = [
        f"`python -m bench.dearest`: a megabyte of each, in the long run; the starter on one thread of this machine "
        f"encodes {speed:.0f} s of audio a second. The {SHOWN} dearest of {len(found)}:",
        "",
        "| format | sound | audio, h | to the encoder, h | encoder, s | decoder, s |",
        "| --- | --- | ---: | ---: | ---: | ---: |",
    ]
    for each in ordered[:SHOWN]:
        hours = f"{each.decoded / 3600:.2f} | {each.encoded / 3600:.2f}"
        name = f"{each.sound} (`{each.error}`)" if each.error else each.sound
        lines.append(f"| {each.format} | {name} | {hours} | {each.encoded / speed:,.0f} | {each.decoder:,.1f} |")
    left_out = sorted({each.name for each in FORMATS} - {each.format for each in found})
    silent = max((each for each in found if each.sound == "silence"), key=lambda each: each.decoded)
    lines += [
        "",
        f"Silence never reaches the encoder; the longest is {silent.format}: {silent.decoded / 3600:.1f} h and "
        f"{silent.decoder:,.0f} s of decoder a megabyte."
        + (f" Left out, because this FFmpeg does not write it: {'; '.join(left_out)}." if left_out else ""),
    ]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print and store the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.dearest", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--no-write", action="store_true", help="print the table, leave docs/security.md alone")
    known = parser.parse_args(arguments)
    text = table(list(costs()), encoder_speed())
    print(text)
    if not known.no_write:
        write_between(PAGE, BEGIN, END, text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
