"""Targets of fuzzing: the readers of untrusted bytes, each with the only errors that it may raise.

A target takes bytes and returns; any exception is a finding. Seeds are generated here, so that no corpus is stored.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import struct
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from detector import audio, decoders, signature
from detector.errors import ConfigError, SchemaError, ShardError, UtteranceError
from detector.failures import FAILURE_ERRORS
from detector.head import Head
from detector.jumbf import GENERATOR_LENGTH
from detector.provenance import provenance
from jobs import storage
from jobs.inputs.containers import CONTAINERS, Member, shortened
from jobs.inputs.containers.decompressed import zstd
from jobs.inputs.labels import read_labels
from jobs.inputs.lists import read_entries
from jobs.tables.checksummed_json import dump_checksummed, load_checksummed
from tests.support import ROOT
from tests.support.audio import encoded, tone
from tests.support.made_heads import PLAIN
from tests.support.sparse_tars import FORMS as SPARSE_FORMS
from tests.support.sparse_tars import sparse_member
from tests.unit.detector.test_audio import muxed


@dataclass(frozen=True)
class Target:
    """A reader, and good inputs to start from."""

    run: Callable[[bytes], None]
    seeds: Callable[[], list[bytes]]


def read_container(content: bytes) -> None:
    """Read a container; the first byte selects the kind, the rest is the file."""
    kind = list(CONTAINERS)[content[0] % len(CONTAINERS)] if content else "tar"
    path = _folder() / f"fuzz{CONTAINERS[kind].suffixes[0]}"
    path.write_bytes(content[1:])
    stored = storage.stat(str(path))
    assert stored is not None
    with contextlib.suppress(ShardError), storage.opened(stored) as file:
        for member in CONTAINERS[kind].members(file, stored):
            check_member(member)


def check_member(member: Member) -> None:
    """Require a name that a table can store, and complete content or a documented error."""
    pa.array([shortened(member.name)], pa.string())
    content = member.content
    try:
        n_bytes = 0 if isinstance(content, UtteranceError) else len(content.read(MAX_READ_BYTES))
    except UtteranceError as error:
        content = error
    if isinstance(content, UtteranceError):
        assert content.error in FAILURE_ERRORS
    else:
        assert n_bytes == min(member.size, MAX_READ_BYTES)


def decode(content: bytes) -> None:
    """Decode a recording; require finite blocks of float32, a documented UtteranceError, or MemoryError."""
    ended = None
    try:
        stored, blocks = audio.decode(io.BytesIO(content))
        assert decoders.RATES[0] <= stored.native_rate <= decoders.RATES[1]
        n_samples = 0
        for block in blocks:
            assert block.dtype == np.float32
            assert np.isfinite(block).all()
            n_samples += len(block)
            if n_samples > 600 * audio.SAMPLE_RATE:  # at a very low rate; the decoder process has a CPU limit for that
                break
    except UtteranceError as error:
        ended = error.error
    except MemoryError:
        ended = "too_large"  # the decoder process reports it so
    assert ended is None or ended in FAILURE_ERRORS


def read_provenance(content: bytes) -> None:
    """Look for a C2PA manifest; require facts that a table can store."""
    facts = provenance(io.BytesIO(content))
    pa.array([facts.claim_generator], pa.string())
    if facts.claim_generator is not None:
        assert facts.has_c2pa
        assert facts.claim_generator.isprintable()
        assert 1 <= len(facts.claim_generator) <= GENERATOR_LENGTH


def read_head(content: bytes) -> None:
    """Read a head; require that it survives a round trip, or a ConfigError."""
    with contextlib.suppress(ConfigError):
        head = Head.from_json(content, "fuzz.json")
        assert Head.from_json(head.to_json(), "fuzz.json") == head
        assert np.isfinite(head.scores(np.zeros((1, len(head.weights))))).all()


def read_list(content: bytes) -> None:
    """Read a manifest, labels or checksummed JSON; the first byte selects the format, the rest is the file."""
    kind = FORMATS[content[0] % len(FORMATS)] if content else ".csv"
    if kind == ".checksummed":
        with contextlib.suppress(SchemaError):
            load_checksummed(content[1:], "fuzz")
        return
    path = _folder() / f"fuzz{kind}"
    path.write_bytes(content[1:])
    for read in (read_labels, read_entries):
        with contextlib.suppress(SchemaError, ConfigError):
            read(str(path))


MAX_READ_BYTES = 64 << 20  # bytes of a member
FORMATS = (".csv", ".jsonl", ".parquet", ".checksummed")
_FOLDERS: list[Path] = []


def _folder() -> Path:
    if not _FOLDERS:
        _FOLDERS.append(Path(tempfile.mkdtemp(prefix="fuzz-")))
    return _FOLDERS[0]


def _tars() -> Iterator[bytes]:
    long = "x" * 150 + ".flac"
    for kind in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        file = io.BytesIO()
        with tarfile.open(fileobj=file, mode="w", format=kind) as tar:
            for name in ("a.flac", "é.wav", "b/c.txt", *((long,) if kind != tarfile.USTAR_FORMAT else ())):
                info = tarfile.TarInfo(name)
                info.size = 700
                tar.addfile(info, io.BytesIO(bytes(700)))
            link = tarfile.TarInfo("l.flac")
            link.type, link.linkname = tarfile.SYMTYPE, "a.flac"
            tar.addfile(link)
        yield file.getvalue()[:9_000]
    extents = [(number * 1_024, 9) for number in range(30)]
    yield from (sparse_member("s.flac", bytes(30_000), extents, form) + bytes(1_024) for form in SPARSE_FORMS)


def _containers() -> Iterator[bytes]:
    packed: dict[str, list[bytes]] = {"tar": list(_tars())}
    packed["tar.gz"] = [gzip.compress(packed["tar"][0])]
    packed["tar.zst"] = [zstd.compress(packed["tar"][0])]
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", method) as opened:
            opened.writestr("a.flac", bytes(700))
            opened.writestr("é/b.wav", b"b" * 700)
        packed.setdefault("zip", []).append(file.getvalue())
    rows = [{"bytes": bytes(700), "path": "a.flac"}, {"bytes": b"b", "path": None}, {"bytes": None, "path": "c.flac"}]
    lists = pa.array([[82, 73], None, []], pa.list_(pa.uint8()))
    decoded = {"array": [0.5, -0.5] * 350, "sampling_rate": 16_000}
    for columns in ({"audio": rows}, {"audio": [bytes(700), None]}, {"audio": lists}, {"row": [{"audio": decoded}]}):
        file = io.BytesIO()
        pq.write_table(pa.table(columns), file)
        packed.setdefault("parquet", []).append(file.getvalue())
    for number, kind in enumerate(CONTAINERS):
        yield from (bytes([number]) + content for content in packed[kind])


def _recordings() -> Iterator[bytes]:
    short_tone = tone(0.1)
    for kind, subtype in (
        *(("WAV", "PCM_16"), ("WAV", "IMA_ADPCM"), ("WAV", "GSM610"), ("FLAC", "PCM_16"), ("OGG", "VORBIS")),
        *(
            ("OGG", "OPUS"),
            ("MP3", None),
            ("AIFF", "PCM_16"),
            ("CAF", "ALAC_16"),
            ("W64", "PCM_16"),
            ("NIST", "PCM_16"),
        ),
    ):
        yield encoded(short_tone, kind=kind, subtype=subtype)
    for kind, codec, rate in (("webm", "libopus", 48_000), ("mp4", "aac", 16_000), ("adts", "aac", 16_000)):
        yield muxed(tone(0.1, rate=rate), kind=kind, codec=codec, rate=rate)


def _signed() -> Iterator[bytes]:
    folder = ROOT / "tests" / "support" / "provenance"
    for name in json.loads((folder / "read.json").read_text()):
        yield (folder / name).read_bytes()


def _heads() -> Iterator[bytes]:
    private, _ = signature.key_pair()
    yield PLAIN.to_json().encode()
    yield PLAIN.to_json(private).encode()


def _lists() -> Iterator[bytes]:
    rows = [{"utterance_id": "a", "uri": "a.flac", "label": "spoof"}, {"utterance_id": "é", "uri": "b", "label": None}]
    yield b"\0utterance_id,uri,label\na,a.flac,spoof\n\xc3\xa9,b,\n"
    yield b'\1{"utterance_id": "a", "uri": "a.flac", "label": "spoof"}\n{"utterance_id": 7, "uri": "b"}\n'
    for compression in ("none", "zstd"):
        file = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(rows), file, compression=compression)
        yield b"\2" + file.getvalue()
    yield b"\3" + dump_checksummed({"shards": [["0" * 16, "x", None]], "run_id": "r"})


TARGETS = {
    "container": Target(read_container, lambda: list(_containers())),
    "decode": Target(decode, lambda: list(_recordings())),
    "head": Target(read_head, lambda: list(_heads())),
    "provenance": Target(read_provenance, lambda: list(_signed())),
    "list": Target(read_list, lambda: list(_lists())),
}


def mutated(seed: bytes, rng: np.random.Generator) -> bytes:
    """Return a seed with a few bytes changed, moved, doubled, removed, or replaced by numbers."""
    content = bytearray(seed)
    for _ in range(int(rng.integers(1, 6))):
        if not content:
            break
        at = int(rng.integers(min(len(content), int(rng.choice([64, 600, len(content)])))))
        match int(rng.integers(6)):
            case 0:
                content[at] = int(rng.integers(256))
            case 1:
                content[at] ^= 1 << int(rng.integers(8))
            case 2:
                number = int(rng.choice([0, 1, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF, 0xFFFF]))
                content[at : at + 4] = struct.pack(str(rng.choice(["<I", ">I"])), number)
            case 3:
                del content[at : at + int(rng.integers(1, 64))]
            case 4:
                content[at:at] = content[at : at + int(rng.integers(1, 512))]
            case 5:
                del content[at:]
    return bytes(content)
