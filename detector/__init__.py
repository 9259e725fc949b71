"""The science: audio bytes in; embeddings, scores and reject flags out. No Ray, no storage, no network.

>>> from detector import Detector  # doctest: +SKIP
>>> Detector.load("head.json").score(Path("call.flac").read_bytes()).score  # doctest: +SKIP
3.82
"""

from detector.api import Detector, Verdict
from detector.errors import ConfigError, SchemaError, ShardError, UtteranceError

__all__ = ["ConfigError", "Detector", "SchemaError", "ShardError", "UtteranceError", "Verdict"]
__version__ = "0.1.0"
