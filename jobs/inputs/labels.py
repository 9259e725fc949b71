"""Labels: tables that state what is known of utterances, from the class to the codec."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pyarrow as pa
import pyarrow.compute as pc

from detector.errors import SchemaError
from detector.schema import LABEL_COLUMNS, LABELS
from jobs.inputs.suffix_matches import rename
from jobs.inputs.table_files import iter_tables, missing_column, text_column
from jobs.inputs.utterance_ids import refuse_repeated


def read_labels(uri: str, split: str | None = None, renamed: Mapping[str, str] | None = None) -> pa.Table:
    """Read a table of labels: `utterance_id`, `label`, and any of split, system, speaker, source, language, codec.

    Parameters
    ----------
    uri : str
    split : str, optional
        Return only rows of this split, provided that the table names splits at all.
    renamed : mapping of str to str, optional
        Other ids for some of its ids: see :mod:`jobs.inputs.suffix_matches`.

    Returns
    -------
    pyarrow.Table
        Text columns `utterance_id` and all of :data:`detector.schema.LABEL_COLUMNS`, null where not given;
        rows without a label are left out.

    Raises
    ------
    SchemaError
        If a column is missing, an id occurs twice, or a label is neither `bonafide` nor `spoof`.
    """
    labels = pa.concat_tables(label_tables(uri, renamed))
    refuse_repeated(labels["utterance_id"], uri)
    if split is not None and labels["split"].null_count < len(labels):
        return labels.filter(pc.equal(labels["split"], split))
    return labels


def label_tables(uri: str, renamed: Mapping[str, str] | None = None) -> Iterator[pa.Table]:
    """Yield the rows of :func:`read_labels`, of all splits, some at a time, so that a long table is never held whole.

    Repeated ids are not detected. Unknown labels and missing columns raise :class:`SchemaError` after the last rows, or
    before rows that have labels and no ids.
    """
    columns: dict[str, None] = {}
    n_unknown = 0
    first_unknown: dict[str, str] = {}
    yield pa.schema([(name, pa.string()) for name in ("utterance_id", *LABEL_COLUMNS)]).empty_table()
    for table in iter_tables(uri):
        columns |= dict.fromkeys(table.column_names)
        labels = pa.table({name: text_column(table, name, uri) for name in ("utterance_id", *LABEL_COLUMNS)})
        labels = labels.filter(pc.is_valid(labels["label"]))
        if len(labels) and "utterance_id" not in columns:
            break  # no caller is to see labels that belong to nothing
        unknown = labels.filter(pc.invert(pc.is_in(labels["label"], pa.array(LABELS))))
        n_unknown += len(unknown)
        first_unknown = first_unknown or next(iter(unknown.slice(0, 1).to_pylist()), {})
        yield rename(labels, renamed or {})
    for name in ("utterance_id", "label"):
        if name not in columns:
            raise missing_column(uri, name, columns)
    if n_unknown:
        raise SchemaError(
            f"{uri}: {n_unknown} label(s) are neither {' nor '.join(LABELS)}, first {first_unknown['label']!r} of "
            f"{first_unknown['utterance_id']!r}. Write the words; 0 and 1 mean different things in different corpora."
        )
