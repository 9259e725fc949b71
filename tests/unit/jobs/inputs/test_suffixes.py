"""Names: each suffix of a permitted container is that of a recording, and no suffix is on two lists."""

from __future__ import annotations

import pytest

from detector.demuxing import DEMUXERS
from jobs.inputs.suffixes import AUDIO_SUFFIXES, OTHER_SUFFIXES, kind_of_name

SUFFIX_OF = {
    **{"amrnb": ".amr", "amrwb": ".awb", "asf": ".wma", "matroska": ".mka", "mpeg": ".mpg", "mpegts": ".m2ts"},
    **{"nistsphere": ".nist"},
}
"""Suffixes that differ from the name of FFmpeg's demuxer."""


def test_no_suffix_is_on_both_lists_and_all_are_in_lower_case() -> None:
    assert not AUDIO_SUFFIXES & OTHER_SUFFIXES
    assert all(suffix == suffix.lower() and suffix.startswith(".") for suffix in AUDIO_SUFFIXES | OTHER_SUFFIXES)


@pytest.mark.parametrize("demuxer", DEMUXERS)
def test_every_container_that_may_be_opened_has_a_suffix(demuxer: str) -> None:
    assert SUFFIX_OF.get(demuxer, f".{demuxer}") in AUDIO_SUFFIXES


@pytest.mark.parametrize("name", "a.aifc a.WAVE a.spx a.mpga a.m4b a.rf64 a.awb a.amr-wb a.mp1 a.vob a.wv1".split())
def test_names_of_recordings(name: str) -> None:
    assert kind_of_name(name) == "audio"


@pytest.mark.parametrize("name", "a.ts a.mts a.17 recording a.dat a.bin ._a.wav day.wav/a .wav".split())
def test_names_that_say_nothing(name: str) -> None:
    # TypeScript is called .ts and .mts, too
    assert kind_of_name(name) == "unknown"


@pytest.mark.parametrize("name", ["a.json", "a.TXT", "a.TextGrid", "a.jpg", "yarn.lock", "a.parquet"])
def test_names_of_other_files(name: str) -> None:
    assert kind_of_name(name) == "other"
