"""Columns of every table, declared once: name, type, unit, who fills it, and its text for the docs.

The schemas of Parquet files, the outcome that a decoder hands on, the checks on what a decoder states, and the tables
of `docs/data-contract.md` and `docs/sql.md` follow from these declarations (`python -m detector.contract` writes the
last two). A column is only ever added, at the end of its table.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import pyarrow as pa

BONAFIDE = "bonafide"
SPOOF = "spoof"
LABELS = (BONAFIDE, SPOOF)
UNKNOWN = (None, "", "-")  # values that corpora write for what is not known

REJECT_REASONS = ("uncertain", "out_of_distribution", "too_short", "silent")
"""Reasons why a row of `scores` abstains; rows that are `too_short` or `silent` have no score at all."""

FAILURE_STAGES = ("read", "decode", "embed")

FAILURE_ERRORS = {
    "bad_archive": "the shard or this member is broken, or decompresses to far more bytes than recordings do; members "
    "before the fault are kept",
    "bad_header": "a sample rate, channel count or size that no recording has",
    "bad_name": "a member whose name points outside its archive, is not a valid name, or exceeds 1,024 bytes",
    "decode_error": "the decoder stopped before the end",
    "decoder_crash": "the decoder's process died on these bytes, twice",
    "decoder_timeout": "the decoder's process used up its CPU time without producing a segment, twice",
    "empty": "no bytes, or no samples",
    "encrypted": "a member that is protected by a password",
    "encoder_crash": "the encoder's process died repeatedly on this recording alone, while its neighbours passed",
    "missing": "named by a list or manifest, and not there: a member, or with `--missing row` an object",
    "nonfinite": "the encoder returned NaN or infinity",
    "nonfinite_audio": "NaN or infinity among the samples",
    "not_a_file": "a link, a device or a sparse file in place of a recording",
    "not_audio": "no permitted decoder recognises these bytes",
    "out_of_range": "an excerpt that extends beyond the recording, or a channel that the recording does not have",
    "too_large": "decoding takes more memory than a decoder may use",
    "too_long": "longer than the limit",
    "truncated": "shorter than the header claims: the file was cut, or its header is wrong",
}
"""The closed list of `failures.error`, each with its meaning: content that gives no score. A failure of the store, the
network or a worker is never among them."""


class FilledBy(StrEnum):
    """The part of the system that computes the value of a column."""

    INPUT = "input"
    """The archive or list that names the recording."""
    DECODER = "decoder"
    """The decoder, once it has read the recording to its end."""
    ENCODER = "encoder"
    HEAD = "head"
    RUN = "run"
    FAILURE = "failure"
    """The stage that failed."""
    LABELS = "labels"
    """The corpus, or the person who labelled the recording."""


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Parameters
    ----------
    name : str
    type : pyarrow.DataType
    filled_by : FilledBy
    text : str
        Meaning, in Markdown, for `docs/data-contract.md`.
    unit : str
        Empty for text, counts and flags.
    nullable : bool
        Columns that were added later are nullable: rows of earlier versions lack them.
    bounds : tuple of two floats
        Smallest and largest value that a decoder may state, for numbers.

    Examples
    --------
    >>> share = Column("quiet_share", pa.float64(), FilledBy.DECODER, "share of quiet frames", bounds=(0.0, 1.0))
    >>> share.accepts(0.5), share.accepts(1.5), share.accepts("0.5")
    (True, False, False)
    """

    name: str
    type: pa.DataType
    filled_by: FilledBy
    text: str
    unit: str = ""
    nullable: bool = False
    bounds: tuple[float, float] = (-math.inf, math.inf)

    @property
    def field(self) -> pa.Field:
        """The column in a pyarrow schema. It has no metadata: that would be written into every Parquet file."""
        return pa.field(self.name, self.type, self.nullable)

    def accepts(self, value: Any) -> bool:
        """Return True if a value from an untrusted process has this column's type and lies within its bounds."""
        if pa.types.is_string(self.type):
            return type(value) is str
        low, high = self.bounds
        if pa.types.is_floating(self.type):
            return type(value) is float and math.isfinite(value) and low <= value <= high
        # type(), because a bool is an int; JSON has integers of any length
        return type(value) is int and value.bit_length() < self.type.bit_width and low <= value <= high


Columns = tuple[Column, ...]

_PLACE = (
    Column(
        "utterance_id",
        pa.string(),
        FilledBy.INPUT,
        "path of a file, or `<container>#<member>`, without scheme and bucket; an excerpt adds `@<start>-<end>` and "
        "`/ch<n>`; unique",
    ),
    Column("uri", pa.string(), FilledBy.INPUT, "the stored object"),
    Column("member", pa.string(), FilledBy.INPUT, "name inside a container; null for a file", nullable=True),
)
_BYTES = Column("bytes", pa.int64(), FilledBy.INPUT, "size of the recording as stored", "B")
_EXCERPT = (
    Column(
        "start", pa.float64(), FilledBy.INPUT, "start of an excerpt; null for a whole recording", "s", nullable=True
    ),
    Column(
        "end",
        pa.float64(),
        FilledBy.INPUT,
        "end of an excerpt; null if it extends to the end of the recording",
        "s",
        nullable=True,
    ),
    Column(
        "channel",
        pa.int16(),
        FilledBy.INPUT,
        "the one channel that was taken, from 0; null for the mean of all",
        nullable=True,
    ),
)
_SECONDS = Column("seconds", pa.float64(), FilledBy.DECODER, "decoded length", "s")
_FINGERPRINT = Column(
    "fingerprint",
    pa.string(),
    FilledBy.RUN,
    "what was computed: encoder and weights, layer, pooling, segment rule, decoder and resampler versions, dtype",
)
_RUN_ID = Column("run_id", pa.string(), FilledBy.RUN, "the run that wrote the row: `runs/<run_id>.json`")

LEVELS: Columns = (
    Column(
        "speech_share",
        pa.float64(),
        FilledBy.DECODER,
        "share of time that is active, in [0, 1]: no more than 15.9 dB below the active level (ITU-T P.56); null only "
        "in rows of earlier versions",
        nullable=True,
        bounds=(0.0, 1.0),
    ),
    Column(
        "clipped_share",
        pa.float64(),
        FilledBy.DECODER,
        "share of the stored samples at 0.98 of full scale or beyond, in [0, 1]; null only in rows of earlier versions",
        nullable=True,
        bounds=(0.0, 1.0),
    ),
)
"""Columns of `embeddings` and of `scores` that :class:`detector.level.Levels` measures."""


def _embeddings(dim: int) -> Columns:
    return (
        *_PLACE,
        Column("audio_sha256", pa.string(), FilledBy.DECODER, "SHA-256 of the encoded bytes"),
        _SECONDS,
        Column("native_rate", pa.int32(), FilledBy.DECODER, "sample rate as stored", "Hz"),
        Column("channels", pa.int16(), FilledBy.DECODER, "number of channels as stored"),
        Column("codec", pa.string(), FilledBy.DECODER, "codec as stored: `flac/pcm_16`"),
        Column("decoder", pa.string(), FilledBy.DECODER, "`soundfile` or `pyav`"),
        Column(
            "rms_dbfs",
            pa.float64(),
            FilledBy.DECODER,
            "level of the 16 kHz mono signal; -120 is digital silence",
            "dB re full scale",
        ),
        Column(
            "layer",
            pa.int16(),
            FilledBy.RUN,
            "hidden state that was pooled: 0 is the input of the first layer, k the output of the k-th layer, -1 the "
            "last hidden state",
        ),
        Column(
            "embedding",
            pa.list_(pa.field("element", pa.float32()), dim),
            FilledBy.ENCODER,
            "null if the recording is shorter than one frame of the encoder",
            nullable=True,
        ),
        _FINGERPRINT,
        _RUN_ID,
        *_EXCERPT,
        *LEVELS,
    )


_SCORES: Columns = (
    *_PLACE,
    _SECONDS,
    Column(
        "score",
        pa.float64(),
        FilledBy.HEAD,
        "log-likelihood ratio; higher is more bona fide; prior removed",
        "nats",
        nullable=True,
    ),
    Column("prior", pa.float64(), FilledBy.RUN, "share of spoof that the run assumed, in (0, 1)"),
    Column("p_spoof", pa.float64(), FilledBy.HEAD, "`1 / (1 + exp(score - ln(prior / (1 - prior))))`", nullable=True),
    Column("label", pa.string(), FilledBy.HEAD, "`spoof` if `p_spoof` is above 0.5, else `bonafide`", nullable=True),
    Column(
        "entropy_bits",
        pa.float64(),
        FilledBy.HEAD,
        "entropy of `p_spoof`: 0 is certain, 1 is a coin toss",
        "bits",
        nullable=True,
    ),
    Column(
        "ood",
        pa.float64(),
        FilledBy.HEAD,
        "distance from the training embeddings, as a quantile of theirs: 1 is farther than all of them",
        nullable=True,
    ),
    Column("reject", pa.bool_(), FilledBy.HEAD, "true if the head abstains"),
    Column(
        "reject_reason",
        pa.string(),
        FilledBy.HEAD,
        f"{', '.join(f'`{reason}`' for reason in REJECT_REASONS)}; null if the head does not abstain",
        nullable=True,
    ),
    Column("head_id", pa.string(), FilledBy.HEAD, "digest of the head"),
    _FINGERPRINT,
    _RUN_ID,
    *_EXCERPT,
    *LEVELS,
)

_FAILURES: Columns = (
    *_PLACE,
    Column(
        "stage",
        pa.string(),
        FilledBy.FAILURE,
        f"{', '.join(f'`{stage}`' for stage in FAILURE_STAGES[:-1])} or `{FAILURE_STAGES[-1]}`",
    ),
    Column("error", pa.string(), FilledBy.FAILURE, "one word of the list below"),
    Column("message", pa.string(), FilledBy.FAILURE, "what was found, for a person"),
    _BYTES,
    Column("attempts", pa.int16(), FilledBy.RUN, "number of attempts"),
    _RUN_ID,
)

_LABELS: Columns = (
    Column("label", pa.string(), FilledBy.LABELS, "`bonafide` or `spoof`", nullable=True),
    Column("split", pa.string(), FilledBy.LABELS, "for example `train` or `eval`", nullable=True),
    Column("system", pa.string(), FilledBy.LABELS, "synthesiser, of spoof", nullable=True),
    Column("speaker", pa.string(), FilledBy.LABELS, "name of the speaker within the corpus", nullable=True),
    Column("source", pa.string(), FilledBy.LABELS, "corpus or channel", nullable=True),
    Column("language", pa.string(), FilledBy.LABELS, "language as the corpus spells it", nullable=True),
    Column(
        "codec",
        pa.string(),
        FilledBy.LABELS,
        "what the recording went through before it was stored, in the corpus's own words: `alaw`, `low_mp3`",
        nullable=True,
    ),
)

_MANIFEST: Columns = (*_PLACE, _BYTES, *_LABELS, *_EXCERPT)

TABLES: dict[str, Columns] = {
    "embeddings": _embeddings(1),
    "scores": _SCORES,
    "failures": _FAILURES,
    "manifest": _MANIFEST,
}
"""Columns by table; the `embedding` of an encoder has its own length (:func:`embeddings_schema`)."""


def _schema(columns: Columns) -> pa.Schema:
    return pa.schema([column.field for column in columns])


def embeddings_schema(dim: int) -> pa.Schema:
    """Schema of the embedding table for an encoder of ``dim`` outputs."""
    return _schema(_embeddings(dim))


SCORES = _schema(_SCORES)
FAILURES = _schema(_FAILURES)
MANIFEST = _schema(_MANIFEST)

DECODED: Columns = tuple(column for column in TABLES["embeddings"] if column.filled_by == FilledBy.DECODER)
"""Columns that a decoder fills; :class:`detector.recording.Facts` holds their values."""

OUTCOME = pa.struct(
    [
        pa.field(name, kind)
        for name, kind in {
            column.name: column.type
            for column in (*TABLES["embeddings"], *TABLES["failures"])
            if column.filled_by in (FilledBy.INPUT, FilledBy.DECODER, FilledBy.FAILURE)
        }.items()
    ]
)
"""Type of the outcome of decoding an utterance: its place, and either the decoder's facts or the failure."""

LABEL_COLUMNS = tuple(column.name for column in _LABELS)
"""Columns that a labels file may have besides `utterance_id`; only `label` is required."""
