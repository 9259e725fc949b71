"""Every shipped alert fires on what runs really export, and is silent for runs as they should be."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest
import yaml

from jobs.errors import WorkersLostError
from jobs.execution.confinement_level import ConfinementLevel
from jobs.execution.encoder_stats import EncoderStats, PoolStats
from jobs.execution.retries import retry
from jobs.telemetry import alarms, metrics
from jobs.telemetry.progress import progress
from tests.support import ROOT
from tests.support.exports import Exports
from tests.support.promql import firing

ALERTS = yaml.safe_load((ROOT / "cluster" / "prometheus" / "alerts.yaml").read_text())
RULES = {rule["alert"]: rule for group in ALERTS["groups"] for rule in group["rules"]}
MINUTE, HOUR = 60, 3_600

Case = Callable[[Exports], None]


def later(exports: Exports, hours: int) -> None:
    """Let hours pass in which nothing changes; they are scraped less often, to be quick."""
    exports.scrape = 120 if hours else exports.scrape
    exports.wait(hours * HOUR)


def ends(*steps: tuple[int, int], verb: str = "nightly") -> Case:
    """Let a verb end with a code, and hours pass, for each of these pairs."""

    def case(exports: Exports) -> None:
        for code, hours in steps:
            exports.end(verb, code)
            later(exports, hours)

    return case


def copy_is_well(verb: str, code: int, days: int) -> Case:
    """Let a verb end with a code for the original, and with 0 for its copy each day."""

    def case(exports: Exports) -> None:
        exports.end(verb, code)
        for _ in range(days):
            later(exports, 1)
            exports.end(verb, 0, "s3://archive/backup/")
            later(exports, 23)

    return case


def wrong_flag_then_right(exports: Exports) -> None:
    exports.end("nightly", 2, None)
    exports.wait(10 * MINUTE)
    exports.end("nightly", 0)
    exports.wait(10 * MINUTE)


def machine_lost(exports: Exports) -> None:
    exports.end("nightly", 0)
    exports.wait(HOUR)
    exports.lose_folder()
    later(exports, 48)


def nothing(exports: Exports) -> None:
    later(exports, 48)


def shards(*minutes: int, then: int = 0, after: int = 0) -> Case:
    """Commit a shard after each of these times, wait, leave off, and go on with something else."""

    def case(exports: Exports) -> None:
        with exports.process("driver"):
            with progress("embed", 10) as shown:
                for each in minutes:
                    exports.wait(each * MINUTE)
                    shown.shard(1_000)
                exports.wait(then * MINUTE)
            exports.wait(after * MINUTE)

    return case


def joins_late_and_hangs(exports: Exports) -> None:
    with progress("score", 10), exports.process("driver"):
        exports.wait(40 * MINUTE)


def rows(failed: int, of: int = 1_000, *, then: int = 0) -> Case:
    """Commit rows with one shard in the middle of a night of an hour; wait on, in a cluster that stays."""

    def case(exports: Exports) -> None:
        with exports.process("driver"), progress("embed", 2) as shown:
            exports.wait(30 * MINUTE)
            metrics.count("bonafide_rows_total", of - failed, verb="embed", outcome="embedded")
            metrics.count("bonafide_rows_total", failed, verb="embed", outcome="not_audio")
            shown.shard(of)
            exports.wait(30 * MINUTE)
        later(exports, then)

    return case


def a_bad_night_and_a_good_one(exports: Exports) -> None:
    with exports.process("one"), progress("embed", 1):
        metrics.count("bonafide_rows_total", 100, verb="embed", outcome="not_audio")
        exports.wait(5 * MINUTE)
    later(exports, 20)  # the cluster's node shows the counters of the first night all the time
    with exports.process("two"), progress("embed", 1):
        metrics.count("bonafide_rows_total", 100, verb="embed", outcome="embedded")
        exports.wait(30 * MINUTE)


def retried(each_second: float, then: int = 0) -> Case:
    """Let eight workers try requests again, so many a second together; half of them begin in the middle."""

    def case(exports: Exports) -> None:
        def told(process: str) -> Iterator[None]:
            with exports.process(process) as worker:
                for minute in count(1):
                    with exports.within(worker):
                        total = each_second / 8 * MINUTE * minute
                        metrics.count_up_to("bonafide_store_retries_total", total)
                    yield

        workers = [told(f"worker {n}") for n in range(4)]
        for minute in range(30):
            if minute == 15:
                workers += [told(f"worker {n}") for n in range(4, 8)]
            for worker in workers:
                next(worker)
            exports.wait(MINUTE)
        for worker in reversed(workers):
            worker.close()
        later(exports, then)

    return case


def starving(share: float, *, in_embed: int, after: int = 0) -> Case:
    """Let encoders wait for a share of their time while shards are left, and say so for minutes afterwards."""

    def case(exports: Exports) -> None:
        stats, waited = PoolStats(), {"encoder": EncoderStats("cpu", 100.0 * (1.0 - share), 100.0 * share, 1.0)}

        def say(minutes: int) -> None:
            for _ in range(minutes):
                stats.update(waited)
                exports.wait(MINUTE)

        with exports.process("driver"):
            with progress("embed", 10):
                say(in_embed)
            say(after)

    return case


def confined(*levels: str, then: int = 0) -> Case:
    def case(exports: Exports) -> None:
        with exports.process("driver"):
            ConfinementLevel().update(levels)
            exports.wait(30)  # a short run
        exports.wait(5 * MINUTE)
        later(exports, then)

    return case


class LosingWork:
    """Work of which some passes lose their workers, ten minutes after they began."""

    verb = "embed"

    def __init__(self, exports: Exports, losses: int) -> None:
        self._exports, self._losses, self.is_done = exports, losses, False

    def attempt(self, number: int) -> Iterator[None]:
        self._exports.wait(10 * MINUTE)
        if number <= self._losses:
            raise WorkersLostError("a machine went away")
        self.is_done = True
        yield

    def end_pass(self, lost: WorkersLostError | None) -> None:
        pass

    def describe_missing(self) -> str:
        return "all"

    def finish(self) -> Iterator[None]:
        return iter(())


def passes_lost(losses: int, then: int = 0) -> Case:
    def case(exports: Exports) -> None:
        with exports.process("driver"):
            list(retry(LosingWork(exports, losses), pause=exports.wait))
            exports.wait(10 * MINUTE)
        later(exports, then)
        exports.end_node()

    return case


def two_runs_lose_one_each(exports: Exports) -> None:
    for _ in range(2):
        passes_lost(1)(exports)
        later(exports, 2)


def differs(run: int, *, process: str | None = "driver", then: int = 0) -> Case:
    """Compute a shard twice, differently, in the middle of a run of two times so many minutes."""

    def case(exports: Exports) -> None:
        def night() -> None:
            exports.wait(run * MINUTE)
            alarms.sound("s3://archive/7.tar", ("embeddings",))
            exports.wait(run * MINUTE)

        if process:
            with exports.process(process):
                night()
        else:
            night()
            exports.end("nightly", 0)
        exports.wait(2 * MINUTE)
        later(exports, then)

    return case


def two_good_nights(exports: Exports) -> None:
    for name in ("one", "two"):
        with exports.process(name):
            alarms.sound("s3://archive/7.tar", ())
            exports.wait(HOUR)
        exports.end("nightly", 0)
        later(exports, 2)


FIRE: dict[str, list[Case]] = {
    "BonafideFailed": [*(ends((0, 1), (code, 1)) for code in (2, 65, 70)), copy_is_well("verify", 65, 1)],
    "BonafideUnfinished": [ends((0, 1), (code, 3)) for code in (69, 75)],
    "BonafideDoneWithFailures": [ends((3, 1))],
    "BonafideLate": [ends((0, 37)), ends((0, 12), (75, 12), (65, 13)), machine_lost, copy_is_well("nightly", 0, 2)],
    "BonafideOrderLate": [ends((0, 10 * 24), verb=verb) for verb in ("verify", "gc", "compact")],
    "BonafideNever": [nothing, ends((65, 38))],
    "BonafideStalled": [shards(then=40), shards(5, 20, then=40), joins_late_and_hangs],
    "BonafideManyFailures": [rows(failed=60)],
    "BonafideStoreTrouble": [retried(12.0)],
    "BonafideEncodersStarved": [starving(0.4, in_embed=35)],
    "BonafideUnconfined": [confined("full", "landlock-3")],
    "BonafideWorkersLost": [passes_lost(2)],
    "BonafideNondeterminism": [differs(60), differs(1, process=None)],
}
SILENT: dict[str, list[Case]] = {
    "BonafideFailed": [ends((0, 1), (3, 1), (69, 1), (75, 1)), ends((0, 24), (0, 24))],
    "BonafideUnfinished": [ends((75, 1), (75, 0), (0, 4)), ends((65, 3), (3, 3))],
    "BonafideDoneWithFailures": [ends((0, 1), (75, 1), (65, 1))],
    "BonafideLate": [ends((0, 24), (3, 24), (0, 24))],
    "BonafideOrderLate": [ends((0, 8 * 24), (0, 2 * 24), verb="verify"), ends((0, 10 * 24), verb="sql")],
    "BonafideNever": [ends((0, 24), (75, 24), (0, 24)), ends((65, 24), (65, 24))],
    "BonafideStalled": [shards(20, 25, 20, 25), shards(5, then=5, after=60), shards(*[9] * 10, after=60)],
    "BonafideManyFailures": [rows(failed=40), a_bad_night_and_a_good_one],
    "BonafideStoreTrouble": [retried(4.0)],
    "BonafideEncodersStarved": [starving(0.2, in_embed=60), starving(0.4, in_embed=20, after=60)],
    "BonafideUnconfined": [confined("full")],
    "BonafideWorkersLost": [passes_lost(0), passes_lost(1), two_runs_lose_one_each],
    "BonafideNondeterminism": [two_good_nights],
}
ENDS: dict[str, list[Case]] = {
    "BonafideFailed": [ends((65, 1), (0, 1)), wrong_flag_then_right],
    "BonafideUnfinished": [ends((75, 3), (3, 1))],
    "BonafideDoneWithFailures": [ends((3, 49))],
    "BonafideLate": [ends((0, 37), (0, 1))],
    "BonafideOrderLate": [ends((0, 10 * 24), (0, 1), verb="verify")],
    "BonafideNever": [ends((65, 38), (0, 1))],
    "BonafideStalled": [shards(5, 50, 5)],
    "BonafideManyFailures": [rows(failed=60, then=1)],
    "BonafideStoreTrouble": [retried(12.0, then=1)],
    "BonafideEncodersStarved": [starving(0.4, in_embed=35, after=5)],
    "BonafideUnconfined": [confined("landlock-3", then=1)],
    "BonafideWorkersLost": [passes_lost(2, then=2)],
    "BonafideNondeterminism": [differs(60, then=25), differs(1, process=None, then=49)],
}
"""Cases after which an alert fires no more, also in a cluster whose nodes stay."""


@pytest.fixture
def exports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Exports:
    return Exports(tmp_path, monkeypatch)


def cases(of: dict[str, list[Case]]) -> list[tuple[str, Case]]:
    return [(alert, case) for alert, each in of.items() for case in each]


def test_each_alert_has_cases_of_each_kind() -> None:
    assert set(FIRE) == set(SILENT) == set(ENDS) == set(RULES)


@pytest.mark.parametrize(("alert", "case"), cases(FIRE))
def test_an_alert_fires(alert: str, case: Case, exports: Exports) -> None:
    case(exports)

    assert firing(RULES[alert], exports.samples, exports.moments())


@pytest.mark.parametrize(("alert", "case"), cases(SILENT))
def test_an_alert_is_silent(alert: str, case: Case, exports: Exports) -> None:
    case(exports)

    assert not firing(RULES[alert], exports.samples, exports.moments())


@pytest.mark.parametrize(("alert", "case"), cases(ENDS))
def test_an_alert_that_fired_ends(alert: str, case: Case, exports: Exports) -> None:
    case(exports)

    fired = firing(RULES[alert], exports.samples, exports.moments())

    assert fired
    assert exports.moments()[-1] not in fired
