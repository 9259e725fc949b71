"""A table without a column that it needs is refused with the columns that it has, and the nearest of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from detector.errors import SchemaError
from jobs.inputs.labels import label_tables, read_labels
from jobs.inputs.lists import read_entries
from jobs.inputs.table_files import missing_column, read_table
from jobs.reports.review.csv_sheet import read_csv


def labels_by_parts(uri: str) -> list[Any]:
    """Labels as `fit` and `retrain` read them, which look at the ids of each part before the next is read."""

    def checked() -> Iterator[int]:
        for part in label_tables(uri):
            assert not part["utterance_id"].null_count, "labels without ids were handed on"
            yield len(part)

    return list(checked())


@pytest.mark.parametrize("read", [read_labels, labels_by_parts])
@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_labels_without_ids_name_their_columns_and_the_nearest(
    tmp_path: Path, read: Callable[[str], Any], suffix: str
) -> None:
    path = tmp_path / f"labels{suffix}"
    path.write_text("utterance,label\na,spoof\n" if suffix == ".csv" else '{"utterance": "a", "label": "spoof"}\n')

    with pytest.raises(SchemaError, match=r"no column `utterance_id`; found utterance, label. If `utterance` is meant"):
        read(str(path))


def test_a_list_without_uris_names_its_columns_and_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("url,member\na.flac,\n")

    with pytest.raises(SchemaError, match=r"no column `uri`; found url, member. If `url` is meant, rename it"):
        read_entries(str(tmp_path / "list.csv"))


def test_a_sheet_of_a_reviewer_names_its_columns() -> None:
    with pytest.raises(SchemaError, match=r"no column `utterance_id`; found Utterance ID, label. If `Utterance ID` is"):
        read_csv(b"Utterance ID,label\na,spoof\n", "sheet.csv")


def test_a_table_of_other_separators_is_told_to_use_commas(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("uri;label\na.flac;spoof\n")

    with pytest.raises(SchemaError, match=r"found uri;label. Separate columns by commas"):
        read_entries(str(tmp_path / "list.csv"))


def test_a_column_that_nothing_resembles_gives_no_hint_and_many_columns_are_cut_short() -> None:
    message = str(missing_column("t.csv", "uri", [f"feature_{number}" for number in range(1_000)]))

    assert message.endswith("feature_19 and 980 more.")
    assert len(message) < 400


def test_a_file_that_is_named_as_a_table_and_is_none_says_which_are(tmp_path: Path) -> None:
    with pytest.raises(SchemaError, match=r"Expected a file that ends in \.csv, \.jsonl, \.parquet"):
        read_table(str(tmp_path / "labels.txt"))
