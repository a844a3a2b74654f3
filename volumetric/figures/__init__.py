"""Pictures as PNG files: slices of volumes, and curves."""
