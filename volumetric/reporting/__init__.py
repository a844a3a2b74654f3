"""The report: an evaluation as one page to look at."""
