"""One number for a set of rows, whatever their order and files."""

from __future__ import annotations

import hashlib
import math

import numpy as np
import pyarrow as pa
import pytest

from detector.schema import FAILURES, SCORES, embeddings_schema
from jobs.tables.row_digest import COLUMNS, add, rows_digest, spelt_rows


def scores(**changes: object) -> pa.Table:
    """Two rows of `scores`; ``changes`` are of the first."""
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

    by_hand = sum(
        int(hashlib.sha256(text.encode()).hexdigest(), 16)
        for text in ("'failures'\0'a'\0'empty'", "'failures'\0'b'\0'missing'")
    )

    assert rows_digest("failures", rows) == f"{by_hand % 2**256:064x}"


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_many_numbers_are_spelt_at_once_as_python_spells_each(dtype: type) -> None:
    # every sign and exponent, and what is spelt otherwise: zeros, subnormals, infinities, NaN
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 2**63, 60_000, dtype=np.uint64) | (
        rng.integers(0, 2, 60_000, dtype=np.uint64) << np.uint64(63)
    )
    numbers = (bits if dtype == np.float64 else (bits >> np.uint64(32)).astype(np.uint32)).view(dtype)
    odd = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, np.finfo(dtype).tiny, np.finfo(dtype).tiny / 2, 1.0], dtype)
    vectors = np.concatenate([numbers, np.tile(odd, 10)]).reshape(-1, 8)

    expected = [",".join(float(number).hex() for number in row) for row in vectors]

    assert list(spelt_rows(vectors)) == expected
    assert list(spelt_rows(vectors[:, :1])) == [row.split(",")[0] for row in expected]


def test_embeddings_have_the_digest_that_earlier_versions_gave_them() -> None:
    kind = pa.list_(pa.float32(), 2)
    for values in ([[0.5, -0.1], None, [0.0, 3.0]], [[None, 1.0], None, [2.0, 3.0]]):
        rows = pa.table({"utterance_id": list("abc"), "audio_sha256": list("def"), "embedding": pa.array(values, kind)})

        total = 0
        for row in rows.to_pylist():
            vector = row["embedding"]
            spelt = "None" if vector is None else ",".join("None" if x is None else x.hex() for x in vector)
            text = f"'embeddings'\0{row['utterance_id']!r}\0{row['audio_sha256']!r}\0{spelt}"
            total += int(hashlib.sha256(text.encode()).hexdigest(), 16)

        assert rows_digest("embeddings", rows) == f"{total % 2**256:064x}"
        assert add(rows_digest("embeddings", rows.slice(k, 1)) for k in range(3)) == f"{total % 2**256:064x}"


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
def test_a_digest_sees_one_bit_of_what_was_found(column: str, before: object, after: object) -> None:
    assert rows_digest("scores", scores(**{column: before})) != rows_digest("scores", scores(**{column: after}))


@pytest.mark.parametrize("changes", [{"run_id": "R"}, {"uri": "U"}, {"fingerprint": "F"}], ids=str)
def test_a_digest_does_not_see_who_found_it(changes: dict[str, object]) -> None:
    assert rows_digest("scores", scores(**changes)) == rows_digest("scores", scores())


def test_a_digest_sees_one_bit_of_an_embedding_and_its_absence() -> None:
    def embedded(vector: list[float] | None) -> str:
        return rows_digest(
            "embeddings", pa.table({"utterance_id": ["a"], "audio_sha256": ["5"], "embedding": [vector]})
        )

    digests = [embedded(vector) for vector in ([0.25, 0.5], [0.25, 0.5 + 2**-24], [0.5, 0.25], [0.25], None)]

    assert len(set(digests)) == 5


def test_a_row_counts_as_often_as_it_stands() -> None:
    row = scores().slice(0, 1)

    assert rows_digest("scores", pa.concat_tables([row, row])) != rows_digest("scores", row)
    assert rows_digest("scores", row.slice(0, 0)) == "0" * 64


def test_text_does_not_run_from_one_column_into_the_next() -> None:
    tables = [
        pa.table({"utterance_id": [name], "error": [error]})
        for name, error in (("a", "b\0c"), ("a\0b", "c"), ("a'\0'b", "c"), ("None", "c"), (None, "c"))
    ]

    assert len({rows_digest("failures", table) for table in tables}) == 5


def test_sums_stay_within_sixty_four_digits() -> None:
    assert add(["f" * 64, "02"]) == "0" * 63 + "1"  # (2^256 - 1) + 2 = 2^256 + 1
    assert add([]) == "0" * 64


def test_a_digest_is_made_of_columns_that_the_tables_have() -> None:
    schemas = {"embeddings": embeddings_schema(1), "scores": SCORES, "failures": FAILURES}

    assert all(set(columns) <= set(schemas[name].names) for name, columns in COLUMNS.items())
