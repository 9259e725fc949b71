"""Unplayed: channels that not all players play where there are two loudspeakers, and whether there is speech in them.

FFmpeg leaves out the channel of low-frequency effects (LFE), a second one and some of those above. Chrome and Firefox
play the LFE. It is no part of what is judged, for in films it is rumble; speech in it is heard by some, so that the
recording has no one sound to be judged.

```
        150 Hz       500 Hz                    8 kHz
  LFE   ████▇▅▃▂▁    ╎     at most -57 dB         ╎    what filters and encoders leave of rumble at full scale
  voice   ▂▅████████▇╎▇▆▆▅▅▄▄▄▃▃▂▂▂▂▂▁▁▁▁▁▁▁▁▁▁▁▁▁╎
```
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from numpy import fft  # now, as in `detector.mixing`

from detector.errors import UtteranceError
from detector.layout.channels import MIXED
from detector.mixing import Samples

LFE, UNNAMED = "LFE", "NONE"  # as FFmpeg calls the channel of low-frequency effects, and one without a name
OF_UNNAMED: dict[int, dict[int, str]] = {
    3: {2: LFE},
    6: {3: LFE},
    7: {3: LFE},
    8: {3: LFE},
    10: {3: LFE, 8: "TBL", 9: "TBR"},
    12: {3: LFE, 10: "TBL", 11: "TBR"},
    14: {3: LFE, 12: "TBL", 13: "TBR"},
    16: {3: LFE, 12: "TBL", 13: "TBR", 14: "TSL", 15: "TSR"},
}
"""By the number of channels without names: those that players leave out. FFmpeg takes three channels for 2.1, six for
5.1, then 6.1, 7.1, 5.1.4 and on."""

BAND = (500, 8_000)  # Hz; a voice without it is not understood
FRAME_SECONDS, FRAMES_PER_SECOND = 0.25, 8  # that overlap by a half
LEAST_FRAMES = 4  # of a block: half a second; a click is none
FLOOR = 1e-5  # mean square, -50 dB re full scale
# Rumble, of peaks of -1 dB re full scale, has at most -57 dB in the band behind a filter of 12 dB per octave from 120
# Hz on, and -83 dB behind one of 24. Encoders leave -62 dB of it (Opus), -63 dB (AAC), -72 dB (E-AC-3), -77 dB (AC-3).
SHARE = 0.06  # of the energy of all played channels, 12 dB below: covered by them, or noise of a codec
MOST_GAIN = 2.0  # of the mean, as which a channel that repeats it may be
TINY = 1e-20

Lines = npt.NDArray[np.complexfloating]


def played(channels: Samples, names: Sequence[str], rate: int) -> Samples:
    """Leave out the channels that not all players play, unless that leaves none.

    Players take three channels without names for 2.1, six for 5.1, and so on.

    Parameters
    ----------
    channels : float32 array of shape (n_channels, n_samples)
    names : sequence of str
        Those of the channels, as FFmpeg calls them; none if they are not known.
    rate : int
        In Hz.

    Raises
    ------
    UtteranceError
        `bad_header` if a channel that is left out has sound in which speech may be, and which the others do not have.

    Examples
    --------
    >>> stereo, noise = np.zeros((2, 8_000), np.float32), np.random.default_rng(0).normal(0, 0.1, (1, 8_000))
    >>> played(stereo, ("FL", "FR"), 8_000) is stereo
    True
    >>> with_lfe = np.concatenate([stereo, noise]).astype(np.float32)
    >>> played(with_lfe, ("FL", "FR", "LFE"), 8_000)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    detector.errors.UtteranceError: bad_header: channel 2, counted from 0 (LFE), has sound between 500 Hz and ...
    """
    names = _as_players_take_them(names)
    are_played = np.array([name in MIXED for name in names], bool)
    if are_played.all() or not are_played.any():
        return channels
    heard: Samples = channels[are_played]
    for number in np.flatnonzero(~are_played).tolist():
        if _has_speech_band(channels[number], heard, rate):
            message = (
                f"channel {number}, counted from 0 ({names[number]}), has sound between {BAND[0]:,} Hz and {BAND[1]:,} "
                f"Hz, which some players play on two loudspeakers and others leave out: have each channel judged "
                f"(`--channels each`), or mix the recording down"
            )
            raise UtteranceError("bad_header", message)
    return heard


def _as_players_take_them(names: Sequence[str]) -> list[str]:
    left_out = OF_UNNAMED.get(len(names), {}) if set(names) == {UNNAMED} else {}
    return [left_out.get(number, name) for number, name in enumerate(names)]


def _has_speech_band(channel: Samples, heard: Samples, rate: int) -> bool:
    """Return True if a channel has sound in the band of speech that the mean of those that are heard has not.

    A channel that repeats the mean, as one does that was mixed from stereo without a filter, changes nothing; one that
    is much louder, or of opposite phase, does.
    """
    lines = _lines(channel, rate)
    if np.count_nonzero(_energy(lines) > FLOOR) < LEAST_FRAMES:
        return False
    mean = _lines(heard.mean(axis=0, dtype=np.float32), rate)
    of_heard = np.sum([_energy(_lines(each, rate)) for each in heard], axis=0)
    gain = np.clip((lines * mean.conj()).real.sum(axis=1) / np.maximum(_energy(mean), TINY), 0.0, MOST_GAIN)
    is_heard = _energy(lines - gain[:, None] * mean) > np.maximum(FLOOR, SHARE * of_heard)
    return bool(np.count_nonzero(is_heard) >= LEAST_FRAMES)


def _lines(channel: Samples, rate: int) -> Lines:
    """Lines of the band in each frame, of shape (n_frames, n_lines); the sum of their squares is a mean square."""
    n, n_between = round(FRAME_SECONDS * rate), round(rate / FRAMES_PER_SECOND)
    padded = np.pad(np.clip(np.nan_to_num(channel), -1.0, 1.0), (0, n))
    frames = np.lib.stride_tricks.sliding_window_view(padded, n)[::n_between]
    window = np.hanning(n).astype(np.float32)
    first, last = (round(hertz * n / rate) for hertz in BAND)
    return np.asarray(fft.rfft(frames * window)[:, first:last] * np.sqrt(2.0 / n / np.square(window).sum()))


def _energy(lines: Lines) -> npt.NDArray[np.floating]:
    return np.asarray((np.square(lines.real) + np.square(lines.imag)).sum(axis=1))
