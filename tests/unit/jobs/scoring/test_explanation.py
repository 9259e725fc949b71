"""An explanation: a recording, a head, and the table that the head was fitted on."""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from detector.backbones import load_backbone
from detector.backbones.melstats import MelStats
from detector.checkpoint import recipe_of
from detector.config import EmbedConfig
from detector.embedding import embed_segments, join_segments
from detector.errors import ConfigError
from detector.pooling import POOLINGS
from jobs.inputs.recording_file import opened_recording
from jobs.scoring.config import ExplainConfig
from jobs.scoring.explanation import explain
from jobs.scoring.heads import read_head
from jobs.tables.heads import introduce
from tests.support.audio import encoded, tone
from tests.support.embeddings import N_ROWS, fitted, write, write_labels

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def labels(tmp_path: Path) -> str:
    return write_labels(tmp_path / "labels.csv")


EMBEDDINGS = np.random.default_rng(0).normal(size=(N_ROWS, 80)).astype(np.float32)
EMBEDDINGS[1::2, 0] += 3.0


def test_explain_names_segments_and_the_nearest_training_rows(
    tmp_path: Path, labels: str, capsys: pytest.CaptureFixture[str]
) -> None:
    config = EmbedConfig(backbone="melstats", segment_seconds=2.0)
    samples = tone(5.0)
    recording = tmp_path / "a.flac"
    recording.write_bytes(encoded(samples))
    (mine,), _ = embed_segments(load_backbone(config, None), [samples])
    embeddings = EMBEDDINGS.copy()
    embeddings[7] = mine
    write(tmp_path, recipe_of(config, None), embeddings)
    fitted(tmp_path, labels, "head")
    capsys.readouterr()

    given = {"embeddings": (str(tmp_path),), "labels": labels}
    explain(ExplainConfig(head=str(tmp_path / "head.json"), uri=str(recording), **given))

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

    # whoever publishes a head may have written its report, so nothing in it is opened
    report = tmp_path / "head.report.json"
    stated = {"embeddings": ["http://127.0.0.1:9/steal"], "labels": "s3://secrets/l.csv"}
    report.write_text(json.dumps({"settings": stated}))
    explain(ExplainConfig(head=str(tmp_path / "head.json"), uri=str(recording)))
    said = capsys.readouterr().out.splitlines()[-1]
    assert said.startswith("nearest training rows: give the --embeddings and --labels")
    assert said.endswith("its report names ['http://127.0.0.1:9/steal'] and s3://secrets/l.csv")

    with open(report, "r+b") as file:
        file.truncate(64 << 30)  # sparse
    explain(ExplainConfig(head=str(tmp_path / "head.json"), uri=str(recording)))
    assert capsys.readouterr().out.splitlines()[-1].endswith("that the head was fitted on")


@pytest.mark.parametrize("pooling", sorted(POOLINGS))
def test_nearest_rows_are_those_of_the_pooling_that_the_head_was_fitted_on(
    pooling: str, tmp_path: Path, labels: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = EmbedConfig(backbone="melstats", segment_seconds=2.0, pooling=pooling)
    samples = np.concatenate([0.05 * tone(2.0, seed=1), tone(1.0, hertz=2_000.0, seed=2)]).astype(np.float32)
    recording = tmp_path / "a.wav"
    recording.write_bytes(encoded(samples, kind="WAV", subtype="FLOAT"))
    # two segments, of which the second is shorter and louder: every pooling joins them to another vector
    parts = embed_segments(load_backbone(config, None), [samples[:32_000], samples[32_000:]])
    embeddings = np.random.default_rng(0).normal(size=(N_ROWS, parts[0].shape[1])).astype(np.float32)
    embeddings[1::2, 0] += 3.0
    embeddings[7], embeddings[9] = join_segments(*parts, pooling), parts[0].mean(axis=0)
    write(tmp_path, recipe_of(config, None), embeddings)
    fitted(tmp_path, labels, "head")
    capsys.readouterr()
    heard: list[int] = []
    frames = MelStats._frames

    def counted(self: MelStats, samples: np.ndarray) -> np.ndarray:
        heard.append(len(samples))
        return frames(self, samples)

    monkeypatch.setattr(MelStats, "_frames", counted)
    explain(
        ExplainConfig(head=str(tmp_path / "head.json"), uri=str(recording), embeddings=(str(tmp_path),), labels=labels)
    )

    lines = capsys.readouterr().out.splitlines()
    nearest = lines[next(place for place, line in enumerate(lines) if line.startswith("nearest of 240")) + 1]
    assert nearest.split()[::2][:2] == ["0.000", "u0007"]
    assert heard == [32_000, 16_000]  # each segment once


@pytest.mark.parametrize(("seconds", "error"), [(5.0, "too_long"), (0.0, "empty")])
def test_a_recording_that_cannot_be_explained_is_said_to_be_so(
    tmp_path: Path, labels: str, bonafide: Run, seconds: float, error: str
) -> None:
    config = EmbedConfig(backbone="melstats", segment_seconds=2.0)
    embeddings = np.random.default_rng(0).normal(size=(N_ROWS, 80)).astype(np.float32)
    embeddings[1::2, 0] += 3.0
    write(tmp_path, recipe_of(config, None), embeddings)
    fitted(tmp_path, labels, "head")
    recording = tmp_path / "a.flac"
    recording.write_bytes(encoded(tone(seconds)) if seconds else b"")

    code, _, err = bonafide("explain", tmp_path / "head.json", recording, "--max-seconds", 4)

    assert code == 65
    assert f"a.flac: {error}: " in err.splitlines()[-1]


def content_of(uri: str) -> bytes:
    with opened_recording(uri) as file:
        return file.read()


def test_the_name_that_a_table_has_finds_the_recording_whatever_its_bytes_are(tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path)
    for name in (b"caf\xe9.wav", rb"caf\xe9.wav", b"a#1.wav", b"new\nline.wav"):
        with open(folder + b"/" + name, "wb") as file:
            file.write(name)
    member = tarfile.TarInfo("m\udce9.wav")
    member.size = 3
    with tarfile.open(tmp_path / "0.tar", "w") as tar:
        tar.addfile(member, io.BytesIO(b"abc"))

    read = [
        content_of(f"{tmp_path}/{name}") for name in (r"caf\xe9.wav", r"caf\x5cxe9.wav", "a#1.wav", "new\nline.wav")
    ]

    assert read == [b"caf\xe9.wav", rb"caf\xe9.wav", b"a#1.wav", b"new\nline.wav"]
    assert content_of(rf"{tmp_path}/0.tar#m\xe9.wav") == b"abc"
    (tmp_path / "2026#0").write_bytes((tmp_path / "0.tar").read_bytes())
    assert content_of(rf"{tmp_path}/2026#0##m\xe9.wav") == b"abc"
    with tarfile.open(tmp_path / "0.tar", "a") as tar:
        tar.addfile(member, io.BytesIO(b"def"))
    with pytest.raises(ConfigError, match="2 members have this name"):
        content_of(rf"{tmp_path}/0.tar#m\xe9.wav")
    with pytest.raises(ConfigError, match=r"0\.tar#none.wav: no such member"):
        content_of(f"{tmp_path}/0.tar#none.wav")


def test_a_folder_is_no_recording(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is a folder; expected one recording"), opened_recording(str(tmp_path)):
        pass


def test_a_head_that_is_called_by_its_name_has_the_report_beside_its_file(
    tmp_path: Path, labels: str, capsys: pytest.CaptureFixture[str]
) -> None:
    config = EmbedConfig(backbone="melstats", segment_seconds=2.0)
    write(tmp_path, recipe_of(config, None), EMBEDDINGS)
    fitted(tmp_path, labels, "calls")
    recording = tmp_path / "a.flac"
    recording.write_bytes(encoded(tone(2.0)))
    introduce(str(tmp_path), read_head(str(tmp_path / "calls.json")), str(tmp_path / "calls.json"), "2026-11-23")
    capsys.readouterr()

    explain(ExplainConfig(head="calls", uri=str(recording), output=str(tmp_path)))

    assert f"its report names ['{tmp_path}'] and {labels}" in capsys.readouterr().out.splitlines()[-1]


def test_a_name_never_stands_for_another_head(tmp_path: Path, labels: str) -> None:
    write(tmp_path, recipe_of(EmbedConfig(backbone="melstats", segment_seconds=2.0), None), EMBEDDINGS)
    fitted(tmp_path, labels, "calls")
    head, other = read_head(str(tmp_path / "calls.json")), tmp_path / "other.json"
    introduce(str(tmp_path), head, str(other), "2026-11-23")
    other.write_text(replace(head, bias=head.bias + 1.0).to_json())

    with pytest.raises(ConfigError, match=rf"other\.json: is head .*, and other is {head.head_id}"):
        explain(ExplainConfig(head="other", uri=str(tmp_path / "a.flac"), output=str(tmp_path)))
