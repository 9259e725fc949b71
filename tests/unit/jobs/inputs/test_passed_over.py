"""What is passed over is counted in bounded memory, and its names do no harm in a log or a page."""

from __future__ import annotations

from jobs.inputs.passed_over import MAX_SUFFIXES, OTHERS, PassedOver


def counted(*names: str) -> PassedOver:
    counts = PassedOver()
    for name in names:
        counts.add(name)
    return counts


def test_names_are_counted_by_suffix_with_the_first_three() -> None:
    counts = counted("a.dss", "b.DSS", "c.dss", "d.dss", "README", "._a.wav")

    assert counts.to_content() == {
        ".dss": {"count": 4, "examples": ["a.dss", "b.DSS", "c.dss"]},
        "(no suffix)": {"count": 1, "examples": ["README"]},
        "._*": {"count": 1, "examples": ["._a.wav"]},
    }
    assert str(counts) == "4 .dss (a.dss, b.DSS, c.dss); 1 (no suffix) (README); 1 ._* (._a.wav)"


def test_a_member_is_named_with_its_container_and_counted_by_its_own_suffix() -> None:
    counts = PassedOver()
    counts.add("notes", "day/0.tar")

    assert counts.to_content() == {"(no suffix)": {"count": 1, "examples": ["day/0.tar#notes"]}}


def test_counts_of_shards_add_up() -> None:
    total = counted("a.x", "b.x")
    total.merge(counted("c.x", "d.x", "e.y").to_content())

    assert total.to_content() == {
        ".x": {"count": 4, "examples": ["a.x", "b.x", "c.x"]},
        ".y": {"count": 1, "examples": ["e.y"]},
    }


def test_a_million_suffixes_take_the_memory_of_a_few() -> None:
    content = counted(*(f"call.{number}" for number in range(10_000))).to_content()

    assert len(content) == MAX_SUFFIXES + 1
    assert content[OTHERS]["count"] == 10_000 - MAX_SUFFIXES
    assert len(content[OTHERS]["examples"]) == 3


def test_long_and_hostile_names_are_shortened_and_escaped() -> None:
    content = counted("x" * 10_000 + "\n\x1b[2J\udce9.dss", "b.\x1b[2J").to_content()

    ((long,), (suffix,)) = content[".dss"]["examples"], set(content) - {".dss"}
    assert len(long) < 130
    assert long.endswith("\\n\\x1b[2J\\udce9.dss")
    assert suffix == ".\\x1b[2j"
    long.encode()
