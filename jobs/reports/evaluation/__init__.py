"""The evaluation report: scores against labels, in figures and as a page."""
