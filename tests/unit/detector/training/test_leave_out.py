"""A synthesiser that is left out is judged as a synthesiser that nobody has seen."""

from __future__ import annotations

import numpy as np

from detector.groups import Names
from detector.logistic import Matrix
from detector.training.config import TrainingConfig
from detector.training.leave_out import leave_one_out


def test_a_system_left_out_is_judged_by_a_model_that_never_saw_it() -> None:
    # system `odd` lies among the bona fide rows and is separable only if it was seen; `plain` is easy
    rng = np.random.default_rng(0)
    kind = np.repeat(["bonafide", "plain", "third", "odd"], 200)
    place = {"bonafide": (3, 0), "plain": (-3, 0), "third": (-3, 0), "odd": (3, 6)}
    embeddings = rng.normal(size=(800, 2)) + np.array([place[each] for each in kind])
    is_bonafide = kind == "bonafide"
    names = {"system": Names.of(np.where(is_bonafide, None, kind)), "source": Names.of(np.repeat(["u", "v"], 400))}
    config = TrainingConfig(c=1.0, standardise=True)

    found = leave_one_out(Matrix(embeddings), is_bonafide, names, config, (1.0, 0.0))

    assert found["system"]["odd"]["wrong"] > 0.95
    assert found["system"]["plain"]["wrong"] < 0.05
    assert {name: each["rows"] for name, each in found["system"].items()} == {"odd": 200, "plain": 200, "third": 200}
    assert set(found["source"]) == {"v"}  # without u there is no bona fide row left to learn from
