"""A fit: tables in a folder, read in memory and block by block."""

from __future__ import annotations

import logging
import re
import stat
from pathlib import Path

import numpy as np
import pytest

from detector.errors import ConfigError, SchemaError
from detector.head import Head
from detector.shift import QUANTITIES, Reference
from jobs.tables import parquet
from jobs.verbs import keygen
from tests.support.embeddings import LAST, N_ROWS, NINTH, fitted, vectors, write, write_labels


@pytest.fixture
def labels(tmp_path: Path) -> str:
    return write_labels(tmp_path / "labels.csv")


def test_the_streamed_fit_is_the_one_in_memory(tmp_path: Path, labels: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "ROW_GROUP_ROWS", 32)
    write(tmp_path, LAST, vectors(1.0))

    held, held_report = fitted(tmp_path, labels, "held")
    streamed, streamed_report = fitted(tmp_path, labels, "streamed", memory_mib=0)

    assert held_report["training"]["read"] == "held in memory"
    assert streamed_report["training"]["read"] == "streamed, anew for every pass"
    for name in ("weights", "mean", "scale", "ood_quantiles", "calibration"):
        np.testing.assert_allclose(getattr(streamed, name), getattr(held, name), rtol=1e-6, atol=1e-9)
    assert held_report["training"]["trained_on"] == streamed_report["training"]["trained_on"]


def test_the_same_rows_give_the_same_bytes_in_any_shards_and_order(tmp_path: Path, labels: str) -> None:
    order = np.random.default_rng(0).permutation(N_ROWS)
    write(tmp_path / "a", LAST, vectors(1.0), n_shards=1)
    write(tmp_path / "b", LAST, vectors(1.0)[order], n_shards=5, ids=[f"u{number:04d}" for number in order])

    for folder in ("a", "b"):
        fitted(tmp_path / folder, labels, "head")

    assert (tmp_path / "a" / "head.json").read_bytes() == (tmp_path / "b" / "head.json").read_bytes()


def test_rows_of_two_outputs_give_the_head_of_one_that_holds_them_all(tmp_path: Path, labels: str) -> None:
    ids = [f"u{number:04d}" for number in range(N_ROWS)]
    write(tmp_path / "all", LAST, vectors(1.0))
    write(tmp_path / "a", LAST, vectors(1.0)[:100], ids=ids[:100])
    write(tmp_path / "b", LAST, vectors(1.0)[100:], ids=ids[100:], n_shards=2)

    for streamed in ({}, {"memory_mib": 0}):
        both, report = fitted(tmp_path / "a", labels, "both", tmp_path / "b", **streamed)
        assert report["training"]["trained_on"]["rows"] == N_ROWS
        if not streamed:
            assert both == fitted(tmp_path / "all", labels, "head")[0]


def test_two_outputs_that_do_not_fit_together_are_refused(tmp_path: Path, labels: str) -> None:
    write(tmp_path / "a", LAST, vectors(1.0))
    write(tmp_path / "same", LAST, vectors(1.0))
    write(tmp_path / "other", NINTH, vectors(1.0))

    with pytest.raises(ConfigError, match="no fingerprint of embeddings in all outputs"):
        fitted(tmp_path / "a", labels, "head", tmp_path / "other")
    with pytest.raises(ConfigError, match="nothing: no table of embeddings here"):
        fitted(tmp_path / "a", labels, "head", tmp_path / "nothing")
    with pytest.raises(SchemaError, match=r"240 labelled id\(s\) have more than one embedding"):
        fitted(tmp_path / "a", labels, "head", tmp_path / "same")


def test_a_head_keeps_the_counts_that_later_archives_are_compared_with(tmp_path: Path, labels: str) -> None:
    write(tmp_path, LAST, vectors(1.0))

    head, _ = fitted(tmp_path, labels, "head")

    reference = Reference.from_dict(head.training["calibration_rows"])
    assert reference is not None
    assert set(reference.edges) == set(QUANTITIES)
    assert reference.n_rows() == N_ROWS
    assert {name: reference.n_rows(name) for name in reference.sources} == {
        f"{label}-{group}": 30 for label in (0, 1) for group in range(4)
    }
    assert reference.edges["seconds"].tolist() == [3.0]


def test_of_several_tables_the_best_on_the_folds_is_taken(tmp_path: Path, labels: str) -> None:
    write(tmp_path, LAST, vectors(0.3))
    write(tmp_path, NINTH, vectors(1.5))

    head, report = fitted(tmp_path, labels, "head")

    assert head.fingerprint == NINTH.fingerprint
    assert {each["layer"] for each in report["tried"]} == {9, -1}
    assert report["tried"][0]["layer"] == 9
    last, _ = fitted(tmp_path, labels, "last", fingerprint=LAST.fingerprint)
    assert last.fingerprint == LAST.fingerprint


def test_the_paper_s_recipe_takes_the_last_layer_or_nothing(tmp_path: Path, labels: str) -> None:
    write(tmp_path / "both", LAST, vectors(0.5))
    write(tmp_path / "both", NINTH, vectors(1.5))
    write(tmp_path / "ninth", NINTH, vectors(1.5))

    head, report = fitted(tmp_path / "both", labels, "head", recipe="pascu2024")

    assert head.fingerprint == LAST.fingerprint
    assert [(each["c"], each["standardise"]) for each in report["tried"]] == [(1e6, False)]
    with pytest.raises(ConfigError, match="recipe pascu2024 is for the mean over the last layer"):
        fitted(tmp_path / "ninth", labels, "head", recipe="pascu2024")


def test_a_sample_has_every_group_and_is_reported(tmp_path: Path, labels: str) -> None:
    write(tmp_path, LAST, vectors(1.0))

    _, report = fitted(tmp_path, labels, "head", sample_rows=96, c=1.0, standardise=True)

    assert report["training"]["trained_on"]["rows"] == 96
    assert len(report["training"]["trained_on"]["system"]) == 9  # eight, and none for the bona fide


def test_a_report_counts_the_rows_that_were_fitted_on_and_those_held_out(tmp_path: Path, labels: str) -> None:
    write(tmp_path, LAST, vectors(1.0))

    head, report = fitted(tmp_path, labels, "head")

    assert report["training"]["trained_on"]["source"]["bonafide 1-0"] == 30
    assert set(report["leave_one_out"]["system"]) == {f"sys{number}" for number in range(8)}
    by_system = report["held_out_by"]["system"]
    assert sum(each["rows"] for each in by_system.values()) == N_ROWS / 2
    assert all(each["rejected"] + each["kept"] == each["rows"] for each in by_system.values())
    assert report["reject_band_nats"] == list(head.reject_band())
    assert head.training["convergence"]["last_step"] <= 1e-8


@pytest.mark.parametrize(("other", "words"), [(1, "both labels"), (2, "several splits")])
def test_a_recording_under_two_ids_is_refused(tmp_path: Path, labels: str, other: int, words: str) -> None:
    # row 0 is spoof and of `train`; row 1 has the other label, row 2 the other split
    digests = [f"{number:04d}" for number in range(N_ROWS)]
    digests[other] = digests[0]
    write(tmp_path / "t", LAST, vectors(2.0), digests=digests)
    first, *lines = Path(labels).read_text().splitlines()
    split = [f"{line},{'eval' if number == 2 else 'train'}" for number, line in enumerate(lines)]
    Path(labels).write_text("\n".join([f"{first},split", *split]))

    with pytest.raises(ConfigError, match=f"1 recording.* in {words}, byte for byte, first 'u0000' and 'u000{other}'"):
        fitted(tmp_path / "t", labels, "head")


def test_labels_of_other_ids_are_refused_with_examples(tmp_path: Path, labels: str) -> None:
    write(tmp_path, LAST, vectors(1.0), ids=[f"other{number}" for number in range(N_ROWS)])

    with pytest.raises(ConfigError, match=r"none of 240 labelled ids .*'u0000'.*other"):
        fitted(tmp_path, labels, "head")


def test_a_certificate_is_written_to_head_and_report(
    tmp_path: Path, labels: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, LAST, vectors(4.0))

    head, report = fitted(tmp_path, labels, "head", certify_miss=0.4)
    assert report["training"]["certificate"] == head.training["certificate"]
    assert "certified, 95% sure: miss at most" in capsys.readouterr().out

    head, report = fitted(tmp_path, labels, "none", certify_miss=0.001)
    assert report["training"]["certificate"]["certified"] is False
    assert "miss of 0.001 cannot be certified with n = " in capsys.readouterr().out


def test_a_certificate_over_systems_says_how_many_are_needed_and_what_it_costs(
    tmp_path: Path, labels: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, LAST, vectors(6.0))

    _, report = fitted(tmp_path, labels, "most", certify_false_alarm=0.6, certify_over="systems", certify_quantile=0.3)
    assert report["training"]["certificate"]["spoof"]["groups"] == 8
    printed = capsys.readouterr().out
    assert "certified, 95% sure: false alarm at most 0.6 of kept spoof rows for 30% of systems" in printed
    assert "would be, were rows of one system or source independent" in printed

    fitted(tmp_path, labels, "none", certify_false_alarm=0.05, certify_over="systems")
    printed = capsys.readouterr().out
    assert "false alarm of 0.05 over systems cannot be certified with n = 8 systems (at least 89 without" in printed


def test_keys_are_made_once_and_sign(tmp_path: Path, labels: str) -> None:
    write(tmp_path, LAST, vectors(1.0))
    keygen.run(keygen.Settings(output=str(tmp_path / "key")))

    fitted(tmp_path, labels, "head", sign_key=str(tmp_path / "key.pem"))

    public = (tmp_path / "key.pub").read_bytes()
    assert Head.from_json((tmp_path / "head.json").read_bytes(), "head.json", public)
    assert stat.S_IMODE((tmp_path / "key.pem").stat().st_mode) == 0o600
    with pytest.raises(ConfigError, match=r"key\.pem: cannot be written"):
        keygen.run(keygen.Settings(output=str(tmp_path / "key")))
    (tmp_path / "key.pem").rename(tmp_path / "old.pem")
    with pytest.raises(ConfigError, match=r"key\.pub: cannot be written"):
        keygen.run(keygen.Settings(output=str(tmp_path / "key")))


def test_the_log_of_a_fit_counts_the_settings_of_all_tables_and_reads_as_text(
    tmp_path: Path, labels: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    write(tmp_path, LAST, vectors(1.0))
    write(tmp_path, NINTH, vectors(0.5))

    fitted(tmp_path, labels, "head")

    # six penalties with standardising and four without, for each of two layers
    assert any(line.startswith("fit: 20 of 20 settings tried, of 2 tables, in ") for line in caplog.messages)
    best = [line for line in caplog.messages if "best C is" in line]
    assert [re.sub(r"C is .*", "", line) for line in sorted(best)] == [
        "tiny, last layer, pooling mean: best ",
        "tiny, layer 9, pooling mean: best ",
    ]
    assert not [line for line in caplog.messages if re.search(r"[{}]", line)]


def test_spoof_rows_of_one_corpus_are_warned_of_with_the_remedy(
    tmp_path: Path, labels: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, LAST, vectors(1.0))
    of_one = Path(labels).with_name("one.csv")
    of_one.write_text(re.sub(r",0-\d$", ",vctk", Path(labels).read_text(), flags=re.MULTILINE))

    _, report = fitted(tmp_path, str(of_one), "one")
    out = capsys.readouterr().out
    _, of_four = fitted(tmp_path, labels, "four")

    assert "warning: all 120 spoof rows are from one corpus or vendor, 'vctk'" in out
    assert "Add spoof rows of another corpus" in report["single_corpus"]
    assert of_four["single_corpus"] is None
    assert "one corpus" not in capsys.readouterr().out


def test_an_output_stands_for_a_corpus_where_the_labels_name_no_source(tmp_path: Path, labels: str) -> None:
    ids = [f"u{number:04d}" for number in range(N_ROWS)]
    write(tmp_path / "all", LAST, vectors(1.0))
    write(tmp_path / "a", LAST, vectors(1.0)[:100], ids=ids[:100])
    write(tmp_path / "b", LAST, vectors(1.0)[100:], ids=ids[100:])
    unnamed = Path(labels).with_name("unnamed.csv")
    unnamed.write_text(re.sub(r",[01]-\d$", ",-", Path(labels).read_text(), flags=re.MULTILINE))

    _, of_one = fitted(tmp_path / "all", str(unnamed), "head")
    _, of_two = fitted(tmp_path / "a", str(unnamed), "head", tmp_path / "b")

    assert str(tmp_path / "all") in of_one["single_corpus"]
    assert of_two["single_corpus"] is None


def test_a_head_that_attributes_scores_as_one_that_does_not(
    tmp_path: Path, labels: str, caplog: pytest.LogCaptureFixture
) -> None:
    embeddings = vectors(1.0)
    embeddings[::2, 0] += 3.0 * (np.arange(N_ROWS // 2) % 8)  # each system lies elsewhere
    write(tmp_path, LAST, embeddings)

    plain, report = fitted(tmp_path, labels, "plain")
    with caplog.at_level(logging.INFO):
        head, attributed = fitted(tmp_path, labels, "head", attribution=True, false_attribution=0.2)

    assert re.search(r"fit: (\d+) of \1 spaces that tell systems apart", caplog.text)
    assert plain.attribution is None
    assert "attribution" not in report
    assert head.weights == plain.weights
    assert head.systems is not None
    assert head.systems.systems == tuple(f"sys{n}" for n in range(8))
    assert head.training["attribution"].items() <= attributed["attribution"].items()
    assert attributed["attribution"]["asked_false_attribution"] == head.systems.false_attribution == 0.2


def test_attribution_needs_systems_and_a_single_table(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="fuse and attribution: systems are told apart in one table"):
        fitted(tmp_path, "labels.csv", "head", attribution=True, fuse=2)
    with pytest.raises(ConfigError, match=r"false_attribution 0\.0; expected a share between 0 and 1"):
        fitted(tmp_path, "labels.csv", "head", attribution=True, false_attribution=0.0)
