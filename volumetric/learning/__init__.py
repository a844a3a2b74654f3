"""Training: from paired scans to a model folder; `train` is the front door."""
