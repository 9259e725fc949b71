"""The underfitted rival is a linear layer short of the optimum, and says by how much."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from bench.underfitted import Layer, fit_layer, share_of_the_way, underfitted_head
from detector.head import Head
from detector.logistic import Matrix
from tests.support.embeddings import LAST, N_ROWS, fitted, vectors, write, write_labels

TRUTH = np.arange(N_ROWS) % 2 == 1


def test_more_epochs_go_farther_towards_the_optimum_that_scikit_learn_finds() -> None:
    rows = Matrix(vectors(1.0))
    best = LogisticRegression(C=1e6, tol=1e-10).fit(rows.embeddings, TRUTH)
    optimum = Layer(best.coef_[0], float(best.intercept_[0]))

    shares = [share_of_the_way(fit_layer(rows, TRUTH, n), optimum, rows, TRUTH) for n in (1, 20, 200)]

    assert shares == sorted(shares)
    assert 0.0 < shares[0] < 0.05
    assert shares[-1] < 1.0
    assert share_of_the_way(optimum, optimum, rows, TRUTH) == pytest.approx(1.0)


def test_its_head_is_for_the_same_embeddings_and_scores_by_the_layer(tmp_path: Path) -> None:
    write(tmp_path, LAST, vectors(1.0))
    labels = Path(write_labels(tmp_path / "labels.csv"))
    with labels.open(newline="") as file:
        first, *others = csv.reader(file)
    with labels.open("w", newline="") as file:
        csv.writer(file).writerows([[*first, "split"], *([*each, "train"] for each in others)])
    converged, _ = fitted(tmp_path, str(labels), "head", c=1e6, standardise=False, class_weights="none")

    path, share = underfitted_head(tmp_path / "head.json", str(tmp_path), LAST.fingerprint, labels, epochs=3)

    head = Head.from_json(path.read_bytes(), str(path))
    rows = vectors(1.0).astype(np.float64)
    logits = rows @ np.array(head.weights) + head.bias
    assert head.fingerprint == converged.fingerprint
    assert 0.0 < share < 0.2
    assert np.argsort(head.scores(rows)).tolist() == np.argsort(logits).tolist()
