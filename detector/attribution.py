"""Attribution: which of the synthesisers that a head has heard a recording resembles most, or that it resembles none.

The closest one is not always the one: a recording of a system that the head has not heard is close to some system, too.
So a name is given only above a threshold, and the word :data:`UNKNOWN_SYSTEM` otherwise.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from detector.calibration import LARGEST
from detector.errors import ConfigError
from detector.logistic import Bools, Indices
from detector.metrics import Floats

UNKNOWN_SYSTEM = "unknown"
MAX_SYSTEMS = 256
MAX_AXES = 64
FARTHEST = 1e100  # coordinate whose square is taken
MAX_NAME = 200  # characters of a system's name
COSINE, MAHALANOBIS = "cosine", "mahalanobis"
SIMILARITIES = (COSINE, MAHALANOBIS)
KEYS = ("systems", "similarity", "axes", "centre", "references", "threshold", "alike", "false_attribution")


@dataclass(frozen=True)
class Attribution:
    """Means of systems in a space of a few axes, and the similarity from which one of them is named.

    ```
    standardised embedding ─► · axes - centre ─► coordinates ─► similarity to each system's mean ─► the nearest
                                                                                or unknown, up to the threshold
    ```

    Parameters
    ----------
    systems : tuple of str
        Names, each once.
    similarity : str
        `cosine` of the coordinates, in [-1, 1]; or `mahalanobis`, relative to all systems: the log-likelihood ratio,
        in nats, of a normal distribution around the system's mean to one around the centre that spreads as all do.
    axes : float64 array of shape (n_axes, dim)
        Apply to standardised embeddings.
    centre : float64 array of shape (n_axes,)
    references : float64 array of shape (n_systems, n_axes)
        Mean of each system, in coordinates; the deviation of rows within a system is 1 along every axis.
    threshold : float
        A similarity above it names the system.
    alike : float or None
        Two recordings of unknown systems are alike if the cosine of their coordinates is above it; None if there were
        too few systems to learn it from.
    false_attribution : float
        The share of the recordings of a system that the head has not heard which get a name nevertheless, as it was
        asked for.

    References
    ----------
    Relative Mahalanobis distance: Ren et al., A simple fix to Mahalanobis distance for improving near-OOD detection,
    2021 (arXiv 2106.09022).
    """

    systems: tuple[str, ...]
    similarity: str
    axes: Floats
    centre: Floats
    references: Floats
    threshold: float
    alike: float | None
    false_attribution: float

    def coordinates(self, standardised: Floats) -> Floats:
        """Compute the coordinates of standardised embeddings of shape (n, dim): float64 array of shape (n, n_axes).

        The bits of a row do not depend on other rows.
        """
        # einsum, not BLAS: the order of its sums depends on neither rows nor threads
        along = [np.einsum("nd,d->n", standardised, axis) for axis in self.axes]
        return np.asarray(np.column_stack(along) - self.centre)

    def similarities(self, coordinates: Floats) -> Floats:
        """Compute the similarity of each row to each system: float64 array of shape (n, n_systems), always finite."""
        if self.similarity == COSINE:
            rows, means = unit(coordinates), unit(self.references)
            return np.column_stack([np.einsum("na,a->n", rows, mean) for mean in means])
        rows = np.clip(coordinates, -FARTHEST, FARTHEST)
        variance = 1.0 + np.square(self.references).mean(axis=0)
        of_any = np.einsum("na,na,a->n", rows, rows, 1.0 / variance) + np.log(variance).sum()
        squared = [np.einsum("na,na->n", each, each) for each in (rows - mean for mean in self.references)]
        return np.asarray((of_any[:, None] - np.column_stack(squared)) / 2.0)

    def nearest(self, coordinates: Floats) -> tuple[Indices, Floats]:
        """Find the most similar system of each row.

        Returns
        -------
        int64 array of shape (n,)
            Index into ``systems``, or -1 for unknown.
        float64 array of shape (n,)
            The similarity to that system, which is too low where it is unknown.
        """
        found = self.similarities(coordinates)
        place = found.argmax(axis=1)
        highest = found[np.arange(len(found)), place]
        return np.where(highest > self.threshold, place, -1), highest

    def columns(self, standardised: Floats, asked: Bools) -> dict[str, pa.Array]:
        """Compute the columns of `scores` that name a system.

        Parameters
        ----------
        standardised : float64 array of shape (n_asked, dim)
            Of the rows to attribute.
        asked : bool array of shape (n,)
            Which rows these are; the others are null.
        """
        place, similarity = self.nearest(self.coordinates(standardised))
        whole, names = np.zeros(len(asked)), np.full(len(asked), None, dtype=object)
        whole[asked], names[asked] = similarity, np.array([*self.systems, UNKNOWN_SYSTEM], dtype=object)[place]
        return {
            "nearest_system": pa.array(names, pa.string()),
            "system_similarity": pa.array(whole, pa.float64(), mask=~asked),
        }

    def to_dict(self) -> dict[str, Any]:
        """Return the block of a head's file."""
        arrays = {name: getattr(self, name).ravel().tolist() for name in ("axes", "centre", "references")}
        return asdict(self) | arrays | {"systems": list(self.systems)}

    @classmethod
    def from_dict(cls, block: dict[str, Any], dim: int) -> Attribution:
        """Read the block of a head's file.

        Raises
        ------
        ConfigError
            If it is not what :meth:`to_dict` returns for embeddings of ``dim`` numbers, or holds a number beyond the
            bounds of :mod:`detector.head_checks`.

        Examples
        --------
        >>> space = Attribution(("a", "b"), "cosine", np.eye(2), np.zeros(2), np.eye(2), 0.9, None, 0.05)
        >>> place, similarity = Attribution.from_dict(space.to_dict(), 2).nearest(np.array([[0.0, 1.0], [3.0, 4.0]]))
        >>> place.tolist(), similarity.round(2).tolist()
        ([1, -1], [1.0, 0.8])
        """
        check(block, dim)
        names = ("axes", "centre", "references")
        axes, centre, references = (np.array(block[name], dtype=np.float64) for name in names)
        arrays = {"axes": axes.reshape(-1, dim), "centre": centre, "references": references.reshape(-1, len(centre))}
        return cls(**{**block, **arrays, "systems": tuple(block["systems"])})


def unit(vectors: Floats) -> Floats:
    """Scale rows to length 1, however long they are; a row of zeros stays one.

    Examples
    --------
    >>> unit(np.array([[3e200, 4e200], [0.0, 0.0]])).tolist()
    [[0.6, 0.8], [0.0, 0.0]]
    """
    largest = np.abs(vectors).max(axis=1, keepdims=True)  # first, because a square may overflow
    scaled = vectors / np.where(largest > 0.0, largest, 1.0)
    length = np.sqrt(np.einsum("na,na->n", scaled, scaled))[:, None]
    return np.asarray(scaled / np.where(length > 0.0, length, 1.0))


def check(block: dict[str, Any], dim: int) -> None:
    """Refuse a block whose parts do not fit together, or whose numbers are beyond the bounds.

    Raises
    ------
    ConfigError
    """
    if set(block) != set(KEYS):
        raise ConfigError(f"head: attribution has the keys {sorted(map(str, block))}; expected {', '.join(KEYS)}.")
    systems, similarity = block["systems"], block["similarity"]
    if not isinstance(systems, list) or not 2 <= len(systems) <= MAX_SYSTEMS:
        raise ConfigError(f"head: attribution expects a list of 2 to {MAX_SYSTEMS} systems.")
    if not all(isinstance(name, str) and 0 < len(name) <= MAX_NAME for name in systems):
        raise ConfigError(f"head: a system is no text of 1 to {MAX_NAME} characters.")
    if len(set(systems)) < len(systems) or UNKNOWN_SYSTEM in systems:
        raise ConfigError(f"head: a system is named twice, or is called {UNKNOWN_SYSTEM}, which means none of them.")
    if similarity not in SIMILARITIES:
        raise ConfigError(f"head: similarity {str(similarity)[:40]!r}; expected one of {', '.join(SIMILARITIES)}.")
    for name in ("axes", "centre", "references"):
        if not isinstance(block[name], list) or not all(map(_is_bounded, block[name])):
            raise ConfigError(f"head: {name} of its attribution are no numbers of at most {LARGEST:g}; fit it again.")
    n_axes = len(block["centre"])
    sizes = {"axes": n_axes * dim, "references": n_axes * len(systems)}
    if not 1 <= n_axes <= MAX_AXES or any(len(block[name]) != size for name, size in sizes.items()):
        raise ConfigError(
            f"head: attribution has {len(block['axes'])} numbers of axes and {len(block['references'])} of references; "
            f"expected {dim} and {len(systems)} for each of 1 to {MAX_AXES} axes, of which {n_axes} have a centre."
        )
    if not _is_bounded(block["threshold"]) or not (block["alike"] is None or _is_bounded(block["alike"])):
        raise ConfigError("head: a threshold of its attribution is no number; fit it again.")
    if not _is_bounded(block["false_attribution"]) or not 0.0 < block["false_attribution"] < 1.0:
        raise ConfigError("head: false_attribution is no share between 0 and 1; fit it again.")


def _is_bounded(value: Any) -> bool:
    """Return True for a float within the bounds; JSON's `1`, `NaN` and `true` are none of what `fit` writes."""
    return isinstance(value, float) and -LARGEST <= value <= LARGEST
