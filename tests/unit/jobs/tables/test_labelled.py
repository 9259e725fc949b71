"""Labels in a few bytes a row, found by digest, in an order that files and shards do not change."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from detector.errors import ConfigError, SchemaError
from detector.training.config import TrainingConfig
from jobs.tables import labelled
from jobs.tables.labelled import Labelled, Labels, renamed_for
from jobs.tables.ledger import Ledger
from tests.support.embeddings import LAST, vectors, write


def listed(path: Path, ids: list[str], **columns: list[str | None]) -> str:
    label = ["bonafide" if number % 2 else "spoof" for number in range(len(ids))]
    pq.write_table(pa.table({"utterance_id": ids, "label": label, **columns}), path)
    return str(path)


def test_rows_stand_in_the_order_of_the_digests_of_their_ids_whatever_the_list_s(tmp_path: Path) -> None:
    ids = [f"u{number}" for number in range(100)]
    speakers = [f"s{number % 7}" if number % 5 else None for number in range(100)]
    order = np.random.default_rng(0).permutation(100)

    found = Labels.read(listed(tmp_path / "a.parquet", ids, speaker=speakers))
    shuffled = pq.read_table(tmp_path / "a.parquet").take(pa.array(order))
    pq.write_table(shuffled, tmp_path / "b.parquet", row_group_size=7)
    again = Labels.read(str(tmp_path / "b.parquet"))

    # the first eight bytes of SHA-256, so that a sample is the same in every run and with every library
    expected = sorted(int.from_bytes(hashlib.sha256(each.encode()).digest()[:8]) for each in ids)
    assert found.digest.tolist() == again.digest.tolist() == expected
    assert found.is_bonafide.tolist() == again.is_bonafide.tolist()
    for each in (found, again):
        at = each.find(pa.array(ids))
        names = each.names["speaker"]
        assert [names.words[code] if code >= 0 else None for code in names.code[at]] == speakers
        assert each.is_bonafide[at].tolist() == [number % 2 == 1 for number in range(100)]


def test_an_unlisted_id_is_not_found(tmp_path: Path) -> None:
    found = Labels.read(listed(tmp_path / "a.parquet", ["a", "b"]))

    assert (found.find(pa.array(["c", "a", "\N{GREEK SMALL LETTER ALPHA}"])) >= 0).tolist() == [False, True, False]


def test_the_texts_of_some_rows_are_read_again(tmp_path: Path) -> None:
    found = Labels.read(listed(tmp_path / "a.parquet", ["a", "b", "c"], speaker=["x", "-", "y"]))

    texts = found.texts(found.find(pa.array(["c", "a"])))

    assert [(row["utterance_id"], row["label"], row["speaker"]) for row in texts] == [
        ("c", "spoof", "y"),
        ("a", "spoof", "x"),
    ]


def test_the_split_is_used_if_the_list_has_splits(tmp_path: Path) -> None:
    ids = ["a", "b", "c", "d"]
    with_splits = listed(tmp_path / "with.parquet", ids, split=["train", "eval", "train", None])
    without = listed(tmp_path / "without.parquet", ids)

    found = Labels.read(with_splits, "train")

    assert sorted(row["utterance_id"] for row in found.texts([0, 1])) == ["a", "c"]
    assert len(found) == 2
    assert len(Labels.read(with_splits, "dev")) == 0
    assert len(Labels.read(without, "train")) == 4


def test_ids_that_stand_twice_are_refused_by_name_also_far_apart(tmp_path: Path) -> None:
    ids = [f"u{number}" for number in range(50_000)]

    with pytest.raises(SchemaError, match=r"1 utterance id\(s\) occur more than once, first 'u7'"):
        Labels.read(listed(tmp_path / "a.parquet", [*ids, "u7"]))


def test_two_ids_of_one_digest_are_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(labelled, "_digest", len)

    with pytest.raises(SchemaError, match=r"\['bb', 'cc'\] have one digest"):
        Labels.read(listed(tmp_path / "a.parquet", ["a", "bb", "cc"]))


def test_a_row_without_an_id_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("utterance_id,label\na,spoof\n,bonafide\n")

    with pytest.raises(SchemaError, match=r"a\.csv: 1 labelled row\(s\) have no utterance_id"):
        Labels.read(f"{tmp_path}/a.csv")


def test_an_id_with_two_embeddings_is_refused(tmp_path: Path) -> None:
    write(tmp_path, LAST, vectors(1.0)[:3], ids=["a", "b", "a"])
    labels = Labels.read(listed(tmp_path / "a.parquet", ["a", "b"]))

    with pytest.raises(SchemaError, match=r"1 labelled id\(s\) have more than one embedding"):
        Labelled([Ledger(str(tmp_path), "embeddings", LAST.fingerprint)], labels, TrainingConfig())


def test_labels_without_an_embedding_are_left_out_and_positions_close_up(tmp_path: Path) -> None:
    ids = [f"u{number:04d}" for number in range(40)]
    write(tmp_path, LAST, vectors(1.0)[:40])
    labels = Labels.read(listed(tmp_path / "a.parquet", [*ids[::2], "gone", "lost"], speaker=["x"] * 22))

    rows = Labelled([Ledger(str(tmp_path), "embeddings", LAST.fingerprint)], labels, TrainingConfig())

    read = np.empty((rows.n_rows, rows.dim), dtype=np.float32)
    places = []
    for index, block in rows.blocks():
        read[index] = block
        places += index.tolist()
    assert sorted(places) == list(range(20))
    at = rows.labels.find(pa.array(ids[::2]))
    np.testing.assert_array_equal(read[at], vectors(1.0)[:40:2])


def test_a_labelled_row_takes_fifteen_bytes_however_long_its_names_are(tmp_path: Path) -> None:
    ids = [f"{'far/down/the/archive/' * 5}{number}" for number in range(20_000)]
    columns = {name: [f"{name} of a long name {n % 200}" for n in range(20_000)] for name in labelled.NAMES}

    found = Labels.read(listed(tmp_path / "a.parquet", ids, **columns))

    held = [found.digest, found.is_bonafide, *(column.code for column in found.names.values())]
    # eight of the digest, one of the class, and two of each number up to 200 (one up to 127, four above 32,767)
    assert sum(each.nbytes for each in held) == 20_000 * (8 + 1 + 3 * 2)


def test_labels_of_an_archive_that_was_moved_join_by_suffix_only_when_asked(tmp_path: Path) -> None:
    ids = [f"day/u{number:02d}.flac" for number in range(8)]
    write(tmp_path, LAST, vectors(1.0)[:8], ids=ids)
    uri = listed(tmp_path / "a.parquet", [f"/old/place/{name}" for name in ids[:6]], speaker=list("abcdef"))
    tables = [Ledger(str(tmp_path), "embeddings", LAST.fingerprint)]

    with pytest.raises(ConfigError, match=r"--match suffix would join 6 of them by the ends of their paths: '/old/"):
        Labelled(tables, Labels.read(uri), TrainingConfig())
    assert renamed_for(uri, tables, "exact") == {}
    labels = Labels.read(uri, renamed=renamed_for(uri, tables, "suffix"))
    rows = Labelled(tables, labels, TrainingConfig())

    assert rows.n_rows == 6
    texts = rows.labels.texts(rows.labels.find(pa.array(ids[:6])))
    assert [(row["utterance_id"], row["speaker"]) for row in texts] == list(zip(ids[:6], "abcdef", strict=True))
