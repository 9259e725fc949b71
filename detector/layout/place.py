"""Place: where a recording begins in a file; and the layout that it has there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import BinaryIO, NamedTuple

from detector.layout import tags
from detector.layout.spliced import Range, spliced

SOUNDFILE, PYAV = "soundfile", "pyav"
BOTH = (SOUNDFILE, PYAV)


@dataclass(frozen=True)
class Layout:
    """One recording in a file.

    Parameters
    ----------
    file : binary file
        What a decoder reads: the file itself, or a part of it under a header that is right.
    start : int
        Offset of the recording, with the tags before it.
    end : int or None
        Offset of the first byte behind it; None for a FLAC, which ends where libsndfile stops to read.
    reach : int or None
        Offset at which the next recording begins, or the file ends; None if that is not known yet.
    n_passed : int
        Bytes within it that are neither of it nor tags nor padding.
    decoders : tuple of str
        Those that may open it, in the order in which they are tried.
    why_not : str
        Why libsndfile may not, for a person.
    demuxers : str
        FFmpeg's names of the container that the first bytes show, with commas between; nothing if they show none.
    claimed_seconds : float or None
        Length that the header states, if it does so without a decoder's help.
    least_seconds : float or None
        Length of the samples that are there: if libsndfile finds less, it was misled by what the file states.
    claimed_share : float or None
        Else the length that the header states, as a multiple of what a decoder finds.
    is_paged : bool
        True for Ogg, whose pages state how long it is, which its packets may contradict.
    is_linear : bool
        True if samples are stored one by one up to the end, so that bytes behind it are likely to be more of them.
    skipped_samples : int
        Samples at the beginning that are the delay of the codec, or were heard before.
    is_cut : bool
        True if the file breaks off, as its structure tells, whatever length it states.
    is_live : bool
        True if the length in the header means nothing.
    is_contested : bool
        True for a FLAC whose frames count other samples than its header (:mod:`detector.contested`).
    """

    file: BinaryIO
    start: int
    end: int | None
    reach: int | None = None
    n_passed: int = 0
    decoders: tuple[str, ...] = BOTH
    why_not: str = ""
    demuxers: str = ""
    claimed_seconds: float | None = None
    least_seconds: float | None = None
    is_paged: bool = False
    claimed_share: float | None = None
    is_linear: bool = False
    skipped_samples: int = 0
    is_cut: bool = False
    is_live: bool = False
    is_contested: bool = False


class Place(NamedTuple):
    """A place in a file at which a recording begins: with its tags, and without them."""

    file: BinaryIO
    start: int
    begin: int
    size: int

    def part(self, end: int) -> BinaryIO:
        """Return the file up to a byte, or the file itself if that is all of it."""
        return self.file if (self.start, end) == (0, self.size) else spliced(self.file, Range(self.start, end))

    def untagged(self, end: int) -> BinaryIO:
        """Return the file up to a byte without the ID3v2 tags before the recording.

        libsndfile passes over them, and then reads as many bytes of samples less as they have.
        """
        return self._replace(start=self.begin).part(end)

    def runs(self, runs: Sequence[Range]) -> BinaryIO:
        """Return the file up to the end of the last of some runs, without what is between them."""
        return (
            self.part(runs[0].end) if len(runs) == 1 else spliced(self.file, Range(self.start, runs[0].end), *runs[1:])
        )

    def bounded(self, end: int, **facts) -> Layout:  # type: ignore[no-untyped-def]
        """Return the layout of a recording that ends before a byte."""
        return Layout(self.untagged(end), self.start, end, **facts)

    def end_with_tags(self, end: int) -> int:
        """Return the file's size if only tags follow ``end``, else ``end``."""
        return self.size if end < self.size and tags.before_tags(self.file, end, self.size) == end else end
