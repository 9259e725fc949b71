"""The work: one module a verb, wired to storage and Ray."""
