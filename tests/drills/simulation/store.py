"""A store in memory that checks every write against what a reader may see."""

from __future__ import annotations

import hashlib
from bisect import insort
from collections import defaultdict

from jobs.storage import ABSENT
from jobs.tables import folding
from jobs.tables.folding import Checkpoint
from jobs.tables.protocol import Found, Marker, Plan
from jobs.tables.requests import Put
from jobs.tables.row_digest import add
from tests.drills.simulation.rows import EMBEDDINGS, LEDGER_OF, SCORES, TABLES, rows_in, rows_of, slot_of
from tests.drills.simulation.violations import Violation


class PlanView:
    """The plans of a ledger, each from the moment it is stored; no run sees them as early."""

    def __init__(self) -> None:
        self.n_plans = 0
        self.planned: dict[str, tuple[str, str, int]] = {}  # slot, state, plan by name
        self.current: dict[str, str] = {}  # name by slot
        self.dropped: set[str] = set()  # names of tombstones

    def add(self, plan: Plan) -> None:
        """Add a plan that was just stored."""
        self.n_plans += 1
        for entry in plan.entries:
            name = f"{entry.slot}-{self.n_plans:06d}"
            self.planned[name] = (entry.slot, entry.state, self.n_plans)
            self.current[entry.slot] = name
            self.dropped |= {name} if entry.is_dropped else set()


class Store:
    """Objects by name; every request is atomic, and every write is checked.

    Invariants:

    - A plan and a marker are never changed; a shard's object under one plan is always the same to the byte.
    - A table holds no utterance twice, and all rows of a shard are of one state; an older state never returns.
    - A table of a tombstone holds the rows of an earlier state, or none.
    - If the marker of a current shard exists, its objects exist and have the SHA-256 that it names.
    - No current object or marker is ever deleted.
    """

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.known = {EMBEDDINGS: PlanView(), SCORES: PlanView()}
        self.n_puts = 0
        self._folders: dict[str, list[str]] = defaultdict(list)
        self._bytes: dict[tuple[str, str], bytes] = {}
        self._markers: dict[bytes, Marker] = {}
        self._whole: set[tuple[bytes | None, ...]] = set()  # markers and objects that were compared
        self._shown: dict[str, dict[str, str]] = {table: {} for table in LEDGER_OF}

    def put(self, asked: Put) -> bool:
        """Carry out a conditional PUT; return False if its condition did not hold."""
        self.n_puts += 1
        name, content = asked.name, asked.content
        before = self.objects.get(name)
        if (ABSENT if before is None else etag_of(before)) != asked.expected:
            return False
        self.place(name, content)
        if before != content:
            self._written(name, before, content)
        return True

    def place(self, name: str, content: bytes) -> None:
        """Store an object unconditionally and without checks."""
        if name not in self.objects:
            insort(self._folders[folder_of(name)], name)
        self.objects[name] = content

    def get(self, name: str) -> Found:
        """Return an object with its etag."""
        content = self.objects.get(name)
        return Found(None, ABSENT) if content is None else Found(content, etag_of(content))

    def listing(self, folder: str) -> list[str]:
        """Return the names below a folder."""
        return list(self._folders[folder])

    def delete(self, name: str) -> None:
        """Delete an object; only gc does so."""
        content = self.objects.pop(name, None)
        if content is not None:
            self._folders[folder_of(name)].remove(name)
        top, _, rest = name.partition("/")
        ledger = LEDGER_OF.get(top) or rest.partition("/")[0]
        if ledger.startswith(folding.FOLDER):
            return
        known = self.known[ledger]
        if top not in LEDGER_OF and stem(name) in known.current.values():
            raise Violation(f"gc removed {name}, the marker of what is current")
        if top in LEDGER_OF and self.named(name) and "?" not in name:  # the product never writes such a name
            raise Violation(f"gc removed {name}, which is current, or to be")
        if top in LEDGER_OF and content is not None:
            self._hide(top, name)

    def named(self, name: str) -> bool:
        """Return True if an object belongs to a slot without a marker yet, or is named by the slot's marker."""
        ledger = LEDGER_OF[name.partition("/")[0]]
        current = self.known[ledger].current.get(slot_of(name))
        text = self.objects.get(f"_commits/{ledger}/{current}.json")
        return current is not None and (text is None or name in Marker.from_json(text, "a marker").objects.values())

    def _written(self, name: str, before: bytes | None, content: bytes) -> None:
        top, _, rest = name.partition("/")
        if top in LEDGER_OF:
            self._shows(top, name, before, content)
            ledger, slot = LEDGER_OF[top], slot_of(name)
        else:
            ledger = rest.partition("/")[0]
            if ledger.startswith(folding.FOLDER):
                self._check_checkpoint(ledger.removeprefix(folding.FOLDER), name, content)
                return
            known = self.known[ledger]
            if before is not None:
                raise Violation(f"{name} was changed: {before!r} to {content!r}")
            if top == "_plans":
                known.add(Plan.from_json(content, "a plan"))
                if name != f"_plans/{ledger}/{known.n_plans:06d}.json":
                    raise Violation(f"{name}: not the next of {known.n_plans - 1} plans")
                return
            if stem(name) not in known.planned:
                raise Violation(f"{name}: a marker of nothing that was planned")
            self._once(name, "", content)
            slot = known.planned[stem(name)][0]
        self.check(ledger, slot)

    def _shows(self, table: str, name: str, before: bytes | None, content: bytes) -> None:
        """Check the rows that an object adds to a table."""
        known = self.known[LEDGER_OF[table]]
        of, run_id, _, *rows = content.decode().split("|")
        if of not in known.planned:
            raise Violation(f"{name}: rows of {of}, which nobody planned")
        _, state, number = known.planned[of]
        self._once(name, of, content)
        if before is not None:
            old = before.decode().split("|")[0]
            if old in known.planned and known.planned[old][2] >= number:
                raise Violation(f"{name}: rows of {of} took the place of those of {old}")
            self._hide(table, name)
        if table == "scores" and state not in self.known[EMBEDDINGS].planned:
            raise Violation(f"{name}: scores of {state}, which nobody planned")
        right = self._right_rows(LEDGER_OF[table], of, table)
        if rows not in right:
            raise Violation(f"{name}: has {rows}, and the whole shard is {right[0]}")
        shown = self._shown[table]
        for row in rows:
            utterance = row.partition("@")[0]
            if utterance in shown:
                raise Violation(f"{table}: {utterance} stands in {shown[utterance]} and in {name}, of {run_id}")
            shown[utterance] = name

    def _right_rows(self, ledger: str, name: str, table: str) -> list[list[str]]:
        """Return the rows that a shard may have in a table: those of its state; of a tombstone, also of earlier ones.

        An attempt that died may have replaced them, and one that came late may have committed after the tombstone was
        planned.
        """
        slot, state, number = self.known[ledger].planned[name]
        embedded = self.known[EMBEDDINGS]
        if ledger == SCORES:
            name, (_, state, number) = state, embedded.planned[state]
        states = [state]
        if name in embedded.dropped:
            states += ["", *(old for at, old, when in embedded.planned.values() if at == slot and when < number)]
        return [rows_of(slot, each, table) for each in states]

    def _hide(self, table: str, name: str) -> None:
        shown = self._shown[table]
        for utterance in [each for each, place in shown.items() if place == name]:
            del shown[utterance]

    def _once(self, name: str, of: str, content: bytes) -> None:
        first = self._bytes.setdefault((name, of), content)
        if first != content:
            raise Violation(f"{name} of {of or 'a shard'} was written twice: {first!r}, then {content!r}")

    def check(self, ledger: str, slot: str) -> bool:
        """Return True if a slot's current state is committed, and check that a committed shard is complete."""
        name = self.known[ledger].current.get(slot)
        text = self.objects.get(f"_commits/{ledger}/{name}.json")
        if text is None or name is None:
            return False
        marker = self._markers.get(text)
        if marker is None:
            marker = self._markers[text] = Marker.from_json(text, "a marker")
        standing = (text, *(self.objects.get(place) for place in marker.objects.values()))
        if standing not in self._whole:
            self._check_marker(ledger, marker)
            self._whole.add(standing)
        return True

    def _check_checkpoint(self, ledger: str, name: str, content: bytes) -> None:
        """Check that a checkpoint names nothing that is current and has no marker, or that nobody planned."""
        for each in Checkpoint.from_json(content, name).names:
            if each not in self.known[ledger].planned:
                raise Violation(f"{name}: names {each}, which nobody planned")
            is_current = each in self.known[ledger].current.values()
            if is_current and f"_commits/{ledger}/{each}.json" not in self.objects:
                raise Violation(f"{name}: names {each}, which is not committed")

    def _check_marker(self, ledger: str, marker: Marker) -> None:
        for table in TABLES[ledger]:
            n_rows = marker.rows[table]
            right = {len(rows) for rows in self._right_rows(ledger, marker.name, table)}
            if n_rows not in right or (n_rows and table not in marker.objects):
                raise Violation(f"{marker.name} is committed without all of its {table}")
        for table, place in marker.objects.items():
            content = self.objects.get(place)
            if content is None or hashlib.sha256(content).hexdigest() != marker.sha256[table]:
                found = "gone" if content is None else "others"
                raise Violation(f"{marker.name} is committed, and its {table} are {found}")

    def table(self, table: str) -> list[str]:
        """Return all rows of a table, as a query over its glob does."""
        return sorted([row for name in self._folders[table] for row in rows_in(self.objects[name])])

    def digest(self, ledger: str) -> str:
        """Return the sum of the digests in all current markers."""
        texts = [self.objects.get(f"_commits/{ledger}/{name}.json") for name in self.known[ledger].current.values()]
        return add(digest for text in texts if text for digest in self._markers[text].digests.values())


def etag_of(content: bytes) -> str:
    """Return the MD5 of the content, as S3 does: the same content has the same etag."""
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def folder_of(name: str) -> str:
    """Return the folder whose listing contains a name: a ledger's or a table's."""
    return name.rpartition("/")[0] if name[0] == "_" else name.partition("/")[0]


def stem(name: str) -> str:
    """Return the name of the planned shard that a marker is about."""
    return name.rsplit("/", 1)[-1].removesuffix(".json")
