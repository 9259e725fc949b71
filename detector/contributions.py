"""Contributions: how much each frame of a recording adds to its logit.

A head is linear, and so is a mean over frames. So the logit of a recording is the mean of the logits that its frames
have one by one, and each frame contributes its T-th part:

```
logit  =  w · (mean of h_t - m) / s + b  =  sum over t of  [ w · (h_t - m) / s + b ] / T
```

The bias is shared equally. A window's logit is the mean over its frames likewise, so windows of any length and hop
follow from one pass of the encoder. Calibration comes after the sum, and is no sum itself.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from detector.errors import ConfigError
from detector.head import Head
from detector.metrics import Floats
from detector.windows import Windows

WINDOWS = Windows(4.0, 1.0)


def no_exact_sum(head: Head) -> str | None:
    """Return why the logit of a head is no sum over frames; None if it is one.

    Examples
    --------
    >>> no_exact_sum(Head.starter()) is None
    True
    """
    pooling = head.embed_config.pooling
    if pooling == "mean":
        return None
    return f"pooling {pooling}: its logit is no sum over frames, so only windows are shown"


def frame_contributions(head: Head, frames: npt.ArrayLike) -> Floats:
    """Compute what each frame of a recording adds to its logit.

    Parameters
    ----------
    head : Head
        On a mean over frames, of one layer or of several side by side.
    frames : array of shape (n_frames, n_layers * dim)
        All frames of the recording, at least one.

    Returns
    -------
    float64 array of shape (n_frames,)
        In units of the logit, higher for bona fide. The sum is the recording's logit.

    Raises
    ------
    ConfigError
        If the head's pooling is another one, or the frames do not have its dimension.

    Examples
    --------
    >>> head = Head.starter()
    >>> frames = np.random.default_rng(0).normal(size=(199, len(head.weights)))
    >>> added = frame_contributions(head, frames)
    >>> (logit,) = head.logits(frames.mean(axis=0, keepdims=True))
    >>> added.shape, abs(float(added.sum() - logit)) < 1e-9
    ((199,), True)
    """
    logits = frame_logits(head, frames)
    return logits / len(logits)


def frame_logits(head: Head, frames: npt.ArrayLike) -> Floats:
    """Compute the logit of each frame, as if it were a recording; otherwise as :func:`frame_contributions`.

    Frames of several parts of a recording may be passed one part after the other: the mean over all is its logit.
    """
    reason, frames = no_exact_sum(head), np.asarray(frames, dtype=np.float64)
    if reason is not None:
        raise ConfigError(f"{reason}. Fit a head on --pooling mean for contributions of frames.")
    if frames.ndim != 2 or frames.shape[1] != len(head.weights):
        raise ConfigError(f"frames of shape {frames.shape}; expected (n_frames, {len(head.weights)}), as the head has.")
    return head.logits(frames)


@dataclass
class FrameLogits:
    """The logits of a recording's frames, collected segment by segment, so that no frames are held.

    A frame takes 16 bytes: 9 MB for three hours at 50 frames a second.

    Examples
    --------
    >>> found = FrameLogits()
    >>> found.add(np.array([1.0, -3.0]), 0.0, 4.0)
    >>> found.add(np.array([-4.0]), 4.0, 6.0)
    >>> found.logit, found.seconds.tolist(), found.contributions.round(3).tolist()
    (-2.0, [1.0, 3.0, 5.0], [0.333, -1.0, -1.333])
    """

    _logits: list[Floats] = field(default_factory=list)
    _seconds: list[Floats] = field(default_factory=list)

    def add(self, logits: Floats, start: float, end: float) -> None:
        """Add the frames of the segment between two times, in seconds; they lie at equal distances in it."""
        self._logits.append(logits)
        self._seconds.append(start + (np.arange(len(logits)) + 0.5) * (end - start) / max(len(logits), 1))

    @property
    def n_frames(self) -> int:
        """Number of frames."""
        return sum(map(len, self._logits))

    @property
    def logits(self) -> Floats:
        """Logit of each frame: float64 array of shape (n_frames,)."""
        return np.concatenate([np.zeros(0), *self._logits])

    @property
    def seconds(self) -> Floats:
        """Centre of each frame: float64 array of shape (n_frames,), rising."""
        return np.concatenate([np.zeros(0), *self._seconds])

    @property
    def contributions(self) -> Floats:
        """The part of the logit that each frame adds: float64 array of shape (n_frames,)."""
        return self.logits / max(self.n_frames, 1)

    @property
    def logit(self) -> float:
        """Logit of the recording: the sum of the contributions."""
        return float(self.contributions.sum())

    def windows(self, duration: float, windows: Windows = WINDOWS) -> tuple[Floats, Floats]:
        """Compute the logits of windows.

        Parameters
        ----------
        duration : float
            Of the recording, in seconds.
        windows : Windows

        Returns
        -------
        times : float64 array of shape (n_windows, 2)
            Start and end of each window in seconds.
        logits : float64 array of shape (n_windows,)
            Mean over the frames whose centres are in the window; a window without a frame is left out.

        Examples
        --------
        >>> found = FrameLogits()
        >>> found.add(np.array([0.0, 0.0, 6.0, 6.0, 0.0, 0.0, 0.0]), 0.0, 7.0)
        >>> times, logits = found.windows(7.0, Windows(4.0, 2.0))
        >>> times.tolist(), logits.tolist()
        ([[0.0, 4.0], [2.0, 6.0], [4.0, 7.0]], [3.0, 3.0, 0.0])
        """
        times = np.array(windows.spans(duration))
        first, last = (np.searchsorted(self.seconds, each) for each in times.T)
        sums, n = np.append(0.0, np.cumsum(self.logits)), last - first
        means = (sums[last] - sums[first]) / np.maximum(n, 1)
        return times[n > 0], means[n > 0]
