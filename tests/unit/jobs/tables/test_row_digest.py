"""Two tables have the same digest if they hold the same rows, in any order and files."""

from __future__ import annotations

import hashlib
import math

import numpy as np
import pyarrow as pa
import pytest

from detector.schema import FAILURES, SCORES, SEGMENTS, embeddings_schema
from jobs.tables.row_digest import COLUMNS, add, rows_digest
from tests.support.row_digest import by_hand


def scores(**changes: object) -> pa.Table:
    """Return two rows of `scores`; ``changes`` go into the first."""
    row = {
        "utterance_id": "a",
        "uri": "u",
        "seconds": 1.0,
        "score": 0.1,
        "prior": 0.5,
        "p_spoof": 0.4,
        "ood": 0.2,
        "reject": False,
        "head_id": "h",
        "fingerprint": "f",
        "run_id": "r",
    }
    other = row | {"utterance_id": "b", "score": None, "p_spoof": None, "reject_reason": "silent"}
    return pa.Table.from_pylist([row | changes, other], schema=SCORES)


def test_a_digest_is_the_sum_of_the_rows_sha256() -> None:
    rows = pa.table({"utterance_id": ["a", "b"], "error": ["empty", "missing"]})
    texts = [
        b"s\x08" + bytes(7) + b"failures" + b"s\x01" + bytes(7) + b"a" + b"s\x05" + bytes(7) + b"empty",
        b"s\x08" + bytes(7) + b"failures" + b"s\x01" + bytes(7) + b"b" + b"s\x07" + bytes(7) + b"missing",
    ]

    total = sum(int(hashlib.sha256(text).hexdigest(), 16) for text in texts)

    assert rows_digest("failures", rows) == by_hand("failures", rows) == f"{total % 2**256:064x}"


def test_the_digest_of_scores_is_that_of_a_plain_loop() -> None:
    numbers = [0.1, None, 0.0, -0.0, math.inf, -math.inf, math.nan, 5e-324]
    rows = pa.concat_tables(
        [scores(utterance_id=f"é{number}", score=number, ood=None) for number in numbers for _ in range(200)]
    )

    assert rows_digest("scores", rows) == by_hand("scores", rows)


@pytest.mark.parametrize("dim", [1, 3, 1_024])
@pytest.mark.parametrize("kind", [pa.float32(), pa.float64()])
def test_the_digest_of_embeddings_is_that_of_a_plain_loop(dim: int, kind: pa.DataType) -> None:
    rng = np.random.default_rng(0)
    vectors: list[list[float | None] | None] = [*rng.normal(size=(300, dim)).tolist(), None, [None] * dim, [0.0] * dim]
    for layout in (pa.list_(kind, dim), pa.list_(kind)):  # as we write it, and as other engines do
        column = pa.array(vectors, layout)
        ids = pa.array([str(number) for number in range(len(vectors))])
        rows = pa.table({"utterance_id": ids, "audio_sha256": ids, "embedding": column})

        assert rows_digest("embeddings", rows) == by_hand("embeddings", rows)


def test_float32_and_the_float64_of_the_same_value_have_one_digest() -> None:
    values = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
    digests = {
        rows_digest(
            "embeddings",
            pa.table({"utterance_id": ["a"] * 50, "audio_sha256": ["5"] * 50, "embedding": pa.array([*values], kind)}),
        )
        for kind in (pa.list_(pa.float32(), 4), pa.list_(pa.float64(), 4))
    }

    assert len(digests) == 1


def test_every_nan_counts_as_the_same_whatever_its_bits() -> None:
    bits = [0x7FF8000000000000, 0xFFF8000000000000, 0x7FF0000000000001, 0x7FF8DEADBEEF0000]
    nans = np.array(bits, np.uint64).view(np.float64)

    at = SCORES.get_field_index("score")
    digests = {rows_digest("scores", scores().set_column(at, "score", pa.array([nan, 1.0]))) for nan in nans}

    assert len(digests) == 1
    assert rows_digest("scores", scores(score=math.nan)) != rows_digest("scores", scores(score=None))


def test_a_digest_is_the_same_in_any_order_and_parts() -> None:
    rows = scores()
    whole = rows_digest("scores", rows)

    assert rows_digest("scores", rows.take([1, 0])) == whole
    assert add(rows_digest("scores", rows.slice(start, 1)) for start in (1, 0)) == whole
    assert rows_digest("scores", pa.concat_tables([rows.slice(1, 1), rows.slice(0, 1)])) == whole


@pytest.mark.parametrize(
    ("column", "before", "after"),
    [
        ("score", 0.1, math.nextafter(0.1, 1)),
        ("score", 0.0, -0.0),
        ("score", 0.1, None),
        ("p_spoof", 0.4, math.nextafter(0.4, 0)),
        ("ood", 0.2, math.nextafter(0.2, 1)),
        ("reject_reason", None, "silent"),
        ("utterance_id", "a", "A"),
        ("head_id", "h", "H"),
    ],
)
def test_a_digest_changes_with_one_bit_of_what_was_found(column: str, before: object, after: object) -> None:
    assert rows_digest("scores", scores(**{column: before})) != rows_digest("scores", scores(**{column: after}))


@pytest.mark.parametrize("changes", [{"run_id": "R"}, {"uri": "U"}, {"fingerprint": "F"}], ids=str)
def test_a_digest_does_not_depend_on_the_run(changes: dict[str, object]) -> None:
    assert rows_digest("scores", scores(**changes)) == rows_digest("scores", scores())


def test_a_digest_changes_with_one_bit_of_an_embedding_and_with_its_absence() -> None:
    def embedded(vector: list[float] | None) -> str:
        return rows_digest(
            "embeddings", pa.table({"utterance_id": ["a"], "audio_sha256": ["5"], "embedding": [vector]})
        )

    digests = [embedded(vector) for vector in ([0.25, 0.5], [0.25, 0.5 + 2**-24], [0.5, 0.25], [0.25], None)]

    assert len(set(digests)) == 5


def test_a_row_that_occurs_twice_counts_twice() -> None:
    row = scores().slice(0, 1)

    assert rows_digest("scores", pa.concat_tables([row, row])) != rows_digest("scores", row)
    assert rows_digest("scores", row.slice(0, 0)) == "0" * 64


def test_values_of_neighbouring_columns_are_kept_apart() -> None:
    tables = [
        pa.table({"utterance_id": [name], "error": [error]})
        for name, error in (("a", "b\0c"), ("a\0b", "c"), ("a'\0'b", "c"), ("None", "c"), (None, "c"))
    ]

    assert len({rows_digest("failures", table) for table in tables}) == 5


def test_sums_stay_within_sixty_four_digits() -> None:
    assert add(["f" * 64, "02"]) == "0" * 63 + "1"  # (2^256 - 1) + 2 = 2^256 + 1
    assert add([]) == "0" * 64


def test_a_digest_is_made_of_columns_that_the_tables_have() -> None:
    schemas = {"embeddings": embeddings_schema(1), "scores": SCORES, "segments": SEGMENTS, "failures": FAILURES}

    assert all(set(columns) <= set(schemas[name].names) for name, columns in COLUMNS.items())
