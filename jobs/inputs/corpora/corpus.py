"""A corpus: how its recordings lie, what it says of them, and how both are read."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from detector.audio import WHOLE, Excerpt
from jobs.inputs.corpora.tree import Tree
from jobs.storage import Stored


@dataclass(frozen=True, slots=True, kw_only=True)
class Utterance:
    """What a corpus says of one recording.

    Parameters
    ----------
    stored : Stored or None
        The recording; None where the corpus lists it and it is not there.
    where : str
        What says so: a line of a protocol, or the file's own place.
    label : str
        `bonafide` or `spoof`.
    split, system, speaker, source, language, codec : str or None
        As in the manifest; None where the corpus does not say. `source` is the set that the speech, or the text that
        was spoken, comes from: corpora that share one are not independent.
    excerpt : Excerpt
        What of the recording is meant; all of it, but in lists of one's own.
    part : str or None
        What `--subset` chooses by, where that is not the split.
    """

    stored: Stored | None
    where: str
    label: str
    split: str | None = None
    system: str | None = None
    speaker: str | None = None
    source: str | None = None
    language: str | None = None
    codec: str | None = None
    excerpt: Excerpt = WHOLE
    part: str | None = None

    @property
    def subset(self) -> str | None:
        """The part of the corpus that it is of."""
        return self.part or self.split


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """A layout that can be imported.

    Parameters
    ----------
    layout : str
        What lies below the folder that is given, in a line.
    licence, link : str
        As published; "not verified" where the publisher's page was not seen.
    read : callable
        From the files that are there to what the corpus says of them; nothing where it is another layout.
    partner : str or None
        Where the corpus is all spoof: which bona fide speech belongs to it, to be given as a further `--input`.
    versions : bool
        Whether its parts are the same recordings, processed in several ways, so that one must be chosen.
    ignored : re.Pattern or None
        Audio that no line needs to name.
    """

    layout: str
    licence: str
    link: str
    read: Callable[[Tree], Iterator[Utterance]]
    partner: str | None = None
    versions: bool = False
    ignored: re.Pattern[str] | None = None
