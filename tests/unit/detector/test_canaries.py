"""Canaries: every codec is among them, equal ones are at no distance, and each library that changes is named."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import soxr

from bench.canaries import MADE, signal
from detector import canaries
from detector.audio import SAMPLE_RATE, decode
from detector.backbones import load_backbone
from detector.canaries import Drift, Heard, contents, cosine_distance, heard_otherwise, samples_distance
from detector.config import EmbedConfig

CONTENTS = contents()


def heard() -> dict[str, Heard]:
    """All canaries, decoded in this process."""
    found = {}
    for name, content in CONTENTS.items():
        stored, blocks = decode(io.BytesIO(content))
        found[name] = Heard(np.concatenate(list(blocks)), stored.codec, stored.native_rate, stored.decoder)
    return found


HEARD = heard()


def drifts(now: dict[str, Heard]) -> list[Drift]:
    distances = {name: samples_distance(each.samples, now[name].samples) for name, each in HEARD.items()}
    return heard_otherwise(distances, HEARD)


def changed(change: Callable[[np.ndarray], np.ndarray], *names: str) -> dict[str, Heard]:
    return HEARD | {name: replace(HEARD[name], samples=change(HEARD[name].samples)) for name in names}


def test_every_canary_is_in_the_package_and_all_are_small() -> None:
    assert set(CONTENTS) == set(MADE)
    assert sum(map(len, CONTENTS.values())) < 300_000


def test_canaries_cover_both_decoders_every_codec_family_and_every_usual_rate() -> None:
    codecs = " ".join(each.codec for each in HEARD.values())

    assert {each.native_rate for each in HEARD.values()} == {8_000, 16_000, 22_050, 44_100, 48_000}
    assert {each.library for each in HEARD.values()} == {"libsndfile", "libavcodec"}
    for family in "pcm_16 pcm_24 float ulaw alaw ima_adpcm ms_adpcm gsm610 flac mp3float vorbis opus aac".split():
        assert family in codecs
    for family in ("mp2", "amrnb", "wmav2", "alac", "ac3", "eac3"):
        assert family in codecs
    for rate in {each.native_rate for each in HEARD.values()} - {SAMPLE_RATE}:
        assert any("pcm" in each.codec and each.native_rate == rate for each in HEARD.values())


def test_a_lossless_canary_at_16_khz_is_the_formula_itself() -> None:
    expected = signal(SAMPLE_RATE, 0.6) / 32_768

    assert HEARD["flac-16000.flac"].samples.tolist() == expected.astype(np.float32).tolist()


def test_the_same_installation_hears_the_same() -> None:
    assert drifts(heard()) == []
    assert all(samples_distance(each.samples, each.samples) == 0.0 for each in HEARD.values())


def test_noise_below_the_tolerance_is_no_drift_and_above_it_is() -> None:
    quiet = changed(lambda samples: samples + np.float32(0.9e-4), *HEARD)
    loud = changed(lambda samples: samples + np.float32(1.1e-4), "ulaw-8000.wav")

    assert drifts(quiet) == []
    assert [(each.codec, each.libraries) for each in drifts(loud)] == [("wav/ulaw", ("libsndfile",))]


@pytest.mark.parametrize("quality", ["MQ", "VHQ"])
def test_another_quality_of_the_resampler_is_noticed_at_every_rate_and_named(
    quality: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = soxr.ResampleStream
    monkeypatch.setattr(soxr, "ResampleStream", lambda *rest, **how: stream(*rest, **how | {"quality": quality}))

    found = drifts(heard())

    resampled = {name for name, each in HEARD.items() if each.native_rate != SAMPLE_RATE}
    assert {each.canary for each in found} >= {name for name in resampled if name.startswith(("flac", "pcm16"))}
    assert {each.canary for each in found} <= resampled
    assert {each.libraries for each in found} == {("soxr",)}


@pytest.mark.parametrize("name", [name for name in MADE if not name.startswith(("pcm16", "flac"))])
def test_a_decoder_that_shifts_by_one_sample_is_noticed_and_named(name: str) -> None:
    (found,) = drifts(changed(lambda samples: np.roll(samples, 1), name))

    assert (found.codec, found.libraries) == (HEARD[name].codec, (HEARD[name].library,))
    assert found.distance > 100 * canaries.SAMPLES_TOLERANCE


@pytest.mark.parametrize("name", MADE)
def test_every_fourth_sample_shows_a_shift_too(name: str) -> None:
    shifted = changed(lambda samples: np.concatenate([np.zeros(1, np.float32), samples[:-1]]), name)

    whole, some = canaries.kept(HEARD)[name].samples, canaries.kept(shifted)[name].samples
    assert samples_distance(whole, some) > 100 * canaries.SAMPLES_TOLERANCE


def test_what_can_no_longer_be_decoded_is_noticed() -> None:
    (found,) = drifts(changed(lambda samples: samples[:0], "amr-8000.amr"))

    assert (found.codec, found.distance) == ("amrnb", float(np.abs(HEARD["amr-8000.amr"].samples).max()))


def test_cosines_are_one_minus_that_of_the_angle() -> None:
    angle = 0.01
    one, other = np.float32([1.0, 0.0]), np.array([np.cos(angle), np.sin(angle)], np.float32)

    assert cosine_distance(one, other) == pytest.approx(1 - np.cos(angle), rel=1e-3)
    assert cosine_distance(one, 2 * one) == 0.0
    assert cosine_distance(np.float32([np.nan]), np.float32([np.nan])) == 0.0
    assert cosine_distance(np.float32([np.nan]), np.float32([1.0])) == 1.0


@pytest.mark.parametrize(("dtype", "is_drift"), [("float32", False), ("bfloat16", True)])
def test_another_precision_of_the_encoder_is_noticed(dtype: str, is_drift: bool) -> None:
    segments = [each.samples for each in HEARD.values()]
    full, other = (
        load_backbone(EmbedConfig(backbone="starter", dtype=each)).embed(segments)[0] for each in ("float32", dtype)
    )
    cosines = dict(zip(HEARD, map(cosine_distance, full, other), strict=True))

    found = canaries.encoded_otherwise(cosines, {}, HEARD)

    assert bool(found) == is_drift
    assert {each.libraries for each in found} <= {("torch", "transformers", "numpy")}


def test_a_score_that_moves_by_more_than_a_hundredth_of_a_nat_is_noticed() -> None:
    scores = dict(zip(HEARD, canaries.score_distances(np.array([1.0, np.inf]), np.array([1.02, np.inf])), strict=False))

    (found,) = canaries.encoded_otherwise({}, scores, HEARD)

    assert (found.what, found.distance) == ("score", pytest.approx(0.02))


def test_versions_are_of_all_libraries_that_decide_values() -> None:
    assert list(canaries.versions()) == list(canaries.LIBRARIES)
    assert all(version[0].isdigit() for version in canaries.versions().values())
