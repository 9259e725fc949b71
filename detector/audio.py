"""Audio in: the bytes of one recording, as blocks of 16 kHz mono samples.

soundfile reads first, PyAV what soundfile cannot, and one resampler serves both: resamplers differ audibly
between 6 and 8 kHz, where an encoder listens, and a resampler that changes with the container would tell
the container apart instead of the speech.

```
bytes ─► soundfile ─┐ native blocks    mean of       soxr HQ
         │ fails    ├─► 10 s each ──► channels ──► to 16 kHz ──► float32 blocks
         └► PyAV  ──┘
```
"""

from __future__ import annotations

import contextlib
import itertools
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

import av
import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from detector.errors import UtteranceError
from detector.sniff import DEMUXERS, EXACT, sniff

SAMPLE_RATE = 16_000  # Hz, what every encoder here was trained on
BLOCK_SECONDS = 10
MAX_SECONDS = 12 * 3600.0
RATES = (4_000, 384_000)  # Hz; a header that claims less or more is broken or hostile
MAX_CHANNELS = 16
BLOCK_ITEMS = 1 << 22  # samples of all channels at once: libsndfile mixes channels up beyond 2^24 of FLAC
SLACK_SECONDS = 1.0  # by which a recording may fall short of what its header claims; FLAC's counts samples
UNKNOWN_FRAMES = (1 << 63) - 1  # libsndfile's word for it
ADDRESS = re.compile(r" at 0x[0-9a-f]+")

AUDIO_SUFFIXES = frozenset(
    ".wav .flac .mp3 .ogg .oga .opus .m4a .mp4 .aac .webm .amr .3gp .wma .aif .aiff .au .caf .w64 .sph .mka .mkv .mov "
    ".avi .flv .ac3 .mp2 .tta .wv".split()
)
"""Names that are taken for audio when an archive is listed; the bytes decide how they are decoded."""

TAGS = (b"ID3", b"TAG", b"APE")

TOO_LONG = f"more than {MAX_SECONDS / 3600:.0f} h; split the recording"

END_SECONDS = 0.1  # by which an excerpt may reach beyond the recording's end: lists are rounded

Samples = npt.NDArray[np.float32]


@dataclass(frozen=True, order=True)
class Excerpt:
    """What of a recording is meant.

    Parameters
    ----------
    start : float
        Seconds, at the recording's own rate.
    end : float or None
        Seconds; None is its end.
    channel : int or None
        From 0; None is the mean of all.
    """

    start: float = 0.0
    end: float | None = None
    channel: int | None = None

    def __str__(self) -> str:
        times = f"@{_short(self.start)}-{_short(self.end)}" if self._is_cut else ""
        return times + ("" if self.channel is None else f"/ch{self.channel}")

    def cells(self) -> dict[str, float | None]:
        """Start, end and channel as tables hold them: null for what is not restricted.

        Examples
        --------
        >>> Excerpt(0.0, 2.5).cells(), Excerpt(channel=1).cells()
        ({'start': 0.0, 'end': 2.5, 'channel': None}, {'start': None, 'end': None, 'channel': 1})
        """
        return {"start": self.start if self._is_cut else None, "end": self.end, "channel": self.channel}

    @property
    def _is_cut(self) -> bool:
        return (self.start, self.end) != (0.0, None)


WHOLE = Excerpt()


def _short(seconds: float | None) -> str:
    """A number of seconds, all of its digits, without a closing `.0`.

    Examples
    --------
    >>> _short(10_000.25), _short(3.0), _short(None)
    ('10000.25', '3', 'end')
    """
    return "end" if seconds is None else repr(seconds).removesuffix(".0")


@dataclass(frozen=True)
class AudioFormat:
    """How a recording was stored, and who read it."""

    native_rate: int
    channels: int
    codec: str
    decoder: str


def versions() -> dict[str, str]:
    """Name and version of everything that turns bytes into samples; part of the fingerprint."""
    return {
        "decode": f"libsndfile {soundfile.__libsndfile_version__}, libavcodec "
        + ".".join(map(str, av.library_versions["libavcodec"])),
        "resample": f"soxr HQ {soxr.__version__}",
    }


def decode(file: BinaryIO, excerpt: Excerpt = WHOLE) -> tuple[AudioFormat, Iterator[Samples]]:
    """Decode one recording, block by block.

    Parameters
    ----------
    file : binary file
        Seekable, at any position. Only its bytes count: no name inside them is ever opened.
    excerpt : Excerpt
        What of it. It is decoded from its front, so that every codec gives the samples of the whole, and no farther
        than to the excerpt's end.

    Returns
    -------
    AudioFormat
        As the header says and the decoder found.
    iterator of float32 arrays of shape (n_samples,)
        16 kHz mono in [-1, 1] (floating-point files may exceed it), at most about 10 s each.

    Raises
    ------
    UtteranceError
        Here or while iterating: `empty`, `not_audio`, `bad_header`, `too_long`, `truncated`, `decode_error`,
        `nonfinite_audio`, `out_of_range`.
    MemoryError
        Where a decoder wants more memory than this process may have.

    Examples
    --------
    >>> import io
    >>> file = io.BytesIO()
    >>> soundfile.write(file, np.zeros((8_000, 2)), 8_000, format="WAV")
    >>> stored, blocks = decode(file)
    >>> stored.native_rate, stored.channels, sum(len(block) for block in blocks)
    (8000, 2, 16000)
    """
    stored, native = decode_native(file, excerpt)
    return stored, resample(native, stored.native_rate)


def decode_native(file: BinaryIO, excerpt: Excerpt = WHOLE) -> tuple[AudioFormat, Iterator[Samples]]:
    """Decode one recording at its own rate; else as :func:`decode`."""
    findings: list[UtteranceError] = []
    for decoder in DECODERS.values():
        file.seek(0)
        try:
            stored, native = decoder(file, excerpt.channel)
            first = next(native, None)
        except UtteranceError as error:
            if error.error in ("bad_header", "too_long", "truncated", "nonfinite_audio", "out_of_range"):
                raise
            findings.append(error)
            continue
        if first is not None:
            blocks = _between(itertools.chain([first], native), stored.native_rate, excerpt)
            return stored, _limited(blocks, stored.native_rate)
        findings.append(UtteranceError("empty", "a header, but no samples"))
    file.seek(0)
    if not file.read(1):
        raise UtteranceError("empty", "0 bytes")
    # whoever came farthest says what it is
    kinds = [each.error for each in findings]
    farthest = next(kind for kind in ("decode_error", "empty", "not_audio") if kind in kinds)
    raise UtteranceError(farthest, "; ".join(each.message for each in findings))


def _audio_decoders() -> list[str]:
    """FFmpeg's decoders of sound, by name."""
    names = []
    for name in sorted(av.codecs_available):
        with contextlib.suppress(av.codec.codec.UnknownCodecError):  # it can only be written
            if av.Codec(name, "r").type == "audio":
                names.append(name)
    return names


PYAV_OPTIONS = {
    "protocol_whitelist": "pipe",  # a playlist among the bytes may open nothing: no protocol but the pipe that we are
    "format_whitelist": ",".join(DEMUXERS),
    "codec_whitelist": ",".join(_audio_decoders()),  # a film's picture is not decoded, not even for a look at it
}


def _soundfile_blocks(file: BinaryIO, channel: int | None) -> tuple[AudioFormat, Iterator[Samples]]:
    sniffed = sniff(file)
    if not sniffed.soundfile:
        raise UtteranceError("not_audio", f"soundfile: {sniffed.why_not}")
    file.seek(0)
    try:
        sound = soundfile.SoundFile(file)
    except (soundfile.LibsndfileError, ValueError, TypeError) as error:
        raise UtteranceError("not_audio", f"soundfile: {_reason(error)}") from error
    if sound.frames == UNKNOWN_FRAMES:
        # a live encoder's FLAC: libsndfile would read some blocks of it, and then fail to seek
        raise UtteranceError("not_audio", "soundfile: a file that does not say its length")
    stored = AudioFormat(sound.samplerate, sound.channels, f"{sound.format}/{sound.subtype}".lower(), "soundfile")
    _check_header(stored, channel)
    if sound.frames > MAX_SECONDS * stored.native_rate:
        _check_claim(sound)
    claimed = sound.frames
    if sniffed.claimed_bytes is not None:  # libsndfile has cut it to what is there
        claimed = round(claimed * sniffed.claimed_bytes / max(1, sniffed.present_bytes))

    def blocks() -> Iterator[Samples]:
        n_frames = min(stored.native_rate * BLOCK_SECONDS, BLOCK_ITEMS // stored.channels)
        try:
            with sound:
                while len(block := sound.read(n_frames, "float32", always_2d=True)):
                    yield _mono(block, channel, 1)
        except (soundfile.LibsndfileError, ValueError) as error:
            raise UtteranceError("decode_error", f"soundfile: {_reason(error)}") from error

    return stored, _whole(blocks(), claimed, stored.native_rate, exact=sound.format == "FLAC")


def _check_claim(sound: soundfile.SoundFile) -> None:
    """Refuse what is too long at once, by a look at a sample beyond the limit; leave to PyAV what only says so."""
    try:
        sound.seek(round(MAX_SECONDS * sound.samplerate))
        is_true = len(sound.read(1)) == 1
    except (soundfile.LibsndfileError, ValueError):
        is_true = False
    if is_true:
        raise UtteranceError("too_long", TOO_LONG)
    raise UtteranceError(
        "not_audio", f"soundfile: a header that claims {sound.frames / sound.samplerate / 3600:,.0f} h"
    )


def _pyav_blocks(file: BinaryIO, channel: int | None) -> tuple[AudioFormat, Iterator[Samples]]:
    try:
        container = av.open(file, "r", metadata_errors="ignore", options=PYAV_OPTIONS)
        if not container.streams.audio:
            raise UtteranceError("not_audio", "PyAV: no audio stream")
        stream = container.streams.audio[0]
        stored = AudioFormat(stream.rate, stream.channels, stream.codec_context.name, "pyav")
    except MemoryError:
        raise  # FFmpeg's too: it says something of the process, and only then of the bytes
    except (av.FFmpegError, ValueError, EOFError, IndexError, AttributeError) as error:
        # a stream whose codec nobody knows has no rate: AttributeError
        raise UtteranceError("not_audio", f"PyAV: {_reason(error)}") from error
    _check_header(stored, channel)
    if stored.codec == "flac":  # else FFmpeg makes samples of a frame whose checksum is wrong
        stream.codec_context.options = {"err_detect": "crccheck+explode"}

    def blocks() -> Iterator[Samples]:
        planar = av.AudioResampler(format="fltp", layout=stream.layout, rate=stored.native_rate)
        held: list[Samples] = []
        n_held = 0
        try:
            with container:
                for packet in container.demux(stream):
                    if packet.size and bytes(packet)[:3] in TAGS:  # where MP3s were put one behind the other
                        continue
                    for converted in (each for frame in packet.decode() for each in planar.resample(frame)):
                        held.append(_mono(converted.to_ndarray().astype(np.float32, copy=False), channel, 0))
                        n_held += len(held[-1])
                    if n_held >= stored.native_rate * BLOCK_SECONDS:
                        yield np.concatenate(held)
                        held, n_held = [], 0
        except MemoryError:
            raise
        except (av.FFmpegError, ValueError, EOFError) as error:
            raise UtteranceError("decode_error", f"PyAV: {_reason(error)}") from error
        if held:
            yield np.concatenate(held)

    claimed = round(_claimed_seconds(container, stream) * stored.native_rate)
    return stored, _whole(blocks(), claimed, stored.native_rate, exact=container.format.name == "flac")


def _claimed_seconds(container: av.container.InputContainer, stream: av.AudioStream) -> float:
    """What the header claims of the sound; 0 where it does not say, or FFmpeg would guess."""
    if container.format.name.partition(",")[0] not in EXACT:
        return 0.0
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    # else it is of the longest stream, the picture perhaps
    return (container.duration or 0) / av.time_base if len(container.streams) == 1 else 0.0


DECODERS: dict[str, Callable[[BinaryIO, int | None], tuple[AudioFormat, Iterator[Samples]]]] = {
    "soundfile": _soundfile_blocks,
    "pyav": _pyav_blocks,
}
"""Tried in this order. Both never crashed on 600 fuzzed files; two other popular decoders did."""


def _reason(error: Exception) -> str:
    """What a decoder says, without the file object's address: the same bytes give the same words."""
    return ADDRESS.sub("", getattr(error, "error_string", None) or getattr(error, "strerror", None) or str(error))


def _mono(block: Samples, channel: int | None, axis: int) -> Samples:
    """One channel of a block, or the mean of all, where channels lie along ``axis``."""
    if channel is not None or block.shape[axis] == 1:
        return np.ascontiguousarray(block.take(channel or 0, axis))
    return np.asarray(block.mean(axis=axis, dtype=np.float32))


def _check_header(stored: AudioFormat, channel: int | None) -> None:
    if not RATES[0] <= stored.native_rate <= RATES[1]:
        raise UtteranceError(
            "bad_header", f"a rate of {stored.native_rate} Hz; {RATES[0]:,} to {RATES[1]:,} Hz are read"
        )
    if not 1 <= stored.channels <= MAX_CHANNELS:
        raise UtteranceError("bad_header", f"{stored.channels} channels; 1 to {MAX_CHANNELS} are read")
    if channel is not None and channel >= stored.channels:
        raise UtteranceError("out_of_range", f"channel {channel}, counted from 0, of {stored.channels}")


def _whole(blocks: Iterator[Samples], claimed: int, rate: int, *, exact: bool) -> Iterator[Samples]:
    """Pass blocks on; at their end, refuse those of a file that was cut, or that lies about its length."""
    n_samples = 0
    for block in blocks:
        n_samples += len(block)
        yield block
    if n_samples < claimed - (0 if exact else SLACK_SECONDS * rate):
        raise UtteranceError("truncated", f"{n_samples / rate:,.2f} s of the {claimed / rate:,.2f} s in its header")


def _between(blocks: Iterator[Samples], rate: int, excerpt: Excerpt) -> Iterator[Samples]:
    """Pass on what lies between an excerpt's start and end, and ask for no block behind it."""
    first = round(excerpt.start * rate)
    last = None if excerpt.end is None else round(excerpt.end * rate)
    n_samples = 0
    for block in blocks:
        part = block[max(0, first - n_samples) : None if last is None else last - n_samples]
        n_samples += len(block)
        if len(part):
            yield part
        if last is not None and n_samples >= last:
            return
    is_short = last is not None and n_samples < last - END_SECONDS * rate
    if is_short or n_samples <= first > 0:
        raise UtteranceError("out_of_range", f"{str(excerpt).partition('/')[0]} of {n_samples / rate:,.3f} s")


def _limited(blocks: Iterator[Samples], rate: int) -> Iterator[Samples]:
    """Pass blocks on until one is not finite or the whole is too long."""
    n_samples = 0
    for block in blocks:
        n_samples += len(block)
        if n_samples > MAX_SECONDS * rate:
            raise UtteranceError("too_long", TOO_LONG)
        if not np.isfinite(block).all():
            raise UtteranceError("nonfinite_audio", f"NaN or infinity before second {n_samples / rate:.1f}")
        yield block


def resample(blocks: Iterator[Samples], rate: int) -> Iterator[Samples]:
    """Bring mono blocks of ``rate`` Hz to 16 kHz; at 16 kHz they pass as they are."""
    if rate == SAMPLE_RATE:
        yield from blocks
        return
    stream = soxr.ResampleStream(rate, SAMPLE_RATE, 1, dtype="float32", quality="HQ")
    for block in blocks:
        yield stream.resample_chunk(block)
    yield stream.resample_chunk(np.zeros(0, dtype=np.float32), last=True)
