"""A plain recount of nights: what tables, records and pages have to say, from the files of an archive alone.

It knows recordings by their bytes, judges each by itself with `Detector.score`, and shares nothing with plans, ledgers
and tables. `bench/week.py` compares it with what nights leave behind.
"""

from __future__ import annotations

import hashlib
import statistics
import tarfile
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from detector.api import Detector, Verdict
from detector.errors import UtteranceError

CHANGES = ("new", "replaced", "rescored", "removed")


@dataclass(frozen=True)
class Row:
    """A recording as the tables should have it.

    Parameters
    ----------
    sha256 : str
        Of its bytes.
    first_seen, changed_at : str
        Dates of nights.
    removed_at : str or None
        Date of the night that found it gone.
    """

    sha256: str
    first_seen: str
    changed_at: str
    removed_at: str | None = None


@dataclass
class Night:
    """What a night found.

    Parameters
    ----------
    date, head : str
    changes : Counter
        By the four kinds.
    judged : list of str
        Ids of the recordings that got a score, or another one.
    failed : list of str
        Ids of those that cannot be read, and that the head has not counted before.
    n_heard : int
        Recordings that the encoder had to hear.
    new_seconds : float
        Audio of the recordings whose bytes are new.
    n_pruned : int
        Rows that were taken out.
    outcomes : Counter
        Of `judged`: `bonafide`, `spoof` and `rejected`.
    """

    date: str
    head: str
    changes: Counter[str]
    judged: list[str]
    failed: list[str]
    n_heard: int
    new_seconds: float
    n_pruned: int
    outcomes: Counter[str] = field(default_factory=Counter)

    @property
    def has_changes(self) -> bool:
        """True if there is something to record."""
        return bool(self.changes.total() or self.failed or self.n_pruned)


def sources(archive: Path) -> dict[str, bytes]:
    """Read all recordings of an archive of loose files and tars, by id."""
    found: dict[str, bytes] = {}
    for path in sorted(archive.rglob("*")):
        name = str(path.relative_to(archive))
        if path.suffix == ".tar":
            with tarfile.open(path) as tar:
                found |= {f"{name}#{info.name}": tar.extractfile(info).read() for info in tar}  # type: ignore[union-attr]
        elif path.is_file():
            found[name] = path.read_bytes()
    return found


class Recount:
    """Rows, and nights, as they should be.

    Parameters
    ----------
    heads : dict of str to str
        Files of heads by their ids.
    """

    def __init__(self, heads: dict[str, str]) -> None:
        self.rows: dict[str, Row] = {}
        self.failures: set[str] = set()
        self.nights: list[Night] = []
        self._detectors = {head_id: Detector.load(file) for head_id, file in heads.items()}
        self._verdicts: dict[tuple[str, str], Verdict | None] = {}
        self._contents: dict[str, str] = {}
        self._seen: dict[str, dict[str, str | None]] = {head_id: {} for head_id in heads}
        self._failed: dict[str, dict[str, str]] = {head_id: {} for head_id in heads}

    def night(self, date: str, head: str, found: dict[str, bytes], *, prune: bool = False) -> Night:
        """Count a night over an archive, and keep what it leaves behind."""
        contents = {name: hashlib.sha256(content).hexdigest() for name, content in found.items()}
        for name, content in found.items():
            self._judge(head, contents[name], content)
        readable = {name: sha for name, sha in contents.items() if self._verdicts[head, sha] is not None}
        heard = self._heard(contents)
        failed = {name: sha for name, sha in contents.items() if name not in readable}
        new_failures = [name for name, sha in failed.items() if self._failed[head].get(name) != sha]
        self._failed[head] = failed
        new = {name: sha for name, sha in readable.items() if name not in self.rows or self.rows[name].sha256 != sha}
        seconds = sum(self._verdicts[head, sha].seconds for sha in new.values())  # type: ignore[union-attr, misc]
        changes, judged = self._changes(head, contents, readable)
        self._keep(date, readable, contents)
        n_pruned = self._prune() if prune else 0
        night = Night(date, head, changes, judged, new_failures, len(set(heard) - set(failed)), seconds, n_pruned)
        night.outcomes = Counter(self.outcome(head, self.rows[name].sha256)[0] for name in judged)
        self._contents = contents
        if night.has_changes:
            self.nights.append(night)
        return night

    def erase(self, name: str) -> None:
        """Forget a recording."""
        del self.rows[name]
        for seen in self._seen.values():
            seen.pop(name, None)

    def outcome(self, head: str, sha256: str) -> tuple[str, str]:
        """Return `bonafide`, `spoof` or `rejected`; and the same with the reason in place of `rejected`."""
        verdict = self._verdicts[head, sha256]
        assert verdict is not None
        label = str(verdict.label)
        return ("rejected", str(verdict.reject_reason)) if verdict.reject else (label, label)

    def current(self) -> dict[str, Row]:
        """Return the rows of what is in the archive."""
        return {name: row for name, row in self.rows.items() if row.removed_at is None}

    def outcomes(self, head: str) -> Counter[str]:
        """Count recordings that are in the archive by outcome, failures too."""
        counts = Counter(self.outcome(head, row.sha256)[1] for row in self.current().values())
        return counts + Counter({"failed: not_audio": len(self.failures)})

    def by_night(self, head: str) -> list[list[Any]]:
        """Count recordings by the night that first saw them: scored, flagged, rejected, and the median score."""
        dates = sorted({row.first_seen for row in self.rows.values()})
        lines = []
        for date in dates:
            contents = [row.sha256 for row in self.rows.values() if row.first_seen == date]
            outcomes = Counter(self.outcome(head, sha)[0] for sha in contents)
            scores = [self._verdicts[head, sha].score for sha in contents]  # type: ignore[union-attr]
            median = statistics.median([each for each in scores if each is not None])
            lines.append([date, len(contents), outcomes["spoof"], outcomes["rejected"], round(median, 2)])
        return lines

    def changed_by_night(self) -> list[list[Any]]:
        """Count recordings by the night that found them replaced, or gone."""
        replaced = Counter(row.changed_at for row in self.rows.values() if row.changed_at > row.first_seen)
        removed = Counter(row.removed_at for row in self.rows.values() if row.removed_at is not None)
        return [[date, replaced[date], removed[date]] for date in sorted({*replaced, *removed})]

    def _judge(self, head: str, sha256: str, content: bytes) -> None:
        if (head, sha256) not in self._verdicts:
            try:
                self._verdicts[head, sha256] = self._detectors[head].score(content)
            except UtteranceError:
                self._verdicts[head, sha256] = None

    def _heard(self, contents: dict[str, str]) -> list[str]:
        """Return the ids of what has to be read: loose files that changed, and all of a tar that did."""

        def tar_of(names: dict[str, str], path: str) -> dict[str, str]:
            return {name: sha for name, sha in names.items() if name.startswith(f"{path}#")}

        heard = []
        for name, sha in contents.items():
            path, hash_sign, _ = name.partition("#")
            if hash_sign:
                is_read = tar_of(contents, path) != tar_of(self._contents, path)
            else:
                is_read = self._contents.get(name) != sha
            heard += [name] if is_read else []
        return heard

    def _changes(self, head: str, contents: dict[str, str], readable: dict[str, str]) -> tuple[Counter[str], list[str]]:
        seen = self._seen[head]
        others = {name for head_id, names in self._seen.items() if head_id != head for name in names}
        changes: Counter[str] = Counter(dict.fromkeys(CHANGES, 0))
        judged = []
        for name, sha in readable.items():
            before = seen.get(name)
            if name not in seen:
                kind = "rescored" if name in others else "new"
            elif before is None:
                kind = "new"
            elif before != sha:
                kind = "replaced"
            else:
                continue
            changes[kind] += 1
            judged.append(name)
        for name in [name for name, sha in seen.items() if sha is not None and name not in readable]:
            changes["replaced" if name in contents else "removed"] += 1
        self._seen[head] = {name: None for name in seen if name not in contents} | readable
        return changes, judged

    def _keep(self, date: str, readable: dict[str, str], contents: dict[str, str]) -> None:
        for name, sha in readable.items():
            row = self.rows.get(name)
            if row is None:
                self.rows[name] = Row(sha, date, date)
            else:
                self.rows[name] = Row(sha, row.first_seen, row.changed_at if row.sha256 == sha else date)
        for name, row in list(self.rows.items()):
            if name in contents and name not in readable:
                del self.rows[name]
            elif name not in contents and row.removed_at is None:
                self.rows[name] = replace(row, removed_at=date)
        self.failures = set(contents) - set(readable)

    def _prune(self) -> int:
        gone = self.rows.keys() - self.current().keys()
        for name in gone:
            self.erase(name)
        return len(gone)
