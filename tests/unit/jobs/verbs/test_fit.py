"""Tables in a folder, read in memory and block by block."""

from __future__ import annotations

import csv
import json
import stat
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from detector.backbones import load_backbone
from detector.checkpoint import recipe_of
from detector.config import EmbedConfig, Recipe
from detector.embedding import embed_segments
from detector.errors import ConfigError, SchemaError
from detector.head import Head
from detector.schema import embeddings_schema
from detector.shift import QUANTITIES, Reference
from jobs.fitting.config import FitConfig
from jobs.fitting.run import fit
from jobs.scoring.explanation import ExplainConfig, explain
from jobs.tables import parquet
from jobs.tables.ledger import Ledger
from jobs.tables.protocol import Entry, Plan, PlanHistory
from jobs.verbs import keygen
from tests.support.audio import encoded, tone

LAST = Recipe(EmbedConfig(backbone="huggingface"), "tiny", "00")
NINTH = Recipe(EmbedConfig(backbone="huggingface", layer=9), "tiny", "00")
N_ROWS, DIM = 240, 6


def vectors(strength: float) -> np.ndarray:
    rng = np.random.default_rng(0)
    return (rng.normal(size=(N_ROWS, DIM)) + strength * (np.arange(N_ROWS)[:, None] % 2)).astype(np.float32)


def write(
    output: Path,
    recipe: Recipe,
    embeddings: np.ndarray,
    n_shards: int = 3,
    ids: list[str] | None = None,
    digests: list[str] | None = None,
) -> None:
    """A table as `embed` writes it, in so many shards; even rows are spoof, odd ones bona fide."""
    table = Ledger(str(output), "embeddings", recipe.fingerprint)
    ids = ids or [f"u{number:04d}" for number in range(len(embeddings))]
    entries = tuple(Entry(f"{number:016x}", "made") for number in range(n_shards))

    def propose(history: PlanHistory) -> Plan | None:
        return None if history.plans else Plan("run", "2026-01-01", entries)

    same = {"uri": "u", "member": None, "seconds": 3.0, "native_rate": 16_000, "channels": 1}
    same |= {"codec": "c", "decoder": "d", "rms_dbfs": -20.0, "layer": -1, "run_id": "run"}
    for shard in table.freeze(propose).current.values():
        of_shard = range(int(shard.slot, 16), len(embeddings), n_shards)
        rows = [
            same
            | {"utterance_id": ids[n], "fingerprint": recipe.fingerprint, "embedding": embeddings[n].tolist()}
            | {"audio_sha256": ids[n] if digests is None else digests[n]}
            for n in of_shard
        ]
        short = {
            "utterance_id": f"unlabelled-{shard.slot}",
            "audio_sha256": "00",
            "fingerprint": recipe.fingerprint,
            "embedding": None,
        }
        rows.append(same | short)
        content = pa.Table.from_pylist(rows, embeddings_schema(embeddings.shape[1]))
        detail = {"recipe": recipe.describe(), "model": recipe.model}
        table.commit(shard, shard.slot, {"embeddings": ("embeddings/backbone=x", content)}, detail)


@pytest.fixture
def labels(tmp_path: Path) -> str:
    path = tmp_path / "labels.csv"
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["utterance_id", "label", "system", "speaker", "source"])
        for number in range(N_ROWS):
            group = number // 2 % 8
            spoof = number % 2 == 0
            known = [f"sys{group}", "-"] if spoof else ["-", f"spk{group}"]
            rows.writerow([f"u{number:04d}", "spoof" if spoof else "bonafide", *known, f"{number % 2}-{group // 2}"])
    return str(path)


def fitted(table: Path, labels: str, name: str, *others: Path, **settings: Any) -> tuple[Head, dict[str, Any]]:
    output = table / f"{name}.json"
    embeddings = tuple(map(str, (table, *others)))
    fit(FitConfig(embeddings=embeddings, labels=labels, output=str(output), **settings))
    report = json.loads((table / f"{name}.report.json").read_text())
    return Head.from_json(output.read_bytes(), str(output)), report


def test_the_streamed_fit_is_the_one_in_memory(tmp_path: Path, labels: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "ROW_GROUP_ROWS", 32)
    write(tmp_path, LAST, vectors(1.0))

    held, said = fitted(tmp_path, labels, "held")
    streamed, said_too = fitted(tmp_path, labels, "streamed", memory_mib=0)

    assert said["training"]["read"] == "held in memory"
    assert said_too["training"]["read"] == "streamed, anew for every pass"
    for name in ("weights", "mean", "scale", "ood_quantiles", "calibration"):
        np.testing.assert_allclose(getattr(streamed, name), getattr(held, name), rtol=1e-6, atol=1e-9)
    assert said["training"]["trained_on"] == said_too["training"]["trained_on"]


def test_the_same_rows_give_the_same_bytes_in_any_shards_and_order(tmp_path: Path, labels: str) -> None:
    order = np.random.default_rng(0).permutation(N_ROWS)
    write(tmp_path / "a", LAST, vectors(1.0), n_shards=1)
    write(tmp_path / "b", LAST, vectors(1.0)[order], n_shards=5, ids=[f"u{number:04d}" for number in order])

    for folder in ("a", "b"):
        fitted(tmp_path / folder, labels, "head")

    assert (tmp_path / "a" / "head.json").read_bytes() == (tmp_path / "b" / "head.json").read_bytes()


def test_rows_of_two_outputs_give_the_head_of_one_that_holds_them_all(tmp_path: Path, labels: str) -> None:
    ids = [f"u{number:04d}" for number in range(N_ROWS)]
    write(tmp_path / "all", LAST, vectors(1.0))
    write(tmp_path / "a", LAST, vectors(1.0)[:100], ids=ids[:100])
    write(tmp_path / "b", LAST, vectors(1.0)[100:], ids=ids[100:], n_shards=2)

    for streamed in ({}, {"memory_mib": 0}):
        both, report = fitted(tmp_path / "a", labels, "both", tmp_path / "b", **streamed)
        assert report["training"]["trained_on"]["rows"] == N_ROWS
        if not streamed:
            assert both == fitted(tmp_path / "all", labels, "head")[0]


def test_two_outputs_that_do_not_fit_together_are_refused(tmp_path: Path, labels: str) -> None:
    write(tmp_path / "a", LAST, vectors(1.0))
    write(tmp_path / "same", LAST, vectors(1.0))
    write(tmp_path / "other", NINTH, vectors(1.0))

    with pytest.raises(ConfigError, match="no fingerprint of embeddings in all outputs"):
        fitted(tmp_path / "a", labels, "head", tmp_path / "other")
    with pytest.raises(ConfigError, match="nothing: no table of embeddings here"):
        fitted(tmp_path / "a", labels, "head", tmp_path / "nothing")
    with pytest.raises(SchemaError, match=r"240 labelled id\(s\) have more than one embedding"):
        fitted(tmp_path / "a", labels, "head", tmp_path / "same")


def test_a_head_keeps_what_later_archives_are_compared_with(tmp_path: Path, labels: str) -> None:
    write(tmp_path, LAST, vectors(1.0))

    head, _ = fitted(tmp_path, labels, "head")

    reference = Reference.from_dict(head.training["calibration_rows"])
    assert reference is not None
    assert set(reference.edges) == set(QUANTITIES)
    assert reference.n_rows() == N_ROWS
    assert {name: reference.n_rows(name) for name in reference.sources} == {
        f"{label}-{group}": 30 for label in (0, 1) for group in range(4)
    }
    assert reference.edges["seconds"].tolist() == [3.0]


def test_of_several_tables_the_best_on_the_folds_is_taken(tmp_path: Path, labels: str) -> None:
    write(tmp_path, LAST, vectors(0.3))
    write(tmp_path, NINTH, vectors(1.5))

    head, report = fitted(tmp_path, labels, "head")

    assert head.fingerprint == NINTH.fingerprint
    assert {each["layer"] for each in report["tried"]} == {9, -1}
    assert report["tried"][0]["layer"] == 9
    last, _ = fitted(tmp_path, labels, "last", fingerprint=LAST.fingerprint)
    assert last.fingerprint == LAST.fingerprint


def test_the_paper_s_recipe_takes_the_last_layer_or_nothing(tmp_path: Path, labels: str) -> None:
    write(tmp_path / "both", LAST, vectors(0.5))
    write(tmp_path / "both", NINTH, vectors(1.5))
    write(tmp_path / "ninth", NINTH, vectors(1.5))

    head, report = fitted(tmp_path / "both", labels, "head", recipe="pascu2024")

    assert head.fingerprint == LAST.fingerprint
    assert [(each["c"], each["standardise"]) for each in report["tried"]] == [(1e6, False)]
    with pytest.raises(ConfigError, match="recipe pascu2024 is for the mean over the last layer"):
        fitted(tmp_path / "ninth", labels, "head", recipe="pascu2024")


def test_a_sample_is_of_every_group_and_said(tmp_path: Path, labels: str) -> None:
    write(tmp_path, LAST, vectors(1.0))

    _, report = fitted(tmp_path, labels, "head", sample_rows=96, c=1.0, standardise=True)

    assert report["training"]["trained_on"]["rows"] == 96
    assert len(report["training"]["trained_on"]["system"]) == 9  # eight, and none for the bona fide


def test_a_report_says_what_it_was_fitted_on_and_what_became_of_it(tmp_path: Path, labels: str) -> None:
    write(tmp_path, LAST, vectors(1.0))

    head, report = fitted(tmp_path, labels, "head")

    assert report["training"]["trained_on"]["source"]["bonafide 1-0"] == 30
    assert set(report["leave_one_out"]["system"]) == {f"sys{number}" for number in range(8)}
    by_system = report["held_out_by"]["system"]
    assert sum(each["rows"] for each in by_system.values()) == N_ROWS / 2
    assert all(each["rejected"] + each["kept"] == each["rows"] for each in by_system.values())
    assert report["reject_band_nats"] == list(head.reject_band())
    assert head.training["convergence"]["last_step"] <= 1e-8


@pytest.mark.parametrize(("other", "words"), [(1, "both labels"), (2, "several splits")])
def test_a_recording_that_comes_back_under_another_id_is_refused(
    tmp_path: Path, labels: str, other: int, words: str
) -> None:
    # row 0 is spoof and of `train`; row 1 has the other label, row 2 the other split
    digests = [f"{number:04d}" for number in range(N_ROWS)]
    digests[other] = digests[0]
    write(tmp_path / "t", LAST, vectors(2.0), digests=digests)
    first, *lines = Path(labels).read_text().splitlines()
    split = [f"{line},{'eval' if number == 2 else 'train'}" for number, line in enumerate(lines)]
    Path(labels).write_text("\n".join([f"{first},split", *split]))

    with pytest.raises(ConfigError, match=f"1 recording.* in {words}, byte for byte, first 'u0000' and 'u000{other}'"):
        fitted(tmp_path / "t", labels, "head")


def test_labels_of_other_ids_are_refused_with_examples(tmp_path: Path, labels: str) -> None:
    write(tmp_path, LAST, vectors(1.0), ids=[f"other{number}" for number in range(N_ROWS)])

    with pytest.raises(ConfigError, match=r"none of 240 labelled ids .*'u0000'.*other"):
        fitted(tmp_path, labels, "head")


def test_a_certificate_stands_in_head_and_report(
    tmp_path: Path, labels: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, LAST, vectors(4.0))

    head, report = fitted(tmp_path, labels, "head", certify_miss=0.4)
    assert report["training"]["certificate"] == head.training["certificate"]
    assert "certified, 95% sure: miss at most" in capsys.readouterr().out

    head, report = fitted(tmp_path, labels, "none", certify_miss=0.001)
    assert report["training"]["certificate"]["certified"] is False
    assert "miss of 0.001 cannot be certified with n = " in capsys.readouterr().out


def test_keys_are_made_once_and_sign(tmp_path: Path, labels: str) -> None:
    write(tmp_path, LAST, vectors(1.0))
    keygen.run(keygen.Settings(output=str(tmp_path / "key")))

    fitted(tmp_path, labels, "head", sign_key=str(tmp_path / "key.pem"))

    public = (tmp_path / "key.pub").read_bytes()
    assert Head.from_json((tmp_path / "head.json").read_bytes(), "head.json", public)
    assert stat.S_IMODE((tmp_path / "key.pem").stat().st_mode) == 0o600
    with pytest.raises(ConfigError, match=r"key\.pem: cannot be written"):
        keygen.run(keygen.Settings(output=str(tmp_path / "key")))


def test_explain_names_segments_and_the_nearest_training_rows(
    tmp_path: Path, labels: str, capsys: pytest.CaptureFixture[str]
) -> None:
    config = EmbedConfig(backbone="melstats", segment_seconds=2.0)
    samples = tone(5.0)
    recording = tmp_path / "a.flac"
    recording.write_bytes(encoded(samples))
    (mine,), _ = embed_segments(load_backbone(config, None), [samples])
    embeddings = np.random.default_rng(0).normal(size=(N_ROWS, len(mine))).astype(np.float32)
    embeddings[1::2, 0] += 3.0
    embeddings[7] = mine
    write(tmp_path, recipe_of(config, None), embeddings)
    fitted(tmp_path, labels, "head")
    capsys.readouterr()

    explain(ExplainConfig(head=str(tmp_path / "head.json"), uri=str(recording)))

    lines = capsys.readouterr().out.splitlines()
    table = next(place for place, line in enumerate(lines) if line.split()[:2] == ["from", "to"])
    assert [line.split()[:2] for line in lines[table + 1 : table + 4]] == [
        ["0.0", "2.0"],
        ["2.0", "4.0"],
        ["4.0", "5.0"],
    ]
    nearest = lines[next(place for place, line in enumerate(lines) if line.startswith("nearest of 240")) + 1]
    assert "u0007" in nearest
    assert "speaker spk3" in nearest
