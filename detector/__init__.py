"""The science: audio bytes in; embeddings, scores and reject flags out. No Ray, no storage, no network.

The Python API is :class:`Detector`: ``Detector.load("head.json").score(audio_bytes)``. It is imported on first use,
because a decoder's process needs none of its libraries: without them the process starts in a seventh of the time and
takes a quarter of the memory.
"""

from typing import TYPE_CHECKING, Any

from detector.errors import ConfigError, SchemaError, ShardError, UtteranceError

if TYPE_CHECKING:
    from detector.api import Detector, Verdict

__all__ = ["ConfigError", "Detector", "SchemaError", "ShardError", "UtteranceError", "Verdict"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name not in ("Detector", "Verdict"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from detector import api

    return getattr(api, name)
