"""The corpora that the spoof rows of a fit are from, and the warning where they are from a single one."""

from __future__ import annotations

import numpy as np

from detector.groups import Names
from detector.logistic import Bools

MOST_CHARACTERS = 80  # of a name that is shown
WARNING = (
    "all {n_spoof:,} spoof rows are from one corpus or vendor, {name}: heads that were trained on a single corpus are "
    "at chance on the hardest public sets, whatever the encoder. Add spoof rows of another corpus: its output by "
    "another --embeddings, its rows in the labels, and the name of each corpus in the labels' column source"
)


def corpora_of(sources: Names, outputs: Names) -> Names:
    """Name the corpus of each row: its source, or the output that it is embedded in where the labels name none.

    Examples
    --------
    >>> found = corpora_of(Names.of(["vctk", "-", "-"]), Names.of(["a", "a", "b"]))
    >>> [found.words[code] for code in found.code]
    ['vctk', 'a', 'b']
    """
    n_sources = len(sources.words)
    code = np.where(sources.code >= 0, sources.code.astype(np.int64), n_sources + outputs.code.astype(np.int64))
    return Names(code, (*sources.words, *outputs.words))


def single_corpus(corpora: Names, is_bonafide: Bools) -> str | None:
    """Return a warning if all spoof rows are from one corpus, else None.

    Parameters
    ----------
    corpora : Names
        Of each row.
    is_bonafide : bool array of shape (n_rows,)

    Examples
    --------
    >>> truth = np.array([True, False, False])
    >>> print(single_corpus(Names.of(["a", "b", "b"]), truth)[:51])
    all 2 spoof rows are from one corpus or vendor, 'b'
    >>> single_corpus(Names.of(["a", "a", "b"]), truth) is None
    True
    """
    present = np.unique(corpora.code[~is_bonafide])
    if len(present) != 1:
        return None
    name = corpora.words[present[0]]
    return WARNING.format(n_spoof=int(np.count_nonzero(~is_bonafide)), name=repr(name[:MOST_CHARACTERS]))
