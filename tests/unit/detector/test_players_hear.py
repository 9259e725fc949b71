"""What reaches the encoder is what reaches an ear: clipped sound, without the LFE, of any number of channels."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from functools import partial

import av
import numpy as np
import pytest
import soundfile

from detector.audio import Excerpt, decode
from detector.decoders import MAX_CHANNELS
from detector.errors import UtteranceError
from detector.layout.channels import MIXED
from detector.unplayed import OF_UNNAMED
from tests.support.audio import encoded, tone
from tests.unit.detector.test_audio import correlation
from tests.unit.detector.test_heard_whole import heard

VOICE, OTHER = tone(2.0, seed=1).astype(np.float32), tone(2.0, hertz=347.0, seed=2).astype(np.float32)
SPEECH = (tone(2.0, hertz=1_000.0, seed=3) + tone(2.0, hertz=190.0, seed=4)).astype(np.float32) / 2
RUMBLE = (0.5 * np.sin(2 * np.pi * 60.0 * np.arange(32_000) / 16_000)).astype(np.float32)


def by_ffmpeg(channels: np.ndarray, kind: str, codec: str, layout: str, *, rate: int = 16_000) -> bytes:
    """Encode channels, of shape (n_channels, n_samples)."""
    file = io.BytesIO()
    with av.open(file, "w", format=kind) as container:
        stream = container.add_stream(codec, rate=rate, layout=layout)
        packed = np.ascontiguousarray(channels.T.reshape(1, -1))
        frame = av.AudioFrame.from_ndarray(packed, format="flt", layout=layout)
        frame.sample_rate, frame.pts = rate, 0
        shaped = av.AudioResampler(stream.format, layout, rate, stream.codec_context.frame_size or 1_024)
        for each in [*shaped.resample(frame), *shaped.resample(None)]:
            container.mux(stream.encode(each))
        container.mux(stream.encode(None))
    return file.getvalue()


@pytest.mark.parametrize("n_channels", [1, 2, 6, 8, 9, 16])
def test_sound_of_any_number_of_channels_is_heard(n_channels: int) -> None:
    layout = {1: "mono", 2: "stereo"}.get(n_channels, f"{n_channels} channels")

    _, samples = heard(by_ffmpeg(np.stack([VOICE] * n_channels), "matroska", "pcm_s16le", layout))

    assert correlation(samples, VOICE) > 0.9999
    assert samples.std() == pytest.approx(VOICE.std(), rel=1e-3)


@pytest.mark.parametrize(
    ("kind", "codec", "layout", "lfe"),
    [
        ("wav", "pcm_s16le", "5.1", 3),
        ("matroska", "flac", "5.1", 3),
        ("flac", "flac", "5.1", 3),
        ("wav", "pcm_s16le", "2.1", 2),
        ("aiff", "pcm_s16be", "6 channels", 3),
        ("aiff", "pcm_s16be", "7 channels", 3),
        ("wav", "pcm_s16le", "8 channels", 3),
        ("aiff", "pcm_s16be", "3 channels", 2),
        ("aiff", "pcm_s16be", "10 channels", 9),
        ("matroska", "pcm_s16le", "16 channels", 14),
    ],
)
def test_the_channel_of_low_frequency_effects_is_not_heard(kind: str, codec: str, layout: str, lfe: int) -> None:
    channels = np.stack([VOICE] * av.AudioLayout(layout).nb_channels)
    channels[lfe] = RUMBLE

    _, samples = heard(by_ffmpeg(channels, kind, codec, layout))

    assert correlation(samples, VOICE) > 0.9999
    assert samples.std() == pytest.approx(VOICE.std(), rel=1e-3)


def test_one_of_two_channels_may_be_of_low_frequency_effects() -> None:
    both = np.stack([VOICE, RUMBLE], 1)
    front_center_and_lfe = struct.pack("<HHIIHHHHI", 0xFFFE, 2, 16_000, 64_000, 4, 16, 22, 16, 0xC)
    form = front_center_and_lfe + b"\1\0\0\0\0\0\x10\0\x80\0\0\xaa\0\x38\x9b\x71"
    data = (both * 32_767).astype("<i2").tobytes()
    chunks = b"fmt " + struct.pack("<I", len(form)) + form + b"data" + struct.pack("<I", len(data)) + data

    _, samples = heard(b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks)

    assert correlation(samples, VOICE) > 0.9999
    assert samples.std() == pytest.approx(VOICE.std(), rel=1e-3)


def layout_of(tag: int, bits: int = 0, *labels: int) -> bytes:
    """A layout of Core Audio."""
    return struct.pack(">III", tag, bits, len(labels)) + b"".join(struct.pack(">I16x", each) for each in labels)


def chunk(name: bytes, content: bytes, size: str = ">I") -> bytes:
    return name + struct.pack(size, len(content)) + content


def caf_of_two(layout: bytes, second: np.ndarray = OTHER) -> bytes:
    samples = (np.stack([VOICE, second], 1) * 32_767).astype(">i2").tobytes()
    described = struct.pack(">d4sIIIII", 16_000.0, b"lpcm", 0, 4, 1, 2, 16)
    chunks = [chunk(b"desc", described, ">Q"), chunk(b"chan", layout, ">Q"), chunk(b"data", bytes(4) + samples, ">Q")]
    return b"caff\0\1\0\0" + b"".join(chunks)


def aiff_of_two(layout: bytes, second: np.ndarray = OTHER) -> bytes:
    content = encoded(np.stack([VOICE, second], 1), kind="AIFF")
    content = content[:12] + chunk(b"CHAN", layout) + content[12:]
    return content[:4] + struct.pack(">I", len(content) - 8) + content[8:]


def flac_of_two(*comments_of: bytes, second: np.ndarray = OTHER) -> bytes:
    content = encoded(np.stack([VOICE, second], 1), kind="FLAC")
    comments = struct.pack("<II", 0, len(comments_of)) + b"".join(chunk(b"", each, "<I") for each in comments_of)
    info = b"\0" + content[5:42]
    return b"fLaC" + info + b"\x04" + len(comments).to_bytes(3, "big") + comments + content[42:]


MASK = b"WAVEFORMATEXTENSIBLE_CHANNEL_MASK="
CENTER_AND_LFE = [b"0xC", b"0XC", b"12", b"014", b" 0xC", b"+0xC", b"0x0000000000C", b"0xC and more"]
"""The same mask, as C reads numbers (`strtol`), and so FFmpeg."""

UNMIXED: dict[str, Callable[[np.ndarray], bytes]] = {
    "CAF, by bits": lambda second: caf_of_two(layout_of(0x10000, 0xC), second),
    "CAF, by labels": lambda second: caf_of_two(layout_of(0, 0, 3, 37), second),
    "CAF, by its name": lambda second: caf_of_two(layout_of(149 << 16 | 2), second),
    "AIFF": lambda second: aiff_of_two(layout_of(0x10000, 0xC), second),
    **{
        f"FLAC, {each.decode()}": partial(lambda mask, second: flac_of_two(MASK + mask, second=second), each)
        for each in CENTER_AND_LFE
    },
    "FLAC, in small letters": lambda second: flac_of_two((MASK + b"0xc").lower(), second=second),
    "FLAC, above": lambda second: flac_of_two(MASK + b"0x804", second=second),
}


@pytest.mark.parametrize("of_two", UNMIXED.values(), ids=UNMIXED)
def test_rumble_that_a_file_names_and_not_all_players_play_is_not_heard(of_two: Callable[[np.ndarray], bytes]) -> None:
    facts, samples = heard(of_two(RUMBLE))

    assert facts.decoder == "pyav"
    assert correlation(samples, VOICE) > 0.9999


@pytest.mark.parametrize("of_two", UNMIXED.values(), ids=UNMIXED)
def test_speech_that_not_all_players_play_is_refused(of_two: Callable[[np.ndarray], bytes]) -> None:
    """FFmpeg leaves these channels out, and browsers play the LFE."""
    with pytest.raises(UtteranceError, match=r"bad_header: channel 1, .* has sound between 500 Hz and 8,000 Hz"):
        heard(of_two(SPEECH))


@pytest.mark.parametrize("channel", [0, 1])
def test_each_channel_can_be_heard_for_itself(channel: int) -> None:
    _, blocks = decode(io.BytesIO(flac_of_two(MASK + b"0xC", second=SPEECH)), Excerpt(channel=channel))

    assert correlation(np.concatenate(list(blocks)), [VOICE, SPEECH][channel]) > 0.9999


@pytest.mark.parametrize(
    ("content", "decoder"),
    [
        (caf_of_two(layout_of(101 << 16 | 2)), "soundfile"),
        (aiff_of_two(layout_of(0, 0, 1, 2)), "soundfile"),
        (flac_of_two(MASK + b"0x3"), "pyav"),
        (flac_of_two(b"TITLE=a" * 200_000), "soundfile"),
    ],
    ids=["CAF", "AIFF", "FLAC", "FLAC with another comment"],
)
def test_left_and_right_by_name_are_both_heard(content: bytes, decoder: str) -> None:
    facts, samples = heard(content)

    assert facts.decoder == decoder
    assert correlation(samples, VOICE + OTHER) > 0.9999


def test_channels_are_named_behind_comments_of_any_length() -> None:
    with pytest.raises(UtteranceError, match="bad_header: channel 1"):
        heard(flac_of_two(b"TITLE=" + b"a" * (2 << 20), MASK + b"0xC", second=SPEECH))


def test_channels_are_named_behind_any_number_of_blocks() -> None:
    content = flac_of_two(MASK + b"0xC", second=SPEECH)

    with pytest.raises(UtteranceError, match="bad_header: channel 1"):
        heard(content[:42] + b"\1\0\0\0" * 1_000 + content[42:])


def in_surround(fourth: np.ndarray, *, layout: str = "5.1", voice: np.ndarray = VOICE) -> bytes:
    channels = np.stack([np.pad(voice, (0, len(fourth) - len(voice)))] * av.AudioLayout(layout).nb_channels)
    channels[3] = fourth
    return by_ffmpeg(channels, "matroska", "flac", layout)


@pytest.mark.parametrize("layout", ["5.1", "7.1", "6 channels", "8 channels"])
def test_speech_that_begins_late_in_the_fourth_channel_is_refused(layout: str) -> None:
    with pytest.raises(UtteranceError, match=r"bad_header: channel 3, counted from 0 \(LFE\)"):
        heard(in_surround(np.pad(SPEECH, (25 * 16_000, 0)), layout=layout))


def test_channels_without_names_are_those_that_ffmpeg_takes_them_for() -> None:
    known = {n: av.AudioLayout(f"{n}c").channels for n in (*range(1, 9), *range(10, MAX_CHANNELS + 1, 2))}

    left_out = {
        n: {at: each.name for at, each in enumerate(named) if each.name not in MIXED} for n, named in known.items()
    }

    assert {n: each for n, each in left_out.items() if each} == OF_UNNAMED


def test_speech_in_a_downmix_beside_what_it_was_made_from_is_refused() -> None:
    """FFmpeg plays a downmix that is all there is, and leaves it out beside other channels."""
    alone = by_ffmpeg(np.stack([VOICE, OTHER]), "matroska", "pcm_s16le", "downmix")
    both = by_ffmpeg(np.stack([VOICE, VOICE, SPEECH, SPEECH]), "wav", "pcm_s16le", "4.0")
    mask = both.index(b"fmt ") + 8 + 20
    both = both[:mask] + struct.pack("<I", 0x6000_0003) + both[mask + 4 :]

    assert correlation(heard(alone)[1], VOICE + OTHER) > 0.9999
    with pytest.raises(UtteranceError, match=r"bad_header: channel 2, counted from 0 \(DL\)"):
        heard(both)


@pytest.mark.parametrize("n_channels", [4, 5, 9])
def test_the_last_of_other_numbers_of_channels_is_heard(n_channels: int) -> None:
    channels = np.stack([VOICE] * n_channels)
    channels[-1] = SPEECH

    _, samples = heard(by_ffmpeg(channels, "matroska", "pcm_s16le", f"{n_channels} channels"))

    assert correlation(samples, channels.mean(axis=0)) > 0.9999


def test_a_channel_that_repeats_what_is_heard_is_left_out() -> None:
    _, samples = heard(in_surround(SPEECH * 0.5, voice=SPEECH))

    assert correlation(samples, SPEECH) > 0.9999


@pytest.mark.parametrize("gain", [-1.0, 50.0], ids=["in opposite phase", "louder by far"])
def test_a_channel_that_repeats_what_is_heard_in_another_way_is_refused(gain: float) -> None:
    with pytest.raises(UtteranceError, match="bad_header"):
        heard(in_surround(SPEECH * min(gain, 1.0), voice=SPEECH / max(gain, 1.0)))


def test_a_click_in_the_channel_of_low_frequency_effects_is_no_speech() -> None:
    click = RUMBLE.copy()
    click[8_000:8_400] = np.random.default_rng(0).normal(0.0, 0.3, 400)

    assert correlation(heard(in_surround(click))[1], VOICE) > 0.9999


@pytest.mark.parametrize("value", [np.nan, np.inf, 5_000.0])
def test_a_sample_beyond_full_scale_in_a_channel_that_is_left_out_changes_nothing(value: float) -> None:
    odd, loud = RUMBLE.copy(), VOICE.copy()
    odd[8_000], loud[9_000] = value, 3.0
    channels = np.stack([loud] * 6)
    channels[3] = odd

    _, samples = heard(by_ffmpeg(channels, "matroska", "pcm_f32le", "5.1"))

    np.testing.assert_allclose(samples, np.clip(loud, -1.0, 1.0), atol=1e-6)


@pytest.mark.parametrize(("kind", "codec"), [("mp4", "aac"), ("ac3", "ac3"), ("eac3", "eac3"), ("webm", "libopus")])
def test_what_encoders_make_of_rumble_is_no_speech(kind: str, codec: str) -> None:
    """They leave at most -62 dB above 500 Hz of rumble at full scale, here beside silence in all other channels."""
    blows = np.sin(2 * np.pi * 30.0 * np.arange(96_000) / 48_000) * np.exp(-4.0 * (np.arange(96_000) % 48_000) / 48_000)
    channels = np.zeros((6, 96_000), np.float32)
    channels[3] = 0.9 * blows

    assert heard(by_ffmpeg(channels, kind, codec, "5.1", rate=48_000))[0].seconds == pytest.approx(2.0, abs=0.1)


@pytest.mark.parametrize("kind", ["WAV", "AIFF", "CAF", "AU"])
def test_samples_beyond_full_scale_are_clipped_as_players_clip_them(kind: str) -> None:
    loud = VOICE.copy()
    loud[8_000] = 5_000.0
    file = io.BytesIO()
    soundfile.write(file, loud, 16_000, format=kind, subtype="FLOAT")

    _, samples = heard(file.getvalue())

    np.testing.assert_array_equal(samples, np.clip(loud, -1.0, 1.0))


def test_bits_that_no_tag_has_are_sound() -> None:
    """FFmpeg and mpg123 take a size with its highest bits set for no tag, and play what it would cover."""
    covered = encoded(tone(3.0), kind="MP3")
    size = struct.pack(">4B", *(len(covered) >> shift & 0x7F | 0x80 for shift in (21, 14, 7, 0)))

    facts, _ = heard(b"ID3\3\0\0" + size + covered + encoded(tone(1.0)))

    assert facts.seconds == pytest.approx(4.0, abs=0.2)
