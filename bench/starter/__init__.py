"""The recipe of the starter in detector/starter, described in docs/starter.md."""
