"""B28 to B35: heads, weights and settings that were tampered with, or are of another kind."""

from __future__ import annotations

import contextlib
import io
import json
import pickle
import struct
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest

from detector import signature
from detector.backbones.loading import load
from detector.checkpoint import weights_digest
from detector.errors import ConfigError
from detector.head import Head
from detector.metrics import equal_error_rate
from jobs import cli
from jobs.config import ModelConfig
from jobs.inputs.checkpoint import local_folder
from jobs.scoring.heads import read_head
from tests.hostile.harness import Lab, hostile
from tests.hostile.test_archives import Bomb
from tests.support.checkpoints import write_checkpoint
from tests.support.embeddings import LAST, N_ROWS, fitted, vectors
from tests.support.embeddings import write as write_table
from tests.support.made_heads import PLAIN
from tests.unit.detector.test_head import UNFIT
from tests.unit.detector.test_judging import rows
from tests.unit.detector.training.drawn import Drawn, draw, fit

TEXT = PLAIN.to_json()


def refused(lab: Lab, content: bytes | str, match: str = "", key: Path | None = None) -> None:
    path = lab.folder / "head.json"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(ConfigError, match=match) as caught:
        read_head(str(path), None if key is None else str(key))
    assert len(str(caught.value)) < 2_000
    lab.saw("refused, 65")


def spliced(old: str, new: str) -> str:
    assert TEXT.count(old) == 1
    return TEXT.replace(old, new)


TWICE = {
    "a key twice": spliced('"bias": 0.0', '"bias": 1.0,\n "bias": 0.0'),
    "a key twice inside": spliced('"recipe": {', '"recipe": {\n  "layer": 9,'),
    "a million brackets": "[" * 1_000_000,
    "a number of a million digits": spliced('"bias": 0.0', '"bias": ' + "1" * 1_000_000),
}


@pytest.mark.parametrize("what", [*UNFIT, *TWICE])
@hostile(
    "B30",
    given="a head with NaN, a wrong dimension, a key too many or twice, a million brackets, swapped classes …",
    expected="refused, 65, with the reason",
)
def test_a_malformed_head_is_refused(lab: Lab, what: str) -> None:
    text, match = UNFIT.get(what) or (TWICE[what], "twice|not a head")

    refused(lab, text, match.replace("h.json", "head.json"))


@hostile("B30", given="a head of another encoder's embeddings", expected="refused, 65, naming both fingerprints")
def test_a_head_of_another_encoder_is_refused(lab: Lab) -> None:
    other = rows([[1.0, 0.0]], fingerprint="0" * 16)

    with pytest.raises(ConfigError, match="the head is for embeddings of fingerprint"):
        PLAIN.judge(other, None, "-")
    lab.saw("refused, 65")


@hostile("B31", given="a head with one byte flipped, at every offset", expected="refused, 65, or the same head")
def test_a_flipped_byte_is_never_another_head(lab: Lab) -> None:
    content = TEXT.encode()
    n_same = 0
    for at in range(len(content)):
        for bit in (0, 6):
            damaged = content[:at] + bytes([content[at] ^ 1 << bit]) + content[at + 1 :]
            try:
                # white space may become another: the numbers do not
                assert Head.from_json(damaged, "head.json") == PLAIN
                n_same += 1
            except ConfigError:
                pass
    assert n_same < len(content) // 4
    lab.saw(f"{2 * len(content) - n_same:,} refused, {n_same} the same head")


@hostile("B31", given="a signed head with one byte flipped, at every offset", expected="refused, 65")
def test_a_flipped_byte_of_a_signed_head_is_refused(lab: Lab) -> None:
    private, public = signature.key_pair()
    content = PLAIN.to_json(private).encode()
    for at in range(len(content)):
        with pytest.raises(ConfigError):
            Head.from_json(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :], "head.json", public)
    lab.saw("all refused")


@hostile("B31", given="a head signed with another key; an unsigned head", expected="refused, 65")
def test_another_s_signature_is_refused(lab: Lab) -> None:
    (_, mine), (theirs, _) = signature.key_pair(), signature.key_pair()
    key = lab.folder / "public.pem"
    key.write_bytes(mine)

    refused(lab, PLAIN.to_json(theirs), "signed with another key", key)
    refused(lab, TEXT, "not signed", key)


def torch_file(bomb: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as zipped:
        zipped.writestr("archive/data.pkl", bomb)
    return file.getvalue()


def joblib_file(bomb: Bomb) -> bytes:
    file = io.BytesIO()
    joblib.dump(bomb, file)
    return file.getvalue()


PICKLED: dict[str, Callable[[Bomb], bytes]] = {
    "a pickle": lambda bomb: pickle.dumps(bomb),
    "a pickle of protocol 0": lambda bomb: pickle.dumps(bomb, protocol=0),
    "a file of joblib": joblib_file,
    "a file of torch, or skops": lambda bomb: torch_file(pickle.dumps(bomb)),
    "an array of objects": lambda bomb: npy(bomb),
}


def npy(bomb: Bomb) -> bytes:
    file = io.BytesIO()
    np.save(file, np.array([bomb], dtype=object), allow_pickle=True)
    return file.getvalue()


@pytest.mark.parametrize("what", PICKLED)
@hostile("B32", expected="refused, 65; nothing is unpickled")
def test_a_pickle_is_no_head(lab: Lab, what: str) -> None:
    lab.given = f"{what} in the place of a head"

    refused(lab, PICKLED[what](Bomb(str(lab.folder.parent / "outside" / "boom"))), "not a head")


def weights(header: dict[str, Any], content: bytes = b"", length: int | None = None) -> bytes:
    """Return a safetensors file with this header."""
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + content


def tensor(start: int, end: int) -> dict[str, Any]:
    return {"dtype": "F32", "shape": [(end - start) // 4], "data_offsets": [start, end]}


BROKEN: dict[str, Callable[[Path], None]] = {
    "a header of 2^63 bytes": lambda folder: write(folder, weights({}, length=1 << 63)),
    "tensors that overlap": lambda folder: write(folder, weights({"a": tensor(0, 64), "b": tensor(32, 96)}, bytes(96))),
    "a tensor beyond the end": lambda folder: write(folder, weights({"a": tensor(0, 1 << 40)}, bytes(64))),
    "half a file": lambda folder: write(folder, (folder / "model.safetensors").read_bytes()[:5_000]),
    "no weights at all": lambda folder: write(folder, weights({})),
    "a pickle called safetensors": lambda folder: write(folder, pickle.dumps(Bomb(str(folder / "boom")))),
    "pickled weights only": lambda folder: only_pickled(folder),
    "remote code (auto_map)": lambda folder: with_config(folder, auto_map={"AutoModel": "modeling.Evil"}),
    "another model_type": lambda folder: with_config(folder, model_type="evil"),
    "a config a million brackets deep": lambda folder: (folder / "config.json").write_text("[" * 1_000_000) and None,
}


def write(folder: Path, content: bytes) -> None:
    (folder / "model.safetensors").write_bytes(content)


def only_pickled(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Bomb(str(folder / "boom"))))


def with_config(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    (folder / "modeling.py").write_text("import pathlib\npathlib.Path(__file__).with_name('boom').touch()\n")


@pytest.mark.parametrize("what", BROKEN)
@hostile("B33", expected="refused, 65, before anything is allocated or run")
def test_weights_that_were_tampered_with_are_refused(lab: Lab, what: str) -> None:
    lab.given = f"a checkpoint with {what}"
    folder = write_checkpoint(lab.folder / "checkpoint", "wav2vec2", norm="layer")
    BROKEN[what](folder)

    with pytest.raises(ConfigError):
        load(folder, (1,))

    assert not (folder / "boom").exists()
    lab.saw("refused, 65")


@hostile("B33", given="weights with one byte changed", expected="another fingerprint, so that no head accepts them")
def test_other_weights_are_another_fingerprint(lab: Lab) -> None:
    write(lab.folder, weights({"a": tensor(0, 64)}, bytes(64)))
    before = weights_digest(lab.folder)
    write(lab.folder, weights({"a": tensor(0, 64)}, bytes(63) + b"\1"))

    assert weights_digest(lab.folder) != before
    lab.saw("another fingerprint")


@pytest.mark.parametrize("revision", [None, "main", "v1.0", "a" * 39, "A" * 40, "../main"])
@hostile(
    "B34",
    given="a hub name with revision main, a tag, or none",
    expected="refused, 65: a commit of 40 digits is required",
)
def test_a_branch_of_the_hub_is_refused(lab: Lab, revision: str | None) -> None:
    with pytest.raises(ConfigError, match="40 hexadecimal digits"):
        local_folder(ModelConfig(model="facebook/wav2vec2-base", revision=revision))
    lab.saw("refused, 65")


@pytest.mark.parametrize(
    "arguments",
    [["--backbon", "melstats"], ["--out", "x"], ["--threshold", "0.5"], ["--dtype=float23"], ["--layer", "x"]],
)
@hostile(
    "B35",
    given="an unknown or abbreviated option, a value of the wrong type (there is no YAML)",
    expected="exit 2 or 65",
)
def test_an_unknown_or_malformed_option_is_refused(lab: Lab, arguments: list[str]) -> None:
    given = ["--input", str(lab.folder), "--backbone", "melstats", "--output", str(lab.folder / "out")]
    with contextlib.redirect_stderr(io.StringIO()) as said:
        try:
            code = cli.main(["embed", *given, *arguments])
        except SystemExit as stop:  # argparse's way out
            code = int(stop.code or 0)

    assert code in (2, 65)
    assert said.getvalue().strip()
    assert not (lab.folder / "out").exists()
    lab.saw(f"exit {code}")


NUMBERS: dict[str, Callable[[Drawn], Drawn]] = {
    "a constant feature": lambda drawn: stretched(drawn, 0.0),
    "features of 1e-300": lambda drawn: stretched(drawn, 1e-300),
    "features of 1e300": lambda drawn: stretched(drawn, 1e300),
    "NaN among features": lambda drawn: stretched(drawn, np.nan),
    "classes far apart": lambda drawn: replace(
        drawn, embeddings=drawn.embeddings + 1e6 * np.where(drawn.is_bonafide, 1.0, -1.0)[:, None]
    ),
    "one class": lambda drawn: replace(drawn, is_bonafide=np.ones_like(drawn.is_bonafide)),
}


def stretched(drawn: Drawn, factor: float) -> Drawn:
    embeddings = drawn.embeddings.copy()
    embeddings[:, 0] *= factor
    return replace(drawn, embeddings=embeddings)


@pytest.mark.parametrize("what", NUMBERS)
@hostile("B29", expected="a head with finite numbers, or refused, 65")
def test_numbers_that_break_a_fit_are_tolerated_or_refused(lab: Lab, what: str) -> None:
    lab.given = f"a fit on {what}"
    drawn = NUMBERS[what](draw(100, 100))
    with np.errstate(all="ignore"):
        try:
            head, _ = fit(drawn)
        except ConfigError:
            lab.saw("refused, 65")
            return
    assert np.isfinite([*head.weights, *head.mean, *head.scale, head.bias, *head.calibration]).all()
    assert np.isfinite(head.scores(draw(10, 10, seed=1).embeddings)).all()
    lab.saw("a finite head")


@hostile(
    "B28", given="one recording under two ids, in train and eval", expected="refused by `fit`, 65, naming both ids"
)
def test_a_recording_in_train_and_eval_is_refused(lab: Lab) -> None:
    labels = lab.folder / "labels.csv"
    rows = [(f"u{n:04d}", "bonafide" if n % 2 else "spoof", "eval" if n == 2 else "train") for n in range(N_ROWS)]
    labels.write_text("".join(",".join(row) + "\n" for row in [("utterance_id", "label", "split"), *rows]))
    digests = [f"{n:04d}" for n in range(N_ROWS)]
    digests[2] = digests[0]
    write_table(lab.folder / "tables", LAST, vectors(2.0), digests=digests)

    with pytest.raises(ConfigError, match="several splits, byte for byte, first 'u0000' and 'u0002'"):
        fitted(lab.folder / "tables", str(labels), "head")
    lab.saw("refused, 65")


@pytest.mark.parametrize("share", [0.01, 0.05, 0.2])
@hostile("B28", given="1, 5, 20 % of the training labels swapped", expected="a usable head; the loss is measured")
def test_swapped_labels_cost_as_much_as_documented(lab: Lab, share: float) -> None:
    clean, judged = draw(400, 400), draw(2_000, 2_000, seed=9)
    swapped = clean.is_bonafide ^ (np.random.default_rng(3).random(800) < share)

    def eer(drawn: Drawn) -> float:
        scores = fit(drawn)[0].scores(judged.embeddings)
        return equal_error_rate(scores[judged.is_bonafide], scores[~judged.is_bonafide])

    before, after = eer(clean), eer(replace(clean, is_bonafide=swapped))

    # Gaussians of equal covariance: swaps at random turn the optimal direction little, and shrink its length
    assert after < before + 0.05
    lab.saw(f"{share:.0%}: EER {before:.1%} → {after:.1%}")
