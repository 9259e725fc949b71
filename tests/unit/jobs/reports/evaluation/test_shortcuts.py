"""Shortcuts beside the head: facts from the embedding table and the audio, and a warning where one comes near."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from detector.schema import embeddings_schema
from jobs.reports.evaluation.shortcuts import baselines, join_metadata, measure_audio, warnings_of
from jobs.reports.evaluation.trials import HeadTrials
from jobs.tables.ledger import Ledger
from jobs.tables.protocol import Entry, Plan
from tests.support.archives import write_tar
from tests.support.audio import encoded
from tests.support.labelled_scores import judged_rows


def judged(rows: pa.Table, seen: pa.Table | None = None, uri: str = "") -> HeadTrials:
    return HeadTrials("a-head", uri, rows, rows.slice(0, 0) if seen is None else seen, 0, (), ())


def with_seconds(rows: pa.Table, seconds: np.ndarray) -> pa.Table:
    return rows.set_column(rows.column_names.index("seconds"), "seconds", pa.array(seconds))


def test_a_duration_that_separates_the_classes_is_warned_of() -> None:
    rows = judged_rows()
    spoof = np.array(rows["truth"].to_pylist()) == "spoof"
    given_away = with_seconds(rows, np.where(spoof, 2.0, 3.0) + np.random.default_rng(0).normal(0, 0.1, len(rows)))

    found = {each["name"]: each for each in baselines(judged(given_away, given_away), 100)}

    assert found["duration"]["in_folds"]["value"] < 0.01
    assert found["duration"]["learnt_on_others"]["near"]
    (warning,) = warnings_of(list(found.values()))
    assert warning.startswith("Shortcut: duration alone has an EER of 0.")


def test_a_duration_that_says_nothing_earns_no_warning() -> None:
    found = baselines(judged(judged_rows(1_000), judged_rows(seed=5)), 50)

    assert found[0]["name"] == "duration"
    assert found[0]["in_folds"]["value"] == pytest.approx(0.5, abs=0.1)
    assert found[0]["learnt_on_others"]["high"] > 0.45
    assert warnings_of(found) == []


def test_a_shortcut_far_behind_the_head_is_shown_and_not_warned_of() -> None:
    rows = judged_rows(1_000, distance=5.0)
    spoof = np.array(rows["truth"].to_pylist()) == "spoof"
    hint = with_seconds(rows, np.random.default_rng(0).normal(np.where(spoof, 2.0, 3.0), 1.0))

    (duration, *_) = baselines(judged(hint), 100)

    assert duration["in_folds"]["value"] == pytest.approx(0.31, abs=0.05)  # Phi(-0.5)
    assert not duration["in_folds"]["near"]
    assert duration["learnt_on_others"] is None  # no other split is labelled


def test_what_the_tables_do_not_carry_is_said() -> None:
    absent = {each["name"]: each["absent"] for each in baselines(judged(judged_rows(100)), 10)}

    assert absent["duration"] is None
    assert "does not carry rms_dbfs; name the table that has it by --embeddings" in absent["level"]
    assert "does not carry leading_silence_seconds" in absent["silence"]
    assert "--audio" in absent["bandwidth"]


def test_rate_codec_and_level_come_from_the_embeddings_beside_the_scores(tmp_path: Path) -> None:
    rows = judged_rows(40)
    names = rows["utterance_id"].to_pylist()
    embeddings = pa.Table.from_pylist(
        [
            {
                "utterance_id": name,
                "uri": "archive.tar",
                "audio_sha256": "",
                "seconds": 1.0,
                "native_rate": int(name[1:]) * 100,
                "channels": 1,
                "codec": "flac/pcm_16",
                "decoder": "soundfile",
                "rms_dbfs": -20.0,
                "layer": 1,
                "embedding": [0.0, 0.0],
                "fingerprint": "f",
                "run_id": "r",
            }
            for name in reversed(names)
        ],
        schema=embeddings_schema(2),
    )
    table = Ledger(str(tmp_path), "embeddings", "f")
    plan = Plan("r", "2026-01-01", (Entry("0", "e"),))
    (shard,) = table.freeze(lambda history: None if history.plans else plan).current.values()
    table.commit(shard, "archive", {"embeddings": ("embeddings/backbone=x", embeddings)})

    # the second head's scores stand alone; its recordings are the same
    heads = [judged(rows, uri=str(tmp_path / "elsewhere")), judged(rows, uri=str(tmp_path))]
    for found in join_metadata(heads, None):
        assert found.rows["native_rate"].to_pylist() == [number * 100 for number in range(40)]
        assert found.rows["utterance_id"].to_pylist() == names
    (alone,) = join_metadata(heads[:1], None)
    assert alone.rows.column_names == rows.column_names


def test_silence_and_bandwidth_are_read_from_the_recordings(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = judged_rows(40)
    spoof = np.array(rows["truth"].to_pylist()) == "spoof"
    sounds = [np.concatenate([np.zeros(8_000 if is_spoof else 800), rng.normal(0, 0.1, 8_000)]) for is_spoof in spoof]
    archive = {f"{number}.flac": encoded(sound) for number, sound in enumerate(sounds[:38])}
    write_tar(tmp_path / "archive.tar", archive | {"38.flac": b"no audio"})  # and 39.flac is gone
    (tmp_path / "loose.flac").write_bytes(encoded(sounds[0]))
    rows = rows.set_column(1, "uri", pa.array([str(tmp_path / "archive.tar")] * 40))
    loose = rows.slice(0, 1).to_pylist()[0] | {
        "utterance_id": "loose",
        "uri": str(tmp_path / "loose.flac"),
        "member": None,
    }
    gone = loose | {"utterance_id": "gone", "uri": str(tmp_path / "gone.flac")}

    found = measure_audio(judged(rows, pa.Table.from_pylist([loose, gone], schema=rows.schema)))

    leading = dict(
        zip(found.rows["utterance_id"].to_pylist(), found.rows["leading_silence_seconds"].to_pylist(), strict=True)
    )
    assert leading["u00000"] == pytest.approx(0.05)
    assert leading["u00001"] == pytest.approx(0.5)
    assert (leading["u00038"], leading["u00039"]) == (None, None)
    assert found.seen["leading_silence_seconds"].to_pylist() == [None, pytest.approx(0.05)]
    by_name = {each["name"]: each for each in baselines(replace(found, seen=found.rows), 20)}
    assert by_name["silence"]["rows"] == 38
    assert by_name["silence"]["in_folds"]["near"]
