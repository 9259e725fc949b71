"""Texts as digests are found as the texts themselves would be."""

from __future__ import annotations

import random

from jobs.tables.digests import DigestMap, DigestSet


def test_a_map_of_digests_finds_what_a_dictionary_does() -> None:
    rng = random.Random(1)
    names = [f"s3://a/{rng.randrange(5_000)}.wav" for _ in range(3_000)]
    found, texts = DigestMap(), DigestSet()
    for row, name in enumerate(names):
        found.add(name, f"{row}", row)
        texts.add(name)
    found.sort()
    texts.sort()
    rows: dict[str, list[int]] = {}
    for row, name in enumerate(names):
        rows.setdefault(name, []).append(row)
    for name in (f"s3://a/{number}.wav" for number in range(5_000)):
        place = found.find(name)
        assert (place is not None) == (name in rows) == (name in texts)
        if place is not None:
            assert found.rows[place] == rows[name][0]
            assert found.find(name, f"{rows[name][0]}") == place
            assert found.find(name, "another") is None
    repeated = sorted(row for each in rows.values() if len(each) > 1 for row in each)
    assert sorted(found.repeated().tolist()) == repeated
    assert texts.repeated()


def test_sets_of_digests_meet_in_a_text_that_both_have() -> None:
    one, other, none = DigestSet(), DigestSet(), DigestSet()
    for each, names in ((one, "ab"), (other, "bc")):
        for name in names:
            each.add(name)
        each.sort()
    assert one.meets(other)
    assert not one.meets(none)
    assert not none.meets(one)
    assert not one.repeated()
    assert len(one.repeats_beside(other)) == 1


def test_a_name_that_is_no_text_has_a_digest() -> None:
    texts = DigestSet()
    texts.add("caf\udce9.wav")
    assert "caf\udce9.wav" in texts
