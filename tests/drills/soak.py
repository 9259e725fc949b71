"""D55: random faults, one round after the other, from a seed that is printed.

A round embeds and scores a small archive into a fresh output while one to four faults strike, at random, together;
whatever the run ends with, the same command is started again until it ends with 0. Then every oracle is asked. Round
n of a seed always draws the same archive and faults (`--rounds n:n+1` repeats one); at which moment processes get to
run is not in our hands.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.drills.archive import members, seeded_tars, tar
from tests.drills.golden import put_archive
from tests.drills.lab import Lab
from tests.drills.store import BUCKET, file_system
from tests.support.proxy import FaultProxy, Request
from tests.support.ray_head import RayHead
from tests.support.seaweedfs import s3_server

PUTS = (
    "/_plans/",
    "/_commits/",
    r"/embeddings/.*\.parquet",
    r"/failures/.*\.parquet",
    r"/scores/.*\.parquet",
    "/runs/",
)
ALLOWED = (0, 69, 75, -signal.SIGKILL)  # the exit codes that a run may have under faults
TRIES = 8
PATIENCE = 20  # seconds, --store-patience


def main() -> int:
    """Play rounds; return 0 if every round passed."""
    parser = argparse.ArgumentParser(description="Random faults from a seed, until the time is over.")
    parser.add_argument("--seconds", type=float, default=1800.0, help="how long [default: %(default)s]")
    parser.add_argument("--seed", type=int, help="[default: drawn]")
    parser.add_argument("--rounds", help="FIRST:END instead of a time, as in 7:8")
    given = parser.parse_args()
    seed = given.seed if given.seed is not None else random.SystemRandom().randrange(10**6)
    first, end = map(int, given.rounds.split(":")) if given.rounds else (0, sys.maxsize)
    print(f"seed {seed}", flush=True)
    deadline = time.monotonic() + (sys.maxsize if given.rounds else given.seconds)
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="soak-")))
        direct = stack.enter_context(s3_server(folder / "store"))
        file_system(direct).mkdir(BUCKET)
        proxy = stack.enter_context(FaultProxy(direct["AWS_ENDPOINT_URL"]))
        mine = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "AWS_", "DRILL_"))}
        environment = mine | direct | {"AWS_ENDPOINT_URL": proxy.url, "HOME": str(folder)}
        rays: list[RayHead] = []
        stack.callback(lambda: [each.end() for each in rays[-1:]])

        def ray() -> RayHead:
            if not rays or not rays[-1].working:
                for each in rays[-1:]:
                    each.end()
                rays.append(RayHead(environment, folder / f"ray-{len(rays)}"))
            return rays[-1]

        number = first
        while number < end and time.monotonic() < deadline:
            store = file_system(direct)
            archive = put_archive(store, f"s3://{BUCKET}/archives/none/", {})
            lab = Lab(store, proxy, environment, folder / f"{number:04d}", archive, "", ray)
            try:
                faults: list[str] = []
                told = soak_round(lab, random.Random(f"{seed} {number}"), faults)
            except BaseException as error:
                said = str(error).splitlines() or [type(error).__name__]
                failed = f"round {number} of seed {seed} failed: {'; '.join(faults)}: {said[0]}"
                print(failed, *map(str, lab.runs), sep="\n", flush=True)
                return 1
            finally:
                proxy.clear()
                for run in lab.runs:
                    run.end()
            print(f"round {number}: {'; '.join(faults)}: {told}", flush=True)
            number += 1
    print(f"seed {seed}: {number - first} rounds held")
    return 0


def soak_round(lab: Lab, rng: random.Random, faults: list[str]) -> str:
    """Play one round, note its faults, and return its result."""
    lab.new_archive(seeded_tars(rng.randint(2, 8), rng.randint(2, 10)))
    lab.new_output()
    lab.proxy.clear()
    lab.proxy.log.clear()
    own_ray = rng.random() < 0.3  # the others share one, whose processes are killed, too
    faults += [rng.choice(FAULTS)(lab, rng) for _ in range(rng.randint(1, 4))]
    begun = time.monotonic()
    with lab.reader as reader:
        codes = [_until_done(lab, own_ray)]
        if rng.random() < 0.3:
            lab.proxy.clear()
            archive = lab.replace("0000.tar", tar(members(rng.randint(100, 200), rng.randint(1, 6))))
            faults += ["then a source replaced", rng.choice(FAULTS)(lab, rng)]
            lab.archive = archive
            codes.append(_until_done(lab, own_ray))
        lab.proxy.clear()
        lab.assert_same_as_undisturbed(scored=True)
        lab.run("verify", lab.output)
        lab.assert_clean()
        lab.assert_same_as_undisturbed(scored=True)
    assert not reader.wrong, reader.wrong[:5]
    seconds = time.monotonic() - begun
    return f"exit codes {', '.join(map(str, codes))}; {seconds:.0f} s"


def _until_done(lab: Lab, own_ray: bool) -> list[int]:
    codes: list[int] = []
    while len(codes) < TRIES:
        if len(codes) == TRIES - 3:
            lab.proxy.clear()  # with a permanent fault it could never complete
        run = lab.nightly(
            "--store-patience", PATIENCE, "--stall-seconds", 60, code=None, on=None if own_ray else lab.ray()
        )
        assert run.code in ALLOWED, f"exit code {run.code}\n{run}"
        codes.append(run.code or 0)
        if run.code == 0:
            return codes
        print(f"  {run.cause}", flush=True)
    raise AssertionError(f"not done after {TRIES} runs: {codes}")


# ------------------------------------------------------------------------------------------------------ the faults


def _refusals(lab: Lab, rng: random.Random) -> str:
    share, status = rng.choice([0.05, 0.2, 0.5]), rng.choice([500, 503])
    lab.proxy.when("*").chance(share, seed=rng.randrange(10**6)).seconds(20).reply(status, "SlowDown")
    return f"{status} to {share:.0%} for 20 s"


def _outage(lab: Lab, rng: random.Random) -> str:
    after, count = rng.randint(5, 80), rng.randint(5, 60)
    lab.proxy.when("*").after(after).times(count).reset()
    return f"{count} resets after {after} requests"


def _lost_reply(lab: Lab, rng: random.Random) -> str:
    pattern, number = rng.choice(PUTS), rng.randint(1, 4)
    lab.proxy.when("PUT", pattern).nth(number).drop_reply()
    return f"reply to PUT {number} of {pattern} lost"


def _bad_body(lab: Lab, rng: random.Random) -> str:
    number, fault = rng.randint(1, 6), rng.choice(["flip_byte", "truncate", "short_body", "long_body"])
    pattern = rng.choice([r"\.tar$", "/_commits/.*json$", "/_plans/.*json$", r"\.parquet$", "list-type"])
    getattr(lab.proxy.when("GET", pattern).nth(number), fault)()
    return f"{fault} of GET {number} of {pattern}"


def _cut(lab: Lab, rng: random.Random) -> str:
    number, share = rng.randint(1, 6), rng.random()
    lab.proxy.when("GET", r"\.tar$").nth(number).reset_after(lambda size: int(share * size))
    return f"GET {number} of audio cut at {share:.0%}"


def _conflict(lab: Lab, rng: random.Random) -> str:
    number = rng.randint(1, 4)
    lab.proxy.when("PUT", "/_commits/").nth(number).reply(409, "ConditionalRequestConflict")
    return f"409 to marker {number}"


def _kill(title: str | None) -> Callable[[Lab, random.Random], str]:
    def fault(lab: Lab, rng: random.Random) -> str:
        number, kind = (
            rng.randint(1, 6),
            rng.choice([("GET", r"\.tar$"), ("PUT", "/_commits/"), ("PUT", r"\.parquet$")]),
        )

        def shoot(_: Request) -> None:
            with contextlib.suppress(IndexError, ProcessLookupError):  # no such process exists right now
                lab.runs[-1].kill(title)

        rule = lab.proxy.when(*kind).nth(number)
        (rule.before if rng.random() < 0.5 else rule.then)(shoot)
        return f"SIGKILL to {title or 'the driver'} at {' '.join(kind)} {number}"

    return fault


def _terminate(lab: Lab, rng: random.Random) -> str:
    number = rng.randint(1, 6)

    def ask(_: Request) -> None:
        with contextlib.suppress(ProcessLookupError):
            lab.runs[-1].kill(None, signal.SIGTERM)

    lab.proxy.when("PUT", "/_commits/").nth(number).then(ask)
    return f"SIGTERM at marker {number}"


FAULTS: list[Callable[[Lab, random.Random], str]] = [
    _refusals,
    _outage,
    _lost_reply,
    _lost_reply,
    _bad_body,
    _cut,
    _conflict,
    _terminate,
    *map(_kill, (None, None, r"ray::.*Encode", r"ray::.*[dD]ecode", "ray::IDLE", "raylet", "gcs_server")),
]


if __name__ == "__main__":
    sys.exit(main())
