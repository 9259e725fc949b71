"""The work: one module per verb, wired to storage and Ray."""
