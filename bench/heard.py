"""Damage recordings in each container as the world does, and count the seconds that each decoder hears.

python -m bench.heard

Writes 3 s of speech-like sound in each of :data:`CONTAINERS`: whole, cut in half, joined with 2 s more, under a header
that counts 1 s, as a pipe leaves it, and joined with 2 s at another rate. Prints what we hear, or the error of the row,
beside FFmpeg and libsndfile alone, and writes the table of docs/inputs.md. Fails if we hear less than either without a
word.
"""

from __future__ import annotations

import io
import struct
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import av
import numpy as np
import soundfile

from bench.codecs import PAGE, Encode, Pipe, Recording, by_ffmpeg, by_soundfile
from bench.marked import write_between
from detector.errors import UtteranceError
from detector.recording import Recording as Heard

BEGIN, END = "<!-- heard: begin -->", "<!-- heard: end -->"
RATE, OTHER_RATE = 16_000, 8_000
SECONDS, MORE_SECONDS, COUNTED_SECONDS = 3.0, 2.0, 1.0
TOLERANCE = 0.2  # s: delays and last frames of lossy codecs, which decoders trim or not
DAMAGES = ("whole", "cut", "joined", "stale header", "from a pipe", "rate change")

Patch = Callable[[bytes], bytes]


@dataclass(frozen=True)
class Container:
    """A container: how it is written, and how its header is made to count too little, or nothing, as from a pipe.

    Parameters
    ----------
    name : str
    write, pipe : callable
        `pipe` is None where no program writes it to a pipe.
    stale : callable or None
        Makes the header count 1 s; None where it has no count.
    other : callable or None
        Writes another sample rate; None where the codec has one rate only.
    """

    name: str
    write: Encode
    pipe: Encode | None = None
    stale: Patch | None = None
    other: Encode | None = None

    def damaged(self) -> Iterator[tuple[str, bytes, float]]:
        """Yield each damage, the bytes, and the seconds in them."""
        whole, more = self.write(sound(SECONDS), RATE), self.write(sound(MORE_SECONDS, seed=1), RATE)
        yield "whole", whole, SECONDS
        yield "cut", whole[: len(whole) // 2], 0.0  # how much is left of the sound differs between codecs
        yield "joined", whole + more, SECONDS + MORE_SECONDS
        if self.stale is not None:
            yield "stale header", self.stale(whole), SECONDS
        if self.pipe is not None:
            yield "from a pipe", self.pipe(sound(SECONDS), RATE), SECONDS
        if self.other is not None:
            yield "rate change", whole + self.other(sound(MORE_SECONDS, seed=1), RATE), SECONDS + MORE_SECONDS


@dataclass(frozen=True)
class Cell:
    """What was heard of a damaged recording: seconds or an error, and whether the row says `truncated`."""

    seconds: float
    ours: float | str
    is_told: bool
    ffmpeg: float
    libsndfile: float

    @property
    def is_silent_loss(self) -> bool:
        """True if we hear less than there is, or than another decoder does, without a word."""
        most = self.seconds or max(self.ffmpeg, self.libsndfile)
        return not isinstance(self.ours, str) and self.ours < most - TOLERANCE

    def __str__(self) -> str:
        ours = self.ours if isinstance(self.ours, str) else f"**{self.ours:.2f}**{'†' if self.is_told else ''}"
        return f"{ours} ({self.ffmpeg:.2f}, {self.libsndfile:.2f})"


def sound(seconds: float, seed: int = 0) -> Recording:
    """Return a buzz with formant-like noise: int16 of shape (n_samples,), 16 kHz."""
    time = np.arange(round(seconds * RATE)) / RATE
    noise = np.random.default_rng(seed).normal(0.0, 0.02, len(time))
    buzz = sum(np.sin(2 * np.pi * 120 * k * time) / k for k in range(1, 30))
    return np.asarray(32_768 * (0.2 * buzz * (1 + np.sin(2 * np.pi * 3 * time)) / 2 + noise), np.int16)


def _at(magic: bytes, offset: int, value: bytes) -> Patch:
    """Replace bytes at a distance from the first occurrence of a magic."""

    def patch(content: bytes) -> bytes:
        at = content.index(magic) + offset
        return content[:at] + value + content[at + len(value) :]

    return patch


def _both(*patches: Patch) -> Patch:
    def patch(content: bytes) -> bytes:
        for each in patches:
            content = each(content)
        return content

    return patch


def _written(encode: Encode, patch: Patch) -> Encode:
    return lambda samples, native: patch(encode(samples, native))


def _flac_count(n_samples: int) -> Patch:
    def patch(content: bytes) -> bytes:
        fields = int.from_bytes(content[18:26], "big") >> 36 << 36 | n_samples
        return content[:18] + fields.to_bytes(8, "big") + content[26:]

    return patch


def _replaced(old: bytes, new: bytes) -> Patch:
    return lambda content: content.replace(old, new, 1)


def _by_libsndfile(
    name: str, kind: str, subtype: str, stale: Patch | None = None, pipe: Patch | None = None
) -> Container:
    encode = by_soundfile(kind, subtype)
    return Container(
        name, encode, None if pipe is None else _written(encode, pipe), stale, by_soundfile(kind, subtype, OTHER_RATE)
    )


def _by_ffmpeg(
    name: str,
    kind: str,
    codec: str,
    rates: tuple[int, int | None] = (RATE, OTHER_RATE),
    *,
    bits: int | None = None,
    piped: bool = True,
) -> Container:
    rate, other = rates
    return Container(
        name,
        by_ffmpeg(kind, codec, rate, bits),
        by_ffmpeg(kind, codec, rate, bits, to=Pipe) if piped else None,
        None,
        None if other is None else by_ffmpeg(kind, codec, other, bits),
    )


def _data_size(n_bytes: int) -> Patch:
    return _at(b"data", 4, struct.pack("<I", n_bytes))


COUNTED = round(COUNTED_SECONDS * RATE)
UNKNOWN = 0xFFFF_FFFF
SPHERE_COUNT = _replaced(b"sample_count -i 48000", b"sample_count -i %d" % COUNTED)

CONTAINERS = (
    _by_libsndfile("WAV PCM 16", "WAV", "PCM_16", _data_size(2 * COUNTED), _data_size(UNKNOWN)),
    _by_libsndfile("WAV PCM 24", "WAV", "PCM_24", _data_size(3 * COUNTED), _data_size(0)),
    _by_libsndfile("WAV float", "WAV", "FLOAT", _data_size(4 * COUNTED), _data_size(0x7FFF_FFFF)),
    _by_libsndfile("WAV µ-law", "WAV", "ULAW", _data_size(COUNTED), _data_size(UNKNOWN)),
    _by_libsndfile("WAV IMA ADPCM", "WAV", "IMA_ADPCM", _data_size(8_192), _data_size(UNKNOWN)),
    _by_libsndfile("WAV GSM 6.10", "WAV", "GSM610", _data_size(1_625), _data_size(UNKNOWN)),
    _by_libsndfile("RF64", "RF64", "PCM_16", _at(b"ds64", 16, struct.pack("<Q", 2 * COUNTED))),
    _by_libsndfile("W64", "W64", "PCM_16", _at(b"data", 16, struct.pack("<Q", 24 + 2 * COUNTED))),
    _by_libsndfile("FLAC", "FLAC", "PCM_16", _flac_count(COUNTED), _flac_count(0)),
    _by_libsndfile(
        "AIFF",
        "AIFF",
        "PCM_16",
        _both(_at(b"SSND", 4, struct.pack(">I", 8 + 2 * COUNTED)), _at(b"COMM", 10, struct.pack(">I", COUNTED))),
    ),
    _by_libsndfile(
        "AU",
        "AU",
        "PCM_16",
        _at(b".snd", 8, struct.pack(">I", 2 * COUNTED)),
        _at(b".snd", 8, struct.pack(">I", UNKNOWN)),
    ),
    _by_libsndfile(
        "CAF PCM", "CAF", "PCM_16", _at(b"data", 4, struct.pack(">Q", 4 + 2 * COUNTED)), _at(b"data", 4, b"\xff" * 8)
    ),
    _by_libsndfile("CAF ALAC", "CAF", "ALAC_16"),
    _by_libsndfile("SPHERE PCM", "NIST", "PCM_16", SPHERE_COUNT),
    _by_libsndfile("SPHERE µ-law", "NIST", "ULAW", SPHERE_COUNT),
    _by_libsndfile("Ogg Vorbis", "OGG", "VORBIS"),
    _by_libsndfile("Ogg Opus", "OGG", "OPUS"),
    _by_ffmpeg("MP3", "mp3", "libmp3lame"),
    _by_ffmpeg("MP2", "mp2", "mp2", (RATE, 24_000)),
    _by_ffmpeg("M4A AAC", "ipod", "aac", piped=False),
    _by_ffmpeg("M4A ALAC", "ipod", "alac", piped=False),
    _by_ffmpeg("QuickTime PCM", "mov", "pcm_s16le", piped=False),
    _by_ffmpeg("AAC in ADTS", "adts", "aac"),
    _by_ffmpeg("AAC in MPEG-TS", "mpegts", "aac"),
    _by_ffmpeg("WebM Opus", "webm", "libopus", (48_000, None)),
    _by_ffmpeg("Matroska FLAC", "matroska", "flac"),
    _by_ffmpeg("WMA", "asf", "wmav2", (44_100, 22_050), bits=32_000),
    _by_ffmpeg("FLV AAC", "flv", "aac", (44_100, 22_050)),
    _by_ffmpeg("AVI MP3", "avi", "libmp3lame"),
    _by_ffmpeg("AC-3", "ac3", "ac3", (48_000, 32_000)),
    _by_ffmpeg("TTA", "tta", "tta"),
    _by_ffmpeg("WavPack", "wv", "wavpack"),
    _by_ffmpeg("AMR", "amr", "libopencore_amrnb", (8_000, None), bits=12_200),
)


def main() -> int:
    """Print and write the table; return 1 if something is lost without a word."""
    rows = {container.name: cells(container) for container in CONTAINERS}
    text = table(rows)
    print(text)
    write_between(PAGE, BEGIN, END, text)
    lost = [
        f"{name}, {damage}: {cell}" for name, row in rows.items() for damage, cell in row.items() if cell.is_silent_loss
    ]
    print(*lost, sep="\n", file=sys.stderr)
    return 1 if lost else 0


def cells(container: Container) -> dict[str, Cell]:
    """Hear one container in each damage."""
    return {
        damage: Cell(seconds, *ours(content), by_ffmpeg_alone(content), by_libsndfile_alone(content))
        for damage, content, seconds in container.damaged()
    }


def ours(content: bytes) -> tuple[float | str, bool]:
    """Seconds that we hear, or the word of the error; and whether the row says that the file was cut."""
    recording = Heard(io.BytesIO(content), 30.0, audio_sha256="")
    try:
        for _ in recording.segments():
            pass
    except UtteranceError as error:
        return error.error, True
    return recording.facts.seconds, recording.facts.truncated


def by_ffmpeg_alone(content: bytes) -> float:
    """Seconds of the frames that FFmpeg decodes before its first error."""
    seconds = 0.0
    try:
        with av.open(io.BytesIO(content), "r") as container:
            for frame in container.decode(audio=0):
                seconds += frame.samples / frame.sample_rate
    except (av.FFmpegError, IndexError, ValueError):
        pass
    return seconds


def by_libsndfile_alone(content: bytes) -> float:
    """Seconds that libsndfile reads before its first error."""
    try:
        samples, rate = soundfile.read(io.BytesIO(content))
    except (soundfile.LibsndfileError, ValueError, TypeError):
        return 0.0
    return float(len(samples) / rate)


def table(rows: dict[str, dict[str, Cell]]) -> str:
    """Return the table as Markdown."""
    lines = [f"| | {' | '.join(DAMAGES)} |", f"| --- |{' --- |' * len(DAMAGES)}"]
    for name, row in rows.items():
        lines.append(f"| {name} | {' | '.join(str(row.get(damage, '–')) for damage in DAMAGES)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
