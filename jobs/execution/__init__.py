"""Execution: runs work on Ray, and retries, assembles and watches it. The one room that knows Ray."""
