"""The command: what it lists, what it refuses, and the exit codes that schedulers act on."""

from __future__ import annotations

import importlib.metadata
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import detector
from jobs.cli import SHELLS, VERBS, _undisturbed
from jobs.storage import retry_budget
from tests.support.archives import write_tar
from tests.support.storage import forget_clients

Run = Callable[..., tuple[int, str, str]]


def test_help_lists_the_verbs_of_the_contract(bonafide: Run) -> None:
    code, out, _ = bonafide("--help")

    assert code == 0
    verbs = ("manifest", "embed", "fit", "score", "evaluate", "nightly", "demo")
    assert set(verbs) <= set(VERBS)
    assert all(f"  {verb} " in out and about in out for verb, about in VERBS.items())


@pytest.mark.parametrize("shell", SHELLS)
def test_a_completion_script_knows_the_flags_of_every_verb(shell: str, bonafide: Run) -> None:
    code, out, _ = bonafide("--print-completion", shell)

    assert code == 0
    assert all(verb in out for verb in VERBS)
    assert "grace-hours" in out  # of gc
    assert "submission-id" in out  # of submit


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        (("nightyl", "--input", "a"), "nightyl: did you mean nightly?"),
        (("review", "exprot"), "exprot: did you mean export?"),
        (("fit", "--lables", "l.csv"), "--lables: did you mean --labels?"),
        (("demo", "--outptu=x"), "--outptu: did you mean --output?"),
        (("submit", "--adress", "x", "--", "nightly"), "--adress: did you mean --address?"),
        (("submit", "--", "nigthly"), "nigthly: did you mean nightly?"),
    ],
    ids=str,
)
def test_a_typo_is_2_and_the_last_line_suggests_the_nearest_word(
    arguments: tuple[str, ...], meant: str, bonafide: Run
) -> None:
    code, _, err = bonafide(*arguments)

    assert code == 2
    assert err.splitlines()[-1].endswith(meant)


@pytest.mark.parametrize(
    ("arguments", "cause"),
    [
        ((), "VERB"),
        (("sing",), "sing"),
        (("fit", "--embeddings", "x"), "--labels"),
        (("demo", "--colour", "red"), "--colour"),
        (("demo", "--out", "x"), "--out"),  # no flag is guessed from its first letters
        (("nightly", "--input", "a", "--head", "h", "--output", "o", "--batch-seconds", "many"), "many"),
        (("manifest", "--output"), "--output"),
        (("review",), "ACTION"),
        (("review", "import", "--output", "o", "--labels", "l.csv"), "--from"),
    ],
    ids=str,
)
def test_wrong_usage_is_2_and_the_last_line_names_it(arguments: tuple[str, ...], cause: str, bonafide: Run) -> None:
    code, _, err = bonafide(*arguments)

    assert code == 2
    assert cause in err.splitlines()[-1]


def test_a_setting_that_does_not_fit_is_65_and_the_last_line_names_it(tmp_path: Path, bonafide: Run) -> None:
    out, to = ("--output", tmp_path / "out"), ("--output", tmp_path / "m.parquet")
    refused = {
        "give either --input": ("embed", "--backbone", "melstats", *out),
        "backbone 'magic'": ("embed", "--backbone", "magic", "--input", tmp_path, *out),
        "needs a checkpoint": ("embed", "--backbone", "huggingface", "--input", tmp_path, *out),
        "no such folder": ("embed", "--backbone", "huggingface", "--model", "./none", "--input", tmp_path, *out),
        "40 hexadecimal digits": ("embed", "--backbone", "huggingface", "--model", "a/b", "--input", tmp_path, *out),
        "prior 2.0": ("nightly", "--input", tmp_path, "--head", "h.json", "--prior", 2, *out),
        "h.json: not found": ("nightly", "--input", tmp_path, "--head", tmp_path / "h.json", *out),
        "device 'tpu'": ("embed", "--backbone", "melstats", "--input", tmp_path, "--device", "tpu", *out),
        "run_date 'today'": ("embed", "--backbone", "melstats", "--input", tmp_path, "--run-date", "today", *out),
        "no table of embeddings here": ("fit", "--embeddings", tmp_path, "--labels", "l.csv", *out),
        f"{tmp_path}/none: no such file": ("manifest", "--input", tmp_path / "none", *to),
        "expected a name that ends in .parquet": ("manifest", "--input", tmp_path, "--output", tmp_path / "m.csv"),
    }
    for cause, arguments in refused.items():
        code, _, err = bonafide(*arguments)

        assert (code, cause in err.splitlines()[-1]) == (65, True), err
    assert not (tmp_path / "out").exists()


def test_a_table_that_does_not_fit_is_65_and_the_last_line_names_it(tmp_path: Path, bonafide: Run) -> None:
    (tmp_path / "list.csv").write_text("path\na.flac\n")

    code, _, err = bonafide("manifest", "--input", tmp_path / "list.csv", "--output", tmp_path / "m.parquet")

    assert code == 65
    assert f"error 65: {tmp_path}/list.csv: no column `uri`" in err.splitlines()[-1]


def test_a_store_that_gives_up_is_69_and_the_last_line_names_it(
    s3_root: str, bonafide: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))  # bound, but not listening
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{unheard.getsockname()[1]}")
        monkeypatch.setattr(retry_budget, "UNKNOWN_ENDPOINT_SECONDS", 0.5)  # 15, which is long for a test
        forget_clients()

        code, _, err = bonafide("manifest", "--input", f"{s3_root}/a.flac", "--output", tmp_path / "m.parquet")

    assert code == 69
    assert f"error 69: {s3_root}/a.flac: the store gave up" in err.splitlines()[-1]


def test_a_store_that_refuses_us_is_69(
    s3_root: str, bonafide: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    forget_clients()

    code, _, err = bonafide("manifest", "--input", s3_root, "--output", tmp_path / "m.parquet")

    assert code == 69
    assert f"error 69: {s3_root}: permission denied" in err.splitlines()[-1]


def test_a_cause_of_several_lines_is_named_in_the_last(s3_root: str, bonafide: Run, tmp_path: Path) -> None:
    code, _, err = bonafide("manifest", "--input", "s3://no bucket/a.tar", "--output", tmp_path / "m.parquet")

    assert code == 65
    assert err.splitlines()[-1].startswith("error 65: s3://no bucket/a.tar")


def test_a_defect_is_70_and_the_last_line_names_it(bonafide: Run, tmp_path: Path) -> None:
    # no shell passes a null byte, so no code checks for one: it stands for an error that was not foreseen
    code, _, err = bonafide("manifest", "--input", "a\0.flac", "--output", tmp_path / "m.parquet")

    assert code == 70
    assert err.splitlines()[-1] == "error 70: ValueError: embedded null byte"


@pytest.mark.parametrize(
    ("stop", "cause"),
    [(signal.SIGINT, "interrupted"), (signal.SIGTERM, "SIGTERM"), (signal.SIGHUP, "SIGHUP")],
    ids=["ctrl-c", "terminated", "terminal closed"],
)
def test_a_run_that_is_stopped_is_75_and_says_how_to_go_on(tmp_path: Path, stop: signal.Signals, cause: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts a request and never answers
        silent.settimeout(60)
        environment = os.environ | {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{silent.getsockname()[1]}",
            "AWS_ACCESS_KEY_ID": "any",
            "AWS_SECRET_ACCESS_KEY": "any",
        }
        manifest = ["manifest", "--input", "s3://bucket/a.flac", "--output", str(tmp_path / "m.parquet")]
        run = subprocess.Popen(
            [sys.executable, "-m", "jobs", *manifest],
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
            # where the tests run in the background, some signals are ignored, and children inherit that
            preexec_fn=lambda: [signal.signal(each, signal.SIG_DFL) for each in (signal.SIGINT, signal.SIGHUP)],
        )
        silent.accept()
        run.send_signal(stop)
        _, err = run.communicate(timeout=60)

    last = err.splitlines()[-1]
    assert run.returncode == 75
    assert last.startswith("error 75: ")
    assert cause in last
    assert "run the same command again" in last


def test_the_demo_does_not_empty_a_folder_that_it_did_not_make(tmp_path: Path, bonafide: Run) -> None:
    (tmp_path / "thesis.txt").write_text("precious")

    code, _, err = bonafide("demo", "--output", tmp_path)

    assert code == 65
    assert "not made by the demo" in err
    assert (tmp_path / "thesis.txt").read_text() == "precious"


def test_a_repeated_flag_gives_several_values(tmp_path: Path, bonafide: Run) -> None:
    for name in ("a.tar", "b.tar"):
        write_tar(tmp_path / name, {"x.flac": b""})

    code, out, _ = bonafide(
        "manifest", "--input", tmp_path / "a.tar", "--input", tmp_path / "b.tar", "--output", tmp_path / "m.parquet"
    )

    assert code == 0
    assert "2 recordings in 2 shards" in out


def test_a_name_that_is_not_text_is_given_as_its_bytes_or_as_its_escape(tmp_path: Path, bonafide: Run) -> None:
    given = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.wav")
    Path(given).write_bytes(b"listing opens nothing")
    (tmp_path / "list.csv").write_text("uri\ncaf\\xe9.wav\n")

    for number, word in enumerate((given, rf"{tmp_path}/caf\xe9.wav", f"{tmp_path}/list.csv")):
        code, _, error = bonafide("manifest", "--input", word, "--output", tmp_path / f"{number}.parquet")
        assert code == 0, error
        (row,) = pq.read_table(tmp_path / f"{number}.parquet").to_pylist()
        assert (row["utterance_id"], row["uri"]) == (r"caf\xe9.wav", rf"{tmp_path}/caf\xe9.wav")
    code, _, error = bonafide("manifest", "--input", f"{given}x", "--output", tmp_path / "m.parquet")
    assert code == 65
    assert r"caf\xe9.wavx: no such file" in error.splitlines()[-1]


@pytest.mark.parametrize(("flags", "n_files"), [((), 1), (("--follow-links",), 2), (("--follow-links", "anywhere"), 3)])
def test_links_to_folders_are_followed_as_far_as_the_flag_says(
    tmp_path: Path, bonafide: Run, flags: tuple[str, ...], n_files: int
) -> None:
    for name in ("in/real/a.wav", "out/b.wav"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_bytes(b"listing opens nothing")
    (tmp_path / "in/inside").symlink_to("real")
    (tmp_path / "in/outside").symlink_to("../out")

    code, out, error = bonafide("manifest", *flags, "--input", tmp_path / "in", "--output", tmp_path / "m.parquet")

    assert code == 0, error
    assert f"{n_files} recordings" in out


def test_another_way_to_follow_links_is_65(tmp_path: Path, bonafide: Run) -> None:
    code, _, error = bonafide("manifest", "--input", tmp_path, "--follow-links=yes", "--output", tmp_path / "m.parquet")

    assert (code, "expected one of no, inside, anywhere" in error.splitlines()[-1]) == (65, True)


def test_the_version_names_what_decides_results_and_clusters(bonafide: Run) -> None:
    code, out, _ = bonafide("--version")

    assert code == 0
    python = ".".join(map(str, sys.version_info[:3]))
    versions = [importlib.metadata.version(name) for name in ("torch", "ray")]
    assert out == f"bonafide {detector.__version__} (Python {python}, torch {versions[0]}, Ray {versions[1]})\n"


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_supervisor_may_close_the_standard_files(closed: str, tmp_path: Path) -> None:
    command = f"exec {sys.executable} -m jobs verify {tmp_path} {closed}"

    ended = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60, check=False)

    assert ended.returncode == 65
    assert ended.stdout == ""
    assert ("error 65" in ended.stderr) == ("2>" not in closed)


def test_a_full_disk_under_stdout_is_said_once_all_is_done(tmp_path: Path) -> None:
    command = f"exec {sys.executable} -m jobs keygen --output {tmp_path / 'signer'} >/dev/full"

    ended = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60, check=False)

    assert ended.returncode == 75
    assert ended.stderr.splitlines()[-1].startswith("error 75: stdout: No space left on device; all else is done.")
    assert list(tmp_path.iterdir())


@pytest.mark.parametrize("stderr", ["2>/dev/full", "2> >(exec true)"], ids=["a full disk", "a reader that is gone"])
def test_an_exit_code_stays_where_its_cause_cannot_be_said(stderr: str, tmp_path: Path) -> None:
    command = f"{sys.executable} -m jobs verify {tmp_path} {stderr}"

    assert subprocess.run(["bash", "-c", command], timeout=60, check=False).returncode == 65


def test_letters_that_a_terminal_has_not_are_spelt_out(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "jobs", "keygen", "--output", str(tmp_path / "schlüssel")]

    ended = subprocess.run(
        command, env=os.environ | {"PYTHONIOENCODING": "ascii"}, capture_output=True, text=True, timeout=60, check=False
    )

    assert ended.returncode == 0, ended.stderr
    assert f"public key: {tmp_path}/schl\\xfcssel.pub" in ended.stdout


def test_a_signal_does_not_break_off_the_telling_of_the_end() -> None:
    before = signal.getsignal(signal.SIGTERM)

    with _undisturbed():
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGHUP)

    assert signal.getsignal(signal.SIGTERM) is before
