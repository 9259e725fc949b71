"""Compaction: a copy of an output's tables in few large objects, and the proof that it has the same rows."""
