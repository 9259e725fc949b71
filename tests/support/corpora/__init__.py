"""Stand-ins for every corpus."""

from tests.support.corpora.first_trees import FIRST_TREES
from tests.support.corpora.second_trees import SECOND_TREES
from tests.support.corpora.stand_in import audio, facts, lay

__all__ = ["TREES", "audio", "facts", "lay"]

TREES = FIRST_TREES | SECOND_TREES
