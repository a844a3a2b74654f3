"""Figures as PNG files: slices of volumes, curves and paired differences."""
