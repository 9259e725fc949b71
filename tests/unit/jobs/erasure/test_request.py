"""Mentions of a recording are told from those of similar names."""

from __future__ import annotations

import json
import random
import re
import time

import pyarrow as pa
import pytest

from detector.audio import Excerpt
from jobs.erasure.request import ErasureRequest

CALL = "2026/call.flac"


@pytest.mark.parametrize(
    ("text", "mentions"),
    [
        ("s3://archive/2026/call.flac", True),
        ('{"uri": "2026/call.flac"}', True),
        ("2026/call.flac@1-2/ch0 and more", True),
        ("2026/call.flac@1.5-end", True),
        ("Listen to 2026/call.flac.", True),
        ("s3://archive/2026/other.flac: not 2026/call.flac", True),
        ("file:///2026/call.flac", True),
        ("s3://archive/old/2026/call.flac", False),
        ("2026/call.flac.bak", False),
        ("2026/call.flac2", False),
        ("x2026/call.flac", False),
        ("2026/call.flac#1.wav", False),
        ("2026/call.flac/1.wav", False),
        ("2026/call.flac/ch1/2.wav", False),
        ("s3://archive/my 2026/call.flac", False),
        ("s3://archive/x.tar#2026/call.flac", False),
        ("x.tar#2026/call.flac", False),
    ],
)
def test_a_text_mentions_this_recording_and_not_a_similar_name(text: str, mentions: bool) -> None:
    assert bool(ErasureRequest((CALL,)).ids_in_text(text)) is mentions


@pytest.mark.parametrize("text", ["s3://archive/my call.flac", "s3://archive/x.tar#call.flac"])
def test_the_end_of_a_longer_name_is_no_mention(text: str) -> None:
    assert ErasureRequest(("call.flac",)).ids_in_text(text) == set()


@pytest.mark.parametrize(
    "written",
    [r"/data/caf\xe9.wav", r'"/data/caf\\xe9.wav"', "file:///data/caf%E9.wav", "file:///data/caf%5Cxe9.wav"],
)
def test_a_name_that_is_not_text_is_found_by_its_escape_in_json_and_in_links(written: str) -> None:
    assert ErasureRequest((r"/data/caf\xe9.wav",)).ids_in_text(written)
    assert not ErasureRequest((r"/data/caf\x5cxe9.wav",)).ids_in_text(written.replace("%5Cxe9", "%E9"))


def test_a_page_shows_a_line_end_in_a_name_as_an_escape_which_is_a_mention() -> None:
    assert ErasureRequest(("/data/new\nline.wav",)).ids_in_text(r'<td class="name">/data/new\nline.wav</td>')


@pytest.mark.parametrize(
    "written",
    [r"caf\u00e9 \"1\".wav", "café &quot;1&quot;.wav", "café &#34;1&#34;.wav", "caf%C3%A9%20%221%22.wav"],
)
def test_a_mention_is_found_however_it_is_escaped(written: str) -> None:
    assert ErasureRequest(('café "1".wav',)).ids_in_text(f"'{written}'")


@pytest.mark.parametrize(
    ("text", "mentions"),
    [("1", True), ('{"id": "1"}', True), ("<td> 1 </td>", True), ("s3://b/1", True), ("channel 1 of 2", False)],
)
def test_an_id_is_mentioned_only_as_a_whole_word(text: str, mentions: bool) -> None:
    assert bool(ErasureRequest(("1",)).ids_in_text(text)) is mentions


@pytest.mark.parametrize(
    "excerpt",
    [
        Excerpt(12.5),
        Excerpt(12.5, 20.0),
        Excerpt(1e-5, 2.0),
        Excerpt(3.0, 1e22),
        Excerpt(channel=12),
        Excerpt(1.0, 2.0, 0),
    ],
    ids=str,
)
def test_an_id_includes_every_part_of_its_recording(excerpt: Excerpt) -> None:
    request = ErasureRequest((CALL,))

    assert request.ids_of(f"{CALL}{excerpt}") == {CALL}
    assert request.rows_of(pa.array([f"{CALL}{excerpt}"])).to_pylist() == [True]
    assert request.ids_in_label(f"s3://archive/{CALL}{excerpt} and 3 more") == {CALL}


@pytest.mark.parametrize("name", [f"{CALL}\n", f"{CALL}@1-2\n", f"\n{CALL}", f"{CALL}/", f"{CALL}@x", f"{CALL}/chx"])
def test_an_id_is_compared_as_a_whole(name: str) -> None:
    request = ErasureRequest((CALL,))

    assert request.ids_of(name) == set()
    assert request.rows_of(pa.array([name])).to_pylist() == [False]


def test_a_channel_matches_its_own_id_and_that_of_its_recording() -> None:
    request = ErasureRequest(("a.wav", "a.wav/ch0"))

    assert request.ids_of("a.wav/ch0") == {"a.wav", "a.wav/ch0"}
    assert request.ids_in_text(json.dumps({"id": "a.wav/ch0"})) == {"a.wav", "a.wav/ch0"}


def test_many_ids_are_looked_up_and_not_tried_one_by_one() -> None:
    names = [f"2026/11/{number:06d}.tar#calls/recording.flac" for number in range(20_000)]
    text = "".join(f"odd thing at {name}\n" for name in names)
    before = time.process_time()

    request = ErasureRequest(names[::2])

    assert request.rows_of(pa.array(names)).to_pylist() == [True, False] * 10_000
    assert set().union(*map(request.ids_of, names)) == request.ids_in_text(text) == set(names[::2])
    assert time.process_time() - before < 5.0  # a pattern an id took hours


@pytest.mark.parametrize("seed", range(5))
def test_ids_in_text_are_those_of_a_pattern_an_id(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(200):
        names = ["".join(rng.choices("ab/", k=rng.randrange(1, 4))).strip("/") + ".c" for _ in range(3)]
        pieces = ["a", "b", "/", ".c", " ", "@1-2", "/ch0", ".", "'", "\n", *names, *names]
        text = " " + "".join(rng.choices(pieces, k=rng.randrange(1, 12)))

        for name in names:
            in_text = rf"(?:\A|[^\w./#-]){re.escape(name)}(?:@1-2)?(?:/ch0)?\.?(?![\w.#/@-])"
            expected = {name} if re.search(in_text, text) else set()
            assert ErasureRequest([name]).ids_in_text(text) == expected, (name, text)
            assert expected <= ErasureRequest(names).ids_in_text(text)
