"""Durations: about how much audio a stored object holds, by its size and its name, before anybody has read it."""

from __future__ import annotations

from jobs.inputs.containers import container_kind
from jobs.inputs.suffixes import suffix_of
from jobs.storage import Stored, name_of

LINEAR, LOSSLESS, LOSSY, SPEECH, PHONE, FILM = 32_000, 17_000, 12_000, 4_000, 1_600, 125_000

BYTES_A_SECOND = {
    suffix: rate
    for suffixes, rate in (
        (".wav .wave .aif .aiff .aifc .au .bwf .caf .rf64 .rifx .snd .w64 .nist .sph", LINEAR),  # 16 kHz, 16 bits
        (".flac .tta .wv", LOSSLESS),  # 16 kHz
        (".aac .m4a .m4b .mka .mp3 .oga .ogg .wma", LOSSY),  # 96 kbit/s
        (".opus .spx .weba", SPEECH),  # 32 kbit/s
        (".3ga .amr .awb .qcp", PHONE),  # 12.8 kbit/s
        (".avi .flv .m2ts .mkv .mov .mp4 .mpeg .mpg .ts .webm .wmv", FILM),  # 1 Mbit/s, mostly pictures
    )
    for suffix in suffixes.split()
}
"""Stored bytes of a second of audio that are assumed by suffix; containers, and what is not listed, count as FLAC."""


def kind_of(uri: str) -> str:
    """Return what the duration of an object depends on: its kind of container, or its suffix.

    Examples
    --------
    >>> kind_of("s3://archive/0001.tar.gz"), kind_of("s3://archive/CALL.WAV"), kind_of("s3://archive/call")
    ('tar.gz', '.wav', '')
    """
    return container_kind(uri) or suffix_of(name_of(uri))


def stated_seconds(stored: Stored) -> float:
    """Return the seconds of audio that an object holds at the assumed rate.

    Examples
    --------
    >>> stated_seconds(Stored("s3://archive/call.wav", 320_000, "tag"))
    10.0
    """
    return stored.size / BYTES_A_SECOND.get(kind_of(stored.uri), LOSSLESS)
