"""Columns of windows and parts: in `embeddings` and `scores`, of the table `segments`, and of labels of parts."""

from __future__ import annotations

import pyarrow as pa

from detector.column import Column, Columns, FilledBy

WINDOWS: Columns = (
    Column(
        "window_seconds",
        pa.float64(),
        FilledBy.RUN,
        "length of the windows that the recording was also embedded by (`--segments`); this column and those below are "
        "null in rows without windows: of runs without `--segments`, and of recordings without an embedding",
        "s",
        nullable=True,
    ),
    Column(
        "hop_seconds",
        pa.float64(),
        FilledBy.RUN,
        "from the start of one window to that of the next; the last one ends with the recording, and keeps a tail "
        "under 1 s",
        "s",
        nullable=True,
    ),
    Column(
        "window_speech_shares",
        pa.list_(pa.field("element", pa.float64())),
        FilledBy.RUN,
        "`speech_share` of each window, at the level of the whole recording",
        nullable=True,
    ),
    Column(
        "window_levels",
        pa.list_(pa.field("element", pa.float64())),
        FilledBy.RUN,
        "`rms_dbfs` of each window",
        "dB re full scale",
        nullable=True,
    ),
    Column(
        "window_embeddings",
        pa.list_(pa.field("element", pa.float32())),
        FilledBy.ENCODER,
        "embeddings of the windows, one behind the other, each as long as `embedding`",
        nullable=True,
    ),
)
"""Columns of `embeddings` that hold the windows of a recording: :func:`detector.windows.stored_windows` reads them."""

MEASURED = ("window_speech_shares", "window_levels")
"""Those that are measured while the recording is decoded."""

CONTAINS = Column(
    "contains_score",
    pa.float64(),
    FilledBy.HEAD,
    "log-likelihood ratio that the recording contains no spoofed part, against that it contains some; higher is more "
    "bona fide. From its windows (`--segments`), by the rule of the head (`fit --parts`); null if either is missing, "
    "if there is no `score`, and in rows of earlier versions",
    "nats",
    nullable=True,
)
"""Column of `scores` that the windows of a recording fill."""

PART_COLUMNS: Columns = (
    Column("utterance_id", pa.string(), FilledBy.LABELS, "the recording, as in the other tables"),
    Column("start_seconds", pa.float64(), FilledBy.LABELS, "start of the part, from the start of the recording", "s"),
    Column("end_seconds", pa.float64(), FilledBy.LABELS, "end of the part, after its start", "s"),
    Column("label", pa.string(), FilledBy.LABELS, "`bonafide` or `spoof`"),
)
"""Columns of a table of labelled parts."""


def segment_columns(scores: Columns) -> Columns:
    """Return the columns of `segments`: a window is judged as a recording is, in columns of the same names."""
    by_name = {column.name: column for column in scores}
    return (
        by_name["utterance_id"],
        Column("segment", pa.int32(), FilledBy.RUN, "number of the window within the recording, from 0"),
        Column("start_seconds", pa.float64(), FilledBy.RUN, "start of the window within the recording or excerpt", "s"),
        Column("end_seconds", pa.float64(), FilledBy.RUN, "end of the window", "s"),
        *(by_name[name] for name in ("score", "p_spoof", "entropy_bits", "reject", "reject_reason")),
        Column(
            "speech_share",
            pa.float64(),
            FilledBy.RUN,
            "share of the window that is active, in [0, 1], at the level of the whole recording",
        ),
        *(by_name[name] for name in ("head_id", "fingerprint", "run_id")),
    )
