"""Paired tests between finished evaluations; `compare` is the front door. It reads files alone."""
