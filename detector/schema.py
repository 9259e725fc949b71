"""Columns, types and units of every table, declared once.

`docs/data-contract.md` says the same to users, and a test holds the two together.
"""

import pyarrow as pa

BONAFIDE = "bonafide"
SPOOF = "spoof"
LABELS = (BONAFIDE, SPOOF)
UNKNOWN = (None, "", "-")  # what corpora write where they do not know

REJECT_REASONS = ("uncertain", "out_of_distribution", "too_short", "silent")
"""Why a row of `scores` abstains. The last two have no score at all."""

FAILURE_STAGES = ("read", "decode", "embed")

FAILURE_ERRORS = {
    "bad_archive": "the shard or this member is broken, or swells like a bomb; members before the fault are kept",
    "bad_header": "a rate, channel count or size that no recording has",
    "bad_name": "a member whose name leads out of its archive, cannot be a name, or is longer than 1,024 bytes",
    "decode_error": "the decoder stopped in the middle",
    "decoder_crash": "the decoder's process dies on these bytes, twice",
    "decoder_timeout": "the decoder's process spends its CPU time without giving a segment, twice",
    "empty": "no bytes, or no samples",
    "encrypted": "a member under a password",
    "encoder_crash": "the encoder's process dies on this recording, alone and repeatedly, while its neighbours pass",
    "missing": "listed in the manifest, absent from its shard",
    "nonfinite": "the encoder gave NaN or infinity",
    "nonfinite_audio": "NaN or infinity among the samples",
    "not_a_file": "a link, a device or a hole in the place of a recording",
    "not_audio": "no decoder knows these bytes, or none that is allowed",
    "out_of_range": "an excerpt that reaches beyond the recording, or a channel that it does not have",
    "too_large": "decoding takes more memory than a decoder may have",
    "too_long": "more hours than the limit",
    "truncated": "less is there than the header claims: cut on its way, or a header that lies",
}
"""The closed list of `failures.error`: content that gives no score. Trouble of the store, the network or a
worker is never among them."""


_EXCERPT = (
    pa.field("start", pa.float64()),
    pa.field("end", pa.float64()),
    pa.field("channel", pa.int16()),
)
_MEASURES = (pa.field("speech_share", pa.float64()), pa.field("clipped_share", pa.float64()))


def embeddings_schema(dim: int) -> pa.Schema:
    """Columns of the embedding table for an encoder of ``dim`` outputs.

    `embedding` is null where the recording is shorter than one frame of the encoder.
    """
    return pa.schema(
        [
            pa.field("utterance_id", pa.string(), nullable=False),
            pa.field("uri", pa.string(), nullable=False),
            pa.field("member", pa.string()),
            pa.field("audio_sha256", pa.string(), nullable=False),
            pa.field("seconds", pa.float64(), nullable=False),
            pa.field("native_rate", pa.int32(), nullable=False),
            pa.field("channels", pa.int16(), nullable=False),
            pa.field("codec", pa.string(), nullable=False),
            pa.field("decoder", pa.string(), nullable=False),
            pa.field("rms_dbfs", pa.float64(), nullable=False),
            pa.field("layer", pa.int16(), nullable=False),
            pa.field("embedding", pa.list_(pa.field("element", pa.float32()), dim)),
            pa.field("fingerprint", pa.string(), nullable=False),
            pa.field("run_id", pa.string(), nullable=False),
            *_EXCERPT,
            *_MEASURES,
        ]
    )


SCORES = pa.schema(
    [
        pa.field("utterance_id", pa.string(), nullable=False),
        pa.field("uri", pa.string(), nullable=False),
        pa.field("member", pa.string()),
        pa.field("seconds", pa.float64(), nullable=False),
        pa.field("score", pa.float64()),
        pa.field("prior", pa.float64(), nullable=False),
        pa.field("p_spoof", pa.float64()),
        pa.field("label", pa.string()),
        pa.field("entropy_bits", pa.float64()),
        pa.field("ood", pa.float64()),
        pa.field("reject", pa.bool_(), nullable=False),
        pa.field("reject_reason", pa.string()),
        pa.field("head_id", pa.string(), nullable=False),
        pa.field("fingerprint", pa.string(), nullable=False),
        pa.field("run_id", pa.string(), nullable=False),
        *_EXCERPT,
        *_MEASURES,
    ]
)

FAILURES = pa.schema(
    [
        pa.field("utterance_id", pa.string(), nullable=False),
        pa.field("uri", pa.string(), nullable=False),
        pa.field("member", pa.string()),
        pa.field("stage", pa.string(), nullable=False),
        pa.field("error", pa.string(), nullable=False),
        pa.field("message", pa.string(), nullable=False),
        pa.field("bytes", pa.int64(), nullable=False),
        pa.field("attempts", pa.int16(), nullable=False),
        pa.field("run_id", pa.string(), nullable=False),
    ]
)

MANIFEST = pa.schema(
    [
        pa.field("utterance_id", pa.string(), nullable=False),
        pa.field("uri", pa.string(), nullable=False),
        pa.field("member", pa.string()),
        pa.field("bytes", pa.int64(), nullable=False),
        pa.field("label", pa.string()),
        pa.field("split", pa.string()),
        pa.field("system", pa.string()),
        pa.field("speaker", pa.string()),
        pa.field("source", pa.string()),
        pa.field("language", pa.string()),
        pa.field("codec", pa.string()),
        *_EXCERPT,
    ]
)

LABEL_COLUMNS = ("label", "split", "system", "speaker", "source", "language", "codec")
"""What a labels file may say about an utterance; only `label` must be there."""
