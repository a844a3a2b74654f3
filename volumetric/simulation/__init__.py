"""Simulated subjects from a real template and the equations of MR. No torch, no MONAI."""
