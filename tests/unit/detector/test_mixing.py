"""The mean of channels is heard where it keeps what is loud in them, and else the loudest channel."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest

from detector.mixing import FRAMES_PER_SECOND, mixed, spectrum

RATE = 16_000
SECONDS = 10
N = RATE * SECONDS
TIME = np.arange(N) / RATE

Signal = npt.NDArray[np.float64]


def voice(seed: int, pitch: float = 120.0, rate: int = RATE, seconds: int = SECONDS) -> Signal:
    """Syllables of 0.25 s, each of harmonics of its own pitch and timbre; their mean square is 0.0025 (-26 dB)."""
    rng = np.random.default_rng(seed)
    n = rate // 4
    time = np.arange(n) / rate
    syllables = []
    for _ in range(4 * seconds):
        hertz = pitch * rng.uniform(0.8, 1.3) * np.arange(1, int(4_000 / pitch / 1.3))
        strength = rng.exponential(1.0, len(hertz)) / (1.0 + hertz / 500.0)
        phase = rng.uniform(0.0, 2 * np.pi, len(hertz))
        waves = strength[:, None] * np.sin(2 * np.pi * hertz[:, None] * time + phase[:, None])
        syllables.append(rng.uniform(0.3, 1.0) * np.sin(np.pi * time * 4) * waves.sum(axis=0))
    samples = np.concatenate(syllables)
    return 0.05 * samples / np.sqrt(np.mean(samples**2))


SPOOF, DECOY = voice(0), voice(1, 180.0)
RNG = np.random.default_rng(2)
HISS = RNG.normal(0.0, 1.0, N)
NEVER, ALWAYS = np.zeros(N), np.ones(N)


def tone(hertz: float, level: float, rate: int = RATE, seconds: int = SECONDS) -> Signal:
    return level * np.sqrt(2.0) * np.sin(2 * np.pi * hertz * np.arange(rate * seconds) / rate)


def stereo(mid: Signal, side: Signal) -> npt.NDArray[np.float32]:
    return np.stack([mid + side, mid - side]).astype(np.float32)


def every_sixteenth_sample_alike() -> npt.NDArray[np.float32]:
    side = SPOOF.copy()
    side[::16] = 0.0
    return stereo(NEVER, side)


def now_and_then(signal: Signal, on: float, every: float) -> Signal:
    return signal * (TIME % every < on)


HIDDEN: dict[str, Callable[[], npt.NDArray[np.float32]]] = {
    "a cable that is soldered the wrong way": lambda: stereo(NEVER, SPOOF),
    "every 16th sample alike": every_sixteenth_sample_alike,
    "a beep of a call recorder on both": lambda: stereo(now_and_then(tone(1_400, 0.3), 0.2, 10.0), SPOOF),
    "a loud click on both, each second": lambda: stereo(now_and_then(HISS, 0.005, 1.0), SPOOF),
    "half a second of each ten in phase": lambda: np.where(TIME % 10 < 0.5, stereo(SPOOF, NEVER), stereo(NEVER, SPOOF)),
    "only one second and a half": lambda: np.where(TIME % 10 < 8.5, stereo(DECOY, NEVER), stereo(NEVER, SPOOF)),
    "speech in phase, 16 dB below": lambda: stereo(10 ** (-16 / 20) * DECOY, SPOOF),
    "speech in phase, 10 dB below": lambda: stereo(10 ** (-10 / 20) * DECOY, SPOOF),
    "hiss in phase, 10 dB below": lambda: stereo(0.05 * 10 ** (-10 / 20) * HISS, SPOOF),
    "a hum in phase, as loud": lambda: stereo(tone(100, 0.05), SPOOF),
    "a whistle in phase, 6 dB above": lambda: stereo(tone(3_000, 0.1), SPOOF),
    "a constant on both": lambda: stereo(0.5 * ALWAYS, SPOOF),
}


@pytest.mark.parametrize("case", HIDDEN)
def test_speech_in_opposite_phase_is_heard_at_its_level(case: str) -> None:
    channels = HIDDEN[case]().astype(np.float32)

    samples, cancel = mixed(channels, RATE)

    assert cancel
    # what is left of the side, by its projection: all of it in one channel, none in the mean
    side = (channels[0] - channels[1]) / 2
    assert abs(np.vdot(samples, side)) > 0.9 * np.vdot(side, side)


def test_a_loud_insert_in_opposite_phase_costs_no_voice_elsewhere() -> None:
    where = (TIME >= 4.0) & (TIME < 5.5)
    insert = np.where(where, 10 * voice(9), 0.0)
    channels = np.stack([SPOOF + insert, 0.9 * DECOY - insert]).astype(np.float32)

    samples, cancel = mixed(channels, RATE)

    assert cancel
    np.testing.assert_array_equal(samples[where], channels[0, where])
    np.testing.assert_array_equal(samples[~where], channels.mean(axis=0)[~where])


@pytest.mark.parametrize("hertz", [10_000.0, 22_000.0, 80_000.0])
@pytest.mark.parametrize("on_both", [True, False])
def test_sound_that_no_encoder_gets_does_not_sway_the_choice(hertz: float, on_both: bool) -> None:
    rate = 192_000 if hertz > 24_000 else 48_000
    spoof, decoy, loud = voice(0, 120.0, rate, 1), voice(1, 180.0, rate, 1), tone(hertz, 0.3, rate, 1)

    _, cancel = mixed(stereo(loud, spoof) if on_both else np.stack([spoof + loud, decoy - loud]).astype("f4"), rate)

    # in phase it must not cover speech in opposite phase, and in opposite phase not cost one of two voices
    assert cancel == on_both


@pytest.mark.parametrize("level", [0.05, 0.5])
def test_a_constant_in_opposite_phase_costs_no_voice(level: float) -> None:
    channels = np.stack([SPOOF + level, DECOY - level]).astype(np.float32)

    samples, cancel = mixed(channels, RATE)

    assert not cancel
    np.testing.assert_array_equal(samples, channels.mean(axis=0))


def delayed(signal: Signal, milliseconds: float) -> Signal:
    """Delay by parts of a sample, as a shift of phase."""
    hertz = np.fft.rfftfreq(2 * N, 1 / RATE)
    shifted = np.fft.rfft(signal, 2 * N) * np.exp(-2j * np.pi * hertz * milliseconds / 1_000)
    return np.fft.irfft(shifted, 2 * N)[:N]


def echoes(seed: int) -> Signal:
    """The response of a room that fades by 60 dB in 0.4 s, of energy 1."""
    n = int(0.4 * RATE)
    noise = np.random.default_rng(seed).normal(size=n) * 10 ** (-3.0 * np.arange(n) / n)
    return noise / np.sqrt(np.sum(noise**2))


def in_a_room(signal: Signal, seed: int) -> Signal:
    n = 2 * N
    return np.fft.irfft(np.fft.rfft(signal, n) * np.fft.rfft(echoes(seed), n), n)[:N]


ROOM, OTHER_ROOM = in_a_room(SPOOF, 3), in_a_room(SPOOF, 4)
ORDINARY: dict[str, tuple[Signal, Signal]] = {
    "a call with a voice on each channel": (SPOOF, DECOY),
    "one voice 20 dB quieter": (SPOOF, 0.1 * DECOY),
    "a call with echoes in opposite phase": (SPOOF - 0.3 * delayed(DECOY, 20.0), DECOY - 0.3 * delayed(SPOOF, 20.0)),
    "one channel is silent": (SPOOF, NEVER),
    "two voices, panned": (0.9 * SPOOF + 0.4 * DECOY, 0.4 * SPOOF + 0.9 * DECOY),
    "two microphones, 0.3 ms apart": (SPOOF, 0.9 * delayed(SPOOF, 0.3)),
    "two microphones, 1 ms apart": (SPOOF, 0.9 * delayed(SPOOF, 1.0)),
    "two microphones, 2 ms apart": (SPOOF, 0.9 * delayed(SPOOF, 2.0)),
    "two microphones in a room": (SPOOF + 0.5 * ROOM, 0.9 * delayed(SPOOF, 0.8) + 0.5 * OTHER_ROOM),
    "nothing but the room": (ROOM, OTHER_ROOM),
    "mid and side, the side 3 dB above": (SPOOF + 1.41 * OTHER_ROOM, SPOOF - 1.41 * OTHER_ROOM),
    "stereo made of mono": (SPOOF + delayed(SPOOF, 10.0), SPOOF - delayed(SPOOF, 10.0)),
    "hiss": (0.01 * HISS, 0.01 * RNG.normal(0.0, 1.0, N)),
}


@pytest.mark.parametrize("case", ORDINARY)
def test_ordinary_stereo_is_its_mean_to_the_bit(case: str) -> None:
    channels = np.stack(ORDINARY[case]).astype(np.float32)

    samples, cancel = mixed(channels, RATE)

    assert not cancel
    np.testing.assert_array_equal(samples, channels.T.mean(axis=1, dtype=np.float32))


@pytest.mark.parametrize(("decibels", "cancel"), [(-9.0, True), (-7.0, False)])
def test_hiss_in_phase_covers_hiss_in_opposite_phase_from_8_db_below_it(decibels: float, cancel: bool) -> None:
    # of steady noise, most cells have about the ratio of the whole, which is above 6 dB in both cases
    other = np.random.default_rng(5).normal(0.0, 1.0, N)
    quiet = 10 ** (decibels / 20)
    steady = stereo(0.05 * quiet * HISS, 0.05 * other)
    # with the side in every third frame alone, so few cells are 6 dB apart that only the energies tell
    frames = np.repeat(np.arange(N // 320) % 3 == 0, 320)
    alternating = stereo(0.05 * quiet * HISS, 0.05 * np.sqrt(3.0) * other * frames)

    assert mixed(steady, RATE)[1]
    assert mixed(alternating, RATE)[1] == cancel


def test_energies_are_those_of_mid_and_side() -> None:
    # a sine of amplitude a has the mean square a^2 / 2; 1 kHz and 3 kHz lie in bands of their own
    mid, side = tone(1_200, 0.2), tone(3_400, 0.1)

    energies = spectrum(stereo(mid, side), RATE)

    assert energies.mid.shape == (SECONDS * FRAMES_PER_SECOND, 10)
    assert energies.mid.sum(axis=1).mean() == pytest.approx(0.2**2, rel=1e-3)
    assert energies.side.sum(axis=1).mean() == pytest.approx(0.1**2, rel=1e-3)
    assert energies.mid.mean(axis=0).argmax() == 4  # 1,000 to 1,400 Hz
    assert energies.side.mean(axis=0).argmax() == 7  # 2,800 to 4,000 Hz


@pytest.mark.parametrize("n_channels", [2, 3, 6, 16])
def test_unrelated_channels_and_one_alone_have_as_much_side_as_mid(n_channels: int) -> None:
    unrelated = np.random.default_rng(6).normal(0.0, 0.1, (n_channels, 2 * RATE)).astype(np.float32)
    alone = np.zeros((n_channels, N), np.float32)
    alone[1] = SPOOF

    for channels, tolerance in ((unrelated, 0.05), (alone, 1e-3)):
        energies = spectrum(channels, RATE)
        assert energies.side.sum() == pytest.approx(energies.mid.sum(), rel=tolerance)
        samples, cancel = mixed(channels, RATE)
        assert not cancel
        np.testing.assert_array_equal(samples, channels.mean(axis=0, dtype=np.float32))


@pytest.mark.parametrize("n_channels", [2, 4, 6])
def test_of_more_channels_the_loudest_is_heard_where_half_are_opposite(n_channels: int) -> None:
    signs = np.where(np.arange(n_channels) % 2, -1.0, 1.0)[:, None]
    strengths = np.linspace(0.9, 1.0, n_channels)[:, None]  # the last is the loudest
    channels = (strengths * signs * SPOOF + 0.02 * DECOY).astype(np.float32)

    samples, cancel = mixed(channels, RATE)

    assert cancel
    np.testing.assert_array_equal(samples, channels[-1])


@pytest.mark.parametrize("n_samples", [0, 320, 321, 8_001])
@pytest.mark.parametrize("rate", [4_000, 11_025, 16_000, 44_100, 384_000])
def test_short_blocks_of_any_rate_are_judged(n_samples: int, rate: int) -> None:
    noise = np.random.default_rng(7).normal(0.0, 0.1, n_samples).astype(np.float32)

    samples, cancel = mixed(np.stack([noise, -noise]), rate)

    assert cancel == (n_samples > 0 and bool(np.abs(noise).max()))
    np.testing.assert_array_equal(samples, noise)


@pytest.mark.parametrize("spike", [1e30, np.inf, np.nan])
def test_one_absurd_sample_hides_nothing(spike: float) -> None:
    channels = stereo(NEVER, SPOOF)
    channels[:, 5_000] = spike

    samples, cancel = mixed(channels, RATE)

    assert cancel
    assert np.abs(samples[:4_000]).max() > 0.01


def test_silence_does_not_cancel() -> None:
    noise = np.random.default_rng(8).normal(0.0, 1e-5, N).astype(np.float32)  # -100 dB

    assert not mixed(np.stack([noise, -noise]), RATE)[1]
