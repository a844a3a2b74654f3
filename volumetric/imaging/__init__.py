"""Images on their grids: files, geometry, resampling, intensity, masks. No torch, no MONAI."""
