"""A stored object gives so much audio as its bytes may hold, however often it is compressed; the rest of it is rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import soxr

from detector.audio import SAMPLE_RATE, WHOLE, Excerpt
from jobs import storage
from jobs.config import MIN_BITRATE, RunConfig
from jobs.demo.archive import RECORDINGS
from jobs.inputs.containers.decompressed import zstd
from jobs.inputs.limits import DEFAULTS, FREE_SECONDS, SILENT_SHARE, Limits
from jobs.inputs.shard_reader import read_shard
from jobs.inputs.shards import Portion, Selection, Shard
from tests.support.audio import encoded, tone
from tests.support.containers import PACKED, put, shard_of, tarred

LOWEST_RATE = 4_000  # Hz
LOUD = 0.25


def read(
    shard: Shard, limits: Limits = DEFAULTS, channels: str = "mix", **portion: Any
) -> tuple[list[dict[str, Any]], float]:
    """Return the outcomes of a shard, and the seconds that are passed to an encoder."""
    rows = list(read_shard(Portion(shard, **portion), 10.0, channels, limits))
    n_samples = sum(len(row["samples"]) // 4 for row in rows if "samples" in row)
    return [row["outcome"] for row in rows if "outcome" in row], n_samples / SAMPLE_RATE


def allowed(path: Path, min_bitrate: float = MIN_BITRATE) -> float:
    return FREE_SECONDS + 8.0 * path.stat().st_size / min_bitrate


def loose(path: Path, excerpt: Excerpt = WHOLE) -> Shard:
    stored = storage.stat(str(path))
    assert stored is not None
    return Shard.selecting("files", (stored,), [(stored.uri, Selection("a", excerpt))])


def constant(seconds: float, level: float = LOUD) -> bytes:
    return encoded(np.full(round(seconds * LOWEST_RATE), level), rate=LOWEST_RATE)


def wav(samples: np.ndarray) -> bytes:
    return encoded(samples, rate=LOWEST_RATE, kind="WAV")


def test_a_constant_compressed_twice_gives_no_more_than_its_bytes_may_hold(tmp_path: Path) -> None:
    # 40 copies of 20 s are less than 2 kB, because a compressor writes the second copy as a reference to the first
    path = put(tmp_path / "0.tar.zst", zstd.compress(tarred({f"{n}.flac": constant(20.0) for n in range(40)})))

    outcomes, seconds = read(shard_of(path))

    n_whole = int(allowed(path) // 20.0)
    assert 3 <= n_whole < 15
    assert [each.get("error") for each in outcomes] == [None] * n_whole + ["over_quota"] * (40 - n_whole)
    assert seconds <= allowed(path)
    # the decoder had begun two of them; of the others not a byte was decoded
    assert [each["stage"] for each in outcomes[n_whole:]] == ["decode"] * 2 + ["read"] * (38 - n_whole)
    assert f"{path.stat().st_size:,} stored bytes have {allowed(path):,.0f} s of audio" in outcomes[-1]["message"]


@pytest.mark.parametrize("name", PACKED)
def test_every_kind_of_container_ends_where_its_allowance_does(tmp_path: Path, name: str) -> None:
    sound = tone(25.0, rate=LOWEST_RATE)
    path = put(tmp_path / name, PACKED[name](dict.fromkeys(["0.wav", "1.wav", "2.wav", "3.wav"], wav(sound))))

    outcomes, seconds = read(shard_of(path), Limits(min_bitrate=1e9))

    assert [each.get("error") for each in outcomes] == [None] * 2 + ["over_quota"] * 2
    assert 50.0 <= seconds <= FREE_SECONDS + 0.1


def test_decoding_ends_in_the_middle_of_a_recording(tmp_path: Path) -> None:
    path = put(tmp_path / "a.flac", constant(300.0))

    (outcome,), seconds = read(loose(path), Limits(min_bitrate=1_000.0))

    assert (outcome["error"], outcome["stage"]) == ("over_quota", "decode")
    assert allowed(path, 1_000.0) - 20.0 <= seconds <= allowed(path, 1_000.0) < 100.0
    assert outcome["seconds"] <= allowed(path, 1_000.0) + 10.0
    assert read(loose(path))[0][0].get("error") is None  # no codec by itself comes to less than the least


def test_a_loose_file_has_an_allowance_of_its_own(tmp_path: Path) -> None:
    found = [storage.stat(str(put(tmp_path / f"{n}.flac", constant(50.0, LOUD + n / 100)))) for n in range(4)]
    stored = tuple(each for each in found if each is not None)
    shard = Shard.selecting("files", stored, [(each.uri, Selection(each.uri)) for each in stored])

    outcomes, seconds = read(shard, Limits(min_bitrate=1e9))

    assert [each.get("error") for each in outcomes] == [None] * 4
    assert seconds == pytest.approx(200.0)


def test_silence_counts_a_fiftieth_because_it_is_never_encoded(tmp_path: Path) -> None:
    silent = {f"{n}.flac": constant(600.0, 0.0) for n in range(4)}
    path = put(tmp_path / "0.tar.zst", zstd.compress(tarred(silent | {f"{n}.flac": constant(10.0) for n in "ab"})))

    outcomes, seconds = read(shard_of(path), Limits(min_bitrate=1e9))

    # 2,400 s of silence count as 48 s of the 60 s: there is room for one of 10 s, and not for two
    assert SILENT_SHARE == 50.0
    assert [each.get("error") for each in outcomes] == [None] * 5 + ["over_quota"]
    assert 10.0 <= seconds <= 12.0


def test_silence_has_an_end_too(tmp_path: Path) -> None:
    path = put(tmp_path / "0.flac", constant(3_100.0, 0.0))

    (outcome,), _ = read(loose(path), Limits(min_bitrate=1e9))

    assert outcome["error"] == "over_quota"
    assert outcome["seconds"] == pytest.approx(SILENT_SHARE * FREE_SECONDS, abs=10.0)


def test_sound_behind_silence_counts_with_it(tmp_path: Path) -> None:
    samples = np.concatenate([np.zeros(70 * LOWEST_RATE), np.full(LOWEST_RATE, LOUD)])
    path = put(tmp_path / "0.tar", tarred({"a.flac": encoded(samples, rate=LOWEST_RATE)}))

    (outcome,), seconds = read(shard_of(path), Limits(min_bitrate=1e9))

    assert outcome["error"] == "over_quota"
    assert seconds <= FREE_SECONDS


def test_the_same_recordings_are_beyond_the_limit_every_time(tmp_path: Path) -> None:
    path = put(tmp_path / "0.tar.zst", zstd.compress(tarred({f"{n}.flac": constant(20.0) for n in range(12)})))
    first = read(shard_of(path), Limits(min_bitrate=300.0))

    assert "over_quota" in [each.get("error") for each in first[0]]
    assert read(shard_of(path), Limits(min_bitrate=300.0)) == first
    # after a fault only segments of utterances that were within the limit are asked for
    assert [each.get("error") for each in read(shard_of(path), Limits(min_bitrate=1e9), only=(1, 2, 3))[0]] == [
        None
    ] * 3


def test_each_channel_counts_and_an_excerpt_with_an_end_does_not(tmp_path: Path) -> None:
    sides = [tone(40.0, rate=LOWEST_RATE, seed=seed) for seed in range(2)]
    path = put(tmp_path / "a.wav", wav(np.stack(sides, axis=1)))
    most = Limits(min_bitrate=1e9)

    assert [each.get("error") for each in read(loose(path), most, "each")[0]] == [None, "over_quota"]
    cuts = [Selection(f"{n}", Excerpt(0.0, 30.0)) for n in range(4)]
    stored = storage.stat(str(path))
    assert stored is not None
    shard = Shard.selecting("files", (stored,), [(stored.uri, each) for each in cuts])
    assert [each.get("error") for each in read(shard, most)[0]] == [None] * 4


def test_telephone_calls_that_are_mostly_silent_stay_far_below_the_limit(tmp_path: Path) -> None:
    """One second of speech in 20, digital silence between, in 8 bits, compressed as a whole: the least that is real."""
    speech = np.concatenate([soundfile.read(path)[0] for path in sorted((RECORDINGS / "human").glob("*.flac"))])
    seconds = iter(soxr.resample(speech[: 24 * SAMPLE_RATE], SAMPLE_RATE, 8_000).reshape(24, 8_000))
    calls = {}
    for number in range(8):
        call = np.zeros(60 * 8_000)
        for start in (5, 25, 45):
            call[start * 8_000 : (start + 1) * 8_000] = next(seconds)
        calls[f"{number}.wav"] = encoded(call, rate=8_000, kind="WAV", subtype="ULAW")
    path = put(tmp_path / "0.tar.zst", zstd.compress(tarred(calls)))

    outcomes, heard = read(shard_of(path))

    assert [each.get("error") for each in outcomes] == [None] * 8
    assert heard == pytest.approx(480.0)
    bitrate = path.stat().st_size * 8 / heard
    assert 25 * MIN_BITRATE < bitrate < 35 * MIN_BITRATE


def test_runs_have_the_limit_unless_they_lower_it() -> None:
    assert RunConfig().min_bitrate == DEFAULTS.min_bitrate == MIN_BITRATE == 100.0
