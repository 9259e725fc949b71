"""The underfitted rival: a linear layer on the same embeddings, by a few epochs of Adam, as public benchmarks fit it.

Benchmarks of frozen encoders fit their linear layers by a fixed number of epochs at a fixed rate, whether or not that
leads to the optimum. This fits such a layer on the rows that a head was fitted on, and says how much of the way it
went, so that what is due to the encoder and what to the fit can be told apart. Rate and batch are the usual ones of
SUPERB's downstream recipes; which ones a publication used must be looked up there.

References
----------
Yang et al., SUPERB: Speech processing universal performance benchmark, Interspeech 2021; Kingma and Ba, Adam, 2015.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from detector.head import Head
from detector.logistic import Bools, Rows
from detector.metrics import Floats
from detector.training.config import TrainingConfig
from jobs.tables.labelled import Labelled, Labels
from jobs.tables.ledger import Ledger

RATE, BATCH, SEED = 1e-4, 32, 0
DECAY = (0.9, 0.999)  # of the mean gradient and of its square
WIDE = 700.0  # nats: bounds that change no order


@dataclass(frozen=True)
class Layer:
    """A linear layer: the logit is ``row · weights + bias``, higher for bona fide."""

    weights: Floats
    bias: float

    def loss(self, rows: Rows, is_bonafide: Bools) -> float:
        """Mean cross-entropy in nats."""
        total = 0.0
        for index, block in rows.blocks():
            logits = block @ self.weights + self.bias
            total += float(np.logaddexp(0.0, np.where(is_bonafide[index], -logits, logits)).sum())
        return total / rows.n_rows


def fit_layer(rows: Rows, is_bonafide: Bools, epochs: int) -> Layer:
    """Fit by Adam on batches of :data:`BATCH` rows, in a random order within each block.

    Parameters
    ----------
    rows : Rows
    is_bonafide : bool array of shape (n_rows,)
    epochs : int

    Examples
    --------
    >>> from detector.logistic import Matrix
    >>> truth = np.arange(64) % 2 == 0
    >>> layer = fit_layer(Matrix(np.where(truth, 1.0, -1.0)[:, None]), truth, epochs=1)
    >>> round(float(layer.weights[0]), 6)  # two steps of 1e-4 each
    0.0002
    """
    at, mean, square, step = np.zeros(rows.dim + 1), np.zeros(rows.dim + 1), np.zeros(rows.dim + 1), 0
    random = np.random.default_rng(SEED)
    for _ in range(epochs):
        for index, block in (each for each in rows.blocks() if len(each[0])):
            for batch in np.array_split(random.permutation(len(block)), max(1, len(block) // BATCH)):
                columns = np.column_stack([block[batch].astype(np.float64), np.ones(len(batch))])
                likely = np.exp(-np.logaddexp(0.0, -(columns @ at)))
                gradient = (likely - is_bonafide[index[batch]]) @ columns / len(batch)
                step += 1
                mean += (1.0 - DECAY[0]) * (gradient - mean)
                square += (1.0 - DECAY[1]) * (gradient**2 - square)
                unbiased = mean / (1.0 - DECAY[0] ** step), square / (1.0 - DECAY[1] ** step)
                at -= RATE * unbiased[0] / (np.sqrt(unbiased[1]) + 1e-8)
    return Layer(at[:-1], float(at[-1]))


def share_of_the_way(layer: Layer, converged: Layer, rows: Rows, is_bonafide: Bools) -> float:
    """Share of the fall of the loss, from that of a layer of zeros to that of the optimum, that a layer reaches."""
    best = converged.loss(rows, is_bonafide)
    return float((np.log(2.0) - layer.loss(rows, is_bonafide)) / (np.log(2.0) - best))


def underfitted_head(head: Path, output: str, fingerprint: str, labels: Path, epochs: int) -> tuple[Path, float]:
    """Write the head of a layer that is underfitted on the rows of another head, beside it.

    Returns
    -------
    Path
    float
        :func:`share_of_the_way`.
    """
    converged = Head.from_json(head.read_bytes(), str(head))
    config = TrainingConfig(min_seconds=converged.min_seconds, silence_dbfs=converged.silence_dbfs)
    rows = Labelled([Ledger(output, "embeddings", fingerprint)], Labels.read(str(labels), "train"), config)
    layer = fit_layer(rows, rows.is_bonafide, epochs)
    weights = np.array(converged.weights) / np.array(converged.scale)
    optimum = Layer(weights, converged.bias - float(weights @ np.array(converged.mean)))
    share = share_of_the_way(layer, optimum, rows, rows.is_bonafide)
    made = replace(
        converged,
        mean=(0.0,) * rows.dim,
        scale=(1.0,) * rows.dim,
        weights=tuple(layer.weights.tolist()),
        bias=layer.bias,
        calibration=(1.0, 0.0),
        score_bounds=(-WIDE, WIDE),
        max_ood=1.0,
        training={"epochs": epochs, "share_of_the_way": share},
    )
    path = head.with_name(f"{head.stem}-underfitted.json")
    path.write_text(made.to_json())
    return path, share


def described(share: float, epochs: int) -> str:
    """Say what the rival is, for a table.

    Examples
    --------
    >>> described(0.613, 5)
    'linear layer, 5 epochs of Adam: 61 % of the way'
    """
    return f"linear layer, {epochs} epoch{'s' * (epochs != 1)} of Adam: {share:.0%} of the way".replace("%", " %")
