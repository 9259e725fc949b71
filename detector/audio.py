"""Decoding: the bytes of one recording to blocks of 16 kHz mono samples.

soundfile is tried first, then PyAV, and one resampler serves both. Resamplers differ audibly between 6 and 8 kHz, a
band that encoders use; with one resampler per container, a head would learn the container instead of the speech.

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

SAMPLE_RATE = 16_000  # Hz, the rate that every supported encoder was trained on
BLOCK_SECONDS = 10
MAX_SECONDS = 12 * 3600.0
RATES = (4_000, 384_000)  # Hz; a header that claims less or more is broken or hostile
MAX_CHANNELS = 16
BLOCK_ITEMS = 1 << 22  # samples of all channels in one read: beyond 2^24 of FLAC, libsndfile mixes channels up
SLACK_SECONDS = 1.0  # tolerated difference between header and decoded length; FLAC headers count samples, and get none
UNKNOWN_FRAMES = (1 << 63) - 1  # libsndfile's value for an unknown length
ADDRESS = re.compile(r" at 0x[0-9a-f]+")

TAGS = (b"ID3", b"TAG", b"APE")  # metadata packets between concatenated MP3s

TOO_LONG = f"more than {MAX_SECONDS / 3600:.0f} h; split the recording"

END_SECONDS = 0.1  # an excerpt may extend this far beyond the end, because lists round their times

Samples = npt.NDArray[np.float32]


@dataclass(frozen=True, order=True)
class Excerpt:
    """The part of a recording to decode.

    Parameters
    ----------
    start : float
        Seconds from the beginning of the recording.
    end : float or None
        Seconds; None for the end of the recording.
    channel : int or None
        Counted from 0; None for the mean of all channels.
    """

    start: float = 0.0
    end: float | None = None
    channel: int | None = None

    def __str__(self) -> str:
        times = f"@{_short(self.start)}-{_short(self.end)}" if self._is_cut else ""
        return times + ("" if self.channel is None else f"/ch{self.channel}")

    def cells(self) -> dict[str, float | None]:
        """Columns `start`, `end` and `channel` of the tables: null where the excerpt sets no limit.

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
    """Write seconds with all digits but without a trailing `.0`.

    Examples
    --------
    >>> _short(10_000.25), _short(3.0), _short(None)
    ('10000.25', '3', 'end')
    """
    return "end" if seconds is None else repr(seconds).removesuffix(".0")


@dataclass(frozen=True)
class AudioFormat:
    """Format of a recording as stored, and the decoder that read it."""

    native_rate: int
    channels: int
    codec: str
    decoder: str


def versions() -> dict[str, str]:
    """Names and versions of the libraries that turn bytes into samples; part of the fingerprint."""
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
        Seekable, at any position. Only its bytes are used: no file that they name is ever opened.
    excerpt : Excerpt
        Part to return. Decoding starts at the beginning of the recording, so that every codec gives the same samples
        as for the whole, and stops at the end of the excerpt.

    Returns
    -------
    AudioFormat
        As the decoder reports it.
    iterator of float32 arrays of shape (n_samples,)
        16 kHz mono in [-1, 1] (floating-point files may exceed this range), at most about 10 s each.

    Raises
    ------
    UtteranceError
        On the call or during iteration: `empty`, `not_audio`, `bad_header`, `too_long`, `truncated`, `decode_error`,
        `nonfinite_audio`, `out_of_range`.
    MemoryError
        If a decoder needs more memory than this process may use.

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
    """Decode one recording at its stored rate; otherwise as :func:`decode`."""
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
    # the error of the decoder that got farthest describes the file best
    kinds = [each.error for each in findings]
    farthest = next(kind for kind in ("decode_error", "empty", "not_audio") if kind in kinds)
    raise UtteranceError(farthest, "; ".join(each.message for each in findings))


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
        # FLAC from a live encoder: libsndfile would read some blocks and then fail to seek
        raise UtteranceError("not_audio", "soundfile: the header does not state the length")
    stored = AudioFormat(sound.samplerate, sound.channels, f"{sound.format}/{sound.subtype}".lower(), "soundfile")
    _check_header(stored, channel)
    if sound.frames > MAX_SECONDS * stored.native_rate:
        _check_claim(sound)
    claimed = sound.frames
    if sniffed.claimed_bytes is not None:  # libsndfile reports the bytes present, not those that the header claims
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
    """Refuse a file that has a sample beyond the limit; leave one that only claims to be so long to PyAV."""
    try:
        sound.seek(round(MAX_SECONDS * sound.samplerate))
        is_true = len(sound.read(1)) == 1
    except (soundfile.LibsndfileError, ValueError):
        is_true = False
    if is_true:
        raise UtteranceError("too_long", TOO_LONG)
    raise UtteranceError(
        "not_audio",
        f"soundfile: the header claims {sound.frames / sound.samplerate / 3600:,.0f} h, and the samples end before",
    )


def _pyav_blocks(file: BinaryIO, channel: int | None) -> tuple[AudioFormat, Iterator[Samples]]:
    try:
        container = av.open(file, "r", metadata_errors="ignore", options=PYAV_OPTIONS)
        if not container.streams.audio:
            raise UtteranceError("not_audio", "PyAV: no audio stream")
        stream = container.streams.audio[0]
        stored = AudioFormat(stream.rate, stream.channels, stream.codec_context.name, "pyav")
    except MemoryError:
        raise  # also FFmpeg's own: the process is out of memory, which the caller must know
    except (av.FFmpegError, ValueError, EOFError, IndexError, AttributeError) as error:
        # AttributeError: a stream with an unknown codec has no rate
        raise UtteranceError("not_audio", f"PyAV: {_reason(error)}") from error
    _check_header(stored, channel)
    if stored.codec == "flac":  # otherwise FFmpeg decodes frames whose checksum is wrong
        stream.codec_context.options = {"err_detect": "crccheck+explode"}

    def blocks() -> Iterator[Samples]:
        planar = av.AudioResampler(format="fltp", layout=stream.layout, rate=stored.native_rate)
        held: list[Samples] = []
        n_held = 0
        try:
            with container:
                for packet in container.demux(stream):
                    if packet.size and bytes(packet)[:3] in TAGS:  # tags between concatenated MP3s
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
    """Length of the audio as the header states it; 0 if it states none, or FFmpeg would only guess."""
    if container.format.name.partition(",")[0] not in EXACT:
        return 0.0
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    # a container states the length of its longest stream, which may be the picture
    return (container.duration or 0) / av.time_base if len(container.streams) == 1 else 0.0


DECODERS: dict[str, Callable[[BinaryIO, int | None], tuple[AudioFormat, Iterator[Samples]]]] = {
    "soundfile": _soundfile_blocks,
    "pyav": _pyav_blocks,
}
"""Decoders in the order in which they are tried. Neither crashed on 600 fuzzed files; two other popular ones did."""


def _reason(error: Exception) -> str:
    """The decoder's message without memory addresses, so that the same bytes always give the same text."""
    return ADDRESS.sub("", getattr(error, "error_string", None) or getattr(error, "strerror", None) or str(error))


def _mono(block: Samples, channel: int | None, axis: int) -> Samples:
    """One channel of a block, or the mean of all channels, which lie along ``axis``."""
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
    """Pass blocks on; at the end, refuse a file that is shorter than its header claims."""
    n_samples = 0
    for block in blocks:
        n_samples += len(block)
        yield block
    if n_samples < claimed - (0 if exact else SLACK_SECONDS * rate):
        raise UtteranceError("truncated", f"{n_samples / rate:,.2f} s of the {claimed / rate:,.2f} s in its header")


def _between(blocks: Iterator[Samples], rate: int, excerpt: Excerpt) -> Iterator[Samples]:
    """Pass on the samples of an excerpt, and request no block after its end."""
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
    """Pass blocks on; refuse the first that is not finite or exceeds the length limit."""
    n_samples = 0
    for block in blocks:
        n_samples += len(block)
        if n_samples > MAX_SECONDS * rate:
            raise UtteranceError("too_long", TOO_LONG)
        if not np.isfinite(block).all():
            raise UtteranceError("nonfinite_audio", f"NaN or infinity before second {n_samples / rate:.1f}")
        yield block


def resample(blocks: Iterator[Samples], rate: int) -> Iterator[Samples]:
    """Resample mono blocks of ``rate`` Hz to 16 kHz; blocks at 16 kHz are passed on unchanged."""
    if rate == SAMPLE_RATE:
        yield from blocks
        return
    stream = soxr.ResampleStream(rate, SAMPLE_RATE, 1, dtype="float32", quality="HQ")
    for block in blocks:
        yield stream.resample_chunk(block)
    yield stream.resample_chunk(np.zeros(0, dtype=np.float32), last=True)
