"""Corpus: the layout of a set of labelled recordings, and the facts that it states about each of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from detector.audio import WHOLE, Excerpt
from jobs.inputs.corpora.tree import Tree
from jobs.inputs.parts import Part
from jobs.storage import Stored


@dataclass(frozen=True, slots=True, kw_only=True)
class Utterance:
    """The facts that a corpus states about one recording.

    Parameters
    ----------
    stored : Stored or None
        The recording; None if the corpus lists it but the file is missing.
    where : str
        The source of these facts: a line of a protocol, or the file itself.
    label : str
        `bonafide` or `spoof`.
    split, system, speaker, source, language, codec : str or None
        As in the manifest; None if the corpus does not say. `source` is the set that the speech, or its text, comes
        from; corpora that share a source are not independent.
    excerpt : Excerpt
        The part of the recording that is meant; only the user's own lists name excerpts.
    part : str or None
        The part of the corpus that `--subset` selects by, if it is not the split.
    parts : tuple of Part
        Which parts of the recording are bona fide and which are spoof, in the order of time; empty if the corpus does
        not say.
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
    parts: tuple[Part, ...] = ()

    @property
    def subset(self) -> str | None:
        """The part of the corpus that `--subset` selects it by."""
        return self.part or self.split


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """A layout that can be imported.

    Parameters
    ----------
    layout : str
        One line that describes the files below the folder.
    licence, link : str
        As published; "not verified" if the publisher's page could not be read.
    read : callable
        Yields the utterances of a tree of files; nothing if the layout is another one.
    partner : str or None
        If the corpus is all spoof: the bona fide speech that belongs to it, to be given as a further `--input`.
    versions : bool
        True if its parts are the same recordings, processed in several ways, so that one must be chosen.
    ignored : re.Pattern or None
        Audio files that need not be listed.
    """

    layout: str
    licence: str
    link: str
    read: Callable[[Tree], Iterator[Utterance]]
    partner: str | None = None
    versions: bool = False
    ignored: re.Pattern[str] | None = None
