"""The lab of a drill: real commands in processes of their own, a real store behind the fault proxy, and oracles.

How to write a drill:

```python
@drill("D22", injects="the reply to the first marker PUT is lost", holds="one marker a shard", limit=60)
def test_a_lost_reply_is_looked_up(lab: Lab) -> None:
    lab.proxy.when("PUT", "/_commits/").nth(1).drop_reply()

    lab.embed()                                   # run to its end; exit code 0 unless `code=` says otherwise

    lab.assert_same_as_undisturbed()              # O1, O2, O3, O8; O4 is checked in the background
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

import json
import sys
import time
import uuid
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import duckdb
import pyarrow as pa
import pytest

from jobs.tables.ledger import EMPTY
from tests.drills.golden import Archive, golden, put_archive
from tests.drills.reader import Reader, assert_same_rows, rows_of
from tests.drills.runs import RUN_SECONDS, SLACK, Fault, Run
from tests.drills.store import BUCKET, key_of
from tests.support.heads import some_head
from tests.support.proxy import FaultProxy, Request
from tests.support.ray_head import ON_LOOPBACK, RayHead

RUN_DATE = "2026-01-01"
HERE = Path(__file__).parent
Found = TypeVar("Found")
ON_RAY = ("--runner", "ray")  # the archive is small enough for a run without


@dataclass(repr=False)
class Lab:
    """All that one drill works with."""

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
        """Start `bonafide VERB …`, ``on`` a long-lived Ray or with one of its own."""
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
        """Return the environment that injects faults into the processes of a run, or of a Ray that a drill starts."""
        place = self.folder / f"{len(self.runs):03d}-faults.json"
        place.write_text(json.dumps([asdict(fault) for fault in faults]))
        return {"PYTHONPATH": str(HERE / "inject"), "DRILL_INJECT": str(place)}

    def run(self, *arguments: object, code: int | None = 0, limit: float = RUN_SECONDS, **how: Any) -> Run:
        """Run `bonafide VERB …` to its end; its exit code must be ``code``, unless that is None."""
        run = self.start(*arguments, **how).wait(limit)
        assert code in (None, run.code), f"expected exit code {code}\n{run}"
        return run

    def embedding(self, *flags: object, archive: Archive | None = None, output: str | None = None) -> list[object]:
        """Return the command line that embeds the archive; the given flags come last, so they override the others."""
        where = (archive or self.archive).uri
        command = ["embed", "--backbone", "melstats", "--input", where, "--output", output or self.output]
        return [*command, *ON_RAY, "--run-date", RUN_DATE, "--max-failures", 1, *flags]

    def start_embed(self, *flags: object, archive: Archive | None = None, output: str | None = None, **how: Any) -> Run:
        """Start embedding the archive."""
        return self.start(*self.embedding(*flags, archive=archive, output=output), **how)

    def embed(self, *flags: object, archive: Archive | None = None, output: str | None = None, **how: Any) -> Run:
        """Embed the archive, to the end."""
        return self.run(*self.embedding(*flags, archive=archive, output=output), **how)

    @cached_property
    def head(self) -> Path:
        """The path of a file with :func:`some_head`."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / "head.json"
        path.write_text(some_head().to_json())
        return path

    def nightly(self, *flags: object, archive: Archive | None = None, **how: Any) -> Run:
        """Embed and score the archive with :func:`some_head`, to the end."""
        where = (archive or self.archive).uri
        command = ["nightly", "--head", self.head, "--input", where, "--output", self.output]
        return self.run(*command, *ON_RAY, "--run-date", RUN_DATE, "--max-failures", 1, *flags, **how)

    def ray(self) -> RayHead:
        """Return the long-lived Ray."""
        return self.rays()

    def wait_for(self, what: Callable[[], Found], seconds: float = 60.0, *, run: Run | None = None) -> Found:
        """Call ``what`` until its result is true, and return that; fail at the time limit, or if ``run`` ends."""
        deadline = time.monotonic() + seconds * SLACK
        while not (found := what()):
            if run is not None and not run.working:
                pytest.fail(f"the run ended before that\n{run.wait()}")
            assert time.monotonic() < deadline, f"not so after {seconds:.0f} s{f'{chr(10)}{run}' if run else ''}"
            time.sleep(0.05)
        return found

    # stored objects

    def new_output(self) -> str:
        """Use a fresh output from now on."""
        self.output = f"s3://{BUCKET}/tables/{uuid.uuid4().hex}"
        self.outputs.append(self.output)
        return self.output

    def new_archive(self, tars: dict[str, bytes]) -> Archive:
        """Store another archive, and use it from now on."""
        self.archive = put_archive(self.store, f"s3://{BUCKET}/archives/{uuid.uuid4().hex[:8]}/", tars)
        self.allow(self.archive)
        return self.archive

    def replace(self, name: str, content: bytes, archive: Archive | None = None) -> Archive:
        """Replace a tar of an archive; return the archive as it is afterwards."""
        before = archive or self.archive
        assert before.uri.partition("/archives/")[2], "the session's archive is shared; ask for new_archive"
        tars = before.tars | {name: content}
        now = Archive(before.uri, tars, golden(before.uri, tars))
        self.allow(now)
        self.store.pipe_file(key_of(before.at(name)), content)
        return now

    def allow(self, archive: Archive) -> None:
        """Allow readers to see the rows of this state of an archive."""
        every = rows_of(archive.golden.embeddings)
        for uri in {row["uri"] for row in every}:
            rows = [row for row in every if row["uri"] == uri]
            if rows not in self._right.setdefault(uri, []):
                self._right[uri].append(rows)

    def names(self, below: str = "") -> list[str]:
        """Return the names of all objects under the output, without its prefix."""
        root = key_of(self.output)
        return sorted(path.removeprefix(f"{root}/") for path in self.store.find(f"{root}/{below}".rstrip("/")))

    def read(self, table: str) -> pa.Table:
        """Read a table with a glob over all of its objects, as users do."""
        sql = duckdb.connect()
        sql.register_filesystem(self.store)
        glob = f"s3://{key_of(self.output)}/{table}/**/*.parquet"
        if not any(name.endswith(".parquet") for name in self.names(table)):
            return pa.table({})
        found = sql.sql(f"SELECT * FROM read_parquet('{glob}', hive_partitioning = false) ORDER BY utterance_id")
        return found.to_arrow_table()

    def markers(self) -> dict[str, dict[str, Any]]:
        """Return the markers of all ledgers, by name."""
        root = key_of(self.output)
        return {name: json.loads(self.store.cat_file(f"{root}/{name}")) for name in self.names("_commits")}

    # oracles

    def assert_same_as_undisturbed(
        self, archive: Archive | None = None, *, but: Iterable[str] = (), scored: bool = False
    ) -> None:
        """O1, O2, O3 and O8: check for the same ids, each once, the same bits, and no other failures.

        ``but`` names tars whose rows are not there (yet); ``scored`` looks at the scores of :attr:`head`, too.
        """
        right = (archive or self.archive).golden
        left_out = [(archive or self.archive).at(name) for name in but]
        tables = {"failures": right.failures, "embeddings": right.embeddings}
        if scored:
            tables["scores"] = right.scores(some_head())
        for table, rows in tables.items():
            expected = [row for row in rows_of(rows) if row["uri"] not in left_out]
            assert_same_rows(table, rows_of(self.read(table)), sorted(expected, key=lambda row: row["utterance_id"]))

    def assert_clean(self) -> None:
        """O6: run gc twice without grace; check that only objects named by markers are left, and no upload is open."""
        for _ in range(2):
            self.run("gc", self.output, "--grace-hours", 0)
        named = {place for marker in self.markers().values() for place in marker["objects"].values()}
        named |= {name for name in self.names() if name.endswith(f"/{EMPTY}")}
        left = [name for name in self.names() if name.endswith((".parquet", ".part")) and name not in named]
        assert not left, f"left behind: {left}"
        assert not self.open_uploads()

    def open_uploads(self) -> list[str]:
        """Return the keys of incomplete multipart uploads under the output."""
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
        """Set the time from the fault until work went on."""
        self.row["recover_seconds"] = round(max(seconds, self.row.get("recover_seconds", 0.0)), 2)

    def note_recovery(self) -> None:
        """Set the time from the proxy's last fault to the next marker's PUT, unless the drill has set one."""
        struck = [request.started for request in self.proxy.log if request.fault]
        if "recover_seconds" not in self.row and struck:
            markers = [each.started for each in self.proxy.requests("PUT", "/_commits/") if each.applied == 200]
            later = [each for each in markers if each >= struck[-1]]
            if later:
                self.recovered(later[0] - struck[-1])


@dataclass
class Quiet:
    """An undisturbed run, its requests and its objects."""

    run: Run
    requests: list[Request]
    names: list[str]
