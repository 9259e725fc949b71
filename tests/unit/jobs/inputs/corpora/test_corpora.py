"""Every corpus is read as it lies, and what does not fit is refused with its place."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from detector.errors import ConfigError, SchemaError
from detector.schema import MANIFEST
from jobs import storage
from jobs.inputs.corpora import CORPORA
from jobs.inputs.corpora.importing import import_corpus
from tests.support import ROOT
from tests.support.corpora import TREES, audio, facts, lay

Run = Callable[..., tuple[int, str, str]]
PAGE = ROOT / "docs" / "corpora.md"


def warnings_of(name: str, root: Path, *subsets: str, partial: bool = False) -> list[str]:
    return [
        text.removeprefix(f"{name}: ") for text in import_corpus(name, [str(root)], subsets, partial=partial).warnings
    ]


def test_every_corpus_has_a_stand_in() -> None:
    assert list(TREES) == list(CORPORA)


@pytest.mark.parametrize("name", CORPORA)
def test_the_page_has_a_row_and_a_command_for_every_corpus(name: str) -> None:
    page, corpus = PAGE.read_text(), CORPORA[name]
    (row,) = [line for line in page.splitlines() if line.startswith(f"| `{name}` |")]

    assert f"`manifest --corpus {name} --input" in page.replace("\n", " ")
    assert f"| {corpus.licence.partition(' (')[0]}" in row
    assert f"({corpus.link})" in row or corpus.link.startswith("docs/")


@pytest.mark.parametrize("name", CORPORA)
def test_a_corpus_gives_the_rows_that_its_layout_says(name: str, tmp_path: Path) -> None:
    tree = TREES[name]
    lay(tmp_path, tree.files)

    imported = import_corpus(name, [str(tmp_path / each) for each in tree.inputs], tree.subsets)

    assert imported.table.schema == MANIFEST
    assert imported.table.to_pylist() == [
        {
            **dict.fromkeys(MANIFEST.names),
            "utterance_id": f"{tmp_path}/{path}",
            "uri": f"{tmp_path}/{path}",
            "bytes": 0,
            **facts(row),
        }
        for path, row in sorted(tree.rows.items())
    ]
    assert not [text for text in imported.warnings if "skipped" in text or "left out" in text]


@pytest.mark.parametrize("name", CORPORA)
def test_another_layout_is_refused_with_the_one_expected(name: str, tmp_path: Path) -> None:
    lay(tmp_path, audio("music/track.wav"))

    with pytest.raises(ConfigError, match=re.escape(CORPORA[name].layout)) as caught:
        import_corpus(name, [str(tmp_path)])

    assert str(tmp_path) in str(caught.value)


def test_rows_of_a_list_may_be_excerpts(tmp_path: Path) -> None:
    lay(tmp_path, audio("call.wav"))
    (tmp_path / "calls.csv").write_text("uri,label,start,end,channel\ncall.wav,bonafide,0,2.5,\ncall.wav,spoof,,,1\n")

    rows = import_corpus("csv", [str(tmp_path / "calls.csv")]).table.to_pylist()

    call = f"{tmp_path}/call.wav"
    assert [(row["utterance_id"], row["start"], row["end"], row["channel"]) for row in rows] == [
        (f"{call}/ch1", None, None, 1),
        (f"{call}@0-2.5", 0.0, 2.5, None),
    ]


@pytest.mark.parametrize("deeper", ["", "LA"])
def test_the_folder_above_and_the_folder_itself_give_the_same(deeper: str, tmp_path: Path) -> None:
    lay(tmp_path / "data" / "corpora", TREES["asvspoof2019-la"].files)

    shallow = import_corpus("asvspoof2019-la", [str(tmp_path)])
    deep = import_corpus("asvspoof2019-la", [str(tmp_path / "data" / "corpora" / deeper)])

    assert shallow == deep


def test_a_bucket_gives_the_rows_of_a_folder(s3_root: str) -> None:
    tree = TREES["in-the-wild"]
    for path, text in tree.files.items():
        storage.write_bytes(f"{s3_root}/{path}", text.encode())

    rows = import_corpus("in-the-wild", [s3_root]).table.to_pylist()

    key = storage.key_of(s3_root)
    assert [(row["utterance_id"], row["uri"]) for row in rows] == [
        (f"{key}/{path}", f"{s3_root}/{path}") for path in sorted(tree.rows)
    ]


PROTOCOLS = {
    name: next(path for path in TREES[name].files if path.endswith((".txt", ".tsv", ".csv")) and "README" not in path)
    for name in TREES
    if any(path.endswith((".txt", ".tsv", ".csv")) for path in TREES[name].files)
}
HEADED = ("in-the-wild", "mlaad", "fakeavceleb", "spoofceleb")


@pytest.mark.parametrize("name", sorted(PROTOCOLS.keys() - {"csv"}))
@pytest.mark.parametrize("line", ["one-word", "a b c d e f g h i j k l m n|o|p,q,r,s"], ids=["short", "long"])
def test_a_broken_line_is_refused_with_its_file_and_number(name: str, line: str, tmp_path: Path) -> None:
    tree, protocol = TREES[name], PROTOCOLS[name]
    text = tree.files[protocol]
    lay(tmp_path, tree.files | {protocol: f"{text}\n{line}\n"})

    with pytest.raises(SchemaError) as caught:
        import_corpus(name, [str(tmp_path)], tree.subsets)

    # a line, an empty one (which is skipped), and the broken one
    assert f"{tmp_path}/{protocol} line {text.count(chr(10)) + 2}: " in str(caught.value)
    assert line[:10] in str(caught.value)
    assert "expected" in str(caught.value)
    assert "again" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "old", "new", "expected"),
    [
        ("asvspoof2019-la", "A01 spoof", "A01 fake", "line 2:_label 'fake'; expected bonafide or spoof"),
        ("asvspoof2021-la", "A07 spoof", "A07 1", "line 1:_label '1'; expected bonafide or spoof"),
        ("asvspoof2021-la", "notrim eval", "notrim test", "line 1:_subset 'test'; expected eval or progress or hidden"),
        ("asvspoof2021-df", "vcc2018", "vcc2016", "line 4:_source 'vcc2016'; expected asvspoof or vcc2018 or vcc2020"),
        ("asvspoof2021-df", "FF G", "FF X", "line 3:_language 'X'"),
        ("asvspoof5", "A05 spoof", "A05 0", "line 1:_label '0'"),
        ("in-the-wild", "bona-fide", "real", "line 3:_label 'real'; expected bona-fide or bonafide or spoof"),
        ("fakeavceleb", ",RealVideo-FakeAudio,", ",RealVideo,", "line 3: type 'RealVideo'"),
        ("ai4t", "|spoof", "|fake", "line 2:_label 'fake'"),
        ("spoofceleb", "id10318,a06", "id10318,b06", "line 3: attack 'b06'; expected a00"),
        ("codecfake-xie", "real 0", "bonafide 0", "line 1:_label 'bonafide'; expected real or fake"),
        ("ctrsvdd", "A06 deepfake", "A06 spoof", "line 1:_label 'spoof'; expected bonafide or deepfake"),
        ("csv", ",spoof,", ",,", "row 2:_label ''; expected bonafide or spoof"),
    ],
)
def test_an_unknown_word_is_refused_with_what_it_may_be(
    name: str, old: str, new: str, expected: str, tmp_path: Path
) -> None:
    tree = TREES[name]
    lay(tmp_path, {path: text.replace(old, new) for path, text in tree.files.items()})

    # between the place and the word, `_`, may stand the recording's name
    with pytest.raises(SchemaError, match=re.escape(expected).replace("_", r".*")):
        import_corpus(name, [str(tmp_path / each) for each in tree.inputs])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("file,label\n0.wav,spoof\n", "line 1: no column speaker; found 'file,label'"),
        ("", "line 1: no column file, speaker, label; found ''"),
        ('file,speaker,label\n0.wav,"Alec,spoof\n' + "1.wav,b,spoof\n" * 10_000, "is a quote never closed?"),
        ('file,speaker,label\n0.wav,"Alec,spoof\n', "line 2: 2 value(s)"),
    ],
    ids=["column", "empty", "quote", "end"],
)
def test_a_malformed_table_is_refused(text: str, expected: str, tmp_path: Path) -> None:
    lay(tmp_path, {"meta.csv": text, "0.wav": ""})

    with pytest.raises(SchemaError, match=re.escape(expected)):
        import_corpus("in-the-wild", [str(tmp_path)])


def test_a_table_that_is_not_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "meta.csv").write_bytes(b"file,speaker,label\n0.wav,Al\xe9c,spoof\n")

    with pytest.raises(SchemaError, match=r"meta.csv: not UTF-8 at byte 27\."):
        import_corpus("in-the-wild", [str(tmp_path)])


@pytest.mark.parametrize("name", sorted(PROTOCOLS))
def test_a_missing_listed_recording_is_refused_or_left_out(name: str, tmp_path: Path) -> None:
    tree = TREES[name]
    gone = sorted(tree.rows)[0]
    lay(tmp_path, {path: text for path, text in tree.files.items() if path != gone})
    inputs = [str(tmp_path / each) for each in tree.inputs]

    with pytest.raises(ConfigError, match=rf"1 of {len(tree.rows)} listed recordings are missing, first .*") as caught:
        import_corpus(name, inputs, tree.subsets)
    rest = import_corpus(name, inputs, tree.subsets, partial=True)

    assert re.search(rf"(line|row) \d+: .*{re.escape(Path(gone).name)}\. ", str(caught.value))
    assert "--allow-missing" in str(caught.value)
    assert rest.table["uri"].to_pylist() == [f"{tmp_path}/{path}" for path in sorted(tree.rows.keys() - {gone})]
    assert rest.warnings[0].startswith(f"{name}: 1 listed recordings are missing and left out, first ")


def test_a_corpus_without_any_of_its_listed_recordings_is_refused(tmp_path: Path) -> None:
    lay(tmp_path, {"meta.csv": "file,speaker,label\n0.wav,x,spoof\n"})

    with pytest.raises(ConfigError, match=r"none of 1 listed recordings exists, first .*meta.csv line 2: 0.wav"):
        import_corpus("in-the-wild", [str(tmp_path)], partial=True)


def test_files_that_no_line_names_are_counted_and_the_first_named(tmp_path: Path) -> None:
    lay(tmp_path, TREES["in-the-wild"].files | audio(*(f"release_in_the_wild/{number}.wav" for number in range(5, 9))))

    (text,) = warnings_of("in-the-wild", tmp_path)

    root = f"{tmp_path}/release_in_the_wild"
    assert text == f"4 audio files are not listed and were skipped, first {root}/5.wav, {root}/6.wav, {root}/7.wav."


def test_a_subset_is_taken_alone_and_the_rest_may_be_missing(tmp_path: Path) -> None:
    tree = TREES["asvspoof2019-la"]
    lay(tmp_path, {path: text for path, text in tree.files.items() if "_train/flac" not in path})

    imported = import_corpus("asvspoof2019-la", [str(tmp_path)], ("dev", "eval"))

    assert imported.table["split"].to_pylist() == ["dev", "dev", "eval", "eval"]
    assert imported.warnings == ()
    assert imported.summary() == ["dev: 1 bonafide, 1 spoof", "eval: 1 bonafide, 1 spoof"]


def test_an_unknown_subset_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    lay(tmp_path, TREES["fake-or-real"].files)

    with pytest.raises(ConfigError, match="no subset norm here; found for-2sec, for-norm, for-original, for-rerec"):
        import_corpus("fake-or-real", [str(tmp_path)], ("norm",))
    lay(tmp_path / "itw", TREES["in-the-wild"].files)
    with pytest.raises(ConfigError, match="no subset eval here; found no parts"):
        import_corpus("in-the-wild", [str(tmp_path / "itw")], ("eval",))


def test_versions_of_the_same_recordings_are_not_mixed_unasked(tmp_path: Path) -> None:
    lay(tmp_path, TREES["fake-or-real"].files)

    with pytest.raises(ConfigError, match=r"the same recordings in several versions\. Choose one: --subset for-2sec"):
        import_corpus("fake-or-real", [str(tmp_path)])
    assert len(import_corpus("fake-or-real", [str(tmp_path / "for-norm")]).table) == 2


def test_a_version_takes_its_partner_along(tmp_path: Path) -> None:
    tree = TREES["timit-tts"]
    lay(tmp_path, tree.files | audio("TIMIT-TTS/AUG/single_speaker/vits/fadg0_sa1.wav"))

    table = import_corpus("timit-tts", [str(tmp_path)], ("CLEAN",)).table

    assert table["uri"].to_pylist() == [f"{tmp_path}/{path}" for path in sorted(tree.rows)]


@pytest.mark.parametrize("name", ["wavefake", "timit-tts", "mlaad", "codecfake-wu"])
def test_a_corpus_of_spoof_alone_names_its_partner(name: str, tmp_path: Path) -> None:
    lay(tmp_path, TREES[name].files)

    (text,) = warnings_of(name, tmp_path / TREES[name].inputs[0])

    assert text.startswith("all recordings are spoof; an error rate and a head need both classes. Give ")
    assert f"{CORPORA[name].partner} as a further --input." in text


def test_a_split_of_one_class_is_named(tmp_path: Path) -> None:
    tree = TREES["asvspoof5"]
    lay(tmp_path, tree.files)

    assert warnings_of("asvspoof5", tmp_path) == [
        "split train has spoof recordings only.",
        "split eval has spoof recordings only.",
    ]


def test_splits_that_share_speakers_are_named(tmp_path: Path) -> None:
    names = ("DATASET_X/train/p1_1.wav", "DATASET_X/test/p1_2.wav", "DATASET_X/test/p2_1.wav")
    lay(tmp_path, audio(*names, *(name.replace("_X", "_VCTK_BONAFIDE") for name in names)))

    assert warnings_of("dfadd", tmp_path) == [
        "splits train and eval share 1 speakers, first p1: figures of eval are too good."
    ]


def test_two_copies_of_a_corpus_are_refused(tmp_path: Path) -> None:
    for copy in ("a", "b"):
        lay(tmp_path / copy, TREES["in-the-wild"].files)
        lay(tmp_path / copy, audio("flac_T/T_1.flac"))
    lay(tmp_path, {"ASVspoof5.train.tsv": "T_1 T_1 F - - - AC3 A05 spoof -\n"})

    with pytest.raises(ConfigError, match=r"a/.*meta.csv and .*b/.*meta.csv both match"):
        import_corpus("in-the-wild", [str(tmp_path)])
    with pytest.raises(ConfigError, match=r"a/flac_T/T_1.flac and .*b/flac_T/T_1.flac have the same name"):
        import_corpus("asvspoof5", [str(tmp_path)])


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nowhere: no such file, folder or prefix"):
        import_corpus("folder", [str(tmp_path / "nowhere")])


def test_a_list_s_tar_members_are_sent_to_where_they_can_be_read(tmp_path: Path) -> None:
    lay(tmp_path, {"mine.csv": "uri,member,label\n0.tar,a.flac,spoof\n"})

    with pytest.raises(SchemaError, match="row 1: a member of a container"):
        import_corpus("csv", [str(tmp_path / "mine.csv")])


def test_the_command_writes_a_manifest_and_summarises_it(
    tmp_path: Path, bonafide: Run, caplog: pytest.LogCaptureFixture
) -> None:
    lay(tmp_path / "corpus", TREES["asvspoof2019-la"].files | audio("LA/ASVspoof2019_LA_eval/flac/LA_E_1.flac"))
    output = tmp_path / "manifest.parquet"

    with caplog.at_level(logging.WARNING):
        code, out, _ = bonafide(
            "manifest", "--corpus", "asvspoof2019-la", "--input", tmp_path / "corpus", "--output", output
        )

    assert code == 0
    assert out == (
        "6 recordings of asvspoof2019-la\ndev: 1 bonafide, 1 spoof\neval: 1 bonafide, 1 spoof\n"
        f"train: 1 bonafide, 1 spoof\nmanifest: {output}\n"
    )
    assert "1 audio files are not listed" in caplog.text
    assert pq.read_table(output).schema == MANIFEST


def test_a_recording_that_is_listed_twice_ends_with_65(tmp_path: Path, bonafide: Run) -> None:
    lay(tmp_path, {"meta.csv": "file,speaker,label\n0.wav,x,spoof\n0.wav,x,bona-fide\n", "0.wav": ""})

    code, _, err = bonafide(
        "manifest", "--corpus", "in-the-wild", "--input", tmp_path, "--output", tmp_path / "m.parquet"
    )

    assert code == 65
    assert "in-the-wild: 1 utterance id(s) occur more than once, first '0.wav'" in err


@pytest.mark.parametrize(
    ("arguments", "cause"),
    [
        (("--corpus", "asvspoof", "--input", "x"), "corpus 'asvspoof'; expected one of asvspoof2019-la"),
        (("--corpus", "csv", "--manifest", "x"), "takes --input"),
        (("--corpus", "csv", "--input", "x", "--labels", "y"), "takes --input, and has labels of its own"),
        (("--input", "x", "--subset", "eval"), "--subset, --allow-missing and --parts need a --corpus"),
        (("--input", "x", "--allow-missing"), "--subset, --allow-missing and --parts need a --corpus"),
        (("--input", "x", "--parts", "p.csv"), "--subset, --allow-missing and --parts need a --corpus"),
    ],
)
def test_conflicting_settings_end_with_65(
    arguments: tuple[str, ...], cause: str, tmp_path: Path, bonafide: Run
) -> None:
    code, _, err = bonafide("manifest", *arguments, "--output", tmp_path / "m.parquet")

    assert code == 65
    assert cause in err.splitlines()[-1]


def test_help_lists_every_corpus(bonafide: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "2000")

    _, out, _ = bonafide("manifest", "--help")

    assert ", ".join(CORPORA) in out
