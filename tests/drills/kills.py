"""Random kills over one run on corpora: `python -m tests.drills.kills --kills 50 --seed 7`.

The corpora are packed into small tars in a store behind the proxy. An encoder, an assembler, the driver, the raylet or
the store is killed at random moments, drawn over all recordings of the run; the same command is started again whenever
it ended, and the store whenever it was killed, until the run is done. Then its rows are compared with those of an
undisturbed run, and the audio given to the encoders is counted: each recording's samples are noted on entry. That of
the canaries, which each encoder embeds as it starts, is counted apart.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import io
import json
import os
import random
import sys
import tarfile
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import duckdb

from tests.drills.lab import HERE
from tests.drills.nodes import ENCODER
from tests.drills.runs import Fault, Run
from tests.drills.store import BUCKET, file_system, key_of
from tests.drills.work import ASSEMBLER, EMBED, canaries
from tests.support import ROOT
from tests.support.proxy import FaultProxy
from tests.support.seaweedfs import s3_server

CORPORA = ROOT.parent / "shared" / "corpus"
TARGETS = {
    "encoder": ENCODER,
    "assembler": ASSEMBLER,
    "driver": None,
    "raylet": r"raylet/raylet",
    "store": None,
}
SAMPLE_RATE = 16_000
RUN_SECONDS = 3_600.0  # that a run may take


class Store:
    """A store that can be killed, and starts again with its data on other ports, behind the same proxy."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._server = contextlib.ExitStack()
        self.environment = self._server.enter_context(s3_server(folder))

    def kill(self, proxy: FaultProxy) -> None:
        """Kill the store, and start it again."""
        self._server.close()  # this kills it
        self._server = contextlib.ExitStack()
        self.environment = self._server.enter_context(s3_server(self._folder))
        proxy.turn_to(self.environment["AWS_ENDPOINT_URL"])

    def end(self) -> None:
        self._server.close()


def main() -> int:
    """Run, kill and compare; return 0 if nothing was lost, stored twice or changed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument(
        "--corpora", type=Path, nargs="+", default=[CORPORA / "dev"], help="folders with metadata.csv [default: dev]"
    )
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--recordings", type=int, default=1, help="in each tar [default: %(default)s]")
    parser.add_argument("--seconds", type=float, default=0.2, help="an encoder waits for each [default: %(default)s]")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="kills-") as place, contextlib.ExitStack() as stack:
        folder = Path(place)
        store = Store(folder / "store")
        stack.callback(store.end)
        proxy = stack.enter_context(FaultProxy(store.environment["AWS_ENDPOINT_URL"]))
        file_system(store.environment).mkdir(BUCKET)
        n_recordings = pack(given.corpora, file_system(store.environment), given.recordings)
        mine = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "AWS_", "DRILL_"))}
        environment = mine | store.environment | {"AWS_ENDPOINT_URL": proxy.url, "HOME": str(folder)}
        quiet = noting(environment, folder, "quiet", 0.0)
        finish(Run(command("quiet"), quiet, folder / "quiet", None).wait(RUN_SECONDS))
        shot = noting(environment, folder, "shot", given.seconds)
        begun = time.monotonic()
        kills, codes = shoot(store, proxy, shot, folder, schedule(given.kills, n_recordings, random.Random(given.seed)))
        seconds = time.monotonic() - begun
        found = compare(file_system(store.environment))
        shot_work, quiet_work = work(folder / "shot.json.1.noted"), work(folder / "quiet.json.0.noted")
        verify = [sys.executable, "-m", "jobs", "verify", output("shot")]
        finish(Run(verify, environment, folder / "verify", None).wait(RUN_SECONDS))
    print(f"seed {given.seed}: {sum(kills.values())} kills ({told(kills)}) over {n_recordings} recordings in tars of")
    print(f"{given.recordings}, {seconds:.0f} s; {len(codes)} runs ended with {told(Counter(map(str, codes)))}")
    print(
        f"rows lost {found['lost']}, twice {found['twice']}, changed {found['changed']}; digest equal: {found['equal']}"
    )
    twice, more_canaries = shot_work[0] / quiet_work[0] - 1.0, (shot_work[1] - quiet_work[1]) / quiet_work[0]
    print(f"audio encoded twice: {twice:.1%}; canaries of encoders that started again: {more_canaries:.1%} beside it")
    return 0 if found == {"lost": 0, "twice": 0, "changed": 0, "equal": True} else 1


def pack(corpora: list[Path], store: Any, n_each: int) -> int:
    """Store the corpora as tars of ``n_each`` recordings; return the number of recordings."""
    files = [(corpus, name) for corpus in corpora for name in names_of(corpus)]
    for number, start in enumerate(range(0, len(files), n_each)):
        content = io.BytesIO()
        with tarfile.open(fileobj=content, mode="w") as tar:
            for corpus, name in files[start : start + n_each]:
                tar.add(corpus / name, arcname=f"{corpus.name}/{name}")
        store.pipe_file(f"{BUCKET}/corpora/{number:05d}.tar", content.getvalue())
    return len(files)


def names_of(corpus: Path) -> list[str]:
    with (corpus / "metadata.csv").open(newline="") as file:
        return [row["file"] for row in csv.DictReader(file)]


def output(name: str) -> str:
    return f"s3://{BUCKET}/tables/{name}"


def command(name: str) -> list[str]:
    verb = ["embed", "--backbone", "melstats", "--input", f"s3://{BUCKET}/corpora/", "--output", output(name)]
    return [sys.executable, "-m", "jobs", *verb, "--runner", "ray", "--run-date", "2026-01-01", "--stall-seconds", "60"]


def noting(environment: dict[str, str], folder: Path, name: str, seconds: float) -> dict[str, str]:
    """Return the environment of a run whose encoders are slow and note their recordings."""
    # the last rule comes first: a recording is noted as it begins
    faults = [*([Fault(EMBED, "sleep", seconds)] if seconds else []), Fault(EMBED, "note")]
    rules = folder / f"{name}.json"
    rules.write_text(json.dumps([vars(fault) for fault in faults]))
    return environment | {"PYTHONPATH": str(HERE / "inject"), "DRILL_INJECT": str(rules)}


class Kill(NamedTuple):
    """A kill: of one target, some seconds after the encoders have got so many recordings."""

    target: str
    n_recordings: int
    seconds: float


def schedule(n_kills: int, n_recordings: int, rng: random.Random) -> list[Kill]:
    """Return kills of every kind equally often, in random order, at random moments of the run's first nine tenths."""
    targets = [list(TARGETS)[number % len(TARGETS)] for number in range(n_kills)]
    rng.shuffle(targets)
    moments = sorted(rng.sample(range(1, n_recordings * 9 // 10), n_kills))
    return [Kill(*each, rng.uniform(0.0, 1.0)) for each in zip(targets, moments, strict=True)]


def shoot(
    store: Store, proxy: FaultProxy, environment: dict[str, str], folder: Path, kills: list[Kill]
) -> tuple[Counter[str], list[int | None]]:
    """Kill as scheduled, and let the run end; return the kills, and the end of each start of the run."""
    done: Counter[str] = Counter()
    codes: list[int | None] = []
    noted = folder / "shot.json.1.noted"
    run = _started(environment, folder, codes)
    before = 0
    while done.total() < len(kills):
        kill = kills[done.total()]
        # each strikes a run that has got on since the one before
        while n_recordings_in(noted) < max(kill.n_recordings, before + 1):
            if not run.working:
                codes.append(run.wait().code)
                if codes[-1] == 0:
                    raise SystemExit(f"the run was done after {done.total()} kills; give it more to do")
                run.end()
                run = _started(environment, folder, codes)
            time.sleep(0.05)
        time.sleep(kill.seconds)
        before = n_recordings_in(noted)
        try:
            if kill.target == "store":
                store.kill(proxy)
            else:
                run.kill(TARGETS[kill.target])
        except (IndexError, ProcessLookupError):  # the run is still ending from the kill before
            continue
        done[kill.target] += 1
        print(f"kill {done.total()}: {kill.target}, {before} recordings encoded", flush=True)
    while True:
        codes.append(run.wait(RUN_SECONDS).code)
        if codes[-1] == 0:
            return done, codes
        run.end()
        run = _started(environment, folder, codes)


def _started(environment: dict[str, str], folder: Path, codes: list[int | None]) -> Run:
    return Run(command("shot"), environment, folder / f"shot-{len(codes)}", None)


def n_recordings_in(noted: Path) -> int:
    """Return how often a recording was passed to an encoder."""
    return len(passed(noted)[0]) if noted.exists() else 0


def compare(store: Any) -> dict[str, Any]:
    """Compare the rows of the killed run with those of the undisturbed one."""
    sql = duckdb.connect()
    sql.register_filesystem(store)
    for name in ("quiet", "shot"):
        glob = f"s3://{key_of(output(name))}/embeddings/**/*.parquet"
        sql.sql(f"CREATE TABLE {name} AS SELECT * FROM read_parquet('{glob}', hive_partitioning = false)")
    one, facts = "SELECT count(*) FROM", "* EXCLUDE (run_id, first_run_id, first_seen, changed_at, removed_at)"
    counts = {
        "lost": f"{one} quiet ANTI JOIN shot USING (utterance_id)",
        "twice": f"{one} (SELECT utterance_id FROM shot GROUP BY ALL HAVING count(*) > 1)",
        "changed": f"{one} (SELECT {facts} FROM shot EXCEPT SELECT {facts} FROM quiet)",
    }
    found: dict[str, Any] = {name: sql.sql(query).fetchall()[0][0] for name, query in counts.items()}
    return found | {"equal": _digest(store, "quiet") == _digest(store, "shot")}


def _digest(store: Any, name: str) -> str:
    (path,) = store.glob(f"{key_of(output(name))}/runs/*.json")
    return str(json.loads(store.cat_file(path))["digest"])


def work(noted: Path) -> tuple[float, float]:
    """Return the seconds of audio that were passed to encoders: of recordings, and of canaries."""
    recordings, of_canaries = passed(noted)
    return sum(recordings) / SAMPLE_RATE, sum(of_canaries) / SAMPLE_RATE


def passed(noted: Path) -> tuple[list[int], list[int]]:
    """Return the samples of each recording that was passed to an encoder, and of each canary."""
    lines = [line.split() for line in noted.read_text().splitlines()]
    of_canaries = [digest in canaries() for _, _, _, digest in lines]
    lengths = [int(n_samples) for _, _, n_samples, _ in lines]
    return (
        [length for length, is_canary in zip(lengths, of_canaries, strict=True) if not is_canary],
        [length for length, is_canary in zip(lengths, of_canaries, strict=True) if is_canary],
    )


def finish(run: Run) -> None:
    """Exit if an undisturbed run failed."""
    if run.code != 0:
        raise SystemExit(str(run))


def told(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))


if __name__ == "__main__":
    sys.exit(main())
