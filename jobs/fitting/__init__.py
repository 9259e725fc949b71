"""Fitting: labelled embeddings become a head, its report, and, where it is no worse, the published head."""
