"""The harness of the drills: real commands in processes of their own, a real store behind the fault proxy, oracles.

How to write a drill:

```python
@drill("D22", injects="the reply to the first marker PUT is lost", holds="one marker a shard", limit=60)
def test_a_lost_reply_is_looked_up(lab: Lab) -> None:
    lab.proxy.when("PUT", "/_commits/").nth(1).drop_reply()

    lab.embed()                                   # run to its end; exit code 0 unless `code=` says otherwise

    lab.assert_same_as_undisturbed()              # O1, O2, O3, O8; O4 is watched all the while, in the background
    assert lab.proxy.count("PUT", "/_commits/") == lab.archive.n_shards
```

- `lab.archive` is the seeded archive in the bucket, `lab.output` a fresh prefix, `lab.proxy` clean, `lab.store` the
  store itself, past the proxy. `lab.new_archive(tars)` puts up another archive, with its own golden rows.
- `lab.start(verb, …)` and `lab.start_embed()` return a :class:`Run` that works: `run.processes("ray::")` finds pids
  below it, `run.kill("raylet")` kills one, `run.wait()` waits for its end, `run.assert_ended(75, "0003.tar")` checks
  the exit code and the last line on stderr (O5). `lab.wait_for(…)` waits until something is so.
- A run starts Ray for itself (4-5 s), as users do. Loops over many runs use `on=lab.ray()`: one Ray that stays for the
  whole session, whose workers reach the store through the proxy too; a run on it takes about 3 s.
- `inject=[Fault("detector.backbones.melstats:MelStats.embed", "kill", utterance=(3, 7), calls=[1])]` makes a function
  misbehave inside workers (tests/drills/inject/sitecustomize.py); without Ray of its own a run cannot have it.
- `lab.assert_clean()` runs `gc` and checks what is left (O6). O7 is `lab.proxy.requests(…)`, `run.seconds` and
  `run.resident_mb()`.
- The decorator gives the drill its number as a marker (`-k D22`, `-m D22`), its time limit, and its row in
  docs/reliability.md; `lab.held("…")` adds to the row what was measured, `lab.recovered(seconds)` the time to recover
  (else: from the last fault of the proxy to the next marker).

A drill that fails keeps the log of its runs in the report: `Run.__str__`.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import signal
import subprocess
import sys
import tarfile
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import duckdb
import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from detector.backbones import load_backbone
from detector.checkpoint import recipe_of
from detector.config import EmbedConfig
from detector.embedding import embed_segments, join_segments
from detector.errors import UtteranceError
from detector.head import Head
from detector.recording import Recording
from detector.schema import FAILURES, embeddings_schema
from tests.drills.inject.sitecustomize import MAGIC
from tests.support.audio import encoded
from tests.support.proxy import FaultProxy, Request

BUCKET = "drills"
N_SHARDS, N_EACH = 12, 10
RUN_DATE = "2026-01-01"
CI_DRILLS = "D01 D05 D22 D48".split()
RUN_SECONDS = 120.0
SLACK = float(os.environ.get("BONAFIDE_DRILLS_SLACK", "1"))  # limits × this, on a machine that has other work
POLL_SECONDS = 0.2
HERE = Path(__file__).parent
ON_LOOPBACK = {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # else Ray would look for it at the address of this machine
    "RAY_AUTH_MODE": "disabled",  # else one that starts after another made a token wants it, and one before does not
}
"""What goes to a Ray that stays, and to whoever joins it."""
Found = TypeVar("Found")


def drill(
    number: str, *, injects: str, holds: str, limit: float, every_change: bool = True
) -> Callable[[Callable[..., None]], Any]:
    """Mark a test as a drill: its number, its row in the table, and its limit in seconds, fixtures aside.

    One of :data:`CI_DRILLS` runs with every change, unless ``every_change`` says that it takes too long.
    """
    marks = [getattr(pytest.mark, number), pytest.mark.drill(number=number, injects=injects, holds=holds, limit=limit)]
    marks += [
        pytest.mark.timeout(limit * SLACK, func_only=True),
        *([pytest.mark.ci_drill] if number in CI_DRILLS and every_change else []),
    ]

    def decorate(test: Callable[..., None]) -> Any:
        for mark in marks:
            test = mark(test)
        return test

    return decorate


# ---------------------------------------------------------------------------------------------------- the archive


def utterance(shard: int, number: int, seconds: float | None = None) -> np.ndarray:
    """Seeded samples, 16 kHz mono, 0.5 to 3 s; the first four say which utterance it is (inject/sitecustomize.py)."""
    rng = np.random.default_rng([3, shard, number])
    n_samples = round(16_000 * (seconds or rng.uniform(0.5, 3.0)))
    tone = 0.2 * np.sin(2 * np.pi * rng.uniform(90, 400) * np.arange(n_samples) / 16_000)
    samples = tone + rng.normal(0.0, 0.05, n_samples)
    samples[:4] = np.array([MAGIC, shard, number, MAGIC]) / 32_768
    return samples


def wav(shard: int, number: int, seconds: float | None = None) -> bytes:
    """An utterance as a 16-bit WAV file: the magic samples stand in its bytes as they are."""
    return encoded(utterance(shard, number, seconds), kind="WAV", subtype="PCM_16")


def flac(shard: int, number: int, seconds: float | None = None) -> bytes:
    """An utterance as a FLAC file."""
    return encoded(utterance(shard, number, seconds), kind="FLAC", subtype="PCM_16")


def bad_member(kind: int) -> bytes:
    """Bytes that have no score, of a kind for each number: no audio, nothing, NaN, a FLAC that ends early."""
    nonfinite = encoded(np.full(8_000, np.nan), kind="WAV", subtype="FLOAT")
    return (b"<html>no audio</html>", b"", nonfinite, flac(99, kind, 2.0)[:9_000])[kind % 4]


def members(shard: int, n_each: int = N_EACH) -> dict[str, bytes]:
    """A shard's members: even numbers WAV, odd ones FLAC; in every second shard the last is bad, one in 20."""
    found = {f"{n:02d}.{'flac' if n % 2 else 'wav'}": (flac if n % 2 else wav)(shard, n) for n in range(n_each)}
    if shard % 2:
        found[f"{n_each - 1:02d}.flac"] = bad_member(shard // 2)
    return found


def tar(content: dict[str, bytes] | Sequence[tuple[str, bytes]]) -> bytes:
    """A tar shard; a name twice where the list has it twice."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as shard:
        for name, data in content.items() if isinstance(content, dict) else content:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            shard.addfile(info, io.BytesIO(data))
    return file.getvalue()


def seeded_tars(n_shards: int = N_SHARDS, n_each: int = N_EACH) -> dict[str, bytes]:
    """The archive of the drills: `0000.tar` …"""
    return {f"{shard:04d}.tar": tar(members(shard, n_each)) for shard in range(n_shards)}


@dataclass(repr=False)
class Archive:
    """Tars, or loose files, below a prefix of the store, and the rows that are right for them."""

    uri: str
    tars: dict[str, bytes]
    golden: Golden

    @property
    def n_shards(self) -> int:
        return len(self.tars)

    def at(self, name: str) -> str:
        """The URI of a tar."""
        return f"{self.uri}{name}"


# ---------------------------------------------------------------------------------------------------- golden rows


@dataclass(repr=False)
class Golden:
    """The right rows, by a plain Python loop over detector.*: no Ray, no store, no processes. `run_id` is left out."""

    embeddings: pa.Table
    failures: pa.Table

    def scores(self, head: Head) -> pa.Table:
        """The right rows of `scores`."""
        return head.judge(self.embeddings, None, "").drop_columns(["run_id"])


def golden(uri: str, tars: dict[str, bytes], **what: Any) -> Golden:
    """Embed tars one recording after the other; ``what`` are fields of :class:`detector.config.EmbedConfig`."""
    config = EmbedConfig(**{"backbone": "melstats", **what})
    recipe = recipe_of(config, None)
    backbone = load_backbone(config, None, device="cpu")
    embeddings, failures = [], []
    for row, data in _recordings(uri, tars):
        try:
            embeddings.append(row | _embedded(data, backbone, config) | {"fingerprint": recipe.fingerprint})
        except UtteranceError as error:
            stage = "read" if not data else "decode"
            found = {"stage": stage, "error": error.error, "message": error.message, "bytes": len(data)}
            failures.append(row | found | {"attempts": 1})
    schema = embeddings_schema(backbone.dim)
    return Golden(_table(embeddings, schema), _table(failures, FAILURES))


def _recordings(uri: str, objects: dict[str, bytes]) -> Iterator[tuple[dict[str, Any], bytes]]:
    """Every recording of an archive, with the columns that say where it is."""
    for name, content in sorted(objects.items()):
        where = f"{uri}{name}"
        key = where.partition("://")[2].partition("/")[2]
        if not name.endswith(".tar"):
            yield {"utterance_id": key, "uri": where, "member": None}, content
            continue
        with tarfile.open(fileobj=io.BytesIO(content)) as archive:
            for info in archive:
                row = {"utterance_id": f"{key}#{info.name}", "uri": where, "member": info.name}
                yield row, archive.extractfile(info).read()


def _embedded(data: bytes, backbone: Any, config: EmbedConfig) -> dict[str, Any]:
    recording = Recording(io.BytesIO(data), config.segment_seconds)
    embedding = join_segments(*embed_segments(backbone, list(recording.segments())))
    facts = {name: value for name, value in asdict(recording.facts).items() if name != "n_segments"}
    return facts | {"layer": config.layer, "embedding": embedding}


def _table(rows: list[dict[str, Any]], schema: pa.Schema) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=schema.remove(schema.get_field_index("run_id")))


def with_failure(archive: Archive, shard: int, number: int, n_bytes: int | None = None, **found: Any) -> Archive:
    """The archive where one recording is a failure: ``found`` are columns of its row. Told to ``lab.allow``, too."""
    mine = re.compile(rf"/{shard:04d}\.tar#{number:02d}\.")
    right = archive.golden
    (row,) = (row for row in right.embeddings.to_pylist() if mine.search(row["utterance_id"]))
    data = next(data for where, data in _recordings(archive.uri, archive.tars) if mine.search(where["utterance_id"]))
    where = {name: row[name] for name in ("utterance_id", "uri", "member")}
    failure = {"attempts": 1, "bytes": n_bytes or len(data), **where, **found}
    kept = right.embeddings.filter(pc.not_equal(right.embeddings["utterance_id"], row["utterance_id"]))
    return replace(archive, golden=Golden(kept, _table([*right.failures.to_pylist(), failure], FAILURES)))


def some_head() -> Head:
    """A head for the drills' embeddings. What it says is of no interest, only that it says it every time."""
    recipe = recipe_of(EmbedConfig(backbone="melstats"), None)
    rng = np.random.default_rng(11)
    return Head(
        mean=tuple(rng.normal(size=80).tolist()),
        scale=(2.0,) * 80,
        weights=tuple(rng.normal(size=80).tolist()),
        bias=0.1,
        calibrator="affine",
        calibration=(1.0, 0.0),
        score_bounds=(-700.0, 700.0),
        prior=0.5,
        max_entropy_bits=0.9,
        max_ood=1.0,
        ood_directions=(),
        ood_variances=(),
        ood_rest=1.0,
        ood_quantiles=(0.0, 10.0),
        min_seconds=0.1,
        silence_dbfs=-80.0,
        recipe=recipe.describe(),
        model="melstats",
        training={},
    )


# ---------------------------------------------------------------------------------------------------- the store


def file_system(environment: dict[str, str], *, retries: bool = True) -> Any:
    """The store of an environment as a file system that remembers nothing; one that asks once where told."""
    fs = fsspec.filesystem(
        "s3",
        key=environment["AWS_ACCESS_KEY_ID"],
        secret=environment["AWS_SECRET_ACCESS_KEY"],
        endpoint_url=environment["AWS_ENDPOINT_URL"],
        use_listings_cache=False,
        skip_instance_cache=True,
        config_kwargs={} if retries else {"retries": {"total_max_attempts": 1}},
    )
    if not retries:
        fs.retries = 1
    return fs


def key_of(uri: str) -> str:
    """A URI as the file system names it."""
    return uri.removeprefix("s3://")


# ---------------------------------------------------------------------------------------------------- processes


@dataclass(frozen=True)
class Fault:
    """A function that misbehaves inside a run's processes: see tests/drills/inject/sitecustomize.py."""

    target: str
    do: str
    value: Any = None
    utterance: tuple[int, int] | None = None
    calls: Sequence[int] | None = None


@dataclass(frozen=True)
class Process:
    """A process of a run."""

    pid: int
    parent: int
    title: str


def processes(session: int) -> list[Process]:
    """The processes of a session and all below them: a command's, also where a parent is gone or a session is new."""
    everybody, ours = {}, {session}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            state, parent, _, owner = (folder / "stat").read_text().rpartition(")")[2].split()[:4]
            if state != "Z":
                title = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
                everybody[int(folder.name)] = Process(int(folder.name), int(parent), title)
                ours.update([int(folder.name)] if int(owner) == session else [])
        except (OSError, ValueError):
            continue  # it ended between two looks
    grown = 0
    while grown != len(ours):
        grown = len(ours)
        ours.update(each.pid for each in everybody.values() if each.parent in ours)
    return [everybody[pid] for pid in sorted(ours & everybody.keys())]


class Run:
    """A command that works or has worked, in a session of its own, and its output."""

    def __init__(self, command: Sequence[str], environment: dict[str, str], folder: Path, ray: RayHead | None) -> None:
        folder.mkdir(parents=True)
        self.command, self._folder, self._ray = command, folder, ray
        self.code: int | None = None
        self.seconds = 0.0
        self.started = time.monotonic()
        with (folder / "out").open("wb") as out, (folder / "err").open("wb") as err:
            self._process = subprocess.Popen(
                command, env=environment, stdout=out, stderr=err, stdin=subprocess.DEVNULL, start_new_session=True
            )
        self.pid = self._process.pid

    def __str__(self) -> str:
        said = "\n".join(f"  {name}| {line}" for name in ("out", "err") for line in self._read(name)[-40:])
        return f"{' '.join(self.command)}\n  exit {self.code} after {self.seconds:.1f} s\n{said}"

    @property
    def stdout(self) -> str:
        return "\n".join(self._read("out"))

    @property
    def stderr(self) -> str:
        return "\n".join(self._read("err"))

    @property
    def cause(self) -> str:
        """The last line on stderr."""
        return (self._read("err") or [""])[-1]

    @property
    def working(self) -> bool:
        return self._process.poll() is None

    def wait(self, seconds: float = RUN_SECONDS) -> Run:
        """Wait for its end, and note its code and time; fail where it does not end."""
        try:
            self.code = self._process.wait(seconds * SLACK)
        except subprocess.TimeoutExpired:
            self.end()
            pytest.fail(f"still working after {seconds:.0f} s\n{self}")
        self.seconds = time.monotonic() - self.started
        return self

    def processes(self, title: str = "") -> list[int]:
        """Pids below the driver, or of the Ray that it runs on, whose title or command matches; `ray::` are workers."""
        ours = processes(self.pid) + (processes(self._ray.pid) if self._ray else [])
        return [each.pid for each in ours if re.search(title, each.title) and each.pid != self.pid]

    def resident_mb(self) -> dict[str, float]:
        """Resident memory of the driver and of each process below it now, in MB, by pid and title."""
        found = {}
        for each in processes(self.pid) + (processes(self._ray.pid) if self._ray else []):
            with contextlib.suppress(OSError, IndexError):  # it ended between two looks
                pages = int(Path(f"/proc/{each.pid}/statm").read_text().split()[1])
                found[f"{each.pid} {each.title}"] = pages * os.sysconf("SC_PAGE_SIZE") / 1e6
        return found

    def kill(self, title: str | None = None, number: int = signal.SIGKILL, which: int = 0) -> int:
        """Send a signal to the driver, or to one of those whose title matches; returns its pid."""
        pid = self.pid if title is None else self.processes(title)[which]
        os.kill(pid, number)
        return pid

    def end(self) -> None:
        """Leave nothing of it behind: only processes of its own session are ended."""
        for _ in range(50):
            left = processes(self.pid)
            for each in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(each.pid, signal.SIGKILL)
            if self._process.poll() is not None and not left:
                break
            time.sleep(0.1)
        if self.code is None:
            self.code = self._process.wait(10)
            self.seconds = time.monotonic() - self.started

    def assert_ended(self, code: int, *words: str) -> None:
        """O5: its exit code, and what the last line on stderr must say."""
        assert self.code == code, f"expected exit code {code}\n{self}"
        missing = [word for word in words if not re.search(word, self.cause)]
        assert not missing, f"the last line on stderr does not say {missing}\n{self}"

    def _read(self, name: str) -> list[str]:
        return (self._folder / name).read_text(errors="replace").splitlines()


class RayHead:
    """A Ray that stays: `ray start --head` on loopback. Its workers have the environment that is given here."""

    def __init__(self, environment: dict[str, str], folder: Path, cpus: int = 2) -> None:
        import socket

        folder.mkdir(parents=True)
        with socket.socket() as gcs:
            gcs.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{gcs.getsockname()[1]}"
        command = [str(Path(sys.executable).with_name("ray")), "start", "--head", "--block", "--disable-usage-stats"]
        command += ["--node-ip-address=127.0.0.1", f"--port={self.address.partition(':')[2]}", f"--num-cpus={cpus}"]
        # 0 is any port: with its own, 52365, a second Ray on this machine would die some seconds later
        command += ["--include-dashboard=false", "--dashboard-agent-listen-port=0"]
        command += [f"--object-store-memory={128 << 20}"]
        mine = environment | ON_LOOPBACK | {"RAY_TMPDIR": "/tmp"}  # socket paths are short
        log = folder / "log"
        with log.open("wb") as file:
            self._process = subprocess.Popen(command, env=mine, stdout=file, stderr=file, start_new_session=True)
        self.pid = self._process.pid
        deadline = time.monotonic() + 60.0
        while "Ray runtime started" not in log.read_text():
            if time.monotonic() > deadline or self._process.poll() is not None:
                self.end()
                raise RuntimeError(f"Ray did not start: {log.read_text()[-2000:]}")
            time.sleep(0.2)

    @property
    def working(self) -> bool:
        """Whether it takes runs: nobody shot at what it is made of."""
        titles = " ".join(each.title for each in processes(self.pid))
        return self._process.poll() is None and "raylet" in titles and "gcs_server" in titles

    def end(self) -> None:
        """Leave nothing of it behind; it keeps nothing, and a graceful end takes ten seconds."""
        while left := processes(self.pid):
            for each in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(each.pid, signal.SIGKILL)
            self._process.poll()
            time.sleep(0.1)
        self._process.wait(10)


# ---------------------------------------------------------------------------------------------------- the reader


class Reader:
    """O4: somebody who looks at the glob all the time, past the proxy, and must see whole shards only, each once.

    ``right`` is by URI: the lists of rows that a shard may have, one for each state of its source. A shard's rows
    must be one of them, bit for bit.
    """

    def __init__(self, store: Any, outputs: list[str], right: dict[str, list[list[dict[str, Any]]]]) -> None:
        self._store, self._outputs, self._right = store, outputs, right
        self._seen: dict[tuple[str, str], list[dict[str, Any]]] = {}
        self._ended = threading.Event()
        self.wrong: list[str] = []
        self.looks = 0
        self._thread = threading.Thread(target=self._watch, daemon=True, name="reader")

    def __enter__(self) -> Reader:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        """Look no more: for drills that go on to spoil what is stored."""
        self._ended.set()
        self._thread.join(30)

    def _watch(self) -> None:
        while not self._ended.wait(POLL_SECONDS):
            try:
                self.look()
            except Exception as error:
                self.wrong.append(f"a reader ran into {type(error).__name__}: {error}")
                return

    def look(self) -> None:
        """Look once."""
        self.looks += 1
        for output in list(self._outputs):
            self._look_at(f"{key_of(output)}/embeddings/**/*.parquet")

    def _look_at(self, glob: str) -> None:
        shards: dict[str, str] = {}
        for path, info in self._store.glob(glob, detail=True).items():
            tag = (path, info["ETag"])
            if tag not in self._seen:
                try:
                    content = self._store.cat_file(path)
                except FileNotFoundError:
                    continue  # collected since
                self._seen[tag] = rows_of(pq.read_table(io.BytesIO(content), partitioning=None))
                self._check(path, self._seen[tag])
            for uri in {row["uri"] for row in self._seen[tag]}:
                if uri in shards:
                    self.wrong.append(f"{uri} stands twice: in {shards[uri]} and in {path}")
                shards[uri] = path

    def _check(self, path: str, rows: list[dict[str, Any]]) -> None:
        for uri in sorted({row["uri"] for row in rows}):
            mine = [row for row in rows if row["uri"] == uri]
            if mine not in self._right.get(uri, []):
                self.wrong.append(f"{path}: {len(mine)} rows of {uri}, which are not those of any state of it")


def rows_of(table: pa.Table) -> list[dict[str, Any]]:
    """Rows without what differs from run to run; floats as they are, bit for bit."""
    return [_exact(row) for row in table.drop_columns(["run_id"] if "run_id" in table.column_names else []).to_pylist()]


def _exact(row: dict[str, Any]) -> dict[str, Any]:
    """Floats as text with all of their bits, so that equal is equal and NaN is NaN."""
    return {
        name: [each.hex() for each in value]
        if name == "embedding" and value is not None
        else value.hex()
        if isinstance(value, float)
        else value
        for name, value in row.items()
    }


# ---------------------------------------------------------------------------------------------------- the lab


@dataclass(repr=False)
class Lab:
    """The place of one drill."""

    store: Any
    proxy: FaultProxy
    environment: dict[str, str]
    folder: Path
    archive: Archive
    output: str
    rays: Callable[[], RayHead]
    outputs: list[str] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)
    row: dict[str, Any] = field(default_factory=dict)
    _right: dict[str, list[list[dict[str, Any]]]] = field(default_factory=dict)

    # runs

    def start(
        self,
        *arguments: object,
        inject: Iterable[Fault] = (),
        on: RayHead | None = None,
        environment: dict[str, str] | None = None,
    ) -> Run:
        """Start `bonafide VERB …`; ``on`` a Ray that stays, or with one of its own."""
        number = f"{len(self.runs):03d}"
        mine = self.environment | (environment or {})
        if on is not None:
            mine |= ON_LOOPBACK | {"RAY_ADDRESS": on.address}
        if faults := list(inject):
            assert on is None, "workers of a Ray that stays do not read the faults of a run"
            mine |= self.injecting(faults)
        command = [sys.executable, "-m", "jobs", *map(str, arguments)]
        self.runs.append(Run(command, mine, self.folder / number, on))
        return self.runs[-1]

    def injecting(self, faults: Iterable[Fault]) -> dict[str, str]:
        """The environment of processes in which functions misbehave: of a run, or of a Ray that a drill starts."""
        place = self.folder / f"{len(self.runs):03d}-faults.json"
        place.write_text(json.dumps([asdict(fault) for fault in faults]))
        return {"PYTHONPATH": str(HERE / "inject"), "DRILL_INJECT": str(place)}

    def run(self, *arguments: object, code: int | None = 0, limit: float = RUN_SECONDS, **how: Any) -> Run:
        """Run `bonafide VERB …` to its end; its exit code must be ``code``, unless that is None."""
        run = self.start(*arguments, **how).wait(limit)
        assert code in (None, run.code), f"expected exit code {code}\n{run}"
        return run

    def embedding(self, *flags: object, archive: Archive | None = None, output: str | None = None) -> list[object]:
        """The command line that embeds the archive; flags given here come last, and count."""
        where = (archive or self.archive).uri
        command = ["embed", "--backbone", "melstats", "--input", where, "--output", output or self.output]
        return [*command, "--run-date", RUN_DATE, "--max-failures", 1, *flags]

    def start_embed(self, *flags: object, archive: Archive | None = None, output: str | None = None, **how: Any) -> Run:
        """Start embedding the archive."""
        return self.start(*self.embedding(*flags, archive=archive, output=output), **how)

    def embed(self, *flags: object, archive: Archive | None = None, output: str | None = None, **how: Any) -> Run:
        """Embed the archive, to the end."""
        return self.run(*self.embedding(*flags, archive=archive, output=output), **how)

    @cached_property
    def head(self) -> Path:
        """The file of :func:`some_head`."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / "head.json"
        path.write_text(some_head().to_json())
        return path

    def nightly(self, *flags: object, archive: Archive | None = None, **how: Any) -> Run:
        """Embed and score the archive with :func:`some_head`, to the end."""
        where = (archive or self.archive).uri
        command = ["nightly", "--head", self.head, "--input", where, "--output", self.output]
        return self.run(*command, "--run-date", RUN_DATE, "--max-failures", 1, *flags, **how)

    def ray(self) -> RayHead:
        """The Ray that stays."""
        return self.rays()

    def wait_for(self, what: Callable[[], Found], seconds: float = 60.0, *, run: Run | None = None) -> Found:
        """Ask until the answer is true, and return it; fail after so long, or where ``run`` ended meanwhile."""
        deadline = time.monotonic() + seconds * SLACK
        while not (found := what()):
            if run is not None and not run.working:
                pytest.fail(f"the run ended before that\n{run.wait()}")
            assert time.monotonic() < deadline, f"not so after {seconds:.0f} s{f'{chr(10)}{run}' if run else ''}"
            time.sleep(0.05)
        return found

    # what is stored

    def new_output(self) -> str:
        """Go on with another fresh output."""
        self.output = f"s3://{BUCKET}/tables/{uuid.uuid4().hex}"
        self.outputs.append(self.output)
        return self.output

    def new_archive(self, tars: dict[str, bytes]) -> Archive:
        """Put up another archive and go on with it."""
        self.archive = put_archive(self.store, f"s3://{BUCKET}/archives/{uuid.uuid4().hex[:8]}/", tars)
        self.allow(self.archive)
        return self.archive

    def replace(self, name: str, content: bytes, archive: Archive | None = None) -> Archive:
        """Write another tar under the name of one that is there; returns the archive as it is from then on."""
        before = archive or self.archive
        assert before.uri.partition("/archives/")[2], "the session's archive is shared; ask for new_archive"
        tars = before.tars | {name: content}
        now = Archive(before.uri, tars, golden(before.uri, tars))
        self.allow(now)
        self.store.pipe_file(key_of(before.at(name)), content)
        return now

    def allow(self, archive: Archive) -> None:
        """Let readers see the rows of this state of an archive."""
        exact = [_exact(row) for row in archive.golden.embeddings.to_pylist()]
        for uri in {row["uri"] for row in exact}:
            rows = [row for row in exact if row["uri"] == uri]
            if rows not in self._right.setdefault(uri, []):
                self._right[uri].append(rows)

    def names(self, below: str = "") -> list[str]:
        """Names of all objects under the output, without its prefix."""
        root = key_of(self.output)
        return sorted(path.removeprefix(f"{root}/") for path in self.store.find(f"{root}/{below}".rstrip("/")))

    def read(self, table: str) -> pa.Table:
        """A table as a user's glob reads it: all of its objects, whoever wrote them."""
        sql = duckdb.connect()
        sql.register_filesystem(self.store)
        glob = f"s3://{key_of(self.output)}/{table}/**/*.parquet"
        if not any(name.endswith(".parquet") for name in self.names(table)):
            return pa.table({})
        found = sql.sql(f"SELECT * FROM read_parquet('{glob}', hive_partitioning = false) ORDER BY utterance_id")
        return found.to_arrow_table()

    def markers(self) -> dict[str, dict[str, Any]]:
        """Markers by name, of all ledgers."""
        root = key_of(self.output)
        return {name: json.loads(self.store.cat_file(f"{root}/{name}")) for name in self.names("_commits")}

    # oracles

    def assert_same_as_undisturbed(
        self, archive: Archive | None = None, *, but: Iterable[str] = (), scored: bool = False
    ) -> None:
        """O1, O2, O3 and O8: the same ids, each once, the same bits; and no failure that is not the recording's own.

        ``but`` names tars whose rows are not there (yet); ``scored`` looks at the scores of :attr:`head`, too.
        """
        right = (archive or self.archive).golden
        left_out = [(archive or self.archive).at(name) for name in but]
        tables = {"failures": right.failures, "embeddings": right.embeddings}
        if scored:
            tables["scores"] = right.scores(some_head())
        for table, rows in tables.items():
            expected = [_exact(row) for row in rows.to_pylist() if row["uri"] not in left_out]
            assert_same_rows(table, rows_of(self.read(table)), sorted(expected, key=lambda row: row["utterance_id"]))

    def assert_clean(self) -> None:
        """O6: after two collections without grace, only what markers name is left, and no upload is open."""
        for _ in range(2):
            self.run("gc", self.output, "--grace-hours", 0)
        named = {place for marker in self.markers().values() for place in marker["objects"].values()}
        left = [name for name in self.names() if name.endswith((".parquet", ".part")) and name not in named]
        assert not left, f"left behind: {left}"
        assert not self.open_uploads()

    def open_uploads(self) -> list[str]:
        """Keys of multipart uploads under the output that nobody completed."""
        bucket, _, prefix = key_of(self.output).partition("/")
        found = self.store.call_s3("list_multipart_uploads", Bucket=bucket, Prefix=prefix)
        return [each["Key"] for each in found.get("Uploads", [])]

    @cached_property
    def reader(self) -> Reader:
        """O4, see :class:`Reader`; it works from the first run's start to the drill's end."""
        return Reader(self.store, self.outputs, self._right)

    # the row of the table

    def held(self, what: str) -> None:
        """Add to the row what was measured."""
        self.row["measured"] = "; ".join(filter(None, (self.row.get("measured"), what)))

    def recovered(self, seconds: float) -> None:
        """Say how long it took from the fault until work went on."""
        self.row["recover_seconds"] = round(max(seconds, self.row.get("recover_seconds", 0.0)), 2)

    def note_recovery(self) -> None:
        """From the last fault of the proxy to the end of the next marker's PUT, unless the drill said otherwise."""
        struck = [request.started for request in self.proxy.log if request.fault]
        if "recover_seconds" not in self.row and struck:
            markers = [each.started for each in self.proxy.requests("PUT", "/_commits/") if each.applied == 200]
            later = [each for each in markers if each >= struck[-1]]
            if later:
                self.recovered(later[0] - struck[-1])


@dataclass
class Quiet:
    """What an undisturbed run took."""

    run: Run
    requests: list[Request]
    names: list[str]


def assert_same_rows(table: str, found: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    """The same ids, each once, and the same bits, told so that one sees what is wrong."""
    ids, right = ([row["utterance_id"] for row in rows] for rows in (found, expected))
    twice = sorted({each for each in ids if ids.count(each) > 1})
    assert not twice, f"{table}: stand twice: {twice}"
    lost, added = sorted(set(right) - set(ids)), sorted(set(ids) - set(right))
    assert lost + added == [], f"{table}: lost {lost}; not in the undisturbed table {added}"
    differ = [(a, b) for a, b in zip(found, expected, strict=True) if a != b]
    assert not differ, f"{table}: {len(differ)} rows differ, first {differ[0]}"


def put_archive(store: Any, uri: str, tars: dict[str, bytes]) -> Archive:
    """Put tars, or loose files, under a prefix."""
    store.pipe({key_of(f"{uri}{name}"): content for name, content in tars.items()})
    return Archive(uri, tars, golden(uri, tars))
