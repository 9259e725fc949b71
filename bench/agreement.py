"""Agreement: an archive, its output and copy, and whether all that they say is what `bench/recount.py` counts."""

from __future__ import annotations

import contextlib
import html
import io
import json
import logging
import os
import re
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from pyiceberg.catalog.sql import SqlCatalog

from bench.recount import CHANGES, Night, Recount, Row, sources
from jobs.cli import main as bonafide
from tests.support import ROOT
from tests.support.archives import write_tar
from tests.support.audio import encoded, tone
from tests.support.heads import some_head

FIRST, SECOND = "first", "second"


class Week:
    """An archive, an output, its copy and its catalog; and what they should hold.

    Parameters
    ----------
    folder : Path
        Empty; it gets all of them.
    with_copy : bool
        True if each step ends with `compact` and `register`, and compares these, too.
    """

    def __init__(self, folder: Path, *, with_copy: bool = True) -> None:
        self.archive, self.output, self.copy = (folder / name for name in ("archive", "output", "copy"))
        self.catalog = f"sqlite:///{folder / 'catalog.db'}"
        self.with_copy = with_copy
        self.archive.mkdir()
        self.heads: dict[str, Path] = {}
        self.ids: dict[str, str] = {}
        head = replace(some_head(), max_entropy_bits=0.97, max_ood=1e9)
        for name, judge in ((FIRST, head), (SECOND, replace(head, bias=-0.4))):
            self.heads[name] = folder / f"{name}.json"
            self.heads[name].write_text(judge.to_json())
            self.ids[name] = judge.head_id
        self.recount = Recount({self.ids[name]: str(path) for name, path in self.heads.items()})
        self.active = FIRST
        self.date = self.log = ""
        self._seed = 0

    # ---- the archive

    def recording(self) -> bytes:
        """Return a recording that is like no other."""
        self._seed += 1
        return encoded(tone(0.5 + 0.1 * (self._seed % 4), hertz=90.0 * 1.3 ** (self._seed % 11), seed=self._seed))

    def put(self, *names: str) -> None:
        """Write loose files, each another recording than before."""
        for name in names:
            path = self.archive / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(self.recording())

    def put_tar(self, name: str, *members: str) -> None:
        """Write a tar, or replace members of it."""
        path = self.archive / name
        held = {}
        if path.exists():
            with tarfile.open(path) as tar:
                held = {info.name: tar.extractfile(info).read() for info in tar}  # type: ignore[union-attr]
        write_tar(path, held | {member: self.recording() for member in members})

    # ---- nights

    def night(self, date: str, head: str = FIRST, *flags: str, at_once: int = 1) -> None:
        """Run a night, or so many at the same time; compare what it says with the recount."""
        before = (_names(self.output / "runs"), self.histories() if self.date else {}, dict(self.recount.rows))
        arguments = ["nightly", "--input", self.archive, "--head", self.heads[head], "--output", self.output]
        arguments += ["--run-date", date, "--runner", "local", "--max-failures", 1.0, *flags]
        self.date, self.active = date, head
        words = [str(each) for each in arguments]
        printed = _at_once(words, at_once) if at_once > 1 else self.run(*words)
        found = sources(self.archive)
        night = self.recount.night(date, self.ids[head], found, prune="--prune" in flags)
        records = [
            json.loads((self.output / "runs" / name).read_text())
            for name in sorted(_names(self.output / "runs") - before[0])
            if name.endswith(".json")
        ]
        if at_once == 1:
            _same("recordings that the encoder heard", _n_heard(self.log), night.n_heard)
        seconds = sum(record.get("audio_seconds", 0.0) for record in records)
        _same("seconds of audio in the records", round(seconds, 3), round(night.new_seconds, 3))
        scored = [record for record in records if record["table"].startswith("scores")]
        if not night.has_changes:
            _same("records", scored, [])
            _same("nothing new", "nothing new" in printed, True)
        else:
            (record,) = scored
            if at_once == 1:
                _compare_lines(printed, night)
            _compare_record(record, night)
            _compare_page((self.output / "runs" / f"{record['run_id']}.html").read_text(), night)
        self._compare_histories(*before[1:])
        self.check()

    def run(self, *arguments: object, code: int = 0) -> str:
        """Run a verb in this process; return what it prints on stdout."""
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), _logged(err):
            found = bonafide([str(each) for each in arguments])
        self.log = err.getvalue()
        if found != code:
            raise AssertionError(f"{arguments}: ended with {found}, not {code}\n{out.getvalue()}{self.log}")
        return out.getvalue()

    def refused(self, date: str, *flags: str) -> None:
        """Run a night that has to end with 65, and leave everything as it was."""
        arguments = ["nightly", "--input", self.archive, "--head", self.heads[self.active], "--output", self.output]
        before = _contents(self.output)
        self.run(*arguments, "--run-date", date, "--runner", "local", *flags, code=65)
        _same("what a refused night leaves", _contents(self.output), before)

    def erase(self, name: str) -> None:
        """Erase a recording that is not in the archive any more."""
        self.run("erase", name, "--output", self.output)
        self.recount.erase(name)
        self.check()

    # ---- comparisons

    def check(self) -> None:
        """Compare tables, and their copy, with the recount."""
        self.run("verify", self.output)
        stored = self._compare_queries(self.output)
        if not self.with_copy:
            return
        self.run("compact", self.output, "--to", self.copy)
        self.run("verify", self.copy)
        _same("rows of the copy", self._compare_queries(self.copy), stored)
        self.run("register", self.copy, "--catalog", self.catalog)
        catalog = SqlCatalog("bonafide", uri=self.catalog)
        for table, n in stored.items():
            rows = catalog.load_table(f"bonafide.{table}").scan(selected_fields=("run_id",)).to_arrow()
            _same(f"rows of {table} in the catalog", len(rows), n)

    def ask(self, place: Path, *queries: str) -> list[list[list[Any]]]:
        """Return the answers of `bonafide sql` to queries, all in one command."""
        mark = "SELECT 0 AS the_next_answer"
        lines = self.run(
            "sql", place, "; ".join(f"{mark}; {each.rstrip().rstrip(';')}" for each in queries), "--format", "json"
        )
        answers: list[list[list[Any]]] = []
        for line in lines.splitlines():
            row = json.loads(line)
            if "the_next_answer" in row:
                answers.append([])
            else:
                answers[-1].append(list(row.values()))
        return answers

    def histories(self) -> dict[str, list[Any]]:
        """Return the history of each row of `embeddings`, by id."""
        columns = "utterance_id, first_seen, changed_at, removed_at, first_run_id, run_id"
        (rows,) = self.ask(self.output, f"SELECT {columns} FROM embeddings")
        return {name: rest for name, *rest in rows}

    def _compare_queries(self, place: Path) -> dict[str, int]:
        """Compare answers with the recount; return how many rows are stored, by table."""
        head, recount = self.ids[self.active], self.recount
        current, gone, outcomes, by_night, changed, nights, active, stored = self.ask(
            place,
            "SELECT utterance_id FROM current ORDER BY 1",
            "SELECT utterance_id FROM recordings WHERE removed_at IS NOT NULL ORDER BY 1",
            documented("Recordings and hours by outcome"),
            documented("By night"),
            documented("What a night changed"),
            "SELECT night, head_id, new, replaced, rescored, removed, recordings FROM nights",
            "SELECT head_id FROM heads WHERE state = 'active'",
            "SELECT (SELECT count(*) FROM embeddings) AS embeddings, (SELECT count(*) FROM scores) AS scores,"
            " (SELECT count(*) FROM all_failures) AS failures",
        )
        here = recount.current()
        _same("current", [name for (name,) in current], sorted(here))
        _same("gone", [name for (name,) in gone], sorted(recount.rows.keys() - here.keys()))
        _same("outcomes", {outcome: n for outcome, n, _hours in outcomes}, dict(recount.outcomes(head)))
        _same("by night", by_night, recount.by_night(head))
        _same("changed by night", changed, recount.changed_by_night())
        expected = [
            [each.date, each.head, *(each.changes[name] for name in CHANGES), len(each.judged) + len(each.failed)]
            for each in recount.nights
        ]
        _same("nights", nights, expected)
        _same("active head", active, [[head]])
        return dict(zip(("embeddings", "scores", "failures"), stored[0], strict=True))

    def _compare_histories(self, former: dict[str, list[Any]], rows: dict[str, Row]) -> None:
        """Compare dates; a row that did not change keeps all of its history, whatever happened to its neighbours."""
        found = self.histories()
        _same("ids of embeddings", sorted(found), sorted(self.recount.rows))
        for name, row in self.recount.rows.items():
            *dates, first_run_id, run_id = found[name]
            _same(f"dates of {name}", dates, [row.first_seen, row.changed_at, row.removed_at])
            before = rows.get(name)
            if before is None:
                _same(f"runs of {name}", (first_run_id in str(former), first_run_id == run_id), (False, True))
            elif before.sha256 == row.sha256:
                _same(f"runs of {name}", [first_run_id, run_id], former[name][3:])
            else:
                _same(f"first run of {name}", first_run_id, former[name][3])
                _same(f"{name} has another run", run_id != former[name][4], True)


def documented(title: str) -> str:
    """Return the query of docs/sql.md that stands below a text that begins like this."""
    page = (ROOT / "docs" / "sql.md").read_text()
    found: list[str] = re.findall(rf"^{title}.*?^```sql\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    return found[0]


@contextlib.contextmanager
def _logged(stream: io.StringIO) -> Iterator[None]:
    """Copy what is logged: the log itself keeps the stream that it began with."""
    handler, logger = logging.StreamHandler(stream), logging.getLogger()
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


def _same(what: str, found: Any, expected: Any) -> None:
    if found != expected:
        raise AssertionError(f"{what}:\n  found    {found}\n  expected {expected}")


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.glob("*")}


def _contents(folder: Path) -> dict[str, bytes]:
    """Return all files below a folder, without how attempts ended."""
    files = [path for path in folder.rglob("*") if path.is_file() and "ended" not in path.parts]
    return {str(path): path.read_bytes() for path in files}


def _at_once(arguments: list[str], n: int) -> str:
    """Run a verb several times at once, each in a process of its own; all must end with 0."""
    command = [sys.executable, "-m", "jobs", *arguments]
    runs = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT, env=os.environ)
        for _ in range(n)
    ]
    ends = [(*run.communicate(), run.returncode) for run in runs]
    _same("exit codes of nights at once", [code for *_, code in ends], [0] * n)
    return "".join(out for out, _, _ in ends)


def _n_heard(log: str) -> int:
    """Return how many recordings were encoded: none is longer than a segment."""
    *_, last = ["0", *re.findall(r"([\d,]+) segments? encoded", log)]  # a slow run says more than once how far it is
    return int(last.replace(",", ""))


def _compare_lines(printed: str, night: Night) -> None:
    line = ", ".join(f"{night.changes[name]} {name}" for name in CHANGES)
    _same("changes on stdout", line in printed.splitlines(), True)
    pruned = sum(int(n) for n in re.findall(r"^(\d+) pruned: ", printed, re.MULTILINE))
    _same("pruned on stdout", pruned, night.n_pruned)
    scored, failed = re.search(r"scored ([\d,]+) utterances.*; ([\d,]+) inputs failed", printed).groups()  # type: ignore[union-attr]
    _same("scored on stdout", [int(scored), int(failed)], [len(night.judged), len(night.failed)])


def _compare_record(record: dict[str, Any], night: Night) -> None:
    _same("changes of the record", record["changes"], dict(night.changes))
    _same("pruned of the record", record["pruned"], night.n_pruned)
    counts = record["scores"]
    outcomes = {"bonafide": counts["accepted_bonafide"], "spoof": counts["accepted_spoof"]}
    outcomes["rejected"] = counts["rejected"]
    _same("outcomes of the record", outcomes, {name: night.outcomes[name] for name in outcomes})
    _same("failures of the record", counts["failed"], len(night.failed))


def _compare_page(page: str, night: Night) -> None:
    tiles = [html.unescape(re.sub(r"<[^>]+>", " ", each)).split() for each in re.findall(r"<div><b>.*?</div>", page)]
    text = [" ".join(tile) for tile in tiles]
    (recordings,) = [each for each in text if re.match(r"\d+ recordings", each)]
    _same("recordings on the page", int(recordings.split()[0]), len(night.judged) + len(night.failed))
    for name in ("new", "replaced", "rescored"):
        found = re.search(rf"(\d+) {name}\b", recordings)
        _same(f"{name} on the page", int(found[1]) if found else 0, night.changes[name])
    gone = [int(each.split()[0]) for each in text if "gone from the archive" in each]
    _same("removed on the page", sum(gone), night.changes["removed"])
    taken_out = [int(each.split()[0]) for each in text if "rows taken out" in each]
    _same("pruned on the page", sum(taken_out), night.n_pruned)
    shown = {"flagged as spoof": "spoof", "accepted as bona fide": "bonafide", "rejected": "rejected"}
    for words, outcome in shown.items():
        (found_n,) = [int(each.split()[0]) for each in text if re.match(rf"\d+ {words}", each)]
        _same(f"{words} on the page", found_n, night.outcomes[outcome])
