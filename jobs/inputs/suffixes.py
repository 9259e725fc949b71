"""Suffixes: which names are those of recordings, which certainly are not, and which leave it to the content.

```
call.flac   .wave .aifc .nist …       a recording, read as one whatever it holds
call.json   .txt .jpg .TextGrid …     passed over
call.17     none, .bin .dat .ts …     its first bytes decide: detector.magic
._call.wav  a macOS resource fork     its first bytes decide
```
"""

from __future__ import annotations

import posixpath
from typing import Literal

AUDIO_SUFFIXES = frozenset(
    ".3g2 .3ga .3gp .aac .ac3 .adts .aif .aifc .aiff .amr .amr-wb .asf .au .avi .awb .bwf .caf .eac3 .ec3 .f4a "
    ".f4v .flac .flv .m2p .m2t .m2ts .m4a .m4b .m4r .m4v .mka .mkv .mov .mp1 .mp2 .mp3 .mp4 .mpa .mpeg .mpg .mpga "
    ".nist .oga .ogg .ogv .opus .qcp .qt .rf64 .rifx .snd .sph .spx .tta .vob .w64 .wav .wave .weba .webm .wma "
    ".wmv .wv .wv1 .wv2".split()
)
"""Suffixes of files that are listed as audio. The bytes, not the suffix, decide how a file is decoded."""

OTHER_SUFFIXES = frozenset(
    # text, tables and settings
    ".bib .cfg .conf .css .csv .db .doc .docx .htm .html .ini .ipynb .js .json .jsonl .less .lock .log .md .npy "
    ".npz .ods .odt .pdf .ppt .pptx .rst .rtf .scss .sql .sqlite .svg .tex .toml .tsv .txt .xls .xlsx .xml .yaml "
    ".yml "
    # annotations of speech
    ".ali .ass .cha .cls .ctm .eaf .lab .lrc .mlf .phn .rttm .srt .stm .textgrid .trn .trs .uem .vtt .wrd "
    # images
    ".bmp .eps .gif .heic .ico .jpeg .jpg .png .ps .psd .tif .tiff .webp "
    # programs, models, large tables and archives
    ".7z .ark .arrow .bz2 .c .cc .ckpt .class .cpp .dll .exe .feather .gz .h .h5 .hdf5 .jar .java .md5 .onnx .orc "
    ".parquet .pem .pickle .pkl .pt .pth .py .pyc .rar .rb .rs .safetensors .scp .sh .sha1 .sha256 .so .tar .tgz "
    ".tzst .whl .xz .zip .zst".split()
)
"""Suffixes of files that are passed over unseen, so that a folder of a million of them costs no request for each."""

UNTELLING = 5  # characters of a suffix that says little of a name
SHOWN_LENGTH = 12  # of a suffix; whatever is longer follows a full stop in a sentence


def suffix_of(name: str) -> str:
    """Return the suffix of a name in lower case, or nothing if it has none.

    Examples
    --------
    >>> suffix_of("day/CALL.WAV"), suffix_of("call.17"), suffix_of("Mr. Smith called twice"), suffix_of(".hidden")
    ('.wav', '.17', '', '')
    """
    suffix = posixpath.splitext(name)[1].lower()
    return suffix if 1 < len(suffix) <= SHOWN_LENGTH else ""


def is_common(suffix: str) -> bool:
    """Return True if a suffix says what a file is; any other long one may be a part of somebody's name.

    Examples
    --------
    >>> is_common(".textgrid"), is_common(".17"), is_common("(no suffix)"), is_common(".a-smith")
    (True, True, True, False)
    """
    is_known = suffix in AUDIO_SUFFIXES or suffix in OTHER_SUFFIXES or not suffix.startswith(".")
    return is_known or len(suffix) <= UNTELLING


def is_fork(name: str) -> bool:
    """Return True for the name of a macOS resource fork (`._a.wav`), which ends like a recording and is none."""
    return posixpath.basename(name).startswith("._")


def kind_of_name(name: str) -> Literal["audio", "other", "unknown"]:
    """Return `audio` or `other` if a name says it, and `unknown` if the content has to.

    Examples
    --------
    >>> kind_of_name("a.AIFC"), kind_of_name("a.TextGrid"), kind_of_name("._a.wav"), kind_of_name("call.17")
    ('audio', 'other', 'unknown', 'unknown')
    """
    if is_fork(name):
        return "unknown"
    suffix = suffix_of(name)
    return "audio" if suffix in AUDIO_SUFFIXES else "other" if suffix in OTHER_SUFFIXES else "unknown"
