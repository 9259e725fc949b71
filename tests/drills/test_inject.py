"""Faults inside workers strike the function, the utterance and the call that a rule names, and nothing else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from tests.drills.archive import flac, utterance, wav
from tests.drills.lab import HERE
from tests.drills.runs import Fault

CALL = "import colorsys; print(colorsys.rgb_to_hsv(0, 0, 0))"


def python(code: str, faults: list[Fault], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run some Python with faults, as the workers of a run have them."""
    rules = folder / "faults.json"
    rules.write_text(json.dumps([asdict(fault) for fault in faults]))
    environment = os.environ | {"PYTHONPATH": str(HERE / "inject"), "DRILL_INJECT": str(rules)}
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, cwd=HERE.parents[1]
    )


@pytest.mark.parametrize(("do", "value", "code"), [("kill", None, -9), ("abort", None, -6), ("exit", None, 0)])
def test_a_process_ends_as_the_rule_says(do: str, value: object, code: int, tmp_path: Path) -> None:
    done = python(CALL, [Fault("colorsys:rgb_to_hsv", do, value)], tmp_path)

    assert (done.returncode, done.stdout) == (code, "")


def test_a_function_raises_and_returns_what_the_rule_says(tmp_path: Path) -> None:
    raising = python(CALL, [Fault("colorsys:rgb_to_hsv", "raise", "builtins:OSError no such colour")], tmp_path)
    returning = python(CALL, [Fault("colorsys:rgb_to_hsv", "return", "grey")], tmp_path)

    assert raising.stderr.splitlines()[-1] == "OSError: no such colour"
    assert returning.stdout == "grey\n"


def test_calls_are_counted_across_processes(tmp_path: Path) -> None:
    faults = [Fault("colorsys:rgb_to_hsv", "return", "struck", calls=[2, 3])]

    said = [python(CALL, faults, tmp_path).stdout.strip() for _ in range(4)]

    assert said == ["(0.0, 0.0, 0)", "struck", "struck", "(0.0, 0.0, 0)"]


def test_an_utterance_is_known_by_its_samples_and_by_its_bytes(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(wav(3, 7))
    np.savez(tmp_path / "samples.npz", *[utterance(3, number).astype(np.float32) for number in (6, 7)])
    code = f"""
import io, numpy as np
from detector.audio import decode
from detector.backbones.melstats import MelStats
from detector.config import EmbedConfig
samples = list(np.load({str(tmp_path / "samples.npz")!r}).values())
embeddings, _ = MelStats(EmbedConfig(backbone="melstats")).embed(samples)
print(np.isnan(embeddings).all(axis=1).tolist())
print(decode(io.BytesIO(open({str(tmp_path / "a.wav")!r}, "rb").read())))
"""
    backbone = Fault("detector.backbones.melstats:MelStats.embed", "nan", utterance=(3, 7))
    decoder = Fault("detector.audio:decode", "return", "struck", utterance=(3, 7))
    other = Fault("detector.audio:decode", "return", "wrong", utterance=(3, 8))

    done = python(code, [backbone, other, decoder], tmp_path)

    assert done.stdout.splitlines() == ["[False, True]", "struck"], done.stderr


def test_flac_utterances_carry_their_ids_too() -> None:
    import io

    import soundfile

    samples, _ = soundfile.read(io.BytesIO(flac(2, 5)), dtype="float32")
    assert (samples[:4] * 32_768).tolist() == [12_345, 2, 5, 12_345]
