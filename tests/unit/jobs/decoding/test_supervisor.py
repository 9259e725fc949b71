"""A file that crashes, hangs or swells a decoder costs one row, and nobody else notices."""

from __future__ import annotations

import ctypes
import hashlib
import io
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

import av
import numpy as np
import pytest

from detector.audio import SAMPLE_RATE
from detector.errors import UtteranceError
from detector.recording import Facts, Recording
from jobs import storage
from jobs.decoding.supervisor import supervisor
from jobs.errors import RunAgain, StorageError
from jobs.inputs.shard_reader import read_shard
from jobs.inputs.shards import Portion, Shard
from tests.support.archives import write_tar
from tests.support.audio import encoded, tone

SEGMENT_SECONDS = 1.0
FLAC = encoded(tone(5.0))
FAULTS = """
import ctypes, os, re, resource, signal, sys, time
from pathlib import Path

if "jobs.decoding.process" in sys.orig_argv:
    import numpy as np
    import detector.recording

    decode, here, kept = detector.recording.decode_native, Path(__file__).parent, []

    def crash(): ctypes.string_at(0)
    def abort(): os.abort()
    def leave(): os._exit(3)
    def vanish(): os._exit(0)  # as it looks where somebody else took its exit code
    def spin():
        while True: pass
    def spin_in_c(): re.match("(a+)+$", "a" * 64 + "b")  # never gives up the interpreter's lock
    def swell(): kept.append(np.ones(4 << 30, np.uint8))
    def leak(): kept.append(np.ones(400 << 20, np.uint8))
    def stumble(): raise KeyError("no codec <object at 0x7f0012ab>")
    def kill(): os.kill(os.getpid(), signal.SIGKILL)
    def kill_once():
        if not (here / "was_killed").exists(): kill()
    def freeze(): os.kill(os.getpid(), signal.SIGSTOP)
    def babble(): os.write(int(sys.argv[-3]), b"wave" + b"\\xff" * 8)
    def hurry(): os.write(int(sys.argv[-3]), b"done" + (2).to_bytes(8, "little") + b"{}")
    def read(): (here.parent / "secret").read_text()
    def remove(): (here.parent / "secret").unlink()
    def execute(): os.execv("/bin/true", ["true"])
    def connect():
        import socket
        socket.create_connection(("127.0.0.1", 9))
    def write():
        with open(here / "written", "wb") as file: file.write(b"what I found")

    def faulty(file, excerpt):
        content = file.read()
        stored, blocks = decode(file, excerpt)
        fault = re.search(b"fault:([a-z_]+)(:later)?", content)
        if fault is None:
            return stored, blocks
        act = globals()[fault[1].decode()]
        def later():
            first = next(blocks)
            for start in range(0, len(first), 16_000):
                if start == 64_000: act()  # two segments are out by then
                yield first[start : start + 16_000]
        if fault[2]:
            return stored, later()
        act()
        return stored, blocks

    detector.recording.decode_native = faulty
"""


@pytest.fixture
def faults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Decoders' processes with the faults above, where a file's bytes ask for one; the folder that they can reach."""
    folder = tmp_path / "faults"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(FAULTS)
    monkeypatch.syspath_prepend(str(folder))
    supervisor._end_idle()
    yield folder
    supervisor._end_idle()


def faulty(name: str) -> bytes:
    """A good recording of 5 s, and what it does to its decoder."""
    return encoded(tone(5.0, seed=1)) + b"fault:" + name.encode()


def apart(content: bytes, name: str = "a.flac") -> tuple[list[bytes], Facts]:
    with supervisor.DecodeQueue(SEGMENT_SECONDS) as queue:
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
    (process,) = supervisor._IDLE
    return process._process.pid


def is_running(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False


def until(holds: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.02)
    return holds()


def aac() -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=44_100, layout="mono")
        frame = av.AudioFrame.from_ndarray(tone(3.0, rate=44_100)[None].astype(np.float32), "fltp", "mono")
        frame.sample_rate, frame.pts = 44_100, 0
        container.mux([*stream.encode(frame), *stream.encode(None)])
    return file.getvalue()


STEREO = np.stack([tone(7.0, rate=44_100), tone(7.0, rate=44_100, hertz=330.0)], axis=1)
GOOD = {
    "flac": FLAC,
    "one sample": encoded(tone(1 / SAMPLE_RATE)),
    "stereo": encoded(STEREO, rate=44_100, kind="WAV", subtype="FLOAT"),
    "telephone": encoded(tone(25.0, rate=8_000), rate=8_000, kind="WAV", subtype="ULAW"),
    "mp3": encoded(tone(3.0), kind="MP3"),
    "opus": encoded(tone(3.0), kind="OGG", subtype="OPUS"),
    "aac": aac(),
    "60 bytes that claim 4 GiB": encoded(np.zeros(8), kind="WAV")[:40] + b"\xff\xff\xff\xff" + bytes(16),
}
BROKEN = {
    "nothing": b"",
    "text": b"<html>" * 1_000,
    "zeros": bytes(5_000),
    "cut flac": FLAC[:20_000],
    "cut aac": aac()[:3_000],
    "no samples": encoded(np.zeros(0), kind="WAV"),
    "not a number": encoded(np.full(90_000, np.nan), kind="WAV", subtype="FLOAT"),
    "many channels": encoded(np.zeros((10, 17)), kind="WAV"),
    "slow": encoded(np.zeros(10), rate=7, kind="WAV"),
    "bad frames": FLAC[:100] + b"\xff\xf8" * 20_000,
}


@pytest.mark.parametrize("content", GOOD.values(), ids=GOOD)
@pytest.mark.parametrize("opened", [io.BytesIO, lambda content: io.BufferedReader(io.BytesIO(content))])
def test_samples_and_facts_are_those_of_decoding_here_to_the_bit(content: bytes, opened: Any) -> None:
    with supervisor.DecodeQueue(SEGMENT_SECONDS) as queue:
        recording = queue.put(opened(content), "a")
        found = [samples.tobytes() for samples in recording.segments()], recording.facts

    assert found == in_process(io.BytesIO(content))


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN)
def test_a_fault_of_content_is_told_in_the_same_words(content: bytes) -> None:
    expected = failure_of(lambda: in_process(io.BytesIO(content)))
    apart(FLAC)
    before = process_id()

    assert failure_of(lambda: apart(content)) == expected
    assert process_id() == before


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("crash", "decoder_crash", "the decoder's process died of SIGSEGV"),
        ("abort", "decoder_crash", "the decoder's process died of SIGABRT"),
        ("crash:later", "decoder_crash", "the decoder's process died of SIGSEGV"),
        ("leave", "decoder_crash", "the decoder's process ended with exit code 3"),
        ("stumble", "decoder_crash", "KeyError: 'no codec <object>'"),
        (
            "babble",
            "decoder_crash",
            f"{supervisor.CANNOT_BE}: a segment of {2**64 - 1:,} B",
        ),
        ("hurry", "decoder_crash", f"{supervisor.CANNOT_BE}: a rate of None"),
        ("spin", "decoder_timeout", "no segment in 1 s of CPU time, nor in as many as it lasts"),
        ("spin_in_c", "decoder_timeout", "no segment in 1 s of CPU time, nor in as many as it lasts"),
        ("swell", "too_large", "Unable to allocate 4.00 GiB for an array with shape (4294967296,) and data type uint8"),
    ],
)
def test_a_recording_that_breaks_its_decoder_is_one_row_between_whole_neighbours(
    faults: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, error: str, message: str
) -> None:
    monkeypatch.setattr(supervisor, "CPU_SECONDS", 1.0)
    path = write_tar(tmp_path / "0.tar", {"a.flac": FLAC, "b.flac": faulty(name), "c.flac": FLAC, "d.flac": FLAC})
    stored = storage.stat(str(path))
    assert stored is not None

    rows = list(read_shard(Portion(Shard("tar", (stored,))), SEGMENT_SECONDS))

    outcomes = [row["outcome"] for row in rows if "outcome" in row]
    assert [each.get("error") for each in outcomes] == [None, error, None, None]
    assert (outcomes[1]["stage"], outcomes[1]["message"]) == ("decode", message)
    segments, facts = in_process(io.BytesIO(FLAC))
    for ordinal in (0, 2, 3):
        assert [row["samples"] for row in rows if row.get("ordinal") == ordinal and "samples" in row] == segments
        assert outcomes[ordinal]["audio_sha256"] == facts.audio_sha256


def test_a_decoder_that_was_killed_begins_anew_and_no_segment_comes_twice(
    faults: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = faulty("kill_once:later")
    again = supervisor.DecodeQueue.again

    def told(queue: supervisor.DecodeQueue) -> Any:
        (faults / "was_killed").touch()
        return again(queue)

    monkeypatch.setattr(supervisor.DecodeQueue, "again", told)

    with caplog.at_level(logging.WARNING):
        found = apart(content, "night/a.flac")

    assert (faults / "was_killed").exists()
    assert found == in_process(io.BytesIO(content))
    (warning,) = caplog.messages
    assert "night/a.flac: the decoder's process died of SIGKILL" in warning


@pytest.mark.parametrize(("name", "words"), [("kill", "the decoder's process died of SIGKILL"), ("vanish", "is gone")])
def test_a_decoder_that_is_killed_from_outside_twice_is_no_verdict(faults: Path, name: str, words: str) -> None:
    with pytest.raises(RunAgain, match=rf"night/a\.flac: .*{words}, 2 times"):
        apart(faulty(name), "night/a.flac")

    assert apart(FLAC) == in_process(io.BytesIO(FLAC))


def test_a_decoder_that_stands_still_is_no_verdict(faults: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "LOOK_SECONDS", 0.05)
    monkeypatch.setattr(supervisor, "STALLED_LOOKS", 20)

    with pytest.raises(RunAgain, match=r"night/a\.flac: 1 s without a word or any CPU time"):
        apart(faulty("freeze"), "night/a.flac")


def test_a_decoder_that_waits_for_work_may_be_killed_at_no_cost(caplog: pytest.LogCaptureFixture) -> None:
    apart(FLAC)
    os.kill(process_id(), signal.SIGKILL)
    os.waitid(os.P_PID, process_id(), os.WEXITED | os.WNOWAIT)

    assert apart(FLAC) == in_process(io.BytesIO(FLAC))
    assert not caplog.messages


def test_a_decoder_that_leaks_is_replaced_before_the_next_recording(faults: Path) -> None:
    content = faulty("leak")
    apart(FLAC)
    before = process_id()

    found = apart(content)

    assert found == in_process(io.BytesIO(content))
    assert not is_running(before)
    assert apart(FLAC) == in_process(io.BytesIO(FLAC))


def test_a_decoder_that_does_not_start_says_why_and_is_no_verdict(faults: Path) -> None:
    (faults / "sitecustomize.py").write_text("import os, sys\nsys.stderr.write('libsndfile.so: lost\\n')\nos._exit(1)")

    with pytest.raises(RunAgain, match=r"does not start: .* exit code 1\. libsndfile\.so: lost"):
        apart(FLAC)


def test_a_machine_that_leaves_a_decoder_too_little_memory_is_told_and_blames_no_recording() -> None:
    program = "import io; from jobs.decoding.supervisor import DecodeQueue; DecodeQueue(1.0).put(io.BytesIO(b'?'), 'a').segments().send(None)"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = ["bash", "-c", 'ulimit -v 1000000; exec "$@"', "-", sys.executable, "-c", program]

    result = subprocess.run(command, env=environment, capture_output=True, text=True)

    assert "RunAgain: the process for decoding does not start" in result.stderr
    assert "a limit on address space of 1,024,000,000 B (ulimit -v) is below" in result.stderr


def test_a_decoder_knows_no_secret_and_has_its_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    supervisor._end_idle()
    for name in ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "RAY_AUTH_TOKEN", "SOME_PASSWORD"):
        monkeypatch.setenv(name, "secret-of-the-archive")
    secret = os.open(os.devnull, os.O_RDONLY)
    os.set_inheritable(secret, True)

    apart(FLAC)

    process = Path(f"/proc/{process_id()}")
    variables = {line.split(b"=")[0].decode() for line in (process / "environ").read_bytes().split(b"\0") if line}
    assert b"secret-of-the-archive" not in (process / "environ").read_bytes() + (process / "cmdline").read_bytes()
    assert variables <= {
        *("PATH", "LANG", "PYTHONPATH", "OPENBLAS_NUM_THREADS", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"),
        *supervisor.KEPT_VARIABLES,
    }
    limits = {line[:26].strip(): line[26:].split()[0] for line in (process / "limits").read_text().splitlines()[1:]}
    assert (limits["Max open files"], limits["Max core file size"], limits["Max file size"]) == ("32", "0", "0")
    resident_and_all = [int(pages) * os.sysconf("SC_PAGESIZE") for pages in (process / "statm").read_text().split()[:2]]
    # beyond its imports: 1 GiB, and four segments of 1 s
    assert 0 < int(limits["Max address space"]) - (1 << 30) - 4 * 64_000 <= resident_and_all[0]
    assert 50 <= int(limits["Max cpu time"]) <= 70
    assert os.readlink(process / "cwd") == "/"
    assert os.getsid(process_id()) != os.getsid(0)  # ctrl-c does not reach it
    kinds = {os.readlink(each).split(":")[0] for each in (process / "fd").iterdir()}
    assert kinds == {"pipe", "/dev/null", f"/proc/{process_id()}/statm"}
    assert len(list((process / "fd").iterdir())) == 6
    os.close(secret)


HAS_LANDLOCK = ctypes.CDLL(None).syscall(444, None, 0, 1) >= 4  # of a kernel that confines TCP, too
FORBIDDEN = {"write": "written'", "read": "secret'", "remove": "secret'", "execute": "", "connect": ""}


def test_a_decoder_cannot_write_a_file(faults: Path) -> None:
    error, message = failure_of(lambda: apart(faulty("write")))

    assert error == "decoder_crash"
    assert "File too large" in message or "Permission denied" in message
    assert not (faults / "written").exists() or (faults / "written").read_bytes() == b""


@pytest.mark.skipif(not HAS_LANDLOCK, reason="the kernel does not know Landlock, or has it off")
@pytest.mark.parametrize("name", FORBIDDEN)
def test_a_decoder_touches_nothing_but_its_pipes(faults: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "secret").write_text("of the archive")  # its modules lie in a folder beside it

    error, message = failure_of(lambda: apart(faulty(name)))

    assert (error, message[:35]) == ("decoder_crash", "PermissionError: [Errno 13] Permission denied"[:35])
    assert message.endswith(FORBIDDEN[name])
    assert (tmp_path / "secret").exists()
    assert not (faults / "written").exists()
    assert apart(FLAC) == in_process(io.BytesIO(FLAC))


@pytest.mark.parametrize("name", ["spin", "spin_in_c", "none"])
def test_a_decoder_ends_with_its_parent_whatever_it_is_doing(faults: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "a.flac").write_bytes(faulty(name) if name != "none" else FLAC)
    program = """if True:
        import io, sys, time
        from pathlib import Path
        from jobs.decoding.supervisor import supervisor
        with supervisor.DecodeQueue(1.0) as queue:
            recording = queue.put(io.BytesIO(Path(sys.argv[1]).read_bytes()), "a")
            print(queue.process_for(recording)._process.pid, flush=True)
            list(recording.segments())
            time.sleep(60)
    """
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    parent = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path / "a.flac")], stdout=subprocess.PIPE, env=environment
    )
    assert parent.stdout is not None
    with parent.stdout:
        pid = int(parent.stdout.readline())
    time.sleep(0.5)
    assert is_running(pid)

    parent.kill()
    parent.wait()

    assert until(lambda: not is_running(pid), 2.0)


def test_a_thousand_recordings_are_decoded_by_one_process(tmp_path: Path) -> None:
    short = encoded(tone(0.05))
    path = write_tar(tmp_path / "0.tar", {f"{number:04d}.flac": short for number in range(1_000)})
    stored = storage.stat(str(path))
    assert stored is not None
    apart(FLAC)
    before = process_id()

    rows = list(read_shard(Portion(Shard("tar", (stored,))), SEGMENT_SECONDS))

    assert rows[-1]["n_utterances"] == 1_000
    assert sum("samples" in row for row in rows) == 1_000
    assert process_id() == before


def test_neither_zombies_nor_open_files_are_left_behind(faults: Path) -> None:
    def left() -> tuple[int, int]:
        children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
        return len(children), len(list(Path("/proc/self/fd").iterdir()))

    apart(FLAC)
    before = left()

    for name in ("crash", "stumble", "kill", "babble"):
        with pytest.raises((UtteranceError, RunAgain)):
            apart(faulty(name))
    with supervisor.DecodeQueue(SEGMENT_SECONDS) as queue:
        next(queue.put(io.BytesIO(FLAC), "left in the middle").segments())
    apart(FLAC)

    assert left() == before


def test_threads_do_not_get_each_other_s_samples() -> None:
    contents = [encoded(tone(3.0, seed=seed)) for seed in range(4)]
    expected = [in_process(io.BytesIO(content)) for content in contents]
    wrong: list[int] = []

    def decode(index: int) -> None:
        wrong.extend(index for _ in range(20) if apart(contents[index]) != expected[index])

    threads = [threading.Thread(target=decode, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert not wrong
    assert 1 <= len(supervisor._IDLE) <= 5
    supervisor._end_idle()


def test_recordings_are_read_in_the_order_in_which_they_were_put() -> None:
    with supervisor.DecodeQueue(SEGMENT_SECONDS) as queue:
        first, second = queue.put(io.BytesIO(FLAC), "first"), queue.put(io.BytesIO(FLAC), "second")

        with pytest.raises(RuntimeError, match="in the order"):
            next(second.segments())
        list(first.segments())
        with pytest.raises(RuntimeError, match="once"):
            next(first.segments())
        list(second.segments())

    assert first.facts == second.facts


def test_what_lies_in_the_queue_survives_the_death_of_the_one_before(faults: Path) -> None:
    # far more than a pipe holds, so that some of it was not even sent
    content = encoded(tone(60.0), kind="WAV", subtype="FLOAT")
    with supervisor.DecodeQueue(SEGMENT_SECONDS) as queue:
        first = queue.put(io.BytesIO(faulty("crash:later")), "first")
        segments = first.segments()
        next(segments)
        second, third = queue.put(io.BytesIO(content), "second"), queue.put(io.BytesIO(FLAC), "third")

        assert failure_of(lambda: list(segments))[0] == "decoder_crash"
        found = [([samples.tobytes() for samples in each.segments()], each.facts) for each in (second, third)]

    assert found == [in_process(io.BytesIO(content)), in_process(io.BytesIO(FLAC))]


@pytest.mark.parametrize(
    ("error", "match"),
    [
        (StorageError("s3://archive/a.wav: the store gave up"), "gave up"),
        (None, r"a\.wav: 0 B came from byte [\d,]+ on"),
    ],
)
def test_a_trouble_of_the_store_shows_here_and_not_in_the_decoder(error: Exception | None, match: str) -> None:
    class File(io.BufferedReader):
        """A file whose second half is lost at some time."""

        is_lost = False

        def read(self, size: int | None = -1) -> bytes:
            if self.tell() < 9 << 20:
                return super().read(size)
            if error is not None and self.is_lost:
                raise error
            return b"" if self.is_lost else super().read(size)

    file = File(cast(Any, io.BytesIO(encoded(tone(600.0), kind="WAV", subtype="PCM_16"))))
    with supervisor.DecodeQueue(SEGMENT_SECONDS) as queue:
        segments = queue.put(file, "a.wav").segments()
        next(segments)
        file.is_lost = True
        with pytest.raises(StorageError, match=match):
            list(segments)

    assert apart(FLAC) == in_process(io.BytesIO(FLAC))


def test_a_long_file_is_read_once_for_its_digest_and_its_samples() -> None:
    class File(io.BufferedReader):
        n_bytes = 0

        def read(self, size: int | None = -1) -> bytes:
            content = super().read(size)
            self.n_bytes += len(content)
            return content

    content = encoded(tone(600.0), kind="WAV", subtype="PCM_16")
    file = File(cast(Any, io.BytesIO(content)))
    with supervisor.DecodeQueue(SEGMENT_SECONDS) as queue:
        recording = queue.put(file, "a.wav")
        n_segments = sum(1 for _ in recording.segments())

    assert (n_segments, recording.facts.audio_sha256) == (600, hashlib.sha256(content).hexdigest())
    # the first piece of 1 MiB is sniffed before libsndfile opens the file, with the next one on its way; and looking
    # for what stands behind the samples, it jumps to the end: a piece is asked for in vain
    assert len(content) <= file.n_bytes <= len(content) + (4 << 20)


def test_a_decoder_that_jumps_about_in_a_long_file_gets_the_bytes_it_asked_for() -> None:
    # its index stands at the end: FFmpeg reads the head, the end, and then the middle
    file = io.BytesIO()
    noise = np.random.default_rng(0).normal(0.0, 0.1, (1, 44_100 * 60)).astype(np.float32)
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=44_100, layout="mono", bit_rate=320_000)
        frame = av.AudioFrame.from_ndarray(noise, "fltp", "mono")
        frame.sample_rate, frame.pts = 44_100, 0
        container.mux([*stream.encode(frame), *stream.encode(None)])
    assert file.getvalue().rindex(b"moov") > 1 << 20

    with supervisor.DecodeQueue(SEGMENT_SECONDS) as queue:
        recording = queue.put(io.BufferedReader(file), "a.mp4")
        found = [samples.tobytes() for samples in recording.segments()], recording.facts

    assert found == in_process(file)


def test_a_decoder_s_process_loads_no_library_that_it_does_not_need() -> None:
    code = "import sys, jobs.decoding.process; print(*sorted({name.partition('.')[0] for name in sys.modules}))"

    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()

    assert not {"ray", "torch", "sklearn", "scipy", "pandas", "pyarrow", "fsspec", "transformers"} & set(loaded)
    assert {"numpy", "soundfile", "av", "soxr"} <= set(loaded)
