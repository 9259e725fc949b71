"""The head: a calibrated logistic model as one JSON file of numbers, and what it says of an embedding."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, fields
from typing import Any, get_type_hints

import numpy as np
import pyarrow as pa

from detector.config import EmbedConfig, digest_of
from detector.errors import ConfigError
from detector.metrics import Floats
from detector.rejection import band, entropy_bits, p_spoof
from detector.schema import BONAFIDE, SCORES, SPOOF

VERSION = 1
MIN_SECONDS = 0.1


@dataclass(frozen=True)
class Head:
    """Weights, calibration and reject rule, with the recipe of the embeddings that they are for.

    ```
    embedding ─► (x - mean) / scale ─► · weights + bias ─► logit ─► slope, intercept ─► score (nats)
    ```

    Parameters
    ----------
    mean, scale, weights : tuples of dim floats
        Of the standardised embedding.
    bias : float
    slope, intercept : float
        Calibration: score = slope * logit + intercept, in nats, higher for bona fide, prior removed.
    prior : float
        Share of spoof to assume where a run states none.
    max_entropy_bits : float
        Rows of higher entropy are rejected as `uncertain`.
    max_ood : float
        Rows of a higher `ood` are rejected as `out_of_distribution`; 1 rejects none.
    ood_quantiles : tuple of floats
        Distances of the training embeddings at evenly spaced quantiles, rising.
    min_seconds, silence_dbfs : float
        Shorter rows are `too_short`, quieter ones `silent`: they get no score.
    recipe : dict
        What the embeddings were computed with; its fingerprint must be that of the rows to score.
    model : str
        The encoder's name, for people.
    training : dict
        What it was fitted on and how, for people; part of the head's id.
    """

    mean: tuple[float, ...]
    scale: tuple[float, ...]
    weights: tuple[float, ...]
    bias: float
    slope: float
    intercept: float
    prior: float
    max_entropy_bits: float
    max_ood: float
    ood_quantiles: tuple[float, ...]
    min_seconds: float
    silence_dbfs: float
    recipe: dict[str, Any]
    model: str
    training: dict[str, Any]

    def __post_init__(self) -> None:
        numbers = [self.bias, self.slope, self.intercept, self.min_seconds, self.silence_dbfs]
        numbers += [self.max_entropy_bits, self.max_ood]
        arrays = {"mean": self.mean, "scale": self.scale, "weights": self.weights}
        if not all(map(math.isfinite, [*numbers, *self.mean, *self.scale, *self.weights, *self.ood_quantiles])):
            raise ConfigError("head: NaN or infinity among its numbers; fit it again.")
        if len({len(array) for array in arrays.values()}) != 1 or not self.weights:
            sizes = ", ".join(f"{name} has {len(array)}" for name, array in arrays.items())
            raise ConfigError(f"head: arrays of different sizes ({sizes}); expected one number a dimension.")
        if min(self.scale) <= 0.0:
            raise ConfigError("head: a scale of zero or less; fit it again.")
        if not 0.0 < self.prior < 1.0:
            raise ConfigError(f"head: prior {self.prior}; expected a share between 0 and 1.")
        if len(self.ood_quantiles) < 2 or list(self.ood_quantiles) != sorted(self.ood_quantiles):
            raise ConfigError("head: ood_quantiles must be two or more rising numbers.")

    @property
    def head_id(self) -> str:
        """Sixteen hexadecimal digits of the head's content."""
        return digest_of(self._content())

    @property
    def fingerprint(self) -> str:
        """Fingerprint of the embeddings that this head is for."""
        return digest_of(self.recipe)

    @property
    def embed_config(self) -> EmbedConfig:
        """The settings that compute such embeddings."""
        names = {field.name for field in fields(EmbedConfig)}
        return EmbedConfig(**{name: value for name, value in self.recipe.items() if name in names})

    def scores(self, embeddings: Floats) -> Floats:
        """Score embeddings.

        Parameters
        ----------
        embeddings : float64 array of shape (n, dim)

        Returns
        -------
        float64 array of shape (n,)
            Log-likelihood ratios in nats, higher for bona fide. A row's bits do not depend on other rows.
        """
        # einsum, not BLAS: the order of its sums depends on neither rows nor threads
        logits = np.einsum("nd,d->n", self._standardised(embeddings), np.array(self.weights)) + self.bias
        return np.asarray(self.slope * logits + self.intercept)

    def ood(self, embeddings: Floats) -> Floats:
        """Distance from the training embeddings, as a quantile of theirs: 0 is their middle, 1 beyond all.

        Parameters
        ----------
        embeddings : float64 array of shape (n, dim)

        Returns
        -------
        float64 array of shape (n,), in [0, 1]
        """
        quantiles = np.array(self.ood_quantiles)
        ranks = np.linspace(0.0, 1.0, len(quantiles))
        return np.asarray(np.interp(distance(self._standardised(embeddings)), quantiles, ranks))

    def judge(self, rows: pa.Table, prior: float | None, run_id: str) -> pa.Table:
        """Make the rows of `scores` for rows of `embeddings`.

        Parameters
        ----------
        rows : pyarrow.Table
            With the columns of :func:`detector.schema.embeddings_schema`.
        prior : float or None
            Share of spoof to assume; the head's own where None.
        run_id : str

        Returns
        -------
        pyarrow.Table
            With the columns of :data:`detector.schema.SCORES`, in the order of ``rows``.

        Raises
        ------
        ConfigError
            Where the rows were computed by another recipe, or the prior is no share.
        """
        self._check(rows)
        prior = self.prior if prior is None else prior
        if not 0.0 < prior < 1.0:
            raise ConfigError(f"prior {prior}; expected a share between 0 and 1.")
        embeddings, embedded = _matrix(rows["embedding"], len(self.weights))
        too_short = ~embedded | (rows["seconds"].to_numpy() < self.min_seconds)
        silent = ~too_short & (rows["rms_dbfs"].to_numpy() <= self.silence_dbfs)
        unscored = too_short | silent
        score, ood = self.scores(embeddings), self.ood(embeddings)
        probability, entropy = p_spoof(score, prior), entropy_bits(score, prior)
        # the first that holds is the reason, the strongest first
        reasons = {
            "too_short": too_short,
            "silent": silent,
            "out_of_distribution": ood > self.max_ood,
            "uncertain": entropy > self.max_entropy_bits,
        }
        reason = np.select(list(reasons.values()), list(reasons), default="")
        same = {name: rows[name] for name in ("utterance_id", "uri", "member", "seconds", "fingerprint")}
        return (
            pa.table(
                {
                    **same,
                    "score": pa.array(score, mask=unscored),
                    "prior": np.full(len(rows), prior),
                    "p_spoof": pa.array(probability, mask=unscored),
                    "label": pa.array(np.where(probability > 0.5, SPOOF, BONAFIDE), mask=unscored),
                    "entropy_bits": pa.array(entropy, mask=unscored),
                    "ood": pa.array(ood, mask=unscored),
                    "reject": reason != "",
                    "reject_reason": pa.array(reason, mask=reason == ""),
                    "head_id": [self.head_id] * len(rows),
                    "run_id": [run_id] * len(rows),
                }
            )
            .select(SCORES.names)
            .cast(SCORES)
        )

    def reject_band(self, prior: float | None = None) -> tuple[float, float]:
        """Scores in nats between which a row is rejected as uncertain."""
        return band(self.max_entropy_bits, self.prior if prior is None else prior)

    def to_json(self) -> str:
        """The file's text: keys in sorted order, one number a line, so that two heads can be compared."""
        return json.dumps({"head_id": self.head_id, **self._content()}, indent=1, sort_keys=True) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes, where: str) -> Head:
        """Read a head.

        Raises
        ------
        ConfigError
            For a pickle, JSON that is not a head, an unknown or missing key, a number that is not finite, or
            content that does not match the id in the file.
        """
        try:
            content = json.loads(text, parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as error:  # a UnicodeDecodeError is a ValueError
            raise ConfigError(f"{where}: not a head: {error}. Expected the JSON that `fit` writes.") from error
        if not isinstance(content, dict) or content.get("version") != VERSION:
            raise ConfigError(f"{where}: not a head of version {VERSION}. Fit it again with this bonafide.")
        said = content.pop("head_id", None)
        del content["version"]
        types = get_type_hints(cls)
        if set(content) != set(types):
            odd = ", ".join(sorted(set(content) ^ set(types)))
            raise ConfigError(f"{where}: unknown or missing key(s): {odd}.")
        try:
            head = cls(**{name: _as_type(name, content[name], types[name]) for name in types})
            found = head.head_id
            _ = head.embed_config  # a recipe that nobody can follow is no recipe
        except (ConfigError, ValueError, TypeError, OverflowError, RecursionError) as error:
            raise ConfigError(f"{where}: {error}") from error
        if found != said:
            raise ConfigError(f"{where}: its numbers give head_id {found}, but it says {said}: it was changed.")
        return head

    def _content(self) -> dict[str, Any]:
        return {
            "version": VERSION,
            **{field.name: _plain(getattr(self, field.name)) for field in fields(self)},
        }

    def _standardised(self, embeddings: Floats) -> Floats:
        return np.asarray((embeddings - np.array(self.mean)) / np.array(self.scale))

    def _check(self, rows: pa.Table) -> None:
        others = set(rows["fingerprint"].unique().to_pylist()) - {self.fingerprint}
        if others:
            raise ConfigError(
                f"the head is for embeddings of fingerprint {self.fingerprint} ({self.model}: {self.recipe}), but "
                f"the rows have {', '.join(sorted(others))}. Use the head that was fitted on this encoder's "
                f"embeddings, or embed with --backbone, --model and --layer of the head."
            )


def distance(standardised: Floats) -> Floats:
    """Root mean square of standardised embeddings of shape (n, dim): about 1 for those that made the scale."""
    return np.asarray(np.sqrt(np.square(standardised).mean(axis=1)))


def _matrix(column: pa.ChunkedArray, dim: int) -> tuple[Floats, Any]:
    """Embeddings as (n, dim), zeros where null, and which are not null."""
    array = column.combine_chunks()
    embedded = np.asarray(array.is_valid())
    if array.type.list_size != dim:
        raise ConfigError(f"the head has {dim} dimensions, the embeddings have {array.type.list_size}.")
    embeddings = np.zeros((len(array), dim))
    embeddings[embedded] = array.drop_null().flatten().to_numpy().reshape(-1, dim)
    return embeddings, embedded


def _plain(value: Any) -> Any:
    """A field as JSON has it: numbers always as floats, so that 1 and 1.0 are one head."""
    if isinstance(value, tuple):
        return [float(item) for item in value]
    return float(value) if isinstance(value, int) else value


def _as_type(name: str, value: Any, kind: Any) -> Any:
    """Take ``value`` from JSON as ``kind``; what is of another type is refused, never converted."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if kind is float and number:
        return float(value)
    if kind is str and isinstance(value, str):
        return value
    if kind == dict[str, Any] and isinstance(value, dict):
        return value
    if kind == tuple[float, ...] and isinstance(value, list):
        return tuple(_as_type(name, item, float) for item in value)
    raise ConfigError(f"{name} is {type(value).__name__} {str(value)[:40]!r}; expected {kind}.")


def _refuse_constant(word: str) -> None:
    raise ValueError(f"{word} is not a number of a head")
