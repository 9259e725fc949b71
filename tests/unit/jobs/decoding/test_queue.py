"""A file that crashes, hangs or swells a decoder costs one row, and its neighbours are decoded as ever."""

from __future__ import annotations

import gc
import io
import logging
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from detector.audio import SAMPLE_RATE
from detector.errors import UtteranceError
from jobs import storage
from jobs.decoding import confinement, idle, process_handle
from jobs.decoding.faults import CANNOT_BE
from jobs.decoding.queue import DecodeQueue
from jobs.errors import RunAgain
from jobs.inputs.shard_reader import read_shard
from jobs.inputs.shards import Portion, Shard
from tests.support.archives import write_tar
from tests.support.audio import encoded, tone
from tests.support.decoders import (
    FLAC,
    SEGMENT_SECONDS,
    failure_of,
    faulty,
    in_decoder,
    in_process,
    is_running,
    process_id,
)


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
def test_samples_and_facts_equal_those_of_decoding_in_this_process_to_the_bit(content: bytes, opened: Any) -> None:
    with DecodeQueue(SEGMENT_SECONDS) as queue:
        recording = queue.put(opened(content), "a")
        found = [samples.tobytes() for samples in recording.segments()], recording.facts

    assert found == in_process(io.BytesIO(content))


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN)
def test_a_fault_of_content_has_the_same_message_and_leaves_the_process_alive(content: bytes) -> None:
    expected = failure_of(lambda: in_process(io.BytesIO(content)))
    in_decoder(FLAC)
    before = process_id()

    assert failure_of(lambda: in_decoder(content)) == expected
    assert process_id() == before


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("crash", "decoder_crash", "the decoder's process died of SIGSEGV"),
        ("abort", "decoder_crash", "the decoder's process died of SIGABRT"),
        ("crash:later", "decoder_crash", "the decoder's process died of SIGSEGV"),
        ("leave", "decoder_crash", "the decoder's process ended with exit code 3"),
        ("vanish", "decoder_crash", "the decoder's process ended with exit code 0"),
        ("stumble", "decoder_crash", "KeyError: 'no codec <object>'"),
        (
            "babble",
            "decoder_crash",
            f"{CANNOT_BE}: a segment of {2**64 - 1:,} B",
        ),
        ("hurry", "decoder_crash", f"{CANNOT_BE}: native_rate None"),
        ("spin", "decoder_timeout", "no segment in 1 s of CPU time, nor in as many as it lasts"),
        ("spin_in_c", "decoder_timeout", "no segment in 1 s of CPU time, nor in as many as it lasts"),
        ("swell", "too_large", "Unable to allocate 4.00 GiB for an array with shape (4294967296,) and data type uint8"),
    ],
)
def test_a_recording_that_breaks_its_decoder_is_one_row_between_whole_neighbours(
    faults: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, error: str, message: str
) -> None:
    monkeypatch.setattr(process_handle, "CPU_SECONDS", 1.0)
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


def test_a_recording_has_as_much_time_as_its_bytes_allow_however_many_segments_it_gives(
    faults: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, seconds in (("CPU_SECONDS", 0.3), ("SECONDS_PER_BYTE", 0.1 / len(faulty("toil"))), ("LOOK_SECONDS", 0.2)):
        monkeypatch.setattr(process_handle, name, seconds)
    segments: list[Any] = []

    with DecodeQueue(SEGMENT_SECONDS) as queue, pytest.raises(UtteranceError) as caught:
        segments.extend(queue.put(io.BytesIO(faulty("toil")), "a.flac").segments())

    assert caught.value.error == "decoder_timeout"
    assert f"more CPU time in all than any recording of {len(faulty('toil')):,} bytes needs" in caught.value.message
    assert len(in_decoder(FLAC)[0]) == len(in_process(io.BytesIO(FLAC))[0])  # an ordinary one has time enough


@pytest.fixture
def _unconfined() -> Iterator[None]:
    """Decoders that may kill or stop themselves, as an operator would."""
    confinement.set_mode(confinement.OFF)
    yield
    confinement.set_mode(confinement.PREFER)


@pytest.mark.usefixtures("_unconfined")
def test_a_recording_whose_decoder_was_killed_is_decoded_anew_and_no_segment_comes_twice(
    faults: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = faulty("kill_once:later")
    restart = DecodeQueue.restart

    def restarted(queue: DecodeQueue) -> Any:
        (faults / "was_killed").touch()
        return restart(queue)

    monkeypatch.setattr(DecodeQueue, "restart", restarted)

    with caplog.at_level(logging.WARNING):
        found = in_decoder(content, "night/a.flac")

    assert (faults / "was_killed").exists()
    assert found == in_process(io.BytesIO(content))
    (warning,) = caplog.messages
    assert "night/a.flac: the decoder's process died of SIGKILL" in warning


@pytest.mark.usefixtures("_unconfined")
def test_a_decoder_that_is_killed_from_outside_twice_is_no_verdict(faults: Path) -> None:
    with pytest.raises(RunAgain, match=r"night/a\.flac: the decoder's process died of SIGKILL, 2 times"):
        in_decoder(faulty("kill"), "night/a.flac")

    assert in_decoder(FLAC) == in_process(io.BytesIO(FLAC))


def test_a_decoder_that_something_else_has_reaped_is_no_verdict() -> None:
    with DecodeQueue(SEGMENT_SECONDS) as queue:
        process = queue.process_for(queue.put(io.BytesIO(FLAC), "a"))
        os.kill(process.pid, signal.SIGKILL)
        os.waitpid(process.pid, 0)

        assert str(process._ended()) == "the decoder's process is gone"
        assert isinstance(process._ended().verdict("a"), RunAgain)


@pytest.mark.usefixtures("_unconfined")
def test_a_stopped_decoder_does_not_fail_the_recording(faults: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process_handle, "LOOK_SECONDS", 0.05)
    monkeypatch.setattr(process_handle, "STALLED_SECONDS", 1.0)

    with pytest.raises(RunAgain, match=r"night/a\.flac: 1 s without a word or any CPU time .*, in state T"):
        in_decoder(faulty("freeze"), "night/a.flac")


def test_an_idle_decoder_may_be_killed_at_no_cost(caplog: pytest.LogCaptureFixture) -> None:
    in_decoder(FLAC)
    os.kill(process_id(), signal.SIGKILL)
    os.waitid(os.P_PID, process_id(), os.WEXITED | os.WNOWAIT)

    assert in_decoder(FLAC) == in_process(io.BytesIO(FLAC))
    assert not caplog.messages


def test_a_decoder_that_leaks_is_replaced_before_the_next_recording(faults: Path) -> None:
    content = faulty("leak")
    in_decoder(FLAC)
    before = process_id()

    found = in_decoder(content)

    assert found == in_process(io.BytesIO(content))
    assert not is_running(before)
    assert in_decoder(FLAC) == in_process(io.BytesIO(FLAC))


def test_a_thousand_recordings_are_decoded_by_one_process(tmp_path: Path) -> None:
    short = encoded(tone(0.05))
    path = write_tar(tmp_path / "0.tar", {f"{number:04d}.flac": short for number in range(1_000)})
    stored = storage.stat(str(path))
    assert stored is not None
    in_decoder(FLAC)
    before = process_id()

    rows = list(read_shard(Portion(Shard("tar", (stored,))), SEGMENT_SECONDS))

    assert rows[-1]["n_utterances"] == 1_000
    assert sum("samples" in row for row in rows) == 1_000
    assert process_id() == before


def test_neither_zombies_nor_open_files_are_left_behind(faults: Path) -> None:
    def left() -> tuple[int, int]:
        gc.collect()  # what tests before left open is no part of this
        children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
        return len(children), len(list(Path("/proc/self/fd").iterdir()))

    in_decoder(FLAC)
    before = left()

    for name in ("crash", "stumble", "kill", "babble"):
        with pytest.raises((UtteranceError, RunAgain)):
            in_decoder(faulty(name))
    with DecodeQueue(SEGMENT_SECONDS) as queue:
        next(queue.put(io.BytesIO(FLAC), "left in the middle").segments())
    in_decoder(FLAC)

    assert left() == before


def test_threads_do_not_get_each_other_s_samples() -> None:
    contents = [encoded(tone(3.0, seed=seed)) for seed in range(4)]
    expected = [in_process(io.BytesIO(content)) for content in contents]
    wrong: list[int] = []

    def decode(index: int) -> None:
        wrong.extend(index for _ in range(20) if in_decoder(contents[index]) != expected[index])

    threads = [threading.Thread(target=decode, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert not wrong
    assert 1 <= len(idle.IDLE) <= 5
    idle.end_all()


def test_recordings_are_read_in_the_order_in_which_they_were_put() -> None:
    with DecodeQueue(SEGMENT_SECONDS) as queue:
        first, second = queue.put(io.BytesIO(FLAC), "first"), queue.put(io.BytesIO(FLAC), "second")

        with pytest.raises(RuntimeError, match="in the order"):
            next(second.segments())
        list(first.segments())
        with pytest.raises(RuntimeError, match="once"):
            next(first.segments())
        list(second.segments())

    assert first.facts == second.facts


def test_recordings_that_wait_survive_a_decoder_that_dies_on_the_one_before(faults: Path) -> None:
    # far more than a pipe holds, so that some of it was not even sent
    content = encoded(tone(60.0), kind="WAV", subtype="FLOAT")
    with DecodeQueue(SEGMENT_SECONDS) as queue:
        first = queue.put(io.BytesIO(faulty("crash:later")), "first")
        segments = first.segments()
        next(segments)
        second, third = queue.put(io.BytesIO(content), "second"), queue.put(io.BytesIO(FLAC), "third")

        assert failure_of(lambda: list(segments))[0] == "decoder_crash"
        found = [([samples.tobytes() for samples in each.segments()], each.facts) for each in (second, third)]

    assert found == [in_process(io.BytesIO(content)), in_process(io.BytesIO(FLAC))]
