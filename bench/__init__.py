"""Measurements: each module is a command, and writes its figures beside it into docs/."""
