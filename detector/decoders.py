"""Decoders: libsndfile and FFmpeg, each from one recording's bytes to blocks of samples at the stored rate.

Resamplers differ audibly between 6 and 8 kHz, a band that encoders use. Neither decoder resamples here; one resampler
serves both (:mod:`detector.audio`). With one for each, a head would learn the container instead of the speech.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, cast

import av
import numpy as np
import soundfile

from detector.demuxing import (
    audio_stream,
    claimed_seconds,
    known_tracks,
    open_container,
    open_whole,
    packet_seconds,
    packets,
    reason,
    unknown_bytes,
)
from detector.errors import UtteranceError
from detector.layout import PYAV, SOUNDFILE, Layout
from detector.mixing import Samples as Samples
from detector.mixing import mixed
from detector.unplayed import played

BLOCK_SECONDS = 10
MAX_SECONDS = 12 * 3600.0
OPUS_RATE = 48_000  # Hz, at which players decode Opus: RFC 7845, 5.1
RATES = (4_000, 384_000)  # Hz; a header that claims less or more is broken or hostile
MAX_CHANNELS = 16
STEREO = 2
MAX_TRACKS = 16  # audio streams of a file: the languages of a film
BLOCK_ITEMS = 1 << 22  # samples of all channels in one read: beyond 2^24 of FLAC, libsndfile mixes channels up
SLACK_SECONDS = 1.0  # tolerated difference between header and decoded length
EXACT_SECONDS = 1e-6  # for FLAC, whose header counts samples: less than one
UNKNOWN_FRAMES = (1 << 63) - 1  # libsndfile's value for an unknown length
TAGS = (b"ID3", b"TAG", b"APE")  # metadata packets between concatenated MP3s
TAGGED = ("mp1", "mp2", "mp3")  # codecs whose packets cannot begin so


class Block(NamedTuple):
    """Consecutive samples of one channel: float32 of shape (n_samples,), and their rate in Hz."""

    samples: Samples
    rate: int


@dataclass(frozen=True)
class AudioFormat:
    """Format of a recording as stored, and the decoder that read it."""

    native_rate: int
    channels: int
    codec: str
    decoder: str


@dataclass
class Ledger:
    """What headers claim, and what was found beside what is heard; complete once the last block was read.

    Parameters
    ----------
    claims : list of float or None
        Length that the header of each recording states; None if it states none.
    trailing_bytes : int
        Bytes that belong to no recording, and are neither tags nor padding.
    unknown_bytes : int
        Bytes of tracks whose codec is not known, beside one that is heard.
    channels_cancel : bool
        True if the channels cancel one another somewhere, so that the louder one was taken there.
    is_cut : bool
        True if the file breaks off, as its structure tells, whatever length it states.
    """

    claims: list[float | None] = field(default_factory=list)
    trailing_bytes: int = 0
    unknown_bytes: int = 0
    channels_cancel: bool = False
    is_cut: bool = False

    @property
    def seconds_claimed(self) -> float | None:
        """Length that the headers state; None if one of them states none."""
        known = [each for each in self.claims if each is not None]
        return sum(known) if known and len(known) == len(self.claims) else None


Opened = tuple[AudioFormat, Iterator[Block]]
"""The format and the blocks of one recording."""


class Frame(NamedTuple):
    """A piece of decoded sound: float32 of shape (n_channels, n_samples), its rate in Hz, the names of its channels."""

    channels: Samples
    rate: int
    names: tuple[str, ...]


class Mixer:
    """Takes one channel of a block, or mixes those that are played (:mod:`detector.mixing`, :mod:`detector.unplayed`).

    The ledger says if they cancel.
    """

    def __init__(self, channel: int | None, ledger: Ledger) -> None:
        self.channel = channel
        self.ledger = ledger

    def __call__(self, channels: Samples, rate: int, names: Sequence[str] = (), *, may_exceed: bool = True) -> Samples:
        """Return float32 of shape (n_samples,), of one of shape (n_channels, n_samples); clipped as players clip it."""
        if self.channel is None:
            channels = played(channels, names, rate)
        if may_exceed and channels.size and 1.0 < max(channels.max(), -channels.min()) < np.inf:
            channels = np.clip(channels, -1.0, 1.0)
        if self.channel is not None:
            return np.ascontiguousarray(channels[self.channel])
        samples, cancel = mixed(channels, rate)
        self.ledger.channels_cancel |= cancel
        return samples


def _open_with_soundfile(layout: Layout, mixer: Mixer) -> Opened:
    if SOUNDFILE not in layout.decoders:
        raise UtteranceError("not_audio", layout.why_not)
    layout.file.seek(0)
    least_seconds = packet_seconds(layout) if layout.is_paged else layout.least_seconds
    layout.file.seek(0)
    try:
        sound = soundfile.SoundFile(layout.file)
    except (soundfile.LibsndfileError, ValueError, TypeError) as error:
        raise UtteranceError("not_audio", f"soundfile: {reason(error)}") from error
    if sound.subtype == "OPUS" and sound.samplerate != OPUS_RATE:
        raise UtteranceError("not_audio", f"soundfile: decodes Opus at {sound.samplerate} Hz, as its encoder got it")
    if sound.frames == UNKNOWN_FRAMES:
        raise UtteranceError("not_audio", "soundfile: the header does not state the length")
    stored = AudioFormat(sound.samplerate, sound.channels, f"{sound.format}/{sound.subtype}".lower(), SOUNDFILE)
    check_header(stored, mixer.channel)
    if stored.channels > STEREO and mixer.channel is None and PYAV in layout.decoders:
        raise UtteranceError("not_audio", "soundfile: does not say which channel is the LFE")
    if sound.frames > MAX_SECONDS * stored.native_rate:
        _check_claim(sound)
    if least_seconds is not None and sound.frames < round(least_seconds * stored.native_rate):
        known = sound.frames / stored.native_rate
        raise UtteranceError("not_audio", f"soundfile: knows of {known:.1f} s, and {least_seconds:.1f} s are there")

    may_exceed = not sound.subtype.startswith("PCM_")

    def blocks() -> Iterator[Block]:
        n_frames = min(stored.native_rate * BLOCK_SECONDS, BLOCK_ITEMS // stored.channels)
        try:
            with sound:
                while len(block := sound.read(n_frames, "float32", always_2d=True)):
                    samples = mixer(block.T, stored.native_rate, may_exceed=may_exceed)
                    yield Block(samples, stored.native_rate)
        except (soundfile.LibsndfileError, ValueError) as error:
            raise UtteranceError("decode_error", f"soundfile: {reason(error)}") from error

    claimed = layout.claimed_seconds
    if claimed is None and layout.claimed_share is not None:
        # libsndfile reports what is there, not what the header claims
        claimed = sound.frames * layout.claimed_share / stored.native_rate
    mixer.ledger.claims.append(claimed)
    return stored, _whole(blocks(), claimed, exact=sound.format == "FLAC")


def _check_claim(sound: soundfile.SoundFile) -> None:
    """Refuse a file that has a sample beyond the limit; leave one that only claims to be so long to PyAV."""
    try:
        sound.seek(round(MAX_SECONDS * sound.samplerate))
        is_true = len(sound.read(1)) == 1
    except (soundfile.LibsndfileError, ValueError):
        is_true = False
    if is_true:
        raise too_long(MAX_SECONDS)
    raise UtteranceError(
        "not_audio",
        f"soundfile: the header claims {sound.frames / sound.samplerate / 3600:,.0f} h, and the samples end before",
    )


def _open_with_pyav(layout: Layout, mixer: Mixer) -> Opened:
    if PYAV not in layout.decoders:
        raise UtteranceError("not_audio", "PyAV: misreads this container")
    container, options = open_whole(layout)
    tracks = known_tracks(container)
    if not tracks:
        what = " whose codec is known" if container.streams.audio else ""
        raise UtteranceError("not_audio", f"PyAV: no audio stream{what}")
    if len(tracks) > MAX_TRACKS:
        raise UtteranceError("bad_header", f"{len(tracks)} audio streams; at most {MAX_TRACKS} are heard")
    try:
        stream = audio_stream(container, tracks[0])
        stored = AudioFormat(stream.rate, stream.channels, stream.codec_context.name, PYAV)
    except (av.FFmpegError, ValueError) as error:
        raise UtteranceError("not_audio", f"PyAV: {reason(error)}") from error
    check_header(stored, mixer.channel)
    claimed = layout.claimed_seconds if len(tracks) == 1 else None
    if claimed is None and not layout.is_live:
        claims = [claimed_seconds(container, container.streams.audio[each]) for each in tracks]
        claimed = None if None in claims else sum(each for each in claims if each is not None)
    if len(tracks) < len(container.streams.audio):
        mixer.ledger.unknown_bytes += unknown_bytes(layout, options)
        container = open_container(layout, options)
    frames = _all_frames(layout, container, options)
    blocks = _joined(frames, mixer, layout.skipped_samples)
    mixer.ledger.claims.append(claimed)
    if claimed is None and layout.claimed_share is not None:
        return stored, _whole_by_share(blocks, layout.claimed_share, mixer.ledger)
    return stored, _whole(blocks, claimed, exact=container.format.name == "flac")


def _all_frames(layout: Layout, container: av.container.InputContainer, options: dict[str, str]) -> Iterator[Frame]:
    """Yield the frames of all audio streams of an open file, one stream after the other."""
    first, *others = known_tracks(container)
    yield from _pyav_frames(container, audio_stream(container, first))
    for index in others:
        container = open_container(layout, options)
        yield from _pyav_frames(container, audio_stream(container, index))


def _pyav_frames(container: av.container.InputContainer, stream: av.AudioStream) -> Iterator[Frame]:
    """Yield second by second, each of one rate and one layout of channels."""
    packed = av.AudioResampler(format="flt")  # of 8 planes and more, PyAV reads beyond its memory
    kind, names = ("", "", 0), tuple[str, ...]()
    try:
        with container:
            for frame in _seconds(_decoded(container, stream)):
                if kind != (of_frame := _kind(frame)):
                    kind, names = of_frame, tuple(each.name for each in frame.layout.channels)
                    packed = av.AudioResampler(format="flt", layout=frame.layout, rate=frame.sample_rate)
                for converted in packed.resample(frame):
                    channels = converted.to_ndarray().astype(np.float32, copy=False).reshape(converted.samples, -1).T
                    yield Frame(channels, frame.sample_rate, names)
    except MemoryError:
        raise
    except (av.FFmpegError, ValueError, EOFError, IndexError) as error:
        raise UtteranceError("decode_error", f"PyAV: {reason(error)}") from error


def _decoded(container: av.container.InputContainer, stream: av.AudioStream) -> Iterator[av.AudioFrame]:
    may_hold_tags = stream.codec_context.name.startswith(TAGGED) or container.format.name == "aac"
    for packet in packets(container, stream):
        if not (may_hold_tags and packet.size and bytes(packet)[:3] in TAGS):
            yield from packet.decode()


def _seconds(frames: Iterator[av.AudioFrame]) -> Iterator[av.AudioFrame]:
    """Join frames of one kind to about a second: to make an array of each costs more than to decode it."""
    kind, held = ("", "", 0), av.AudioFifo()
    for frame in frames:
        is_new = kind != (of_frame := _kind(frame))
        if held.samples and (is_new or held.samples >= kind[2]):
            yield cast(av.AudioFrame, held.read())
        if is_new:
            kind, held = of_frame, av.AudioFifo()
        frame.pts = None  # where it begins; else one after a gap is refused
        held.write(frame)
    if held.samples:
        yield cast(av.AudioFrame, held.read())


def _kind(frame: av.AudioFrame) -> tuple[str, str, int]:
    return frame.format.name, frame.layout.name, frame.sample_rate


def _joined(frames: Iterator[Frame], mixer: Mixer, n_skipped: int) -> Iterator[Block]:
    """Join frames to blocks of 10 s, and mix their channels; a change of rate or channels begins a new block."""
    held: list[Samples] = []
    n_held, rate, names = 0, 0, tuple[str, ...]()
    for frame in frames:
        samples, is_new = frame.channels, (frame.rate, frame.names) != (rate, names)
        if held and (is_new or n_held >= rate * BLOCK_SECONDS):
            yield Block(mixer(np.concatenate(held, axis=1), rate, names), rate)
            held, n_held = [], 0
        if is_new:
            rate, names = frame.rate, frame.names
            check_header(AudioFormat(rate, len(samples), "", PYAV), mixer.channel)
        if n_skipped:
            samples, n_skipped = samples[:, n_skipped:], max(0, n_skipped - samples.shape[1])
        held.append(samples)
        n_held += samples.shape[1]
    if n_held:
        yield Block(mixer(np.concatenate(held, axis=1), rate, names), rate)


DECODERS: dict[str, Callable[[Layout, Mixer], Opened]] = {SOUNDFILE: _open_with_soundfile, PYAV: _open_with_pyav}
"""Decoders in the order in which they are tried. Neither crashed on 600 fuzzed files; two other popular ones did."""


def too_long(max_seconds: float) -> UtteranceError:
    """Return the error of a recording that is longer than a limit.

    Examples
    --------
    >>> too_long(43_200.0).message, too_long(90.0).message
    ('more than 12 h; split the recording', 'more than 90 s; split the recording')
    """
    limit = f"{max_seconds:g} s" if max_seconds < 3600 else f"{max_seconds / 3600:g} h"
    return UtteranceError("too_long", f"more than {limit}; split the recording")


def check_header(stored: AudioFormat, channel: int | None) -> None:
    """Raise :class:`UtteranceError` for a rate or a number of channels that no recording has."""
    if not RATES[0] <= stored.native_rate <= RATES[1]:
        raise UtteranceError(
            "bad_header", f"a rate of {stored.native_rate} Hz; {RATES[0]:,} to {RATES[1]:,} Hz are read"
        )
    if not 1 <= stored.channels <= MAX_CHANNELS:
        raise UtteranceError("bad_header", f"{stored.channels} channels; 1 to {MAX_CHANNELS} are read")
    if channel is not None and channel >= stored.channels:
        raise UtteranceError("out_of_range", f"channel {channel}, counted from 0, of {stored.channels}")


def _whole(blocks: Iterator[Block], claimed: float | None, *, exact: bool) -> Iterator[Block]:
    """Pass blocks on; at the end, refuse a recording that is shorter than its header claims."""
    seconds = 0.0
    for block in blocks:
        seconds += len(block.samples) / block.rate
        yield block
    if claimed is not None:
        _refuse_truncated(seconds, claimed, EXACT_SECONDS if exact else SLACK_SECONDS)


def _whole_by_share(blocks: Iterator[Block], share: float, ledger: Ledger) -> Iterator[Block]:
    """As :func:`_whole`, for a claim that is known as a multiple of what is there."""
    number, seconds = len(ledger.claims) - 1, 0.0
    for block in blocks:
        seconds += len(block.samples) / block.rate
        yield block
    ledger.claims[number] = share * seconds
    _refuse_truncated(seconds, share * seconds, SLACK_SECONDS)


def _refuse_truncated(seconds: float, claimed: float, slack: float) -> None:
    if seconds < claimed - slack:
        raise UtteranceError("truncated", f"{seconds:,.2f} s of the {claimed:,.2f} s in its header", seconds, claimed)
