"""Execution: it runs work on Ray, retries what was lost, assembles the results, and ends a run that hangs."""
