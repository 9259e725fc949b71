"""Recordings that are spoofed in part choose a rule, and teach the head nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from detector.errors import ConfigError, SchemaError
from detector.head import Head
from detector.schema import SCORES
from jobs.inputs.parts import Part, parts_table, write_parts
from tests.support.embeddings import DIM, LAST, N_ROWS, fitted, vectors, write, write_labels

N_PARTIAL, N_WINDOWS = 120, 12


def windows(rng: np.random.Generator, spoofed: int) -> np.ndarray:
    """Windows around where bona fide rows lie, and so many around where spoof rows do."""
    found = rng.normal(size=(N_WINDOWS, DIM)) + 1.5
    found[rng.permutation(N_WINDOWS)[:spoofed]] -= 1.5
    return found.astype(np.float32)


def write_partial(folder: Path) -> tuple[str, str]:
    """Write a table of whole recordings and of such that are spoofed in 2 of 12 windows; return labels and parts."""
    rng = np.random.default_rng(1)
    of_whole = [windows(rng, N_WINDOWS * (number % 2 == 0)) for number in range(N_ROWS)]
    of_partial = [windows(rng, 2) for _ in range(N_PARTIAL)]
    embeddings = np.concatenate([vectors(1.5), np.array([each.mean(axis=0) for each in of_partial])])
    ids = [*(f"u{number:04d}" for number in range(N_ROWS)), *(f"p{number:04d}" for number in range(N_PARTIAL))]
    write(folder, LAST, embeddings, ids=ids, windows=[*of_whole, *of_partial])
    labels = Path(write_labels(folder / "labels.csv"))
    lines = [f"p{number:04d},spoof,partial{number % 6},-,2-{number % 6}\n" for number in range(N_PARTIAL)]
    (folder / "all.csv").write_text(labels.read_text() + "".join(lines))
    parts = {f"p{number:04d}": [Part(0.0, 4.0, "bonafide"), Part(4.0, 8.0, "spoof")] for number in range(N_PARTIAL)}
    parts |= {"u0000": [Part(0.0, 26.0, "spoof")], "u0001": [Part(0.0, 26.0, "bonafide")], "other": parts["p0000"]}
    write_parts(str(folder / "parts.parquet"), parts_table(parts.items()))
    return str(folder / "all.csv"), str(folder / "parts.parquet")


def judged(head: Head, folder: Path) -> pa.Table:
    tables = [pq.read_table(path) for path in sorted((folder / "embeddings").rglob("*.parquet"))]
    return head.judge(pa.concat_tables(tables), None, "run")


def test_a_rule_finds_what_the_mean_over_frames_hides(tmp_path: Path) -> None:
    labels, parts = write_partial(tmp_path)

    head, report = fitted(tmp_path, labels, "head", parts=parts, silence_dbfs=-60.0)

    found = report["training"]["segment_rule"]
    assert (found["with_spoof"], found["spoof_in_part"], found["without_spoof"]) == (240, 120, 120)
    # 2 of 12 windows move the mean by a sixth of what parts the classes; the lowest 2 or 3 are all of it
    assert head.contains_rule == found["rule"] != "mean"
    assert found["tried"][found["rule"]]["equal_error_rate"] < found["tried"]["mean"]["equal_error_rate"] - 0.1
    scores = judged(head, tmp_path)
    assert scores.schema == SCORES
    by_id = dict(zip(scores["utterance_id"].to_pylist(), scores["contains_score"].to_pylist(), strict=True))
    partial, clean = ([by_id[f"{kind}{n:04d}"] for n in range(1, 120, 2)] for kind in ("p", "u"))
    assert np.mean(np.array(partial) < 0.0) > 0.8
    assert np.mean(np.array(clean) > 0.0) > 0.8
    assert by_id["unlabelled-" + "0" * 16] is None
    low, high = head.contains_numbers[2:]
    assert all(low <= score <= high for score in by_id.values() if score is not None)


def test_the_head_is_that_of_the_whole_recordings_alone(tmp_path: Path) -> None:
    labels, parts = write_partial(tmp_path)

    with_parts, _ = fitted(tmp_path, labels, "with", parts=parts)
    alone, _ = fitted(tmp_path, str(tmp_path / "labels.csv"), "alone")

    for name in ("weights", "bias", "mean", "scale", "calibration", "ood_quantiles", "max_entropy_bits"):
        assert getattr(with_parts, name) == getattr(alone, name)
    assert alone.contains_rule == ""
    assert "contains_rule" not in json.loads((tmp_path / "alone.json").read_text())
    assert judged(alone, tmp_path)["contains_score"].null_count == N_ROWS + N_PARTIAL + 3
    assert judged(with_parts, tmp_path)["score"].equals(judged(alone, tmp_path)["score"])


def test_a_recording_of_which_only_a_splice_is_labelled_does_not_teach_the_head_what_spoof_is(tmp_path: Path) -> None:
    labels, parts = write_partial(tmp_path)
    both, _ = fitted(tmp_path, labels, "both", parts=parts)
    spoof = {f"p{number:04d}": [Part(4.0, 7.0, "spoof"), Part(6.0, 8.0, "spoof")] for number in range(N_PARTIAL)}
    write_parts(parts, parts_table(spoof.items()))  # as `review parts` writes what a reviewer marked, and no more

    splices, report = fitted(tmp_path, labels, "splices", parts=parts)

    assert splices.weights == both.weights
    assert report["training"]["segment_rule"]["spoof_in_part"] == N_PARTIAL


def test_windows_as_quiet_as_silence_say_nothing(tmp_path: Path) -> None:
    labels, parts = write_partial(tmp_path)

    _, report = fitted(tmp_path, labels, "head", parts=parts, silence_dbfs=-20.5)
    quiet, none = fitted(tmp_path, labels, "quiet", parts=parts, silence_dbfs=-20.0 - 1e-9)

    assert report["training"]["segment_rule"]["rule"] is not None
    assert quiet.contains_rule != ""
    assert none["training"]["segment_rule"]["with_spoof"] == 240


def test_without_windows_there_is_no_rule_and_the_report_says_why(tmp_path: Path) -> None:
    labels, parts = write_partial(tmp_path)
    ids = [*(f"u{number:04d}" for number in range(N_ROWS)), *(f"p{number:04d}" for number in range(N_PARTIAL))]
    embeddings = np.concatenate([vectors(1.5), np.ones((N_PARTIAL, DIM), np.float32)])
    both = [Part(0.0, 1.0, "bonafide"), Part(1.0, 2.0, "spoof")]
    write_parts(parts, parts_table((name, both) for name in ids[N_ROWS:]))
    write(tmp_path / "plain", LAST, embeddings, ids=ids)

    head, report = fitted(tmp_path / "plain", labels, "head", parts=parts)

    assert head.contains_rule == ""
    assert report["training"]["segment_rule"]["why_none"] == "fewer than 20 recordings of a kind have windows"


def test_parts_that_cannot_be_used_are_refused(tmp_path: Path) -> None:
    labels, parts = write_partial(tmp_path)

    def refusal(found: dict[str, list[Part]], **settings: object) -> str:
        write_parts(parts, parts_table(found.items()))
        with pytest.raises((ConfigError, SchemaError)) as refused:
            fitted(tmp_path, labels, "head", parts=parts, **settings)
        return str(refused.value)

    both = [Part(0.0, 1.0, "bonafide"), Part(1.0, 2.0, "spoof")]
    every = {f"{kind}{number:04d}": both for kind in "up" for number in range(0, N_ROWS, 2 if kind == "u" else 1)}
    assert "'u0001' has a spoof part, and is labelled bonafide" in refusal({"u0001": both})
    assert "none of 1 recordings with labelled parts is among the rows" in refusal({"other": both})
    assert "all spoof rows are genuine in part" in refusal(every)
    assert "fuse and parts" in refusal({"p0000": both}, fuse=2)
    late = refusal({"p0000": both, "p0001": [Part(4_000.0, 8_000.0, "spoof")]})  # milliseconds of 26 s
    assert "1 of 2 recordings have a part that begins behind their end, first 'p0001': from 4000 s, where 26.0" in late


@pytest.mark.long
def test_parts_that_end_behind_their_recording_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    labels, parts = write_partial(tmp_path)
    ends = {"p0000": 26.0, "p0001": 26.9, "p0002": 27.1, "p0003": 40.0}  # the recordings have 26 s
    found = {name: [Part(0.0, 4.0, "bonafide"), Part(4.0, end, "spoof")] for name, end in ends.items()}
    write_parts(parts, parts_table(found.items()))

    fitted(tmp_path, labels, "head", parts=parts)

    assert "2 of 4 recordings have a part that ends behind their end, first 'p0002': at 27.1 s" in caplog.text
    assert "expected an end at 26.0 s or before" in caplog.text
