"""Execution: it runs work, on Ray or without, retries what was lost, assembles results, and ends a run that hangs."""
