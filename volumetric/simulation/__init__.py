"""Simulated subjects: from a template or from label maps, by the equations of MR. No MONAI."""
