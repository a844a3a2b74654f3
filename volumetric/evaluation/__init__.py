"""Scores of predictions, subject by subject; `evaluate` is the front door. It reads files alone."""
