"""Windows: overlapping parts of a recording, each with an embedding of its own, from the same pass of the encoder.

Frames are pooled over cells as long as the hop, and the cells of a window are joined. An encoder's segments need not
end where cells do: a cell across a border has a part from each side.

```
segments   |------ 30 s ------|------ 30 s ------|---- 7 s --|       what the encoder sees at once
cells      |--|--|--|--|--|--|--|--|--|--|--|--|--|--|--|--|--|--|    2 s each
windows    |-----|                                                     4 s, every 2 s
              |-----|
                 |-----|
                                                             |-----|   the last one keeps a tail under 1 s
```
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from detector.audio import SAMPLE_RATE
from detector.errors import ConfigError
from detector.level import FRAME_SAMPLES, active_frames
from detector.pooling import POOLINGS
from detector.recording import MIN_SEGMENT_SAMPLES, SILENCE_FLOOR_DBFS

if TYPE_CHECKING:
    import pyarrow as pa

STEP_SECONDS = 0.5  # of which windows and hops are multiples: 25 frames of the level, and 86,400 windows of 12 h
MIN_WINDOW_SECONDS, MAX_WINDOW_SECONDS = 1.0, 60.0
FORM = re.compile(r"(\d+(?:\.\d+)?):(\d+(?:\.\d+)?)", re.ASCII)

Floats = npt.NDArray[np.float32]
Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Windows:
    """Length and hop of the windows of a recording.

    Parameters
    ----------
    window_seconds : float
        A multiple of the hop, from 1 s to 60 s.
    hop_seconds : float
        From the start of one window to that of the next: a multiple of 0.5 s.

    Raises
    ------
    ConfigError
        If they are not such numbers.

    Examples
    --------
    >>> Windows.parse("4:2").spans(11.5)
    [(0.0, 4.0), (2.0, 6.0), (4.0, 8.0), (6.0, 10.0), (8.0, 11.5)]
    >>> Windows.parse("4:2").spans(10.5)  # a tail under 1 s stays with the window before it
    [(0.0, 4.0), (2.0, 6.0), (4.0, 8.0), (6.0, 10.5)]
    """

    window_seconds: float = 4.0
    hop_seconds: float = 2.0

    def __post_init__(self) -> None:
        window, hop = self.window_seconds, self.hop_seconds
        if not MIN_WINDOW_SECONDS <= window <= MAX_WINDOW_SECONDS:
            raise self._refused(
                f"the window has {window:g} s; expected {MIN_WINDOW_SECONDS:g} to {MAX_WINDOW_SECONDS:g}: a shorter "
                f"one is too little to judge, and a longer one hardly says where"
            )
        if not hop <= window:
            raise self._refused(f"the hop is longer than the window; expected at most {window:g} s, or gaps would stay")
        if not hop >= STEP_SECONDS or hop % STEP_SECONDS:
            raise self._refused(
                f"the hop has {hop:g} s; expected a multiple of {STEP_SECONDS:g}, as the level is measured"
            )
        if window % hop:
            raise self._refused(
                f"the window is no multiple of the hop; expected one, as windows are joined of parts of {hop:g} s"
            )

    def _refused(self, why: str) -> ConfigError:
        return ConfigError(f"segments {self}: {why}. Give WINDOW:HOP in seconds, such as 4:2.")

    @classmethod
    def parse(cls, text: str) -> Windows:
        """Read WINDOW:HOP."""
        found = FORM.fullmatch(text)
        if found is None:
            raise ConfigError(f"segments {text!r}; expected WINDOW:HOP, two numbers of seconds such as 4:2.")
        return cls(float(found[1]), float(found[2]))

    def __str__(self) -> str:
        return f"{self.window_seconds:g}:{self.hop_seconds:g}"

    @property
    def hop_samples(self) -> int:
        """Samples of a cell."""
        return round(self.hop_seconds * SAMPLE_RATE)

    @property
    def cells_per_window(self) -> int:
        """Cells that a window joins."""
        return round(self.window_seconds / self.hop_seconds)

    def n_windows(self, seconds: float) -> int:
        """Return the number of windows of a recording; at least one."""
        beyond = round((seconds - self.window_seconds) * SAMPLE_RATE) - MIN_SEGMENT_SAMPLES
        return 1 if beyond < 0 else beyond // self.hop_samples + 2

    def spans(self, seconds: float) -> list[tuple[float, float]]:
        """Return start and end of each window of a recording, in seconds; the last one ends with the recording."""
        starts = [number * self.hop_seconds for number in range(self.n_windows(seconds))]
        return [*((start, start + self.window_seconds) for start in starts[:-1]), (starts[-1], seconds)]

    def measured(self, energies: npt.NDArray[np.float64], seconds: float) -> dict[str, list[float]]:
        """Measure each window: its share of speech, relative to the whole recording's level, and its own level.

        Parameters
        ----------
        energies : float64 array of shape (n_frames,)
            Of the whole recording: :attr:`detector.level.Meter.energies`.
        seconds : float

        Returns
        -------
        dict
            The columns `window_speech_shares`, in [0, 1], and `window_levels`, in dB re full scale.

        Examples
        --------
        >>> loud_then_silent = np.repeat([1.0, 0.0], 200)  # 4 s and 4 s
        >>> Windows(4.0, 4.0).measured(loud_then_silent, 8.0)  # speech is held for 0.2 s
        {'window_speech_shares': [1.0, 0.05], 'window_levels': [0.0, -120.0]}
        """
        hop, width = (round(each * SAMPLE_RATE) // FRAME_SAMPLES for each in (self.hop_seconds, self.window_seconds))
        starts = hop * np.arange(self.n_windows(seconds))
        ends = np.append(starts[:-1] + width, len(energies))

        def means(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
            sums = np.concatenate([[0.0], np.cumsum(values)])
            return np.asarray((sums[ends] - sums[starts]) / (ends - starts))

        floor = 10.0 ** (SILENCE_FLOOR_DBFS / 10.0)
        levels = 10.0 * np.log10(np.maximum(means(energies), floor))
        shares = means(active_frames(energies).astype(np.float64))
        return {"window_speech_shares": shares.tolist(), "window_levels": levels.tolist()}

    def cells_of(self, start: int, n_samples: int, n_frames: int) -> Counts:
        """Count the frames in each cell that a segment of the encoder begins, fills or ends.

        Frame t of n stands for the middle of the t-th n-th of its segment, whatever the encoder's stride.

        Parameters
        ----------
        start : int
            First sample of the segment within the recording.
        n_samples, n_frames : int
            Of the segment.

        Returns
        -------
        int64 array
            From the cell that holds the first sample on; empty if there is no frame.

        Examples
        --------
        >>> Windows(4.0, 2.0).cells_of(48_000, 64_000, 200)  # from 3 s to 7 s: 1 s, 2 s and 1 s
        array([ 50, 100,  50])
        """
        middles = start + (2 * np.arange(n_frames) + 1) * n_samples // (2 * max(n_frames, 1))
        return np.bincount(middles // self.hop_samples - start // self.hop_samples)

    def joined(self, parts: Sequence[CellPart], seconds: float, pooling: str) -> Floats:
        """Join cells to windows: the vectors that pooling over all frames of each window gives.

        Parameters
        ----------
        parts : sequence of CellPart
            Of one layer of one recording; parts of the same cell are joined.
        seconds : float
            Length of the recording.
        pooling : str
            One of :data:`detector.pooling.POOLINGS`.

        Returns
        -------
        float32 array of shape (n_windows, dim)
            NaN for a window without a frame.
        """
        numbers = np.concatenate([part.first + np.arange(len(part.n_frames)) for part in parts])
        vectors = np.concatenate([part.vectors for part in parts])
        n_frames = np.concatenate([part.n_frames for part in parts])
        numbers, vectors, n_frames = (each[n_frames > 0] for each in (numbers, vectors, n_frames))
        found = np.full((self.n_windows(seconds), vectors.shape[1]), np.nan, np.float32)
        starts = np.searchsorted(numbers, np.arange(len(found)))  # parts are in the order of time
        ends = np.searchsorted(numbers, np.arange(len(found)) + self.cells_per_window)
        ends[-1] = len(numbers)
        for window, (start, end) in enumerate(zip(starts, ends, strict=True)):
            if end > start:
                cells = vectors[start:end].astype(np.float64)
                found[window] = POOLINGS[pooling].join(cells, n_frames[start:end])
        return found


class CellPart(NamedTuple):
    """Cells that one segment of the encoder gives.

    Parameters
    ----------
    first : int
        Number of the first cell within the recording.
    vectors : float32 array of shape (n_cells, dim)
    n_frames : int64 array of shape (n_cells,)
        Frames of this segment in each cell; the vector of a cell without one is of no meaning.
    """

    first: int
    vectors: Floats
    n_frames: Counts


COLUMNS = ("window_seconds", "hop_seconds", "window_speech_shares", "window_levels", "window_embeddings")
"""Columns of `embeddings` that hold the windows of a recording, all of them or none."""


class StoredWindows(NamedTuple):
    """The windows of a row of `embeddings`.

    Parameters
    ----------
    row : int
        Number of the row.
    start_seconds, end_seconds, speech_shares, levels : float64 arrays of shape (n_windows,)
    vectors : float32 array of shape (n_windows, dim)
    """

    row: int
    start_seconds: npt.NDArray[np.float64]
    end_seconds: npt.NDArray[np.float64]
    speech_shares: npt.NDArray[np.float64]
    levels: npt.NDArray[np.float64]
    vectors: Floats

    def part(self, first: int, end: int) -> StoredWindows:
        """Return some of the windows."""
        row, starts, ends, shares, levels, vectors = self
        some = slice(first, end)
        return StoredWindows(row, starts[some], ends[some], shares[some], levels[some], vectors[some])


def stored_windows(rows: pa.Table | pa.RecordBatch) -> Iterator[StoredWindows]:
    """Yield the windows of each row of `embeddings` that has any.

    Parameters
    ----------
    rows : pyarrow.Table or pyarrow.RecordBatch
        With the columns `seconds` and :data:`COLUMNS`; without the latter, none has windows.
    """
    if not set(COLUMNS) <= set(rows.schema.names):
        return
    seconds, lengths, hops = (rows[name].to_pylist() for name in ("seconds", *COLUMNS[:2]))
    for row, length in enumerate(lengths):
        if length is None:
            continue
        spans = np.array(Windows(length, hops[row]).spans(seconds[row]))
        shares, levels, flat = (rows[name][row].values.to_numpy() for name in COLUMNS[2:])
        yield StoredWindows(row, spans[:, 0], spans[:, 1], shares, levels, flat.reshape(len(spans), -1))
