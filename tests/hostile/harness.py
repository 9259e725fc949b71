"""Harness of the tests of hostile inputs: good neighbours, a guard against side effects, and a row for the table.

    @hostile("B18", given="a web page that is called .wav", expected="row `not_audio`")
    def test_a_web_page_is_no_recording(lab: Lab) -> None:
        lab.expect("decode", "not_audio", b"<html>")

Inputs take the real path: a tar, read by :func:`jobs.inputs.shard_reader.read_shard` and decoded in a decoder process.
"""

from __future__ import annotations

import io
import os
import resource
import sys
import tarfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from detector.backbones import load_backbone
from detector.config import EmbedConfig
from detector.embedding import embed_segments, join_segments
from detector.failures import FAILURE_ERRORS
from detector.recording import Recording
from detector.schema import embeddings_schema
from jobs import storage
from jobs.decoding import idle
from jobs.decoding.process_handle import DecoderProcess
from jobs.decoding.queue import DecodeQueue
from jobs.inputs.containers import container_kind
from jobs.inputs.shard_reader import read_shard
from jobs.inputs.shards import Portion, Shard
from tests.support.audio import encoded, tone
from tests.support.heads import some_head

SEGMENT_SECONDS = 30.0
CPU_SECONDS = 10.0  # of reader and decoder together; wall time would depend on the machine's load
MEMORY_BYTES = 512 << 20
BEFORE, AFTER = ("a.flac", encoded(tone(1.5, seed=1))), ("z.flac", encoded(tone(1.5, seed=2)))

Outcome = dict[str, Any]
Members = list[tuple[str | tarfile.TarInfo, bytes]]


def hostile(number: str, *, given: str = "", expected: str) -> Callable[[Any], Any]:
    """Mark a test with its row in docs/hostile-inputs.md."""
    return pytest.mark.hostile(number=number, given=given, expected=expected)


def packed(members: Iterable[tuple[str | tarfile.TarInfo, bytes]], kind: int = tarfile.GNU_FORMAT) -> bytes:
    """Return a tar with its members in the given order."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=kind) as tar:
        for name, content in members:
            info = tarfile.TarInfo(name) if isinstance(name, str) else name
            info.size = len(content) or info.size
            tar.addfile(info, io.BytesIO(content))
    return file.getvalue()


def header(name: str, size: int = 0, kind: bytes = tarfile.REGTYPE, form: int = tarfile.GNU_FORMAT) -> bytes:
    """Return a tar header, which may claim a size or type that its content does not have."""
    info = tarfile.TarInfo(name)
    info.size, info.type = size, kind
    return info.tobuf(form)


@cache
def alone(content: bytes) -> tuple[bytes, str]:
    """Return samples and digest of a good recording, decoded alone in this process."""
    recording = Recording(io.BytesIO(content), SEGMENT_SECONDS)
    return b"".join(segment.tobytes() for segment in recording.segments()), recording.facts.audio_sha256


@dataclass
class Read:
    """The result of reading a shard: an outcome for each utterance, and the samples of those that were decoded."""

    outcomes: list[Outcome]
    samples: dict[int, bytes]

    def errors(self) -> list[tuple[str | None, str | None]]:
        """Return the member and error of each utterance."""
        return [(each["member"], each.get("error")) for each in self.outcomes]


@dataclass
class Lab:
    """One test's folder, and what it observed."""

    folder: Path
    seen: list[str] = field(default_factory=list)
    given: str = ""

    def saw(self, text: str) -> None:
        """Note an observation for the table."""
        self.seen.append(text)

    def read(self, content: bytes, name: str = "0.tar", only: tuple[int, ...] | None = None) -> Read:
        """Write a container, of the kind that its name says, and read it as a worker does."""
        path = self.folder / "archive" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        return self.read_file(path, only)

    def read_file(self, path: Path, only: tuple[int, ...] | None = None) -> Read:
        """Read an existing container; its pieces must be complete."""
        stored, kind = storage.stat(str(path)), container_kind(str(path))
        assert stored is not None
        assert kind is not None
        rows = list(read_shard(Portion(Shard(kind, (stored,)), only), SEGMENT_SECONDS))
        samples: dict[int, list[bytes]] = {}
        for row in rows:
            if "samples" in row:
                samples.setdefault(row["ordinal"], []).append(row["samples"])
        outcomes = [row["outcome"] for row in rows if "outcome" in row]
        assert rows[-1]["n_utterances"] == len(outcomes)
        for outcome in outcomes:
            pa.array([outcome["utterance_id"]], pa.string())  # a table can hold it
            assert outcome.get("error") is None or outcome["error"] in FAILURE_ERRORS
        return Read(outcomes, {ordinal: b"".join(each) for ordinal, each in samples.items()})

    def between(self, content: bytes, name: str | tarfile.TarInfo = "m.wav") -> tuple[Outcome, np.ndarray]:
        """Read an input between two good ones, which must stay unaffected; return its outcome and samples."""
        read = self.read(packed([BEFORE, (name, content), AFTER]))
        first, outcome, last = read.outcomes
        for ordinal, found, (member, good) in ((0, first, BEFORE), (2, last, AFTER)):
            assert (found["member"], found.get("error")) == (member, None)
            assert (read.samples[ordinal], found["audio_sha256"]) == alone(good)
        return outcome, np.frombuffer(read.samples.get(1, b""), np.float32)

    def expect(self, stage: str, error: str, content: bytes, name: str | tarfile.TarInfo = "m.wav") -> str:
        """Read an input between two good ones; require a single row of failures and return its message."""
        outcome, _ = self.between(content, name)
        self.saw(f"{outcome.get('stage')}: `{outcome.get('error')}`")
        assert (outcome.get("stage"), outcome.get("error")) == (stage, error), outcome
        return str(outcome["message"])

    def expect_scored(self, content: bytes, name: str = "m.wav") -> tuple[dict[str, Any], np.ndarray]:
        """Read an input between two good ones; require a row of scores, and return it with the samples."""
        outcome, samples = self.between(content, name)
        assert outcome.get("error") is None, outcome
        row = judged(outcome, samples)
        self.saw(f"`{row['reject_reason']}`" if row["score"] is None else f"scored, {row['seconds']:.4g} s")
        return row, samples


@cache
def _melstats() -> Any:
    return load_backbone(EmbedConfig(backbone="melstats"), None, device="cpu")


def judged(outcome: Outcome, samples: np.ndarray) -> dict[str, Any]:
    """Return the row of `scores` that a run would write."""
    backbone, head = _melstats(), some_head()
    embedding = join_segments(*embed_segments(backbone, [samples]))
    row = {**outcome, "layer": -1, "embedding": embedding, "fingerprint": head.fingerprint, "run_id": "-"}
    table = pa.Table.from_pylist([row], schema=embeddings_schema(backbone.dim))
    return dict(head.judge(table, None, "-").to_pylist()[0])


# ------------------------------------------------------------------------------------------------------ the guard

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
FORBIDDEN = (
    *("os.system", "os.exec", "os.fork", "os.posix_spawn", "os.startfile", "pty.spawn", "ctypes.dlopen"),
    *("pickle.find_class", "socket.connect", "socket.bind", "socket.getaddrinfo", "urllib.Request"),
)
CHANGING = ("os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.chmod", "os.truncate")


class Guard:
    """Records what a test's process runs, connects to, or writes outside its folder, and its CPU time and memory.

    An audit hook cannot be removed, so there is only one, which acts while a guard is on.
    """

    on: Guard | None = None

    def __init__(self, folder: Path) -> None:
        self._folder = str(folder)
        self.events: list[str] = []
        self.cpu_seconds = 0.0
        self.decoder_bytes = 0
        self.reader_bytes = 0

    def __enter__(self) -> Guard:
        _ready_decoder()
        self._begun = _cpu_seconds()
        self._ended = 0
        for pid in ("self", *_decoders()):
            Path(f"/proc/{pid}/clear_refs").write_text("5")  # resets its peak memory
        self._before = _peak_bytes("self")
        Guard.on = self
        return self

    def __exit__(self, *error: object) -> None:
        Guard.on = None
        self.cpu_seconds = _cpu_seconds() - self._begun
        # a crashed process cannot be measured any more; the kernel enforced its limit
        self.decoder_bytes = max([_peak_bytes(pid) for pid in _decoders()], default=0)
        self.decoder_bytes = max(self.decoder_bytes, self._ended)
        # the tests' own process is large already, so only the increase counts
        self.reader_bytes = _peak_bytes("self") - self._before

    def ends(self, process: DecoderProcess) -> None:
        """Measure a decoder process that is about to be ended."""
        if process.is_alive():
            self._ended = max(self._ended, _peak_bytes(process.pid))

    def hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Handle an audit event."""
        if event == "open":
            path, mode, flags = arguments
            writes = bool(flags & WRITING) if isinstance(flags, int) else any(each in (mode or "r") for each in "wax+")
            if writes and isinstance(path, str | bytes) and not self._is_ours(os.fsdecode(path)):
                self.events.append(f"{event} {path!r} for writing")
        elif event == "subprocess.Popen":
            if "jobs.decoding.process" not in arguments[1]:
                self.events.append(f"{event} {arguments[1]!r}")
        elif event in FORBIDDEN or (event in CHANGING and not self._is_ours(os.fsdecode(arguments[0]))):
            self.events.append(f"{event} {arguments!r}"[:200])

    def _is_ours(self, path: str) -> bool:
        return path.startswith((self._folder, "/dev/null")) or "__pycache__" in path


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if Guard.on is not None:
        Guard.on.hear(event, arguments)


sys.addaudithook(_hook)
_end = DecoderProcess.end


def _end_and_tell(process: DecoderProcess) -> None:
    if Guard.on is not None:
        Guard.on.ends(process)
    _end(process)


DecoderProcess.end = _end_and_tell  # type: ignore[method-assign]


def snapshot(folder: Path) -> dict[str, tuple[int, int]]:
    """Return names, sizes and times of all files below a folder."""
    return {str(path): (path.lstat().st_size, path.lstat().st_mtime_ns) for path in sorted(folder.rglob("*"))}


def _ready_decoder() -> None:
    """Leave one idle decoder process, so that its start is not counted."""
    while len(idle.IDLE) > 1:
        idle.IDLE.pop().end()
    with DecodeQueue(SEGMENT_SECONDS) as queue:
        list(queue.put(io.BytesIO(BEFORE[1]), "a.flac").segments())


def _decoders() -> list[int]:
    return [process.pid for process in idle.IDLE]


def _cpu_seconds() -> float:
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    alive = sum(process.cpu_seconds() for process in idle.IDLE)
    return time.process_time() + ended.ru_utime + ended.ru_stime + alive


def _peak_bytes(pid: int | str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) << 10
    return 0
