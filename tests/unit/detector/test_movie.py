"""Tables of an MP4 that players read differently make it a row, and what an edit list does to a track is undone."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Sequence

import av
import numpy as np
import pytest

from detector.layout.movie import Movie, movie
from tests.support.audio import tone
from tests.support.wild_films import box
from tests.unit.detector.test_audio import correlation, muxed
from tests.unit.detector.test_heard_whole import by_ffmpeg, failure_of, heard

RATE, CHUNK = 16_000, 1_000
ONE, OTHER = tone(3.0), tone(3.0, hertz=330.0, seed=2)
NORMAL = 1 << 16
Boxes = dict[bytes, Sequence[bytes]]
"""Boxes that stand in a named one, behind those that belong there; or, of `+` and the name, before them."""


def table(name: bytes, *numbers: int, version: int = 0) -> bytes:
    return box(name, struct.pack(f">{1 + len(numbers)}I", version << 24, *numbers))


def entry(rate: int = RATE, *within: bytes) -> bytes:
    return box(b"sowt", bytes(6), struct.pack(">H8xHHHHI", 1, 1, 16, 0, 0, rate << 16), *within)


def described(*entries: bytes, n_stated: int | None = None) -> bytes:
    return box(b"stsd", struct.pack(">II", 0, len(entries) if n_stated is None else n_stated), *entries)


def handled(kind: bytes, of: bytes = b"mhlr") -> bytes:
    return box(b"hdlr", bytes(4), of, kind, bytes(13))


def edits(*each: tuple[int, int, int]) -> bytes:
    """Edits of so many milliseconds, from a sample on, at a rate of so many 1/65,536."""
    return box(b"edts", box(b"elst", struct.pack(">II", 0, len(each)), *(struct.pack(">IiI", *edit) for edit in each)))


def chunks(first: int, *, name: bytes = b"stco") -> bytes:
    """The table of where the chunks of a sound begin."""
    offsets = [first + 2 * at for at in range(0, len(ONE), CHUNK)]
    return box(name, struct.pack(f">II{len(offsets)}{'I' if name == b'stco' else 'Q'}", 0, len(offsets), *offsets))


def quicktime(
    more: Callable[[int, int], Boxes] = lambda _one, _other: {},
    *,
    description: bytes = described(entry()),
    durations: Sequence[tuple[int, int]] = ((len(ONE), 1),),
    large: bool = False,
    lead: bytes = b"",
) -> bytes:
    """PCM of one sound, with another behind it; ``more`` has their offsets, and returns further boxes.

    ``durations`` are numbers of samples, and how long each of them is said to last; ``lead`` stands before it all.
    """
    content = b"".join((np.clip(each, -1, 1) * 32_767).astype("<i2").tobytes() for each in (ONE, OTHER))
    head, before = lead + box(b"ftyp", b"qt  ", bytes(4), b"qt  "), 8

    def of(name: bytes, *own: bytes) -> bytes:
        return box(name, *boxes.get(b"+" + name, ()), *own, *boxes.get(name, ()))

    for _ in range(2):  # its size is not known at first
        boxes = more(len(head) + before, len(head) + before + len(content) // 2)
        n_all = sum(count * each for count, each in durations)
        tables = of(
            b"stbl",
            description,
            table(b"stts", len(durations), *(number for each in durations for number in each)),
            table(b"stsc", 1, 1, CHUNK, 1),
            table(b"stsz", 2, len(ONE)),
            chunks(len(head) + before),
        )
        inner = of(b"minf", box(b"smhd", bytes(8)), tables)
        media = of(b"mdia", table(b"mdhd", 0, 0, RATE, n_all, 0), handled(b"soun"), inner)
        matrix = struct.pack(">9I", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
        ms = n_all * 1_000 // RATE
        track = of(b"trak", box(b"tkhd", struct.pack(">6I", 7, 0, 0, 1, 0, ms), bytes(16), matrix, bytes(8)), media)
        whole = box(b"mvhd", struct.pack(">5IIH10x", 0, 0, 0, 1_000, ms, 1 << 16, 256), matrix, bytes(24), bytes(4))
        moov = of(b"moov", whole, track)
        if large:
            moov = struct.pack(">I4sQ", 1, b"moov", len(moov) + 8) + moov[8:]
        before = len(b"".join(boxes.get(b"+", ()))) + len(moov) + 8
    return head + b"".join(boxes.get(b"+", ())) + moov + box(b"mdat", content) + b"".join(boxes.get(b"", ()))


def is_one(content: bytes) -> bool:
    """Return True if FFmpeg alone plays the first sound, and not the other."""
    played = by_ffmpeg(content)
    return correlation(played, ONE) > 0.9 > correlation(played, OTHER)


@pytest.mark.parametrize("large", [False, True])
def test_a_file_with_each_table_once_is_heard(large: bool) -> None:
    content = quicktime(large=large)

    facts, samples = heard(content)

    assert movie(io.BytesIO(content), 0, len(content)) == Movie(n_tracks=1, is_edited=False)
    assert facts.seconds == pytest.approx(3.0)
    assert correlation(samples, ONE) > 0.9


@pytest.mark.parametrize("name", [b"free", b"skip", b"wide", b"mdat", b"uuid"])
def test_other_boxes_may_stand_before_the_one_that_tells_the_kind_of_a_file(name: bytes) -> None:
    content = quicktime(lead=box(name, bytes(64)))

    facts, samples = heard(content)

    assert facts.seconds == pytest.approx(3.0)
    assert correlation(samples, ONE) > 0.9
    assert facts.trailing_bytes == 0


DESCRIPTIONS = {
    "two of one codec": described(entry(), entry(8_000)),
    "two of two codecs": described(entry(), box(b"mp4a", entry()[8:])),
    "two, and one is stated": described(entry(), entry(8_000), n_stated=1),
    "one, and two are stated": described(entry(), n_stated=2),
}


@pytest.mark.parametrize("description", DESCRIPTIONS.values(), ids=DESCRIPTIONS)
def test_several_descriptions_of_the_samples_of_a_track_are_a_row(description: bytes) -> None:
    failure = failure_of(quicktime(description=description))

    assert (failure.error, "2 descriptions" in failure.message) == ("bad_header", True)


TWICE: dict[str, Callable[[int, int], Boxes]] = {
    "stco": lambda _, other: {b"stbl": [chunks(other)]},
    "co64 behind stco": lambda _, other: {b"stbl": [chunks(other, name=b"co64")]},
    "co64 before stco": lambda _, other: {b"+stbl": [chunks(other, name=b"co64")]},
    "stsz": lambda *_: {b"stbl": [table(b"stsz", 2, 10)]},
    "stz2": lambda *_: {b"stbl": [table(b"stz2", 16, 0)]},
    "stts": lambda *_: {b"stbl": [table(b"stts", 1, 10, 1)]},
    "stsc": lambda *_: {b"stbl": [table(b"stsc", 1, 1, 10, 1)]},
    "stsd": lambda *_: {b"stbl": [described(entry(8_000))]},
    "stbl": lambda _, other: {b"minf": [box(b"stbl", chunks(other))]},
    "minf": lambda _, other: {b"mdia": [box(b"minf", box(b"stbl", chunks(other)))]},
    "mdia": lambda _, other: {b"trak": [box(b"mdia", box(b"minf", box(b"stbl", chunks(other))))]},
    "edts": lambda *_: {b"trak": [edits((1_000, 0, NORMAL)), edits((3_000, 0, NORMAL))]},
}
ELSEWHERE: dict[str, Callable[[int, int], Boxes]] = {
    "in user data": lambda one, _: {b"+trak": [box(b"udta", chunks(one))]},
    "in metadata": lambda one, _: {b"+trak": [box(b"meta", bytes(4), handled(b"mdir"), chunks(one))]},
    "far behind": lambda one, _: {b"+trak": [box(b"meta", bytes(1 << 17), handled(b"mdir"), chunks(one))]},
    "in the media": lambda one, _: {b"+mdia": [chunks(one)]},
    "behind an empty fragment": lambda one, _: {b"+": [box(b"moof")], b"+mdia": [chunks(one)]},
    "behind a box that no player knows": lambda one, _: {b"+": [box(b"what", bytes(9))], b"+mdia": [chunks(one)]},
    "a movie in user data": lambda *_: {b"+": [box(b"udta", box(b"moov", box(b"free")))]},
    "a track in a track": lambda *_: {b"trak": [box(b"udta", box(b"trak", box(b"free")))]},
}


@pytest.mark.parametrize("more", TWICE.values(), ids=TWICE)
def test_a_table_that_stands_twice_is_a_row(more: Callable[[int, int], Boxes]) -> None:
    assert failure_of(quicktime(more)).error == "bad_header"


@pytest.mark.parametrize("more", ELSEWHERE.values(), ids=ELSEWHERE)
def test_a_table_in_another_s_place_is_a_row(more: Callable[[int, int], Boxes]) -> None:
    assert failure_of(quicktime(more)).error == "bad_header"


def test_a_table_in_user_data_is_the_one_that_ffmpeg_reads() -> None:  # the control
    swapped = quicktime(lambda _, other: {b"+trak": [box(b"udta", chunks(other))]})

    assert is_one(quicktime())
    assert not is_one(swapped)
    assert failure_of(swapped).error == "bad_header"


def test_a_table_within_a_description_is_a_row() -> None:
    def within(one: int, other: int) -> bytes:
        return quicktime(description=described(entry(RATE, chunks(other))))

    size = len(within(0, 0)) - 4 * len(ONE)
    content = within(size, size + 2 * len(ONE))

    assert not is_one(content)  # the control
    assert failure_of(content).error == "bad_header"


def test_a_table_is_found_in_a_file_that_begins_with_an_unknown_box() -> None:
    content = box(b"what", bytes(8)) + quicktime(lambda one, other: {b"stbl": [chunks(other + 16)]})

    assert failure_of(content).error == "bad_header"


def test_movies_that_are_joined_are_heard() -> None:
    assert heard(quicktime() + quicktime())[0].seconds == pytest.approx(6.0)


@pytest.mark.parametrize("kind", [b"vide", b"subp"])
def test_a_track_that_a_second_handler_takes_from_the_sound_is_a_row(kind: bytes) -> None:
    assert failure_of(quicktime(lambda *_: {b"minf": [handled(kind)]})).error == "bad_header"


def test_quicktime_s_handler_of_data_is_no_second_one() -> None:
    content = quicktime(lambda *_: {b"minf": [handled(b"alis", b"dhlr")]})

    assert heard(content)[0].seconds == pytest.approx(3.0)


def test_a_track_of_sound_that_ffmpeg_takes_for_chapters_is_a_row() -> None:
    content = quicktime(lambda *_: {b"trak": [box(b"tref", box(b"chap", struct.pack(">I", 1)))]})
    with av.open(io.BytesIO(content)) as container:
        assert not container.streams.audio  # the control

    assert failure_of(content).error == "bad_header"


@pytest.mark.parametrize("name", [b"moov", b"hoov"])
def test_a_second_movie_is_a_row_and_a_copy_is_not(name: bytes) -> None:
    content = quicktime()
    at = content.index(b"moov") - 4
    moov = content[at : content.index(b"mdat") - 4]
    changed = moov.replace(struct.pack(">I", RATE << 16), struct.pack(">I", RATE << 15))

    assert failure_of(content + moov[:4] + name + changed[8:]).error == "bad_header"
    assert heard(content + moov)[0].seconds == pytest.approx(3.0)


FEW: dict[str, Sequence[tuple[int, int, int]]] = {
    "all": [(3_000, 0, NORMAL)],
    "no end": [(0, 0, NORMAL)],
    "later": [(2_000, -1, NORMAL), (3_000, 0, NORMAL)],
    "a part": [(1_000, 0, NORMAL)],
    "from a second on": [(2_000, RATE, NORMAL)],
    "from a second on, beyond the end": [(3_000, RATE, NORMAL)],
    "from the end on, as late": [(2_000, -1, NORMAL), (1_000, 2 * RATE, NORMAL)],
    "at twice its speed": [(3_000, 0, 2 * NORMAL)],
}
MANY: dict[str, Sequence[tuple[int, int, int]]] = {
    "a second three times": [(1_000, 0, NORMAL)] * 3,
    "a second, then another": [(1_000, 0, NORMAL), (2_000, RATE, NORMAL)],
    "a second, then nothing": [(1_000, 0, NORMAL), (2_000, -1, NORMAL)],
    "nothing twice": [(1_000, -1, NORMAL), (1_000, -1, NORMAL), (1_000, 0, NORMAL)],
}


@pytest.mark.parametrize("each", (FEW | MANY).values(), ids=FEW | MANY)
def test_a_track_is_heard_once_and_whole_whatever_edits_it_has(each: Sequence[tuple[int, int, int]]) -> None:
    facts, samples = heard(quicktime(lambda *_: {b"trak": [edits(*each)]}))

    assert facts.seconds == pytest.approx(3.0)
    assert correlation(samples, ONE) > 0.9


TIMELESS, TIMED = (2 * RATE, 0), (RATE, 1)


@pytest.mark.parametrize("durations", [(TIMELESS, TIMED), (TIMED, TIMELESS)], ids=["first", "last"])
def test_edits_leave_out_no_samples_that_are_said_to_last_no_time(durations: Sequence[tuple[int, int]]) -> None:
    start = int(durations[0] == TIMELESS)
    content = quicktime(lambda *_: {b"trak": [edits((1_000, start, NORMAL))]}, durations=durations)
    assert len(by_ffmpeg(content)) == pytest.approx(RATE, abs=1)  # the control

    assert heard(content)[0].seconds == pytest.approx(3.0)


@pytest.mark.parametrize("codec", ["aac", "libmp3lame", "libopus"])
def test_the_delay_of_a_codec_is_left_out_as_players_do(codec: str) -> None:
    rate = 48_000 if codec == "libopus" else RATE
    content = muxed(tone(4.0, rate=rate), kind="mp4", codec=codec, rate=rate)
    assert b"elst" in content

    _, samples = heard(content)

    np.testing.assert_allclose(samples, by_ffmpeg(content)[: len(samples)], atol=3e-2)


@pytest.mark.parametrize("flags", ["frag_keyframe+empty_moov", "empty_moov+default_base_moof", "faststart"])
def test_fragments_are_heard(flags: str) -> None:
    content = muxed(tone(4.0), kind="mp4", codec="aac", rate=RATE, movflags=flags, frag_duration="300000")

    assert heard(content)[0].seconds == pytest.approx(4.0, abs=0.1)


def test_a_movie_with_more_boxes_than_any_is_a_row() -> None:
    assert failure_of(quicktime(lambda *_: {b"moov": [box(b"free") * (1 << 16)]})).error == "bad_header"


def test_the_tables_themselves_are_not_read() -> None:
    n_read = 0

    class Counted(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            nonlocal n_read
            content = super().read(size)
            n_read += len(content)
            return content

    large = table(b"sdtp", *[0] * (1 << 20))
    content = quicktime(lambda *_: {b"stbl": [large]})
    assert movie(Counted(content), 0, len(content)).n_tracks == 1
    assert n_read < len(large) / 2


def test_a_track_whose_codec_is_not_known_is_counted_beside_the_one_that_is_heard() -> None:
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as film:
        tracks = [film.add_stream("aac", rate=RATE, layout="mono") for _ in range(2)]
        for track, sound in zip(tracks, (ONE, OTHER), strict=True):
            frame = av.AudioFrame.from_ndarray(sound.astype(np.float32)[None], format="fltp", layout="mono")
            frame.sample_rate = RATE
            film.mux([*track.encode(frame), *track.encode(None)])
    content = bytearray(file.getvalue())
    for name, other in ((b"mp4a", b"apac"), (b"esds", b"dapa")):  # as an iPhone writes Spatial Audio
        at = content.rindex(name)
        content[at : at + 4] = other

    facts, samples = heard(bytes(content))

    assert facts.seconds == pytest.approx(3.0, abs=0.2)
    played = samples[: len(ONE)]
    assert correlation(played, ONE) > 0.8 > correlation(played, OTHER)  # behind the delay of an encoder
    assert 1_000 < facts.trailing_bytes < len(content) / 2
