"""Demuxing: which containers FFmpeg may open for PyAV, and how: such that it knows all audio in them, and gives it."""

from __future__ import annotations

import contextlib
import math
import os
import re
import struct
from collections.abc import Iterator
from typing import Final, TypeAlias, cast

import av
from av.packet import Packet

from detector.errors import UtteranceError
from detector.layout import Layout, movie

AudioPacket: TypeAlias = "Packet[av.AudioStream]"

ADDRESS = re.compile(r" at 0x[0-9a-f]+")

DEMUXERS = (
    "aac ac3 aiff amr amrnb amrwb asf au avi caf eac3 flac flv matroska mov mp3 mpeg mpegts nistsphere ogg qcp tta w64 "
    "wav wv"
).split()
"""FFmpeg's names of the containers that may be opened: audio, and film with audio. No playlists, no scripts."""

MAX_FRAME_SAMPLES = 5_760  # of a packet of a codec with a delay: 120 ms of Opus
MAX_PACKET_UNITS = 1 << 16  # samples of a packet of Vorbis or Opus, at most; what pages contradict is longer

EXACT = ("flac", "asf", "flv", "matroska", "mov", "wv")
"""Containers whose header states their length; for the others FFmpeg guesses."""

NO_HEADER = ("mpegts", "mpeg", "flv")
"""Containers that do not list their streams: FFmpeg adds each when it comes to it, also while they are decoded."""

SKIPPED: Final = "skip_samples"
"""PyAV's name of what belongs to a packet, and says how many samples a decoder leaves out."""

_LARGEST = str((1 << 63) - 1)
TO_THE_END = {"probesize": _LARGEST, "analyzeduration": _LARGEST, "scan_all_pmts": "1", "fflags": "nobuffer"}
"""Has FFmpeg look for streams in all of the file, and keep nothing of it; without, it looks at up to 5 MB."""

DELAY_SECONDS = 0.5
"""As much as the delay of a codec may be, which players leave out."""

WHOLE_TRACKS = {"ignore_editlist": "1"}
"""Has FFmpeg give all of a track of an MP4, whatever its edit list leaves out."""


def _audio_decoders() -> list[str]:
    """Names of FFmpeg's audio decoders."""
    names = []
    for name in sorted(av.codecs_available):
        with contextlib.suppress(av.codec.codec.UnknownCodecError):  # a codec with an encoder only
            if av.Codec(name, "r").type == "audio":
                names.append(name)
    return names


PYAV_OPTIONS = {
    "protocol_whitelist": "pipe",  # a playlist in the bytes must not open files or URLs; `pipe` is this file object
    "format_whitelist": ",".join(DEMUXERS),
    "codec_whitelist": ",".join(_audio_decoders()),  # the picture of a film is never decoded, not even to probe it
}


def options_for(layout: Layout) -> dict[str, str]:
    """Return options with which FFmpeg opens a recording only as the container that its first bytes show."""
    return PYAV_OPTIONS | ({"format_whitelist": layout.demuxers} if layout.demuxers else {})


def open_container(layout: Layout, options: dict[str, str] | None = None) -> av.container.InputContainer:
    """Open a recording.

    Raises
    ------
    UtteranceError
        `not_audio` if FFmpeg does not know it.
    """
    layout.file.seek(0)
    options = options_for(layout) | (options or {})
    try:
        container = av.open(layout.file, "r", metadata_errors="ignore", options=options)
        if "probesize" in options:
            container.seek(0, unsupported_byte_offset=True)
    except MemoryError:
        raise  # also FFmpeg's own: the process is out of memory, which the caller must know
    except (av.FFmpegError, ValueError, EOFError, IndexError) as error:
        raise UtteranceError("not_audio", f"PyAV: {reason(error)}") from error
    return container


def open_whole(layout: Layout) -> tuple[av.container.InputContainer, dict[str, str]]:
    """Open a recording with the options, which are returned, with which FFmpeg gives all of its audio."""
    container = open_container(layout)
    at = layout.file.tell()
    if container.format.name in NO_HEADER:
        options = _to_know_all_streams(layout, container)
    elif container.format.name.startswith("mov,") and _edits_sound_out(layout, container):
        options = WHOLE_TRACKS
    else:
        layout.file.seek(at)  # where FFmpeg left it
        return container, {}
    return open_container(layout, options), options


def _to_know_all_streams(layout: Layout, container: av.container.InputContainer) -> dict[str, str]:
    """Return options with which FFmpeg knows all streams of a file once it is open, and adds none later.

    PyAV passes over streams that come later than that, and reads beyond its memory to do so.
    """
    with container:
        n_streams, n_tracks = len(container.streams), len(container.streams.audio)
    with open_container(layout, TO_THE_END | {"fflags": "nobuffer+noparse+nofillin"}) as whole:
        is_enough = n_streams >= len(whole.streams) and n_tracks >= len(whole.streams.audio)
        at_most = {"max_streams": str(max(1, n_streams, len(whole.streams)))}
    return at_most if is_enough else TO_THE_END | at_most


def _edits_sound_out(layout: Layout, edited: av.container.InputContainer) -> bool:
    """Return True if an edit list of an MP4 leaves out more than the delay of a codec: not every player heeds it.

    It does so by leaving out time, which a table may contradict, or packets; or by playing others instead.
    """
    found = movie.movie(layout.file, 0, layout.file.seek(0, os.SEEK_END))
    if found.n_tracks and found.n_tracks != len(edited.streams.audio):
        raise movie.unclear(f"{found.n_tracks} tracks of sound, of which FFmpeg reads {len(edited.streams.audio)}")
    with open_container(layout, WHOLE_TRACKS) as whole:
        return found.is_edited or any(
            (claimed_seconds(whole, each) or 0.0) > (claimed_seconds(edited, other) or 0.0) + DELAY_SECONDS
            or (len(each.index_entries) - len(other.index_entries)) * _most_samples(each) > DELAY_SECONDS * each.rate
            for each, other in zip(whole.streams.audio, edited.streams.audio, strict=False)
            if each.codec_context is not None
        )


def _most_samples(stream: av.AudioStream) -> float:
    """Samples that a packet of a stream may have: no end of them without a codec that has a delay."""
    context = stream.codec_context
    if context.codec.lossless:
        return math.inf
    return context.frame_size or MAX_FRAME_SAMPLES


def known_tracks(container: av.container.InputContainer) -> list[int]:
    """Return the numbers of the audio streams whose codec FFmpeg knows."""
    return [number for number, each in enumerate(container.streams.audio) if each.codec_context is not None]


def unknown_bytes(layout: Layout, options: dict[str, str]) -> int:
    """Return the bytes of the packets of all other audio streams, which no decoder can be given."""
    with open_container(layout, options) as container:
        unknown = [each for each in container.streams.audio if each.codec_context is None]
        return sum(packet.size for packet in container.demux(unknown)) if unknown else 0


def audio_stream(container: av.container.InputContainer, index: int) -> av.AudioStream:
    """Return an audio stream, ready to be decoded."""
    stream = container.streams.audio[index]
    if stream.codec_context is None:
        raise UtteranceError("not_audio", "PyAV: an audio stream whose codec is not known")
    stream.codec_context.thread_count = 1  # a confined decoder may start no thread
    if stream.codec_context.name == "flac":  # otherwise FFmpeg decodes frames whose checksum is wrong
        stream.codec_context.options = {"err_detect": "crccheck+explode"}
    # a decoder leaves out the delay unasked; of ALAC, which has none, FFmpeg cuts the last packet twice
    if stream.codec_context.name == "alac" or stream.codec_context.delay > DELAY_SECONDS * stream.rate:
        stream.codec_context.flags2 |= av.codec.context.Flags2.skip_manual
    return stream


def packets(container: av.container.InputContainer, stream: av.AudioStream) -> Iterator[AudioPacket]:
    """Yield the packets of a stream, of which a decoder leaves out no more than the delay of a codec.

    A header may have players pass over any part of the sound (Matroska: CodecDelay and DiscardPadding; the priming of a
    CAF; positions of the pages of an Ogg). Not every player heeds that.
    """
    n_allowed, n_most = DELAY_SECONDS * stream.rate, _most_samples(stream)
    for packet in container.demux(stream):
        n_skipped = n_most if packet.is_discard else _skipped_samples(packet)
        if n_skipped <= n_allowed:
            n_allowed -= n_skipped
            yield packet
        else:
            yield _unskipped(packet)


def _skipped_samples(packet: AudioPacket) -> int:
    """Samples that a decoder would leave out: at the beginning of a packet, from there on, and at its end."""
    if not packet.has_sidedata(SKIPPED):
        return 0
    from_start, at_end = struct.unpack_from("<II", bytes(packet.get_sidedata(SKIPPED)))
    return int(from_start + at_end)


def _unskipped(packet: AudioPacket) -> AudioPacket:
    """Return a packet with the same content, of which nothing is left out."""
    whole = cast(AudioPacket, Packet(bytes(packet)))
    whole.stream, whole.time_base = packet.stream, packet.time_base
    whole.pts, whole.dts, whole.duration = packet.pts, packet.dts, packet.duration
    for each in packet.iter_sidedata():
        if each.data_type != SKIPPED:
            whole.set_sidedata(each)
    return whole


def claimed_seconds(container: av.container.InputContainer, stream: av.AudioStream) -> float | None:
    """Length of the audio as the header states it; None if it states none, or FFmpeg would only guess."""
    if container.format.name.partition(",")[0] not in EXACT:
        return None
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    # a container states the length of its longest stream, which may be the picture
    if len(container.streams) > 1 or container.duration is None:
        return None
    return float(container.duration / av.time_base)


def packet_seconds(layout: Layout) -> float | None:
    """Return the length that the packets of an Ogg add up to, whatever its pages state; None if FFmpeg finds none.

    FFmpeg does not know the duration of the first packet of a page of Vorbis: it counts as one like the others. A
    hundredth, and a quarter of a second, are allowed for.
    """
    n_packets, n_known, duration = 0, 0, 0
    try:
        with open_container(layout) as container:
            stream = container.streams.audio[0]
            for packet in container.demux(stream):
                n_packets += packet.size > 0
                units = packet.duration or 0
                if 0 < units < MAX_PACKET_UNITS:
                    n_known, duration = n_known + 1, duration + units
            unit = float(stream.time_base or 0.0)
    except (UtteranceError, av.FFmpegError, IndexError, ValueError):
        return None
    return duration * unit * n_packets / n_known * 0.99 - 0.25 if n_known else None


def reason(error: Exception) -> str:
    """The decoder's message without memory addresses, so that the same bytes always give the same text."""
    return ADDRESS.sub("", getattr(error, "error_string", None) or getattr(error, "strerror", None) or str(error))
