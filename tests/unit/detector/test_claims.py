"""What a file states of its length or its rate is not believed where its frames, packets or samples say otherwise."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable

import numpy as np
import pytest
import soundfile

from detector.layout import flac
from tests.support.audio import encoded, tone
from tests.unit.detector.test_audio import correlation, muxed
from tests.unit.detector.test_heard_whole import failure_of, heard
from tests.unit.detector.test_layout_ends import mpeg_frames as mpeg_frames_of

SECONDS = 4.0
POLYNOMIAL = 0x04C11DB7


def page_checksum(page: bytes) -> bytes:
    """RFC 3533, section 6: over the page with 0 for its checksum."""
    crc = 0
    for byte in page:
        crc ^= byte << 24
        for _ in range(8):
            crc = (crc << 1 ^ POLYNOMIAL if crc & 1 << 31 else crc << 1) & 0xFFFF_FFFF
    return crc.to_bytes(4, "little")


def repaged(content: bytes, change: Callable[[int, int, bytearray], None]) -> bytes:
    """Change pages of an Ogg by their number, of how many, and make their checksums right."""
    pages = [b"OggS" + each for each in content.split(b"OggS")[1:]]
    found = []
    for number, each in enumerate(pages):
        page = bytearray(each)
        change(number, len(pages), page)
        page[22:26] = bytes(4)
        page[22:26] = page_checksum(page)
        found.append(bytes(page))
    return b"".join(found)


def ends_early(number: int, n_pages: int, page: bytearray) -> None:
    """The last page says that the stream has a second."""
    if number == n_pages - 1:
        page[6:14] = (48_000).to_bytes(8, "little")


def all_early(number: int, _: int, page: bytearray) -> None:
    """Every page says a quarter of what is true."""
    if number > 1:
        page[6:14] = (int.from_bytes(page[6:14], "little") // 4).to_bytes(8, "little")


def ends_twice(number: int, _: int, page: bytearray) -> None:
    """The first page with sound says that it is the last."""
    if number == 2:
        page[5] |= 4


@pytest.mark.parametrize("change", [ends_early, all_early, ends_twice])
@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_the_packets_of_an_ogg_are_heard_whatever_its_pages_state(
    subtype: str, change: Callable[[int, int, bytearray], None]
) -> None:
    content = encoded(tone(SECONDS, rate=48_000), rate=48_000, kind="OGG", subtype=subtype)

    facts, _ = heard(repaged(content, change))

    assert facts.seconds == pytest.approx(SECONDS, abs=0.5)  # FFmpeg may leave out most of the last page


def rate_of_8_khz(number: int, _: int, page: bytearray) -> None:
    """The encoder says that it got 8 kHz: RFC 7845, 5.1, at byte 12 of OpusHead."""
    if number == 0:
        page[28 + 12 : 28 + 16] = (8_000).to_bytes(4, "little")


def test_the_rate_that_an_encoder_of_opus_got_takes_nothing_off_the_spectrum() -> None:
    content = encoded(tone(SECONDS, hertz=6_000.0, rate=48_000), rate=48_000, kind="OGG", subtype="OPUS")
    _, plain = heard(content)

    _, samples = heard(repaged(content, rate_of_8_khz))

    assert correlation(samples, plain) > 0.999


def test_an_mp3_is_heard_whole_where_a_bit_of_its_first_frame_is_wrong() -> None:
    # with it, libmpg123 takes the frame for sound, and the file for one of a constant bit rate
    content = bytearray(encoded(tone(6.0), kind="MP3"))
    content[10] ^= 1

    facts, _ = heard(bytes(content))

    assert facts.seconds == pytest.approx(6.0, abs=0.2)


def with_rate(content: bytes, rate: int) -> bytes:
    """Return a FLAC whose header states another rate."""
    fields = int.from_bytes(content[18:26], "big") & (1 << 44) - 1 | rate << 44
    return content[:18] + fields.to_bytes(8, "big") + content[26:]


@pytest.mark.parametrize("stated", [48_000, 8_000, 44_100, 17_123])
def test_a_flac_whose_frames_have_another_rate_than_its_header_is_a_row(stated: int) -> None:
    failure = failure_of(with_rate(encoded(tone(SECONDS)), stated))

    assert str(failure).startswith(f"bad_header: its header states {stated:,} Hz, its frames 16,000 Hz")


@pytest.mark.parametrize("rate", [8_000, 11_025, 16_000, 22_050, 44_100, 48_000, 96_000, 17_123])
def test_a_flac_of_any_rate_is_heard(rate: int) -> None:
    facts, _ = heard(encoded(tone(1.0, rate=rate), rate=rate))

    assert facts.native_rate == rate
    assert facts.seconds == pytest.approx(1.0, abs=1e-3)


def test_flacs_of_two_rates_one_behind_the_other_are_heard() -> None:
    facts, _ = heard(encoded(tone(1.0)) + encoded(tone(1.0, rate=48_000), rate=48_000))

    assert facts.seconds == pytest.approx(2.0, abs=1e-3)


def wav_of_unknown_size(samples: np.ndarray, rate: int = 16_000) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format="WAV", subtype="PCM_16")
    content = file.getvalue()
    return content[:4] + b"\xff" * 4 + content[8:40] + b"\xff" * 4 + content[44:]


def test_a_false_tag_covers_no_samples_of_a_wav_of_unknown_size() -> None:
    content = wav_of_unknown_size(tone(SECONDS))
    tag = b"APETAGEX" + struct.pack("<4I8x", 2_000, len(content) - 16_000, 1, 0)

    facts, _ = heard(content + tag)

    assert facts.seconds == pytest.approx(SECONDS + len(tag) / 32_000, abs=1e-3)


def test_a_tag_of_a_wav_of_unknown_size_is_not_heard() -> None:
    item = struct.pack("<2I", 5, 0) + b"Title\0words"
    tag = item + b"APETAGEX" + struct.pack("<4I8x", 2_000, len(item) + 32, 1, 0)

    facts, _ = heard(wav_of_unknown_size(tone(SECONDS)) + tag)

    assert facts.seconds == pytest.approx(SECONDS, abs=1e-3)


def test_a_header_of_another_rate_among_samples_of_unknown_size_is_played_through_as_players_do() -> None:
    content = wav_of_unknown_size(tone(SECONDS)) + wav_of_unknown_size(tone(SECONDS), rate=48_000)

    facts, _ = heard(content)

    assert facts.seconds == pytest.approx(2 * SECONDS + 44 / 32_000, abs=1e-3)


@pytest.mark.parametrize("edited", [(1_000, 1_024), (1_000, 3 * 16_000), (0, 1_024)])
def test_what_an_edit_list_leaves_out_is_heard(edited: tuple[int, int]) -> None:
    content = muxed(tone(SECONDS), kind="mp4", codec="aac", rate=16_000)
    at = content.index(b"elst") + 12

    facts, _ = heard(content[:at] + struct.pack(">Ii", *edited) + content[at + 8 :])

    assert facts.seconds == pytest.approx(SECONDS, abs=0.2)


def test_an_edit_list_that_leaves_out_the_codec_s_delay_is_heeded() -> None:
    content = muxed(tone(SECONDS), kind="mp4", codec="aac", rate=16_000)
    assert b"elst" in content

    assert heard(content)[0].seconds == pytest.approx(SECONDS, abs=0.05)


def mpeg_in_wave(frames: bytes, *, rate: int = 16_000, n_claimed: int | None = None) -> bytes:
    """WAVE_FORMAT_MPEGLAYER3, mono, 32 kbit/s."""
    form = struct.pack("<HHIIHHHHIHHH", 0x55, 1, rate, 4_000, 1, 0, 12, 1, 2, 144, 1, 1_393)
    chunks = b"fmt " + struct.pack("<I", len(form)) + form + b"data"
    size = len(frames) if n_claimed is None else n_claimed
    return b"RIFF" + struct.pack("<I", len(chunks) + 8 + size) + b"WAVE" + chunks + struct.pack("<I", size) + frames


def mpeg_frames(samples: np.ndarray, *, rate: int = 16_000) -> bytes:
    """Frames of a constant bit rate, none of which states the length."""
    with_length = muxed(samples, kind="mp3", codec="libmp3lame", rate=rate)
    return with_length[with_length.index(b"\xff\xf3", with_length.index(b"Info")) :]


def test_frames_of_mpeg_audio_in_a_wav_are_heard_whatever_bit_rate_the_first_has() -> None:
    frames = mpeg_frames(tone(SECONDS))
    silence = frames[:2] + bytes([frames[2] & 0x0D | 0xE0]) + frames[3:4] + bytes(716)  # 720 bytes: 160 kbit/s
    content = mpeg_in_wave(silence + frames)
    assert soundfile.info(io.BytesIO(content)).duration < SECONDS / 2  # the control

    facts, _ = heard(content)

    assert facts.seconds == pytest.approx(SECONDS, abs=0.4)


def test_frames_of_mpeg_audio_in_a_wav_have_their_own_rate() -> None:
    facts, _ = heard(mpeg_in_wave(mpeg_frames(tone(SECONDS)), rate=48_000))

    assert (facts.native_rate, facts.seconds) == (16_000, pytest.approx(SECONDS, abs=0.2))


def test_two_streams_of_mpeg_audio_in_one_wav_are_both_heard() -> None:
    both = mpeg_frames(tone(SECONDS)) + mpeg_frames(tone(SECONDS, rate=22_050), rate=22_050)

    assert heard(mpeg_in_wave(both))[0].seconds == pytest.approx(2 * SECONDS, abs=0.4)


def test_half_a_wav_of_mpeg_audio_is_a_row() -> None:
    frames = mpeg_frames(tone(SECONDS))

    assert failure_of(mpeg_in_wave(frames[: len(frames) // 2], n_claimed=len(frames))).error == "truncated"


def with_padding(frames: list[bytes]) -> bytes:
    """Frames behind one that states their number, and that 8,190 samples of them are delay and padding."""
    first = bytearray(len(frames[0]))
    first[:4] = frames[0][:4]
    flags_and_counts = struct.pack(">III", 0xF, len(frames), sum(map(len, frames)))
    tag = b"Info" + flags_and_counts + bytes(range(0, 200, 2)) + struct.pack(">I", 50) + b"LAME3.100".ljust(21, b"\0")
    tag += (4_095 << 12 | 4_095).to_bytes(3, "big")
    first[13 : 13 + len(tag)] = tag
    return bytes(first) + b"".join(frames)


@pytest.mark.parametrize("n_frames", [8, 16, 24])
def test_pieces_of_mpeg_audio_that_are_said_to_be_mostly_padding_are_heard(n_frames: int) -> None:
    frames = [bytes(each) for each in mpeg_frames_of(encoded(tone(20.0), kind="MP3"))]
    pieces = [with_padding(frames[at : at + n_frames]) for at in range(0, len(frames) - n_frames, n_frames)]

    facts, _ = heard(encoded(tone(1.0), kind="MP3") + b"".join(pieces))

    assert facts.seconds == pytest.approx(1.0 + len(pieces) * n_frames * 576 / 16_000, rel=0.05)


@pytest.mark.parametrize("every", [1, 3])
def test_frames_with_sound_that_hold_the_name_of_a_length_are_heard_as_sound(every: int) -> None:
    frames = [bytearray(each) for each in mpeg_frames_of(encoded(tone(SECONDS), kind="MP3"))]
    plain, _ = heard(b"".join(frames))
    for frame in frames[1::every]:
        assert any(frame[4:13])  # its side information: it has sound
        frame[13:17] = b"Info"

    facts, _ = heard(b"".join(frames))

    assert facts.seconds == pytest.approx(plain.seconds, abs=0.1)
    assert not facts.truncated


def test_frames_at_a_rate_that_has_no_code_are_counted_beside_what_looks_like_others() -> None:
    content, other = encoded(tone(60.0, rate=11_025), rate=11_025), encoded(tone(1.0, rate=8_000), rate=8_000)
    info, at = flac.stream_info(content[: flac.HEADER_BYTES]), other.index(b"\xff\xf8")
    assert info is not None
    content += (other[at : at + flac.MAX_HEADER_BYTES] + bytes(40)) * 3  # beside 162 frames, of which 2 % are three

    assert flac.survey(io.BytesIO(content), 0, len(content), info).other_rate is None
    assert flac.survey(io.BytesIO(content + content[-168:]), 0, len(content) + 168, info).other_rate == 8_000
