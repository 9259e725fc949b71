"""Without Ray, one worker process gives the rows that the stages give; its end, by whatever, is not the driver's."""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detector.checkpoint import recipe_of
from detector.config import EmbedConfig
from detector.errors import ConfigError
from jobs.config import ModelConfig, OutputConfig, RunConfig
from jobs.embedding.result import EmbeddingRun
from jobs.errors import RunAgain, StalledError
from jobs.execution import retries
from jobs.execution.local import LocalRunner
from jobs.execution.runner import Runner
from jobs.execution.stop_request import StopRequest
from jobs.execution.watchdog import Watchdog
from jobs.execution.worker_process import Order, WorkerProcess
from jobs.inputs.config import InputConfig
from jobs.inputs.limits import Limits
from jobs.inputs.shards import Portion, Shard
from jobs.storage import Stored
from tests.support import ROOT
from tests.support.archives import write_tar
from tests.support.audio import encoded, tone
from tests.support.deadly import MARK
from tests.support.embedding_runs import embed_archive
from tests.support.runner import InProcessRunner


def embedded(archive: Path, output: Path, runner: Runner, backbone: str = "melstats", **settings: Any) -> EmbeddingRun:
    recipe = recipe_of(EmbedConfig(backbone=backbone, segment_seconds=2.0), None)
    inputs, where = InputConfig(input=(str(archive),)), OutputConfig(output=str(output))
    return embed_archive(runner, inputs, recipe, ModelConfig(), where, RunConfig(run_date="2026-11-23", **settings))


def local(**settings: Any) -> LocalRunner:
    return LocalRunner(RunConfig(**settings))


def tables(output: Path) -> dict[str, str]:
    """Digests of all objects of the tables, by name."""
    found = sorted(path for path in output.rglob("*.parquet"))
    return {str(path.relative_to(output)): hashlib.sha256(path.read_bytes()).hexdigest() for path in found}


def rows(run: EmbeddingRun, table: str) -> list[dict[str, Any]]:
    found = (run.ledger.read(marker, table) for marker in run.markers)
    return [row for each in found if each is not None for row in each.to_pylist()]


def marked(seconds: float, seed: int = 0) -> bytes:
    samples = tone(seconds, seed=seed)
    samples[0] = MARK
    return encoded(samples)


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Recordings that fail in every way that needs no fault of a process, and some that do not."""
    archive = tmp_path / "archive"
    (archive / "calls").mkdir(parents=True)
    members = {
        "long.flac": encoded(tone(9.0)),
        "page.mp3": b"<html>",
        "click.wav": encoded(tone(0.02), kind="WAV"),
        "silent.flac": encoded(np.zeros(40_000)),
        "empty.wav": b"",
        "over.flac": encoded(tone(1.0)),
        "cut.flac": encoded(tone(3.0))[:-2_000],
    }
    write_tar(archive / "calls" / "0.tar", members)
    whole = write_tar(archive / "whole.tar", {f"{each}.flac": encoded(tone(2.0, seed=each)) for each in range(4)})
    (archive / "broken.tar").write_bytes(whole.read_bytes()[:90_000])
    (archive / "loose.flac").write_bytes(encoded(tone(5.0, seed=7)))
    return archive


def test_rows_are_those_of_the_stages_in_one_process_to_the_byte(archive: Path, tmp_path: Path) -> None:
    limits = {"max_seconds": 8.0, "max_source_hours": 3.0 / 3600}

    runner = local(**limits)
    run = embedded(archive, tmp_path / "local", runner, **limits)
    embedded(archive, tmp_path / "stages", InProcessRunner(), **limits)

    assert tables(tmp_path / "local") == tables(tmp_path / "stages")
    found = {row["error"] for row in rows(run, "failures")}
    assert {"too_long", "not_audio", "empty", "over_quota", "bad_archive"} <= found
    assert (runner.encoder_stats.record()["n_encoders"], runner.encoder_stats.record()["devices"]) == (1, ["cpu"])
    assert run.confinement == runner.confinement.level is not None


def test_a_recording_that_ends_the_encoder_by_a_signal_is_a_row_and_all_others_are_embedded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retries, "PAUSE_SECONDS", 0.0)
    archive = tmp_path / "archive"
    archive.mkdir()
    write_tar(archive / "0.tar", {"before.flac": encoded(tone(3.0)), "poison.flac": marked(1.0)})
    write_tar(archive / "1.tar", {"after.flac": encoded(tone(1.0, seed=9))})

    run = embedded(archive, tmp_path / "local", local(), "tests.support.deadly:deadly")

    (failure,) = rows(run, "failures")
    assert (failure["member"], failure["error"], failure["attempts"]) == ("poison.flac", "encoder_crash", 3)
    plain = embedded(archive, tmp_path / "plain", InProcessRunner())
    right = {row["member"]: row["embedding"] for row in rows(plain, "embeddings") if row["member"] != "poison.flac"}
    assert {row["member"]: row["embedding"] for row in rows(run, "embeddings")} == right
    assert not children()


@pytest.mark.long
def test_an_encoder_that_hangs_ends_the_run_with_its_name_and_leaves_no_process(tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    archive.mkdir()
    write_tar(archive / "0.tar", {"poison.flac": marked(1.0)})

    with pytest.raises(StalledError, match=r"no progress for 8 s; stuck: (encoding shard|starting a worker)"):
        embedded(archive, tmp_path / "local", local(), "tests.support.deadly:hanging", stall_seconds=8.0)

    assert not children()


def test_sigterm_commits_what_is_whole_and_begins_nothing_new(tmp_path: Path) -> None:
    archive, output = tmp_path / "archive", tmp_path / "local"
    archive.mkdir()
    *first, last = sorted((archive / f"{number}.tar" for number in range(4)), key=slot_of)
    for number, path in enumerate(first):
        write_tar(path, {"a.flac": encoded(tone(1.0, seed=number))})
    write_tar(last, {"poison.flac": marked(1.0)})

    def stop_after_the_first() -> None:
        while not list(output.rglob("_commits/**/*.json")):
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=stop_after_the_first).start()
    with pytest.raises(RunAgain, match="SIGTERM"):
        embedded(archive, output, local(), "tests.support.deadly:hanging")

    assert list(output.rglob("*.parquet"))
    assert not children()


def slot_of(path: Path) -> str:
    """By which shards are read in turn."""
    return Shard("tar", (Stored(str(path), 0, ""),)).slot


def children(parent: int | None = None, program: bytes = b"worker_main") -> list[int]:
    """Pids of worker processes, or others, that this process or another one has started, and not ended."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            started_by = int((place / "stat").read_text().rpartition(")")[2].split()[1])
            if started_by == (parent or os.getpid()) and program in (place / "cmdline").read_bytes():
                found.append(int(place.name))
    return found


@pytest.mark.long
def test_a_driver_that_is_killed_takes_its_worker_and_the_decoder_along(tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    archive.mkdir()
    (archive / "poison.flac").write_bytes(marked(1.0))
    command = [sys.executable, "-m", "jobs", "embed", "--backbone", "tests.support.deadly:hanging", "--runner", "local"]
    driver = subprocess.Popen([*command, "--input", archive, "--output", tmp_path / "tables"], cwd=ROOT)
    while not (workers := children(driver.pid)) or not (decoders := children(workers[0], b"decoding.process")):
        assert driver.poll() is None
        time.sleep(0.1)

    driver.kill()
    driver.wait()

    deadline = time.monotonic() + 20.0
    while any(is_alive(pid) for pid in (*workers, *decoders)):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def is_alive(pid: int) -> bool:
    try:
        return bool(Path("/proc", str(pid), "cmdline").read_bytes())  # that of a zombie is empty
    except OSError:
        return False


def described(text: str) -> dict[str, Any]:
    if text == "bad":
        raise ConfigError("bad: expected good.")
    return {"text": text}


def test_items_are_worked_on_in_threads_and_an_error_ends_the_work() -> None:
    names = [f"{number}" for number in range(20)]
    runner, watchdog = local(), Watchdog(60.0)

    with StopRequest() as stop:
        found = list(runner.map_items(described, names, watchdog, stop))
        with pytest.raises(ConfigError, match="bad: expected good"):
            list(runner.map_items(described, ["bad"], watchdog, stop))

    assert sorted(each["text"] for each in found) == sorted(names)


def test_more_than_one_encoder_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"--encoders 2: the local runner has one. Take --runner ray"):
        local(encoders="2").pool()


SHARDS = [Portion(Shard("tar", (Stored(f"s3://bucket/{name}", 10, "e"),))) for name in "abc"]


@pytest.mark.parametrize(
    ("messages", "left"),
    [
        pytest.param([], ("abc", 0), id="nothing was begun"),
        pytest.param([("loaded", None), ("reading", 0)], ("bc", 0), id="the reader died in a"),
        pytest.param([("reading", 0), ("encoding", (0, 4))], ("abc", 5), id="the encoder died on table 4 of a"),
        pytest.param([("reading", 0), ("reading", 1), ("encoding", (0, 4))], ("abc", 5), id="b is read ahead"),
        pytest.param([("reading", 1), ("encoding", (1, 0)), ("embedded", None)], ("c", 0), id="the reader of b"),
        pytest.param([("reading", 2)], None, id="the reader died in the last"),
        pytest.param([("reading", 2), ("end", None)], None, id="all was done"),
    ],
)
def test_what_a_worker_had_in_hand_is_left_out_and_the_rest_is_asked_for_again(
    messages: list[tuple[str, Any]], left: tuple[str, int] | None
) -> None:
    recipe = recipe_of(EmbedConfig(backbone="melstats"), None)
    pool = local().pool()
    order = Order(SHARDS, (recipe,), ModelConfig(), pool, Limits(), None, 1.0, "prefer", singly=False, skip=1)
    worker = WorkerProcess(order)

    for message in messages:
        worker.note(message)

    rest = worker.rest()
    assert (rest and ("".join(each.shard.uri[-1] for each in rest.portions), rest.skip)) == left
