"""The head: a calibrated logistic model as one JSON file of numbers, and what it says of an embedding."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any, get_type_hints

import numpy as np
import pyarrow as pa

from detector import audio, signature, starter
from detector.calibration import CALIBRATORS, bounded
from detector.config import CHANNELS, EmbedConfig, channels_of, digest_of
from detector.errors import ConfigError
from detector.metrics import Floats
from detector.novelty import Novelty
from detector.rejection import band, entropy_bits, p_spoof
from detector.schema import BONAFIDE, SCORES, SPOOF

VERSION = 2
CLASSES = [SPOOF, BONAFIDE]  # in the order in which the score rises


@dataclass(frozen=True)
class Head:
    """Weights, calibration and reject rule, with the recipe of the embeddings that they are for.

    ```
    embedding ─► (x - mean) / scale ─┬─► · weights + bias ─► logit ─► calibration ─► bounds ─► score (nats)
                                     └─► distance ─► ood
    ```

    Parameters
    ----------
    mean, scale, weights : tuples of dim floats
        Of the standardised embedding.
    bias : float
    calibrator : str
        A key of :data:`detector.calibration.CALIBRATORS`.
    calibration : tuple of floats
        Its numbers: from the logit to a log-likelihood ratio in nats, higher for bona fide, prior removed.
    score_bounds : tuple of two floats
        What :func:`detector.calibration.bounded` keeps the score within.
    prior : float
        Share of spoof to assume where a run states none.
    max_entropy_bits : float
        Rows of higher entropy are rejected as `uncertain`.
    max_ood : float
        Rows of a higher `ood` are rejected as `out_of_distribution`; 1 rejects none.
    ood_directions, ood_variances, ood_rest, ood_quantiles
        As :class:`detector.novelty.Novelty`, the directions one after another.
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
    calibrator: str
    calibration: tuple[float, ...]
    score_bounds: tuple[float, ...]
    prior: float
    max_entropy_bits: float
    max_ood: float
    ood_directions: tuple[float, ...]
    ood_variances: tuple[float, ...]
    ood_rest: float
    ood_quantiles: tuple[float, ...]
    min_seconds: float
    silence_dbfs: float
    recipe: dict[str, Any]
    model: str
    training: dict[str, Any]

    def __post_init__(self) -> None:
        numbers = [each for field in fields(self) for each in _numbers(getattr(self, field.name))]
        if not all(map(math.isfinite, numbers)):
            raise ConfigError("head: NaN or infinity among its numbers; fit it again.")
        arrays = {"mean": self.mean, "scale": self.scale, "weights": self.weights}
        if len({len(array) for array in arrays.values()}) != 1 or not self.weights:
            sizes = ", ".join(f"{name} has {len(array)}" for name, array in arrays.items())
            raise ConfigError(f"head: arrays of different sizes ({sizes}); expected one number a dimension.")
        if len(self.ood_directions) != len(self.ood_variances) * len(self.weights):
            raise ConfigError(
                f"head: ood_directions has {len(self.ood_directions)} numbers; expected {len(self.weights)} for each "
                f"of {len(self.ood_variances)} ood_variances."
            )
        if min((*self.scale, *self.ood_variances, self.ood_rest)) <= 0.0:
            raise ConfigError("head: a scale of zero or less, or a variance; fit it again.")
        if not 0.0 < self.prior < 1.0:
            raise ConfigError(f"head: prior {self.prior}; expected a share between 0 and 1.")
        if len(self.ood_quantiles) < 2 or list(self.ood_quantiles) != sorted(self.ood_quantiles):
            raise ConfigError("head: ood_quantiles must be two or more rising numbers.")
        if self.calibrator not in CALIBRATORS:
            raise ConfigError(f"head: calibrator {self.calibrator!r}; expected one of {', '.join(CALIBRATORS)}.")
        if not CALIBRATORS[self.calibrator].fits(self.calibration):
            raise ConfigError(f"head: {len(self.calibration)} numbers of calibration {self.calibrator} do not fit it.")
        if len(self.score_bounds) != 2 or not self.score_bounds[0] < 0.0 < self.score_bounds[1]:
            raise ConfigError(f"head: score_bounds {self.score_bounds}; expected one below and one above zero.")

    @property
    def head_id(self) -> str:
        """Sixteen hexadecimal digits of the head's content."""
        return digest_of(self._content())

    @property
    def fingerprint(self) -> str:
        """Fingerprint of the embeddings that this head is for."""
        return digest_of(self.recipe)

    @property
    def fingerprints(self) -> dict[str, str]:
        """Fingerprints of all embeddings that this head can judge, by `channels`.

        One channel, or the mean of several, is one signal to the encoder: a head that was fitted on recordings of one
        side judges each side of a call.
        """
        others = {name: value for name, value in self.recipe.items() if name != "channels"}
        return {channels: digest_of(others | channels_of(channels)) for channels in CHANNELS}

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
        low, high = self.score_bounds
        return bounded(CALIBRATORS[self.calibrator].apply(self.calibration, logits), (low, high))

    def ood(self, embeddings: Floats) -> Floats:
        """Distance from the training embeddings, as a quantile of theirs: 0 is their middle, 1 beyond all.

        Parameters
        ----------
        embeddings : float64 array of shape (n, dim)

        Returns
        -------
        float64 array of shape (n,), in [0, 1]
        """
        return self._novelty.ood(self._standardised(embeddings))

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
        same = {name: rows[name] for name in SCORES.names if name in rows.column_names}
        # rows of earlier versions have fewer columns
        absent = {each.name: pa.nulls(len(rows)) for each in SCORES if each.nullable and each.name not in same}
        return (
            pa.table(
                {
                    **same,
                    **absent,
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

    def to_json(self, private_key: bytes | None = None) -> str:
        """The file's text: keys in sorted order, one number a line, so that two heads can be compared.

        Parameters
        ----------
        private_key : bytes, optional
            PEM of the Ed25519 key to sign it with.
        """
        content = {"head_id": self.head_id, **self._content()}
        text = _text(content)
        if private_key is None:
            return text
        return _text(content | {"signature": signature.sign(text.encode(), private_key)})

    @classmethod
    def starter(cls) -> Head:
        """The head in the box, for the decoders and the resampler that are installed here.

        It was fitted with certain versions of these. Others may move a score in its last digits, and give the head
        another id, as they would by a fit.

        Examples
        --------
        >>> Head.starter().embed_config.backbone
        'starter'
        """
        head = cls.from_json(starter.HEAD.read_bytes(), str(starter.HEAD))
        return replace(head, recipe=head.recipe | audio.versions())

    @classmethod
    def from_json(cls, text: str | bytes, where: str, public_key: bytes | None = None) -> Head:
        """Read a head; one that is signed only where the signature is right for every byte of it.

        Parameters
        ----------
        text : str or bytes
        where : str
            What to call it in errors.
        public_key : bytes, optional
            PEM of the Ed25519 key that it must be signed with. Without it a signature is checked by the key that
            stands beside it: that shows damage, not who signed.

        Raises
        ------
        ConfigError
            For a pickle, JSON that is not a head, an unknown or missing key, a number that is not finite, content
            that does not match the id in the file, or a signature that is missing, wrong, or another's.
        """
        try:
            content = json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_refuse_repeated)
        except (ValueError, RecursionError) as error:  # a UnicodeDecodeError is a ValueError
            raise ConfigError(f"{where}: not a head: {error}. Expected the JSON that `fit` writes.") from error
        if not isinstance(content, dict) or content.get("version") != VERSION:
            raise ConfigError(f"{where}: not a head of version {VERSION}. Fit it again with this bonafide.")
        said, signed = content.pop("head_id", None), content.pop("signature", None)
        classes = content.pop("classes", None)
        if classes != CLASSES:
            raise ConfigError(f"{where}: classes {str(classes)[:40]}; expected {CLASSES}: the score rises to bonafide.")
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
        if signed is not None or public_key is not None:
            plain = head.to_json()
            signature.check(plain.encode(), signed, public_key, where)
            if (text.encode() if isinstance(text, str) else text) != _text(
                json.loads(plain) | {"signature": signed}
            ).encode():
                raise ConfigError(f"{where}: signed, but not as `fit` writes it: it was changed.")
        return head

    def _content(self) -> dict[str, Any]:
        return {
            "version": VERSION,
            "classes": CLASSES,
            **{field.name: _plain(getattr(self, field.name)) for field in fields(self)},
        }

    @cached_property
    def _novelty(self) -> Novelty:
        directions = np.array(self.ood_directions).reshape(len(self.ood_variances), len(self.weights))
        return Novelty(directions, np.array(self.ood_variances), self.ood_rest, np.array(self.ood_quantiles))

    def _standardised(self, embeddings: Floats) -> Floats:
        return np.asarray((embeddings - np.array(self.mean)) / np.array(self.scale))

    def _check(self, rows: pa.Table) -> None:
        others = set(rows["fingerprint"].unique().to_pylist()) - set(self.fingerprints.values())
        if others:
            raise ConfigError(
                f"the head is for embeddings of fingerprint {self.fingerprint} ({self.model}: {self.recipe}), but "
                f"the rows have {', '.join(sorted(others))}. Use the head that was fitted on this encoder's "
                f"embeddings, or embed with --backbone, --model and --layer of the head."
            )


def _text(content: dict[str, Any]) -> str:
    return json.dumps(content, indent=1, sort_keys=True) + "\n"


def _numbers(value: Any) -> tuple[float, ...]:
    if isinstance(value, tuple):
        return value
    return (value,) if isinstance(value, int | float) else ()


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


def _refuse_repeated(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON; a key that stands twice means one thing to us and another to who reads the first."""
    content = dict(pairs)
    if len(content) != len(pairs):
        raise ValueError(f"a key stands twice among {', '.join(sorted(name for name, _ in pairs))[:200]}")
    return content


def _refuse_constant(word: str) -> None:
    raise ValueError(f"{word} is not a number of a head")
