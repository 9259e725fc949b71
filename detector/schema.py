"""Columns of every table, declared once: name, type, unit, who fills it, and its text for the docs.

The schemas of Parquet files, the outcome that a decoder hands on, the checks on what a decoder states, and the tables
of `docs/data-contract.md` and `docs/sql.md` follow from these declarations (`python -m detector.contract` writes the
last two). A column is only ever added, at the end of its table.
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache

import pyarrow as pa

from detector.column import Column, Columns, FilledBy
from detector.failures import FAILURE_STAGES
from detector.segment_columns import CONTAINS, MEASURED, PART_COLUMNS, WINDOWS, segment_columns

BONAFIDE = "bonafide"
SPOOF = "spoof"
LABELS = (BONAFIDE, SPOOF)
UNKNOWN = (None, "", "-")  # values that corpora write for what is not known

REJECT_REASONS = ("uncertain", "out_of_distribution", "too_short", "silent")
"""Reasons why a row of `scores` abstains; `too_short` and `silent` rows, and those not finite, have no score."""

_PLACE = (
    Column(
        "utterance_id",
        pa.string(),
        FilledBy.INPUT,
        "path of a file, or `<container>#<member>`, below its `--input` or without scheme and bucket (`--ids`); an "
        "excerpt adds `@<start>-<end>` and `/ch<n>`; unique",
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
_CLAIMED = Column(
    "seconds_claimed",
    pa.float64(),
    FilledBy.DECODER,
    "length that the headers of the whole file state; null where they state none, and in rows of earlier versions",
    "s",
    nullable=True,
    is_optional=True,
    bounds=(0.0, 1e15),
)
_FINGERPRINT = Column(
    "fingerprint",
    pa.string(),
    FilledBy.RUN,
    "what was computed: encoder and weights, layer, pooling, segment rule, dtype",
)
_RUN_ID = Column("run_id", pa.string(), FilledBy.RUN, "the run that wrote the row: `runs/<run_id>.json`")
_CHANGING_RUN_ID = replace(
    _RUN_ID,
    text="the run that last found something new for the recording: `runs/<run_id>.json`. It stays when the shard is "
    "written again because of another recording",
)

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

PROVENANCE: Columns = (
    Column(
        "has_c2pa",
        pa.bool_(),
        FilledBy.DECODER,
        "true if the file carries a C2PA manifest; null for containers that cannot, and in rows of earlier versions",
        nullable=True,
        is_optional=True,
    ),
    Column(
        "claim_generator",
        pa.string(),
        FilledBy.DECODER,
        "program that made the manifest, in its own words, which nobody has verified; null if there is none",
        nullable=True,
        is_optional=True,
    ),
)
"""Columns of `embeddings` and of `scores` that a file says of itself."""


HISTORY: Columns = (
    Column(
        "first_seen",
        pa.date32(),
        FilledBy.RUN,
        "date of the run that first had a row of the recording; null only in rows of earlier versions",
        nullable=True,
    ),
    Column(
        "changed_at",
        pa.date32(),
        FilledBy.RUN,
        "date of the run that found the recording's content new or changed: that of `first_seen` until then; null only "
        "in rows of earlier versions",
        nullable=True,
    ),
    Column(
        "first_run_id",
        pa.string(),
        FilledBy.RUN,
        "the run that first embedded the recording; null only in rows of earlier versions",
        nullable=True,
    ),
    Column(
        "removed_at",
        pa.date32(),
        FilledBy.RUN,
        "date of the run that found the recording gone from the archive; null while it is there",
        nullable=True,
        is_optional=True,
    ),
)
"""Columns of `embeddings` and of `scores` that a row keeps when its shard is written again."""


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
            "null if the recording is shorter than one frame of the encoder, or if no segment of it is louder than "
            "-80 dB re full scale: then it is not encoded, and every head rejects it as `silent`",
            nullable=True,
        ),
        _FINGERPRINT,
        _CHANGING_RUN_ID,
        *_EXCERPT,
        *LEVELS,
        _CLAIMED,
        Column(
            "truncated",
            pa.bool_(),
            FilledBy.DECODER,
            "true if the file breaks off: `seconds` is 0.1 to 1 s below `seconds_claimed` (else a row of `failures`), "
            "or the last page, frame or box is not whole; null only in rows of earlier versions",
            nullable=True,
        ),
        Column(
            "trailing_bytes",
            pa.int64(),
            FilledBy.DECODER,
            "bytes in the file, behind recordings or within them, that belong to none, and are neither tags nor zeros "
            "around them, and those of tracks of sound whose codec is not known; null only in rows of earlier versions",
            "B",
            nullable=True,
            bounds=(0.0, math.inf),
        ),
        Column(
            "channels_cancel",
            pa.bool_(),
            FilledBy.DECODER,
            "true if the channels are in opposite phase somewhere, so that the louder one was taken there in place of "
            "their mean; null only in rows of earlier versions",
            nullable=True,
        ),
        *PROVENANCE,
        *HISTORY,
        *WINDOWS,
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
    _CHANGING_RUN_ID,
    *_EXCERPT,
    *LEVELS,
    *PROVENANCE,
    *HISTORY,
    Column(
        "head",
        pa.string(),
        FilledBy.HEAD,
        "name of the head when it scored (`bonafide heads` lists them); null in rows of earlier versions",
        nullable=True,
    ),
    CONTAINS,
    Column(
        "nearest_system",
        pa.string(),
        FilledBy.HEAD,
        "of a row labelled `spoof`: the synthesiser that it resembles most, or `unknown`; null without `--attribution`",
        nullable=True,
    ),
    Column(
        "system_similarity",
        pa.float64(),
        FilledBy.HEAD,
        "similarity to the nearest system, also if it is too low for a name; comparable within a head only",
        nullable=True,
    ),
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
    replace(
        _SECONDS,
        is_optional=True,
        text="length that was decoded; null if nothing was, and in rows of earlier versions",
        nullable=True,
    ),
    _CLAIMED,
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

_SEGMENTS = segment_columns(_SCORES)
_MANIFEST: Columns = (*_PLACE, _BYTES, *_LABELS, *_EXCERPT)

TABLES: dict[str, Columns] = {
    "embeddings": _embeddings(1),
    "scores": _SCORES,
    "segments": _SEGMENTS,
    "failures": _FAILURES,
    "manifest": _MANIFEST,
    "parts": PART_COLUMNS,
}
"""Columns by table; the `embedding` of an encoder has its own length (:func:`embeddings_schema`)."""


def _schema(columns: Columns) -> pa.Schema:
    return pa.schema([column.field for column in columns])


@cache
def embeddings_schema(dim: int) -> pa.Schema:
    """Schema of the embedding table for an encoder of ``dim`` outputs."""
    return _schema(_embeddings(dim))


SCORES = _schema(_SCORES)
SEGMENTS = _schema(_SEGMENTS)
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
            if column.filled_by in (FilledBy.INPUT, FilledBy.DECODER, FilledBy.FAILURE) or column.name in MEASURED
        }.items()
    ]
)
"""Type of the outcome of decoding an utterance: its place, and either the decoder's facts, with what is measured of its
windows, or the failure."""

LABEL_COLUMNS = tuple(column.name for column in _LABELS)
"""Columns that a labels file may have besides `utterance_id`; only `label` is required."""

PARTS = _schema(PART_COLUMNS)
"""Labels of parts of recordings: :mod:`jobs.inputs.parts` reads and writes them."""
