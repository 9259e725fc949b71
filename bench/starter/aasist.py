"""AASIST with its published weights, from a copy outside the project, on the same trials: a rival, for the bench only.

References
----------
Jung et al., AASIST: audio anti-spoofing using integrated spectro-temporal graph attention networks, ICASSP 2022;
github.com/clovaai/aasist, MIT.
"""

from __future__ import annotations

import importlib.util
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.starter import rows
from bench.starter.figures import Judged
from detector.audio import decode
from detector.decoders import Samples
from detector.metrics import Floats
from detector.metrics.trials import Trials
from detector.rejection import called_spoof, entropy_bits

NAME = "AASIST"
N_SAMPLES = 64_600  # its input: about 4 s, a shorter recording is repeated


def beside(judged: Judged, listed: Path, copy: Path, work: Path) -> Judged:
    """Add its scores to the trials of a split; it knows no reject rule, so it keeps every row."""
    kept = work / f"aasist-{judged.split}.npy"
    if not kept.exists():
        uris = {row["utterance_id"]: row["uri"] for row in rows.read(listed)}
        model = loaded(copy)
        np.save(kept, [score(model, samples(uris[each])) for each in judged.facts["utterance_id"].tolist()])
    scores: Floats = np.load(kept)
    some = next(iter(judged.trials.values()))
    wrong = called_spoof(scores, 0.5) != some.is_spoof
    uncertainty = entropy_bits(scores, 0.5)
    trials = Trials(
        scores, some.is_spoof, 1 / (1 + np.exp(scores)), uncertainty, wrong, np.ones_like(wrong), some.cluster
    )
    return replace(judged, trials={**judged.trials, NAME: trials})


def loaded(copy: Path) -> Any:
    """The model of a copy of the repository."""
    spec = importlib.util.spec_from_file_location("aasist", copy / "models" / "AASIST.py")
    if spec is None or spec.loader is None:
        raise SystemExit(f"{copy}: no models/AASIST.py. Give a copy of clovaai/aasist.")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    config = json.loads((copy / "config" / "AASIST.conf").read_text())["model_config"]
    model = module.Model(config)
    weights = torch.load(copy / "models" / "weights" / "AASIST.pth", map_location="cpu", weights_only=True)
    model.load_state_dict(weights)
    return model.eval()


def samples(uri: str) -> Samples:
    """Decode a recording, and repeat it to the model's length."""
    with Path(uri).open("rb") as file:
        found = np.concatenate(list(decode(file)[1]))
    return np.resize(found, N_SAMPLES)


def score(model: Any, found: Samples) -> float:
    """Log-odds of bona fide that the model states."""
    with torch.inference_mode():
        spoof, human = model(torch.from_numpy(found)[None])[1][0].tolist()
    return float(human - spoof)
