"""Retraining: a new head is fitted on labelled recordings, and published if it is shown to be no worse."""
