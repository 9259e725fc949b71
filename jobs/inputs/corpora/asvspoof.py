"""The ASVspoof challenges, and sets with similar protocols: a line for each utterance, fields between spaces."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Sequence

from detector.schema import BONAFIDE, LABELS, SPOOF
from jobs.inputs.corpora.corpus import Utterance
from jobs.inputs.corpora.lines import fields, known, meaning
from jobs.inputs.corpora.tree import Tree
from jobs.storage import Stored

WORDS = {label: label for label in LABELS}
SPLITS_2019 = {"train": "train.trn", "dev": "dev.trl", "eval": "eval.trl"}
COLUMNS_2019 = ("speaker", "utterance", "-", "attack", "label")
COLUMNS_2021_LA = ("speaker", "utterance", "codec", "transmission", "attack", "label", "trim", "subset")
COLUMNS_2021_DF = (
    *("speaker", "utterance", "codec", "source", "attack", "label", "trim", "subset"),
    *("vocoder", "task", "team", "genders", "language"),
)
SUBSETS_2021 = {name: name for name in ("eval", "progress", "hidden")}
SOURCES_2021_DF = {"asvspoof": "vctk", "vcc2018": "vcc2018", "vcc2020": "vcc2020"}
LANGUAGES_VCC2020 = {"-": "en", "E": "en", "F": "fi", "G": "de", "M": "zh"}
SPLITS_5 = {
    "train": ("ASVspoof5.train.tsv", "flac_T"),
    "dev": ("ASVspoof5.dev.track_1.tsv", "flac_D"),
    "eval": ("ASVspoof5.eval.track_1.tsv", "flac_E_eval"),
}
COLUMNS_5 = (
    *("speaker", "utterance", "gender", "codec", "codec_quality", "codec_seed"),
    *("attack_tag", "attack", "label", "-"),
)
COLUMNS_CTRSVDD = ("source", "singer", "utterance", "-", "attack", "label")
COLUMNS_CODECFAKE = ("utterance", "label", "codec_number")
SPEAKERS_CODECFAKE = re.compile(r"(?:^|_)(SSB\d{4}|[ps]\d{3}(?=_))")  # AISHELL-3 and VCTK put it into names

Line = tuple[Stored | None, str, dict[str, str]]


def asvspoof2019_la(tree: Tree) -> Iterator[Utterance]:
    """ASVspoof 2019, logical access."""
    for split, name in SPLITS_2019.items():
        protocol = tree.table(re.escape(f"ASVspoof2019.LA.cm.{name}.txt"))
        for stored, where, line in _lines(tree, protocol, COLUMNS_2019, f"ASVspoof2019_LA_{split}/flac"):
            label = meaning(line["label"], WORDS, where)
            yield Utterance(
                stored=stored,
                where=where,
                label=label,
                split=split,
                system=_system(label, line["attack"]),
                speaker=known(line["speaker"]),
                source="vctk",
                language="en",
            )


def asvspoof2021_la(tree: Tree) -> Iterator[Utterance]:
    """ASVspoof 2021, logical access: speech of the 2019 challenge through telephone codecs."""
    protocol = tree.table("LA/CM/trial_metadata.txt")
    for stored, where, line in _lines(tree, protocol, COLUMNS_2021_LA, "ASVspoof2021_LA_eval/flac"):
        label = meaning(line["label"], WORDS, where)
        yield Utterance(
            stored=stored,
            where=where,
            label=label,
            split=meaning(line["subset"], SUBSETS_2021, where, "subset"),
            system=_system(label, line["attack"]),
            speaker=known(line["speaker"]),
            source="vctk",
            language="en",
            codec=known(line["codec"]),
        )


def asvspoof2021_df(tree: Tree) -> Iterator[Utterance]:
    """ASVspoof 2021, deepfake: speech of 2019 and of two Voice Conversion Challenges, through media codecs."""
    protocol = tree.table("DF/CM/trial_metadata.txt")
    for stored, where, line in _lines(tree, protocol, COLUMNS_2021_DF, "ASVspoof2021_DF_eval/flac"):
        label = meaning(line["label"], WORDS, where)
        yield Utterance(
            stored=stored,
            where=where,
            label=label,
            split=meaning(line["subset"], SUBSETS_2021, where, "subset"),
            system=_system(label, line["attack"]),
            speaker=known(line["speaker"]),
            source=meaning(line["source"], SOURCES_2021_DF, where, "source"),
            language=meaning(line["language"], LANGUAGES_VCC2020, where, "language"),
            codec=known(line["codec"]),
        )


def asvspoof5(tree: Tree) -> Iterator[Utterance]:
    """ASVspoof 5, track 1."""
    for split, (name, folder) in SPLITS_5.items():
        for stored, where, line in _lines(tree, tree.table(re.escape(name)), COLUMNS_5, folder):
            label = meaning(line["label"], WORDS, where)
            yield Utterance(
                stored=stored,
                where=where,
                label=label,
                split=split,
                system=_system(label, line["attack"]),
                speaker=known(line["speaker"]),
                source="mls",
                language="en",
                codec=known(line["codec"]),
            )


def ctrsvdd(tree: Tree) -> Iterator[Utterance]:
    """CtrSVDD: singing voices."""
    for split, name in {"train": "train", "dev": "dev", "eval": "test"}.items():
        protocol = tree.table(f"{name}.txt")
        for stored, where, line in _lines(tree, protocol, COLUMNS_CTRSVDD, f"{name}_set", name):
            label = meaning(line["label"], {"bonafide": BONAFIDE, "deepfake": SPOOF}, where)
            yield Utterance(
                stored=stored,
                where=where,
                label=label,
                split=split,
                system=_system(label, line["attack"]),
                speaker=known(line["singer"]),
                source=known(line["source"]),
            )


def codecfake_xie(tree: Tree) -> Iterator[Utterance]:
    """Codecfake of Xie et al.: speech resynthesised by neural codecs (C1 to C7) or by language models (A1 to A3)."""
    for protocol in tree.tables(r"label/[^/]+\.txt"):
        name = posixpath.splitext(posixpath.basename(protocol.uri))[0]
        for stored, where, line in _lines(tree, protocol, COLUMNS_CODECFAKE, name, f"{name}_fake", suffix=""):
            label = meaning(line["label"], {"real": BONAFIDE, "fake": SPOOF}, where)
            speaker = SPEAKERS_CODECFAKE.search(line["utterance"])
            codec = f"F{line['codec_number'].zfill(2)}"
            yield Utterance(
                stored=stored,
                where=where,
                label=label,
                split=name if name in ("train", "dev") else "eval",
                system=_system(label, name if name.startswith("A") else codec),
                speaker=None if speaker is None else speaker[1],
                part=name,
            )


def _lines(
    tree: Tree, protocol: Stored | None, columns: Sequence[str], *folders: str, suffix: str = ".flac"
) -> Iterator[Line]:
    """Yield the lines of a protocol, each with its recording in ``folders``, or None if it is missing."""
    if protocol is None:
        return
    files = tree.inside(*folders)
    for where, line in fields(protocol, columns):
        name = line["utterance"] + suffix
        yield files.get(name), f"{where}: {name}", line


def _system(label: str, attack: str) -> str | None:
    return None if label == BONAFIDE else known(attack)
