"""Made-up heads from a real template and the equations of MR. No torch, no MONAI."""
