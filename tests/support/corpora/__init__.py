"""Stand-ins for every corpus."""

from tests.support.corpora.asvspoof import ASVSPOOF
from tests.support.corpora.datasets import DATASETS
from tests.support.corpora.partial import PARTIAL
from tests.support.corpora.stand_in import audio, facts, lay

__all__ = ["TREES", "audio", "facts", "lay"]

TREES = ASVSPOOF | PARTIAL | DATASETS
