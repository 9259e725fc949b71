"""A fused head judges rows of several tables side by side, by id, and refuses those that do not fit together."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from detector.api import Detector
from detector.checkpoint import recipes_of
from detector.config import EmbedConfig
from detector.errors import ConfigError, SchemaError
from detector.head import Head
from detector.schema import embeddings_schema
from detector.training import fusion
from detector.windows import COLUMNS
from jobs.config import RunConfig
from jobs.scoring.heads import embeddings_of
from jobs.scoring.shards import score_shards
from jobs.tables.joined import side_by_side
from jobs.tables.ledger import Ledger
from tests.support.audio import encoded
from tests.support.embeddings import DIM, LAST, N_ROWS, NINTH, fitted, vectors, write, write_labels
from tests.support.made_heads import fused_head, random_head
from tests.support.runner import InProcessRunner
from tests.support.voices import voice

FINGERPRINT = "fused"


def weaker(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(N_ROWS, DIM)) + 0.4 * (np.arange(N_ROWS)[:, None] % 2)).astype(np.float32)


@pytest.fixture(scope="module", autouse=True)
def few_draws() -> Iterator[None]:
    """Draw groups less often than a fit does: no test here minds how wide an interval is."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fusion, "N_DRAWS", 60)
        yield


@pytest.fixture(scope="module")
def fused(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Head]:
    """An output with two layers, and the head over both."""
    output = tmp_path_factory.mktemp("fused")
    write(output, LAST, vectors(0.4))
    write(output, NINTH, weaker(1))
    head, report = fitted(output, write_labels(output / "labels.csv"), "head", fuse=2, c=0.1, standardise=True)
    assert report["training"]["fusion"]["dim"] == len(head.weights) == 2 * DIM
    return output, head


def scored(output: Path, head: Head, to: Path) -> dict[str, float]:
    source = embeddings_of(str(output), head)
    shards = source.history().current.committed(source.done())
    score_shards(InProcessRunner(), source, shards, head, None, str(to), RunConfig(), "head.json")
    _, tables = Ledger(str(to), "scores", head.head_id).read_all("scores")
    rows = pa.concat_tables(tables).to_pylist()
    assert {row["fingerprint"] for row in rows} == {head.fingerprint}
    return {row["utterance_id"]: row["score"] for row in rows}


def test_rows_of_both_tables_are_scored_as_their_embeddings_side_by_side(
    fused: tuple[Path, Head], tmp_path: Path
) -> None:
    output, head = fused
    parts = {recipe.fingerprint: rows for recipe, rows in ((LAST, vectors(0.4)), (NINTH, weaker(1)))}
    order = [NINTH, LAST] if head.layers[0] == 9 else [LAST, NINTH]

    found = scored(output, head, tmp_path)

    joined = np.concatenate([parts[recipe.fingerprint] for recipe in order], axis=1)
    expected = head.scores(joined.astype(np.float64))
    assert len(found) == N_ROWS + 3  # a row of each shard has no embedding
    np.testing.assert_array_equal([found[f"u{number:04d}"] for number in range(N_ROWS)], expected)
    assert [found[f"unlabelled-{number:016x}"] for number in range(3)] == [None] * 3


def test_fusing_more_tables_than_there_are_is_refused_with_the_remedy(fused: tuple[Path, Head]) -> None:
    output, _ = fused

    with pytest.raises(ConfigError, match=r"2 table\(s\) to fuse, not 3. Embed several layers \(--layers\)"):
        fitted(output, str(output / "labels.csv"), "three", fuse=3, c=0.1, standardise=True)


def test_a_table_that_lacks_a_part_is_refused(fused: tuple[Path, Head], tmp_path: Path) -> None:
    _, head = fused
    write(tmp_path, LAST, vectors(0.4))

    with pytest.raises(ConfigError, match="the head is for embeddings of fingerprint"):
        embeddings_of(str(tmp_path), head)

    # the first part of the head has a shard that the second has not
    first, second = (LAST, NINTH) if head.layers[0] == -1 else (NINTH, LAST)
    write(tmp_path / "uneven", first, vectors(0.4), n_shards=3)
    write(tmp_path / "uneven", second, vectors(0.4), n_shards=2)
    with pytest.raises(ConfigError, match="1 of 3 shards are not in all 2 tables that the head judges together"):
        embeddings_of(str(tmp_path / "uneven"), head)


def test_a_recording_that_fails_for_one_part_is_a_failure_and_has_no_score(
    fused: tuple[Path, Head], tmp_path: Path
) -> None:
    _, head = fused
    failure = {"utterance_id": "lost", "uri": "u", "member": None, "stage": "embed", "error": "encoder_crash"}
    failure |= {"message": "", "bytes": 1, "attempts": 1, "run_id": "run"}
    recipes = {-1: LAST, 9: NINTH}
    first, second = (recipes[layer] for layer in head.layers)
    names = [f"u{number:04d}" for number in range(N_ROWS)]
    write(tmp_path, first, vectors(0.4), n_shards=1, ids=["lost", *names[1:]])
    write(tmp_path, second, weaker(1)[1:], n_shards=1, ids=names[1:], digests=names[1:], failures=[failure])

    source = embeddings_of(str(tmp_path), head)
    (marker,) = source.committed()

    rows, failures = source.read(marker, "embeddings"), source.read(marker, "failures")
    assert rows is not None
    assert failures is not None
    assert len(rows) == N_ROWS  # with the row that has no embedding, and without the lost one
    assert failures["utterance_id"].to_pylist() == ["lost"]
    assert not {"lost"} & set(rows["utterance_id"].to_pylist())
    (batch,) = source.batches(marker, "embeddings", ["utterance_id", "embedding"])
    assert batch.to_pylist() == rows.select(["utterance_id", "embedding"]).to_pylist()


@pytest.mark.long
def test_recordings_are_embedded_in_one_pass_and_get_the_scores_of_the_python_api(
    tmp_path: Path, bonafide: Callable[..., tuple[int, str, str]]
) -> None:
    layers = (1, 2)
    recipes = recipes_of(EmbedConfig(backbone="starter"), layers, None)
    head = fused_head(random_head(1, 2 * 512), *recipes)
    (tmp_path / "head.json").write_text(head.to_json())
    names = [tmp_path / "archive" / f"{number}.wav" for number in range(2)]
    names[0].parent.mkdir()
    for number, name in enumerate(names):
        name.write_bytes(encoded(voice(np.random.default_rng(number), 1.0, 120.0, 0.5), kind="WAV"))
    archive, output, judge = tmp_path / "archive", tmp_path / "out", tmp_path / "head.json"

    code, _, _ = bonafide("nightly", "--input", archive, "--head", judge, "--output", output, "--runner", "local")

    assert code == 0
    _, tables = Ledger(str(output), "scores", head.head_id).read_all("scores")
    found = {row["uri"].rpartition("/")[2]: row for row in pa.concat_tables(tables).to_pylist()}
    detector = Detector.load(judge)
    for name in names:
        verdict = detector.score(name)
        assert verdict.score is not None
        assert (found[name.name]["score"], found[name.name]["ood"]) == (verdict.score, verdict.ood)
    assert len(list((output / "embeddings").iterdir())) == len(layers)
    # the embedded rows are not computed again
    code, out, _ = bonafide("score", "--embeddings", output, "--head", judge, "--output", output, "--runner", "local")
    assert (code, out.split(":")[0]) == (0, "nothing new")
    assert list((output / "runs").glob("*.html"))  # the page, whose queue compares joined embeddings


def rows(ids: list[str], embeddings: list[list[float] | None], digest: str = "aa") -> pa.Table:
    columns = {
        "utterance_id": ids,
        "audio_sha256": [digest] * len(ids),
        "fingerprint": ["part"] * len(ids),
        "embedding": pa.array(embeddings, pa.list_(pa.float32(), 2)),
    }
    return pa.table(columns)


def test_rows_are_joined_by_id_and_null_where_one_part_has_no_embedding() -> None:
    first = rows(["a", "b", "c"], [[1, 2], [3, 4], None])
    second = rows(["c", "a", "b", "d"], [[5, 6], [7, 8], None, [9, 9]])

    joined = side_by_side([first, second], FINGERPRINT, "here")

    assert joined["utterance_id"].to_pylist() == ["a", "b", "c"]
    assert joined["embedding"].to_pylist() == [[1.0, 2.0, 7.0, 8.0], None, None]
    assert joined["fingerprint"].to_pylist() == [FINGERPRINT] * 3


def test_windows_are_joined_with_their_recording_and_null_where_one_part_has_others() -> None:
    def with_windows(of: pa.Table, windows: list[list[float] | None]) -> pa.Table:
        values = [[None if each is None else value for each in windows] for value in (2.0, 1.0, [0.5] * 2, [-20.0] * 2)]
        found = of.append_column("seconds", pa.array([3.0] * len(of)))
        for name, column in zip(COLUMNS, [*values, windows], strict=True):
            found = found.append_column(name, pa.array(column, embeddings_schema(2).field(name).type))
        return found

    first = with_windows(rows(["a", "b", "c"], [[1, 2]] * 3), [[1, 2, 3, 4], [0, 0, 0, 0], None])
    second = with_windows(rows(["b", "c", "a"], [[5, 6]] * 3), [None, [9, 9, 9, 9], [5, 6, 7, 8]])

    joined = side_by_side([first, second], FINGERPRINT, "here")

    assert joined["window_embeddings"].to_pylist() == [[1, 2, 5, 6, 3, 4, 7, 8], None, None]
    assert joined["window_levels"].to_pylist() == [[-20.0, -20.0], None, None]
    assert joined["window_seconds"].to_pylist() == [2.0, None, None]


def test_a_recording_that_one_part_lacks_or_that_changed_between_them_is_refused() -> None:
    first = rows(["a", "b"], [[1, 2], [3, 4]])

    with pytest.raises(SchemaError, match=r"here: 'b' is embedded for one part of the head only\."):
        side_by_side([first, rows(["a"], [[1, 2]])], FINGERPRINT, "here")
    with pytest.raises(SchemaError, match="here: 'a' has changed between its embeddings"):
        side_by_side([first, rows(["a", "b"], [[1, 2], [3, 4]], "bb")], FINGERPRINT, "here")
