"""The ladder runs from corpora to its table, and goes on from where it was stopped."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from bench.reproduce import LARGE, SMALL, TESTS, Cell, main, tables
from jobs.inputs.corpora import CORPORA
from tests.support.audio import encoded
from tests.support.checkpoints import write_checkpoint
from tests.support.corpora import lay
from tests.support.voices import voice

N_EACH = 4  # recordings of a speaker, or of a system
GROUPS = {"train": 4, "dev": 2, "eval": 3}


def speech(label: str, number: int) -> bytes:
    """A voice that breathes, or an even one."""
    rng = np.random.default_rng(number)
    return encoded(voice(rng, 1.2, rng.uniform(80.0, 250.0), 0.9 if label == "bonafide" else 0.05))


def asvspoof2019(root: Path) -> Path:
    """A tree in the layout of ASVspoof 2019 LA: speakers of their own in each split, systems of its own in eval."""
    number, names = 0, {"train": "train.trn", "dev": "dev.trl", "eval": "eval.trl"}
    for split, count in GROUPS.items():
        lines, letter = [], split[0].upper()
        folder = root / "LA" / f"ASVspoof2019_LA_{split}" / "flac"
        folder.mkdir(parents=True)
        for group in range(count):
            for label in ("bonafide", "spoof"):
                for _ in range(N_EACH):
                    number += 1
                    name, attack = f"LA_{letter}_{number:07d}", "-"
                    if label == "spoof":
                        attack = f"A{group + (7 if split == 'eval' else 1):02d}"
                    lines.append(f"LA_{split}{group} {name} - {attack} {label}")
                    (folder / f"{name}.flac").write_bytes(speech(label, number))
        lay(root, {f"LA/ASVspoof2019_LA_cm_protocols/ASVspoof2019.LA.cm.{names[split]}.txt": "\n".join(lines)})
    return root


def in_the_wild(root: Path) -> Path:
    lines = ["file,speaker,label"]
    for number in range(16):
        label = ("bona-fide", "spoof")[number % 2]
        lines.append(f"{number}.wav,speaker {number // 4},{label}")
        lay(root, {f"{number}.wav": ""})
        (root / f"{number}.wav").write_bytes(speech(label.replace("-", ""), 1_000 + number))
    return lay(root, {"meta.csv": "\n".join(lines)})


def cell(**values: object) -> Cell:
    figures = {"equal_error_rate": 3.5, "low": 3.0, "high": 4.25, "published": 3.41, "source": "a paper"}
    counts = {"encoder": LARGE, "layer": 9, "dim": 1_920, "test": "In-the-Wild"}
    return Cell(**(counts | {"bonafide": 19_963, "spoof": 11_816, "failed": 0} | figures | values))  # type: ignore[arg-type]


def test_our_figure_is_shown_beside_the_published_one_and_its_source() -> None:
    text = tables([cell(), cell(test="DFADD test", published=None, source=None), cell(layer=-1), cell(encoder=SMALL)])

    assert "| In-the-Wild | 19,963 | 11,816 | 0 | 3.50 (3.00 to 4.25) | 3.41 | a paper |" in text
    assert "| DFADD test | 19,963 | 11,816 | 0 | 3.50 (3.00 to 4.25) | – | – |" in text
    assert [line for line in text.splitlines() if line.startswith("## ")] == [
        "## XLS-R-2B, layer 9",
        "## XLS-R-2B, last layer",
        "## XLS-R-300M, layer 9",
    ]
    assert text.count("**Not comparable**: this encoder has 1,920 dimensions, XLS-R-300M has 1,024.") == 1


def test_every_test_is_of_a_corpus_and_every_corpus_has_a_test() -> None:
    assert {test.corpus for test in TESTS} == CORPORA.keys() - {"folder", "csv"}


def test_it_says_what_it_cannot_do_without(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["--in-the-wild", str(tmp_path), "--backbone", "melstats", "--work", str(tmp_path)])

    assert "--asvspoof2019-la is what every head is trained on" in capsys.readouterr().err


@pytest.mark.long
@pytest.mark.timeout(600)
def test_the_ladder_runs_on_small_corpora_and_resumes_with_one_more(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    large = write_checkpoint(tmp_path / "large", "wav2vec2", norm="layer")
    work = tmp_path / "work"
    arguments = ["--asvspoof2019", str(asvspoof2019(tmp_path / "a")), "--backbone", str(large), "--layers", "2"]
    arguments += ["--draws", "20", "--work", str(work), "--encoders", "1"]

    assert main(arguments) == 0
    before = {path.name: path.stat().st_mtime_ns for path in (work / LARGE / "embeddings").rglob("*.parquet")}
    capsys.readouterr()
    small = write_checkpoint(tmp_path / "small", "wav2vec2", norm="layer", seed=1)
    more = ["--in-the-wild", str(in_the_wild(tmp_path / "i")), "--small-backbone", str(small), "--small-layer", "1"]
    assert main([*arguments, *more]) == 0

    out = capsys.readouterr().out
    cells = json.loads((work / "ladder.json").read_text())
    after = {path.name: path.stat().st_mtime_ns for path in (work / LARGE / "embeddings").rglob("*.parquet")}
    assert before.items() <= after.items()  # not embedded again
    assert len(after) > len(before)
    assert "nothing new: all 1 shards are embedded" in out
    assert [(each["encoder"], each["layer"], each["test"], each["bonafide"], each["spoof"]) for each in cells] == [
        (encoder, layer, *test)
        for encoder, layer in ((LARGE, -1), (LARGE, 2), (SMALL, 1))
        for test in (("ASVspoof 2019 LA eval", 12, 12), ("In-the-Wild", 8, 8))
    ]
    assert [each["published"] for each in cells if each["layer"] == -1] == [0.57, 7.36]
    assert all(0.0 <= each["low"] <= each["equal_error_rate"] <= each["high"] <= 100.0 for each in cells)
    assert "**Not comparable**: this encoder has 32 dimensions, XLS-R-2B has 1,920." in out
    assert len(list((work / LARGE / "heads").glob("layer*[0-9].json"))) == 2
    report = json.loads((work / LARGE / "heads" / "layer-1.report.json").read_text())
    # 6 groups of 4 recordings of either class in train and dev, and none of eval
    assert (report["training"]["bonafide"], report["training"]["spoof"]) == (24, 24)
    assert report["training"]["c"] == 1e6
