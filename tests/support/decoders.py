"""Decoder processes under test: recordings with faults built in, and what becomes of them."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import pytest

from detector.errors import UtteranceError
from detector.recording import Facts, Recording
from jobs.decoding import idle
from jobs.decoding.queue import DecodeQueue
from tests.support.audio import encoded, tone

SEGMENT_SECONDS = 1.0
FLAC = encoded(tone(5.0))
FAULTS = """
import ctypes, io, json, os, re, resource, signal, socket, sys, time
from pathlib import Path

if "jobs.decoding.process" in sys.orig_argv:
    import numpy as np
    import detector.recording

    decode, here, kept = detector.recording.decode_native, Path(__file__).parent, []
    was_killed = (here / "was_killed").exists()  # a decoder at work opens no file

    def crash(): ctypes.string_at(0)
    def abort(): os.abort()
    def leave(): os._exit(3)
    def vanish(): os._exit(0)  # as if another part of the worker had reaped it
    def spin():
        while True: pass
    def spin_in_c(): re.match("(a+)+$", "a" * 64 + "b")  # never gives up the interpreter's lock
    def swell(): kept.append(np.ones(4 << 30, np.uint8))
    def leak(): kept.append(np.ones(400 << 20, np.uint8))
    def stumble(): raise KeyError("no codec <object at 0x7f0012ab>")
    def kill(): os.kill(os.getpid(), signal.SIGKILL)
    def kill_once():
        if not was_killed: kill()
    def freeze(): os.kill(os.getpid(), signal.SIGSTOP)
    def tell(kind, content): os.write(int(sys.argv[-3]), kind + len(content).to_bytes(8, "little") + content)
    def flood():
        while True: tell(b"read", (0).to_bytes(8, "little") + (1 << 20).to_bytes(8, "little"))
    def flood_of_bytes():
        while True: tell(b"read", (0).to_bytes(8, "little") + (1).to_bytes(8, "little"))
    def ask_for_nothing(): tell(b"read", bytes(16))
    def ask_beyond(): tell(b"read", b"\\xff" * 16)
    def ask_in_part(): tell(b"read", bytes(5))
    def fail_by_a_list(): tell(b"fail", b'{"error": [], "message": ""}')
    def fail_deeply(): tell(b"fail", b'{"error": ' + b"[" * 900 + b"]" * 900 + b', "message": ""}')
    def done_of_nothing():
        recording = detector.recording.Recording(io.BytesIO(kept[-1]), 1.0)
        list(recording.segments())
        tell(b"done", json.dumps(vars(recording.facts)).encode())
    def short_tail():
        tell(b"wave", bytes(64_000))
        tell(b"wave", bytes(4))
    def nothing():
        while True: tell(b"none", b"")
    def nap(): time.sleep(3600)
    def half_a_frame():
        os.write(int(sys.argv[-3]), b"wa")
        nap()
    def drip():
        while True: time.sleep(0.02)
    def drip_bytes():
        os.write(int(sys.argv[-3]), b"wave" + (64_000).to_bytes(8, "little"))
        while True:
            os.write(int(sys.argv[-3]), b"x")
            time.sleep(0.02)
    def toil():  # segments without end, each after a little work
        while True:
            begun = time.process_time()
            while time.process_time() < begun + 0.05: pass
            tell(b"wave", bytes(64_000))
    def babble(): os.write(int(sys.argv[-3]), b"wave" + b"\\xff" * 8)
    def hurry(): os.write(int(sys.argv[-3]), b"done" + (2).to_bytes(8, "little") + b"{}")
    def read(): (here.parent / "secret").read_text()
    def remove(): (here.parent / "secret").unlink()
    def execute(): os.execv("/bin/true", ["true"])
    def connect(): socket.socket().connect(("127.0.0.1", 9))
    def write():
        with open(here / "written", "wb") as file: file.write(b"what I found")

    def faulty(file, *how):
        file.seek(0)
        content = file.read(32 << 20)
        stored, blocks, ledger = decode(file, *how)
        fault = re.search(b"fault:([a-z_]+)(:later)?", content)
        if fault is None:
            return stored, blocks, ledger
        kept.append(content[:fault.start()])
        act = globals()[fault[1].decode()]
        def later():
            first = next(blocks)
            for start in range(0, len(first.samples), 16_000):
                if start == 64_000: act()  # two segments are out by then
                yield first._replace(samples=first.samples[start : start + 16_000])
        if fault[2]:
            return stored, later(), ledger
        act()
        return stored, blocks, ledger

    detector.recording.decode_native = faulty
"""


def faulty(name: str) -> bytes:
    """A good recording of 5 s, and what it does to its decoder."""
    return encoded(tone(5.0, seed=1)) + b"fault:" + name.encode()


def in_decoder(content: bytes, name: str = "a.flac") -> tuple[list[bytes], Facts]:
    with DecodeQueue(SEGMENT_SECONDS) as queue:
        recording = queue.put(io.BytesIO(content), name)
        return [samples.tobytes() for samples in recording.segments()], recording.facts


def in_process(file: BinaryIO) -> tuple[list[bytes], Facts]:
    recording = Recording(file, SEGMENT_SECONDS)
    return [samples.tobytes() for samples in recording.segments()], recording.facts


def failure_of(decode: Callable[[], object]) -> tuple[str, str]:
    with pytest.raises(UtteranceError) as caught:
        decode()
    return caught.value.error, caught.value.message


def process_id() -> int:
    """Of the one process that waits for work."""
    (process,) = idle.IDLE
    return process.pid


def is_running(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
