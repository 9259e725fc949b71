"""What is passed over is counted in bounded memory, and its names do no harm in a log or a page."""

from __future__ import annotations

from jobs.inputs.passed_over import MAX_SUFFIXES, OTHERS, PassedOver
from jobs.inputs.utterance_ids import utterance_id


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


def test_names_are_held_whole_and_shortened_and_escaped_only_in_the_log() -> None:
    name = "x" * 4_000 + "\n\x1b[2J.dss"
    counts = counted(name, "b.\x1b[2J")

    content = counts.to_content()
    (suffix,) = set(content) - {".dss"}
    assert content[".dss"]["examples"] == [name]
    assert suffix == ".\\x1b[2j"
    shown = "x" * 50 + "…" + "x" * 41 + "\\n\\x1b[2J.dss"  # 50 characters of each end
    assert str(counts) == f"1 .\\x1b[2j (b.\\x1b[2J); 1 .dss ({shown})"


def test_examples_are_spelt_as_ids_are() -> None:
    counts = PassedOver()
    counts.add("1.tar#a.dss")
    counts.add("b@0-5", "day/0.tar")
    counts.add("c", "day/no suffix")

    examples = [each for found in counts.to_content().values() for each in found["examples"]]
    assert examples == [
        utterance_id(uri, member)
        for uri, member in [("day/0.tar", "b@0-5"), ("day/no suffix", "c"), ("1.tar#a.dss", None)]
    ]


def test_all_examples_together_are_bounded_and_none_is_cut() -> None:
    counts = counted(*(f"{number:04d}{'x' * 3_000}.{number % 40}" for number in range(200)))

    content = counts.to_content()
    examples = [each for found in content.values() for each in found["examples"]]
    assert sum(found["count"] for found in content.values()) == 200
    assert {len(each) for each in examples} <= {3_006, 3_007}
    assert len(examples) == (16 << 10) // 3_006
    assert len(str(counts)) < 2_000
