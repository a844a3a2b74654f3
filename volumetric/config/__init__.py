"""The configuration: one typed model a section, and how files and `--set` resolve into it."""
