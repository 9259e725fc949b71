"""The nightly report: what one night found, in figures and as a page."""
