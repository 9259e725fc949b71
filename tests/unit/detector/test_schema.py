"""Columns are declared once: tables, facts and checks follow from the schema, and so does every error word."""

from __future__ import annotations

import math
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import detector
from detector.column import Column, FilledBy
from detector.failures import FAILURE_ERRORS
from detector.level import Levels
from detector.recording import Facts
from detector.schema import (
    DECODED,
    FAILURES,
    LABEL_COLUMNS,
    LEVELS,
    MANIFEST,
    PARTS,
    SCORES,
    SEGMENTS,
    TABLES,
    embeddings_schema,
)

SCHEMAS = {
    "embeddings": embeddings_schema(1),
    "scores": SCORES,
    "failures": FAILURES,
    "manifest": MANIFEST,
    "parts": PARTS,
    "segments": SEGMENTS,
}


@pytest.mark.parametrize("table", TABLES)
def test_a_schema_has_the_declared_columns_and_no_metadata(table: str) -> None:
    schema, declared = SCHEMAS[table], TABLES[table]

    assert schema.names == [column.name for column in declared]
    assert [field.nullable for field in schema] == [column.nullable for column in declared]
    # metadata would be written into every Parquet file, and change its bytes
    assert schema.metadata is None
    assert all(field.metadata is None for field in schema)


@pytest.mark.parametrize("table", TABLES)
def test_every_column_has_a_text_and_every_share_its_bounds(table: str) -> None:
    assert all(column.text for column in TABLES[table])
    assert {c.name for c in LEVELS if c.name.endswith("_share")} <= {c.name for c in LEVELS if c.bounds == (0.0, 1.0)}


def test_a_decoder_states_the_columns_that_it_fills() -> None:
    assert {field.name for field in fields(Facts)} == {column.name for column in DECODED} | {"n_segments"}
    assert [field.name for field in fields(Levels)] == [column.name for column in LEVELS]


@pytest.mark.parametrize(
    ("kind", "value", "accepted"),
    [
        (pa.float64(), 0.5, True),
        (pa.float64(), 1.0, True),
        (pa.float64(), 1.0000001, False),
        (pa.float64(), math.nan, False),
        (pa.float64(), math.inf, False),
        (pa.float64(), 1, False),  # JSON of a decoder that is not ours
        (pa.float64(), None, False),
        (pa.float64(), "0.5", False),
        (pa.int16(), 1, True),
        (pa.int16(), 2, False),
        (pa.int16(), True, False),
        (pa.int16(), 1.0, False),
        (pa.int16(), 10**400, False),
        (pa.string(), "", True),
        (pa.string(), b"", False),
    ],
)
def test_a_column_accepts_values_of_its_type_within_its_bounds(kind: pa.DataType, value: Any, accepted: bool) -> None:
    column = Column("x", kind, FilledBy.DECODER, "a share", bounds=(0.0, 1.0))

    assert column.accepts(value) is accepted


@pytest.mark.parametrize(("value", "accepted"), [(2**15 - 1, True), (2**15, False), (-(2**15), False)])
def test_an_integer_must_fit_its_column(value: int, accepted: bool) -> None:
    assert Column("x", pa.int16(), FilledBy.DECODER, "a number").accepts(value) is accepted


def test_every_error_that_is_raised_is_on_the_closed_list() -> None:
    sources = [path.read_text() for path in Path(detector.__file__).parent.rglob("*.py")]
    raised = {word for source in sources for word in re.findall(r'UtteranceError\(\s*"(\w+)"', source)}

    assert raised >= {"empty", "not_audio", "bad_header"}
    assert raised <= set(FAILURE_ERRORS)


def test_embeddings_are_fixed_size_lists_of_float32() -> None:
    kind = embeddings_schema(1_024).field("embedding").type

    assert (kind.list_size, kind.value_type) == (1_024, pa.float32())


def test_every_column_of_a_labels_file_is_in_the_manifest() -> None:
    assert set(LABEL_COLUMNS) <= set(MANIFEST.names)
