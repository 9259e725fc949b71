"""The demo: its archive of artificial voices, and the chain of runs over it."""
