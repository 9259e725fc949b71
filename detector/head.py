"""The head: a calibrated logistic model, stored as one JSON file of numbers, and its judgement of embeddings."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, get_type_hints

import numpy as np
import pyarrow as pa

from detector import signature, starter
from detector.attribution import Attribution
from detector.calibration import CALIBRATORS, LARGEST, bounded
from detector.config import BUILT_IN, EmbedConfig, by_channels, digest_of, parts_of, without_former
from detector.errors import ConfigError
from detector.head_checks import check_numbers, refuse_large
from detector.head_json import CLASSES, OPTIONAL, VERSION, as_type, plain, read_fields, refuse_code, text_of
from detector.judging import judge_rows
from detector.logistic import Bools
from detector.metrics import Floats
from detector.novelty import Novelty
from detector.rejection import band


@dataclass(frozen=True)
class Head:
    """Weights, calibration and reject rule, with the recipe of the embeddings that they apply to.

    ```
    embedding ─► (x - mean) / scale ─┬─► · weights + bias ─► logit ─► calibration ─► bounds ─► score (nats)
                                     └─► distance ─► ood
    ```

    Parameters
    ----------
    mean, scale, weights : tuples of dim floats
        Mean and scale standardise the embedding; the weights apply to the result.
    bias : float
    calibrator : str
        A key of :data:`detector.calibration.CALIBRATORS`.
    calibration : tuple of floats
        Numbers of the map from the logit to a log-likelihood ratio in nats, higher for bona fide, prior removed.
    score_bounds : tuple of two floats
        Smallest and largest score in nats, for :func:`detector.calibration.bounded`.
    prior : float
        Share of spoof to assume if a run states none, in (0, 1).
    max_entropy_bits : float
        Rows of higher entropy are rejected as `uncertain`.
    max_ood : float
        Rows of a higher `ood` are rejected as `out_of_distribution`; 1 rejects none.
    ood_directions, ood_variances, ood_rest, ood_quantiles
        As for :class:`detector.novelty.Novelty`, with the directions concatenated.
    min_seconds, silence_dbfs : float
        Rows that are shorter (s) are `too_short`, quieter ones (dB re full scale) `silent`; neither gets a score.
    recipe : dict
        Settings that the embeddings were computed with; rows to score must be of the same. A fused head has several
        (:func:`detector.config.joined`): it judges their embeddings side by side, as one.
    model : str
        Name of the encoder, for people.
    training : dict
        The report of the fit, for people; part of the head's id.
    contains_rule : str
        A key of :data:`detector.segment_rule.RULES`, by which windows say whether a recording contains a spoofed part;
        empty for a head without one, whose file has neither this key nor the next.
    contains_numbers : tuple of floats
        As for :func:`detector.segment_rule.contains_score`.
    attribution : dict, optional
        What names the nearest system: :class:`detector.attribution.Attribution`. A head without it has no such key.
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
    contains_rule: str = ""
    contains_numbers: tuple[float, ...] = ()
    attribution: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        check_numbers(self)

    @property
    def head_id(self) -> str:
        """Digest of the head's content: sixteen hexadecimal digits."""
        return digest_of(self._content())

    @property
    def fingerprint(self) -> str:
        """Fingerprint of the embeddings that this head was fitted on."""
        return digest_of(self.recipe)

    @property
    def fingerprints(self) -> dict[str, str]:
        """Fingerprints of the embeddings that this head can judge, by the setting `channels`.

        To the encoder, one channel and the mean of several are both a single signal: a head that was fitted on mono
        recordings judges each side of a call.
        """
        return {channels: digest_of(recipe) for channels, recipe in by_channels(self.recipe).items()}

    def judges(self, described: Mapping[str, Any]) -> bool:
        """Return True if the head can judge embeddings of a recipe, whatever versions its description names."""
        return without_former(described) in map(without_former, by_channels(self.recipe).values())

    @property
    def embed_configs(self) -> tuple[EmbedConfig, ...]:
        """Settings that compute the embeddings that this head was fitted on: one, or several that it judges joined."""
        names = {field.name for field in fields(EmbedConfig)}
        parts = parts_of(self.recipe)
        return tuple(EmbedConfig(**{name: each[name] for name in names & each.keys()}) for each in parts)

    @property
    def embed_config(self) -> EmbedConfig:
        """The first of :attr:`embed_configs`; all are for the same channels."""
        return self.embed_configs[0]

    @property
    def layers(self) -> tuple[int, ...]:
        """Layers that one pass of the encoder gives side by side.

        Raises
        ------
        ConfigError
            If the head judges embeddings of several encoders.
        """
        if len({digest_of({**each, "layer": None}) for each in parts_of(self.recipe)}) > 1:
            raise ConfigError(
                f"the head is fused over several encoders or poolings ({self.model}), which takes a pass for each. "
                f"Embed with each into one output (the second with --new-table), then `score --embeddings`."
            )
        return tuple(each.layer for each in self.embed_configs)

    def scores(self, embeddings: Floats) -> Floats:
        """Compute the scores of embeddings.

        Parameters
        ----------
        embeddings : float64 array of shape (n, dim)

        Returns
        -------
        float64 array of shape (n,)
            Log-likelihood ratios in nats, higher for bona fide. The bits of a row do not depend on other rows. NaN for
            an embedding that holds NaN, infinity or a number above 1e50, and for no other.
        """
        inside = _within_bounds(embeddings)
        return np.where(inside, self.calibrated(self._logits(embeddings, inside)), np.nan)

    def logits(self, embeddings: Floats) -> Floats:
        """Compute the logits of embeddings, before calibration; array of shape (n,), NaN as for a score."""
        inside = _within_bounds(embeddings)
        return np.where(inside, self._logits(embeddings, inside), np.nan)

    def calibrated(self, logits: Floats) -> Floats:
        """Map logits to scores in nats."""
        low, high = self.score_bounds
        return bounded(CALIBRATORS[self.calibrator].apply(self.calibration, logits), (low, high))

    def ood(self, embeddings: Floats) -> Floats:
        """Compute the distance from the training embeddings, as a quantile of their own distances.

        Parameters
        ----------
        embeddings : float64 array of shape (n, dim)

        Returns
        -------
        float64 array of shape (n,)
            In [0, 1]: 0 is the centre of the training embeddings, 1 is farther than all of them. NaN as for a score.
        """
        inside = _within_bounds(embeddings)
        return np.where(inside, self._novelty.ood(self._standardised(embeddings, inside)), np.nan)

    def judge(
        self, rows: pa.Table, prior: float | None, run_id: str, recipe: Mapping[str, Any] | None = None
    ) -> pa.Table:
        """Judge rows of `embeddings`, and return the rows of `scores`.

        Parameters
        ----------
        rows : pyarrow.Table
            With the columns of :func:`detector.schema.embeddings_schema`.
        prior : float or None
            Share of spoof to assume, in (0, 1); the head's own if None.
        run_id : str
            Value of the column `run_id`.
        recipe : mapping, optional
            Of the rows, where another version of bonafide may have described it otherwise than the head's.

        Returns
        -------
        pyarrow.Table
            With the columns of :data:`detector.schema.SCORES`, in the order of ``rows``.

        Raises
        ------
        ConfigError
            If the rows were computed by another recipe, or the prior is not between 0 and 1.
        """
        self._check(rows, recipe)
        prior = self.prior if prior is None else prior
        if not 0.0 < prior < 1.0:
            raise ConfigError(f"prior {prior}; expected a share between 0 and 1.")
        return judge_rows(self, rows, prior, run_id)

    def nearest_systems(self, embeddings: Floats, asked: Bools) -> dict[str, Any]:
        """Return the columns that name the nearest system of the rows that are asked for; none without attribution."""
        if self.systems is None:
            return {}
        return self.systems.columns(self._standardised(embeddings[asked], asked[asked]), asked)

    def reject_band(self, prior: float | None = None) -> tuple[float, float]:
        """Interval of scores, in nats, within which a row is rejected as uncertain."""
        return band(self.max_entropy_bits, self.prior if prior is None else prior)

    def to_json(self, private_key: bytes | None = None) -> str:
        """Return the text of the head's file: sorted keys and one number per line, so that `diff` compares two heads.

        Parameters
        ----------
        private_key : bytes, optional
            Ed25519 key to sign the head with, as PEM.
        """
        content = {"head_id": self.head_id, **self._content()}
        text = text_of(content)
        if private_key is None:
            return text
        return text_of(content | {"signature": signature.sign(text.encode(), private_key)})

    @classmethod
    def starter(cls) -> Head:
        """Return the built-in head."""
        return cls.from_json(starter.HEAD.read_bytes(), str(starter.HEAD))

    @classmethod
    def from_json(
        cls, text: str | bytes, where: str, public_key: bytes | None = None, loaders: Collection[str] = ()
    ) -> Head:
        """Read a head, and check its id and, if it is signed, its signature.

        Parameters
        ----------
        text : str or bytes
        where : str
            Name of the file, for error messages.
        public_key : bytes, optional
            Ed25519 key that the head must be signed with, as PEM. Without it, a signature is checked with the key
            stored beside it, which detects damage but does not prove who signed.
        loaders : collection of str
            Encoders of your own, `package.module:loader`, that the head may name. A head is data, and often not from
            whoever runs it: code that it names is imported only if the caller names it, too.

        Raises
        ------
        ConfigError
            If the file is larger than 64 MiB, a pickle, or JSON that is not a head, has an unknown or missing key or a
            number beyond the bounds, if its content does not match its id, if the signature is missing, wrong or by
            another key, or if it names a loader that is not among ``loaders``.
        """
        refuse_large(len(text), where)
        types = get_type_hints(cls)
        content, stated_id, signed = read_fields(text, where, set(types))
        try:
            json.dumps(content, ensure_ascii=False).encode()  # refuses half a surrogate pair: no table can hold one
            head = cls(**{name: as_type(name, value, types[name]) for name, value in content.items()})
            found_id = head.head_id
            backbones = [each.backbone for each in head.embed_configs]  # refuses a recipe with invalid settings
        except (ConfigError, ValueError, TypeError, OverflowError, RecursionError) as error:
            raise ConfigError(f"{where}: {error}") from error
        if found_id != stated_id:
            raise ConfigError(
                f"{where}: its content gives head_id {found_id}, not {stated_id} as it states: it was changed."
            )
        refuse_code({*backbones} - {*BUILT_IN, *loaders}, where)
        if signed is not None or public_key is not None:
            plain = head.to_json()
            signature.check(plain.encode(), signed, public_key, where)
            if (text.encode() if isinstance(text, str) else text) != text_of(
                json.loads(plain) | {"signature": signed}
            ).encode():
                raise ConfigError(
                    f"{where}: signed, but not formatted as `fit` writes it: it was changed. Fit it again."
                )
        return head

    def _content(self) -> dict[str, Any]:
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {
            "version": VERSION,
            "classes": CLASSES,
            **{name: plain(value) for name, value in values.items() if name not in OPTIONAL or value},
        }

    @cached_property
    def _novelty(self) -> Novelty:
        directions = np.array(self.ood_directions).reshape(len(self.ood_variances), len(self.weights))
        return Novelty(directions, np.array(self.ood_variances), self.ood_rest, np.array(self.ood_quantiles))

    @cached_property
    def systems(self) -> Attribution | None:
        """The model that names the nearest system; None for a head that was fitted without one."""
        return None if self.attribution is None else Attribution.from_dict(self.attribution, len(self.weights))

    def _logits(self, embeddings: Floats, inside: Bools) -> Floats:
        # einsum, not BLAS: the order of its sums depends on neither rows nor threads
        logits = np.einsum("nd,d->n", self._standardised(embeddings, inside), np.array(self.weights)) + self.bias
        return np.asarray(logits)

    def _standardised(self, embeddings: Floats, inside: Bools) -> Floats:
        embeddings = embeddings if inside.all() else np.where(inside[:, None], embeddings, 0.0)
        return np.asarray((embeddings - np.array(self.mean)) / np.array(self.scale))

    def _check(self, rows: pa.Table, recipe: Mapping[str, Any] | None) -> None:
        known = {*self.fingerprints.values(), *([digest_of(recipe)] if recipe and self.judges(recipe) else ())}
        others = set(rows["fingerprint"].unique().to_pylist()) - known
        if others:
            raise ConfigError(
                f"the head is for embeddings of fingerprint {self.fingerprint} ({self.model}), but "
                f"the rows have {', '.join(sorted(others))}. Use the head that was fitted on this encoder's "
                f"embeddings, or embed with --backbone, --model and --layer of the head."
            )


def _within_bounds(embeddings: Floats) -> Bools:
    """Return a mask of the rows for which the bounds of :mod:`detector.head_checks` promise finite results."""
    return np.asarray((np.abs(embeddings) <= LARGEST).all(axis=1))
