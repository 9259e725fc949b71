"""The verbs: one module a command, with its settings and the wiring of the rooms below."""
