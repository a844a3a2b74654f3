"""Limits of what an image may be, for modules that need no image."""

from __future__ import annotations

VOXEL_SIZE_LIMITS_MM = (0.05, 50.0)
"""Sides of a voxel that a header may state."""
