"""Failures: the stages and the words of rows of `failures`."""

from __future__ import annotations

FAILURE_STAGES = ("read", "decode", "embed")

FAILURE_ERRORS = {
    "bad_archive": "the shard or this member is broken, or decompresses to far more bytes than recordings do; members "
    "before the fault are kept",
    "bad_header": "a rate, channel count, size or format that no recording has, or that players read differently",
    "bad_name": "a member whose name points outside its archive, is not a valid name, exceeds 1,024 bytes, or is that "
    "of another member too; a file or container whose id another one has",
    "changed": "replaced while it was read, and again when it was read once more; the next run reads it again",
    "decode_error": "the decoder stopped before the end",
    "decoder_crash": "the decoder's process died on these bytes, twice",
    "decoder_timeout": "the decoder's process used up its CPU time without producing a segment, or more than its size "
    "allows, slept, or read the file over and over, twice",
    "empty": "no bytes, or no samples",
    "encrypted": "a member that is protected by a password",
    "encoder_crash": "the encoder's process died repeatedly on this recording alone, while its neighbours passed",
    "missing": "named by a list or manifest, and not there: a member, or with `--missing row` an object",
    "no_permission": "a local file, or a folder with whatever is in it, that the user of the run may not read; or an "
    "object that the store refuses while it gives others",
    "nonfinite": "the encoder returned NaN or infinity",
    "nonfinite_audio": "NaN or infinity among the samples",
    "not_a_file": "a link, a device or a part of a file in place of a recording",
    "not_audio": "no permitted decoder recognises these bytes",
    "out_of_range": "an excerpt that extends beyond the recording, or a channel that the recording does not have",
    "over_quota": "not decoded, or not to its end: the stored bytes of its file or container came to more audio than "
    "`--min-bitrate` allows, or the earlier recordings of its source in the shard to `--max-source-hours`",
    "too_large": "decoding takes more memory than a decoder may use; a local file that is nearly all holes",
    "too_long": "longer than `--max-seconds`",
    "trailing_data": "bytes behind or within the recording that are more of it, or another one, and cannot be read, "
    "or that no decoder knows: more than 16 KiB, and within it more than 1 % of the file",
    "truncated": "shorter than the header claims: the file was cut, or its header is wrong",
}
"""The closed list of `failures.error`, each with its meaning: content that gives no score. A failure of the store, the
network or a worker is never among them."""
