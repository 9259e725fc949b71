"""Make the canaries: the short recordings of :mod:`detector.canaries`, one for each codec and rate.

    python -m bench.canaries

They were made once and are kept as bytes: another encoder writes others, and outputs hold what these gave. The signal
is a formula: a voice-like tone that glides, over noise up to the highest frequency that the rate can hold, so that
every band of a decoder and of the resampler is heard.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import numpy as np

from bench.codecs import FULL_SCALE, Encode, Recording, by_ffmpeg, by_soundfile
from detector.canaries import FOLDER

SEED = 19
MADE: dict[str, tuple[int, float, Encode]] = {
    "pcm16-8000.wav": (8_000, 0.5, by_soundfile("WAV", "PCM_16")),
    "pcm24-16000.wav": (16_000, 0.4, by_soundfile("WAV", "PCM_24")),
    "float-16000.wav": (16_000, 0.3, by_soundfile("WAV", "FLOAT")),
    "ulaw-8000.wav": (8_000, 1.0, by_soundfile("WAV", "ULAW")),
    "alaw-8000.wav": (8_000, 1.0, by_soundfile("WAV", "ALAW")),
    "ima-adpcm-16000.wav": (16_000, 1.0, by_soundfile("WAV", "IMA_ADPCM")),
    "ms-adpcm-8000.wav": (8_000, 1.0, by_soundfile("WAV", "MS_ADPCM")),
    "gsm610-8000.wav": (8_000, 1.0, by_soundfile("WAV", "GSM610")),
    "flac-16000.flac": (16_000, 0.6, by_soundfile("FLAC", "PCM_16")),
    "flac-22050.flac": (22_050, 0.4, by_soundfile("FLAC", "PCM_16")),
    "flac-44100.flac": (44_100, 0.3, by_soundfile("FLAC", "PCM_16")),
    "flac-48000.flac": (48_000, 0.3, by_soundfile("FLAC", "PCM_16")),
    "mp3-16000.mp3": (16_000, 1.0, by_ffmpeg("mp3", "libmp3lame", bits=32_000)),
    "mp3-44100.mp3": (44_100, 1.0, by_ffmpeg("mp3", "libmp3lame", bits=64_000)),
    "mp2-48000.mp2": (48_000, 1.0, by_ffmpeg("mp2", "mp2", bits=96_000)),
    "vorbis-22050.ogg": (22_050, 1.0, by_soundfile("OGG", "VORBIS")),
    "opus-48000.opus": (48_000, 1.0, by_ffmpeg("ogg", "libopus", bits=32_000)),
    "opus-48000.webm": (48_000, 1.0, by_ffmpeg("webm", "libopus", bits=32_000)),
    "aac-44100.m4a": (44_100, 1.0, by_ffmpeg("ipod", "aac", bits=64_000)),
    "aac-16000.aac": (16_000, 1.0, by_ffmpeg("adts", "aac", bits=32_000)),
    "alac-44100.m4a": (44_100, 0.2, by_ffmpeg("ipod", "alac")),
    "alac-16000.caf": (16_000, 0.5, by_soundfile("CAF", "ALAC_16")),
    "amr-8000.amr": (8_000, 1.0, by_ffmpeg("amr", "libopencore_amrnb", bits=12_200)),
    "wma-44100.wma": (44_100, 1.0, by_ffmpeg("asf", "wmav2", bits=64_000)),
    "ac3-48000.ac3": (48_000, 1.0, by_ffmpeg("ac3", "ac3", bits=64_000)),
    "eac3-48000.eac3": (48_000, 1.0, by_ffmpeg("eac3", "eac3", bits=64_000)),
}


def signal(rate: int, seconds: float) -> Recording:
    """Return a gliding tone of twelve harmonics, swelling four times a second, over noise."""
    time = np.arange(round(rate * seconds)) / rate
    phase = 2 * np.pi * (110 * time + 45 * time**2 + 1.5 * np.sin(2 * np.pi * 5 * time))
    voice = sum(np.sin(number * phase) / number for number in range(1, 13))
    noise = np.random.default_rng(SEED).uniform(-1.0, 1.0, len(time))
    swell = 0.55 - 0.45 * np.cos(2 * np.pi * 4 * time)
    return np.asarray(np.rint(FULL_SCALE * swell * (0.22 * voice + 0.12 * noise)), np.int16)


def main(arguments: Sequence[str] | None = None) -> int:
    """Write those that are missing, or those that are named; print the sizes."""
    named = list(sys.argv[1:] if arguments is None else arguments)
    for name, (rate, seconds, encode) in MADE.items():
        path = FOLDER / name
        if name in named or not path.exists():
            path.write_bytes(encode(signal(rate, seconds), rate))
    sizes = {path.name: path.stat().st_size for path in sorted(FOLDER.iterdir()) if path.name in MADE}
    print(*(f"{size:7,} B  {name}" for name, size in sizes.items()), f"{sum(sizes.values()):7,} B in all", sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
