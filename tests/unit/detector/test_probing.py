"""A container that FFmpeg would find behind the first bytes of a file of another kind, and play in its place."""

from __future__ import annotations

import io
import struct

import pytest

from detector.errors import UtteranceError
from detector.layout import layout_at
from detector.probing import refuse_hidden
from tests.support.audio import encoded, tone
from tests.unit.detector.test_audio import muxed
from tests.unit.detector.test_heard_whole import heard

MXF_KEY = bytes.fromhex("060e2b34020501010d0102010102")  # of a header partition pack, SMPTE 377-1
SILENT_FRAME = b"\xff\xfb\x90\xc0" + bytes(413)  # MPEG 1, layer III, 128 kbit/s, 44.1 kHz, mono
SIDE_BYTES = 4 + 17  # header and side information: what follows is not used in silence


def mp3_with(hidden: bytes) -> bytes:
    """An MP3 whose first frame has bytes that it does not use."""
    return (SILENT_FRAME[:SIDE_BYTES] + hidden).ljust(len(SILENT_FRAME), b"\0") + SILENT_FRAME * 30


def nsv() -> bytes:
    """A sync frame of Nullsoft's streaming video, with one frame of sound, and the mark that the next one follows."""
    sizes = struct.pack("<HHBHBHH", 0, 0, 30, 0, 0, 0, 96)
    return b"NSVsNONEMP3 " + sizes + bytes(96) + b"\xef\xbe"


def wave_with(name: bytes, content: bytes) -> bytes:
    wave = encoded(tone(2.0), kind="WAV")
    return wave[:36] + name + struct.pack("<I", len(content)) + content + wave[36:]


def flac_with(padding: bytes, smallest_block: int) -> bytes:
    flac = encoded(tone(2.0), kind="FLAC")
    info = flac[5:8] + struct.pack(">H", smallest_block) + flac[10:42]
    return b"fLaC\0" + info + b"\x01" + len(padding).to_bytes(3, "big") + padding + flac[42:]


def act() -> bytes:
    """A WAV that shows the marks of the recorders of ACT, which store G.729 behind the header of a WAV."""
    content = bytearray(wave_with(b"JUNK", bytes(600)))
    content[256] = 0x84
    return bytes(content)


def adts_with(hidden: bytes) -> bytes:
    """Frames of AAC in ADTS whose content is something else."""
    pieces = [hidden[start : start + 6_144] for start in range(0, len(hidden), 6_144)]
    sizes = [len(piece) + 7 for piece in pieces]
    heads = (bytes([0xFF, 0xF1, 0x50, 0x80 | n >> 11, n >> 3 & 0xFF, (n & 7) << 5 | 0x1F, 0xFC]) for n in sizes)
    return b"".join(head + piece for head, piece in zip(heads, pieces, strict=True))


PROGRAM = adts_with(muxed(tone(2.0, rate=48_000), kind="vob", codec="mp2", rate=48_000))

HIDDEN = {
    "NSV in an MP3": ("nsv", mp3_with(nsv())),
    "MXF in an MP3": ("mxf", mp3_with(MXF_KEY + bytes(2))),
    "NUT in a WAV": ("nut", wave_with(b"JUNK", muxed(tone(1.0), kind="nut", codec="flac", rate=16_000))),
    "ACT in a WAV": ("act", act()),
    "MXF in a FLAC of blocks that may be empty": ("mxf", flac_with(MXF_KEY + bytes(50), 0)),
    "MPEG-PS in AAC": ("mpeg", PROGRAM),
    "MXF in AC-3": ("mxf", (ac3 := muxed(tone(2.0), kind="ac3", codec="ac3", rate=48_000))[:90] + MXF_KEY + ac3[104:]),
}


@pytest.mark.parametrize(("name", "content"), HIDDEN.values(), ids=HIDDEN)
def test_a_container_that_players_find_behind_the_first_bytes_is_refused(name: str, content: bytes) -> None:
    with pytest.raises(UtteranceError, match=rf"bad_header: .* FFmpeg finds `{name}` behind them"):
        heard(content)


@pytest.mark.parametrize(
    "content",
    [
        flac_with(MXF_KEY + bytes(50), 4_096),
        wave_with(b"JUNK", bytes(600)),
        wave_with(b"NOTE", b"NSVs, NSVf, 0BADBEEF"),
        encoded(tone(2.0), kind="MP3"),
    ],
    ids=["a FLAC that FFmpeg is sure of", "a WAV with padding", "a WAV with a note", "an MP3"],
)
def test_a_file_that_ffmpeg_takes_for_what_it_shows_is_heard(content: bytes) -> None:
    assert heard(content)[0].seconds == pytest.approx(2.0, abs=0.1)


def test_a_file_that_no_demuxer_of_ffmpeg_knows_is_left_to_libsndfile() -> None:
    """MXF and WAV are equally sure of it, so FFmpeg opens neither, and plays nothing."""
    assert heard(wave_with(b"JUNK", MXF_KEY + bytes(2)))[0].seconds == pytest.approx(2.0)


def test_a_recording_that_is_joined_behind_another_is_opened_as_what_it_shows() -> None:
    with pytest.raises(UtteranceError, match="trailing_data: another recording begins at byte"):
        heard(encoded(tone(1.0), kind="FLAC") + PROGRAM)


def test_a_second_file_of_the_same_kind_is_refused_with_the_same_words() -> None:
    content = mp3_with(nsv())
    file = io.BytesIO(content)
    layout = layout_at(file, 0, len(content))

    for _ in range(3):  # FFmpeg's log leaves out what it said before
        with pytest.raises(UtteranceError, match="`nsv`"):
            refuse_hidden(file, layout)
