"""Trials: whom a row is of, and what the metrics get."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from jobs.reports.evaluation.trials import bootstrap_clusters, to_trials
from tests.support.labelled_scores import judged_rows


@pytest.mark.parametrize(
    ("row", "cluster"),
    [
        ({"truth": "bonafide", "speaker": "ann", "source": "corpus"}, "bonafide speaker ann"),
        ({"truth": "bonafide", "speaker": "-", "source": "corpus"}, "bonafide source corpus"),
        ({"truth": "bonafide", "system": "tts"}, "bonafide utterance_id u"),
        ({"truth": "spoof", "system": "tts", "speaker": "ann"}, "spoof system tts"),
        ({"truth": "spoof", "system": "-", "speaker": "ann"}, "spoof speaker ann"),
        ({"truth": "spoof", "source": "page"}, "spoof source page"),
    ],
)
def test_a_row_is_of_its_speaker_or_of_its_system(row: dict[str, str], cluster: str) -> None:
    nothing = {"utterance_id": "u", "system": None, "speaker": None, "source": None}

    assert bootstrap_clusters(pa.Table.from_pylist([nothing | row])).tolist() == [cluster]


def test_a_row_without_a_score_is_neither_wrong_nor_kept() -> None:
    rows = judged_rows(4)
    for name, kind in (("score", pa.float64()), ("p_spoof", pa.float64()), ("label", pa.string())):
        values = rows[name].to_pylist()
        values[1] = None  # of a spoof row: no label is not `bonafide`
        rows = rows.set_column(rows.column_names.index(name), name, pa.array(values, kind))
    rows = rows.set_column(rows.column_names.index("reject"), "reject", pa.array([False, True, False, False]))

    trials = to_trials(rows)

    assert trials.scored.tolist() == [True, False, True, True]
    assert not trials.wrong[1]
    assert trials.kept.tolist() == [True, False, True, True]
    assert trials.wrong[2:].tolist() == [
        label != truth
        for label, truth in zip(rows["label"].to_pylist()[2:], rows["truth"].to_pylist()[2:], strict=True)
    ]
    assert np.isnan(trials.score[1])
