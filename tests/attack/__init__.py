"""Attacks: hostile acts from inside a real decoder process, at every level of confinement."""
