"""How the starter in detector/starter came to be: docs/starter.md."""
