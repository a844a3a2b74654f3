"""Cohorts of subjects: listed in a folder of scans, downloaded as a public data set, or simulated."""
