"""The science: audio bytes in; embeddings, scores and reject flags out. No Ray, no storage, no network.

The Python API is :class:`Detector`: ``Detector.load("head.json").score(audio_bytes)``.
"""

from detector.api import Detector, Verdict
from detector.errors import ConfigError, SchemaError, ShardError, UtteranceError

__all__ = ["ConfigError", "Detector", "SchemaError", "ShardError", "UtteranceError", "Verdict"]
__version__ = "0.1.0"
