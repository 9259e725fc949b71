"""What people have filled in is not replaced without a word: a queue with labels, and labels that a new list lacks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from jobs.inputs.labels import read_labels
from tests.support import nightly_runs

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def night(tmp_path: Path) -> Path:
    """Return a folder with a night over thirty recordings."""
    vectors, _ = nightly_runs.drawn(30, seed=3)
    (tmp_path / "head.json").write_text(nightly_runs.head().to_json())
    shards = {"a": nightly_runs.recordings(vectors, "a")}
    nightly_runs.night(str(tmp_path / "tables"), shards, head_uri=str(tmp_path / "head.json"), pages=False)
    return tmp_path


def export(night: Path, bonafide: Run) -> tuple[int, str, str]:
    return bonafide("review", "export", "--output", night / "tables", "--to", night / "queue.csv")


def fill_in(queue: Path, label: str, n_rows: int) -> None:
    """Label the first rows of a queue."""
    header, *rows = queue.read_text(encoding="utf-8-sig").splitlines()
    place = header.split(",").index("label")
    cells = [row.split(",") for row in rows]
    for row in cells[:n_rows]:
        row[place] = label
    queue.write_text("\n".join([header, *(",".join(row) for row in cells)]))


def test_a_queue_is_exported_again_until_someone_has_labelled_a_row(night: Path, bonafide: Run) -> None:
    assert [export(night, bonafide)[0] for _ in range(2)] == [0, 0]
    fill_in(night / "queue.csv", "spoof", 1)
    labelled = (night / "queue.csv").read_bytes()

    code, _, err = export(night, bonafide)

    assert code == 65
    assert "1 recordings are labelled in the queue that stands there" in err
    assert (night / "queue.csv").read_bytes() == labelled


def test_a_list_of_labels_is_not_replaced_by_one_that_lacks_some(night: Path, bonafide: Run) -> None:
    where = ("--output", night / "tables", "--labels", night / "labels.csv")
    export(night, bonafide)
    fill_in(night / "queue.csv", "spoof", 2)
    assert bonafide("review", "import", "--from", night / "queue.csv", *where)[0] == 0
    before = (night / "labels.csv").read_bytes()
    fill_in(night / "queue.csv", "", 2)
    fill_in(night / "queue.csv", "spoof", 1)

    code, _, err = bonafide("review", "import", "--from", night / "queue.csv", *where)
    assert code == 65
    assert "1 labels would be lost" in err
    assert (night / "labels.csv").read_bytes() == before

    assert bonafide("review", "import", "--from", night / "queue.csv", *where, "--older", night / "labels.csv")[0] == 0
    assert len(read_labels(str(night / "labels.csv"))) == 2
