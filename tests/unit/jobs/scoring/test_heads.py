"""A head scores the embeddings that it was fitted on, and no others."""

from __future__ import annotations

from pathlib import Path

import pytest

from detector.errors import ConfigError
from detector.head import Head
from jobs.scoring.heads import embeddings_of
from tests.support.embeddings import LAST, NINTH, fitted, vectors, write, write_labels


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Head:
    """Return a head for embeddings of the last layer."""
    output = tmp_path_factory.mktemp("fitted")
    write(output, LAST, vectors(1.0))
    return fitted(output, write_labels(output / "labels.csv"), "head")[0]


def test_a_head_is_refused_for_a_table_of_another_encoder(tmp_path: Path, head: Head) -> None:
    write(tmp_path, NINTH, vectors(1.0))

    with pytest.raises(ConfigError, match=f"{tmp_path}: the head is for .*, but these have {NINTH.fingerprint}"):
        embeddings_of(str(tmp_path), head)


def test_of_several_tables_a_head_takes_its_own(tmp_path: Path, head: Head) -> None:
    for recipe in (NINTH, LAST):
        write(tmp_path, recipe, vectors(1.0))

    assert embeddings_of(str(tmp_path), head).key == LAST.fingerprint
