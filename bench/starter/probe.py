"""A probe: the EER of a plain head on each layer, over folds of `train` that share no source, hence no synthesiser."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from bench.starter.speech import Utterance
from detector.backbones import load_backbone
from detector.config import EmbedConfig
from detector.metrics.detection import equal_error_rate

PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
FOLDS = 4  # as many as there are sources of human speech; there are seven of spoof


def probe(folder: Path, utterances: list[Utterance], n_layers: int, pooling: str) -> dict[int, dict[float, float]]:
    """Compute the equal error rate by layer and C; each utterance is judged by a head that saw no group of its fold."""
    layers = tuple(range(n_layers + 1))
    backbone = load_backbone(EmbedConfig(backbone="huggingface", pooling=pooling), str(folder), layers=layers)
    rows = np.concatenate([backbone.embed([(each.samples / 32_768).astype(np.float32)])[0] for each in utterances])
    is_bonafide = np.array([each.label == "bonafide" for each in utterances])
    fold = folds(utterances)
    found: dict[int, dict[float, float]] = {}
    for layer, embeddings in zip(layers, np.split(rows, len(layers), axis=1), strict=True):
        found[layer] = {c: eer(embeddings, is_bonafide, fold, c) for c in PENALTIES}
    return found


def folds(utterances: list[Utterance]) -> npt.NDArray[np.int64]:
    """Assign groups to folds, the largest first, each to the fold with the fewest rows of its class."""
    fold = {}
    for label in ("bonafide", "spoof"):
        groups = [each.group for each in utterances if each.label == label]
        filled = [0] * FOLDS
        for group in sorted(set(groups), key=lambda name: (-groups.count(name), name)):
            fold[group] = int(np.argmin(filled))
            filled[fold[group]] += groups.count(group)
    return np.array([fold[each.group] for each in utterances])


def eer(
    rows: npt.NDArray[np.float32], is_bonafide: npt.NDArray[np.bool_], fold: npt.NDArray[np.int64], c: float
) -> float:
    """Compute the equal error rate of scores from all folds."""
    score = np.empty(len(rows))
    for number in range(FOLDS):
        held = fold == number
        head = make_pipeline(StandardScaler(), LogisticRegression(C=c, class_weight="balanced", max_iter=500))
        head.fit(rows[~held], is_bonafide[~held])
        score[held] = head.decision_function(rows[held])
    return equal_error_rate(score[is_bonafide], score[~is_bonafide])
