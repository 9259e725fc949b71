"""Settings that name the recordings to read."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from detector.errors import ConfigError

CORPORA = (
    *("asvspoof2019-la", "asvspoof2021-la", "asvspoof2021-df", "asvspoof5", "partialspoof", "had"),
    *("llama-partial-spoof", "in-the-wild", "fake-or-real", "timit-tts", "wavefake", "mlaad", "fakeavceleb", "odss"),
    *("dfadd", "ai4t", "spoofceleb", "codecfake-xie", "codecfake-wu", "ctrsvdd", "folder", "csv"),
)
"""Names of :data:`jobs.inputs.corpora.CORPORA`, repeated because --help shows them and need not import the readers."""

MISSING = ("refuse", "row")
MISSING_HELP = (
    "objects that a list or manifest names and that do not exist: refuse, which names all of them, or row, which makes "
    "each a row of failures"
)


RELATIVE, ABSOLUTE = IDS = ("relative", "absolute")
DEFAULT_IDS = RELATIVE

FOLLOW = ("no", "inside", "anywhere")
"""Values of :data:`jobs.storage.FOLLOW`, repeated because --help need not import the stores."""


@dataclass(frozen=True, kw_only=True)
class LinkConfig:
    """Settings of every verb that reads an archive: the links that it follows, and the ids that it makes."""

    follow_links: Annotated[
        str,
        "follow links to folders, on local disks: no, inside (the default where the flag is given alone: those that "
        "stay in the folder that --input names) or anywhere, which also reads files that links outside lead to; never "
        "in a circle",
    ] = field(default=FOLLOW[0], metadata={"alone": FOLLOW[1]})
    ids: Annotated[
        str | None,
        "utterance ids: relative, the path below the --input that a recording was found in, so that a copied archive "
        f"keeps its labels, or absolute, the whole path [default: those that the output has, else {DEFAULT_IDS}]",
    ] = None

    def __post_init__(self) -> None:
        if self.follow_links not in FOLLOW:
            raise ConfigError(f"follow_links {self.follow_links!r}; expected one of {', '.join(FOLLOW)}.")
        if self.ids not in (None, *IDS):
            raise ConfigError(f"ids {self.ids!r}; expected one of {', '.join(IDS)}.")


@dataclass(frozen=True, kw_only=True)
class InputConfig(LinkConfig):
    """Settings that name the recordings to read."""

    input: Annotated[
        tuple[str, ...],
        "archive: folder, glob, audio file, container (.tar .tar.gz .tar.zst .zip .parquet), or a list of them (.csv "
        ".jsonl .parquet); repeatable",
    ] = ()
    manifest: Annotated[str | None, "Parquet manifest that `manifest` wrote, instead of --input"] = None
    missing: Annotated[str, MISSING_HELP] = MISSING[0]

    def __post_init__(self) -> None:
        LinkConfig.__post_init__(self)
        check_missing(self.missing)
        if bool(self.input) == bool(self.manifest):
            raise ConfigError("give either --input (repeatable) or --manifest.")


def check_missing(missing: str) -> None:
    """Raise :class:`ConfigError` unless a setting is one of :data:`MISSING`."""
    if missing not in MISSING:
        raise ConfigError(f"missing {missing!r}; expected one of {', '.join(MISSING)}.")
