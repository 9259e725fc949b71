"""The verbs: one module per command, with its settings and the wiring of the rooms below."""
