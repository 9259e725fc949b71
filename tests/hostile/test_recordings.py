"""B08 to B19: recordings with false headers, bombs, truncated recordings, and files that are not audio."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable

import av
import numpy as np
import pytest
import soundfile

from detector import demuxing
from detector.layout import PYAV, layout_at
from tests.hostile.harness import Lab, alone, hostile
from tests.support.audio import encoded, tone
from tests.unit.detector.test_audio import film, muxed, with_data_size, without_length
from tests.unit.detector.test_probing import mp3_with, nsv

FLAC = encoded(tone(3.0))
WAV = encoded(tone(3.0), kind="WAV")
MP3 = encoded(tone(10.0), kind="MP3")
TINY = encoded(np.zeros(8), kind="WAV")  # 44 bytes of header, 16 of samples


def with_total(flac: bytes, n_samples: int) -> bytes:
    """Return a FLAC whose header claims another number of samples: 36 bits, up to the end of byte 25."""
    packed = int.from_bytes(flac[18:26], "big")
    return flac[:18] + (packed >> 36 << 36 | n_samples).to_bytes(8, "big") + flac[26:]


def flipped(content: bytes, at: int) -> bytes:
    return content[:at] + bytes([content[at] ^ 0xFF]) + content[at + 1 :]


@hostile(
    "B08", given="a WAV of 60 bytes that claims 1 GiB", expected="row `truncated`; no memory is allocated for the claim"
)
def test_a_claim_of_a_gibibyte_is_not_trusted(lab: Lab) -> None:
    assert "0.00 s of the" in lab.expect("decode", "truncated", with_data_size(TINY, 1 << 30))


@pytest.mark.parametrize("size", [0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF])
@hostile(
    "B08",
    given="a WAV of 60 bytes that claims 2 or 4 GiB, as sox and FFmpeg write to a pipe",
    expected="`too_short`: read to the end of the file",
)
def test_the_placeholder_size_of_writers_to_a_pipe_is_no_claim(lab: Lab, size: int) -> None:
    row, _ = lab.expect_scored(with_data_size(TINY, size))

    # eight samples of silence, none of which is sent to an encoder
    assert (row["reject_reason"], row["seconds"]) == ("too_short", 8 / 16_000)


@hostile("B09", given="a FLAC that does not say its length", expected="scored, bit-equal")
def test_a_flac_without_length_is_scored(lab: Lab) -> None:
    _, samples = lab.expect_scored(without_length(FLAC))

    assert samples.tobytes() == alone(FLAC)[0]


@pytest.mark.parametrize("n_samples", [96_000, (1 << 36) - 1])
@hostile("B09", given="a FLAC that claims 256 GiB of samples, or twice as many as it has", expected="row `truncated`")
def test_a_flac_that_claims_more_than_is_there_is_truncated(lab: Lab, n_samples: int) -> None:
    lab.expect("decode", "truncated", with_total(FLAC, n_samples))


@hostile("B10", given="a FLAC of 13 h of silence", expected="row `too_long`, detected just past the limit")
def test_thirteen_hours_of_silence_are_not_decoded(lab: Lab) -> None:
    file = io.BytesIO()
    with soundfile.SoundFile(file, "w", 4_000, 1, "PCM_16", format="FLAC") as sound:
        for _ in range(13):
            sound.write(np.zeros(3600 * 4_000, np.int16))
    lab.given = f"13 h of silence in a FLAC of {len(file.getvalue()) / 1e6:.1f} MB"

    lab.expect("decode", "too_long", file.getvalue())


@pytest.mark.parametrize("channels", [3, 5, 6])
@hostile("B11", given="a FLAC of 3, 5, 6 channels, 9 s at 384 kHz: more than 2^24 samples", expected="scored correctly")
def test_many_samples_of_many_channels_are_not_mixed_up(lab: Lab, channels: int) -> None:
    # libsndfile takes 2^24 samples of a FLAC at once, which three or five channels do not divide
    n_frames = (1 << 24) // channels + 100_000
    planes = np.zeros((n_frames, channels), np.int16)
    n_heard = channels - (channels > 5)  # one of six, seven or eight is the LFE
    planes[:, 0] = 1_000 * n_heard  # the mean of the channels is 1,000 / 32,768 throughout
    content = encoded(planes, rate=384_000, kind="FLAC", subtype="PCM_16")

    row, samples = lab.expect_scored(content, "m.flac")

    np.testing.assert_allclose(samples[200:-200], 1_000 / 32_768, rtol=1e-4)
    assert row["seconds"] == pytest.approx(n_frames / 384_000, abs=1e-3)


@hostile("B12", given="an MP3 whose unused bytes are another container to FFmpeg", expected="row `bad_header`")
def test_a_container_that_is_hidden_behind_the_first_bytes_is_refused(lab: Lab) -> None:
    lab.expect("decode", "bad_header", mp3_with(nsv()))


FOREIGN = "MAT4 MAT5 PAF SVX VOC IRCAM HTK AVR WVE SDS XI MPC2K PVF".split()


@pytest.mark.parametrize("kind", FOREIGN)
@hostile(
    "B12", given=f"recordings in {', '.join(FOREIGN)}", expected="row `not_audio`: libsndfile is not asked to open them"
)
def test_a_container_that_is_not_on_the_list_is_not_opened(lab: Lab, kind: str) -> None:
    subtype = {"WVE": "ALAW", "XI": "DPCM_16"}.get(kind, "PCM_16")
    content = encoded(tone(1.0), kind=kind, subtype=subtype)
    assert soundfile.info(io.BytesIO(content)).frames > 0  # it would

    lab.expect("decode", "not_audio", content)


def ima(n_bytes: int, n_samples: int) -> bytes:
    """Return an IMA-ADPCM WAV whose blocks have ``n_bytes`` and claim ``n_samples``."""
    content = bytearray(encoded(tone(1.0), kind="WAV", subtype="IMA_ADPCM"))
    at = content.index(b"fmt ") + 8
    struct.pack_into("<H", content, at + 12, n_bytes)
    struct.pack_into("<H", content, at + 18, n_samples)
    return bytes(content)


@pytest.mark.parametrize(("n_bytes", "n_samples"), [(256, 0xFFFF), (4, 0xFFFF), (0, 505), (3, 1)])
@hostile(
    "B12",
    given="an IMA-ADPCM WAV whose blocks claim more samples than their bytes can hold, or none",
    expected="libsndfile is not asked to open it; a row of its own",
)
def test_adpcm_of_impossible_blocks_is_not_opened_by_libsndfile(lab: Lab, n_bytes: int, n_samples: int) -> None:
    content = ima(n_bytes, n_samples)
    outcome, _ = lab.between(content)

    assert layout_at(io.BytesIO(content), 0, len(content)).decoders == (PYAV,)
    assert outcome.get("error", outcome.get("decoder")) in ("pyav", "not_audio", "decode_error", "bad_header")
    lab.saw((outcome.get("error") and f"decode: `{outcome['error']}`") or "read by PyAV")


@hostile("B12", given="an IMA-ADPCM W64", expected="libsndfile is not asked to open it; scored by PyAV")
def test_adpcm_in_w64_is_left_to_pyav(lab: Lab) -> None:
    outcome, _ = lab.between(encoded(tone(1.0), kind="W64", subtype="IMA_ADPCM"))

    assert outcome["decoder"] == "pyav"
    lab.saw("read by PyAV")


@hostile("B13", given="a FLAC filled with 500,000 frame headers", expected="row `truncated`; the worker survives")
def test_a_flac_of_false_frames_is_one_row(lab: Lab) -> None:
    frame = bytes.fromhex("fff8691800")  # sync, 4,096 samples, 16 kHz, mono, 16 bit, number 0

    lab.expect("decode", "truncated", FLAC[:5_000] + frame * 500_000, "m.flac")


def wav(rate: int = 16_000, channels: int = 1, bits: int = 16, tag: int = 1, content: bytes = bytes(32_000)) -> bytes:
    """Return a WAV with these numbers in its header, possible or not."""
    frame = max(1, channels * bits // 8) & 0xFFFF
    form = struct.pack("<HHIIHH", tag, channels & 0xFFFF, rate, (rate * frame) & 0xFFFFFFFF, frame, bits)
    body = b"WAVEfmt " + struct.pack("<I", len(form)) + form + b"data" + struct.pack("<I", len(content)) + content
    return b"RIFF" + struct.pack("<I", len(body)) + body


@pytest.mark.parametrize("rate", [0, 1, 7, 3_999, 384_001, 768_000, (1 << 31) - 1, 4_000_000_000])
@hostile("B14", given="a rate of 0, 1, 7, 768,000, 2^31 - 1 Hz", expected="row `bad_header` (or `not_audio`)")
def test_a_rate_that_no_recording_has_is_refused(lab: Lab, rate: int) -> None:
    outcome, _ = lab.between(wav(rate=rate))

    assert outcome["error"] == ("bad_header" if 0 < rate < 1 << 31 else outcome["error"])
    assert outcome["error"] in ("bad_header", "not_audio")
    lab.saw(f"decode: `{outcome['error']}`")


@pytest.mark.parametrize("channels", [0, 17, 255, 1_024, 65_535])
@hostile("B14", given="0, 17, 255, 65,535 channels", expected="row `bad_header` (or `not_audio`)")
def test_channels_that_no_recording_has_are_refused(lab: Lab, channels: int) -> None:
    outcome, _ = lab.between(wav(channels=channels))

    assert outcome["error"] in ("bad_header", "not_audio")
    lab.saw(f"decode: `{outcome['error']}`")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
@hostile("B14", given="NaN, infinity or 1e300 among 64-bit samples", expected="row `nonfinite_audio`")
def test_samples_that_are_no_numbers_are_refused(lab: Lab, value: float) -> None:
    samples = tone(1.0)
    samples[8_000] = value

    lab.expect("decode", "nonfinite_audio", encoded(samples, kind="WAV", subtype="DOUBLE"))


@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 44_100, 48_000])
@hostile("B15", given="8, 11.025, 22.05, 44.1, 48 kHz in stereo", expected="scored")
def test_other_rates_are_scored(lab: Lab, rate: int) -> None:
    both = np.stack([tone(1.0, rate=rate)] * 2, axis=1)

    row, samples = lab.expect_scored(encoded(both, rate=rate))

    assert len(samples) == pytest.approx(16_000, abs=2)
    assert np.isfinite(row["score"])


@hostile("B15", given="stereo in opposite phase", expected="scored as its louder channel")
def test_of_channels_that_cancel_one_is_scored(lab: Lab) -> None:
    stereo = np.stack([tone(1.0), -0.99 * tone(1.0)], axis=1)
    row, samples = lab.expect_scored(encoded(stereo, kind="WAV", subtype="FLOAT"))

    assert row["reject_reason"] != "silent"
    assert samples.tobytes() == tone(1.0).astype(np.float32).tobytes()


CLICK = np.zeros(16_000)
CLICK[8_000] = 0.9
PLAIN = {
    "zeros": (np.zeros(16_000), "silent"),
    "one sample": (np.full(1, 0.5), "too_short"),
    "399 samples, less than a frame": (tone(399 / 16_000), "too_short"),
    "a constant": (np.full(16_000, 0.5), None),
    "a full-scale square": (np.sign(np.sin(np.arange(16_000) / 10 + 0.1)), None),
    "one click": (CLICK, None),
}


@pytest.mark.parametrize("what", PLAIN)
@hostile("B16", expected="`silent` or `too_short` without a score, or a finite score")
def test_signals_without_speech_have_no_score_or_a_finite_one(lab: Lab, what: str) -> None:
    lab.given = what
    samples, reason = PLAIN[what]

    row, _ = lab.expect_scored(encoded(samples, kind="WAV", subtype="FLOAT"))

    assert (row["score"] is None) == (reason is not None)
    assert reason is None or row["reject_reason"] == reason
    assert reason is not None or np.isfinite([row["score"], row["p_spoof"], row["entropy_bits"], row["ood"]]).all()


def id3(n_bytes: int) -> bytes:
    """Return a tag with a picture of ``n_bytes``."""
    sizes = bytes(n_bytes + 10 >> shift & 0x7F for shift in (21, 14, 7, 0))
    return b"ID3\3\0\0" + sizes + b"APIC" + n_bytes.to_bytes(4, "big") + b"\0\0" + bytes(n_bytes)


@hostile("B17", given="an MP3 after 100 MB of cover art", expected="scored, read in windows")
def test_large_cover_art_is_skipped(lab: Lab) -> None:
    _, samples = lab.expect_scored(id3(100 << 20) + MP3)

    assert len(samples) == len(alone(MP3)[0]) // 4


@hostile("B17", given="an MP3 whose tag claims 256 MB, with nothing after it", expected="row `not_audio`")
def test_a_tag_that_claims_more_than_is_there_is_no_recording(lab: Lab) -> None:
    lab.expect("decode", "not_audio", b"ID3\3\0\0\x7f\x7f\x7f\x7f" + bytes(5_000))


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
@hostile(
    "B17", given="two concatenated Ogg files", expected="scored, both of them; libsndfile would read only the first"
)
def test_an_ogg_of_two_links_is_read_to_its_end(lab: Lab, subtype: str) -> None:
    link = encoded(tone(10.0), kind="OGG", subtype=subtype)
    assert len(soundfile.read(io.BytesIO(link + link))[0]) == 160_000

    row, _ = lab.expect_scored(link + link)

    assert row["seconds"] == pytest.approx(20.0, abs=0.1)


@pytest.mark.parametrize("content", [FLAC, WAV, MP3], ids=["flac", "wav", "mp3"])
@hostile("B17", given="garbage after the last frame", expected="scored, bit-equal")
def test_bytes_after_a_recording_are_skipped(lab: Lab, content: bytes) -> None:
    _, samples = lab.expect_scored(content + bytes(3_000) + b"garbage" * 1_000)

    assert samples.tobytes() == alone(content)[0]


NOT_AUDIO = {
    "a text": b"this is not audio at all\n" * 500,
    "a web page": b"<!DOCTYPE html><html><head><title>404</title></head></html>",
    "an XML error of a store": b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>",
    "a program": b"\x7fELF\x02\x01\x01" + bytes(range(256)) * 100,
    "random bytes": np.random.default_rng(5).bytes(100_000),
    "a picture without sound": film(),
    "a playlist of HLS": b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n/etc/passwd\n#EXT-X-ENDLIST\n",
    "a playlist of files": b"ffconcat version 1.0\nfile /etc/passwd\n",
    "a session description": b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nm=audio 9 RTP/AVP 0\n",
    "a DASH manifest": b'<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011"></MPD>',
    "ffmetadata": b";FFMETADATA1\ntitle=x\n",
}


@pytest.mark.parametrize("what", NOT_AUDIO)
@hostile("B18", expected="row `not_audio`; no other file is opened")
def test_a_file_called_wav_that_is_no_audio_is_reported(lab: Lab, what: str) -> None:
    lab.given = f"{what}, called .wav"

    lab.expect("decode", "not_audio", NOT_AUDIO[what])


def webm() -> bytes:
    return muxed(tone(10.0, rate=48_000), kind="webm", codec="libopus", rate=48_000)


def m4a() -> bytes:
    return muxed(tone(10.0, rate=44_100), kind="ipod", codec="aac", rate=44_100)


def half(content: bytes) -> bytes:
    return content[: len(content) // 2]


CUT: dict[str, tuple[Callable[[], bytes], str]] = {
    "half a WAV": (lambda: half(WAV), "truncated"),
    "half an MP3": (lambda: half(MP3), "truncated"),
    "half a WebM": (lambda: half(webm()), "truncated"),
    "half an M4A, its index at the end": (lambda: half(m4a()), "not_audio"),
    "half a FLAC": (lambda: half(FLAC), "decode_error"),
    "a FLAC without its last 200 bytes": (lambda: FLAC[:-200], "decode_error"),
    "a byte flipped in a FLAC's frame": (lambda: flipped(FLAC, 30_000), "truncated"),
    "a byte flipped late in a long FLAC": (lambda: flipped(encoded(tone(25.0)), 500_000), "decode_error"),
}


@pytest.mark.parametrize("what", CUT)
@hostile("B19", expected="a row that reports the damage; speech is never silently lost")
def test_a_truncated_or_changed_recording_is_reported(lab: Lab, what: str) -> None:
    lab.given = what
    make, error = CUT[what]

    lab.expect("decode", error, make())


@hostile("B19", given="half an Ogg", expected="scored to the end of the file: an Ogg does not state its length")
def test_half_an_ogg_is_scored_to_its_end(lab: Lab) -> None:
    row, _ = lab.expect_scored(half(encoded(tone(10.0), kind="OGG", subtype="VORBIS")))

    assert 2.0 < row["seconds"] < 8.0


@hostile(
    "B18",
    given="a playlist that names a recording in its folder",
    expected="row `not_audio`; the other recording is not read",
)
def test_a_playlist_opens_nothing(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    (lab.folder / "secret.wav").write_bytes(WAV)
    monkeypatch.chdir(lab.folder)
    script = f"ffconcat version 1.0\nfile {lab.folder}/secret.wav\n".encode()
    with av.open(io.BytesIO(script), options={"safe": "0"}) as opened:  # what FFmpeg does by itself
        assert opened.streams.audio

    lab.expect("decode", "not_audio", script, "m.m3u8.wav")


def test_a_film_s_picture_is_not_decoded_for_its_sound() -> None:
    assert "h264" not in demuxing.PYAV_OPTIONS["codec_whitelist"].split(",")
    assert {"aac", "opus", "amrnb"} <= set(demuxing.PYAV_OPTIONS["codec_whitelist"].split(","))
