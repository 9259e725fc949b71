"""The ladder runs from corpora to its table, and goes on from where it was stopped."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from bench.reproduce import CONVERGED, LARGE, SMALL, TESTS, Cell, encoder_of, main, table
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


def test_our_figure_is_shown_beside_the_published_one_with_its_source_and_cost() -> None:
    costs = {"training_seconds": 5_000.4, "test_seconds": 2_200.0}
    text = table([cell(test="DFADD test", published=None, source=None), cell(**costs), cell(layer=-1)], price=4.5)

    rows = [line for line in text.splitlines() if line.startswith("| ") and "---" not in line]
    assert rows[0].endswith("| ours, EER % | published | source | seconds: training, test | $ |")
    same = "19,963 | 11,816 | 0 | XLS-R-2B"
    fit = "ASVspoof 2019 LA train + dev | ours, to the optimum | 3.50 (3.00 to 4.25)"
    # 7,200.4 s are 2 h, of $4.5 each
    assert rows[1:] == [
        f"| In-the-Wild | {same} | 9 | {fit} | 3.41 | a paper | 5,000, 2,200 | 9.00 |",
        f"| In-the-Wild | {same} | last | {fit} | 3.41 | a paper | 0, 0 | 0.00 |",
        f"| DFADD test | {same} | 9 | {fit} | – | – | 0, 0 | 0.00 |",
    ]


def test_an_encoder_of_another_size_is_said_not_to_be_comparable() -> None:
    text = table([cell(), cell(encoder=SMALL), cell(encoder="other", dim=7)])

    assert text.count("**Not comparable**") == 1
    assert "this XLS-R-300M has 1,920 dimensions, the published one has 1,024." in text
    assert "| $ |" not in text


@pytest.mark.parametrize(
    ("text", "name", "flags", "layers"),
    [
        ("facebook/wav2vec2-xls-r-2b@0f", LARGE, ("--model", "facebook/wav2vec2-xls-r-2b", "--revision", "0f"), 6),
        ("facebook/wav2vec2-xls-r-300m", SMALL, ("--model", "facebook/wav2vec2-xls-r-300m", "--layers=7"), 1),
        ("/models/mine:2,3", "mine", ("--model", "/models/mine", "--layers=2,3"), 2),
        ("A=s3://bucket/mine:-1", "A", ("--model", "s3://bucket/mine", "--layers=-1"), 1),
        ("s3://bucket/mine", "mine", ("--model", "s3://bucket/mine", "--layers=-1"), 1),
        ("melstats", "melstats", ("--backbone", "melstats"), 1),
    ],
)
def test_encoders_are_named_by_hub_name_folder_or_prefix(
    text: str, name: str, flags: tuple[str, ...], layers: int
) -> None:
    found = encoder_of(text)

    assert (found.name, len(found.layers)) == (name, layers)
    assert set(flags) <= set(found.flags)


def test_every_test_is_of_a_corpus_and_every_corpus_has_a_test() -> None:
    assert {test.corpus for test in TESTS} == CORPORA.keys() - {"folder", "csv"}


def test_it_says_what_it_cannot_do_without(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["--in-the-wild", str(tmp_path), "--models", "melstats", "--work", str(tmp_path)])

    assert "--asvspoof2019-la is what every head is trained on" in capsys.readouterr().err


@pytest.mark.long
@pytest.mark.timeout(600)
def test_the_ladder_runs_on_small_corpora_and_resumes_with_one_more(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    large = write_checkpoint(tmp_path / "large", "wav2vec2", norm="layer")
    work = tmp_path / "work"
    arguments = ["--asvspoof2019", str(asvspoof2019(tmp_path / "a")), "--draws", "20", "--work", str(work)]
    arguments += ["--encoders", "1", "--price", "3.6", "--epochs", "2"]
    models = [f"{LARGE}={large}:-1,2"]

    assert main([*arguments, "--models", *models]) == 0
    before = {path.name: path.stat().st_mtime_ns for path in (work / LARGE / "embeddings").rglob("*.parquet")}
    seconds = json.loads((work / "seconds" / f"{LARGE}.json").read_text())
    capsys.readouterr()
    small = write_checkpoint(tmp_path / "small", "wav2vec2", norm="layer", seed=1)
    more = ["--in-the-wild", str(in_the_wild(tmp_path / "i"))]
    assert main([*arguments, *more, "--models", *models, f"{SMALL}={small}:1"]) == 0

    out = capsys.readouterr().out
    cells = json.loads((work / "ladder.json").read_text())
    after = {path.name: path.stat().st_mtime_ns for path in (work / LARGE / "embeddings").rglob("*.parquet")}
    assert before.items() <= after.items()  # not embedded again
    assert len(after) > len(before)
    assert "nothing new: all 1 shards are embedded" in out
    ours = [each for each in cells if each["recipe"] == CONVERGED]
    assert [(each["encoder"], each["layer"], each["test"], each["bonafide"], each["spoof"]) for each in ours] == [
        (encoder, layer, *test)
        for encoder, layer in ((LARGE, -1), (LARGE, 2), (SMALL, 1))
        for test in (("ASVspoof 2019 LA eval", 12, 12), ("In-the-Wild", 8, 8))
    ]
    assert [each["published"] for each in ours if each["layer"] == -1] == [0.57, 7.36]
    rivals = [each for each in cells if each["recipe"] != CONVERGED]
    assert len(rivals) == len(ours)
    assert all(re.fullmatch(r"linear layer, 2 epochs of Adam: -?\d+ % of the way", each["recipe"]) for each in rivals)
    assert {each["published"] for each in rivals} == {None}
    assert all(0.0 <= each["low"] <= each["equal_error_rate"] <= each["high"] <= 100.0 for each in cells)
    embedded = seconds["embed asvspoof2019-la"]["seconds"]
    assert ours[0]["test_seconds"] == embedded > 0.0
    assert ours[0]["training_seconds"] == pytest.approx(embedded + seconds["fit layer -1"]["seconds"])
    assert "**Not comparable**: this XLS-R-2B has 32 dimensions, the published one has 1,920." in out
    assert len(list((work / "heads" / LARGE).glob("layer*[0-9].json"))) == 2
    report = json.loads((work / "heads" / LARGE / "layer-1.report.json").read_text())
    # 6 groups of 4 recordings of either class in train and dev, and none of eval
    assert (report["training"]["bonafide"], report["training"]["spoof"]) == (24, 24)
    assert report["training"]["c"] == 1e6
