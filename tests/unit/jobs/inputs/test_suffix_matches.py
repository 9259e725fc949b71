"""Labels and ids match by the longest common end of their paths, from both sides, or not at all."""

from __future__ import annotations

import logging
import random

import pytest

from detector.errors import ConfigError
from jobs.inputs.suffix_matches import match_by_suffix, suffix_matches, suggestion


def common(label: str, name: str) -> float:
    """Number of names that two paths have in common at their ends; infinite for equal ones."""
    ends = zip(reversed(label.split("/")), reversed(name.split("/")), strict=False)
    n_common = next((n for n, (ours, theirs) in enumerate(ends) if ours != theirs), None)
    whole = min(label.count("/"), name.count("/")) + 1
    return float("inf") if label == name else whole if n_common is None else n_common


def by_definition(labels: list[str], ids: list[str]) -> set[tuple[str, str]]:
    """All pairs of which neither side ends more like another one: every label with every id, without any grouping."""
    nearest_id = {label: max(common(label, name) for name in ids) for label in labels}
    nearest_label = {name: max(common(label, name) for label in labels) for name in ids}
    return {
        (label, name)
        for label in labels
        for name in ids
        if 0 < common(label, name) == nearest_id[label] == nearest_label[name]
    }


@pytest.mark.parametrize("seed", range(40))
def test_pairs_are_those_of_the_definition(seed: int) -> None:
    draw = random.Random(seed)

    def paths(n: int) -> list[str]:
        names = {"/".join(draw.choice("abc") for _ in range(draw.randint(1, 5))) for _ in range(n)}
        return sorted(("/" if draw.random() < 0.2 else "") + name for name in names)

    labels, ids = paths(12), paths(12)

    found = suffix_matches(labels, ids)

    pairs = set(found.id_of.items()) | {(a, b) for ours, theirs in found.ambiguous for a in ours for b in theirs}
    assert pairs == by_definition(labels, ids)
    assert not {label for ours, _ in found.ambiguous for label in ours} & found.id_of.keys()


def test_a_label_of_a_recording_that_is_not_here_takes_no_other_s() -> None:
    labels = ["/old/a/1.flac", "/old/b/1.flac"]

    assert suffix_matches(labels, ["new/a/1.flac"]).id_of == {"/old/a/1.flac": "new/a/1.flac"}


def test_members_of_containers_and_channels_are_matched_as_a_whole() -> None:
    labels = ["/old/0.tar#x/a.flac", "/old/0.tar#x/b.flac", "/old/c.flac/ch0", "/old/d.flac/ch0"]
    ids = ["0.tar#x/a.flac", "0.tar#x/b.flac", "2026/c.flac/ch0"]

    assert suffix_matches(labels, ids).id_of == dict(zip(labels, ids, strict=False))


def test_what_is_ambiguous_is_refused_with_examples() -> None:
    with pytest.raises(ConfigError) as error:
        match_by_suffix(["/old/1.flac"], ["a/1.flac", "b/1.flac", "c/1.flac"], "labels.csv")

    assert str(error.value).startswith("labels.csv: --match suffix is ambiguous in 1 case(s): labels '/old/1.flac' end")
    assert "'a/1.flac', 'b/1.flac' and 1 more" in str(error.value)
    assert suggestion(["/old/1.flac"], ["a/1.flac", "b/1.flac"]) == ""


def test_the_log_says_how_many_matched_and_how(caplog: pytest.LogCaptureFixture) -> None:
    labels = ["same/1.flac", "/old/day/2.flac", "/old/3.flac", "/old/4.flac"]
    with caplog.at_level(logging.WARNING):
        renamed = match_by_suffix(labels, ["same/1.flac", "day/2.flac", "x/3.flac"], "labels.csv")

    assert renamed == {"/old/day/2.flac": "day/2.flac", "/old/3.flac": "x/3.flac"}
    assert "2 labels matched by the longest common end of their paths" in caplog.text
    assert "1 by equal ids" in caplog.text
    assert "1 of them only by the file's name, such as '/old/3.flac'" in caplog.text
