"""First bytes: every container that a decoder may open is recognised, and no other kind of file is taken for one."""

from __future__ import annotations

import gzip
import io
import json
import pickle
import struct
import zipfile

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from detector.demuxing import DEMUXERS
from detector.magic import HEAD_BYTES, is_audio_content
from tests.support.audio import encoded, tone

MUXERS = {  # name of FFmpeg's muxer, and a codec, for each demuxer
    "aac": ("adts", "aac", 16_000),
    "ac3": ("ac3", "ac3", 48_000),
    "aiff": ("aiff", "pcm_s16be", 16_000),
    "asf": ("asf", "wmav2", 16_000),
    "au": ("au", "pcm_s16be", 16_000),
    "avi": ("avi", "pcm_s16le", 16_000),
    "caf": ("caf", "pcm_s16be", 16_000),
    "eac3": ("eac3", "eac3", 48_000),
    "flac": ("flac", "flac", 16_000),
    "flv": ("flv", "aac", 44_100),
    "matroska": ("matroska", "pcm_s16le", 16_000),
    "mov": ("mov", "aac", 16_000),
    "mp3": ("mp3", "mp3", 16_000),
    "mpeg": ("mpeg", "mp2", 44_100),
    "mpegts": ("mpegts", "mp2", 44_100),
    "ogg": ("ogg", "libopus", 48_000),
    "tta": ("tta", "tta", 16_000),
    "w64": ("w64", "pcm_s16le", 16_000),
    "wav": ("wav", "pcm_s16le", 16_000),
    "wv": ("wv", "wavpack", 16_000),
}
BY_HAND = {
    "amr": b"#!AMR\n<" + bytes(32),
    "amrnb": b"#!AMR_MC1.0\n" + bytes(32),
    "amrwb": b"#!AMR-WB\n" + bytes(32),
    "nistsphere": b"NIST_1A\n   1024\nsample_rate -i 16000\n",
    "qcp": b"RIFF\x10\0\0\0QLCMfmt ",
}
MORE = {
    "MP4": ("mp4", "aac", 16_000),
    "3GP": ("3gp", "aac", 16_000),
    "WebM": ("webm", "libopus", 48_000),
    "MP2": ("mp2", "mp2", 44_100),
    "MP2 at 16 kHz": ("mp2", "mp2", 16_000),
    "MP3 at 44.1 kHz": ("mp3", "mp3", 44_100),
    "AC-3 at 44.1 kHz": ("ac3", "ac3", 44_100),
}


def muxed(muxer: str, codec: str, rate: int) -> bytes:
    """A second of a tone, as FFmpeg writes it."""
    file = io.BytesIO()
    file.name = f"a.{muxer}"
    samples = (tone(1.0, rate=rate) * 20_000).astype(np.int16)
    bare = {"id3v2_version": "0", "write_xing": "0"} if muxer == "mp3" else {}
    with av.open(file, "w", format=muxer, options=bare) as container:
        stream = container.add_stream(codec, rate=rate, layout="mono")
        stream.bit_rate = 64_000
        resampler = av.AudioResampler(stream.format, "mono", rate, stream.codec_context.frame_size or None)
        frame = av.AudioFrame.from_ndarray(samples[None, :], format="s16", layout="mono")
        frame.sample_rate = rate
        for part in (*resampler.resample(frame), *resampler.resample(None)):
            container.mux(stream.encode(part))
        container.mux(stream.encode(None))
    return file.getvalue()


def test_every_demuxer_that_may_be_opened_has_an_example_here() -> None:
    assert set(MUXERS) | set(BY_HAND) == set(DEMUXERS)


@pytest.mark.parametrize("name", [*MUXERS, *MORE])
def test_what_ffmpeg_writes_is_audio(name: str) -> None:
    assert is_audio_content(muxed(*(MUXERS | MORE)[name])[:HEAD_BYTES])


@pytest.mark.parametrize("name", BY_HAND)
def test_containers_that_ffmpeg_cannot_write_are_audio(name: str) -> None:
    assert is_audio_content(BY_HAND[name])


@pytest.mark.parametrize("kind", ["WAV", "RF64", "W64", "FLAC", "OGG", "AIFF", "AU", "CAF", "NIST", "MP3"])
def test_what_libsndfile_writes_is_audio(kind: str) -> None:
    assert is_audio_content(encoded(tone(1.0), kind=kind)[:HEAD_BYTES])


@pytest.mark.parametrize("name", ["mp3", "aac", "ac3"])
def test_a_stream_that_was_cut_within_a_frame_is_audio(name: str) -> None:
    content = muxed(*MUXERS[name])

    assert is_audio_content(content[100 : 100 + HEAD_BYTES])


@pytest.mark.parametrize("name", ["mp3", "aac", "ac3"])
def test_one_frame_header_alone_is_no_stream(name: str) -> None:
    assert not is_audio_content(muxed(*MUXERS[name])[:12] + b"and no frame follows " * 200)


def blue_ray(packets: bytes) -> bytes:
    """Transport stream packets with the time code that discs and cameras write before each."""
    return b"".join(b"\0\0\0\1" + packets[at : at + 188] for at in range(0, len(packets), 188))


def test_a_transport_stream_with_time_codes_is_audio() -> None:
    assert is_audio_content(blue_ray(muxed(*MUXERS["mpegts"]))[:HEAD_BYTES])


def test_an_mp3_behind_a_tag_with_a_picture_is_audio() -> None:
    tag = b"ID3\4\0\0" + bytes([0, 6, 0, 0]) + b"APIC" + bytes(90_000)

    assert is_audio_content(tag[:HEAD_BYTES])


@pytest.mark.parametrize("name", [b"free", b"skip", b"wide", b"uuid"])
def test_a_film_behind_other_boxes_is_audio_and_an_image_is_not(name: bytes) -> None:
    filler = struct.pack(">I", 40) + name + bytes(32) + struct.pack(">I", 8) + b"wide"

    assert is_audio_content((filler + muxed(*MORE["MP4"]))[:HEAD_BYTES])
    assert not is_audio_content(filler + OTHERS["HEIC"])


def zipped() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a.wav", encoded(tone(0.1), kind="WAV"))
    return file.getvalue()


def parquet() -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.table({"audio": [encoded(tone(0.1), kind="WAV")]}), file)
    return file.getvalue()


def npz() -> bytes:
    file = io.BytesIO()
    np.savez(file, weights=np.random.default_rng(0).normal(size=1_000).astype(np.float32))
    return file.getvalue()


OTHERS = {
    "empty": b"",
    "one byte": b"\xff",
    "text": b"The quick brown fox jumps over the lazy dog. " * 100,
    "text about audio": b"RIFF, WAVE, ID3 and fLaC are magic words, ftyp too.\n" * 50,
    "frame headers without frames": b"\xff\xfb\x90\x64" * 1_000,
    "the letter of transport streams": b"G" * HEAD_BYTES,
    "UTF-16 text": ("call 17, both parties, 8 kHz\n" * 100).encode("utf-16"),
    "UTF-8 text with a mark": "Größe und Maß\n".encode("utf-8-sig") * 100,
    "JSON": json.dumps({"uri": "a.wav", "label": "spoof"}).encode(),
    "HTML": b"<!doctype html><title>404</title>",
    "PNG": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + bytes(range(256)) * 8,
    "JPEG": b"\xff\xd8\xff\xe0\0\x10JFIF\0\1" + bytes(range(256)) * 8,
    "GIF": b"GIF89a" + bytes(range(256)) * 8,
    "WebP": b"RIFF\x24\0\0\0WEBPVP8 " + bytes(64),
    "HEIC": b"\0\0\0\x24ftypheic\0\0\0\0mif1heic",
    "AVIF": b"\0\0\0\x20ftypavif\0\0\0\0avifmif1",
    "PDF": b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n",
    "zip with a recording": zipped(),
    "gzip": gzip.compress(b"text" * 1_000),
    "Parquet with a recording": parquet(),
    "NumPy archive": npz(),
    "pickle": pickle.dumps(list(range(1_000))),
    "safetensors": struct.pack("<Q", 60) + b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}' + bytes(64),
    "ELF": b"\x7fELF\2\1\1" + bytes(200),
    "macOS resource fork": b"\0\5\x16\7\0\2\0\0Mac OS X        \0\2\0\0\0\x09" + bytes(200),
    "shorten without SPHERE": b"ajkg\2" + bytes(64),
    "MIDI": b"MThd\0\0\0\6\0\1\0\1\0\x60MTrk",
    "EBML of another type": b"\x1a\x45\xdf\xa3\x8f\x42\x82\x84demo",
    "zeros": bytes(HEAD_BYTES),
    "ones": b"\xff" * HEAD_BYTES,
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_files_are_not_taken_for_audio(name: str) -> None:
    assert not is_audio_content(OTHERS[name][:HEAD_BYTES])


def test_random_bytes_are_not_taken_for_audio() -> None:
    # 40 MB: a single frame header occurs about 7,000 times in them
    content = np.random.default_rng(20_261_123).bytes(40_000_000)

    taken = [at for at in range(0, len(content), HEAD_BYTES) if is_audio_content(content[at : at + HEAD_BYTES])]

    assert taken == []


@pytest.mark.parametrize("bits", [np.int16, np.float32])
def test_samples_and_weights_without_a_header_are_not_taken_for_audio(bits: type) -> None:
    noise = np.random.default_rng(7).normal(0.0, 40.0, 2_000_000)
    content = (noise if bits is np.int16 else noise / 1_000).astype(bits).tobytes()

    assert not any(is_audio_content(content[at : at + HEAD_BYTES]) for at in range(0, len(content), HEAD_BYTES))
