"""The review queue: recordings that a person should listen to, and the sheets they fill in."""
