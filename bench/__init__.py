"""Measurements. Each module is a command that prints its figures, or writes them into a page of docs/."""
