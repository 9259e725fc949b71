"""Corpora without a table: what a file is, its folder and name say."""

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
    for stored, found in tree.matching(FAKE_OR_REAL):
        version = VERSIONS_OF_FAKE_OR_REAL.get(found["version"], found["version"])
        yield Utterance(
            stored=stored,
            where=stored.uri,
            label=BONAFIDE if found["label"] == "real" else SPOOF,
            split=SPLITS[found["split"]],
            source="fake-or-real",
            language="en",
            part=version,
        )


def timit_tts(tree: Tree) -> Iterator[Utterance]:
    """TIMIT-TTS, any of its versions, and VidTIMIT's speech where that is given too."""
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
    """WaveFake, and LJSpeech and JSUT where they are given too."""
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
            speaker=source,  # either corpus has one
            source=source,
            language="ja" if source == "jsut" else "en",
        )


def odss(tree: Tree) -> Iterator[Utterance]:
    """ODSS."""
    for stored, found in tree.matching(ODSS):
        is_bonafide = found["kind"] == "natural"
        yield Utterance(
            stored=stored,
            where=stored.uri,
            label=BONAFIDE if is_bonafide else SPOOF,
            system=None if is_bonafide else found["kind"],
            speaker=found["speaker"],
            source=found["source"],
            language=LANGUAGES_OF_ODSS.get(found["source"]),
        )


def dfadd(tree: Tree) -> Iterator[Utterance]:
    """DFADD."""
    for stored, found in tree.matching(DFADD):
        is_bonafide = found["system"] == "VCTK_BONAFIDE"
        yield Utterance(
            stored=stored,
            where=stored.uri,
            label=BONAFIDE if is_bonafide else SPOOF,
            split=SPLITS.get(found["split"], "train"),
            system=None if is_bonafide else found["system"],
            speaker=found["speaker"],
            source="vctk",
            language="en",
        )


def codecfake_wu(tree: Tree) -> Iterator[Utterance]:
    """CodecFake of Wu et al.: VCTK through neural codecs, and VCTK where it is given too."""
    for stored in tree.audio():
        real, made = VCTK.search(stored.uri), CODECFAKE_WU.search(stored.uri)
        found = real or made
        if found is not None:
            yield Utterance(
                stored=stored,
                where=stored.uri,
                label=BONAFIDE if real else SPOOF,
                system=None if real else found["codec"],
                speaker=found["speaker"],
                source="vctk",
                language="en",
            )


def folder(tree: Tree) -> Iterator[Utterance]:
    """A plain folder; what stands between class and file is the speaker of bona fide, the system of spoof."""
    for stored in tree.audio():
        found = FOLDER.fullmatch(tree.relative(stored))
        if found is not None:
            yield Utterance(
                stored=stored,
                where=stored.uri,
                label=found["label"],
                split=found["split"],
                system=found["group"] if found["label"] == SPOOF else None,
                speaker=found["group"] if found["label"] == BONAFIDE else None,
            )
