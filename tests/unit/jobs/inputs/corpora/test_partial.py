"""Corpora of partial spoofs say when; a file of labels that is a pickle runs nothing."""

from __future__ import annotations

import io
import pickle
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from detector.errors import SchemaError
from jobs.inputs.corpora.importing import import_corpus
from jobs.inputs.corpora.partial import parts_of_cells
from jobs.inputs.corpora.segment_labels import segment_labels
from jobs.inputs.parts import Part, by_utterance, read_parts
from tests.support.corpora import TREES, lay
from tests.support.corpora.partial import PARTIAL, PARTS

Run = Callable[..., tuple[int, str, str]]
LABELS = "database/segment_labels/dev_seglab_{}.npy"


def npy(labels: object) -> bytes:
    """Write labels as the corpus does."""
    file = io.BytesIO()
    np.save(file, labels, allow_pickle=True)
    return file.getvalue()


def with_pickle(content: bytes) -> bytes:
    """Put other content in place of the pickle of a `.npy` file."""
    whole = npy({})
    return whole[: whole.index(b"\n") + 1] + content


def parts_of(name: str, root: Path) -> dict[str, list[Part]]:
    return {
        path.removeprefix(f"{root}/"): parts for path, parts in by_utterance(import_corpus(name, [str(root)]).parts)
    }


@pytest.mark.parametrize("name", PARTIAL)
def test_a_corpus_of_partial_spoofs_gives_its_parts(name: str, tmp_path: Path) -> None:
    lay(tmp_path, TREES[name].files)

    assert parts_of(name, tmp_path) == dict(sorted(PARTS[name].items()))


@pytest.mark.parametrize("name", sorted(TREES.keys() - PARTIAL.keys() - {"csv"}))
def test_other_corpora_have_no_parts(name: str, tmp_path: Path) -> None:
    tree = TREES[name]
    lay(tmp_path, tree.files)

    assert len(import_corpus(name, [str(tmp_path)], tree.subsets).parts) == 0


def test_partialspoof_takes_the_finest_cells_that_are_there(tmp_path: Path) -> None:
    lay(tmp_path, TREES["partialspoof"].files)
    coarse = {"CON_D_0000000": np.array(list("01")), "LA_D_1047731": np.array(list("11"))}
    fine = {"CON_D_0000000": np.array(list("110001")), "LA_D_1047731": np.array(list("111111"))}
    for seconds, labels in (("0.64", coarse), ("0.16", fine)):
        path = tmp_path / LABELS.format(seconds)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(npy(labels))

    parts = parts_of("partialspoof", tmp_path)

    assert parts["database/dev/con_wav/CON_D_0000000.wav"] == [
        Part(0.0, 0.32, "bonafide"),
        Part(0.32, 0.8, "spoof"),
        Part(0.8, 0.96, "bonafide"),
    ]
    assert parts["database/dev/con_wav/LA_D_1047731.wav"] == [Part(0.0, 0.96, "bonafide")]


def test_labels_with_0_and_1_the_other_way_round_are_refused(tmp_path: Path) -> None:
    lay(tmp_path, TREES["partialspoof"].files)
    (tmp_path / "database" / "segment_labels").mkdir()
    (tmp_path / LABELS.format("0.01")).write_bytes(npy({"LA_D_1047731": np.array(list("000"))}))

    with pytest.raises(SchemaError, match=r"dev.trl.txt line 2: LA_D_1047731.wav: bonafide in its protocol"):
        import_corpus("partialspoof", [str(tmp_path)])


@pytest.mark.parametrize(
    "values",
    [np.array(["0", "1"]), np.array([0, 1]), np.array([0.0, 1.0]), np.array([0, 1], ">i2"), ["0", "1"], [0, 1]],
    ids=["text", "integers", "floats", "big-endian", "list of text", "list of integers"],
)
def test_labels_may_be_text_or_numbers(values: object) -> None:
    labels = segment_labels(npy({"a": values, "b": values}), "x.npy")

    assert {name: each.tolist() for name, each in labels.items()} == {"a": [True, False], "b": [True, False]}


class Runs:
    """Pickled, it calls a function of this process."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return exec, ("raise SystemExit('it ran')",)


def memo_bomb() -> bytes:
    """An index of four thousand million, for which the unpickler of C would allocate 64 GiB."""
    return pickle.PROTO + b"\x03" + pickle.EMPTY_DICT + pickle.LONG_BINPUT + struct.pack("<I", 2**32 - 1) + pickle.STOP


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (npy({"a": Runs()}), "it names builtins.exec"),
        (with_pickle(pickle.PROTO + b"\x05" + pickle.BYTEARRAY8 + struct.pack("<Q", 2**40) + pickle.STOP), "KeyError"),
        (with_pickle(memo_bomb()), "expected a .npy file of one dict"),
        (with_pickle(pickle.PROTO + b"\x03" + pickle.BINBYTES + struct.pack("<I", 2**31) + b"x"), "expected a .npy"),
        (with_pickle(b""), "EOFError"),
        (npy({"a": np.array(["0", "2"])}), "'a' has labels that are neither 0 nor 1"),
        (npy({"a": np.array([[0, 1]])})[:-9], "expected a .npy"),
        (npy({"a": np.array([0j])}), "an array of 'c16'"),
        (npy({"a": [None]}), "'a' has labels of type object"),
        (npy(np.zeros(3)), "expected a .npy"),
        (b"PK\x03\x04", "expected a .npy"),
    ],
)
def test_a_file_of_labels_that_is_something_else_is_refused(content: bytes, cause: str) -> None:
    with pytest.raises(SchemaError, match=cause) as refused:
        segment_labels(content, "x.npy")

    assert str(refused.value).startswith("x.npy: ")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("2.02-4.03-T", "2.02-4.03-U", "line 1: label 'U'; expected T or F"),
        ("2.02-4.03-T", "4.02-4.01-T", "line 1: part '4.02-4.01-T'; expected START-END-LABEL"),
        ("2.02-4.03-T", "1.1.1-4.01-T", "line 1: part '1.1.1-4.01-T'; expected START-END-LABEL"),
        ("2.02-4.03-T", "1.50-4.03-T", "line 1: Part.* overlap; expected one label at a time"),
        ("2.02-4.03-T 0", "2.02-4.03-T 1", "line 1: HAD_train_00000001.wav: bonafide in its protocol"),
    ],
)
def test_a_part_that_cannot_be_meant_is_refused_with_its_line(old: str, new: str, message: str, tmp_path: Path) -> None:
    lay(tmp_path, {path: text.replace(old, new) for path, text in TREES["had"].files.items()})

    with pytest.raises(SchemaError, match=message):
        import_corpus("had", [str(tmp_path)])


def test_a_part_without_length_labels_nothing(tmp_path: Path) -> None:
    lay(
        tmp_path,
        {path: text.replace("0.00-0.50-F", "0.00-0.00-T/0.00-0.50-F") for path, text in TREES["had"].files.items()},
    )

    assert parts_of("had", tmp_path) == dict(sorted(PARTS["had"].items()))


def test_cells_of_no_recording_are_no_parts() -> None:
    assert parts_of_cells(np.array([], dtype=bool), 0.01) == ()


def test_the_command_writes_parts_whose_ids_are_those_of_the_manifest(tmp_path: Path, bonafide: Run) -> None:
    lay(tmp_path / "corpus", TREES["had"].files)
    command = ("manifest", "--corpus", "had", "--input", tmp_path / "corpus", "--output", tmp_path / "had.parquet")

    _, told, _ = bonafide(*command)
    code, out, _ = bonafide(*command, "--parts", tmp_path / "parts.csv")

    assert "6 labelled parts: not written; name a table with --parts\n" in told
    assert (code, out.splitlines()[-1]) == (0, f"6 labelled parts: {tmp_path}/parts.csv")
    names = {name.removeprefix("HAD/"): parts for name, parts in PARTS["had"].items()}
    written = dict(by_utterance(read_parts(str(tmp_path / "parts.csv"))))
    assert {name.removeprefix("HAD/"): parts for name, parts in written.items()} == names


def test_parts_of_a_corpus_without_them_are_refused(tmp_path: Path, bonafide: Run) -> None:
    lay(tmp_path / "corpus", TREES["in-the-wild"].files)

    code, _, err = bonafide(
        *("manifest", "--corpus", "in-the-wild", "--input", tmp_path / "corpus"),
        *("--output", tmp_path / "m.parquet", "--parts", tmp_path / "parts.csv"),
    )

    assert code == 65
    assert "in-the-wild does not label parts; drop --parts" in err
