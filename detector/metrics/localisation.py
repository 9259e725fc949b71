"""Localisation: how well scores of windows say when a recording is spoofed.

Time is cut into cells of one length, the resolution. Ranges are arrays of shape (n, 2): starts and ends in seconds.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from detector.metrics.checks import check_booleans, check_floats
from detector.metrics.detection import Floats, equal_error_rate

UNLABELLED, BONAFIDE_CELL, SPOOF_CELL = -1, 0, 1
MAX_CELLS = 100_000_000  # 12 h in cells of half a millisecond; arrays of that many are what a machine can hold
ROUNDING_SECONDS = 1e-6

Cells = npt.NDArray[np.int8]


def cell_labels(spoof: Floats, bonafide: Floats, n_cells: int, seconds: float) -> Cells:
    """Label cells of time: a cell is spoof if any of it is, and bona fide if all of it is.

    Parameters
    ----------
    spoof, bonafide : arrays of shape (n, 2)
        Labelled parts of one recording. Parts of one class may overlap.
    n_cells : int
        From the start of the recording; whole cells only, as PartialSpoof counts them: ``int(length / seconds)``.
    seconds : float
        Length of a cell, the resolution.

    Returns
    -------
    array of shape (n_cells,)
        1 spoof, 0 bona fide, -1 for cells that are not labelled from end to end and hold no spoof.

    References
    ----------
    Zhang et al., The PartialSpoof database and countermeasures, IEEE/ACM TASLP 31, 2023.

    Examples
    --------
    >>> cell_labels(np.array([[0.9, 1.6]]), np.array([[0.0, 0.9], [1.6, 2.5]]), 6, 0.5).tolist()
    [0, 1, 1, 1, 0, -1]
    """
    edges = _edges(n_cells, seconds)
    is_spoof = np.diff(_covered(spoof, edges)) > ROUNDING_SECONDS
    is_bonafide = np.diff(_covered(bonafide, edges)) > seconds - ROUNDING_SECONDS
    return np.where(is_spoof, SPOOF_CELL, np.where(is_bonafide, BONAFIDE_CELL, UNLABELLED)).astype(np.int8)


def cell_scores(windows: Floats, scores: Floats, n_cells: int, seconds: float) -> Floats:
    """Spread the scores of windows over cells of time.

    At each moment stands the mean of the windows that cover it. A cell has the lowest, that is the most suspicious, of
    its moments: cells that are finer than the windows repeat a score, coarser ones take the minimum, as PartialSpoof
    does it.

    Parameters
    ----------
    windows : array of shape (n_windows, 2)
        May overlap.
    scores : array of shape (n_windows,)
        In nats, higher for bona fide; not NaN.
    n_cells, seconds : int, float
        As for :func:`cell_labels`.

    Returns
    -------
    array of shape (n_cells,)
        NaN for cells that no window covers.

    Examples
    --------
    >>> cell_scores(np.array([[0.0, 2.0], [1.0, 3.0]]), np.array([4.0, 0.0]), 4, 1.0).tolist()
    [4.0, 2.0, 0.0, nan]
    """
    check_floats(scores=scores)
    edges = _edges(n_cells, seconds)
    moments = np.unique(_checked(windows))  # between two of them, the same windows cover all
    if len(moments) < 2:
        return np.full(n_cells, np.nan)
    first, last = (np.searchsorted(moments, windows[:, at]) for at in (0, 1))
    count, total = np.zeros(len(moments)), np.zeros(len(moments))
    for at, sign in ((first, 1.0), (last, -1.0)):
        np.add.at(count, at, sign)
        np.add.at(total, at, sign * scores)
    count, total = np.cumsum(count)[:-1].round(), np.cumsum(total)[:-1]
    means = np.full(len(count), np.inf)
    np.divide(total, count, out=means, where=count > 0.0)
    # the stretches that a cell overlaps by more than rounding, as a half-open range of indices
    low = np.clip(np.searchsorted(moments, edges[:-1] + ROUNDING_SECONDS, "right") - 1, 0, len(means))
    high = np.clip(np.searchsorted(moments, edges[1:] - ROUNDING_SECONDS, "left"), 0, len(means))
    found = np.minimum.reduceat(np.append(means, np.inf), np.column_stack([low, np.maximum(low, high)]).ravel())[::2]
    return np.where((high > low) & np.isfinite(found), found, np.nan)


def segment_equal_error_rate(labels: Cells, scores: Floats) -> float:
    """Compute the EER of cells, those of all recordings together.

    Parameters
    ----------
    labels : array of shape (n_cells,)
        As :func:`cell_labels` returns them; unlabelled cells are left out.
    scores : array of shape (n_cells,)
        As :func:`cell_scores` returns them; cells without a score are left out.

    Returns
    -------
    float
        In [0, 1], lower is better. Figures of different resolutions cannot be compared.

    References
    ----------
    Zhang et al., IEEE/ACM TASLP 31, 2023; on how it depends on the resolution: Zhang et al., Range-based equal error
    rate for spoof localization, Interspeech 2023.

    Examples
    --------
    >>> segment_equal_error_rate(np.array([0, 0, 1, 1, -1], np.int8), np.array([1.0, 2.0, 0.0, 1.5, -9.0]))
    0.5
    """
    scored = ~np.isnan(scores)
    return equal_error_rate(scores[(labels == BONAFIDE_CELL) & scored], scores[(labels == SPOOF_CELL) & scored])


def ranges_of(flags: npt.NDArray[np.bool_], seconds: float) -> Floats:
    """Return the runs of cells that are true, as ranges of seconds.

    Examples
    --------
    >>> ranges_of(np.array([True, True, False, True]), 0.5).tolist()
    [[0.0, 1.0], [1.5, 2.0]]
    """
    check_booleans(flags=flags)
    changes = np.flatnonzero(np.diff(np.concatenate([[0], flags.astype(np.int8), [0]])))
    return np.asarray(changes.reshape(-1, 2) * float(seconds), dtype=np.float64)


@dataclass(frozen=True)
class RangeScore:
    """Precision, recall and their harmonic mean, of ranges; NaN where there is nothing to count."""

    precision: float
    recall: float
    f1: float


def range_score(recordings: Iterable[tuple[Floats, Floats]], existence: float = 0.5) -> RangeScore:
    """Compute precision and recall of spoof ranges that were found at a fixed threshold.

    The recall of a real range is ``existence`` if anything of it was found, plus ``1 - existence`` times the share of
    it that was found, divided by the number of found ranges that cover it in pieces. The precision of a found range is
    the share of it that is real, divided by the number of real ranges that it covers. Both are means over ranges, those
    of all recordings together. In the terms of Tatbul et al.: alpha = ``existence``, a flat positional bias, and
    gamma = 1/x.

    Parameters
    ----------
    recordings : iterable of pairs of arrays of shape (n, 2)
        The real spoof ranges and the found ones of each recording, neither with overlaps among them. Recordings without
        a real range belong to it: they may have found ranges.
    existence : float
        Weight of finding anything of a range at all, in [0, 1].

    Returns
    -------
    RangeScore
        In [0, 1], higher is better. The F1 is 0 if nothing was found, or nothing of what was found is real.

    References
    ----------
    Tatbul et al., Precision and recall for time series, NeurIPS 2018.

    Examples
    --------
    >>> real, found = np.array([[10.0, 14.0]]), np.array([[12.0, 16.0], [30.0, 32.0]])
    >>> range_score([(real, found)])  # half of it was found; half of the one, nothing of the other is real
    RangeScore(precision=0.25, recall=0.75, f1=0.375)
    """
    recalls, precisions = [], []
    for real, found in recordings:
        share, pieces = _shares(_checked(real), _checked(found))
        recalls.append(existence * (pieces > 0) + (1.0 - existence) * share / np.maximum(pieces, 1))
        share, pieces = _shares(_checked(found), _checked(real))
        precisions.append(share / np.maximum(pieces, 1))
    precision, recall = (_mean(values) for values in (precisions, recalls))
    if np.isnan(recall):
        return RangeScore(precision, recall, float("nan"))
    f1 = 0.0 if np.isnan(precision) or precision + recall == 0.0 else 2.0 * precision * recall / (precision + recall)
    return RangeScore(precision, recall, f1)


def _shares(ranges: Floats, others: Floats) -> tuple[Floats, Floats]:
    """Return for each range the share of it that others cover, and how many of them do."""
    others = others[np.argsort(others[:, 0])]
    covered = np.diff(_covered(others, ranges.ravel()).reshape(-1, 2), axis=1)[:, 0]
    begun = np.searchsorted(others[:, 0], ranges[:, 1] - ROUNDING_SECONDS, "left")
    ended = np.searchsorted(others[:, 1], ranges[:, 0] + ROUNDING_SECONDS, "right")
    return covered / (ranges[:, 1] - ranges[:, 0]), np.maximum(begun - ended, 0).astype(np.float64)


def _covered(ranges: Floats, moments: Floats) -> Floats:
    """Return how many seconds before each moment any of the ranges covers."""
    ranges = _checked(ranges)
    if not len(ranges):
        return np.zeros(len(moments))
    ranges = ranges[np.argsort(ranges[:, 0])]
    latest = np.maximum.accumulate(ranges[:, 1])
    starts = np.maximum(ranges[:, 0], np.concatenate([[0.0], latest[:-1]]))  # where earlier ones do not cover it yet
    lengths = np.maximum(latest - starts, 0.0)
    until = np.cumsum(lengths)
    corners, seconds = (np.column_stack([each - lengths, each]).ravel() for each in (latest, until))
    return np.asarray(np.interp(moments, corners, seconds))


def _edges(n_cells: int, seconds: float) -> Floats:
    if not 0 <= n_cells <= MAX_CELLS or not seconds > 10.0 * ROUNDING_SECONDS:
        raise ValueError(f"{n_cells} cells of {seconds} s; expected 0 to {MAX_CELLS:,}, each of 0.1 ms or more.")
    return np.asarray(np.arange(n_cells + 1) * float(seconds), dtype=np.float64)


def _checked(ranges: Floats) -> Floats:
    found = np.asarray(ranges, dtype=np.float64).reshape(-1, 2)
    if not (np.isfinite(found).all() and (found[:, 0] < found[:, 1]).all() and (found >= 0.0).all()):
        raise ValueError("ranges with an end that is not after the start, or below 0, or NaN; expected seconds.")
    return found


def _mean(values: list[Floats]) -> float:
    pooled = np.concatenate(values) if values else np.array([])
    return float(pooled.mean()) if len(pooled) else float("nan")
