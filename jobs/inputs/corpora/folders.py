"""Corpora without a table: folder and file names state what each recording is."""

from __future__ import annotations

import re
from collections.abc import Iterator

from detector.schema import BONAFIDE, SPOOF
from jobs.inputs.corpora.corpus import Utterance
from jobs.inputs.corpora.tree import Tree

SPLITS = {"training": "train", "validation": "dev", "testing": "eval", "valid": "dev", "test": "eval"}
FAKE_OR_REAL = re.compile(
    r"(?:/(?P<version>for-[^/]+))?/(?P<split>training|validation|testing)/(?P<label>real|fake)/[^/]+$"
)
VERSIONS_OF_FAKE_OR_REAL = {"for-2seconds": "for-2sec", "for-rerecorded": "for-rerec"}
TIMIT_TTS = re.compile(
    r"(?:/(?P<version>[^/]+))?/(?:single_speaker/(?P<single>[^/]+)|multi_speaker/(?P<multi>[^/]+)/(?P<voice>[^/]+))/[^/]+$"
)
VIDTIMIT = re.compile(r"/(?P<speaker>[fm][a-z]{3}\d)/audio/[^/]+$")
WAVEFAKE = re.compile(
    r"/(?:(?P<source>ljspeech|jsut)_(?P<vocoder>[^/]+)|(?P<prompted>common_voices_prompts_from_[^/]+))/(?:[^/]+/)?[^/]+$"
)
LJSPEECH = re.compile(r"/LJSpeech-1\.1/wavs/[^/]+$")
JSUT = re.compile(r"/jsut_ver1\.1/basic5000/wav/[^/]+$")
ODSS = re.compile(r"/(?P<kind>natural|fastpitch-hifigan|vits)/(?P<source>[^/]+)/(?P<speaker>[^/]+)/[^/]+$")
LANGUAGES_OF_ODSS = {"hifi-tts": "en", "vctk": "en", "hui-acg": "de", "openslr-es": "es"}
DFADD = re.compile(r"/DATASET_(?P<system>[^/]+)/(?P<split>train|valid|test)/(?P<speaker>[^/_]+)_[^/]+$")
CODECFAKE_WU = re.compile(r"/(?P<codec>[^/+]+)[/+](?P<speaker>[ps]\d+)_[^/]+$")
VCTK = re.compile(r"/wav48[^/]*/(?P<speaker>[ps]\d+)/[^/]+$")
FOLDER = re.compile(r"(?:(?P<split>train|dev|eval)/)?(?P<label>bonafide|spoof)/(?:(?P<group>[^/]+)/)?.+")


def fake_or_real(tree: Tree) -> Iterator[Utterance]:
    """FakeOrReal, any of its versions."""
    for stored, match in tree.matching(FAKE_OR_REAL):
        version = VERSIONS_OF_FAKE_OR_REAL.get(match["version"], match["version"])
        yield Utterance(
            stored=stored,
            where=stored.uri,
            label=BONAFIDE if match["label"] == "real" else SPOOF,
            split=SPLITS[match["split"]],
            source="fake-or-real",
            language="en",
            part=version,
        )


def timit_tts(tree: Tree) -> Iterator[Utterance]:
    """TIMIT-TTS, any of its versions, and the speech of VidTIMIT if that is given, too."""
    for stored in tree.audio():
        real, made = VIDTIMIT.search(stored.uri), TIMIT_TTS.search(stored.uri)
        if real is not None:
            yield Utterance(
                stored=stored,
                where=stored.uri,
                label=BONAFIDE,
                speaker=real["speaker"],
                source="vidtimit",
                language="en",
            )
        elif made is not None:
            voice = "ljspeech" if made["voice"] is None else f"{made['multi']}/{made['voice']}"
            yield Utterance(
                stored=stored,
                where=stored.uri,
                label=SPOOF,
                system=made["single"] or made["multi"],
                speaker=voice,
                source="vidtimit",
                language="en",
                part=made["version"],
            )


def wavefake(tree: Tree) -> Iterator[Utterance]:
    """WaveFake, and LJSpeech and JSUT if they are given, too."""
    for stored in tree.audio():
        made = WAVEFAKE.search(stored.uri)
        if made is not None:
            label, source = SPOOF, made["source"] or "ljspeech"
        elif LJSPEECH.search(stored.uri):
            label, source = BONAFIDE, "ljspeech"
        elif JSUT.search(stored.uri):
            label, source = BONAFIDE, "jsut"
        else:
            continue
        yield Utterance(
            stored=stored,
            where=stored.uri,
            label=label,
            system=None if made is None else made["vocoder"] or made["prompted"],
            speaker=source,  # each corpus has a single speaker
            source=source,
            language="ja" if source == "jsut" else "en",
        )


def odss(tree: Tree) -> Iterator[Utterance]:
    """ODSS."""
    for stored, match in tree.matching(ODSS):
        is_bonafide = match["kind"] == "natural"
        yield Utterance(
            stored=stored,
            where=stored.uri,
            label=BONAFIDE if is_bonafide else SPOOF,
            system=None if is_bonafide else match["kind"],
            speaker=match["speaker"],
            source=match["source"],
            language=LANGUAGES_OF_ODSS.get(match["source"]),
        )


def dfadd(tree: Tree) -> Iterator[Utterance]:
    """DFADD."""
    for stored, match in tree.matching(DFADD):
        is_bonafide = match["system"] == "VCTK_BONAFIDE"
        yield Utterance(
            stored=stored,
            where=stored.uri,
            label=BONAFIDE if is_bonafide else SPOOF,
            split=SPLITS.get(match["split"], "train"),
            system=None if is_bonafide else match["system"],
            speaker=match["speaker"],
            source="vctk",
            language="en",
        )


def codecfake_wu(tree: Tree) -> Iterator[Utterance]:
    """CodecFake of Wu et al.: VCTK through neural codecs, and VCTK itself if it is given, too."""
    for stored in tree.audio():
        real, made = VCTK.search(stored.uri), CODECFAKE_WU.search(stored.uri)
        match = real or made
        if match is not None:
            yield Utterance(
                stored=stored,
                where=stored.uri,
                label=BONAFIDE if real else SPOOF,
                system=None if real else match["codec"],
                speaker=match["speaker"],
                source="vctk",
                language="en",
            )


def folder(tree: Tree) -> Iterator[Utterance]:
    """A plain folder; a folder between class and file is the speaker of bona fide speech, or the system of spoof."""
    for stored in tree.audio():
        match = FOLDER.fullmatch(tree.relative(stored))
        if match is not None:
            yield Utterance(
                stored=stored,
                where=stored.uri,
                label=match["label"],
                split=match["split"],
                system=match["group"] if match["label"] == SPOOF else None,
                speaker=match["group"] if match["label"] == BONAFIDE else None,
            )
