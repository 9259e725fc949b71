"""A decoder that was taken over costs its recording a row, and neither the worker's memory nor its night."""

from __future__ import annotations

import io
import os
import resource
from pathlib import Path
from typing import Any

import pytest

from detector.errors import UtteranceError
from jobs.decoding import process_handle, replies
from jobs.decoding.activity import SECONDS_PER_BYTE, Activity
from jobs.decoding.content import HashedContent
from jobs.decoding.faults import CANNOT_BE, DecoderError
from jobs.decoding.queue import DecodeQueue
from jobs.decoding.reads import FREE_READS, MAX_PASSES, Reads
from jobs.decoding.sandbox.limits import LIFE_CPU_SECONDS
from jobs.decoding.wire import READ
from tests.support.audio import encoded, tone
from tests.support.decoders import FLAC, SEGMENT_SECONDS, failure_of, faulty, in_decoder, in_process

LONG = encoded(tone(70.0), kind="WAV", subtype="FLOAT")  # 4.5 MB: more than a pipe holds


def viewed(name: str) -> None:
    with DecodeQueue(SEGMENT_SECONDS) as queue:
        file: Any = io.BufferedReader(io.BytesIO(LONG + b"fault:" + name.encode()))  # type: ignore[arg-type]
        list(queue.put(file, "a.wav").segments())


@pytest.mark.parametrize("name", ["flood", "flood_of_bytes", "ask_for_nothing", "ask_beyond", "ask_in_part", "nothing"])
def test_reads_that_decoding_never_needs_are_a_crash(faults: Path, name: str) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    error, message = failure_of(lambda: viewed(name))

    assert (error, message[: len(CANNOT_BE)]) == ("decoder_crash", CANNOT_BE)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10  # KiB
    assert in_decoder(FLAC) == in_process(io.BytesIO(FLAC))


@pytest.mark.parametrize("request_", [b"", bytes(5), READ.pack(0, 0), READ.pack(8, 3), READ.pack(2**64 - 1, 1)])
def test_reads_that_are_none_are_not_answered(request_: bytes) -> None:
    with pytest.raises(DecoderError, match=CANNOT_BE):
        Reads(HashedContent(io.BytesIO(bytes(10)), "a.wav")).answer(request_)


@pytest.mark.parametrize(
    "name",
    ["flood", "ask_for_nothing", "fail_by_a_list", "fail_deeply", "nothing", "done_of_nothing", "short_tail"],
)
def test_what_no_decoder_says_of_a_file_that_it_has_in_whole_is_a_crash(faults: Path, name: str) -> None:
    error, message = failure_of(lambda: in_decoder(faulty(name)))

    assert (error, message[: len(CANNOT_BE)]) == ("decoder_crash", CANNOT_BE)


@pytest.mark.parametrize("n_deep", range(700, 1_100, 21))
def test_replies_that_can_just_be_parsed_are_refused_before_they_are_shown(n_deep: int) -> None:
    with pytest.raises(DecoderError, match=CANNOT_BE):
        replies.parse(b'{"native_rate": ' + b"[" * n_deep + b"]" * n_deep + b"}")


@pytest.mark.parametrize("name", ["nap", "half_a_frame", "drip", "drip_bytes"])
def test_a_decoder_that_sleeps_ends_whether_it_wakes_now_and_then_or_not(
    faults: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(process_handle, "LOOK_SECONDS", 0.1)
    monkeypatch.setattr(process_handle, "SHORT_LOOK_SECONDS", 0.1)
    monkeypatch.setattr(process_handle, "STALLED_SECONDS", 0.2)

    assert failure_of(lambda: in_decoder(faulty(name))) == ("decoder_timeout", "asleep for 0.2 s of its work")


def test_a_worker_whose_decoder_sleeps_has_not_stalled(faults: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reports: list[str] = []
    monkeypatch.setattr(process_handle, "_report", lambda: reports.append("it waits, and knows for how long"))
    monkeypatch.setattr(process_handle, "LOOK_SECONDS", 0.1)
    monkeypatch.setattr(process_handle, "STALLED_SECONDS", 1.0)

    assert failure_of(lambda: in_decoder(faulty("nap")))[0] == "decoder_timeout"
    assert len(reports) >= 5


@pytest.mark.parametrize("name", ["kill", "freeze"])
@pytest.mark.needs("a kernel with Landlock")
def test_a_confined_decoder_cannot_pretend_that_an_operator_ended_it(faults: Path, name: str) -> None:
    assert failure_of(lambda: in_decoder(faulty(name)))[0] == "decoder_crash"


def test_a_decoder_runs_out_of_time_before_the_kernel_kills_it_without_a_word() -> None:
    with DecodeQueue(SEGMENT_SECONDS) as queue:
        process = queue.process_for(queue.put(io.BytesIO(FLAC), "a"))
        process.allow_cpu(10.0 * LIFE_CPU_SECONDS)

        assert process._cpu_deadline <= LIFE_CPU_SECONDS - 2 * process_handle.LOOK_SECONDS


def test_a_long_queue_is_sent_in_pieces_that_the_kernel_takes() -> None:
    n_recordings = os.sysconf("SC_IOV_MAX") // 2  # of three parts each
    with DecodeQueue(SEGMENT_SECONDS) as queue:
        recordings = [queue.put(io.BytesIO(b"no audio" * 500), str(number)) for number in range(n_recordings)]
        for recording in recordings:
            with pytest.raises(UtteranceError, match="not_audio"):
                list(recording.segments())


def test_a_file_is_read_at_most_so_often() -> None:
    content = bytes(3 << 20)
    reads = Reads(HashedContent(io.BytesIO(content), "a.wav"))
    for _ in range(FREE_READS + 3 * MAX_PASSES):
        reads.answer(READ.pack(0, 1))

    with pytest.raises(DecoderError, match="wild order"):
        reads.answer(READ.pack(0, 1))


class Kernel:
    """A `/proc/PID` of numbers that are given."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def shows(self, state: str) -> None:
        (self.folder / "stat").write_text(f"4711 (python3) {state} 1 4711")

    def counts(self, queued_seconds: float) -> None:
        (self.folder / "schedstat").write_text(f"0 {round(queued_seconds * 1e9)} 9\n")


def test_waiting_for_a_processor_is_not_sleep(tmp_path: Path) -> None:
    kernel, activity = Kernel(tmp_path), Activity(tmp_path)
    kernel.counts(queued_seconds=5.0)
    activity.asleep_seconds(1.0)
    activity.begin(cpu_seconds=1.0)
    activity.waited_seconds = 1_000.0

    kernel.counts(queued_seconds=5.0 + 990.0)  # load 100: a hundredth of a processor
    assert activity.asleep_seconds(cpu_seconds=11.0) == pytest.approx(0.0)
    kernel.counts(queued_seconds=5.0 + 90.0)
    assert activity.asleep_seconds(cpu_seconds=11.0) == pytest.approx(900.0)
    activity.n_bytes = 300 << 20
    assert activity.asleep_seconds(cpu_seconds=11.0) == pytest.approx(900.0 - (300 << 20) * SECONDS_PER_BYTE)


def test_where_the_kernel_counts_no_waits_a_hundredth_of_a_processor_is_work(tmp_path: Path) -> None:
    activity = Activity(tmp_path)
    activity.begin(cpu_seconds=0.0)
    activity.waited_seconds = 1_000.0

    assert activity.asleep_seconds(cpu_seconds=10.0) == 0.0
    assert activity.asleep_seconds(cpu_seconds=1.0) == pytest.approx(900.0)


@pytest.mark.parametrize(
    ("states", "usual"), [("SSSSD", "S"), ("SDSD", "S"), ("RRRRDDS", "D"), ("STTTT", "T"), ("RR", "S"), ("", "S")]
)
def test_a_decoder_is_in_the_state_that_most_looks_found(tmp_path: Path, states: str, usual: str) -> None:
    kernel, activity = Kernel(tmp_path), Activity(tmp_path)
    kernel.shows("D")
    activity.note_state()
    activity.begin(cpu_seconds=0.0)  # the next recording

    for state in states:
        kernel.shows(state)
        assert activity.note_state() == state
    assert activity.usual_state() == usual
