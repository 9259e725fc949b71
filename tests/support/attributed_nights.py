"""Nights of a head that names systems: recordings of voice machines that it has not heard, one along each axis."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from detector.attribution import COSINE, Attribution
from detector.head import Head
from tests.support import nightly_runs
from tests.support.nightly_runs import DIM, Recording

FIRST = "s3://archive/2026/radio/0001.tar"


def attributing(alike: float | None = 0.9, threshold: float = 1.0) -> Head:
    """The head of the nights, with axes along all but the first dimension, and a threshold that names nothing."""
    head = nightly_runs.head()
    axes = np.eye(DIM)[1:] * np.array(head.scale)
    centre = -axes @ (np.array(head.mean) / np.array(head.scale))
    systems = Attribution(
        ("near the second axis", "far"),
        COSINE,
        axes,
        centre,
        np.eye(DIM - 1)[:2] * [[1.0], [-1.0]],
        threshold,
        alike,
        0.05,
    )
    return replace(head, attribution=systems.to_dict(), max_ood=1.0)


def voice(machine: int, n: int, uri: str = FIRST, start: int = 0) -> list[Recording]:
    """Certain spoof whose numbers beside the first point along one axis, that of the machine."""
    rng = np.random.default_rng(machine + 100 * start)
    vectors = rng.normal(scale=0.1, size=(n, DIM))
    vectors[:, 0], vectors[:, 1 + machine] = -6.0, 5.0
    return [Recording(uri, f"{start + number:02d}-machine-{machine}.flac", each) for number, each in enumerate(vectors)]
