"""A glob matches local paths as fsspec's translation to a regular expression does."""

from __future__ import annotations

import random
import re

import pytest
from fsspec.utils import glob_translate

from detector.errors import ConfigError
from jobs.storage.globs import Glob

NAMES = ("a", "b", "ab", "[a]", ".a", "a.wav", "new\nline")
PATTERNS = ("a", "*", "**", "?", "[ab]", "a*", "*.wav", "[[]a]", "[!a]*")


def test_random_patterns_match_what_their_regular_expression_does() -> None:
    source = random.Random(3)
    n_matches = 0
    for _ in range(4_000):
        path = "/root/" + "/".join(source.choices(NAMES, k=source.randint(1, 5)))
        pattern = "/root/" + "/".join(source.choices(PATTERNS, k=source.randint(1, 4)))
        expected = re.compile(glob_translate(pattern).removesuffix(r"\Z") + r"(?s:/.*)?\Z").match(path) is not None
        glob = Glob(pattern)
        if glob.root == pattern:
            continue
        if path.startswith(f"{glob.root}/"):
            assert glob.matches(path) == expected, (path, pattern)
            n_matches += expected
            parents = ["/".join(path.split("/")[:n]) for n in range(len(glob.root.split("/")) + 1, path.count("/") + 1)]
            assert not expected or all(map(glob.may_lead, parents)), (path, pattern)
        else:
            assert not expected, (path, pattern)
    assert n_matches > 500


def test_folders_that_cannot_match_are_not_read() -> None:
    glob = Glob("/data/2026-*/calls/*.wav")

    assert [glob.may_lead(f"/data/{name}") for name in ("2026-07", "2025-07", "2026-07/calls", "2026-07/x")] == [
        True,
        False,
        True,
        False,
    ]


def test_two_stars_inside_a_name_are_refused() -> None:
    with pytest.raises(ConfigError, match="expected it between slashes"):
        Glob("/data/a**/b.wav")
