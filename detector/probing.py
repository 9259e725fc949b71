"""Probing: whether FFmpeg takes a file for the container that its first bytes show.

FFmpeg asks all of its demuxers how sure they are of a file. Some look for their marks anywhere in the first MiB (MXF,
NSV, NUT, MPEG-TS, DV), and outbid one that knows less of its own, as that of MPEG audio. Players that are built on it
play what is hidden there; others, and we, hear what the first bytes show.

```
[frames of an MP3, a human voice, with room for │NSVs│ a synthetic one ]   mp3 bids 51 of 100, nsv bids 80
```

Every opening begins with this question, so that to ask it runs nothing more on a stranger's bytes. Only the demuxer of
the container that it should be may read on.
"""

from __future__ import annotations

import os
import threading
from typing import BinaryIO

import av

from detector.demuxing import options_for
from detector.errors import UtteranceError
from detector.layout import Layout
from detector.layout.spliced import Range, spliced

PROBED_BYTES = 1 << 20  # FFmpeg's PROBE_BUF_MAX
BUFFER_BYTES = 1 << 12
NOTHING_MORE = {"probesize": "32", "codec_whitelist": "none"}
"""Has FFmpeg look for no streams, and decode nothing, once it has chosen a demuxer."""

_logged = threading.Lock()  # the level of FFmpeg's log is that of the process


def refuse_hidden(file: BinaryIO, layout: Layout) -> None:
    """Raise if FFmpeg takes a file for another container than the recording shows with which it begins.

    Raises
    ------
    UtteranceError
        `bad_header`.
    """
    if layout.demuxers and (found := _other_container(file, layout)):
        message = (
            f"its first bytes show `{layout.demuxers}`, and FFmpeg finds `{found}` behind them, which players play: "
            f"write the recording again, without what is hidden in it"
        )
        raise UtteranceError("bad_header", message)


def _other_container(file: BinaryIO, layout: Layout) -> str:
    """Return FFmpeg's name of the container that it opens instead; nothing if it opens no other."""
    if _error(file, layout) is None:
        return ""
    with _logged, av.logging.Capture():
        level = av.logging.get_level()
        av.logging.set_level(av.logging.ERROR)
        try:
            error = _error(file, layout)
        finally:
            av.logging.set_level(level)
    _, name, message = getattr(error, "log", None) or (0, "", "")
    return name if "not on whitelist" in message else ""


def _error(file: BinaryIO, layout: Layout) -> av.FFmpegError | None:
    """Return the error with which FFmpeg refuses a container that is not allowed, or a header; None for any other."""
    first = Range(0, min(file.seek(0, os.SEEK_END), PROBED_BYTES))
    head = spliced(file, first, buffer_bytes=BUFFER_BYTES)
    try:
        av.open(head, "r", metadata_errors="ignore", options=options_for(layout) | NOTHING_MORE).close()
    except MemoryError:
        raise
    except av.ArgumentError as error:
        return error
    except (av.FFmpegError, ValueError, EOFError, IndexError):
        pass
    return None
