"""Jobs handed to a real Ray cluster with token authentication, their tables on a real S3 server."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import fsspec
import pyarrow.parquet as pq
import pytest

from cluster.submit import pinned, submission_id
from detector import Detector
from tests.integration.cluster.conftest import UTTERANCES, Submit
from tests.support.archives import write_tar

NIGHT = (
    "nightly",
    "--input",
    "s3://night/archive/",
    "--head",
    "s3://night/heads/head.json",
    "--run-date",
    "2026-11-23",
)


def test_the_id_of_a_job_is_that_of_what_it_does() -> None:
    night = ["nightly", "--input", "s3://archive/"]

    assert submission_id(night) == submission_id(list(night))
    assert submission_id([*night, "--prior", "0.1"]) != submission_id(night)
    assert submission_id([*night, "--run-date=2026-11-20"]) != submission_id(night)
    assert submission_id(night).startswith("bonafide-nightly-")


def test_requirements_name_exact_versions(tmp_path: Path) -> None:
    path = tmp_path / "requirements.txt"
    path.write_text("# pinned\ntorch==2.13.0  # the CPU build\n\nray[data,default]==2.56.0\n")
    assert pinned(str(path)) == ["torch==2.13.0", "ray[data,default]==2.56.0"]

    for loose in (
        "torch",
        "torch>=2.13",
        "git+https://example.org/torch",
        "-r others.txt",
        "torch==2.13.0 -i http://x",
    ):
        path.write_text(f"ray==2.56.0\n{loose}\n")
        with pytest.raises(ValueError, match="no exact version") as error:
            pinned(str(path))
        assert loose in str(error.value)


@pytest.mark.parametrize(
    ("arguments", "code", "cause"),
    [
        ((), 2, "nothing to submit"),
        (("--attempts", "0", "--", "nightly"), 2, "expected 1 or more"),
        (("--requirements", "no-such-file", "--", "nightly"), 65, "no-such-file"),
        (("--address", "http://127.0.0.1:9", "--", "nightly"), 69, "127.0.0.1:9"),
    ],
)
def test_what_cannot_be_submitted_says_why(
    arguments: tuple[str, ...], code: int, cause: str, bonafide: Callable[..., tuple[int, str, str]]
) -> None:
    found, _, err = bonafide("submit", *arguments)

    assert found == code
    assert cause in err.splitlines()[-1]


def ended(job: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = job.communicate(timeout=200)
    return job.returncode, out, err


def scores(bucket: fsspec.AbstractFileSystem, output: str) -> dict[str, float]:
    """Return the score of each utterance, which must occur once."""
    found = [pq.read_table(BytesIO(bucket.cat(path))) for path in bucket.glob(f"{output}/scores/**/*.parquet")]
    rows = [(row["utterance_id"], row["score"]) for table in found for row in table.to_pylist()]
    assert len(dict(rows)) == len(rows)
    return dict(rows)


@pytest.mark.long
def test_a_night_submitted_twice_at_once_runs_once(
    submit: Submit, bucket: fsspec.AbstractFileSystem, head: str, tmp_path: Path
) -> None:
    night = (*NIGHT, "--output", "s3://night/tables")
    two = [submit(*night), submit(*night)]
    (first_code, first_out, first), (second_code, second_out, second) = map(ended, two)
    found = scores(bucket, "night/tables")

    assert (first_code, second_code) == (0, 0), first + second
    name = submission_id(night)
    assert [("submitted" in err, "at work" in err) for err in (first, second)].count((True, False)) == 1
    assert "1 × GPU" in first_out + first
    assert "scored 24 utterances" in first_out
    assert "scored 24 utterances" in second_out  # whoever came second followed the first one's log
    assert sum(f"submitted {name} to" in err for err in (first, second)) == 1
    assert found.keys() == {f"{who.split('-')[1]}.tar#{who}.flac" for who in UTTERANCES}
    (tmp_path / "head.json").write_bytes(bucket.cat("night/heads/head.json"))
    by_api = Detector.load(tmp_path / "head.json").score(UTTERANCES["spoof-0-1"])
    assert by_api.score.hex() == found["0.tar#spoof-0-1.flac"].hex()
    assert len(bucket.glob("night/tables/runs/*.json")) == 2  # of the embeddings and of the scores


@pytest.mark.long
def test_a_night_that_is_submitted_again_does_what_came_since(
    submit: Submit, bucket: fsspec.AbstractFileSystem, head: str, tmp_path: Path
) -> None:
    night = (*NIGHT, "--output", "s3://night/since")
    first, idle = ended(submit(*night)), ended(submit(*night))
    write_tar(tmp_path / "late.tar", {"late.flac": UTTERANCES["spoof-0-1"]})
    bucket.put(str(tmp_path / "late.tar"), "night/archive/late.tar")
    try:
        second = ended(submit(*night))
    finally:
        bucket.rm("night/archive/late.tar")

    assert (first[0], idle[0], second[0]) == (0, 0, 0), first[2] + idle[2] + second[2]
    assert "scored 24 utterances" in first[1]
    assert "nothing new" in idle[1]
    assert "scored 1 utterances" in second[1]
    names = [f"submitted {submission_id(night)}{number} to" for number in ("", ".2", ".3")]
    assert [name in err for name, (_, _, err) in zip(names, (first, idle, second), strict=True)] == [True] * 3
    assert "late.tar#late.flac" in scores(bucket, "night/since")
    assert len(bucket.glob("night/since/runs/*.json")) == 4  # of the embeddings and of the scores, twice


def test_a_job_of_an_id_that_is_given_runs_once(submit: Submit) -> None:
    given = ("--submission-id", "once", "--", "gc", "--help")
    first, second = ended(submit(options=given)), ended(submit(options=given))

    assert (first[0], second[0]) == (0, 0), first[2] + second[2]
    assert "submitted once to" in first[2]
    assert "once ended with 0 already: nothing submitted" in second[1]


def test_a_job_s_exit_code_and_cause_come_through(submit: Submit, head: str) -> None:
    code, out, err = ended(submit(*NIGHT, "--output", "s3://night/refused", "--prior", "2"))

    assert code == 65
    assert "prior 2.0; expected a share between 0 and 1" in out + err


def test_without_the_token_nothing_is_submitted(submit: Submit, tmp_path: Path) -> None:
    other = tmp_path / "token"
    other.write_text(secrets.token_hex(32))
    code, _, err = ended(submit(*NIGHT, "--output", "s3://night/stranger", RAY_AUTH_TOKEN_PATH=str(other)))

    assert code == 69
    assert err.splitlines()[-1].startswith("error 69: http://127.0.0.1:")


@pytest.mark.long
def test_a_job_that_ends_with_75_is_started_again(submit: Submit, bucket: fsspec.AbstractFileSystem, head: str) -> None:
    night = (*NIGHT, "--output", "s3://night/again")
    following = submit(*night)
    job = submission_id(night)
    while not bucket.glob("night/again/_plans/**"):  # it is at work
        assert following.poll() is None
        time.sleep(0.1)
    drivers = subprocess.run(
        ["pgrep", "-f", "python -m jobs nightly .*night/again"], capture_output=True, text=True, check=True
    )
    for driver in drivers.stdout.split():
        if (
            f"{job}" in Path(f"/proc/{driver}/environ").read_text()
            and Path(f"/proc/{driver}/comm").read_text() != "sh\n"
        ):
            os.kill(int(driver), signal.SIGTERM)
    code, out, err = ended(following)

    assert code == 0, out + err
    assert "attempt 1 of 3 ended with 75; again in 10 s" in err
    assert f"submitted {job}.2" in err
    assert len(scores(bucket, "night/again")) == 24


@pytest.fixture
def fitted(bucket: fsspec.AbstractFileSystem, environment: dict[str, str]) -> str:
    """A head that was fitted on the archive, and published."""
    labelled = ("--embeddings", "s3://night/labelled", "--labels", "s3://night/labels.csv", "--c", "1")
    for verb in (
        ("embed", "--input", "s3://night/archive/", "--backbone", "melstats", "--output", "s3://night/labelled"),
        ("fit", *labelled, "--target-coverage", "0.9", "--output", "s3://night/fitted"),
    ):
        subprocess.run([sys.executable, "-m", "jobs", *verb], env=environment, check=True, timeout=200)
    return "s3://night/fitted/head.json"


@pytest.mark.long
def test_retraining_publishes_a_head_that_is_no_worse_and_keeps_the_old_one(
    submit: Submit, bucket: fsspec.AbstractFileSystem, fitted: str
) -> None:
    before = bucket.cat(fitted)
    old = json.loads(before)["head_id"]
    retrain = ("retrain", "--input", "s3://night/archive/", "--labels", "s3://night/labels.csv", "--head", fitted)
    retrain += ("--target-coverage", "0.9", "--run-date", "2026-11-23", "--output")

    kept = ended(submit(*retrain, "s3://night/strict", "--c", "1e-5", "--margin", "0"))
    after_kept = bucket.cat(fitted)
    published = ended(submit(*retrain, "s3://night/retrained", "--c", "10"))
    new = json.loads(bucket.cat(fitted))["head_id"]
    same = ended(submit(*retrain, "s3://night/retrained", "--c", "10", "--draws", "999"))

    assert (kept[0], published[0], same[0]) == (0, 0, 0), kept[1] + published[1] + same[1]
    assert f"not published, {old} stays" in kept[1]
    assert after_kept == before
    assert f"published: head {new} less {old}, Cllr" in published[1]
    assert bucket.cat(f"night/fitted/previous/{old}.json") == before
    decision = json.loads(bucket.cat("night/retrained/retraining/2026-11-23/decision.json"))
    assert (decision["publish"], decision["candidate"], decision["published"]) == (True, new, old)
    assert decision["difference"]["high"] < 0.02
    assert f"nothing to publish: the new head is the published one, {new}" in same[1]
