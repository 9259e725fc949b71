"""Whatever is written, deleted, moved, copied, pruned and killed: the tables say what a walk of the archive says."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from jobs import storage
from jobs.storage import objects
from jobs.tables import instalments
from jobs.tables.verification import verify_tables
from tests.support.text_archives import BROKEN, FILES, TARS, Nights, walked


class Model:
    """What an archive of two folders is to be, by the rules of docs/inputs.md alone."""

    def __init__(self) -> None:
        self.owners: dict[str, str] = {}

    def night(self, places: dict[str, Path]) -> tuple[dict[str, tuple[str, str]], int]:
        """Return the rows that are current, and how many sources are not heard; by the folder's role."""
        having: dict[str, list[str]] = {}
        for role, folder in places.items():
            for path in (each for each in folder.rglob("*") if each.is_file()):
                having.setdefault(str(path.relative_to(folder)), []).append(role)
        n_unheard = 0
        rows: dict[str, tuple[str, str]] = {}
        for name, roles in having.items():
            if self.owners.get(name) not in roles:
                self.owners.pop(name, None)
                if len(roles) == 1:
                    self.owners[name] = roles[0]
            n_unheard += len(roles) - (name in self.owners)
        self.owners = {name: role for name, role in self.owners.items() if name in having}
        for role, folder in places.items():
            found = walked(folder)
            rows |= {each: row for each, row in found.items() if self.owners.get(each.partition("#")[0]) == role}
        return rows, n_unheard


@pytest.mark.parametrize("seed", [0, 1, *(pytest.param(seed, marks=pytest.mark.long) for seed in range(2, 60))])
def test_after_any_history_the_tables_say_what_a_walk_of_the_archive_says(
    tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    if seed % 2:  # listings that are thinned, and plans in instalments
        monkeypatch.setattr(objects, "THINNED_FROM", 4)
        monkeypatch.setattr(instalments, "PLAN_BYTES", 600)
    rng, nights, model = random.Random(seed), Nights(tmp_path), Model()
    roles = {"main": "p0", "side": "p1"}
    n_places, when = 2, 10
    for place in roles.values():
        (tmp_path / place).mkdir()
    nights.write("p0", "keep.wav")
    for _ in range(7):
        for _ in range(rng.randrange(4)):
            when += 1
            role, name = rng.choice(list(roles)), rng.choice([*FILES, *TARS])
            path = tmp_path / roles[role] / name
            other = tmp_path / roles["side" if role == "main" else "main"] / name
            match rng.randrange(5):
                case 0 | 1:
                    nights.write(roles[role], name, rng.choice(["1", "2", "3", BROKEN]), when)
                case 2:
                    path.unlink(missing_ok=True)
                case 3 if path.exists() and not other.exists():
                    other.parent.mkdir(exist_ok=True)
                    shutil.move(path, other)
                case 4 if path.exists() and not other.exists():
                    other.parent.mkdir(exist_ok=True)
                    shutil.copy2(path, other)
        moved = ""
        if rng.random() < 0.5:
            role = rng.choice(list(roles))
            old, roles[role] = roles[role], f"p{n_places}"
            n_places += 1
            shutil.copytree(tmp_path / old, tmp_path / roles[role])
            moved = f"{old}={roles[role]}"
            if rng.random() < 0.7:
                shutil.rmtree(tmp_path / old)
            if rng.random() < 0.5:
                before = nights.rows()
                run = nights.night(*roles.values())  # without a word
                shown = nights.rows()
                assert all(shown[name]["uri"] == row["uri"] for name, row in before.items() if f"/{old}/" in row["uri"])
        prune = rng.random() < 0.2
        while rng.random() < 0.4:
            nights.night(*roles.values(), moved=moved, prune=prune, dies=lambda: rng.random() < 0.4)
        run = nights.night(*roles.values(), moved=moved, prune=prune)

        expected, n_unheard = model.night({role: tmp_path / place for role, place in roles.items()})
        assert nights.current() == expected
        assert run.unheard.n_sources == n_unheard
        assert sum(row["error"] == "bad_name" for row in nights.rows("failures").values()) == n_unheard
        assert not prune or all(row["removed_at"] is None for row in nights.rows().values())
    assert verify_tables(str(nights.output)) == []
    assert storage.listing(str(nights.output))
