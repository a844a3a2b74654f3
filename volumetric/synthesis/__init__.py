"""From source scans and a model folder to full volumes of the missing contrast; `infer` is the front door."""
