"""The whole job: real Ray processes, a real S3 server, real Parquet read by DuckDB."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import fsspec
import numpy as np
import pyarrow.parquet as pq
import pytest

from detector import Detector
from detector.checkpoint import recipe_of
from detector.config import EmbedConfig
from tests.support.archives import write_tar
from tests.support.audio import encoded
from tests.support.checkpoints import write_checkpoint
from tests.support.heads import some_head

N_SHARDS, N_EACH = 3, 8
ODD_MEMBERS = {
    "odd/page.mp3": b"<html>404</html>",
    "odd/notes.txt": b"not audio by its name, so not an input",
    "odd/empty.wav": b"",
    "odd/click.wav": encoded(np.full(100, 0.1), kind="WAV"),
}

Job = Callable[..., subprocess.CompletedProcess[str]]


def utterance(label: str, number: int) -> bytes:
    """Noise over a tone; that of `spoof` is duller, so that a head can tell them apart."""
    rng = np.random.default_rng([number, label == "spoof"])
    noise = rng.normal(0.0, 0.1, 16_000 + 800 * number)
    if label == "spoof":
        noise = np.convolve(noise, np.ones(3) / 3, "same")
    time = np.arange(len(noise)) / 16_000
    return encoded(0.3 * np.sin(2 * np.pi * (150 + 10 * number) * time) + noise)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three tar shards of labelled noise, odd members in the last, and labels beside them."""
    folder = tmp_path_factory.mktemp("archive")
    for shard in range(N_SHARDS):
        members = {
            f"{label}/{number:02d}.flac": utterance(label, shard * N_EACH + number)
            for label in ("bonafide", "spoof")
            for number in range(N_EACH)
        }
        write_tar(folder / f"{shard:04d}.tar", members | (ODD_MEMBERS if shard == N_SHARDS - 1 else {}))
    return folder


def job_in(environment: dict[str, str]) -> Job:
    """Run a verb as users do, in a process of its own."""

    def run(*arguments: object, code: int = 0) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "jobs", *map(str, arguments)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200)
        assert done.returncode == code, f"{command}\n{done.stdout}\n{done.stderr}"
        return done

    return run


@pytest.fixture(scope="module")
def job(on_ray: dict[str, str]) -> Job:
    """A job on a Ray that is there already."""
    return job_in(on_ray)


@pytest.fixture(scope="module")
def small_job(job_environment: dict[str, str]) -> Job:
    """A job without a Ray, as small ones are by default; `test_runners` shows that its rows are the same."""
    return job_in(job_environment)


@pytest.fixture(scope="module")
def archived(archive: Path, store: fsspec.AbstractFileSystem) -> fsspec.AbstractFileSystem:
    """The archive in a bucket of the store."""
    store.put(str(archive) + "/", "archive/shards/", recursive=True)
    return store


@pytest.fixture(scope="module")
def labels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Labels of the bucket's utterances."""
    path = tmp_path_factory.mktemp("labels") / "labels.csv"
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["utterance_id", "label", "system", "speaker"])
        for shard in range(N_SHARDS):
            for label in ("bonafide", "spoof"):
                for number in range(N_EACH):
                    who = f"{label}-{number}"
                    table.writerow([f"{shard:04d}.tar#{label}/{number:02d}.flac", label, who, who])
    return path


@pytest.fixture(scope="module")
def head(small_job: Job, archived: object, labels: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A melstats head that was fitted on the bucket."""
    folder, where = tmp_path_factory.mktemp("head"), "s3://archive/tables"
    small_job("embed", "--input", "s3://archive/shards/", "--backbone", "melstats", "--output", where)
    small_job("fit", "--embeddings", where, "--labels", labels, "--output", folder, "--target-coverage", 0.8)
    return folder / "head.json"


def score_in(output: Path) -> float:
    (row,) = duckdb.sql(f"SELECT score FROM read_parquet('{output}/scores/**/*.parquet')").fetchall()
    return float(row[0])


def test_shards_in_a_bucket_become_tables_that_duckdb_reads(
    small_job: Job, head: Path, labels: Path, archived: fsspec.AbstractFileSystem, tmp_path: Path
) -> None:
    scored = small_job(
        "score", "--embeddings", "s3://archive/tables", "--head", head, "--output", "s3://archive/tables"
    )
    small_job("evaluate", "--scores", "s3://archive/tables", "--labels", labels, "--output", tmp_path)

    sql = duckdb.connect()
    sql.register_filesystem(archived)
    n_inputs = N_SHARDS * 2 * N_EACH + 3  # notes.txt is no input
    ((n_scores, n_ids, n_unscored),) = sql.sql(
        "SELECT count(*), count(DISTINCT utterance_id), count(*) FILTER (score IS NULL) "
        "FROM read_parquet('s3://archive/tables/scores/**/*.parquet')"
    ).fetchall()
    failures = sql.sql(
        "SELECT member, error FROM read_parquet('s3://archive/tables/failures/**/*.parquet') ORDER BY member"
    ).fetchall()
    every_parquet = archived.glob("archive/tables/**/*.parquet")
    assert (n_scores + len(failures), n_ids, n_unscored) == (n_inputs, n_scores, 1)
    assert failures == [("odd/empty.wav", "empty"), ("odd/page.mp3", "not_audio")]
    assert {path.split("/")[2] for path in every_parquet} == {"embeddings", "scores", "failures"}
    assert "1 too_short" in scored.stdout
    # the classes differ by a filter that melstats sees: the chain carries what it should
    (found,) = json.loads((tmp_path / "report.json").read_text())["heads"]
    assert found["headline"]["equal_error_rate"]["value"] < 0.05
    assert (found["ids"]["failed"], found["ids"]["missing"]) == (0, 0)
    assert "<svg" in (tmp_path / "report.html").read_text()


def test_p_spoof_in_the_table_is_the_contract_s_formula(
    small_job: Job, head: Path, archive: Path, tmp_path: Path
) -> None:
    small_job("score", "--input", archive / "0000.tar", "--head", head, "--output", tmp_path, "--prior", 0.01)

    ((wrong, rows),) = duckdb.sql(
        "SELECT count(*) FILTER (abs(p_spoof - 1 / (1 + exp(score - ln(prior / (1 - prior))))) > 1e-12 "
        f"OR prior <> 0.01 OR (label = 'spoof') <> (p_spoof > 0.5)), count(*) "
        f"FROM read_parquet('{tmp_path}/scores/**/*.parquet')"
    ).fetchall()
    assert (wrong, rows) == (0, 2 * N_EACH)


def test_a_second_night_does_only_what_is_new(small_job: Job, head: Path, archive: Path, tmp_path: Path) -> None:
    incoming, output = tmp_path / "incoming", tmp_path / "tables"
    incoming.mkdir()
    (incoming / "a.flac").write_bytes(utterance("bonafide", 1))
    night = ("nightly", "--input", incoming, "--head", head, "--output", output)
    small_job(*night)
    first = {path: path.stat().st_mtime_ns for path in output.rglob("*") if path.is_file()}

    idle = small_job(*night)
    after_idle = {path: path.stat().st_mtime_ns for path in output.rglob("*") if path.is_file()}
    (incoming / "b.flac").write_bytes(utterance("spoof", 2))
    small_job(*night)

    assert len(list((output / "runs").glob("*.html"))) == 2
    assert "nothing new" in idle.stdout
    assert after_idle == first
    assert {path: path.stat().st_mtime_ns for path in first} == first
    scores = duckdb.sql(f"SELECT uri FROM read_parquet('{output}/scores/**/*.parquet') ORDER BY uri").fetchall()
    assert scores == [(str(incoming / "a.flac"),), (str(incoming / "b.flac"),)]


@pytest.mark.long
def test_labels_of_a_night_in_a_bucket_go_into_the_next_head(
    job: Job, head: Path, archived: fsspec.AbstractFileSystem, tmp_path: Path
) -> None:
    tables, queue = "s3://archive/nightly", tmp_path / "queue.csv"
    night = job(
        *("nightly", "--input", "s3://archive/shards/", "--head", head, "--output", tables),
        *("--players", "embed", "--run-date", "2026-11-23", "--max-failures", 1),
    )
    job("review", "export", "--output", tables, "--to", queue)
    with queue.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    with queue.open("w", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        table.writerows({**row, "label": row["member"].split("/")[0], "system": row["member"]} for row in rows)
    job("review", "import", "--output", tables, "--from", queue, "--labels", "s3://archive/reviewed.parquet")
    fitted = job("fit", "--embeddings", tables, "--labels", "s3://archive/reviewed.parquet", "--output", tmp_path)

    (page,) = archived.glob("archive/nightly/runs/*.html")
    text = archived.cat(page).decode()
    n_rows = sum(1 for row in rows if row["member"])
    assert f"page: s3://{page}" in night.stdout
    assert text.count("<audio controls") >= n_rows > 4
    assert "failed: not_audio" in text
    report = json.loads((tmp_path / "head.report.json").read_text())
    assert report["training"]["trained_on"]["rows"] == len(rows)
    assert "held out: EER" in fitted.stdout


@pytest.mark.long
def test_a_stopped_run_exits_with_75_and_resumes_where_it_stopped(
    job: Job, archive: Path, job_environment: dict[str, str], tmp_path: Path
) -> None:
    many = tmp_path / "many"
    many.mkdir()
    for number in range(24):
        (many / f"{number:02d}.tar").hardlink_to(archive / f"{number % N_SHARDS:04d}.tar")
    embed = ("embed", "--input", many, "--backbone", "melstats", "--max-failures", 1, "--output")
    running = subprocess.Popen(
        [sys.executable, "-m", "jobs", *map(str, embed), str(tmp_path / "stopped")],
        env=job_environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    commits = tmp_path / "stopped" / "_commits"
    while running.poll() is None and not list(commits.glob("*/*.json")):
        time.sleep(0.05)

    running.terminate()
    asked = time.monotonic()
    _, said = running.communicate(timeout=60)

    assert running.returncode == 75, said
    assert time.monotonic() - asked < 10
    assert "SIGTERM" in said.splitlines()[-1]
    n_before = len(list(commits.glob("*/*.json")))
    assert 0 < n_before < 24
    resumed = job(*embed, tmp_path / "stopped")
    job(*embed, tmp_path / "undisturbed")
    assert f"in {24 - n_before} shards" in resumed.stdout
    same = "SELECT utterance_id, embedding FROM read_parquet('{}/embeddings/**/*.parquet') ORDER BY 1"
    stopped, undisturbed = (duckdb.sql(same.format(tmp_path / name)).fetchall() for name in ("stopped", "undisturbed"))
    assert stopped == undisturbed


def test_a_file_has_one_score_by_command_and_by_api(small_job: Job, head: Path, tmp_path: Path) -> None:
    recording = tmp_path / "call.flac"
    recording.write_bytes(utterance("bonafide", 5))

    small_job("score", "--input", recording, "--head", head, "--output", tmp_path / "by-command")

    by_api = Detector.load(head).score(recording.read_bytes()).score
    assert score_in(tmp_path / "by-command").hex() == by_api.hex()


@pytest.mark.parametrize("runner", ["local", pytest.param("ray", marks=pytest.mark.long)])
def test_an_encoder_with_weights_gives_the_same_bits_by_command_and_by_api(
    job_environment: dict[str, str], runner: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    checkpoint = write_checkpoint(tmp_path / "tiny", "wav2vec2", norm="layer")
    recording = tmp_path / "call.flac"
    recording.write_bytes(utterance("spoof", 6))
    head = some_head(recipe_of(EmbedConfig(backbone="huggingface", layer=2), checkpoint), dim=32, model="tiny")
    (tmp_path / "head.json").write_text(head.to_json())
    job = job_in(job_environment if runner == "local" else request.getfixturevalue("on_ray"))

    job("score", "--input", recording, "--head", tmp_path / "head.json", "--model", checkpoint, "--output", tmp_path)

    verdict = Detector.load(tmp_path / "head.json", str(checkpoint)).score(recording.read_bytes())
    assert score_in(tmp_path).hex() == verdict.score.hex()


@pytest.mark.long
def test_layers_of_one_pass_are_the_tables_of_a_run_a_layer(job: Job, tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "tiny", "wav2vec2", norm="layer")
    recordings = tmp_path / "recordings"
    recordings.mkdir()
    for seed in range(3):
        (recordings / f"{seed}.flac").write_bytes(utterance("spoof", seed))
    (recordings / "page.mp3").write_bytes(b"<html>")
    what = ("--input", recordings, "--backbone", "huggingface", "--model", checkpoint, "--segment-seconds", 1)

    def embed(output: str, *how: object) -> str:
        return job("embed", *what, "--max-failures", 1, "--output", tmp_path / output, *how).stdout

    def rows(output: str, layer: object) -> list[dict[str, Any]]:
        (path,) = (tmp_path / output / "embeddings").glob(f"backbone=tiny-{layer}/*.parquet")
        return pq.read_table(path, partitioning=None).drop_columns(["run_id"]).to_pylist()

    first = embed("together", "--layers", "1,3")
    again = embed("together", "--layers", "1,3")
    more = embed("together", "--layers", "all")
    embed("alone", "--layer", 1)
    embed("alone", "--layer", 3, "--new-table")

    assert "embedded 6 utterances" in first
    assert "nothing new" in again
    assert "embedded 6 utterances" in more  # layers 0 and 2: the others stand
    for layer in (1, 3):
        assert rows("together", f"layer{layer}") == rows("alone", f"layer{layer}")
        assert {row["layer"] for row in rows("together", f"layer{layer}")} == {layer}
    assert len({str(rows("together", f"layer{layer}")[0]["embedding"]) for layer in range(4)}) == 4
    for output in ("together", "alone"):
        assert "differ" not in job("verify", tmp_path / output).stdout
    assert len(list((tmp_path / "together" / "runs").iterdir())) == 4


REFUSED = {
    "a missing bucket": (("--input", "s3://no-such-bucket/shards/"), "no such file, folder or prefix"),
    "an archive with no audio": (("--input", "{folder}/papers"), "no audio found"),
    "a tar with no audio": (("--input", "{folder}/papers.tar"), "no audio found"),
    "a head of another encoder": (("--input", "{folder}/same.flac", "--model", "{folder}/hubert"), "no weights"),
}


@pytest.fixture(scope="module")
def unfit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Inputs that no run can take."""
    folder = tmp_path_factory.mktemp("unfit")
    (folder / "papers").mkdir()
    (folder / "papers" / "notes.txt").write_text("no audio")
    write_tar(folder / "papers.tar", {"notes.txt": b"no audio"})
    (folder / "same.flac").write_bytes(utterance("spoof", 1))
    write_checkpoint(folder / "hubert", "hubert", norm="group")
    return folder


@pytest.mark.usefixtures("s3_root")
@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_scored_is_refused_with_65(
    what: str, bonafide: Callable[..., tuple[int, str, str]], head: Path, unfit: Path, tmp_path: Path
) -> None:
    arguments, cause = REFUSED[what]

    code, _, err = bonafide(
        "nightly", *(each.format(folder=unfit) for each in arguments), "--head", head, "--output", tmp_path
    )

    assert code == 65
    assert cause.format(folder=unfit) in err.splitlines()[-1]
    assert [path for path in tmp_path.rglob("*.parquet") if path.name != "empty.parquet"] == []


def test_a_head_of_another_encoder_is_refused_with_both_fingerprints(
    small_job: Job, head: Path, unfit: Path, tmp_path: Path
) -> None:
    other = ("--backbone", "melstats", "--segment-seconds", 5)
    small_job("embed", "--input", unfit / "same.flac", *other, "--output", tmp_path)

    refused = small_job("score", "--embeddings", tmp_path, "--head", head, "--output", tmp_path, code=65)

    (table,) = (tmp_path / "_plans").iterdir()
    cause = refused.stderr.splitlines()[-1]
    assert table.name.removeprefix("embeddings-") in cause
    assert Detector.load(head).head.fingerprint in cause
